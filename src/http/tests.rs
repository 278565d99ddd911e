//! The routes over real sockets: a server of this crate, and behind it a provider that each test plays by hand.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App as Actix, HttpServer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::config::{Overrides, Variables};
use crate::event::{ConversationId, GenerationId};
use crate::generation::Most;
use crate::journal::{Backlog, Pages};
use crate::store::testing::opened;
use crate::store::{Recorder, RecorderSettings};
use crate::upstream::{Client, PROTOCOLS};

const PATIENCE: Duration = Duration::from_secs(10);

/// A running gateway with a database of its own.
struct Gateway {
    address: std::net::SocketAddr,
    server: ServerHandle,
    provider: TcpListener,
    _recorder: Recorder,
    _folder: tempfile::TempDir,
}

impl Gateway {
    async fn start() -> Gateway {
        let folder = tempfile::tempdir().expect("a folder");
        let provider = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let variables: Variables = [
            ("THINKWIRE__PROVIDERS__TEST__BASE_URL", format!("http://{}", provider.local_addr().expect("an address"))),
            ("THINKWIRE__STORE__URL", format!("sqlite://{}", folder.path().join("test.db").display())),
            // A test plays each request to the provider by hand.
            ("THINKWIRE__RETRY__ATTEMPTS", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let config = Config::load_from(&Overrides::default(), &variables, PROTOCOLS).expect("a good configuration");
        let runtime = tokio::runtime::Handle::current();
        let store = opened(&config.store.url).await.expect("a database");
        let (store, pages): (Arc<dyn Store>, Arc<dyn Pages>) = (store.clone(), store);
        let backlog = Backlog::new(1 << 20);
        let store_health = StoreHealth::new(backlog.clone());
        let workers = Arc::new(Workers::default());
        let settings = RecorderSettings { tick_ms: 5, max_tick_ms: 5 };
        let recorder = Recorder::start(store.clone(), backlog.clone(), settings, &runtime);
        let app = Data::new(App {
            catalogue: Catalogue::new(&config).expect("known protocols"),
            store,
            registry: Arc::new(Registry::new(pages, backlog)),
            running: Running::new(Most { in_all: 100, per_conversation: 16 }),
            budget: Budget::new(1 << 26),
            seats: Seats::new(100, 100),
            connections: Connections::new(MostConnections { websockets: 100, per_caller: 0 }),
            refusals: Refusals::default(),
            phase: watch::Sender::new(Phase::Serving),
            store_health,
            workers: workers.clone(),
            config,
        });
        let factory = move || {
            let client = Client::new(1000).expect("a client");
            Actix::new()
                .app_data(app.clone())
                .app_data(Data::new(workers.register(client)))
                .wrap(from_fn(trace))
                .configure(|config| routes(config, ""))
        };
        let server = HttpServer::new(factory).workers(1).disable_signals().bind("127.0.0.1:0").expect("a free port");
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Gateway { address, server: handle, provider, _recorder: recorder, _folder: folder }
    }

    /// Sends one request and gives back its response as soon as the head is there.
    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        let mut socket = TcpStream::connect(self.address).await.expect("connected");
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        socket.write_all(text.as_bytes()).await.expect("written");
        let mut response = Response { socket, received: String::new(), status: 0 };
        response.until("\r\n\r\n").await;
        response.status = response.received[9..12].parse().expect("a status");
        response
    }

    async fn generate(&self, body: &Value) -> Response {
        self.send("POST", "/api/generate", "accept: text/event-stream\r\n", &body.to_string()).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, "", "").await.document().await
    }

    /// The provider's next connection, with its request read.
    async fn asked(&self) -> TcpStream {
        let (mut socket, _) =
            tokio::time::timeout(PATIENCE, self.provider.accept()).await.expect("in time").expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert!(socket.read_buf(&mut request).await.expect("readable") > 0, "the gateway hung up");
        }
        socket
    }

    /// Whether nobody asks the provider.
    async fn is_left_alone(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(100), self.provider.accept()).await.is_err()
    }

    async fn stop(self) {
        self.server.stop(false).await;
    }
}

struct Response {
    socket: TcpStream,
    received: String,
    status: u16,
}

impl Response {
    /// Reads on until `text` is there.
    async fn until(&mut self, text: &str) {
        let read = async {
            while !self.received.contains(text) {
                let mut bytes = vec![0; 4096];
                let read = self.socket.read(&mut bytes).await.expect("readable");
                assert!(read > 0, "no {text:?} in {}", self.received);
                self.received.push_str(std::str::from_utf8(&bytes[..read]).expect("ASCII"));
            }
        };
        assert!(tokio::time::timeout(PATIENCE, read).await.is_ok(), "{text:?} did not come: {}", self.received);
    }

    /// The status and the whole body.
    async fn text(mut self) -> (u16, String) {
        let rest = self.socket.read_to_string(&mut self.received);
        tokio::time::timeout(PATIENCE, rest).await.expect("in time").expect("readable");
        let (head, body) = self.received.split_once("\r\n\r\n").expect("a head");
        match head.contains("transfer-encoding: chunked") {
            true => (self.status, unchunked(body)),
            false => (self.status, body.to_owned()),
        }
    }

    async fn document(self) -> (u16, Value) {
        let (status, body) = self.text().await;
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let (piece, rest) = rest.split_at(usize::from_str_radix(size, 16).expect("a size"));
        whole.push_str(piece);
        body = rest.strip_prefix("\r\n").expect("the end of a chunk");
    }
    whole
}

async fn reply(socket: &mut TcpStream, text: &str) {
    socket.write_all(text.as_bytes()).await.expect("written");
}

const REFUSAL: &str = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

fn delta(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text:?}}}}}]}}\n\n")
}

fn contents(stream: &str) -> Vec<String> {
    let lines = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = lines.map(|json| serde_json::from_str::<Value>(json).expect("JSON"));
    events.filter(|event| event["type"] == "text").map(|event| event["content"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn a_failure_before_the_head_leaves_the_id_to_the_next_attempt() {
    let gateway = Gateway::start().await;
    let (id, conversation) = (GenerationId::new(), ConversationId::new());
    let body = json!({"prompt": "hi", "model": "test/m", "generationId": id, "conversationId": conversation});

    // Two at once: one asks, the other attaches, and both are told of the failure.
    let (first, second, mut reader) = tokio::join!(gateway.generate(&body), gateway.generate(&body), async {
        let mut provider = gateway.asked().await;
        // Both have arrived by then.
        tokio::time::sleep(Duration::from_millis(100)).await;
        // As long as somebody reads the conversation, its last events are replayed from memory.
        let reader = gateway.send("GET", &format!("/api/conversations/{conversation}/events"), "", "").await;
        reply(&mut provider, REFUSAL).await;
        reader
    });
    for failed in [first, second] {
        let (status, error) = failed.document().await;
        assert_eq!((status, &error["error"]["code"]), (502, &json!("provider_error")));
    }

    let (again, ()) = tokio::join!(gateway.generate(&body), async {
        let mut provider = gateway.asked().await;
        reply(&mut provider, &format!("{STREAM}{}{END}", delta("fine"))).await;
    });
    assert!(!again.received.contains("idempotent-replayed"), "{}", again.received);
    let (status, stream) = again.text().await;
    assert_eq!((status, contents(&stream)), (200, vec!["fine".to_owned()]));
    assert!(!stream.contains("\"type\":\"error\""), "{stream}");

    reader.until("\"type\":\"complete\"").await;
    assert_eq!(reader.received.matches("\"type\":\"start\"").count(), 2, "{}", reader.received);

    // From the start means the start of the attempt that goes by this id.
    let (_, replay) = gateway.send("GET", &format!("/api/generations/{id}/events"), "", "").await.text().await;
    assert_eq!(replay.matches("\"type\":\"start\"").count(), 1, "{replay}");
    assert!(!replay.contains("\"type\":\"error\"") && replay.contains("\"type\":\"complete\""), "{replay}");
    let (_, state) = gateway.get(&format!("/api/generations/{id}")).await;
    assert_eq!((&state["status"], &state["messages"][0]["content"]), (&json!("complete"), &json!("fine")));

    // A third attaches, and the failed attempt stays readable in its conversation.
    let attached = gateway.generate(&body).await;
    assert!(attached.received.contains("idempotent-replayed: true"), "{}", attached.received);
    assert!(gateway.is_left_alone().await);
    let (_, messages) = gateway.get(&format!("/api/conversations/{conversation}/messages")).await;
    let statuses: Vec<&str> =
        messages["messages"].as_array().unwrap().iter().map(|message| message["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["complete", "error", "complete", "complete"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn an_id_is_free_at_once_after_an_error_and_taken_after_a_stream() {
    let gateway = Gateway::start().await;
    let body = json!({"prompt": "hi", "model": "test/m", "generationId": GenerationId::new(), "stream": false});
    // Without a stream, a failure in the middle is told as a status as well.
    for _ in 0..3 {
        let (response, ()) = tokio::join!(gateway.generate(&body), async {
            let mut provider = gateway.asked().await;
            reply(&mut provider, &format!("{STREAM}{}", delta("half"))).await;
        });
        let (status, error) = response.document().await;
        assert_eq!((status, &error["error"]["code"]), (502, &json!("provider_incomplete")));
    }

    let body = json!({"prompt": "hi", "model": "test/m", "generationId": GenerationId::new()});
    let (response, ()) = tokio::join!(gateway.generate(&body), async {
        let mut provider = gateway.asked().await;
        reply(&mut provider, &format!("{STREAM}{}", delta("half"))).await;
    });
    let (status, stream) = response.text().await;
    assert_eq!((status, contents(&stream)), (200, vec!["half".to_owned()]));
    assert!(stream.contains("provider_incomplete"), "{stream}");
    let (status, again) = gateway.generate(&body).await.text().await;
    assert_eq!((status, again), (200, stream));
    assert!(gateway.is_left_alone().await);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_conversation_is_named_and_deleted_with_what_runs_in_it() {
    let gateway = Gateway::start().await;
    let id = ConversationId::new();
    let path = format!("/api/conversations/{id}");
    assert_eq!(gateway.send("PATCH", &path, "", r#"{"title":"a"}"#).await.document().await.0, 404);
    assert_eq!(gateway.send("DELETE", &path, "", "").await.document().await.0, 404);

    let body = json!({"prompt": "hi", "model": "test/m", "conversationId": id});
    let (mut running, mut provider) = tokio::join!(gateway.generate(&body), async {
        let mut provider = gateway.asked().await;
        reply(&mut provider, &format!("{STREAM}{}", delta("one"))).await;
        provider
    });
    running.until("one").await;
    let mut reader = gateway.send("GET", &format!("{path}/events"), "", "").await;
    reader.until("one").await;

    let (status, named) = gateway.send("PATCH", &path, "", r#"{"title":"Sums"}"#).await.document().await;
    assert_eq!((status, &named["title"]), (200, &json!("Sums")));
    // The user's message, the start and the text: all given out, whether stored or not.
    assert_eq!(named["lastSyncId"], 3);
    let (status, same) = gateway.send("PATCH", &path, "", "{}").await.document().await;
    assert_eq!((status, &same["title"]), (200, &json!("Sums")));
    let (_, unnamed) = gateway.send("PATCH", &path, "", r#"{"title":null}"#).await.document().await;
    assert_eq!(unnamed["title"], Value::Null);
    let long = json!({"title": "t".repeat(513)}).to_string();
    assert_eq!(gateway.send("PATCH", &path, "", &long).await.document().await.0, 422);

    let foreign = "sec-fetch-site: cross-site\r\n";
    assert_eq!(gateway.send("DELETE", &path, foreign, "").await.document().await.0, 403);
    let (status, nothing) = gateway.send("DELETE", &path, "", "").await.text().await;
    assert_eq!((status, nothing.as_str()), (204, ""));
    // Everybody's stream ends, the provider's connection is closed, and nothing is left.
    let (_, stream) = running.text().await;
    assert!(stream.contains("\"finishReason\":\"cancelled\""), "{stream}");
    reader.text().await;
    let closed = tokio::time::timeout(PATIENCE, provider.read(&mut [0; 16])).await.expect("in time");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    for path in [&path, &format!("{path}/messages"), &format!("{path}/events")] {
        assert_eq!(gateway.get(path).await.0, 404, "{path}");
    }

    // The id may begin anew, and nobody else is held up.
    let (again, ()) = tokio::join!(gateway.generate(&body), async {
        let mut provider = gateway.asked().await;
        reply(&mut provider, &format!("{STREAM}{}{END}", delta("anew"))).await;
    });
    let (status, stream) = again.text().await;
    assert_eq!((status, contents(&stream)), (200, vec!["anew".to_owned()]));
    let (_, messages) = gateway.get(&format!("{path}/messages")).await;
    assert_eq!(messages["messages"].as_array().map(Vec::len), Some(2));
    gateway.stop().await;
}

#[actix_web::test]
async fn pieces_are_joined_for_the_reader_that_asked_for_it() {
    let gateway = Gateway::start().await;
    let id = GenerationId::new();
    let body = json!({"prompt": "hi", "model": "test/m", "generationId": id, "batchMs": 1000});
    let (response, ()) = tokio::join!(gateway.generate(&body), async {
        let mut provider = gateway.asked().await;
        reply(&mut provider, STREAM).await;
        for piece in ["a", "b", "c"] {
            reply(&mut provider, &delta(piece)).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        reply(&mut provider, END).await;
    });
    let (_, joined) = response.text().await;
    assert_eq!(contents(&joined), ["abc"]);

    let events = format!("/api/generations/{id}/events");
    let (_, whole) = gateway.send("GET", &events, "", "").await.text().await;
    assert_eq!(contents(&whole), ["a", "b", "c"]);
    let (_, whole) = gateway.send("GET", &format!("{events}?batchMs=1000"), "", "").await.text().await;
    assert_eq!(contents(&whole), ["abc"]);

    // Coming back after the joined frame gives nothing twice.
    let frame = joined.split("\n\n").find(|frame| frame.contains("abc")).expect("a frame");
    let number = frame.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
    let (_, rest) = gateway.send("GET", &format!("{events}?after={number}"), "", "").await.text().await;
    assert!(contents(&rest).is_empty() && rest.contains("\"type\":\"complete\""), "{rest}");
    gateway.stop().await;
}

//! What clients do wrong over a WebSocket, and what happens to sockets that break.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame};

use crate::support::chat::Chat;
use crate::support::gateway::{Gateway, Setup};
use crate::support::steps::Gate;
use crate::support::upstream::Upstream;
use crate::support::ws::{Ended, Socket, Tab, handshake};
use crate::support::{new_id, within};

async fn socket(gateway: &Gateway) -> Socket {
    Socket::open(gateway.address(), "/ws").await
}

/// A frame as it is, whole or a piece.
fn piece(text: &[u8], op: Data, last: bool) -> Frame {
    Frame::Frame(frame::Frame::message(text.to_vec(), OpCode::Data(op), last))
}

#[tokio::test]
async fn each_mistake_is_named_and_the_socket_stays_open() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut socket = socket(&gateway).await;
    let conversation = new_id();
    let subscribe = json!({"type": "subscribe", "conversationId": conversation});
    assert_eq!(socket.ask(&subscribe).await["type"], "subscribed");
    let rows = [
        (json!({"type": "subscribe", "conversationId": conversation}), "already_subscribed", "unsubscribe"),
        (json!({"type": "subscribe", "conversationId": 7}), "invalid_request", "does not fit"),
        (json!({"type": "subscribe", "lastSyncId": "seven"}), "invalid_request", "seven"),
        (json!({"type": "subscribe", "features": "reasoning"}), "invalid_request", "does not fit"),
        (json!({"type": "subscribe", "features": ["mood"]}), "invalid_request", "mood"),
        (json!({"type": "subscribe", "batchMs": 60_000}), "invalid_request", "batchMs"),
        (json!({"type": "subscribe", "scope": "everything"}), "invalid_request", "everything"),
        (json!({"type": "dance"}), "invalid_request", "dance"),
        (json!({"type": 7}), "invalid_request", "does not fit"),
        (json!({}), "invalid_request", "type"),
        (json!([]), "invalid_request", "does not fit"),
        (json!({"type": "message"}), "invalid_request", "prompt"),
        (json!({"type": "message", "content": " "}), "invalid_request", "empty"),
        (json!({"type": "message", "content": ["x"]}), "invalid_request", "does not fit"),
        (json!({"type": "message", "content": "x", "temperature": "hot"}), "invalid_request", "does not fit"),
        (json!({"type": "message", "content": "x", "id": "y".repeat(129)}), "invalid_request", "128"),
        (json!({"type": "message", "content": "x", "id": {}}), "invalid_request", "id"),
        (json!({"type": "cancel"}), "invalid_request", "generationId"),
        (json!({"type": "cancel", "generationId": "x"}), "invalid_request", "does not fit"),
        (json!({"type": "unsubscribe", "conversationId": new_id()}), "not_found", "subscription"),
    ];
    for (message, code, word) in rows {
        let told = socket.ask(&message).await;
        assert_eq!((&told["type"], &told["code"]), (&json!("error"), &json!(code)), "{message}: {told}");
        assert!(told["message"].as_str().is_some_and(|text| text.contains(word)), "{message}: {told}");
        assert!(told["syncId"].is_null() && told["requestId"].is_string(), "{told}");
    }
    for text in ["", "{", "nonsense", "\u{feff}{}"] {
        socket.send_frame(Frame::text(text)).await.expect("sent");
        assert_eq!(socket.get().await["code"], "invalid_request", "{text:?}");
    }
    socket.send_frame(Frame::binary(b"{\"type\":\"ping\"}".to_vec())).await.expect("sent");
    let told = socket.get().await;
    assert!(told["message"].as_str().is_some_and(|text| text.contains("binary")), "{told}");
    socket.is_quiet().await;
    assert!(upstream.calls().is_empty());
}

#[tokio::test]
async fn a_message_may_come_in_pieces_and_pings_between_them() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut socket = socket(&gateway).await;
    let text = json!({"type": "ping", "id": "é"}).to_string().into_bytes();
    for (place, byte) in text.iter().enumerate() {
        let op = if place == 0 { Data::Text } else { Data::Continue };
        socket.send_frame(piece(&[*byte], op, place + 1 == text.len())).await.expect("sent");
        socket.send_frame(Frame::Ping(vec![1].into())).await.expect("sent");
    }
    assert_eq!(socket.get().await, json!({"type": "pong", "id": "é"}));
}

#[tokio::test]
async fn what_breaks_the_protocol_closes_with_its_code() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().toml("[websocket]\nmax_message_bytes = 2048");
    let gateway = Gateway::with(&upstream, setup).await;
    let large = vec![b'x'; 2_049];
    let rows: Vec<(&str, Vec<Frame>, u16)> = vec![
        ("a message that is too large", vec![piece(&large, Data::Text, true)], 1009),
        (
            "pieces that are too large together",
            vec![piece(&large[..1_500], Data::Text, false), piece(&large[..1_500], Data::Continue, false)],
            1009,
        ),
        ("text that is not UTF-8", vec![piece(&[0xff], Data::Text, true)], 1007),
        ("a piece that cannot become UTF-8", vec![piece(&[0xc3, 0x28], Data::Text, false)], 1007),
        ("a piece of nothing", vec![piece(b"x", Data::Continue, true)], 1002),
        ("a message inside another", vec![piece(b"x", Data::Text, false), piece(b"x", Data::Text, true)], 1002),
        ("an unknown kind of frame", vec![piece(b"x", Data::Reserved(3), true)], 1002),
    ];
    for (what, frames, code) in rows {
        let mut socket = socket(&gateway).await;
        for frame in frames {
            // The server may have closed before the last one.
            _ = socket.send_frame(frame).await;
        }
        assert_eq!(socket.closed().await.map(|(code, _)| code), Some(code), "{what}");
    }
    // As much as may be is taken.
    let mut socket = socket(&gateway).await;
    socket.send_frame(piece(&large[..2_048], Data::Text, true)).await.expect("sent");
    assert_eq!(socket.get().await["code"], "invalid_request");
}

#[tokio::test]
async fn a_client_s_close_is_answered_with_its_code() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut socket = socket(&gateway).await;
    let close = CloseFrame { code: CloseCode::Normal, reason: "enough".into() };
    socket.send_frame(Frame::Close(Some(close))).await.expect("sent");
    assert_eq!(socket.closed().await.map(|(code, _)| code), Some(1000));
}

#[tokio::test]
async fn too_many_messages_are_refused_and_then_the_socket_is_closed() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().toml("[websocket]\nmax_messages_per_s = 1\nmessage_burst = 5");
    let gateway = Gateway::with(&upstream, setup).await;
    let mut socket = socket(&gateway).await;
    for _ in 0..40 {
        _ = socket.send_frame(Frame::text(r#"{"type":"ping"}"#)).await;
    }
    let (mut answered, mut warned) = (0, 0);
    let closed = loop {
        match socket.next().await {
            Ok(message) if message["type"] == "pong" => answered += 1,
            Ok(message) => {
                assert_eq!(message["code"], "rate_limited", "{message}");
                warned += 1;
            }
            Err(ended) => break ended,
        }
    };
    assert!(matches!(closed, Ended::Closed(Some((1008, _)))), "{closed:?}");
    assert!((5..=10).contains(&answered), "{answered} were answered");
    assert_eq!(warned, 20);
}

#[tokio::test]
async fn one_caller_and_all_together_have_so_many_places() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().toml("[limits]\nmax_websockets = 2\nmax_streams_per_caller = 3");
    let setup = setup.toml("[server]\ntrusted_proxies = [\"127.0.0.1\"]");
    let gateway = Gateway::with(&upstream, setup).await;
    upstream.script("m", Chat::new().text("Begun.").gate(&Gate::new()).done());
    let open = async |caller: &str| handshake(gateway.address(), "/ws", &[("x-forwarded-for", caller)]).await;
    let (first, second) = (open("192.0.2.1").await, open("192.0.2.1").await);
    assert_eq!((first.0, second.0), (101, 101));
    let (status, head, _) = open("192.0.2.2").await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after: 1\r\n"), "{head}");
    // Streams of the same caller count, those of another one do not.
    let body = json!({"model": "up/m", "prompt": "Go.", "stream": true});
    let stream =
        |caller: &str| crate::support::http::Request::post("/api/generate", &body).header("x-forwarded-for", caller);
    let reading = stream("192.0.2.1").send(gateway.address()).await.expect("an answer");
    assert_eq!(reading.status, 200);
    let refused = stream("192.0.2.1").send(gateway.address()).await.expect("an answer");
    assert_eq!(refused.status, 429);
    assert_eq!(stream("192.0.2.2").send(gateway.address()).await.expect("an answer").status, 200);
    // A place is free again as soon as the socket is gone, however it went.
    drop(second);
    within("the place is free", async {
        while open("192.0.2.2").await.0 != 101 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_socket_has_so_many_subscriptions() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&upstream, Setup::new().toml("[websocket]\nmax_subscriptions = 2")).await;
    let mut socket = socket(&gateway).await;
    for _ in 0..2 {
        assert_eq!(socket.ask(&json!({"type": "subscribe", "conversationId": new_id()})).await["type"], "subscribed");
    }
    let refused = socket.ask(&json!({"type": "subscribe"})).await;
    assert_eq!(refused["code"], "too_many_streams");
    let message = json!({"type": "message", "content": "Go.", "conversationId": new_id()});
    assert_eq!(socket.ask(&message).await["code"], "too_many_streams");
}

/// A socket on a bare connection.
async fn bare(gateway: &Gateway) -> TcpStream {
    let (status, _, tcp) = handshake(gateway.address(), "/ws", &[]).await;
    assert_eq!(status, 101);
    tcp
}

/// A short frame of a client. The mask of zeros leaves the payload as it is.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_closed() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&upstream, Setup::new().toml("[websocket]\nping_ms = 100")).await;
    let mut silent = bare(&gateway).await;
    let mut all = Vec::new();
    within("it is closed", silent.read_to_end(&mut all)).await.expect("closed in order");
    let pings = all.iter().filter(|byte| **byte == 0x89).count();
    assert!(pings >= 2, "{all:?}");
    let close = all.windows(2).rposition(|pair| pair[0] == 0x88).expect("a close frame");
    assert_eq!(all[close + 2..close + 4], 1008_u16.to_be_bytes());
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_and_holds_little() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&upstream, Setup::new().toml("[websocket]\nping_ms = 1000")).await;
    let conversation = new_id();
    let piece = "x".repeat(500);
    let chat = (0..4_000).fold(Chat::new(), |chat, _| chat.text(&piece).pause(Duration::from_millis(1)));
    upstream.script("m", chat.finish("stop").done());
    let mut stuck = bare(&gateway).await;
    let subscribe = json!({"type": "subscribe", "conversationId": conversation}).to_string();
    stuck.write_all(&masked(1, subscribe.as_bytes())).await.expect("sent");
    let mut reader = Tab::new(gateway.address(), &conversation);
    reader.connect(None).await.expect("connected");
    let message = json!({"type": "message", "conversationId": conversation, "content": "Go.", "model": "up/m"});
    let mut sender = socket(&gateway).await;
    assert_eq!(sender.ask(&message).await["type"], "accepted");
    drop(sender);
    let dropped = within("it is dropped", async {
        while open_connections(&gateway).await != Some(1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // The other one reads all of it meanwhile.
    let ((), read) = tokio::join!(dropped, reader.until_ended(1));
    read.expect("the other reader goes on");
    assert_eq!(reader.held()[0].1.len(), 4_000 * 500);
    // All that it was given fits into what may be unconfirmed, and a little for the frame that went beyond.
    let mut given = Vec::new();
    _ = within("what it was given", stuck.read_to_end(&mut given)).await;
    assert!(given.len() < 400 * 1024, "{} bytes", given.len());
}

/// How many connections the gateway says are open, in the last dump that it has written.
async fn open_connections(gateway: &Gateway) -> Option<usize> {
    gateway.signal("USR1").await;
    let log = gateway.log();
    let (_, behind) = log.rsplit_once("connections open=")?;
    behind.split(' ').next()?.parse().ok()
}

#[tokio::test]
async fn the_open_connections_are_written_to_the_log_on_demand() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut socket = socket(&gateway).await;
    let subscribed = socket.ask(&json!({"type": "subscribe"})).await;
    let conversation = subscribed["conversationId"].as_str().expect("an id");
    gateway.signal("USR1").await;
    within("the dump", async {
        loop {
            let log = gateway.log();
            if let Some(line) = log.lines().find(|line| line.contains(" connection ") && line.contains(conversation)) {
                assert!(line.contains("kind=\"ws\"") && line.contains("caller=127.0.0.1"), "{line}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    socket.is_quiet().await;
}

#[tokio::test]
async fn a_panic_ends_one_socket_and_nothing_else() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut other = socket(&gateway).await;
    let mut socket = Socket::open(gateway.address(), "/ws-echo").await;
    socket.send_frame(Frame::text("please panic")).await.expect("sent");
    assert!(socket.next().await.is_err(), "it is gone");
    within("it is forgotten", async {
        while open_connections(&gateway).await != Some(1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    other.is_quiet().await;
}

#[tokio::test]
async fn a_drain_closes_sockets_at_different_times_and_asks_them_to_come_back() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().toml("[server]\nshutdown_grace_ms = 6000");
    let mut gateway = Gateway::with(&upstream, setup).await;
    let gate = Gate::new();
    upstream.script("m", Chat::new().text("Begun.").gate(&gate).text(" Done.").finish("stop").done());
    let mut sender = socket(&gateway).await;
    sender.ask(&json!({"type": "message", "content": "Go.", "model": "up/m"})).await;
    sender.until("update").await;
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.push(socket(&gateway).await);
    }
    gateway.signal("TERM").await;
    // Those that wait for nothing leave while the others still go on.
    let mut waits = Vec::new();
    for socket in &mut idle {
        let (code, reason) = socket.closed().await.expect("a code");
        assert_eq!(code, 1012, "{reason}");
        let ms: u64 = reason.split(' ').find_map(|word| word.parse().ok()).expect("a time to wait");
        waits.push(ms);
    }
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 5, "{waits:?}");
    assert!(Socket::try_open(gateway.address(), "/ws").await.is_err(), "no new ones");
    gate.open();
    assert_eq!(sender.until("complete").await["finishReason"], "stop");
    assert_eq!(sender.closed().await.map(|(code, _)| code), Some(1012));
    assert!(gateway.exit().await.success());
}

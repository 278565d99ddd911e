//! Whole generations over a real database and real sockets, on a clock that stands still until a test moves it.

mod attempts;
mod deadlines;
mod ends;
mod readers;
mod several;
mod storing;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{Instant, advance};

use super::*;
use crate::config::{Config, OnDisconnect, RetryConfig};
use crate::event::{
    Complete, ConversationId, ErrorCode, ErrorEvent, Event, FinishReason, GenerationId, Links, MessageId,
    PROTOCOL_VERSION, Role, Start, SyncId, frame,
};
use crate::journal::{Backlog, Begin, Cursor, InputMessage, MessageStart, MessageStatus, Registry, Scope};
use crate::store::testing::{Folder, Scripted, runtime};
use crate::store::{Recorder, RecorderSettings, Store, StoreError, StoredGeneration};
use crate::upstream::testing::{
    DONE, LAST_CHUNK, STREAM_HEAD, Server, chunk, delta, read_request, request, route, send,
};
use crate::upstream::{Catalogue, Client, Route, Routes};

/// Longer than any wait of a test, in milliseconds of the clock that tests move.
const LONG_MS: u64 = 3_600_000;

const PATIENT: Deadlines = Deadlines {
    store_ms: LONG_MS,
    first_byte_ms: LONG_MS,
    silence_ms: LONG_MS,
    total_ms: 10 * LONG_MS,
    end_ms: LONG_MS,
};

/// Every model is asked once.
const ONCE: RetryConfig = RetryConfig { attempts: 1, base_ms: 1, max_ms: 1 };

/// Runs a test with local tasks and a clock that only the test moves. A test that hangs fails after half a minute of
/// real time.
fn local<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    const BOUND: Duration = Duration::from_secs(30);
    let (done, wait) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
        // A paused clock runs ahead where nothing else happens, except while some blocking work goes on.
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || _ = blocked.recv());
        LocalSet::new().block_on(&runtime, test());
        drop(release);
        _ = done.send(());
    });
    match wait.recv_timeout(BOUND) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the test hangs"),
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

async fn advance_ms(ms: u64) {
    advance(Duration::from_millis(ms)).await;
}

/// Everything around generations.
struct World {
    store: Arc<Scripted>,
    registry: Registry,
    recorder: Recorder,
    running: Arc<Running>,
    client: Client,
    _folder: Folder,
}

impl World {
    /// One that stores soon what nobody waits for.
    async fn new() -> Self {
        World::with(1, u64::MAX).await
    }

    async fn with(tick_ms: u64, max_unstored_bytes: u64) -> Self {
        let folder = Folder::new();
        let store = Scripted::over(folder.open().await);
        let backlog = Backlog::new(max_unstored_bytes);
        let settings = RecorderSettings { tick_ms, max_tick_ms: tick_ms };
        let recorder = Recorder::start(store.clone(), backlog.clone(), settings, &runtime());
        let registry = Registry::new(store.clone(), backlog);
        let client = Client::new(LONG_MS).expect("a client");
        World {
            store,
            registry,
            recorder,
            running: Running::new(Most { in_all: 4, per_conversation: 4 }),
            client,
            _folder: folder,
        }
    }

    /// Starts a generation, with one reader.
    fn start(&self, route: Route, on_disconnect: OnDisconnect, deadlines: Deadlines) -> Started {
        self.start_as(GenerationId::new(), vec![Routes::only(route)], on_disconnect, deadlines, ONCE)
    }

    /// One message for each of `models`.
    fn start_several(&self, models: Vec<Routes>, retry: RetryConfig) -> Started {
        self.start_as(GenerationId::new(), models, OnDisconnect::Continue, PATIENT, retry)
    }

    fn start_as(
        &self,
        id: GenerationId,
        models: Vec<Routes>,
        on_disconnect: OnDisconnect,
        deadlines: Deadlines,
        retry: RetryConfig,
    ) -> Started {
        let journal = self.registry.create(ConversationId::new());
        let input = InputMessage {
            id: MessageId::new(),
            role: Role::User,
            content: "hi".into(),
            tool_calls: Vec::new(),
            tool_call_id: None,
        };
        let output = |routes: &Routes| MessageStart {
            id: MessageId::new(),
            provider: routes.usable[0].name().to_owned(),
            model: routes.usable[0].model().to_owned(),
            metadata: Default::default(),
        };
        let output: Vec<MessageStart> = models.iter().map(output).collect();
        let messages: Vec<MessageId> = output.iter().map(|output| output.id).collect();
        let start = |output: &MessageStart| Start {
            protocol: PROTOCOL_VERSION,
            conversation_id: journal.id(),
            message_id: output.id,
            generation_id: id,
            role: Role::Assistant,
            reply_to: Some(input.id),
            provider: output.provider.clone(),
            model: output.model.clone(),
            created_at: crate::event::rfc3339(1),
            links: Links::new("", journal.id(), id),
            streaming: true,
        };
        let parts = output.iter().zip(models).map(|(output, routes)| Part { start: start(output), routes }).collect();
        let begin = Begin {
            idempotency_key: None,
            conversation: journal.id(),
            new_conversation: true,
            generation: id,
            body_hash: [0; 32],
            request_id: "request-1".into(),
            task_id: None,
            input: vec![input],
            output,
            at_us: 1,
        };
        let handle = Handle::new(
            Identity { id, id_is_clients: true, key: None, body_hash: [0; 32] },
            None,
            &messages,
            None,
            journal.clone(),
        );
        let reader = handle.read();
        self.running.insert(handle.clone());
        let cursor = Cursor::new(journal, self.store.clone(), Scope::Generation(id), handle.before, None);
        spawn(Job {
            handle: handle.clone(),
            running: self.running.clone(),
            admission: self.running.admit(None).expect("a place"),
            begin,
            parts,
            request: request(),
            client: self.client.clone(),
            on_disconnect,
            deadlines,
            retry,
            max_answer_bytes: usize::MAX,
            share: Budget::new(0).share(),
            received_at: Instant::now(),
        });
        Started { handle, reader: Some(reader), cursor, events: Vec::new() }
    }

    /// Starts a generation at a provider that a test plays by hand; the provider has read the request.
    async fn start_at_server(&self, on_disconnect: OnDisconnect, deadlines: Deadlines) -> (Started, TcpStream) {
        let server = Server::start().await;
        let started = self.start(route(&server.base_url()), on_disconnect, deadlines);
        let mut socket = server.accept().await;
        read_request(&mut socket).await;
        (started, socket)
    }

    /// The same, in the middle of its answer: `Hello` was sent and read.
    async fn start_in_the_middle(&self, on_disconnect: OnDisconnect, deadlines: Deadlines) -> (Started, TcpStream) {
        let (mut started, mut socket) = self.start_at_server(on_disconnect, deadlines).await;
        send(&mut socket, STREAM_HEAD).await;
        started.hear(&mut socket, "Hello").await;
        started.take_head().await;
        (started, socket)
    }

    /// Ends the recorder, and gives back what the database has of a generation.
    async fn stored(self, started: Started) -> StoredGeneration {
        let (conversation, message) = (started.handle.journal.id(), started.handle.messages().next());
        drop(started);
        assert!(self.recorder.stop(LONG_MS).await, "everything is stored");
        assert_eq!(self.running.count(), 0, "no place is taken");
        // By its message: a generation that failed before its head is stored under another id.
        let messages = self.store.messages(conversation).await.expect("the store");
        let made = messages.into_iter().find(|made| Some(made.id) == message).expect("its message");
        let stored = self.store.generation(made.generation).await.expect("the store").expect("a generation");
        assert_ne!(stored.status, MessageStatus::Streaming, "its end is stored");
        stored
    }
}

/// A generation, and its reader.
struct Started {
    handle: Arc<Handle>,
    reader: Option<Reader>,
    cursor: Cursor,
    events: Vec<Event>,
}

/// How a generation ended for its reader.
struct End {
    text: String,
    terminal: Event,
}

impl Started {
    /// Has the provider send `text`, and waits until the reader has it: the generation goes on.
    async fn hear(&mut self, socket: &mut TcpStream, text: &str) {
        send(socket, &chunk(&delta(text))).await;
        let before = self.text().len();
        while self.text().len() < before + text.len() {
            assert!(self.next().await, "it ended: {:?}", self.events.last());
        }
        assert!(self.text().ends_with(text));
    }

    /// Whoever reads a generation has been told that it goes on: a failure before that leaves its id, and is read under it
    /// by nobody.
    async fn take_head(&self) {
        self.handle.head(Duration::ZERO).await.expect("it goes on");
    }

    async fn next(&mut self) -> bool {
        let Some(run) = self.cursor.next().await.expect("pages") else { return false };
        self.events.extend(frame::frames(&run.frames).map(|frame| frame.event().expect("an event")));
        true
    }

    fn text(&self) -> String {
        let texts = self.events.iter().filter_map(|event| match event {
            Event::Text(delta) => Some(delta.content.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// Reads to the end, and checks that it is one.
    async fn end(&mut self) -> End {
        while self.next().await {}
        assert!(matches!(self.events.first(), Some(Event::Start(_))), "{:?}", self.events);
        assert_eq!(self.events.iter().filter(|event| event.is_terminal()).count(), 1, "{:?}", self.events);
        let terminal = self.events.last().cloned().expect("events");
        assert!(terminal.is_terminal());
        let ended = self.handle.ended().await.expect("an end");
        assert_eq!(ended.last, self.handle.journal.ended(self.handle.id).expect("an end"));
        End { text: self.text(), terminal }
    }
}

impl End {
    fn complete(&self) -> &Complete {
        let Event::Complete(complete) = &self.terminal else { panic!("it failed: {:?}", self.terminal) };
        assert!(complete.is_final);
        complete
    }

    fn error(&self) -> &ErrorEvent {
        let Event::Error(error) = &self.terminal else { panic!("it did not fail: {:?}", self.terminal) };
        assert!(error.is_final);
        assert_eq!(error.request_id, "request-1");
        error
    }
}

/// Waits until the other side has hung up.
async fn hung_up(socket: &mut TcpStream) {
    let mut rest = Vec::new();
    // A connection that is reset is as gone as one that is closed.
    _ = socket.read_to_end(&mut rest).await;
}

fn demo(model: &str) -> Route {
    let config =
        Config::load_from(&Default::default(), &Default::default(), crate::upstream::PROTOCOLS).expect("the defaults");
    Catalogue::new(&config).expect("known protocols").route(Some(&format!("demo/{model}"))).expect("a route")
}

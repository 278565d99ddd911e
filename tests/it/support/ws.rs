//! A client of the sync engine: a stock WebSocket library, and the contract's rules about what comes over it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message as Frame};

use super::fold::Message;
use super::within;

/// Why nothing more comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The server closed, with this code and reason.
    Closed(Option<(u16, String)>),
    /// This client cut the connection after the agreed bytes.
    Cut,
    /// The connection broke.
    Broken(String),
}

/// A socket on which text messages go both ways.
pub struct Socket {
    stream: WebSocketStream<Wire>,
}

/// A connection that is cut after some bytes.
pub struct Wire {
    tcp: TcpStream,
    budget: Option<usize>,
}

impl Wire {
    /// A connection that lasts.
    pub async fn connect(to: SocketAddr) -> Result<Self, Ended> {
        let tcp = TcpStream::connect(to).await.map_err(|error| Ended::Broken(error.to_string()))?;
        tcp.set_nodelay(true).expect("a socket option");
        Ok(Wire { tcp, budget: None })
    }
}

const CUT: &str = "cut by the client";

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(budget) = self.budget else { return Pin::new(&mut self.tcp).poll_read(cx, buf) };
        if budget == 0 {
            return Poll::Ready(Err(io::Error::other(CUT)));
        }
        let mut room = buf.take(budget);
        let read = Pin::new(&mut self.tcp).poll_read(cx, &mut room);
        let count = room.filled().len();
        buf.advance(count);
        self.budget = Some(budget - count);
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Socket {
    /// Opens a socket at `path`.
    pub async fn open(to: SocketAddr, path: &str) -> Self {
        Self::try_open(to, path).await.expect("the handshake is answered")
    }

    /// The same where it may be refused.
    pub async fn try_open(to: SocketAddr, path: &str) -> Result<Self, Ended> {
        let wire = Wire::connect(to).await?;
        let handshake = tokio_tungstenite::client_async(format!("ws://{to}{path}"), wire);
        let (stream, _) = within("the handshake", handshake).await.map_err(|error| Ended::Broken(error.to_string()))?;
        Ok(Socket { stream })
    }

    /// From now on the connection is cut after so many bytes more.
    pub fn cut_after(&mut self, bytes: usize) {
        self.stream.get_mut().budget = Some(bytes);
    }

    /// Sends a JSON message.
    pub async fn send(&mut self, message: &Value) {
        self.send_frame(Frame::text(message.to_string())).await.expect("the socket takes a message");
    }

    /// Sends any frame.
    pub async fn send_frame(&mut self, frame: Frame) -> Result<(), Ended> {
        self.stream.send(frame).await.map_err(ended)
    }

    /// The next message, which must be JSON in a text frame. Pings are answered meanwhile.
    pub async fn next(&mut self) -> Result<Value, Ended> {
        loop {
            match within("a message", self.stream.next()).await {
                Some(Ok(Frame::Text(text))) => {
                    return Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}")));
                }
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                Some(Ok(Frame::Close(frame))) => {
                    // The library answers it and then says that the connection is closed.
                    while let Some(Ok(_)) = self.stream.next().await {}
                    return Err(Ended::Closed(frame.map(|frame| (frame.code.into(), frame.reason.to_string()))));
                }
                Some(Ok(other)) => panic!("not a text message: {other:?}"),
                Some(Err(error)) => return Err(ended(error)),
                None => return Err(Ended::Closed(None)),
            }
        }
    }

    /// The next message, where nothing may go wrong.
    pub async fn get(&mut self) -> Value {
        self.next().await.unwrap_or_else(|ended| panic!("no message: {ended:?}"))
    }

    /// Sends a message and gives the next one that comes.
    pub async fn ask(&mut self, message: &Value) -> Value {
        self.send(message).await;
        self.get().await
    }

    /// Reads to the end of a message of a model, and gives what it thought and said, and the end.
    pub async fn answer(&mut self) -> (String, String, Value) {
        let (mut reasoning, mut text) = (String::new(), String::new());
        loop {
            let message = self.get().await;
            let piece = |key: &str| message["delta"][key].as_str().unwrap_or_default().to_owned();
            reasoning.push_str(&piece("reasoning"));
            text.push_str(&piece("content"));
            if message["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("complete")) {
                return (reasoning, text, message);
            }
        }
    }

    /// Reads messages up to the first of that type.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.get().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Waits for the server's close.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            match self.next().await {
                Ok(_) => {}
                Err(Ended::Closed(frame)) => return frame,
                Err(other) => panic!("not closed in order: {other:?}"),
            }
        }
    }

    /// Asserts that nothing was said before the answer to this question.
    pub async fn is_quiet(&mut self) {
        assert_eq!(self.ask(&json!({"type": "ping"})).await, json!({"type": "pong"}));
    }
}

fn ended(error: tungstenite::Error) -> Ended {
    match error {
        tungstenite::Error::Io(error) if error.to_string() == CUT => Ended::Cut,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => Ended::Closed(None),
        other => Ended::Broken(other.to_string()),
    }
}

/// Asks for a WebSocket at `path` on a bare connection. Gives the status, the rest of the head in lower case, and the
/// connection.
pub async fn handshake(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String, TcpStream) {
    let mut tcp = TcpStream::connect(to).await.expect("a connection");
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nhost: {to}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    tcp.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("the head", tcp.read_u8()).await.expect("a byte"));
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head, tcp)
}

/// A client that reads one conversation, over as many connections as it takes.
pub struct Tab {
    address: SocketAddr,
    conversation: String,
    socket: Option<Socket>,
    /// The last number that it saw.
    pub last: u64,
    /// What it holds, by message.
    pub messages: BTreeMap<String, Message>,
    /// The user's messages, as they came.
    pub said: Vec<String>,
    /// How often it was told that its position is not exact.
    pub inexact: usize,
}

impl Tab {
    /// Not connected yet.
    pub fn new(address: SocketAddr, conversation: &str) -> Self {
        Tab {
            address,
            conversation: conversation.to_owned(),
            socket: None,
            last: 0,
            messages: BTreeMap::new(),
            said: Vec::new(),
            inexact: 0,
        }
    }

    /// Looks for the gateway elsewhere from now on.
    pub fn move_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Connects and subscribes after the last number; the connection is cut after some bytes, if so agreed.
    pub async fn connect(&mut self, cut_after: Option<usize>) -> Result<(), Ended> {
        let mut socket = Socket::try_open(self.address, "/ws").await?;
        if let Some(bytes) = cut_after {
            socket.cut_after(bytes);
        }
        let subscribe = json!({
            "type": "subscribe", "scope": "chat", "conversationId": self.conversation, "lastSyncId": self.last,
        });
        socket.send_frame(Frame::text(subscribe.to_string())).await?;
        let answer = socket.next().await?;
        assert_eq!(answer["type"], "subscribed", "{answer}");
        if answer["verdict"] != "exact" {
            // Everything that it holds is about to be told again.
            self.inexact += 1;
            self.messages.clear();
            self.said.clear();
            self.last = 0;
        }
        self.socket = Some(socket);
        Ok(())
    }

    /// The socket that is open.
    pub fn socket(&mut self) -> &mut Socket {
        self.socket.as_mut().expect("connected")
    }

    /// Takes the next message.
    pub async fn step(&mut self) -> Result<Value, Ended> {
        let message = self.socket().next().await?;
        self.apply(&message);
        Ok(message)
    }

    /// Reads until `count` messages of models have ended.
    pub async fn until_ended(&mut self, count: usize) -> Result<(), Ended> {
        while self.messages.values().filter(|message| message.terminal.is_some()).count() < count {
            self.step().await?;
        }
        Ok(())
    }

    fn apply(&mut self, message: &Value) {
        let kind = message["type"].as_str().expect("a type");
        if !matches!(kind, "update" | "complete" | "error" | "event") || message["messageId"].is_null() {
            return;
        }
        if let Some(id) = message["syncId"].as_u64() {
            assert!(id > self.last, "{id} after {}: {message}", self.last);
            self.last = id;
        }
        let id = message["messageId"].as_str().expect("an id").to_owned();
        let event = native(message);
        if event["type"] == "message" {
            self.said.push(event["content"].as_str().expect("content").to_owned());
            return;
        }
        self.messages.entry(id).or_default().apply(&event);
    }

    /// All thinking and all answers that it holds, by message, each with a `check` that was verified where there is one.
    pub fn held(&self) -> Vec<(String, String)> {
        self.messages.values().map(|message| (message.reasoning.clone(), message.text.clone())).collect()
    }
}

/// A message of the sync engine as the event that it tells.
pub fn native(message: &Value) -> Value {
    match message["type"].as_str().unwrap_or_default() {
        "update" => {
            let (kind, content) = match (&message["delta"]["reasoning"], &message["delta"]["content"]) {
                (Value::String(text), Value::Null) => ("reasoning", text),
                (Value::Null, Value::String(text)) => ("text", text),
                _ => panic!("not one delta: {message}"),
            };
            json!({ "type": kind, "content": content })
        }
        "event" => message["event"].clone(),
        _ => message.clone(),
    }
}

//! One stream of the load client: the request, the answer and the stamps in it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, ready};

use memchr::memmem;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::error::{Context as _, Error, Result};
use crate::http::{Dechunker, head_bytes, header, status};
use crate::load::{Outcome, Progress};
use crate::params::StreamParams;
use crate::scan::{Scanner, Tally};
use crate::sys::monotonic_ns;
use crate::ws::frame::{self, FrameReader, Opcode};
use crate::ws::wire::{self, Said};

const PROMPT: &str = "Which of the two cases holds? Think it through, then answer.";
/// Kept of each body, for its end or its error.
const TAIL_BYTES: usize = 2048;
const EXCERPT_BYTES: usize = 400;
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How to ask, and what a proper end looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Api {
    /// `POST /v1/chat/completions`: the upstream itself, or a relay that passes bytes on.
    Openai,
    /// `POST /api/generate`, with the upstream as the provider `bench`.
    Generate,
    /// A `message` over `GET /ws`, with the upstream as the provider `bench`.
    Ws,
}

impl Api {
    fn request(self, address: SocketAddr, params: &StreamParams) -> String {
        let (path, body) = match self {
            Self::Ws => return wire::handshake(address),
            Self::Openai => (
                "/v1/chat/completions",
                serde_json::json!({
                    "model": params.to_string(), "messages": [{"role": "user", "content": PROMPT}],
                    "stream": true, "stream_options": {"include_usage": true},
                }),
            ),
            Self::Generate => (
                "/api/generate",
                serde_json::json!({"model": format!("bench/{params}"), "prompt": PROMPT, "stream": true}),
            ),
        };
        let body = body.to_string();
        format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\naccept: text/event-stream\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn end(self) -> &'static [u8] {
        match self {
            Self::Openai => b"data: [DONE]",
            Self::Generate | Self::Ws => br#""type":"complete""#,
        }
    }
}

/// Waits until a number of readers are there.
#[derive(Debug)]
pub struct Gathering {
    missing: Cell<u64>,
    whole: Notify,
}

impl Gathering {
    /// For this many.
    pub fn of(readers: u64) -> Self {
        Self { missing: Cell::new(readers), whole: Notify::new() }
    }

    /// One more is there.
    fn enter(&self) {
        self.missing.set(self.missing.get().saturating_sub(1));
        if self.missing.get() == 0 {
            self.whole.notify_one();
        }
    }

    /// Until all are there; for one who waits.
    pub async fn whole(&self) {
        if self.missing.get() > 0 {
            self.whole.notified().await;
        }
    }
}

/// The state of one stream.
#[derive(Debug)]
pub struct Stream {
    api: Api,
    params: StreamParams,
    /// What other threads see.
    pub progress: Arc<Progress>,
    /// Where latencies and the verdict go.
    pub outcome: Rc<RefCell<Outcome>>,
    buffer: Rc<RefCell<Vec<u8>>>,
    /// The books of this stream.
    pub tally: Tally,
    head: Option<Vec<u8>>,
    body: Body,
    scanner: Scanner,
    tail: Vec<u8>,
}

/// What the bytes after the head are wrapped in.
#[derive(Debug)]
enum Body {
    Chunks(Dechunker),
    Frames(Box<Frames>),
}

/// The state of a WebSocket.
#[derive(Debug)]
struct Frames {
    reader: FrameReader,
    /// The first message, once the socket is open.
    first: String,
    /// What is to be sent next.
    out: Vec<u8>,
    /// Who wants to know that the gateway has subscribed us.
    gathering: Option<Rc<Gathering>>,
}

impl Stream {
    /// A stream that has yet to ask.
    pub fn new(
        api: Api,
        params: StreamParams,
        progress: Arc<Progress>,
        outcome: Rc<RefCell<Outcome>>,
        buffer: Rc<RefCell<Vec<u8>>>,
    ) -> Self {
        let tally = Tally::new(params.chunks);
        let body = match api {
            Api::Openai | Api::Generate => Body::Chunks(Dechunker::default()),
            Api::Ws => Body::frames(wire::message(&params, PROMPT, None), None),
        };
        let (head, tail, scanner) = (Some(Vec::new()), Vec::new(), Scanner::default());
        Self { api, params, progress, outcome, buffer, tally, head, body, scanner, tail }
    }

    /// Asks over a WebSocket, in this conversation.
    #[must_use]
    pub fn asking_in(mut self, conversation: &str) -> Self {
        self.body = Body::frames(wire::message(&self.params, PROMPT, Some(conversation)), None);
        self
    }

    /// Only reads this conversation, over a WebSocket.
    #[must_use]
    pub fn reading(mut self, conversation: &str, gathering: Rc<Gathering>) -> Self {
        self.body = Body::frames(wire::subscribe(Some(conversation)), Some(gathering));
        self
    }

    /// Asks, and reads the answer to its end.
    pub async fn exchange(&mut self, address: SocketAddr) -> Result<()> {
        let mut socket = TcpStream::connect(address).await.context("connecting")?;
        socket.set_nodelay(true)?;
        let request = self.api.request(address, &self.params);
        socket.write_all(request.as_bytes()).await.context("sending the request")?;

        let buffer = Rc::clone(&self.buffer);
        // One read a wake-up; the moment of the read is that of all stamps in it.
        while !poll_fn(|cx| {
            let mut buffer = buffer.borrow_mut();
            let mut read = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut socket).poll_read(cx, &mut read)).context("reading")?;
            Poll::Ready(match read.filled() {
                [] => Err(format!("the connection ended early; last came {}", self.excerpt()).into()),
                bytes => self.take(bytes, monotonic_ns()),
            })
        })
        .await?
        {
            if let Body::Frames(frames) = &mut self.body
                && !frames.out.is_empty()
            {
                socket.write_all(&frames.out).await.context("answering")?;
                frames.out.clear();
            }
        }

        match memmem::rfind(&self.tail, self.api.end()) {
            Some(_) => Ok(()),
            None => Err(format!("no proper end; last came {}", self.excerpt()).into()),
        }
    }

    /// Looks at what a read gave; `true` once the body has ended.
    fn take(&mut self, bytes: &[u8], now_ns: u64) -> Result<bool> {
        let Some(mut head) = self.head.take() else { return self.body(bytes, now_ns) };
        head.extend_from_slice(bytes);
        match head_bytes(&head) {
            Some(head_bytes) => {
                let text = String::from_utf8_lossy(&head[..head_bytes]);
                let expected = if self.api == Api::Ws { 101 } else { 200 };
                if status(&text) != Some(expected) {
                    return Err(format!("answered {}", excerpt(&head)).into());
                }
                if let Body::Frames(frames) = &mut self.body {
                    wire::write_text(&frames.first, &mut frames.out);
                } else if !header(&text, "transfer-encoding")
                    .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
                {
                    return Err("the answer is not chunked".into());
                }
                self.body(&head[head_bytes..], now_ns)
            }
            None if head.len() > MAX_HEAD_BYTES => Err("the answer's head is too long".into()),
            None => {
                self.head = Some(head);
                Ok(false)
            }
        }
    }

    fn body(&mut self, bytes: &[u8], now_ns: u64) -> Result<bool> {
        let Self { progress, outcome, tally, scanner, tail, .. } = self;
        let (mut outcome, mut stamps) = (outcome.borrow_mut(), 0);
        let window = progress.window.load(Relaxed);
        let mut scan = |data: &[u8]| {
            scanner.feed(data, |stamp| {
                tally.enter(stamp.seq);
                stamps += 1;
                if window {
                    outcome.latency.record(now_ns.saturating_sub(stamp.sent_ns));
                }
            });
        };
        let done = match &mut self.body {
            Body::Chunks(chunks) => chunks.feed(bytes, |data| {
                scan(data);
                keep_tail(tail, data);
            })?,
            Body::Frames(frames) => frames.feed(bytes, tail, scan)?,
        };
        if stamps > 0 {
            if tally.received == stamps {
                progress.started.fetch_add(1, Relaxed);
            }
            progress.chunks.fetch_add(stamps, Relaxed);
        }
        Ok(done)
    }

    fn excerpt(&self) -> String {
        excerpt(&self.tail[self.tail.len().saturating_sub(EXCERPT_BYTES)..])
    }
}

impl Body {
    fn frames(first: String, gathering: Option<Rc<Gathering>>) -> Self {
        Self::Frames(Box::new(Frames { reader: FrameReader::default(), first, out: Vec::new(), gathering }))
    }
}

impl Frames {
    /// Looks at what a read gave; `true` once the message has ended. What is no update goes into `tail`.
    fn feed(&mut self, bytes: &[u8], tail: &mut Vec<u8>, mut scan: impl FnMut(&[u8])) -> Result<bool> {
        let Self { reader, out, gathering, .. } = self;
        reader.feed::<Error>(bytes, |opcode, payload| {
            match opcode {
                Opcode::Text => {
                    let said = Said::of(payload);
                    if said == Said::Update {
                        scan(payload);
                        return Ok(false);
                    }
                    keep_tail(tail, payload);
                    match said {
                        Said::Complete => return Ok(true),
                        Said::Error => return Err(format!("was told {}", excerpt(payload)).into()),
                        Said::Subscribed => {
                            if let Some(gathering) = gathering.take() {
                                gathering.enter();
                            }
                        }
                        Said::Update | Said::Other => {}
                    }
                }
                Opcode::Ping => frame::write(Opcode::Pong, payload, out),
                Opcode::Pong => {}
                Opcode::Close => return Err(format!("the gateway closed: {}", excerpt(payload)).into()),
            }
            Ok(false)
        })
    }
}

fn excerpt(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT_BYTES)]))
}

fn keep_tail(tail: &mut Vec<u8>, data: &[u8]) {
    let data = &data[data.len().saturating_sub(TAIL_BYTES)..];
    let surplus = (tail.len() + data.len()).saturating_sub(TAIL_BYTES);
    tail.drain(..surplus);
    tail.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end_of_the_body() {
        let (mut tail, mut body) = (Vec::new(), Vec::new());
        for (round, length) in [3, 2000, 100, 5000, 1, 2048, 2047].into_iter().enumerate() {
            let data = vec![round as u8; length];
            body.extend_from_slice(&data);
            keep_tail(&mut tail, &data);
            assert_eq!(tail, body[body.len().saturating_sub(TAIL_BYTES)..]);
        }
    }
}

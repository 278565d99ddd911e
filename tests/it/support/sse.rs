//! A strict reader of Server-Sent Events: it accepts only the frames that the wire contract promises.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::Value;

use super::http::{Ended, Exchange, Headers, Request, Response};
use super::within;

/// No `data:` line is longer, apart from those of [`UNBOUNDED`].
pub const MAX_LINE_BYTES: usize = 4096;

/// Events whose line may be longer than [`MAX_LINE_BYTES`].
const UNBOUNDED: [&str; 3] = ["reset", "message", "tool_result"];

/// One event as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its number; none on `resumed` and inside the compact form of a conversation.
    pub id: Option<u64>,
    /// The text behind `data: `.
    pub data: String,
    /// The same, parsed.
    pub json: Value,
    /// When it was complete.
    pub at: Instant,
}

impl Frame {
    /// The event's type.
    pub fn kind(&self) -> &str {
        self.json["type"].as_str().unwrap_or_else(|| panic!("an event without a type: {}", self.data))
    }

    /// Whether this is the last event of its message.
    pub fn is_terminal(&self) -> bool {
        matches!(self.kind(), "complete" | "error")
    }

    /// Its `content`, or nothing where it has none.
    pub fn content(&self) -> &str {
        self.json["content"].as_str().unwrap_or_default()
    }
}

/// What a stream consists of.
#[derive(Clone, Debug)]
pub enum Item {
    /// An event.
    Frame(Frame),
    /// A comment line without its colon.
    Comment(String),
    /// How many milliseconds to wait before coming back.
    Retry(u64),
}

/// From bytes to items. Panics on every form that the contract does not promise.
#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    id: Option<u64>,
    data: Option<String>,
    retry: Option<u64>,
    /// Whether what comes are OpenAI's chunks.
    chunks: bool,
}

impl Parser {
    /// For OpenAI's chunks, which have no type, and a last one that is no JSON and is given as a text.
    pub fn of_chunks() -> Self {
        Parser { chunks: true, ..Parser::default() }
    }

    /// Takes the next bytes and gives back what is complete now.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                let line = String::from_utf8(std::mem::take(&mut self.line)).expect("a line is UTF-8");
                items.extend(self.line(line));
            } else {
                self.line.push(byte);
            }
        }
        items
    }

    fn line(&mut self, line: String) -> Option<Item> {
        assert!(!line.contains('\r'), "a carriage return in {line:?}");
        if line.is_empty() {
            if let Some(retry) = self.retry.take() {
                return Some(Item::Retry(retry));
            }
            let Some(data) = self.data.take() else {
                assert!(self.id.is_none(), "a frame with a number and no data");
                return None;
            };
            let json = match self.chunks && data == "[DONE]" {
                true => Value::from(data.as_str()),
                false => serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error} in {data}")),
            };
            assert!(self.chunks || json.is_object(), "not an object: {data}");
            let frame = Frame { id: self.id.take(), data, json, at: Instant::now() };
            let line_bytes = frame.data.len() + "data: ".len();
            let bounded = self.chunks || !UNBOUNDED.contains(&frame.kind());
            assert!(line_bytes <= MAX_LINE_BYTES || !bounded, "a line of {line_bytes} bytes");
            return Some(Item::Frame(frame));
        }
        if let Some(comment) = line.strip_prefix(':') {
            return Some(Item::Comment(comment.trim().to_owned()));
        }
        assert!(self.retry.is_none(), "`retry:` is not a block of its own: {line:?}");
        if let Some(retry) = line.strip_prefix("retry: ") {
            assert!(self.id.is_none() && self.data.is_none(), "`retry:` inside a frame");
            self.retry = Some(retry.parse().unwrap_or_else(|_| panic!("not a time: {retry:?}")));
        } else if let Some(id) = line.strip_prefix("id: ") {
            assert!(self.id.is_none() && self.data.is_none(), "`id:` is not the frame's first line");
            self.id = Some(id.parse().unwrap_or_else(|_| panic!("not a number: {id:?}")));
        } else if let Some(data) = line.strip_prefix("data: ") {
            assert!(self.data.is_none(), "a second data line in one frame");
            self.data = Some(data.to_owned());
        } else {
            panic!("neither id, data, retry nor comment: {line:?}");
        }
        None
    }
}

/// A client of one stream of events, over as many connections as it takes.
pub struct Reader {
    to: SocketAddr,
    exchange: Option<Exchange>,
    parser: Parser,
    items: VecDeque<Item>,
    /// The head of the latest response.
    pub headers: Headers,
    /// Every event so far, `resumed` included.
    pub frames: Vec<Frame>,
    /// How many comment lines came so far.
    pub comments: usize,
    /// Every time in milliseconds that the server asked this client to wait before it comes back.
    pub retries: Vec<u64>,
    /// The number of the last complete event.
    pub last_id: Option<u64>,
    events_path: Option<String>,
}

impl Reader {
    /// Opens a stream. Any other answer than a stream of events is given back as it is.
    pub async fn try_open(to: SocketAddr, request: &Request) -> Result<Self, Response> {
        let sent = within("the head of a stream", request.send(to)).await;
        let exchange = sent.unwrap_or_else(|ended| panic!("no head: {ended:?}"));
        if exchange.status != 200 || !is_event_stream(&exchange.headers) {
            let response = within("the body of a refusal", exchange.response()).await;
            return Err(response.unwrap_or_else(|ended| panic!("no whole refusal: {ended:?}")));
        }
        let mut reader = Self::away(to);
        reader.headers = exchange.headers.clone();
        reader.exchange = Some(exchange);
        Ok(reader)
    }

    /// A client that has not connected yet.
    pub fn away(to: SocketAddr) -> Self {
        Reader {
            to,
            headers: Headers::default(),
            exchange: None,
            parser: Parser::default(),
            items: VecDeque::new(),
            frames: Vec::new(),
            comments: 0,
            retries: Vec::new(),
            last_id: None,
            events_path: None,
        }
    }

    /// Opens a stream that must open.
    pub async fn open(to: SocketAddr, request: &Request) -> Self {
        match Self::try_open(to, request).await {
            Ok(reader) => reader,
            Err(response) => panic!("{} instead of a stream: {}", response.status, response.text()),
        }
    }

    /// The next event, or why there is none.
    pub async fn next(&mut self) -> Result<Frame, Ended> {
        loop {
            match self.items.pop_front() {
                Some(Item::Comment(_)) => self.comments += 1,
                Some(Item::Retry(retry)) => self.retries.push(retry),
                Some(Item::Frame(frame)) => return Ok(self.take(frame)),
                None => self.read().await?,
            }
        }
    }

    /// Waits until one more comment line has come; events on the way are kept.
    pub async fn comment(&mut self) -> String {
        loop {
            match self.items.pop_front() {
                Some(Item::Comment(comment)) => {
                    self.comments += 1;
                    return comment;
                }
                Some(Item::Retry(retry)) => self.retries.push(retry),
                Some(Item::Frame(frame)) => drop(self.take(frame)),
                None => self.read().await.unwrap_or_else(|ended| panic!("{ended:?} before a comment")),
            }
        }
    }

    /// Waits until the server has asked this client once more to wait before it comes back; events on the way are kept.
    pub async fn retry(&mut self) -> u64 {
        loop {
            match self.items.pop_front() {
                Some(Item::Comment(_)) => self.comments += 1,
                Some(Item::Retry(retry)) => {
                    self.retries.push(retry);
                    return retry;
                }
                Some(Item::Frame(frame)) => drop(self.take(frame)),
                None => self.read().await.unwrap_or_else(|ended| panic!("{ended:?} before `retry:`")),
            }
        }
    }

    async fn read(&mut self) -> Result<(), Ended> {
        let exchange = self.exchange.as_mut().expect("the stream is open");
        let data = within("more of a stream", exchange.data()).await;
        match data {
            Ok(data) => self.items.extend(self.parser.feed(&data)),
            Err(ended) => {
                self.exchange = None;
                return Err(ended);
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: Frame) -> Frame {
        if let Some(id) = frame.id {
            assert!(id > self.last_id.unwrap_or(0), "number {id} after {:?}: {}", self.last_id, frame.data);
            self.last_id = Some(id);
        } else {
            // In the compact form of several messages only the last of these has a number.
            let may_lack_one = matches!(frame.kind(), "resumed" | "message" | "reset" | "complete" | "error");
            assert!(may_lack_one, "an event without a number: {}", frame.data);
        }
        if frame.kind() == "start" && self.events_path.is_none() {
            self.events_path = frame.json["links"]["events"].as_str().map(str::to_owned);
        }
        self.frames.push(frame.clone());
        frame
    }

    /// Reads on to the first event that `wanted` accepts.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            match self.next().await {
                Ok(frame) if wanted(&frame) => return frame,
                Ok(_) => {}
                Err(ended) => panic!("{ended:?} before {what}; so far: {:#?}", self.kinds()),
            }
        }
    }

    /// Reads on to the first event of that type.
    pub async fn until_kind(&mut self, kind: &str) -> Frame {
        self.until(kind, |frame| frame.kind() == kind).await
    }

    /// Reads on until the contents of all events of that type contain `text`.
    pub async fn until_content(&mut self, kind: &str, text: &str) {
        while !self.content(kind).contains(text) {
            self.until(&format!("{kind} with {text:?}"), |frame| frame.kind() == kind).await;
        }
    }

    /// All contents of events of that type so far.
    pub fn content(&self, kind: &str) -> String {
        self.frames.iter().filter(|frame| frame.kind() == kind).map(Frame::content).collect()
    }

    /// Reads to the end of the response, which must be a clean one.
    pub async fn finish(&mut self) -> &[Frame] {
        loop {
            match self.next().await {
                Ok(_) => {}
                Err(Ended::Clean) => return &self.frames,
                Err(ended) => panic!("{ended:?} instead of a clean end; so far: {:#?}", self.kinds()),
            }
        }
    }

    /// The types of all events so far, in order.
    pub fn kinds(&self) -> Vec<&str> {
        self.frames.iter().map(Frame::kind).collect()
    }

    /// Closes the connection. What was not complete is forgotten, as a browser would.
    pub fn cut(&mut self) {
        self.exchange = None;
        self.items.clear();
        self.parser = Parser::default();
    }

    /// Where `start` said the events can be had again.
    pub fn events_path(&self) -> &str {
        self.events_path.as_deref().expect("`start` was seen")
    }

    /// The server has a new address.
    pub const fn move_to(&mut self, to: SocketAddr) {
        self.to = to;
    }

    /// Tells the reader where to come back before `start` was seen.
    pub fn set_events_path(&mut self, path: impl Into<String>) {
        self.events_path = Some(path.into());
    }

    /// The request with which this reader would come back.
    pub fn resume_request(&self) -> Request {
        let request = Request::get(self.events_path()).header("accept", "text/event-stream");
        match self.last_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        }
    }

    /// Comes back with the last number it saw, which must be accepted.
    pub async fn resume(&mut self) {
        let request = self.resume_request();
        self.resume_with(&request).await.unwrap_or_else(|ended| panic!("not resumed: {ended:?}"));
    }

    /// Comes back with a request of the caller's making. `Err(Clean)` stands for 204: there is nothing more.
    pub async fn resume_with(&mut self, request: &Request) -> Result<(), Ended> {
        self.cut();
        let exchange = within("the head of a resumed stream", request.send(self.to)).await?;
        if exchange.status == 204 {
            return Err(Ended::Clean);
        }
        if exchange.status != 200 {
            let status = exchange.status;
            let response = exchange.response().await?;
            panic!("{status} instead of a resumed stream: {}", response.text());
        }
        self.headers = exchange.headers.clone();
        self.exchange = Some(exchange);
        Ok(())
    }

    /// The verdict of the latest `resumed`.
    pub fn verdict(&self) -> &str {
        let resumed = self.frames.iter().rfind(|frame| frame.kind() == "resumed").expect("`resumed` was seen");
        resumed.json["verdict"].as_str().expect("a verdict is a string")
    }

    /// The numbered events so far: what a reader must have once each, however often it was cut.
    pub fn numbered(&self) -> Vec<(u64, &str)> {
        self.frames.iter().filter_map(|frame| Some((frame.id?, frame.data.as_str()))).collect()
    }
}

/// Whether the content type is that of Server-Sent Events.
pub fn is_event_stream(headers: &Headers) -> bool {
    headers.get("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(items: &[Item]) -> Vec<String> {
        let name = |item: &Item| match item {
            Item::Frame(frame) => format!("{:?} {}", frame.id, frame.kind()),
            Item::Comment(comment) => format!(": {comment}"),
            Item::Retry(retry) => format!("retry {retry}"),
        };
        items.iter().map(name).collect()
    }

    #[test]
    fn items_are_the_same_wherever_the_bytes_are_split() {
        let text = "data: {\"type\":\"resumed\"}\n\nid: 7\ndata: {\"type\":\"text\",\"content\":\"ä\"}\n\n: ping\n\nretry: 700\n\n";
        for cut in 0..=text.len() {
            let mut parser = Parser::default();
            let mut items = parser.feed(&text.as_bytes()[..cut]);
            items.extend(parser.feed(&text.as_bytes()[cut..]));
            assert_eq!(kinds(&items), ["None resumed", "Some(7) text", ": ping", "retry 700"]);
        }
    }

    #[test]
    #[should_panic(expected = "neither id, data, retry nor comment")]
    fn an_event_field_is_refused() {
        Parser::default().feed(b"event: text\ndata: {}\n\n");
    }

    #[test]
    #[should_panic(expected = "a line of")]
    fn a_long_line_is_refused() {
        let line = format!("id: 1\ndata: {{\"type\":\"text\",\"content\":\"{}\"}}\n\n", "x".repeat(MAX_LINE_BYTES));
        Parser::default().feed(line.as_bytes());
    }
}

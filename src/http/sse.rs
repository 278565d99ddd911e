//! A cursor as a response body of Server-Sent Events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use actix_web::web::{BufMut, Bytes, BytesMut};
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep};

use super::connections::Open;
use super::ending::Ending;
use super::replay::Told;
use super::seats::Presence;
use super::speaking::Speaking;
use crate::dialect::{Payload, Payloads, Source, native};
use crate::event::{ConversationId, GenerationId};
use crate::journal::{Cursor, Run};

/// The generation that a response carries.
pub const X_GENERATION_ID: HeaderName = HeaderName::from_static("x-generation-id");
/// The conversation that a response carries.
pub const X_CONVERSATION_ID: HeaderName = HeaderName::from_static("x-conversation-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Frames from a cursor, and a comment line whenever nothing was sent for a while.
pub struct Events {
    /// Sent before anything of the cursor.
    first: VecDeque<Bytes>,
    cursor: Cursor,
    shape: Shape,
    heartbeat: Duration,
    sent_at: Instant,
    timer: Pin<Box<Sleep>>,
    /// Whether timer and ending know whom to wake. A body lives in one task, so it needs to be told once.
    registered: bool,
    /// Counts as a reader as long as the body lives.
    presence: Presence,
    open: Open,
    ending: Ending,
    /// The cursor is at its end.
    ended: bool,
}

/// In which form the frames go out.
pub enum Shape {
    /// As the journal keeps them.
    Plain,
    /// With the id of their message in each.
    Addressed,
    /// In another dialect, with what that makes of the frames that come before those of the cursor.
    Spoken(Box<Speaking>, Vec<Told>),
}

/// What a body is made of beside its cursor.
pub struct Frame {
    /// How often a quiet stream sends a comment, in milliseconds.
    pub heartbeat_ms: u64,
    /// As whose reader it counts.
    pub presence: Presence,
    /// Its entry in the register.
    pub open: Open,
    /// How it learns that the process ends.
    pub ending: Ending,
}

impl Events {
    /// What `cursor` delivers, after `first`.
    pub fn new(cursor: Cursor, first: Vec<Bytes>, mut shape: Shape, frame: Frame) -> Self {
        let Frame { heartbeat_ms, presence, open, ending } = frame;
        let heartbeat = Duration::from_millis(heartbeat_ms);
        let mut first = VecDeque::from(first);
        if let Shape::Spoken(speaking, told) = &mut shape {
            for Told { source, frame } in told.drain(..) {
                first.extend(framed(speaking.feed(&source, &frame)));
            }
        }
        Events {
            first,
            cursor,
            shape,
            heartbeat,
            sent_at: Instant::now(),
            timer: Box::pin(sleep(heartbeat)),
            registered: false,
            presence,
            open,
            ending,
            ended: false,
        }
    }

    /// The run as it goes out; `None` where nothing of it does, or not yet.
    fn shaped(&mut self, run: Run) -> Option<Bytes> {
        match &mut self.shape {
            Shape::Plain => Some(run.frames),
            Shape::Addressed => Some(native::addressed(&run.frames, run.owner.message)),
            Shape::Spoken(speaking, _) => {
                let source = Source {
                    conversation: self.cursor.conversation(),
                    generation: run.owner.generation,
                    message: run.owner.message,
                };
                framed(speaking.feed(&source, &run.frames))
            }
        }
    }

    fn send(&mut self, bytes: Bytes) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.sent_at = Instant::now();
        self.open.sent(bytes.len());
        Poll::Ready(Some(Ok(bytes)))
    }
}

/// Payloads as Server-Sent Events.
fn framed(payloads: &mut Payloads) -> Option<Bytes> {
    if payloads.is_empty() {
        return None;
    }
    let mut out = BytesMut::with_capacity(payloads.len() + 64);
    for Payload { id, name, data } in payloads.iter() {
        if let Some(id) = id {
            out.put_slice(b"id: ");
            out.put_slice(itoa::Buffer::new().format(id.get()).as_bytes());
            out.put_u8(b'\n');
        }
        if let Some(name) = name {
            out.put_slice(b"event: ");
            out.put_slice(name.as_bytes());
            out.put_u8(b'\n');
        }
        out.put_slice(b"data: ");
        out.put_slice(data);
        out.put_slice(b"\n\n");
    }
    payloads.clear();
    Some(out.freeze())
}

impl Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(first) = this.first.pop_front() {
            return this.send(first);
        }
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(word) = this.ending.word() {
            this.registered = false;
            return this.send(word);
        }
        loop {
            match this.cursor.poll_next(cx) {
                Poll::Ready(Ok(Some(run))) => {
                    this.presence.reached(run.last);
                    if let Some(bytes) = this.shaped(run) {
                        return this.send(bytes);
                    }
                }
                Poll::Ready(Ok(None)) => {
                    this.ended = true;
                    let rest = match &mut this.shape {
                        Shape::Spoken(speaking, _) => framed(speaking.flush()),
                        _ => None,
                    };
                    return rest.map_or(Poll::Ready(None), |rest| this.send(rest));
                }
                Poll::Ready(Err(error)) => {
                    // The client sees no terminal event and comes back with its last number.
                    tracing::error!(%error, "a reader that fell behind cannot go on");
                    return Poll::Ready(None);
                }
                Poll::Pending => break,
            }
        }
        if this.ending.is_over() {
            return Poll::Ready(None);
        }
        if let Shape::Spoken(speaking, _) = &mut this.shape
            && let Some(due) = speaking.poll_due(cx).and_then(framed)
        {
            return this.send(due);
        }
        if this.registered && !this.timer.is_elapsed() {
            return Poll::Pending;
        }
        while this.timer.as_mut().poll(cx).is_ready() {
            // The timer is moved only when it fires, not for every frame.
            let due = this.sent_at + this.heartbeat;
            let now = Instant::now();
            if due <= now {
                this.timer.as_mut().reset(now + this.heartbeat);
                this.registered = false;
                return this.send(native::HEARTBEAT);
            }
            this.timer.as_mut().reset(due);
        }
        this.ending.register(cx);
        this.registered = true;
        Poll::Pending
    }
}

/// The head of an event stream.
pub fn head(conversation: ConversationId, generation: Option<GenerationId>) -> HttpResponseBuilder {
    let mut head = HttpResponse::Ok();
    head.insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header((X_ACCEL_BUFFERING, "no"))
        .insert_header((X_CONVERSATION_ID, conversation.to_string()));
    if let Some(generation) = generation {
        head.insert_header((X_GENERATION_ID, generation.to_string()));
    }
    head
}

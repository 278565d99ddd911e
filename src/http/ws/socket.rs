//! A socket as the body of its handshake's response.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::{Bytes, Data};
use actix_ws::{CloseCode, Session};

use super::Outbox;
use super::inbox::{Heard, Inbox};
use super::keepalive::{Beat, Keepalive};
use super::leaving::Leaving;
use super::rate::{Rate, Verdict};
use crate::config::WebSocketConfig;
use crate::event::{ErrorCode, Fault};
use crate::http::App;
use crate::http::connections::Open;

/// How much is given to the connection at a time, in bytes.
pub(super) const WRITE_BYTES: usize = 32 * 1024;

/// What the messages of a socket mean.
pub trait Talk {
    /// A message of the client.
    fn hear(&mut self, text: &str, out: &mut Outbox);

    /// A message of the client that is not text.
    fn hear_binary(&mut self, bytes: &[u8], out: &mut Outbox) {
        let _ = bytes;
        self.refuse(Fault::new(ErrorCode::InvalidRequest, "Messages are JSON in text frames, not binary."), out);
    }

    /// Says what is wrong with a message that it was not given.
    fn refuse(&mut self, fault: Fault, out: &mut Outbox);

    /// Whether it can take another message now. While it cannot, none is read.
    fn is_listening(&self) -> bool {
        true
    }

    /// Goes on with what is under way, and writes what there is to say; about as much as `out` has room for. Wakes the task
    /// when there is more.
    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox);

    /// Whether nothing is under way that this client waits for.
    fn is_idle(&self) -> bool {
        true
    }
}

/// A WebSocket.
pub struct Socket<T> {
    inbox: Inbox,
    /// A message that the talk cannot take yet.
    waiting: Option<Heard>,
    talk: T,
    out: Outbox,
    /// Made with the first message: most sockets only listen.
    rate: Option<Rate>,
    keepalive: Keepalive,
    leaving: Leaving,
    open: Rc<Open>,
    app: Data<App>,
    /// A close frame was written; nothing comes after it.
    closed: bool,
    /// Whether the clock and the phase know whom to wake. A body lives in one task, so they need to be told once.
    registered: bool,
    _handshake: (Session, BoxBody),
}

impl<T: Talk> Socket<T> {
    /// Of a connection whose handshake is answered with this body.
    pub fn new(inbox: Inbox, talk: T, open: Rc<Open>, app: &Data<App>, handshake: (Session, BoxBody)) -> Self {
        let WebSocketConfig { ping_ms, max_unconfirmed_bytes, .. } = app.config.websocket;
        Socket {
            inbox,
            waiting: None,
            talk,
            out: Outbox::new(max_unconfirmed_bytes),
            rate: None,
            keepalive: Keepalive::new(ping_ms),
            leaving: Leaving::new(app.phase.subscribe(), app.config.server.shutdown_grace_ms),
            open,
            app: app.clone(),
            closed: false,
            registered: false,
            _handshake: handshake,
        }
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.out.close(code, reason);
        self.closed = true;
    }

    /// Reads as long as something comes and is understood. Ready when the connection is gone.
    fn listen(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.closed && self.out.len() < WRITE_BYTES {
            let heard = match self.waiting.take() {
                Some(heard) => heard,
                None => match self.inbox.poll_next(cx) {
                    Poll::Ready(heard) => {
                        self.keepalive.heard();
                        heard
                    }
                    Poll::Pending => break,
                },
            };
            if matches!(heard, Heard::Text(_) | Heard::Binary(_)) && !self.talk.is_listening() {
                self.waiting = Some(heard);
                break;
            }
            match heard {
                Heard::Text(text) => self.message(&text, true),
                Heard::Binary(bytes) => self.message(&bytes, false),
                Heard::Ping(bytes) => self.out.pong(&bytes),
                Heard::Pong(bytes) => self.out.confirm(&bytes),
                Heard::Piece => {}
                Heard::Closed(None) => {
                    self.out.close_plainly();
                    self.closed = true;
                }
                Heard::Closed(Some(reason)) => self.close(reason.code, ""),
                Heard::Broken(code, reason) => self.close(code, &reason),
                Heard::Gone => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    fn message(&mut self, bytes: &[u8], is_text: bool) {
        let rate = self.rate.get_or_insert_with(|| Rate::new(&self.app.config.websocket));
        match rate.judge() {
            Verdict::Taken => match std::str::from_utf8(bytes) {
                Ok(text) if is_text => self.talk.hear(text, &mut self.out),
                _ => self.talk.hear_binary(bytes, &mut self.out),
            },
            Verdict::Refused => {
                let message = "You send more messages than you may (websocket.max_messages_per_s); this one was not \
                    read. Go on more slowly, or the socket is closed.";
                self.talk.refuse(Fault::new(ErrorCode::RateLimited, message), &mut self.out);
            }
            Verdict::Enough => {
                self.close(CloseCode::Policy, "More messages than may be (websocket.max_messages_per_s).");
            }
        }
    }

    /// What has to be done by the clock, and because the process ends.
    fn tend(&mut self, cx: &mut Context<'_>) {
        // Nothing of it costs a chunk more than two looks.
        if self.registered && !self.keepalive.is_due() && !self.leaving.is_near() {
            return;
        }
        self.registered = true;
        match self.keepalive.poll(cx) {
            Poll::Ready(Beat::Ping) => self.out.ping(),
            Poll::Ready(Beat::Dead) => return self.close(CloseCode::Policy, "No answer to two pings."),
            Poll::Pending => {}
        }
        if let Poll::Ready(wait_ms) = self.leaving.poll(cx, || self.talk.is_idle()) {
            self.close(CloseCode::Restart, &format!("The gateway ends; come back in {wait_ms} ms."));
        }
    }
}

impl<T: Talk + Unpin> MessageBody for Socket<T> {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = &mut *self;
        if this.closed {
            return Poll::Ready(None);
        }
        loop {
            let was_listening = this.talk.is_listening();
            if this.listen(cx).is_ready() {
                return Poll::Ready(None);
            }
            if !this.closed {
                this.talk.poll(cx, &mut this.out);
            }
            // What it waited for may be done, and the next message can be read.
            if was_listening || !this.talk.is_listening() || this.closed {
                break;
            }
        }
        if !this.closed {
            this.tend(cx);
        }
        match this.out.take() {
            Some(frames) => {
                this.open.sent(frames.len());
                Poll::Ready(Some(Ok(frames)))
            }
            None => Poll::Pending,
        }
    }
}

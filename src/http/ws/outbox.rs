//! What goes out over a socket, as frames (RFC 6455, 5.2). A server's frames are not masked.

use actix_http::ws::{OpCode, Parser};
use actix_web::web::{Bytes, BytesMut};
use actix_ws::{CloseCode, CloseReason};
use serde::Serialize;

use crate::dialect::Payloads;

/// A reason fits into a control frame beside its code, in bytes.
const MAX_REASON_BYTES: usize = 123;
/// How often a client is asked to say that it got what was sent, as a part of what may be unconfirmed.
const MARKS: u64 = 4;

/// Frames that wait for the socket, and how much of what went before is known to have arrived.
pub struct Outbox {
    frames: BytesMut,
    /// All bytes that were ever written here.
    written: u64,
    /// How many of them were written before a ping that the client has answered.
    confirmed: u64,
    /// How many were written before the last ping.
    marked: u64,
    max_unconfirmed: u64,
}

impl Outbox {
    /// Empty, for a client that may have so many bytes on their way.
    pub fn new(max_unconfirmed_bytes: usize) -> Self {
        let max_unconfirmed = max_unconfirmed_bytes as u64;
        Outbox { frames: BytesMut::new(), written: 0, confirmed: 0, marked: 0, max_unconfirmed }
    }

    /// Appends a text message.
    pub fn text(&mut self, text: &[u8]) {
        self.frame(OpCode::Text, text);
    }

    /// Appends a text message that is a JSON document.
    pub fn json(&mut self, value: &impl Serialize) {
        match serde_json::to_vec(value) {
            Ok(text) => self.text(&text),
            Err(error) => tracing::error!(%error, "a message cannot be written"),
        }
    }

    /// Appends what a dialect has to say, and takes it from there.
    pub fn payloads(&mut self, payloads: &mut Payloads) {
        for payload in payloads.iter() {
            self.text(payload.data);
        }
        payloads.clear();
    }

    /// Appends a binary message.
    #[cfg(debug_assertions)]
    pub fn binary(&mut self, bytes: &[u8]) {
        self.frame(OpCode::Binary, bytes);
    }

    pub(super) fn pong(&mut self, bytes: &[u8]) {
        self.frame(OpCode::Pong, bytes);
    }

    /// Appends a ping whose answer says how much has arrived.
    pub(super) fn ping(&mut self) {
        self.marked = self.written;
        self.frame(OpCode::Ping, &self.marked.to_be_bytes());
    }

    /// The client answered a ping, or sent an answer to none.
    pub(super) fn confirm(&mut self, pong: &[u8]) {
        if let Ok(mark) = <[u8; 8]>::try_from(pong) {
            let mark = u64::from_be_bytes(mark);
            // A number that was never sent would only let its inventor have more on its way.
            if mark <= self.marked {
                self.confirmed = self.confirmed.max(mark);
            }
        }
    }

    pub(super) fn close(&mut self, code: CloseCode, reason: &str) {
        let mut end = reason.len().min(MAX_REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let description = Some(reason[..end].to_owned()).filter(|reason| !reason.is_empty());
        Parser::write_close(&mut self.frames, Some(CloseReason { code, description }), false);
    }

    /// A close without a code, as the answer to one without.
    pub(super) fn close_plainly(&mut self) {
        Parser::write_close(&mut self.frames, None, false);
    }

    /// How much may still be written before the client has to say something, in bytes.
    pub fn room(&self) -> usize {
        let unconfirmed = self.written - self.confirmed;
        usize::try_from(self.max_unconfirmed.saturating_sub(unconfirmed)).unwrap_or(usize::MAX)
    }

    /// How much waits for the socket, in bytes.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// What is to be sent, if anything is.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        if self.frames.is_empty() {
            return None;
        }
        if self.written - self.marked >= self.max_unconfirmed / MARKS {
            self.ping();
        }
        Some(std::mem::take(&mut self.frames).freeze())
    }

    fn frame(&mut self, op: OpCode, payload: &[u8]) {
        let before = self.frames.len();
        Parser::write_message(&mut self.frames, payload, op, true, false);
        self.written += (self.frames.len() - before) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_bounded_until_the_client_answers() {
        let mut out = Outbox::new(1000);
        let mut sent = Vec::new();
        for _ in 0..5 {
            out.text(&[b'x'; 198]);
            sent.extend_from_slice(&out.take().expect("something"));
        }
        assert_eq!(out.room(), 0);
        let ping = sent.windows(2).rposition(|frame| frame == [0x89, 8]).expect("a ping");
        out.confirm(&sent[ping + 2..ping + 10]);
        assert!(out.room() >= 750, "{}", out.room());
        out.confirm(&u64::MAX.to_be_bytes());
        out.confirm(b"hello");
        assert!(out.room() < 1000, "what was never sent confirms nothing");
        assert!(out.take().is_none());
    }

    #[test]
    fn a_reason_is_cut_at_a_character() {
        let mut out = Outbox::new(1000);
        out.close(CloseCode::Policy, &"é".repeat(100));
        let frame = out.take().expect("a frame");
        assert_eq!(frame[..4], [0x88, 124, 0x03, 0xf0]);
        assert_eq!(std::str::from_utf8(&frame[4..]).expect("whole characters").chars().count(), 61);
    }
}

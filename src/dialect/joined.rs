//! Joins pieces of one kind before another dialect sees them, for readers that asked for that.

use bytes::BytesMut;

use super::batch::Batch;
use super::{Dialect, Payloads, Source};

/// A dialect that is fed joined deltas. Only those of one message are joined.
pub struct Joined<D> {
    inner: D,
    batch: Batch,
    /// To what the held delta belongs.
    source: Option<Source>,
}

impl<D: Dialect> Joined<D> {
    /// Joins for `inner`.
    pub fn new(inner: D) -> Self {
        Joined { inner, batch: Batch::default(), source: None }
    }
}

impl<D: Dialect> Dialect for Joined<D> {
    fn feed(&mut self, source: &Source, frames: &[u8], out: &mut Payloads) {
        if self.source.is_some_and(|known| known != *source) {
            self.flush(out);
        }
        self.source = Some(*source);
        let mut joined = BytesMut::new();
        self.batch.feed(frames, &mut joined);
        self.inner.feed(source, &joined, out);
    }

    fn flush(&mut self, out: &mut Payloads) {
        let mut joined = BytesMut::new();
        self.batch.flush(&mut joined);
        if let Some(source) = &self.source {
            self.inner.feed(source, &joined, out);
        }
        self.inner.flush(out);
    }

    fn is_holding(&self) -> bool {
        self.batch.is_holding() || self.inner.is_holding()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::native;
    use crate::dialect::sync::{Features, Spelling, Sync};
    use crate::event::{ConversationId, Delta, Event, MessageId, SyncId};

    #[test]
    fn pieces_of_one_message_are_joined_and_of_two_are_not() {
        let conversation = ConversationId::new();
        let source = || Source { conversation, generation: None, message: MessageId::new() };
        let text = |id, content: &str| {
            let event = Event::Text(Delta { content: content.to_owned(), block: 0, redacted: false });
            native::single(Some(SyncId::new(id)), &event, None, None)
        };
        let (one, other) = (source(), source());
        let mut joined = Joined::new(Sync::new(Spelling::Camel, Features::ALL));
        let mut out = Payloads::default();
        joined.feed(&one, &text(1, "a"), &mut out);
        joined.feed(&one, &text(2, "b"), &mut out);
        assert!(out.is_empty() && joined.is_holding());
        joined.feed(&other, &text(3, "c"), &mut out);
        joined.flush(&mut out);
        assert!(!joined.is_holding());
        let seen: Vec<(u64, String, String)> = out
            .iter()
            .map(|payload| {
                let value: serde_json::Value = serde_json::from_slice(payload.data).expect("JSON");
                let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                (value["syncId"].as_u64().unwrap_or(0), text(&value["messageId"]), text(&value["delta"]["content"]))
            })
            .collect();
        assert_eq!(
            seen,
            [(2, one.message.to_string(), "ab".to_owned()), (3, other.message.to_string(), "c".to_owned())]
        );
    }
}

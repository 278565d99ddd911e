//! Joins pieces of one kind and block into fewer frames, for readers that asked for that.

use bytes::{BufMut, BytesMut};
use memchr::memmem;

use super::delta::Delta;
use crate::event::frame::MAX_LINE_BYTES;

const DATA: &[u8] = b"data: ";

/// Holds a delta back and joins those that follow to it, as long as everything but their content is the same: kind,
/// block, and the message where frames name it. Whoever feeds it says when to flush.
///
/// A joined frame has the id of the last event in it, so that a reader that comes back with it is told everything
/// after that event, and nothing twice.
#[derive(Debug, Default)]
pub struct Batch {
    held: Option<Held>,
}

/// A frame that may still grow. Its JSON text is `json`, then `tail`.
#[derive(Debug)]
struct Held {
    id: Vec<u8>,
    head_bytes: usize,
    json: Vec<u8>,
    tail: Vec<u8>,
}

impl Batch {
    /// Takes whole frames, comments among them, and appends to `out` what does not wait: everything that is not a delta,
    /// and before it what was held.
    pub fn feed(&mut self, frames: &[u8], out: &mut BytesMut) {
        let mut rest = frames;
        while let Some(end) = memmem::find(rest, b"\n\n") {
            let (frame, behind) = rest.split_at(end + 2);
            rest = behind;
            match Delta::read(&frame[..end]) {
                Some(delta) => self.join(&delta, out),
                None => {
                    self.flush(out);
                    out.put_slice(frame);
                }
            }
        }
        debug_assert!(rest.is_empty(), "frames are fed whole");
        if !rest.is_empty() {
            self.flush(out);
            out.put_slice(rest);
        }
    }

    /// Appends what is held to `out`.
    pub fn flush(&mut self, out: &mut BytesMut) {
        let Some(Held { id, json, tail, .. }) = self.held.take() else { return };
        for part in [&b"id: "[..], id.as_slice(), &b"\n"[..], DATA, json.as_slice(), tail.as_slice(), &b"\n\n"[..]] {
            out.put_slice(part);
        }
    }

    /// Whether anything is held.
    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    fn join(&mut self, delta: &Delta<'_>, out: &mut BytesMut) {
        if let Some(held) = &mut self.held
            && held.takes(delta)
        {
            held.json.extend_from_slice(delta.content);
            held.id.clear();
            held.id.extend_from_slice(delta.id);
            return;
        }
        self.flush(out);
        self.held = Some(Held {
            id: delta.id.to_vec(),
            head_bytes: delta.head.len(),
            json: [delta.head, delta.content].concat(),
            tail: delta.tail.to_vec(),
        });
    }
}

impl Held {
    fn takes(&self, delta: &Delta<'_>) -> bool {
        &self.json[..self.head_bytes] == delta.head
            && self.tail == delta.tail
            && DATA.len() + self.json.len() + delta.content.len() + self.tail.len() <= MAX_LINE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::native;
    use crate::event::{self, Event, MessageId, SyncId, ToolCallDelta, frame};

    fn delta(kind: fn(event::Delta) -> Event, content: &str, block: u32) -> Event {
        kind(event::Delta { content: content.to_owned(), block, redacted: false })
    }

    fn encoded(first: u64, events: &[Event]) -> Bytes {
        written(first, events, None)
    }

    fn written(first: u64, events: &[Event], writer: Option<u8>) -> Bytes {
        let (mut out, mut next) = (BytesMut::new(), SyncId::new(first));
        for event in events {
            next = next.plus(frame::encode(next, event, writer, &mut out));
        }
        out.freeze()
    }

    fn fed(batch: &mut Batch, frames: &[u8]) -> String {
        let mut out = BytesMut::new();
        batch.feed(frames, &mut out);
        String::from_utf8(out.to_vec()).expect("UTF-8")
    }

    fn flushed(batch: &mut Batch) -> String {
        let mut out = BytesMut::new();
        batch.flush(&mut out);
        String::from_utf8(out.to_vec()).expect("UTF-8")
    }

    #[test]
    fn pieces_of_each_kind_are_joined_under_the_last_id() {
        for kind in [Event::Reasoning, Event::Text, Event::Refusal] {
            let mut batch = Batch::default();
            let pieces = [delta(kind, "say \"a\\", 3), delta(kind, "\n", 3), delta(kind, "b\"", 3)];
            assert_eq!(fed(&mut batch, &encoded(7, &pieces)), "");
            assert!(batch.is_holding());
            assert_eq!(flushed(&mut batch), encoded(9, &[delta(kind, "say \"a\\\nb\"", 3)]));
            assert!(!batch.is_holding());
        }
    }

    #[test]
    fn another_kind_block_or_message_begins_a_new_frame() {
        let mut batch = Batch::default();
        let first = delta(Event::Text, "a", 0);
        assert_eq!(fed(&mut batch, &encoded(1, std::slice::from_ref(&first))), "");
        let other_block = encoded(2, &[delta(Event::Text, "b", 1)]);
        assert_eq!(fed(&mut batch, &other_block), encoded(1, &[first]));
        let other_kind = encoded(3, &[delta(Event::Reasoning, "c", 1)]);
        assert_eq!(fed(&mut batch, &other_kind), other_block);
        let other_message = native::addressed(&encoded(4, &[delta(Event::Reasoning, "d", 1)]), MessageId::new());
        assert_eq!(fed(&mut batch, &other_message), other_kind);
        assert_eq!(flushed(&mut batch), other_message);
    }

    #[test]
    fn pieces_of_one_writer_are_joined_and_of_two_are_not() {
        let mut batch = Batch::default();
        let piece = |text| [delta(Event::Text, text, 0)];
        assert_eq!(fed(&mut batch, &written(1, &piece("a"), Some(0))), "");
        assert_eq!(fed(&mut batch, &written(2, &piece("b"), Some(0))), "");
        let joined = written(2, &piece("ab"), Some(0));
        assert_eq!(fed(&mut batch, &written(3, &piece("c"), Some(1))), joined);
        assert_eq!(flushed(&mut batch), written(3, &piece("c"), Some(1)));
    }

    #[test]
    fn everything_else_goes_out_at_once_behind_what_was_held() {
        let text = encoded(1, &[delta(Event::Text, "a", 0)]);
        let call = ToolCallDelta { id: "call_1".into(), name: None, arguments: "{}".into(), block: 1, done: true };
        let others = [
            encoded(2, &[Event::ToolCall(call)]),
            native::HEARTBEAT,
            native::resumed(native::Verdict::Exact, SyncId::new(1)),
        ];
        for other in others {
            let mut batch = Batch::default();
            assert_eq!(fed(&mut batch, &text), "");
            assert_eq!(fed(&mut batch, &other), String::from_utf8([&text[..], &other[..]].concat()).expect("UTF-8"));
            assert!(!batch.is_holding());
        }
    }

    /// What a reader is told: stretches of content by kind, block and message, and everything else as it is.
    fn told(frames: &[u8]) -> (Vec<(String, String)>, Vec<u64>) {
        let mut said: Vec<(String, String)> = Vec::new();
        let mut ids = Vec::new();
        for frame in frame::frames(frames) {
            ids.push(frame.id.get());
            let mut json: serde_json::Value = serde_json::from_slice(frame.json).expect("JSON");
            let kind = json["type"].as_str().expect("a type").to_owned();
            let content = if matches!(kind.as_str(), "reasoning" | "text" | "refusal") {
                json["content"].take().as_str().expect("content").to_owned()
            } else {
                json["unique"] = frame.id.get().into();
                String::new()
            };
            let key = json.to_string();
            match said.last_mut() {
                Some((last, joined)) if *last == key => joined.push_str(&content),
                _ => said.push((key, content)),
            }
        }
        (said, ids)
    }

    fn event() -> impl Strategy<Value = Event> {
        let content = prop_oneof![
            4 => "[a-z \"\\\\\n]{0,12}",
            1 => proptest::collection::vec(any::<char>(), 0..1500).prop_map(String::from_iter),
        ];
        (0..10u8, 0..2u32, content, any::<bool>()).prop_map(|(kind, block, content, redacted)| match kind {
            0..=3 => Event::Text(event::Delta { content, block, redacted: false }),
            4..=7 => Event::Reasoning(event::Delta { content, block, redacted }),
            8 => Event::Refusal(event::Delta { content, block, redacted: false }),
            _ => Event::ToolCall(ToolCallDelta {
                id: "call_1".into(),
                name: None,
                arguments: content,
                block,
                done: false,
            }),
        })
    }

    proptest! {
        #[test]
        fn joining_changes_neither_content_nor_order(
            runs in proptest::collection::vec(
                (proptest::collection::vec(event(), 1..6), 0..3usize, any::<bool>()),
                0..30,
            ),
        ) {
            let messages = [None, Some(MessageId::new()), Some(MessageId::new())];
            let (mut batch, mut out, mut all, mut next) = (Batch::default(), BytesMut::new(), Vec::new(), 1);
            for (events, message, flush) in &runs {
                let writer = u8::try_from(*message).ok().filter(|writer| *writer > 0);
                let run = written(next, events, writer);
                next = frame::frames(&run).last().map_or(next, |last| last.id.get() + 1);
                let run = messages[*message].map_or(run.clone(), |message| native::addressed(&run, message));
                all.extend_from_slice(&run);
                batch.feed(&run, &mut out);
                if *flush {
                    batch.flush(&mut out);
                    prop_assert!(!batch.is_holding());
                }
            }
            batch.flush(&mut out);
            let ((expected, given), (said, ids)) = (told(&all), told(&out));
            prop_assert_eq!(said, expected);
            prop_assert!(ids.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(ids.last(), given.last());
            prop_assert!(out[..].split(|byte| *byte == b'\n').all(|line| line.len() <= MAX_LINE_BYTES));
        }
    }
}

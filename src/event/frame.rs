//! The native frame: the bytes in which journal and store keep an event and in which the native dialect sends it.
//!
//! A frame is one Server-Sent Event, `id: N`, `data: {…}` and an empty line. JSON text holds no raw line break, so an
//! empty line ends a frame and nothing else does. Long deltas become several frames, each with its own number, so that
//! no data line exceeds [`MAX_LINE_BYTES`] and naive line readers work.

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;

use super::{Delta, Event, SyncId, ToolCallDelta};

/// No data line is longer, in bytes, `data: ` included (`reset`, `message` and `tool_result` apart).
pub const MAX_LINE_BYTES: usize = 4096;

/// Content up to this length fits into one line however it has to be escaped (at most six bytes for one).
const SURELY_SHORT_BYTES: usize = 600;

/// What stands in front of the place of an event's writer.
const WRITER_KEY: &[u8] = b",\"writer\":";

/// The end of every object, line and frame.
const FRAME_END: &[u8] = b"}\n\n";

/// What one line has left for a delta's content beside everything else in it, the writer and the message's id for readers
/// of a whole conversation included.
const DELTA_ROOM_BYTES: usize = MAX_LINE_BYTES - 144;

/// Appends `event` to `out` as one frame or, where it is long, several, numbered from `first` on. `writer` is the place of
/// its model among those of its request, and `None` where that has one model.
/// Returns how many numbers it used.
pub fn encode(first: SyncId, event: &Event, writer: Option<u8>, out: &mut BytesMut) -> u64 {
    match event {
        Event::Reasoning(delta) => encode_delta(first, delta, Event::Reasoning, event, writer, out),
        Event::Text(delta) => encode_delta(first, delta, Event::Text, event, writer, out),
        Event::Refusal(delta) => encode_delta(first, delta, Event::Refusal, event, writer, out),
        Event::ToolCall(call) => encode_tool_call(first, call, event, writer, out),
        // Kept with the message; no client reads it.
        Event::Opaque(_) => 0,
        _ => {
            write_frame(first, event, writer, out);
            1
        }
    }
}

/// One frame without a number: what a reader is told about its own position, never an event of the journal.
pub fn unnumbered(json: &impl serde::Serialize) -> Bytes {
    let mut out = BytesMut::with_capacity(128);
    write_data(json, &mut out);
    out.freeze()
}

/// One numbered frame, whatever its length.
pub fn numbered(id: SyncId, json: &impl serde::Serialize, out: &mut BytesMut) {
    write_id(id, out);
    write_data(json, out);
}

/// The usual frame, written piece by piece: the same bytes as the serialiser's, at a fraction of its cost.
fn write_plain(id: SyncId, kind: &str, delta: &Delta, writer: Option<u8>, out: &mut BytesMut) {
    const REST_BYTES: usize = 112;
    out.reserve(delta.content.len() + REST_BYTES);
    let mut digits = itoa::Buffer::new();
    out.put_slice(b"id: ");
    out.put_slice(digits.format(id.get()).as_bytes());
    out.put_slice(b"\ndata: {\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"content\":\"");
    out.put_slice(delta.content.as_bytes());
    out.put_slice(b"\",\"block\":");
    out.put_slice(digits.format(delta.block).as_bytes());
    if let Some(writer) = writer {
        out.put_slice(WRITER_KEY);
        out.put_slice(digits.format(writer).as_bytes());
    }
    out.put_slice(FRAME_END);
}

fn kind_name(event: &Event) -> &'static str {
    match event {
        Event::Reasoning(_) => "reasoning",
        Event::Refusal(_) => "refusal",
        _ => "text",
    }
}

/// Whether JSON writes any of these characters differently. No early exit: this way it is a few vector instructions.
fn needs_escapes(text: &str) -> bool {
    text.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\'))
}

/// The most numbers that [`encode`] can use for `event`.
pub fn most_numbers(event: &Event) -> u64 {
    const WORST_ESCAPE: usize = 6;
    let (content, room) = match event {
        Event::Reasoning(delta) | Event::Text(delta) | Event::Refusal(delta) => (delta.content.len(), DELTA_ROOM_BYTES),
        Event::ToolCall(call) => (call.arguments.len(), tool_call_room(call)),
        Event::Opaque(_) => return 0,
        _ => return 1,
    };
    // A piece may stay short of the room by one character of at most six bytes.
    1 + (content * WORST_ESCAPE / (room - WORST_ESCAPE)) as u64
}

fn encode_delta(
    first: SyncId,
    delta: &Delta,
    kind: fn(Delta) -> Event,
    whole: &Event,
    writer: Option<u8>,
    out: &mut BytesMut,
) -> u64 {
    if delta.content.len() <= SURELY_SHORT_BYTES {
        if !delta.redacted && !needs_escapes(&delta.content) {
            write_plain(first, kind_name(whole), delta, writer, out);
            return 1;
        }
        write_frame(first, whole, writer, out);
        return 1;
    }
    let mut used = 0;
    for piece in pieces(&delta.content, DELTA_ROOM_BYTES) {
        let part = Delta { content: piece.to_owned(), block: delta.block, redacted: delta.redacted };
        write_frame(first.plus(used), &kind(part), writer, out);
        used += 1;
    }
    used
}

fn encode_tool_call(first: SyncId, call: &ToolCallDelta, whole: &Event, writer: Option<u8>, out: &mut BytesMut) -> u64 {
    if call.arguments.len() + name_bytes(call) <= SURELY_SHORT_BYTES {
        write_frame(first, whole, writer, out);
        return 1;
    }
    let mut rest = pieces(&call.arguments, tool_call_room(call)).peekable();
    let mut used = 0;
    while let Some(piece) = rest.next() {
        let part = ToolCallDelta {
            id: call.id.clone(),
            name: if used == 0 { call.name.clone() } else { None },
            arguments: piece.to_owned(),
            block: call.block,
            done: call.done && rest.peek().is_none(),
        };
        write_frame(first.plus(used), &Event::ToolCall(part), writer, out);
        used += 1;
    }
    used
}

fn name_bytes(call: &ToolCallDelta) -> usize {
    call.id.len() + call.name.as_ref().map_or(0, String::len)
}

/// How many bytes of arguments fit into one line beside the call's id and name.
fn tool_call_room(call: &ToolCallDelta) -> usize {
    const OVERHEAD_BYTES: usize = 160;
    const LEAST_BYTES: usize = 256;
    MAX_LINE_BYTES.saturating_sub(OVERHEAD_BYTES + 6 * name_bytes(call)).max(LEAST_BYTES)
}

/// Cuts `text` at character boundaries into pieces whose JSON form is at most `room` bytes. At least one piece.
pub fn pieces(text: &str, room: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut escaped = 0;
        for (at, character) in text.char_indices() {
            escaped += escaped_bytes(character);
            if escaped > room {
                rest = Some(&text[at..]);
                return Some(&text[..at]);
            }
        }
        rest = None;
        Some(text)
    })
}

/// How many bytes serde_json writes for a character inside a string.
const fn escaped_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => character.len_utf8(),
    }
}

fn write_frame(id: SyncId, event: &Event, writer: Option<u8>, out: &mut BytesMut) {
    write_id(id, out);
    write_data(event, out);
    if let Some(writer) = writer {
        // An event always has a key, `type`, so that a comma is right in front of one more.
        out.truncate(out.len() - FRAME_END.len());
        out.put_slice(WRITER_KEY);
        out.put_slice(itoa::Buffer::new().format(writer).as_bytes());
        out.put_slice(FRAME_END);
    }
}

fn write_id(id: SyncId, out: &mut BytesMut) {
    out.reserve(192);
    out.put_slice(b"id: ");
    out.put_slice(itoa::Buffer::new().format(id.get()).as_bytes());
    out.put_slice(b"\n");
}

fn write_data(json: &impl serde::Serialize, out: &mut BytesMut) {
    out.put_slice(b"data: ");
    // Writing to memory cannot fail, and our events have string keys only.
    serde_json::to_writer((&mut *out).writer(), json).expect("events serialise");
    out.put_slice(b"\n\n");
}

/// One frame inside a run of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Its number.
    pub id: SyncId,
    /// Its JSON object.
    pub json: &'a [u8],
    /// Where it begins in the run, in bytes.
    pub offset: usize,
}

impl Frame<'_> {
    /// The typed event; an error where the bytes were not written by [`encode`].
    pub fn event(&self) -> Result<Event, serde_json::Error> {
        serde_json::from_slice(self.json)
    }
}

/// The frames of a run that [`encode`] wrote. Stops at the first byte that is not a frame.
pub fn frames(run: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let rest = &run[offset..];
        let line_end = memchr::memchr(b'\n', rest)?;
        let id = std::str::from_utf8(rest.get(4..line_end)?).ok()?.parse().ok()?;
        let body = &rest[line_end + 1..];
        let end = memmem::find(body, b"\n\n")?;
        let json = body.get(6..end)?;
        let frame = Frame { id: SyncId::new(id), json, offset };
        offset += line_end + 1 + end + 2;
        Some(frame)
    })
}

/// The JSON objects of frames that may lack their numbers, as those have that tell several things of one moment. What is no
/// such frame, a comment for instance, is passed over.
pub fn objects(frames: &[u8]) -> impl Iterator<Item = (Option<SyncId>, &[u8])> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        loop {
            let end = memmem::find(rest, b"\n\n")?;
            let frame = &rest[..end];
            rest = &rest[end + 2..];
            if let Some(object) = object(frame) {
                return Some(object);
            }
        }
    })
}

fn object(frame: &[u8]) -> Option<(Option<SyncId>, &[u8])> {
    let (id, line) = match frame.strip_prefix(b"id: ") {
        None => (None, frame),
        Some(numbered) => {
            let line_end = memchr::memchr(b'\n', numbered)?;
            let id = std::str::from_utf8(&numbered[..line_end]).ok()?.parse().ok()?;
            (Some(SyncId::new(id)), &numbered[line_end + 1..])
        }
    };
    Some((id, line.strip_prefix(b"data: ")?))
}

/// The part of a run that comes after `position`.
pub fn after(run: &Bytes, position: SyncId) -> Bytes {
    match frames(run).find(|frame| frame.id > position) {
        Some(frame) => run.slice(frame.offset..),
        None => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by the serialiser alone.
    #[derive(serde::Serialize)]
    struct Written<'a> {
        #[serde(flatten)]
        event: &'a Event,
        #[serde(skip_serializing_if = "Option::is_none")]
        writer: Option<u8>,
    }

    fn text(content: &str) -> Event {
        Event::Text(Delta { content: content.to_owned(), block: 1, redacted: false })
    }

    #[test]
    fn a_frame_has_the_documented_form() {
        let mut out = BytesMut::new();
        let reasoning = Event::Reasoning(Delta { content: "Let me \"check\".\n".into(), block: 0, redacted: false });
        assert_eq!(encode(SyncId::new(42), &reasoning, None, &mut out), 1);
        let expected =
            "id: 42\ndata: {\"type\":\"reasoning\",\"content\":\"Let me \\\"check\\\".\\n\",\"block\":0}\n\n";
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn a_run_is_read_from_any_position() {
        let mut out = BytesMut::new();
        for id in 5..8 {
            encode(SyncId::new(id), &text("x"), None, &mut out);
        }
        let run = out.freeze();
        let ids = |run: &Bytes| frames(run).map(|f| f.id.get()).collect::<Vec<_>>();
        assert_eq!(ids(&run), [5, 6, 7]);
        assert_eq!(ids(&after(&run, SyncId::new(5))), [6, 7]);
        assert_eq!(ids(&after(&run, SyncId::ZERO)), [5, 6, 7]);
        assert!(after(&run, SyncId::new(7)).is_empty());
    }

    #[test]
    fn objects_are_found_with_and_without_numbers() {
        let mut out = BytesMut::from(&unnumbered(&text("a"))[..]);
        out.put_slice(b": ping\n\n");
        encode(SyncId::new(7), &text("b"), None, &mut out);
        let seen: Vec<(Option<u64>, Event)> = objects(&out)
            .map(|(id, json)| (id.map(SyncId::get), serde_json::from_slice(json).expect("an event")))
            .collect();
        assert_eq!(seen, [(None, text("a")), (Some(7), text("b"))]);
    }

    fn joined(run: &[u8]) -> String {
        frames(run)
            .map(|frame| match frame.event().unwrap() {
                Event::Text(delta) => delta.content,
                Event::ToolCall(call) => call.arguments,
                other => panic!("unexpected {other:?}"),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn the_quick_form_is_the_serialiser_s(
            content in "[ -~é\n\\x01]{0,80}",
            block in any::<u32>(),
            kind in 0..4,
            writer in proptest::option::of(any::<u8>()),
        ) {
            let delta = Delta { content, block, redacted: false };
            let event = match kind {
                0 => Event::Reasoning(delta),
                1 => Event::Text(delta),
                2 => Event::Refusal(delta),
                _ => Event::Reasoning(Delta { redacted: true, ..delta }),
            };
            let (mut quick, mut whole) = (BytesMut::new(), BytesMut::new());
            encode(SyncId::new(7), &event, writer, &mut quick);
            numbered(SyncId::new(7), &Written { event: &event, writer }, &mut whole);
            prop_assert_eq!(quick, whole);
        }

        #[test]
        fn long_content_is_split_into_short_lines_and_nothing_is_lost(
            content in proptest::collection::vec(any::<char>(), 0..6000).prop_map(String::from_iter),
            first in 1u64..1_000_000,
            writer in proptest::option::of(0..8u8),
        ) {
            let mut out = BytesMut::new();
            let used = encode(SyncId::new(first), &text(&content), writer, &mut out);
            prop_assert_eq!(frames(&out).count() as u64, used);
            prop_assert!(used <= most_numbers(&text(&content)));
            prop_assert!(frames(&out).map(|f| f.id.get()).eq(first..first + used));
            prop_assert!(out[..].split(|b| *b == b'\n').all(|line| line.len() <= MAX_LINE_BYTES));
            prop_assert_eq!(joined(&out), content);
        }

        #[test]
        fn a_long_tool_call_names_its_tool_once_and_is_done_once(
            arguments in "[\\x00-\\x7f]{0,9000}",
            done in any::<bool>(),
        ) {
            let call = ToolCallDelta {
                id: "call_1".into(), name: Some("search".into()), arguments: arguments.clone(), block: 2, done,
            };
            let mut out = BytesMut::new();
            let event = Event::ToolCall(call);
            let used = encode(SyncId::new(1), &event, Some(7), &mut out);
            prop_assert!(used <= most_numbers(&event));
            let parts: Vec<ToolCallDelta> = frames(&out)
                .map(|f| match f.event().unwrap() { Event::ToolCall(c) => c, other => panic!("{other:?}") })
                .collect();
            prop_assert_eq!(parts.iter().filter(|c| c.name.is_some()).count(), 1);
            prop_assert!(parts[0].name.is_some());
            prop_assert_eq!(parts.iter().filter(|c| c.done).count(), usize::from(done));
            prop_assert_eq!(parts.last().unwrap().done, done);
            prop_assert!(out[..].split(|b| *b == b'\n').all(|line| line.len() <= MAX_LINE_BYTES));
            prop_assert_eq!(joined(&out), arguments);
        }
    }
}

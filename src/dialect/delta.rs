//! Usual frames, cut without reading their JSON.

use memchr::{memchr, memchr2};

use crate::event::{Event, SyncId};

const DATA: &[u8] = b"data: ";

/// Which kind of piece a frame brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Reasoning,
    Text,
    Refusal,
}

/// How a frame begins whose content may be cut out. Tool calls are not among them: their pieces differ in more than the
/// content.
const HEADS: [(Kind, &[u8]); 3] = [
    (Kind::Reasoning, br#"{"type":"reasoning","content":""#),
    (Kind::Text, br#"{"type":"text","content":""#),
    (Kind::Refusal, br#"{"type":"refusal","content":""#),
];

/// A numbered frame of a delta, cut where its content begins and ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta<'a> {
    pub(super) kind: Kind,
    /// Its number in digits.
    pub(super) id: &'a [u8],
    /// The JSON text before the content, the quotation mark included.
    pub(super) head: &'a [u8],
    /// The content as JSON writes it inside a string.
    pub(super) content: &'a [u8],
    /// The JSON text from the closing quotation mark on.
    pub(super) tail: &'a [u8],
}

impl<'a> Delta<'a> {
    /// The frame without its empty line; `None` where it is anything but a numbered delta.
    pub(super) fn read(frame: &'a [u8]) -> Option<Self> {
        let rest = frame.strip_prefix(b"id: ")?;
        let (id, rest) = rest.split_at(memchr(b'\n', rest)?);
        Delta::of_json(id, rest[1..].strip_prefix(DATA)?)
    }

    /// The same where number and JSON text are apart already.
    pub(super) fn of_json(id: &'a [u8], json: &'a [u8]) -> Option<Self> {
        let (kind, head) = HEADS.into_iter().find(|(_, head)| json.starts_with(head))?;
        let (head, rest) = json.split_at(head.len());
        let (content, tail) = rest.split_at(end_of_string(rest)?);
        Some(Delta { kind, id, head, content, tail })
    }
}

/// Where the JSON string ends inside of which `text` begins.
fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        // An escaped character is never the end.
        at += 2;
    }
}

/// The typed event of a frame's JSON text; `None` where it is none of ours, which a frame of the journal never is.
pub(super) fn event(id: Option<SyncId>, json: &[u8]) -> Option<Event> {
    let event = serde_json::from_slice(json);
    event.inspect_err(|error| debug_assert!(false, "frame {id:?} is no event: {error}")).ok()
}

/// The word in `type`, with which every event's JSON text begins, and the text behind it.
pub(super) fn kind(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = json.strip_prefix(br#"{"type":""#)?;
    let end = memchr(b'"', rest)?;
    Some((&rest[..end], &rest[end + 1..]))
}

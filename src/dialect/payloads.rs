//! What a dialect has to say, before a transport frames it.

use bytes::BytesMut;

use crate::event::SyncId;

/// JSON documents in a row, each for one Server-Sent Event or one WebSocket message. Made to be emptied and filled again.
#[derive(Debug, Default)]
pub struct Payloads {
    bytes: BytesMut,
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    end: usize,
    id: Option<SyncId>,
    name: Option<&'static str>,
}

/// One of [`Payloads`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payload<'a> {
    /// The number with which a reader comes back, where this is a place to come back to.
    pub id: Option<SyncId>,
    /// The name of the event, where the dialect has such.
    pub name: Option<&'static str>,
    /// Usually a JSON document; never a line break.
    pub data: &'a [u8],
}

impl Payloads {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// How much there is, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends what `write` writes as one payload.
    pub fn push(&mut self, id: Option<SyncId>, name: Option<&'static str>, write: impl FnOnce(&mut BytesMut)) {
        write(&mut self.bytes);
        self.marks.push(Mark { end: self.bytes.len(), id, name });
    }

    /// Appends a value as one payload.
    pub fn push_json(&mut self, id: Option<SyncId>, name: Option<&'static str>, value: &impl serde::Serialize) {
        self.push(id, name, |out| {
            // Writing to memory cannot fail, and our values have string keys only.
            serde_json::to_writer(bytes::BufMut::writer(out), value).expect("payloads serialise");
        });
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Payload<'_>> {
        let mut from = 0;
        self.marks.iter().map(move |mark| {
            let data = &self.bytes[std::mem::replace(&mut from, mark.end)..mark.end];
            Payload { id: mark.id, name: mark.name, data }
        })
    }

    /// Forgets them, and keeps the room for the next ones unless that is large.
    pub fn clear(&mut self) {
        const KEPT_BYTES: usize = 16 * 1024;
        self.marks.clear();
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_out_as_they_went_in() {
        let mut payloads = Payloads::default();
        for round in 0..2 {
            payloads.push_json(Some(SyncId::new(7)), Some("step"), &serde_json::json!({ "round": round }));
            payloads.push(None, None, |out| out.extend_from_slice(b"[DONE]"));
            let expected = format!("{{\"round\":{round}}}");
            let seen: Vec<Payload<'_>> = payloads.iter().collect();
            let first = Payload { id: Some(SyncId::new(7)), name: Some("step"), data: expected.as_bytes() };
            assert_eq!(seen, [first, Payload { id: None, name: None, data: b"[DONE]" }]);
            payloads.clear();
            assert!(payloads.is_empty() && payloads.iter().next().is_none());
        }
    }
}

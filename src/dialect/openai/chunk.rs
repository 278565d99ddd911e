//! One chunk of a streamed answer, written piece by piece.

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use super::usage::UsageObject;
use crate::dialect::Payloads;
use crate::event::Usage;
use crate::event::frame::MAX_LINE_BYTES;

/// `data: ` in front of a payload, with which a line counts.
const LINE_START_BYTES: usize = 6;
/// What comes after the delta of a chunk that is not the last one.
const GOES_ON: &[u8] = b",\"finish_reason\":null}]}";
/// However long a model's name is, a chunk has so much room for content.
const LEAST_ROOM_BYTES: usize = 256;

/// What all chunks of a message begin with.
#[derive(Debug)]
pub(super) struct Head {
    /// Up to the choices.
    common: Vec<u8>,
    /// From there on up to the delta.
    choice: &'static [u8],
}

impl Head {
    /// `announces_usage`: token counts will come, and until then a chunk says that it has none, as the API does.
    pub(super) fn new(id: &str, created_s: u64, model: &str, announces_usage: bool) -> Self {
        #[derive(Serialize)]
        struct Common<'a> {
            id: &'a str,
            object: &'static str,
            created: u64,
            model: &'a str,
        }
        let mut common = BytesMut::new();
        write(&Common { id, object: "chat.completion.chunk", created: created_s, model }, &mut common);
        // The choices go where the object ends.
        common.truncate(common.len() - 1);
        let choice: &[u8] = match announces_usage {
            true => b",\"usage\":null,\"choices\":[{\"index\":0,\"delta\":",
            false => b",\"choices\":[{\"index\":0,\"delta\":",
        };
        Head { common: common.to_vec(), choice }
    }

    /// How long the JSON form of a delta may be, in bytes, so that its line is not too long for naive readers.
    pub(super) fn room_bytes(&self) -> usize {
        let around = LINE_START_BYTES + self.common.len() + self.choice.len() + GOES_ON.len();
        MAX_LINE_BYTES.saturating_sub(around).max(LEAST_ROOM_BYTES)
    }

    /// A chunk with a delta whose JSON form is these parts together.
    pub(super) fn push_parts(&self, delta: &[&[u8]], out: &mut Payloads) {
        out.push(None, None, |out| {
            self.begin(out);
            delta.iter().for_each(|part| out.put_slice(part));
            out.put_slice(GOES_ON);
        });
    }

    /// A chunk with a delta.
    pub(super) fn push_delta(&self, delta: &impl Serialize, out: &mut Payloads) {
        out.push(None, None, |out| {
            self.begin(out);
            write(delta, out);
            out.put_slice(GOES_ON);
        });
    }

    /// The last chunk of the choice.
    pub(super) fn push_finish(&self, reason: &str, out: &mut Payloads) {
        out.push(None, None, |out| {
            self.begin(out);
            out.put_slice(b"{},\"finish_reason\":");
            write(&reason, out);
            out.put_slice(b"}]}");
        });
    }

    /// The chunk behind it that has no choice.
    pub(super) fn push_usage(&self, usage: &Usage, out: &mut Payloads) {
        out.push(None, None, |out| {
            out.put_slice(&self.common);
            out.put_slice(b",\"choices\":[],\"usage\":");
            write(&UsageObject::from(usage), out);
            out.put_slice(b"}");
        });
    }

    fn begin(&self, out: &mut BytesMut) {
        out.put_slice(&self.common);
        out.put_slice(self.choice);
    }
}

fn write(value: &impl Serialize, out: &mut BytesMut) {
    // Writing to memory cannot fail, and our values have string keys only.
    serde_json::to_writer(out.writer(), value).expect("chunks serialise");
}

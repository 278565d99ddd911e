//! The frames of a run one by one, with and without a number, as events.

use crate::event::{Event, SyncId, frame};

/// One frame, read.
pub(super) struct Read {
    /// Its number; a frame that only one reader gets has none.
    pub(super) id: Option<SyncId>,
    pub(super) event: Event,
}

/// Reads whole frames in their order. What is no event (a comment, a frame about the reader's position) is passed over.
pub(super) fn read(frames: &[u8]) -> impl Iterator<Item = Read> {
    frame::objects(frames).filter_map(|(id, json)| Some(Read { id, event: serde_json::from_slice(json).ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::native::{self, Verdict};
    use crate::event::{Delta, MessageId};

    #[test]
    fn numbered_and_unnumbered_events_are_read_and_the_rest_is_passed_over() {
        let event = |content: &str| Event::Text(Delta { content: content.into(), block: 0, redacted: false });
        let message = Some(MessageId::new());
        let frames = [
            native::resumed(Verdict::Exact, SyncId::new(3)),
            native::single(None, &event("a"), None, message),
            native::HEARTBEAT,
            native::single(Some(SyncId::new(4)), &event("b"), Some(1), message),
        ];
        let told: Vec<_> = read(&frames.concat()).map(|read| (read.id.map(SyncId::get), read.event)).collect();
        assert_eq!(told, [(None, event("a")), (Some(4), event("b"))]);
    }
}

//! One conversation that a socket reads.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::dialect::sync::{Features, Spelling, Sync};
use crate::dialect::{Dialect, Joined, Source};
use crate::event::{ConversationId, ErrorCode, Fault};
use crate::http::replay::{Replay, Told};
use crate::http::seats::Presence;
use crate::http::speaking::Speaking;
use crate::http::ws::Outbox;
use crate::journal::Cursor;

/// A cursor with what turns its frames into messages.
pub struct Subscription {
    conversation: ConversationId,
    /// What comes before anything of the cursor.
    first: std::vec::IntoIter<Told>,
    cursor: Cursor,
    speaking: Speaking,
    presence: Presence,
}

/// How a subscription speaks.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The spelling of the client.
    pub spelling: Spelling,
    /// What it wants to be told.
    pub features: Features,
    /// For how long deltas may be joined, in milliseconds.
    pub batch_ms: u64,
}

impl Subscription {
    /// Of what `replay` delivers.
    pub fn new(replay: Replay, style: Style, presence: Presence) -> Self {
        let Replay { first, cursor, .. } = replay;
        let dialect = Sync::new(style.spelling, style.features);
        let dialect: Box<dyn Dialect> = match style.batch_ms {
            0 => Box::new(dialect),
            _ => Box::new(Joined::new(dialect)),
        };
        let speaking = Speaking::new(dialect, Duration::from_millis(style.batch_ms));
        Subscription { conversation: cursor.conversation(), first: first.into_iter(), cursor, speaking, presence }
    }

    /// Of what `cursor` delivers, in any dialect.
    pub fn spoken(cursor: Cursor, speaking: Speaking, presence: Presence) -> Self {
        let first = Vec::new().into_iter();
        Subscription { conversation: cursor.conversation(), first, cursor, speaking, presence }
    }

    /// Which conversation.
    pub fn conversation(&self) -> ConversationId {
        self.conversation
    }

    /// Writes what there is to read and room for. Ready when nothing more comes, with what went wrong, if anything did.
    pub fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox) -> Poll<Option<Fault>> {
        while out.room() > 0 && out.len() < super::socket::WRITE_BYTES {
            if let Some(Told { source, frame }) = self.first.next() {
                out.payloads(self.speaking.feed(&source, &frame));
                continue;
            }
            match self.cursor.poll_next(cx) {
                Poll::Ready(Ok(Some(run))) => {
                    let source = Source {
                        conversation: self.conversation,
                        generation: run.owner.generation,
                        message: run.owner.message,
                    };
                    out.payloads(self.speaking.feed(&source, &run.frames));
                    self.presence.reached(run.last);
                }
                Poll::Ready(Ok(None)) => {
                    out.payloads(self.speaking.flush());
                    return Poll::Ready(None);
                }
                Poll::Ready(Err(error)) => {
                    tracing::error!(%error, conversation = %self.conversation, "a reader that fell behind cannot go on");
                    let message = "What comes next cannot be read now; subscribe again with the last number you have.";
                    return Poll::Ready(Some(Fault::new(ErrorCode::StoreUnavailable, message)));
                }
                Poll::Pending => {
                    if let Some(due) = self.speaking.poll_due(cx) {
                        out.payloads(due);
                    }
                    return Poll::Pending;
                }
            }
        }
        // The connection takes what is written and asks for more; or the client answers a ping, which wakes this task.
        Poll::Pending
    }
}

//! A reader as a response of Server-Sent Events.

use actix_web::HttpResponse;

use super::connections::Open;
use super::dialects::DialectName;
use super::ending::Ending;
use super::replay::{Replay, Told};
use super::seats::Presence;
use super::sse::{self, Events, Frame, Shape};
use super::{App, batched};
use crate::dialect::native;
use crate::event::{ConversationId, GenerationId, SyncId};

/// What one response streams, and to whom.
pub struct Reading {
    /// The conversation.
    pub conversation: ConversationId,
    /// The generation, where it is one; else the whole conversation, without an end.
    pub generation: Option<GenerationId>,
    /// From where on.
    pub replay: Replay,
    /// The position with which its reader came back; `None` for one that began just now.
    pub resumed: Option<SyncId>,
    /// For how long deltas may be held back to be joined, in milliseconds.
    pub batch_ms: u64,
    /// In which form it wants the events.
    pub dialect: DialectName,
    /// As whose reader it counts.
    pub presence: Presence,
    /// Its entry in the register.
    pub open: Open,
}

/// The response.
pub fn respond(app: &App, reading: Reading) -> HttpResponse {
    let Reading { conversation, generation, replay, resumed, batch_ms, dialect, presence, open } = reading;
    let Replay { verdict, first: told, cursor, after, tasks } = replay;
    let ending = Ending::new(app.phase.subscribe());
    let ending = if generation.is_some() { ending } else { ending.endless() };
    let ending = if dialect.is_resumed() { ending } else { ending.wordless() };
    let frame = Frame { heartbeat_ms: app.config.stream.heartbeat_ms, presence, open, ending };
    let mut head = sse::head(conversation, generation);
    if let Some(speaking) = dialect.speaking(app, after, tasks) {
        let shape = Shape::Spoken(Box::new(speaking), told);
        return head.streaming(Events::new(cursor, Vec::new(), shape, frame));
    }
    let mut first: Vec<_> = resumed.map(|after| native::resumed(verdict, after)).into_iter().collect();
    first.extend(told.into_iter().map(|Told { frame, .. }| frame));
    let shape = if generation.is_some() { Shape::Plain } else { Shape::Addressed };
    batched::respond(&mut head, Events::new(cursor, first, shape, frame), batch_ms)
}

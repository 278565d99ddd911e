//! The compact form: what a conversation or a generation comes to, instead of how it came about.

use std::collections::HashMap;

use actix_web::web::Bytes;

use super::{App, Told};
use crate::dialect::{Source, native};
use crate::event::{ConversationId, Event, Fault, FinishReason, GenerationId, MessageId, SyncId, UserMessage};
use crate::http::error::store_fault;
use crate::http::trace::RequestId;
use crate::journal::{Journal, MessageStatus, Snapshot};
use crate::store::{StoredGeneration, StoredMessage};

/// Where the frames of a compacted answer leave a reader.
pub(super) struct Compacted {
    pub(super) frames: Vec<Told>,
    pub(super) position: SyncId,
    /// Whether the final terminal event is among the frames.
    pub(super) ended: bool,
}

/// Events that describe one state together. Only the last of them is given a number: a reader that is cut before it comes
/// back to its old position and gets all of it again.
struct Frames {
    conversation: ConversationId,
    events: Vec<(Event, Option<u8>, Source)>,
}

impl Frames {
    fn new(conversation: ConversationId) -> Self {
        Frames { conversation, events: Vec::new() }
    }

    fn add(&mut self, event: Event, writer: Option<u8>, generation: Option<GenerationId>, message: MessageId) {
        self.events.push((event, writer, Source { conversation: self.conversation, generation, message }));
    }

    /// Messages that are being made, or have just ended. The one that ended last comes last of these, for it may say that
    /// its generation has ended with it.
    fn add_live(&mut self, snapshots: &[Snapshot]) {
        let mut snapshots: Vec<&Snapshot> = snapshots.iter().collect();
        snapshots.sort_by_key(|snapshot| snapshot.terminal.as_ref().map_or(u64::MAX, |(at, _)| at.get()));
        snapshots.into_iter().for_each(|snapshot| self.add_snapshot(snapshot));
    }

    fn add_snapshot(&mut self, Snapshot { owner, fold, through, terminal }: &Snapshot) {
        let status = match terminal {
            None => MessageStatus::Streaming,
            Some((_, Event::Complete(end))) if end.finish_reason == FinishReason::Cancelled => MessageStatus::Cancelled,
            Some((_, Event::Complete(_))) => MessageStatus::Complete,
            Some(_) => MessageStatus::Error,
        };
        let reset = fold.reset(owner.message, status.as_str(), *through);
        self.add(Event::Reset(Box::new(reset)), owner.writer, owner.generation, owner.message);
        if let Some((_, terminal)) = terminal {
            self.add(terminal.clone(), owner.writer, owner.generation, owner.message);
        }
    }

    /// As frames; with the message's id in each for the readers of a whole conversation.
    fn numbered(self, through: SyncId, addressed: bool) -> Vec<Told> {
        let last = self.events.len().saturating_sub(1);
        let frames = self.events.into_iter().enumerate().map(|(place, (event, writer, source))| {
            let id = (place == last).then_some(through);
            Told { source, frame: native::single(id, &event, writer, addressed.then_some(source.message)) }
        });
        frames.collect()
    }
}

pub(super) fn live(journal: &Journal, id: GenerationId) -> Option<Compacted> {
    let snapshots = journal.snapshots(Some(id));
    let [first, others @ ..] = &snapshots[..] else { return None };
    if others.is_empty() {
        // What comes after the content is left to the cursor, the terminal event too.
        let position = first.terminal.as_ref().map_or(first.through, |(at, _)| at.before());
        let reset = first.fold.reset(first.owner.message, MessageStatus::Streaming.as_str(), position);
        let frame = native::single(Some(position), &Event::Reset(Box::new(reset)), first.owner.writer, None);
        let source = Source { conversation: journal.id(), generation: Some(id), message: first.owner.message };
        return Some(Compacted { frames: vec![Told { source, frame }], position, ended: false });
    }
    let mut state = Frames::new(journal.id());
    state.add_live(&snapshots);
    let ended = snapshots.iter().all(|snapshot| snapshot.terminal.is_some());
    Some(Compacted { frames: state.numbered(first.through, false), position: first.through, ended })
}

/// A generation from its rows.
pub(super) fn stored(journal: &Journal, stored: &StoredGeneration) -> Compacted {
    if let Some(last) = stored.last
        && stored.output().nth(1).is_some()
    {
        return several(stored, last);
    }
    let mut frames = Vec::new();
    let mut position = SyncId::ZERO;
    let mut ended = false;
    for message in stored.output() {
        let source = Source { conversation: journal.id(), generation: Some(stored.id), message: message.id };
        let mut tell = |frame: Bytes| frames.push(Told { source, frame });
        let last = message.last.unwrap_or_else(|| journal.last());
        let through = last.before();
        tell(native::single(Some(through), &reset_stored(message, through), None, None));
        position = position.max(through);
        // Where the exact events are gone the terminal one is too, and is made from the row. So it is where the row may
        // differ from the events: `check` must be that of the text in the reset.
        if last <= journal.trimmed() || is_changed(message) {
            tell(native::single(Some(last), &message.terminal(&stored.request_id, true), None, None));
            position = position.max(last);
            ended = Some(last) == stored.last;
        }
    }
    Compacted { frames, position, ended }
}

/// Several messages that all have ended, from their rows, in the order of their ends.
fn several(stored: &StoredGeneration, position: SyncId) -> Compacted {
    let mut messages: Vec<(u8, &StoredMessage)> = (0..).zip(stored.output()).collect();
    messages.sort_by_key(|(_, message)| message.last);
    let mut state = Frames::new(stored.conversation);
    for (writer, message) in messages {
        state.add(reset_stored(message, position), Some(writer), Some(stored.id), message.id);
        let is_final = message.last == stored.last;
        state.add(message.terminal(&stored.request_id, is_final), Some(writer), Some(stored.id), message.id);
    }
    Compacted { frames: state.numbered(position, false), position, ended: true }
}

/// One `message` or `reset` a message.
pub(super) async fn conversation(
    request: &RequestId,
    app: &App,
    journal: &Journal,
    addressed: bool,
) -> Result<(Vec<Told>, SyncId), Fault> {
    let live = journal.snapshots(None);
    let through = live.first().map_or_else(|| journal.last(), |snapshot| snapshot.through);
    let mut stored = app.store.messages(journal.id()).await.map_err(|error| store_fault(request, &error))?;
    let made = made(&stored);
    // Of several answers to one request the one that ended last comes last, for it says that it is final.
    stored.sort_by_key(|message| {
        (message.created_at_us, message.model.is_some().then(|| message.last.map_or(u64::MAX, SyncId::get)))
    });
    let is_live = |other: &StoredMessage| live.iter().any(|snapshot| snapshot.owner.message == other.id);
    let known = |other: &StoredMessage| is_live(other) || other.last.is_some_and(|last| last <= through);
    let mut state = Frames::new(journal.id());
    for message in &stored {
        if message.model.is_none() {
            // A client's message belongs before what answers it.
            if stored.iter().any(|other| other.generation == message.generation && known(other)) {
                let event =
                    UserMessage { message_id: message.id, role: message.role, content: message.content.text.clone() };
                state.add(Event::Message(event), None, None, message.id);
            }
        } else if !is_live(message) && known(message) {
            let others = made.get(&message.generation).map(Vec::as_slice).unwrap_or_default();
            let place = others.iter().position(|(id, _)| *id == message.id).filter(|_| others.len() > 1);
            let writer = place.and_then(|place| u8::try_from(place).ok());
            let is_final = others.iter().all(|(_, last)| *last <= message.last);
            state.add(reset_stored(message, through), writer, Some(message.generation), message.id);
            state.add(message.terminal("", is_final), writer, Some(message.generation), message.id);
        }
    }
    state.add_live(&live);
    Ok((state.numbered(through, addressed), through))
}

/// The messages that each generation made, in their order, each with its last number.
fn made(stored: &[StoredMessage]) -> HashMap<GenerationId, Vec<(MessageId, Option<SyncId>)>> {
    let mut made: HashMap<GenerationId, Vec<_>> = HashMap::new();
    for message in stored.iter().filter(|message| message.model.is_some()) {
        made.entry(message.generation).or_default().push((message.id, message.last));
    }
    made
}

/// Whether U+0000 may have become U+FFFD in the row.
fn is_changed(message: &StoredMessage) -> bool {
    message.last.is_some()
        && [&message.content.reasoning, &message.content.text].iter().any(|text| text.contains('\u{fffd}'))
}

fn reset_stored(message: &StoredMessage, through: SyncId) -> Event {
    Event::Reset(Box::new(message.content.reset(message.id, message.status.as_str(), through)))
}

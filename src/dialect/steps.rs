//! Agent steps: what a model does as a row of thoughts, tool calls and answers, each told once it is whole, or in parts as
//! they arrive.
//!
//! A whole step has the number of its last event, and steps go out in the order of their numbers, so that a client that
//! comes back with the number of a step has all up to it and nothing of what follows. Where answers are made side by side,
//! a step may thus lie around the number with which a client comes back. So whoever feeds begins with the first event of
//! every message that was open there ([`Settings::after`]), and nothing is told twice.

mod turn;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use self::turn::Turn;
use super::frames::{self, Read};
use super::{Dialect, Payloads, Source};
use crate::event::{ErrorCode, Event, FinishReason, MessageId, SyncId};

/// How the steps of one reader are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// In parts as they arrive, instead of whole.
    pub tokens: bool,
    /// The reader has everything up to this number. What it is fed may begin earlier.
    pub after: SyncId,
    /// How many messages of models had begun in the session before the first event that is fed.
    pub turns: u32,
    /// Events up to this number were there before the reader: their own time is not known.
    pub past: SyncId,
}

/// Turns the events of a session into steps.
#[derive(Debug)]
pub struct Steps {
    settings: Settings,
    turns: u32,
    now_ms: u64,
    open: HashMap<MessageId, Turn>,
    /// Steps that are whole, by their numbers. One of them waits while an open step may still end before it.
    whole: BTreeMap<SyncId, Message>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Thought,
    ToolUse,
    ToolResult,
    FinalAnswer,
    Error,
}

/// What a client reads.
#[derive(Debug, Serialize)]
struct Message {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_id: Option<SyncId>,
    data: Step,
}

/// A step, or a part of one.
#[derive(Clone, Debug, Serialize)]
struct Step {
    #[serde(rename = "type")]
    kind: Kind,
    content: String,
    iteration: u32,
    /// Seconds since the epoch.
    timestamp: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<bool>,
    /// Of a call or a result: its id, the tool, and of a call the arguments as the model wrote them.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_error: Option<bool>,
    /// The provider withheld this thought.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    redacted: bool,
    /// Of an answer: why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
    /// Of an error: what had been answered before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// What one event made of a message: steps, or parts of them, each with the number of its last event.
#[derive(Default)]
struct Made(Vec<(Option<SyncId>, Step)>);

impl Steps {
    /// For one reader of one session.
    pub fn new(settings: Settings) -> Self {
        Steps { settings, turns: settings.turns, now_ms: 0, open: HashMap::new(), whole: BTreeMap::new() }
    }

    fn take(&mut self, message: MessageId, read: Read, out: &mut Payloads) {
        let Read { id, event } = read;
        if matches!(event, Event::Message(_) | Event::Status(_) | Event::Usage(_) | Event::Opaque(_)) {
            return;
        }
        let begins = matches!(event, Event::Start(_) | Event::Reset(_));
        let mut turn = match self.open.remove(&message) {
            Some(turn) => turn,
            // The rest of a message of which the reader has everything: what it is fed began in its midst.
            None if !begins && self.is_known(id) => return,
            None => self.begin(),
        };
        turn.is_past = id.is_none_or(|id| id <= self.settings.past);
        turn.at_ms = turn.began_ms.filter(|_| turn.is_past).unwrap_or(self.now_ms);
        turn.tokens = self.settings.tokens;
        turn.message = Some(message);
        let ends = event.is_terminal();
        let mut made = Made::default();
        turn.apply(id, event, &mut made);
        if !ends {
            self.open.insert(message, turn);
        }
        self.tell(id, made, out);
    }

    fn begin(&mut self) -> Turn {
        self.turns = self.turns.saturating_add(1);
        Turn::new(self.turns)
    }

    /// Whether the reader has that number already.
    fn is_known(&self, id: Option<SyncId>) -> bool {
        id.is_some_and(|id| id <= self.settings.after)
    }

    fn tell(&mut self, event: Option<SyncId>, made: Made, out: &mut Payloads) {
        let last = made.0.len().saturating_sub(1);
        for (place, (number, step)) in made.0.into_iter().enumerate() {
            if self.settings.tokens {
                // Parts of one event: a client that is cut before the last of them gets all of them again.
                let sync_id = event.filter(|_| place == last);
                if !self.is_known(event) {
                    Message::new(sync_id, step).push(out);
                }
            } else if let Some(number) = number {
                if !self.is_known(Some(number)) {
                    self.whole.insert(number, Message::new(Some(number), step));
                }
            } else if !self.is_known(event) {
                Message::new(None, step).push(out);
            }
        }
    }

    /// Tells the steps before which no other can end any more.
    fn release(&mut self, out: &mut Payloads) {
        let open = self.open.values().flat_map(|turn| turn.open.iter().filter_map(|step| step.last));
        let until = open.min();
        while let Some(first) = self.whole.first_entry()
            && until.is_none_or(|until| *first.key() < until)
        {
            first.remove().push(out);
        }
    }
}

impl Dialect for Steps {
    fn feed(&mut self, source: &Source, frames: &[u8], out: &mut Payloads) {
        for read in frames::read(frames) {
            self.take(source.message, read, out);
        }
        self.release(out);
    }

    fn set_now(&mut self, ms_since_epoch: u64) {
        self.now_ms = ms_since_epoch;
    }
}

impl Message {
    fn new(sync_id: Option<SyncId>, data: Step) -> Self {
        Message { kind: "reasoning_step", sync_id, data }
    }

    fn push(&self, out: &mut Payloads) {
        out.push_json(self.sync_id, None, self);
    }
}

#[cfg(test)]
#[path = "steps_test.rs"]
mod tests;

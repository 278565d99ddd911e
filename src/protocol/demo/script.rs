//! Plays parts piece by piece and counts the pieces as tokens.

use std::collections::VecDeque;

use super::Pace;
use crate::event::{Event, Fault, FinishReason, ModelRequest, Usage, UsageSource};
use crate::protocol::End;
use crate::protocol::blocks::{Blocks, CallRef};

/// A word above this length comes in pieces of [`PIECE_CHARS`].
const LONG_WORD_CHARS: usize = 10;
const PIECE_CHARS: usize = 6;
/// The breath between two lines, in milliseconds.
const LINE_PAUSE_MS: u64 = 120;

/// One thing that happens.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// How long to wait before it, in milliseconds.
    pub after_ms: u64,
    /// What happens.
    pub what: Action,
}

/// What a step does.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// An event of the message.
    Emit(Event),
    /// The message ends as declared. Nothing follows.
    End(End),
    /// The message fails. Nothing follows.
    Fail(Fault),
}

/// What a part is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Voice {
    Reasoning,
    Text,
    /// A tool call; the part's text is its arguments.
    Call {
        id: String,
        name: String,
    },
}

/// A text that is said in one go.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Part {
    pub pause_ms: u64,
    pub voice: Voice,
    pub text: String,
    pub pace: Pace,
}

impl Part {
    pub fn new(pause_ms: u64, voice: Voice, text: String, pace: Pace) -> Self {
        Part { pause_ms, voice, text, pace }
    }
}

/// How a script ends once everything is said.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Finale {
    End(FinishReason),
    Fail(Fault),
}

/// Gives the steps of one message, the last of which is an end or a failure. Steps are made as they are asked for.
#[derive(Debug)]
pub struct Script {
    parts: VecDeque<Part>,
    /// How far the first part has been said, in bytes, and the call that it is.
    at: usize,
    call: Option<CallRef>,
    /// Taken when the script ends.
    finale: Option<Finale>,
    ready: VecDeque<Step>,
    blocks: Blocks,
    after_line: bool,
    max_tokens: u64,
    input_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
}

impl Script {
    pub(super) fn new(request: &ModelRequest, parts: Vec<Part>, finale: Finale) -> Self {
        Script {
            parts: parts.into(),
            at: 0,
            call: None,
            finale: Some(finale),
            ready: VecDeque::new(),
            blocks: Blocks::default(),
            after_line: false,
            max_tokens: request.max_tokens.unwrap_or(u64::MAX),
            input_tokens: request.messages.iter().map(|message| count(&message.content)).sum(),
            output_tokens: 0,
            reasoning_tokens: 0,
        }
    }

    /// Says the next piece of the first part; `false` once nothing is left to say.
    fn say(&mut self) -> bool {
        let Some(part) = self.parts.front() else { return false };
        let rest = &part.text[self.at..];
        if rest.is_empty() {
            self.parts.pop_front();
            (self.at, self.call) = (0, None);
            return true;
        }
        if self.output_tokens >= self.max_tokens {
            self.finale = Some(Finale::End(FinishReason::Length));
            return false;
        }
        let piece = &rest[..piece_bytes(rest)];
        let mut after_ms = if self.at == 0 { part.pause_ms } else { part.pace.wait_ms(self.output_tokens) };
        if std::mem::replace(&mut self.after_line, piece.ends_with('\n')) || piece.starts_with('\n') {
            after_ms += LINE_PAUSE_MS.min(part.pace.least_ms * 6);
        }
        let mut events = Vec::new();
        match (&part.voice, self.call) {
            (Voice::Reasoning, _) => self.blocks.reasoning(piece, &mut events),
            (Voice::Text, _) => self.blocks.text(piece, &mut events),
            (Voice::Call { .. }, Some(call)) => self.blocks.call_arguments(call, piece, &mut events),
            (Voice::Call { id, name }, None) => self.call = Some(self.blocks.begin_call(id, name, piece, &mut events)),
        }
        self.at += piece.len();
        self.output_tokens += 1;
        self.reasoning_tokens += u64::from(part.voice == Voice::Reasoning);
        self.emit(after_ms, events);
        true
    }

    fn conclude(&mut self, finale: Finale) {
        let reason = match finale {
            Finale::Fail(fault) => {
                return self.ready.push_back(Step { after_ms: 100, what: Action::Fail(fault) });
            }
            Finale::End(reason) => reason,
        };
        let mut events = Vec::new();
        self.blocks.end_calls(&mut events);
        events.push(Event::Usage(Usage {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            reasoning_tokens: Some(self.reasoning_tokens),
            cached_input_tokens: None,
            total_tokens: self.input_tokens + self.output_tokens,
            source: UsageSource::Reported,
        }));
        self.emit(0, events);
        self.ready.push_back(Step { after_ms: 0, what: Action::End(End { finish_reason: reason }) });
    }

    fn emit(&mut self, after_ms: u64, events: Vec<Event>) {
        let waits = std::iter::once(after_ms).chain(std::iter::repeat(0));
        self.ready.extend(
            events.into_iter().zip(waits).map(|(event, after_ms)| Step { after_ms, what: Action::Emit(event) }),
        );
    }
}

impl Iterator for Script {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        while self.ready.is_empty() {
            if !self.say() {
                let finale = self.finale.take()?;
                self.parts.clear();
                self.conclude(finale);
            }
        }
        self.ready.pop_front()
    }
}

impl Pace {
    /// The wait before a piece: uneven, as with people, but the same in every run.
    const fn wait_ms(self, piece: u64) -> u64 {
        self.least_ms + (piece * 7) % self.spread_ms
    }
}

/// How many pieces a text comes in.
fn count(text: &str) -> u64 {
    let (mut rest, mut pieces) = (text, 0);
    while !rest.is_empty() {
        rest = &rest[piece_bytes(rest)..];
        pieces += 1;
    }
    pieces
}

/// The length of the next piece: white space and the word after it, or the beginning of a long word.
fn piece_bytes(text: &str) -> usize {
    let space = text.len() - text.trim_start().len();
    let behind = &text[space..];
    let word = &behind[..behind.find(char::is_whitespace).unwrap_or(behind.len())];
    let cut = word.char_indices().nth(PIECE_CHARS).map(|(at, _)| at);
    match cut {
        Some(at) if word.chars().nth(LONG_WORD_CHARS).is_some() => space + at,
        _ => space + word.len(),
    }
}

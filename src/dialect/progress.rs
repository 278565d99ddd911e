//! Progress events: pieces of what a task thinks and says, joined to a readable size, and everything whole at its end.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::frames::{self, Read};
use super::{Dialect, Payloads, Source};
use crate::event::{BlockKind, ErrorCode, Event, FinishReason, MessageId, Reset, SyncId, ToolCallDelta};

/// The name of these events.
pub const NAME: &str = "ai_progress";

/// The name of the task that a message belongs to.
pub type TaskOf = Box<dyn FnMut(&Source) -> Arc<str> + Send>;

/// How the events of one reader are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// A piece is told as soon as it has so many characters.
    pub join_chars: usize,
    /// The reader has everything up to this number. What it is fed begins with the messages that were open there, so that
    /// the end of each can tell it whole.
    pub after: SyncId,
    /// Whether each message names its event itself, where the transport has no place for that.
    pub enveloped: bool,
}

/// Joins pieces of one kind until they are long enough, or whoever drives it finds that they have waited long enough. What
/// comes last is never held back: an end tells it first.
pub struct Progress {
    settings: Settings,
    task_of: TaskOf,
    now_ms: u64,
    held: Option<Held>,
    whole: HashMap<MessageId, Whole>,
}

/// All of a message so far.
#[derive(Default)]
struct Whole {
    reasoning: String,
    text: String,
    /// The names of its tools, by the ids of the calls.
    tools: HashMap<String, String>,
}

/// A piece that may still grow.
struct Held {
    message: MessageId,
    task: Arc<str>,
    kind: Kind,
    /// The call that it belongs to, and its tool.
    call: Option<(String, String)>,
    text: String,
    chars: usize,
    last: Option<SyncId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Reasoning,
    Text,
    ToolCall,
    Completion,
}

/// What a client reads where the transport does not name events.
#[derive(Serialize)]
struct Envelope<'a> {
    event: &'static str,
    message: &'a Message<'a>,
}

/// What a client reads.
#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    partial: bool,
    task_id: &'a str,
    /// Seconds since the epoch.
    timestamp: f64,
    message_id: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// This is everything of its kind so far, and replaces what came before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replace: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
}

impl Progress {
    /// For one reader.
    pub fn new(settings: Settings, task_of: TaskOf) -> Self {
        Progress { settings, task_of, now_ms: 0, held: None, whole: HashMap::new() }
    }

    fn take(&mut self, source: &Source, read: Read, out: &mut Payloads) {
        let Read { id, event } = read;
        match event {
            Event::Reasoning(delta) => {
                self.whole.entry(source.message).or_default().reasoning.push_str(&delta.content);
                self.piece(source, id, Kind::Reasoning, None, &delta.content, out);
            }
            Event::Text(delta) | Event::Refusal(delta) => {
                self.whole.entry(source.message).or_default().text.push_str(&delta.content);
                self.piece(source, id, Kind::Text, None, &delta.content, out);
            }
            Event::ToolCall(call) => self.tool_call(source, id, call, out),
            Event::Reset(reset) => self.reset(source, id, &reset, out),
            Event::Complete(end) => self.end(source, id, Ok(end.finish_reason), out),
            Event::Error(end) => self.end(source, id, Err((&end.message, end.code)), out),
            Event::Start(_)
            | Event::Status(_)
            | Event::ToolResult(_)
            | Event::Usage(_)
            | Event::Message(_)
            | Event::Opaque(_) => {}
        }
    }

    fn tool_call(&mut self, source: &Source, id: Option<SyncId>, call: ToolCallDelta, out: &mut Payloads) {
        let ToolCallDelta { id: call, name, arguments, .. } = call;
        let tools = &mut self.whole.entry(source.message).or_default().tools;
        let name = tools.entry(call.clone()).or_insert_with(|| name.unwrap_or_default()).clone();
        self.piece(source, id, Kind::ToolCall, Some((call, name)), &arguments, out);
    }

    fn piece(
        &mut self,
        source: &Source,
        id: Option<SyncId>,
        kind: Kind,
        call: Option<(String, String)>,
        text: &str,
        out: &mut Payloads,
    ) {
        if self.is_known(id) {
            return;
        }
        let grows = |held: &&mut Held| held.message == source.message && held.kind == kind && held.call == call;
        let chars = text.chars().count();
        match self.held.as_mut().filter(grows) {
            Some(held) => {
                held.text.push_str(text);
                held.chars += chars;
                held.last = id;
            }
            None => {
                self.flush(out);
                let (message, task) = (source.message, (self.task_of)(source));
                self.held = Some(Held { message, task, kind, call, text: text.to_owned(), chars, last: id });
            }
        }
        if self.held.as_ref().is_some_and(|held| held.chars >= self.settings.join_chars) {
            self.flush(out);
        }
    }

    fn end(
        &mut self,
        source: &Source,
        id: Option<SyncId>,
        end: Result<FinishReason, (&str, ErrorCode)>,
        out: &mut Payloads,
    ) {
        self.flush(out);
        let whole = self.whole.remove(&source.message).unwrap_or_default();
        if self.is_known(id) {
            return;
        }
        let task = (self.task_of)(source);
        let (error, code) = end.err().unzip();
        let message = Message {
            reasoning: Some(&whole.reasoning),
            partial: false,
            finish_reason: end.ok(),
            error,
            code,
            ..self.message(Kind::Completion, &whole.text, source.message, &task)
        };
        self.push(id, &message, out);
    }

    /// The message as it is stored, for a reader that has another one or none.
    fn reset(&mut self, source: &Source, id: Option<SyncId>, reset: &Reset, out: &mut Payloads) {
        self.flush(out);
        let answer = reset.blocks.iter().filter(|block| matches!(block.kind, BlockKind::Text | BlockKind::Refusal));
        let text: String = answer.map(|block| block.text.as_str()).collect();
        let tools = reset.tool_calls.iter().map(|call| (call.id.clone(), call.name.clone())).collect();
        let known = self.whole.insert(source.message, Whole { reasoning: reset.reasoning.clone(), text, tools });
        let Some(whole) = self.whole.get(&source.message) else { return };
        let is_told = known.is_some_and(|known| known.reasoning == whole.reasoning && known.text == whole.text);
        if is_told || self.is_known(id) {
            return;
        }
        let task = (self.task_of)(source);
        let replaced = |kind, text| Message { replace: true, ..self.message(kind, text, source.message, &task) };
        self.push(None, &replaced(Kind::Reasoning, &whole.reasoning), out);
        for call in &reset.tool_calls {
            let (id, name) = (Some(call.id.as_str()), Some(call.name.as_str()));
            self.push(None, &Message { id, name, ..replaced(Kind::ToolCall, &call.arguments) }, out);
        }
        // Only what comes last says how far the reader is then.
        self.push(id, &replaced(Kind::Text, &whole.text), out);
    }

    fn push(&self, id: Option<SyncId>, message: &Message<'_>, out: &mut Payloads) {
        match self.settings.enveloped {
            true => out.push_json(id, None, &Envelope { event: NAME, message }),
            false => out.push_json(id, Some(NAME), message),
        }
    }

    /// Whether the reader has that number already.
    fn is_known(&self, id: Option<SyncId>) -> bool {
        id.is_some_and(|id| id <= self.settings.after)
    }

    fn message<'a>(&self, kind: Kind, text: &'a str, message_id: MessageId, task_id: &'a str) -> Message<'a> {
        Message {
            kind,
            text,
            reasoning: None,
            partial: true,
            task_id,
            // Exact for a long time to come: milliseconds since the epoch have 41 bits.
            timestamp: self.now_ms as f64 / 1000.0,
            message_id,
            id: None,
            name: None,
            replace: false,
            finish_reason: None,
            error: None,
            code: None,
        }
    }
}

impl Dialect for Progress {
    fn feed(&mut self, source: &Source, frames: &[u8], out: &mut Payloads) {
        for read in frames::read(frames) {
            self.take(source, read, out);
        }
    }

    fn set_now(&mut self, ms_since_epoch: u64) {
        self.now_ms = ms_since_epoch;
    }

    fn flush(&mut self, out: &mut Payloads) {
        let Some(Held { message, task, kind, call, text, last, .. }) = self.held.take() else { return };
        let (id, name) = call.as_ref().map(|(id, name)| (id.as_str(), name.as_str())).unzip();
        let message = Message { id, name, ..self.message(kind, &text, message, &task) };
        self.push(last, &message, out);
    }

    fn is_holding(&self) -> bool {
        self.held.is_some()
    }
}

#[cfg(test)]
#[path = "progress_test.rs"]
mod tests;

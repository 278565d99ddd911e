//! A message as a stream of chunks.

use memchr::memchr;
use serde::Serialize;

use super::chunk::Head;
use super::{ErrorObject, NO_ARGUMENTS, completion_id, created_s, finish_reason, model_id};
use crate::dialect::delta::{self, Kind};
use crate::dialect::{Dialect, Payloads, Source};
use crate::event::{BlockKind, Complete, Event, Reset, Status, ToolCall, frame};

/// Who answers, until that is told: never where a message is told from its start.
const UNKNOWN_MODEL: &str = "unknown";
/// What ends a stream that did not fail.
const DONE: &[u8] = b"[DONE]";
/// What a chunk of a call's arguments has beside them, at most.
const AROUND_ARGUMENTS_BYTES: usize = 64;

/// Writes the one message of a generation as `chat.completion.chunk`s, `[DONE]` behind them, or a fault in their place.
///
/// A chunk has no number, because the clients of this API never come back in the middle of an answer. Events for which it
/// has no word (what the gateway decided, token counts so far, results of tools that the provider ran) say nothing.
#[derive(Debug)]
pub struct ChatStream {
    include_usage: bool,
    model: String,
    created_s: Option<u64>,
    /// Once the first chunk has been written.
    head: Option<Head>,
    said: Said,
    is_over: bool,
}

/// What the client has been told: a `reset`, which holds all of a message, adds the rest to it.
#[derive(Debug, Default)]
struct Said {
    /// Of each [`Kind`], in bytes of the text.
    text_bytes: [usize; 3],
    calls: Vec<SaidCall>,
}

#[derive(Debug)]
struct SaidCall {
    id: String,
    arguments_bytes: usize,
}

/// A delta up to the first quotation mark of its content.
const fn key(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Reasoning => br#"{"reasoning_content":""#,
        Kind::Text => br#"{"content":""#,
        Kind::Refusal => br#"{"refusal":""#,
    }
}

/// And what comes after it.
const DELTA_END: &[u8] = b"\"}";

#[derive(Serialize)]
struct RoleDelta {
    role: &'static str,
    content: &'static str,
}

#[derive(Serialize)]
struct CallDelta<'a> {
    tool_calls: [CallPart<'a>; 1],
}

#[derive(Serialize)]
struct CallPart<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionPart<'a>,
}

#[derive(Serialize)]
struct FunctionPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl ChatStream {
    /// With `include_usage` token counts come in a chunk of their own before the end.
    pub fn new(include_usage: bool) -> Self {
        ChatStream {
            include_usage,
            model: UNKNOWN_MODEL.to_owned(),
            created_s: None,
            head: None,
            said: Said::default(),
            is_over: false,
        }
    }

    /// What is needed to say something. The client is first told who speaks.
    fn speak(&mut self, source: &Source, out: &mut Payloads) -> (&Head, &mut Said) {
        let head = self.head.get_or_insert_with(|| {
            let created_s = self.created_s.unwrap_or_else(|| created_s(None, source.message));
            let head = Head::new(&completion_id(source.message), created_s, &self.model, self.include_usage);
            head.push_delta(&RoleDelta { role: "assistant", content: "" }, out);
            head
        });
        (head, &mut self.said)
    }

    fn take(&mut self, source: &Source, event: &Event, out: &mut Payloads) {
        match event {
            Event::Start(start) => {
                self.model = model_id(&start.provider, &start.model);
                self.created_s = Some(created_s(Some(&start.created_at), source.message));
                self.speak(source, out);
            }
            Event::Status(status) => self.rename(source, status),
            Event::Reasoning(delta) => self.say(source, Kind::Reasoning, &delta.content, out),
            Event::Text(delta) => self.say(source, Kind::Text, &delta.content, out),
            Event::Refusal(delta) => self.say(source, Kind::Refusal, &delta.content, out),
            Event::ToolCall(call) => {
                let (head, said) = self.speak(source, out);
                let at = said.call(head, &call.id, call.name.as_deref().unwrap_or_default(), out);
                said.arguments(head, at, &call.arguments, out);
            }
            Event::Reset(reset) => self.complement(source, reset, out),
            Event::Complete(complete) => self.finish(source, complete, out),
            Event::Error(error) => {
                out.push_json(None, None, &ErrorObject::new(error.code, &error.message));
                self.is_over = true;
            }
            Event::ToolResult(_) | Event::Usage(_) | Event::Message(_) | Event::Opaque(_) => {}
        }
    }

    /// Another model is asked than the one that `start` named.
    fn rename(&mut self, source: &Source, status: &Status) {
        let Some((provider, model)) = status.provider.as_deref().zip(status.model.as_deref()) else { return };
        self.model = model_id(provider, model);
        if let Some(head) = &mut self.head {
            let created_s = self.created_s.unwrap_or_else(|| created_s(None, source.message));
            *head = Head::new(&completion_id(source.message), created_s, &self.model, self.include_usage);
        }
    }

    fn say(&mut self, source: &Source, kind: Kind, text: &str, out: &mut Payloads) {
        if text.is_empty() {
            return;
        }
        let (head, said) = self.speak(source, out);
        let room = head.room_bytes().saturating_sub(key(kind).len() + DELTA_END.len());
        for piece in frame::pieces(text, room) {
            let quoted = serde_json::Value::from(piece).to_string();
            head.push_parts(&[key(kind), &quoted.as_bytes()[1..quoted.len() - 1], DELTA_END], out);
        }
        said.text_bytes[kind as usize] += text.len();
    }

    /// The usual delta, without a look into its content, which is as JSON writes it inside a string. Gives back whether
    /// that was possible.
    fn say_escaped(&mut self, source: &Source, kind: Kind, content: &[u8], out: &mut Payloads) -> bool {
        if content.is_empty() {
            return true;
        }
        let (head, said) = self.speak(source, out);
        if key(kind).len() + content.len() + DELTA_END.len() > head.room_bytes() {
            return false;
        }
        head.push_parts(&[key(kind), content, DELTA_END], out);
        said.text_bytes[kind as usize] += unescaped_bytes(content);
        true
    }

    /// What of the whole message is not said yet.
    fn complement(&mut self, source: &Source, reset: &Reset, out: &mut Payloads) {
        let refusals = reset.blocks.iter().filter(|block| block.kind == BlockKind::Refusal);
        let refusal: String = refusals.map(|block| block.text.as_str()).collect();
        let texts = [(Kind::Reasoning, &reset.reasoning), (Kind::Text, &reset.text), (Kind::Refusal, &refusal)];
        for (kind, text) in texts {
            let rest = text.get(self.said.text_bytes[kind as usize]..).unwrap_or_default();
            self.say(source, kind, rest, out);
        }
        let (head, said) = self.speak(source, out);
        for ToolCall { id, name, arguments } in &reset.tool_calls {
            let at = said.call(head, id, name, out);
            let rest = arguments.get(said.calls[at].arguments_bytes..).unwrap_or_default();
            said.arguments(head, at, rest, out);
        }
    }

    fn finish(&mut self, source: &Source, complete: &Complete, out: &mut Payloads) {
        let include_usage = self.include_usage;
        let (head, said) = self.speak(source, out);
        said.no_arguments(head, out);
        head.push_finish(finish_reason(complete.finish_reason), out);
        if let Some(usage) = complete.usage.as_ref().filter(|_| include_usage) {
            head.push_usage(usage, out);
        }
        out.push(None, None, |out| out.extend_from_slice(DONE));
        self.is_over = true;
    }
}

impl Said {
    /// The place of a call among those of the message. A new one is introduced with its name.
    fn call(&mut self, head: &Head, id: &str, name: &str, out: &mut Payloads) -> usize {
        if let Some(at) = self.calls.iter().rposition(|known| known.id == id) {
            return at;
        }
        let index = self.calls.len();
        let function = FunctionPart { name: Some(name), arguments: "" };
        let part = CallPart { index, id: Some(id), kind: Some("function"), function };
        head.push_delta(&CallDelta { tool_calls: [part] }, out);
        self.calls.push(SaidCall { id: id.to_owned(), arguments_bytes: 0 });
        index
    }

    fn arguments(&mut self, head: &Head, index: usize, arguments: &str, out: &mut Payloads) {
        if arguments.is_empty() {
            return;
        }
        for piece in frame::pieces(arguments, head.room_bytes().saturating_sub(AROUND_ARGUMENTS_BYTES)) {
            let function = FunctionPart { name: None, arguments: piece };
            let part = CallPart { index, id: None, kind: None, function };
            head.push_delta(&CallDelta { tool_calls: [part] }, out);
        }
        self.calls[index].arguments_bytes += arguments.len();
    }

    /// At the end: clients parse a call's arguments, also where there are none.
    fn no_arguments(&mut self, head: &Head, out: &mut Payloads) {
        for at in 0..self.calls.len() {
            if self.calls[at].arguments_bytes == 0 {
                self.arguments(head, at, NO_ARGUMENTS, out);
            }
        }
    }
}

impl Dialect for ChatStream {
    fn feed(&mut self, source: &Source, frames: &[u8], out: &mut Payloads) {
        for (id, json) in frame::objects(frames) {
            if self.is_over {
                return;
            }
            let usual = delta::Delta::of_json(b"", json);
            if usual.is_some_and(|usual| self.say_escaped(source, usual.kind, usual.content, out)) {
                continue;
            }
            if let Some(event) = delta::event(id, json) {
                self.take(source, &event, out);
            }
        }
    }
}

/// How long a text is whose JSON form, as our frames have it, is `escaped`: each escape stands for one byte.
fn unescaped_bytes(escaped: &[u8]) -> usize {
    let (mut bytes, mut at) = (escaped.len(), 0);
    while let Some(found) = memchr(b'\\', &escaped[at..]) {
        let length = if escaped.get(at + found + 1) == Some(&b'u') { 6 } else { 2 };
        bytes = bytes.saturating_sub(length - 1);
        at = (at + found + length).min(escaped.len());
    }
    bytes
}

#[cfg(test)]
#[path = "stream_test.rs"]
mod tests;

//! The sync engine's messages: what a WebSocket client at `/ws` is told of a conversation.

use bytes::{BufMut, BytesMut};
use serde_json::{Map, Value, json};

use super::delta::{self, Delta, Kind};
use super::{Dialect, Payloads, Source};
use crate::event::{Event, Reset, SyncId, frame};

/// How a client spells keys and types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spelling {
    /// `{"type":"update","syncId":…}`.
    Camel,
    /// `{"type":"Update","sync_id":…}`, for clients that open with `Subscribe`. They are told updates, ends and errors
    /// only.
    Pascal,
}

/// Which of the optional kinds of events a client wants. Content, ends, errors and resets are always sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// What is thought.
    pub reasoning: bool,
    /// What the gateway decides.
    pub status: bool,
    /// Calls and their results.
    pub tools: bool,
    /// Token counts on the way; the end has them in any case.
    pub usage: bool,
}

impl Features {
    /// Everything.
    pub const ALL: Features = Features { reasoning: true, status: true, tools: true, usage: true };
    /// Only what is always sent.
    pub const NONE: Features = Features { reasoning: false, status: false, tools: false, usage: false };

    /// Those of these names.
    ///
    /// # Errors
    /// The first name that is none of theirs.
    pub fn named(names: &[String]) -> Result<Self, &str> {
        let mut features = Features::NONE;
        for name in names {
            match name.as_str() {
                "reasoning" => features.reasoning = true,
                "status" => features.status = true,
                "tools" => features.tools = true,
                "usage" => features.usage = true,
                other => return Err(other),
            }
        }
        Ok(features)
    }

    fn wants(self, kind: &[u8]) -> bool {
        match kind {
            b"reasoning" => self.reasoning,
            b"status" => self.status,
            b"tool_call" | b"tool_result" => self.tools,
            b"usage" => self.usage,
            _ => true,
        }
    }
}

/// Encodes for one subscription.
#[derive(Clone, Copy, Debug)]
pub struct Sync {
    spelling: Spelling,
    features: Features,
}

impl Sync {
    /// For a client that spells like this and wants these kinds.
    pub const fn new(spelling: Spelling, features: Features) -> Self {
        Sync { spelling, features }
    }

    fn camel(&self, source: &Source, id: Option<SyncId>, json: &[u8], out: &mut Payloads) {
        let mut digits = itoa::Buffer::new();
        let digits = id.map_or("", |id| digits.format(id.get()));
        if let Some(delta) = Delta::of_json(digits.as_bytes(), json)
            && let Some(key) = key_of(delta.kind)
        {
            let wanted = delta.kind != Kind::Reasoning || self.features.reasoning;
            if wanted {
                out.push(id, None, |out| update(&CAMEL, source, id, key, &delta, out));
            }
            return;
        }
        let Some((kind, rest)) = delta::kind(json).filter(|(kind, _)| self.features.wants(kind)) else { return };
        match kind {
            b"complete" | b"error" => out.push(id, None, |out| {
                out.put_slice(br#"{"type":""#);
                out.put_slice(kind);
                out.put_u8(b'"');
                address(&CAMEL, source, id, out);
                out.put_slice(rest);
            }),
            _ => out.push(id, None, |out| {
                out.put_slice(br#"{"type":"event""#);
                address(&CAMEL, source, id, out);
                out.put_slice(br#","event":"#);
                out.put_slice(json);
                out.put_u8(b'}');
            }),
        }
    }

    fn pascal(&self, source: &Source, id: Option<SyncId>, json: &[u8], out: &mut Payloads) {
        let mut digits = itoa::Buffer::new();
        let digits = id.map_or("", |id| digits.format(id.get()));
        if let Some(delta) = Delta::of_json(digits.as_bytes(), json) {
            if delta.kind != Kind::Reasoning || self.features.reasoning {
                // The refusal is all that such a client would ever see of a message that is one.
                let key = key_of(delta.kind).unwrap_or("refusal");
                out.push(id, None, |out| update(&PASCAL, source, id, key, &delta, out));
            }
            return;
        }
        match delta::event(id, json) {
            Some(Event::Reset(reset)) => out.push_json(id, None, &self.replacement(source, id, *reset)),
            Some(event @ (Event::Complete(_) | Event::Error(_))) => {
                let kind = if matches!(event, Event::Complete(_)) { "Complete" } else { "Error" };
                let mut all = addressed(kind, source, id);
                if let Ok(Value::Object(fields)) = serde_json::to_value(&event) {
                    all.extend(snake_keys(fields).into_iter().filter(|(key, _)| key != "type"));
                }
                out.push_json(id, None, &all);
            }
            _ => {}
        }
    }

    fn replacement(&self, source: &Source, id: Option<SyncId>, reset: Reset) -> Map<String, Value> {
        let mut all = addressed("Update", source, id);
        let mut delta = json!({ "content": reset.text });
        if self.features.reasoning {
            delta["reasoning"] = Value::String(reset.reasoning);
        }
        all.insert("replace".to_owned(), Value::Bool(true));
        all.insert("delta".to_owned(), delta);
        all
    }
}

impl Dialect for Sync {
    fn feed(&mut self, source: &Source, frames: &[u8], out: &mut Payloads) {
        for (id, json) in frame::objects(frames) {
            match self.spelling {
                Spelling::Camel => self.camel(source, id, json, out),
                Spelling::Pascal => self.pascal(source, id, json, out),
            }
        }
    }
}

/// Under which key the delta of an `update` stands; `None` where it travels as an event.
const fn key_of(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Reasoning => Some("reasoning"),
        Kind::Text => Some("content"),
        Kind::Refusal => None,
    }
}

struct Words {
    update: &'static [u8],
    sync_id: &'static [u8],
    message_id: &'static [u8],
}

const CAMEL: Words =
    Words { update: br#"{"type":"update""#, sync_id: br#","syncId":"#, message_id: br#","messageId":""# };
const PASCAL: Words =
    Words { update: br#"{"type":"Update""#, sync_id: br#","sync_id":"#, message_id: br#","message_id":""# };

fn update(words: &Words, source: &Source, id: Option<SyncId>, key: &str, delta: &Delta<'_>, out: &mut BytesMut) {
    out.reserve(delta.content.len() + 160);
    out.put_slice(words.update);
    address(words, source, id, out);
    out.put_slice(br#","delta":{""#);
    out.put_slice(key.as_bytes());
    out.put_slice(br#"":""#);
    out.put_slice(delta.content);
    // The closing quotation mark of the content; what comes behind it are keys of the update.
    out.put_slice(br#""}"#);
    out.put_slice(&delta.tail[1..]);
}

/// The keys that say where something belongs.
fn address(words: &Words, source: &Source, id: Option<SyncId>, out: &mut BytesMut) {
    if let Some(id) = id {
        out.put_slice(words.sync_id);
        out.put_slice(itoa::Buffer::new().format(id.get()).as_bytes());
    }
    out.put_slice(words.message_id);
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    out.put_slice(source.message.uuid().hyphenated().encode_lower(&mut text).as_bytes());
    out.put_u8(b'"');
}

fn addressed(kind: &str, source: &Source, id: Option<SyncId>) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("type".to_owned(), kind.into());
    if let Some(id) = id {
        all.insert("sync_id".to_owned(), id.get().into());
    }
    all.insert("message_id".to_owned(), source.message.to_string().into());
    all
}

/// The same with all keys in snake_case, those of inner objects too.
fn snake_keys(fields: Map<String, Value>) -> Map<String, Value> {
    let inner = |value: Value| match value {
        Value::Object(fields) => Value::Object(snake_keys(fields)),
        other => other,
    };
    fields.into_iter().map(|(key, value)| (snake(&key), inner(value))).collect()
}

fn snake(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    for character in key.chars() {
        if character.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(character.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
#[path = "sync_test.rs"]
mod tests;

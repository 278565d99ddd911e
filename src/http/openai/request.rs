//! The body of `POST /v1/chat/completions`.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::event::{ChatMessage, ConversationId, ErrorCode, Fault, ReasoningEffort, Role, ToolCall, text_or_parts};
use crate::http::input::{GenerateRequest, one_or_many, or_default};

/// The keys of `metadata` that say which conversation a request goes on with.
const CONVERSATION_KEYS: [&str; 2] = ["conversation_id", "conversationId"];

/// What of OpenAI's request has a meaning here. Everything else is ignored.
#[derive(Debug, Deserialize)]
pub struct ChatRequest {
    model: Option<String>,
    #[serde(deserialize_with = "messages")]
    messages: Vec<Message>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "one_or_many")]
    stop: Vec<String>,
    seed: Option<i64>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    reasoning_effort: Option<String>,
    n: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    metadata: BTreeMap<String, String>,
}

/// The one field that is large and deep: what is wrong in it is said to be in it.
fn messages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Message>, D::Error> {
    Vec::deserialize(deserializer).map_err(|error| D::Error::custom(format!("messages: {error}")))
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: Speaker,
    #[serde(default, deserialize_with = "text_or_parts")]
    content: String,
    /// Beside `content`, where a client gives back what it was given.
    refusal: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    tool_calls: Vec<Call>,
    tool_call_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    System,
    /// What OpenAI's reasoning models call the system.
    Developer,
    User,
    Assistant,
    Tool,
}

#[derive(Debug, Deserialize)]
struct Call {
    id: String,
    function: Function,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: String,
}

impl ChatRequest {
    /// Whether the answer goes out as it is made. Unlike elsewhere, `Accept` has no say: clients of this API send the same
    /// one for both.
    pub fn wants_stream(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Whether token counts come at the end of a stream.
    pub fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// The same request as one to `/api/generate`. A fault names what cannot be done.
    pub fn into_generate(mut self) -> Result<GenerateRequest, Fault> {
        if self.n.is_some_and(|n| n != 1) {
            return Err(wrong("n can only be 1: a request has one answer."));
        }
        let reasoning_effort = self.reasoning_effort.as_deref().map(effort).transpose()?;
        let conversation_id = take_conversation(&mut self.metadata)?;
        let messages = self.messages.into_iter().enumerate().map(|(place, message)| message.read(place));
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        Ok(GenerateRequest {
            messages: Some(messages),
            model: self.model,
            stream: self.stream,
            conversation_id,
            reasoning_effort,
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: self.max_completion_tokens.or(self.max_tokens),
            stop: self.stop,
            seed: self.seed,
            tools: self.tools,
            tool_choice: self.tool_choice,
            metadata: self.metadata,
            ..GenerateRequest::default()
        })
    }
}

impl Message {
    fn read(self, place: usize) -> Result<ChatMessage, Fault> {
        let role = match self.role {
            Speaker::System | Speaker::Developer => Role::System,
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
            Speaker::Tool if self.tool_call_id.is_none() => {
                return Err(wrong(format!("messages[{place}]: a tool message names its tool_call_id.")));
            }
            Speaker::Tool => Role::Tool,
        };
        let tool_calls = self.tool_calls.into_iter().map(|Call { id, function }| ToolCall {
            id,
            name: function.name,
            arguments: function.arguments,
        });
        let content = if self.content.is_empty() { self.refusal.unwrap_or_default() } else { self.content };
        Ok(ChatMessage {
            tool_calls: tool_calls.collect(),
            tool_call_id: self.tool_call_id,
            ..ChatMessage::text(role, content)
        })
    }
}

fn wrong(message: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::InvalidRequest, message)
}

fn effort(word: &str) -> Result<ReasoningEffort, Fault> {
    use ReasoningEffort::{High, Low, Medium, Minimal};
    let known = [ReasoningEffort::None, Minimal, Low, Medium, High].into_iter().find(|effort| effort.as_str() == word);
    known.ok_or_else(|| {
        let shown: String = word.chars().take(32).collect();
        wrong(format!("reasoning_effort is none, minimal, low, medium or high, not {shown:?}."))
    })
}

/// The conversation that `metadata` names. It is no part of what is kept with the message.
fn take_conversation(metadata: &mut BTreeMap<String, String>) -> Result<Option<ConversationId>, Fault> {
    let mut named = None;
    for key in CONVERSATION_KEYS {
        if let Some(text) = metadata.remove(key) {
            let not_an_id = |_| wrong(format!("metadata.{key} is a conversation's id, a UUID."));
            named = Some(text.parse().map_err(not_an_id)?);
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> ChatRequest {
        serde_json::from_value(body).expect("it is taken")
    }

    fn refusal(more: Value) -> String {
        let mut body = json!({"messages": [{"role": "user", "content": "Hi"}]});
        for (key, value) in more.as_object().expect("an object") {
            body[key] = value.clone();
        }
        match serde_json::from_value::<ChatRequest>(body) {
            Ok(request) => request.into_generate().expect_err("it is refused").message,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_field_reaches_the_request() {
        let request = read(json!({
            "model": "up/m",
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
                {"role": "user", "content": "Weather?", "name": "ada"},
                {"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                ]},
                {"role": "tool", "tool_call_id": "c1", "content": "Rain"},
                {"role": "assistant", "content": null, "refusal": "No.", "tool_calls": null},
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 10,
            "max_completion_tokens": 20,
            "stop": "x",
            "seed": 7,
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "tool_choice": "auto",
            "reasoning_effort": "low",
            "n": 1,
            "metadata": {"conversation_id": "0192f0c1-7a00-7000-8000-0000000000c1", "kept": "yes"},
            "user": "ada",
            "response_format": {"type": "json_object"},
        }));
        assert!(request.wants_stream() && request.wants_usage());
        let mut request = request.into_generate().expect("it can be asked");
        request.check().expect("it is in order");
        assert_eq!(request.models(), [Some("up/m")]);
        assert_eq!(request.conversation_id.expect("one").to_string(), "0192f0c1-7a00-7000-8000-0000000000c1");
        assert_eq!(request.metadata, BTreeMap::from([("kept".to_owned(), "yes".to_owned())]));
        let input = request.take_input();
        let said: Vec<(Role, &str)> = input.iter().map(|message| (message.role, message.content.as_str())).collect();
        let expected = [
            (Role::System, "Be brief."),
            (Role::User, "Weather?"),
            (Role::Assistant, ""),
            (Role::Tool, "Rain"),
            (Role::Assistant, "No."),
        ];
        assert_eq!(said, expected);
        let call = ToolCall { id: "c1".into(), name: "f".into(), arguments: "{\"a\":1}".into() };
        assert_eq!((&input[2].tool_calls, input[3].tool_call_id.as_deref()), (&vec![call], Some("c1")));
        let asked = request.model_request(Vec::new());
        assert_eq!((asked.temperature, asked.top_p, asked.max_tokens), (Some(0.5), Some(0.9), Some(20)));
        assert_eq!((asked.stop, asked.seed, asked.tools.len()), (vec!["x".to_owned()], Some(7), 1));
        assert_eq!((asked.tool_choice, asked.reasoning_effort), (Some(json!("auto")), Some(ReasoningEffort::Low)));
    }

    #[test]
    fn null_says_the_same_as_nothing() {
        let nothing = json!({
            "model": null, "messages": [{"role": "user", "content": "Hi"}], "stream": null, "stream_options": null,
            "temperature": null, "stop": null, "tools": null, "tool_choice": null, "reasoning_effort": null, "n": null,
            "metadata": null,
        });
        let request = read(nothing);
        assert!(!request.wants_stream() && !request.wants_usage());
        let request = request.into_generate().expect("it can be asked");
        request.check().expect("it is in order");
        assert_eq!((request.models(), request.conversation_id), (vec![None], None));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (more, word) in [
            (json!({"n": 2}), "n can only be 1"),
            (json!({"reasoning_effort": "xhigh"}), "not \"xhigh\""),
            (json!({"metadata": {"conversation_id": "mine"}}), "metadata.conversation_id"),
            (
                json!({"messages": [{"role": "tool", "content": "4"}]}),
                "messages[0]: a tool message names its tool_call_id",
            ),
            (json!({"messages": [{"role": "function", "content": "4"}]}), "unknown variant `function`"),
            (json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), "image_url"),
            (json!({"messages": "Hi"}), "messages"),
        ] {
            let message = refusal(more);
            assert!(message.contains(word), "{message}");
        }
    }
}

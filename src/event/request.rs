//! What is asked of a model, in our own vocabulary. Protocols translate it into their provider's form.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Origin;

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// A whole tool call, as a message holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ToolCall {
    /// Unique in its message.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments as the model wrote them: JSON text, not necessarily valid.
    pub arguments: String,
}

/// One message of the history that a model is given.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// The text. A client may give it as a list of text parts.
    #[serde(default, deserialize_with = "text_or_parts")]
    pub content: String,
    /// The calls that an assistant's message asked for.
    #[serde(default, deserialize_with = "or_default", alias = "tool_calls", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool's message answers.
    #[serde(default, alias = "tool_call_id", skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// What an earlier message of a model was made of. Only the upstream side looks at it, and takes it away where the
    /// request goes to another model.
    #[serde(skip)]
    pub origin: Option<Box<Origin>>,
}

impl ChatMessage {
    /// A message that is only text.
    pub fn text(role: Role, content: impl Into<String>) -> Self {
        ChatMessage { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None, origin: None }
    }
}

/// A content that is a text, `null`, or a list of parts as OpenAI's clients write it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "content is a text or a list of parts such as {\"type\":\"text\",\"text\":\"…\"}")]
enum Content {
    Text(Option<String>),
    Parts(Vec<Part>),
}

/// One part of a content.
#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(alias = "refusal")]
    text: Option<String>,
}

/// A content that is a text, `null`, or a list of parts of text, as one text. Of an assistant's message that a client keeps,
/// a refusal is a part, too. An error names a part of another type.
pub fn text_or_parts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let parts = match Content::deserialize(deserializer)? {
        Content::Text(text) => return Ok(text.unwrap_or_default()),
        Content::Parts(parts) => parts,
    };
    let mut whole = String::new();
    for part in parts {
        match (part.kind.as_str(), part.text) {
            ("text" | "input_text" | "output_text" | "refusal", Some(text)) => whole.push_str(&text),
            (kind, _) => {
                let shown: String = kind.chars().take(32).collect();
                let message = format!("a part of type {shown:?} is not supported: only text goes to models so far");
                return Err(D::Error::custom(message));
            }
        }
    }
    Ok(whole)
}

/// `null` says the same as nothing: clients write it as the content of a message that only calls tools.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// How hard a reasoning model should think.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningEffort {
    /// Not at all.
    None,
    /// As little as the provider allows.
    Minimal,
    /// A little.
    Low,
    /// Moderately.
    Medium,
    /// Thoroughly.
    High,
}

impl ReasoningEffort {
    /// The word that most providers use too.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReasoningEffort::None => "none",
            ReasoningEffort::Minimal => "minimal",
            ReasoningEffort::Low => "low",
            ReasoningEffort::Medium => "medium",
            ReasoningEffort::High => "high",
        }
    }
}

/// Everything that a provider is asked. `model` is the provider's own name for the model.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ModelRequest {
    /// The provider's own name for the model, without the provider in front.
    pub model: String,
    /// The whole history, oldest first.
    pub messages: Vec<ChatMessage>,
    /// Whether the model should think; `None` leaves it to the provider.
    pub use_reasoning: Option<bool>,
    /// How hard; `None` leaves it to the provider.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// The most tokens to make.
    pub max_tokens: Option<u64>,
    /// Texts at which the model stops.
    pub stop: Vec<String>,
    /// For repeatable sampling.
    pub seed: Option<i64>,
    /// Tools in the common form `{"type":"function","function":{…}}`, passed on as they are.
    pub tools: Vec<Value>,
    /// `"auto"`, `"none"`, `"required"`, or one tool.
    pub tool_choice: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_a_text_or_parts_of_text() {
        let rows = [
            (r#"{"role":"user","content":"Hi"}"#, "Hi"),
            (r#"{"role":"assistant","content":null}"#, ""),
            (r#"{"role":"assistant"}"#, ""),
            (r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, "ab"),
            (r#"{"role":"assistant","content":[{"type":"refusal","refusal":"No."}]}"#, "No."),
        ];
        for (json, text) in rows {
            assert_eq!(serde_json::from_str::<ChatMessage>(json).unwrap().content, text, "{json}");
        }
    }

    #[test]
    fn images_are_refused_by_name() {
        let json = r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}}]}"#;
        let refused = serde_json::from_str::<ChatMessage>(json).unwrap_err().to_string();
        assert!(refused.contains("image_url") && refused.contains("not supported"), "{refused}");
    }
}

//! The body of `POST /api/generate`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::{AgentConfig, OnDisconnect};
use crate::event::{ChatMessage, ConversationId, ErrorCode, Fault, GenerationId, ModelRequest, ReasoningEffort, Role};

const MAX_METADATA_PAIRS: usize = 16;
const MAX_METADATA_BYTES: usize = 1024;
const MAX_NAME_BYTES: usize = 256;
/// How many models one request may ask.
const MAX_MODELS: usize = 8;

/// The body of `POST /api/generate`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerateRequest {
    pub prompt: Option<String>,
    pub messages: Option<Vec<ChatMessage>>,
    pub model: Option<String>,
    pub models: Option<Vec<String>>,
    pub stream: Option<bool>,
    #[serde(alias = "conversation_id")]
    pub conversation_id: Option<ConversationId>,
    #[serde(alias = "generation_id")]
    pub generation_id: Option<GenerationId>,
    #[serde(alias = "use_reasoning")]
    pub use_reasoning: Option<bool>,
    #[serde(alias = "reasoning_effort")]
    pub reasoning_effort: Option<ReasoningEffort>,
    pub temperature: Option<f64>,
    #[serde(alias = "top_p")]
    pub top_p: Option<f64>,
    #[serde(alias = "max_tokens")]
    pub max_tokens: Option<u64>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub stop: Vec<String>,
    pub seed: Option<i64>,
    pub tools: Option<Vec<Value>>,
    #[serde(alias = "tool_choice")]
    pub tool_choice: Option<Value>,
    #[serde(alias = "on_disconnect")]
    pub on_disconnect: Option<Disconnect>,
    #[serde(alias = "batch_ms")]
    pub batch_ms: Option<u64>,
    #[serde(alias = "task_id")]
    pub task_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: BTreeMap<String, String>,
    /// What the model is told before the conversation, which does not hold it.
    #[serde(skip)]
    pub instructions: Option<String>,
}

/// The little of a body that says whether it may belong to a generation that runs. Reading it keeps nothing else.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    #[serde(alias = "generation_id")]
    pub generation_id: Option<GenerationId>,
}

/// Takes bytes in as they are written, so that the text of a large request is not held once more.
struct Hasher(Sha256);

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `null` where a field has a default means the default.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "stop is a text or a list of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// One text, a list of texts, or `null`.
pub fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(OneOrMany::One(one)) => vec![one],
        Some(OneOrMany::Many(many)) => many,
    })
}

/// `"continue"`, `"cancel"` or `{"graceMs": n}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(untagged, expecting = "onDisconnect is \"continue\", \"cancel\" or {\"graceMs\": n}")]
pub enum Disconnect {
    Word(DisconnectWord),
    Grace {
        #[serde(rename = "graceMs", alias = "grace_ms")]
        grace_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DisconnectWord {
    Continue,
    Cancel,
}

impl GenerateRequest {
    /// Asks `prompt`.
    ///
    /// # Errors
    /// Where it asks something already.
    pub fn say(&mut self, prompt: String) -> Result<(), Fault> {
        if self.prompt.is_some() || self.messages.is_some() {
            return Err(Fault::new(ErrorCode::InvalidRequest, "Give content, and neither prompt nor messages."));
        }
        self.prompt = Some(prompt);
        Ok(())
    }

    /// How large its texts are, in bytes.
    pub fn input_bytes(&self) -> usize {
        let messages = self.messages.iter().flatten().map(|message| message.content.len());
        self.prompt.as_ref().map_or(0, String::len) + messages.sum::<usize>()
    }

    /// What somebody says to an agent: a model with instructions.
    pub fn to_agent(prompt: String, agent: &AgentConfig, use_reasoning: Option<bool>) -> Self {
        GenerateRequest {
            prompt: Some(prompt),
            model: agent.model.clone(),
            instructions: agent.system.clone(),
            use_reasoning,
            ..GenerateRequest::default()
        }
    }

    /// Checks what types alone do not say.
    pub fn check(&self) -> Result<(), Fault> {
        let wrong = |message: &str| Err(Fault::new(ErrorCode::InvalidRequest, message));
        match (&self.prompt, &self.messages) {
            (Some(_), Some(_)) => return wrong("Give either prompt or messages, not both."),
            (None, None) => return wrong("Give prompt (a text) or messages (a list)."),
            (Some(prompt), None) if prompt.trim().is_empty() => return wrong("prompt is empty."),
            (None, Some(messages)) if messages.is_empty() => return wrong("messages is empty."),
            _ => {}
        }
        match &self.models {
            Some(_) if self.model.is_some() => return wrong("Give either model or models, not both."),
            Some(models) if models.is_empty() || models.len() > MAX_MODELS => {
                return wrong("models takes 1 to 8 names.");
            }
            Some(models) if models.iter().any(|name| name.trim().is_empty()) => {
                return wrong("models has an empty name.");
            }
            _ => {}
        }
        let mut names = self.model.iter().chain(&self.task_id).chain(self.models.iter().flatten());
        if names.any(|name| name.len() > MAX_NAME_BYTES) {
            return wrong("model, each of models, and taskId take at most 256 bytes.");
        }
        if self.batch_ms.is_some_and(|ms| ms > super::MAX_BATCH_MS) {
            return wrong(super::BATCH_TOO_LONG);
        }
        let large = |text: &String| text.len() > MAX_METADATA_BYTES;
        if self.metadata.len() > MAX_METADATA_PAIRS
            || self.metadata.iter().any(|(key, value)| large(key) || large(value))
        {
            return wrong("metadata takes at most 16 pairs of at most 1024 bytes each.");
        }
        for (place, message) in self.messages.iter().flatten().enumerate() {
            let text = match message.role {
                Role::Tool if message.tool_call_id.is_none() => "a tool message names its toolCallId",
                Role::User if message.content.is_empty() => "a user message has content",
                _ => continue,
            };
            return wrong(&format!("messages[{place}]: {text}."));
        }
        Ok(())
    }

    /// The models that are asked, each for a message of its own; `None` means the default one.
    pub fn models(&self) -> Vec<Option<&str>> {
        match &self.models {
            Some(models) => models.iter().map(|name| Some(name.as_str())).collect(),
            None => vec![self.model.as_deref()],
        }
    }

    /// Takes the new messages of the conversation, in order.
    pub fn take_input(&mut self) -> Vec<ChatMessage> {
        match (self.prompt.take(), self.messages.take()) {
            (Some(content), _) => {
                vec![ChatMessage::text(Role::User, content)]
            }
            (None, messages) => messages.unwrap_or_default(),
        }
    }

    /// What a provider is asked with these messages, whichever model of it.
    pub fn model_request(&self, mut messages: Vec<ChatMessage>) -> ModelRequest {
        if let Some(instructions) = &self.instructions {
            messages.insert(0, ChatMessage::text(Role::System, instructions.clone()));
        }
        ModelRequest {
            model: String::new(),
            messages,
            use_reasoning: self.use_reasoning,
            reasoning_effort: self.reasoning_effort,
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            seed: self.seed,
            tools: self.tools.clone().unwrap_or_default(),
            tool_choice: self.tool_choice.clone(),
        }
    }

    /// The disconnect policy, where the request names one.
    pub fn on_disconnect(&self) -> Option<OnDisconnect> {
        self.on_disconnect.map(|policy| match policy {
            Disconnect::Word(DisconnectWord::Continue) => OnDisconnect::Continue,
            Disconnect::Word(DisconnectWord::Cancel) => OnDisconnect::Cancel,
            Disconnect::Grace { grace_ms } => OnDisconnect::Grace { grace_ms },
        })
    }

    /// Tells a repeated request from another one: SHA-256 of what was understood of it, so that spelling and unknown
    /// fields do not matter, and neither do the form of the answer and the name that the client gives to it.
    pub fn hash(&mut self) -> Result<[u8; 32], Fault> {
        let apart = (self.stream.take(), self.batch_ms.take(), self.generation_id.take());
        let mut hasher = Hasher(Sha256::new());
        let written = serde_json::to_writer(&mut hasher, self);
        (self.stream, self.batch_ms, self.generation_id) = apart;
        written.map_err(|error| Fault::new(ErrorCode::Internal, format!("the request cannot be compared: {error}")))?;
        Ok(hasher.0.finalize().into())
    }
}

//! Message and conversation objects, as REST and the JSON form of answers have them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::{
    ConversationId, FinishReason, Fold, GenerationId, MessageId, Role, SyncId, Timing, ToolCall, Usage, rfc3339,
};
use crate::generation::MessageEnded;
use crate::journal::{MessageError, MessageStatus};
use crate::store::{StoredConversation, StoredMessage};

/// A message with its reasoning.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageObject {
    pub id: MessageId,
    pub role: Role,
    pub content: String,
    pub reasoning: String,
    pub reasoning_blocks: Vec<ReasoningBlock>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub refusal: String,
    pub tool_calls: Vec<ToolCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    pub usage: Option<Usage>,
    pub status: &'static str,
    pub finish_reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<MessageError>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub created_at: String,
    pub timing: Option<Timing>,
    pub first_sync_id: Option<SyncId>,
    pub last_sync_id: Option<SyncId>,
    pub metadata: BTreeMap<String, String>,
}

/// A stretch of reasoning.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReasoningBlock {
    #[serde(rename = "type")]
    kind: &'static str,
    text: String,
    duration_ms: u64,
}

fn reasoning_blocks(fold: &Fold) -> Vec<ReasoningBlock> {
    fold.reasoning_blocks()
        .map(|block| ReasoningBlock { kind: "reasoning", text: block.text.to_owned(), duration_ms: block.duration_ms })
        .collect()
}

impl From<StoredMessage> for MessageObject {
    fn from(message: StoredMessage) -> Self {
        MessageObject {
            id: message.id,
            role: message.role,
            reasoning_blocks: reasoning_blocks(&message.content),
            content: message.content.text,
            reasoning: message.content.reasoning,
            refusal: message.content.refusal,
            tool_calls: message.content.tool_calls,
            tool_call_id: message.tool_call_id,
            usage: message.content.usage,
            status: message.status.as_str(),
            finish_reason: message.finish_reason,
            error: message.error,
            provider: message.provider,
            model: message.model,
            created_at: rfc3339(message.created_at_us),
            timing: message.timing,
            first_sync_id: message.first,
            last_sync_id: message.last,
            metadata: message.metadata,
        }
    }
}

/// A message that has ended in this process, which knows it before the database does.
impl From<&MessageEnded> for MessageObject {
    fn from(ended: &MessageEnded) -> Self {
        let end = &ended.message;
        MessageObject {
            id: end.id,
            role: Role::Assistant,
            reasoning_blocks: reasoning_blocks(&end.content),
            content: end.content.text.clone(),
            reasoning: end.content.reasoning.clone(),
            refusal: end.content.refusal.clone(),
            tool_calls: end.content.tool_calls.clone(),
            tool_call_id: None,
            usage: end.content.usage.clone(),
            status: end.status.as_str(),
            finish_reason: end.finish_reason,
            error: end.error.clone(),
            provider: Some(end.provider.clone()),
            model: Some(end.model.clone()),
            created_at: rfc3339(ended.created_at_us),
            timing: Some(end.timing),
            first_sync_id: Some(end.first),
            last_sync_id: (ended.last > SyncId::ZERO).then_some(ended.last),
            metadata: ended.metadata.clone(),
        }
    }
}

impl MessageObject {
    /// A message that has ended in this process: its row, where that is written, with the last number, which it learns later
    /// than readers do.
    pub fn of_ended(ended: &MessageEnded, row: Option<MessageObject>) -> Self {
        let known = MessageObject::from(ended);
        match row {
            Some(row) if row.status != MessageStatus::Streaming.as_str() => {
                MessageObject { last_sync_id: known.last_sync_id, ..row }
            }
            _ => known,
        }
    }

    /// A stored message that is still being made, with its content so far.
    #[must_use]
    pub fn with_content_so_far(mut self, fold: &Fold) -> Self {
        self.content.clone_from(&fold.text);
        self.reasoning.clone_from(&fold.reasoning);
        self.refusal.clone_from(&fold.refusal);
        self.tool_calls.clone_from(&fold.tool_calls);
        self.usage.clone_from(&fold.usage);
        self.reasoning_blocks = reasoning_blocks(fold);
        self.status = MessageStatus::Streaming.as_str();
        self
    }
}

/// A conversation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversationObject {
    pub id: ConversationId,
    pub title: Option<String>,
    pub created_at: String,
    pub updated_at: String,
    pub last_sync_id: SyncId,
    /// The name that its client gave to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

impl ConversationObject {
    /// A conversation whose journal, where it is in memory, gave out the numbers up to `live`.
    pub fn new(conversation: StoredConversation, live: Option<SyncId>) -> Self {
        ConversationObject {
            id: conversation.id,
            title: conversation.title,
            created_at: rfc3339(conversation.created_at_us),
            updated_at: rfc3339(conversation.updated_at_us),
            last_sync_id: live.unwrap_or(conversation.last),
            external_id: conversation.external_id,
        }
    }
}

/// A generation with the messages that it makes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerationObject {
    pub success: bool,
    pub generation_id: GenerationId,
    pub conversation_id: ConversationId,
    pub status: &'static str,
    pub usage: Option<Usage>,
    pub last_sync_id: Option<SyncId>,
    pub messages: Vec<MessageObject>,
}

//! What a client is answered, in its spelling.

use serde_json::{Map, Value, json};

use crate::dialect::native::Verdict;
use crate::dialect::sync::Spelling;
use crate::event::{ConversationId, Fault, GenerationId, MessageId, SyncId};
use crate::http::trace::RequestId;
use crate::http::ws::Outbox;

/// What an answer repeats of the message that it answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tag {
    /// Its `id`.
    pub id: Option<String>,
    /// Its conversation, which a fault repeats.
    pub conversation: Option<ConversationId>,
}

/// An answer that is no fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// A conversation is read from here on.
    Subscribed {
        /// Which.
        conversation: ConversationId,
        /// The position that was asked for.
        after: SyncId,
        /// What it gets.
        verdict: Verdict,
        /// The last number that there is now.
        current: SyncId,
    },
    /// A message started a generation, or had started it before.
    Accepted {
        /// The messages that answer, of which the first one is meant where there is one only.
        messages: Vec<MessageId>,
        /// The message as it is stored.
        user_message: Option<MessageId>,
        /// The generation.
        generation: GenerationId,
        /// The conversation.
        conversation: ConversationId,
        /// The number after which its events come.
        after: SyncId,
    },
    /// The wish to stop something was passed on.
    Cancelled {
        /// What was started.
        generation: GenerationId,
        /// One message of it, where only that was meant.
        message: Option<MessageId>,
    },
    /// A conversation is read no more.
    Unsubscribed {
        /// Which.
        conversation: ConversationId,
        /// Why, where nobody asked for that.
        why: Option<&'static str>,
    },
    /// We are there.
    Pong,
}

impl Reply {
    fn camel(&self) -> Value {
        match self {
            Reply::Subscribed { conversation, after, verdict, current } => json!({
                "type": "subscribed", "scope": "chat", "conversationId": conversation, "lastSyncId": after,
                "verdict": verdict, "currentSyncId": current,
            }),
            Reply::Accepted { messages, user_message, generation, conversation, after } => {
                let mut value = json!({
                    "type": "accepted", "messageId": messages.first(), "userMessageId": user_message,
                    "generationId": generation, "conversationId": conversation, "syncId": after,
                });
                if messages.len() > 1 {
                    value["messageIds"] = json!(messages);
                }
                value
            }
            Reply::Cancelled { generation, message } => {
                let mut value = json!({ "type": "cancelled", "generationId": generation });
                if let Some(message) = message {
                    value["messageId"] = json!(message);
                }
                value
            }
            Reply::Unsubscribed { conversation, why } => {
                let mut value = json!({ "type": "unsubscribed", "conversationId": conversation });
                if let Some(why) = why {
                    value["message"] = json!(why);
                }
                value
            }
            Reply::Pong => json!({ "type": "pong" }),
        }
    }

    /// Such a client knows of no more than these.
    fn pascal(&self) -> Option<Value> {
        match self {
            Reply::Subscribed { conversation, after, verdict, current } => Some(json!({
                "type": "Subscribed", "scope": "chat", "conversation_id": conversation, "last_sync_id": after,
                "verdict": verdict, "current_sync_id": current,
            })),
            Reply::Pong => Some(json!({ "type": "Pong" })),
            Reply::Accepted { .. } | Reply::Cancelled { .. } | Reply::Unsubscribed { .. } => None,
        }
    }
}

fn fault_value(spelling: Spelling, request: &RequestId, fault: &Fault, tag: &Tag) -> Value {
    let pascal = spelling == Spelling::Pascal;
    let key = |camel: &str, snake: &str| if pascal { snake.to_owned() } else { camel.to_owned() };
    let mut all = Map::new();
    all.insert("type".to_owned(), json!(if pascal { "Error" } else { "error" }));
    all.insert("code".to_owned(), json!(fault.code));
    all.insert("message".to_owned(), json!(fault.message));
    all.insert("retryable".to_owned(), json!(fault.retryable));
    if let Some(ms) = fault.retry_after_ms {
        all.insert(key("retryAfterMs", "retry_after_ms"), json!(ms));
    }
    if let Some(conversation) = tag.conversation {
        all.insert(key("conversationId", "conversation_id"), json!(conversation));
    }
    all.insert(key("requestId", "request_id"), json!(request.to_string()));
    Value::Object(all)
}

/// Writes an answer.
pub fn write(spelling: Spelling, request: &RequestId, reply: Result<Reply, Fault>, tag: &Tag, out: &mut Outbox) {
    let value = match (&reply, spelling) {
        (Ok(reply), Spelling::Camel) => Some(reply.camel()),
        (Ok(reply), Spelling::Pascal) => reply.pascal(),
        (Err(fault), _) => Some(fault_value(spelling, request, fault, tag)),
    };
    let Some(mut value) = value else { return };
    if let Some(id) = &tag.id {
        value["id"] = json!(id);
    }
    out.json(&value);
}

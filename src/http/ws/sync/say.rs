//! `message`: starts a generation, or finds the one that the same message started before.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::reply::Reply;
use super::request::Message;
use super::subscribe::read;
use crate::dialect::sync::{Features, Spelling};
use crate::event::{ConversationId, ErrorCode, Fault, MessageId, SyncId};
use crate::http::connections::Open;
use crate::http::input;
use crate::http::launch::{Ask, Launched, Service, launch};
use crate::http::repeat::{Earlier, Names};
use crate::http::ws::subscription::{Style, Subscription};

/// Where a message goes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The conversation that it names.
    pub named: Option<ConversationId>,
    /// Else the only one that its socket reads.
    pub only: Option<ConversationId>,
}

impl Target {
    /// The conversation, where it is known.
    pub fn conversation(&self) -> Option<ConversationId> {
        self.named.or(self.only)
    }
}

/// Under which key the message of this `id` is known again. No `Idempotency-Key` of a header can be the same: those have no
/// spaces. A UUID means the same message everywhere, any other id only in its conversation.
pub fn key(id: &str, conversation: ConversationId) -> Arc<str> {
    match Uuid::parse_str(id) {
        Ok(uuid) => format!("message {uuid}").into(),
        Err(_) => format!("message {conversation} {id}").into(),
    }
}

/// Starts what the message asks for. Its sender reads the conversation from then on.
pub async fn say(
    service: &Service,
    open: &Open,
    message: Message,
    id: Option<&str>,
    target: Target,
    read_already: &[ConversationId],
    spelling: Spelling,
) -> Result<(Reply, Option<Subscription>), Fault> {
    let app = &service.app;
    let received_at = Instant::now();
    let mut body = message.into_body()?;
    let batch_ms = body.batch_ms.unwrap_or(0);
    let mut share = app.budget.share();
    if !share.grow(body.input_bytes()) {
        return Err(input::no_memory());
    }
    // The same message may come again without its conversation, or with it.
    body.conversation_id = None;
    let body_hash = body.hash()?;
    let conversation = target.conversation().unwrap_or_else(ConversationId::new);
    body.conversation_id = Some(conversation);
    let names = Names { id: body.generation_id, key: id.map(|id| key(id, conversation)) };
    let message_id = id.and_then(|id| Uuid::parse_str(id).ok()).map(MessageId::from_uuid);
    let on_disconnect = app.config.stream.on_disconnect;
    let ask = Ask { body, names, body_hash, message_id, on_disconnect, share, received_at };
    let (reply, from) = match launch(service, ask).await? {
        Launched::Started(handle, reader) => {
            // Accepted means stored, and no more: a provider may think for minutes before it says anything.
            handle.head(Duration::ZERO).await?;
            let accepted = Earlier::Running(handle);
            let subscription = subscribed(service, open, &accepted, read_already, spelling, batch_ms).await?;
            // Not before somebody else counts as its reader.
            drop(reader);
            return Ok((accept(&accepted), subscription));
        }
        Launched::Attached(earlier) => {
            if let Earlier::Running(handle) = &earlier {
                handle.head(Duration::ZERO).await?;
            }
            (accept(&earlier), earlier)
        }
    };
    let Reply::Accepted { conversation, .. } = &reply else { return Ok((reply, None)) };
    if target.named.is_some_and(|named| named != *conversation) {
        let message = format!("The message of this id went to conversation {conversation}.");
        return Err(Fault::new(ErrorCode::IdempotencyMismatch, message));
    }
    let subscription = subscribed(service, open, &from, read_already, spelling, batch_ms).await?;
    Ok((reply, subscription))
}

/// Reads the conversation from where the generation begins, unless the socket does already.
async fn subscribed(
    service: &Service,
    open: &Open,
    generation: &Earlier,
    read_already: &[ConversationId],
    spelling: Spelling,
    batch_ms: u64,
) -> Result<Option<Subscription>, Fault> {
    let (conversation, after) = place(generation);
    if read_already.contains(&conversation) {
        return Ok(None);
    }
    let style = Style { spelling, features: Features::ALL, batch_ms };
    read(service, open, conversation, after, style, false).await.map(|(_, _, subscription)| Some(subscription))
}

/// Where a generation is, and the last number before its first event.
fn place(generation: &Earlier) -> (ConversationId, SyncId) {
    match generation {
        Earlier::Running(handle) => (handle.journal.id(), handle.before),
        Earlier::Stored(stored) => {
            let first = stored.messages.iter().filter_map(|message| message.first).min();
            (stored.conversation, first.map_or(SyncId::ZERO, SyncId::before))
        }
    }
}

fn accept(generation: &Earlier) -> Reply {
    let (conversation, after) = place(generation);
    let (messages, user_message, generation) = match generation {
        Earlier::Running(handle) => (handle.messages().collect(), handle.reply_to, handle.id),
        Earlier::Stored(stored) => {
            let messages = stored.output().map(|message| message.id).collect();
            (messages, stored.input().last().map(|message| message.id), stored.id)
        }
    };
    Reply::Accepted { messages, user_message, generation, conversation, after }
}

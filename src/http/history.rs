//! What a model is told of a conversation that goes on.

use std::collections::HashMap;

use super::error::store_fault;
use super::trace::RequestId;
use super::{App, input};
use crate::event::{ChatMessage, ConversationId, ErrorCode, Fault, GenerationId, MessageId, Role};
use crate::generation::Share;
use crate::journal::MessageStatus;
use crate::store::StoredMessage;

/// The conversation so far, as a model is given it: what failed is left out, and of several answers to one request all but
/// the first. What it takes is added to `share`.
pub async fn read(
    request: &RequestId,
    app: &App,
    conversation: ConversationId,
    share: &mut Share,
) -> Result<Vec<ChatMessage>, Fault> {
    let failed = |error| store_fault(request, &error);
    let bytes = app.store.content_bytes(conversation).await.map_err(failed)?;
    let most = app.config.limits.max_history_bytes;
    if bytes > most {
        let message = format!(
            "The conversation has {bytes} bytes, and one of more than {most} (limits.max_history_bytes) cannot go on; \
             begin a new one."
        );
        return Err(Fault::new(ErrorCode::PayloadTooLarge, message));
    }
    if !share.grow(bytes) {
        return Err(input::no_memory());
    }
    let messages = app.store.messages(conversation).await.map_err(failed)?;
    let messages = told(messages);
    let origins_bytes =
        messages.iter().filter_map(|message| message.origin.as_ref()).map(|origin| origin.bytes()).sum();
    if !share.grow(origins_bytes) {
        return Err(input::no_memory());
    }
    Ok(messages)
}

/// What of a stored conversation a model is told.
fn told(messages: Vec<StoredMessage>) -> Vec<ChatMessage> {
    let answers = answers(&messages);
    let is_told = |message: &StoredMessage| {
        is_usable(message)
            && answers.get(&message.generation).is_none_or(|told| message.model.is_none() || *told == message.id)
    };
    messages.into_iter().filter(is_told).map(earlier_message).collect()
}

fn earlier_message(message: StoredMessage) -> ChatMessage {
    let (provider, model) = (message.provider.as_deref(), message.model.as_deref());
    let origin = provider.zip(model).and_then(|(provider, model)| message.content.origin(provider, model));
    ChatMessage {
        role: message.role,
        content: message.content.text,
        tool_calls: message.content.tool_calls,
        tool_call_id: message.tool_call_id,
        origin: origin.map(Box::new),
    }
}

/// The answer of each generation that has any: the first that was completed, or else the first that was cut short.
fn answers(messages: &[StoredMessage]) -> HashMap<GenerationId, MessageId> {
    let mut answers: HashMap<GenerationId, &StoredMessage> = HashMap::new();
    for message in messages.iter().filter(|message| message.model.is_some() && is_usable(message)) {
        let known = answers.entry(message.generation).or_insert(message);
        if known.status != MessageStatus::Complete && message.status == MessageStatus::Complete {
            *known = message;
        }
    }
    answers.into_iter().map(|(generation, message)| (generation, message.id)).collect()
}

fn is_usable(message: &StoredMessage) -> bool {
    matches!(message.status, MessageStatus::Complete | MessageStatus::Cancelled)
        && (message.role != Role::Assistant
            || !message.content.text.is_empty()
            || !message.content.tool_calls.is_empty()
            || !message.content.opaque.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Fold;

    fn message(generation: GenerationId, model: Option<&str>, status: MessageStatus, text: &str) -> StoredMessage {
        StoredMessage {
            id: MessageId::new(),
            conversation: ConversationId::new(),
            generation,
            role: if model.is_some() { Role::Assistant } else { Role::User },
            content: Fold { text: text.to_owned(), ..Fold::default() },
            tool_call_id: None,
            status,
            finish_reason: None,
            error: None,
            provider: model.map(str::to_owned),
            model: model.map(str::to_owned),
            metadata: Default::default(),
            timing: None,
            created_at_us: 0,
            first: None,
            last: None,
        }
    }

    #[test]
    fn of_several_answers_the_first_good_one_is_told() {
        use MessageStatus::{Cancelled, Complete, Error};
        let (first, second, third) = (GenerationId::new(), GenerationId::new(), GenerationId::new());
        let given = vec![
            message(first, None, Complete, "one?"),
            message(first, Some("a"), Error, "half"),
            message(first, Some("b"), Cancelled, "cut"),
            message(first, Some("c"), Complete, "good"),
            message(first, Some("d"), Complete, "late"),
            message(second, None, Complete, "two?"),
            message(second, Some("a"), Cancelled, "cut"),
            message(second, Some("b"), Cancelled, "cut as well"),
            message(third, None, Complete, "three?"),
            message(third, Some("a"), Complete, ""),
        ];
        let told: Vec<String> = told(given).into_iter().map(|message| message.content).collect();
        assert_eq!(told, ["one?", "good", "two?", "cut", "three?"]);
    }
}

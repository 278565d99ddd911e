//! A generation as one JSON document.

use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::dialects::DialectName;
use super::error::ApiError;
use super::objects::MessageObject;
use super::replay;
use super::sse::{X_CONVERSATION_ID, X_GENERATION_ID};
use super::trace::RequestId;
use crate::dialect::openai::{Answer, Completion};
use crate::event::{ConversationId, ErrorCode, Fault, FinishReason, GenerationId};
use crate::generation::{Ended, Handle};
use crate::store::StoredGeneration;

/// Of a generation that has just ended.
pub fn ended(
    request: &HttpRequest,
    handle: &Handle,
    ended: &Ended,
    dialect: DialectName,
) -> Result<HttpResponse, ApiError> {
    if let Some(fault) = &ended.fault {
        return Err(ApiError::new(request, fault.clone()));
    }
    let messages = ended.messages.iter().map(|message| MessageObject::from(&**message)).collect();
    answer(request, handle.journal.id(), handle.id, messages, dialect)
}

/// Of a generation from the database.
pub fn stored(request: &HttpRequest, stored: StoredGeneration, dialect: DialectName) -> Result<HttpResponse, ApiError> {
    replay::must_be_over(&RequestId::of(request), &stored).map_err(|fault| ApiError::new(request, fault))?;
    let faults: Option<Vec<_>> = stored.output().map(|message| message.error.as_ref()).collect();
    if let Some(faults) = faults
        && let Some(error) = faults.iter().find(|error| error.code.retryable()).or(faults.first())
    {
        return Err(ApiError::new(request, Fault::new(error.code, error.message.clone())));
    }
    let messages = stored.output().cloned().map(MessageObject::from).collect();
    answer(request, stored.conversation, stored.id, messages, dialect)
}

/// The first message that did not fail, in the form that all clients know, and all of them where there are several.
fn answer(
    request: &HttpRequest,
    conversation: ConversationId,
    generation: GenerationId,
    messages: Vec<MessageObject>,
    dialect: DialectName,
) -> Result<HttpResponse, ApiError> {
    let Some(message) = messages.iter().find(|message| message.error.is_none()) else {
        return Err(ApiError::new(
            request,
            Fault::new(ErrorCode::NotFound, format!("Generation {generation} has no message.")),
        ));
    };
    let mut head = HttpResponse::Ok();
    head.insert_header((X_GENERATION_ID, generation.to_string()))
        .insert_header((X_CONVERSATION_ID, conversation.to_string()));
    if let DialectName::OpenAi { .. } = dialect {
        return Ok(head.json(completion(message)));
    }
    let mut document = json!({
        "success": true,
        "role": message.role,
        "content": message.content,
        "response": message.content,
        "reasoning": message.reasoning,
        "toolCalls": message.tool_calls,
        "usage": message.usage,
        "provider": message.provider,
        "model": message.model,
        "finishReason": message.finish_reason,
        "conversationId": conversation,
        "messageId": message.id,
        "generationId": generation,
        "data": message,
    });
    if messages.len() > 1 {
        document["messages"] = json!(messages);
    }
    Ok(head.json(document))
}

/// The message in OpenAI's form.
fn completion(message: &MessageObject) -> Completion<'_> {
    Completion::from(Answer {
        message: message.id,
        created_at: &message.created_at,
        provider: message.provider.as_deref().unwrap_or_default(),
        model: message.model.as_deref().unwrap_or_default(),
        finish_reason: message.finish_reason.unwrap_or(FinishReason::Stop),
        reasoning: &message.reasoning,
        text: &message.content,
        refusal: &message.refusal,
        tool_calls: &message.tool_calls,
        usage: message.usage.as_ref(),
    })
}

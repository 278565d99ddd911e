//! `cancel`.

use super::reply::Reply;
use super::request::Cancel;
use super::say::key;
use crate::event::{ConversationId, ErrorCode, Fault, GenerationId, MessageId};
use crate::http::error::store_fault;
use crate::http::launch::Service;
use crate::http::repeat::{Earlier, Names};
use crate::http::replay;

/// Stops what is named. `read` are the conversations that the socket reads.
pub async fn cancel(service: &Service, request: &Cancel, read: &[ConversationId]) -> Result<Reply, Fault> {
    if let Some(id) = request.generation_id {
        return generation(service, id, request.message_id).await;
    }
    if let Some(message) = request.message_id {
        return self::message(service, message).await;
    }
    let Some(id) = request.id.as_deref() else {
        return Err(Fault::new(ErrorCode::InvalidRequest, "cancel names nothing."));
    };
    for conversation in request.conversation_id.iter().chain(read) {
        let names = Names { id: None, key: Some(key(id, *conversation)) };
        if let Some(earlier) = Earlier::find(&service.request_id, &service.app, &names).await? {
            return stop(service, earlier, None);
        }
    }
    // A UUID may be known although its conversation is not read here.
    if let Ok(uuid) = id.parse() {
        return self::message(service, MessageId::from_uuid(uuid)).await;
    }
    let message = format!("No message {id:?} was sent to a conversation that this socket reads, or names.");
    Err(Fault::new(ErrorCode::NotFound, message))
}

async fn generation(service: &Service, id: GenerationId, message: Option<MessageId>) -> Result<Reply, Fault> {
    let Service { app, request_id, .. } = service;
    loop {
        if let Some(handle) = app.running.get(id) {
            return stop(service, Earlier::Running(handle), message);
        }
        let stored = app.store.generation(id).await.map_err(|error| store_fault(request_id, &error))?;
        if let Some(stored) = stored {
            // One that is open may have begun here since the first look.
            let began = app.running.get(id).map(Earlier::Running);
            return stop(service, began.unwrap_or_else(|| Earlier::Stored(Box::new(stored))), message);
        }
        // Where it began while the database was asked, it can be cancelled as it is.
        if app.running.cancel_early(id, message)? {
            return Ok(Reply::Cancelled { generation: id, message });
        }
    }
}

async fn message(service: &Service, id: MessageId) -> Result<Reply, Fault> {
    if let Some(handle) = service.app.running.making(id) {
        return stop(service, Earlier::Running(handle), Some(id));
    }
    // The id of a client's message is the id of what answers it.
    let names = Names { id: None, key: Some(key(&id.to_string(), ConversationId::new())) };
    match Earlier::find(&service.request_id, &service.app, &names).await? {
        Some(earlier) => stop(service, earlier, Some(id)),
        None => Err(Fault::new(ErrorCode::NotFound, format!("Nothing makes a message {id} here; it may have ended."))),
    }
}

fn stop(service: &Service, earlier: Earlier, message: Option<MessageId>) -> Result<Reply, Fault> {
    let handle = match earlier {
        Earlier::Running(handle) => handle,
        Earlier::Stored(stored) => {
            replay::must_be_over(&service.request_id, &stored)?;
            let message = format!("Generation {} has ended ({}).", stored.id, stored.status.as_str());
            return Err(Fault::new(ErrorCode::AlreadyEnded, message));
        }
    };
    let generation = handle.id;
    let is_over = match message {
        Some(message) => handle.end_of(message).is_some(),
        None => handle.ends().iter().all(Option::is_some),
    };
    if is_over {
        return Err(Fault::new(ErrorCode::AlreadyEnded, format!("Generation {generation} has ended.")));
    }
    match message {
        None => handle.cancel(),
        Some(message) if handle.cancel_message(message) => {}
        Some(message) => {
            let message = format!("Generation {generation} makes no message {message}.");
            return Err(Fault::new(ErrorCode::NotFound, message));
        }
    }
    Ok(Reply::Cancelled { generation, message })
}

//! `/api/generations/{id}`: state, events, cancel.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::connections::{Kind, Open};
use super::error::ApiError;
use super::input::Resume;
use super::objects::{GenerationObject, MessageObject};
use super::repeat::Earlier;
use super::seats::{Counted, Presence};
use super::streams::{self, Reading};
use super::trace::RequestId;
use super::{App, caller, input, replay};
use crate::event::{ConversationId, Fault, GenerationId, MessageId, SyncId, Usage};
use crate::generation::{Handle, State};
use crate::journal::MessageStatus;
use crate::store::{StoredGeneration, StoredMessage};

/// How long a cancel waits for the end that it asked for before it answers without it.
const CANCEL_WAIT: Duration = Duration::from_secs(5);

/// `GET /api/generations/{id}`.
pub async fn show(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let id: GenerationId = input::id(&request, "id")?;
    let running = app.running.get(id);
    if let Some(handle) = &running {
        handle.caught_up().await;
    }
    let stored = stored(&request, &app, id).await?;
    match (running, stored) {
        (Some(handle), stored) => Ok(HttpResponse::Ok().json(live_object(&handle, stored))),
        (None, Some(stored)) => Ok(HttpResponse::Ok().json(stored_object(stored))),
        (None, None) => Err(unknown(&request, id)),
    }
}

/// `GET /api/generations/{id}/events`.
pub async fn events(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let id: GenerationId = input::id(&request, "id")?;
    let resume = input::resume(&request)?;
    let found = find(&request, &app, id).await?.ok_or_else(|| unknown(&request, id))?;
    let caller = caller::of(&request, &app.config.server.trusted_proxies);
    let refuse = |fault| ApiError::new(&request, fault);
    let open = app.connections.open(Kind::Events, caller).map_err(refuse)?;
    let reading = reading(&RequestId::of(&request), &app, id, found, &resume, open).await.map_err(refuse)?;
    Ok(reading.map_or_else(|| HttpResponse::NoContent().finish(), |reading| streams::respond(&app, reading)))
}

/// A generation from a position on; `None` where nothing comes after that.
async fn reading(
    request: &RequestId,
    app: &App,
    id: GenerationId,
    found: Earlier,
    resume: &Resume,
    open: Open,
) -> Result<Option<Reading>, Fault> {
    let (seat, counted, journal, stored) = match found {
        Earlier::Running(handle) => {
            let seat = app.seats.take(handle.journal.id())?;
            let counted = Counted::Generation(handle.read());
            // Before the first row there is nothing to read yet, and a failure before the head is no stream.
            handle.head(Duration::from_millis(app.config.stream.head_wait_ms)).await?;
            (seat, counted, handle.journal.clone(), None)
        }
        Earlier::Stored(stored) => {
            replay::must_be_over(request, &stored)?;
            let seat = app.seats.take(stored.conversation)?;
            (seat, Counted::Nobodys, replay::journal(request, app, stored.conversation).await?, Some(stored))
        }
    };
    let replay = replay::generation(request, app, &journal, id, stored.as_deref(), resume).await?;
    let presence = Presence::new(seat, counted, open.reads(&journal, resume.after));
    Ok(replay.map(|replay| Reading {
        conversation: journal.id(),
        generation: Some(id),
        replay,
        resumed: Some(resume.after),
        batch_ms: resume.batch_ms,
        dialect: resume.dialect,
        presence,
        open,
    }))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelRequest {
    #[serde(alias = "message_id")]
    message_id: Option<MessageId>,
}

/// `POST /api/generations/{id}/cancel`.
pub async fn cancel(request: HttpRequest, payload: Payload, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let id: GenerationId = input::id(&request, "id")?;
    let CancelRequest { message_id } = input::json_or_default(&request, payload, &app).await?;
    let no_message =
        |message: MessageId| ApiError::not_found(&request, format!("Generation {id} makes no message {message}."));
    loop {
        match find(&request, &app, id).await? {
            None => {}
            Some(Earlier::Running(handle)) => {
                match message_id {
                    None => handle.cancel(),
                    Some(message) if handle.cancel_message(message) => {}
                    Some(message) => return Err(no_message(message)),
                }
                let ended = async {
                    match message_id {
                        None => _ = handle.ended().await,
                        Some(message) => handle.message_ended(message).await,
                    }
                };
                // An end that takes long is stored later; the answer then says how far it is.
                _ = tokio::time::timeout(CANCEL_WAIT, ended).await;
                let stored = stored(&request, &app, id).await?;
                return Ok(HttpResponse::Ok().json(live_object(&handle, stored)));
            }
            Some(Earlier::Stored(stored)) => {
                if let Some(message) = message_id.filter(|message| !stored.output().any(|made| made.id == *message)) {
                    return Err(no_message(message));
                }
                // Only the process that makes it can stop it.
                replay::must_be_over(&RequestId::of(&request), &stored)
                    .map_err(|fault| ApiError::new(&request, fault))?;
                return Ok(HttpResponse::Ok().json(stored_object(*stored)));
            }
        }
        // Where it began while the database was asked, it can be cancelled as it is.
        if app.running.cancel_early(id, message_id).map_err(|fault| ApiError::new(&request, fault))? {
            let status = MessageStatus::Cancelled.as_str();
            return Ok(HttpResponse::Accepted().json(json!({ "success": true, "generationId": id, "status": status })));
        }
    }
}

/// A generation of this process, or one from the database.
async fn find(request: &HttpRequest, app: &App, id: GenerationId) -> Result<Option<Earlier>, ApiError> {
    if let Some(handle) = app.running.get(id) {
        return Ok(Some(Earlier::Running(handle)));
    }
    let Some(stored) = stored(request, app, id).await? else { return Ok(None) };
    // One that is open may have begun here since the first look.
    let running = (stored.status == MessageStatus::Streaming).then(|| app.running.get(id)).flatten();
    Ok(Some(running.map_or_else(|| Earlier::Stored(Box::new(stored)), Earlier::Running)))
}

async fn stored(request: &HttpRequest, app: &App, id: GenerationId) -> Result<Option<StoredGeneration>, ApiError> {
    app.store.generation(id).await.map_err(|error| ApiError::store(request, &error))
}

fn unknown(request: &HttpRequest, id: GenerationId) -> ApiError {
    ApiError::not_found(request, format!("There is no generation {id}."))
}

fn stored_object(stored: StoredGeneration) -> GenerationObject {
    let messages: Vec<MessageObject> = stored.output().cloned().map(MessageObject::from).collect();
    object(stored.id, stored.conversation, stored.status, stored.last, messages)
}

/// A generation of this process: the rows that began it, with what this process knows better.
fn live_object(handle: &Arc<Handle>, stored: Option<StoredGeneration>) -> GenerationObject {
    let (status, last) = match handle.state() {
        State::Ended(ended) => (ended.status(), (ended.last > SyncId::ZERO).then_some(ended.last)),
        _ => (MessageStatus::Streaming, None),
    };
    let snapshots = handle.journal.snapshots(Some(handle.id));
    let mut rows: Vec<StoredMessage> = stored.iter().flat_map(StoredGeneration::output).cloned().collect();
    let mut messages = Vec::with_capacity(handle.messages().count());
    for (message, ended) in handle.messages().zip(handle.ends()) {
        let row = rows.iter().position(|row| row.id == message).map(|at| MessageObject::from(rows.swap_remove(at)));
        let snapshot = snapshots.iter().find(|snapshot| snapshot.owner.message == message);
        messages.extend(match (ended, row, snapshot) {
            (Some(ended), row, _) => Some(MessageObject::of_ended(&ended, row)),
            (None, Some(row), Some(snapshot)) => Some(row.with_content_so_far(&snapshot.fold)),
            (None, row, _) => row,
        });
    }
    object(handle.id, handle.journal.id(), status, last, messages)
}

fn object(
    generation_id: GenerationId,
    conversation_id: ConversationId,
    status: MessageStatus,
    last_sync_id: Option<SyncId>,
    messages: Vec<MessageObject>,
) -> GenerationObject {
    GenerationObject {
        success: true,
        generation_id,
        conversation_id,
        status: status.as_str(),
        usage: Usage::sum(messages.iter().filter_map(|message| message.usage.as_ref())),
        last_sync_id,
        messages,
    }
}

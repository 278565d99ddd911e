//! `/api/conversations`.

use std::time::Duration;

use actix_web::web::{Data, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::connections::Kind;
use super::dialects::DialectName;
use super::error::ApiError;
use super::input::Resume;
use super::objects::{ConversationObject, MessageObject};
use super::seats::{Counted, Presence};
use super::streams::{self, Reading};
use super::trace::RequestId;
use super::{App, caller, input, replay};
use crate::event::{ConversationId, ErrorCode, Fault, SyncId};
use crate::journal::MessageStatus;
use crate::store::{ListPlace, StoreError, StoredConversation};

const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 100;
const MAX_TITLE_BYTES: usize = 512;

/// How long a conversation's generations may take to end before it is deleted without waiting for them.
const CANCEL_WAIT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct ListQuery {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `GET /api/conversations`: newest change first, in pages.
pub async fn list(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Query::<ListQuery>::from_query(request.query_string())
        .map_err(|error| ApiError::malformed(&request, format!("The query does not fit: {error}.")))?
        .into_inner();
    let limit = query.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let after = match query.cursor.as_deref() {
        None => None,
        Some(text) => Some(place(text).ok_or_else(|| {
            ApiError::malformed(&request, "cursor is not one that this server gave; leave it out to begin.")
        })?),
    };
    let found = app.store.conversations(after, limit).await.map_err(|error| ApiError::store(&request, &error))?;
    let next =
        found.last().filter(|_| found.len() as u32 == limit).map(|last| format!("{}_{}", last.updated_at_us, last.id));
    let conversations: Vec<ConversationObject> = found.into_iter().map(|found| object(&app, found)).collect();
    Ok(HttpResponse::Ok().json(json!({ "conversations": conversations, "nextCursor": next })))
}

fn place(text: &str) -> Option<ListPlace> {
    let (at, id) = text.split_once('_')?;
    Some(ListPlace { updated_at_us: at.parse().ok()?, id: id.parse().ok()? })
}

#[derive(Default, Deserialize)]
struct CreateRequest {
    id: Option<ConversationId>,
    title: Option<String>,
}

/// `POST /api/conversations`.
pub async fn create(request: HttpRequest, payload: Payload, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let CreateRequest { id, title } = input::json_or_default(&request, payload, &app).await?;
    check_title(&request, title.as_deref())?;
    let at_us = chrono::Utc::now().timestamp_micros();
    let conversation = StoredConversation {
        id: id.unwrap_or_else(ConversationId::new),
        title,
        created_at_us: at_us,
        updated_at_us: at_us,
        last: SyncId::ZERO,
        trimmed: SyncId::ZERO,
        external_id: None,
    };
    let id = conversation.id;
    let failed = |error| ApiError::store(&request, &error);
    app.store.create_conversation(conversation).await.map_err(failed)?;
    // One of that id may have been there before; it stays as it is.
    let kept = app.store.conversation(id).await.map_err(failed)?;
    let kept = kept.ok_or_else(|| unknown(&request, id))?;
    Ok(HttpResponse::Created().json(object(&app, kept)))
}

/// `GET /api/conversations/{id}`.
pub async fn show(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let conversation = find(&request, &app).await?;
    Ok(HttpResponse::Ok().json(object(&app, conversation)))
}

#[derive(Deserialize)]
struct RenameRequest {
    /// `None`: absent, which changes nothing; `Some(None)`: `null`, no title.
    #[serde(default, deserialize_with = "present")]
    title: Option<Option<String>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// `PATCH /api/conversations/{id}`.
pub async fn rename(request: HttpRequest, payload: Payload, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let id: ConversationId = input::id(&request, "id")?;
    let RenameRequest { title } = input::json(&request, payload, &app).await?;
    let Some(title) = title else { return show(request, app).await };
    check_title(&request, title.as_deref())?;
    let renamed = app.store.rename_conversation(id, title).await.map_err(|error| ApiError::store(&request, &error))?;
    let renamed = renamed.ok_or_else(|| unknown(&request, id))?;
    Ok(HttpResponse::Ok().json(object(&app, renamed)))
}

/// `DELETE /api/conversations/{id}`.
pub async fn delete(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    input::same_site(&request)?;
    let id = find(&request, &app).await?.id;
    // Another process that makes something in it could not be stopped, nor told.
    let journal = replay::journal(&RequestId::of(&request), &app, id).await;
    drop(journal.map_err(|fault| ApiError::new(&request, fault))?);
    // A task of its own: a client that hangs up must not leave it half done.
    let deleted = actix_web::rt::spawn(delete_all(app, id)).await.map_err(|error| {
        tracing::error!(%error, conversation = %id, "deleting a conversation failed");
        ApiError::new(&request, Fault::new(ErrorCode::Internal, "The conversation could not be deleted."))
    })?;
    match deleted.map_err(|error| ApiError::store(&request, &error))? {
        true => Ok(HttpResponse::NoContent().finish()),
        false => Err(unknown(&request, id)),
    }
}

/// Ends what runs in a conversation, then deletes it.
async fn delete_all(app: Data<App>, id: ConversationId) -> Result<bool, StoreError> {
    let running = app.running.of(id);
    running.iter().for_each(|handle| handle.cancel());
    let released = async {
        for handle in &running {
            handle.released().await;
        }
    };
    // What is not over by then finds its conversation gone, and is not stored.
    _ = tokio::time::timeout(CANCEL_WAIT, released).await;
    let deleted = app.registry.delete(id, app.store.delete_conversation(id)).await?;
    // One that began meanwhile would go on, and be paid, for nobody.
    app.running.of(id).iter().for_each(|handle| handle.cancel());
    Ok(deleted)
}

/// `GET /api/conversations/{id}/messages`: oldest first.
pub async fn messages(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let conversation = find(&request, &app).await?;
    // Before the rows are read: what has left memory by then is stored.
    let running = app.running.of(conversation.id);
    for handle in &running {
        handle.caught_up().await;
    }
    let failed = |error| ApiError::store(&request, &error);
    // All of it is in memory for a moment. The largest is still given out, alone.
    let mut share = app.budget.share();
    let bytes = app.store.content_bytes(conversation.id).await.map_err(failed)?;
    if !share.grow(bytes.min(app.budget.total_bytes())) {
        return Err(ApiError::new(&request, input::no_memory()));
    }
    let messages = app.store.messages(conversation.id).await.map_err(failed)?;
    // What is being made right now is in the journal, not in its row.
    let live = app.registry.find(conversation.id).map(|journal| journal.snapshots(None)).unwrap_or_default();
    let messages: Vec<MessageObject> = messages
        .into_iter()
        .map(|message| {
            let streaming = message.status == MessageStatus::Streaming;
            let so_far = live.iter().find(|snapshot| streaming && snapshot.owner.message == message.id);
            let ended = running.iter().find_map(|handle| handle.end_of(message.id));
            let object = MessageObject::from(message);
            match (ended, so_far) {
                (Some(ended), _) => MessageObject::of_ended(&ended, Some(object)),
                (_, Some(snapshot)) => object.with_content_so_far(&snapshot.fold),
                (_, None) => object,
            }
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "messages": messages })))
}

/// `GET /api/conversations/{id}/events`.
pub async fn events(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let id: ConversationId = input::id(&request, "id")?;
    let resume = input::resume(&request)?;
    let reading = reading(&request, &app, id, &resume).await.map_err(|fault| ApiError::new(&request, fault))?;
    Ok(streams::respond(&app, reading))
}

async fn reading(request: &HttpRequest, app: &App, id: ConversationId, resume: &Resume) -> Result<Reading, Fault> {
    let request_id = RequestId::of(request);
    // Before anything is asked of the database, so that it feels nothing of readers that are refused.
    let open = app.connections.open(Kind::Events, caller::of(request, &app.config.server.trusted_proxies))?;
    let seat = app.seats.take(id)?;
    let journal = replay::journal(&request_id, app, id).await?;
    // It is told everything of every generation there, and so counts as a reader of each.
    let counted = Counted::Conversation(app.running.attend(id));
    let addressed = resume.dialect == DialectName::Native;
    let replay = replay::conversation(&request_id, app, &journal, resume, addressed).await?;
    Ok(Reading {
        conversation: id,
        generation: None,
        replay,
        resumed: Some(resume.after),
        batch_ms: resume.batch_ms,
        dialect: resume.dialect,
        presence: Presence::new(seat, counted, open.reads(&journal, resume.after)),
        open,
    })
}

fn object(app: &App, conversation: StoredConversation) -> ConversationObject {
    let live = app.registry.find(conversation.id).map(|journal| journal.last());
    ConversationObject::new(conversation, live)
}

fn check_title(request: &HttpRequest, title: Option<&str>) -> Result<(), ApiError> {
    match title {
        Some(title) if title.len() > MAX_TITLE_BYTES => {
            Err(ApiError::invalid(request, format!("title takes at most {MAX_TITLE_BYTES} bytes.")))
        }
        _ => Ok(()),
    }
}

fn unknown(request: &HttpRequest, id: ConversationId) -> ApiError {
    ApiError::not_found(request, format!("There is no conversation {id}."))
}

async fn find(request: &HttpRequest, app: &App) -> Result<StoredConversation, ApiError> {
    let id: ConversationId = input::id(request, "id")?;
    let found = app.store.conversation(id).await.map_err(|error| ApiError::store(request, &error))?;
    found.ok_or_else(|| unknown(request, id))
}

//! `/api/conversations`.

use actix_web::web::{Data, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::error::ApiError;
use super::objects::{ConversationObject, MessageObject};
use super::{App, input, replay};
use crate::event::{ConversationId, SyncId};
use crate::store::{ListPlace, StoredConversation};

const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 200;
const MAX_TITLE_BYTES: usize = 512;

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
    let conversations: Vec<ConversationObject> = found.into_iter().map(Into::into).collect();
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
    let limit = app.config.limits.max_body_bytes;
    let CreateRequest { id, title } = input::json_or_default(&request, payload, limit).await?;
    if title.as_ref().is_some_and(|title| title.len() > MAX_TITLE_BYTES) {
        return Err(ApiError::invalid(&request, format!("title takes at most {MAX_TITLE_BYTES} bytes.")));
    }
    let at_us = chrono::Utc::now().timestamp_micros();
    let conversation = StoredConversation {
        id: id.unwrap_or_else(ConversationId::new),
        title,
        created_at_us: at_us,
        updated_at_us: at_us,
        last: SyncId::ZERO,
        trimmed: SyncId::ZERO,
    };
    let id = conversation.id;
    let failed = |error| ApiError::store(&request, &error);
    app.store.create_conversation(conversation).await.map_err(failed)?;
    // One of that id may have been there before; it stays as it is.
    let kept = app.store.conversation(id).await.map_err(failed)?;
    let kept = kept.ok_or_else(|| ApiError::not_found(&request, format!("There is no conversation {id}.")))?;
    Ok(HttpResponse::Created().json(ConversationObject::from(kept)))
}

/// `GET /api/conversations/{id}`.
pub async fn show(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let conversation = find(&request, &app).await?;
    Ok(HttpResponse::Ok().json(ConversationObject::from(conversation)))
}

/// `GET /api/conversations/{id}/messages`: oldest first.
pub async fn messages(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let conversation = find(&request, &app).await?;
    let messages = app.store.messages(conversation.id).await.map_err(|error| ApiError::store(&request, &error))?;
    // What is being made right now is in the journal, not in its row.
    let live = match app.registry.open(conversation.id).await {
        Ok(Some(journal)) => journal.snapshots(None),
        Ok(None) => Vec::new(),
        Err(error) => return Err(ApiError::pages(&request, error)),
    };
    let messages: Vec<MessageObject> = messages
        .into_iter()
        .map(|message| {
            let streaming = message.status == crate::journal::MessageStatus::Streaming;
            let so_far = live.iter().find(|snapshot| streaming && snapshot.owner.message == message.id);
            let object = MessageObject::from(message);
            match so_far {
                Some(snapshot) => object.with_content_so_far(&snapshot.fold),
                None => object,
            }
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "messages": messages })))
}

/// `GET /api/conversations/{id}/events`.
pub async fn events(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let id: ConversationId = input::id(&request, "id")?;
    let resume = input::resume(&request)?;
    let journal = replay::journal(&request, &app, id).await?;
    replay::conversation_stream(&request, &app, &journal, resume).await
}

async fn find(request: &HttpRequest, app: &App) -> Result<StoredConversation, ApiError> {
    let id: ConversationId = input::id(request, "id")?;
    let found = app.store.conversation(id).await.map_err(|error| ApiError::store(request, &error))?;
    found.ok_or_else(|| ApiError::not_found(request, format!("There is no conversation {id}.")))
}

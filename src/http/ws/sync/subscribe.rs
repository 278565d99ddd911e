//! `subscribe`.

use std::sync::Arc;

use super::reply::Reply;
use super::request::Subscribe;
use crate::dialect::sync::{Features, Spelling};
use crate::event::{ConversationId, ErrorCode, Fault, SyncId};
use crate::http::connections::Open;
use crate::http::dialects::DialectName;
use crate::http::error::{pages_fault, store_fault};
use crate::http::input::Resume;
use crate::http::launch::Service;
use crate::http::replay;
use crate::http::seats::{Counted, Presence};
use crate::http::ws::subscription::{Style, Subscription};
use crate::journal::Journal;
use crate::store::StoredConversation;

/// Begins to read a conversation. One that nobody has begun is begun.
pub async fn subscribe(
    service: &Service,
    open: &Open,
    request: &Subscribe,
    spelling: Spelling,
    features: Features,
) -> Result<(Reply, Subscription), Fault> {
    let id = request.conversation_id.unwrap_or_else(ConversationId::new);
    let after = SyncId::new(request.last_sync_id.unwrap_or(0).min(i64::MAX as u64));
    let style = Style { spelling, features, batch_ms: request.batch_ms };
    let (current, verdict, subscription) = read(service, open, id, after, style, true).await?;
    Ok((Reply::Subscribed { conversation: id, after, verdict, current }, subscription))
}

/// Reads conversation `id` after a position; where `may_begin`, one that is not there is made, unless the client has been
/// there before.
pub async fn read(
    service: &Service,
    open: &Open,
    id: ConversationId,
    after: SyncId,
    style: Style,
    may_begin: bool,
) -> Result<(SyncId, crate::dialect::native::Verdict, Subscription), Fault> {
    let Service { app, request_id, .. } = service;
    // Before anything is asked of the database, so that it feels nothing of readers that are refused.
    let seat = app.seats.take(id)?;
    let journal = journal(service, id, may_begin && after == SyncId::ZERO).await?;
    let counted = Counted::Conversation(app.running.attend(id));
    let resume = Resume { after, compact: false, batch_ms: style.batch_ms, dialect: DialectName::Sync };
    let replay = replay::conversation(request_id, app, &journal, &resume, false).await?;
    let verdict = replay.verdict;
    let presence = Presence::new(seat, counted, open.reads(&journal, after));
    Ok((journal.last(), verdict, Subscription::new(replay, style, presence)))
}

async fn journal(service: &Service, id: ConversationId, may_begin: bool) -> Result<Arc<Journal>, Fault> {
    let Service { app, request_id, .. } = service;
    let found = app.registry.open(id).await.map_err(|error| pages_fault(request_id, error))?;
    if let Some(journal) = found {
        return Ok(journal);
    }
    if !may_begin {
        return Err(Fault::new(ErrorCode::NotFound, format!("There is no conversation {id}.")));
    }
    let at_us = chrono::Utc::now().timestamp_micros();
    let conversation = StoredConversation {
        id,
        title: None,
        created_at_us: at_us,
        updated_at_us: at_us,
        last: SyncId::ZERO,
        trimmed: SyncId::ZERO,
        external_id: None,
    };
    // One that somebody else begins at this moment stays as it is.
    app.store.create_conversation(conversation).await.map_err(|error| store_fault(request_id, &error))?;
    replay::journal(request_id, app, id).await
}

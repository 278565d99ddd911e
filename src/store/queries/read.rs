//! The statements that read.

use diesel::prelude::{
    BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, OptionalExtension, QueryDsl, QueryResult,
    SelectableHelper,
};
use diesel::sql_types::{BigInt, Binary, Integer, Nullable};

use super::{CONTENT_BYTES, Conn, RunQueryDsl};
use crate::event::{ConversationId, GenerationId, MessageId, SyncId};
use crate::store::ListPlace;
use crate::store::model::{External, StoredConversation, StoredGeneration, StoredMessage, StoredRun, StoredTurn};
use crate::store::rows::{BatchRow, ConversationRow, GenerationRow, MessageRow, clean, number, sync_id};
use crate::store::schema::{conversations, event_batches, generations, messages};
use crate::store::types::{Id, TimeUs};

diesel::define_sql_function! {
    /// How many bytes a value has.
    fn octet_length(value: Binary) -> Integer;
}

/// How many rows a page has at the most.
const PAGE_ROWS: i64 = 64;

/// Runs after a number, in order, until about `max_bytes` are together.
pub async fn runs(conn: &mut Conn, id: ConversationId, after: SyncId, max_bytes: usize) -> QueryResult<Vec<StoredRun>> {
    let later = event_batches::table
        .filter(event_batches::conversation_id.eq(Id::from(id)))
        .filter(event_batches::to_sync_id.gt(number(after)))
        .order(event_batches::to_sync_id.asc());
    // The lengths first, as a few rows may hold more than is asked for.
    let lengths: Vec<(i64, i32)> = done!(
        later.select((event_batches::to_sync_id, octet_length(event_batches::frames))).limit(PAGE_ROWS).load(conn)
    )?;
    let mut bytes = 0;
    let enough = |(_, length): &&(i64, i32)| {
        bytes += usize::try_from(*length).unwrap_or(0);
        bytes >= max_bytes
    };
    let Some((last, _)) = lengths.iter().find(enough).or(lengths.last()) else { return Ok(Vec::new()) };
    let rows: Vec<BatchRow> =
        done!(later.filter(event_batches::to_sync_id.le(*last)).select(BatchRow::as_select()).load(conn))?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Whether a stored event has that number, or one close below it.
pub async fn holds(conn: &mut Conn, id: ConversationId, at: SyncId) -> QueryResult<bool> {
    let around = event_batches::table
        .filter(event_batches::conversation_id.eq(Id::from(id)))
        .filter(event_batches::to_sync_id.ge(number(at)))
        .filter(event_batches::from_sync_id.le(number(at)));
    done!(diesel::select(diesel::dsl::exists(around)).get_result(conn))
}

/// All runs of one message, in order.
pub async fn runs_of(conn: &mut Conn, id: ConversationId, message: MessageId) -> QueryResult<Vec<StoredRun>> {
    let rows = event_batches::table
        .filter(event_batches::conversation_id.eq(Id::from(id)))
        .filter(event_batches::message_id.eq(Id::from(message)))
        .order(event_batches::to_sync_id.asc())
        .select(BatchRow::as_select());
    let rows: Vec<BatchRow> = done!(rows.load(conn))?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// One conversation.
pub async fn conversation(conn: &mut Conn, id: ConversationId) -> QueryResult<Option<StoredConversation>> {
    let row = conversations::table.find(Id::from(id)).select(ConversationRow::as_select());
    let row = done!(row.first(conn)).optional()?;
    Ok(row.map(Into::into))
}

/// The conversation of that name.
pub async fn external(conn: &mut Conn, external: &External) -> QueryResult<Option<StoredConversation>> {
    let row = conversations::table
        .filter(conversations::external_kind.eq(external.kind))
        .filter(conversations::external_id.eq(clean(&external.id)))
        .filter(conversations::owner.is_null())
        .select(ConversationRow::as_select());
    let row = done!(row.first(conn)).optional()?;
    Ok(row.map(Into::into))
}

/// Where the messages of models begin and end, in their order.
pub async fn turns(conn: &mut Conn, id: ConversationId) -> QueryResult<Vec<StoredTurn>> {
    let rows = messages::table
        .filter(messages::conversation_id.eq(Id::from(id)))
        .filter(messages::model.is_not_null())
        .order((messages::created_at.asc(), messages::place.asc()))
        .select((messages::first_sync_id, messages::last_sync_id));
    let rows: Vec<(Option<i64>, Option<i64>)> = done!(rows.load(conn))?;
    let turn =
        |(first, last): (Option<i64>, Option<i64>)| StoredTurn { first: first.map(sync_id), last: last.map(sync_id) };
    Ok(rows.into_iter().map(turn).collect())
}

/// The generations whose tasks have names of their own.
pub async fn task_ids(conn: &mut Conn, id: ConversationId) -> QueryResult<Vec<(GenerationId, String)>> {
    let rows = generations::table
        .filter(generations::conversation_id.eq(Id::from(id)))
        .filter(generations::task_id.is_not_null())
        .select((generations::id, generations::task_id.assume_not_null()));
    let rows: Vec<(Id, String)> = done!(rows.load(conn))?;
    Ok(rows.into_iter().map(|(id, task)| (id.into(), task)).collect())
}

/// Conversations, newest change first.
pub async fn conversations(
    conn: &mut Conn,
    after: Option<ListPlace>,
    limit: u32,
) -> QueryResult<Vec<StoredConversation>> {
    let mut query = conversations::table
        .order((conversations::updated_at.desc(), conversations::id.desc()))
        .select(ConversationRow::as_select())
        .limit(i64::from(limit))
        .into_boxed();
    if let Some(place) = after {
        let (at, id) = (TimeUs(place.updated_at_us), Id::from(place.id));
        query = query.filter(
            conversations::updated_at.lt(at).or(conversations::updated_at.eq(at).and(conversations::id.lt(id))),
        );
    }
    Ok(done!(query.load(conn))?.into_iter().map(Into::into).collect())
}

/// All messages of a conversation, oldest first.
pub async fn messages(conn: &mut Conn, id: ConversationId) -> QueryResult<Vec<StoredMessage>> {
    let rows = messages::table
        .filter(messages::conversation_id.eq(Id::from(id)))
        .order((messages::created_at.asc(), messages::place.asc()))
        .select(MessageRow::as_select());
    let rows: Vec<MessageRow> = done!(rows.load(conn))?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// How much all messages of a conversation are together, in bytes.
pub async fn content_bytes(conn: &mut Conn, id: ConversationId) -> QueryResult<usize> {
    let lengths = diesel::dsl::sql::<Nullable<BigInt>>(CONTENT_BYTES);
    let bytes = messages::table.filter(messages::conversation_id.eq(Id::from(id))).select(lengths);
    let bytes: Option<i64> = done!(bytes.first(conn))?;
    Ok(usize::try_from(bytes.unwrap_or(0)).unwrap_or(usize::MAX))
}

/// One generation with its messages.
pub async fn generation(conn: &mut Conn, id: GenerationId) -> QueryResult<Option<StoredGeneration>> {
    let row = generations::table.find(Id::from(id)).select(GenerationRow::as_select());
    match done!(row.first(conn)).optional()? {
        Some(row) => with_messages(conn, row).await.map(Some),
        None => Ok(None),
    }
}

/// The latest generation with that key which began at `not_before_us` or later.
pub async fn generation_by_key(
    conn: &mut Conn,
    key: &str,
    not_before_us: i64,
) -> QueryResult<Option<StoredGeneration>> {
    let row = generations::table
        .filter(generations::idempotency_key.eq(key))
        .filter(generations::created_at.ge(TimeUs(not_before_us)))
        .order(generations::created_at.desc())
        .select(GenerationRow::as_select());
    match done!(row.first(conn)).optional()? {
        Some(row) => with_messages(conn, row).await.map(Some),
        None => Ok(None),
    }
}

async fn with_messages(conn: &mut Conn, row: GenerationRow) -> QueryResult<StoredGeneration> {
    let messages = messages::table
        .filter(messages::generation_id.eq(row.id))
        .order(messages::place.asc())
        .select(MessageRow::as_select());
    let messages: Vec<MessageRow> = done!(messages.load(conn))?;
    Ok(row.into_model(messages.into_iter().map(Into::into).collect()))
}

/// Whether the database answers.
pub async fn nothing(conn: &mut Conn) -> QueryResult<()> {
    done!(diesel::select(diesel::dsl::sql::<Integer>("1")).execute(conn))?;
    Ok(())
}

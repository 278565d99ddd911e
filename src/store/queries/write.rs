//! The statements that write. They run inside one transaction that the caller opened.

use std::collections::BTreeMap;

use diesel::prelude::{ExpressionMethods, OptionalExtension, QueryDsl, QueryResult};

use super::{Conn, RunQueryDsl, nodes, read};
use crate::event::{ConversationId, SyncId};
use crate::journal::{Begin, GenerationEnd, MessageEnd, NUMBER_BLOCK, Run, Unrecorded, Write};
use crate::store::error::StatementError;
use crate::store::model::{External, StoredConversation};
use crate::store::node::Node;
use crate::store::rows::{ConversationRow, GenerationRow, MessageEndRow, NewBatchRow, NewMessageRow, clean, number};
use crate::store::schema::{conversations, event_batches, generations, messages};
use crate::store::types::{Id, TimeUs};

/// Writes what journals want stored. Rows that are there already stay as they are, so that a transaction whose outcome
/// was lost can be repeated.
pub async fn units(conn: &mut Conn, units: &[Unrecorded], node: &Node, now_us: i64) -> Result<(), StatementError> {
    nodes::check(conn, node).await?;
    let begins: Vec<(&Begin, SyncId)> = units
        .iter()
        .flat_map(|unit| unit.writes.iter().map(|write| (write, unit.last)))
        .filter_map(|(write, last)| if let Write::Begin(begin) = write { Some((&**begin, last)) } else { None })
        .collect();
    if !begins.is_empty() {
        begin(conn, &begins, node).await?;
    }
    let runs = units.iter().flat_map(|unit| {
        let conversation = Id::from(unit.conversation);
        unit.runs.iter().map(move |run| NewBatchRow::new(conversation, run, now_us))
    });
    let runs: Vec<NewBatchRow<'_>> = runs.collect();
    insert!(conn, event_batches::table, runs);
    for unit in units {
        for run in unit.runs.iter().filter(|run| run.owner.generation.is_none()) {
            input_numbers(conn, run).await?;
        }
        ends(conn, unit).await?;
    }
    Ok(())
}

async fn ends(conn: &mut Conn, unit: &Unrecorded) -> Result<(), StatementError> {
    let conversation = Id::from(unit.conversation);
    for write in &unit.writes {
        match write {
            Write::Begin(_) => {}
            Write::Reserve(through) => reserve(conn, conversation, *through).await?,
            Write::MessageEnd(end) => message_end(conn, end).await?,
            Write::GenerationEnd(end) => generation_end(conn, conversation, end, unit.last).await?,
        }
    }
    Ok(())
}

/// Makes an empty conversation.
pub async fn conversation(conn: &mut Conn, row: ConversationRow) -> QueryResult<()> {
    insert!(conn, conversations::table, [row]);
    Ok(())
}

/// Gives a conversation another title, or none; `None` where there is no such conversation.
pub async fn renamed(
    conn: &mut Conn,
    id: ConversationId,
    title: Option<&str>,
    now_us: i64,
) -> QueryResult<Option<StoredConversation>> {
    let named = (conversations::title.eq(title.map(clean)), conversations::updated_at.eq(TimeUs(now_us)));
    done!(diesel::update(conversations::table.find(Id::from(id))).set(named).execute(conn))?;
    read::conversation(conn, id).await
}

/// Deletes a conversation; its generations, messages and events go with it. Says whether there was one.
pub async fn delete(conn: &mut Conn, id: Id) -> QueryResult<bool> {
    Ok(done!(diesel::delete(conversations::table.find(id)).execute(conn))? > 0)
}

/// A fresh row for a conversation that begins now, here.
pub fn new_conversation(id: Id, title: Option<String>, at_us: i64, node: &Node) -> ConversationRow {
    ConversationRow {
        id,
        title: title.map(|title| clean(&title).into_owned()),
        created_at: TimeUs(at_us),
        updated_at: TimeUs(at_us),
        last_sync_id: 0,
        reserved_sync_id: number(SyncId::new(NUMBER_BLOCK)),
        trimmed_sync_id: 0,
        owner_node: Some(node.name.to_string()),
        owner_epoch: node.epoch,
        external_id: None,
        external_kind: None,
    }
}

/// The conversation of that name, made now unless it is there. Of two that make one at the same moment the second waits
/// for the first, and finds it.
pub async fn external(
    conn: &mut Conn,
    external: &External,
    id: ConversationId,
    at_us: i64,
    node: &Node,
) -> QueryResult<StoredConversation> {
    if let Some(known) = read::external(conn, external).await? {
        return Ok(known);
    }
    let row = ConversationRow {
        external_id: Some(clean(&external.id).into_owned()),
        external_kind: Some(external.kind.to_owned()),
        ..new_conversation(Id::from(id), None, at_us, node)
    };
    insert!(conn, conversations::table, [row]);
    read::external(conn, external).await?.ok_or(diesel::result::Error::NotFound)
}

/// Begins generations, each with the last number that its journal knows of.
async fn begin(conn: &mut Conn, begins: &[(&Begin, SyncId)], node: &Node) -> Result<(), StatementError> {
    let fresh = begins.iter().map(|(begin, _)| begin).filter(|begin| begin.new_conversation);
    let fresh: Vec<ConversationRow> =
        fresh.map(|begin| new_conversation(Id::from(begin.conversation), None, begin.at_us, node)).collect();
    let all_fresh = insert!(conn, conversations::table, fresh) == fresh.len();
    for (begin, last) in begins.iter().filter(|(begin, _)| !begin.new_conversation || !all_fresh) {
        touch(conn, begin, *last, node).await?;
    }
    let rows: Vec<GenerationRow> = begins.iter().map(|(begin, _)| GenerationRow::begin(begin)).collect();
    if insert!(conn, generations::table, rows) < rows.len() {
        repeated(conn, &rows).await?;
    }
    let mut rows = Vec::new();
    for (begin, _) in begins {
        let input = begin.input.iter().map(|message| NewMessageRow::input(begin, message));
        let output = begin.output.iter().map(|message| NewMessageRow::output(begin, message));
        rows.extend((0..).zip(input.chain(output)).map(|(place, row)| row.at(place)));
    }
    if insert!(conn, messages::table, rows) < rows.len() {
        repeated_messages(conn, &rows).await?;
    }
    Ok(())
}

/// The conversation of a new generation has changed. It must be ours, and its journal must know of all that was ever begun
/// there: another process may have gone on with it, and it may have become ours again since.
async fn touch(conn: &mut Conn, begin: &Begin, last: SyncId, node: &Node) -> Result<(), StatementError> {
    let ours = conversations::table
        .find(Id::from(begin.conversation))
        .filter(conversations::owner_node.eq(&*node.name))
        .filter(conversations::owner_epoch.eq(node.epoch))
        .filter(conversations::last_sync_id.le(number(last)));
    let changed = conversations::updated_at.eq(TimeUs(begin.at_us));
    if done!(diesel::update(ours).set(changed).execute(conn))? == 0 { Err(StatementError::Moved) } else { Ok(()) }
}

/// Generations that were there already must be the same: their transaction is repeated.
async fn repeated(conn: &mut Conn, rows: &[GenerationRow]) -> Result<(), StatementError> {
    let ids: Vec<Id> = rows.iter().map(|row| row.id).collect();
    let known = generations::table.filter(generations::id.eq_any(ids)).select((
        generations::id,
        generations::conversation_id,
        generations::created_at,
    ));
    let known: Vec<(Id, Id, TimeUs)> = done!(known.load(conn))?;
    let known: BTreeMap<_, _> = known.into_iter().map(|(id, conversation, at)| (id.0, (conversation, at))).collect();
    let same = |row: &GenerationRow| known.get(&row.id.0) == Some(&(row.conversation_id, row.created_at));
    match rows.iter().find(|row| !same(row)) {
        Some(row) => Err(StatementError::Taken(row.id.into())),
        None => Ok(()),
    }
}

/// The same for messages: a client may choose the id of what answers it, and must not get another conversation's.
async fn repeated_messages(conn: &mut Conn, rows: &[NewMessageRow<'_>]) -> Result<(), StatementError> {
    let ids: Vec<Id> = rows.iter().map(|row| row.id).collect();
    let known = messages::table.filter(messages::id.eq_any(ids)).select((
        messages::id,
        messages::conversation_id,
        messages::created_at,
    ));
    let known: Vec<(Id, Id, TimeUs)> = done!(known.load(conn))?;
    let known: BTreeMap<_, _> = known.into_iter().map(|(id, conversation, at)| (id.0, (conversation, at))).collect();
    let same = |row: &NewMessageRow<'_>| known.get(&row.id.0) == Some(&(row.conversation_id, row.created_at));
    match rows.iter().find(|row| !same(row)) {
        Some(row) => Err(StatementError::MessageTaken(row.id.into())),
        None => Ok(()),
    }
}

/// The numbers of a message that a client sent: its whole run is one event, and nothing else ever says that it ended.
async fn input_numbers(conn: &mut Conn, run: &Run) -> QueryResult<()> {
    let numbers = (messages::first_sync_id.eq(number(run.first)), messages::last_sync_id.eq(number(run.last)));
    done!(diesel::update(messages::table.find(Id::from(run.owner.message))).set(numbers).execute(conn))?;
    Ok(())
}

// A transaction whose outcome was lost may be repeated after another process went on with the conversation: so the
// numbers of a conversation only ever rise.

async fn reserve(conn: &mut Conn, conversation: Id, through: SyncId) -> QueryResult<()> {
    let through = number(through);
    let lower = conversations::table.find(conversation).filter(conversations::reserved_sync_id.lt(through));
    done!(diesel::update(lower).set(conversations::reserved_sync_id.eq(through)).execute(conn))?;
    Ok(())
}

/// A message whose row is gone, with its conversation, is not stored, and nobody may be told that it is.
async fn message_end(conn: &mut Conn, end: &MessageEnd) -> Result<(), StatementError> {
    let row = diesel::update(messages::table.find(Id::from(end.id))).set(MessageEndRow::from(end));
    if done!(row.execute(conn))? == 0 { Err(StatementError::Gone(end.id)) } else { Ok(()) }
}

async fn generation_end(conn: &mut Conn, conversation: Id, end: &GenerationEnd, last: SyncId) -> QueryResult<()> {
    let last_of_generation = end.messages.iter().map(|(_, at)| number(*at)).max();
    for (message, at) in &end.messages {
        let last = messages::last_sync_id.eq(number(*at));
        done!(diesel::update(messages::table.find(Id::from(*message))).set(last).execute(conn))?;
    }
    let ended = (
        generations::status.eq(end.status.as_str()),
        generations::ended_at.eq(TimeUs(end.at_us)),
        generations::last_sync_id.eq(last_of_generation),
    );
    // The id may be another conversation's: then its row is not this one's to end.
    let ours = generations::table.find(Id::from(end.id)).filter(generations::conversation_id.eq(conversation));
    done!(diesel::update(ours).set(ended).execute(conn))?;
    if let Some(rekey) = end.rekey {
        self::rekey(conn, conversation, Id::from(end.id), Id::from(rekey)).await?;
    }
    let changed = (conversations::last_sync_id.eq(number(last)), conversations::updated_at.eq(TimeUs(end.at_us)));
    let lower = conversations::table.find(conversation).filter(conversations::last_sync_id.le(number(last)));
    done!(diesel::update(lower).set(changed).execute(conn))?;
    Ok(())
}

/// Keeps a generation under another id and without its key. Its messages follow by themselves.
async fn rekey(conn: &mut Conn, conversation: Id, id: Id, rekey: Id) -> QueryResult<()> {
    // The id may be another conversation's by now, where the database took the rows that began this one too late.
    let ours = generations::table.find(id).filter(generations::conversation_id.eq(conversation));
    // Where this is a repeated transaction, the row was renamed before, and the one of that id was made again just now.
    let known: Option<Id> =
        done!(generations::table.find(rekey).select(generations::id).get_result(conn)).optional()?;
    if known.is_some() {
        done!(diesel::delete(ours).execute(conn))?;
        return Ok(());
    }
    let renamed = (generations::id.eq(rekey), generations::idempotency_key.eq(None::<String>));
    done!(diesel::update(ours).set(renamed).execute(conn))?;
    let events = event_batches::table
        .filter(event_batches::conversation_id.eq(conversation))
        .filter(event_batches::generation_id.eq(id));
    done!(diesel::update(events).set(event_batches::generation_id.eq(rekey)).execute(conn))?;
    Ok(())
}

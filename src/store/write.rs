//! The statements that write. They run inside one transaction that the caller opened.

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::rows::{ConversationRow, GenerationRow, MessageEndRow, NewBatchRow, NewMessageRow, clean, number};
use super::schema::{conversations, event_batches, generations, messages};
use super::types::{Id, TimeUs};
use crate::event::SyncId;
use crate::journal::{Begin, GenerationEnd, MessageEnd, NUMBER_BLOCK, Run, Unrecorded, Write};

/// Writes what one journal wants stored. Rows that are there already stay as they are, so that a transaction whose
/// outcome was lost can be repeated.
pub fn unit(conn: &mut SqliteConnection, unit: &Unrecorded, now_us: i64) -> QueryResult<()> {
    let conversation = Id::from(unit.conversation);
    for write in &unit.writes {
        if let Write::Begin(row) = write {
            begin(conn, row)?;
        }
    }
    for run in &unit.runs {
        // Not `on_conflict_do_nothing`: with that the statement's text is built again for every row.
        diesel::insert_or_ignore_into(event_batches::table)
            .values(NewBatchRow::new(conversation, run, now_us))
            .execute(conn)?;
        if run.owner.generation.is_none() {
            input_numbers(conn, run)?;
        }
    }
    for write in &unit.writes {
        match write {
            Write::Begin(_) => {}
            Write::Reserve(through) => reserve(conn, conversation, *through)?,
            Write::MessageEnd(end) => message_end(conn, end)?,
            Write::GenerationEnd(end) => generation_end(conn, conversation, end, unit.last)?,
        }
    }
    Ok(())
}

/// Makes an empty conversation.
pub fn conversation(conn: &mut SqliteConnection, row: &ConversationRow) -> QueryResult<()> {
    diesel::insert_into(conversations::table).values(row).on_conflict_do_nothing().execute(conn)?;
    Ok(())
}

/// Gives a conversation another title, or none.
pub fn title(conn: &mut SqliteConnection, id: Id, title: Option<&str>, now_us: i64) -> QueryResult<()> {
    diesel::update(conversations::table.find(id))
        .set((conversations::title.eq(title.map(clean)), conversations::updated_at.eq(TimeUs(now_us))))
        .execute(conn)?;
    Ok(())
}

/// Deletes a conversation; its generations, messages and events go with it. Says whether there was one.
pub fn delete(conn: &mut SqliteConnection, id: Id) -> QueryResult<bool> {
    Ok(diesel::delete(conversations::table.find(id)).execute(conn)? > 0)
}

/// A fresh row for a conversation that begins now.
pub fn new_conversation(id: Id, title: Option<String>, at_us: i64) -> ConversationRow {
    ConversationRow {
        id,
        title,
        created_at: TimeUs(at_us),
        updated_at: TimeUs(at_us),
        last_sync_id: 0,
        reserved_sync_id: number(SyncId::new(NUMBER_BLOCK)),
        trimmed_sync_id: 0,
    }
}

fn begin(conn: &mut SqliteConnection, begin: &Begin) -> QueryResult<()> {
    let id = Id::from(begin.conversation);
    if begin.new_conversation {
        conversation(conn, &new_conversation(id, None, begin.at_us))?;
    } else {
        diesel::update(conversations::table.find(id))
            .set(conversations::updated_at.eq(TimeUs(begin.at_us)))
            .execute(conn)?;
    }
    diesel::insert_into(generations::table)
        .values(GenerationRow::begin(begin))
        .on_conflict_do_nothing()
        .execute(conn)?;
    let input = begin.input.iter().map(|message| NewMessageRow::input(begin, message));
    let output = begin.output.iter().map(|message| NewMessageRow::output(begin, message));
    for (place, row) in (0..).zip(input.chain(output)) {
        diesel::insert_into(messages::table).values(row.at(place)).on_conflict_do_nothing().execute(conn)?;
    }
    Ok(())
}

/// The numbers of a message that a client sent: its whole run is one event, and nothing else ever says that it ended.
fn input_numbers(conn: &mut SqliteConnection, run: &Run) -> QueryResult<()> {
    diesel::update(messages::table.find(Id::from(run.owner.message)))
        .set((messages::first_sync_id.eq(number(run.first)), messages::last_sync_id.eq(number(run.last))))
        .execute(conn)?;
    Ok(())
}

fn reserve(conn: &mut SqliteConnection, conversation: Id, through: SyncId) -> QueryResult<()> {
    diesel::update(conversations::table.find(conversation))
        .set(conversations::reserved_sync_id.eq(number(through)))
        .execute(conn)?;
    Ok(())
}

fn message_end(conn: &mut SqliteConnection, end: &MessageEnd) -> QueryResult<()> {
    diesel::update(messages::table.find(Id::from(end.id))).set(MessageEndRow::from(end)).execute(conn)?;
    Ok(())
}

fn generation_end(conn: &mut SqliteConnection, conversation: Id, end: &GenerationEnd, last: SyncId) -> QueryResult<()> {
    let last_of_generation = end.messages.iter().map(|(_, at)| number(*at)).max();
    for (message, at) in &end.messages {
        diesel::update(messages::table.find(Id::from(*message)))
            .set(messages::last_sync_id.eq(number(*at)))
            .execute(conn)?;
    }
    diesel::update(generations::table.find(Id::from(end.id)))
        .set((
            generations::status.eq(end.status.as_str()),
            generations::ended_at.eq(TimeUs(end.at_us)),
            generations::last_sync_id.eq(last_of_generation),
        ))
        .execute(conn)?;
    if let Some(rekey) = end.rekey {
        self::rekey(conn, conversation, Id::from(end.id), Id::from(rekey))?;
    }
    diesel::update(conversations::table.find(conversation))
        .set((conversations::last_sync_id.eq(number(last)), conversations::updated_at.eq(TimeUs(end.at_us))))
        .execute(conn)?;
    Ok(())
}

/// Keeps a generation under another id and without its key. Its messages follow by themselves.
fn rekey(conn: &mut SqliteConnection, conversation: Id, id: Id, rekey: Id) -> QueryResult<()> {
    // The id may be another conversation's by now, where the database took the rows that began this one too late.
    diesel::update(generations::table.find(id).filter(generations::conversation_id.eq(conversation)))
        .set((generations::id.eq(rekey), generations::idempotency_key.eq(None::<String>)))
        .execute(conn)?;
    diesel::update(event_batches::table)
        .filter(event_batches::conversation_id.eq(conversation))
        .filter(event_batches::generation_id.eq(id))
        .set(event_batches::generation_id.eq(rekey))
        .execute(conn)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

    use super::super::read;
    use super::*;
    use crate::event::{ConversationId, GenerationId};
    use crate::journal::MessageStatus;

    const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

    fn keyed(at_us: i64) -> Begin {
        Begin {
            conversation: ConversationId::new(),
            new_conversation: true,
            generation: GenerationId::new(),
            idempotency_key: Some("key".into()),
            body_hash: [7; 32],
            request_id: "r".to_owned(),
            input: Vec::new(),
            output: Vec::new(),
            at_us,
        }
    }

    #[test]
    fn a_key_leads_to_its_latest_generation_until_that_fails_or_is_too_old() {
        let mut conn = SqliteConnection::establish(":memory:").expect("a database");
        conn.run_pending_migrations(MIGRATIONS).expect("migrated");
        let (old, new) = (keyed(1_000), keyed(2_000));
        for row in [&old, &new] {
            begin(&mut conn, row).expect("stored");
        }
        let found = |conn: &mut SqliteConnection, not_before_us| {
            read::generation_by_key(conn, "key", not_before_us).expect("readable").map(|found| found.id)
        };
        assert_eq!(found(&mut conn, 2_000), Some(new.generation));
        assert_eq!(found(&mut conn, 2_001), None);
        assert!(read::generation_by_key(&mut conn, "KEY", 0).expect("readable").is_none());

        // A failure before every head frees the key; what was generated stays.
        let rekeyed = GenerationId::new();
        let end = GenerationEnd {
            id: new.generation,
            status: MessageStatus::Error,
            messages: Vec::new(),
            rekey: Some(rekeyed),
            at_us: 3_000,
        };
        generation_end(&mut conn, Id::from(new.conversation), &end, SyncId::ZERO).expect("stored");
        assert_eq!(found(&mut conn, 2_000), None);
        assert_eq!(found(&mut conn, 0), Some(old.generation));
        let kept = read::generation(&mut conn, rekeyed).expect("readable").expect("kept");
        assert_eq!(kept.idempotency_key, None);
    }
}

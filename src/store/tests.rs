//! Every backend goes through the same suite; a backend is what opens the same data again, as a later process would.

mod nodes;
mod postgres;
mod recorder;
mod recovery;
#[path = "../../tests/it/support/postgres.rs"]
#[allow(dead_code, reason = "the integration tests use the rest")]
mod server;
mod sqlite;
mod suite;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;

use super::testing::{Folder, Scripted, opened};
use super::*;
use crate::event::{
    BlockKind, Complete, Delta, Event, FinishReason, Role, SyncId, ToolCall, ToolCallDelta, Usage, UsageSource, frame,
};
use crate::journal::{
    Backlog, Begin, Cursor, GenerationEnd, InputMessage, Journal, MessageEnd, MessageStart, MessageStatus, Owner,
    Registry, Scope, Write, Writer,
};

/// Opens one database, again and again. What was opened before must be gone.
#[async_trait::async_trait]
trait Backend: Send + Sync {
    async fn open(&self) -> Arc<dyn Store>;
}

#[async_trait::async_trait]
impl Backend for Folder {
    async fn open(&self) -> Arc<dyn Store> {
        Folder::open(self).await
    }
}

/// Runs each function of the suite against a backend, as a test of its own.
macro_rules! against {
    ($backend:expr; $($suite:ident :: $name:ident),* $(,)?) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let Some(backend) = $backend else { return };
            super::$suite::$name(&backend).await;
        }
    )* };
}
use against;

/// The whole suite against a backend, where there is one.
macro_rules! whole_suite {
    ($backend:expr) => {
        against! { $backend;
            suite::a_message_comes_back_as_it_was,
            suite::what_only_the_provider_reads_comes_back_and_is_no_event,
            suite::the_content_of_a_conversation_has_a_size,
            suite::text_that_looks_like_an_escape_stays_as_it_is,
            suite::events_come_back_byte_for_byte,
            suite::a_page_ends_at_its_limit_and_goes_on_from_any_position,
            suite::the_origin_follows_the_end_of_generations_and_the_reservation,
            suite::conversations_are_listed_newest_change_first,
            suite::a_generation_runs_until_its_end_is_stored,
            suite::a_commit_that_is_repeated_adds_nothing,
            suite::events_of_a_conversation_that_does_not_exist_are_refused,
            suite::a_refused_commit_leaves_nothing_behind,
            suite::the_end_of_a_message_that_is_gone_is_refused,
            suite::a_nul_in_any_text_is_no_reason_to_refuse_it,
            suite::a_name_of_a_client_leads_to_one_conversation,
            suite::a_generation_goes_on_in_a_conversation_that_was_entered,
            suite::turns_and_the_names_of_tasks_are_known,
            suite::a_failed_attempt_whose_rows_are_stored_twice_is_kept_once,
            suite::a_key_leads_to_its_latest_generation_until_that_fails_or_is_too_old,
            recovery::a_generation_of_which_only_its_rows_are_stored_ends_as_interrupted,
            recovery::a_generation_in_the_middle_ends_with_a_reset_and_an_error,
            recovery::a_fallback_is_remembered_by_its_event,
            recovery::a_message_that_was_stored_gets_its_terminal_event,
            recovery::a_message_that_failed_keeps_its_fault,
            recovery::the_check_of_a_text_with_a_nul_is_that_of_its_events,
            recovery::of_several_messages_each_ends_once_and_the_last_is_final,
            recovery::generations_of_one_conversation_end_one_after_the_other,
            recovery::what_was_stored_twice_because_its_outcome_was_lost_counts_once,
            recovery::recovering_again_changes_nothing,
            recorder::a_row_that_somebody_waits_for_is_stored_before_the_tick,
            recorder::a_tick_stores_many_journals_in_one_transaction,
            recorder::stopping_stores_the_rest,
            recorder::stopping_has_a_bound,
            recorder::a_refused_journal_does_not_stop_another,
            recorder::while_the_store_is_away_everything_waits_and_is_stored_once,
            recorder::a_store_that_took_what_was_tried_one_by_one_is_back,
            recorder::a_recorder_with_nothing_to_do_sleeps,
        }
    };
}
use whole_suite;

/// A registry over `store`, without a recorder.
fn registry(store: &Arc<dyn Store>) -> Registry {
    Registry::new(store.clone(), Backlog::new(u64::MAX))
}

/// One turn of a recorder for one journal.
async fn record(store: &Arc<dyn Store>, journal: &Arc<Journal>) -> Result<(), StoreError> {
    let Some(unit) = journal.unrecorded() else { return Ok(()) };
    store.commit(Arc::new(vec![unit.clone()])).await?;
    journal.recorded(unit);
    Ok(())
}

/// A generation by hand: one message of a client, and one writer a model.
struct Talk {
    journal: Arc<Journal>,
    begin: Begin,
    writers: Vec<Option<Writer>>,
    ended: Vec<(MessageId, SyncId)>,
}

impl Talk {
    /// Begins one with `models` models in a new conversation.
    fn begin(registry: &Registry, models: usize) -> Self {
        Talk::begin_in(&registry.create(ConversationId::new()), true, models)
    }

    fn begin_in(journal: &Arc<Journal>, new_conversation: bool, models: usize) -> Self {
        Talk::begin_as(journal, new_conversation, models, None)
    }

    fn begin_as(journal: &Arc<Journal>, new_conversation: bool, models: usize, task: Option<&str>) -> Self {
        let input = InputMessage {
            id: MessageId::new(),
            role: Role::User,
            content: "What is a \0 good for? 🦀".into(),
            tool_calls: Vec::new(),
            tool_call_id: None,
        };
        let output = (0..models).map(|_| MessageStart {
            id: MessageId::new(),
            provider: "demo".into(),
            model: "thinker".into(),
            metadata: BTreeMap::from([("place".into(), "a\0b".into())]),
        });
        let begin = Begin {
            idempotency_key: None,
            conversation: journal.id(),
            new_conversation,
            generation: GenerationId::new(),
            body_hash: [7; 32],
            request_id: "request-1".into(),
            task_id: task.map(str::to_owned),
            input: vec![input],
            output: output.collect(),
            at_us: chrono::Utc::now().timestamp_micros(),
        };
        journal.push(Write::Begin(Arc::new(begin.clone())), false);
        let owner =
            |message: &MessageStart| Owner { message: message.id, generation: Some(begin.generation), writer: None };
        let writers = begin.output.iter().map(|message| Some(Writer::open(journal, owner(message)))).collect();
        Talk { journal: journal.clone(), begin, writers, ended: Vec::new() }
    }

    fn generation(&self) -> GenerationId {
        self.begin.generation
    }

    fn message(&self, model: usize) -> MessageId {
        self.begin.output[model].id
    }

    fn say(&mut self, model: usize, events: &[Event]) {
        let writer = self.writers[model].as_mut().expect("still open");
        writer.append(events, 10).now_or_never().expect("numbers enough");
    }

    /// The row that ends a message, with what its events add up to.
    fn end_row(&self, model: usize, status: MessageStatus) -> MessageEnd {
        let (content, first) = self.writers[model].as_ref().expect("still open").content();
        MessageEnd {
            id: self.message(model),
            status,
            finish_reason: (status == MessageStatus::Complete).then_some(FinishReason::Stop),
            error: None,
            timing: content.timing(0, 20),
            content,
            first,
            provider: "demo".into(),
            model: "thinker".into(),
            at_us: self.begin.at_us + 5,
        }
    }

    /// Ends the last message that is open, and with it the generation.
    fn end(&mut self, model: usize) -> SyncId {
        let row = self.end_row(model, MessageStatus::Complete);
        let event = complete(&row);
        self.journal.push(Write::MessageEnd(Box::new(row)), false);
        let (id, message, at_us) = (self.generation(), self.message(model), self.begin.at_us + 6);
        let end = |at| {
            let mut messages = self.ended.clone();
            messages.push((message, at));
            GenerationEnd { id, status: MessageStatus::Complete, messages, at_us, rekey: None }
        };
        let writer = self.writers[model].take().expect("still open");
        writer.end(event, 20, Some(end)).now_or_never().expect("numbers enough").0
    }
}

fn complete(row: &MessageEnd) -> Event {
    Event::Complete(Box::new(Complete {
        finish_reason: FinishReason::Stop,
        provider: row.provider.clone(),
        model: row.model.clone(),
        usage: row.content.usage.clone(),
        timing: row.timing,
        stored: true,
        check: row.content.check(),
        is_final: true,
    }))
}

fn delta(content: &str, block: u32) -> Delta {
    Delta { content: content.into(), block, redacted: false }
}

fn text(content: &str) -> Event {
    Event::Text(delta(content, 1))
}

fn reasoning(content: &str) -> Event {
    Event::Reasoning(delta(content, 0))
}

/// Everything that `runs` hold, with its number.
fn events<'a>(runs: impl IntoIterator<Item = &'a crate::journal::Run>) -> Vec<(u64, Event)> {
    let frames = runs.into_iter().flat_map(|run| frame::frames(&run.frames));
    frames.map(|frame| (frame.id.get(), frame.event().expect("an event"))).collect()
}

/// Everything that a reader of one generation gets.
async fn read(registry: &Registry, store: &Arc<dyn Store>, generation: GenerationId) -> Vec<(u64, Event)> {
    let stored = store.generation(generation).await.expect("the store").expect("a generation");
    let journal = registry.open(stored.conversation).await.expect("pages").expect("a conversation");
    let scope = Scope::Generation(generation);
    let mut cursor = Cursor::new(journal, store.clone(), scope, SyncId::ZERO, stored.last);
    let mut runs = Vec::new();
    while let Some(run) = cursor.next().await.expect("pages") {
        runs.push(run);
    }
    events(&runs)
}

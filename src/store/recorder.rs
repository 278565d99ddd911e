//! Carries journals into the store: rows that somebody waits for at once, everything else with a tick, and always many
//! conversations in one transaction, so that the database sees a handful of transactions a second at any load.

mod aside;
mod known;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use self::aside::Aside;
use self::known::Known;
use super::{Store, StoreError, give_way};
use crate::journal::{Backlog, Journal, Unrecorded};

/// From this many conversations in one transaction on the tick grows.
const CALM_UNITS: u64 = 64;
/// At this many conversations it has reached its longest.
const BUSY_UNITS: u64 = 1_024;
/// How long the store is left alone after it was away, at first and at most.
const RETRY_MS: (u64, u64) = (100, 1_000);
/// Conversations and bytes in one transaction.
const SLICE_UNITS: usize = 1_024;
const SLICE_BYTES: u64 = 16 << 20;
/// How often conversations are tried one by one at the most, to find the one that holds up the others.
const SEARCH_EVERY: Duration = Duration::from_secs(5);

/// How often the recorder writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecorderSettings {
    /// From the first new event to its transaction, in milliseconds.
    pub tick_ms: u64,
    /// The same under load.
    pub max_tick_ms: u64,
}

/// The task that stores. One a process.
pub struct Recorder {
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Starts recording everything that `backlog` announces.
    pub fn start(store: Arc<dyn Store>, backlog: Arc<Backlog>, settings: RecorderSettings, runtime: &Handle) -> Self {
        let stop = Arc::new(Notify::new());
        let recording = Recording {
            store,
            backlog,
            settings,
            away: None,
            late: Vec::new(),
            aside: Aside::default(),
            known: Known::default(),
            searched_at: None,
            last_units: 0,
        };
        let task = runtime.spawn(recording.run(stop.clone()));
        Recorder { stop, task }
    }

    /// Stores what is there and ends. Waits at most `patience_ms`; says whether everything was stored.
    pub async fn stop(self, patience_ms: u64) -> bool {
        self.stop.notify_one();
        let abort = self.task.abort_handle();
        match tokio::time::timeout(Duration::from_millis(patience_ms), self.task).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "the recorder failed");
                false
            }
            Err(_) => {
                abort.abort();
                false
            }
        }
    }
}

struct Recording {
    store: Arc<dyn Store>,
    backlog: Arc<Backlog>,
    settings: RecorderSettings,
    /// Set while the store is away: when to try again, and how long to wait after that.
    away: Option<(Instant, u64)>,
    /// Journals whose transaction failed because the store was away.
    late: Vec<Arc<Journal>>,
    /// Journals that fail while others do not, and so are tried alone.
    aside: Aside,
    /// Journals of which something was refused, and which are tried alone, so that the others' transaction is not
    /// undone again and again.
    known: Known,
    searched_at: Option<Instant>,
    last_units: u64,
}

impl Recording {
    async fn run(mut self, stop: Arc<Notify>) {
        let mut tick_at: Option<Instant> = None;
        let mut stopping = false;
        loop {
            let wake_at = match self.away {
                Some((at, _)) => Some(at),
                None => [tick_at, self.aside.next_at()].into_iter().flatten().min(),
            };
            tokio::select! {
                () = self.backlog.arrived() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
                () = stop.notified(), if !stopping => stopping = true,
            }
            let now = Instant::now();
            if self.away.is_some_and(|(at, _)| now < at) {
                continue;
            }
            let mut journals = std::mem::take(&mut self.late);
            journals.extend(self.backlog.take_urgent());
            if stopping || tick_at.is_some_and(|at| at <= now) {
                journals.extend(self.backlog.take_dirty());
                tick_at = None;
            }
            journals.retain(|journal| !self.aside.holds(journal));
            if !journals.is_empty() {
                self.record(journals).await;
            }
            if self.away.is_none() {
                self.record_aside().await;
            }
            if tick_at.is_none() && self.backlog.has_dirty() {
                tick_at = Some(Instant::now() + Duration::from_millis(self.tick_ms()));
            }
            if stopping && self.late.is_empty() && self.aside.is_empty() && !self.backlog.has_any() {
                return;
            }
        }
    }

    fn tick_ms(&self) -> u64 {
        let RecorderSettings { tick_ms, max_tick_ms } = self.settings;
        let load = self.last_units.clamp(CALM_UNITS, BUSY_UNITS) - CALM_UNITS;
        tick_ms + max_tick_ms.saturating_sub(tick_ms) * load / (BUSY_UNITS - CALM_UNITS)
    }

    /// Stores everything of these journals in as few transactions as will do. At its begin nothing is late.
    async fn record(&mut self, mut journals: Vec<Arc<Journal>>) {
        journals.sort_by_key(|journal| Arc::as_ptr(journal).addr());
        journals.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let (refused, journals): (Vec<_>, Vec<_>) = journals.into_iter().partition(|journal| self.known.holds(journal));
        let mut rest = journals.into_iter();
        loop {
            let (journals, units) = slice(&mut rest);
            if journals.is_empty() {
                break;
            }
            self.record_together(journals, units).await;
            if !self.late.is_empty() {
                self.late.extend(rest);
                break;
            }
        }
        for journal in refused {
            if !self.late.is_empty() {
                self.late.push(journal);
            } else if let Some(unit) = journal.unrecorded()
                && let Err(reason) = self.record_alone(&journal, unit).await
            {
                if self.store.ping().await.is_ok() {
                    self.aside.put(journal);
                } else {
                    self.is_away(vec![journal], &reason);
                }
            }
        }
        if self.late.is_empty() {
            // Where nothing was left to be stored, what the store did not take is gone, and so is the reason to try again.
            self.away = None;
            self.backlog.answered();
        }
    }

    /// Stores these in one transaction, or, where the database refuses that, each in its own.
    async fn record_together(&mut self, journals: Vec<Arc<Journal>>, units: Vec<Unrecorded>) {
        self.last_units = units.len() as u64;
        let units = Arc::new(units);
        self.backlog.asked();
        match self.store.commit(units.clone()).await {
            Ok(()) => {
                self.is_back();
                for (place, (journal, unit)) in journals.iter().zip(unshared(units)).enumerate() {
                    give_way(place);
                    journal.recorded(unit);
                }
            }
            Err(StoreError::Away(reason)) => {
                if journals.len() > 1 && self.may_search() && self.store.ping().await.is_ok() {
                    self.record_each(journals, unshared(units)).await;
                } else {
                    self.is_away(journals, &reason);
                }
            }
            // The process is about to end.
            Err(error @ StoreError::Fenced) => self.is_away(journals, &error.to_string()),
            Err(StoreError::Refused(_) | StoreError::Moved | StoreError::Elsewhere) => {
                // Whoever says no is there.
                self.is_back();
                self.record_each(journals, unshared(units)).await;
            }
        }
    }

    fn may_search(&mut self) -> bool {
        let now = Instant::now();
        let may = self.searched_at.is_none_or(|at| now.duration_since(at) >= SEARCH_EVERY);
        if may {
            self.searched_at = Some(now);
        }
        may
    }

    /// Stores each in a transaction of its own. Where some fail and others do not, the former are set aside, so that they
    /// hold up nobody; where all fail, the store is away.
    async fn record_each(&mut self, journals: Vec<Arc<Journal>>, units: Vec<Unrecorded>) {
        let (mut failed, mut any_stored) = (Vec::new(), false);
        let mut rest = journals.into_iter().zip(units);
        for (journal, unit) in rest.by_ref() {
            match self.record_alone(&journal, unit).await {
                Ok(()) => any_stored = true,
                Err(reason) => {
                    let is_there = self.store.ping().await.is_ok();
                    failed.push((journal, reason));
                    if !is_there {
                        break;
                    }
                }
            }
        }
        let untried: Vec<_> = rest.map(|(journal, _)| journal).collect();
        let Some((_, reason)) = failed.last() else { return };
        if !any_stored || !untried.is_empty() {
            let reason = reason.clone();
            let failed = failed.into_iter().map(|(journal, _)| journal);
            return self.is_away(failed.chain(untried).collect(), &reason);
        }
        // It was worth the search: the next one may be found at once.
        self.searched_at = None;
        for (journal, reason) in failed {
            tracing::error!(conversation = %journal.id(), reason, "this conversation cannot be stored, while others can; trying it alone");
            self.aside.put(journal);
        }
    }

    /// One journal in a transaction of its own. An error is why the same may succeed later.
    async fn record_alone(&mut self, journal: &Arc<Journal>, unit: Unrecorded) -> Result<(), String> {
        let units = Arc::new(vec![unit.clone()]);
        self.backlog.asked();
        match self.store.commit(units).await {
            Ok(()) => {
                if !unit.runs.is_empty() {
                    self.known.forget(journal);
                }
                journal.recorded(unit);
            }
            Err(error @ (StoreError::Away(_) | StoreError::Fenced)) => return Err(error.to_string()),
            Err(StoreError::Moved | StoreError::Elsewhere) => {
                tracing::warn!(conversation = %journal.id(), "another process went on with this conversation");
                journal.moved(unit);
            }
            Err(StoreError::Refused(reason)) => {
                // Once, not with every tick.
                if self.known.put(journal) {
                    tracing::error!(conversation = %journal.id(), %reason, "the database refused events; they are not stored");
                }
                journal.refused(unit);
            }
        }
        self.is_back();
        Ok(())
    }

    /// Tries again what was set aside and is due.
    async fn record_aside(&mut self) {
        for journal in self.aside.due() {
            let Some(unit) = journal.unrecorded() else {
                self.aside.forget(&journal);
                continue;
            };
            let Err(reason) = self.record_alone(&journal, unit.clone()).await else {
                self.aside.forget(&journal);
                continue;
            };
            // While the database is away, this says nothing about the conversation.
            if self.store.ping().await.is_err() {
                return;
            }
            self.backlog.answered();
            if self.aside.failed(&journal) {
                tracing::error!(conversation = %journal.id(), reason, "giving up; these events are not stored");
                self.aside.forget(&journal);
                journal.refused(unit);
            }
        }
    }

    fn is_away(&mut self, journals: Vec<Arc<Journal>>, reason: &str) {
        let (first_ms, most_ms) = RETRY_MS;
        let wait_ms = self.away.map_or(first_ms, |(_, wait_ms)| (wait_ms * 2).min(most_ms));
        if self.away.is_none() {
            tracing::warn!(reason, "the database is away; events stay in memory until it is back");
        }
        self.away = Some((Instant::now() + Duration::from_millis(wait_ms), wait_ms));
        self.late.extend(journals);
    }

    fn is_back(&mut self) {
        self.backlog.answered();
        if self.away.take().is_some() {
            tracing::info!("the database is back");
        }
    }
}

/// As many of the next journals as one transaction should hold, with what they want stored. A transaction must be through
/// before the database is given up, also when much has piled up.
fn slice(rest: &mut impl Iterator<Item = Arc<Journal>>) -> (Vec<Arc<Journal>>, Vec<Unrecorded>) {
    let (mut journals, mut units, mut bytes) = (Vec::new(), Vec::new(), 0);
    while units.len() < SLICE_UNITS
        && bytes < SLICE_BYTES
        && let Some(journal) = rest.next()
    {
        give_way(units.len());
        if let Some(unit) = journal.unrecorded() {
            bytes += unit.bytes();
            journals.push(journal);
            units.push(unit);
        }
    }
    (journals, units)
}

/// The units themselves; copied only where the store still holds them.
fn unshared(units: Arc<Vec<Unrecorded>>) -> Vec<Unrecorded> {
    Arc::try_unwrap(units).unwrap_or_else(|units| units.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ConversationId, Event, MessageId, Role, SyncId, UserMessage};
    use crate::journal::{Owner, Pages, Registry, Write, Writer};
    use crate::store::StoredConversation;
    use crate::store::testing::Folder;

    #[tokio::test]
    async fn what_still_comes_for_a_deleted_conversation_holds_up_nobody() {
        let folder = Folder::new();
        let store = folder.open().await;
        let pages: Arc<dyn Pages> = store.clone();
        let backlog = Backlog::new(1 << 20);
        let registry = Registry::new(pages, backlog.clone());
        let mut journals = Vec::new();
        for _ in 0..2 {
            let (id, zero) = (ConversationId::new(), SyncId::ZERO);
            let conversation = StoredConversation {
                id,
                title: None,
                created_at_us: 1,
                updated_at_us: 1,
                last: zero,
                trimmed: zero,
                external_id: None,
            };
            store.create_conversation(conversation).await.expect("made");
            journals.push(registry.open(id).await.expect("readable").expect("a journal"));
        }
        // Behind the registry's back, so that the journal goes on as if nothing had happened.
        assert!(store.delete_conversation(journals[0].id()).await.expect("deleted"));
        let mut rows = Vec::new();
        for journal in &journals {
            let message_id = MessageId::new();
            let event = Event::Message(UserMessage { message_id, role: Role::User, content: "hi".to_owned() });
            Writer::append_input(journal, Owner { message: message_id, generation: None, writer: None }, event).await;
            rows.push(journal.push(Write::Reserve(SyncId::new(200_000)), true));
        }
        let settings = RecorderSettings { tick_ms: 1, max_tick_ms: 1 };
        let recorder = Recorder::start(store, backlog.clone(), settings, &Handle::current());
        let stored = async { (journals[0].stored(rows[0]).await, journals[1].stored(rows[1]).await) };
        let stored = tokio::time::timeout(Duration::from_secs(5), stored).await.expect("nobody waits");
        assert_eq!(stored, (false, true));
        assert_eq!(backlog.unstored_bytes(), 0);
        assert!(recorder.stop(5_000).await);
    }
}

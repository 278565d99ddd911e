//! What others hold of a running generation: its state, its readers, and the wish to cancel it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::event::{ErrorCode, Fault, GenerationId, MessageId, SyncId};
use crate::journal::{Journal, MessageEnd};

/// How far a generation is.
#[derive(Clone, Debug)]
pub enum State {
    /// Nothing is stored yet, and nobody may see a head.
    Starting,
    /// Conversation, messages and generation are stored; the provider has not answered.
    Stored,
    /// The provider accepted the request.
    Open,
    /// The message has its terminal event.
    Ended(Arc<Ended>),
}

/// How a generation ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The message as it is kept.
    pub message: MessageEnd,
    /// Its terminal event; `ZERO` where nothing could be stored and so nothing was written.
    pub last: SyncId,
    /// Why it failed, where it did.
    pub fault: Option<Fault>,
    /// Whether the database had it when the terminal event was written.
    pub stored: bool,
    /// Whether the provider had accepted the request.
    pub opened: bool,
}

#[derive(Debug, Default)]
struct Readers {
    count: usize,
    /// When the last one left, where none came since.
    left_at: Option<Instant>,
}

/// A generation that runs, or has ended and is not stored yet.
#[derive(Debug)]
pub struct Handle {
    /// Its id.
    pub id: GenerationId,
    /// The message that it makes.
    pub message: MessageId,
    /// Where its events are.
    pub journal: Arc<Journal>,
    /// The last number before its first event.
    pub before: SyncId,
    /// SHA-256 of the request.
    pub body_hash: [u8; 32],
    state: watch::Sender<State>,
    cancelled: AtomicBool,
    interrupted: AtomicBool,
    readers: Mutex<Readers>,
    /// Wakes the generation: somebody cancelled, or the last reader left.
    pub(super) control: Notify,
}

impl Handle {
    /// For a generation that is about to start.
    pub fn new(id: GenerationId, message: MessageId, journal: Arc<Journal>, body_hash: [u8; 32]) -> Arc<Self> {
        let before = journal.last();
        Arc::new(Handle {
            id,
            message,
            journal,
            before,
            body_hash,
            state: watch::Sender::new(State::Starting),
            cancelled: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            readers: Mutex::default(),
            control: Notify::new(),
        })
    }

    /// How far it is.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Asks it to end as cancelled.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.control.notify_one();
    }

    /// Asks it to end with `interrupted`, because this process is about to end.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.control.notify_one();
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    /// Waits until a head may go out: everything needed is stored, and the provider has answered or `patience` is over.
    /// A failure before that comes back as it is.
    pub async fn head(&self, patience: Duration) -> Result<(), Fault> {
        let mut state = self.state.subscribe();
        // The sender lives as long as `self`.
        let gone = |_| Fault::new(ErrorCode::Internal, "the generation is gone");
        state.wait_for(|state| !matches!(state, State::Starting)).await.map_err(gone)?;
        let answered = state.wait_for(|state| matches!(state, State::Open | State::Ended(_)));
        match tokio::time::timeout(patience, answered).await {
            Err(_patience_is_over) => Ok(()),
            Ok(state) => match &*state.map_err(gone)? {
                State::Ended(ended) if !ended.opened => ended.fault.clone().map_or(Ok(()), Err),
                _ => Ok(()),
            },
        }
    }

    /// Waits for the end.
    pub async fn ended(&self) -> Option<Arc<Ended>> {
        let mut state = self.state.subscribe();
        let state = state.wait_for(|state| matches!(state, State::Ended(_))).await.ok()?;
        match &*state {
            State::Ended(ended) => Some(ended.clone()),
            _ => None,
        }
    }

    /// Counts a reader until the guard is dropped.
    pub fn read(self: &Arc<Self>) -> Reader {
        let mut readers = self.readers.lock();
        readers.count += 1;
        readers.left_at = None;
        Reader { handle: self.clone() }
    }

    /// Since when nobody reads; `None` while somebody does, and before anybody did.
    pub(super) fn alone_since(&self) -> Option<Instant> {
        self.readers.lock().left_at
    }
}

/// Somebody reads this generation. When the last one is dropped, the disconnect policy begins to count.
#[derive(Debug)]
pub struct Reader {
    handle: Arc<Handle>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut readers = self.handle.readers.lock();
        readers.count -= 1;
        if readers.count == 0 {
            readers.left_at = Some(Instant::now());
            self.handle.control.notify_one();
        }
    }
}

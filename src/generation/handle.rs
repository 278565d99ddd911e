//! What others hold of a running generation: its state, its readers, and the wish to cancel it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::event::{ConversationId, ErrorCode, Fault, GenerationId, MessageId, SyncId};
use crate::journal::{Journal, MessageEnd, MessageStatus};

/// How far a generation is.
#[derive(Clone, Debug)]
pub enum State {
    /// Nothing is stored yet, and nobody may see a head.
    Starting,
    /// Conversation, messages and generation are stored; the provider has not answered.
    Stored,
    /// The provider accepted the request.
    Open,
    /// All messages have their terminal events.
    Ended(Arc<Ended>),
}

/// How a generation ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How each of its messages did, in their order.
    pub messages: Vec<Arc<MessageEnded>>,
    /// The final terminal event; `ZERO` where nothing could be stored and so nothing was written.
    pub last: SyncId,
    /// Why it failed, where all of its messages did: the first reason for which asking again may help, or else the first.
    pub fault: Option<Fault>,
}

impl Ended {
    fn new(messages: Vec<Arc<MessageEnded>>) -> Self {
        let last = messages.iter().map(|message| message.last).max().unwrap_or(SyncId::ZERO);
        let mut faults = messages.iter().filter_map(|message| message.fault.as_ref());
        let fault = match messages.iter().all(|message| message.fault.is_some()) {
            true => faults.clone().find(|fault| fault.retryable).or_else(|| faults.next()).cloned(),
            false => None,
        };
        Ended { messages, last, fault }
    }

    /// What is said of the generation as a whole.
    pub fn status(&self) -> MessageStatus {
        MessageStatus::of_all(self.messages.iter().map(|ended| ended.message.status))
    }
}

/// How one message of a generation ended.
#[derive(Clone, Debug)]
pub struct MessageEnded {
    /// The message as it is kept.
    pub message: MessageEnd,
    /// When it began, in microseconds since the epoch.
    pub created_at_us: i64,
    /// The client's own pairs.
    pub metadata: BTreeMap<String, String>,
    /// Its terminal event; `ZERO` where nothing could be stored and so nothing was written.
    pub last: SyncId,
    /// Why it failed, where it did.
    pub fault: Option<Fault>,
    /// Whether the database had it when the terminal event was written.
    pub stored: bool,
}

/// Whether somebody was told that the generation goes on. Until then a failure is a proper status, and leaves the id to
/// another attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Head {
    /// Nobody has asked.
    Unasked,
    /// Somebody waits for it.
    Awaited,
    /// Somebody has it.
    Given,
    /// It failed first: nobody will ever have it.
    Refused,
}

#[derive(Debug, Default)]
struct Readers {
    count: usize,
    /// When the last one left, where none came since.
    left_at: Option<Instant>,
}

/// What tells one generation from all others.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its id: the client's, or one made here.
    pub id: GenerationId,
    /// Whether the client chose it, so that a repeated request may name it.
    pub id_is_clients: bool,
    /// The `Idempotency-Key` that leads to it.
    pub key: Option<Arc<str>>,
    /// SHA-256 of the request.
    pub body_hash: [u8; 32],
}

/// The name of a task to which its client gave none.
pub fn usual_task(conversation: ConversationId) -> Arc<str> {
    format!("task_{conversation}").into()
}

/// What one message of a generation, and the task that makes it, are told from outside.
#[derive(Debug)]
struct Making {
    message: MessageId,
    cancelled: AtomicBool,
    /// Somebody cancelled, or the last reader left, and the task has not looked yet.
    disturbed: AtomicBool,
    /// The task. Stays after waking it, so that it is told once and not for every chunk.
    task: Mutex<Option<Waker>>,
}

impl Making {
    fn new(message: MessageId) -> Self {
        let (cancelled, disturbed) = (AtomicBool::new(false), AtomicBool::new(false));
        Making { message, cancelled, disturbed, task: Mutex::new(None) }
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.disturb();
    }

    fn disturb(&self) {
        self.disturbed.store(true, Ordering::Release);
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }
}

/// A generation that runs, or has ended and is not stored yet.
#[derive(Debug)]
pub struct Handle {
    /// Its id.
    pub id: GenerationId,
    /// Whether the client chose the id.
    pub id_is_clients: bool,
    /// The `Idempotency-Key` that leads to it.
    pub key: Option<Arc<str>>,
    /// The name of its task, for progress events.
    pub task: Arc<str>,
    /// Where its events are.
    pub journal: Arc<Journal>,
    /// The last number before its first event.
    pub before: SyncId,
    /// The last of the client's messages, which the generation answers.
    pub reply_to: Option<MessageId>,
    /// SHA-256 of the request.
    pub body_hash: [u8; 32],
    state: watch::Sender<State>,
    head: Mutex<Head>,
    /// Turns true when this process forgets the generation.
    released: watch::Sender<bool>,
    /// One a message.
    making: Box<[Making]>,
    /// How each message ended, where it has.
    ends: watch::Sender<Vec<Option<Arc<MessageEnded>>>>,
    /// Whose turn it is to end.
    turn: tokio::sync::Mutex<()>,
    interrupted: AtomicBool,
    readers: Mutex<Readers>,
}

impl Handle {
    /// For a generation that is about to start, with the messages that it makes and the name of its task, where the
    /// client gave one.
    pub fn new(
        identity: Identity,
        task: Option<&str>,
        messages: &[MessageId],
        reply_to: Option<MessageId>,
        journal: Arc<Journal>,
    ) -> Arc<Self> {
        let Identity { id, id_is_clients, key, body_hash } = identity;
        let before = journal.last();
        Arc::new(Handle {
            id,
            id_is_clients,
            key,
            task: task.map_or_else(|| usual_task(journal.id()), Into::into),
            journal,
            before,
            reply_to,
            body_hash,
            state: watch::Sender::new(State::Starting),
            head: Mutex::new(Head::Unasked),
            released: watch::Sender::new(false),
            making: messages.iter().copied().map(Making::new).collect(),
            ends: watch::Sender::new(vec![None; messages.len()]),
            turn: tokio::sync::Mutex::default(),
            interrupted: AtomicBool::new(false),
            readers: Mutex::default(),
        })
    }

    /// The messages that it makes, in their order.
    pub fn messages(&self) -> impl Iterator<Item = MessageId> {
        self.making.iter().map(|making| making.message)
    }

    /// How the messages ended that have, each at its place.
    pub fn ends(&self) -> Vec<Option<Arc<MessageEnded>>> {
        self.ends.borrow().clone()
    }

    /// How one of its messages ended, if it has.
    pub fn end_of(&self, message: MessageId) -> Option<Arc<MessageEnded>> {
        self.ends.borrow().iter().flatten().find(|ended| ended.message.id == message).cloned()
    }

    /// Waits until one of its messages has ended; for ever, where it makes no such message.
    pub async fn message_ended(&self, message: MessageId) {
        let is_it = |ended: &Arc<MessageEnded>| ended.message.id == message;
        // The sender lives as long as `self`.
        _ = self.ends.subscribe().wait_for(|ends| ends.iter().flatten().any(is_it)).await;
    }

    /// Waits until no other message is just being given its terminal event: what says that it is the last must be it.
    pub(super) async fn turn_to_end(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// The message at `place` has its terminal event. With the last one the generation has ended.
    pub(super) fn set_ended(&self, place: usize, ended: MessageEnded) {
        self.ends.send_modify(|ends| {
            if let Some(end) = ends.get_mut(place) {
                *end = Some(Arc::new(ended));
            }
        });
        let all: Option<Vec<_>> = self.ends.borrow().iter().cloned().collect();
        if let Some(all) = all {
            self.set_state(State::Ended(Arc::new(Ended::new(all))));
        }
    }

    /// How far it is.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub(super) fn set_state(&self, state: State) {
        let mut head = self.head.lock();
        // From here on whoever waits is told that it goes on, however soon it fails.
        if matches!(state, State::Open) && *head == Head::Awaited {
            *head = Head::Given;
        }
        drop(head);
        self.state.send_replace(state);
    }

    /// A failure asks whether it comes before every head; if so, there will be none.
    pub(super) fn refuse(&self) -> bool {
        let mut head = self.head.lock();
        if *head != Head::Given {
            *head = Head::Refused;
        }
        *head == Head::Refused
    }

    /// Whether it failed before anybody was told that it goes on. Its id is free once it is [`Handle::released`].
    pub fn is_refused(&self) -> bool {
        *self.head.lock() == Head::Refused
    }

    pub(super) fn release(&self) {
        self.released.send_replace(true);
    }

    /// Waits until this process forgets it: from then on the database has the last word.
    pub async fn released(&self) {
        // The sender lives as long as `self`.
        _ = self.released.subscribe().wait_for(|released| *released).await;
    }

    /// Asks it to end as cancelled, with all its messages.
    pub fn cancel(&self) {
        self.making.iter().for_each(Making::cancel);
    }

    /// Asks one of its messages to end as cancelled; `false`, and nothing is cancelled, where it makes no such message.
    pub fn cancel_message(&self, message: MessageId) -> bool {
        let making = self.making.iter().find(|making| making.message == message);
        making.inspect(|making| making.cancel()).is_some()
    }

    /// Asks it to end with `interrupted`, because this process is about to end.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.disturb();
    }

    fn disturb(&self) {
        self.making.iter().for_each(Making::disturb);
    }

    /// Whether something is to be looked at that concerns the message at `place`.
    pub(super) fn is_disturbed(&self, place: usize) -> bool {
        self.making[place].disturbed.load(Ordering::Acquire)
    }

    /// To be called before looking at what disturbed, so that what comes later is seen too.
    pub(super) fn settle_disturbance(&self, place: usize) {
        self.making[place].disturbed.store(false, Ordering::Release);
    }

    /// Every later disturbance of the message at `place` wakes this task.
    pub(super) fn wakes(&self, place: usize, waker: &Waker) {
        let mut task = self.making[place].task.lock();
        if !task.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    pub(super) fn is_cancelled(&self, place: usize) -> bool {
        self.making[place].cancelled.load(Ordering::Acquire)
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    /// Waits until a head may go out: everything needed is stored, and the provider has answered or `patience` is over.
    /// A failure before anybody had a head comes back as it is.
    pub async fn head(&self, patience: Duration) -> Result<(), Fault> {
        {
            let mut head = self.head.lock();
            if *head == Head::Unasked {
                *head = Head::Awaited;
            }
        }
        let mut state = self.state.subscribe();
        // The sender lives as long as `self`.
        let gone = || Fault::new(ErrorCode::Internal, "the generation is gone");
        state.wait_for(|state| !matches!(state, State::Starting)).await.map_err(|_| gone())?;
        // Even the shortest time takes its turn with the clock, and readers see the first events before that.
        if !patience.is_zero() {
            let answered = state.wait_for(|state| matches!(state, State::Open | State::Ended(_)));
            _ = tokio::time::timeout(patience, answered).await;
        }
        if self.give() {
            return Ok(());
        }
        let ended = self.ended().await.ok_or_else(gone)?;
        ended.fault.clone().map_or(Ok(()), Err)
    }

    fn give(&self) -> bool {
        let mut head = self.head.lock();
        if *head != Head::Refused {
            *head = Head::Given;
        }
        *head == Head::Given
    }

    /// Waits for the state to say what readers of the journal can already know: that the last event is there.
    pub async fn caught_up(&self) {
        if self.journal.ended(self.id).is_some() {
            self.ended().await;
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
        self.join(1);
        Reader { handle: self.clone() }
    }

    /// So many readers more.
    pub(super) fn join(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut readers = self.readers.lock();
        readers.count += count;
        readers.left_at = None;
    }

    /// One reader less. When it was the last one, the disconnect policy begins to count.
    pub(super) fn leave(&self) {
        let mut readers = self.readers.lock();
        readers.count -= 1;
        if readers.count == 0 {
            readers.left_at = Some(Instant::now());
            drop(readers);
            self.disturb();
        }
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
        self.handle.leave();
    }
}

//! The generations of this process, and how many there may be.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};

use super::Handle;
use super::early::EarlyCancels;
use crate::event::{ConversationId, ErrorCode, Fault, GenerationId, MessageId};

/// How many requests can start at the same time.
const STRIPES: usize = 64;

/// How many generations there may be at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Most {
    /// In this process.
    pub in_all: usize,
    /// In one conversation.
    pub per_conversation: usize,
}

/// Every generation from its start until its end is stored.
pub struct Running {
    most: Most,
    table: Mutex<Table>,
    /// One stripe of ids or keys each.
    starting_ids: Vec<Semaphore>,
    starting_keys: Vec<Semaphore>,
    emptied: Notify,
    /// How many have begun.
    begun: watch::Sender<u64>,
}

#[derive(Default)]
struct Table {
    running: HashMap<GenerationId, Arc<Handle>>,
    /// Those of `running` that an `Idempotency-Key` leads to.
    keys: HashMap<Arc<str>, GenerationId>,
    /// How many of `running` have an id that their client chose.
    named: usize,
    /// Those in which something runs, or that somebody reads as a whole.
    conversations: HashMap<ConversationId, Conversation>,
    /// Places that are taken, by generations and by requests that are about to start one.
    taken: usize,
    cancelled: EarlyCancels,
    draining: bool,
    /// What is inserted from now on ends at once.
    interrupted: bool,
}

/// What is known of one conversation.
#[derive(Default)]
struct Conversation {
    /// Places that are taken in it.
    taken: usize,
    /// Those of `running`.
    handles: Vec<Arc<Handle>>,
    /// Readers of the whole conversation.
    audience: usize,
}

/// A place among the generations that may run at the same time.
pub struct Admission {
    running: Arc<Running>,
    /// Where it counts as well.
    conversation: Option<ConversationId>,
}

/// As long as it lives, no other request of the same id or key looks for its generation or starts it.
pub struct Starting<'a> {
    _key: Option<SemaphorePermit<'a>>,
    _id: SemaphorePermit<'a>,
}

/// Somebody reads a whole conversation, and with it every generation in it.
pub struct Audience {
    running: Arc<Running>,
    conversation: ConversationId,
}

impl Admission {
    /// Counts it in its conversation as well, from here on.
    ///
    /// # Errors
    /// Where as many run there as may.
    pub fn enter(&mut self, conversation: ConversationId) -> Result<(), Fault> {
        debug_assert!(self.conversation.is_none(), "a generation has one conversation");
        let mut table = self.running.table.lock();
        table.check_conversation(Some(conversation), self.running.most)?;
        table.conversations.entry(conversation).or_default().taken += 1;
        self.conversation = Some(conversation);
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut table = self.running.table.lock();
        table.taken -= 1;
        if let Some(id) = self.conversation {
            table.change(id, |conversation| conversation.taken -= 1);
        }
        if table.taken == 0 {
            self.running.emptied.notify_waiters();
        }
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        let mut table = self.running.table.lock();
        table.change(self.conversation, |conversation| {
            conversation.audience -= 1;
            conversation.handles.iter().for_each(|handle| handle.leave());
        });
    }
}

impl Table {
    /// Changes what is known of a conversation, and forgets one of which nothing is left.
    fn change(&mut self, id: ConversationId, change: impl FnOnce(&mut Conversation)) {
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        change(conversation);
        if conversation.taken == 0 && conversation.audience == 0 && conversation.handles.is_empty() {
            self.conversations.remove(&id);
        }
    }

    fn check(&self, most: Most) -> Result<(), Fault> {
        if self.draining {
            return Err(Fault::new(ErrorCode::Draining, "The gateway is about to end; ask again in a moment."));
        }
        if self.taken >= most.in_all {
            let message = "As many generations run as may (limits.max_concurrent_generations); ask again in a moment.";
            return Err(Fault::new(ErrorCode::Overloaded, message));
        }
        Ok(())
    }

    fn check_conversation(&self, id: Option<ConversationId>, most: Most) -> Result<(), Fault> {
        let taken = id.and_then(|id| self.conversations.get(&id)).map_or(0, |conversation| conversation.taken);
        if taken >= most.per_conversation {
            let message = "As many generations run in this conversation as may \
                (limits.max_generations_per_conversation); wait for one to end, or cancel one.";
            return Err(Fault::new(ErrorCode::ConversationBusy, message));
        }
        Ok(())
    }
}

impl Running {
    /// Nothing runs.
    pub fn new(most: Most) -> Arc<Self> {
        let stripes = || std::iter::repeat_with(|| Semaphore::new(1)).take(STRIPES).collect();
        let (starting_ids, starting_keys) = (stripes(), stripes());
        let (emptied, begun) = (Notify::new(), watch::Sender::new(0));
        Arc::new(Running { most, table: Mutex::default(), starting_ids, starting_keys, emptied, begun })
    }

    /// Lets one request at a time look up and start a generation of a given id or key, so that a repeated request finds
    /// it. The key's turn always comes before the id's, so that no two requests wait for each other.
    pub async fn starting(&self, id: GenerationId, key: Option<&str>) -> Result<Starting<'_>, Fault> {
        let closed = |_| Fault::new(ErrorCode::Draining, "the gateway is about to end");
        let key = match key {
            Some(key) => {
                let mut hasher = DefaultHasher::new();
                key.hash(&mut hasher);
                // Less than the number of stripes, whatever the width of a `usize`.
                let stripe = (hasher.finish() % STRIPES as u64) as usize;
                Some(self.starting_keys[stripe].acquire().await.map_err(closed)?)
            }
            None => None,
        };
        // The last bytes of an id are random.
        let stripe = usize::from(id.uuid().as_bytes()[15]) % STRIPES;
        let id = self.starting_ids[stripe].acquire().await.map_err(closed)?;
        Ok(Starting { _key: key, _id: id })
    }

    /// Why a request can be refused before its body is read: there is no place, and whatever the body says, it cannot
    /// mean a generation that runs. `key` is its `Idempotency-Key`.
    ///
    /// # Errors
    /// The reason.
    pub fn check_unread(&self, key: Option<&str>) -> Result<(), Fault> {
        let table = self.table.lock();
        let may_be_known = || match key {
            Some(key) => table.keys.contains_key(key),
            None => table.named > 0,
        };
        table.check(self.most).or_else(|fault| if may_be_known() { Ok(()) } else { Err(fault) })
    }

    /// Whether the next one is admitted.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Fault> {
        self.table.lock().check(self.most)
    }

    /// Takes a place for a request that may go on in `conversation`. It counts there once it has entered.
    ///
    /// # Errors
    /// Why there is none.
    pub fn admit(self: &Arc<Self>, conversation: Option<ConversationId>) -> Result<Admission, Fault> {
        let mut table = self.table.lock();
        table.check(self.most)?;
        table.check_conversation(conversation, self.most)?;
        table.taken += 1;
        Ok(Admission { running: self.clone(), conversation: None })
    }

    /// Makes a generation known. One that was cancelled before is cancelled now.
    pub fn insert(&self, handle: Arc<Handle>) {
        let mut table = self.table.lock();
        table.cancelled.settle(&handle);
        if table.interrupted {
            handle.interrupt();
        }
        if let Some(key) = &handle.key {
            table.keys.insert(key.clone(), handle.id);
        }
        table.named += usize::from(handle.id_is_clients);
        let conversation = table.conversations.entry(handle.journal.id()).or_default();
        handle.join(conversation.audience);
        conversation.handles.push(handle.clone());
        table.running.insert(handle.id, handle);
        drop(table);
        self.begun.send_modify(|begun| *begun += 1);
    }

    /// Forgets a generation whose end is stored.
    pub fn remove(&self, id: GenerationId) {
        let mut table = self.table.lock();
        let Some(handle) = table.running.remove(&id) else { return };
        if let Some(key) = &handle.key
            && table.keys.get(key) == Some(&id)
        {
            table.keys.remove(key);
        }
        table.named -= usize::from(handle.id_is_clients);
        table.change(handle.journal.id(), |conversation| conversation.handles.retain(|known| known.id != id));
        drop(table);
        handle.release();
    }

    /// The generations that run in a conversation, or have ended there and are not stored yet.
    pub fn of(&self, conversation: ConversationId) -> Vec<Arc<Handle>> {
        let table = self.table.lock();
        table.conversations.get(&conversation).map(|conversation| conversation.handles.clone()).unwrap_or_default()
    }

    /// Changes whenever a generation begins, so that those who wait for one look again.
    pub fn begun(&self) -> watch::Receiver<u64> {
        self.begun.subscribe()
    }

    /// The generations of the task of that name, or all, that run or have ended and are not stored yet.
    pub fn of_task(&self, task: Option<&str>) -> Vec<Arc<Handle>> {
        let table = self.table.lock();
        table.running.values().filter(|handle| task.is_none_or(|task| *handle.task == *task)).cloned().collect()
    }

    /// Counts a reader of the whole conversation until the guard is dropped: it reads every generation that runs there,
    /// or begins meanwhile.
    pub fn attend(self: &Arc<Self>, conversation: ConversationId) -> Audience {
        let mut table = self.table.lock();
        let known = table.conversations.entry(conversation).or_default();
        known.audience += 1;
        known.handles.iter().for_each(|handle| handle.join(1));
        drop(table);
        Audience { running: self.clone(), conversation }
    }

    /// A generation that runs, or has ended and is not stored yet.
    pub fn get(&self, id: GenerationId) -> Option<Arc<Handle>> {
        self.table.lock().running.get(&id).cloned()
    }

    /// The generation that makes, or has just made, a message.
    pub fn making(&self, message: MessageId) -> Option<Arc<Handle>> {
        let table = self.table.lock();
        table.running.values().find(|handle| handle.messages().any(|made| made == message)).cloned()
    }

    /// The same, by the `Idempotency-Key` that came with its request.
    pub fn by_key(&self, key: &str) -> Option<Arc<Handle>> {
        let table = self.table.lock();
        table.keys.get(key).and_then(|id| table.running.get(id)).cloned()
    }

    /// Remembers the cancel of a generation that is not known yet, or of one of its messages; `false`, and nothing is
    /// remembered, where it is known by now.
    ///
    /// # Errors
    /// Where too many are remembered already.
    pub fn cancel_early(&self, id: GenerationId, message: Option<MessageId>) -> Result<bool, Fault> {
        let mut table = self.table.lock();
        if table.running.contains_key(&id) {
            return Ok(false);
        }
        table.cancelled.remember(id, message).map(|()| true)
    }

    /// How many generations run or are about to.
    pub fn count(&self) -> usize {
        self.table.lock().taken
    }

    /// Admits no more.
    pub fn drain(&self) {
        self.table.lock().draining = true;
    }

    /// Whether no more are admitted.
    pub fn is_draining(&self) -> bool {
        self.table.lock().draining
    }

    /// Waits until nothing runs.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Ends all that run with `interrupted`, and those that were admitted and begin only now.
    pub fn interrupt_all(&self) {
        let mut table = self.table.lock();
        table.interrupted = true;
        let handles: Vec<_> = table.running.values().cloned().collect();
        drop(table);
        for handle in handles {
            handle.interrupt();
        }
    }
}

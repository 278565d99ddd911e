//! The generations of this process, and how many there may be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::Handle;
use crate::event::{ErrorCode, Fault, GenerationId};

/// How long a cancel that overtook its request is remembered.
const EARLY_CANCEL: Duration = Duration::from_secs(60);
/// How many such cancels are remembered at the most.
const MAX_EARLY_CANCELS: usize = 10_000;
/// How many requests can start at the same time.
const STRIPES: usize = 64;

/// Every generation from its start until its end is stored.
pub struct Running {
    limit: usize,
    table: Mutex<Table>,
    starting: Vec<Semaphore>,
    emptied: Notify,
}

#[derive(Default)]
struct Table {
    running: HashMap<GenerationId, Arc<Handle>>,
    /// Places that are taken, by generations and by requests that are about to start one.
    taken: usize,
    cancelled: HashMap<GenerationId, Instant>,
    draining: bool,
}

/// A place among the generations that may run at the same time.
pub struct Admission {
    running: Arc<Running>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut table = self.running.table.lock();
        table.taken -= 1;
        if table.taken == 0 {
            self.running.emptied.notify_waiters();
        }
    }
}

impl Running {
    /// Nothing runs; at most `limit` may.
    pub fn new(limit: usize) -> Arc<Self> {
        let starting = std::iter::repeat_with(|| Semaphore::new(1)).take(STRIPES).collect();
        Arc::new(Running { limit, table: Mutex::default(), starting, emptied: Notify::new() })
    }

    /// Lets one request at a time look up and start a given generation, so that a repeated request finds it.
    pub async fn starting(&self, id: GenerationId) -> Result<impl Drop + '_, Fault> {
        // The last bytes of an id are random.
        let stripe = usize::from(id.uuid().as_bytes()[15]) % STRIPES;
        let closed = |_| Fault::new(ErrorCode::Draining, "the gateway is about to end");
        self.starting[stripe].acquire().await.map_err(closed)
    }

    /// Takes a place, or says why there is none.
    pub fn admit(self: &Arc<Self>) -> Result<Admission, Fault> {
        let mut table = self.table.lock();
        if table.draining {
            return Err(Fault::new(ErrorCode::Draining, "The gateway is about to end; ask again in a moment."));
        }
        if table.taken >= self.limit {
            let message = "As many generations run as may (limits.max_concurrent_generations); ask again in a moment.";
            return Err(Fault::new(ErrorCode::Overloaded, message));
        }
        table.taken += 1;
        Ok(Admission { running: self.clone() })
    }

    /// Makes a generation known. One that was cancelled before is cancelled now.
    pub fn insert(&self, handle: Arc<Handle>) {
        let mut table = self.table.lock();
        if let Some(at) = table.cancelled.remove(&handle.id)
            && at.elapsed() < EARLY_CANCEL
        {
            handle.cancel();
        }
        table.running.insert(handle.id, handle);
    }

    /// Forgets a generation whose end is stored.
    pub fn remove(&self, id: GenerationId) {
        self.table.lock().running.remove(&id);
    }

    /// A generation that runs, or has ended and is not stored yet.
    pub fn get(&self, id: GenerationId) -> Option<Arc<Handle>> {
        self.table.lock().running.get(&id).cloned()
    }

    /// Remembers the cancel of a generation that is not known yet. Refused where too many are remembered already.
    pub fn cancel_early(&self, id: GenerationId) -> Result<(), Fault> {
        let mut table = self.table.lock();
        if table.cancelled.len() >= MAX_EARLY_CANCELS {
            table.cancelled.retain(|_, at| at.elapsed() < EARLY_CANCEL);
        }
        if table.cancelled.len() >= MAX_EARLY_CANCELS {
            return Err(Fault::new(ErrorCode::Overloaded, "Too many cancels of unknown generations are remembered."));
        }
        table.cancelled.insert(id, Instant::now());
        Ok(())
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

    /// Ends all that run with `interrupted`.
    pub fn interrupt_all(&self) {
        let handles: Vec<_> = self.table.lock().running.values().cloned().collect();
        for handle in handles {
            handle.interrupt();
        }
    }
}

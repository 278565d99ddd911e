//! How many responses stream events at the same time, and of which conversations.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::connections::Reads;
use crate::event::{ConversationId, ErrorCode, Fault, SyncId};
use crate::generation::{Audience, Reader};

/// The places for readers.
#[derive(Debug)]
pub struct Seats {
    most: usize,
    most_per_conversation: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    taken: usize,
    conversations: HashMap<ConversationId, usize>,
}

/// A reader's place, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    conversation: ConversationId,
}

impl Seats {
    /// All free.
    pub fn new(most: usize, most_per_conversation: usize) -> Arc<Self> {
        Arc::new(Seats { most, most_per_conversation, table: Mutex::default() })
    }

    /// A place for one more reader.
    ///
    /// # Errors
    /// Where as many read as may.
    pub fn take(self: &Arc<Self>, conversation: ConversationId) -> Result<Seat, Fault> {
        let mut table = self.table.lock();
        if table.taken >= self.most {
            let message = "As many responses stream as may (limits.max_readers); ask again in a moment.";
            return Err(Fault::new(ErrorCode::Overloaded, message));
        }
        if table.conversations.get(&conversation).is_some_and(|taken| *taken >= self.most_per_conversation) {
            let message = "As many responses stream of this conversation as may \
                (limits.max_readers_per_conversation); close one.";
            return Err(Fault::new(ErrorCode::ConversationBusy, message));
        }
        Ok(self.seat(&mut table, conversation))
    }

    /// A place for the client that started a generation: it counts, and is never refused, for the generation runs.
    pub fn take_as_starter(self: &Arc<Self>, conversation: ConversationId) -> Seat {
        self.seat(&mut self.table.lock(), conversation)
    }

    fn seat(self: &Arc<Self>, table: &mut Table, conversation: ConversationId) -> Seat {
        table.taken += 1;
        *table.conversations.entry(conversation).or_default() += 1;
        Seat { seats: self.clone(), conversation }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.seats.table.lock();
        table.taken -= 1;
        if let Some(taken) = table.conversations.get_mut(&self.conversation) {
            *taken -= 1;
            if *taken == 0 {
                table.conversations.remove(&self.conversation);
            }
        }
    }
}

/// What a reader holds of the gateway, until it is dropped.
pub struct Presence {
    _seat: Seat,
    _counted: Counted,
    reads: Reads,
}

/// As whose reader a response counts, for the policy of generations whose last reader leaves.
pub enum Counted {
    /// One generation's, which runs.
    Generation(#[expect(dead_code, reason = "held until it is dropped")] Reader),
    /// The reader of a whole conversation.
    Conversation(#[expect(dead_code, reason = "held until it is dropped")] Audience),
    /// What it reads has ended.
    Nobodys,
}

impl Presence {
    /// Of a reader that counts as said, and is seen in the register of connections.
    pub fn new(seat: Seat, counted: Counted, reads: Reads) -> Self {
        Presence { _seat: seat, _counted: counted, reads }
    }

    /// Everything up to `position` went out.
    pub fn reached(&self, position: SyncId) {
        self.reads.reached(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_for_each_conversation_and_come_back() {
        let seats = Seats::new(3, 2);
        let (one, other) = (ConversationId::new(), ConversationId::new());
        let first = seats.take(one).expect("a place");
        let second = seats.take(one).expect("a place");
        assert_eq!(seats.take(one).expect_err("full").code, ErrorCode::ConversationBusy);
        let third = seats.take(other).expect("a place");
        assert_eq!(seats.take(other).expect_err("full").code, ErrorCode::Overloaded);
        let starter = seats.take_as_starter(one);
        drop((first, second));
        assert_eq!(seats.take(one).map(drop), Ok(()), "the starter leaves one place of this conversation");
        drop((third, starter));
        let table = seats.table.lock();
        assert_eq!((table.taken, table.conversations.len()), (0, 0));
    }
}

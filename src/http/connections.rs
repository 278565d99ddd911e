//! Every response that streams events and every WebSocket that is open: who reads what, since when, and how far behind.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use crate::event::{ConversationId, ErrorCode, Fault, SyncId};
use crate::journal::Journal;

/// How many connections one dump describes one by one; those that lag most come first.
const MAX_DESCRIBED: usize = 1_000;

/// What a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Server-Sent Events.
    Events,
    /// The sync engine's WebSocket.
    Sync,
    /// A WebSocket of agent steps.
    Steps,
    /// A WebSocket of progress events.
    Progress,
}

impl Kind {
    /// The word in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Events => "events",
            Kind::Sync => "ws",
            Kind::Steps => "ws/chat",
            Kind::Progress => "ws/progress",
        }
    }

    const fn is_websocket(self) -> bool {
        !matches!(self, Kind::Events)
    }
}

/// How many may be open at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MostConnections {
    /// WebSockets in this process.
    pub websockets: usize,
    /// Streams and WebSockets of one caller; 0 means any number.
    pub per_caller: usize,
}

/// All that are open.
#[derive(Debug)]
pub struct Connections {
    most: MostConnections,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    websockets: usize,
    open: HashMap<u64, Arc<Connection>>,
    callers: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Connection {
    kind: Kind,
    caller: IpAddr,
    since: Instant,
    sent_bytes: AtomicU64,
    readings: Mutex<Vec<Arc<Reading>>>,
}

/// What is read over a connection: a journal, and up to which number.
#[derive(Debug)]
struct Reading {
    conversation: ConversationId,
    journal: Weak<Journal>,
    position: AtomicU64,
}

impl Reading {
    fn lag(&self) -> u64 {
        let last = self.journal.upgrade().map_or(0, |journal| journal.last().get());
        last.saturating_sub(self.position.load(Ordering::Relaxed))
    }
}

/// A connection that is open, until this is dropped.
#[derive(Debug)]
pub struct Open {
    connections: Arc<Connections>,
    number: u64,
    connection: Arc<Connection>,
}

/// One subscription of a connection, until this is dropped.
#[derive(Debug)]
pub struct Reads {
    connection: Arc<Connection>,
    reading: Arc<Reading>,
}

impl Connections {
    /// None is open.
    pub fn new(most: MostConnections) -> Arc<Self> {
        Arc::new(Connections { most, table: Mutex::default() })
    }

    /// Counts one more.
    ///
    /// # Errors
    /// Where as many are open as may.
    pub fn open(self: &Arc<Self>, kind: Kind, caller: IpAddr) -> Result<Open, Fault> {
        let connection = Arc::new(Connection {
            kind,
            caller,
            since: Instant::now(),
            sent_bytes: AtomicU64::new(0),
            readings: Mutex::default(),
        });
        let mut table = self.table.lock();
        if kind.is_websocket() && table.websockets >= self.most.websockets {
            let message = "As many WebSockets are open as may (limits.max_websockets); come back in a moment.";
            return Err(Fault::new(ErrorCode::Overloaded, message));
        }
        let of_caller = table.callers.entry(caller).or_default();
        if self.most.per_caller > 0 && *of_caller >= self.most.per_caller {
            let message = "As many streams and WebSockets are open from your address as may \
                (limits.max_streams_per_caller); close one.";
            return Err(Fault::new(ErrorCode::TooManyStreams, message));
        }
        *of_caller += 1;
        table.websockets += usize::from(kind.is_websocket());
        let number = table.next;
        table.next += 1;
        table.open.insert(number, connection.clone());
        Ok(Open { connections: self.clone(), number, connection })
    }

    /// Writes all that are open to the log: a line with the sums, then one for each.
    pub fn dump(&self) {
        let mut open: Vec<(u64, Arc<Connection>)> = {
            let table = self.table.lock();
            table.open.iter().map(|(number, connection)| (*number, connection.clone())).collect()
        };
        let lag = |connection: &Connection| {
            connection.readings.lock().iter().map(|reading| reading.lag()).max().unwrap_or_default()
        };
        let websockets = open.iter().filter(|(_, connection)| connection.kind.is_websocket()).count();
        tracing::info!(open = open.len(), websockets, "connections");
        open.sort_by_cached_key(|(number, connection)| (std::cmp::Reverse(lag(connection)), *number));
        for (number, connection) in open.iter().take(MAX_DESCRIBED) {
            let readings: Vec<String> = connection
                .readings
                .lock()
                .iter()
                .map(|reading| {
                    let position = reading.position.load(Ordering::Relaxed);
                    format!("{} at {position}, {} behind", reading.conversation, reading.lag())
                })
                .collect();
            tracing::info!(
                number,
                kind = connection.kind.as_str(),
                caller = %connection.caller,
                open_s = connection.since.elapsed().as_secs(),
                sent_bytes = connection.sent_bytes.load(Ordering::Relaxed),
                reads = readings.join("; "),
                "connection"
            );
        }
        if open.len() > MAX_DESCRIBED {
            tracing::info!(more = open.len() - MAX_DESCRIBED, "connections that lag less are not described");
        }
    }
}

impl Open {
    /// Counts what was sent.
    pub fn sent(&self, bytes: usize) {
        self.connection.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Says that `journal` is read over this connection.
    pub fn reads(&self, journal: &Arc<Journal>, position: SyncId) -> Reads {
        let reading = Arc::new(Reading {
            conversation: journal.id(),
            journal: Arc::downgrade(journal),
            position: AtomicU64::new(position.get()),
        });
        self.connection.readings.lock().push(reading.clone());
        Reads { connection: self.connection.clone(), reading }
    }
}

impl Reads {
    /// Everything up to `position` went out.
    pub fn reached(&self, position: SyncId) {
        self.reading.position.store(position.get(), Ordering::Relaxed);
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.connection.readings.lock().retain(|reading| !Arc::ptr_eq(reading, &self.reading));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut table = self.connections.table.lock();
        table.open.remove(&self.number);
        table.websockets -= usize::from(self.connection.kind.is_websocket());
        if let Some(count) = table.callers.get_mut(&self.connection.caller) {
            *count -= 1;
            if *count == 0 {
                table.callers.remove(&self.connection.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn places_are_bounded_in_all_and_for_each_caller_and_come_back() {
        let connections = Connections::new(MostConnections { websockets: 2, per_caller: 2 });
        let first = connections.open(Kind::Sync, ONE).expect("a place");
        let second = connections.open(Kind::Events, ONE).expect("a place");
        let refused = connections.open(Kind::Events, ONE).expect_err("full");
        assert_eq!(refused.code, ErrorCode::TooManyStreams);
        let third = connections.open(Kind::Sync, OTHER).expect("a place");
        drop(second);
        let refused = connections.open(Kind::Sync, ONE).expect_err("full");
        assert_eq!(refused.code, ErrorCode::Overloaded);
        drop((first, third));
        let table = connections.table.lock();
        assert_eq!((table.open.len(), table.websockets, table.callers.len()), (0, 0, 0));
    }

    #[test]
    fn without_a_bound_a_caller_may_have_any_number() {
        let connections = Connections::new(MostConnections { websockets: 1, per_caller: 0 });
        let open: Vec<Open> = (0..100).map(|_| connections.open(Kind::Events, ONE).expect("a place")).collect();
        assert_eq!(connections.table.lock().open.len(), open.len());
    }
}

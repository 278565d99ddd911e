//! What arrives in one piece goes out in one piece.
//!
//! A provider, or the network, often delivers several chunks at once, and the HTTP client hands them over one by one.
//! If each woke the readers, each would be a write of its own at the client's socket. So from the second chunk of a
//! burst on, readers are told when the burst is over: when the provider's connection has had its turn and has nothing
//! more. That waits for no timer and no byte, and a chunk that comes alone goes out at once.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::journal::Writer;

/// Chunks that follow each other as closely as this were there together.
const GAP: Duration = Duration::from_micros(100);
/// So many chunks wait for each other at the most, however long the burst is.
const MOST_CHUNKS: u32 = 32;

/// How far into a burst a stream is.
#[derive(Default)]
pub(super) struct Burst {
    last_at: Option<Instant>,
    /// Chunks that no reader has been told of.
    unannounced: u32,
}

impl Burst {
    /// A chunk came at `now`; says whether readers can be told later, with what comes next.
    pub(super) fn takes(&mut self, now: Instant) -> bool {
        let close = self.last_at.replace(now).is_some_and(|last| now.duration_since(last) < GAP);
        let takes = close && self.unannounced < MOST_CHUNKS;
        self.unannounced = if takes { self.unannounced + 1 } else { 0 };
        takes
    }

    /// Tells the readers what they have not been told.
    pub(super) fn announce(&mut self, writer: &Writer) {
        if std::mem::take(&mut self.unannounced) > 0 {
            writer.announce();
        }
    }

    /// Waits for the next chunk. Where it is not there after one more turn of everything else that is ready to run on
    /// this thread, the provider's connection among it, the burst is over.
    pub(super) async fn next<T>(&mut self, chunk: impl Future<Output = T>, writer: &Writer) -> T {
        let mut chunk = pin!(chunk);
        let mut had_a_turn = false;
        poll_fn(|cx| {
            let polled = chunk.as_mut().poll(cx);
            if polled.is_pending() && self.unannounced > 0 {
                if had_a_turn {
                    self.announce(writer);
                } else {
                    had_a_turn = true;
                    cx.waker().wake_by_ref();
                }
            }
            polled
        })
        .await
    }
}

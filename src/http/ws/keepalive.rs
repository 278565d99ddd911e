//! Pings to a client, and what it means that it does not answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How many pings a client may miss.
const MAX_MISSED: u32 = 2;

/// What is to be done when it is time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beat {
    /// Ping.
    Ping,
    /// The client has answered neither of two pings.
    Dead,
}

/// The clock of a socket's pings.
pub struct Keepalive {
    every: Duration,
    timer: Pin<Box<Sleep>>,
    missed: u32,
}

impl Keepalive {
    /// For a client that is pinged every so often.
    pub fn new(every_ms: u64) -> Self {
        let every = Duration::from_millis(every_ms);
        Keepalive { every, timer: Box::pin(sleep(every)), missed: 0 }
    }

    /// The client sent something, whatever it was.
    pub fn heard(&mut self) {
        self.missed = 0;
    }

    /// Whether there is something to be done. Costs one look.
    pub fn is_due(&self) -> bool {
        self.timer.is_elapsed()
    }

    /// What is to be done now; wakes this task when there is something.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        std::task::ready!(self.timer.as_mut().poll(cx));
        self.timer.as_mut().reset(Instant::now() + self.every);
        // The timer has forgotten the task when it fired. Where the time is over again already, it is looked at again.
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        if self.missed >= MAX_MISSED {
            return Poll::Ready(Beat::Dead);
        }
        self.missed += 1;
        Poll::Ready(Beat::Ping)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_misses_two_pings_is_dead_and_any_word_is_a_sign_of_life() {
        let mut keepalive = Keepalive::new(1000);
        let began = Instant::now();
        for _ in 0..5 {
            assert_eq!(poll_fn(|cx| keepalive.poll(cx)).await, Beat::Ping);
            keepalive.heard();
        }
        assert_eq!(poll_fn(|cx| keepalive.poll(cx)).await, Beat::Ping);
        assert_eq!(poll_fn(|cx| keepalive.poll(cx)).await, Beat::Ping);
        assert_eq!(poll_fn(|cx| keepalive.poll(cx)).await, Beat::Dead);
        assert_eq!(began.elapsed().as_secs(), 8);
    }
}

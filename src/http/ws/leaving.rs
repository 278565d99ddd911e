//! How a socket leaves when the process is about to end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use crate::http::ending::{Phase, PhaseWatch, RETRY_MS, jittered};

/// Over how long a time idle sockets leave at the most while others still have something to say, in milliseconds.
const IDLE_WITHIN_MS: u64 = 5_000;
/// Over how long a time all others leave once nothing is said any more. The server closes what is left after a second.
const REST_WITHIN_MS: u64 = 400;

/// When a socket leaves, each at a time of its own, so that not all clients come back at one instant.
pub struct Leaving {
    phase: PhaseWatch,
    grace_ms: u64,
    at: Option<(Phase, Pin<Box<Sleep>>)>,
}

impl Leaving {
    /// For a process that gives what runs so long.
    pub fn new(phase: watch::Receiver<Phase>, grace_ms: u64) -> Self {
        Leaving { phase: PhaseWatch::new(phase), grace_ms, at: None }
    }

    /// Whether the end is in sight. Costs one look at a number.
    pub fn is_near(&mut self) -> bool {
        self.phase.now() != Phase::Serving
    }

    /// Ready when the socket is to be closed, with the milliseconds that its client should wait before it comes back. One
    /// that is not idle stays as long as anything runs.
    pub fn poll(&mut self, cx: &mut Context<'_>, is_idle: impl FnOnce() -> bool) -> Poll<u64> {
        let phase = self.phase.now();
        if phase == Phase::Serving {
            self.phase.register(cx);
            return Poll::Pending;
        }
        if self.at.as_ref().is_none_or(|(known, _)| *known != phase) {
            let within = match phase {
                Phase::Closing => REST_WITHIN_MS,
                _ => (self.grace_ms / 2).min(IDLE_WITHIN_MS),
            };
            self.at = Some((phase, Box::pin(sleep(Duration::from_millis(jittered(0..=within))))));
        }
        self.phase.register(cx);
        if let Some((phase, timer)) = &mut self.at
            && (timer.is_elapsed() || timer.as_mut().poll(cx).is_ready())
            && (*phase == Phase::Closing || is_idle())
        {
            return Poll::Ready(jittered(RETRY_MS));
        }
        Poll::Pending
    }
}

//! How streams learn that the process is about to end.

use std::future::{Future, pending};
use std::hash::{BuildHasher as _, RandomState};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::Context;

use actix_web::web::Bytes;
use tokio::sync::watch;

use crate::dialect::native;

/// How long a client is asked to wait before it comes back, in milliseconds. Each connection gets a time of its own, so
/// that those who are cut together do not come back together.
pub const RETRY_MS: RangeInclusive<u64> = 500..=3_000;

/// How near the end of the process is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// It is not in sight.
    Serving,
    /// What runs may end in time, and nothing new begins.
    Draining,
    /// Streams without an end of their own must end.
    Closing,
}

/// The phase, for a task that is woken when the next one begins.
pub struct PhaseWatch {
    phase: watch::Receiver<Phase>,
    /// The latest phase that was looked at.
    seen: Phase,
    changed: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl PhaseWatch {
    /// For one task.
    pub fn new(mut phase: watch::Receiver<Phase>) -> Self {
        // A response that is opened while the process drains is told as well.
        phase.mark_changed();
        let changed = changed(phase.clone());
        PhaseWatch { phase, seen: Phase::Serving, changed }
    }

    /// The phase that there is now. Costs one look at a number.
    pub fn now(&mut self) -> Phase {
        if self.phase.has_changed().unwrap_or(false) {
            self.seen = *self.phase.borrow_and_update();
        }
        self.seen
    }

    /// Has the next phase wake this task.
    pub fn register(&mut self, cx: &mut Context<'_>) {
        while self.changed.as_mut().poll(cx).is_ready() {
            self.changed = changed(self.phase.clone());
            // It may have begun after the last look.
            cx.waker().wake_by_ref();
        }
    }
}

/// What one response knows of the end.
pub struct Ending {
    phase: PhaseWatch,
    told: bool,
    /// Whether the response has no end of its own.
    endless: bool,
}

impl Ending {
    /// For a response that ends by itself.
    pub fn new(phase: watch::Receiver<Phase>) -> Self {
        Ending { phase: PhaseWatch::new(phase), told: false, endless: false }
    }

    /// For a response that must be ended.
    pub fn endless(self) -> Self {
        Ending { endless: true, ..self }
    }

    /// For a client that is told nothing.
    pub fn wordless(self) -> Self {
        Ending { told: true, ..self }
    }

    /// What the client is to be told now: once, and only when the end has come into sight. Costs one look at a number.
    pub fn word(&mut self) -> Option<Bytes> {
        if self.phase.now() == Phase::Serving || self.told {
            return None;
        }
        self.told = true;
        Some(native::retry(jittered(RETRY_MS)))
    }

    /// Whether the response must end as soon as it has nothing to send.
    pub fn is_over(&self) -> bool {
        self.endless && self.phase.seen == Phase::Closing
    }

    /// Has the next phase wake this task.
    pub fn register(&mut self, cx: &mut Context<'_>) {
        self.phase.register(cx);
    }
}

/// Done when the phase that there is now has become another one.
fn changed(mut phase: watch::Receiver<Phase>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    phase.mark_unchanged();
    Box::pin(async move {
        if phase.changed().await.is_err() {
            // Nobody is left who could begin another phase.
            pending::<()>().await;
        }
    })
}

/// A number of that range by chance.
pub fn jittered(range: RangeInclusive<u64>) -> u64 {
    // The standard library's only source of chance.
    let chance = RandomState::new().hash_one(());
    range.start() + chance % (range.end() - range.start() + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::task::Poll;

    use super::*;

    fn retry_ms(word: &Bytes) -> u64 {
        let text = std::str::from_utf8(word).expect("text");
        let ms = text.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix("\n\n")).expect("one block");
        ms.parse().expect("a number")
    }

    #[test]
    fn every_response_is_told_once_and_each_something_else() {
        let phase = watch::Sender::new(Phase::Serving);
        let mut open: Vec<Ending> = (0..100).map(|_| Ending::new(phase.subscribe())).collect();
        assert!(open.iter_mut().all(|ending| ending.word().is_none()));
        phase.send_replace(Phase::Draining);
        open.push(Ending::new(phase.subscribe()));
        let told: Vec<u64> = open.iter_mut().map(|ending| retry_ms(&ending.word().expect("told"))).collect();
        assert!(told.iter().all(|ms| RETRY_MS.contains(ms)), "{told:?}");
        assert!(told.iter().collect::<HashSet<_>>().len() > 50, "{told:?}");
        phase.send_replace(Phase::Closing);
        assert!(open.iter_mut().all(|ending| ending.word().is_none()));
    }

    #[test]
    fn only_what_has_no_end_is_ended() {
        let phase = watch::Sender::new(Phase::Serving);
        let mut ending = Ending::new(phase.subscribe());
        let mut endless = Ending::new(phase.subscribe()).endless();
        let mut wordless = Ending::new(phase.subscribe()).wordless();
        for (next, over) in [(Phase::Draining, false), (Phase::Closing, true)] {
            phase.send_replace(next);
            _ = (ending.word(), endless.word());
            assert_eq!(wordless.word(), None);
            assert!(!ending.is_over());
            assert_eq!(endless.is_over(), over);
        }
    }

    #[tokio::test]
    async fn a_phase_wakes_a_task_that_was_registered_before_or_after_it_began() {
        for late in [false, true] {
            let phase = watch::Sender::new(Phase::Serving);
            let mut ending = Ending::new(phase.subscribe());
            assert!(ending.word().is_none());
            let told = tokio::spawn(std::future::poll_fn({
                if late {
                    phase.send_replace(Phase::Draining);
                }
                let mut looked = late;
                move |cx| {
                    // Late: registers without having looked at the phase that has begun.
                    let word = if looked { None } else { ending.word() };
                    looked = false;
                    match word {
                        Some(word) => Poll::Ready(word),
                        None => {
                            ending.register(cx);
                            Poll::Pending
                        }
                    }
                }
            }));
            tokio::task::yield_now().await;
            if !late {
                phase.send_replace(Phase::Draining);
            }
            let word = tokio::time::timeout(std::time::Duration::from_secs(5), told).await.expect("woken");
            retry_ms(&word.expect("no panic"));
        }
    }
}

//! Drives a dialect: gives it frames, and a clock to what it holds back.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::dialect::{Dialect, Payloads, Source};

/// A dialect of one reader, with what it has said and nobody has sent yet.
pub struct Speaking {
    dialect: Box<dyn Dialect>,
    payloads: Payloads,
    patience: Duration,
    /// Counts only while something is held. Made when that happens first: most dialects hold nothing back.
    due: Option<Pin<Box<Sleep>>>,
}

impl Speaking {
    /// `dialect`, which may hold back what it joins for up to `patience`.
    pub fn new(dialect: Box<dyn Dialect>, patience: Duration) -> Self {
        Speaking { dialect, payloads: Payloads::default(), patience, due: None }
    }

    /// What is to be sent now that these frames have come. To be cleared by whoever has sent it.
    pub fn feed(&mut self, source: &Source, frames: &[u8]) -> &mut Payloads {
        let was_holding = self.dialect.is_holding();
        let before = self.payloads.len();
        self.dialect.set_now(now_ms());
        self.dialect.feed(source, frames, &mut self.payloads);
        if self.dialect.is_holding() && (!was_holding || self.payloads.len() > before) {
            let until = Instant::now() + self.patience;
            match &mut self.due {
                Some(due) => due.as_mut().reset(until),
                None => self.due = Some(Box::pin(sleep(self.patience))),
            }
        }
        &mut self.payloads
    }

    /// All that was held back.
    pub fn flush(&mut self) -> &mut Payloads {
        self.dialect.set_now(now_ms());
        self.dialect.flush(&mut self.payloads);
        &mut self.payloads
    }

    /// What was held back for long enough; `None` where nothing was, and this task is woken when it is.
    pub fn poll_due(&mut self, cx: &mut Context<'_>) -> Option<&mut Payloads> {
        if !self.dialect.is_holding() {
            return None;
        }
        match self.due.as_mut()?.as_mut().poll(cx) {
            Poll::Ready(()) => Some(self.flush()),
            Poll::Pending => None,
        }
    }
}

fn now_ms() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0)
}

//! How many messages a client may send.

use std::num::NonZeroU32;

use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::config::WebSocketConfig;

/// How many messages in a row are refused with a word before the socket is closed.
const MAX_WARNINGS: u32 = 20;

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is taken.
    Taken,
    /// It is refused with a word.
    Refused,
    /// The client was warned often enough.
    Enough,
}

/// Counts the messages of one client.
pub struct Rate {
    limiter: RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>,
    warnings: u32,
}

impl Rate {
    /// As configured.
    pub fn new(config: &WebSocketConfig) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::per_second(at_least_one(config.max_messages_per_s)).allow_burst(at_least_one(config.message_burst));
        Rate { limiter: RateLimiter::direct_with_clock(quota, MonotonicClock), warnings: 0 }
    }

    /// Judges one more message.
    pub fn judge(&mut self) -> Verdict {
        if self.limiter.check().is_ok() {
            self.warnings = 0;
            return Verdict::Taken;
        }
        self.warnings += 1;
        if self.warnings > MAX_WARNINGS { Verdict::Enough } else { Verdict::Refused }
    }
}

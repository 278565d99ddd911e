//! Plays the demo's script: waits as it says and hands on what it says.

use std::time::Duration;

use tokio::time::Instant;

use crate::event::{ErrorCode, Event, Fault};
use crate::protocol::End;
use crate::protocol::demo::{Action, Script, Step};

/// The most events of one call; a script without pauses must not fill memory.
const MAX_EVENTS: usize = 64;

/// A script that is being played.
pub(super) struct Player {
    script: Script,
    /// When the step before this one was due. Steps keep to the script's own clock, so that the pauses of timers do
    /// not add up; what was not fetched in time is there at once, as with a real provider.
    due: Instant,
    /// The next step and when it is due. Kept here, so that a call that is dropped loses nothing.
    next: Option<(Instant, Action)>,
}

impl Player {
    pub(super) fn new(script: Script) -> Self {
        Player { script, due: Instant::now(), next: None }
    }

    fn peek(&mut self) -> Option<Instant> {
        if self.next.is_none() {
            let Step { after_ms, what } = self.script.next()?;
            self.due += Duration::from_millis(after_ms);
            self.next = Some((self.due, what));
        }
        self.next.as_ref().map(|(due, _)| *due)
    }

    /// Waits for the next step, and takes with it those that are due as well.
    pub(super) async fn next(&mut self, out: &mut Vec<Event>) -> Result<Option<End>, Fault> {
        let before = out.len();
        loop {
            let Some(due) = self.peek() else {
                return Err(Fault::new(ErrorCode::ProviderIncomplete, "the demo's script stopped without an end"));
            };
            if due > Instant::now() {
                if out.len() > before {
                    return Ok(None);
                }
                tokio::time::sleep_until(due).await;
            }
            match self.next.take() {
                Some((_, Action::Emit(event))) => out.push(event),
                Some((_, Action::End(end))) => return Ok(Some(end)),
                Some((_, Action::Fail(fault))) => return Err(fault),
                None => {}
            }
            if out.len() - before >= MAX_EVENTS {
                return Ok(None);
            }
        }
    }
}

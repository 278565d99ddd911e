//! How events look on the wire. Pure: values in, bytes out.
//!
//! Readers get native frames as the journal keeps them ([`native`], [`batch`]), or what a [`Dialect`] makes of them.

pub mod batch;
mod delta;
mod frames;
mod joined;
pub mod native;
pub mod openai;
mod payloads;
pub mod progress;
pub mod steps;
pub mod sync;
#[cfg(test)]
pub(crate) mod testing;

pub use joined::Joined;
pub use payloads::{Payload, Payloads};

use crate::event::{ConversationId, GenerationId, MessageId};

/// To what the frames belong that a dialect is fed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// The conversation.
    pub conversation: ConversationId,
    /// The generation; `None` for a message that a client sent.
    pub generation: Option<GenerationId>,
    /// The message.
    pub message: MessageId,
}

/// Turns native frames into what the clients of one kind understand. One reader has one of its own, so that it may remember
/// what it has said; it has no clock, and whoever drives it says when to [`Dialect::flush`].
pub trait Dialect {
    /// Takes whole native frames of one message, numbered or not, in their order, and appends what goes out now.
    fn feed(&mut self, source: &Source, frames: &[u8], out: &mut Payloads);

    /// Tells the time, in milliseconds since the epoch, to those that put it into what they say. Before each
    /// [`Dialect::feed`] and [`Dialect::flush`].
    fn set_now(&mut self, ms_since_epoch: u64) {
        let _ = ms_since_epoch;
    }

    /// Appends what is held back.
    fn flush(&mut self, out: &mut Payloads) {
        let _ = out;
    }

    /// Whether something is held back, and must go out soon.
    fn is_holding(&self) -> bool {
        false
    }
}

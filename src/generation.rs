//! From a request to a finished message: asks the provider, writes what it says into the journal, and ends the message.
//!
//! The only place for cancel, deadlines, the disconnect policy and the terminal event. A generation runs on the worker
//! thread of the client that started it and outlives that client.

mod asked;
mod budget;
mod burst;
mod drive;
mod early;
mod handle;
mod message;
mod retry;
mod running;
mod watch;

#[cfg(test)]
mod tests;

pub use budget::{Budget, Share};
pub use drive::{Deadlines, Job, Part, spawn};
pub use handle::{Ended, Handle, Identity, MessageEnded, Reader, State, usual_task};
pub use running::{Admission, Audience, Most, Running, Starting};

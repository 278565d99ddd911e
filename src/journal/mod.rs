//! One append-only, numbered log a conversation: writers append, cursors read, a recorder stores.
//!
//! - [`Journal`] holds what is not yet stored and a small window of what is; older events are read as pages.
//! - [`Writer`] is the only way to append a message's events; there is one a message.
//! - [`Cursor`] is a position in a journal. Live delivery, replay and late joining are cursors at different positions.
//! - [`Registry`] finds the journal of a conversation and brings it back from the store.
//! - [`Backlog`] is what all journals share: the bytes not yet stored and the queue of journals with something new.
//!
//! Nothing here knows a web server, a database or a provider.

mod backlog;
mod cursor;
mod log;
mod pages;
mod readers;
mod record;
mod registry;
mod run;
mod writer;

#[cfg(test)]
mod tests;

pub use backlog::Backlog;
pub use cursor::{Cursor, Scope};
pub use log::{Journal, NUMBER_BLOCK, Snapshot, Unrecorded};
pub use pages::{Origin, Pages, PagesError};
pub use record::{Begin, GenerationEnd, InputMessage, MessageEnd, MessageError, MessageStart, MessageStatus, Write};
pub use registry::Registry;
pub use run::{Owner, Run};
pub use writer::Writer;

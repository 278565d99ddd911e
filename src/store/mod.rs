//! What outlives the process: conversations, messages with their reasoning, generations, and the events themselves.
//!
//! - [`Store`] is what the rest of the program sees; [`SqlStore`] keeps it in SQLite or PostgreSQL.
//! - [`Recorder`] carries journals into the store, many in one transaction.
//! - [`recover`] ends what a process that died had left open.
//! - [`Lease`] keeps others from taking this process for dead.

mod database;
mod error;
mod lease;
mod model;
mod node;
mod open;
mod postgres;
mod queries;
mod recorder;
mod recovery;
mod rows;
mod schema;
mod sqlite;
mod types;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;

pub use database::SqlStore;
pub use error::StoreError;
pub use lease::Lease;
pub use model::{External, StoredConversation, StoredGeneration, StoredMessage, StoredRun, StoredTurn};
pub use node::Node;
pub use open::{OpenError, OpenSettings, open};
pub use recorder::{Recorder, RecorderSettings};
pub use recovery::recover;

use crate::event::{ConversationId, GenerationId, MessageId};
use crate::journal::{Pages, Unrecorded};

/// A place in the list of conversations, newest first: the time of the last change and the id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListPlace {
    /// Microseconds since the epoch.
    pub updated_at_us: i64,
    /// The conversation at this place.
    pub id: ConversationId,
}

/// Everything that is asked of a database. Every call is carried out whole even where its caller goes away.
#[async_trait]
pub trait Store: Pages {
    /// Writes all of it in one transaction.
    async fn commit(&self, units: Arc<Vec<Unrecorded>>) -> Result<(), StoreError>;

    /// Makes an empty conversation.
    async fn create_conversation(&self, conversation: StoredConversation) -> Result<(), StoreError>;

    /// One conversation.
    async fn conversation(&self, id: ConversationId) -> Result<Option<StoredConversation>, StoreError>;

    /// The conversation of that name, where there is one.
    async fn external(&self, external: External) -> Result<Option<StoredConversation>, StoreError>;

    /// The same, and a new one where there is none: requests that come at the same moment, in whichever process, get the
    /// same.
    async fn enter_external(&self, external: External) -> Result<StoredConversation, StoreError>;

    /// Conversations, newest change first, those after `after`.
    async fn conversations(&self, after: Option<ListPlace>, limit: u32) -> Result<Vec<StoredConversation>, StoreError>;

    /// Gives a conversation another title, or none; `None` where there is no such conversation.
    async fn rename_conversation(
        &self,
        id: ConversationId,
        title: Option<String>,
    ) -> Result<Option<StoredConversation>, StoreError>;

    /// Deletes a conversation with everything in it; says whether there was one.
    async fn delete_conversation(&self, id: ConversationId) -> Result<bool, StoreError>;

    /// All messages of a conversation, oldest first.
    async fn messages(&self, conversation: ConversationId) -> Result<Vec<StoredMessage>, StoreError>;

    /// How much all messages of a conversation are together, in bytes, without reading them.
    async fn content_bytes(&self, conversation: ConversationId) -> Result<usize, StoreError>;

    /// Where the messages of models begin and end in a conversation, in their order.
    async fn turns(&self, conversation: ConversationId) -> Result<Vec<StoredTurn>, StoreError>;

    /// The generations of a conversation to whose tasks a client gave names.
    async fn task_ids(&self, conversation: ConversationId) -> Result<Vec<(GenerationId, String)>, StoreError>;

    /// One generation with the messages that it made.
    async fn generation(&self, id: GenerationId) -> Result<Option<StoredGeneration>, StoreError>;

    /// The latest generation that was started with that `Idempotency-Key`, at `not_before_us` or later.
    async fn generation_by_key(
        &self,
        key: Arc<str>,
        not_before_us: i64,
    ) -> Result<Option<StoredGeneration>, StoreError>;

    /// The generations whose final terminal event is not stored and whose process is gone.
    async fn orphans(&self) -> Result<Vec<GenerationId>, StoreError>;

    /// The stored runs of one message, with the time at which each was stored.
    async fn runs_of(&self, conversation: ConversationId, message: MessageId) -> Result<Vec<StoredRun>, StoreError>;

    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// Long work for many conversations lets others have the processor now and then: on a machine with few cores the streams
/// would otherwise all wait behind it.
fn give_way(place: usize) {
    const EVERY: usize = 16;
    if place % EVERY == EVERY - 1 {
        std::thread::yield_now();
    }
}

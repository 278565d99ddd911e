//! The [`Store`] in SQL: one text for SQLite and PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::error::{StatementError, StoreError};
use super::model::{External, StoredConversation, StoredGeneration, StoredMessage, StoredRun, StoredTurn};
use super::node::Node;
use super::postgres::Postgres;
use super::queries;
use super::sqlite::Sqlite;
use super::types::Id;
use super::{ListPlace, Store};
use crate::event::{ConversationId, GenerationId, MessageId, SyncId};
use crate::journal::{Origin, Pages, PagesError, Run, Unrecorded};

/// One of the databases.
pub(super) enum Database {
    /// A file.
    Sqlite(Sqlite),
    /// A server.
    Postgres(Box<Postgres>),
}

/// What is kept in a database.
pub struct SqlStore {
    database: Database,
    node: Node,
    lease_ms: i64,
    /// Turns true when another process has taken the place of this one.
    fenced: watch::Sender<bool>,
}

/// Runs statements (`read` outside of a transaction, `write` and `record` in one) on a connection to whichever database
/// it is, on the store's runtime, to their end whatever happens to the caller.
macro_rules! on {
    ($store:expr, $kind:ident, |$conn:ident| $answer:expr) => {
        match &$store.database {
            Database::Sqlite(database) => {
                #[allow(unused_imports, reason = "each statement needs one of them")]
                use queries::sqlite::{self, nodes, read, write};
                let work = move |$conn: &mut sqlite::Conn| {
                    sqlite::at_once(async move { $answer.await.map_err(StatementError::from) })
                };
                database.$kind(work).await
            }
            Database::Postgres(database) => {
                #[allow(unused_imports, reason = "each statement needs one of them")]
                use queries::postgres::{nodes, read, write};
                super::postgres::$kind!(database, |$conn| $answer.await.map_err(StatementError::from))
            }
        }
    };
}

impl SqlStore {
    pub(super) fn new(database: Database, node: Node, lease_ms: u64) -> Arc<Self> {
        let lease_ms = i64::try_from(lease_ms).unwrap_or(i64::MAX / 1_000_000);
        Arc::new(SqlStore { database, node, lease_ms, fenced: watch::Sender::new(false) })
    }

    /// This process, as the database knows it.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Whether other processes may use the same database, so that this one must renew its lease.
    pub fn is_shared(&self) -> bool {
        matches!(self.database, Database::Postgres(_))
    }

    /// Waits until another process has taken the place of this one.
    pub async fn fenced(&self) {
        // The sender lives as long as `self`.
        _ = self.fenced.subscribe().wait_for(|fenced| *fenced).await;
    }

    /// Makes the lease longer.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where another process has it.
    pub async fn renew(&self) -> Result<(), StoreError> {
        let renewed = match &self.database {
            Database::Sqlite(_) => true,
            Database::Postgres(database) => database.renew(&self.node, self.lease_ms).await?,
        };
        self.noticing(if renewed { Ok(()) } else { Err(StoreError::Fenced) })
    }

    /// Takes away the nodes whose lease has run out; gives their names.
    pub async fn fence(&self) -> Result<Vec<String>, StoreError> {
        let node = self.node.clone();
        on!(self, write, |conn| nodes::fence(conn, &node))
    }

    /// Gives the lease back, when nothing more will be stored.
    pub async fn leave(&self) -> Result<(), StoreError> {
        let node = self.node.clone();
        on!(self, write, |conn| nodes::leave(conn, &node))
    }

    fn noticing<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Fenced) = answer {
            self.fenced.send_replace(true);
        }
        answer
    }
}

fn now_us() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

#[async_trait]
impl Pages for SqlStore {
    async fn page(
        &self,
        conversation: ConversationId,
        after: SyncId,
        max_bytes: usize,
    ) -> Result<Vec<Run>, PagesError> {
        let runs = on!(self, read, |conn| read::runs(conn, conversation, after, max_bytes));
        Ok(runs?.into_iter().map(|stored| stored.run).collect())
    }

    async fn origin(&self, conversation: ConversationId) -> Result<Option<Origin>, PagesError> {
        // Mostly it is ours already, and nothing needs to be written.
        let node = self.node.clone();
        let known = on!(self, read, |conn| nodes::origin(conn, conversation, &node))?;
        if known.is_some() {
            return Ok(known);
        }
        let node = self.node.clone();
        Ok(on!(self, write, |conn| nodes::claim(conn, conversation, &node, nodes::Claim::Use))?)
    }

    async fn inherited(&self, conversation: ConversationId) -> Result<Option<Origin>, PagesError> {
        let node = self.node.clone();
        Ok(on!(self, write, |conn| nodes::claim(conn, conversation, &node, nodes::Claim::Inherit))?)
    }

    async fn is_ours(&self, conversation: ConversationId) -> Result<bool, PagesError> {
        if !self.is_shared() {
            return Ok(true);
        }
        let node = self.node.clone();
        Ok(on!(self, read, |conn| nodes::is_ours(conn, conversation, &node))?)
    }

    async fn holds(&self, conversation: ConversationId, at: SyncId) -> Result<bool, PagesError> {
        Ok(on!(self, read, |conn| read::holds(conn, conversation, at))?)
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn commit(&self, units: Arc<Vec<Unrecorded>>) -> Result<(), StoreError> {
        let (node, now_us) = (self.node.clone(), now_us());
        self.noticing(on!(self, record, |conn| write::units(conn, &units, &node, now_us)))
    }

    async fn create_conversation(&self, conversation: StoredConversation) -> Result<(), StoreError> {
        let StoredConversation { id, title, created_at_us, .. } = conversation;
        let node = self.node.clone();
        on!(self, write, |conn| {
            let row = write::new_conversation(Id::from(id), title, created_at_us, &node);
            write::conversation(conn, row)
        })
    }

    async fn conversation(&self, id: ConversationId) -> Result<Option<StoredConversation>, StoreError> {
        on!(self, read, |conn| read::conversation(conn, id))
    }

    async fn external(&self, external: External) -> Result<Option<StoredConversation>, StoreError> {
        on!(self, read, |conn| read::external(conn, &external))
    }

    async fn enter_external(&self, external: External) -> Result<StoredConversation, StoreError> {
        // Mostly it is there, and nothing needs to be written.
        if let Some(known) = self.external(external.clone()).await? {
            return Ok(known);
        }
        let (node, id, at_us) = (self.node.clone(), ConversationId::new(), now_us());
        on!(self, write, |conn| write::external(conn, &external, id, at_us, &node))
    }

    async fn conversations(&self, after: Option<ListPlace>, limit: u32) -> Result<Vec<StoredConversation>, StoreError> {
        on!(self, read, |conn| read::conversations(conn, after, limit))
    }

    async fn rename_conversation(
        &self,
        id: ConversationId,
        title: Option<String>,
    ) -> Result<Option<StoredConversation>, StoreError> {
        let now_us = now_us();
        on!(self, write, |conn| write::renamed(conn, id, title.as_deref(), now_us))
    }

    async fn delete_conversation(&self, id: ConversationId) -> Result<bool, StoreError> {
        on!(self, write, |conn| write::delete(conn, Id::from(id)))
    }

    async fn messages(&self, conversation: ConversationId) -> Result<Vec<StoredMessage>, StoreError> {
        on!(self, read, |conn| read::messages(conn, conversation))
    }

    async fn content_bytes(&self, conversation: ConversationId) -> Result<usize, StoreError> {
        on!(self, read, |conn| read::content_bytes(conn, conversation))
    }

    async fn turns(&self, conversation: ConversationId) -> Result<Vec<StoredTurn>, StoreError> {
        on!(self, read, |conn| read::turns(conn, conversation))
    }

    async fn task_ids(&self, conversation: ConversationId) -> Result<Vec<(GenerationId, String)>, StoreError> {
        on!(self, read, |conn| read::task_ids(conn, conversation))
    }

    async fn generation(&self, id: GenerationId) -> Result<Option<StoredGeneration>, StoreError> {
        on!(self, read, |conn| read::generation(conn, id))
    }

    async fn generation_by_key(
        &self,
        key: Arc<str>,
        not_before_us: i64,
    ) -> Result<Option<StoredGeneration>, StoreError> {
        on!(self, read, |conn| read::generation_by_key(conn, &key, not_before_us))
    }

    async fn orphans(&self) -> Result<Vec<GenerationId>, StoreError> {
        on!(self, read, |conn| nodes::orphans(conn))
    }

    async fn runs_of(&self, conversation: ConversationId, message: MessageId) -> Result<Vec<StoredRun>, StoreError> {
        on!(self, read, |conn| read::runs_of(conn, conversation, message))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        on!(self, read, |conn| read::nothing(conn))
    }
}

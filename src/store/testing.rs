//! What tests of several modules share: a real store in a folder of its own, and one around it that fails on demand.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

use super::{
    External, ListPlace, OpenError, OpenSettings, SqlStore, Store, StoreError, StoredConversation, StoredGeneration,
    StoredMessage, StoredRun, StoredTurn, open,
};
use crate::event::{ConversationId, GenerationId, MessageId, SyncId};
use crate::journal::{Origin, Pages, PagesError, Run, Unrecorded};

/// The runtime of all stores of all tests: it outlives every test, as the server's outlives its workers.
pub(crate) fn runtime() -> Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("threads")).handle().clone()
}

/// Opens the database behind a URL, as one node.
pub(crate) async fn opened(url: &str) -> Result<Arc<SqlStore>, OpenError> {
    open(&settings(url, "test"), runtime()).await
}

/// The same with a node of another name, or with changes.
pub(crate) fn settings(url: &str, node: &str) -> OpenSettings {
    OpenSettings { url: url.to_owned(), pool_size: 2, node: Some(node.to_owned()), lease_ms: 15_000 }
}

/// A folder with a database file, to be opened again and again.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.path().join("test.db").display())
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        opened(&self.url()).await.expect("a database")
    }
}

/// A store whose commits can be held up, and can fail in the way that a test says.
pub(crate) struct Scripted {
    inner: Arc<dyn Store>,
    open: watch::Sender<bool>,
    failures: Mutex<VecDeque<StoreError>>,
    commits: watch::Sender<Vec<usize>>,
}

impl Scripted {
    pub(crate) fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Scripted {
            inner,
            open: watch::Sender::new(true),
            failures: Mutex::default(),
            commits: watch::Sender::default(),
        })
    }

    /// The next commits fail like this, without reaching the database.
    pub(crate) fn fail(&self, failures: impl IntoIterator<Item = StoreError>) {
        self.failures.lock().extend(failures);
    }

    /// Commits wait from now on.
    pub(crate) fn hold(&self) {
        self.open.send_replace(false);
    }

    /// Commits go on.
    pub(crate) fn release(&self) {
        self.open.send_replace(true);
    }

    /// Waits until `count` commits were asked for; gives back how many journals were in each.
    pub(crate) async fn commits(&self, count: usize) -> Vec<usize> {
        let mut commits = self.commits.subscribe();
        let commits = commits.wait_for(|commits| commits.len() >= count).await;
        commits.expect("the sender lives").clone()
    }
}

#[async_trait]
impl Pages for Scripted {
    async fn page(&self, id: ConversationId, after: SyncId, max_bytes: usize) -> Result<Vec<Run>, PagesError> {
        self.inner.page(id, after, max_bytes).await
    }

    async fn origin(&self, id: ConversationId) -> Result<Option<Origin>, PagesError> {
        self.inner.origin(id).await
    }

    async fn inherited(&self, id: ConversationId) -> Result<Option<Origin>, PagesError> {
        self.inner.inherited(id).await
    }

    async fn is_ours(&self, id: ConversationId) -> Result<bool, PagesError> {
        self.inner.is_ours(id).await
    }

    async fn holds(&self, id: ConversationId, at: SyncId) -> Result<bool, PagesError> {
        self.inner.holds(id, at).await
    }
}

#[async_trait]
impl Store for Scripted {
    async fn commit(&self, units: Arc<Vec<Unrecorded>>) -> Result<(), StoreError> {
        self.commits.send_modify(|commits| commits.push(units.len()));
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.expect("the sender lives");
        let failure = self.failures.lock().pop_front();
        match failure {
            Some(failure) => Err(failure),
            None => self.inner.commit(units).await,
        }
    }

    async fn create_conversation(&self, conversation: StoredConversation) -> Result<(), StoreError> {
        self.inner.create_conversation(conversation).await
    }

    async fn conversation(&self, id: ConversationId) -> Result<Option<StoredConversation>, StoreError> {
        self.inner.conversation(id).await
    }

    async fn external(&self, external: External) -> Result<Option<StoredConversation>, StoreError> {
        self.inner.external(external).await
    }

    async fn enter_external(&self, external: External) -> Result<StoredConversation, StoreError> {
        self.inner.enter_external(external).await
    }

    async fn conversations(&self, after: Option<ListPlace>, limit: u32) -> Result<Vec<StoredConversation>, StoreError> {
        self.inner.conversations(after, limit).await
    }

    async fn rename_conversation(
        &self,
        id: ConversationId,
        title: Option<String>,
    ) -> Result<Option<StoredConversation>, StoreError> {
        self.inner.rename_conversation(id, title).await
    }

    async fn delete_conversation(&self, id: ConversationId) -> Result<bool, StoreError> {
        self.inner.delete_conversation(id).await
    }

    async fn messages(&self, conversation: ConversationId) -> Result<Vec<StoredMessage>, StoreError> {
        self.inner.messages(conversation).await
    }

    async fn content_bytes(&self, conversation: ConversationId) -> Result<usize, StoreError> {
        self.inner.content_bytes(conversation).await
    }

    async fn turns(&self, conversation: ConversationId) -> Result<Vec<StoredTurn>, StoreError> {
        self.inner.turns(conversation).await
    }

    async fn task_ids(&self, conversation: ConversationId) -> Result<Vec<(GenerationId, String)>, StoreError> {
        self.inner.task_ids(conversation).await
    }

    async fn generation(&self, id: GenerationId) -> Result<Option<StoredGeneration>, StoreError> {
        self.inner.generation(id).await
    }

    async fn generation_by_key(
        &self,
        key: Arc<str>,
        not_before_us: i64,
    ) -> Result<Option<StoredGeneration>, StoreError> {
        self.inner.generation_by_key(key, not_before_us).await
    }

    async fn orphans(&self) -> Result<Vec<GenerationId>, StoreError> {
        self.inner.orphans().await
    }

    async fn runs_of(&self, conversation: ConversationId, message: MessageId) -> Result<Vec<StoredRun>, StoreError> {
        self.inner.runs_of(conversation, message).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
}

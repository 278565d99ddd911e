//! A position in a journal, and the events after it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::log::Next;
use super::{Journal, Pages, PagesError, Run};
use crate::event::{ConversationId, GenerationId, SyncId, frame};

/// How much a cursor that fell behind reads from the store at a time.
const PAGE_BYTES: usize = 64 * 1024;

/// Which events a cursor delivers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All of the conversation, without an end.
    Conversation,
    /// Those of one generation, to its final terminal event.
    Generation(GenerationId),
}

/// Delivers every event after a position, in order and once. Reads from memory where it can and from the store where
/// it fell behind; it never slows the writer.
pub struct Cursor {
    journal: Arc<Journal>,
    pages: Arc<dyn Pages>,
    scope: Scope,
    position: SyncId,
    /// Where the generation's last event is known already.
    until: Option<SyncId>,
    slot: usize,
    loading: Option<Loading>,
    queue: VecDeque<Run>,
}

struct Loading {
    page: BoxFuture<'static, Result<Vec<Run>, PagesError>>,
    /// Everything before this number was stored when the page was asked for.
    before: SyncId,
}

impl Cursor {
    /// A cursor that delivers everything after `position`. `until` is the number of the generation's last event, where
    /// that is known from the store.
    pub fn new(
        journal: Arc<Journal>,
        pages: Arc<dyn Pages>,
        scope: Scope,
        position: SyncId,
        until: Option<SyncId>,
    ) -> Self {
        let slot = journal.add_reader();
        Cursor { journal, pages, scope, position, until, slot, loading: None, queue: VecDeque::new() }
    }

    /// The conversation that it reads.
    pub fn conversation(&self) -> ConversationId {
        self.journal.id()
    }

    /// Everything up to here was delivered, or is not this reader's.
    pub fn position(&self) -> SyncId {
        self.position
    }

    /// The next frames; `None` at the end of the generation.
    pub async fn next(&mut self) -> Result<Option<Run>, PagesError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next frames; `None` at the end of the generation. Wakes level-triggered: a poll always sees the tail.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Run>, PagesError>> {
        loop {
            while let Some(run) = self.queue.pop_front() {
                if let Some(run) = self.accept(run) {
                    return Poll::Ready(Ok(Some(run)));
                }
            }
            if let Some(loading) = &mut self.loading {
                let page = ready!(Pin::new(&mut loading.page).poll(cx));
                let before = loading.before;
                self.loading = None;
                let page = page?;
                if page.is_empty() {
                    // A gap in the numbers: nothing was ever stored between here and there.
                    self.position = self.position.max(before.before());
                }
                self.queue = page.into();
                continue;
            }
            if self.until.is_some_and(|until| self.position >= until) {
                return Poll::Ready(Ok(None));
            }
            let generation = match self.scope {
                Scope::Generation(id) => Some(id),
                Scope::Conversation => None,
            };
            match self.journal.next(self.position, generation, self.slot, cx.waker()) {
                Next::Run(run) => {
                    if let Some(run) = self.accept(run) {
                        return Poll::Ready(Ok(Some(run)));
                    }
                }
                Next::Before(before) => {
                    let pages = self.pages.clone();
                    let (conversation, after) = (self.journal.id(), self.position);
                    let page = async move { pages.page(conversation, after, PAGE_BYTES).await }.boxed();
                    self.loading = Some(Loading { page, before });
                }
                Next::Nothing => return Poll::Pending,
                Next::End => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Moves past the run; gives back the part of it that this reader has not seen and wants.
    fn accept(&mut self, run: Run) -> Option<Run> {
        if run.last <= self.position {
            return None;
        }
        let seen = std::mem::replace(&mut self.position, run.last);
        if let Scope::Generation(id) = self.scope
            && run.owner.generation != Some(id)
        {
            return None;
        }
        if run.first > seen {
            return Some(run);
        }
        let frames = frame::after(&run.frames, seen);
        (!frames.is_empty()).then(|| Run { first: seen.plus(1), frames, ..run })
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.journal.remove_reader(self.slot);
    }
}

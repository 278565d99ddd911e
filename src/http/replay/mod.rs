//! Readers that come back: what they get first, and from where they go on. The same for every transport and dialect.

mod compact;

use std::sync::Arc;

use actix_web::web::Bytes;

use self::compact::Compacted;
use super::App;
use super::dialects::Tasks;
use super::error::{pages_fault, store_fault};
use super::input::Resume;
use super::trace::RequestId;
use crate::dialect::Source;
use crate::dialect::native::Verdict;
use crate::event::{ConversationId, ErrorCode, Fault, GenerationId, SyncId};
use crate::journal::{Cursor, Journal, MessageStatus, Scope};
use crate::store::{StoreError, StoredGeneration, StoredTurn};

/// What a reader that comes back gets.
pub struct Replay {
    /// What it is told about its position.
    pub verdict: Verdict,
    /// Native frames that come before those of the cursor.
    pub first: Vec<Told>,
    /// Everything after that; for a dialect that tells messages whole, what was open there from its beginning.
    pub cursor: Cursor,
    /// Up to where the reader has everything that the cursor delivers.
    pub after: SyncId,
    /// The names of tasks, for a dialect that tells them.
    pub tasks: Tasks,
}

/// Where to begin for a reader that needs the messages from their beginning that are open at its position.
pub struct Early {
    /// The last number before the first of them.
    pub from: SyncId,
    /// How many messages of models had begun by then.
    pub turns: u32,
}

/// For a reader that has everything up to `after`.
pub async fn early(request: &RequestId, app: &App, journal: &Journal, after: SyncId) -> Result<Early, Fault> {
    // Before the rows are read: what has left memory by then is stored.
    let running = app.running.of(journal.id());
    let turns = app.store.turns(journal.id()).await.map_err(|error| store_fault(request, &error))?;
    let is_open = |turn: &&StoredTurn| turn.last.is_none_or(|last| last > after);
    let stored = turns.iter().filter(is_open).filter_map(|turn| turn.first).map(SyncId::before);
    let from = running.iter().map(|handle| handle.before).chain(stored).fold(after, SyncId::min);
    let begun = turns.iter().filter(|turn| turn.first.is_some_and(|first| first <= from)).count();
    Ok(Early { from, turns: u32::try_from(begun).unwrap_or(u32::MAX) })
}

/// A native frame that is told to one reader only.
pub struct Told {
    /// What it is about.
    pub source: Source,
    /// The frame, with or without a number.
    pub frame: Bytes,
}

/// What a position in `journal` gets. A number that a crash took from the database is as unknown as one that was never
/// given out: whoever comes back with it has seen events, possibly the last one, that are told again in another way.
pub async fn verdict(request: &RequestId, app: &App, journal: &Journal, resume: &Resume) -> Result<Verdict, Fault> {
    let at = resume.after;
    if at > journal.last() {
        return Ok(Verdict::Unknown);
    }
    if resume.compact || at < journal.trimmed() {
        return Ok(Verdict::Compacted);
    }
    if at == SyncId::ZERO || at == journal.trimmed() {
        return Ok(Verdict::Exact);
    }
    let is_known = match journal.holds(at) {
        Some(holds) => holds,
        None => {
            let held = app.registry.pages().holds(journal.id(), at).await;
            held.map_err(|error| pages_fault(request, error))?
        }
    };
    Ok(if is_known { Verdict::Exact } else { Verdict::Unknown })
}

/// A generation that is open, and not in this process, is another one's: to go on with, or to end, as that one died.
pub fn must_be_over(request: &RequestId, stored: &StoredGeneration) -> Result<(), Fault> {
    match stored.status {
        MessageStatus::Streaming => Err(store_fault(request, &StoreError::Elsewhere)),
        _ => Ok(()),
    }
}

/// The journal of a conversation that must be there.
pub async fn journal(request: &RequestId, app: &App, id: ConversationId) -> Result<Arc<Journal>, Fault> {
    let journal = app.registry.open(id).await.map_err(|error| pages_fault(request, error))?;
    journal.ok_or_else(|| Fault::new(ErrorCode::NotFound, format!("There is no conversation {id}.")))
}

/// A generation from a position on: live, or from the database where `stored` is given, which must be over. `None` where
/// there is nothing after that position and never will be.
pub async fn generation(
    request: &RequestId,
    app: &App,
    journal: &Arc<Journal>,
    id: GenerationId,
    stored: Option<&StoredGeneration>,
    resume: &Resume,
) -> Result<Option<Replay>, Fault> {
    let mut until = stored.and_then(|stored| stored.last).or_else(|| journal.ended(id));
    if until.is_some_and(|until| resume.after >= until) && resume.after <= journal.last() {
        return Ok(None);
    }
    let verdict = verdict(request, app, journal, resume).await?;
    let (first, position) = if verdict == Verdict::Exact {
        (Vec::new(), beginning(request, app, journal, resume).await?)
    } else {
        let Compacted { frames, position, ended } = compacted(request, app, journal, id).await?;
        if ended {
            until = Some(position);
        }
        (frames, position)
    };
    let cursor = cursor(app, journal, Scope::Generation(id), position, until);
    let task = match stored {
        Some(stored) => stored.task_id.as_deref().map(Arc::from),
        None => app.running.get(id).map(|handle| handle.task.clone()),
    };
    let tasks = task.map(|task| (id, task)).into_iter().collect();
    Ok(Some(Replay { verdict, first, cursor, after: had(verdict, resume), tasks }))
}

/// A whole conversation from a position on. Where `addressed`, each of the first frames names its message.
pub async fn conversation(
    request: &RequestId,
    app: &App,
    journal: &Arc<Journal>,
    resume: &Resume,
    addressed: bool,
) -> Result<Replay, Fault> {
    let verdict = verdict(request, app, journal, resume).await?;
    let (first, position) = match verdict {
        Verdict::Exact => (Vec::new(), beginning(request, app, journal, resume).await?),
        _ => compact::conversation(request, app, journal, addressed).await?,
    };
    let cursor = cursor(app, journal, Scope::Conversation, position, None);
    let tasks = match resume.dialect.tells_whole() {
        true => app.store.task_ids(journal.id()).await.map_err(|error| store_fault(request, &error))?,
        false => Vec::new(),
    };
    let tasks = tasks.into_iter().map(|(id, task)| (id, task.into())).collect();
    Ok(Replay { verdict, first, cursor, after: had(verdict, resume), tasks })
}

/// What a reader has of what it is told: nothing, where it is told anew.
fn had(verdict: Verdict, resume: &Resume) -> SyncId {
    if verdict == Verdict::Exact { resume.after } else { SyncId::ZERO }
}

/// From where on a reader is told that comes back to a known position.
async fn beginning(request: &RequestId, app: &App, journal: &Journal, resume: &Resume) -> Result<SyncId, Fault> {
    match resume.dialect.tells_whole() {
        true => early(request, app, journal, resume.after).await.map(|early| early.from),
        false => Ok(resume.after),
    }
}

/// A cursor of this process.
pub fn cursor(app: &App, journal: &Arc<Journal>, scope: Scope, after: SyncId, until: Option<SyncId>) -> Cursor {
    Cursor::new(journal.clone(), app.registry.pages().clone(), scope, after, until)
}

async fn compacted(request: &RequestId, app: &App, journal: &Journal, id: GenerationId) -> Result<Compacted, Fault> {
    if let Some(compacted) = compact::live(journal, id) {
        return Ok(compacted);
    }
    let stored = app.store.generation(id).await.map_err(|error| store_fault(request, &error))?;
    let gone = || Fault::new(ErrorCode::NotFound, format!("There is no generation {id}."));
    Ok(compact::stored(journal, &stored.ok_or_else(gone)?))
}

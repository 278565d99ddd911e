//! Requests that come again. By its `generationId` or its `Idempotency-Key` a repeated request finds the generation that
//! the first one started, so that nothing is asked, and paid, twice.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::App;
use super::error::store_fault;
use super::trace::RequestId;
use crate::event::{ErrorCode, Fault, GenerationId};
use crate::generation::{Handle, Identity, Starting};
use crate::store::StoredGeneration;

/// For how long a key stands for the request that it came with, in microseconds.
const KEY_LIFE_US: i64 = 24 * 60 * 60 * 1_000_000;
/// How long a request waits until the failed attempt before it has left its names.
const FREEING_WAIT: Duration = Duration::from_secs(2);

/// By what a client will know its request again.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// `generationId`.
    pub id: Option<GenerationId>,
    /// `Idempotency-Key`.
    pub key: Option<Arc<str>>,
}

impl Names {
    /// Whether the request can be known again at all.
    pub fn any(&self) -> bool {
        self.id.is_some() || self.key.is_some()
    }
}

/// Where a request goes on.
pub enum Place<'a> {
    /// It is the first of its kind and may start, as long as nobody else of the same names can.
    Free(Identity, Option<Starting<'a>>),
    /// An earlier one did.
    Taken(Earlier),
}

/// A generation that an earlier request started.
pub enum Earlier {
    /// It runs in this process, or is not stored yet.
    Running(Arc<Handle>),
    /// It is only in the database.
    Stored(Box<StoredGeneration>),
}

/// Looks for an earlier request of the same names. An attempt that failed before its head leaves them to the next one, as
/// soon as the database knows.
pub async fn place<'a>(
    request: &RequestId,
    app: &'a App,
    names: Names,
    body_hash: [u8; 32],
) -> Result<Place<'a>, Fault> {
    let until = Instant::now() + FREEING_WAIT;
    let id = names.id.unwrap_or_else(GenerationId::new);
    if !names.any() {
        // An id that nobody knows yet needs no turn, and does not wait behind one that the database holds up.
        return Ok(Place::Free(Identity { id, id_is_clients: false, key: None, body_hash }, None));
    }
    loop {
        let starting = app.running.starting(id, names.key.as_deref()).await?;
        let handle = match Earlier::find(request, app, &names).await? {
            None => {
                let id_is_clients = names.id.is_some();
                return Ok(Place::Free(Identity { id, id_is_clients, key: names.key, body_hash }, Some(starting)));
            }
            Some(Earlier::Running(handle)) if handle.is_refused() => handle,
            Some(earlier) => {
                earlier.check(&names, &body_hash)?;
                return Ok(Place::Taken(earlier));
            }
        };
        drop(starting);
        tokio::time::timeout_at(until, handle.released()).await.map_err(|_| {
            let message = "The earlier attempt of this generation is not stored yet; ask again in a moment.";
            Fault::new(ErrorCode::StoreUnavailable, message)
        })?;
    }
}

/// Whether a request of these names may belong to a generation that runs in this process.
pub fn may_be_known(app: &App, key: Option<&str>, id: Option<GenerationId>) -> bool {
    key.is_some_and(|key| app.running.by_key(key).is_some()) || id.is_some_and(|id| app.running.get(id).is_some())
}

/// The generation of an earlier request of the same names, where it runs in this process: all that a request can have
/// for which there is no place.
///
/// # Errors
/// Where the names mean another request.
pub fn running(app: &App, names: &Names, body_hash: &[u8; 32]) -> Result<Option<Earlier>, Fault> {
    let by_key = names.key.as_deref().and_then(|key| app.running.by_key(key));
    let handle = by_key.or_else(|| names.id.and_then(|id| app.running.get(id)));
    let Some(handle) = handle.filter(|handle| !handle.is_refused()) else { return Ok(None) };
    let earlier = Earlier::Running(handle);
    earlier.check(names, body_hash)?;
    Ok(Some(earlier))
}

impl Earlier {
    /// The generation that the key leads to, or else the id.
    pub async fn find(request: &RequestId, app: &App, names: &Names) -> Result<Option<Self>, Fault> {
        let failed = |error| store_fault(request, &error);
        let stored = |stored: StoredGeneration| Earlier::Stored(Box::new(stored));
        if let Some(key) = &names.key {
            if let Some(handle) = app.running.by_key(key) {
                return Ok(Some(Earlier::Running(handle)));
            }
            let not_before_us = chrono::Utc::now().timestamp_micros() - KEY_LIFE_US;
            let found = app.store.generation_by_key(key.clone(), not_before_us).await.map_err(failed)?;
            if let Some(found) = found {
                return Ok(Some(stored(found)));
            }
        }
        let Some(id) = names.id else { return Ok(None) };
        if let Some(handle) = app.running.get(id) {
            return Ok(Some(Earlier::Running(handle)));
        }
        Ok(app.store.generation(id).await.map_err(failed)?.map(stored))
    }

    /// Whether it is the generation that the request means: all its names agree, and it asked the same.
    fn check(&self, names: &Names, body_hash: &[u8; 32]) -> Result<(), Fault> {
        let (id, key, hash) = match self {
            Earlier::Running(handle) => (handle.id, handle.key.as_deref(), handle.body_hash.as_slice()),
            Earlier::Stored(stored) => (stored.id, stored.idempotency_key.as_deref(), stored.body_hash.as_slice()),
        };
        let mismatch = |message: String| Err(Fault::new(ErrorCode::IdempotencyMismatch, message));
        if names.id.is_some_and(|named| named != id) {
            return mismatch(format!("This Idempotency-Key came with another generationId, {id}."));
        }
        if names.key.as_deref().is_some_and(|named| key != Some(named)) {
            return mismatch(format!("Generation {id} was started without this Idempotency-Key."));
        }
        if hash != body_hash {
            return mismatch(format!(
                "Generation {id} was started by another body; use another generationId or Idempotency-Key."
            ));
        }
        Ok(())
    }
}

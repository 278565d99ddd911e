//! `POST /api/generate`, and what it shares with other routes that start something.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use tokio::time::Instant;

use super::connections::{Kind, Open};
use super::dialects::Tasks;
use super::error::ApiError;
use super::input::{self, Body, GenerateRequest, Named, Resume};
use super::launch::{Ask, Launched, Service, launch};
use super::repeat::{self, Earlier, Names};
use super::replay::{self, Replay};
use super::seats::{Counted, Presence};
use super::streams::{self, Reading};
use super::trace::RequestId;
use super::{App, Worker, caller, document};
use crate::config::OnDisconnect;
use crate::dialect::native::Verdict;
use crate::event::{ErrorCode, Fault, SyncId};
use crate::generation::{Ended, Handle, Share};
use crate::journal::{Cursor, Scope};
use crate::store::StoredGeneration;

/// Says that a request was answered by a generation that an earlier one started.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// In which form a request wants its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// As it is made.
    Stream,
    /// Whole.
    Document,
}

/// A body that may start something, and what came with it.
pub struct Received {
    /// The body.
    pub body: Body,
    /// `Idempotency-Key`.
    pub key: Option<Arc<str>>,
    /// When it came.
    pub received_at: Instant,
}

/// What is asked for, by whichever of the routes that start something.
pub struct Wanted {
    /// The request.
    pub body: GenerateRequest,
    /// By what it will be known again.
    pub names: Names,
    /// What happens when nobody reads any more, where the request does not say.
    pub on_disconnect: OnDisconnect,
    /// The memory that `body` takes.
    pub share: Share,
    /// When it came.
    pub received_at: Instant,
    /// The form of the answer.
    pub form: Form,
    /// From where on it is told, where the request came before, and in which dialect.
    pub resume: Resume,
}

/// `POST /api/generate`: starts a generation, or attaches to the one that the same request started before.
pub async fn generate(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
    worker: Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let refuse = |fault| ApiError::new(&request, fault);
    let Received { body: Body { bytes, share }, key, received_at } = receive(&request, payload, &app).await?;
    let body: GenerateRequest = input::parse(&request, &bytes)?;
    drop(bytes);
    let form = match body.stream {
        Some(true) => Form::Stream,
        Some(false) => Form::Document,
        None if input::accepts_event_stream(&request) => Form::Stream,
        None => Form::Document,
    };
    let after = input::last_event_id(&request)?;
    let names = Names { id: body.generation_id, key };
    if after.is_some() && !names.any() {
        let message = "A Last-Event-ID on a POST would ask again. Resume with GET /api/generations/{id}/events.";
        return Err(refuse(Fault::new(ErrorCode::ResumeWithGet, message)));
    }
    let resume = Resume {
        after: after.unwrap_or(SyncId::ZERO),
        compact: false,
        batch_ms: body.batch_ms.unwrap_or(0),
        dialect: input::dialect(&request)?,
    };
    let on_disconnect = app.config.stream.on_disconnect;
    respond(&request, &app, &worker, Wanted { body, names, on_disconnect, share, received_at, form, resume }).await
}

/// Reads the body of a request that may start something, unless there is no place for that and it can mean nothing that
/// runs.
pub async fn receive(request: &HttpRequest, payload: Payload, app: &App) -> Result<Received, ApiError> {
    let received_at = Instant::now();
    let refuse = |fault| ApiError::new(request, fault);
    let key = input::idempotency_key(request)?;
    if let Err(fault) = app.running.check_unread(key.as_deref()) {
        input::discard(request, payload).await;
        return Err(refuse(fault));
    }
    let body = input::body(request, payload, app).await?;
    if let Err(fault) = app.running.check() {
        // The little that says whether a generation that runs is meant costs less than all of it.
        let named: Named = input::parse(request, &body.bytes)?;
        if !repeat::may_be_known(app, key.as_deref(), named.generation_id) {
            return Err(refuse(fault));
        }
    }
    Ok(Received { body, key, received_at })
}

/// Answers with the generation that this request starts, or that the same one started before.
pub async fn respond(
    request: &HttpRequest,
    app: &Data<App>,
    worker: &Data<Worker>,
    wanted: Wanted,
) -> Result<HttpResponse, ApiError> {
    let refuse = |fault| ApiError::new(request, fault);
    let Wanted { mut body, names, on_disconnect, share, received_at, form, resume } = wanted;
    body.check().map_err(refuse)?;
    let body_hash = body.hash().map_err(refuse)?;
    let open = match form {
        Form::Stream => {
            let caller = caller::of(request, &app.config.server.trusted_proxies);
            Some(app.connections.open(Kind::Events, caller).map_err(refuse)?)
        }
        Form::Document => None,
    };
    let service = Service::of(request, app, worker);
    let ask = Ask { body, names, body_hash, message_id: None, on_disconnect, share, received_at };
    match launch(&service, ask).await.map_err(refuse)? {
        Launched::Attached(earlier) => attach(request, app, earlier, open, &resume).await,
        Launched::Started(handle, reader) => {
            let waited = received_at.elapsed();
            let patience = Duration::from_millis(app.config.stream.head_wait_ms).saturating_sub(waited);
            let resume = Resume { after: handle.before, ..resume };
            let cursor = cursor(app, &handle, handle.before);
            let Some(open) = open else {
                drop(cursor);
                let ended = ended(request, &handle).await?;
                drop(reader);
                return document::ended(request, &handle, &ended, resume.dialect);
            };
            handle.head(patience).await.map_err(refuse)?;
            let seat = app.seats.take_as_starter(handle.journal.id());
            let presence = Presence::new(seat, Counted::Generation(reader), open.reads(&handle.journal, handle.before));
            Ok(stream(app, &handle, cursor, presence, open, &resume))
        }
    }
}

fn cursor(app: &App, handle: &Handle, after: SyncId) -> Cursor {
    replay::cursor(app, &handle.journal, Scope::Generation(handle.id), after, None)
}

fn stream(app: &App, handle: &Handle, cursor: Cursor, presence: Presence, open: Open, resume: &Resume) -> HttpResponse {
    let tasks = [(handle.id, handle.task.clone())].into();
    let replay = Replay { verdict: Verdict::Exact, first: Vec::new(), cursor, after: resume.after, tasks };
    let (conversation, generation) = (handle.journal.id(), Some(handle.id));
    let Resume { batch_ms, dialect, .. } = *resume;
    let resumed = None;
    streams::respond(app, Reading { conversation, generation, replay, resumed, batch_ms, dialect, presence, open })
}

async fn ended(request: &HttpRequest, handle: &Handle) -> Result<Arc<Ended>, ApiError> {
    let gone = || ApiError::new(request, Fault::new(ErrorCode::Internal, "The generation is gone."));
    handle.ended().await.ok_or_else(gone)
}

async fn attach(
    request: &HttpRequest,
    app: &Data<App>,
    earlier: Earlier,
    open: Option<Open>,
    resume: &Resume,
) -> Result<HttpResponse, ApiError> {
    let refuse = |fault| ApiError::new(request, fault);
    let mut response = match (earlier, open) {
        (Earlier::Running(handle), Some(open)) => {
            let seat = app.seats.take(handle.journal.id()).map_err(refuse)?;
            let after = resume.after.max(handle.before);
            let presence = Presence::new(seat, Counted::Generation(handle.read()), open.reads(&handle.journal, after));
            handle.head(Duration::from_millis(app.config.stream.head_wait_ms)).await.map_err(refuse)?;
            let from = if resume.dialect.tells_whole() { handle.before } else { after };
            stream(app, &handle, cursor(app, &handle, from), presence, open, resume)
        }
        (Earlier::Running(handle), None) => {
            let reader = handle.read();
            let ended = ended(request, &handle).await?;
            drop(reader);
            document::ended(request, &handle, &ended, resume.dialect)?
        }
        (Earlier::Stored(stored), Some(open)) => {
            let reading = stored_reading(request, app, &stored, resume, open).await.map_err(refuse)?;
            streams::respond(app, reading)
        }
        (Earlier::Stored(stored), None) => document::stored(request, *stored, resume.dialect)?,
    };
    response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// A finished generation from its first event or from after a position, without a word about resuming where that is exact.
async fn stored_reading(
    request: &HttpRequest,
    app: &App,
    stored: &StoredGeneration,
    resume: &Resume,
    open: Open,
) -> Result<Reading, Fault> {
    let request_id = RequestId::of(request);
    replay::must_be_over(&request_id, stored)?;
    let seat = app.seats.take(stored.conversation)?;
    let journal = replay::journal(&request_id, app, stored.conversation).await?;
    let found = replay::generation(&request_id, app, &journal, stored.id, Some(stored), resume).await?;
    // Nothing comes after that position, which a stream that ends at once says as well.
    let replay = found.unwrap_or_else(|| Replay {
        verdict: Verdict::Exact,
        first: Vec::new(),
        cursor: replay::cursor(app, &journal, Scope::Generation(stored.id), resume.after, stored.last),
        after: resume.after,
        tasks: Tasks::default(),
    });
    let resumed = (replay.verdict != Verdict::Exact).then_some(resume.after);
    Ok(Reading {
        conversation: stored.conversation,
        generation: Some(stored.id),
        replay,
        resumed,
        batch_ms: resume.batch_ms,
        dialect: resume.dialect,
        presence: Presence::new(seat, Counted::Nobodys, open.reads(&journal, resume.after)),
        open,
    })
}

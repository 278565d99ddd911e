//! `POST /api/generate`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use tokio::time::Instant;

use super::ending::Ending;
use super::error::ApiError;
use super::input::{self, Body, GenerateRequest, Named, Resume};
use super::repeat::{self, Earlier, Names, Place};
use super::seats::Presence;
use super::sse::{self, Events, Shape};
use super::trace::RequestId;
use super::{App, Worker, batched, document, history, replay};
use crate::event::{
    ChatMessage, ConversationId, ErrorCode, Fault, Links, MessageId, PROTOCOL_VERSION, Role, Start, SyncId, rfc3339,
};
use crate::generation::{self, Admission, Deadlines, Ended, Handle, Identity, Job, Part, Reader, Share};
use crate::journal::{Begin, Cursor, InputMessage, MessageStart, Scope};
use crate::store::StoreError;
use crate::upstream::Routes;

/// How long a request waits for the database before it is refused, in milliseconds.
const STORE_WAIT_MS: u64 = 2_000;

/// Says that a request was answered by a generation that an earlier one started.
const IDEMPOTENT_REPLAYED: &str = "Idempotent-Replayed";

/// In which form a request wants its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Stream,
    Document,
}

/// Starts a generation, or attaches to the one that the same request started before.
pub async fn generate(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
    worker: Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let received_at = Instant::now();
    let refuse = |fault| ApiError::new(&request, fault);
    let key = input::idempotency_key(&request)?;
    if let Err(fault) = app.running.check_unread(key.as_deref()) {
        input::discard(&request, payload).await;
        return Err(refuse(fault));
    }
    let Body { bytes, share } = input::body(&request, payload, &app).await?;
    if let Err(fault) = app.running.check() {
        // The little that says whether a generation that runs is meant costs less than all of it.
        let named: Named = input::parse(&request, &bytes)?;
        if !repeat::may_be_known(&app, key.as_deref(), named.generation_id) {
            return Err(refuse(fault));
        }
    }
    let mut body: GenerateRequest = input::parse(&request, &bytes)?;
    drop(bytes);
    body.check().map_err(refuse)?;
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
    let routes = routes(&app, &body).map_err(refuse)?;
    let hash = body.hash().map_err(refuse)?;
    let batch_ms = body.batch_ms.unwrap_or(0);

    let resume = Resume { after: after.unwrap_or(SyncId::ZERO), compact: false, batch_ms };

    // Before anything is asked of the database, so that it feels nothing of requests that are refused.
    let admitted = match app.registry.backlog().is_full() {
        true => {
            let message = "Too much waits for the database already; ask again in a moment.";
            Err(Fault::new(ErrorCode::StoreUnavailable, message))
        }
        false => app.running.admit(body.conversation_id),
    };
    let admission = match admitted {
        Ok(admission) => admission,
        Err(fault) => match repeat::running(&app, &names, &hash).map_err(refuse)? {
            Some(earlier) => return attach(&request, &app, earlier, form, resume).await,
            None => return Err(refuse(fault)),
        },
    };
    let until = Instant::now() + Duration::from_millis(STORE_WAIT_MS);
    let (identity, starting) = match in_time(&request, until, repeat::place(&request, &app, names, hash)).await? {
        Place::Free(identity, starting) => (identity, starting),
        Place::Taken(earlier) => {
            drop((admission, share, body));
            return attach(&request, &app, earlier, form, resume).await;
        }
    };
    let asked = Asked { body, routes, identity, admission, share, received_at };
    let (handle, reader) = in_time(&request, until, start(&request, &app, &worker, asked)).await?;
    drop(starting);

    let cursor = cursor(&app, &handle, handle.before);
    let patience = Duration::from_millis(app.config.stream.head_wait_ms).saturating_sub(received_at.elapsed());
    match form {
        Form::Stream => {
            handle.head(patience).await.map_err(refuse)?;
            let mut head = sse::head(handle.journal.id(), Some(handle.id));
            let presence = Presence::of_reader(app.seats.take_as_starter(handle.journal.id()), reader);
            Ok(stream(&app, &mut head, cursor, presence, batch_ms))
        }
        Form::Document => {
            drop(cursor);
            let ended = ended(&request, &handle).await?;
            drop(reader);
            document::ended(&request, &handle, &ended)
        }
    }
}

/// What must be read before anything begins, unless the database takes too long for it.
async fn in_time<T>(
    request: &HttpRequest,
    until: Instant,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let late = || ApiError::store(request, &StoreError::Away(format!("no answer within {STORE_WAIT_MS} ms")));
    tokio::time::timeout_at(until, work).await.map_err(|_| late())?
}

fn cursor(app: &App, handle: &Handle, after: SyncId) -> Cursor {
    let scope = Scope::Generation(handle.id);
    Cursor::new(handle.journal.clone(), app.registry.pages().clone(), scope, after, None)
}

fn stream(
    app: &App,
    head: &mut HttpResponseBuilder,
    cursor: Cursor,
    presence: Presence,
    batch_ms: u64,
) -> HttpResponse {
    let ending = Ending::new(app.phase.subscribe());
    let events = Events::new(cursor, Vec::new(), Shape::Plain, app.config.stream.heartbeat_ms, presence, ending);
    batched::respond(head, events, batch_ms)
}

async fn ended(request: &HttpRequest, handle: &Handle) -> Result<Arc<Ended>, ApiError> {
    let gone = || ApiError::new(request, Fault::new(ErrorCode::Internal, "The generation is gone."));
    handle.ended().await.ok_or_else(gone)
}

/// A request that may start a generation.
struct Asked {
    body: GenerateRequest,
    /// For each of its models.
    routes: Vec<Routes>,
    identity: Identity,
    admission: Admission,
    share: Share,
    received_at: Instant,
}

/// Who may be asked for each of the models that a request names. One that lacks its provider's key is a failure of that
/// message alone, unless there is no other.
fn routes(app: &App, body: &GenerateRequest) -> Result<Vec<Routes>, Fault> {
    let routes = body.models().into_iter().map(|model| app.catalogue.routes(model)).collect::<Result<Vec<_>, _>>()?;
    if routes.iter().all(|routes| routes.usable.is_empty())
        && let Some(skipped) = routes.iter().flat_map(|routes| &routes.skipped).next()
    {
        return Err(skipped.fault.clone());
    }
    Ok(routes)
}

/// The row of a message that is about to be made, by the first model that can be asked as far as is known.
fn output(routes: &Routes, metadata: &BTreeMap<String, String>) -> MessageStart {
    let usable = routes.usable.first().map(|route| (route.name(), route.model()));
    let skipped = || routes.skipped.first().map(|skipped| (skipped.provider.as_str(), skipped.model.as_str()));
    let (provider, model) = usable.or_else(skipped).unwrap_or_default();
    MessageStart {
        id: MessageId::new(),
        provider: provider.to_owned(),
        model: model.to_owned(),
        metadata: metadata.clone(),
    }
}

/// Starts a generation. Its job takes the texts along, so that nobody here holds them while it goes on.
async fn start(
    request: &HttpRequest,
    app: &Data<App>,
    worker: &Worker,
    asked: Asked,
) -> Result<(Arc<Handle>, Reader), ApiError> {
    let Asked { mut body, routes, identity, mut admission, mut share, received_at } = asked;
    let conversation = body.conversation_id.unwrap_or_else(ConversationId::new);
    admission.enter(conversation).map_err(|fault| ApiError::new(request, fault))?;
    let (journal, new_conversation) = match body.conversation_id {
        None => (app.registry.create(conversation), true),
        Some(id) => app.registry.open_or_create(id).await.map_err(|error| ApiError::pages(request, error))?,
    };
    let mut messages = match new_conversation {
        true => Vec::new(),
        false => history::read(request, app, journal.id(), &mut share).await?,
    };
    let at_us = chrono::Utc::now().timestamp_micros();
    let input = body.take_input();
    messages.extend(input.iter().cloned());
    let id = identity.id;
    let input: Vec<InputMessage> = input.into_iter().map(input_message).collect();
    let metadata = std::mem::take(&mut body.metadata);
    let output: Vec<MessageStart> = routes.iter().map(|routes| output(routes, &metadata)).collect();
    let messages_made: Vec<MessageId> = output.iter().map(|output| output.id).collect();
    let begin = Begin {
        conversation: journal.id(),
        new_conversation,
        generation: id,
        idempotency_key: identity.key.clone(),
        body_hash: identity.body_hash,
        request_id: RequestId::of(request).to_string(),
        task_id: body.task_id.clone(),
        output,
        at_us,
        input,
    };
    let start = |output: &MessageStart| Start {
        protocol: PROTOCOL_VERSION,
        conversation_id: journal.id(),
        message_id: output.id,
        generation_id: id,
        role: Role::Assistant,
        reply_to: begin.input.last().map(|input| input.id),
        provider: output.provider.clone(),
        model: output.model.clone(),
        created_at: rfc3339(at_us),
        links: Links::new(&app.config.server.base_path, journal.id(), id),
        streaming: true,
    };
    let parts = begin.output.iter().zip(routes).map(|(output, routes)| Part { start: start(output), routes }).collect();
    let stream = &app.config.stream;
    let handle = Handle::new(identity, body.task_id.as_deref(), &messages_made, journal);
    let reader = handle.read();
    app.running.insert(handle.clone());
    generation::spawn(Job {
        handle: handle.clone(),
        running: app.running.clone(),
        admission,
        request: body.model_request(messages),
        begin,
        parts,
        client: worker.client.clone(),
        on_disconnect: body.on_disconnect().unwrap_or(stream.on_disconnect),
        deadlines: Deadlines {
            store_ms: STORE_WAIT_MS,
            first_byte_ms: stream.first_byte_timeout_ms,
            silence_ms: stream.silence_timeout_ms,
            total_ms: stream.total_timeout_ms,
            end_ms: app.config.store.max_end_wait_ms,
        },
        retry: app.config.retry,
        max_answer_bytes: app.config.limits.max_answer_bytes,
        share,
        received_at,
    });
    Ok((handle, reader))
}

fn input_message(message: ChatMessage) -> InputMessage {
    InputMessage {
        id: MessageId::new(),
        role: message.role,
        content: message.content,
        tool_calls: message.tool_calls,
        tool_call_id: message.tool_call_id,
    }
}

async fn attach(
    request: &HttpRequest,
    app: &Data<App>,
    earlier: Earlier,
    form: Form,
    resume: Resume,
) -> Result<HttpResponse, ApiError> {
    let mut response = match (earlier, form) {
        (Earlier::Running(handle), Form::Stream) => {
            let seat = app.seats.take(handle.journal.id()).map_err(|fault| ApiError::new(request, fault))?;
            let presence = Presence::of_reader(seat, handle.read());
            let patience = Duration::from_millis(app.config.stream.head_wait_ms);
            handle.head(patience).await.map_err(|fault| ApiError::new(request, fault))?;
            let mut head = sse::head(handle.journal.id(), Some(handle.id));
            stream(app, &mut head, cursor(app, &handle, resume.after.max(handle.before)), presence, resume.batch_ms)
        }
        (Earlier::Running(handle), Form::Document) => {
            let reader = handle.read();
            let ended = ended(request, &handle).await?;
            drop(reader);
            document::ended(request, &handle, &ended)?
        }
        (Earlier::Stored(stored), Form::Stream) => replay::stored_stream(request, app, &stored, resume).await?,
        (Earlier::Stored(stored), Form::Document) => document::stored(request, *stored)?,
    };
    let replayed = actix_web::http::header::HeaderValue::from_static("true");
    response.headers_mut().insert(
        actix_web::http::header::HeaderName::from_bytes(IDEMPOTENT_REPLAYED.as_bytes())
            .map_err(|_| ApiError::new(request, Fault::new(ErrorCode::Internal, "a header name is wrong")))?,
        replayed,
    );
    Ok(response)
}

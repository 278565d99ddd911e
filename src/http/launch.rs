//! Starts generations, whoever asks and over whatever: or finds the one that the same request started before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::Data;
use tokio::time::Instant;

use super::error::{pages_fault, store_fault};
use super::input::GenerateRequest;
use super::repeat::{self, Earlier, Names, Place};
use super::trace::RequestId;
use super::{App, Worker, history};
use crate::config::OnDisconnect;
use crate::event::{
    ChatMessage, ConversationId, ErrorCode, Fault, Links, MessageId, PROTOCOL_VERSION, Role, Start, rfc3339,
};
use crate::generation::{self, Admission, Deadlines, Handle, Identity, Job, Part, Reader, Share};
use crate::journal::{Begin, InputMessage, MessageStart};
use crate::store::StoreError;
use crate::upstream::Routes;

/// How long a request waits for the database before it is refused, in milliseconds.
const STORE_WAIT_MS: u64 = 2_000;

/// With what a request is served. One for each request, or for all that comes over one socket.
#[derive(Clone)]
pub struct Service {
    /// What all workers share.
    pub app: Data<App>,
    /// The worker on which generations of this request run.
    pub worker: Data<Worker>,
    /// The request, for logs and errors.
    pub request_id: RequestId,
}

impl Service {
    /// For a request that has just come.
    pub fn of(request: &HttpRequest, app: &Data<App>, worker: &Data<Worker>) -> Self {
        Service { app: app.clone(), worker: worker.clone(), request_id: RequestId::of(request) }
    }
}

/// What is asked.
pub struct Ask {
    /// The request, which has been checked.
    pub body: GenerateRequest,
    /// By what it will be known again.
    pub names: Names,
    /// Tells it from another request of the same names.
    pub body_hash: [u8; 32],
    /// The id that the answer is to have, where the client chose it. Only where `names` has a key that follows from it, so
    /// that it is not taken.
    pub message_id: Option<MessageId>,
    /// What happens when nobody reads any more, where the request does not say.
    pub on_disconnect: OnDisconnect,
    /// The memory that `body` takes.
    pub share: Share,
    /// When it came.
    pub received_at: Instant,
}

/// What came of it.
pub enum Launched {
    /// A generation began. Whoever asked counts as its first reader.
    Started(Arc<Handle>, Reader),
    /// The same request came before.
    Attached(Earlier),
}

/// Starts a generation, unless an earlier request of the same names did. It is not stored yet when this returns: see
/// [`Handle::head`].
///
/// # Errors
/// Why nothing was started.
pub async fn launch(service: &Service, ask: Ask) -> Result<Launched, Fault> {
    let Service { app, request_id, .. } = service;
    let routes = routes(app, &ask.body)?;
    // Before anything is asked of the database, so that it feels nothing of requests that are refused.
    let admitted = match app.registry.backlog().is_full() {
        true => {
            let message = "Too much waits for the database already; ask again in a moment.";
            Err(Fault::new(ErrorCode::StoreUnavailable, message))
        }
        false => app.running.admit(ask.body.conversation_id),
    };
    let admission = match admitted {
        Ok(admission) => admission,
        Err(fault) => match repeat::running(app, &ask.names, &ask.body_hash)? {
            Some(earlier) => return Ok(Launched::Attached(earlier)),
            None => return Err(fault),
        },
    };
    let until = Instant::now() + Duration::from_millis(STORE_WAIT_MS);
    let place = repeat::place(request_id, app, ask.names.clone(), ask.body_hash);
    let (identity, starting) = match in_time(request_id, until, place).await? {
        Place::Free(identity, starting) => (identity, starting),
        Place::Taken(earlier) => return Ok(Launched::Attached(earlier)),
    };
    let started = in_time(request_id, until, start(service, ask, routes, identity, admission)).await;
    drop(starting);
    started.map(|(handle, reader)| Launched::Started(handle, reader))
}

/// What must be read before anything begins, unless the database takes too long for it.
async fn in_time<T>(
    request: &RequestId,
    until: Instant,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let late = || store_fault(request, &StoreError::Away(format!("no answer within {STORE_WAIT_MS} ms")));
    tokio::time::timeout_at(until, work).await.map_err(|_| late())?
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
fn output(id: MessageId, routes: &Routes, metadata: &BTreeMap<String, String>) -> MessageStart {
    let usable = routes.usable.first().map(|route| (route.name(), route.model()));
    let skipped = || routes.skipped.first().map(|skipped| (skipped.provider.as_str(), skipped.model.as_str()));
    let (provider, model) = usable.or_else(skipped).unwrap_or_default();
    MessageStart { id, provider: provider.to_owned(), model: model.to_owned(), metadata: metadata.clone() }
}

/// Starts a generation. Its job takes the texts along, so that nobody here holds them while it goes on.
async fn start(
    service: &Service,
    ask: Ask,
    routes: Vec<Routes>,
    identity: Identity,
    mut admission: Admission,
) -> Result<(Arc<Handle>, Reader), Fault> {
    let Service { app, worker, request_id } = service;
    let Ask { mut body, message_id, on_disconnect, mut share, received_at, .. } = ask;
    let conversation = body.conversation_id.unwrap_or_else(ConversationId::new);
    admission.enter(conversation)?;
    let (journal, new_conversation) = match body.conversation_id {
        None => (app.registry.create(conversation), true),
        Some(id) => app.registry.open_or_create(id).await.map_err(|error| pages_fault(request_id, error))?,
    };
    let mut messages = match new_conversation {
        true => Vec::new(),
        false => history::read(request_id, app, journal.id(), &mut share).await?,
    };
    let at_us = chrono::Utc::now().timestamp_micros();
    let input = body.take_input();
    messages.extend(input.iter().cloned());
    let id = identity.id;
    let input: Vec<InputMessage> = input.into_iter().map(input_message).collect();
    let metadata = std::mem::take(&mut body.metadata);
    let mut ids = message_id.into_iter().chain(std::iter::repeat_with(MessageId::new));
    let output: Vec<MessageStart> =
        routes.iter().zip(&mut ids).map(|(routes, id)| output(id, routes, &metadata)).collect();
    let messages_made: Vec<MessageId> = output.iter().map(|output| output.id).collect();
    let begin = Begin {
        conversation: journal.id(),
        new_conversation,
        generation: id,
        idempotency_key: identity.key.clone(),
        body_hash: identity.body_hash,
        request_id: request_id.to_string(),
        task_id: body.task_id.clone(),
        output,
        at_us,
        input,
    };
    let reply_to = begin.input.last().map(|input| input.id);
    let start = |output: &MessageStart| Start {
        protocol: PROTOCOL_VERSION,
        conversation_id: journal.id(),
        message_id: output.id,
        generation_id: id,
        role: Role::Assistant,
        reply_to,
        provider: output.provider.clone(),
        model: output.model.clone(),
        created_at: rfc3339(at_us),
        links: Links::new(&app.config.server.base_path, journal.id(), id),
        streaming: true,
    };
    let parts = begin.output.iter().zip(routes).map(|(output, routes)| Part { start: start(output), routes }).collect();
    let stream = &app.config.stream;
    let handle = Handle::new(identity, body.task_id.as_deref(), &messages_made, reply_to, journal);
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
        on_disconnect: body.on_disconnect().unwrap_or(on_disconnect),
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

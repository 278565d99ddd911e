//! Agent steps: one socket for one session, in which somebody talks to agents and is told each of their steps.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::subscription::Subscription;
use super::{Outbox, Talk};
use crate::config::AgentConfig;
use crate::dialect::native::Verdict;
use crate::dialect::steps::{Settings, Steps};
use crate::event::{ConversationId, ErrorCode, Fault, SyncId};
use crate::http::connections::{Kind, Open};
use crate::http::dialects::DialectName;
use crate::http::error::{ApiError, store_fault};
use crate::http::input::{self, GenerateRequest, Resume};
use crate::http::launch::{Ask, Launched, Service, launch};
use crate::http::repeat::Names;
use crate::http::seats::{Counted, Presence};
use crate::http::speaking::Speaking;
use crate::http::{App, Worker, replay};
use crate::journal::Scope;
use crate::store::External;

/// The longest name of a session, in characters, as of all ids that are not ours.
const MAX_ID_CHARS: usize = 128;

#[derive(Deserialize)]
struct ChatQuery {
    #[serde(alias = "lastSyncId")]
    last_sync_id: Option<String>,
    stream: Option<String>,
}

/// `GET /ws/chat/{session_id}`.
pub async fn chat(
    request: HttpRequest,
    payload: Payload,
    session: Path<String>,
    app: Data<App>,
    worker: Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let id = session.into_inner();
    if id.chars().count() > MAX_ID_CHARS || id.chars().any(char::is_control) {
        let message =
            format!("A session's id has at most {MAX_ID_CHARS} characters, none of them a control character.");
        return Err(ApiError::malformed(&request, message));
    }
    let query = Query::<ChatQuery>::from_query(request.query_string())
        .map_err(|error| ApiError::malformed(&request, format!("The query does not fit: {error}.")))?
        .into_inner();
    let after = match query.last_sync_id.as_deref() {
        None | Some("") => None,
        Some(text) => Some(
            text.parse::<u64>()
                .map_err(|_| ApiError::malformed(&request, format!("last_sync_id is a whole number, not {text:?}.")))?,
        ),
    };
    let tokens = match query.stream.as_deref() {
        None | Some("" | "steps") => false,
        Some("tokens") => true,
        Some(other) => return Err(ApiError::malformed(&request, format!("stream is steps or tokens, not {other:?}."))),
    };
    let service = Service::of(&request, &app, &worker);
    let after = after.map(|after| SyncId::new(after.min(i64::MAX as u64)));
    super::open(&request, payload, &app, Kind::Steps, |open| {
        let party = Party { service, open, external: External { kind: "session", id }, tokens };
        Session::new(party, after)
    })
}

/// Who talks, and how.
#[derive(Clone)]
struct Party {
    service: Service,
    open: Rc<Open>,
    external: External,
    tokens: bool,
}

/// What one socket says and hears.
struct Session {
    party: Party,
    /// The session's conversation, once it has begun.
    reading: Option<Subscription>,
    /// What the last message asked for, until that is done.
    work: Option<LocalBoxFuture<'static, Result<Done, Fault>>>,
}

/// What came of a message.
#[derive(Default)]
struct Done {
    /// A conversation that is read from now on.
    reading: Option<Subscription>,
    /// What is said before that.
    reply: Option<Value>,
}

#[derive(Deserialize)]
struct Heard {
    #[serde(rename = "type")]
    kind: String,
    payload: Option<Value>,
}

#[derive(Deserialize)]
struct Chat {
    message: String,
    #[serde(alias = "agentName")]
    agent_name: Option<String>,
    #[serde(alias = "enableReasoning")]
    enable_reasoning: Option<bool>,
}

impl Session {
    fn new(party: Party, after: Option<SyncId>) -> Self {
        let work = resume(party.clone(), after).boxed_local();
        Session { party, reading: None, work: Some(work) }
    }

    fn begin(&self, text: &str) -> Result<Request, Fault> {
        let wrong = |message: String| Fault::new(ErrorCode::InvalidRequest, message);
        let heard: Heard =
            serde_json::from_str(text).map_err(|error| wrong(format!("The message cannot be read: {error}.")))?;
        match heard.kind.as_str() {
            "ping" => Ok(Request::Ping),
            "chat" => {
                let payload = heard.payload.unwrap_or(Value::Null);
                let chat: Chat = serde_json::from_value(payload)
                    .map_err(|error| wrong(format!("The payload of chat does not fit: {error}.")))?;
                let body = GenerateRequest::to_agent(
                    chat.message,
                    &self.agent(chat.agent_name.as_deref())?,
                    chat.enable_reasoning,
                );
                body.check().map_err(|fault| match fault.message.as_str() {
                    "prompt is empty." => wrong("payload.message is empty.".to_owned()),
                    _ => fault,
                })?;
                Ok(Request::Chat(Box::new(body)))
            }
            other => {
                let shown: String = other.chars().take(32).collect();
                Err(wrong(format!("There is no message of type {shown:?}; there are chat and ping.")))
            }
        }
    }

    fn agent(&self, name: Option<&str>) -> Result<AgentConfig, Fault> {
        let agents = &self.party.service.app.config.agents;
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(AgentConfig::default()) };
        agents.get(name).cloned().ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            let known: Vec<&str> = agents.keys().map(String::as_str).collect();
            let message = format!("There is no agent {shown:?}; there are: {}.", known.join(", "));
            Fault::new(ErrorCode::InvalidRequest, message)
        })
    }
}

enum Request {
    Ping,
    Chat(Box<GenerateRequest>),
}

/// Reads the session's conversation, where there is one.
async fn resume(party: Party, after: Option<SyncId>) -> Result<Done, Fault> {
    let Service { app, request_id, .. } = &party.service;
    let found = app.store.external(party.external.clone()).await.map_err(|error| store_fault(request_id, &error))?;
    let (verdict, reading) = match found {
        Some(found) => {
            let (verdict, reading) = read(&party, found.id, after).await?;
            (verdict, Some(reading))
        }
        None if after.is_none_or(|after| after == SyncId::ZERO) => (Verdict::Exact, None),
        None => (Verdict::Unknown, None),
    };
    let reply = after.map(|after| json!({ "type": "resumed", "verdict": verdict, "last_sync_id": after }));
    Ok(Done { reading, reply })
}

/// Reads a conversation after a position, or what comes from now on. What a position cannot tell is told from the beginning:
/// steps are whole, so that this is no longer than it has to be.
async fn read(party: &Party, id: ConversationId, after: Option<SyncId>) -> Result<(Verdict, Subscription), Fault> {
    let Party { service: Service { app, request_id, .. }, open, tokens, .. } = party;
    // Before anything is asked of the database, so that it feels nothing of readers that are refused.
    let seat = app.seats.take(id)?;
    let journal = replay::journal(request_id, app, id).await?;
    let counted = Counted::Conversation(app.running.attend(id));
    let past = journal.last();
    let at = after.unwrap_or(past);
    let resume = Resume { after: at, compact: false, batch_ms: 0, dialect: DialectName::Native };
    let verdict = match after {
        None => Verdict::Exact,
        Some(_) => replay::verdict(request_id, app, &journal, &resume).await?,
    };
    let after = if verdict == Verdict::Exact { at } else { journal.trimmed() };
    let early = replay::early(request_id, app, &journal, after).await?;
    let cursor = replay::cursor(app, &journal, Scope::Conversation, early.from, None);
    let steps = Steps::new(Settings { tokens: *tokens, after, turns: early.turns, past });
    let presence = Presence::new(seat, counted, open.reads(&journal, after));
    Ok((verdict, Subscription::spoken(cursor, Speaking::new(Box::new(steps), Duration::ZERO), presence)))
}

/// Starts what is asked for. The session's conversation is read from before that.
async fn say(party: Party, mut body: GenerateRequest, read_already: Option<ConversationId>) -> Result<Done, Fault> {
    let received_at = Instant::now();
    let Service { app, request_id, .. } = &party.service;
    // Two that come at the same moment for one session are told the same conversation by the database.
    let entered = app.store.enter_external(party.external.clone()).await;
    let id = entered.map_err(|error| store_fault(request_id, &error))?.id;
    let mut done = Done::default();
    if read_already != Some(id) {
        done.reading = Some(read(&party, id, None).await?.1);
    }
    let mut share = app.budget.share();
    if !share.grow(body.input_bytes()) {
        return Err(input::no_memory());
    }
    body.conversation_id = Some(id);
    let body_hash = body.hash()?;
    let on_disconnect = app.config.stream.on_disconnect;
    let names = Names::default();
    let ask = Ask { body, names, body_hash, message_id: None, on_disconnect, share, received_at };
    if let Launched::Started(handle, reader) = launch(&party.service, ask).await? {
        // What is stored is told by its steps, a failure among them.
        handle.head(Duration::ZERO).await?;
        drop(reader);
    }
    Ok(done)
}

impl Talk for Session {
    fn hear(&mut self, text: &str, out: &mut Outbox) {
        match self.begin(text) {
            Ok(Request::Ping) => out.json(&json!({ "type": "pong" })),
            Ok(Request::Chat(body)) => {
                let read_already = self.reading.as_ref().map(Subscription::conversation);
                self.work = Some(say(self.party.clone(), *body, read_already).boxed_local());
            }
            Err(fault) => self.refuse(fault, out),
        }
    }

    fn refuse(&mut self, fault: Fault, out: &mut Outbox) {
        out.json(&error(&self.party.service, &fault));
    }

    fn is_listening(&self) -> bool {
        self.work.is_none()
    }

    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        if let Some(work) = &mut self.work
            && let Poll::Ready(done) = work.poll_unpin(cx)
        {
            self.work = None;
            match done {
                Ok(Done { reading, reply }) => {
                    if let Some(reply) = reply {
                        out.json(&reply);
                    }
                    self.reading = reading.or_else(|| self.reading.take());
                }
                Err(fault) => self.refuse(fault, out),
            }
        }
        if let Some(reading) = &mut self.reading
            && let Poll::Ready(why) = reading.poll(cx, out)
        {
            self.reading = None;
            let message = "The session ended here: deleted, or gone to another process. Come back with last_sync_id.";
            self.refuse(why.unwrap_or_else(|| Fault::new(ErrorCode::NotFound, message)), out);
        }
    }

    fn is_idle(&self) -> bool {
        let running = &self.party.service.app.running;
        let runs = |reading: &Subscription| !running.of(reading.conversation()).is_empty();
        self.work.is_none() && !self.reading.as_ref().is_some_and(runs)
    }
}

/// A fault, in the spelling of these sockets.
pub(super) fn error(service: &Service, fault: &Fault) -> Value {
    let mut value = json!({
        "type": "error",
        "code": fault.code,
        "message": fault.message,
        "retryable": fault.retryable,
        "request_id": service.request_id.to_string(),
    });
    if let Some(ms) = fault.retry_after_ms {
        value["retry_after_ms"] = json!(ms);
    }
    value
}

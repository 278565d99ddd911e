//! Progress events: one socket that is told of every task, or of the one that it names.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::web::{Data, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::steps::error;
use super::subscription::Subscription;
use super::{Outbox, Talk};
use crate::event::{ErrorCode, Fault, SyncId};
use crate::generation::{Handle, State};
use crate::http::connections::{Kind, Open};
use crate::http::error::ApiError;
use crate::http::launch::Service;
use crate::http::seats::{Counted, Presence};
use crate::http::{App, Worker, dialects, replay};
use crate::journal::Scope;

/// The longest name of a task, in bytes, as in a request.
const MAX_TASK_BYTES: usize = 256;

#[derive(Deserialize)]
struct ProgressQuery {
    #[serde(alias = "taskId")]
    task_id: Option<String>,
}

/// `GET /ws/progress`.
pub async fn progress(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
    worker: Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let query = Query::<ProgressQuery>::from_query(request.query_string())
        .map_err(|error| ApiError::malformed(&request, format!("The query does not fit: {error}.")))?;
    let task = query.into_inner().task_id.filter(|task| !task.is_empty());
    if task.as_ref().is_some_and(|task| task.len() > MAX_TASK_BYTES) {
        return Err(ApiError::malformed(&request, format!("task_id takes at most {MAX_TASK_BYTES} bytes.")));
    }
    let service = Service::of(&request, &app, &worker);
    super::open(&request, payload, &app, Kind::Progress, |open| Session::new(service, open, task))
}

/// What one socket says and hears.
struct Session {
    service: Service,
    open: Rc<Open>,
    /// The task that it waits for; `None` means all.
    task: Option<String>,
    begun: watch::Receiver<u64>,
    /// Ready when another generation has begun.
    another: Option<LocalBoxFuture<'static, ()>>,
    /// Those that were met, as long as they run.
    known: Vec<Arc<Handle>>,
    readings: Vec<(Arc<Handle>, Subscription)>,
}

impl Session {
    fn new(service: Service, open: Rc<Open>, task: Option<String>) -> Self {
        let begun = service.app.running.begun();
        Session { service, open, task, begun, another: None, known: Vec::new(), readings: Vec::new() }
    }

    /// Looks for generations that have begun since the last look, until there is none and this task is woken by the next.
    fn look(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        loop {
            if let Some(another) = &mut self.another
                && another.poll_unpin(cx).is_pending()
            {
                return;
            }
            // Seen before the look, so that what begins meanwhile is seen as well.
            self.begun.mark_unchanged();
            let mut begun = self.begun.clone();
            self.another = Some(
                async move {
                    // The sender lives as long as the process serves.
                    _ = begun.changed().await;
                }
                .boxed_local(),
            );
            self.meet(out);
        }
    }

    fn meet(&mut self, out: &mut Outbox) {
        let running = self.service.app.running.of_task(self.task.as_deref());
        for handle in &running {
            if !self.known.iter().any(|known| known.id == handle.id) {
                match self.read(handle) {
                    Ok(reading) => self.readings.push((handle.clone(), reading)),
                    Err(fault) => out.json(&error(&self.service, &fault)),
                }
            }
        }
        self.known = running;
        // What could not even be stored says nothing and has no end.
        let is_told = |handle: &Handle| !matches!(handle.state(), State::Ended(ended) if ended.last == SyncId::ZERO);
        self.readings.retain(|(handle, _)| is_told(handle));
    }

    fn read(&self, handle: &Arc<Handle>) -> Result<Subscription, Fault> {
        let app = &self.service.app;
        let seat = app.seats.take(handle.journal.id())?;
        // Whoever watches everything is no reason to go on with anything.
        let counted = match self.task {
            Some(_) => Counted::Generation(handle.read()),
            None => Counted::Nobodys,
        };
        let cursor = replay::cursor(app, &handle.journal, Scope::Generation(handle.id), handle.before, None);
        let speaking = dialects::progress(app, handle.before, [(handle.id, handle.task.clone())].into(), true);
        let presence = Presence::new(seat, counted, self.open.reads(&handle.journal, handle.before));
        Ok(Subscription::spoken(cursor, speaking, presence))
    }
}

#[derive(Deserialize)]
struct Heard {
    #[serde(rename = "type")]
    kind: String,
}

impl Talk for Session {
    fn hear(&mut self, text: &str, out: &mut Outbox) {
        let wrong = |message: String| Fault::new(ErrorCode::InvalidRequest, message);
        match serde_json::from_str::<Heard>(text) {
            Ok(Heard { kind }) if kind == "ping" => out.json(&json!({ "type": "pong" })),
            Ok(Heard { kind }) => {
                let shown: String = kind.chars().take(32).collect();
                let message =
                    format!("There is no message of type {shown:?}; this socket is told, and hears only ping.");
                self.refuse(wrong(message), out);
            }
            Err(error) => self.refuse(wrong(format!("The message cannot be read: {error}.")), out),
        }
    }

    fn refuse(&mut self, fault: Fault, out: &mut Outbox) {
        out.json(&error(&self.service, &fault));
    }

    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        self.look(cx, out);
        let mut over = Vec::new();
        for (at, (_, reading)) in self.readings.iter_mut().enumerate() {
            if let Poll::Ready(why) = reading.poll(cx, out) {
                over.push((at, why));
            }
        }
        for (at, why) in over.into_iter().rev() {
            self.readings.remove(at);
            if let Some(fault) = why {
                self.refuse(fault, out);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.readings.is_empty()
    }
}

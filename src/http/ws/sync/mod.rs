//! The sync engine: one socket, many conversations, each read by a cursor of its own.

mod cancel;
mod reply;
mod request;
mod say;
mod subscribe;

use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use self::reply::{Reply, Tag};
use self::request::{Asked, Cancel, Message, Request, Subscribe, Unsubscribe};
use super::subscription::Subscription;
use super::{Outbox, Talk};
use crate::dialect::sync::Spelling;
use crate::event::{ConversationId, ErrorCode, Fault};
use crate::http::connections::Open;
use crate::http::launch::Service;

/// What one socket says and hears.
pub struct Session {
    service: Service,
    open: Rc<Open>,
    /// How the client spells; decided by its first message.
    spelling: Option<Spelling>,
    subscriptions: Vec<Subscription>,
    /// What the last message asked for, until that is done.
    work: Option<LocalBoxFuture<'static, Done>>,
}

/// What came of a message.
struct Done {
    reply: Result<Reply, Fault>,
    tag: Tag,
    /// A conversation that is read from now on.
    subscription: Option<Subscription>,
}

impl Session {
    /// Of a socket that was opened just now.
    pub fn new(service: Service, open: Rc<Open>) -> Self {
        Session { service, open, spelling: None, subscriptions: Vec::new(), work: None }
    }

    fn spelling(&self) -> Spelling {
        self.spelling.unwrap_or(Spelling::Camel)
    }

    fn say(&self, reply: Result<Reply, Fault>, tag: &Tag, out: &mut Outbox) {
        reply::write(self.spelling(), &self.service.request_id, reply, tag, out);
    }

    fn carry_out(&mut self, request: Request, tag: Tag, out: &mut Outbox) {
        let begun = match request {
            Request::Ping => {
                self.say(Ok(Reply::Pong), &tag, out);
                return;
            }
            Request::Unsubscribe(request) => {
                let left = self.unsubscribe(&request);
                self.say(left.map(|conversation| Reply::Unsubscribed { conversation, why: None }), &tag, out);
                return;
            }
            Request::Subscribe(request) => self.subscribe(request),
            Request::Message(message) => self.message(*message, &tag),
            Request::Cancel(request) => Ok(self.cancel(request)),
        };
        match begun {
            Ok(work) => {
                self.work =
                    Some(work.map(move |(reply, subscription)| Done { reply, tag, subscription }).boxed_local());
            }
            Err(fault) => self.say(Err(fault), &tag, out),
        }
    }

    fn unsubscribe(&mut self, request: &Unsubscribe) -> Result<ConversationId, Fault> {
        let at = match (request.conversation_id, &self.subscriptions[..]) {
            (Some(id), all) => all.iter().position(|known| known.conversation() == id),
            (None, [_]) => Some(0),
            (None, _) => return Err(conversation_required("unsubscribe")),
        };
        let none = || Fault::new(ErrorCode::NotFound, "This socket has no such subscription.");
        Ok(self.subscriptions.remove(at.ok_or_else(none)?).conversation())
    }

    fn subscribe(&mut self, request: Subscribe) -> Result<Work, Fault> {
        let most = self.service.app.config.websocket.max_subscriptions;
        if self.subscriptions.len() >= most {
            let message = format!("A socket has at most {most} subscriptions (websocket.max_subscriptions).");
            return Err(Fault::new(ErrorCode::TooManyStreams, message).with_retryable(false));
        }
        let id = request.conversation_id;
        if let Some(id) = id.filter(|id| self.subscriptions.iter().any(|known| known.conversation() == *id)) {
            let message = format!("This socket reads {id} already; unsubscribe first to begin elsewhere.");
            return Err(Fault::new(ErrorCode::AlreadySubscribed, message));
        }
        let features = request.features()?;
        let spelling = self.spelling();
        let (service, open) = (self.service.clone(), self.open.clone());
        Ok(Box::pin(async move {
            match subscribe::subscribe(&service, &open, &request, spelling, features).await {
                Ok((reply, subscription)) => (Ok(reply), Some(subscription)),
                Err(fault) => (Err(fault), None),
            }
        }))
    }

    fn message(&mut self, message: Message, tag: &Tag) -> Result<Work, Fault> {
        let (named, only) = match (message.conversation_id(), &self.subscriptions[..]) {
            (Some(id), _) => (Some(id), None),
            (None, []) => (None, None),
            (None, [only]) => (None, Some(only.conversation())),
            (None, _) => return Err(conversation_required("message")),
        };
        let target = say::Target { named, only };
        let read: Vec<ConversationId> = self.subscriptions.iter().map(Subscription::conversation).collect();
        let most = self.service.app.config.websocket.max_subscriptions;
        if target.conversation().is_none_or(|id| !read.contains(&id)) && read.len() >= most {
            let message = format!(
                "A message subscribes its sender, and a socket has at most {most} subscriptions \
                 (websocket.max_subscriptions)."
            );
            return Err(Fault::new(ErrorCode::TooManyStreams, message).with_retryable(false));
        }
        let spelling = self.spelling();
        let (service, open, id) = (self.service.clone(), self.open.clone(), tag.id.clone());
        Ok(Box::pin(async move {
            match say::say(&service, &open, message, id.as_deref(), target, &read, spelling).await {
                Ok((reply, subscription)) => (Ok(reply), subscription),
                Err(fault) => (Err(fault), None),
            }
        }))
    }

    fn cancel(&mut self, request: Cancel) -> Work {
        let service = self.service.clone();
        let read: Vec<ConversationId> = self.subscriptions.iter().map(Subscription::conversation).collect();
        Box::pin(async move { (cancel::cancel(&service, &request, &read).await, None) })
    }

    /// Goes on with what the last message asked for.
    fn work(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        let Some(work) = &mut self.work else { return };
        let Poll::Ready(Done { reply, tag, subscription }) = work.poll_unpin(cx) else { return };
        self.work = None;
        self.say(reply, &tag, out);
        self.subscriptions.extend(subscription);
    }

    /// Writes what there is to read.
    fn read(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        let mut over = Vec::new();
        for (at, subscription) in self.subscriptions.iter_mut().enumerate() {
            if let Poll::Ready(why) = subscription.poll(cx, out) {
                over.push((at, why));
            }
        }
        for (at, why) in over.into_iter().rev() {
            let conversation = self.subscriptions.remove(at).conversation();
            let tag = Tag { id: None, conversation: Some(conversation) };
            if let Some(fault) = why {
                self.say(Err(fault), &tag, out);
            }
            let why = Some("It ended here: deleted, or gone to another process. Subscribe again to go on.");
            self.say(Ok(Reply::Unsubscribed { conversation, why }), &Tag::default(), out);
        }
    }
}

/// Something that takes its time, with its reply and what is read from then on.
type Work = LocalBoxFuture<'static, (Result<Reply, Fault>, Option<Subscription>)>;

fn conversation_required(what: &str) -> Fault {
    let message = format!("This socket does not have exactly one subscription: {what} has to name its conversationId.");
    Fault::new(ErrorCode::ConversationRequired, message)
}

impl Talk for Session {
    fn hear(&mut self, text: &str, out: &mut Outbox) {
        let Asked { spelling, tag, request } = request::read(text);
        if let Some(spelling) = spelling {
            self.spelling.get_or_insert(spelling);
        }
        match request {
            Ok(request) => self.carry_out(request, tag, out),
            Err(fault) => self.say(Err(fault), &tag, out),
        }
    }

    fn refuse(&mut self, fault: Fault, out: &mut Outbox) {
        self.say(Err(fault), &Tag::default(), out);
    }

    fn is_listening(&self) -> bool {
        self.work.is_none()
    }

    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        self.work(cx, out);
        self.read(cx, out);
    }

    fn is_idle(&self) -> bool {
        let running = &self.service.app.running;
        self.work.is_none() && self.subscriptions.iter().all(|known| running.of(known.conversation()).is_empty())
    }
}

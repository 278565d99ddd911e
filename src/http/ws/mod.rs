//! WebSockets. A socket is a response whose body polls: [`Socket`] reads frames, answers pings and writes, and a [`Talk`]
//! says what the messages mean. So a socket is one task, without a channel or a queue: what its client does not read is not
//! taken from the journal.

#[cfg(debug_assertions)]
mod echo;
mod inbox;
mod keepalive;
mod leaving;
mod origin;
mod outbox;
mod progress;
mod rate;
mod socket;
mod steps;
mod subscription;
mod sync;

use std::rc::Rc;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use self::inbox::Inbox;
pub use self::outbox::Outbox;
use self::socket::Socket;
pub use self::socket::Talk;
use super::connections::{Kind, Open};
use super::error::ApiError;
use super::launch::Service;
use super::{App, Worker, caller, input};
use crate::event::{ErrorCode, Fault};

#[cfg(debug_assertions)]
pub use self::echo::echo;
pub use self::progress::progress;
pub use self::steps::chat;

/// The subprotocols that are answered with when a client offers them.
const SUBPROTOCOLS: &[&str] = &["thinkwire.v1"];

/// `GET /ws`: the sync engine.
pub async fn sync(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
    worker: Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let service = Service::of(&request, &app, &worker);
    open(&request, payload, &app, Kind::Sync, |open| sync::Session::new(service, open))
}

/// Answers the handshake, and lets `talk` speak over the socket.
fn open<T: Talk + Unpin + 'static>(
    request: &HttpRequest,
    payload: Payload,
    app: &Data<App>,
    kind: Kind,
    talk: impl FnOnce(Rc<Open>) -> T,
) -> Result<HttpResponse, ApiError> {
    input::same_site(request)?;
    let refuse = |fault| ApiError::new(request, fault);
    origin::check(request, app.config.server.public_url.as_deref()).map_err(refuse)?;
    if app.running.is_draining() {
        let message = "The gateway is about to end; come back in a moment.";
        return Err(refuse(Fault::new(ErrorCode::Draining, message)));
    }
    let handshake = actix_ws::handle_with_protocols(request, payload, SUBPROTOCOLS);
    let (response, session, messages) = handshake.map_err(|error| {
        ApiError::malformed(request, format!("This is a WebSocket; the handshake failed: {error}."))
    })?;
    let caller = caller::of(request, &app.config.server.trusted_proxies);
    let open = Rc::new(app.connections.open(kind, caller).map_err(refuse)?);
    let inbox = Inbox::new(messages, app.config.websocket.max_message_bytes);
    let talk = talk(open.clone());
    // Its own body lives on inside ours and is never read: it tells the stream of messages when the connection is gone.
    Ok(response.map_body(|_, body| Socket::new(inbox, talk, open, app, (session, body))).map_into_boxed_body())
}

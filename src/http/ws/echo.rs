//! Says what it hears, for suites that test the stack below the protocols. Only builds for tests have it.

use std::task::Context;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::{Outbox, Talk};
use crate::event::Fault;
use crate::http::App;
use crate::http::connections::Kind;
use crate::http::error::ApiError;

/// Whoever says this shows what a fault of ours does to the others.
const PANIC: &str = "please panic";

struct Echo;

impl Talk for Echo {
    fn hear(&mut self, text: &str, out: &mut Outbox) {
        assert!(text != PANIC, "a client asked for a panic");
        out.text(text.as_bytes());
    }

    fn hear_binary(&mut self, bytes: &[u8], out: &mut Outbox) {
        out.binary(bytes);
    }

    fn refuse(&mut self, fault: Fault, out: &mut Outbox) {
        out.text(fault.message.as_bytes());
    }

    fn poll(&mut self, _: &mut Context<'_>, _: &mut Outbox) {}
}

/// `GET /ws-echo`.
pub async fn echo(request: HttpRequest, payload: Payload, app: Data<App>) -> Result<HttpResponse, ApiError> {
    if app.config.environment != "test" {
        return Err(ApiError::not_found(&request, "There is nothing here but in tests."));
    }
    super::open(&request, payload, &app, Kind::Sync, |_| Echo)
}

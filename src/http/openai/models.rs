//! `GET /v1/models`: what can be asked.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use crate::event::{ErrorCode, Fault};
use crate::http::App;
use crate::http::error::ApiError;
use crate::upstream::ModelInfo;

/// Who is said to own what the operator named.
const OURS: &str = "thinkwire";

/// Aliases and listed models, as far as they can be asked now.
pub async fn list(app: Data<App>) -> HttpResponse {
    let models: Vec<Value> = app
        .catalogue
        .models()
        .iter()
        .filter(|known| known.available)
        .map(|known| model(&known.id, owner(known)))
        .collect();
    HttpResponse::Ok().json(json!({ "object": "list", "data": models }))
}

/// One of them, or any other name that can be asked. The id may hold slashes, as they are or as `%2F`, which is what
/// clients make of them.
pub async fn show(request: HttpRequest, app: Data<App>, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let refuse = |fault| ApiError::new(&request, fault);
    let id = id.into_inner();
    if id.is_empty() {
        return Err(refuse(Fault::new(ErrorCode::UnknownModel, "No model is named.")));
    }
    let route = app.catalogue.route(Some(&id)).map_err(refuse)?;
    let known = app.catalogue.models();
    let owner = known.iter().find(|known| known.id == id).map_or(route.name(), owner);
    Ok(HttpResponse::Ok().json(model(&id, owner)))
}

/// The provider, or we where the operator made the name.
fn owner(known: &ModelInfo) -> &str {
    let of_provider = known.id.strip_prefix(&known.provider).and_then(|rest| rest.strip_prefix('/'));
    if of_provider == Some(known.model.as_str()) { &known.provider } else { OURS }
}

fn model(id: &str, owner: &str) -> Value {
    // Nobody here knows when a model was made.
    json!({ "id": id, "object": "model", "created": 0, "owned_by": owner })
}

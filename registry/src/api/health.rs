//! Is it there, and can it work? Also the root, which clients and probes ask first.

use super::{Call, Made, json};
use crate::error::{Error, Result};
use serde_json::json as object;

/// `{}`, to `GET` and to `POST` with anything flat.
pub(super) fn root(call: &Call<'_>) -> Result<Made> {
    if call.request.method == "POST" && !call.request.body.iter().all(u8::is_ascii_whitespace) {
        let body = super::body::Object::read(&call.request.body, "post.arg0")?;
        if body.members().values().any(|value| value.is_object() || value.is_array()) {
            return Err(Error::new(400, "The body must be an object of plain values"));
        }
    }
    json(&object!({}))
}

/// Karapace's word for [`ready`].
pub(super) async fn karapace(call: &Call<'_>) -> Result<Made> {
    let ready = call.registry().live().ready().await.is_ok();
    let body = object!({ "healthy": ready, "status": { "schema_registry_ready": ready } });
    Ok(Made::Status(if ready { 200 } else { 503 }, body.to_string().into_bytes().into()))
}

/// Every instance writes by itself, so that there is a master as long as the store answers.
pub(super) async fn master(call: &Call<'_>) -> Result<Made> {
    json(&object!({ "master_available": call.registry().live().ready().await.is_ok() }))
}

/// The process answers.
pub(super) fn live() -> Result<Made> {
    json(&object!({ "status": "UP" }))
}

/// The store answers, and what it says fits what it said before.
pub(super) async fn ready(call: &Call<'_>) -> Result<Made> {
    match call.registry().live().ready().await {
        Ok(()) => live(),
        Err(error) => {
            let body = object!({ "status": "DOWN", "reason": error.message() });
            Ok(Made::Status(503, body.to_string().into_bytes().into()))
        }
    }
}

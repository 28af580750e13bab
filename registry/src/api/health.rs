//! Is it there, and can it work? Also the root, which clients and probes ask first.

use super::{Call, Made, json};
use crate::error::{Error, Result};
use crate::standby::State;
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

/// Every instance writes by itself, so that there is a master as long as the store answers. A standby has none.
pub(super) async fn master(call: &Call<'_>) -> Result<Made> {
    let live = call.registry().live();
    let is_available = live.ready().await.is_ok() && live.require_own().is_ok();
    json(&object!({ "master_available": is_available }))
}

/// The process answers.
pub(super) fn live() -> Result<Made> {
    json(&object!({ "status": "UP" }))
}

/// The store answers, and what it says fits what it said before. A standby that is still being filled has started.
pub(super) async fn started(call: &Call<'_>) -> Result<Made> {
    match call.registry().live().ready().await {
        Ok(()) => live(),
        Err(error) => {
            let body = object!({ "status": "DOWN", "reason": error.message() });
            Ok(Made::Status(503, body.to_string().into_bytes().into()))
        }
    }
}

/// As [`started`]. A standby has had everything once; what it answers from then on may be
/// older than the leader, and is told.
pub(super) async fn ready(call: &Call<'_>) -> Result<Made> {
    let standby = call.api.standby();
    let follows = !matches!(standby.state, State::None | State::Promoted);
    let reason = match call.registry().live().ready().await {
        Err(error) => error.message().to_owned(),
        Ok(()) if follows && !standby.filled => {
            let why = standby.why.clone().unwrap_or_else(|| "it is being filled".to_owned());
            format!("this standby of {} has never had all of it: {why}", standby.leader)
        }
        Ok(()) if follows => {
            return json(&object!({ "status": "UP", "standby": super::standby::told(&standby) }));
        }
        Ok(()) => return live(),
    };
    let mut body = object!({ "status": "DOWN", "reason": reason });
    if let (true, Some(members)) = (follows, body.as_object_mut()) {
        members.insert("standby".to_owned(), super::standby::told(&standby));
    }
    Ok(Made::Status(503, body.to_string().into_bytes().into()))
}

//! `/mode`: what may be done.

use super::{Call, Made, json};
use crate::error::{Error, Result};
use crate::settings::Mode;
use serde_json::json as object;

pub(super) async fn get(call: &Call<'_>) -> Result<Made> {
    let mode = call.registry().mode(&call.subject, call.query.flag("defaultToGlobal")).await?;
    json(&object!({ "mode": mode.name() }))
}

pub(super) async fn put(call: &Call<'_>) -> Result<Made> {
    let top = call.subject.is_root() && call.subject.context.is_default();
    let body = call.body(if top { "updateTopLevelMode.arg1" } else { "updateMode.arg2" })?;
    let named = body.text("mode")?;
    // A subject that nobody may set is said before a mode that there is not.
    call.registry().require_settable(&call.subject, &call.received)?;
    let mode: Option<Mode> =
        named.as_deref().map(|name| name.parse().map_err(|_| Error::invalid_mode())).transpose()?;
    call.registry().set_mode(&call.subject, &call.received, mode, call.query.flag("force")).await?;
    match named {
        Some(name) => json(&object!({ "mode": name })),
        None => json(&object!({})),
    }
}

pub(super) async fn delete(call: &Call<'_>) -> Result<Made> {
    let mode = call.registry().delete_mode(&call.subject, call.query.flag("recursive")).await?;
    json(&object!({ "mode": mode.name() }))
}

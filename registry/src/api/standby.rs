//! `/admin/standby`: whether this registry is kept like another one, and the end of that.

use super::{Call, Made, json};
use crate::error::{Error, Result};
use crate::standby::{Promotion, State, Status};
use serde_json::{Map, Value, json as object};
use std::sync::Arc;

fn members(status: &Status) -> Map<String, Value> {
    let mut members = Map::new();
    let mut tell = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    tell("state", status.state.name().into());
    if status.state == State::None {
        return members;
    }
    tell("leader", status.leader.as_str().into());
    if let Some(promoted_ms) = status.promoted_ms {
        tell("promoted_at_ms", promoted_ms.into());
        return members;
    }
    tell("lag_seconds", status.lag_seconds.into());
    tell("filled", status.filled.into());
    for (name, count) in [
        ("versions_behind", status.behind),
        ("versions_left_out", status.left_out),
        ("looks", status.looks),
        ("errors", status.errors),
        ("changes", status.changes),
    ] {
        tell(name, count.into());
    }
    if let Some(why) = &status.why {
        tell("why", why.as_str().into());
    }
    members
}

/// What readiness tells of a standby.
pub(super) fn told(status: &Status) -> Value {
    let mut told = object!({
        "state": status.state.name(), "leader": status.leader, "lag_seconds": status.lag_seconds,
    });
    if let (Some(why), Some(members)) = (&status.why, told.as_object_mut()) {
        members.insert("why".to_owned(), why.as_str().into());
    }
    told
}

pub(super) fn get(call: &Call<'_>) -> Result<Made> {
    json(&members(&call.api.standby()))
}

pub(super) async fn promote(call: &Call<'_>) -> Result<Made> {
    let (standby, registry) = (call.api.standby.clone(), Arc::clone(&call.api.registry));
    // A client that goes away must not leave it half way.
    let promoting = tokio::spawn(async move {
        match standby {
            Some(standby) => standby.promote().await,
            None => registry.promote_unattended().await,
        }
    });
    let failed = |_| Error::new(500, "The promotion has failed. GET /admin/standby tells what became of it");
    let Promotion { status, before, caught_up, missing } = promoting.await.map_err(failed)??;
    let mut members = members(&status);
    members.insert("promoted_before".to_owned(), before.into());
    if !before {
        members.insert("caught_up".to_owned(), caught_up.into());
        members.extend(missing.map(|missing| ("missing".to_owned(), missing.into())));
    }
    json(&members)
}

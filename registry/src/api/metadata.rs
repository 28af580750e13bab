//! `/v1/metadata`: what answers.

use super::{Call, Made, json};
use crate::error::Result;
use serde_json::json as object;

pub(super) fn id(call: &Call<'_>) -> Result<Made> {
    let clusters = object!({
        "kafka-cluster": call.api.about.cluster_id,
        "schema-registry-cluster": "schema-registry",
    });
    json(&object!({ "id": "", "scope": { "path": [], "clusters": clusters } }))
}

pub(super) fn version(call: &Call<'_>) -> Result<Made> {
    let about = &call.api.about;
    json(
        &object!({ "version": about.version, "commitId": about.commit, "commit": about.commit, "build_time": "" }),
    )
}

pub(super) fn deployment() -> Result<Made> {
    json(&object!({ "attributes": ["opensource"] }))
}

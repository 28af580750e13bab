//! `/contexts`.

use super::path::context_of;
use super::{Call, Made, json};
use crate::error::Result;

pub(super) async fn list(call: &Call<'_>) -> Result<Made> {
    let prefix = call.query.get("contextPrefix").unwrap_or("");
    json(&call.registry().contexts(prefix, call.query.page()?).await?)
}

pub(super) async fn delete(call: &Call<'_>) -> Result<Made> {
    call.registry().delete_context(&context_of(call.segment(0))?).await?;
    Ok(Made::Nothing)
}

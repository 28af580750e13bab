//! Whole subjects out of a registry, and schemas with their ids and versions into another one.

use super::analysis::{bad, question};
use super::body::Object;
use super::entity::Exported;
use super::subjects::number;
use super::{Call, Made, json};
use crate::error::{Error, Result};
use crate::names::Subject;
use crate::service::{Deletion, Listed, Page};
use serde_json::{Value, json as object};

/// Schemas of one request at most.
const MAX_SCHEMAS: usize = 1000;
/// Bytes of texts in one answer, about.
const MAX_BYTES: usize = 16 << 20;

/// Registers each by itself, in their order, and says of each what became of it. The mode must be IMPORT.
pub(super) async fn schemas(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    let schemas = body.objects("schemas").map_err(bad)?;
    if schemas.is_empty() || schemas.len() > MAX_SCHEMAS {
        let text =
            format!("\"schemas\" must be a list of 1 to {MAX_SCHEMAS} schemas, and has {}", schemas.len());
        return Err(bad(Error::new(42201, text)));
    }
    call.registry().require_import(&call.subject).await?;
    let mut results = Vec::with_capacity(schemas.len());
    let mut imported = 0;
    for one in &schemas {
        let outcome = import(call, one).await;
        imported += usize::from(outcome.is_ok());
        let mut result = object!({
            "id": one.integer("id").ok().flatten(),
            "subject": one.text("subject").ok().flatten(),
            "version": outcome.as_ref().ok().copied().or(one.integer("version").ok().flatten()),
            "success": outcome.is_ok(),
        });
        if let (Err(error), Some(members)) = (outcome, result.as_object_mut()) {
            members.insert("error".to_owned(), Value::String(error.message().to_owned()));
            members.insert("error_code".to_owned(), error.code().into());
        }
        results.push(result);
    }
    let answer = object!({ "imported": imported, "errors": schemas.len() - imported, "results": results });
    let status = if imported > 0 { 200 } else { 422 };
    Ok(Made::Status(status, answer.to_string().into_bytes().into()))
}

/// Answers the version that it became.
async fn import(call: &Call<'_>, one: &Object) -> Result<i32> {
    let mut submitted = one.submitted()?;
    // An export writes it so.
    if submitted.schema_type.is_none() {
        submitted.schema_type = one.text("schema_type")?;
    }
    let missing = |name: &str| Error::new(42201, format!("An imported schema needs {name}"));
    let received = one.text("subject")?.ok_or_else(|| missing("a subject"))?;
    submitted.id.ok_or_else(|| missing("an id"))?;
    let subject = Subject::parse_in(&received, &call.subject.context);
    let registered = call.registry().register(&subject, &received, &submitted, false).await?;
    if one.flag("deleted")? {
        let text = registered.version.to_string();
        call.registry().delete_version(&subject, registered.version, &text, Deletion::Soft).await?;
    }
    Ok(registered.version)
}

/// Versions with all that belongs to them, as far as one answer holds; `next_offset` says where the rest begins.
pub(super) async fn export(call: &Call<'_>) -> Result<Made> {
    let (deleted, page) = (call.query.flag("deleted"), call.query.page()?);
    let listed = if deleted { Listed::All } else { Listed::Live };
    let whole = Page { offset: page.offset, limit: page.limit.saturating_add(1) };
    let numbers = call.registry().versions(&call.subject, listed, false, whole).await?;
    let (mut versions, mut bytes) = (Vec::new(), 0);
    for number in numbers.iter().take(page.limit) {
        if bytes > MAX_BYTES {
            break;
        }
        let entity = call.registry().version(&call.subject, *number, deleted).await?;
        bytes += entity.texts.bytes();
        versions.push(entity);
    }
    let next = (versions.len() < numbers.len()).then_some(page.offset + versions.len());
    let shapes: Vec<Exported<'_>> = versions.iter().map(Exported::of).collect();
    let mut answer =
        object!({ "subject": call.subject.to_string(), "count": shapes.len(), "versions": shapes });
    if let (Some(members), Some(next)) = (answer.as_object_mut(), next) {
        members.insert("next_offset".to_owned(), next.into());
    }
    json(&answer)
}

pub(super) async fn export_version(call: &Call<'_>) -> Result<Made> {
    let number = number(call.segment(0))?;
    let entity = call.registry().version(&call.subject, number, call.query.flag("deleted")).await?;
    let config = call.registry().config(&entity.subject, true).await?;
    json(&Exported::of(&entity).under(config.compatibility_level))
}

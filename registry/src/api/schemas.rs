//! `/schemas`: by id, by GUID, as a list.

use super::entity::Shape;
use super::{Call, Made, Registry, Request, json};
use crate::error::{Error, Result};
use crate::names::Subject;
use crate::schema::SchemaType;
use crate::service::{AnswerKey, ById, SchemaQuery};
use crate::store::SchemaId;
use bytes::Bytes;
use serde_json::json as object;
use uuid::Uuid;

pub(super) fn types() -> Result<Made> {
    json(&SchemaType::ALL.map(SchemaType::name))
}

fn id(call: &Call<'_>) -> Result<SchemaId> {
    let text = call.segment(0);
    let id: i32 = text.trim().parse().map_err(|_| Error::not_found())?;
    // Nothing has such an id; it is no bad request.
    SchemaId::try_from(id).map_err(|_| Error::schema_not_found(Some(&id)))
}

async fn found(call: &Call<'_>, subject: Option<&Subject>) -> Result<(ById, Option<String>)> {
    let found = call.registry().schema(id(call)?, subject).await?;
    let text = call.registry().formatted(&found.context, found.schema, call.query.format()).await?;
    Ok((found, text))
}

/// What every consumer asks: the answer about an id that was finished before, found without looking for the endpoint first.
pub(super) fn finished(registry: &Registry, request: &Request<'_>) -> Option<Bytes> {
    let id = request.path.strip_prefix("/schemas/ids/").filter(|_| request.method == "GET")?;
    if !request.query.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    registry.finished(&registry.answer_key(id.parse().ok()?)?)
}

pub(super) async fn by_id(call: &Call<'_>) -> Result<Made> {
    let is_plain = call.query.is_empty();
    let subject = call.query.subject();
    let (found, text) = found(call, subject.as_ref()).await?;
    let max_id = call.query.flag("fetchMaxId").then(|| call.registry().max_id(&found.context));
    let tags: Vec<&str> = call.query.all("findTags").collect();
    let shape = Shape::of_id(&found, text.as_deref(), max_id);
    let shape = shape.tagged(&tags, found.schema_type, &found.texts.canonical);
    let made = json(&match call.query.get("referenceFormat") {
        Some("qualified") => shape.qualified(&found.context),
        _ => shape,
    })?;
    if is_plain
        && let Made::Json(answer) = &made
        && let Some(key) = AnswerKey::of(&found)
    {
        call.registry().finish(key, answer);
    }
    Ok(made)
}

pub(super) async fn text_by_id(call: &Call<'_>) -> Result<Made> {
    let subject = call.query.subject();
    let (found, text) = found(call, subject.as_ref()).await?;
    let text = text.unwrap_or_else(|| found.texts.canonical.to_string());
    Ok(Made::Json(text.into_bytes().into()))
}

pub(super) async fn subjects(call: &Call<'_>) -> Result<Made> {
    let (subject, deleted) = (call.query.subject(), call.query.flag("deleted"));
    let whole = crate::service::Page { offset: 0, limit: usize::MAX };
    let users = call.registry().users(id(call)?, subject.as_ref(), deleted, whole).await?;
    let mut names: Vec<String> = users.into_iter().map(|(subject, _)| subject).collect();
    names.dedup();
    let page = call.query.page()?;
    json(&names.into_iter().skip(page.offset).take(page.limit).collect::<Vec<_>>())
}

pub(super) async fn versions(call: &Call<'_>) -> Result<Made> {
    let (subject, deleted) = (call.query.subject(), call.query.flag("deleted"));
    let users = call.registry().users(id(call)?, subject.as_ref(), deleted, call.query.page()?).await?;
    let shape = |(subject, version)| object!({ "subject": subject, "version": version });
    json(&users.into_iter().map(shape).collect::<Vec<_>>())
}

fn guid(call: &Call<'_>) -> Result<Uuid> {
    let text = call.segment(0);
    Uuid::parse_str(text).map_err(|_| Error::schema_not_found(Some(&text)))
}

pub(super) async fn by_guid(call: &Call<'_>) -> Result<Made> {
    let found = call.registry().schema_of_guid(&guid(call)?).await?;
    let text = call.registry().formatted(&found.context, found.schema, call.query.format()).await?;
    json(&Shape::of_id(&found, text.as_deref(), None))
}

pub(super) async fn ids_of_guid(call: &Call<'_>) -> Result<Made> {
    let places = call.registry().ids_of_guid(&guid(call)?).await?;
    let shape =
        |(context, id): (crate::names::Context, SchemaId)| object!({ "context": context.as_str(), "id": id });
    json(&places.into_iter().map(shape).collect::<Vec<_>>())
}

pub(super) async fn list(call: &Call<'_>) -> Result<Made> {
    let query = SchemaQuery {
        prefix: call.query.prefix(""),
        deleted: call.query.flag("deleted"),
        latest_only: call.query.flag("latestOnly"),
        rule_type: call.query.get("ruleType").filter(|wanted| !wanted.is_empty()).map(str::to_owned),
        aliases: call.query.flag("aliases"),
    };
    let found = call.registry().schemas(&query, call.query.page()?).await?;
    let shape = |(entity, aliases)| Shape { aliases, ..Shape::of_version(entity, None) };
    let shapes: Vec<Shape<'_>> =
        found.iter().map(|(entity, aliases)| shape((entity, aliases.clone()))).collect();
    json(&shapes)
}

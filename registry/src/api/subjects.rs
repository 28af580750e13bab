//! `/subjects`: register, look up, read, delete.

use super::entity::Shape;
use super::{Call, Made, json};
use crate::error::{Error, Result};
use crate::names::Subject;
use crate::service::{Deletion, Entity, Listed, Page, Registered, Submitted};
use serde_json::{Value, json as object};

/// A version by its text: a number, or `latest`.
pub(super) fn number(text: &str) -> Result<i32> {
    let trimmed = text.trim();
    if trimmed.eq_ignore_ascii_case("latest") {
        return Ok(-1);
    }
    match trimmed.parse::<i32>() {
        Ok(number) if number == -1 || number >= 1 => Ok(number),
        _ => Err(Error::invalid_version(text)),
    }
}

fn deletion(call: &Call<'_>) -> Deletion {
    if call.query.flag("permanent") { Deletion::Permanent } else { Deletion::Soft }
}

pub(super) async fn list(call: &Call<'_>) -> Result<Made> {
    let prefix = call.query.prefix(crate::names::ALL_CONTEXTS);
    json(&call.registry().subjects(&prefix, call.query.listed(), call.query.page()?).await?)
}

async fn shaped(call: &Call<'_>, entity: Entity) -> Result<Made> {
    let text = call
        .registry()
        .formatted(&entity.subject.context, entity.version.schema, call.query.format())
        .await?;
    let tags: Vec<&str> = call.query.all("findTags").collect();
    let shape = Shape::of_version(&entity, text.as_deref());
    let shape = shape.tagged(&tags, entity.schema_type, &entity.texts.canonical);
    json(&match call.query.get("referenceFormat") {
        Some("qualified") => shape.qualified(&entity.subject.context),
        _ => shape,
    })
}

pub(super) async fn look_up(call: &Call<'_>) -> Result<Made> {
    look_up_in(call, &call.subject).await
}

pub(super) async fn look_up_in(call: &Call<'_>, subject: &Subject) -> Result<Made> {
    let submitted = call.body("lookUpSchemaUnderSubject.arg5")?.submitted()?;
    let (normalize, deleted) = (call.query.flag("normalize"), call.query.flag("deleted"));
    let entity = call.registry().look_up(subject, &submitted, normalize, deleted).await?;
    shaped(call, entity).await
}

pub(super) async fn register(call: &Call<'_>) -> Result<Made> {
    let mut submitted = call.body("register.arg5")?.submitted()?;
    submitted.force = call.query.flag("force");
    let normalize = call.query.flag("normalize");
    let registered = call.registry().register(&call.subject, &call.received, &submitted, normalize).await?;
    if !is_filled(&submitted, &registered) {
        return json(&Shape::of_known(&registered));
    }
    // Clients keep the text of this answer as that of the id, and go on reading it in the form that they sent.
    let sent = match submitted.text.as_deref().is_some_and(is_descriptor) {
        true => Some("serialized"),
        false => None,
    };
    let format = call.query.format().or(sent);
    let text = call.registry().formatted(&call.subject.context, registered.schema, format).await?;
    json(&Shape::of_registered(&registered, text.as_deref()))
}

/// Whether more was registered than the request says: then the client must be told what.
fn is_filled(submitted: &Submitted, registered: &Registered) -> bool {
    let blank = submitted.text.as_ref().is_none_or(|text| text.trim().is_empty());
    blank
        || submitted.metadata.as_ref() != registered.texts.metadata.as_deref()
        || submitted.rule_set.as_ref() != registered.texts.rule_set.as_deref()
        || submitted.references.iter().any(|reference| reference.version == Some(-1))
}

/// Whether a text is the base64 of a descriptor, and no text of a language.
fn is_descriptor(text: &str) -> bool {
    !text.contains(|c: char| !c.is_ascii_alphanumeric() && !"+/=\r\n".contains(c))
}

pub(super) async fn versions(call: &Call<'_>) -> Result<Made> {
    let negative = call.query.flag("deletedAsNegative");
    json(&call.registry().versions(&call.subject, call.query.listed(), negative, call.query.page()?).await?)
}

pub(super) async fn version(call: &Call<'_>) -> Result<Made> {
    let number = number(call.segment(0))?;
    let entity = call.registry().version(&call.subject, number, call.query.flag("deleted")).await?;
    shaped(call, entity).await
}

pub(super) async fn text(call: &Call<'_>) -> Result<Made> {
    let number = number(call.segment(0))?;
    let entity = call.registry().version(&call.subject, number, call.query.flag("deleted")).await?;
    let text = call
        .registry()
        .formatted(&entity.subject.context, entity.version.schema, call.query.format())
        .await?;
    let text = text.unwrap_or_else(|| entity.texts.canonical.to_string());
    Ok(Made::Json(text.into_bytes().into()))
}

pub(super) async fn count(call: &Call<'_>) -> Result<Made> {
    json(&object!({ "count": call.registry().statistics(&call.subject.context).await?.subjects }))
}

pub(super) async fn count_versions(call: &Call<'_>) -> Result<Made> {
    let whole = Page { offset: 0, limit: usize::MAX };
    let versions = call.registry().versions(&call.subject, Listed::Live, false, whole).await?;
    json(&object!({ "subject": call.subject.to_string(), "count": versions.len() }))
}

pub(super) async fn history(call: &Call<'_>) -> Result<Made> {
    let (listed, page) = (call.query.listed(), call.query.page()?);
    let versions: Vec<Value> = call
        .registry()
        .history(&call.subject, listed, page)
        .await?
        .into_iter()
        .map(|(version, schema_type)| {
            object!({
                "version": version.version,
                "schema_id": version.schema.id,
                "schema_type": schema_type.name(),
                "ts": version.time_ms,
                "deleted": version.deleted,
            })
        })
        .collect();
    json(&object!({ "subject": call.subject.to_string(), "count": versions.len(), "history": versions }))
}

pub(super) async fn dependencies(call: &Call<'_>) -> Result<Made> {
    let found = call.registry().around(&call.subject, number(call.segment(0))?).await?;
    let place = |(subject, version): &(String, i32)| object!({ "subject": subject, "version": version });
    let links: Vec<Value> = found
        .links
        .iter()
        .map(|link| object!({ "from": place(&link.from), "name": link.name, "to": place(&link.to), "schema_id": link.id }))
        .collect();
    json(&object!({
        "subject": found.entity.subject.to_string(),
        "version": found.entity.version.version,
        "schema_id": found.entity.version.schema.id,
        "references": links,
        "referenced_by": found.referenced_by.iter().map(place).collect::<Vec<_>>(),
        "truncated": found.is_cut,
    }))
}

pub(super) async fn by_metadata(call: &Call<'_>) -> Result<Made> {
    if call.query.all("key").count() != call.query.all("value").count() {
        return Err(Error::new(400, "Give as many values as keys: ?key=owner&value=team&key=...&value=..."));
    }
    let pairs = call.query.all("key").zip(call.query.all("value"));
    let pairs: Vec<_> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let entity = call.registry().by_metadata(&call.subject, &pairs, call.query.flag("deleted")).await?;
    shaped(call, entity).await
}

pub(super) async fn referenced_by(call: &Call<'_>) -> Result<Made> {
    let (number, deleted) = (number(call.segment(0))?, call.query.flag("deleted"));
    json(&call.registry().referenced_by(&call.subject, number, deleted, call.query.page()?).await?)
}

pub(super) async fn delete(call: &Call<'_>) -> Result<Made> {
    json(&call.registry().delete_subject(&call.subject, deletion(call)).await?)
}

pub(super) async fn delete_version(call: &Call<'_>) -> Result<Made> {
    let received = call.segment(0);
    json(&call.registry().delete_version(&call.subject, number(received)?, received, deletion(call)).await?)
}

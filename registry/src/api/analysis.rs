//! Questions about one or two schemas that are answered without registering anything. The paths are AxonOps'; what its answers hold
//! ours do too, under the same names.

use super::body::Object;
use super::subjects::number;
use super::{Call, Made, json};
use crate::error::{Error, Result};
use crate::parse::outline::{Kind, outline};
use crate::schema::SchemaType;
use crate::service::{Entity, Listed, Page};
use serde_json::{Value, json as object};
use std::collections::BTreeMap;

/// The body of a question. What is wrong with it is 400 with the number 42201 here, as in AxonOps' registry.
pub(super) fn question(call: &Call<'_>) -> Result<Object> {
    call.body("the body").map_err(bad)
}

pub(super) fn bad(error: Error) -> Error {
    Error::new(42201, error.message()).with_status(400)
}

/// A member that a question needs.
pub(super) fn required(body: &Object, name: &str) -> Result<String> {
    let found = body.text(name).map_err(bad)?.filter(|text| !text.is_empty());
    found.ok_or_else(|| bad(Error::new(42201, format!("The body needs a {name:?} that is not empty"))))
}

pub(super) async fn validate(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    required(&body, "schema")?;
    let submitted = body.submitted().map_err(bad)?;
    let type_name = submitted.schema_type.clone().unwrap_or_else(|| SchemaType::Avro.name().to_owned());
    let wrong = match call.registry().normal_form(&call.subject.context, &submitted).await {
        Ok(_) => String::new(),
        Err(error) if error.code() == 42201 => error.message().to_owned(),
        Err(error) => return Err(error),
    };
    json(&object!({ "is_valid": wrong.is_empty(), "schema_type": type_name, "error": wrong }))
}

pub(super) async fn normalize(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    required(&body, "schema")?;
    let submitted = body.submitted().map_err(bad)?;
    let form = call.registry().normal_form(&call.subject.context, &submitted).await?;
    json(&object!({
        "schema_type": form.schema_type.name(),
        "canonical": form.text,
        "fingerprint": form.fingerprint,
    }))
}

pub(super) async fn statistics(call: &Call<'_>) -> Result<Made> {
    let found = call.registry().statistics(&call.subject.context).await?;
    json(&object!({
        "subject_count": found.subjects,
        "version_count": found.versions,
        "type_counts": found.types,
    }))
}

/// Fields by path, with their types.
fn fields(entity: &Entity) -> BTreeMap<String, String> {
    let parts = outline(entity.schema_type, &entity.texts.canonical).into_iter();
    parts.filter(|part| part.kind == Kind::Field).map(|part| (part.path, part.type_name)).collect()
}

pub(super) async fn diff(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    // The first version with the latest one, where the body does not say.
    let wanted = |name: &str, otherwise: i32| -> Result<i32> {
        match body.text(name).map_err(bad)?.filter(|text| text != "0" && !text.is_empty()) {
            Some(text) => number(&text),
            None => Ok(otherwise),
        }
    };
    let live =
        call.registry().versions(&call.subject, Listed::Live, false, Page { offset: 0, limit: 1 }).await;
    let oldest = live.ok().and_then(|live| live.first().copied()).unwrap_or(1);
    let (first, second) = (wanted("version1", oldest)?, wanted("version2", -1)?);
    let first = call.registry().version(&call.subject, first, false).await?;
    let second = call.registry().version(&call.subject, second, false).await?;
    let (before, after) = (fields(&first), fields(&second));
    let only = |these: &BTreeMap<String, String>, those: &BTreeMap<String, String>| -> Vec<Value> {
        let own = these.iter().filter(|(path, _)| !those.contains_key(*path));
        own.map(|(path, kind)| object!({ "field": path, "type": kind })).collect()
    };
    let changed: Vec<Value> = before
        .iter()
        .filter_map(|(path, old)| Some((path, old, after.get(path).filter(|new| *new != old)?)))
        .map(|(path, old, new)| object!({ "field": path, "old_type": old, "new_type": new }))
        .collect();
    json(&object!({
        "subject": call.subject.to_string(),
        "version1": first.version.version,
        "version2": second.version.version,
        "added": only(&after, &before),
        "removed": only(&before, &after),
        "changed": changed,
    }))
}

pub(super) async fn compare(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    let names = [required(&body, "subject1")?, required(&body, "subject2")?];
    let latest = async |name: &str| call.registry().version(&call.named(name).await?, -1, false).await;
    let (one, two) = (fields(&latest(&names[0]).await?), fields(&latest(&names[1]).await?));
    let shared: Vec<&String> = one.keys().filter(|path| two.contains_key(*path)).collect();
    let only_one: Vec<&String> = one.keys().filter(|path| !two.contains_key(*path)).collect();
    let only_two: Vec<&String> = two.keys().filter(|path| !one.contains_key(*path)).collect();
    json(&object!({
        "subject1": names[0],
        "subject2": names[1],
        "shared": shared,
        "only_in_sub1": only_one,
        "only_in_sub2": only_two,
    }))
}

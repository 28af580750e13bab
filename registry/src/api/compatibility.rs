//! `/compatibility`: would it fit?

use super::analysis::{bad, question, required};
use super::subjects::number;
use super::{Call, Made, json};
use crate::error::{Error, Result};
use crate::schema::SchemaType;
use crate::service::With;
use crate::settings::Level;
use serde::Serialize;
use serde_json::{Value, json as object};

/// Subjects that one request compares with.
const MAX_SUBJECTS: usize = 100;

#[derive(Serialize)]
struct Shape {
    is_compatible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<String>>,
}

pub(super) async fn check(call: &Call<'_>) -> Result<Made> {
    let (with, parameter) = match call.segments.first() {
        Some(version) => (With::Version(number(version)?), "testCompatibilityBySubjectName.arg3"),
        None => (With::Level, "testCompatibilityForSubject.arg3"),
    };
    let submitted = call.body(parameter)?.submitted()?;
    let verbose = call.query.flag("verbose");
    let verdict = call.registry().check(&call.subject, &submitted, with, call.query.flag("normalize")).await;
    json(&match verdict {
        Ok(verdict) => Shape {
            is_compatible: verdict.is_compatible(),
            messages: verbose.then(|| [verdict.confluent, verdict.explained].concat()),
        },
        // Who wants to know why is told that the schema makes no sense, and not that the question does.
        Err(error) if verbose && error.code() == 42201 => {
            Shape { is_compatible: false, messages: Some(vec![error.message().to_owned()]) }
        }
        Err(error) => return Err(error),
    })
}

/// Each subject by itself: a schema that makes no sense for one of them may make sense for another.
pub(super) async fn check_subjects(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    required(&body, "schema")?;
    let submitted = body.submitted().map_err(bad)?;
    let names = body.texts("subjects").map_err(bad)?;
    if names.len() > MAX_SUBJECTS {
        let text = format!("\"subjects\" may have {MAX_SUBJECTS} names, and has {}", names.len());
        return Err(bad(Error::new(42201, text)));
    }
    let mut results: Vec<Value> = Vec::with_capacity(names.len());
    for name in names {
        let subject = call.named(&name).await?;
        let verdict =
            call.registry().check(&subject, &submitted, With::Level, call.query.flag("normalize")).await;
        results.push(match verdict {
            Ok(verdict) => object!({
                "subject": name,
                "is_compatible": verdict.is_compatible(),
                "messages": verdict.confluent.iter().chain(&verdict.explained).collect::<Vec<_>>(),
            }),
            Err(error) if error.code() == 42201 => {
                object!({ "subject": name, "is_compatible": false, "error": error.message() })
            }
            Err(error) => return Err(error),
        });
    }
    json(&object!({ "results": results }))
}

pub(super) async fn explain(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    required(&body, "schema")?;
    let submitted = body.submitted().map_err(bad)?;
    let level = level(call).await?;
    let verdict =
        call.registry().check(&call.subject, &submitted, With::Level, call.query.flag("normalize")).await;
    let subject = call.subject.to_string();
    json(&match verdict {
        Ok(verdict) if verdict.is_compatible() => object!({
            "subject": subject,
            "compatibility_level": level.name(),
            "is_compatible": true,
            "messages": [],
            "explanation": "The schema may be registered",
        }),
        Ok(verdict) => object!({
            "subject": subject,
            "compatibility_level": level.name(),
            "is_compatible": false,
            "messages": verdict.confluent,
            "explanation": verdict.explained.join("; "),
        }),
        Err(error) if error.code() == 42201 => object!({
            "subject": subject,
            "compatibility_level": level.name(),
            "is_compatible": false,
            "messages": [],
            "error": error.message(),
            "explanation": "The text is no schema",
        }),
        Err(error) => return Err(error),
    })
}

async fn level(call: &Call<'_>) -> Result<Level> {
    let config = call.registry().config(&call.subject, true).await?;
    Ok(config.compatibility_level.unwrap_or(Level::Backward))
}

/// What the level lets one do with schemas of the subject's type.
pub(super) async fn suggest(call: &Call<'_>) -> Result<Made> {
    let level = level(call).await?;
    let schema_type = match call.registry().version(&call.subject, -1, false).await {
        Ok(latest) => latest.schema_type,
        Err(error) if matches!(error.code(), 40401 | 40402) => SchemaType::Avro,
        Err(error) => return Err(error),
    };
    let (backward, forward) = (level.is_backward(), level.is_forward());
    let mut suggestions: Vec<&str> = match schema_type {
        SchemaType::Avro => vec![
            match (backward, forward) {
                (true, true) => "add or remove only fields that have a default",
                (true, false) => "add only fields that have a default; any field may be removed",
                (false, true) => "add any field; remove only fields that have a default",
                (false, false) => "change anything",
            },
            match (backward, forward) {
                (true, false) => "widen types as Avro promotes them: int to long, float or double",
                (false, true) => "narrow types the way that Avro promotes back: long to int",
                (true, true) => "keep the types of fields",
                (false, false) => "no version is compared with another one",
            },
            "rename a field by an alias that has the old name",
        ],
        SchemaType::Json => vec![
            match (backward, forward) {
                (true, true) => {
                    "keep what is required; add optional properties only where additionalProperties is false"
                }
                (true, false) => "allow more than before: drop requirements and bounds",
                (false, true) => "allow less than before: add requirements and bounds",
                (false, false) => "change anything",
            },
            "with additionalProperties false, properties may be added without surprises",
        ],
        SchemaType::Protobuf => vec![
            if backward || forward {
                "add fields under new numbers; never give a number to another type"
            } else {
                "change anything"
            },
            "reserve the number and the name of a field that is removed",
            "rename fields freely: numbers count, names do not",
        ],
    };
    if level.is_transitive() {
        suggestions.push("every version counts, and not only the latest");
    }
    json(&object!({
        "subject": call.subject.to_string(),
        "compatibility_level": level.name(),
        "suggestions": suggestions,
    }))
}

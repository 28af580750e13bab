//! `/compatibility`: would it fit?

use super::subjects::number;
use super::{Call, Made, json};
use crate::error::Result;
use crate::service::With;
use serde::Serialize;

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

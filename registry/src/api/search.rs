//! Searching the latest versions of a context: by text, by field, by type, by name.
//!
//! One request looks at a bounded number of subjects and bytes; where there are more, its answer has `next`, and the same request
//! with that as `after` goes on there. Patterns are bounded, and are matched in a time that grows with the text and the pattern only.

use super::analysis::{bad, question, required};
use super::body::Object;
use super::{Call, Made, json};
use crate::error::{Error, Result};
use crate::glob;
use crate::parse::outline::{Kind, Part, outline};
use crate::service::{Found, Latest};
use regex::{Regex, RegexBuilder};
use serde_json::{Value, json as object};
use std::collections::BTreeMap;

/// Matches of an answer, where the request does not say.
const LIMIT: usize = 50;
/// Matches of an answer at most.
const MAX_LIMIT: usize = 1000;
/// Characters of a pattern at most.
const MAX_PATTERN: usize = 1000;
/// Characters that are compared where names need not be equal.
const MAX_FUZZY: usize = 64;
/// Bytes that a compiled pattern may have, and its cache.
const MAX_COMPILED: usize = 256 << 10;
/// How alike two names must be, where the request does not say.
const THRESHOLD: f64 = 0.6;

fn limit(body: &Object) -> Result<usize> {
    let asked = body.integer("limit").map_err(bad)?.and_then(|limit| usize::try_from(limit).ok());
    Ok(asked.filter(|limit| *limit > 0).unwrap_or(LIMIT).min(MAX_LIMIT))
}

fn compiled(pattern: &str) -> Result<Regex> {
    let wrong = |why: String| bad(Error::new(42201, format!("Invalid regex: {why}")));
    if pattern.len() > MAX_PATTERN {
        return Err(wrong(format!("it has more than {MAX_PATTERN} bytes")));
    }
    let built = RegexBuilder::new(pattern).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED).build();
    built.map_err(|error| wrong(error.to_string()))
}

/// How alike two names are: 1 for equal ones, 0 where they have nothing in common. Letter case does not count.
fn likeness(one: &str, other: &str) -> f64 {
    let letters = |text: &str| text.chars().flat_map(char::to_lowercase).take(MAX_FUZZY).collect::<Vec<_>>();
    let (one, other) = (letters(one), letters(other));
    let longest = one.len().max(other.len());
    if longest == 0 {
        return 1.0;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (n, letter) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = n + 1;
        for (m, wanted) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != wanted);
            diagonal = row[m + 1];
            row[m + 1] = changed.min(row[m] + 1).min(row[m + 1] + 1);
        }
    }
    1.0 - row[other.len()] as f64 / longest as f64
}

/// The name as any style would write it: `userId`, `user_id` and `user-id` are one.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

/// How names are compared.
enum Matcher {
    Exact(String),
    Fuzzy(String, f64),
    Regex(Regex),
    Glob(Regex),
}

impl Matcher {
    fn new(body: &Object, pattern: &str, mode: &str) -> Result<Self> {
        let threshold = body.float("threshold").map_err(bad)?.filter(|threshold| *threshold > 0.0);
        Ok(match mode {
            "exact" => Self::Exact(plain(pattern)),
            "fuzzy" => Self::Fuzzy(pattern.to_owned(), threshold.unwrap_or(THRESHOLD)),
            "regex" => Self::Regex(compiled(pattern)?),
            "glob" => Self::Glob(globbed(pattern)?),
            other => {
                let text = format!("Mode {other:?} is none of exact, fuzzy, regex and glob");
                return Err(bad(Error::new(42201, text)));
            }
        })
    }

    /// How well a name matches; nothing where it does not.
    fn score(&self, name: &str) -> Option<f64> {
        match self {
            Self::Exact(wanted) => (plain(name) == *wanted).then_some(1.0),
            Self::Fuzzy(wanted, threshold) => {
                let found = likeness(wanted, name);
                (found >= *threshold).then_some(found)
            }
            Self::Regex(regex) | Self::Glob(regex) => regex.is_match(name).then_some(1.0),
        }
    }
}

/// A pattern with `*` and `?`, whatever the letter case.
fn globbed(pattern: &str) -> Result<Regex> {
    compiled(&format!("(?i){}", glob::expression(pattern)))
}

/// What an answer says where there is more.
fn with_next(mut answer: Value, next: Option<String>) -> Result<Made> {
    if let (Some(members), Some(next)) = (answer.as_object_mut(), next) {
        members.insert("next".to_owned(), next.into());
    }
    json(&answer)
}

pub(super) async fn texts(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    let (query, limit) = (required(&body, "query")?, limit(&body)?);
    let regex = if body.flag("regex").map_err(bad)? { Some(compiled(&query)?) } else { None };
    let (after, wanted) = (body.text("after").map_err(bad)?, query.clone());
    let look = move |found: &Latest| {
        let hit = match &regex {
            Some(regex) => regex.is_match(&found.text),
            None => found.text.contains(&wanted),
        };
        let shape = object!({
            "subject": found.subject.to_string(),
            "version": found.version,
            "schema_type": found.schema_type.name(),
        });
        hit.then_some(shape).into_iter().collect()
    };
    let Found { items, next, .. } = call.registry().scan(&call.subject.context, after, limit, look).await?;
    with_next(object!({ "query": query, "count": items.len(), "matches": items }), next)
}

/// Looks at the fields of all latest versions; answers what `pick` makes of them.
async fn pick_fields<T: Send + 'static>(
    call: &Call<'_>,
    after: Option<String>,
    limit: usize,
    pick: impl Fn(&Latest, Part) -> Option<T> + Send + Sync + 'static,
) -> Result<Found<T>> {
    let look = move |found: &Latest| {
        let fields = outline(found.schema_type, &found.text).into_iter();
        fields.filter(|part| part.kind == Kind::Field).filter_map(|part| pick(found, part)).collect()
    };
    call.registry().scan(&call.subject.context, after, limit, look).await
}

pub(super) async fn fields(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    let (field, limit) = (required(&body, "field")?, limit(&body)?);
    let mode = body.text("mode").map_err(bad)?.filter(|mode| !mode.is_empty());
    let mode = mode.unwrap_or_else(|| "exact".to_owned());
    let matcher = Matcher::new(&body, &field, &mode)?;
    let pick = move |found: &Latest, part: Part| {
        let score = matcher.score(&part.name)?;
        Some(object!({
            "subject": found.subject.to_string(),
            "version": found.version,
            "field_name": part.name,
            "field_type": part.type_name,
            "field_path": part.path,
            "score": score,
            "schema_type": found.schema_type.name(),
        }))
    };
    let Found { items, next, .. } = pick_fields(call, body.text("after").map_err(bad)?, limit, pick).await?;
    with_next(object!({ "field": field, "mode": mode, "count": items.len(), "matches": items }), next)
}

pub(super) async fn types(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    let (pattern, limit) = (required(&body, "type_pattern")?, limit(&body)?);
    let regex = if body.flag("regex").map_err(bad)? { Some(compiled(&pattern)?) } else { None };
    let wanted = pattern.to_lowercase();
    let pick = move |found: &Latest, part: Part| {
        let hit = match &regex {
            Some(regex) => regex.is_match(&part.type_name),
            None => part.type_name.to_lowercase().contains(&wanted),
        };
        hit.then(|| {
            object!({
                "subject": found.subject.to_string(),
                "version": found.version,
                "field_name": part.name,
                "field_type": part.type_name,
                "field_path": part.path,
            })
        })
    };
    let Found { items, next, .. } = pick_fields(call, body.text("after").map_err(bad)?, limit, pick).await?;
    with_next(object!({ "type_pattern": pattern, "count": items.len(), "matches": items }), next)
}

pub(super) async fn field_usages(call: &Call<'_>) -> Result<Made> {
    let field = call.segment(0);
    let wanted = plain(field);
    let pick = move |found: &Latest, part: Part| {
        (plain(&part.name) == wanted).then(|| (found.subject.to_string(), part.name, part.type_name))
    };
    let after = call.query.get("after").map(str::to_owned);
    let Found { items, next, .. } = pick_fields(call, after, MAX_LIMIT, pick).await?;
    let mut types: BTreeMap<&str, usize> = BTreeMap::new();
    items.iter().for_each(|(_, _, kind)| *types.entry(kind).or_default() += 1);
    let usages: Vec<Value> = items
        .iter()
        .map(|(subject, name, kind)| object!({ "subject": subject, "field_name": name, "field_type": kind }))
        .collect();
    let consistent = types.len() <= 1;
    let answer =
        object!({ "field": field, "consistent": consistent, "type_counts": types, "usages": usages });
    with_next(answer, next)
}

pub(super) async fn patterns(call: &Call<'_>) -> Result<Made> {
    let after = call.query.get("after").map(str::to_owned);
    let found = pick_fields(call, after, usize::MAX, |_, part| Some(plain(&part.name))).await?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    found.items.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
    let mut common: Vec<(String, usize)> = counts.into_iter().filter(|(_, count)| *count > 1).collect();
    common.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let count = common.len();
    common.truncate(MAX_LIMIT);
    let common: Vec<Value> =
        common.into_iter().map(|(field, count)| object!({ "field": field, "count": count })).collect();
    let answer =
        object!({ "subject_count": found.subjects, "common_fields": common, "pattern_count": count });
    with_next(answer, found.next)
}

/// `POST /subjects/validate` and `/subjects/match` are also where a subject of that name is looked up. Only that has a schema.
async fn instead(call: &Call<'_>, body: &Object, name: &str) -> Option<Result<Made>> {
    if !body.members().contains_key("schema") {
        return None;
    }
    let subject = crate::names::Subject::new(call.subject.context.clone(), name);
    Some(super::subjects::look_up_in(call, &subject).await)
}

pub(super) async fn match_subjects(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    if let Some(made) = instead(call, &body, "match").await {
        return made;
    }
    let pattern = required(&body, "pattern")?;
    let mode = body.text("mode").map_err(bad)?.filter(|mode| !mode.is_empty());
    let mode = mode.unwrap_or_else(|| "regex".to_owned());
    let matcher = Matcher::new(&body, &pattern, &mode)?;
    let (after, limit) = (body.text("after").map_err(bad)?, MAX_LIMIT);
    let is_wanted = move |name: &str| matcher.score(name).is_some();
    let context = &call.subject.context;
    let Found { items, next, .. } = call.registry().matching(context, after, limit, is_wanted).await?;
    let matches: Vec<String> =
        items.iter().map(|name| crate::names::Subject::new(context.clone(), name).to_string()).collect();
    with_next(object!({ "pattern": pattern, "mode": mode, "count": matches.len(), "matches": matches }), next)
}

pub(super) async fn validate_subject(call: &Call<'_>) -> Result<Made> {
    let body = question(call)?;
    if let Some(made) = instead(call, &body, "validate").await {
        return made;
    }
    let subject = required(&body, "subject")?;
    let strategy = body.text("strategy").map_err(bad)?.filter(|strategy| !strategy.is_empty());
    let strategy = strategy.unwrap_or_else(|| "topic_name".to_owned());
    let is_name = |text: &str| {
        text.split('.').all(|word| {
            let mut letters = word.chars();
            letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    let (issue, suggestion) = match strategy.as_str() {
        "topic_name" if subject.ends_with("-key") || subject.ends_with("-value") => (None, None),
        "topic_name" => (
            Some("a subject of the topic name strategy ends with -key or -value".to_owned()),
            Some(format!("{subject}-value")),
        ),
        "record_name" if is_name(&subject) => (None, None),
        "record_name" => {
            (Some("a subject of the record name strategy is a full name: com.example.User".to_owned()), None)
        }
        "topic_record_name"
            if subject.rsplit_once('-').is_some_and(|(topic, name)| !topic.is_empty() && is_name(name)) =>
        {
            (None, None)
        }
        "topic_record_name" => (
            Some(
                "a subject of the topic record name strategy is a topic, a hyphen and a full name".to_owned(),
            ),
            None,
        ),
        other => {
            let text = format!("Strategy {other:?} is none of topic_name, record_name and topic_record_name");
            return Err(bad(Error::new(42201, text)));
        }
    };
    json(&object!({
        "subject": subject,
        "strategy": strategy,
        "valid": issue.is_none(),
        "issues": issue.into_iter().collect::<Vec<_>>(),
        "suggestion": suggestion.unwrap_or_default(),
    }))
}

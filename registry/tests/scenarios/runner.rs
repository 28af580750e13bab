//! Runs a file of scenarios against anything that answers requests.
//!
//! A scenario is a name and its steps. A step says what is asked (`do`, `body`, `type`, `accept`) and what must come back: `status`
//! (200 if it says nothing), `error` (the number of the body), `answer` (members that must be there), `is` (the whole document),
//! `contains` (pieces of the text). `$name` stands for what an earlier step kept with `keep: {name: member}`, and `$any` for
//! anything.
//!
//! Each scenario needs a registry without anything in it. Where there is none, a context of its own will do, unless its first step
//! says why not: `fresh: what it looks at outside of its own subjects`.

use registry::api::Request;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What was answered.
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Something that answers.
pub(crate) trait Target {
    async fn ask(&self, request: Request<'_>) -> Result<Told, String>;
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(1)
        .unwrap_or(Path::new(".."))
        .join("registry/testdata/scenarios")
}

/// A scenario by its name, with its steps, and why it needs a fresh registry.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) steps: Vec<Value>,
    pub(crate) fresh: Option<String>,
}

pub(crate) fn scenarios(file: &str) -> Vec<Scenario> {
    let text = std::fs::read_to_string(folder().join(file)).expect("a file of scenarios");
    let scenarios: Value = serde_saphyr::from_str(&text).expect("YAML");
    let scenario = |(name, steps): (&String, &Value)| {
        let mut steps = steps.as_array().expect("steps").clone();
        let fresh = steps.first().and_then(|first| first["fresh"].as_str()).map(str::to_owned);
        if fresh.is_some() {
            steps.remove(0);
        }
        Scenario { name: name.clone(), steps, fresh }
    };
    scenarios.as_object().expect("scenarios by name").iter().map(scenario).collect()
}

/// Whether what was found is what was wanted. With `whole`, objects have no other members.
fn holds(found: &Value, wanted: &Value, whole: bool) -> bool {
    match (found, wanted) {
        (_, Value::String(text)) if text == "$any" => true,
        (Value::Object(found), Value::Object(wanted)) => {
            let held = wanted.iter().all(|(name, wanted)| match (wanted, found.get(name)) {
                (Value::Null, found) => found.is_none_or(Value::is_null),
                (wanted, found) => found.is_some_and(|found| holds(found, wanted, whole)),
            });
            held && (!whole || found.keys().all(|name| wanted.contains_key(name)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| holds(found, wanted, whole))
        }
        _ => found == wanted,
    }
}

fn filled(value: &Value, kept: &Map<String, Value>) -> Value {
    match value {
        Value::String(text) => {
            if let Some(known) = text.strip_prefix('$').and_then(|name| kept.get(name)) {
                return known.clone();
            }
            let mut text = text.clone();
            for (name, known) in kept {
                text = text.replace(&format!("${{{name}}}"), &text_of(known));
            }
            Value::String(text)
        }
        Value::Array(list) => list.iter().map(|value| filled(value, kept)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), filled(value, kept))).collect()
        }
        other => other.clone(),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

async fn step(target: &impl Target, step: &Value, kept: &mut Map<String, Value>) -> Result<(), String> {
    let step = filled(step, kept);
    let asked = step["do"].as_str().ok_or("a step without `do`")?;
    let (method, goal) = asked.split_once(' ').ok_or("`do` is METHOD and path")?;
    let (path, query) = goal.split_once('?').unwrap_or((goal, ""));
    let request = Request {
        method,
        path,
        query,
        accept: step["accept"].as_str(),
        content_type: step["type"].as_str().or(Some("application/json")),
        body: if step["body"].is_null() {
            Default::default()
        } else {
            text_of(&step["body"]).into_bytes().into()
        },
        ..Request::default()
    };
    let Told { status: found_status, text } =
        target.ask(request).await.map_err(|why| format!("{asked}: {why}"))?;
    let found: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let problem = |what: String| Err(format!("{asked}: {what}\n    {found_status} {text}"));
    let error = step["error"].as_u64();
    let status = step["status"]
        .as_u64()
        .or(error.map(|code| if code < 1000 { code } else { code / 100 }))
        .unwrap_or(200);
    if u64::from(found_status) != status {
        return problem(format!("status {status} was expected"));
    }
    if error.is_some() && found["error_code"].as_u64() != error {
        return problem(format!("error {error:?} was expected"));
    }
    if error.is_some() && !found["message"].is_string() {
        return problem("a message was expected".into());
    }
    for (member, whole) in [("answer", false), ("is", true)] {
        if let Some(wanted) = step.get(member)
            && !holds(&found, wanted, whole)
        {
            return problem(format!("{}{wanted} was expected", if whole { "exactly " } else { "" }));
        }
    }
    let pieces = match &step["contains"] {
        Value::Array(pieces) => pieces.iter().map(text_of).collect(),
        Value::Null => Vec::new(),
        piece => vec![text_of(piece)],
    };
    if let Some(missing) = pieces.iter().find(|piece| !text.contains(&***piece)) {
        return problem(format!("{missing:?} was expected in it"));
    }
    for (name, member) in step["keep"].as_object().into_iter().flatten() {
        kept.insert(name.clone(), found[text_of(member)].clone());
    }
    Ok(())
}

/// Runs one scenario; the error says at which step it failed, and how.
pub(crate) async fn run(target: &impl Target, scenario: &Scenario) -> Result<(), String> {
    let mut kept = Map::new();
    for (number, one) in scenario.steps.iter().enumerate() {
        let done = step(target, one, &mut kept).await;
        done.map_err(|why| format!("{}, step {}: {why}", scenario.name, number + 1))?;
    }
    Ok(())
}

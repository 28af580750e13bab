//! The scenarios of `testdata/scenarios`: a file for each REST resource, and a fresh registry for each scenario.
//!
//! A step says what is asked (`do`, `body`) and what must come back: `status` (200 if it says nothing), `error` (the number of the
//! body), `answer` (members that must be there), `is` (the whole document), `contains` (a piece of the text). `$name` stands for
//! what an earlier step kept with `keep: {name: member}`.

use registry::api::{About, Api, Request};
use registry::service::{Registry, Settings};
use registry::store::memory::MemoryStore;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

async fn api() -> Api {
    let store = Arc::new(MemoryStore::new(Uuid::nil()));
    let registry =
        Registry::open(store, Settings::default(), || 1_700_000_000_000).await.expect("a registry");
    Api::new(Arc::new(registry), About { version: "1.2.3".into(), ..About::default() })
}

/// Every object of `wanted` must be found inside the one of `found` at the same place; everything else must be equal.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| match wanted {
            Value::Null => !found.contains_key(name),
            wanted => found.get(name).is_some_and(|found| holds(found, wanted)),
        }),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| holds(found, wanted))
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
                let known = known.as_str().map_or_else(|| known.to_string(), str::to_owned);
                text = text.replace(&format!("${{{name}}}"), &known);
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

async fn step(api: &Api, step: &Value, kept: &mut Map<String, Value>) -> Result<(), String> {
    let step = filled(step, kept);
    let asked = step["do"].as_str().ok_or("a step without `do`")?;
    let (method, target) = asked.split_once(' ').ok_or("`do` is METHOD and path")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        accept: step["accept"].as_str().map(str::to_owned),
        content_type: step["type"].as_str().map(str::to_owned).or(Some("application/json".into())),
        body: if step["body"].is_null() {
            Default::default()
        } else {
            text_of(&step["body"]).into_bytes().into()
        },
    };
    let answer = api.answer(&request).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let found: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let problem = |what: String| Err(format!("{asked}: {what}\n    {} {text}", answer.status));
    let error = step["error"].as_u64();
    let status = step["status"]
        .as_u64()
        .or(error.map(|code| if code < 1000 { code } else { code / 100 }))
        .unwrap_or(200);
    if u64::from(answer.status) != status {
        return problem(format!("status {status} was expected"));
    }
    if error.is_some() && found["error_code"].as_u64() != error {
        return problem(format!("error {error:?} was expected"));
    }
    if let Some(wanted) = step.get("answer")
        && !holds(&found, wanted)
    {
        return problem(format!("{wanted} was expected"));
    }
    if let Some(wanted) = step.get("is")
        && found != *wanted
    {
        return problem(format!("exactly {wanted} was expected"));
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

async fn run(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/scenarios").join(file);
    let text = std::fs::read_to_string(&path).expect("a file of scenarios");
    let scenarios: Value = serde_saphyr::from_str(&text).expect("YAML");
    let mut failures = Vec::new();
    for (name, steps) in scenarios.as_object().expect("scenarios by name") {
        let (api, mut kept) = (api().await, Map::new());
        for (number, one) in steps.as_array().expect("steps").iter().enumerate() {
            if let Err(why) = step(&api, one, &mut kept).await {
                failures.push(format!("{name}, step {}: {why}", number + 1));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{file}:\n{}", failures.join("\n"));
}

macro_rules! files {
    ($($name:ident),*) => {
        $(#[tokio::test]
        async fn $name() {
            run(concat!(stringify!($name), ".yaml")).await;
        })*

        #[test]
        fn every_file_is_run() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/scenarios");
            let names = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
            let mut found: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
            found.sort();
            let mut known = vec![$(concat!(stringify!($name), ".yaml")),*];
            known.sort_unstable();
            assert_eq!(found, known);
        }
    };
}

files!(compatibility, config, contexts, deletes, errors, import, lookup, modes, reads, references, register);

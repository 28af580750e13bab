//! What a restore of schemas is told: values only.

use super::ids::Given;
use crate::glob;
use crate::names::Subject;
use crate::schema::SchemaType;
use crate::settings::Level;
use crate::transfer::error::{Error, Kind, Result};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What becomes of what the target has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// It stays, and what is missing is added.
    #[default]
    Preserve,
    /// A version that is another schema is deleted for good, and that of the archive takes its number.
    Overwrite,
    /// Of a subject that the target has in any form nothing is restored.
    Skip,
}

/// Which ids restored schemas have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ids {
    /// Those that the target gives; the result says which.
    #[default]
    Mapped,
    /// Those of the archive, with its numbers of versions.
    Forced,
    /// Those that a file says, and of what it does not name those that the target gives.
    Given(Given),
}

/// How new versions are registered where the target compares them with older ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// As the level asks for.
    #[default]
    Checked,
    /// Whatever the level says: it is NONE for the time. What reads the subject's data may fail on what comes then.
    Forced,
}

/// Which versions of a subject are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Versions {
    /// All of them.
    #[default]
    All,
    /// The latest that is not deleted.
    Latest,
}

/// Whether something is restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// It is.
    #[default]
    Restored,
    /// It is left out.
    Left,
}

/// When settings of a whole context, or of the registry, are restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Globals {
    /// Where the target has no version in the context; those of the registry where it has none at all.
    #[default]
    WhereEmpty,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a restore of schemas is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What becomes of what the target has.
    pub strategy: Strategy,
    /// Which ids restored schemas have.
    pub ids: Ids,
    /// The names that subjects get, by those that they have.
    pub subject_mapping: BTreeMap<String, String>,
    /// The level that restored subjects have while their versions are registered, and afterwards.
    pub set_compatibility: Option<Level>,
    /// How new versions are registered.
    pub registration: Registration,
    /// Which subjects are wanted. What these refer to comes along.
    pub subjects: Patterns,
    /// The types that are wanted; none stand for all.
    pub schema_types: Vec<SchemaType>,
    /// Which versions are wanted.
    pub versions: Versions,
    /// Softly deleted versions.
    pub deleted: Choice,
    /// Versions that are gone from the source, and whose ids may be in records. They are registered, and softly deleted.
    pub gone: Choice,
    /// Settings of subjects: compatibility, aliases, defaults.
    pub configs: Choice,
    /// Settings of contexts and of the registry.
    pub globals: Globals,
    /// Modes.
    pub modes: Choice,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            ids: Ids::default(),
            subject_mapping: BTreeMap::new(),
            set_compatibility: None,
            registration: Registration::default(),
            subjects: Patterns::all(),
            schema_types: Vec::new(),
            versions: Versions::default(),
            deleted: Choice::Restored,
            gone: Choice::Restored,
            configs: Choice::Restored,
            globals: Globals::default(),
            modes: Choice::Left,
        }
    }
}

impl Settings {
    /// The subject that one of the archive becomes.
    pub(super) fn renamed(&self, subject: &str) -> Option<&str> {
        self.subject_mapping.get(subject).map(String::as_str)
    }

    /// With names in the form that indexes have.
    pub(super) fn settled(&self) -> Self {
        let form = |name: &String| Subject::parse(name).to_string();
        let mapping = self.subject_mapping.iter().map(|(from, to)| (form(from), form(to)));
        Self { subject_mapping: mapping.collect(), ..self.clone() }
    }

    /// A digest of what says which versions come, and as what. How they come (levels, settings, modes) is left out of it: a restore
    /// that was refused for that is told otherwise, and is still the same one.
    pub(super) fn digest(&self) -> String {
        let ids = match &self.ids {
            Ids::Mapped => json!("mapped"),
            Ids::Forced => json!("forced"),
            Ids::Given(given) => given.iter().map(|(from, to)| (from.to_string(), Value::from(to))).collect(),
        };
        let texts =
            |patterns: &[Regex]| patterns.iter().map(|one| one.as_str().to_owned()).collect::<Vec<_>>();
        let told = json!({
            "strategy": self.strategy,
            "ids": ids,
            "mapping": self.subject_mapping,
            "include": texts(&self.subjects.include),
            "exclude": texts(&self.subjects.exclude),
            "types": self.schema_types.iter().map(|known| known.name()).collect::<Vec<_>>(),
            "versions": self.versions,
            "deleted": self.deleted,
            "gone": self.gone,
        });
        blake3::hash(told.to_string().as_bytes()).to_hex()[..32].to_owned()
    }
}

/// Patterns of names, with `*` for any characters and `?` for any one.
#[derive(Debug, Clone)]
pub struct Patterns {
    include: Vec<Regex>,
    exclude: Vec<Regex>,
}

impl Patterns {
    /// All names.
    pub fn all() -> Self {
        Self { include: Vec::new(), exclude: Vec::new() }
    }

    /// Names that match one of the first (none stand for all) and none of the others. A subject of a context is written with it.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        let compiled =
            |patterns: &[String]| patterns.iter().map(|pattern| compiled(pattern)).collect::<Result<_>>();
        Ok(Self { include: compiled(include)?, exclude: compiled(exclude)? })
    }

    /// Whether a name is wanted.
    pub fn matches(&self, name: &str) -> bool {
        let any = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

fn compiled(pattern: &str) -> Result<Regex> {
    Regex::new(&glob::expression(pattern)).map_err(|error| {
        Error::new(Kind::Input, format!("the pattern {pattern:?} of subjects cannot be used: {error}"))
            .hint("name the subjects, with * for any characters and ? for any one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_whole_names_and_their_letter_case() {
        let of = |include: &[&str], exclude: &[&str]| {
            let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            Patterns::new(&texts(include), &texts(exclude)).expect("patterns")
        };
        let some = of(&["orders-*", "a?", ":.pay:*"], &["*-test"]);
        for (name, wanted) in [
            ("orders-value", true),
            ("orders-test", false),
            ("Orders-value", false),
            ("ab", true),
            ("abc", false),
            (":.pay:x", true),
            ("x.orders-value", false),
        ] {
            assert_eq!(some.matches(name), wanted, "{name}");
        }
        assert!(of(&[], &[]).matches("x") && !of(&[], &["x"]).matches("x"));
        assert!(of(&["a.b"], &[]).matches("a.b") && !of(&["a.b"], &[]).matches("axb"));
    }
}

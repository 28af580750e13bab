//! What can be set for a subject, a context or all of them: [`Config`] and [`Mode`]. Shapes are Confluent's.

use crate::schema::{Metadata, RuleSet};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which versions a new one is compared with, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Level {
    /// With none.
    None,
    /// The new schema reads what the latest version wrote.
    Backward,
    /// The new schema reads what all versions wrote.
    BackwardTransitive,
    /// The latest version reads what the new schema writes.
    Forward,
    /// All versions read what the new schema writes.
    ForwardTransitive,
    /// Both directions with the latest version.
    Full,
    /// Both directions with all versions.
    FullTransitive,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// The name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// A new schema must read what older ones wrote.
    pub fn is_backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Older schemas must read what a new one writes.
    pub fn is_forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// All versions count, and not only the latest.
    pub fn is_transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(text.trim()));
        named.ok_or_else(|| {
            format!("{text:?} is no compatibility level: {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// How strictly content models of JSON Schema are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CompatibilityPolicy {
    /// As the rules say.
    #[default]
    Strict,
    /// What an open content model may bring is not held against it.
    Lenient,
    /// Accepted and kept; compares as [`Self::Strict`].
    Logical,
}

/// Settings of a subject, of a context, or of all contexts. What is not set here is looked for one level up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Requests for this subject go to another one.
    #[serde(skip_serializing_if = "is_blank")]
    pub alias: Option<String>,
    /// The same for data encryption keys.
    #[serde(skip_serializing_if = "is_blank")]
    pub alias_for_deks: Option<String>,
    /// Schemas are normalised before they are compared and stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// Fields named as reserved in the metadata must not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_fields: Option<bool>,
    /// New schemas are checked more strictly than stored ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_new_schemas: Option<bool>,
    /// Rules are checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_rules: Option<bool>,
    /// Which versions a new one must be compatible with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_level: Option<Level>,
    /// How strictly content models are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_policy: Option<CompatibilityPolicy>,
    /// Only versions with the same value of this metadata property are compared.
    #[serde(skip_serializing_if = "is_blank")]
    pub compatibility_group: Option<String>,
    /// Metadata of a schema that brings none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_metadata: Option<Metadata>,
    /// Metadata that wins over what a schema brings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_metadata: Option<Metadata>,
    /// Rules of a schema that brings none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_rule_set: Option<RuleSet>,
    /// Rules that win over what a schema brings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_rule_set: Option<RuleSet>,
}

/// As good as not set, and not printed, as Confluent's registry does not.
fn is_blank(text: &Option<String>) -> bool {
    text.as_ref().is_none_or(String::is_empty)
}

/// What may be done to a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Everything but to choose ids.
    Readwrite,
    /// Nothing is changed.
    Readonly,
    /// Nothing is changed, and no lower level can say otherwise.
    #[serde(rename = "READONLY_OVERRIDE")]
    ReadonlyOverride,
    /// Schemas come with their ids, unchecked.
    Import,
    /// Requests go to another registry.
    Forward,
}

impl Mode {
    /// The name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Readwrite => "READWRITE",
            Self::Readonly => "READONLY",
            Self::ReadonlyOverride => "READONLY_OVERRIDE",
            Self::Import => "IMPORT",
            Self::Forward => "FORWARD",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Readwrite, Self::Readonly, Self::ReadonlyOverride, Self::Import, Self::Forward]
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| format!("{text:?} is no mode: READWRITE, READONLY, IMPORT"))
    }
}

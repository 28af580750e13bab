//! What people register: a schema with its references, metadata and rules. The names, and the shapes in JSON, are
//! Confluent's.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// The language that a schema is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SchemaType {
    /// Apache Avro. Answers leave the type away where it is this one.
    #[default]
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol Buffers.
    Protobuf,
}

impl SchemaType {
    /// In the order of `GET /schemas/types`.
    pub const ALL: [Self; 3] = [Self::Json, Self::Protobuf, Self::Avro];

    /// The name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Json => "JSON",
            Self::Protobuf => "PROTOBUF",
        }
    }
}

impl fmt::Display for SchemaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SchemaType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(text));
        named.ok_or_else(|| format!("schema type {text:?} is none of AVRO, JSON and PROTOBUF"))
    }
}

/// A pointer to a version of a subject, under the name that the referring text uses for it: an Avro full name, a JSON
/// Schema `$ref`, a Protobuf import.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// What the referring text calls it.
    pub name: String,
    /// Where it is registered.
    pub subject: String,
    /// Which version; -1 is the latest, and is stored as what that was.
    pub version: i32,
}

/// Labels on a schema: part of Confluent's data contracts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metadata {
    /// Path in the schema -> its tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Free properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, String>>,
    /// Names of properties that must not be shown in logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<BTreeSet<String>>,
}

/// What an entry of a list or a map costs in memory beside its bytes, about.
const ENTRY: usize = 48;

fn names_bytes(names: Option<&BTreeSet<String>>) -> usize {
    names.into_iter().flatten().map(|name| ENTRY + name.len()).sum()
}

fn pairs_bytes(pairs: Option<&BTreeMap<String, String>>) -> usize {
    pairs.into_iter().flatten().map(|(name, value)| ENTRY + name.len() + value.len()).sum()
}

impl Metadata {
    /// How large it is in memory, about.
    pub fn bytes(&self) -> usize {
        let tags = self.tags.iter().flatten();
        let tags: usize = tags.map(|(path, names)| ENTRY + path.len() + names_bytes(Some(names))).sum();
        tags + pairs_bytes(self.properties.as_ref()) + names_bytes(self.sensitive.as_ref())
    }
}

/// Whether a rule transforms or only tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RuleKind {
    /// Changes the data.
    Transform,
    /// Tests the data.
    Condition,
}

impl RuleKind {
    /// The name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transform => "TRANSFORM",
            Self::Condition => "CONDITION",
        }
    }
}

/// When a rule is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RuleMode {
    /// From an older version to a newer one.
    Upgrade,
    /// From a newer version to an older one.
    Downgrade,
    /// Both.
    Updown,
    /// When written.
    Write,
    /// When read.
    Read,
    /// Both.
    Writeread,
}

impl RuleMode {
    /// The name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Upgrade => "UPGRADE",
            Self::Downgrade => "DOWNGRADE",
            Self::Updown => "UPDOWN",
            Self::Write => "WRITE",
            Self::Read => "READ",
            Self::Writeread => "WRITEREAD",
        }
    }
}

/// One rule of a data contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Unique in its rule set.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// Transform or condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RuleKind>,
    /// When it is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RuleMode>,
    /// Who executes it: `CEL`, `JSONATA`, `ENCRYPT`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub rule_type: Option<String>,
    /// The tags that it applies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeSet<String>>,
    /// Settings of the executor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<BTreeMap<String, String>>,
    /// What is executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expr: Option<String>,
    /// Action when it succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<String>,
    /// Action when it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<String>,
    /// Kept, but not run.
    #[serde(default)]
    pub disabled: bool,
}

impl Rule {
    fn bytes(&self) -> usize {
        let texts = [&self.doc, &self.rule_type, &self.expr, &self.on_success, &self.on_failure]
            .into_iter()
            .flatten();
        size_of::<Self>()
            + self.name.len()
            + texts.map(String::len).sum::<usize>()
            + names_bytes(self.tags.as_ref())
            + pairs_bytes(self.params.as_ref())
    }
}

/// The rules of a data contract.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleSet {
    /// Between versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration_rules: Option<Vec<Rule>>,
    /// On the data of one version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_rules: Option<Vec<Rule>>,
    /// On the encoded bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding_rules: Option<Vec<Rule>>,
    /// From when on they count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_at: Option<String>,
}

impl RuleSet {
    /// How large it is in memory, about.
    pub fn bytes(&self) -> usize {
        let lists = [&self.migration_rules, &self.domain_rules, &self.encoding_rules];
        let rules = lists.into_iter().flatten().flatten().map(Rule::bytes).sum::<usize>();
        rules + self.enable_at.as_ref().map_or(0, String::len)
    }
}

/// The text that a reference leads to, under the name that the referring text uses.
///
/// A parser gets them all at once, what is referred to before what refers to it, references of references included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency<'a> {
    /// What the referring text calls it.
    pub name: &'a str,
    /// Its canonical text.
    pub text: &'a str,
}

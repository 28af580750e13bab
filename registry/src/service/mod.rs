//! What a schema registry does: the rules, apart from HTTP and from stores.
//!
//! One file a question. They read [`Live`]'s state, and write by decisions that are made again where somebody else was faster.

use crate::error::{Error, Result};
use crate::identity;
use crate::live::{Draft, Live};
use crate::names::{Context, Subject};
use crate::parse::{Parsed, Problem, Strictness};
use crate::schema::{Dependency, Metadata, Reference, RuleSet, SchemaType};
use crate::settings::{Config, Level, Mode};
use crate::state::{ContextState, Version};
use crate::store::{SchemaId, Texts};
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

mod compatibility;
mod config;
mod contexts;
mod contract;
mod delete;
mod dependencies;
mod lookup;
mod mode;
mod parsed;
mod read;
mod register;
mod scan;

pub use compatibility::{NormalForm, With};
pub use config::{ConfigUpdate, Field};
pub use delete::Deletion;
pub use dependencies::{Dependencies, Link};
pub use read::{ById, Entity, Listed, Page, SchemaQuery};
pub use register::Registered;
pub use scan::{Latest, Statistics};

/// What can be set for a registry as a whole. Values only.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The level where nothing else is said.
    pub default_level: Level,
    /// The error number of an incompatible schema: 409, or 40901 for clients of newer releases.
    pub incompatible_code: u32,
    /// Modes may be changed.
    pub mode_mutability: bool,
    /// Nothing may be registered under an empty name.
    pub reject_empty_subject: bool,
    /// Bytes of a schema's text at most.
    pub max_schema_bytes: usize,
    /// References that a schema may lead to, references of references included.
    pub max_references: usize,
    /// Bytes of texts that are kept in memory for stores outside of it.
    pub text_cache_bytes: u64,
    /// Bytes of parsed schemas that are kept, about.
    pub parsed_cache_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_level: Level::Backward,
            incompatible_code: 409,
            mode_mutability: true,
            reject_empty_subject: false,
            max_schema_bytes: 1 << 20,
            max_references: 1000,
            text_cache_bytes: 16 << 20,
            parsed_cache_bytes: 8 << 20,
        }
    }
}

/// A schema registry.
pub struct Registry {
    live: Arc<Live>,
    settings: Settings,
    parsed: parsed::Cache,
    /// One walk through all texts at a time: each of them costs as much as many other requests.
    scanning: tokio::sync::Mutex<()>,
    now_ms: Box<dyn Fn() -> i64 + Send + Sync>,
}

/// A schema as a request has it. Nothing of it has been looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Submitted {
    /// The text; nothing or blank stands for that of the version before.
    pub text: Option<String>,
    /// The type; nothing stands for Avro, or for that of the version before.
    pub schema_type: Option<String>,
    /// References.
    pub references: Vec<SubmittedReference>,
    /// Labels.
    pub metadata: Option<Metadata>,
    /// Rules.
    pub rule_set: Option<RuleSet>,
    /// The id that it is to have; only in IMPORT mode.
    pub id: Option<SchemaId>,
    /// The number that it is to have; 0 stands for the next one.
    pub version: i32,
    /// Register it even where it does not fit older versions.
    pub force: bool,
}

/// A reference as a request has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubmittedReference {
    /// What the text calls it.
    pub name: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// Its version; -1 for the latest.
    pub version: Option<i32>,
}

/// A schema that was read: what it is, and what it is called.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    parsed: Arc<Parsed>,
    canonical: Arc<str>,
    submitted: Option<Arc<str>>,
    references: Arc<[Reference]>,
    metadata: Option<Arc<Metadata>>,
    rule_set: Option<Arc<RuleSet>>,
    guid: Uuid,
}

impl Candidate {
    fn labelled(mut self, metadata: Option<Metadata>, rule_set: Option<RuleSet>) -> Self {
        self.metadata = metadata.map(Arc::new);
        self.rule_set = rule_set.map(Arc::new);
        self.guid = identity::guid(
            &self.canonical,
            &self.references,
            self.metadata.as_deref(),
            self.rule_set.as_deref(),
        );
        self
    }

    fn identity(&self) -> [u8; 16] {
        self.guid.into_bytes()
    }

    fn texts(&self) -> Texts {
        Texts {
            canonical: Arc::clone(&self.canonical),
            submitted: self.submitted.clone(),
            metadata: self.metadata.clone(),
            rule_set: self.rule_set.clone(),
        }
    }
}

/// Something that contexts can be looked at through: the state as it is, or as a decision sees it.
pub(crate) trait View {
    fn look<T>(&mut self, context: &Context, look: impl FnOnce(&ContextState) -> T) -> T;
}

impl View for &Live {
    fn look<T>(&mut self, context: &Context, look: impl FnOnce(&ContextState) -> T) -> T {
        self.read(context, look)
    }
}

impl View for &mut Draft<'_> {
    fn look<T>(&mut self, context: &Context, look: impl FnOnce(&ContextState) -> T) -> T {
        self.other(context, look)
    }
}

/// The settings that count for a subject: its own, else its context's, else those of all contexts. Own ones without a level get
/// the server's; what else they lack comes from their context's.
pub(crate) fn config_in_scope(mut view: impl View, subject: &Subject, default: Level) -> Config {
    let (own, root) = view.look(&subject.context, |state| {
        (state.config(&subject.name).filter(|_| !subject.is_root()).cloned(), state.config("").cloned())
    });
    let mut config = match (own, root) {
        (Some(own), root) => filled(own, root),
        (None, Some(root)) => root,
        (None, None) => view.look(&Context::global(), |state| state.config("").cloned()).unwrap_or_default(),
    };
    config.compatibility_level.get_or_insert(default);
    config
}

/// What a record lacks, its alias and its level apart, comes from another one.
fn filled(own: Config, root: Option<Config>) -> Config {
    let Some(root) = root else { return own };
    Config {
        alias: own.alias,
        alias_for_deks: own.alias_for_deks,
        compatibility_level: own.compatibility_level,
        normalize: own.normalize.or(root.normalize),
        validate_fields: own.validate_fields.or(root.validate_fields),
        validate_new_schemas: own.validate_new_schemas.or(root.validate_new_schemas),
        validate_rules: own.validate_rules.or(root.validate_rules),
        compatibility_policy: own.compatibility_policy.or(root.compatibility_policy),
        compatibility_group: own.compatibility_group.or(root.compatibility_group),
        default_metadata: own.default_metadata.or(root.default_metadata),
        override_metadata: own.override_metadata.or(root.override_metadata),
        default_rule_set: own.default_rule_set.or(root.default_rule_set),
        override_rule_set: own.override_rule_set.or(root.override_rule_set),
    }
}

/// The mode that counts for a subject: its own, else its context's, else that of all contexts. READONLY_OVERRIDE at the top
/// beats them all.
pub(crate) fn mode_in_scope(mut view: impl View, subject: &Subject) -> Mode {
    if let Some(mode) = overriding(&mut view) {
        return mode;
    }
    let own = view.look(&subject.context, |state| state.mode(&subject.name).or_else(|| state.mode("")));
    own.or_else(|| view.look(&Context::global(), |state| state.mode(""))).unwrap_or(Mode::Readwrite)
}

fn overriding(view: &mut impl View) -> Option<Mode> {
    let top = [Context::default_context(), Context::global()];
    let modes = top.map(|context| view.look(&context, |state| state.mode("")));
    modes.into_iter().flatten().find(|mode| *mode == Mode::ReadonlyOverride)
}

/// The highest version that is not deleted.
pub(crate) fn latest(versions: &[Version]) -> Option<&Version> {
    versions.iter().rev().find(|version| !version.deleted)
}

/// How a context is written in messages about modes: nothing for the default one.
fn named(subject: &Subject) -> String {
    let name = if subject.is_root() && subject.context.is_default() {
        "null".to_owned()
    } else {
        subject.to_string()
    };
    format!("Subject {name} in context {}", subject.context.prefix())
}

/// Refuses writing where the mode in scope does not allow it.
pub(crate) fn require_writable(view: impl View, subject: &Subject) -> Result<()> {
    match mode_in_scope(view, subject) {
        Mode::Readonly | Mode::ReadonlyOverride => Err(Error::not_permitted(format!(
            "{} is in read-only mode. PUT /mode with READWRITE makes it writable",
            named(subject)
        ))),
        Mode::Readwrite | Mode::Import | Mode::Forward => Ok(()),
    }
}

impl Registry {
    /// Opens a registry on a store. `now_ms` is the clock, in milliseconds of the epoch.
    pub async fn open(
        store: Arc<dyn crate::store::Store>,
        settings: Settings,
        now_ms: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Result<Self> {
        let live = Live::open(store, settings.text_cache_bytes).await?;
        let parsed = parsed::Cache::new(settings.parsed_cache_bytes);
        Ok(Self { live, settings, parsed, scanning: tokio::sync::Mutex::default(), now_ms: Box::new(now_ms) })
    }

    /// Its memory of the store.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Names that nobody may register under.
    fn require_valid(&self, subject: &Subject, received: &str) -> Result<()> {
        let reserved = matches!(&*subject.name, "__GLOBAL" | "__EMPTY") || subject.context.is_global();
        let control = |text: &str| text.contains(char::is_control);
        if reserved || control(&subject.name) || control(subject.context.as_str()) {
            return Err(Error::invalid_subject(received));
        }
        Ok(())
    }

    /// Names that may be used, but not for schemas.
    fn require_registrable(&self, subject: &Subject, received: &str) -> Result<()> {
        self.require_valid(subject, received)?;
        match subject.is_root() && self.settings.reject_empty_subject {
            true => Err(Error::invalid_subject(received)),
            false => Ok(()),
        }
    }

    /// The references of a request with their versions told; each leads somewhere.
    fn resolved(
        &self,
        mut view: impl View,
        context: &Context,
        references: &[SubmittedReference],
    ) -> Result<Vec<Reference>> {
        let mut resolved = Vec::with_capacity(references.len());
        for reference in references {
            let SubmittedReference { name: Some(name), subject: Some(subject), version: Some(version) } =
                reference
            else {
                let word = |text: &Option<String>| {
                    text.as_ref().map_or("null".to_owned(), |text| format!("'{text}'"))
                };
                let version = reference.version.map_or("null".to_owned(), |version| version.to_string());
                let shown = format!(
                    "{{name={}, subject={}, version={version}}}",
                    word(&reference.name),
                    word(&reference.subject)
                );
                return Err(Error::new(
                    42201,
                    format!("Invalid schema, details: Invalid reference: {shown}. It needs all three"),
                ));
            };
            let target = Subject::parse_in(subject, context);
            let found = view.look(&target.context, |state| {
                let versions = state.versions(&target.name);
                match version {
                    -1 => latest(versions).map(|version| version.version),
                    n => versions.iter().find(|version| version.version == *n).map(|version| version.version),
                }
            });
            let version = found.ok_or_else(|| {
                Error::new(
                    42201,
                    format!(
                        "Invalid schema, details: No schema reference found for subject \"{subject}\" and version {version}. \
                         Register what is referred to first"
                    ),
                )
            })?;
            resolved.push(Reference { name: name.clone(), subject: subject.clone(), version });
        }
        Ok(resolved)
    }

    /// The texts that references lead to, each before what refers to it.
    async fn dependencies(
        &self,
        context: &Context,
        references: &[Reference],
    ) -> Result<Vec<(String, Arc<str>)>> {
        enum Step {
            Enter(Context, Reference),
            Leave(String, Arc<str>),
        }
        let mut found = Vec::new();
        let mut seen: HashSet<(String, Subject, i32)> = HashSet::new();
        let mut steps: Vec<Step> = references
            .iter()
            .rev()
            .map(|reference| Step::Enter(context.clone(), reference.clone()))
            .collect();
        while let Some(step) = steps.pop() {
            let (context, reference) = match step {
                Step::Enter(context, reference) => (context, reference),
                Step::Leave(name, text) => {
                    found.push((name, text));
                    continue;
                }
            };
            let target = Subject::parse_in(&reference.subject, &context);
            if !seen.insert((reference.name.clone(), target.clone(), reference.version)) {
                continue;
            }
            if seen.len() > self.settings.max_references {
                let limit = self.settings.max_references;
                return Err(Error::new(
                    42201,
                    format!("Invalid schema, details: its references lead to more than {limit} schemas"),
                ));
            }
            let row = self.live.read(&target.context, |state| {
                let versions = state.versions(&target.name);
                let version = versions.iter().find(|version| version.version == reference.version)?;
                state.schema(version.id).cloned()
            });
            let missing = || {
                let (subject, version) = (&reference.subject, reference.version);
                Error::new(
                    42201,
                    format!(
                        "Invalid schema, details: No schema reference found for subject \"{subject}\" and version {version}"
                    ),
                )
            };
            let row = row.ok_or_else(missing)?;
            let texts = self.live.texts(&target.context, row.id).await?.ok_or_else(missing)?;
            steps.push(Step::Leave(reference.name, texts.canonical));
            let inner = row.references.iter().rev();
            steps.extend(inner.map(|reference| Step::Enter(target.context.clone(), reference.clone())));
        }
        Ok(found)
    }

    /// Reads a schema that has its references already.
    async fn candidate(
        &self,
        context: &Context,
        schema_type: SchemaType,
        text: &str,
        references: Vec<Reference>,
        strictness: Strictness,
        normalize: bool,
    ) -> Result<Candidate> {
        if text.len() > self.settings.max_schema_bytes {
            return Err(Error::too_large(self.settings.max_schema_bytes));
        }
        let texts = self.dependencies(context, &references).await?;
        let dependencies: Vec<_> = texts.iter().map(|(name, text)| Dependency { name, text }).collect();
        let invalid = |problem: Problem| Error::invalid_schema(&schema_type, &problem);
        let mut parsed = Parsed::parse(schema_type, text, &dependencies, strictness).map_err(invalid)?;
        let mut references = references;
        if normalize {
            let normalized = parsed.normalized();
            parsed = Parsed::parse(schema_type, &normalized, &dependencies, Strictness::Stored)
                .map_err(invalid)?;
            references.sort_by(|one, other| one.name.cmp(&other.name));
            references.dedup();
        }
        let canonical: Arc<str> = parsed.canonical().into();
        let candidate = Candidate {
            submitted: (*canonical != *text).then(|| text.into()),
            canonical,
            parsed: Arc::new(parsed),
            references: references.into(),
            metadata: None,
            rule_set: None,
            guid: Uuid::nil(),
        };
        Ok(candidate)
    }
}

//! What a schema registry does: the rules, apart from HTTP and from stores.
//!
//! One file a question. They read [`Live`]'s state, and write by decisions that are made again where somebody else was faster.

use crate::error::{Error, Result};
use crate::identity::{self, Content, Identity};
use crate::live::{Draft, Live};
use crate::metrics::Checks;
use crate::names::{ALL_CONTEXTS, Context, Subject};
use crate::parse::{Parsed, Problem, Strictness};
use crate::schema::{Dependency, Metadata, Reference, RuleSet, SchemaType};
use crate::settings::{Config, Level, Mode};
use crate::state::{ContextState, Version};
use crate::store::{SchemaId, SchemaKey, SchemaRow, Texts};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use work::Budget;

mod answers;
mod compatibility;
mod config;
mod contexts;
mod contract;
mod delete;
mod dependencies;
mod list;
mod lookup;
mod mode;
mod parsed;
mod read;
mod references;
mod register;
mod scan;
#[cfg(test)]
mod tests;
mod turns;
mod work;

pub use answers::AnswerKey;
pub use compatibility::{NormalForm, With};
pub use config::{ConfigUpdate, Field};
pub use delete::Deletion;
pub use dependencies::{Dependencies, Link};
pub use list::{Listed, Page, SchemaQuery};
pub use read::{ById, Entity};
pub use register::Registered;
#[cfg(feature = "client")]
pub(crate) use register::drop_unused;
pub use scan::{Found, Latest, Statistics};

/// What can be set for a registry as a whole. Values only.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The level where nothing else is said.
    pub default_level: Level,
    /// The error number of an incompatible schema: 409, or 40901 for clients of newer releases.
    pub incompatible_code: u32,
    /// What must be equal for an id to be given again.
    pub identity: Identity,
    /// Modes may be changed.
    pub mode_mutability: bool,
    /// Nothing may be registered under an empty name.
    pub reject_empty_subject: bool,
    /// Bytes of a schema's text at most.
    pub max_schema_bytes: usize,
    /// References that a schema may lead to, references of references included.
    pub max_references: usize,
    /// Bytes of the texts that they lead to.
    pub max_dependency_bytes: usize,
    /// Bytes of a schema's metadata and rules, in memory.
    pub max_label_bytes: usize,
    /// How long one request may make the processor work.
    pub work_allowance: Duration,
    /// How long a request may wait for the processor.
    pub work_patience: Duration,
    /// Bytes of texts that are kept in memory for stores outside of it.
    pub text_cache_bytes: u64,
    /// Bytes of finished answers about ids that are kept.
    pub answer_cache_bytes: u64,
    /// Bytes of parsed schemas that are kept, about.
    pub parsed_cache_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_level: Level::Backward,
            incompatible_code: 409,
            identity: Identity::Confluent,
            mode_mutability: true,
            reject_empty_subject: false,
            max_schema_bytes: 1 << 20,
            max_references: 1000,
            max_dependency_bytes: 8 << 20,
            max_label_bytes: 256 << 10,
            work_allowance: Duration::from_secs(10),
            work_patience: Duration::from_secs(10),
            text_cache_bytes: 16 << 20,
            answer_cache_bytes: 14 << 20,
            parsed_cache_bytes: 4 << 20,
        }
    }
}

/// A schema registry.
pub struct Registry {
    live: Arc<Live>,
    settings: Settings,
    parsed: parsed::Cache,
    answers: answers::Cache,
    work: work::Pool,
    turns: turns::Turns,
    /// One walk through all texts at a time: each of them costs as much as many other requests.
    scanning: tokio::sync::Mutex<()>,
    checks: Checks,
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
    /// All versions that these lead to, and the schemas that they were: what the text was read with.
    relies_on: Arc<[(Subject, i32, SchemaKey)]>,
    metadata: Option<Arc<Metadata>>,
    rule_set: Option<Arc<RuleSet>>,
    content: Content,
    guid: Uuid,
    /// What it shares with others of its content, where that is not the GUID.
    reduced: Option<[u8; 16]>,
}

impl Candidate {
    fn labelled(mut self, metadata: Option<Metadata>, rule_set: Option<RuleSet>) -> Self {
        self.metadata = metadata.map(Arc::new);
        self.rule_set = rule_set.map(Arc::new);
        self.guid = self.content.guid(self.metadata.as_deref(), self.rule_set.as_deref());
        self
    }

    fn identity(&self) -> [u8; 16] {
        self.reduced.unwrap_or(self.guid.into_bytes())
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

/// Something that settings can be looked at through: the state as it is, or as a decision sees it. Of a context that is not a
/// decision's own only those of the whole context may be looked at.
pub(crate) trait View {
    fn settings<T>(&mut self, context: &Context, look: impl FnOnce(&ContextState) -> T) -> T;

    /// Why nobody can ever write here, where that is so.
    fn read_only(&self) -> Option<&str>;
}

impl View for &Live {
    fn settings<T>(&mut self, context: &Context, look: impl FnOnce(&ContextState) -> T) -> T {
        self.read(context, look)
    }

    fn read_only(&self) -> Option<&str> {
        Live::read_only(self)
    }
}

impl View for &mut Draft<'_> {
    fn settings<T>(&mut self, context: &Context, look: impl FnOnce(&ContextState) -> T) -> T {
        Draft::settings(self, context, look)
    }

    fn read_only(&self) -> Option<&str> {
        Draft::read_only(self)
    }
}

/// The settings that count for a subject: its own, else its context's, else those of all contexts. Own ones without a level get
/// the server's; what else they lack comes from their context's.
pub(crate) fn config_in_scope(mut view: impl View, subject: &Subject, default: Level) -> Config {
    let (own, root) = view.settings(&subject.context, |state| {
        (state.config(&subject.name).filter(|_| !subject.is_root()).cloned(), state.config("").cloned())
    });
    let mut config = match (own, root) {
        (Some(own), root) => filled(own, root),
        (None, Some(root)) => root,
        (None, None) => {
            view.settings(&Context::global(), |state| state.config("").cloned()).unwrap_or_default()
        }
    };
    config.compatibility_level.get_or_insert(default);
    config
}

/// What a record lacks, its alias and its level apart, comes from its context's: that is one step, and goes no further up.
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
/// beats them all, and so does READONLY where nobody can ever write.
pub(crate) fn mode_in_scope(mut view: impl View, subject: &Subject) -> Mode {
    if let Some(mode) = overriding(&mut view) {
        return mode;
    }
    if view.read_only().is_some() {
        return Mode::Readonly;
    }
    let own = view.settings(&subject.context, |state| state.mode(&subject.name).or_else(|| state.mode("")));
    own.or_else(|| view.settings(&Context::global(), |state| state.mode(""))).unwrap_or(Mode::Readwrite)
}

fn overriding(view: &mut impl View) -> Option<Mode> {
    let top = [Context::default_context(), Context::global()];
    let modes = top.map(|context| view.settings(&context, |state| state.mode("")));
    modes.into_iter().flatten().find(|mode| *mode == Mode::ReadonlyOverride)
}

/// The highest version that is not deleted.
pub(crate) fn latest(versions: &[Version]) -> Option<&Version> {
    versions.iter().rev().find(|version| !version.deleted)
}

/// Refuses where ids were given by another rule: they would not mean what they meant.
fn require_identity(identity: Identity, any: Option<&SchemaRow>) -> Result<()> {
    match any.is_none_or(|row| identity.numbered(row)) {
        true => Ok(()),
        false => Err(Error::new(
            50001,
            format!(
                "The store's ids were given with identity {}, and the registry's settings say {}. Start it with the store's, or \
                 export everything and import it into an empty store",
                identity.other().name(),
                identity.name()
            ),
        )),
    }
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

/// The path of a subject's mode, or of a context's.
fn mode_path(subject: &Subject) -> String {
    match subject.is_root() && subject.context.is_default() {
        true => "/mode".into(),
        false => format!("/mode/{subject}"),
    }
}

/// Refuses writing where the mode in scope does not allow it.
pub(crate) fn require_writable(view: impl View, subject: &Subject) -> Result<()> {
    let for_ever = view.read_only().map(str::to_owned);
    match mode_in_scope(view, subject) {
        mode @ (Mode::Readonly | Mode::ReadonlyOverride) => {
            Err(read_only(subject, mode, for_ever.as_deref()))
        }
        Mode::Readwrite | Mode::Import | Mode::Forward => Ok(()),
    }
}

/// `for_ever`: why, where nobody can ever write here.
fn read_only(subject: &Subject, mode: Mode, for_ever: Option<&str>) -> Error {
    let next = match (for_ever, mode) {
        (Some(why), _) => why.to_owned(),
        (None, Mode::ReadonlyOverride) => {
            "READONLY_OVERRIDE is set at /mode or /mode/:.__GLOBAL:. PUT another mode there".to_owned()
        }
        (None, _) => format!("PUT {} with READWRITE makes it writable", mode_path(subject)),
    };
    Error::not_permitted(format!("{} is in read-only mode. {next}", named(subject)))
}

impl Registry {
    /// Opens a registry on a store. `now_ms` is the clock, in milliseconds of the epoch.
    pub async fn open(
        store: Arc<dyn crate::store::Store>,
        settings: Settings,
        now_ms: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Result<Self> {
        let live = Live::open(store, settings.text_cache_bytes).await?;
        // Where no id is ever given it does not matter how they were.
        for context in live.contexts().into_iter().filter(|_| live.read_only().is_none()) {
            live.read(&context, |state| require_identity(settings.identity, state.any_schema()))?;
        }
        let parsed = parsed::Cache::new(settings.parsed_cache_bytes);
        let answers = answers::Cache::new(settings.answer_cache_bytes);
        let (work, turns) = (work::Pool::new(&settings), turns::Turns::default());
        let (scanning, checks) = (tokio::sync::Mutex::default(), Checks::default());
        Ok(Self { live, settings, parsed, answers, work, turns, scanning, checks, now_ms: Box::new(now_ms) })
    }

    /// The clock, in milliseconds of the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        (self.now_ms)()
    }

    /// What the registry answers for its settings where it has none of its own, by those of all contexts.
    #[cfg(feature = "client")]
    pub(crate) fn config_of_all(&self, global: Option<Config>) -> Config {
        let mut config = global.unwrap_or_default();
        config.compatibility_level.get_or_insert(self.settings.default_level);
        config
    }

    /// Its memory of the store.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Its count of comparisons.
    pub(crate) fn checks(&self) -> &Checks {
        &self.checks
    }

    /// The subject that an alias leads to, one step; nothing where the name is no alias.
    pub async fn target(&self, subject: &Subject) -> Result<Option<Subject>> {
        self.live.fresh().await?;
        Ok(self.alias(subject))
    }

    fn alias(&self, subject: &Subject) -> Option<Subject> {
        let own = |state: &ContextState| state.config(&subject.name).and_then(|config| config.alias.clone());
        let alias = self.live.read(&subject.context, own).filter(|alias| !alias.is_empty());
        alias.map(|alias| Subject::parse_in(&alias, &subject.context))
    }

    /// Names that nobody may register under.
    fn require_valid(&self, subject: &Subject, received: &str) -> Result<()> {
        // What begins as the prefix of all contexts could be written and never be found.
        let wild = subject.context.is_default() && subject.name.starts_with(ALL_CONTEXTS);
        let reserved =
            matches!(&*subject.name, "__GLOBAL" | "__EMPTY") || subject.context.is_global() || wild;
        let control = |text: &str| text.contains(char::is_control);
        if reserved || control(&subject.name) || control(subject.context.as_str()) {
            return Err(Error::invalid_subject(received));
        }
        if !subject.is_storable() {
            return Err(Error::long_subject(received));
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

    /// Labels of a size that somebody may have written.
    fn require_small(&self, metadata: Option<&Metadata>, rules: Option<&RuleSet>) -> Result<()> {
        let (bytes, most) = (
            metadata.map_or(0, Metadata::bytes) + rules.map_or(0, RuleSet::bytes),
            self.settings.max_label_bytes,
        );
        if bytes > most {
            return Err(Error::new(
                42201,
                format!("Its metadata and rules take {bytes} bytes, and {most} are allowed"),
            ));
        }
        Ok(())
    }

    /// Reads a schema that has its references already.
    async fn candidate(
        &self,
        context: &Context,
        reading: Reading<'_>,
        references: Vec<Reference>,
        budget: &Budget,
    ) -> Result<Candidate> {
        let Reading { schema_type, text, strictness, normalize } = reading;
        if text.len() > self.settings.max_schema_bytes {
            return Err(Error::too_large(self.settings.max_schema_bytes));
        }
        let targets = self.targets(context, &references).await?;
        let relies_on = targets.iter().map(references::Target::place).collect();
        let found = self.texts_of(&targets).await?;
        let bytes = text.len() + found.iter().map(|(_, text)| text.len()).sum::<usize>();
        let (text, identity): (Arc<str>, _) = (text.into(), self.settings.identity);
        let read = move || {
            let dependencies: Vec<_> = found.iter().map(|(name, text)| Dependency { name, text }).collect();
            let mut parsed = Parsed::parse(schema_type, &text, &dependencies, strictness)?;
            let mut references = references;
            let mut normalized = None;
            if normalize {
                let text = parsed.normalized();
                parsed = Parsed::parse(schema_type, &text, &dependencies, Strictness::Stored)?;
                // Printed again it would have `default` and `json_name` behind the other options.
                normalized = (schema_type == SchemaType::Protobuf).then_some(text);
                references.sort_by(|one, other| one.name.cmp(&other.name));
                references.dedup();
            }
            let canonical: Arc<str> = normalized.as_deref().unwrap_or(parsed.canonical()).into();
            let reduced =
                (identity == Identity::Axonops).then(|| identity::content(&parsed.reduced(), &references));
            Ok(Candidate {
                submitted: (canonical != text).then_some(text),
                content: Content::new(&canonical, &references),
                canonical,
                parsed: Arc::new(parsed),
                references: references.into(),
                relies_on,
                metadata: None,
                rule_set: None,
                guid: Uuid::nil(),
                reduced,
            })
        };
        let read = self.work.run(budget, Some(bytes), read).await?;
        read.map_err(|problem: Problem| Error::invalid_schema(&schema_type, &problem))
    }
}

/// How a text is to be read.
#[derive(Debug, Clone, Copy)]
struct Reading<'a> {
    schema_type: SchemaType,
    text: &'a str,
    strictness: Strictness,
    normalize: bool,
}

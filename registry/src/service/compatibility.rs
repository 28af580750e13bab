//! Whether a schema may follow those that a subject has.

use super::contract;
use super::register::schema_type;
use super::work::Budget;
use super::{Candidate, Reading, Registry, Submitted, config_in_scope};
use crate::compat::{self, Older, Verdict};
use crate::error::{Error, Result};
use crate::metrics::Outcome;
use crate::names::{Context, Subject};
use crate::parse::Strictness;
use crate::schema::SchemaType;
use crate::settings::{Config, Level};
use crate::state::Version;
use std::sync::Arc;

/// Older versions whose texts are asked for at once.
const CHUNK: usize = 16;
/// Bytes of older texts that are compared with in one step; always one text.
const GATHERED: usize = 64 << 10;

/// What a schema is compared with.
pub(super) struct Basis<'a> {
    pub(super) config: &'a Config,
    pub(super) versions: &'a [Version],
}

/// Which version a request compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// All that the level asks for.
    Level,
    /// One; -1 for the latest.
    Version(i32),
}

/// A schema in the form that `normalize` gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalForm {
    /// Its type.
    pub schema_type: SchemaType,
    /// Its text.
    pub text: String,
    /// The same for all schemas that decide alike how bytes are read.
    pub fingerprint: String,
}

impl Registry {
    /// Compares without registering. The level is that of the subject, whichever version it is compared with.
    pub async fn check(
        &self,
        subject: &Subject,
        submitted: &Submitted,
        with: With,
        normalize: bool,
    ) -> Result<Verdict> {
        self.require_small(submitted.metadata.as_ref(), submitted.rule_set.as_ref())?;
        let find = |live: &crate::live::Live| {
            let live = live.read(&subject.context, |state| {
                let versions = state.versions(&subject.name).iter();
                versions.filter(|version| !version.deleted).copied().collect::<Vec<_>>()
            });
            let found = match with {
                With::Level => live,
                With::Version(-1) => live.last().copied().into_iter().collect(),
                With::Version(number) => {
                    live.into_iter().filter(|version| version.version == number).collect()
                }
            };
            (!found.is_empty()).then_some(found)
        };
        let versions = match (self.live.find(find).await?, with) {
            (Some(versions), _) => versions,
            (None, With::Level | With::Version(-1)) => Vec::new(),
            (None, With::Version(number)) => return Err(Error::version_not_found(subject, number)),
        };
        let text = submitted
            .text
            .as_deref()
            .filter(|text| !text.trim().is_empty())
            .ok_or_else(Error::empty_schema)?;
        let budget = self.work.budget();
        let config = config_in_scope(&*self.live, subject, self.settings.default_level);
        let schema_type = schema_type(submitted.schema_type.as_deref())?;
        let references = self.resolved(&subject.context, &submitted.references).await?;
        let strictness =
            if config.validate_new_schemas.unwrap_or(true) { Strictness::New } else { Strictness::Stored };
        let normalize = normalize || config.normalize.unwrap_or(false);
        let reading = Reading { schema_type, text, strictness, normalize };
        let level = config.compatibility_level.unwrap_or(self.settings.default_level);
        let candidate = self.candidate(&subject.context, reading, references, &budget).await;
        let candidate = candidate.inspect_err(|_| self.checks.count(schema_type, level, Outcome::Failed))?;
        let candidate = candidate.labelled(submitted.metadata.clone(), submitted.rule_set.clone());
        let basis = Basis { config: &config, versions: &versions };
        self.judge(subject, &candidate, &basis, &budget).await
    }

    /// Reads a schema as if it were registered now, and answers its normal form.
    pub async fn normal_form(&self, context: &Context, submitted: &Submitted) -> Result<NormalForm> {
        self.live().fresh().await?;
        let text = submitted.text.as_deref().unwrap_or("");
        let schema_type = schema_type(submitted.schema_type.as_deref())?;
        let references = self.resolved(context, &submitted.references).await?;
        let reading = Reading { schema_type, text, strictness: Strictness::New, normalize: true };
        let candidate = self.candidate(context, reading, references, &self.work.budget()).await?;
        let fingerprint = crate::identity::content(&candidate.parsed.reduced(), &candidate.references);
        let fingerprint = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(NormalForm { schema_type, text: candidate.canonical.to_string(), fingerprint })
    }

    /// Compares with the live versions of a subject.
    pub(super) async fn judge(
        &self,
        subject: &Subject,
        candidate: &Candidate,
        basis: &Basis<'_>,
        budget: &Budget,
    ) -> Result<Verdict> {
        let level = basis.config.compatibility_level.unwrap_or(self.settings.default_level);
        let live: Vec<_> = basis.versions.iter().filter(|version| !version.deleted).collect();
        let schema_type = candidate.parsed.schema_type();
        let mut verdict = Verdict::default();
        if basis.config.validate_fields.unwrap_or(false) {
            self.check_reserved(subject, candidate, live.last().copied(), &mut verdict).await?;
        }
        if level != Level::None {
            let mut older = self.group(subject, candidate, basis.config, live).await?;
            if !level.is_transitive() {
                older.drain(..older.len().saturating_sub(1));
            }
            let found = self.compare(subject, candidate, basis.config, &older, budget).await;
            let found = found.inspect_err(|_| self.checks.count(schema_type, level, Outcome::Failed))?;
            verdict.confluent.extend(found.confluent);
            verdict.explained.extend(found.explained);
        }
        let outcome = if verdict.is_compatible() { Outcome::Compatible } else { Outcome::Incompatible };
        self.checks.count(schema_type, level, outcome);
        if !verdict.is_compatible() {
            let checked = basis.config.validate_fields.unwrap_or(false);
            verdict.confluent.push(format!("{{validateFields: '{checked}', compatibility: '{level}'}}"));
        }
        Ok(verdict)
    }

    /// Compares with versions that are given by rising number, the newest first, until one does not fit. No more than [`GATHERED`]
    /// is read at a time: all versions of a subject need not fit memory. What is small is compared in one step, because to hand a
    /// comparison over costs more than to make it.
    async fn compare(
        &self,
        subject: &Subject,
        candidate: &Candidate,
        config: &Config,
        older: &[&Version],
        budget: &Budget,
    ) -> Result<Verdict> {
        let level = config.compatibility_level.unwrap_or(self.settings.default_level);
        let policy = config.compatibility_policy.unwrap_or_default();
        for chunk in older.rchunks(CHUNK) {
            let keys: Vec<_> = chunk.iter().map(|version| version.schema).collect();
            if keys.len() > 1 {
                // So that they are at hand, and not asked for one by one.
                self.live.schemas(&subject.context, &keys).await?;
            }
            let mut chunk = chunk.to_vec();
            while !chunk.is_empty() {
                let (older, unread) = self.gather(subject, &mut chunk, budget).await?;
                let new = Arc::clone(&candidate.parsed);
                let compare = move || compat::judge(level, policy, &new, &older);
                let verdict = self.work.run(budget, None, compare).await?;
                match unread {
                    Some(unread) if verdict.is_compatible() => return Ok(unread),
                    None if verdict.is_compatible() => {}
                    _ => return Ok(verdict),
                }
            }
        }
        Ok(Verdict::default())
    }

    /// Takes versions from the end until they are enough for one step, and gives them by rising number; with what is to be said
    /// where the next one cannot be read.
    async fn gather(
        &self,
        subject: &Subject,
        versions: &mut Vec<&Version>,
        budget: &Budget,
    ) -> Result<(Vec<Older>, Option<Verdict>)> {
        let (mut older, mut bytes, mut unread) = (Vec::new(), 0, None);
        while bytes < GATHERED
            && unread.is_none()
            && let Some(version) = versions.pop()
        {
            match self.parsed(&subject.context, version.schema, budget).await {
                Ok(schema) => {
                    bytes += schema.canonical().len();
                    older.push(Older { version: version.version, schema });
                }
                Err(error) if error.status() < 500 && !budget.is_spent() => {
                    unread = Some(unreadable(version.version, &error));
                }
                Err(error) => return Err(error),
            }
        }
        older.reverse();
        Ok((older, unread))
    }

    /// Versions with the same value of the property that the settings name.
    async fn group<'a>(
        &self,
        subject: &Subject,
        candidate: &Candidate,
        config: &Config,
        live: Vec<&'a Version>,
    ) -> Result<Vec<&'a Version>> {
        let Some(group) = &config.compatibility_group else { return Ok(live) };
        let mine = contract::property(candidate.metadata.as_deref(), group);
        let mut same = Vec::with_capacity(live.len());
        for chunk in live.chunks(CHUNK) {
            let keys: Vec<_> = chunk.iter().map(|version| version.schema).collect();
            let found = self.live.schemas(&subject.context, &keys).await?;
            same.extend(chunk.iter().filter(|version| {
                let metadata = found.get(&version.schema).and_then(|(_, texts)| texts.metadata.as_deref());
                contract::property(metadata, group) == mine
            }));
        }
        Ok(same)
    }

    /// Fields that the metadata reserves may not be used, and may not be given up.
    async fn check_reserved(
        &self,
        subject: &Subject,
        candidate: &Candidate,
        last: Option<&Version>,
        verdict: &mut Verdict,
    ) -> Result<()> {
        let mine = contract::reserved(candidate.metadata.as_deref());
        if let Some(last) = last
            && let Some((_, texts)) = self.live.schema(&subject.context, last.schema).await?
        {
            for name in contract::reserved(texts.metadata.as_deref()) {
                if !mine.contains(&name) {
                    verdict.confluent.push(format!(
                        "The new schema has reserved field {name} removed from its metadata which is present in the old schema's metadata."
                    ));
                    verdict
                        .explained
                        .push(format!("keep {name:?} in the metadata property confluent:reserved"));
                }
            }
        }
        for name in mine {
            if candidate.parsed.has_field(name) {
                verdict
                    .confluent
                    .push(format!("The new schema has field that conflicts with the reserved field {name}."));
                verdict
                    .explained
                    .push(format!("field {name:?} is reserved by the metadata: give it another name"));
            }
        }
        Ok(())
    }

    /// The refusal of a registration.
    pub(super) fn incompatible(&self, subject: &Subject, verdict: &Verdict) -> Error {
        let mut text = format!(
            "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{}]",
            verdict.confluent.join(", ")
        );
        if !verdict.explained.is_empty() {
            text += &format!(" In other words: {}", verdict.explained.join("; "));
        }
        Error::new(self.settings.incompatible_code, text)
    }
}

/// An older version that cannot be read, as one that another registry has accepted, cannot be followed. The new schema is not to
/// blame.
fn unreadable(version: i32, error: &Error) -> Verdict {
    Verdict {
        confluent: vec![format!(
            "Could not compare with version {version}, which cannot be read: {}",
            error.message()
        )],
        explained: vec![format!(
            "version {version} cannot be read: delete it, or set the compatibility to NONE for as long as this is registered"
        )],
    }
}

//! Whether a schema may follow those that a subject has.

use super::contract;
use super::register::schema_type;
use super::{Candidate, Registry, Submitted, config_in_scope};
use crate::compat::{self, Older, Verdict};
use crate::error::{Error, Result};
use crate::names::{Context, Subject};
use crate::parse::Strictness;
use crate::schema::SchemaType;
use crate::settings::{Config, Level};
use crate::state::Version;

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
        self.live().fresh().await?;
        let versions = |live: &crate::live::Live| {
            live.read(&subject.context, |state| state.versions(&subject.name).to_vec())
        };
        let mut versions = versions(self.live());
        versions.retain(|version| !version.deleted);
        match with {
            With::Level => {}
            With::Version(-1) => drop(versions.drain(..versions.len().saturating_sub(1))),
            With::Version(number) => {
                versions.retain(|version| version.version == number);
                if versions.is_empty() && self.live().confirm().await? {
                    versions =
                        self.live().read(&subject.context, |state| state.versions(&subject.name).to_vec());
                    versions.retain(|version| !version.deleted && version.version == number);
                }
                if versions.is_empty() {
                    return Err(Error::version_not_found(subject, number));
                }
            }
        }
        let text = submitted
            .text
            .as_deref()
            .filter(|text| !text.trim().is_empty())
            .ok_or_else(Error::empty_schema)?;
        let config = config_in_scope(&**self.live(), subject, self.settings.default_level);
        let kind = schema_type(submitted.schema_type.as_deref())?;
        let references = self.resolved(&**self.live(), &subject.context, &submitted.references)?;
        let strict =
            if config.validate_new_schemas.unwrap_or(true) { Strictness::New } else { Strictness::Stored };
        let normalize = normalize || config.normalize.unwrap_or(false);
        let candidate = self.candidate(&subject.context, kind, text, references, strict, normalize).await?;
        let candidate = candidate.labelled(submitted.metadata.clone(), submitted.rule_set.clone());
        self.judge(subject, &candidate, &Basis { config: &config, versions: &versions }).await
    }

    /// Reads a schema as if it were registered now, and answers its normal form.
    pub async fn normal_form(&self, context: &Context, submitted: &Submitted) -> Result<NormalForm> {
        self.live().fresh().await?;
        let text = submitted.text.as_deref().unwrap_or("");
        let schema_type = schema_type(submitted.schema_type.as_deref())?;
        let references = self.resolved(&**self.live(), context, &submitted.references)?;
        let candidate = self.candidate(context, schema_type, text, references, Strictness::New, true).await?;
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
    ) -> Result<Verdict> {
        let level = basis.config.compatibility_level.unwrap_or(self.settings.default_level);
        let policy = basis.config.compatibility_policy.unwrap_or_default();
        let live: Vec<_> = basis.versions.iter().filter(|version| !version.deleted).collect();
        let mut verdict = Verdict::default();
        if basis.config.validate_fields.unwrap_or(false) {
            self.check_reserved(subject, candidate, live.last().copied(), &mut verdict).await?;
        }
        if level != Level::None {
            let mut older = self.group(subject, candidate, basis.config, live).await?;
            if !level.is_transitive() {
                older.drain(..older.len().saturating_sub(1));
            }
            let older = self.older(subject, older).await?;
            let found = compat::judge(level, policy, &candidate.parsed, &older);
            verdict.confluent.extend(found.confluent);
            verdict.explained.extend(found.explained);
        }
        if !verdict.is_compatible() {
            let checked = basis.config.validate_fields.unwrap_or(false);
            verdict.confluent.push(format!("{{validateFields: '{checked}', compatibility: '{level}'}}"));
        }
        Ok(verdict)
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
        for version in live {
            let texts = self.live().texts(&subject.context, version.id).await?;
            let metadata = texts.as_ref().and_then(|texts| texts.metadata.as_deref());
            if contract::property(metadata, group) == mine {
                same.push(version);
            }
        }
        Ok(same)
    }

    async fn older(&self, subject: &Subject, versions: Vec<&Version>) -> Result<Vec<Older>> {
        let mut older = Vec::with_capacity(versions.len());
        for version in versions {
            let schema = self.parsed(&subject.context, version.id).await?;
            older.push(Older { version: version.version, schema });
        }
        Ok(older)
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
            && let Some(texts) = self.live().texts(&subject.context, last.id).await?
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

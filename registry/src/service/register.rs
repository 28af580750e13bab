//! Registering a schema: the one question that everything else exists for.
//!
//! ```text
//! prepare   read the text, complete metadata and rules, compare with older versions      (slow, before anything waits for it)
//! decide    is what that was based on still so? then number, id, and the rows            (one step; else prepare again)
//! ```

use super::compatibility::Basis;
use super::contract::{self, Labels};
use super::{Candidate, Registry, Submitted, config_in_scope, latest, mode_in_scope, named};
use crate::error::{Error, Result};
use crate::live::{Draft, Scope};
use crate::names::{Context, Subject};
use crate::parse::Strictness;
use crate::schema::SchemaType;
use crate::settings::{Config, Mode};
use crate::state::{ContextState, Version};
use crate::store::{Change, SchemaId, SchemaRow, Texts, VersionRow};
use std::sync::Arc;
use uuid::Uuid;

/// How often a registration is prepared anew, because the subject was changed meanwhile.
const ATTEMPTS: usize = 1000;

/// What was registered, or had been before.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Its id.
    pub id: SchemaId,
    /// Its number in the subject.
    pub version: i32,
    /// Its GUID.
    pub guid: Uuid,
    /// Its type.
    pub schema_type: SchemaType,
    /// What it refers to.
    pub references: Arc<[crate::schema::Reference]>,
    /// Its texts.
    pub texts: Texts,
    /// Nothing was written: it was there.
    pub known: bool,
}

/// What a registration was decided on.
#[derive(Clone, PartialEq)]
struct Seen {
    mode: Mode,
    config: Config,
    versions: Vec<Version>,
}

impl Registry {
    /// Registers a schema, or says where it is registered already. `received` is the subject as the request has it.
    pub async fn register(
        &self,
        subject: &Subject,
        received: &str,
        submitted: &Submitted,
        normalize: bool,
    ) -> Result<Registered> {
        contract::require_valid_rules(submitted.rule_set.as_ref())?;
        self.require_registrable(subject, received)?;
        let mut submitted = submitted.clone();
        self.live().fresh().await?;
        for _ in 0..ATTEMPTS {
            let seen = self.seen(subject);
            let normalize = normalize || seen.config.normalize.unwrap_or(false);
            if let Some(known) = self.known(subject, &submitted, &seen, normalize).await? {
                return Ok(known);
            }
            require_mode(subject, seen.mode, submitted.id)?;
            let (candidate, number) = self.prepare(subject, &mut submitted, &seen, normalize).await?;
            if let Some(known) = self.equal(subject, &candidate, &submitted, &seen).await? {
                return Ok(known);
            }
            if !is_import(seen.mode) && !submitted.force {
                let basis = Basis { config: &seen.config, versions: &seen.versions };
                let verdict = self.judge(subject, &candidate, &basis).await?;
                if !verdict.is_compatible() {
                    return Err(self.incompatible(subject, &verdict));
                }
            }
            if let Some(registered) = self.settle(subject, candidate, &submitted, seen, number).await? {
                return Ok(registered);
            }
        }
        Err(Error::new(
            50002,
            format!("Register operation timed out: subject {subject} is changed all the time. Try again"),
        ))
    }

    fn seen(&self, subject: &Subject) -> Seen {
        Seen {
            mode: mode_in_scope(&**self.live(), subject),
            config: config_in_scope(&**self.live(), subject, self.settings.default_level),
            versions: self.live().read(&subject.context, |state| state.versions(&subject.name).to_vec()),
        }
    }

    /// Before any look at the mode: what the subject has already may be registered again in every one of them.
    async fn known(
        &self,
        subject: &Subject,
        submitted: &Submitted,
        seen: &Seen,
        normalize: bool,
    ) -> Result<Option<Registered>> {
        let Some(text) = submitted.text.as_deref().filter(|text| !text.trim().is_empty()) else {
            return Ok(None);
        };
        if submitted.version > 0 || contract::is_governed(&seen.config) {
            return Ok(None);
        }
        let schema_type = schema_type(submitted.schema_type.as_deref())?;
        let references = self.resolved(&**self.live(), &subject.context, &submitted.references)?;
        let strictness = Strictness::Stored;
        let candidate =
            self.candidate(&subject.context, schema_type, text, references, strictness, normalize).await?;
        let candidate = candidate.labelled(submitted.metadata.clone(), submitted.rule_set.clone());
        let found = self.find_version(subject, &candidate, false).await?;
        let found = found.filter(|found| submitted.id.is_none_or(|id| id == found.id));
        let latest = latest(&seen.versions).map(|version| version.version);
        let found = found.filter(|found| submitted.version != -1 || latest == Some(found.version));
        match found {
            Some(found) => self.registered(subject, found, true).await,
            None => Ok(None),
        }
    }

    /// What a version of the subject is, as an answer.
    pub(super) async fn registered(
        &self,
        subject: &Subject,
        version: Version,
        known: bool,
    ) -> Result<Option<Registered>> {
        let row = self.live().read(&subject.context, |state| state.schema(version.id).cloned());
        let texts = self.live().texts(&subject.context, version.id).await?;
        Ok(row.zip(texts).map(|(row, texts)| Registered {
            id: version.id,
            version: version.version,
            guid: row.guid,
            schema_type: row.schema_type,
            references: row.references,
            texts,
            known,
        }))
    }

    /// Completes what the request leaves to the version before, and reads it. Gives the number that it would have.
    async fn prepare(
        &self,
        subject: &Subject,
        submitted: &mut Submitted,
        seen: &Seen,
        normalize: bool,
    ) -> Result<(Candidate, i32)> {
        let import = is_import(seen.mode);
        let before = latest(&seen.versions).filter(|_| !import);
        let before = match before {
            Some(version) => self.registered(subject, *version, true).await?,
            None => None,
        };
        let given = submitted.text.clone().filter(|text| !text.trim().is_empty());
        let references = self.resolved(&**self.live(), &subject.context, &submitted.references)?;
        let (schema_type, text, references) = match (given, &before) {
            (Some(text), _) => (schema_type(submitted.schema_type.as_deref())?, text, references),
            (None, Some(before)) => {
                (before.schema_type, before.texts.canonical.to_string(), before.references.to_vec())
            }
            (None, None) => return Err(Error::empty_schema()),
        };
        let checked = submitted.id.is_none() && !import && seen.config.validate_new_schemas.unwrap_or(true);
        let strictness = if checked { Strictness::New } else { Strictness::Stored };
        let candidate = self
            .candidate(&subject.context, schema_type, &text, references, strictness, normalize && !import)
            .await?;
        let next = seen.versions.last().map_or(1, |version| version.version.saturating_add(1));
        let number = if submitted.version > 0 { submitted.version } else { next };
        let labels: Labels = (submitted.metadata.clone(), submitted.rule_set.clone());
        let labels = if import {
            labels
        } else {
            let before = before.map_or((None, None), |before| {
                (before.texts.metadata.as_deref().cloned(), before.texts.rule_set.as_deref().cloned())
            });
            contract::completed(labels, before, &seen.config, submitted.version != 0, number)
        };
        Ok((candidate.labelled(labels.0, labels.1), number))
    }

    /// The version that is this schema already, now that its labels are complete.
    async fn equal(
        &self,
        subject: &Subject,
        candidate: &Candidate,
        submitted: &Submitted,
        seen: &Seen,
    ) -> Result<Option<Registered>> {
        if submitted.version != 0 {
            return Ok(None);
        }
        let found = self.find_version(subject, candidate, false).await?;
        let found = found
            .filter(|found| submitted.id.is_none_or(|id| id == found.id) && seen.versions.contains(found));
        match found {
            Some(found) => self.registered(subject, found, true).await,
            None => Ok(None),
        }
    }

    /// Decides; nothing where the subject has changed since it was seen.
    async fn settle(
        &self,
        subject: &Subject,
        candidate: Candidate,
        submitted: &Submitted,
        seen: Seen,
        number: i32,
    ) -> Result<Option<Registered>> {
        let bytes = candidate.texts().bytes();
        let (subject, asked) = (subject.clone(), (submitted.id, submitted.version));
        let (default, now_ms) = (self.settings.default_level, (self.now_ms)());
        // An import may remove what it overwrites, and a number may be anything.
        let scope = match is_import(seen.mode) || submitted.version > 0 {
            true => Scope::Context,
            false => Scope::Subject(Arc::clone(&subject.name)),
        };
        let context = subject.context.clone();
        self.live()
            .write(&context, scope, bytes, move |draft| {
                let now = Seen {
                    mode: mode_in_scope(&mut *draft, &subject),
                    config: config_in_scope(&mut *draft, &subject, default),
                    versions: draft.state().versions(&subject.name).to_vec(),
                };
                if now != seen || !references_exist(draft, &candidate, &subject.context) {
                    return Ok(None);
                }
                decide(draft, &subject, &candidate, asked, &seen, number, now_ms).map(Some)
            })
            .await
    }
}

/// The type by its name, as it was received; nothing stands for Avro.
pub(super) fn schema_type(name: Option<&str>) -> Result<SchemaType> {
    let Some(name) = name else { return Ok(SchemaType::Avro) };
    let known = SchemaType::ALL.into_iter().find(|known| known.name() == name);
    known.ok_or_else(|| {
        Error::new(42201, format!("Invalid schema type {name}. Valid types are AVRO, JSON and PROTOBUF"))
    })
}

/// Schemas come as they are, with ids of their own.
fn is_import(mode: Mode) -> bool {
    matches!(mode, Mode::Import | Mode::Forward)
}

fn require_mode(subject: &Subject, mode: Mode, id: Option<SchemaId>) -> Result<()> {
    let named = named(subject);
    match (mode, id) {
        (Mode::Readonly | Mode::ReadonlyOverride, _) => Err(Error::not_permitted(format!(
            "{named} is in read-only mode. PUT /mode with READWRITE makes it writable"
        ))),
        (Mode::Readwrite, Some(_)) => Err(Error::not_permitted(format!(
            "{named} is not in import mode. Leave the id out, or PUT /mode with IMPORT first"
        ))),
        (Mode::Import | Mode::Forward, None) => Err(Error::not_permitted(format!(
            "{named} is not in read-write mode. Schemas need an id here, or PUT /mode with READWRITE first"
        ))),
        _ => Ok(()),
    }
}

fn references_exist(draft: &mut Draft<'_>, candidate: &Candidate, context: &Context) -> bool {
    candidate.references.iter().all(|reference| {
        let target = Subject::parse_in(&reference.subject, context);
        let exists = |state: &ContextState| {
            state.versions(&target.name).iter().any(|version| version.version == reference.version)
        };
        draft.other(&target.context, exists)
    })
}

fn decide(
    draft: &mut Draft<'_>,
    subject: &Subject,
    candidate: &Candidate,
    (asked_id, asked_version): (Option<SchemaId>, i32),
    seen: &Seen,
    number: i32,
    now_ms: i64,
) -> Result<Registered> {
    let import = is_import(seen.mode);
    let next = seen.versions.last().map_or(1, |version| version.version.saturating_add(1));
    if asked_version > 0 && number != next && !import {
        let text = format!(
            "Version is not one more than previous version: {number} was asked for, and the next version of subject {subject} is {next}"
        );
        return Err(Error::new(42201, text));
    }
    let known = draft.ids_of(&candidate.identity());
    let id = asked_id.or_else(|| known.first().copied());
    let taken = |id: SchemaId| {
        Error::not_permitted(format!(
            "Overwrite new schema with id {id} in context {} is not permitted. The id belongs to another schema",
            subject.context.prefix()
        ))
    };
    let id = match id {
        Some(id) => {
            let same_type = match draft.state().schema(id) {
                // Of this very batch: then it is the same content.
                None if known.contains(&id) => {
                    Some(draft.fresh_type(&candidate.identity()) == Some(candidate.parsed.schema_type()))
                }
                None => None,
                Some(row) => {
                    let same =
                        row.guid == candidate.guid && row.schema_type == candidate.parsed.schema_type();
                    Some(same)
                }
            };
            match same_type {
                Some(true) => {}
                Some(false) => return Err(taken(id)),
                None => put_schema(draft, id, candidate),
            }
            id
        }
        None => {
            let id = draft.next_id();
            put_schema(draft, id, candidate);
            id
        }
    };
    drop_deleted_twins(draft, subject, id, number);
    let overwritten = seen.versions.iter().find(|version| version.version == number && version.id != id);
    let row = VersionRow {
        subject: Arc::clone(&subject.name),
        version: number,
        id,
        deleted: false,
        time_ms: now_ms,
    };
    draft.put(Change::Version(row));
    if let Some(overwritten) = overwritten {
        drop_unused(draft, overwritten.id, &[(&subject.name, number)]);
    }
    if !draft.state().is_listed() {
        draft.put(Change::Listed(true));
    }
    Ok(Registered {
        id,
        version: number,
        guid: candidate.guid,
        schema_type: candidate.parsed.schema_type(),
        references: Arc::clone(&candidate.references),
        texts: candidate.texts(),
        known: false,
    })
}

fn put_schema(draft: &mut Draft<'_>, id: SchemaId, candidate: &Candidate) {
    let row = SchemaRow {
        id,
        guid: candidate.guid,
        identity: candidate.identity(),
        schema_type: candidate.parsed.schema_type(),
        references: Arc::clone(&candidate.references),
    };
    draft.put_schema(row, candidate.texts());
}

/// Softly deleted versions that the new one takes the place of, unless something refers to them.
fn drop_deleted_twins(draft: &mut Draft<'_>, subject: &Subject, id: SchemaId, number: i32) {
    let twins: Vec<i32> = {
        let versions = draft.state().versions(&subject.name);
        let twins = versions.iter().filter(|old| old.deleted && old.id == id && old.version < number);
        twins.map(|old| old.version).collect()
    };
    for version in twins {
        if !super::delete::is_referenced(draft, subject, version, true) {
            draft.put(Change::VersionGone { subject: Arc::clone(&subject.name), version });
        }
    }
}

/// Removes a schema that no version uses any more, once these are gone.
pub(super) fn drop_unused(draft: &mut Draft<'_>, id: SchemaId, gone: &[(&Arc<str>, i32)]) {
    let used = draft.state().users(id).any(|(subject, version)| {
        !gone.iter().any(|(name, number)| **name == *subject && *number == version.version)
    });
    if !used {
        draft.put(Change::SchemaGone(id));
    }
}

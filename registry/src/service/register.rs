//! Registering a schema: the one question that everything else exists for.
//!
//! ```text
//! known     has the subject this text already?  then that is the answer            (nobody waits for anybody)
//! prepare   read the text, complete metadata and rules, compare with older versions (one registration of a subject at a time)
//! decide    is what that was based on still so? then number, id, and the rows       (one step; else prepare again)
//! ```

use super::compatibility::Basis;
use super::contract::{self, Labels};
use super::work::Budget;
use super::{
    Candidate, Reading, Registry, Submitted, config_in_scope, latest, mode_in_scope, mode_path, named,
    read_only, require_identity,
};
use crate::error::{Error, Result};
use crate::live::{Draft, Scope};
use crate::names::Subject;
use crate::parse::Strictness;
use crate::schema::SchemaType;
use crate::settings::{Config, Mode};
use crate::state::Version;
use crate::store::{Change, SchemaId, SchemaKey, SchemaRow, Texts, VersionRow};
use std::sync::Arc;
use uuid::Uuid;

/// How often a registration is prepared anew, because another instance has changed the subject meanwhile.
const ATTEMPTS: usize = 100;

/// Texts that one id may have beside its first.
const MOST_VARIANTS: u32 = i32::MAX as u32;

/// The highest id and the highest number of a version that clients can hold.
const HIGHEST_ID: SchemaId = i32::MAX as SchemaId;

/// What was registered, or had been before.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Its schema.
    pub schema: SchemaKey,
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
        self.require_small(submitted.metadata.as_ref(), submitted.rule_set.as_ref())?;
        let budget = self.work.budget();
        self.live.fresh().await?;
        let mut seen = self.seen(subject);
        if let Some(known) = self.known(subject, submitted, &seen, normalize, &budget).await? {
            return Ok(known);
        }
        let _turn = self.turns.take(subject).await;
        for attempt in 0..ATTEMPTS {
            let now = self.seen(subject);
            if attempt > 0 || now != seen {
                seen = now;
                if let Some(known) = self.known(subject, submitted, &seen, normalize, &budget).await? {
                    return Ok(known);
                }
            }
            self.live.require_own()?;
            require_mode(subject, seen.mode, submitted.id, self.live.read_only())?;
            let (candidate, number) = self.prepare(subject, submitted, &seen, normalize, &budget).await?;
            if let Some(known) = self.equal(subject, &candidate, submitted, &seen, &budget).await? {
                return Ok(known);
            }
            if !is_import(seen.mode) && !submitted.force {
                let basis = Basis { config: &seen.config, versions: &seen.versions };
                let verdict = self.judge(subject, &candidate, &basis, &budget).await?;
                if !verdict.is_compatible() {
                    // What it did not fit may be gone by now.
                    if self.seen(subject) != seen {
                        continue;
                    }
                    return Err(self.incompatible(subject, &verdict));
                }
            }
            if let Some(registered) = self.settle(subject, candidate, submitted, &seen, number).await? {
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
            mode: mode_in_scope(&*self.live, subject),
            config: config_in_scope(&*self.live, subject, self.settings.default_level),
            versions: self.live.read(&subject.context, |state| state.versions(&subject.name).to_vec()),
        }
    }

    /// Before any look at the mode: what the subject has already may be registered again in every one of them. With a number, only
    /// the version of that number and id counts, as who repeats an import asks for it.
    async fn known(
        &self,
        subject: &Subject,
        submitted: &Submitted,
        seen: &Seen,
        normalize: bool,
        budget: &Budget,
    ) -> Result<Option<Registered>> {
        let Some(text) = submitted.text.as_deref().filter(|text| !text.trim().is_empty()) else {
            return Ok(None);
        };
        if (submitted.version > 0 && submitted.id.is_none()) || contract::is_governed(&seen.config) {
            return Ok(None);
        }
        let schema_type = schema_type(submitted.schema_type.as_deref())?;
        let references = self.resolved(&subject.context, &submitted.references).await?;
        let normalize = normalize || seen.config.normalize.unwrap_or(false);
        let reading = Reading { schema_type, text, strictness: Strictness::Stored, normalize };
        let candidate = self.candidate(&subject.context, reading, references, budget).await?;
        let candidate = candidate.labelled(submitted.metadata.clone(), submitted.rule_set.clone());
        let latest = latest(&seen.versions).map(|version| version.version);
        let wanted = |version: &Version| {
            !version.deleted
                && submitted.id.is_none_or(|id| id == version.schema.id)
                && match submitted.version {
                    -1 => latest == Some(version.version),
                    0 => true,
                    number => version.version == number,
                }
        };
        match self.find_version(subject, &candidate, wanted, budget).await? {
            Some(found) => self.registered(subject, found).await,
            None => Ok(None),
        }
    }

    /// What a version of the subject is, as an answer.
    async fn registered(&self, subject: &Subject, version: Version) -> Result<Option<Registered>> {
        let found = self.live.schema(&subject.context, version.schema).await?;
        Ok(found.map(|(row, texts)| Registered {
            schema: version.schema,
            version: version.version,
            guid: row.guid,
            schema_type: row.schema_type,
            references: row.references,
            texts,
            known: true,
        }))
    }

    /// Completes what the request leaves to the version before, and reads it. Gives the number that it would have.
    async fn prepare(
        &self,
        subject: &Subject,
        submitted: &Submitted,
        seen: &Seen,
        normalize: bool,
        budget: &Budget,
    ) -> Result<(Candidate, i32)> {
        let import = is_import(seen.mode);
        let before = latest(&seen.versions).filter(|_| !import);
        let before = match before {
            Some(version) => self.registered(subject, *version).await?,
            None => None,
        };
        let given = submitted.text.as_deref().filter(|text| !text.trim().is_empty());
        let references = self.resolved(&subject.context, &submitted.references).await?;
        let (schema_type, text, references) = match (given, &before) {
            (Some(text), _) => (schema_type(submitted.schema_type.as_deref())?, text, references),
            (None, Some(before)) => {
                (before.schema_type, &*before.texts.canonical, before.references.to_vec())
            }
            (None, None) => return Err(Error::empty_schema()),
        };
        let checked = submitted.id.is_none() && !import && seen.config.validate_new_schemas.unwrap_or(true);
        let strictness = if checked { Strictness::New } else { Strictness::Stored };
        let normalize = (normalize || seen.config.normalize.unwrap_or(false)) && !import;
        let reading = Reading { schema_type, text, strictness, normalize };
        let candidate = self.candidate(&subject.context, reading, references, budget).await?;
        let number = match submitted.version {
            number if number > 0 => number,
            _ => next_number(&seen.versions).ok_or_else(|| {
                Error::not_permitted(format!(
                    "Subject {subject} has no number left for another version. Register under another subject"
                ))
            })?,
        };
        let labels: Labels = (submitted.metadata.clone(), submitted.rule_set.clone());
        let labels = if import {
            labels
        } else {
            let before = before.as_ref().map_or((None, None), |before| {
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
        budget: &Budget,
    ) -> Result<Option<Registered>> {
        if submitted.version != 0 {
            return Ok(None);
        }
        let wanted = |version: &Version| {
            !version.deleted
                && submitted.id.is_none_or(|id| id == version.schema.id)
                && seen.versions.contains(version)
        };
        match self.find_version(subject, candidate, wanted, budget).await? {
            Some(found) => self.registered(subject, found).await,
            None => Ok(None),
        }
    }

    /// Decides; nothing where the subject has changed since it was seen.
    async fn settle(
        &self,
        subject: &Subject,
        candidate: Candidate,
        submitted: &Submitted,
        seen: &Seen,
        number: i32,
    ) -> Result<Option<Registered>> {
        let bytes = candidate.texts().bytes();
        let (subject, asked) = (subject.clone(), (submitted.id, submitted.version));
        let (default, identity) = (self.settings.default_level, self.settings.identity);
        let now_ms = self.now_ms();
        // An import may remove what it overwrites, and a number may be anything; and who removes a deleted twin looks at all that
        // may refer to it.
        let scope =
            match is_import(seen.mode) || submitted.version > 0 || self.has_twins(&subject, &candidate) {
                true => Scope::Context,
                false => Scope::Subject(Arc::clone(&subject.name)),
            };
        let (context, seen) = (subject.context.clone(), seen.clone());
        self.live
            .write(&context, scope, bytes, move |draft| {
                let now = Seen {
                    mode: mode_in_scope(&mut *draft, &subject),
                    config: config_in_scope(&mut *draft, &subject, default),
                    versions: draft.state().versions(&subject.name).to_vec(),
                };
                if now != seen || !is_read_right(draft, &candidate) {
                    return Ok(None);
                }
                require_identity(identity, draft.state().any_schema())?;
                decide(draft, &subject, &candidate, asked, &seen, number, now_ms).map(Some)
            })
            .await
    }

    /// The subject has had this content, and it was deleted softly.
    fn has_twins(&self, subject: &Subject, candidate: &Candidate) -> bool {
        self.live.read(&subject.context, |state| {
            let deleted = state.versions(&subject.name).iter().filter(|version| version.deleted);
            deleted
                .into_iter()
                .any(|version| state.schema(version.schema).is_some_and(|row| row.guid == candidate.guid))
        })
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

fn require_mode(subject: &Subject, mode: Mode, id: Option<SchemaId>, for_ever: Option<&str>) -> Result<()> {
    let (named, place) = (named(subject), mode_path(subject));
    match (mode, id) {
        (Mode::Readonly | Mode::ReadonlyOverride, _) => Err(read_only(subject, mode, for_ever)),
        (Mode::Readwrite, Some(_)) => Err(Error::not_permitted(format!(
            "{named} is not in import mode. Leave the id out, or PUT {place} with IMPORT first"
        ))),
        (Mode::Import | Mode::Forward, None) => Err(Error::not_permitted(format!(
            "{named} is not in read-write mode. Schemas need an id here, or PUT {place} with READWRITE first"
        ))),
        _ => Ok(()),
    }
}

/// What the schema was read with is still what its references lead to.
fn is_read_right(draft: &mut Draft<'_>, candidate: &Candidate) -> bool {
    let mut relies_on = candidate.relies_on.iter();
    relies_on.all(|(subject, number, schema)| {
        draft.version(subject, *number).is_some_and(|found| found.schema == *schema)
    })
}

/// The number of the next version; nothing behind the last that there can be.
fn next_number(versions: &[Version]) -> Option<i32> {
    versions.last().map_or(Some(1), |version| version.version.checked_add(1))
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
    let next = next_number(&seen.versions);
    if asked_version > 0 && Some(number) != next && !import {
        let next = next.map_or("none".to_owned(), |next| next.to_string());
        let text = format!(
            "Version is not one more than previous version: {number} was asked for, and the next version of subject {subject} is {next}"
        );
        return Err(Error::new(42201, text));
    }
    let schema = place(draft, subject, candidate, asked_id)?;
    drop_deleted_twins(draft, subject, schema, number);
    let overwritten =
        seen.versions.iter().find(|version| version.version == number && version.schema != schema);
    let row = VersionRow {
        subject: Arc::clone(&subject.name),
        version: number,
        schema,
        deleted: false,
        time_ms: now_ms,
    };
    draft.put(Change::Version(row));
    if let Some(overwritten) = overwritten {
        drop_unused(draft, overwritten.schema.id, &[(&subject.name, number)]);
    }
    if !draft.state().is_listed() {
        draft.put(Change::Listed(true));
    }
    Ok(Registered {
        schema,
        version: number,
        guid: candidate.guid,
        schema_type: candidate.parsed.schema_type(),
        references: Arc::clone(&candidate.references),
        texts: candidate.texts(),
        known: false,
    })
}

/// What the candidate is in its context: a schema that is there, another variant of one, or a new one, which is put.
fn place(
    draft: &mut Draft<'_>,
    subject: &Subject,
    candidate: &Candidate,
    asked: Option<SchemaId>,
) -> Result<SchemaKey> {
    let schema_type = candidate.parsed.schema_type();
    let known = draft.schemas_of(&candidate.identity());
    let Some(id) = asked.or_else(|| known.first().map(|row| row.key.id)) else {
        let id = draft.next_id();
        if id > HIGHEST_ID {
            return Err(Error::not_permitted(format!(
                "Context {} has no id left for another schema: {HIGHEST_ID} was given. Register in another context",
                subject.context
            )));
        }
        return Ok(put_schema(draft, SchemaKey::of(id), candidate));
    };
    let first = SchemaKey::of(id);
    let Some(row) = draft.schema(first) else { return Ok(put_schema(draft, first, candidate)) };
    if row.identity != candidate.identity() || row.schema_type != schema_type {
        return Err(Error::not_permitted(format!(
            "Overwrite new schema with id {id} in context {} is not permitted. The id belongs to another schema",
            subject.context.prefix()
        )));
    }
    let variants: Vec<&SchemaRow> = known.iter().filter(|row| row.key.id == id).collect();
    if let Some(same) = variants.iter().find(|row| row.guid == candidate.guid) {
        return Ok(same.key);
    }
    let last = variants.last().map_or(0, |row| row.key.variant);
    if last >= MOST_VARIANTS {
        let text = format!("Id {id} has no room for another text. Change what decides how bytes are read");
        return Err(Error::not_permitted(text));
    }
    Ok(put_schema(draft, SchemaKey { id, variant: last + 1 }, candidate))
}

fn put_schema(draft: &mut Draft<'_>, key: SchemaKey, candidate: &Candidate) -> SchemaKey {
    let row = SchemaRow {
        key,
        guid: candidate.guid,
        identity: candidate.identity(),
        schema_type: candidate.parsed.schema_type(),
        references: Arc::clone(&candidate.references),
    };
    draft.put_schema(row, candidate.texts());
    key
}

/// Softly deleted versions that the new one takes the place of, unless something refers to them.
fn drop_deleted_twins(draft: &mut Draft<'_>, subject: &Subject, schema: SchemaKey, number: i32) {
    let twins: Vec<i32> = {
        let versions = draft.state().versions(&subject.name);
        let twins = versions.iter().filter(|old| old.deleted && old.schema == schema && old.version < number);
        twins.map(|old| old.version).collect()
    };
    for version in twins {
        if !super::delete::is_referenced(draft, subject, version, true, |_, _| false) {
            draft.put(Change::VersionGone { subject: Arc::clone(&subject.name), version });
        }
    }
}

/// Removes the schemas of an id that no version uses any more, once these are gone. The first stays while any other does.
pub(crate) fn drop_unused(draft: &mut Draft<'_>, id: SchemaId, gone: &[(&Arc<str>, i32)]) {
    let is_used = |key: &SchemaKey| {
        let mut users = draft.state().users(*key);
        draft.uses(*key)
            || users.any(|(subject, version)| {
                !gone.iter().any(|(name, number)| **name == *subject && *number == version.version)
            })
    };
    let (used, unused): (Vec<_>, Vec<_>) = draft.state().variants(id).partition(is_used);
    let is_first_needed = !used.is_empty() || draft.has_fresh(id);
    for key in unused.into_iter().filter(|key| key.variant != 0 || !is_first_needed) {
        draft.put(Change::SchemaGone(key));
    }
}

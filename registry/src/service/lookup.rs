//! Is this schema registered? By its content, and by what stands for it although it is written differently.

use super::contract::{self, Labels};
use super::read::Entity;
use super::register::schema_type;
use super::{Candidate, Registry, Submitted, config_in_scope, latest};
use crate::error::{Error, Result};
use crate::names::Subject;
use crate::parse::Strictness;
use crate::schema::Metadata;
use crate::state::Version;
use crate::store::{SchemaRow, Texts};
use std::sync::Arc;

impl Registry {
    /// Finds the version of the subject that is this schema; of an unqualified subject that has none, the one of another
    /// context's subject of that name.
    pub async fn look_up(
        &self,
        subject: &Subject,
        submitted: &Submitted,
        normalize: bool,
        deleted: bool,
    ) -> Result<Entity> {
        self.live().fresh().await?;
        for again in [false, true] {
            if again && !self.live().confirm().await? {
                break;
            }
            if let Some(found) = self.look_up_in(subject, submitted, normalize, deleted).await? {
                return Ok(found);
            }
            if !subject.context.is_default() {
                continue;
            }
            for context in self.live().contexts().into_iter().filter(|context| !context.is_default()) {
                let other = Subject { context, name: Arc::clone(&subject.name) };
                // What cannot be read there is not there.
                if let Ok(Some(found)) = self.look_up_in(&other, submitted, normalize, deleted).await {
                    return Ok(found);
                }
            }
        }
        let exists = self.live().read(&subject.context, |state| {
            state.versions(&subject.name).iter().any(|version| deleted || !version.deleted)
        });
        Err(if exists { Error::schema_not_found(None) } else { Error::subject_not_found(subject) })
    }

    async fn look_up_in(
        &self,
        subject: &Subject,
        submitted: &Submitted,
        normalize: bool,
        deleted: bool,
    ) -> Result<Option<Entity>> {
        let Some(text) = submitted.text.as_deref().filter(|text| !text.trim().is_empty()) else {
            return Ok(None);
        };
        let config = config_in_scope(&**self.live(), subject, self.settings.default_level);
        let normalize = normalize || config.normalize.unwrap_or(false);
        let kind = schema_type(submitted.schema_type.as_deref())?;
        let references = self.resolved(&**self.live(), &subject.context, &submitted.references)?;
        let candidate =
            self.candidate(&subject.context, kind, text, references, Strictness::Stored, normalize).await?;
        let given: Labels = (submitted.metadata.clone(), submitted.rule_set.clone());
        let candidate = candidate.labelled(given.0.clone(), given.1.clone());
        let mut found = self.find_version(subject, &candidate, deleted).await?;
        if found.is_none() {
            let last =
                self.live().read(&subject.context, |state| latest(state.versions(&subject.name)).copied());
            let before = match last {
                Some(last) => self.registered(subject, last, true).await?,
                None => None,
            };
            if let Some(before) = before {
                let labels =
                    (before.texts.metadata.as_deref().cloned(), before.texts.rule_set.as_deref().cloned());
                let noted =
                    labels.0.as_ref().and_then(contract::version_of).and_then(|text| text.parse().ok());
                let completed = contract::completed(
                    given.clone(),
                    labels,
                    &config,
                    false,
                    noted.unwrap_or(before.version),
                );
                if completed != given {
                    let candidate = candidate.labelled(completed.0, completed.1);
                    found = self.find_version(subject, &candidate, deleted).await?;
                }
            }
        }
        match found {
            Some(version) => self.entity(subject, version).await,
            None => Ok(None),
        }
    }

    /// The version of a subject that a schema is, the newest first; the one with the same content before those that it only stands for.
    pub(super) async fn find_version(
        &self,
        subject: &Subject,
        candidate: &Candidate,
        deleted: bool,
    ) -> Result<Option<Version>> {
        let (same, others) = self.live().read(&subject.context, |state| {
            let versions =
                state.versions(&subject.name).iter().rev().filter(|version| deleted || !version.deleted);
            let is_same = |version: &Version| {
                state.schema(version.id).is_some_and(|row| {
                    row.identity == candidate.identity() && row.schema_type == candidate.parsed.schema_type()
                })
            };
            let same = versions.clone().copied().find(is_same);
            let others = versions.filter_map(|version| Some((*version, state.schema(version.id)?.clone())));
            (same, if same.is_some() { Vec::new() } else { others.collect::<Vec<_>>() })
        });
        if same.is_some() {
            return Ok(same);
        }
        for (version, row) in others {
            if row.schema_type != candidate.parsed.schema_type() {
                continue;
            }
            let Some(texts) = self.live().texts(&subject.context, version.id).await? else { continue };
            if self.stands_for(subject, candidate, &row, &texts).await? {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// Whether a schema means a stored one although the contents differ: it has its references inside it, or does not say which
    /// version it is.
    async fn stands_for(
        &self,
        subject: &Subject,
        candidate: &Candidate,
        row: &SchemaRow,
        texts: &Texts,
    ) -> Result<bool> {
        if candidate.rule_set.as_deref() != texts.rule_set.as_deref() {
            return Ok(false);
        }
        let (mine, theirs) = (candidate.metadata.as_deref(), texts.metadata.as_deref());
        let unversioned = mine.and_then(contract::version_of).is_none();
        let same_labels = match unversioned {
            true => {
                contract::unversioned(mine) == contract::unversioned(theirs)
                    || is_empty(mine) && is_empty(theirs)
            }
            false => mine == theirs,
        };
        if !same_labels {
            return Ok(false);
        }
        if candidate.canonical == texts.canonical && candidate.references == row.references {
            return Ok(unversioned);
        }
        if !candidate.references.is_empty() || row.references.is_empty() {
            return Ok(false);
        }
        let stored = self.parsed(&subject.context, row.id).await?;
        Ok(candidate.parsed.is_same_resolved(&stored))
    }
}

fn is_empty(metadata: Option<&Metadata>) -> bool {
    metadata.is_none_or(|metadata| *metadata == Metadata::default())
}

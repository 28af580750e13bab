//! Deleting: softly, which hides, and for good, which only what is hidden allows.

use super::register::drop_unused;
use super::{Registry, latest, require_writable};
use crate::error::{Error, Result};
use crate::live::{Draft, Scope};
use crate::names::{Context, Subject};
use crate::state::Version;
use crate::store::{Change, SchemaId, VersionRow};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How a deletion is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Hidden, and still there.
    Soft,
    /// Gone for good.
    Permanent,
}

/// Whether a schema that counts refers to a version, in whatever context. `all`: softly deleted ones count, too. `goes` tells which
/// versions do not count, because they go at the same time.
pub(super) fn is_referenced(
    draft: &mut Draft<'_>,
    subject: &Subject,
    version: i32,
    all: bool,
    goes: impl Fn(&Context, &str) -> bool,
) -> bool {
    draft.is_linked(|context, state| {
        state
            .referrers(subject, version)
            .any(|key| state.users(key).any(|(name, user)| (all || !user.deleted) && !goes(context, name)))
    })
}

/// The ids of these versions that no other version uses.
fn drop_ids(draft: &mut Draft<'_>, subject: &Subject, gone: &[Version]) {
    let places: Vec<_> = gone.iter().map(|version| (&subject.name, version.version)).collect();
    let ids: BTreeSet<SchemaId> = gone.iter().map(|version| version.schema.id).collect();
    ids.into_iter().for_each(|id| drop_unused(draft, id, &places));
}

fn soft(draft: &mut Draft<'_>, subject: &Subject, version: &Version) {
    draft.put(Change::Version(VersionRow {
        subject: Arc::clone(&subject.name),
        version: version.version,
        schema: version.schema,
        deleted: true,
        time_ms: version.time_ms,
    }));
}

/// The settings of a subject go with it. The subject without a name shares them with its context, which stays.
fn drop_settings(draft: &mut Draft<'_>, subject: &Subject) {
    if subject.is_root() {
        return;
    }
    if draft.state().config(&subject.name).is_some() {
        draft.put(Change::Config(Arc::clone(&subject.name), None));
    }
    if draft.state().mode(&subject.name).is_some() {
        draft.put(Change::Mode(Arc::clone(&subject.name), None));
    }
}

impl Registry {
    /// Deletes a version; -1 is the latest. `received` is the version as the request has it.
    pub async fn delete_version(
        &self,
        subject: &Subject,
        number: i32,
        received: &str,
        deletion: Deletion,
    ) -> Result<i32> {
        self.live().confirm().await?;
        let (subject, received) = (subject.clone(), received.to_owned());
        let context = subject.context.clone();
        self.live()
            .write(&context, Scope::Context, 0, move |draft| {
                let versions = draft.state().versions(&subject.name).to_vec();
                let found = match number {
                    -1 => latest(&versions).copied(),
                    number => versions.iter().find(|version| version.version == number).copied(),
                };
                let Some(found) = found else {
                    return Err(match versions.is_empty() {
                        true => Error::subject_not_found(&subject),
                        false => Error::version_not_found(&subject, number),
                    });
                };
                if found.deleted && deletion == Deletion::Soft {
                    return Err(Error::version_soft_deleted(&subject, &received));
                }
                require_writable(&mut *draft, &subject)?;
                let all = deletion == Deletion::Permanent;
                if is_referenced(draft, &subject, found.version, all, |_, _| false) {
                    return Err(Error::referenced(&subject, found.version));
                }
                match deletion {
                    Deletion::Soft => soft(draft, &subject, &found),
                    Deletion::Permanent if !found.deleted => {
                        return Err(Error::version_not_soft_deleted(&subject, found.version));
                    }
                    Deletion::Permanent => {
                        let name = Arc::clone(&subject.name);
                        draft.put(Change::VersionGone { subject: name, version: found.version });
                        drop_ids(draft, &subject, &[found]);
                        if versions.len() == 1 {
                            drop_settings(draft, &subject);
                        }
                    }
                }
                Ok(found.version)
            })
            .await
    }

    /// Deletes a subject; answers the versions that this deleted.
    pub async fn delete_subject(&self, subject: &Subject, deletion: Deletion) -> Result<Vec<i32>> {
        self.live().confirm().await?;
        let subject = subject.clone();
        let context = subject.context.clone();
        self.live()
            .write(&context, Scope::Context, 0, move |draft| {
                let versions = draft.state().versions(&subject.name).to_vec();
                if versions.is_empty() {
                    return Err(Error::subject_not_found(&subject));
                }
                if deletion == Deletion::Soft && latest(&versions).is_none() {
                    return Err(Error::subject_soft_deleted(&subject));
                }
                require_writable(&mut *draft, &subject)?;
                let permanent = deletion == Deletion::Permanent;
                let concerned: Vec<_> =
                    versions.iter().filter(|version| permanent || !version.deleted).copied().collect();
                let own =
                    |context: &Context, name: &str| *context == subject.context && *name == *subject.name;
                for version in &concerned {
                    if is_referenced(draft, &subject, version.version, permanent, own) {
                        return Err(Error::referenced(&subject, version.version));
                    }
                    if permanent && !version.deleted {
                        return Err(Error::subject_not_soft_deleted(&subject));
                    }
                }
                for version in &concerned {
                    match deletion {
                        Deletion::Soft => soft(draft, &subject, version),
                        Deletion::Permanent => draft.put(Change::VersionGone {
                            subject: Arc::clone(&subject.name),
                            version: version.version,
                        }),
                    }
                }
                if permanent {
                    drop_ids(draft, &subject, &concerned);
                    drop_settings(draft, &subject);
                }
                Ok(concerned.iter().map(|version| version.version).collect())
            })
            .await
    }
}

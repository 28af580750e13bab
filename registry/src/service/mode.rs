//! Modes of subjects, contexts and all of them.

use super::register::drop_unused;
use super::{Registry, delete, mode_in_scope, mode_path, overriding, read_only};
use crate::error::{Error, Result};
use crate::live::{Draft, Scope};
use crate::names::{Context, Subject};
use crate::settings::Mode;
use crate::state::{ContextState, Version};
use crate::store::Change;
use std::sync::Arc;

impl Registry {
    /// The mode of a subject, of a context (its root) or of everything. `in_scope`: what counts, wherever that is set. Where nobody
    /// can ever write, the mode of everything is READONLY, and others have their own as they were.
    pub async fn mode(&self, subject: &Subject, in_scope: bool) -> Result<Mode> {
        let is_top = subject.is_root() && subject.context.is_default();
        let own = |live: &crate::live::Live| {
            let mut view = live;
            let for_ever = is_top.then(|| live.read_only()).flatten();
            overriding(&mut view)
                .or_else(|| for_ever.map(|_| Mode::Readonly))
                .or_else(|| live.read(&subject.context, |state| state.mode(&subject.name)))
        };
        match self.live().find(own).await? {
            Some(mode) => Ok(mode),
            None if is_top || in_scope => Ok(mode_in_scope(&**self.live(), subject)),
            None => Err(Error::no_mode(subject)),
        }
    }

    /// Sets a mode, or removes it. To IMPORT only where nothing is registered, unless forced: ids would be given twice.
    pub async fn set_mode(
        &self,
        subject: &Subject,
        received: &str,
        mode: Option<Mode>,
        force: bool,
    ) -> Result<()> {
        self.require_settable(subject, received)?;
        self.require_mutable_modes()?;
        if mode == Some(Mode::Forward) && !subject.context.is_global() {
            return Err(Error::invalid_mode());
        }
        self.live().confirm().await?;
        let everywhere = subject.is_root() && (subject.context.is_default() || subject.context.is_global());
        let begins = mode == Some(Mode::Import) && mode_in_scope(&**self.live(), subject) != Mode::Import;
        if everywhere && begins && !force {
            self.make_room_elsewhere(&subject.context).await?;
        }
        let (subject, context) = (subject.clone(), subject.context.clone());
        self.live()
            .write(&context, Scope::Context, 0, move |draft| {
                let begins =
                    mode == Some(Mode::Import) && mode_in_scope(&mut *draft, &subject) != Mode::Import;
                if begins && !force {
                    make_room(draft, &subject, everywhere)?;
                }
                if draft.state().mode(&subject.name) != mode {
                    draft.put(Change::Mode(Arc::clone(&subject.name), mode));
                }
                Ok(())
            })
            .await
    }

    /// All other contexts, one by one: for a mode of all of them, everything softly deleted goes, wherever it is. Nothing goes where
    /// anything is live.
    async fn make_room_elsewhere(&self, here: &Context) -> Result<()> {
        let contexts = self.live().contexts();
        let is_live = |state: &ContextState| {
            state.subjects().any(|(_, versions)| versions.iter().any(|version| !version.deleted))
        };
        if contexts.iter().any(|context| self.live().read(context, is_live)) {
            return Err(in_use());
        }
        for context in contexts.into_iter().filter(|context| context != here) {
            if self.live().read(&context, ContextState::is_empty) {
                continue;
            }
            let root = Subject::new(context.clone(), "");
            self.live()
                .write(&context, Scope::Context, 0, move |draft| make_room(draft, &root, true))
                .await?;
        }
        Ok(())
    }

    /// Removes a mode; answers what it was. `recursive`: of a context, those of its subjects too.
    pub async fn delete_mode(&self, subject: &Subject, recursive: bool) -> Result<Mode> {
        self.require_mutable_modes()?;
        self.live().confirm().await?;
        let (subject, context) = (subject.clone(), subject.context.clone());
        self.live()
            .write(&context, Scope::Context, 0, move |draft| {
                let own = draft.state().mode(&subject.name);
                // The top has a mode also where none was set.
                let is_top = subject.is_root() && subject.context.is_default();
                let scope = is_top.then(|| mode_in_scope(&mut *draft, &subject));
                let mode = overriding(&mut &mut *draft).or(own).or(scope);
                let Some(mode) = mode else { return Err(Error::subject_not_found(&subject)) };
                let others: Vec<Arc<str>> = match recursive && subject.is_root() {
                    true => draft.state().subjects_with_mode().cloned().collect(),
                    false => Vec::new(),
                };
                let own = own.map(|_| Arc::clone(&subject.name));
                for name in own.into_iter().chain(others) {
                    draft.put(Change::Mode(name, None));
                }
                Ok(mode)
            })
            .await
    }
}

impl Registry {
    /// Refuses where schemas do not come with their ids.
    pub async fn require_import(&self, subject: &Subject) -> Result<()> {
        match self.mode(subject, true).await? {
            Mode::Import => Ok(()),
            mode if self.live().read_only().is_some() => {
                Err(read_only(subject, mode, self.live().read_only()))
            }
            mode => Err(Error::not_permitted(format!(
                "Schemas are imported in mode IMPORT only, and the mode is {mode}. PUT {} with IMPORT first",
                mode_path(subject)
            ))),
        }
    }

    fn require_mutable_modes(&self) -> Result<()> {
        if let Some(why) = self.live().read_only() {
            return Err(Error::not_permitted(format!("Mode changes are not allowed. {why}")));
        }
        match self.settings.mode_mutability {
            true => Ok(()),
            false => Err(Error::not_permitted(
                "Mode changes are not allowed. The registry's settings say so (mode mutability)",
            )),
        }
    }
}

fn in_use() -> Error {
    Error::not_permitted(
        "Cannot import since found existing subjects. Delete them, or set the mode with force=true, which keeps them",
    )
}

/// Refuses where a version is live; removes the softly deleted ones for good, which nothing may refer to that stays. `everywhere`:
/// those of all other contexts go, too.
fn make_room(draft: &mut Draft<'_>, subject: &Subject, everywhere: bool) -> Result<()> {
    let concerned: Vec<(Arc<str>, Vec<Version>)> = {
        let matching = |name: &str| subject.is_root() || *name == *subject.name;
        let subjects = draft.state().subjects().filter(|(name, _)| matching(name));
        subjects.map(|(name, versions)| (Arc::clone(name), versions.to_vec())).collect()
    };
    if concerned.iter().flat_map(|(_, versions)| versions).any(|version| !version.deleted) {
        return Err(in_use());
    }
    let goes = |context: &Context, name: &str| {
        *context == subject.context && (subject.is_root() || *name == *subject.name)
    };
    let gone: Vec<(&Arc<str>, i32)> = concerned
        .iter()
        .flat_map(|(name, versions)| versions.iter().map(move |v| (name, v.version)))
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for (name, versions) in &concerned {
        let subject = Subject { context: subject.context.clone(), name: Arc::clone(name) };
        for version in versions {
            if delete::is_referenced(draft, &subject, version.version, !everywhere, goes) {
                return Err(Error::referenced(&subject, version.version));
            }
            draft.put(Change::VersionGone { subject: Arc::clone(name), version: version.version });
            ids.insert(version.schema.id);
        }
    }
    ids.into_iter().for_each(|id| drop_unused(draft, id, &gone));
    Ok(())
}

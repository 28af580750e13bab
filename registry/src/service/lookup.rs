//! Is this schema registered? By its content, and by what stands for it although it is written differently.

use super::contract::{self, Labels};
use super::read::Entity;
use super::register::schema_type;
use super::work::Budget;
use super::{Candidate, Reading, Registry, Submitted, config_in_scope, latest};
use crate::error::{Error, Result};
use crate::names::Subject;
use crate::parse::Strictness;
use crate::schema::Metadata;
use crate::state::{ContextState, Version};
use crate::store::{SchemaRow, Texts};
use std::sync::Arc;
use uuid::Uuid;

/// Versions whose texts are asked for at once.
const CHUNK: usize = 16;

/// What is looked for, and what reading it once for a context has brought.
struct Search<'a> {
    submitted: &'a Submitted,
    normalize: bool,
    deleted: bool,
    budget: &'a Budget,
    /// Read without references, as it is and normalised: that is the same in every context.
    read: [Option<Candidate>; 2],
}

/// A version that may be what is looked for.
enum Maybe {
    /// It is.
    Surely(Version),
    /// It has references, and the schema that is looked for may have inside it what they lead to.
    Inlined(Version),
}

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
        self.require_small(submitted.metadata.as_ref(), submitted.rule_set.as_ref())?;
        let budget = self.work.budget();
        let mut search = Search { submitted, normalize, deleted, budget: &budget, read: [None, None] };
        self.live.fresh().await?;
        let seen = self.live.moves();
        if let Some(found) = self.look_everywhere(subject, &mut search).await? {
            return Ok(found);
        }
        // Where nothing has moved there is nothing new to be found.
        if self.live.confirm().await?
            && self.live.moves() != seen
            && let Some(found) = self.look_everywhere(subject, &mut search).await?
        {
            return Ok(found);
        }
        Err(match self.has_versions(subject, deleted) {
            true => Error::schema_not_found(None),
            false => Error::subject_not_found(subject),
        })
    }

    async fn look_everywhere(&self, subject: &Subject, search: &mut Search<'_>) -> Result<Option<Entity>> {
        let own = self.look_up_in(subject, search).await?;
        if own.is_some() || !subject.context.is_default() {
            return Ok(own);
        }
        for context in self.live.contexts().into_iter().filter(|context| !context.is_default()) {
            let other = Subject { context, name: Arc::clone(&subject.name) };
            if !self.has_versions(&other, search.deleted) {
                continue;
            }
            match self.look_up_in(&other, search).await {
                Ok(None) => {}
                // What cannot be read there is not there; but a store that does not answer is no answer.
                Err(error) if error.status() < 500 && !search.budget.is_spent() => {}
                found => return found,
            }
        }
        Ok(None)
    }

    /// The schema as a context reads it.
    async fn sought(&self, subject: &Subject, text: &str, search: &mut Search<'_>) -> Result<Candidate> {
        let config = config_in_scope(&*self.live, subject, self.settings.default_level);
        let normalize = search.normalize || config.normalize.unwrap_or(false);
        let is_alone = search.submitted.references.is_empty();
        if let Some(read) = search.read[usize::from(normalize)].as_ref().filter(|_| is_alone) {
            return Ok(read.clone());
        }
        let schema_type = schema_type(search.submitted.schema_type.as_deref())?;
        let references = self.resolved(&subject.context, &search.submitted.references).await?;
        let reading = Reading { schema_type, text, strictness: Strictness::Stored, normalize };
        let candidate = self.candidate(&subject.context, reading, references, search.budget).await?;
        search.read[usize::from(normalize)] = Some(candidate.clone());
        Ok(candidate)
    }

    async fn look_up_in(&self, subject: &Subject, search: &mut Search<'_>) -> Result<Option<Entity>> {
        let text = search.submitted.text.as_deref().filter(|text| !text.trim().is_empty());
        let Some(text) = text else { return Ok(None) };
        let candidate = self.sought(subject, text, search).await?;
        let given: Labels = (search.submitted.metadata.clone(), search.submitted.rule_set.clone());
        let candidate = candidate.labelled(given.0.clone(), given.1.clone());
        let (deleted, budget) = (search.deleted, search.budget);
        let wanted = |version: &Version| deleted || !version.deleted;
        if let Some(found) = self.find_version(subject, &candidate, wanted, budget).await? {
            return self.entity(subject, found).await;
        }
        let last = self.live.read(&subject.context, |state| latest(state.versions(&subject.name)).copied());
        let Some(last) = last else { return Ok(None) };
        let Some(before) = self.entity(subject, last).await? else { return Ok(None) };
        let labels = (before.texts.metadata.as_deref().cloned(), before.texts.rule_set.as_deref().cloned());
        let noted = labels.0.as_ref().and_then(contract::version_of).and_then(|text| text.parse().ok());
        let config = config_in_scope(&*self.live, subject, self.settings.default_level);
        let number = noted.unwrap_or(last.version);
        let completed = contract::completed(given.clone(), labels, &config, false, number);
        if completed == given {
            return Ok(None);
        }
        let candidate = candidate.labelled(completed.0, completed.1);
        match self.find_version(subject, &candidate, wanted, budget).await? {
            Some(found) => self.entity(subject, found).await,
            None => Ok(None),
        }
    }

    /// The version of a subject that a schema is, the newest first; the one with the same content before those that it only stands
    /// for. Texts are loaded of those versions only that may have elsewhere what the schema has inside it.
    pub(super) async fn find_version(
        &self,
        subject: &Subject,
        candidate: &Candidate,
        wanted: impl Fn(&Version) -> bool,
        budget: &Budget,
    ) -> Result<Option<Version>> {
        let mut maybe =
            self.live.read(&subject.context, |state| candidates(state, subject, candidate, &wanted));
        let surely = maybe.pop_if(|last| matches!(last, Maybe::Surely(_)));
        let inlined: Vec<Version> =
            maybe.into_iter().map(|(Maybe::Surely(version) | Maybe::Inlined(version))| version).collect();
        for chunk in inlined.chunks(CHUNK) {
            let keys: Vec<_> = chunk.iter().map(|version| version.schema).collect();
            let found = self.live.schemas(&subject.context, &keys).await?;
            for version in chunk {
                let Some((row, texts)) = found.get(&version.schema) else { continue };
                if has_same_labels(candidate, texts)
                    && self.is_inlined(subject, candidate, row, budget).await?
                {
                    return Ok(Some(*version));
                }
            }
        }
        Ok(surely.map(|(Maybe::Surely(version) | Maybe::Inlined(version))| version))
    }

    async fn is_inlined(
        &self,
        subject: &Subject,
        candidate: &Candidate,
        row: &SchemaRow,
        budget: &Budget,
    ) -> Result<bool> {
        let stored = match self.parsed(&subject.context, row.key, budget).await {
            Ok(stored) => stored,
            // What cannot be read is not this one.
            Err(error) if error.status() < 500 && !budget.is_spent() => return Ok(false),
            Err(error) => return Err(error),
        };
        let mine = Arc::clone(&candidate.parsed);
        self.work.run(budget, None, move || mine.is_same_resolved(&stored)).await
    }
}

/// Versions that may be a schema, the newest first, up to the first that surely is.
fn candidates(
    state: &ContextState,
    subject: &Subject,
    candidate: &Candidate,
    wanted: &impl Fn(&Version) -> bool,
) -> Vec<Maybe> {
    let versions = state.versions(&subject.name).iter().rev().filter(|version| wanted(version));
    let schema_type = candidate.parsed.schema_type();
    let rows = versions.filter_map(|version| Some((*version, state.schema(version.schema)?)));
    let rows: Vec<_> = rows.filter(|(_, row)| row.schema_type == schema_type).collect();
    if let Some((version, _)) = rows.iter().find(|(_, row)| row.guid == candidate.guid) {
        return vec![Maybe::Surely(*version)];
    }
    let mut found = Vec::new();
    for (version, row) in rows {
        if stand_ins(candidate, version.version).contains(&row.guid) {
            found.push(Maybe::Surely(version));
            break;
        }
        if candidate.references.is_empty() && !row.references.is_empty() {
            found.push(Maybe::Inlined(version));
        }
    }
    found
}

/// What the GUID of a version may be whose content is that of a schema, where only one of the two says which version it is.
fn stand_ins(candidate: &Candidate, number: i32) -> Vec<Uuid> {
    let mine = candidate.metadata.as_deref();
    let rules = candidate.rule_set.as_deref();
    if let Some(said) = mine.and_then(contract::version_of) {
        if said != number.to_string() {
            return Vec::new();
        }
        let rest = contract::unversioned(mine);
        let mut guids = vec![candidate.content.guid(rest.as_ref(), rules)];
        guids.extend(rest.is_none().then(|| candidate.content.guid(Some(&Metadata::default()), rules)));
        return guids;
    }
    let mut noted = mine.cloned().unwrap_or_default();
    let properties = noted.properties.get_or_insert_default();
    properties.insert(contract::VERSION.to_owned(), number.to_string());
    let mut guids = vec![candidate.content.guid(Some(&noted), rules)];
    if is_empty(mine) {
        guids.push(candidate.content.guid(None, rules));
        guids.push(candidate.content.guid(Some(&Metadata::default()), rules));
    }
    guids
}

/// The labels are the same, but for the version where the schema does not say which one it is.
fn has_same_labels(candidate: &Candidate, texts: &Texts) -> bool {
    if candidate.rule_set.as_deref() != texts.rule_set.as_deref() {
        return false;
    }
    let (mine, theirs) = (candidate.metadata.as_deref(), texts.metadata.as_deref());
    match mine.and_then(contract::version_of) {
        None => {
            contract::unversioned(mine) == contract::unversioned(theirs) || is_empty(mine) && is_empty(theirs)
        }
        Some(_) => mine == theirs,
    }
}

fn is_empty(metadata: Option<&Metadata>) -> bool {
    metadata.is_none_or(|metadata| *metadata == Metadata::default())
}

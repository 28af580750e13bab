//! Where references lead: told to the version, and with the texts that a parser needs.

use super::{Registry, SubmittedReference, latest};
use crate::error::{Error, Result};
use crate::names::{Context, Subject};
use crate::schema::Reference;
use crate::store::{SchemaKey, SchemaRow};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Texts that are asked for at once.
const CHUNK: usize = 16;

/// A schema that a reference leads to.
pub(super) struct Target {
    /// What the referring text calls it.
    name: String,
    subject: Subject,
    version: i32,
    row: SchemaRow,
}

impl Target {
    /// The version, and what it was when it was looked at.
    pub(super) fn place(&self) -> (Subject, i32, SchemaKey) {
        (self.subject.clone(), self.version, self.row.key)
    }
}

/// What tells two lists of targets apart.
pub(super) fn fingerprint(targets: &[Target]) -> u64 {
    let mut hash = DefaultHasher::new();
    for target in targets {
        (&target.name, target.row.guid).hash(&mut hash);
    }
    hash.finish()
}

fn not_found(subject: &str, version: i32) -> Error {
    Error::new(
        42201,
        format!(
            "Invalid schema, details: No schema reference found for subject \"{subject}\" and version {version}. Register \
             what is referred to first"
        ),
    )
}

impl Registry {
    /// The references of a request with their versions told; each leads somewhere.
    pub(super) async fn resolved(
        &self,
        context: &Context,
        references: &[SubmittedReference],
    ) -> Result<Vec<Reference>> {
        let most = self.settings.max_references;
        if references.len() > most {
            return Err(Error::new(
                42201,
                format!(
                    "Invalid schema, details: it has {} references, and {most} are taken",
                    references.len()
                ),
            ));
        }
        match self.resolved_now(context, references) {
            // Another instance may have registered it a moment ago.
            Err(Unresolved::Missing(error)) => match self.live.confirm().await? {
                true => self.resolved_now(context, references).map_err(Unresolved::into),
                false => Err(error),
            },
            resolved => resolved.map_err(Unresolved::into),
        }
    }

    fn resolved_now(
        &self,
        context: &Context,
        references: &[SubmittedReference],
    ) -> Result<Vec<Reference>, Unresolved> {
        let mut resolved = Vec::with_capacity(references.len());
        for reference in references {
            let SubmittedReference { name: Some(name), subject: Some(subject), version: Some(version) } =
                reference
            else {
                return Err(Unresolved::Incomplete(incomplete(reference)));
            };
            let target = Subject::parse_in(subject, context);
            let found = self.live.read(&target.context, |state| {
                let versions = state.versions(&target.name);
                match version {
                    -1 => latest(versions).map(|version| version.version),
                    n => versions.iter().find(|version| version.version == *n).map(|version| version.version),
                }
            });
            let version = found.ok_or_else(|| Unresolved::Missing(not_found(subject, *version)))?;
            resolved.push(Reference { name: name.clone(), subject: subject.clone(), version });
        }
        Ok(resolved)
    }

    /// Everything that references lead to, each before what refers to it.
    pub(super) async fn targets(&self, context: &Context, references: &[Reference]) -> Result<Vec<Target>> {
        match self.targets_now(context, references) {
            Err(Unresolved::Missing(error)) => match self.live.confirm().await? {
                true => self.targets_now(context, references).map_err(Unresolved::into),
                false => Err(error),
            },
            found => found.map_err(Unresolved::into),
        }
    }

    fn targets_now(&self, context: &Context, references: &[Reference]) -> Result<Vec<Target>, Unresolved> {
        enum Step {
            Enter(Context, Reference),
            Leave(Target),
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
                Step::Leave(target) => {
                    found.push(target);
                    continue;
                }
            };
            let subject = Subject::parse_in(&reference.subject, &context);
            if !seen.insert((reference.name.clone(), subject.clone(), reference.version)) {
                continue;
            }
            if seen.len() > self.settings.max_references {
                let most = self.settings.max_references;
                let text =
                    format!("Invalid schema, details: its references lead to more than {most} schemas");
                return Err(Unresolved::Incomplete(Error::new(42201, text)));
            }
            let row = self.live.read(&subject.context, |state| {
                let versions = state.versions(&subject.name);
                let version = versions.iter().find(|version| version.version == reference.version)?;
                state.schema(version.schema).cloned()
            });
            let row =
                row.ok_or_else(|| Unresolved::Missing(not_found(&reference.subject, reference.version)))?;
            let (inner, context) = (row.references.to_vec(), subject.context.clone());
            let Reference { name, version, .. } = reference;
            steps.push(Step::Leave(Target { name, subject, version, row }));
            let inner = inner.into_iter().rev();
            steps.extend(inner.map(|reference| Step::Enter(context.clone(), reference)));
        }
        Ok(found)
    }

    /// The names and texts of targets.
    pub(super) async fn texts_of(&self, targets: &[Target]) -> Result<Vec<(String, Arc<str>)>> {
        let mut asked: BTreeMap<&Context, Vec<SchemaKey>> = BTreeMap::new();
        for target in targets {
            asked.entry(&target.subject.context).or_default().push(target.row.key);
        }
        let (mut texts, mut bytes) = (BTreeMap::new(), 0);
        for (context, mut keys) in asked {
            keys.sort_unstable();
            keys.dedup();
            for keys in keys.chunks(CHUNK) {
                for (key, (row, found)) in self.live.schemas(context, keys).await? {
                    bytes += found.canonical.len();
                    texts.insert((context, key), (row.guid, found.canonical));
                }
                let most = self.settings.max_dependency_bytes;
                if bytes > most {
                    let text = format!(
                        "Invalid schema, details: what its references lead to has more than {most} bytes of text"
                    );
                    return Err(Error::new(42201, text));
                }
            }
        }
        let text = |target: &Target| match texts.get(&(&target.subject.context, target.row.key)) {
            Some((guid, text)) if *guid == target.row.guid => Ok((target.name.clone(), Arc::clone(text))),
            // It was removed for good while this was on its way.
            _ => Err(Error::new(
                42201,
                format!("Invalid schema, details: what reference \"{}\" leads to is gone", target.name),
            )),
        };
        targets.iter().map(text).collect()
    }
}

enum Unresolved {
    /// Nothing that the store could change.
    Incomplete(Error),
    Missing(Error),
}

impl From<Unresolved> for Error {
    fn from(unresolved: Unresolved) -> Self {
        match unresolved {
            Unresolved::Incomplete(error) | Unresolved::Missing(error) => error,
        }
    }
}

fn incomplete(reference: &SubmittedReference) -> Error {
    let word = |text: &Option<String>| text.as_ref().map_or("null".to_owned(), |text| format!("'{text}'"));
    let version = reference.version.map_or("null".to_owned(), |version| version.to_string());
    let shown = format!(
        "{{name={}, subject={}, version={version}}}",
        word(&reference.name),
        word(&reference.subject)
    );
    Error::new(42201, format!("Invalid schema, details: Invalid reference: {shown}. It needs all three"))
}

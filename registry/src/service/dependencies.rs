//! The graph of references around a version: what it leads to, over any number of steps, and what leads to it directly.

use super::{Entity, Registry};
use crate::error::Result;
use crate::names::Subject;
use crate::schema::Reference;
use crate::store::SchemaId;
use std::collections::{HashSet, VecDeque};

/// Links that are told at most, in each direction.
const MAX_LINKS: usize = 1000;

/// A reference from one version to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Whose reference it is.
    pub from: (String, i32),
    /// What the text calls it.
    pub name: String,
    /// Where it leads to.
    pub to: (String, i32),
    /// The id of what it leads to; nothing where that is gone.
    pub id: Option<SchemaId>,
}

/// The references around a version.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// The version.
    pub entity: Entity,
    /// What it leads to, near ones first.
    pub links: Vec<Link>,
    /// Live versions that refer to it.
    pub referenced_by: Vec<(String, i32)>,
    /// There are more than are told.
    pub is_cut: bool,
}

impl Registry {
    /// The references around a version; -1 is the latest.
    pub async fn around(&self, subject: &Subject, number: i32) -> Result<Dependencies> {
        let entity = self.version(subject, number, false).await?;
        let start = (entity.subject.clone(), entity.version.version);
        let mut seen = HashSet::from([start.clone()]);
        let mut next = VecDeque::from([(start.0, start.1, entity.references.to_vec())]);
        let (mut links, mut is_cut) = (Vec::new(), false);
        while let Some((from, version, references)) = next.pop_front() {
            for Reference { name, subject, version: wanted } in references {
                if links.len() >= MAX_LINKS {
                    is_cut = true;
                    break;
                }
                let target = Subject::parse_in(&subject, &from.context);
                let row = self.live().read(&target.context, |state| {
                    let versions = state.versions(&target.name);
                    let found = versions.iter().find(|version| version.version == wanted)?;
                    state.schema(found.schema).cloned()
                });
                links.push(Link {
                    from: (from.to_string(), version),
                    name,
                    to: (target.to_string(), wanted),
                    id: row.as_ref().map(|row| row.key.id),
                });
                if let Some(row) = row
                    && seen.insert((target.clone(), wanted))
                {
                    next.push_back((target, wanted, row.references.to_vec()));
                }
            }
        }
        let mut referenced_by = Vec::new();
        for context in self.live().contexts() {
            self.live().read(&context, |state| {
                for key in state.referrers(&entity.subject, entity.version.version) {
                    let live = state.users(key).filter(|(_, version)| !version.deleted);
                    referenced_by.extend(live.map(|(name, version)| {
                        (Subject::new(context.clone(), name).to_string(), version.version)
                    }));
                }
            });
        }
        referenced_by.sort_unstable();
        is_cut |= referenced_by.len() > MAX_LINKS;
        referenced_by.truncate(MAX_LINKS);
        Ok(Dependencies { entity, links, referenced_by, is_cut })
    }
}

//! What would take the place of a version of the target, and is no schema: it is left out, and the target's version stays.
//!
//! A version that is replaced is deleted for good before the other one is registered, because both have one number. So that must be
//! found out before anything is touched. Our own parser tells; a text that it takes and the target does not is found out when it comes.

use super::super::plan::{Action, Version};
use super::Decide;
use crate::transfer::error::{Error, Kind, Result};
use crate::transfer::index::Key;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::collections::{HashMap, HashSet};

impl Decide<'_> {
    /// Marks what is no schema, and what refers to that.
    pub(super) async fn judge(&mut self, versions: &mut [Version]) -> Result<()> {
        let replaced = versions.iter().filter(|version| version.action == Action::Replace);
        let replaced: Vec<Key> = replaced.map(Version::key).collect();
        let decide = &*self;
        let asked = stream::iter(replaced).map(|key| async move {
            decide.same.check()?;
            let why = decide.no_schema(&key).await?;
            Ok::<_, Error>(why.map(|why| (key, why)))
        });
        let found: Vec<Option<(Key, String)>> = asked.buffered(self.at_once).try_collect().await?;
        let mut found: HashMap<Key, String> = found.into_iter().flatten().collect();
        if found.is_empty() {
            return Ok(());
        }
        let mut left_out: HashSet<Key> = HashSet::new();
        for version in versions.iter_mut().filter(|version| version.action.is_written()) {
            let key = version.key();
            let Some(place) = self.from.index.versions.get_index_of(&key) else { continue };
            let missing = self.own(place).1.references.iter().find(|reference| left_out.contains(*reference));
            let missing = missing.map(|reference| format!("it refers to {reference}, which is left out"));
            // Its own text may only be no schema because that one's is none.
            let Some(why) = missing.or_else(|| found.remove(&key)) else { continue };
            version.note = Some(match version.action {
                Action::Replace => format!("{why}; what the target has there stays"),
                _ => why,
            });
            version.action = Action::NotTaken;
            (version.target_version, version.target_id) = (None, None);
            self.matched.remove(&place);
            left_out.insert(key);
        }
        Ok(())
    }

    /// Why a version is no schema.
    async fn no_schema(&self, key: &Key) -> Result<Option<String>> {
        let Some(schema) = self.from.schema(key).await? else {
            let text = format!("{key} is in the index of {}, and its text is not there", self.from.name());
            return Err(Error::new(Kind::Damaged, text).hint("verify the backup"));
        };
        let why = self.from.no_schema(&schema).await?;
        Ok(why.map(|why| format!("its text is no schema: {why}")))
    }
}

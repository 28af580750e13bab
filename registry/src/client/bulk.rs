//! Everything that a registry has, in as few questions as it allows: `GET /schemas`, page after page, which answers whole versions.

use super::error::Result;
use super::place::segment;
use super::shape::Schema;
use super::{Client, flag};
use crate::names::{Context, Subject};
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use std::collections::HashSet;

/// A version of a subject.
type Key = (Subject, i32);

impl Client {
    /// All versions of all contexts, softly deleted ones too: everything that was there when the stream was begun and is still
    /// there when its place in the list comes, each once. Whether one is deleted is told where the registry tells it in lists.
    ///
    /// A registry without such a list is asked for every version by itself.
    pub fn all_schemas(&self) -> impl Stream<Item = Result<Schema>> + Send + '_ {
        let mut seen: HashSet<Key> = HashSet::new();
        let listed = stream::once(self.has_schemas()).map_ok(move |is_listed| match is_listed {
            true => self.listed_schemas(vec![flag("deleted")]).left_stream(),
            false => self
                .schemas(&[], none(), |_, numbers| numbers.iter().map(|(n, _)| *n).collect())
                .right_stream(),
        });
        listed.try_flatten().try_filter(move |schema| {
            std::future::ready(seen.insert((Subject::parse(&schema.subject), schema.version)))
        })
    }

    /// The versions of all contexts that are not deleted, by subject and number.
    pub async fn live_versions(&self) -> Result<HashSet<Key>> {
        let key = |schema: Schema| (Subject::parse(&schema.subject), schema.version);
        match self.has_schemas().await? {
            true => self.listed_schemas(Vec::new()).map_ok(key).try_collect().await,
            false => {
                let mut live = HashSet::new();
                let note = |subject: &Subject, numbers: &[(i32, bool)]| {
                    let not_deleted = numbers.iter().filter(|(_, deleted)| !deleted);
                    live.extend(not_deleted.map(|(number, _)| (subject.clone(), *number)));
                    Vec::new()
                };
                self.schemas(&[], none(), note).try_for_each(|_| std::future::ready(Ok(()))).await?;
                Ok(live)
            }
        }
    }

    async fn has_schemas(&self) -> Result<bool> {
        let query = [("offset", "0".to_owned()), ("limit", "1".to_owned())];
        match self.get::<serde_json::Value>("/schemas", &query).await {
            Ok(answer) => Ok(answer.is_array()),
            Err(error) if error.is_absent() || error.status() == Some(405) => Ok(false),
            // A registry that takes no notice of a limit.
            Err(error) if error.is_too_large() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn listed_schemas(
        &self,
        query: Vec<(&'static str, String)>,
    ) -> impl Stream<Item = Result<Schema>> + Send + '_ {
        let key = |schema: &Schema| (schema.subject.clone(), schema.version);
        let first = self.all("/schemas".to_owned(), query.clone(), key);
        // Some registries list the default context only, unless they are asked for another one.
        let contexts = stream::once(self.contexts()).map_ok(|contexts| {
            stream::iter(contexts.into_iter().filter(|context| !context.is_default()).map(Ok))
        });
        let others = contexts.try_flatten().map_ok(move |context: Context| {
            let mut prefixed = query.clone();
            prefixed.push(("subjectPrefix", context.prefix()));
            let path = format!("/contexts/{}/schemas", segment(context.as_str()));
            let own = self.all(path, query.clone(), key);
            // At a path of its own, and nowhere else; a registry that does not know the path has said everything before.
            let own = own.map(|answer| match answer {
                Err(error) if error.is_absent() => None,
                answer => Some(answer),
            });
            let own = own.filter_map(std::future::ready).map_ok(move |schema| Schema {
                subject: Subject::parse_in(&schema.subject, &context).to_string(),
                ..schema
            });
            self.all("/schemas".to_owned(), prefixed, key).chain(own)
        });
        first.chain(others.try_flatten())
    }
}

/// No subject is hidden by an alias: registries that have aliases have the list of all schemas.
fn none() -> &'static HashSet<Subject> {
    static NONE: std::sync::LazyLock<HashSet<Subject>> = std::sync::LazyLock::new(HashSet::new);
    &NONE
}

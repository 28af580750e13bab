//! Lists, page after page, and all versions of a registry as a stream. Memory holds names, and the few schemas in flight.
//!
//! A page begins with the last entry of the one before. Where that is another one now, something was deleted meanwhile, and the
//! next entries have moved up: then a page further back is read again, so that nothing is passed over. Registries that take no
//! notice of `offset` and `limit` (Karapace, AxonOps') answer everything at once, and then everything again: nothing new is the end.

use super::error::{Error, ErrorKind, Result};
use super::place::segment;
use super::shape::Schema;
use super::{Client, flag, optional, versions_path};
use crate::names::{Context, Subject};
use futures::FutureExt;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::Hash;

/// No registry makes its pages shorter than this on its own account, so a shorter one is the last.
const SHORT: usize = 10;

/// Two, of which one was seen on the page before.
const LEAST_PAGE: usize = 2;

/// Times that a list may change in a way that makes the reader go back.
const MAX_STEPS_BACK: usize = 1000;

/// Versions of a subject, ascending.
enum Versions {
    /// Their numbers, and whether they are softly deleted.
    Numbers(Vec<(i32, bool)>),
    /// The versions themselves: an alias hides the subject, and they can only be had all at once.
    Whole(Vec<Schema>),
}

/// A parameter of a list.
type Asked = (&'static str, String);

/// How far a list was read.
struct Reading<T, K> {
    seen: HashSet<K>,
    ready: VecDeque<T>,
    /// Where the next page would begin if the list stayed as it is.
    offset: usize,
    farthest: usize,
    steps_back: usize,
    ended: bool,
    /// Entries of a page. Fewer once a page was too large.
    limit: usize,
}

impl Client {
    /// The contexts. A registry that knows none has the default one.
    pub async fn contexts(&self) -> Result<Vec<Context>> {
        let names = self.all("/contexts".to_owned(), Vec::new(), String::clone).try_collect().await;
        let names: Vec<String> = match names {
            Err(error) if error.is_absent() => Vec::new(),
            names => names?,
        };
        let mut contexts: Vec<Context> = names.iter().filter_map(|name| Context::named(name)).collect();
        contexts.retain(|context| !context.is_default());
        contexts.insert(0, Context::default_context());
        Ok(contexts)
    }

    /// The subjects of some contexts, softly deleted ones too. No contexts stand for all of them.
    pub fn subjects<'a>(&'a self, of: &'a [Context]) -> impl Stream<Item = Result<Subject>> + Send + 'a {
        let all = self.all("/subjects".to_owned(), vec![flag("deleted")], String::clone);
        let all = all.map_ok(|name| Subject::parse(&name));
        // Some registries list the default context only, unless they are asked for another one.
        let others = stream::once(self.contexts()).map_ok(|contexts| {
            stream::iter(contexts.into_iter().filter(|context| !context.is_default()).map(Ok))
        });
        let others = others.try_flatten().map_ok(move |context| {
            let listed = stream::once(self.subjects_of(context)).map_ok(|names| stream::iter(names).map(Ok));
            listed.try_flatten()
        });
        let mut seen = HashSet::new();
        all.chain(others.try_flatten()).try_filter(move |subject| {
            let wanted = of.is_empty() || of.contains(&subject.context);
            std::future::ready(wanted && seen.insert(subject.clone()))
        })
    }

    /// The subjects of a context. AxonOps' registry lists those of a named one at a path of its own, and nowhere else.
    async fn subjects_of(&self, context: Context) -> Result<Vec<Subject>> {
        let prefixed = vec![flag("deleted"), ("subjectPrefix", context.prefix())];
        let own = format!("/contexts/{}/subjects", segment(context.as_str()));
        for (path, query) in [("/subjects".to_owned(), prefixed), (own, vec![flag("deleted")])] {
            let names = match self.all(path, query, String::clone).try_collect::<Vec<_>>().await {
                Err(error) if error.is_absent() => continue,
                names => names?,
            };
            if !names.is_empty() {
                return Ok(names.iter().map(|name| Subject::parse_in(name, &context)).collect());
            }
        }
        Ok(Vec::new())
    }

    /// The numbers of a subject's versions with whether they are softly deleted, ascending; none where there is no such subject.
    pub async fn versions(&self, subject: &Subject) -> Result<Vec<(i32, bool)>> {
        let numbers = |query: Vec<Asked>| {
            let numbers = self.all(versions_path(subject), query, i32::clone).try_collect::<Vec<i32>>();
            numbers.map(|numbers| optional(numbers).map(Option::unwrap_or_default))
        };
        let all = numbers(vec![flag("deleted")]).await?;
        let live = numbers(Vec::new()).await?;
        let mut found: BTreeMap<i32, bool> = all.into_iter().map(|number| (number, true)).collect();
        found.extend(live.into_iter().map(|number| (number, false)));
        Ok(found.into_iter().collect())
    }

    /// The versions of a subject from the list of all schemas, which knows no aliases.
    pub(super) async fn listed(&self, subject: &Subject) -> Result<Vec<Schema>> {
        let query = vec![flag("deleted"), ("subjectPrefix", subject.to_string())];
        let key = |schema: &Schema| (schema.subject.clone(), schema.version);
        let all = self.all("/schemas".to_owned(), query, key);
        let own = all.try_filter(|schema| std::future::ready(Subject::parse(&schema.subject) == *subject));
        let mut own: Vec<Schema> = own.try_collect().await?;
        own.sort_by_key(|schema| schema.version);
        Ok(own)
    }

    /// All versions of some contexts (none stand for all). `hidden` are the subjects that an alias hides. `wanted` is told of every
    /// subject, before its versions come, and says which of them should.
    pub fn schemas<'a>(
        &'a self,
        of: &'a [Context],
        hidden: &'a HashSet<Subject>,
        mut wanted: impl FnMut(&Subject, &[(i32, bool)]) -> Vec<i32> + Send + 'a,
    ) -> impl Stream<Item = Result<Schema>> + Send + 'a {
        enum Wanted {
            Number(Subject, i32, bool),
            Whole(Box<Schema>),
        }
        let listings = self.subjects(of).map_ok(move |subject| async move {
            let versions = match hidden.contains(&subject) {
                true => Versions::Whole(self.listed(&subject).await?),
                false => Versions::Numbers(self.versions(&subject).await?),
            };
            Ok((subject, versions))
        });
        let versions = listings.try_buffered(self.ahead()).map_ok(move |(subject, versions)| {
            let versions: Vec<Wanted> = match versions {
                Versions::Numbers(numbers) => {
                    let wanted = wanted(&subject, &numbers);
                    let numbers = numbers.into_iter().filter(|(number, _)| wanted.contains(number));
                    numbers.map(|(number, gone)| Wanted::Number(subject.clone(), number, gone)).collect()
                }
                Versions::Whole(schemas) => {
                    let number = |schema: &Schema| (schema.version, schema.deleted.unwrap_or(false));
                    let wanted = wanted(&subject, &schemas.iter().map(number).collect::<Vec<_>>());
                    let schemas = schemas.into_iter().filter(|schema| wanted.contains(&schema.version));
                    schemas.map(|schema| Wanted::Whole(Box::new(schema))).collect()
                }
            };
            stream::iter(versions.into_iter().map(Ok::<_, Error>))
        });
        let fetched = versions.try_flatten().map_ok(move |wanted| async move {
            match wanted {
                Wanted::Whole(schema) => Ok(Some(*schema)),
                Wanted::Number(subject, number, gone) => match self.version(&subject, number).await {
                    // Two lists may come from two instances, of which one lags: what the version says itself counts.
                    Ok(schema) => Ok(Some(Schema { deleted: schema.deleted.or(Some(gone)), ..schema })),
                    // Deleted for good since it was listed.
                    Err(error) if error.is_absent() => Ok(None),
                    Err(error) => Err(error),
                },
            }
        });
        fetched.try_buffered(self.ahead()).try_filter_map(|found| std::future::ready(Ok(found)))
    }

    /// All entries of a list. `key` says which entries are the same one.
    pub(super) fn all<T, K, F>(
        &self,
        path: String,
        query: Vec<Asked>,
        key: F,
    ) -> impl Stream<Item = Result<T>> + Send + use<'_, T, K, F>
    where
        T: DeserializeOwned + Send,
        K: Hash + Eq + Send,
        F: Fn(&T) -> K + Send + Copy,
    {
        let begin: Reading<T, K> = Reading {
            seen: HashSet::new(),
            ready: VecDeque::new(),
            offset: 0,
            farthest: 0,
            steps_back: 0,
            ended: false,
            limit: self.page_size(),
        };
        stream::try_unfold((begin, path, query), move |(mut reading, path, query)| async move {
            loop {
                if let Some(entry) = reading.ready.pop_front() {
                    return Ok(Some((entry, (reading, path, query))));
                }
                if reading.ended {
                    return Ok(None);
                }
                let limit = reading.limit;
                let from = reading.offset.saturating_sub(1);
                let mut asked = query.clone();
                asked.extend([("offset", from.to_string()), ("limit", limit.to_string())]);
                let page: Vec<T> = match self.get(&path, &asked).await {
                    Err(error) if error.is_too_large() && limit > LEAST_PAGE => {
                        reading.limit = (limit / 2).max(LEAST_PAGE);
                        continue;
                    }
                    page => page?,
                };
                reading.take(page, from, limit, key).map_err(|error| error.at(&self.name(), &path))?;
            }
        })
    }
}

impl<T, K: Hash + Eq> Reading<T, K> {
    /// Takes what is new of a page that begins at an offset.
    fn take(&mut self, page: Vec<T>, from: usize, limit: usize, key: impl Fn(&T) -> K) -> Result<()> {
        let moved = from > 0 && page.first().is_none_or(|first| !self.seen.contains(&key(first)));
        if moved {
            self.steps_back += 1;
            if self.steps_back > MAX_STEPS_BACK {
                let text = "the list changes faster than it can be read";
                return Err(Error::new(ErrorKind::Away, text).hint("try again when less is deleted"));
            }
            self.offset = from.saturating_sub(limit);
            return Ok(());
        }
        let (length, before, begun) = (page.len(), self.ready.len(), self.offset);
        for entry in page {
            if self.seen.insert(key(&entry)) {
                self.ready.push_back(entry);
            }
        }
        self.offset = from + length;
        let new = self.ready.len() > before;
        self.ended = length == 0
            || (from == 0 && length < SHORT.min(limit))
            || (!new && (self.offset >= self.farthest || self.offset <= begun));
        self.farthest = self.farthest.max(self.offset);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a list of which `change` may take something away between two pages.
    fn read(mut list: Vec<u32>, limit: usize, mut change: impl FnMut(usize, &mut Vec<u32>)) -> Vec<u32> {
        let mut reading: Reading<u32, u32> = Reading {
            seen: HashSet::new(),
            ready: VecDeque::new(),
            offset: 0,
            farthest: 0,
            steps_back: 0,
            ended: false,
            limit: 1000,
        };
        let mut pages = 0;
        while !reading.ended {
            let from = reading.offset.saturating_sub(1);
            let page = list.iter().skip(from).take(limit).copied().collect();
            reading.take(page, from, limit, |entry| *entry).expect("taken");
            pages += 1;
            assert!(pages < 500, "no end");
            change(pages, &mut list);
        }
        reading.ready.into()
    }

    #[test]
    fn all_entries_come_once_whatever_the_page_size() {
        for length in [0, 1, 9, 10, 11, 99, 100, 101, 250] {
            for limit in [10, 11, 100, 1000] {
                let list: Vec<u32> = (0..length).collect();
                assert_eq!(read(list.clone(), limit, |_, _| ()), list, "{length} in pages of {limit}");
            }
        }
    }

    #[test]
    fn nothing_that_stays_is_passed_over_while_other_entries_go() {
        for limit in [10, 25] {
            for every in 1..4 {
                let found = read((0..200).collect(), limit, |pages, list| {
                    if pages % every == 0 && pages < 12 {
                        let gone: Vec<u32> = list.iter().copied().filter(|n| n % 3 == 0).take(15).collect();
                        list.retain(|n| !gone.contains(n));
                    }
                });
                let stays: Vec<u32> = (0..200).filter(|n| n % 3 != 0).collect();
                let missing: Vec<_> = stays.iter().filter(|n| !found.contains(n)).collect();
                assert!(missing.is_empty(), "pages of {limit}, every {every}: {missing:?}");
            }
        }
    }

    #[test]
    fn a_list_that_becomes_shorter_between_two_pages_ends() {
        for length in 10..30 {
            for gone in 1..length as usize {
                let found = read((0..length).collect(), 1000, |pages, list| {
                    if pages == 1 {
                        list.drain(..gone);
                    }
                });
                assert_eq!(found, (0..length).collect::<Vec<_>>(), "{length}, {gone} gone");
            }
        }
    }

    #[test]
    fn a_registry_that_ignores_pages_is_read_once() {
        let mut reading: Reading<u32, u32> = Reading {
            seen: HashSet::new(),
            ready: VecDeque::new(),
            offset: 0,
            farthest: 0,
            steps_back: 0,
            ended: false,
            limit: 1000,
        };
        let mut pages = 0;
        while !reading.ended {
            let from = reading.offset.saturating_sub(1);
            reading.take((0..5000).collect(), from, 1000, |entry| *entry).expect("taken");
            pages += 1;
        }
        assert_eq!((pages, reading.ready.len()), (2, 5000));
    }
}

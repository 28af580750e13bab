//! Schemas that are kept elsewhere and do not change, as those of a backup. Rows are in memory; texts are read when they are asked
//! for. Nobody can write.
//!
//! ```text
//! live, softly deleted    a version and its schema, as everywhere
//! gone                    a schema alone: by id and GUID, which records bear, it is answered; no list shows it
//! ```
//! An id has the schemas that it had, one beside the other: what is live comes first, and is what clients get who ask by the id alone.

use super::{
    Change, Commit, Head, Heads, Result, SchemaId, SchemaKey, SchemaRow, Store, StoreError, Texts, VersionRow,
};
use crate::names::{Context, Subject};
use crate::schema::{Reference, SchemaType};
use crate::settings::{Config, Mode};
use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// Texts of one question that are read at once.
const READS: usize = 32;

/// Where texts are kept.
#[async_trait]
pub trait KeptTexts: Send + Sync + 'static {
    /// What names the texts of one schema there.
    type Place: Send + Sync + 'static;

    /// Proves that texts can be read now.
    async fn proof(&self) -> Result<()>;

    /// The texts of a schema.
    async fn texts(&self, place: &Self::Place) -> Result<Texts>;
}

/// What became of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeptState {
    /// Nothing.
    Live,
    /// Deleted softly.
    Deleted,
    /// Deleted for good; its schema is kept for the records that bear its id.
    Gone,
}

/// A version with its schema.
#[derive(Debug, Clone)]
pub struct KeptVersion<P> {
    /// Its subject.
    pub subject: Subject,
    /// Its number; of those that are not gone, a subject has each once.
    pub version: i32,
    /// What became of it.
    pub state: KeptState,
    /// When it was registered, in milliseconds of the epoch; 0 where nobody knows.
    pub time_ms: i64,
    /// The id of its schema.
    pub id: SchemaId,
    /// The schema's GUID.
    pub guid: Uuid,
    /// Its language.
    pub schema_type: SchemaType,
    /// What it refers to.
    pub references: Vec<Reference>,
    /// Where its texts are.
    pub place: P,
}

/// Everything that is kept.
#[derive(Debug, Clone)]
pub struct Kept<P> {
    /// Versions, in any order.
    pub versions: Vec<KeptVersion<P>>,
    /// Settings; of a context, or of everything, where the subject's name is empty.
    pub configs: Vec<(Subject, Config)>,
    /// Modes, as settings.
    pub modes: Vec<(Subject, Mode)>,
}

#[derive(Debug)]
struct Rows<P> {
    head: Head,
    schemas: Vec<Change>,
    others: Vec<Change>,
    places: HashMap<SchemaKey, P>,
}

impl<P> Rows<P> {
    fn new() -> Self {
        let head = Head { revision: 1, attempt: Uuid::new_v4(), next_id: 1 };
        Self { head, schemas: Vec::new(), others: Vec::new(), places: HashMap::new() }
    }
}

/// A store of what is kept elsewhere.
#[derive(Debug)]
pub struct KeptStore<T: KeptTexts> {
    backend: &'static str,
    texts: T,
    read_only: String,
    epoch: Uuid,
    contexts: BTreeMap<Context, Rows<T::Place>>,
}

impl<T: KeptTexts> KeptStore<T> {
    /// A store of what is there. `read_only` says in a sentence what it is, for clients that want to write.
    pub fn new(backend: &'static str, texts: T, read_only: String, kept: Kept<T::Place>) -> Self {
        let mut contexts: BTreeMap<Context, Rows<T::Place>> = BTreeMap::new();
        let Kept { mut versions, configs, modes } = kept;
        versions.sort_by(|one, other| order(one).cmp(&order(other)));
        let mut names: HashMap<Subject, Arc<str>> = HashMap::new();
        // The schemas of the id that the one before had.
        let mut same: Vec<SchemaRow> = Vec::new();
        let mut of: Option<(Context, SchemaId)> = None;
        for found in versions {
            let KeptVersion { subject, id, guid, schema_type, place, .. } = found;
            let rows = contexts.entry(subject.context.clone()).or_insert_with(Rows::new);
            let place_of = (subject.context.clone(), id);
            if of.as_ref() != Some(&place_of) {
                of = Some(place_of);
                same.clear();
            }
            let known = same.iter().find(|row| row.guid == guid && row.schema_type == schema_type);
            let schema = match known {
                Some(row) => row.key,
                None => {
                    let key = SchemaKey { id, variant: u32::try_from(same.len()).unwrap_or(u32::MAX) };
                    // By their identity, that of the first, the schemas of an id are found together.
                    let identity = same.first().map_or(*guid.as_bytes(), |first| first.identity);
                    let row =
                        SchemaRow { key, guid, identity, schema_type, references: found.references.into() };
                    rows.schemas.push(Change::Schema(row.clone()));
                    rows.places.insert(key, place);
                    same.push(row);
                    key
                }
            };
            rows.head.next_id = rows.head.next_id.max(id.saturating_add(1));
            if found.state == KeptState::Gone {
                continue;
            }
            let name = names.entry(subject).or_insert_with_key(|subject| Arc::clone(&subject.name));
            rows.others.push(Change::Version(VersionRow {
                subject: Arc::clone(name),
                version: found.version,
                schema,
                deleted: found.state == KeptState::Deleted,
                time_ms: found.time_ms,
            }));
        }
        for rows in contexts.values_mut().filter(|rows| !rows.others.is_empty()) {
            rows.others.push(Change::Listed(true));
        }
        let configs = configs
            .into_iter()
            .map(|(subject, config)| (subject.context, Change::Config(subject.name, Some(Box::new(config)))));
        let modes = modes
            .into_iter()
            .map(|(subject, mode)| (subject.context, Change::Mode(subject.name, Some(mode))));
        for (context, change) in configs.chain(modes) {
            contexts.entry(context).or_insert_with(Rows::new).others.push(change);
        }
        Self { backend, texts, read_only, epoch: Uuid::new_v4(), contexts }
    }

    async fn read(&self, key: SchemaKey, place: &T::Place) -> Result<(SchemaKey, Texts)> {
        Ok((key, self.texts.texts(place).await?))
    }

    /// How many schemas there are, each of an id counted.
    pub fn schemas(&self) -> usize {
        self.contexts.values().map(|rows| rows.schemas.len()).sum()
    }
}

/// By id, what is live first; then the oldest, as far as that is known.
fn order<P>(version: &KeptVersion<P>) -> (&Context, SchemaId, KeptState, i64, &str, i32) {
    let KeptVersion { subject, version, state, time_ms, id, .. } = version;
    (&subject.context, *id, *state, *time_ms, &subject.name, *version)
}

#[async_trait]
impl<T: KeptTexts> Store for KeptStore<T> {
    fn backend(&self) -> &'static str {
        self.backend
    }

    async fn heads(&self) -> Result<Heads> {
        self.texts.proof().await?;
        let contexts = self.contexts.iter().map(|(context, rows)| (context.clone(), rows.head)).collect();
        Ok(Heads { epoch: self.epoch, contexts, links: 0 })
    }

    async fn changes(&self, context: &Context, since: Head) -> Result<(Head, Vec<Change>)> {
        match self.contexts.get(context) {
            Some(rows) if since.revision == 0 => {
                Ok((rows.head, rows.schemas.iter().chain(&rows.others).cloned().collect()))
            }
            Some(rows) if since == rows.head => Ok((rows.head, Vec::new())),
            None if since.revision == 0 => Ok((Head::EMPTY, Vec::new())),
            _ => Err(StoreError::Forked(format!("context {context} has another history"))),
        }
    }

    async fn texts(&self, context: &Context, keys: &[SchemaKey]) -> Result<Vec<(SchemaKey, Texts)>> {
        let Some(rows) = self.contexts.get(context) else { return Ok(Vec::new()) };
        let places = keys.iter().filter_map(|key| Some((*key, rows.places.get(key)?)));
        let reads: Vec<_> = places.map(|(key, place)| self.read(key, place)).collect();
        stream::iter(reads).buffer_unordered(READS).try_collect().await
    }

    async fn commit(&self, _: &Commit) -> Result<Head> {
        Err(StoreError::ReadOnly(self.read_only.clone()))
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn read_only(&self) -> Option<&str> {
        Some(&self.read_only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity;
    use crate::service::{Listed, Page, Registry, Settings};

    /// Texts that are their own places.
    struct Own;

    #[async_trait]
    impl KeptTexts for Own {
        type Place = &'static str;

        async fn proof(&self) -> Result<()> {
            Ok(())
        }

        async fn texts(&self, place: &&'static str) -> Result<Texts> {
            Ok(Texts { canonical: (*place).into(), submitted: None, metadata: None, rule_set: None })
        }
    }

    fn version(subject: &str, version: i32, id: SchemaId, text: &'static str) -> KeptVersion<&'static str> {
        KeptVersion {
            subject: Subject::parse(subject),
            version,
            state: KeptState::Live,
            time_ms: 1,
            id,
            guid: identity::guid(text, &[], None, None),
            schema_type: SchemaType::Avro,
            references: Vec::new(),
            place: text,
        }
    }

    fn gone(kept: KeptVersion<&'static str>) -> KeptVersion<&'static str> {
        KeptVersion { state: KeptState::Gone, ..kept }
    }

    async fn registry(versions: Vec<KeptVersion<&'static str>>) -> Registry {
        let kept =
            Kept { versions, configs: Vec::new(), modes: vec![(Subject::parse("open"), Mode::Readwrite)] };
        let store = KeptStore::new("backup", Own, "It is a copy".to_owned(), kept);
        Registry::open(Arc::new(store), Settings::default(), || 0).await.expect("a registry")
    }

    async fn text(registry: &Registry, id: SchemaId, subject: Option<&str>) -> String {
        let subject = subject.map(Subject::parse);
        registry.schema(id, subject.as_ref()).await.expect("a schema").texts.canonical.to_string()
    }

    #[tokio::test]
    async fn what_is_gone_is_answered_by_its_id_and_guid_and_by_nothing_else() {
        let here = registry(vec![
            version("s", 1, 1, "\"int\""),
            gone(version("s", 2, 2, "\"long\"")),
            gone(version(":.eu:only", 1, 7, "\"long\"")),
        ])
        .await;
        let page = Page { offset: 0, limit: 10 };
        assert_eq!(
            here.versions(&Subject::parse("s"), Listed::All, false, page).await.expect("versions"),
            [1]
        );
        assert_eq!(here.contexts("", page).await.expect("contexts"), ["."]);
        assert_eq!(text(&here, 2, None).await, "\"long\"");
        assert_eq!(text(&here, 2, Some("s")).await, "\"long\"");
        assert_eq!(text(&here, 7, Some(":.eu:only")).await, "\"long\"");
        assert!(here.schema(7, None).await.is_err(), "ids are their context's");
        let found =
            here.schema_of_guid(&identity::guid("\"long\"", &[], None, None)).await.expect("a schema");
        assert_eq!((found.schema.id, found.of_any), (2, None));
        assert!(here.users(2, None, true, page).await.expect("users").is_empty());
        assert_eq!(here.max_id(&Context::default_context()), 2);
    }

    #[tokio::test]
    async fn an_id_of_several_schemas_is_the_live_one_and_versions_keep_their_own() {
        let here = registry(vec![
            gone(version("a", 1, 1, "\"int\"")),
            KeptVersion { time_ms: 5, ..version("b", 1, 1, "\"string\"") },
            KeptVersion { time_ms: 9, ..version("c", 1, 1, "\"bytes\"") },
        ])
        .await;
        assert_eq!(text(&here, 1, None).await, "\"string\"");
        assert_eq!(text(&here, 1, Some("c")).await, "\"bytes\"");
        let own = here.version(&Subject::parse("c"), 1, false).await.expect("a version");
        assert_eq!(&*own.texts.canonical, "\"bytes\"");
        let page = Page { offset: 0, limit: 10 };
        let users = here.users(1, None, false, page).await.expect("users");
        assert_eq!(users, [("b".to_owned(), 1), ("c".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn nobody_can_write_whatever_modes_say_and_it_says_why() {
        let here = registry(vec![version("open", 1, 1, "\"int\"")]).await;
        let open = Subject::parse("open");
        assert_eq!(here.mode(&Subject::parse(""), false).await.expect("a mode"), Mode::Readonly);
        assert_eq!(here.mode(&open, false).await.expect("a mode"), Mode::Readwrite, "as it was");
        assert_eq!(here.mode(&Subject::parse("other"), true).await.expect("a mode"), Mode::Readonly);
        let submitted =
            |text: &str| crate::service::Submitted { text: Some(text.to_owned()), ..Default::default() };
        let known = here.register(&open, "open", &submitted("\"int\""), false).await.expect("it is there");
        assert_eq!((known.schema.id, known.known), (1, true));
        let mut refused = vec![here.register(&open, "open", &submitted("\"long\""), false).await.err()];
        refused.push(here.set_mode(&open, "open", Some(Mode::Import), true).await.err());
        refused.push(here.delete_mode(&open, true).await.err());
        refused.push(here.require_import(&open).await.err());
        refused.push(here.set_config(&open, "open", crate::service::ConfigUpdate::default()).await.err());
        refused.push(here.delete_config(&Subject::parse("")).await.err());
        refused.push(here.delete_subject(&open, crate::service::Deletion::Soft).await.err());
        for error in refused {
            let error = error.expect("refused");
            assert!(error.code() == 42205 && error.message().contains("It is a copy"), "{error}");
        }
        assert!(here.live().ready().await.is_ok(), "nothing is wrong with it");
    }
}

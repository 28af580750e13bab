//! Archives into registries of ours in this process: what is planned, what arrives, what a cut leaves behind.

mod cut;
mod ends;
mod fits;
mod forced;
mod journal;
mod kinds;
mod left_out;
mod many;
mod named;
mod order;
mod random;
mod reach;

use super::*;
use crate::client::scripted::{Asked, Reply, Server};
use crate::client::{Client, Placed, Schema};
use crate::names::Subject;
use crate::service::Deletion;
use crate::settings::Mode;
use crate::transfer::error::{Error, Kind};
use crate::transfer::index::Key;
use crate::transfer::tests::{GO_ON, avro, client, furnish, settings as config, side};
use crate::transfer::walk::{Item, Walk};
use crate::transfer::{Guids, Intents, Texts, diff};
use async_trait::async_trait;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

/// Texts in memory.
pub(super) struct Shelf {
    name: &'static str,
    texts: HashMap<Key, Schema>,
}

#[async_trait]
impl Texts for Shelf {
    async fn schema(&self, key: &Key) -> Result<Option<Schema>> {
        Ok(self.texts.get(key).cloned())
    }

    fn name(&self) -> String {
        self.name.to_owned()
    }
}

impl Shelf {
    fn of(texts: HashMap<Key, Schema>) -> Self {
        Self { name: "backup", texts }
    }
}

fn key(subject: &str, version: i32) -> Key {
    Key { subject: subject.into(), version }
}

pub(super) fn kept(items: Vec<Item>) -> Side {
    kept_as("backup", items)
}

/// An archive with a name of its own.
fn kept_as(name: &'static str, items: Vec<Item>) -> Side {
    let schema = |item: &Item| match item {
        Item::Version(schema) | Item::Gone(schema) => {
            Some((key(&schema.subject, schema.version), schema.clone()))
        }
        _ => None,
    };
    let shelf = Shelf { name, texts: items.iter().filter_map(schema).collect() };
    Side::kept(Arc::new(shelf), items).expect("an archive")
}

/// Everything that a registry has, as an archive.
async fn archived(client: &Client) -> Side {
    let mut items = Vec::new();
    let progress = Progress::default();
    let walk = Walk { client, contexts: &[], known: None, progress: &progress, stop: GO_ON };
    walk.go(&mut |item| {
        items.push(item);
        Ok(())
    })
    .await
    .expect("walked");
    // In whatever order they come.
    items.reverse();
    kept(items)
}

/// A text that differs from that of every other name.
fn fixed(name: &str) -> String {
    format!("{{\"type\":\"fixed\",\"name\":\"{name}\",\"size\":4}}")
}

/// A version of an archive.
fn schema(subject: &str, version: i32, id: u32, text: &str) -> Schema {
    Schema { version, id, ..avro(subject, text, &[]) }
}

fn version(subject: &str, version: i32, id: u32, text: &str) -> Item {
    Item::Version(schema(subject, version, id, text))
}

fn deleted(subject: &str, version: i32, id: u32, text: &str) -> Item {
    Item::Version(Schema { deleted: Some(true), ..schema(subject, version, id, text) })
}

fn gone(subject: &str, version: i32, id: u32, text: &str) -> Item {
    Item::Gone(schema(subject, version, id, text))
}

fn referring(subject: &str, number: i32, id: u32, text: &str, to: &[(&str, &str, i32)]) -> Item {
    Item::Version(Schema { version: number, id, ..avro(subject, text, to) })
}

/// A record with a field of a named type.
fn record(name: &str, fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, kind)| format!("{{\"name\":\"{name}\",\"type\":\"{kind}\"}}")).collect();
    format!("{{\"type\":\"record\",\"name\":\"{name}\",\"fields\":[{}]}}", fields.join(","))
}

/// A journal in memory, which may be told to take nothing and to let nothing go.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Option<Vec<u8>>>>, Arc<AtomicBool>);

impl Memory {
    fn check(&self) -> Result<()> {
        match self.1.load(SeqCst) {
            true => Err(Error::new(Kind::Failed, "memory takes nothing")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Intents for Memory {
    async fn load(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.0.lock().expect("unpoisoned").clone())
    }

    async fn store(&self, bytes: &[u8]) -> Result<()> {
        self.check()?;
        *self.0.lock().expect("unpoisoned") = Some(bytes.to_vec());
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        self.check()?;
        *self.0.lock().expect("unpoisoned") = None;
        Ok(())
    }

    fn name(&self) -> String {
        "memory".to_owned()
    }
}

/// A target.
struct Bed {
    server: Server,
    to: Arc<Client>,
    memory: Memory,
}

impl Bed {
    /// An empty one that compares nothing.
    async fn new() -> Self {
        let bed = Self::behind(|_, _| None).await;
        bed.level("", "NONE").await;
        bed
    }

    async fn behind(first: impl Fn(usize, &Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let server = Server::registry(first).await;
        let to = client(&server.url);
        Self { server, to, memory: Memory::default() }
    }

    async fn level(&self, place: &str, level: &str) {
        let level = config(json!({ "compatibilityLevel": level }));
        self.to.set_config(&Subject::parse(place), &level).await.expect("set");
    }

    async fn has(&self, subject: &str, text: &str) -> u32 {
        self.to.register(&avro(subject, text, &[]), Placed::Next).await.expect("registered").id
    }

    async fn journal(&self) -> Journal {
        Journal::open(Box::new(self.memory.clone()), &self.to).await.expect("a journal")
    }

    /// A restore that is not to stop.
    fn asked<'a>(&self, from: &'a Side, settings: &'a Settings, progress: &'a Progress) -> Restore<'a> {
        Restore { from, to: Arc::clone(&self.to), settings, progress, stop: GO_ON }
    }

    async fn plan(&self, from: &Side, settings: &Settings) -> Plan {
        let progress = Progress::default();
        let restore = self.asked(from, settings, &progress);
        restore.plan(&self.journal().await).await.expect("planned")
    }

    async fn restore(&self, from: &Side, settings: &Settings) -> Result<(Plan, Outcome)> {
        let progress = Progress::default();
        let restore = self.asked(from, settings, &progress);
        let mut journal = self.journal().await;
        let plan = restore.plan(&journal).await?;
        let outcome = restore.run(&plan, &mut journal).await?;
        Ok((plan, outcome))
    }

    /// Restores, and proves that there is nothing left to do, that the map is the same then, and that nothing is borrowed any more.
    async fn restored(&self, from: &Side, settings: &Settings) -> (Plan, Outcome) {
        let modes = side(&self.to).await.index.modes;
        let modes_of_absent = self.plan(from, settings).await.there.index.modes.clone();
        let (plan, outcome) = match self.restore(from, settings).await {
            Ok(done) => done,
            Err(error) => panic!("{error}\n{:?}", self.plan(from, settings).await),
        };
        let again = self.plan(from, settings).await;
        assert!(again.is_empty() && again.obstacles.is_empty(), "{plan:?}\nthen\n{again:?}");
        let mut map = again.map();
        if settings.strategy == Strategy::Skip {
            // Afterwards the subject is one that is there, and which of its versions stand for what is looked up anew. Whichever it
            // is, it is the same schema.
            for (key, to) in map.versions.iter().chain(&outcome.map.versions) {
                let meant = from.schema(key).await.expect("read").expect("a text");
                let found = self.to.version(&to.subject(), to.version).await.expect("there");
                assert_eq!(found.schema, meant.schema, "{key} is {to}: {again:?}");
            }
            assert!(outcome.map.versions.keys().all(|key| map.versions.contains_key(key)), "{again:?}");
            map.versions.clone_from(&outcome.map.versions);
        }
        assert_eq!(map, outcome.map, "{plan:?}\nthen\n{again:?}");
        assert!(self.memory.0.lock().expect("unpoisoned").is_none(), "the journal is gone");
        if settings.modes == Choice::Left {
            for (place, mode) in &side(&self.to).await.index.modes {
                let before = modes.get(place).or(modes_of_absent.get(place));
                assert_eq!(before, Some(mode), "mode of {place:?}");
            }
        }
        for to in outcome.map.versions.values() {
            self.to.version(&to.subject(), to.version).await.expect("there");
        }
        (plan, outcome)
    }

    /// The versions of a subject: number, text, deletion.
    async fn versions(&self, subject: &str) -> Vec<(i32, String, bool)> {
        let subject = Subject::parse(subject);
        let mut found = Vec::new();
        for (number, deleted) in self.to.versions(&subject).await.expect("listed") {
            let schema = self.to.version(&subject, number).await.expect("there");
            found.push((number, schema.schema, deleted));
        }
        found
    }

    async fn mode(&self, place: &str) -> Option<Mode> {
        self.to.mode(&Subject::parse(place)).await.expect("a mode")
    }
}

fn of(map: &IdMap, id: u32) -> Option<u32> {
    let context = crate::names::Context::default_context();
    map.ids.get(&ContextId { context, id }).map(|id| id.id)
}

fn action(plan: &Plan, subject: &str, version: i32) -> Action {
    let found = plan.versions.iter().find(|found| *found.subject == *subject && found.version == version);
    found.unwrap_or_else(|| panic!("{subject} {version} is not planned: {plan:?}")).action
}

fn refused(result: Result<(Plan, Outcome)>) -> Error {
    let error = result.map(drop).expect_err("refused");
    assert!(error.next_step().is_some(), "{error}");
    error
}

/// The schema that records of an id are read with is the same on both sides.
async fn assert_readable(from: &Side, bed: &Bed, map: &IdMap) {
    for (key, entry) in &from.index.versions {
        let own = ContextId::of(key, entry.id);
        let Some(to) = map.ids.get(&own) else { panic!("id {own} of {key} leads nowhere") };
        let place = Subject::new(to.context.clone(), "");
        let there = bed.to.by_id(to.id, Some(&place)).await.expect("there");
        let text = from.schema(key).await.expect("read").expect("a text").schema;
        assert_eq!(there.schema, text, "{key}");
    }
}

#[tokio::test]
async fn a_whole_registry_comes_into_an_empty_one() {
    let source = Server::registry(|_, _| None).await;
    let source = client(&source.url);
    furnish(&source).await;
    let from = archived(&source).await;
    let bed = Bed::behind(|_, _| None).await;
    let settings = Settings { modes: Choice::Restored, ..Settings::default() };
    let (plan, outcome) = bed.restored(&from, &settings).await;
    assert_eq!((plan.counts[&Action::Create], outcome.registered, outcome.deleted), (11, 11, 2), "{plan:?}");
    assert_readable(&from, &bed, &outcome.map).await;
    assert_eq!(outcome.map.versions.len(), 11);
    let differences =
        diff(&side(&source).await, &side(&bed.to).await, Guids::OfSameTexts).await.expect("compared");
    let odd: Vec<_> = differences.differences.iter().filter(|found| found.what != "id").collect();
    assert!(odd.is_empty(), "{odd:?}");
    // The same again, with the ids kept.
    let bed = Bed::behind(|_, _| None).await;
    let settings = Settings { ids: Ids::Forced, ..settings };
    bed.restored(&from, &settings).await;
    let differences = diff(&side(&source).await, &side(&bed.to).await, Guids::All).await.expect("compared");
    assert_eq!(differences.count, 0, "{differences:?}");
}

#[tokio::test]
async fn what_is_there_stays_and_what_is_missing_is_added() {
    let bed = Bed::new().await;
    let other = bed.has("other", &fixed("Other")).await;
    let (a, b) = (bed.has("orders", &fixed("A")).await, bed.has("orders", &fixed("B")).await);
    let from = kept(vec![
        version("orders", 1, 1, &fixed("A")),
        version("orders", 2, 5, &fixed("B")),
        version("orders", 3, 9, &fixed("C")),
    ]);
    let (plan, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_eq!(
        [1, 2, 3].map(|n| action(&plan, "orders", n)),
        [Action::ExistsUnderOtherId, Action::ExistsUnderOtherId, Action::Create]
    );
    assert_eq!((of(&outcome.map, 1), of(&outcome.map, 5)), (Some(a), Some(b)));
    assert!(of(&outcome.map, 9).is_some_and(|id| ![a, b, other].contains(&id)));
    let numbers: Vec<_> = bed.versions("orders").await.into_iter().map(|(number, ..)| number).collect();
    assert_eq!((numbers, outcome.registered), (vec![1, 2, 3], 1));
}

#[tokio::test]
async fn an_id_of_another_schema_is_mapped_and_a_schema_of_another_id_is_found() {
    let bed = Bed::new().await;
    let taken = bed.has("other", &fixed("Other")).await;
    let elsewhere = bed.has("other", &fixed("A")).await;
    let from = kept(vec![version("orders", 1, taken, &fixed("A")), gone("orders", 2, 7, &fixed("Other"))]);
    let (plan, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_eq!(of(&outcome.map, taken), Some(elsewhere), "one schema has one id");
    assert_eq!((of(&outcome.map, 7), action(&plan, "orders", 2)), (Some(taken), Action::ExistsUnderOtherId));
    assert_eq!(bed.versions("orders").await, [(1, fixed("A"), false)]);
    assert_readable(&from, &bed, &outcome.map).await;
}

#[tokio::test]
async fn what_is_written_differently_is_the_same_schema() {
    let bed = Bed::new().await;
    let text = record("R", &[("a", "int")]);
    let id = bed.has("orders", &text).await;
    let spaced = r#"{ "name": "R", "fields": [ {"type": "int", "name": "a"} ], "type": "record" }"#;
    let from = kept(vec![version("orders", 4, 40, spaced)]);
    let (plan, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_eq!((action(&plan, "orders", 4), of(&outcome.map, 40)), (Action::ExistsUnderOtherId, Some(id)));
    assert_eq!(outcome.map.versions, [(key("orders", 4), key("orders", 1))].into());
    assert_eq!(outcome.registered, 0);
    // A registry that normalises compares what is normalised.
    let normal = config(json!({ "normalize": true, "compatibilityLevel": "NONE" }));
    bed.to.set_config(&Subject::parse(""), &normal).await.expect("set");
    let from = kept(vec![version(
        "orders",
        1,
        1,
        r#"{"type":"record","name":"N","fields":[],"z":1,"b":{"d":1,"c":2}}"#,
    )]);
    let (_, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_eq!(outcome.registered, 1);
}

#[tokio::test]
async fn one_that_is_skipped_stays_as_it_is_and_its_ids_are_named() {
    let bed = Bed::new().await;
    let id = bed.has("orders", &fixed("A")).await;
    let from = kept(vec![
        version("orders", 1, 1, &fixed("A")),
        version("orders", 2, 2, &fixed("B")),
        version("new", 1, 3, &fixed("C")),
    ]);
    let settings = Settings { strategy: Strategy::Skip, ..Settings::default() };
    let (plan, outcome) = bed.restored(&from, &settings).await;
    assert_eq!((action(&plan, "orders", 2), action(&plan, "new", 1)), (Action::Skipped, Action::Create));
    assert_eq!((of(&outcome.map, 1), of(&outcome.map, 2)), (Some(id), None));
    assert_eq!((plan.unmapped, outcome.map.unmapped.len()), (vec!["2".to_owned()], 1));
    assert_eq!(bed.versions("orders").await.len(), 1);
}

#[tokio::test]
async fn what_differs_is_replaced_under_its_number_and_the_plan_warns() {
    for ids in [Ids::Mapped, Ids::Forced] {
        let bed = Bed::new().await;
        for name in ["A", "X", "C"] {
            bed.has("orders", &fixed(name)).await;
        }
        bed.level("orders", "FULL").await;
        bed.has("single", &fixed("Y")).await;
        bed.to.set_mode(&Subject::parse("single"), Mode::Readonly).await.expect("set");
        let from = kept(vec![
            version("orders", 1, 1, &fixed("A")),
            version("orders", 2, 50, &fixed("B")),
            version("orders", 3, 3, &fixed("C")),
            version("orders", 4, 51, &fixed("D")),
            version("single", 1, 52, &fixed("Z")),
            version("new", 3, 53, &fixed("N")),
            Item::Config("single".into(), config(json!({"compatibilityLevel": "FORWARD"}))),
        ]);
        let settings = Settings { strategy: Strategy::Overwrite, ids, ..Settings::default() };
        let (plan, outcome) = bed.restored(&from, &settings).await;
        assert_eq!(
            (action(&plan, "orders", 2), action(&plan, "orders", 3)),
            (Action::Replace, Action::Exists)
        );
        assert!(plan.warnings.iter().any(|warning| warning.contains("for good")), "{plan:?}");
        let expected = ["A", "B", "C", "D"].map(fixed);
        let found = bed.versions("orders").await;
        assert_eq!(found.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(found.into_iter().map(|(_, text, _)| text).collect::<Vec<_>>(), expected);
        assert_eq!(bed.versions("single").await, [(1, fixed("Z"), false)]);
        assert_eq!(bed.versions("new").await, [(3, fixed("N"), false)], "numbers are those of the archive");
        assert_eq!(
            bed.mode("single").await,
            Some(Mode::Readonly),
            "it went with the subject, and came again"
        );
        let level = bed.to.config(&Subject::parse("single")).await.expect("asked").expect("settings");
        assert_eq!(level["compatibilityLevel"], "FORWARD");
        assert_eq!(outcome.removed, 2);
        assert_readable(&from, &bed, &outcome.map).await;
    }
}

#[tokio::test]
async fn what_the_target_refers_to_is_not_replaced() {
    let bed = Bed::new().await;
    bed.has("base", &fixed("Base")).await;
    let top = avro("top", &record("Top", &[("b", "Base")]), &[("Base", "base", 1)]);
    bed.to.register(&top, Placed::Next).await.expect("registered");
    let settings = Settings { strategy: Strategy::Overwrite, ..Settings::default() };
    let other = fixed("Base").replace('4', "8");
    let from = kept(vec![version("base", 1, 1, &other)]);
    let error = refused(bed.restore(&from, &settings).await);
    assert!(error.to_string().contains("top version 1"), "{error}");
    assert_eq!(bed.versions("base").await, [(1, fixed("Base"), false)]);
    // With what refers to it both are replaced.
    let from = kept(vec![
        version("base", 1, 1, &other),
        referring("top", 1, 2, &record("Top", &[("b", "Base")]), &[("Base", "base", 1)]),
    ]);
    let (plan, _) = bed.restored(&from, &settings).await;
    assert_eq!(plan.removed, ["top version 1", "base version 1"]);
    assert_eq!(bed.versions("base").await, [(1, other, false)]);
}

#[tokio::test]
async fn deleted_versions_come_deleted_and_holes_close() {
    let bed = Bed::new().await;
    let from = kept(vec![
        deleted("orders", 2, 2, &fixed("A")),
        version("orders", 5, 5, &fixed("B")),
        gone("orders", 6, 6, &fixed("C")),
        version("orders", 8, 8, &fixed("D")),
    ]);
    let (_, outcome) = bed.restored(&from, &Settings::default()).await;
    let expected =
        [(1, fixed("A"), true), (2, fixed("B"), false), (3, fixed("C"), true), (4, fixed("D"), false)];
    assert_eq!(bed.versions("orders").await, expected);
    assert_eq!(outcome.map.versions[&key("orders", 8)], key("orders", 4));
    assert_readable(&from, &bed, &outcome.map).await;
    // Left out, they are named.
    let bed = Bed::new().await;
    let settings = Settings { deleted: Choice::Left, gone: Choice::Left, ..Settings::default() };
    let (plan, outcome) = bed.restored(&from, &settings).await;
    assert_eq!((plan.left_out, outcome.map.unmapped.len()), (2, 2));
    assert_eq!(bed.versions("orders").await, [(1, fixed("B"), false), (2, fixed("D"), false)]);
}

#[tokio::test]
async fn what_is_live_in_the_target_stays_live_and_what_is_deleted_there_comes_back() {
    let bed = Bed::new().await;
    bed.has("orders", &fixed("A")).await;
    bed.has("orders", &fixed("B")).await;
    bed.to.delete_version(&Subject::parse("orders"), 2, Deletion::Soft).await.expect("deleted");
    let from = kept(vec![deleted("orders", 1, 1, &fixed("A")), version("orders", 2, 2, &fixed("B"))]);
    bed.restored(&from, &Settings::default()).await;
    let live: Vec<_> = bed.versions("orders").await.into_iter().filter(|(_, _, deleted)| !deleted).collect();
    assert_eq!(live.iter().map(|(_, text, _)| text.as_str()).collect::<Vec<_>>(), [fixed("A"), fixed("B")]);
}

#[tokio::test]
async fn one_schema_under_several_numbers_comes_once_and_the_latest_stays_the_latest() {
    let bed = Bed::new().await;
    let from = kept(vec![
        deleted("orders", 1, 1, &fixed("A")),
        version("orders", 2, 2, &fixed("B")),
        version("orders", 3, 1, &fixed("A")),
    ]);
    let (plan, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_eq!(action(&plan, "orders", 1), Action::Shared);
    assert_eq!(bed.versions("orders").await, [(1, fixed("B"), false), (2, fixed("A"), false)]);
    assert_eq!(outcome.map.versions[&key("orders", 1)], key("orders", 2));
    let bed = Bed::new().await;
    let settings = Settings { ids: Ids::Forced, ..Settings::default() };
    bed.restored(&from, &settings).await;
    let expected = [(1, fixed("A"), true), (2, fixed("B"), false), (3, fixed("A"), false)];
    assert_eq!(bed.versions("orders").await, expected);
}

#[tokio::test]
async fn only_what_is_asked_for_comes_and_what_it_refers_to() {
    let bed = Bed::new().await;
    let from = kept(vec![
        version("common", 1, 1, &fixed("Common")),
        version("common", 2, 2, &fixed("Later")),
        referring("orders", 1, 3, &record("O", &[("c", "Common")]), &[("Common", "common", 1)]),
        version("orders", 2, 4, &fixed("Latest")),
        Item::Version(Schema { schema_type: "JSON".into(), ..schema("orders-json", 1, 5, "{}") }),
        version("orders-test", 1, 6, &fixed("Test")),
    ]);
    let subjects = Patterns::new(&["orders*".to_owned()], &["*-test".to_owned()]).expect("patterns");
    let types = vec![crate::schema::SchemaType::Avro];
    let settings = Settings { subjects: subjects.clone(), schema_types: types, ..Settings::default() };
    let (plan, outcome) = bed.restored(&from, &settings).await;
    let found: Vec<_> = plan.versions.iter().map(|version| version.key().to_string()).collect();
    assert_eq!(found, ["common version 1", "orders version 1", "orders version 2"]);
    assert_eq!(plan.versions[0].needed_by.as_deref(), Some("orders version 1"));
    assert_eq!(outcome.map.unmapped.iter().map(|id| id.id).collect::<Vec<_>>(), [2, 5, 6]);
    let bed = Bed::new().await;
    let settings = Settings { subjects, versions: Versions::Latest, ..Settings::default() };
    let (plan, _) = bed.restored(&from, &settings).await;
    assert_eq!(plan.versions.len(), 2, "{plan:?}");
}

#[tokio::test]
async fn settings_of_an_empty_registry_come_and_those_of_a_used_one_stay() {
    let items = || {
        vec![
            version("orders", 1, 1, &fixed("A")),
            version("alias", 1, 2, &fixed("B")),
            Item::Config(String::new(), config(json!({"compatibilityLevel": "FULL_TRANSITIVE"}))),
            Item::Config(
                "orders".into(),
                config(json!({"compatibilityLevel": "FORWARD", "normalize": true})),
            ),
            Item::Config("alias".into(), config(json!({"compatibilityLevel": "NONE", "alias": "orders"}))),
            Item::Mode("orders".into(), Mode::Readonly),
        ]
    };
    let level = async |bed: &Bed, place: &str| {
        let found = bed.to.config(&Subject::parse(place)).await.expect("asked");
        found.and_then(|found| found.get("compatibilityLevel").cloned())
    };
    let bed = Bed::behind(|_, _| None).await;
    let mapping = [("orders".to_owned(), "restored".to_owned())].into();
    let settings = Settings { subject_mapping: mapping, ..Settings::default() };
    bed.restored(&kept(items()), &settings).await;
    assert_eq!(level(&bed, "").await, Some("FULL_TRANSITIVE".into()));
    assert_eq!((level(&bed, "restored").await, level(&bed, "orders").await), (Some("FORWARD".into()), None));
    let alias = bed.to.config(&Subject::parse("alias")).await.expect("asked").expect("settings");
    assert_eq!(alias["alias"], "restored");
    assert_eq!(bed.mode("restored").await, None, "modes only where they are asked for");
    // The registry is used, and one subject is set to something.
    let bed = Bed::new().await;
    bed.has("other", &fixed("Other")).await;
    bed.level("orders", "BACKWARD").await;
    bed.restored(&kept(items()), &Settings::default()).await;
    assert_eq!(
        (level(&bed, "").await, level(&bed, "orders").await),
        (Some("NONE".into()), Some("BACKWARD".into()))
    );
    let settings = Settings { globals: Globals::Always, ..Settings::default() };
    bed.restored(&kept(items()), &settings).await;
    assert_eq!(level(&bed, "").await, Some("FULL_TRANSITIVE".into()));
    // Nothing but schemas.
    let bed = Bed::new().await;
    let settings = Settings { configs: Choice::Left, ..Settings::default() };
    let (plan, _) = bed.restored(&kept(items()), &settings).await;
    assert!(plan.configs.is_empty() && level(&bed, "orders").await.is_none());
}

#[tokio::test]
async fn what_an_alias_hides_in_the_target_is_written_itself() {
    let bed = Bed::new().await;
    bed.has("orders", &fixed("A")).await;
    bed.has("leads", &fixed("Other")).await;
    let alias = config(json!({"alias": "leads", "compatibilityLevel": "NONE"}));
    bed.to.set_config(&Subject::parse("orders"), &alias).await.expect("set");
    let from = kept(vec![version("orders", 1, 1, &fixed("A")), version("orders", 2, 2, &fixed("B"))]);
    let (plan, _) = bed.restored(&from, &Settings::default()).await;
    assert_eq!(action(&plan, "orders", 1), Action::Exists);
    let found = bed.to.config(&Subject::parse("orders")).await.expect("asked").expect("settings");
    assert_eq!(found["alias"], "leads", "it is put back");
    assert_eq!(bed.to.versions(&Subject::parse("leads")).await.expect("listed").len(), 1);
    bed.to.delete_config(&Subject::parse("orders")).await.expect("deleted");
    assert_eq!(bed.versions("orders").await.len(), 2);
}

#[tokio::test]
async fn an_archive_that_is_not_what_it_was_is_not_restored() {
    let twice = vec![version("orders", 1, 1, &fixed("A")), gone("orders", 1, 2, &fixed("B"))];
    let error = Side::kept(Arc::new(Shelf::of(HashMap::new())), twice).err().expect("refused");
    assert!(error.kind() == Kind::Damaged && error.to_string().contains("orders version 1"), "{error}");
    let other = Shelf::of([(key("orders", 1), schema("orders", 1, 1, &fixed("B")))].into());
    for shelf in [other, Shelf::of(HashMap::new())] {
        let from =
            Side::kept(Arc::new(shelf), vec![version("orders", 1, 1, &fixed("A"))]).expect("an archive");
        let bed = Bed::new().await;
        let error = refused(bed.restore(&from, &Settings::default()).await);
        assert_eq!(error.kind(), Kind::Damaged, "{error}");
        assert_eq!(bed.versions("orders").await, []);
    }
}

#[tokio::test]
async fn a_version_without_labels_does_not_get_those_of_the_one_before() {
    let bed = Bed::new().await;
    let labelled = Schema {
        metadata: Some(json!({"properties": {"owner": "me"}})),
        rule_set: Some(
            json!({"domainRules": [{"name": "r", "kind": "CONDITION", "mode": "WRITE", "type": "CEL", "expr": "true"}]}),
        ),
        ..schema("orders", 1, 1, &fixed("A"))
    };
    let from = kept(vec![Item::Version(labelled.clone()), version("orders", 2, 2, &fixed("B"))]);
    let (_, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_eq!(outcome.registered, 2);
    let bare = bed.to.version(&Subject::parse("orders"), 2).await.expect("there");
    assert!(crate::transfer::content::label_free(&bare), "{bare:?}");
    // Settings that would complete them are named.
    let completing =
        config(json!({"compatibilityLevel": "NONE", "overrideMetadata": {"properties": {"a": "b"}}}));
    let bed = Bed::new().await;
    bed.to.set_config(&Subject::parse(""), &completing).await.expect("set");
    let error = refused(bed.restore(&from, &Settings::default()).await);
    assert!(error.to_string().contains("overrideMetadata"), "{error}");
    bed.restored(&from, &Settings { ids: Ids::Forced, ..Settings::default() }).await;
}

#[tokio::test]
async fn what_somebody_registers_meanwhile_is_no_harm() {
    let bed = Bed::new().await;
    let from = kept(vec![version("orders", 1, 1, &fixed("A")), version("orders", 2, 2, &fixed("B"))]);
    let settings = Settings::default();
    let progress = Progress::default();
    let restore = bed.asked(&from, &settings, &progress);
    let mut journal = bed.journal().await;
    let plan = restore.plan(&journal).await.expect("planned");
    bed.has("orders", &fixed("X")).await;
    let b = bed.has("orders", &fixed("B")).await;
    let outcome = restore.run(&plan, &mut journal).await.expect("restored");
    assert_eq!(outcome.map.versions[&key("orders", 1)], key("orders", 3));
    assert_eq!(
        (outcome.map.versions[&key("orders", 2)].clone(), of(&outcome.map, 2)),
        (key("orders", 2), Some(b))
    );
    assert_readable(&from, &bed, &outcome.map).await;
    bed.restored(&from, &settings).await;
}

#[tokio::test]
async fn a_plan_touches_nothing_and_can_be_shown() {
    let bed = Bed::new().await;
    bed.has("orders", &fixed("X")).await;
    let from = kept(vec![
        version("orders", 1, 1, &fixed("A")),
        gone("orders", 2, 2, &fixed("B")),
        referring("top", 1, 3, "\"int\"", &[("n", "nowhere", 1)]),
    ]);
    let before = bed.server.asked().len();
    let plan = bed.plan(&from, &Settings::default()).await;
    let asked = bed.server.asked();
    assert!(asked[before..].iter().all(|asked| asked.method == "GET"), "{asked:?}");
    let json = serde_json::to_value(&plan).expect("JSON");
    assert_eq!(json["counts"], json!({"create": 2, "reference_missing": 1}));
    assert_eq!(json["versions"][0]["target_version"], 2);
    let text = plan.lines().join("\n");
    for part in
        ["register", "gone from the source", "reference missing", "-> register that version in the target"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

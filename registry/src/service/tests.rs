//! What the rules cost, and what they bound: scenarios show what they are.

use super::*;
use crate::live::bed::{Folder, Instance, referring, submitted, two};
use crate::store::memory::MemoryStore;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

async fn with(settings: Settings) -> Instance {
    Instance::open(Arc::new(MemoryStore::new(Uuid::new_v4())), settings).await
}

fn steps(instance: &Instance) -> u64 {
    instance.registry.work.steps.swap(0, Ordering::AcqRel)
}

fn texts(instance: &Instance) -> u64 {
    instance.bed.texts.swap(0, Ordering::AcqRel)
}

async fn set_config(instance: &Instance, subject: &str, update: ConfigUpdate) {
    let at = Subject::parse(subject);
    instance.registry.set_config(&at, subject, update).await.expect("a config");
}

fn level(name: &str) -> ConfigUpdate {
    ConfigUpdate { compatibility: Field::Set(name.into()), ..ConfigUpdate::default() }
}

/// A record that each of the others can read.
fn record(fields: usize) -> String {
    let fields: Vec<_> =
        (0..fields).map(|n| format!(r#"{{"name":"f{n}","type":"int","default":{n}}}"#)).collect();
    format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_subject_compares_once() {
    let one = Arc::new(with(Settings::default()).await);
    let all = (1..=60).map(|n| {
        let one = Arc::clone(&one);
        tokio::spawn(async move { one.register("a", &record(n)).await })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.expect("a task").expect("a version");
    }
    // Two readings for the fast way, before and after the wait, one in earnest, the version before, and one comparison.
    let steps = steps(&one);
    assert!(steps <= 60 * 5, "{steps}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_text_loads_none_that_cannot_be_it() {
    let (folder, one, _) = two().await;
    for n in 1..=40 {
        one.register("a", &record(n)).await.expect("a version");
    }
    let fresh = Instance::open(folder.store().await, Settings::default()).await;
    fresh.register("a", &record(41)).await.expect("a version");
    assert!(texts(&fresh) <= 2, "the version before, and what it is compared with");
    let subject = Subject::parse("a");
    fresh.registry.look_up(&subject, &submitted(&record(99)), false, false).await.expect_err("nothing");
    assert!(texts(&fresh) <= 1);
    // What is compared with all of them asks for many at once; so does a list.
    let fresh = Instance::open(folder.store().await, Settings::default()).await;
    set_config(&fresh, "a", level("BACKWARD_TRANSITIVE")).await;
    fresh.registry.check(&subject, &submitted(&record(50)), With::Level, false).await.expect("a verdict");
    assert!(texts(&fresh) <= 41 / 16 + 1);
    let fresh = Instance::open(folder.store().await, Settings::default()).await;
    let page = Page { offset: 0, limit: 1000 };
    assert_eq!(fresh.registry.schemas(&SchemaQuery::default(), page).await.expect("a list").len(), 41);
    assert!(texts(&fresh) <= 41 / 32 + 1);
    let pairs = [("no".to_owned(), "such".to_owned())];
    fresh.registry.by_metadata(&subject, &pairs, false).await.expect_err("nothing");
    assert_eq!(texts(&fresh), 0, "they are at hand");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_named_is_found_by_its_hash() {
    let one = with(Settings::default()).await;
    let asked = |text: &str, version| Submitted { version, ..submitted(text) };
    for n in 1..=5 {
        let registered = one.submit("a", asked(&record(n), i32::try_from(n).expect("few"))).await;
        assert!(registered.expect("a version").texts.metadata.is_some());
    }
    let again = one.register("a", &record(3)).await.expect("the same");
    assert_eq!((again.version, again.known), (3, true));
    let empty = Submitted { metadata: Some(Metadata::default()), ..submitted(&record(2)) };
    assert_eq!(one.submit("a", empty).await.expect("the same").version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_too_large_says_how_to_ask_for_a_part() {
    let one = with(Settings::default()).await;
    for n in 0..5 {
        let long =
            format!(r#"{{"type":"enum","name":"E","symbols":["A{n}"],"doc":"{}"}}"#, "d".repeat(300 << 10));
        one.register(&format!("s{n}"), &long).await.expect("a schema");
    }
    let list = async |limit| {
        one.registry
            .schemas(&SchemaQuery::default(), Page { offset: 1, limit })
            .await
            .map(|found| found.len())
    };
    let refused = list(1000).await.expect_err("too much");
    assert_eq!(refused.code(), 42209);
    assert!(refused.to_string().contains("limit=3"), "{refused}");
    assert_eq!(list(3).await.expect("a list"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_reads_a_text_once() {
    let one = with(Settings::default()).await;
    for n in 0..30 {
        one.register(&format!(":.c{n}:other"), "\"int\"").await.expect("a schema");
        one.register(&format!(":.d{n}:a"), "\"int\"").await.expect("a schema");
    }
    one.bed.share();
    steps(&one);
    let subject = Subject::parse("a");
    let missing = one.registry.look_up(&subject, &submitted("\"long\""), false, false).await;
    assert_eq!(missing.expect_err("nothing").code(), 40401);
    assert_eq!(steps(&one), 1);
    // With references it is read where the subject is, and nowhere else.
    let refers = referring("\"long\"", "x", "other", 1);
    one.register("other", "\"int\"").await.expect("a schema");
    steps(&one);
    one.registry.look_up(&subject, &refers, false, false).await.expect_err("nothing");
    assert_eq!(steps(&one), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_with_very_many_versions_ends() {
    const VERSIONS: usize = 60;
    let (folder, one, _) = two().await;
    set_config(&one, "a", level("NONE")).await;
    for n in 0..VERSIONS {
        one.register("a", &record(500 + n)).await.expect("a version");
    }
    set_config(&one, "a", level("FULL_TRANSITIVE")).await;
    let settings = Settings { work_allowance: Duration::from_millis(20), ..Settings::default() };
    let bounded = Instance::open(folder.store().await, settings).await;
    let error = bounded.register("a", &record(700)).await.expect_err("too much");
    assert!(error.code() == 42201 && error.message().contains("20 ms of work"), "{error}");
    let steps = steps(&bounded);
    assert!(steps < 2 * VERSIONS as u64, "it was stopped: {steps}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_with_a_schema_is_bounded() {
    let settings = Settings {
        max_references: 3,
        max_dependency_bytes: 4_000,
        max_label_bytes: 1_000,
        ..Settings::default()
    };
    let one = with(settings).await;
    let refused = async |submitted: Submitted, words: &str| {
        let error = one.submit("a", submitted.clone()).await.expect_err("a refusal");
        assert!(error.code() == 42201 && error.message().contains(words), "{words}: {error}");
        let subject = Subject::parse("a");
        let checked = one.registry.check(&subject, &submitted, With::Level, false).await;
        assert_eq!(checked.expect_err("a refusal").code(), 42201);
    };
    one.register("dep", "\"int\"").await.expect("a schema");
    one.register("large", &record(200)).await.expect("a schema");
    let mut same = referring("\"int\"", "x", "dep", 1);
    same.references = vec![same.references[0].clone(); 4];
    refused(same, "4 references").await;
    refused(referring("\"int\"", "R", "large", 1), "4000 bytes of text").await;
    let tags = BTreeMap::from([("t".repeat(2000), Default::default())]);
    let metadata = Metadata { tags: Some(tags), ..Metadata::default() };
    refused(Submitted { metadata: Some(metadata.clone()), ..submitted("\"int\"") }, "metadata and rules")
        .await;
    let update = ConfigUpdate { default_metadata: Field::Set(metadata), ..ConfigUpdate::default() };
    let config = one.registry.set_config(&Subject::parse("a"), "a", update).await;
    assert_eq!(config.expect_err("a refusal").code(), 42201);
}

#[test]
fn everything_in_labels_counts() {
    let long = || "x".repeat(1000);
    let names = || Some([long()].into());
    let pairs = || Some([(long(), long())].into());
    let metadata =
        Metadata { tags: Some([(long(), [long()].into())].into()), properties: pairs(), sensitive: names() };
    assert!(metadata.bytes() >= 5_000);
    let rule = crate::schema::Rule {
        name: long(),
        doc: Some(long()),
        kind: None,
        mode: None,
        rule_type: Some(long()),
        tags: names(),
        params: pairs(),
        expr: Some(long()),
        on_success: Some(long()),
        on_failure: Some(long()),
        disabled: false,
    };
    let rules = RuleSet {
        migration_rules: Some(vec![rule.clone()]),
        domain_rules: Some(vec![rule.clone()]),
        encoding_rules: Some(vec![rule]),
        enable_at: Some(long()),
    };
    assert!(rules.bytes() >= 3 * 9_000 + 1_000);
    let texts = Texts {
        canonical: long().into(),
        submitted: Some(long().into()),
        metadata: Some(Arc::new(metadata.clone())),
        rule_set: Some(Arc::new(rules.clone())),
    };
    assert_eq!(texts.bytes(), 2_000 + metadata.bytes() + rules.bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_found_is_looked_for_in_the_store() {
    let (_folder, one, other) = two().await;
    let subject = Subject::parse("a");
    other.registry.live().confirm().await.expect("a look");
    let labels = Metadata { properties: Some([("k".into(), "v".into())].into()), ..Metadata::default() };
    one.submit("a", Submitted { metadata: Some(labels), ..submitted("\"int\"") }).await.expect("a schema");
    let pairs = [("k".to_owned(), "v".to_owned())];
    other.registry.by_metadata(&subject, &pairs, false).await.expect("by its metadata");
    one.register("b", "\"int\"").await.expect("a schema");
    let verdict =
        other.registry.check(&Subject::parse("b"), &submitted("\"bytes\""), With::Level, false).await;
    assert!(!verdict.expect("a verdict").is_compatible(), "nothing to compare with is never an old answer");
    one.register("c", "\"int\"").await.expect("a schema");
    other
        .registry
        .look_up(&Subject::parse("c"), &submitted("\"int\""), false, false)
        .await
        .expect("a version");
}

/// A thousand times the same, through three instances, and as many times something else into one subject.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_all_write_to_has_every_version_once() {
    let folder = Folder::new();
    let mut instances = Vec::new();
    for _ in 0..2 {
        instances.push(Arc::new(Instance::open(folder.store().await, Settings::default()).await));
    }
    let all = (0..60).map(|n| {
        let instance = Arc::clone(&instances[n % 2]);
        tokio::spawn(async move { instance.register("a", &record(1 + n / 2)).await })
    });
    let mut found: BTreeMap<i32, Vec<SchemaId>> = BTreeMap::new();
    for one in all.collect::<Vec<_>>() {
        let registered = one.await.expect("a task").expect("a version");
        found.entry(registered.version).or_default().push(registered.schema.id);
    }
    assert_eq!(found.len(), 30, "{found:?}");
    for (version, ids) in found {
        assert!(ids.len() == 2 && ids[0] == ids[1], "version {version} has ids {ids:?}");
    }
}

const LETTERS: &str = "[!-;a-c.]{0,3}";

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// The list is the sorted list of all names, whatever the names are, and a page is a part of it.
    #[test]
    fn a_page_is_a_part_of_the_sorted_list(
        names in prop::collection::btree_set((prop::option::of("[!-9a-c.]{1,3}"), LETTERS), 1..25),
        prefix in LETTERS,
        offset in 0_usize..10,
        limit in 1_usize..10,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let one = with(Settings::default()).await;
            let mut all = Vec::new();
            for (context, name) in names {
                let context = context.map_or_else(String::new, |context| format!(":.{context}:"));
                let subject = Subject::parse(&format!("{context}{name}"));
                one.registry.register(&subject, "s", &submitted("\"int\""), false).await.expect("a schema");
                all.push(subject);
            }
            all.sort_by_key(Subject::to_string);
            all.dedup();
            let whole = Page { offset: 0, limit: usize::MAX };
            for (asked, kept) in [
                (":*:".to_owned(), Box::new(|_: &Subject| true) as Box<dyn Fn(&Subject) -> bool>),
                (format!(":*:{prefix}"), Box::new(|subject: &Subject| subject.name.starts_with(&prefix))),
            ] {
                let wanted: Vec<String> =
                    all.iter().filter(|subject| kept(subject)).map(Subject::to_string).collect();
                let found = one.registry.subjects(&asked, Listed::Live, whole).await.expect("a list");
                prop_assert_eq!(&found, &wanted, "{}", asked);
                let part: Vec<String> = wanted.iter().skip(offset).take(limit).cloned().collect();
                let page = Page { offset, limit };
                prop_assert_eq!(&one.registry.subjects(&asked, Listed::Live, page).await.expect("a list"), &part);
                let query = SchemaQuery { prefix: asked, ..SchemaQuery::default() };
                let found = one.registry.schemas(&query, page).await.expect("a list");
                let found: Vec<String> = found.iter().map(|(entity, _)| entity.subject.to_string()).collect();
                prop_assert_eq!(&found, &part);
            }
            Ok(())
        })?;
    }
}

/// A store's ids are given one way: another instance with the other setting neither opens it nor writes to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_keeps_its_identity() {
    for identity in [Identity::Confluent, Identity::Axonops] {
        let (settings, other) = (
            Settings { identity, ..Settings::default() },
            Settings { identity: identity.other(), ..Settings::default() },
        );
        let folder = Folder::new();
        let one = Instance::open(folder.store().await, settings).await;
        let two = Instance::open(folder.store().await, other.clone()).await;
        one.register("a", "\"int\"").await.expect("a version");
        let refused = two.register("a", "\"long\"").await.expect_err("not in this store");
        assert!(refused.code() == 50001 && refused.message().contains(identity.name()), "{refused:?}");
        let opened = Registry::open(folder.store().await, other, || 1).await.err().expect("no registry");
        assert!(opened.message().contains(identity.name()), "{opened:?}");
        one.register("a", "[\"int\",\"long\"]").await.expect("another version");
    }
}

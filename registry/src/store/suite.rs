//! The tests that every store passes.

use super::{
    Change, Commit, Guard, Head, Heads, Key, SchemaKey, SchemaRow, Store, StoreError, Texts, VersionRow,
};
use crate::identity;
use crate::names::Context;
use crate::schema::{Metadata, Reference, SchemaType};
use crate::settings::{Config, Level, Mode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

fn context(name: &str) -> Context {
    Context::named(name).expect("a context")
}

/// A version with its schema.
fn version(subject: &str, version: i32, id: u32) -> VersionRow {
    VersionRow {
        subject: subject.into(),
        version,
        schema: SchemaKey::of(id),
        deleted: false,
        time_ms: 1_700_000_000_000 + i64::from(id),
    }
}

fn schema(id: u32, text: &str) -> (SchemaRow, Texts) {
    let guid = identity::guid(text, &[], None, None);
    let row = SchemaRow {
        key: SchemaKey::of(id),
        guid,
        identity: *guid.as_bytes(),
        schema_type: SchemaType::Json,
        references: Arc::new([Reference { name: "n".into(), subject: ":.x:ß".into(), version: 3 }]),
    };
    let metadata = Metadata { properties: Some([("a".into(), "b".into())].into()), ..Metadata::default() };
    let texts = Texts {
        canonical: text.into(),
        submitted: id.is_multiple_of(2).then(|| format!(" {text}").into()),
        metadata: id.is_multiple_of(3).then(|| Arc::new(metadata)),
        rule_set: None,
    };
    (row, texts)
}

fn commit(context: &Context, expected: Head, changes: Vec<Change>, texts: Vec<Texts>) -> Commit {
    let ids = changes
        .iter()
        .filter_map(|change| if let Change::Schema(row) = change { Some(row.key.id + 1) } else { None });
    let next_id = ids.fold(expected.next_id, u32::max);
    Commit {
        context: context.clone(),
        expected,
        guards: Vec::new(),
        links_seen: None,
        adds_links: false,
        attempt: Uuid::new_v4(),
        next_id,
        changes,
        texts,
    }
}

async fn head(store: &dyn Store, context: &Context) -> Head {
    store.heads().await.expect("heads").contexts.get(context).copied().unwrap_or(Head::EMPTY)
}

/// What a context holds, put together from its changes since a revision.
async fn rows(store: &dyn Store, context: &Context, since: Head) -> BTreeMap<String, Change> {
    let (_, changes) = store.changes(context, since).await.expect("changes");
    changes.into_iter().map(|change| (super::described(context, &change), change)).collect()
}

/// Everything but races. `name` makes the contexts of this run its own, where the store is shared.
pub async fn passes(store: &dyn Store, name: &str) {
    keeps_what_it_was_given(store, &context(&format!("{name}-kept"))).await;
    refuses_what_is_stale(store, &context(&format!("{name}-stale"))).await;
    guards_rows(store, &context(&format!("{name}-guarded")), &context(&format!("{name}-relied-on"))).await;
    counts_links(store, &context(&format!("{name}-links")), &context(&format!("{name}-linked"))).await;
    tells_histories_apart(store, &context(&format!("{name}-history"))).await;
    tells_subjects_apart(store, &context(&format!("{name}-names"))).await;
    takes_large_texts(store, &context(&format!("{name}-large"))).await;
    takes_the_last_of_a_key(store, &context(&format!("{name}-last"))).await;
    keeps_variants(store, &context(&format!("{name}-variants"))).await;
    takes_many_rows(store, &context(&format!("{name}-many"))).await;
}

async fn keeps_what_it_was_given(store: &dyn Store, context: &Context) {
    assert_eq!(store.changes(context, Head::EMPTY).await.expect("empty"), (Head::EMPTY, Vec::new()));
    let (row, texts) = schema(1, "{\"type\":\"string\"}");
    let (second, more) = schema(6, "{\"π\":\"\\u0000😀\\\\\"}");
    let config = Config {
        compatibility_level: Some(Level::FullTransitive),
        alias: Some("ä".into()),
        ..Config::default()
    };
    let changes = vec![
        Change::Listed(true),
        Change::Schema(row.clone()),
        Change::Schema(second.clone()),
        Change::Version(version("a", 1, 1)),
        Change::Version(version("a", 2, 6)),
        Change::Config("a".into(), Some(Box::new(config.clone()))),
        Change::Mode("".into(), Some(Mode::Import)),
    ];
    let first = commit(context, Head::EMPTY, changes.clone(), vec![texts.clone(), more.clone()]);
    let now = store.commit(&first).await.expect("a first commit");
    assert_eq!(now, Head { revision: 1, attempt: first.attempt, next_id: 7 });
    assert_eq!(head(store, context).await, now);
    let expected: BTreeMap<_, _> =
        changes.into_iter().map(|change| (super::described(context, &change), change)).collect();
    assert_eq!(rows(store, context, Head::EMPTY).await, expected);
    let mut found = store.texts(context, &[6, 1, 99].map(SchemaKey::of)).await.expect("texts");
    found.sort_by_key(|(key, _)| *key);
    assert_eq!(found, [(SchemaKey::of(1), texts), (SchemaKey::of(6), more)]);

    // Removed and changed rows are told to those who have seen the others, and to nobody else.
    let mut deleted = version("a", 1, 1);
    deleted.deleted = true;
    let changes = vec![
        Change::Version(deleted.clone()),
        Change::VersionGone { subject: "a".into(), version: 2 },
        Change::SchemaGone(SchemaKey::of(6)),
        Change::Config("a".into(), None),
        Change::Mode("".into(), Some(Mode::Readonly)),
    ];
    let second = commit(context, now, changes.clone(), Vec::new());
    let (seen, now) = (now, store.commit(&second).await.expect("a second commit"));
    let (at, told) = store.changes(context, seen).await.expect("changes");
    assert_eq!(at, now);
    let told: BTreeMap<_, _> =
        told.into_iter().map(|change| (super::described(context, &change), change)).collect();
    let expected: BTreeMap<_, _> =
        changes.into_iter().map(|change| (super::described(context, &change), change)).collect();
    if store.is_shared() {
        assert_eq!(told, expected);
    }
    assert_eq!(store.changes(context, now).await.expect("none").1, Vec::new());
    assert!(store.texts(context, &[SchemaKey::of(6)]).await.expect("gone").is_empty());
    // The number of a version, and even a subject, may come back.
    let (row, texts) = schema(7, "true");
    let changes = vec![Change::Schema(row), Change::Version(version("a", 2, 7))];
    store.commit(&commit(context, now, changes, vec![texts])).await.expect("a third commit");
    let again = rows(store, context, Head::EMPTY).await;
    assert!(again.values().any(|change| *change == Change::Version(version("a", 2, 7))), "{again:?}");
    assert!(again.values().any(|change| *change == Change::Version(deleted.clone())), "{again:?}");
}

async fn refuses_what_is_stale(store: &dyn Store, context: &Context) {
    let listed = || vec![Change::Listed(true)];
    let first = store.commit(&commit(context, Head::EMPTY, listed(), Vec::new())).await.expect("a commit");
    let again = store.commit(&commit(context, Head::EMPTY, listed(), Vec::new())).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
    let forked = Head { attempt: Uuid::new_v4(), ..first };
    let again = store.commit(&commit(context, forked, listed(), Vec::new())).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "another history of the same length: {again:?}");
    let ahead = Head { revision: first.revision + 5, ..first };
    let again = store.commit(&commit(context, ahead, listed(), Vec::new())).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "a revision that never was: {again:?}");
    assert_eq!(head(store, context).await, first);
}

/// A commit relies on rows of another context, and not on that context as a whole.
async fn guards_rows(store: &dyn Store, context: &Context, other: &Context) {
    let (row, texts) = schema(1, "1");
    let changes = vec![Change::Schema(row), Change::Version(version("dep", 1, 1))];
    let dep = commit(other, Head::EMPTY, changes, vec![texts]);
    let seen = store.commit(&dep).await.expect("a commit");
    let rows_of = |key: &Key| [Key::Config("".into()), Key::Mode("".into()), key.clone()].into();
    let mut now = Head::EMPTY;
    let mut try_with = async |guard: Guard, fits: bool| {
        let mode = Change::Mode("m".into(), Some(Mode::Import));
        let guarded = Commit { guards: vec![guard], ..commit(context, now, vec![mode], Vec::new()) };
        match store.commit(&guarded).await {
            Ok(head) => {
                assert!(fits, "{:?} was outdated", guarded.guards);
                now = head;
            }
            Err(StoreError::Conflict) => assert!(!fits, "{:?} was not outdated", guarded.guards),
            Err(error) => panic!("{error}"),
        }
    };
    let key = Key::Version("dep".into(), 1);
    let guard = |seen: Head| Guard { context: other.clone(), seen: seen.revision, rows: rows_of(&key) };
    try_with(guard(seen), true).await;
    let before = Guard { seen: 0, ..guard(seen) };
    try_with(before, false).await;
    let never = Guard { seen: 9, ..guard(seen) };
    try_with(never, false).await;
    let nothing =
        Guard { context: Context::named("never-written").expect("a context"), ..guard(Head::EMPTY) };
    try_with(nothing, true).await;
    // What else is written there does not count.
    let elsewhere = vec![
        Change::Listed(true),
        Change::Version(version("dep", 2, 1)),
        Change::Config("dep".into(), Some(Box::default())),
        Change::Mode("dep".into(), Some(Mode::Readonly)),
    ];
    let later = store.commit(&commit(other, seen, elsewhere, Vec::new())).await.expect("a commit");
    try_with(guard(seen), true).await;
    let mut at = later;
    for change in [
        Change::Config("".into(), Some(Box::default())),
        Change::Config("".into(), None),
        Change::Mode("".into(), Some(Mode::Readonly)),
        Change::Version(VersionRow { deleted: true, ..version("dep", 1, 1) }),
        Change::VersionGone { subject: "dep".into(), version: 1 },
    ] {
        let after = store.commit(&commit(other, at, vec![change], Vec::new())).await.expect("a commit");
        try_with(guard(at), false).await;
        at = after;
    }
}

/// References between contexts are counted, and who removes something relies on that number.
async fn counts_links(store: &dyn Store, context: &Context, other: &Context) {
    let links = async || store.heads().await.expect("heads").links;
    let before = links().await;
    let listed = || vec![Change::Listed(true)];
    let linking = Commit { adds_links: true, ..commit(context, Head::EMPTY, listed(), Vec::new()) };
    let first = store.commit(&linking).await.expect("a commit");
    let seen = links().await;
    assert!(seen > before, "{seen}");
    let heads = store.heads().await.expect("heads").contexts;
    assert_eq!(heads[context], first);
    let unlinked = Commit { links_seen: Some(before), ..commit(other, Head::EMPTY, listed(), Vec::new()) };
    assert!(matches!(store.commit(&unlinked).await, Err(StoreError::Conflict)));
    // Both at once, as an import that overwrites may have it.
    let both = Commit { links_seen: Some(seen), adds_links: true, ..unlinked };
    store.commit(&both).await.expect("a commit");
    assert!(links().await > seen);
}

/// Who has seen another history must not go on from there.
async fn tells_histories_apart(store: &dyn Store, context: &Context) {
    let first = first_commit("any");
    let first = Commit { context: context.clone(), ..first };
    store.commit(&first).await.expect("a commit");
    let second = next_commit(&first);
    store.commit(&second).await.expect("a second commit");
    let stranger = Uuid::new_v4();
    assert_eq!(store.changes(context, first.head()).await.expect("changes").0, second.head());
    let forked = [
        Head { attempt: stranger, ..second.head() },
        Head { revision: 9, attempt: stranger, next_id: 9 },
        Head { attempt: stranger, ..first.head() },
    ];
    // Nobody puts an older copy of the memory in place.
    for seen in forked.into_iter().take(if store.is_shared() { 3 } else { 2 }) {
        let told = store.changes(context, seen).await;
        assert!(matches!(told, Err(StoreError::Forked(_))), "{seen:?}: {told:?}");
    }
    let gone = Context::named(&format!("{}-gone", context.as_str())).expect("a context");
    let told = store.changes(&gone, first.head()).await;
    assert!(matches!(told, Err(StoreError::Forked(_))), "{told:?}");
}

async fn tells_subjects_apart(store: &dyn Store, context: &Context) {
    let long = "s".repeat(249);
    let names = [
        "Foo",
        "foo",
        "foo ",
        "FOO",
        "é",
        "e\u{301}",
        "a/b",
        "a%2Fb",
        "'; DROP TABLE x; --",
        "ß",
        "ss",
        "😀",
        &long,
    ];
    let (row, texts) = schema(1, "1");
    let mut changes = vec![Change::Schema(row)];
    changes.extend(names.iter().map(|name| Change::Version(version(name, 1, 1))));
    changes.extend(names.iter().map(|name| Change::Mode((*name).into(), Some(Mode::Readonly))));
    changes.extend(names.iter().map(|name| {
        Change::Config(
            (*name).into(),
            Some(Box::new(Config { alias: Some((*name).into()), ..Config::default() })),
        )
    }));
    let expected: BTreeMap<_, _> =
        changes.iter().map(|change| (super::described(context, change), change.clone())).collect();
    assert_eq!(expected.len(), 1 + 3 * names.len());
    store.commit(&commit(context, Head::EMPTY, changes, vec![texts])).await.expect("a commit");
    assert_eq!(rows(store, context, Head::EMPTY).await, expected);
}

async fn takes_large_texts(store: &dyn Store, context: &Context) {
    let (row, mut texts) = schema(1, "x");
    texts.canonical = "ü".repeat(1 << 20).into();
    texts.submitted = Some("\"".repeat(2 << 20).into());
    let changes = vec![Change::Schema(row), Change::Version(version("s", 1, 1))];
    let large = commit(context, Head::EMPTY, changes, vec![texts.clone()]);
    store.commit(&large).await.expect("a commit");
    // Printed, these would be megabytes.
    assert!(store.texts(context, &[SchemaKey::of(1)]).await.expect("texts") == [(SchemaKey::of(1), texts)]);
}

/// One subject `s` with one version, in a context of this name that was never written to.
pub fn first_commit(name: &str) -> Commit {
    let (row, texts) = schema(1, "true");
    let changes = vec![Change::Listed(true), Change::Version(version("s", 1, 1)), Change::Schema(row)];
    commit(&context(name), Head::EMPTY, changes, vec![texts])
}

/// A commit that follows another one.
pub fn next_commit(before: &Commit) -> Commit {
    let (row, texts) = schema(before.next_id, &before.next_id.to_string());
    let row_of = version("s", i32::try_from(row.key.id).expect("few"), row.key.id);
    commit(&before.context, before.head(), vec![Change::Schema(row), Change::Version(row_of)], vec![texts])
}

/// What a store held when it was last looked at.
#[derive(Debug)]
pub struct Held {
    context: Context,
    heads: Heads,
    rows: BTreeMap<String, Change>,
    texts: Vec<(SchemaKey, Texts)>,
}

impl Held {
    /// The same store, opened again, holds the same and goes on from there.
    pub async fn is_kept_by(self, store: &dyn Store) {
        assert_eq!(store.heads().await.expect("heads"), self.heads);
        assert_eq!(rows(store, &self.context, Head::EMPTY).await, self.rows);
        assert_eq!(store.texts(&self.context, &[SchemaKey::of(1)]).await.expect("texts"), self.texts);
        let seen = self.heads.contexts[&self.context];
        store.commit(&commit(&self.context, seen, Vec::new(), Vec::new())).await.expect("a next commit");
    }

    /// The head of a store that was put back to this state has gone back, which is how it is noticed.
    pub async fn was_put_back_in(&self, store: &dyn Store, newer: Head) {
        let heads = store.heads().await.expect("heads");
        assert_eq!(heads, self.heads);
        assert!(heads.contexts[&self.context].revision < newer.revision);
        let stale = commit(&self.context, newer, Vec::new(), Vec::new());
        assert!(matches!(store.commit(&stale).await, Err(StoreError::Conflict)));
    }

    /// Moves the context on.
    pub async fn is_outdated_by_a_commit(&self, store: &dyn Store) -> Head {
        let seen = self.heads.contexts[&self.context];
        store.commit(&commit(&self.context, seen, Vec::new(), Vec::new())).await.expect("a commit")
    }
}

/// Writes something to be found again by [`Held::is_kept_by`].
pub async fn survives_reopening(store: &dyn Store, name: &str) -> Held {
    let context = context(&format!("{name}-reopened"));
    let mut first = first_commit("any");
    first.context = context.clone();
    store.commit(&first).await.expect("a commit");
    Held {
        heads: store.heads().await.expect("heads"),
        rows: rows(store, &context, Head::EMPTY).await,
        texts: store.texts(&context, &[SchemaKey::of(1)]).await.expect("texts"),
        context,
    }
}

/// The same key several times in a commit: the last one wins, also over what is gone.
async fn takes_the_last_of_a_key(store: &dyn Store, context: &Context) {
    let (row, texts) = schema(1, "1");
    let (other, more) = schema(2, "2");
    let changes = vec![
        Change::Schema(row.clone()),
        Change::Version(version("s", 1, 2)),
        Change::Schema(other),
        Change::SchemaGone(SchemaKey::of(2)),
        Change::VersionGone { subject: "s".into(), version: 1 },
        Change::Version(version("s", 1, 1)),
        Change::Mode("s".into(), Some(Mode::Import)),
        Change::Mode("s".into(), None),
        Change::Listed(true),
        Change::Listed(false),
    ];
    let first = commit(context, Head::EMPTY, changes, vec![texts, more]);
    let now = store.commit(&first).await.expect("a commit");
    let (_, told) = store.changes(context, Head::EMPTY).await.expect("changes");
    assert!(told.contains(&Change::Schema(row.clone())), "{told:?}");
    assert!(told.contains(&Change::Version(version("s", 1, 1))), "{told:?}");
    assert!(told.contains(&Change::Listed(false)), "{told:?}");
    assert!(
        !told.contains(&Change::Listed(true))
            && !told.contains(&Change::Mode("s".into(), Some(Mode::Import)))
    );
    assert!(store.texts(context, &[SchemaKey::of(2)]).await.expect("texts").is_empty());
    // What refers comes after what is referred to.
    let place = |wanted: fn(&Change) -> bool| told.iter().position(wanted).expect("one of them");
    let (schema, version) =
        (place(|c| matches!(c, Change::Schema(_))), place(|c| matches!(c, Change::Version(_))));
    assert!(schema < version && version < place(|c| matches!(c, Change::Listed(_))), "{told:?}");
    // An id that comes back, as an import may have it, has its new texts.
    let (row, texts) = self::schema(2, "two");
    let changes = vec![Change::Schema(row), Change::Version(self::version("s", 2, 2))];
    let back = commit(context, now, changes, vec![texts.clone()]);
    store.commit(&back).await.expect("a commit");
    assert_eq!(store.texts(context, &[SchemaKey::of(2)]).await.expect("texts"), [(SchemaKey::of(2), texts)]);
}

/// Several texts of one id, as AxonOps' identity has them. Confluent's records cannot hold that, and a store of them says so.
async fn keeps_variants(store: &dyn Store, context: &Context) {
    let (row, texts) = schema(1, "1");
    let (mut other, more) = schema(1, "one");
    other.key.variant = 7;
    let mut second = version("s", 2, 1);
    second.schema = other.key;
    let changes = vec![
        Change::Schema(row.clone()),
        Change::Schema(other.clone()),
        Change::Version(version("s", 1, 1)),
        Change::Version(second.clone()),
    ];
    let first = commit(context, Head::EMPTY, changes, vec![texts.clone(), more.clone()]);
    if store.backend() == "kafka" {
        let refused = store.commit(&first).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
        return;
    }
    let now = store.commit(&first).await.expect("a commit");
    let (_, told) = store.changes(context, Head::EMPTY).await.expect("changes");
    for wanted in [Change::Schema(row.clone()), Change::Schema(other.clone()), Change::Version(second)] {
        assert!(told.contains(&wanted), "{wanted:?} {told:?}");
    }
    let keys = [row.key, other.key];
    let mut found = store.texts(context, &keys).await.expect("texts");
    found.sort_by_key(|(key, _)| *key);
    assert_eq!(found, [(row.key, texts.clone()), (other.key, more)]);
    let changes =
        vec![Change::VersionGone { subject: "s".into(), version: 2 }, Change::SchemaGone(other.key)];
    store.commit(&commit(context, now, changes, Vec::new())).await.expect("a removal");
    let (_, told) = store.changes(context, now).await.expect("changes");
    assert!(told.contains(&Change::SchemaGone(other.key)) || !store.is_shared(), "{told:?}");
    assert_eq!(store.texts(context, &keys).await.expect("texts"), [(row.key, texts)]);
}

/// More rows than fit into one statement or one message, in one commit and in one question.
async fn takes_many_rows(store: &dyn Store, context: &Context) {
    const COUNT: u32 = 3_000;
    let (mut changes, mut all) = (Vec::new(), Vec::new());
    for id in 1..=COUNT {
        let (row, texts) = schema(id, &format!("\"{id}\""));
        changes.push(Change::Schema(row));
        changes.push(Change::Version(version(
            &format!("subject {}", id % 7),
            i32::try_from(id).expect("few"),
            id,
        )));
        all.push((SchemaKey::of(id), texts));
    }
    let expected: BTreeMap<_, _> =
        changes.iter().map(|change| (super::described(context, change), change.clone())).collect();
    let texts = all.iter().map(|(_, texts)| texts.clone()).collect();
    store.commit(&commit(context, Head::EMPTY, changes, texts)).await.expect("a commit");
    assert_eq!(rows(store, context, Head::EMPTY).await, expected);
    let keys: Vec<_> = (1..=COUNT).map(SchemaKey::of).collect();
    let mut found = store.texts(context, &keys).await.expect("texts");
    found.sort_by_key(|(key, _)| *key);
    assert_eq!(found, all);
}

/// `writers` take ids in turn, each as often as it says, through one store or several on the same database. Ids come out
/// without gaps, and nobody's commit is lost. All rely on the settings of one other context, as registrations do.
pub async fn survives_races(stores: Vec<Arc<dyn Store>>, name: &str, writers: u32, each: u32) {
    survives_disagreement(stores, name, writers, each, 0).await;
}

/// The same, where the nodes of a store are far apart and may fail to agree in time: nothing was written then, and a writer tries
/// again as a client does, `patience` times at most.
pub async fn survives_disagreement(
    stores: Vec<Arc<dyn Store>>,
    name: &str,
    writers: u32,
    each: u32,
    patience: u32,
) {
    let (context, other) = (context(&format!("{name}-races")), context(&format!("{name}-settings")));
    let rows = BTreeSet::from([Key::Config("".into()), Key::Mode("".into())]);
    let guard = Guard { context: other, seen: 0, rows };
    let work = stores.iter().cycle().zip(0..writers).map(|(store, writer)| {
        let (store, context, guard) = (Arc::clone(store), context.clone(), guard.clone());
        tokio::spawn(async move {
            let mut patience = patience;
            for n in 0..each {
                loop {
                    let seen = head(&*store, &context).await;
                    let (row, texts) = schema(seen.next_id, &format!("{writer} {n}"));
                    let changes = vec![
                        Change::Version(version(
                            &format!("writer {writer}"),
                            i32::try_from(n).expect("few") + 1,
                            row.key.id,
                        )),
                        Change::Schema(row),
                    ];
                    let mut commit = commit(&context, seen, changes, vec![texts]);
                    commit.guards.push(guard.clone());
                    match store.commit(&commit).await {
                        Ok(_) => break,
                        Err(StoreError::Conflict) => {}
                        Err(StoreError::Unavailable(_)) if patience > 0 => patience -= 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        })
    });
    for done in work.collect::<Vec<_>>() {
        done.await.expect("a writer");
    }
    let (now, changes) = stores[0].changes(&context, Head::EMPTY).await.expect("changes");
    let total = writers * each;
    assert_eq!((now.revision, now.next_id), (u64::from(total), total + 1));
    let mut ids: Vec<u32> = changes
        .iter()
        .filter_map(|change| if let Change::Version(row) = change { Some(row.schema.id) } else { None })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=total).collect::<Vec<_>>());
}

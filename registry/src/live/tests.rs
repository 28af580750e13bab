//! Two instances on one store, and what may happen at the worst moment.

use super::bed::{Bed, Folder, Instance, referring, submitted, two};
use super::*;
use crate::names::Subject;
use crate::service::{ConfigUpdate, Deletion, Field, Settings, Submitted};
use crate::settings::Mode;
use crate::store::memory::MemoryStore;
use crate::store::{Commit, Heads, StoreError};
use std::sync::atomic::AtomicUsize;
use std::time::Instant;
use uuid::Uuid;

mod random;

fn context(name: &str) -> Context {
    Context::named(name).expect("a context")
}

async fn in_memory() -> Instance {
    Instance::open(Arc::new(MemoryStore::new(Uuid::new_v4())), Settings::default()).await
}

async fn delete(instance: &Instance, subject: &str) {
    let subject = Subject::parse(subject);
    for deletion in [Deletion::Soft, Deletion::Permanent] {
        instance.registry.delete_subject(&subject, deletion).await.expect("a deletion");
    }
}

async fn set_mode(instance: &Instance, subject: &str, mode: Mode) {
    let at = Subject::parse(subject);
    instance.registry.set_mode(&at, subject, Some(mode), true).await.expect("a mode");
}

/// Changes a context behind the back of an instance.
async fn commit_behind(store: &Arc<dyn Store>, context: &Context, changes: Vec<Change>) {
    loop {
        let head = store.heads().await.expect("heads").contexts.get(context).copied().unwrap_or(Head::EMPTY);
        let commit = Commit {
            context: context.clone(),
            expected: head,
            guards: Vec::new(),
            links_seen: None,
            adds_links: false,
            attempt: Uuid::new_v4(),
            next_id: head.next_id,
            changes: changes.clone(),
            texts: Vec::new(),
        };
        match store.commit(&commit).await {
            Err(StoreError::Conflict) => {}
            done => {
                done.expect("a commit");
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_commit_during_a_look_is_no_other_store() {
    let (_folder, one, _) = two().await;
    let (begun, go_on) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let hooks = (Arc::clone(&begun), Arc::clone(&go_on));
    let first = Arc::new(AtomicUsize::new(0));
    one.bed.after_heads(move |()| {
        let (begun, go_on) = (Arc::clone(&hooks.0), Arc::clone(&hooks.1));
        let stops = first.fetch_add(1, Ordering::AcqRel) == 0;
        Box::pin(async move {
            if stops {
                begun.notify_one();
                go_on.notified().await;
            }
            Ok(())
        })
    });
    let live = Arc::clone(one.registry.live());
    let look = tokio::spawn(async move { live.confirm().await });
    begun.notified().await;
    let change = |draft: &mut Draft<'_>| {
        draft.put(Change::Listed(true));
        Ok(())
    };
    one.registry.live().write(&context("c"), Scope::Context, 0, change).await.expect("a commit");
    go_on.notify_one();
    look.await.expect("a task").expect("a look");
    assert_eq!(one.registry.live().broken(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_given_again_is_the_new_schema_everywhere() {
    let (_folder, one, other) = two().await;
    one.register("dep", "\"bytes\"").await.expect("a schema");
    one.submit("a", referring("\"int\"", "x", "dep", 1)).await.expect("a schema");
    let before = other.registry.schema(2, None).await.expect("the schema");
    assert_eq!(&*before.texts.canonical, "\"int\"");
    delete(&one, "a").await;
    set_mode(&one, "b", Mode::Import).await;
    let import = Submitted { id: Some(2), ..submitted("\"long\"") };
    assert_eq!(one.submit("b", import).await.expect("an import").schema.id, 2);
    other.registry.live().confirm().await.expect("a look");
    let after = other.registry.schema(2, None).await.expect("the schema");
    assert_eq!((&*after.texts.canonical, after.references.len()), ("\"long\"", 0));
    let again = other.submit("c", referring("\"int\"", "x", "dep", 1)).await.expect("a schema");
    assert_eq!(again.schema.id, 3, "the old content has no id any more");
    delete(&other, "c").await;
    delete(&other, "dep").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_never_that_of_another_row() {
    let (_folder, one, other) = two().await;
    one.register("a", "\"int\"").await.expect("a schema");
    other.registry.live().confirm().await.expect("a look");
    delete(&one, "a").await;
    set_mode(&one, "b", Mode::Import).await;
    one.submit("b", Submitted { id: Some(1), ..submitted("\"long\"") }).await.expect("an import");
    // It has not looked since, and has not loaded the text before.
    let found = other.registry.schema(1, None).await.expect("the schema");
    let guid = identity::guid(&found.texts.canonical, &[], None, None);
    assert_eq!((&*found.texts.canonical, found.guid), ("\"long\"", guid));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_refuses_harms_nobody_else() {
    let one = in_memory().await;
    let gate = one.bed.gate();
    let registry = Arc::clone(&one.registry);
    let register = |name: String| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            registry.register(&Subject::parse(&name), &name, &submitted("\"int\""), false).await
        })
    };
    let first = register("first".into());
    gate.reached(1).await;
    let others: Vec<_> = (0..20).map(|n| register(format!("s{n}"))).collect();
    while one.registry.live().queues.waiting(&context(".")) < 20 {
        tokio::task::yield_now().await;
    }
    let largest = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&largest);
    one.bed.before_commit(move |commit| {
        let versions = commit.changes.iter().filter_map(|change| match change {
            Change::Version(row) => Some(row),
            _ => None,
        });
        seen.fetch_max(versions.clone().count(), Ordering::AcqRel);
        let refused = versions.clone().any(|row| &*row.subject == "s7");
        Box::pin(
            async move { if refused { Err(StoreError::Refused("it is too large".into())) } else { Ok(()) } },
        )
    });
    gate.open(1);
    first.await.expect("a task").expect("a schema");
    for (n, other) in others.into_iter().enumerate() {
        match other.await.expect("a task") {
            Err(error) => assert_eq!((n, error.code()), (7, 42209)),
            Ok(registered) => assert_eq!((registered.schema.id, n == 7), (1, false)),
        }
    }
    assert_eq!(largest.load(Ordering::Acquire), 20, "they were one commit at first");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_some_store_cannot_keep_are_refused_by_all() {
    let one = in_memory().await;
    let long = "s".repeat(631);
    assert_eq!(one.register(&long, "\"int\"").await.expect_err("a refusal").code(), 42208);
    let subject = Subject::parse(&long);
    let config = one.registry.set_config(&subject, &long, ConfigUpdate::default()).await;
    assert_eq!(config.expect_err("a refusal").code(), 42208);
    let mode = one.registry.set_mode(&subject, &long, Some(Mode::Readonly), false).await;
    assert_eq!(mode.expect_err("a refusal").code(), 42208);
    assert_eq!(one.bed.commits.load(Ordering::Acquire), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_makes_no_context_and_no_task() {
    let one = in_memory().await;
    for n in 0..50 {
        let (name, root) = (format!(":.x{n}:a"), format!(":.x{n}:"));
        let (subject, root) = (Subject::parse(&name), Subject::parse(&root));
        one.registry.delete_context(&subject.context).await.expect("nothing to do");
        one.registry.delete_subject(&subject, Deletion::Soft).await.expect_err("nothing there");
        one.registry.delete_version(&subject, 1, "1", Deletion::Soft).await.expect_err("nothing there");
        one.registry.delete_mode(&root, true).await.expect_err("nothing there");
        one.registry.delete_config(&root).await.expect_err("nothing there");
    }
    assert!(one.registry.live().contexts().is_empty());
    one.register("a", "\"int\"").await.expect("a schema");
    let start = Instant::now();
    while one.registry.live().queues.count() > 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "a task stays where nothing waits");
        tokio::task::yield_now().await;
    }
}

fn write(
    live: &Arc<Live>,
    subject: &str,
    bytes: usize,
    decided: &Arc<AtomicUsize>,
) -> impl Future<Output = Result<()>> + 'static + use<> {
    let (live, decided) = (Arc::clone(live), Arc::clone(decided));
    let name: Arc<str> = subject.into();
    async move {
        let scope = Scope::Subject(Arc::clone(&name));
        live.write(&context("."), scope, bytes, move |draft| {
            decided.fetch_add(1, Ordering::AcqRel);
            draft.put(Change::Mode(Arc::clone(&name), Some(Mode::Readonly)));
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_not_decided() {
    let one = in_memory().await;
    let (live, decided) = (one.registry.live(), Arc::new(AtomicUsize::new(0)));
    let gate = one.bed.gate();
    let first = tokio::spawn(write(live, "first", 0, &decided));
    gate.reached(1).await;
    let gone: Vec<_> = (0..10).map(|n| tokio::spawn(write(live, &format!("s{n}"), 0, &decided))).collect();
    while live.queues.waiting(&context(".")) < 10 {
        tokio::task::yield_now().await;
    }
    gone.iter().for_each(|gone| gone.abort());
    for gone in gone {
        assert!(gone.await.is_err());
    }
    let last = tokio::spawn(write(live, "last", 0, &decided));
    gate.open(100);
    first.await.expect("a task").expect("a commit");
    last.await.expect("a task").expect("a commit");
    assert_eq!(decided.load(Ordering::Acquire), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_bounded_by_number_and_bytes() {
    let one = in_memory().await;
    let (live, decided) = (one.registry.live(), Arc::new(AtomicUsize::new(0)));
    for (bytes, most) in [(0, 4096), (1 << 20, 10)] {
        let gate = one.bed.gate();
        let count = most + 100;
        let all: Vec<_> =
            (0..count).map(|n| tokio::spawn(write(live, &format!("s{n}"), bytes, &decided))).collect();
        let (start, mut waiting) = (Instant::now(), 0);
        while waiting < most / 2 {
            assert!(start.elapsed() < Duration::from_secs(30), "{waiting} of {count} wait");
            waiting = live.queues.waiting(&context("."));
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(200) {
            waiting = waiting.max(live.queues.waiting(&context(".")));
            tokio::task::yield_now().await;
        }
        assert!(waiting <= most, "{waiting} of {count} wait");
        gate.open(count);
        for one in all {
            one.await.expect("a task").expect("a commit");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_decision_is_that_requests_own() {
    let one = in_memory().await;
    let live = one.registry.live();
    let at = context(".");
    let failed = live.write(&at, Scope::Context, 0, |_| -> Result<()> { panic!("on purpose") });
    assert_eq!(failed.await.expect_err("a failure").code(), 500);
    one.register("a", "\"int\"").await.expect("a schema");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_is_never_compared_with_an_old_one() {
    let (_folder, one, other) = two().await;
    let level =
        |name: &str| ConfigUpdate { compatibility: Field::Set(name.into()), ..ConfigUpdate::default() };
    let subject = Subject::parse("a");
    let set = async |instance: &Instance, name| {
        instance.registry.set_config(&subject, "a", level(name)).await.expect("a config");
    };
    set(&one, "BACKWARD").await;
    other.registry.live().confirm().await.expect("a look");
    set(&one, "NONE").await;
    set(&other, "BACKWARD").await;
    one.registry.live().confirm().await.expect("a look");
    let now = one.registry.config(&subject, false).await.expect("a config");
    assert_eq!(now.compatibility_level.map(|level| level.name()), Some("BACKWARD"));
    // The other way round: what is gone by now is not answered as removed.
    other.registry.live().confirm().await.expect("a look");
    set(&one, "FULL").await;
    let removed = other.registry.delete_config(&subject).await.expect("a config");
    assert_eq!(removed.compatibility_level.map(|level| level.name()), Some("FULL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_is_looked_for_in_the_store() {
    let (_folder, one, other) = two().await;
    other.registry.live().confirm().await.expect("a look");
    one.register("dep", "\"int\"").await.expect("a schema");
    other.submit("main", referring("\"long\"", "x", "dep", 1)).await.expect("a schema");
    one.register("dep", "\"int\"").await.expect("a schema");
    let missing = other.submit("main", referring("\"bytes\"", "x", "dep", 9)).await;
    assert_eq!(missing.expect_err("a refusal").code(), 42201);
}

/// Before each commit of an instance, another one commits in the default context.
fn disturb(
    instance: &Instance,
    context: Context,
    change: impl Fn(usize) -> Option<Change> + Send + Sync + 'static,
) {
    let (inner, count) = (instance.bed.inner(), Arc::new(AtomicUsize::new(0)));
    let change = Arc::new(change);
    instance.bed.before_commit(move |commit| {
        let (inner, context) = (Arc::clone(&inner), context.clone());
        let change = change(count.fetch_add(1, Ordering::AcqRel));
        Box::pin(async move {
            if let Some(change) = change.filter(|_| commit.context != context) {
                commit_behind(&inner, &context, vec![change]).await;
            }
            Ok(())
        })
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_context_starves_nobody() {
    let (_folder, one, other) = two().await;
    one.register("a", "\"int\"").await.expect("a schema");
    let busy = |n: usize| Some(Change::Mode(format!("s{n}").into(), Some(Mode::Readonly)));
    disturb(&other, context("."), busy);
    for n in 0..5 {
        let name = format!(":.c:s{n}");
        other.register(&name, "\"int\"").await.expect("a schema");
        let subject = Subject::parse(&name);
        other.registry.set_mode(&subject, &name, Some(Mode::Readwrite), false).await.expect("a mode");
        other.registry.set_config(&subject, &name, ConfigUpdate::default()).await.expect("a config");
        delete(&other, &name).await;
    }
    // 5 times: a schema, a mode, a config, two deletions; and as many commits in the way, none of which has cost a race.
    assert_eq!(other.bed.commits.load(Ordering::Acquire), 25);
    let heads = other.bed.inner().heads().await.expect("heads");
    assert_eq!(heads.contexts[&context(".")].revision, 1 + 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_change_at_the_last_moment_count() {
    let (_folder, one, other) = two().await;
    one.register("a", "\"int\"").await.expect("a schema");
    let closes = |n: usize| (n == 0).then(|| Change::Mode("".into(), Some(Mode::ReadonlyOverride)));
    disturb(&other, context("."), closes);
    let refused = other.register(":.c:a", "\"int\"").await.expect_err("a refusal");
    assert_eq!(refused.code(), 42205);
}

const DEP: &str = r#"{"type":"enum","name":"E","symbols":["A"]}"#;
const MAIN: &str = r#"{"type":"array","items":"E"}"#;

/// The schema can be read with all that it refers to.
async fn assert_whole(instance: &Instance, subject: &str) {
    instance.registry.live().confirm().await.expect("a look");
    let subject = Subject::parse(subject);
    let entity = instance.registry.version(&subject, -1, false).await.expect("a version");
    let resolved =
        instance.registry.formatted(&entity.subject.context, entity.version.schema, Some("resolved")).await;
    assert!(resolved.expect("a text").expect("another form").contains("symbols"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_from_a_new_context_stops_a_deletion() {
    let (_folder, one, other) = two().await;
    one.register("dep", DEP).await.expect("a schema");
    one.registry.delete_subject(&Subject::parse("dep"), Deletion::Soft).await.expect("a deletion");
    other.registry.live().confirm().await.expect("a look");
    let other = Arc::new(other);
    let (late, count) = (Arc::clone(&other), Arc::new(AtomicUsize::new(0)));
    one.bed.before_commit(move |_| {
        let (late, first) = (Arc::clone(&late), count.fetch_add(1, Ordering::AcqRel) == 0);
        Box::pin(async move {
            if first {
                late.submit(":.new:main", referring(MAIN, "E", ":.:dep", 1)).await.expect("a schema");
            }
            Ok(())
        })
    });
    let deleted = one.registry.delete_subject(&Subject::parse("dep"), Deletion::Permanent).await;
    assert_eq!(deleted.expect_err("a refusal").code(), 42206);
    assert_whole(&one, ":.new:main").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_stops_a_reference_from_another_context() {
    let (_folder, one, other) = two().await;
    one.register("dep", DEP).await.expect("a schema");
    other.registry.live().confirm().await.expect("a look");
    let one = Arc::new(one);
    let (late, count) = (Arc::clone(&one), Arc::new(AtomicUsize::new(0)));
    other.bed.before_commit(move |_| {
        let (late, first) = (Arc::clone(&late), count.fetch_add(1, Ordering::AcqRel) == 0);
        Box::pin(async move {
            if first {
                delete(&late, "dep").await;
            }
            Ok(())
        })
    });
    let refused = other.submit(":.c:main", referring(MAIN, "E", ":.:dep", 1)).await;
    assert_eq!(refused.expect_err("a refusal").code(), 42201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_is_overwritten_meanwhile_is_read_again() {
    for subject in ["main", ":.c:main"] {
        let (_folder, one, other) = two().await;
        one.register("dep", DEP).await.expect("a schema");
        set_mode(&one, "dep", Mode::Import).await;
        let (one, count) = (Arc::new(one), Arc::new(AtomicUsize::new(0)));
        let late = Arc::clone(&one);
        other.bed.before_commit(move |_| {
            let (late, first) = (Arc::clone(&late), count.fetch_add(1, Ordering::AcqRel) == 0);
            Box::pin(async move {
                if first {
                    let import = Submitted { id: Some(9), version: 1, ..submitted("\"int\"") };
                    late.submit("dep", import).await.expect("an import");
                }
                Ok(())
            })
        });
        let refused = other.submit(subject, referring(MAIN, "E", ":.:dep", 1)).await;
        assert_eq!(refused.expect_err("a refusal").code(), 42201, "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_twin_goes_only_where_nothing_refers_to_it_meanwhile() {
    let one = in_memory().await;
    one.register("dep", DEP).await.expect("a schema");
    one.registry.delete_subject(&Subject::parse("dep"), Deletion::Soft).await.expect("a deletion");
    let gate = one.bed.gate();
    let one = Arc::new(one);
    let submit = |subject: &'static str, submitted: Submitted| {
        let one = Arc::clone(&one);
        tokio::spawn(async move { one.submit(subject, submitted).await })
    };
    let first = submit("first", submitted("\"int\""));
    gate.reached(1).await;
    let twin = submit("dep", submitted(DEP));
    while one.registry.live().queues.waiting(&context(".")) < 1 {
        tokio::task::yield_now().await;
    }
    let main = submit("main", referring(MAIN, "E", "dep", 1));
    while one.registry.live().queues.waiting(&context(".")) < 2 {
        tokio::task::yield_now().await;
    }
    gate.open(100);
    first.await.expect("a task").expect("a schema");
    assert_eq!(twin.await.expect("a task").expect("a schema").version, 2);
    match main.await.expect("a task") {
        Ok(_) => assert_whole(&one, "main").await,
        Err(error) => assert_eq!(error.code(), 42201),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_nobody_asks_looks_by_itself() {
    let (folder, one, _) = two().await;
    let bed = Bed::new(folder.store().await);
    bed.share();
    let idle = Live::open(bed, 1 << 20).await.expect("an instance");
    one.register("a", "\"int\"").await.expect("a schema");
    let start = Instant::now();
    while idle.read(&context("."), |state| state.versions("a").is_empty()) {
        assert!(start.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_not_followed_for_longer_than_it_is_one() {
    let (_folder, one, other) = two().await;
    let alias = |field| ConfigUpdate { alias: field, ..ConfigUpdate::default() };
    let subject = Subject::parse("a");
    let set = |update| one.registry.set_config(&subject, "a", update);
    set(alias(Field::Set("t".into()))).await.expect("an alias");
    let target = async || other.registry.target(&subject).await.expect("an answer");
    tokio::time::sleep(MAX_AGE).await;
    assert_eq!(target().await, Some(Subject::parse("t")));
    set(alias(Field::Cleared)).await.expect("no alias");
    tokio::time::sleep(MAX_AGE).await;
    assert_eq!(target().await, None);
}

/// The store is put back to what it was, and what happens then.
async fn put_back(grows: usize) -> (Instance, [Folder; 2]) {
    let (folder, one, other) = two().await;
    other.bed.swap(Arc::new(MemoryStore::new(Uuid::new_v4())));
    for n in 0..5 {
        one.register(&format!("a{n}"), "\"int\"").await.expect("a schema");
    }
    let copy = folder.copy().await;
    for n in 0..5 {
        one.register(&format!("b{n}"), "\"int\"").await.expect("a schema");
    }
    let restored = copy.store().await;
    for n in 0..grows {
        let change = Change::Mode(format!("m{n}").into(), Some(Mode::Readonly));
        commit_behind(&restored, &context("."), vec![change]).await;
    }
    one.bed.swap(restored);
    (one, [folder, copy])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_fails_readiness_and_registration() {
    // Shorter than before, as long, and longer.
    for grows in [0, 5, 9] {
        let (one, _folders) = put_back(grows).await;
        let ready = one.registry.live().ready().await.expect_err("not ready");
        assert!(ready.message().contains("older copy"), "{grows}: {ready}");
        let refused = one.register("c", "\"int\"").await.expect_err("a refusal");
        assert_eq!(refused.code(), 50001, "{grows}: {refused}");
        let known = |name: &str| one.registry.live().read(&context("."), |state| state.versions(name).len());
        assert_eq!((known("a1"), known("b1")), (1, 0), "{grows}: what was never there is not shown");
    }
}

/// Its heads are those of before anything was written, as replicas may answer that no commit has reached yet.
struct Lagging(Arc<dyn Store>);

#[async_trait::async_trait]
impl Store for Lagging {
    fn backend(&self) -> &'static str {
        "lagging"
    }

    async fn heads(&self) -> crate::store::Result<Heads> {
        Ok(Heads { contexts: BTreeMap::new(), ..self.0.heads().await? })
    }

    async fn changes(&self, context: &Context, since: Head) -> crate::store::Result<(Head, Vec<Change>)> {
        self.0.changes(context, since).await
    }

    async fn texts(
        &self,
        context: &Context,
        keys: &[SchemaKey],
    ) -> crate::store::Result<Vec<(SchemaKey, Texts)>> {
        self.0.texts(context, keys).await
    }

    async fn commit(&self, commit: &Commit) -> crate::store::Result<Head> {
        self.0.commit(commit).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_is_gone_only_where_its_history_is_gone() {
    let one = in_memory().await;
    one.register("a", "\"int\"").await.expect("a schema");
    let live = one.registry.live();
    let known = || live.read(&context("."), |state| state.versions("a").len());
    let epoch = one.bed.inner().heads().await.expect("heads").epoch;
    one.bed.swap(Arc::new(Lagging(one.bed.inner())));
    live.ready().await.expect("an old answer is no other store");
    assert_eq!(known(), 1);
    one.bed.swap(Arc::new(MemoryStore::new(epoch)));
    let ready = live.ready().await.expect_err("not ready");
    assert!(ready.message().contains("older copy"), "{ready}");
    assert_eq!(known(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_waited_for_once() {
    let (_folder, one, _) = two().await;
    one.bed.go_away(Duration::from_secs(2));
    let start = Instant::now();
    let mut asked = Vec::new();
    for _ in 0..30 {
        let live = Arc::clone(one.registry.live());
        asked.push(tokio::spawn(async move { live.confirm().await }));
        // Also who comes while somebody waits.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for asked in asked {
        assert_eq!(asked.await.expect("a task").expect_err("an outage").code(), 50001);
    }
    assert!(start.elapsed() < Duration::from_millis(3900), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_changes_is_answered_while_the_store_is_away() {
    let (_folder, one, _) = two().await;
    let registered = one.register("a", "\"int\"").await.expect("a schema");
    one.bed.go_away(Duration::ZERO);
    one.registry.live().looks.forget();
    assert_eq!(&*one.registry.schema(1, None).await.expect("a schema").texts.canonical, "\"int\"");
    let named = one.registry.schema(1, Some(&Subject::parse("a"))).await.expect("as consumers ask for it");
    assert_eq!(named.of.map(|(_, version)| version.version), Some(1));
    assert_eq!(one.registry.ids_of_guid(&registered.guid).await.expect("ids").len(), 1);
    assert_eq!(one.registry.schema(2, None).await.expect_err("nobody knows").code(), 50001);
    let subject = Subject::parse("a");
    assert_eq!(one.registry.version(&subject, 1, false).await.expect_err("nobody knows").code(), 50001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_has_not_said_no() {
    let (folder, one, _) = two().await;
    one.register(":.c:a", "\"int\"").await.expect("a schema");
    let other = Instance::open(folder.store().await, Settings::default()).await;
    other.bed.before_texts(|()| Box::pin(async { Err(StoreError::Unavailable("away".into())) }));
    let subject = Subject::parse("a");
    let error = other.registry.look_up(&subject, &submitted("\"int\""), false, false).await;
    assert_eq!(error.expect_err("an outage").code(), 50001);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_content_has_one_id_whoever_is_first() {
    let folder = Folder::new();
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(Arc::new(Instance::open(folder.store().await, Settings::default()).await));
    }
    let all = (0..300).map(|n| {
        let instance = Arc::clone(&instances[n % 3]);
        tokio::spawn(async move { instance.register(&format!("s{}", n % 10), "\"int\"").await })
    });
    for one in all.collect::<Vec<_>>() {
        let registered = one.await.expect("a task").expect("a schema");
        assert_eq!((registered.schema.id, registered.version), (1, 1));
    }
    let heads = folder.store().await.heads().await.expect("heads");
    assert_eq!(heads.contexts[&context(".")].next_id, 2);
}

//! A leader and its standby in this process: what the standby answers, what it refuses, what stops it, how it ends.

use super::*;
use crate::api::{About, Api, Request};
use crate::client::scripted::{Asked, Reply, Server, json};
use crate::client::{Client, Placed, Schema};
use crate::live::bed::Bed;
use crate::names::Subject;
use crate::service::{self, Deletion};
use crate::settings::Mode;
use crate::store::memory::MemoryStore;
use crate::store::{Store, StoreError};
use crate::transfer::MassDeletion;
use crate::transfer::tests::{avro, client, furnish, settings};
use serde_json::{Value, json as value};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);

/// A registry that is followed.
struct Leader {
    api: Arc<Api>,
    _server: Server,
    client: Arc<Client>,
}

async fn registry(store: Arc<dyn Store>) -> Arc<Registry> {
    static TIME: AtomicI64 = AtomicI64::new(1_700_000_000_000);
    let now = || TIME.fetch_add(1000, SeqCst);
    Arc::new(Registry::open(store, service::Settings::default(), now).await.expect("a registry"))
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(Uuid::new_v4()))
}

async fn ask(api: &Api, method: &str, path: &str, query: &str, body: &Value) -> (u16, Vec<u8>) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request { method, path, query, body: body.into(), ..Request::default() };
    let answer = api.answer(&request).await;
    (answer.status, answer.body.to_vec())
}

impl Leader {
    /// An empty one behind a look at each request that may answer in its place.
    async fn behind(first: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let api = Arc::new(Api::new(registry(memory()).await, About::default()));
        let answering = Arc::clone(&api);
        let server = Server::start(move |_, asked| {
            let (api, reply) = (Arc::clone(&answering), first(&asked));
            Box::pin(async move {
                if let Some(reply) = reply {
                    return reply;
                }
                let Asked { method, path, query, body, .. } = asked;
                let request = Request {
                    method: &method,
                    path: &path,
                    query: &query,
                    body: body.into(),
                    ..Request::default()
                };
                let answer = api.answer(&request).await;
                Reply::Full(answer.status, "Content-Type: application/json\r\n", answer.body.to_vec())
            })
        })
        .await;
        let client = client(&server.url);
        Self { api, _server: server, client }
    }

    async fn new() -> Self {
        Self::behind(|_| None).await
    }

    async fn furnished() -> Self {
        let leader = Self::new().await;
        furnish(&leader.client).await;
        leader
    }

    async fn register(&self, subject: &str, text: &str) -> u32 {
        self.client.register(&avro(subject, text, &[]), Placed::Next).await.expect("registered").id
    }

    async fn delete(&self, subject: &str, how: Deletion) {
        self.client.delete_subject(&Subject::parse(subject), how).await.expect("deleted");
    }

    fn followed(&self, mass_deletion: MassDeletion) -> Begin {
        let settings = Settings {
            leader: self.client.places(),
            interval: Duration::from_millis(5),
            mass_deletion,
            catch_up: Duration::from_secs(5),
        };
        Begin { follow: Some((Arc::clone(&self.client), settings)), ..Begin::default() }
    }
}

/// A registry that may follow.
struct Standby {
    registry: Arc<Registry>,
    api: Api,
    follower: Arc<Follower>,
    running: tokio::task::JoinHandle<()>,
}

impl Standby {
    async fn on(store: Arc<dyn Store>, asked: &Begin) -> Self {
        let registry = registry(store).await;
        let follower = begin(&registry, asked).await.expect("begun").expect("a follower");
        let following = Arc::clone(&follower);
        let running = tokio::spawn(async move { following.run().await });
        let api = Api::new(Arc::clone(&registry), About::default())
            .standing_by(Arc::clone(&follower) as Arc<dyn Following>);
        Self { registry, api, follower, running }
    }

    async fn of(leader: &Leader) -> Self {
        Self::on(memory(), &leader.followed(MassDeletion::Refused)).await
    }

    /// Waits until this is so.
    async fn until(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let begun = Instant::now();
        loop {
            let status = self.follower.status();
            if is_so(&status) {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "{what}: {status:?}");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits for looks that were begun after this, and found both equal.
    async fn settle(&self) {
        let looks = self.follower.status().looks;
        self.until("both are equal", |status| {
            status.looks >= looks + 4 && status.state == State::Following && status.behind == 0
        })
        .await;
    }

    async fn refusal(&self, method: &str, path: &str, body: &Value) -> String {
        let (status, answer) = ask(&self.api, method, path, "", body).await;
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!((status, &answer["error_code"]), (422, &value!(42205)), "{method} {path}: {answer}");
        answer["message"].as_str().expect("a text").to_owned()
    }

    async fn promote(&self) -> Promotion {
        self.follower.promote().await.expect("promoted")
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Every answer about everything that the leader has.
async fn assert_equal(leader: &Leader, standby: &Api) {
    let (_, all) = ask(&leader.api, "GET", "/schemas", "deleted=true&subjectPrefix=:*:", &Value::Null).await;
    let all: Vec<Schema> = serde_json::from_slice(&all).expect("versions");
    let mut asked: Vec<(String, &str)> = [
        ("/schemas", "deleted=true&subjectPrefix=:*:"),
        ("/subjects", "deleted=true&subjectPrefix=:*:"),
        ("/subjects", ""),
        ("/contexts", ""),
        ("/config", ""),
        ("/mode", ""),
        ("/config/:.pay:", ""),
        ("/mode/:.pay:", ""),
        ("/config/:.__GLOBAL:", ""),
        ("/mode/:.__GLOBAL:", ""),
        ("/statistics", ""),
    ]
    .map(|(path, query)| (path.to_owned(), query))
    .into();
    for schema in &all {
        let (subject, version, id) = (&schema.subject, schema.version, schema.id);
        asked.push((format!("/subjects/{subject}/versions/{version}"), "deleted=true"));
        asked.push((format!("/subjects/{subject}/versions/{version}/referencedby"), "deleted=true"));
        asked.push((format!("/subjects/{subject}/versions"), "deletedAsNegative=true"));
        asked.push((format!("/contexts/{}/schemas/ids/{id}", Subject::parse(subject).context), ""));
        asked.push((format!("/schemas/ids/{id}"), "fetchMaxId=true"));
        asked.push((format!("/schemas/guids/{}/ids", schema.guid.as_deref().expect("a GUID")), ""));
        for what in ["config", "mode"] {
            asked.push((format!("/{what}/{subject}"), ""));
            asked.push((format!("/{what}/{subject}"), "defaultToGlobal=true"));
        }
    }
    for (path, query) in asked {
        let one = ask(&leader.api, "GET", &path, query, &Value::Null).await;
        let other = ask(standby, "GET", &path, query, &Value::Null).await;
        let text = |answer: &(u16, Vec<u8>)| format!("{} {}", answer.0, String::from_utf8_lossy(&answer.1));
        assert_eq!(text(&one), text(&other), "{path}?{query}");
    }
}

fn refused(begun: Result<Option<Arc<Follower>>, NotBegun>) -> (String, String) {
    match begun {
        Err(NotBegun::Refused(why, next)) => (why, next),
        other => panic!("{other:?}"),
    }
}

fn text(n: usize) -> String {
    format!(r#"{{"type":"fixed","name":"F{n}","size":{}}}"#, n + 1)
}

#[tokio::test]
async fn a_standby_answers_as_its_leader_and_goes_on_with_it() {
    let leader = Leader::furnished().await;
    let standby = Standby::of(&leader).await;
    standby.settle().await;
    assert_equal(&leader, &standby.api).await;

    leader.register("new", "\"int\"").await;
    leader.register(":.new:new", "\"bytes\"").await;
    let referring = avro(
        ":.new:refers",
        r#"{"type":"record","name":"R","fields":[{"name":"b","type":"Base"}]}"#,
        &[("Base", ":.:z-base", 1)],
    );
    leader.client.register(&referring, Placed::Next).await.expect("registered");
    leader.delete("labelled", Deletion::Soft).await;
    leader.delete("all-gone", Deletion::Permanent).await;
    let at = Subject::parse;
    leader.client.delete_version(&at("deleted"), 1, Deletion::Permanent).await.expect("deleted");
    leader.client.delete_config(&at("a-top")).await.expect("removed");
    leader.client.delete_config(&at("")).await.expect("removed");
    let global = settings(value!({"compatibilityLevel": "FORWARD", "normalize": true}));
    leader.client.set_config(&at(":.__GLOBAL:"), &global).await.expect("set");
    leader.client.delete_mode(&at("x-right")).await.expect("removed");
    leader.client.set_mode(&at("new"), Mode::Import).await.expect("set");
    standby.settle().await;
    assert_equal(&leader, &standby.api).await;

    // Settings of a subject that is gone go with it; a deleted version that is registered again is there again.
    leader.delete("new", Deletion::Soft).await;
    leader.delete("new", Deletion::Permanent).await;
    leader.register("deleted", "\"long\"").await;
    leader.register("labelled", "\"double\"").await;
    leader.client.set_mode(&at(""), Mode::Readonly).await.expect("set");
    standby.settle().await;
    assert_equal(&leader, &standby.api).await;
    leader.client.set_mode(&at(""), Mode::ReadonlyOverride).await.expect("set");
    standby.settle().await;
    assert_equal(&leader, &standby.api).await;
    leader.client.set_mode(&at(""), Mode::Readwrite).await.expect("set");
    standby.settle().await;
    assert_equal(&leader, &standby.api).await;
    let status = standby.follower.status();
    assert!(status.changes > 30 && status.left_out == 0 && status.errors == 0, "{status:?}");
}

#[tokio::test]
async fn nobody_changes_a_standby_until_it_is_promoted() {
    let leader = Leader::furnished().await;
    let store = memory();
    let standby = Standby::on(Arc::clone(&store), &leader.followed(MassDeletion::Refused)).await;
    standby.settle().await;
    let changes = [
        ("POST", "/subjects/new/versions", value!({"schema": "\"int\""})),
        ("POST", "/subjects/:.pay:json/versions", value!({"schema": "\"int\"", "id": 900, "version": 9})),
        ("POST", "/import/schemas", value!({"schemas": []})),
        ("DELETE", "/subjects/a-top", Value::Null),
        ("DELETE", "/subjects/a-top/versions/1", Value::Null),
        ("PUT", "/config", value!({"compatibility": "FULL"})),
        ("PUT", "/config/:.pay:", value!({"compatibility": "FULL"})),
        ("DELETE", "/config/a-top", Value::Null),
        ("PUT", "/mode", value!({"mode": "READWRITE"})),
        ("DELETE", "/mode/x-right", Value::Null),
        ("DELETE", "/contexts/.pay", Value::Null),
    ];
    for (method, path, body) in &changes {
        let why = standby.refusal(method, path, body).await;
        for words in ["standby of http://127.0.0.1:", "POST /admin/standby/promote", "--promote"] {
            assert!(why.contains(words), "{method} {path}: {why}");
        }
    }
    // What is there already may be registered again; what is noted about the standby is nobody's settings.
    let (status, known) =
        ask(&standby.api, "POST", "/subjects/deleted/versions", "", &value!({"schema": "\"long\""})).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&known));
    let note = "/config/:.__GLOBAL:replevin.standby";
    assert_eq!(ask(&standby.api, "GET", note, "", &Value::Null).await.0, 404);
    let global = ask(&standby.api, "GET", "/config/:.__GLOBAL:", "defaultToGlobal=true", &Value::Null).await;
    assert_eq!(ask(&standby.api, "GET", note, "defaultToGlobal=true", &Value::Null).await, global);
    assert_equal(&leader, &standby.api).await;

    // Ids that the leader has given and freed are not given again.
    let last = leader.register("short-lived", &text(1)).await;
    leader.delete("short-lived", Deletion::Soft).await;
    leader.delete("short-lived", Deletion::Permanent).await;
    let promotion = standby.promote().await;
    assert!(promotion.caught_up && !promotion.before && promotion.missing.is_none(), "{promotion:?}");
    assert_eq!(promotion.status.state, State::Promoted);
    assert_equal(&leader, &standby.api).await;
    let again = standby.promote().await;
    assert!(again.before && again.status.promoted_ms == promotion.status.promoted_ms, "{again:?}");
    let body = value!({"schema": text(2)});
    let (status, answer) = ask(&standby.api, "POST", "/subjects/own/versions", "", &body).await;
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!((status, &answer["id"]), (200, &value!(last + 1)), "{answer}");
    assert_eq!(ask(&standby.api, "DELETE", note, "", &Value::Null).await.0, 404);
    // The modes are the leader's.
    standby.refusal("POST", "/subjects/:.pay:json/versions", &value!({"schema": "\"int\""})).await;

    // It stays promoted, whoever starts it how.
    for asked in [Begin::default(), Begin { promote: true, ..Begin::default() }] {
        let registry = registry(Arc::clone(&store)).await;
        assert!(begin(&registry, &asked).await.expect("begun").is_none());
        assert_eq!(registry.unattended().state, State::Promoted);
    }
    let followed = leader.followed(MassDeletion::Refused);
    let registry = registry(Arc::clone(&store)).await;
    let (why, next) = refused(begin(&registry, &followed).await);
    assert!(why.contains("was promoted") && next.contains("--rejoin"), "{why} {next}");
    assert!(begin(&registry, &Begin { promote: true, ..followed }).await.expect("begun").is_none());
    let rejoin = || Begin { rejoin: true, ..leader.followed(MassDeletion::Refused) };
    let (why, _) = refused(begin(&registry, &rejoin()).await);
    assert!(why.contains("own version 1 is not at the leader"), "{why}");
    assert_eq!(registry.unattended().state, State::Promoted);
    assert_eq!(leader.register("own", &text(2)).await, last + 1);
    let follower = begin(&registry, &rejoin()).await.expect("begun").expect("a follower");
    assert_eq!(follower.status().state, State::Filling);
}

#[tokio::test]
async fn a_store_with_schemas_of_its_own_is_no_standby_unless_all_of_them_are_the_leaders() {
    let leader = Leader::new().await;
    leader.register("a", "\"int\"").await;
    leader.register("b", "\"long\"").await;
    let body = |text: &str| value!({ "schema": text });
    let own = async |registrations: &[(&str, &str)]| {
        let store = memory();
        let api = Api::new(registry(Arc::clone(&store)).await, About::default());
        for (subject, text) in registrations {
            let path = format!("/subjects/{subject}/versions");
            assert_eq!(ask(&api, "POST", &path, "", &body(text)).await.0, 200);
        }
        (store, api)
    };
    for (registrations, words) in [
        (&[("a", "\"long\"")][..], "a version 1 is another schema here"),
        (&[("c", "\"long\"")][..], "c version 1 is not at the leader"),
        (&[("a", "\"int\""), ("c", "\"long\"")][..], "c version 1 is not at the leader"),
        (&[("a", "\"int\"")][..], "b version 1 is not here"),
    ] {
        let (store, api) = own(registrations).await;
        let before = store.heads().await.expect("heads");
        let (why, next) = refused(begin(api.registry(), &leader.followed(MassDeletion::Refused)).await);
        assert!(why.contains(words) && why.contains("Nothing was changed"), "{why}");
        assert!(next.contains("empty store"), "{next}");
        assert_eq!(store.heads().await.expect("heads"), before);
        assert_eq!(ask(&api, "POST", "/subjects/own/versions", "", &body(&text(9))).await.0, 200);
    }
    // Less than the leader has is enough where somebody says so; other settings are the leader's then.
    let (store, api) = own(&[("a", "\"int\"")]).await;
    ask(&api, "PUT", "/config", "", &value!({"compatibility": "FULL"})).await;
    let rejoin = Begin { rejoin: true, ..leader.followed(MassDeletion::Refused) };
    let standby = Standby::on(store, &rejoin).await;
    standby.settle().await;
    assert_equal(&leader, &standby.api).await;
    // The same, whole, needs no word.
    let (store, _) = own(&[("a", "\"int\""), ("b", "\"long\"")]).await;
    let standby = Standby::on(Arc::clone(&store), &leader.followed(MassDeletion::Refused)).await;
    standby.settle().await;
    assert_equal(&leader, &standby.api).await;
    // A standby that nobody asks to follow does not become a registry by itself.
    drop(standby);
    let restarted = registry(store).await;
    let (why, next) = refused(begin(&restarted, &Begin::default()).await);
    assert!(why.contains("is a standby of http://") && next.contains("--promote"), "{why} {next}");
    let promote = Begin { promote: true, ..Begin::default() };
    assert!(begin(&restarted, &promote).await.expect("begun").is_none());
    let (why, _) = refused(
        begin(&registry(memory()).await, &Begin { promote: true, ..leader.followed(MassDeletion::Refused) })
            .await,
    );
    assert!(why.contains("has never followed"), "{why}");
}

#[tokio::test]
async fn a_leader_that_is_away_is_waited_for_and_what_is_there_is_served() {
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let leader = Leader::behind(move |_| away.load(SeqCst).then_some(Reply::Gone)).await;
    let standby = Standby::of(&leader).await;
    let status = standby.until("it is away", |status| status.state == State::Away).await;
    assert!(status.why.is_some() && !status.filled && status.errors > 0, "{status:?}");
    let (code, ready) = ask(&standby.api, "GET", "/health/ready", "", &Value::Null).await;
    let ready: Value = serde_json::from_slice(&ready).expect("JSON");
    assert_eq!((code, &ready["standby"]["state"]), (503, &value!("away")), "{ready}");
    assert_eq!(ask(&standby.api, "GET", "/health/startup", "", &Value::Null).await.0, 200);

    is_away.store(false, SeqCst);
    leader.register("a", "\"int\"").await;
    standby.settle().await;
    assert_equal(&leader, &standby.api).await;
    let lag = standby.follower.status().lag_seconds;
    assert!(lag < 5.0, "{lag}");

    is_away.store(true, SeqCst);
    standby.until("it is away again", |status| status.state == State::Away).await;
    let (code, ready) = ask(&standby.api, "GET", "/health/ready", "", &Value::Null).await;
    let ready: Value = serde_json::from_slice(&ready).expect("JSON");
    assert_eq!((code, &ready["standby"]["state"]), (200, &value!("away")), "{ready}");
    assert_equal(&leader, &standby.api).await;
    // Promoted without it, and it says so.
    let (code, promotion) = ask(&standby.api, "POST", "/admin/standby/promote", "", &Value::Null).await;
    let promotion: Value = serde_json::from_slice(&promotion).expect("JSON");
    assert_eq!((code, &promotion["caught_up"]), (200, &value!(false)), "{promotion}");
    assert!(promotion["missing"].as_str().is_some_and(|missing| !missing.is_empty()), "{promotion}");
    let body = value!({"schema": "\"long\""});
    assert_eq!(ask(&standby.api, "POST", "/subjects/own/versions", "", &body).await.0, 200);
}

#[tokio::test]
async fn what_lists_do_not_show_is_not_deleted_and_neither_is_most_at_once() {
    let hides = Arc::new(Mutex::new(0_u8));
    let hidden = Arc::clone(&hides);
    let leader = Leader::behind(move |asked| {
        let hides = *hidden.lock().expect("unpoisoned");
        let is_list = asked.path == "/subjects" || asked.path.ends_with("/versions");
        let is_version = asked.path.contains("/versions/");
        let is_get = asked.method == "GET";
        match hides {
            // Lists lag; the versions themselves are there.
            1 if is_get && is_list => Some(json(200, "[]")),
            // Everything is lost.
            2 if is_get && (is_list || asked.path == "/schemas") => Some(json(200, "[]")),
            2 if is_get && is_version => Some(json(404, r#"{"error_code":40401,"message":"gone"}"#)),
            _ => None,
        }
    })
    .await;
    for n in 0..15 {
        leader.register(&format!("s{n}"), &text(n)).await;
    }
    let standby = Standby::of(&leader).await;
    standby.settle().await;
    for hides_now in [1, 2] {
        *hides.lock().expect("unpoisoned") = hides_now;
        let status = standby.until("it is held", |status| status.state == State::Held).await;
        let why = status.why.expect("a reason");
        assert!(why.contains("15 of 15 versions") && why.contains("mass_deletion"), "{why}");
        *hides.lock().expect("unpoisoned") = 0;
        standby.settle().await;
        assert_equal(&leader, &standby.api).await;
    }
    // One is gone for one look only, and not for the leader itself.
    let store = memory();
    drop(standby);
    let standby = Standby::on(store, &leader.followed(MassDeletion::Followed)).await;
    standby.settle().await;
    *hides.lock().expect("unpoisoned") = 1;
    let looks = standby.follower.status().looks;
    standby.until("some looks", |status| status.looks > looks + 4).await;
    assert_equal(&leader, &standby.api).await;
    *hides.lock().expect("unpoisoned") = 2;
    let subjects = async || ask(&standby.api, "GET", "/subjects", "deleted=true", &Value::Null).await.1;
    let begun = Instant::now();
    while subjects().await != b"[]" {
        assert!(begun.elapsed() < LIMIT);
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_number_that_is_used_again_for_another_schema_is_replaced() {
    let leader = Leader::new().await;
    leader.register("a", &text(1)).await;
    leader.register("a-too", &text(1)).await;
    let standby = Standby::of(&leader).await;
    standby.settle().await;
    for subject in ["a", "a-too"] {
        leader.delete(subject, Deletion::Soft).await;
        leader.delete(subject, Deletion::Permanent).await;
    }
    // The same number with the same id, and another text.
    leader.client.set_mode(&Subject::parse("a"), Mode::Import).await.expect("set");
    let other = Schema { id: 1, version: 1, ..avro("a", &text(2), &[]) };
    leader.client.register(&other, Placed::Same).await.expect("registered");
    leader.register("b", &text(3)).await;
    // No list shows it: it is found when its turn to be read again has come.
    let known = async || ask(&standby.api, "GET", "/subjects/a/versions/1/schema", "", &Value::Null).await.1;
    let begun = Instant::now();
    while known().await != text(2).as_bytes() {
        assert!(begun.elapsed() < LIMIT);
        sleep(Duration::from_millis(5)).await;
    }
    standby.settle().await;
    assert_equal(&leader, &standby.api).await;
    // With an id of its own it is missed at once.
    leader.delete("b", Deletion::Soft).await;
    leader.delete("b", Deletion::Permanent).await;
    leader.register("b", &text(4)).await;
    standby.settle().await;
    assert_equal(&leader, &standby.api).await;
}

#[tokio::test]
async fn a_store_that_fails_in_between_is_filled_by_the_looks_after() {
    let leader = Leader::furnished().await;
    let bed = Bed::new(memory());
    let counted = Arc::new(AtomicI64::new(0));
    let count = Arc::clone(&counted);
    bed.before_commit(move |_| {
        let n = count.fetch_add(1, SeqCst);
        Box::pin(async move {
            match n % 3 {
                2 => Err(StoreError::Unavailable("on purpose".into())),
                _ => Ok(()),
            }
        })
    });
    let standby = Standby::on(bed, &leader.followed(MassDeletion::Refused)).await;
    standby.settle().await;
    assert_equal(&leader, &standby.api).await;
    assert!(counted.load(SeqCst) > 5);
}

#[tokio::test]
async fn what_a_look_brings_after_a_promotion_is_void() {
    let leader = Leader::new().await;
    leader.register("a", "\"int\"").await;
    let store = memory();
    let bed = Bed::new(Arc::clone(&store));
    bed.share();
    let standby =
        Standby::on(Arc::clone(&bed) as Arc<dyn Store>, &leader.followed(MassDeletion::Refused)).await;
    standby.settle().await;
    // Another instance on the same store promotes it while a look is about to commit.
    let other = registry(Arc::clone(&store)).await;
    let promoting = Arc::clone(&other);
    bed.before_commit(move |commit| {
        let other = Arc::clone(&promoting);
        Box::pin(async move {
            if commit.context.is_default() {
                assert!(!other.promote_unattended().await.expect("promoted").caught_up);
            }
            Ok(())
        })
    });
    leader.register("b", "\"long\"").await;
    standby.until("it is promoted", |status| status.state == State::Promoted).await;
    let begun = Instant::now();
    while !standby.running.is_finished() {
        assert!(begun.elapsed() < LIMIT, "it still follows");
        sleep(Duration::from_millis(5)).await;
    }
    let (_, subjects) = ask(&standby.api, "GET", "/subjects", "", &Value::Null).await;
    assert_eq!(String::from_utf8_lossy(&subjects), r#"["a"]"#);
    assert_eq!(standby.registry.live().broken(), None);
}

#[tokio::test]
async fn a_store_that_is_written_to_while_it_is_to_become_a_standby_stays_a_registry() {
    let leader = Leader::new().await;
    let store = memory();
    let bed = Bed::new(Arc::clone(&store));
    bed.share();
    let other = Api::new(registry(Arc::clone(&store)).await, About::default());
    let other = Arc::new(other);
    let (registering, is_first) = (Arc::clone(&other), Arc::new(AtomicBool::new(true)));
    bed.before_commit(move |commit| {
        let (other, is_first) = (Arc::clone(&registering), Arc::clone(&is_first));
        Box::pin(async move {
            if Marker::is_written_by(&commit) && is_first.swap(false, SeqCst) {
                let body = value!({"schema": "\"int\""});
                assert_eq!(ask(&other, "POST", "/subjects/own/versions", "", &body).await.0, 200);
            }
            Ok(())
        })
    });
    let registry = registry(bed).await;
    let (why, next) = refused(begin(&registry, &leader.followed(MassDeletion::Refused)).await);
    assert!(why.contains("changes came to this store") && next.contains("stop the other instances"), "{why}");
    assert_eq!(registry.unattended().state, State::None);
    let api = Api::new(registry, About::default());
    let body = value!({"schema": "\"long\""});
    assert_eq!(ask(&api, "POST", "/subjects/another/versions", "", &body).await.0, 200);
}

#[tokio::test]
async fn what_cannot_be_held_is_left_out_and_said() {
    let leader = Leader::behind(|asked| {
        let is_odd = asked.method == "GET" && asked.path == "/subjects/odd/versions/1";
        is_odd.then(|| {
            json(200, r#"{"subject":"odd","version":1,"id":2,"schemaType":"THRIFT","schema":"struct A {}"}"#)
        })
    })
    .await;
    leader.register("a", "\"int\"").await;
    leader.register("odd", "\"long\"").await;
    let standby = Standby::of(&leader).await;
    standby.settle().await;
    let status = standby.follower.status();
    assert_eq!((status.left_out, status.behind, status.state), (1, 0, State::Following), "{status:?}");
    let promotion = standby.promote().await;
    assert!(!promotion.caught_up && promotion.missing.is_some_and(|why| why.contains("cannot hold: 1")));
}

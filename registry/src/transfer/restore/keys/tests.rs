//! Keys from one stand-in to another: what is planned, what arrives, what a death in the middle leaves behind.

use super::double::{BARE, Double};
use super::*;
use crate::client::scripted::{Reply, Server, json};
use crate::transfer::Intents;
use crate::transfer::tests::{GO_ON, client};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

/// A journal in memory, that outlives its run.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Option<Vec<u8>>>>);

#[async_trait]
impl Intents for Kept {
    async fn load(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.0.lock().expect("unpoisoned").clone())
    }

    async fn store(&self, bytes: &[u8]) -> Result<()> {
        *self.0.lock().expect("unpoisoned") = Some(bytes.to_vec());
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        *self.0.lock().expect("unpoisoned") = None;
        Ok(())
    }

    fn name(&self) -> String {
        "the journal".to_owned()
    }
}

/// A registry with keys.
struct Site {
    double: Arc<Mutex<Double>>,
    server: Server,
    /// Requests that change something which are answered, before none is any more.
    left: Arc<AtomicUsize>,
    journal: Kept,
}

impl Site {
    async fn start() -> Self {
        let (double, left) =
            (Arc::new(Mutex::new(Double::default())), Arc::new(AtomicUsize::new(usize::MAX)));
        let (inner, counted) = (Arc::clone(&double), Arc::clone(&left));
        let server = Server::registry(move |_, asked| {
            if !asked.path.starts_with("/dek-registry/v1") {
                return None;
            }
            if asked.method != "GET"
                && counted.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err()
            {
                return Some(json(400, r#"{"error_code":400,"message":"no more of this"}"#));
            }
            let mut double = inner.lock().expect("unpoisoned");
            let (status, body) = double.answer(&asked.method, &asked.path, &asked.query, &asked.body);
            Some(json(status, &body))
        })
        .await;
        Self { double, server, left, journal: Kept::default() }
    }

    fn client(&self) -> Arc<Client> {
        client(&self.server.url)
    }

    /// Something that must succeed.
    fn ask(&self, method: &str, path: &str, body: &Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = format!("/dek-registry/v1{path}");
        let mut double = self.double.lock().expect("unpoisoned");
        let (status, answer) = double.answer(method, &path, query, body.to_string().as_bytes());
        assert!(status < 300, "{method} {path}: {status} {answer}");
    }

    fn kek(&self, name: &str, more: &Value) {
        let mut kek = json!({ "name": name, "kmsType": "aws-kms", "kmsKeyId": format!("arn:{name}") });
        kek.as_object_mut().expect("members").extend(more.as_object().cloned().unwrap_or_default());
        self.ask("POST", "/keks", &kek);
    }

    fn dek(&self, kek: &str, subject: &str, version: i32, algorithm: &str, wrapped: &str) {
        let dek = json!({
            "subject": subject, "version": version, "algorithm": algorithm, "encryptedKeyMaterial": wrapped,
        });
        self.ask("POST", &format!("/keks/{kek}/deks"), &dek);
    }

    /// Keys of all kinds and states.
    async fn furnished() -> Self {
        let site = Self::start().await;
        site.kek("pay", &json!({ "kmsProps": { "region": "eu" }, "doc": "of the till" }));
        site.dek("pay", "orders-value", 1, "AES256_GCM", "w1");
        site.dek("pay", "orders-value", 2, "AES256_GCM", "w2");
        site.dek("pay", "orders-value", 1, "AES256_SIV", "w3");
        site.dek("pay", ":.eu:a/b value", 1, "AES128_GCM", "w4");
        site.ask("DELETE", "/keks/pay/deks/orders-value/versions/1", &Value::Null);
        site.kek("shared", &json!({ "shared": true }));
        site.dek("shared", "users-value", 1, "AES256_GCM", "w5");
        site.kek("old", &Value::Null);
        site.dek("old", "orders-value", 1, "AES256_GCM", "w6");
        site.ask("DELETE", "/keks/old/deks/orders-value/versions/1", &Value::Null);
        site.ask("DELETE", "/keks/old", &Value::Null);
        site.kek("unused", &Value::Null);
        site
    }

    /// Everything that the client reads of it, by way of what an archive would hold.
    async fn archived(&self) -> Keys {
        let client = self.client();
        let names: Vec<String> = client.kek_names().try_collect().await.expect("names");
        let mut keys = Keys::default();
        for name in &names {
            keys.keks.extend(client.kek(name).await.expect("a KEK"));
            keys.deks.extend(client.deks(name).try_collect::<Vec<_>>().await.expect("DEKs"));
        }
        let stored = json!([keys.keks, keys.deks]).to_string();
        assert!(!stored.contains(BARE), "{stored}");
        let read: Value = serde_json::from_str(&stored).expect("JSON");
        let again = Keys {
            keks: serde_json::from_value(read[0].clone()).expect("KEKs"),
            deks: serde_json::from_value(read[1].clone()).expect("DEKs"),
        };
        assert_eq!((&again.keks, &again.deks), (&keys.keks, &keys.deks));
        again
    }

    async fn plan(&self, keys: &Keys, settings: &Settings) -> (KeyPlan, Journal) {
        let journal = Journal::open(Box::new(self.journal.clone()), &self.client()).await.expect("a journal");
        let plan = KeyPlan::of(keys, &self.client(), settings, &journal, GO_ON).await.expect("a plan");
        (plan, journal)
    }

    async fn restore(&self, keys: &Keys) -> Result<KeysPut> {
        let (plan, mut journal) = self.plan(keys, &Settings::default()).await;
        plan.put(&self.client(), &mut journal, GO_ON).await
    }

    fn held(&self) -> Value {
        self.double.lock().expect("unpoisoned").held()
    }

    fn is_settled(&self) -> bool {
        self.journal.0.lock().expect("unpoisoned").is_none()
    }
}

fn put(keks: u64, deks: u64, deleted: u64) -> KeysPut {
    KeysPut { keks, deks, deleted, not_taken: Vec::new() }
}

fn counts(counts: &KeyCounts) -> Vec<(KeyAction, u64)> {
    counts.iter().map(|(action, count)| (*action, *count)).collect()
}

#[tokio::test]
async fn all_keys_arrive_as_they_were_and_a_second_restore_finds_them() {
    let (from, to) = (Site::furnished().await, Site::start().await);
    let keys = from.archived().await;
    assert_eq!((keys.keks.len(), keys.deks.len()), (4, 6));
    let (plan, _) = to.plan(&keys, &Settings::default()).await;
    assert_eq!(counts(&plan.keks), [(KeyAction::Create, 4)]);
    assert_eq!(counts(&plan.deks), [(KeyAction::Create, 6)]);
    assert_eq!(to.held(), Site::start().await.held(), "a plan touches nothing");
    let done = to.restore(&keys).await.expect("restored");
    assert_eq!(done, put(4, 6, 3));
    assert_eq!(to.held(), from.held());
    let (plan, _) = to.plan(&keys, &Settings::default()).await;
    assert_eq!(
        (counts(&plan.keks), counts(&plan.deks)),
        (vec![(KeyAction::Exists, 4)], vec![(KeyAction::Exists, 6)])
    );
    assert_eq!(to.restore(&keys).await.expect("nothing to do"), KeysPut::default());
    assert_eq!(to.held(), from.held());
    // Nobody has asked for anything but keys as they are wrapped.
    for asked in [from.server.asked(), to.server.asked()].concat() {
        assert!(!asked.path.ends_with("/test") && !asked.query.contains("rewrap"), "{asked:?}");
    }
}

#[tokio::test]
async fn a_restore_that_dies_anywhere_comes_to_the_same_end() {
    let from = Site::furnished().await;
    let keys = from.archived().await;
    let mut cuts = 0;
    for left in 0.. {
        let to = Site::start().await;
        to.left.store(left, SeqCst);
        if to.restore(&keys).await.is_ok() {
            break;
        }
        cuts += 1;
        to.left.store(usize::MAX, SeqCst);
        to.restore(&keys).await.expect("restored");
        assert_eq!(to.held(), from.held(), "cut after {left}");
        assert!(to.is_settled());
    }
    assert_eq!(cuts, 13, "one for each change");
}

#[tokio::test]
async fn what_the_target_has_stays_and_another_key_of_the_name_is_in_the_way() {
    let from = Site::furnished().await;
    let keys = from.archived().await;
    let to = Site::start().await;
    to.kek("pay", &json!({ "kmsKeyId": "arn:other", "kmsProps": { "region": "us" }, "doc": "of the till" }));
    to.kek("shared", &json!({ "shared": true }));
    to.dek("shared", "users-value", 1, "AES256_GCM", "another");
    to.kek("own", &Value::Null);
    let before = to.held();
    for strategy in [Strategy::Preserve, Strategy::Overwrite] {
        let (plan, mut journal) = to.plan(&keys, &told(strategy)).await;
        let named: Vec<&str> = plan.obstacles.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(named, ["KEK pay", "DEK users-value version 1 (AES256_GCM) of KEK shared"]);
        assert!(plan.obstacles[0].why.contains("kmsKeyId differ"), "{:?}", plan.obstacles);
        assert!(!format!("{:?}", plan.obstacles).contains("arn:"), "credentials may be among them");
        let error = plan.put(&to.client(), &mut journal, GO_ON).await.expect_err("in the way");
        assert!(error.to_string().contains("KEK pay") && error.next_step().is_some(), "{error}");
        assert_eq!(to.held(), before);
    }
}

fn told(strategy: Strategy) -> Settings {
    Settings { strategy, ..Settings::default() }
}

/// A target that has the archive's keys, and two KEKs of them with other properties, one of these softly deleted.
async fn with_other_properties(keys: &Keys) -> Site {
    let to = Site::start().await;
    to.restore(keys).await.expect("restored");
    let other = json!({ "kmsProps": { "region": "us", "token": "secret" }, "doc": "", "shared": true });
    for kek in ["pay", "old"] {
        let is_deleted = kek == "old";
        if is_deleted {
            to.ask("POST", "/keks/old/undelete", &Value::Null);
        }
        to.ask("PUT", &format!("/keks/{kek}"), &other);
        if is_deleted {
            to.ask("DELETE", "/keks/old", &Value::Null);
        }
    }
    to
}

#[tokio::test]
async fn other_properties_of_a_kek_stay_unless_they_are_to_be_overwritten() {
    let from = Site::furnished().await;
    let keys = from.archived().await;
    for strategy in [Strategy::Preserve, Strategy::Skip] {
        let to = with_other_properties(&keys).await;
        let before = to.held();
        let (plan, mut journal) = to.plan(&keys, &told(strategy)).await;
        assert!(plan.obstacles.is_empty() && plan.is_empty(), "{:?}", plan.obstacles);
        assert_eq!(counts(&plan.keks), [(KeyAction::Exists, 4)]);
        let said = plan.warnings.join("\n");
        assert!(
            said.contains("KEK pay: kmsProps, doc, shared differ") && said.contains("overwrite"),
            "{said}"
        );
        assert!(said.contains("KEK old: ") && !said.contains("secret"), "{said}");
        assert_eq!(plan.put(&to.client(), &mut journal, GO_ON).await.expect("nothing"), KeysPut::default());
        assert_eq!(to.held(), before);
        // One that is brought back keeps them, too.
        to.ask("DELETE", "/keks/unused", &Value::Null);
        let mut wanted = keys.clone();
        let unused = wanted.keks.iter_mut().find(|kek| kek.name == "unused").expect("a KEK");
        unused.doc = Some("of another day".to_owned());
        assert_eq!(to.restore(&wanted).await.expect("restored"), put(1, 0, 0));
        assert_eq!(to.held(), before);
    }
}

#[tokio::test]
async fn properties_of_a_kek_are_overwritten_wherever_the_restore_is_cut() {
    let from = Site::furnished().await;
    let keys = from.archived().await;
    let overwrite = told(Strategy::Overwrite);
    let restore = async |to: &Site| {
        let (plan, mut journal) = to.plan(&keys, &overwrite).await;
        plan.put(&to.client(), &mut journal, GO_ON).await
    };
    let to = with_other_properties(&keys).await;
    let (plan, _) = to.plan(&keys, &overwrite).await;
    assert_eq!(counts(&plan.keks), [(KeyAction::Update, 2), (KeyAction::Exists, 2)]);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    // The deleted one is back for the time.
    assert_eq!(restore(&to).await.expect("restored"), put(3, 0, 1));
    assert_eq!(to.held(), from.held());
    assert_eq!(restore(&to).await.expect("nothing to do"), KeysPut::default());
    for left in 0..4 {
        let to = with_other_properties(&keys).await;
        to.left.store(left, SeqCst);
        restore(&to).await.expect_err("cut");
        to.left.store(usize::MAX, SeqCst);
        restore(&to).await.expect("restored");
        assert_eq!(to.held(), from.held(), "cut after {left}");
        assert!(to.is_settled());
    }
}

#[tokio::test]
async fn deleted_states_come_back_and_what_is_live_there_stays_so() {
    let from = Site::furnished().await;
    let keys = from.archived().await;
    let to = Site::start().await;
    to.restore(&keys).await.expect("restored");
    // Deleted since: it comes back.
    to.ask("DELETE", "/keks/unused", &Value::Null);
    to.ask("DELETE", "/keks/pay/deks/orders-value/versions/2", &Value::Null);
    assert_eq!(to.restore(&keys).await.expect("restored"), put(1, 1, 0));
    assert_eq!(to.held(), from.held());
    // Used again in the target: it stays, and that is said.
    to.ask("POST", "/keks/old/undelete", &Value::Null);
    let before = to.held();
    let (plan, _) = to.plan(&keys, &Settings::default()).await;
    assert!(plan.is_empty() && plan.warnings[0].contains("KEK old"), "{:?}", plan.warnings);
    assert_eq!(to.restore(&keys).await.expect("nothing to do"), KeysPut::default());
    assert_eq!(to.held(), before);
    // A deleted KEK that lacks a DEK is live only for the time.
    to.ask("DELETE", "/keks/old", &Value::Null);
    from.ask("POST", "/keks/old/undelete", &Value::Null);
    from.dek("old", "later-value", 1, "AES256_GCM", "w7");
    from.ask("DELETE", "/keks/old/deks/later-value/versions/1", &Value::Null);
    from.ask("DELETE", "/keks/old", &Value::Null);
    let keys = from.archived().await;
    assert_eq!(to.restore(&keys).await.expect("restored"), put(1, 1, 2));
    assert_eq!(to.held(), from.held());
}

#[tokio::test]
async fn subjects_get_their_names_and_what_is_not_wanted_stays() {
    let from = Site::furnished().await;
    let mut keys = from.archived().await;
    let bare = keys.deks.iter_mut().find(|dek| dek.version == 2).expect("a DEK");
    bare.encrypted_key_material = None;
    let to = Site::start().await;
    let mapping = [("orders-value".to_owned(), "restored".to_owned())];
    let settings = Settings {
        subject_mapping: mapping.clone().into(),
        subjects: crate::transfer::restore::Patterns::new(&["*-value".to_owned()], &[]).expect("patterns"),
        deleted: Choice::Left,
        ..Settings::default()
    };
    let (plan, mut journal) = to.plan(&keys, &settings).await;
    assert_eq!(counts(&plan.keks), [(KeyAction::Create, 3), (KeyAction::Stays, 1)]);
    assert_eq!(counts(&plan.deks), [(KeyAction::Create, 2), (KeyAction::Stays, 4)]);
    assert!(plan.warnings[0].contains("does not have the wrapped key"), "{:?}", plan.warnings);
    let left: Vec<&str> = plan.not_taken.iter().map(String::as_str).collect();
    let bare = "DEK orders-value version 2 (AES256_GCM) of KEK pay: the backup does not have the wrapped key";
    assert_eq!(left, [bare], "what is not asked for is not missed");
    plan.put(&to.client(), &mut journal, GO_ON).await.expect("restored");
    let held = to.held();
    let subjects: Vec<_> = held["deks"].as_array().expect("DEKs").iter().map(|dek| &dek["subject"]).collect();
    assert_eq!(subjects, ["restored", "users-value"]);
    // Two subjects that become one would be one key.
    let two = [mapping[0].clone(), ("users-value".to_owned(), "restored".to_owned())];
    let mut both = keys.clone();
    for dek in &mut both.deks {
        (dek.kek_name, dek.version, dek.algorithm) = ("pay".to_owned(), 1, "AES256_GCM".to_owned());
    }
    let settings = Settings { subject_mapping: two.into(), ..settings };
    let (plan, _) = Site::start().await.plan(&both, &settings).await;
    assert!(plan.obstacles[0].why.contains("two keys of the archive"), "{:?}", plan.obstacles);
}

#[tokio::test]
async fn a_registry_without_keys_is_named_with_what_stays() {
    let keys = Site::furnished().await.archived().await;
    let server = Server::registry(|_, _| None).await;
    let client = client(&server.url);
    assert!(!client.has_keys().await.expect("asked"));
    let kept = Kept::default();
    let mut journal = Journal::open(Box::new(kept), &client).await.expect("a journal");
    let plan = KeyPlan::of(&keys, &client, &Settings::default(), &journal, GO_ON).await.expect("a plan");
    assert!(plan.warnings[0].contains("4 KEKs and 6 DEKs stay in the backup"), "{:?}", plan.warnings);
    assert!(plan.lines()[0].contains("4 left in the backup"), "{:?}", plan.lines());
    assert_eq!(plan.not_taken.len(), 10);
    assert!(plan.not_taken[0].starts_with("KEK old: ") && plan.not_taken[0].contains("keeps no keys"));
    let chosen = Settings { deleted: Choice::Left, ..Settings::default() };
    let plan_of_live = KeyPlan::of(&keys, &client, &chosen, &journal, GO_ON).await.expect("a plan");
    assert_eq!(plan_of_live.not_taken.len(), 7, "{:?}", plan_of_live.not_taken);
    assert_eq!(plan.put(&client, &mut journal, GO_ON).await.expect("nothing"), KeysPut::default());
    // Without keys in the archive nobody is asked.
    let silent = Server::replying(|_, _| Reply::Gone).await;
    let client = crate::transfer::tests::client(&silent.url);
    KeyPlan::of(&Keys::default(), &client, &Settings::default(), &journal, GO_ON).await.expect("a plan");
    assert!(silent.asked().is_empty());
}

#[tokio::test]
async fn what_is_no_key_to_the_target_is_left_out_with_what_it_wraps() {
    let mut keys = Site::furnished().await.archived().await;
    for kek in keys.keks.iter_mut().filter(|kek| kek.name == "pay" || kek.name == "old") {
        kek.kms_type = "of-another-make".to_owned();
    }
    let to = Site::start().await;
    for what in ["first", "again"] {
        let done = to.restore(&keys).await.expect("all others come");
        let left: Vec<&str> = done.not_taken.iter().map(String::as_str).collect();
        assert_eq!(left.len(), 7, "{what}: {left:?}");
        assert!(
            left[0].starts_with("DEK :.eu:a/b value version 1 (AES128_GCM) of KEK pay: KEK pay is left out"),
            "{left:?}"
        );
        assert!(left[5].starts_with("KEK old: ") && left[5].contains("422/42271"), "{left:?}");
        let held = to.held();
        let names: Vec<_> = held["keks"].as_array().expect("KEKs").iter().map(|kek| &kek["name"]).collect();
        assert_eq!(names, ["shared", "unused"], "{what}");
        assert_eq!(held["deks"].as_array().expect("DEKs").len(), 1, "{what}");
        assert!(to.is_settled(), "{what}");
    }
    // What is refused for another reason may be taken later, and is no key that stays in the archive.
    to.left.store(0, SeqCst);
    let error = to.restore(&keys).await.expect_err("refused");
    assert!(error.to_string().contains("no more of this"), "{error}");
}

#[tokio::test]
async fn a_registry_that_makes_keys_of_its_own_is_found_out_and_no_answer_is_shown() {
    let keys = Site::furnished().await.archived().await;
    let to = Site::start().await;
    let double = Arc::clone(&to.double);
    let other = Server::replying(move |_, asked| {
        let body = String::from_utf8_lossy(&asked.body).replace("\"w", "\"other");
        let mut double = double.lock().expect("unpoisoned");
        let (status, body) = double.answer(&asked.method, &asked.path, &asked.query, body.as_bytes());
        json(status, &body)
    })
    .await;
    let client = crate::transfer::tests::client(&other.url);
    let kept = Kept::default();
    let mut journal = Journal::open(Box::new(kept), &client).await.expect("a journal");
    let plan = KeyPlan::of(&keys, &client, &Settings::default(), &journal, GO_ON).await.expect("a plan");
    let error = plan.put(&client, &mut journal, GO_ON).await.expect_err("another key");
    assert!(error.to_string().contains("answers another one"), "{error}");
    let broken = Server::replying(|_, _| json(200, &format!(r#"{{"keyMaterial":"{BARE}"}}"#))).await;
    let client = crate::transfer::tests::client(&broken.url);
    let error = client.dek("k", ("s", 1, "AES256_GCM")).await.expect_err("no DEK");
    assert!(!error.to_string().contains(BARE), "{error}");
    assert!(!format!("{:?} {:?}", keys.keks, keys.deks).contains("w1"));
}

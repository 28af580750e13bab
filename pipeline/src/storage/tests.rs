//! The contract on real servers, and what happens when answers are lost, late, cut or refused on the way.
//!
//! The servers come from the environment; without them a test says so and passes:
//!
//! * `REPLEVIN_TEST_S3_URL`, as `s3://bucket?endpoint=http://127.0.0.1:7070&allow_http=true`, with `AWS_ACCESS_KEY_ID`
//!   and `AWS_SECRET_ACCESS_KEY`
//! * `REPLEVIN_TEST_AZURE_URL`, as `azure://devstoreaccount1/container?endpoint=http://127.0.0.1:10000/devstoreaccount1`,
//!   with `AZURE_STORAGE_ACCOUNT_KEY`
//! * `REPLEVIN_TEST_GCS_URL`, as `gcs://bucket`, with credentials in the environment. An emulator must speak the XML
//!   interface, which fake-gcs-server does for reads only; so the GCS client always meets a small cloud in memory too.
//!
//! Bucket and container must exist.

mod cloud;
mod proxy;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use tokio::time::Instant;

use self::cloud::{Cloud, Conditions};
use self::proxy::{Action, Proxy, Rule, Upstream};
use super::meter::{Meter, Operation};
use super::settings::GcsSettings;
use super::{Created, IoSettings, StorageSettings, Store, open, open_metered, parse_url, probe, suite};
use crate::ErrorKind;
use crate::seam::Seam;

fn settings(variable: &str) -> Option<StorageSettings> {
    match std::env::var(variable) {
        Ok(url) => Some(parse_url(&url).unwrap()),
        Err(_) => {
            println!("skipped: {variable} is not set");
            None
        }
    }
}

/// Runs the suite at the bucket's top and below a prefix.
async fn run_suite(variable: &str) {
    let Some(mut settings) = settings(variable) else { return };
    let io = IoSettings { part_size: 5 << 20, ..IoSettings::default() };
    suite::run(open(&settings, &io).unwrap(), suite::Options::default()).await.unwrap();
    match &mut settings {
        StorageSettings::S3(s3) => s3.prefix = Some("a/pre fix".to_owned()),
        StorageSettings::Azure(azure) => azure.prefix = Some("a/pre fix".to_owned()),
        StorageSettings::Gcs(gcs) => gcs.prefix = Some("a/pre fix".to_owned()),
        StorageSettings::Filesystem { .. } | StorageSettings::Memory => {}
    }
    let options = suite::Options { listed: 20, races: 1, ..suite::Options::default() };
    suite::run(open(&settings, &io).unwrap(), options).await.unwrap();
    let store = open(&settings, &io).unwrap();
    let seen = probe::probe(&*store, "", &*Seam::system().rand).await.unwrap();
    assert!(seen.create_only);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_s3_server_keeps_the_contract() {
    run_suite("REPLEVIN_TEST_S3_URL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_azure_server_keeps_the_contract() {
    run_suite("REPLEVIN_TEST_AZURE_URL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gcs_client_keeps_the_contract_with_a_cloud_in_memory() {
    let proxy = Proxy::start(Upstream::Memory(Cloud::new(Conditions::Honoured))).await;
    let gcs =
        GcsSettings { bucket: "bucket".to_owned(), endpoint: Some(proxy.url()), ..GcsSettings::default() };
    let io = IoSettings { part_size: 5 << 20, ..IoSettings::default() };
    let gcs = open(&StorageSettings::Gcs(gcs), &io).unwrap();
    assert!(probe::probe(&*gcs, "", &*Seam::system().rand).await.unwrap().create_only);
    suite::run(gcs, suite::Options::default()).await.unwrap();
    assert_eq!(proxy.objects(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gcs_server_keeps_the_contract() {
    run_suite("REPLEVIN_TEST_GCS_URL").await;
}

/// An impatient store behind a proxy, before a real S3 server.
struct Rig {
    proxy: Proxy,
    store: Arc<dyn Store>,
    meter: Arc<Meter>,
    folder: String,
}

fn impatient() -> IoSettings {
    IoSettings {
        request_timeout: Duration::from_secs(2),
        stall_timeout: Duration::from_millis(300),
        retry_for: Duration::from_secs(3),
        retry_base: Duration::from_millis(10),
        retry_cap: Duration::from_millis(100),
        part_size: 5 << 20,
        ..IoSettings::default()
    }
}

async fn rig() -> Option<Rig> {
    let Some(StorageSettings::S3(mut s3)) = settings("REPLEVIN_TEST_S3_URL") else { return None };
    let upstream = s3.endpoint.take().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let proxy = Proxy::start(Upstream::Server(upstream)).await;
    s3.endpoint = Some(proxy.url());
    let seam = Seam::system();
    let folder = format!("faults-{:016x}/", seam.rand.next_u64());
    let meter = Arc::new(Meter::default());
    let store = open_metered(&StorageSettings::S3(s3), &impatient(), &seam, Arc::clone(&meter)).unwrap();
    Some(Rig { proxy, store, meter, folder })
}

impl Rig {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    async fn create(&self, key: &str, body: &'static str) -> Created {
        self.store.create(key, vec![Bytes::from_static(body.as_bytes())]).await.unwrap()
    }
}

fn large() -> Vec<Bytes> {
    (0..12_u8).map(|n| Bytes::from(vec![n; 1 << 20])).collect()
}

#[tokio::test]
async fn a_lost_answer_to_a_put_is_unclear_and_the_object_is_ours() {
    let Some(rig) = rig().await else { return };
    let key = rig.key("lost");
    rig.proxy.rule(Rule::new("PUT", "/lost", 1, Action::LoseAnswer));
    let created = rig.create(&key, "mine").await;
    assert!(matches!(&created, Created::Unclear(why) if why.contains("earlier attempt")), "{created:?}");
    assert_eq!(rig.store.get(&key, 100).await.unwrap().unwrap(), "mine");

    let key = rig.key("always-lost");
    rig.proxy.rule(Rule::new("PUT", "/always-lost", usize::MAX, Action::LoseAnswer));
    let started = Instant::now();
    let created = rig.create(&key, "mine").await;
    assert!(matches!(created, Created::Unclear(_)), "{created:?}");
    assert!(started.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn a_request_that_never_arrives_is_sent_again() {
    let Some(rig) = rig().await else { return };
    rig.proxy.rule(Rule::new("PUT", "/cut", 2, Action::Hangup));
    let created = rig.create(&rig.key("cut"), "x").await;
    assert!(matches!(created, Created::New(_)), "{created:?}");
    assert_eq!(rig.meter.requests(Operation::Create), 3);
}

#[tokio::test]
async fn an_unanswered_put_ends_unclear_within_the_patience() {
    let Some(rig) = rig().await else { return };
    rig.proxy.rule(Rule::new("PUT", "/silence", usize::MAX, Action::Silence));
    let started = Instant::now();
    let created = rig.create(&rig.key("silence"), "x").await;
    assert!(matches!(&created, Created::Unclear(why) if why.contains("no answer")), "{created:?}");
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_conflict_is_never_taken_for_an_answer() {
    let Some(rig) = rig().await else { return };
    let conflict = || {
        Action::Answer(409, "<Error><Code>ConditionalRequestConflict</Code><Message>again</Message></Error>")
    };
    rig.proxy.rule(Rule::new("PUT", "/conflict", 2, conflict()));
    let created = rig.create(&rig.key("conflict"), "x").await;
    assert!(matches!(created, Created::New(_)), "{created:?}");
    rig.proxy.rule(Rule::new("PUT", "/endless", usize::MAX, conflict()));
    let created = rig.create(&rig.key("endless"), "x").await;
    assert!(
        matches!(&created, Created::Unclear(why) if why.contains("ConditionalRequestConflict")),
        "{created:?}"
    );
}

#[tokio::test]
async fn bursts_of_busy_answers_are_waited_out() {
    let Some(rig) = rig().await else { return };
    let busy = || {
        Action::Answer(503, "<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>")
    };
    let key = rig.key("busy");
    rig.proxy.rule(Rule::new("PUT", "/busy", 4, busy()));
    assert!(matches!(rig.create(&key, "x").await, Created::New(_)));
    assert_eq!(rig.create(&key, "y").await, Created::Exists);
    for (method, text) in [("GET", "busy"), ("HEAD", "busy"), ("GET", "list-type"), ("DELETE", "busy")] {
        rig.proxy.rule(Rule::new(method, text, 3, Action::Answer(500, "")));
    }
    assert_eq!(rig.store.get(&key, 10).await.unwrap().unwrap(), "x");
    assert!(rig.store.head(&key).await.unwrap().is_some());
    assert_eq!(rig.store.list(&rig.folder, None).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    rig.store.delete(&key).await.unwrap();
    assert!(rig.meter.retries() >= 13, "{:?}", rig.meter);

    rig.proxy.rule(Rule::new("GET", "/endless", usize::MAX, busy()));
    let error = rig.store.get(&rig.key("endless"), 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.message().contains("gave up after") && error.message().contains("SlowDown"), "{error}");
    rig.proxy.rule(Rule::new("PUT", "/endless", usize::MAX, busy()));
    let error = rig.store.create(&rig.key("endless"), Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "a busy store did nothing, which is clear: {error}");
}

#[tokio::test]
async fn a_cut_or_stalled_body_is_read_again() {
    let Some(rig) = rig().await else { return };
    let key = rig.key("body");
    let body = Bytes::from(vec![7; 300_000]);
    rig.store.create(&key, vec![body.clone()]).await.unwrap();
    for action in [Action::CutBody(1000), Action::StallBody(100_000), Action::CutBody(0)] {
        rig.proxy.rule(Rule::new("GET", "/body", 2, action));
        assert_eq!(rig.store.get(&key, 1 << 20).await.unwrap().unwrap(), body);
    }
    for action in [Action::CutBody(10), Action::StallBody(10)] {
        rig.proxy.rule(Rule::new("GET", "/body", 1, action));
        assert_eq!(rig.store.get_range(&key, 5..200_005).await.unwrap().len(), 200_000);
    }
    rig.proxy.rule(Rule::new("GET", "/body", usize::MAX, Action::CutBody(5)));
    let error = rig.store.get(&key, 1 << 20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
}

#[tokio::test]
async fn only_the_part_that_failed_is_sent_again() {
    let Some(rig) = rig().await else { return };
    rig.proxy.rule(Rule::new("PUT", "partNumber=2", 1, Action::Answer(500, "")));
    rig.proxy.rule(Rule::new("PUT", "partNumber=1", 1, Action::LoseAnswer));
    let key = rig.key("parts");
    assert!(matches!(rig.store.create(&key, large()).await.unwrap(), Created::New(_)));
    let sent = |text: &str| rig.proxy.seen("PUT", text);
    assert_eq!((sent("partNumber=1"), sent("partNumber=2"), sent("partNumber=3")), (2, 2, 1));
    assert_eq!(rig.store.get(&key, 1 << 30).await.unwrap().unwrap(), large().concat());
}

#[tokio::test]
async fn a_lost_answer_to_the_last_step_of_an_upload_is_settled_by_looking() {
    let Some(rig) = rig().await else { return };
    rig.proxy.rule(Rule::new("POST", "uploadId=", 1, Action::LoseAnswer));
    let key = rig.key("complete");
    let created = rig.store.create(&key, large()).await.unwrap();
    assert!(matches!(created, Created::New(_)), "{created:?}");
    assert_eq!(rig.store.head(&key).await.unwrap().unwrap().size, 12 << 20);
    // The last step never gets through: nobody knows, and nothing is there.
    rig.proxy.rule(Rule::new("POST", "uploadId=", usize::MAX, Action::Silence));
    let created = rig.store.create(&rig.key("never"), large()).await.unwrap();
    assert!(matches!(created, Created::Unclear(_)), "{created:?}");
}

#[tokio::test]
async fn an_upload_that_fails_is_given_up_and_one_that_dies_is_swept() {
    let Some(rig) = rig().await else { return };
    let denied = Action::Answer(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>");
    rig.proxy.rule(Rule::new("PUT", "partNumber=2", usize::MAX, denied));
    let error = rig.store.create(&rig.key("refused"), large()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert_eq!(rig.store.sweep_unfinished(&rig.folder, i64::MAX, false).await.unwrap(), 0);

    rig.proxy.clear();
    rig.proxy.rule(Rule::new("PUT", "partNumber=2", usize::MAX, Action::Silence));
    let key = rig.key("dies/object");
    let dead = tokio::time::timeout(Duration::from_millis(1500), rig.store.create(&key, large())).await;
    assert!(dead.is_err());
    assert_eq!(rig.store.sweep_unfinished(&rig.folder, 0, true).await.unwrap(), 0, "it is young");
    assert_eq!(rig.store.sweep_unfinished(&rig.key("other/"), i64::MAX, true).await.unwrap(), 0);
    assert_eq!(rig.store.sweep_unfinished(&rig.folder, i64::MAX, false).await.unwrap(), 1);
    assert_eq!(rig.store.sweep_unfinished(&rig.folder, i64::MAX, true).await.unwrap(), 1);
    assert_eq!(rig.store.sweep_unfinished(&rig.folder, i64::MAX, true).await.unwrap(), 0);
}

#[tokio::test]
async fn refusals_name_the_operation_and_the_way_out_and_are_not_repeated() {
    let Some(rig) = rig().await else { return };
    let key = rig.key("refused");
    let denied =
        || Action::Answer(403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>");
    for method in ["PUT", "GET", "HEAD", "DELETE"] {
        rig.proxy.rule(Rule::new(method, "", usize::MAX, denied()));
    }
    let errors = [
        (rig.store.create(&key, Vec::new()).await.unwrap_err(), "create"),
        (rig.store.replace_view(&key, Bytes::new()).await.unwrap_err(), "replace"),
        (rig.store.get(&key, 1).await.unwrap_err(), "get"),
        (rig.store.get_range(&key, 0..1).await.unwrap_err(), "get"),
        (rig.store.head(&key).await.unwrap_err(), "head"),
        (rig.store.delete(&key).await.unwrap_err(), "delete"),
        (rig.store.list(&rig.folder, None).try_collect::<Vec<_>>().await.unwrap_err(), "list"),
        (rig.store.folders(&rig.folder).await.unwrap_err(), "list"),
    ];
    for (error, operation) in errors {
        assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
        assert!(error.message().starts_with(&format!("cannot {operation}")), "{error}");
        assert!(error.next_step().is_some());
    }
    assert_eq!(rig.meter.retries(), 0);

    rig.proxy.clear();
    let skewed = "<Error><Code>RequestTimeTooSkewed</Code><Message>too large</Message></Error>";
    rig.proxy.rule(Rule::new("GET", "", 1, Action::Answer(403, skewed)));
    let error = rig.store.get(&key, 1).await.unwrap_err();
    assert!(error.message().contains("clocks"), "{error}");
    let expired = "<Error><Code>ExpiredToken</Code><Message>expired</Message></Error>";
    rig.proxy.rule(Rule::new("GET", "", 1, Action::Answer(400, expired)));
    assert_eq!(rig.store.get(&key, 1).await.unwrap_err().kind(), ErrorKind::Credentials);
}

#[tokio::test]
async fn wrong_buckets_and_wrong_keys_are_told_apart() {
    let Some(StorageSettings::S3(s3)) = settings("REPLEVIN_TEST_S3_URL") else { return };
    let nowhere = super::settings::S3Settings { bucket: "no-such-bucket-here".to_owned(), ..s3.clone() };
    let store = open(&StorageSettings::S3(nowhere), &impatient()).unwrap();
    let error = store.get("a", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    assert!(error.message().contains("bucket does not exist"), "{error}");
    assert_eq!(store.create("a", Vec::new()).await.unwrap_err().kind(), ErrorKind::Input);
    let wrong = super::settings::S3Settings {
        access_key: Some(crate::secret::Secret::new("nobody")),
        secret_key: Some(crate::secret::Secret::new("hunter2")),
        ..s3
    };
    let store = open(&StorageSettings::S3(wrong), &impatient()).unwrap();
    let error = store.create("a", Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    assert!(!format!("{error} {error:?} {store:?}").contains("hunter2"));
}

async fn careless() -> Proxy {
    Proxy::start(Upstream::Memory(Cloud::new(Conditions::Ignored))).await
}

fn s3_at(url: &str) -> StorageSettings {
    let mut settings = super::settings::S3Settings {
        bucket: "bucket".to_owned(),
        endpoint: Some(url.to_owned()),
        allow_http: true,
        access_key: Some(crate::secret::Secret::new("key")),
        ..super::settings::S3Settings::default()
    };
    settings.secret_key = Some(crate::secret::Secret::new("hunter2"));
    StorageSettings::S3(settings)
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_found_and_refused_in_words() {
    let proxy = careless().await;
    let store = open(&s3_at(&proxy.url()), &impatient()).unwrap();
    let seen = probe::probe(&*store, "backup/", &*Seam::system().rand).await.unwrap();
    assert!(!seen.create_only);
    let error = seen.require_create_only(&*store).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.message().contains("If-None-Match is ignored"), "{error}");
    assert_eq!(proxy.objects(), 0, "the probe is gone");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_passing_trouble_and_clearly_did_nothing() {
    let proxy = careless().await;
    let url = proxy.url();
    drop(proxy);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let store = open(&s3_at(&url), &impatient()).unwrap();
    let error = store.create("a", vec![Bytes::from_static(b"x")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.message().contains("no connection"), "{error}");
    let text = format!("{error} {error:?} {store:?}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn an_unencrypted_endpoint_must_be_allowed() {
    let StorageSettings::S3(mut s3) = s3_at("http://127.0.0.1:1") else { panic!("not s3") };
    s3.allow_http = false;
    let error = open(&StorageSettings::S3(s3), &IoSettings::default()).unwrap_err();
    assert!(error.next_step().unwrap().contains("allow_http"));
}

//! What happens when answers are lost, late, cut or refused on the way to a real S3 server: one fault a test.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use pipeline::ErrorKind;
use pipeline::seam::Seam;
use pipeline::secret::Secret;
use pipeline::storage::meter::Operation;
use pipeline::storage::settings::S3Settings;
use pipeline::storage::{Created, StorageSettings, open, probe};
use tokio::time::Instant;

use super::cloud::{Cloud, Conditions};
use super::proxy::{Action, Proxy, Rule, Upstream};
use super::{impatient, rig, s3, s3_at};

fn large() -> Vec<Bytes> {
    (0..12_u8).map(|n| Bytes::from(vec![n; 1 << 20])).collect()
}

#[tokio::test]
async fn a_lost_answer_to_a_put_is_unclear_and_the_object_is_ours() {
    let rig = rig().await;
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
    let rig = rig().await;
    rig.proxy.rule(Rule::new("PUT", "/cut", 2, Action::Hangup));
    let created = rig.create(&rig.key("cut"), "x").await;
    assert!(matches!(created, Created::New(_)), "{created:?}");
    assert_eq!(rig.meter.requests(Operation::Create), 3);
}

#[tokio::test]
async fn an_unanswered_put_ends_unclear_within_the_patience() {
    let rig = rig().await;
    rig.proxy.rule(Rule::new("PUT", "/silence", usize::MAX, Action::Silence));
    let started = Instant::now();
    let created = rig.create(&rig.key("silence"), "x").await;
    assert!(matches!(&created, Created::Unclear(why) if why.contains("no answer")), "{created:?}");
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_conflict_is_never_taken_for_an_answer() {
    let rig = rig().await;
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
    let rig = rig().await;
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
    let rig = rig().await;
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
    let rig = rig().await;
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
    let rig = rig().await;
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
    let rig = rig().await;
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
    let rig = rig().await;
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
    let StorageSettings::S3(s3) = s3_at(&s3().endpoint) else { panic!("not s3") };
    let nowhere = S3Settings { bucket: "no-such-bucket-here".to_owned(), ..s3.clone() };
    let store = open(&StorageSettings::S3(nowhere), &impatient()).unwrap();
    let error = store.get("a", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    assert!(error.message().contains("bucket does not exist"), "{error}");
    assert_eq!(store.create("a", Vec::new()).await.unwrap_err().kind(), ErrorKind::Input);
    let wrong = S3Settings {
        access_key: Some(Secret::new("nobody")),
        secret_key: Some(Secret::new("hunter2")),
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

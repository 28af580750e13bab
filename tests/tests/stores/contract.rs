//! The pipeline's suite, run against each server.

use std::sync::Arc;

use bytes::Bytes;
use pipeline::ErrorKind;
use pipeline::seam::Seam;
use pipeline::secret::Secret;
use pipeline::storage::settings::{AzureSettings, GcsSettings};
use pipeline::storage::{Created, IoSettings, StorageSettings, Store, open, probe, suite};
use sandbox::azure::{ACCOUNT, Azure, KEY};
use sandbox::gcs::Gcs;
use sandbox::http;

use super::cloud::{Cloud, Conditions};
use super::proxy::{Proxy, Upstream};
use super::{impatient, s3, s3_at};

fn small_parts() -> IoSettings {
    IoSettings { part_size: 5 << 20, ..IoSettings::default() }
}

/// Runs the suite at the bucket's top and below a prefix.
async fn keeps_the_contract(mut settings: StorageSettings) {
    let io = small_parts();
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
    assert!(creates_once(&store).await);
}

async fn creates_once(store: &Arc<dyn Store>) -> bool {
    probe::probe(&**store, "", &*Seam::system().rand).await.unwrap().create_only
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_s3_server_keeps_the_contract() {
    keeps_the_contract(s3_at(&s3().endpoint)).await;
}

/// Earlier versions are kept and seen by nobody who does not ask for them. Not the whole suite: this server shows folders
/// that hold deleted objects only, and refuses a key whose object was deleted, as Amazon's does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_s3_bucket_with_versions_keeps_the_contract() {
    s3().create_bucket("versioned");
    s3().enable_versioning("versioned");
    let StorageSettings::S3(mut settings) = s3_at(&s3().endpoint) else { panic!("not s3") };
    settings.bucket = "versioned".to_owned();
    let store = open(&StorageSettings::S3(settings), &small_parts()).unwrap();
    let options = suite::Options { races: 2, ..suite::Options::default() };
    suite::one_creator_wins(&store, "race/", &options).await.unwrap();
    suite::bodies_are_whole(&*store, "whole/").await.unwrap();
    suite::ranges(&*store, "ranges/").await.unwrap();
    suite::listings(&*store, "list/").await.unwrap();
    suite::views(&*store, "view/").await.unwrap();
    suite::large_bodies(&*store, "large/", options.large).await.unwrap();

    let Ok(Created::New(version)) = store.create("kept", vec![Bytes::from_static(b"first")]).await else {
        panic!("not created")
    };
    let version_id = version.version_id.unwrap();
    let first = async || store.get_version_range("kept", &version_id, 1..4).await.unwrap();
    store.replace_view("kept", Bytes::from_static(b"second")).await.unwrap();
    assert_eq!((first().await, store.get_range("kept", 1..4).await.unwrap()), ("irs".into(), "eco".into()));
    store.delete("kept").await.unwrap();
    assert_eq!(first().await, "irs");
    assert!(store.head("kept").await.unwrap().is_none());
    let unknown = store.get_version_range("kept", "01ARZ3NDEKTSV4RRFFQ69G5FAV", 0..1).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "{unknown}");
}

fn azure(server: &Azure, container: &str, key: &str) -> StorageSettings {
    StorageSettings::Azure(AzureSettings {
        account_name: ACCOUNT.to_owned(),
        container_name: container.to_owned(),
        account_key: Some(Secret::new(key)),
        endpoint: Some(server.endpoint.clone()),
        ..AzureSettings::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_azure_server_keeps_the_contract_and_tells_wrong_settings_apart() {
    let server = Azure::start();
    server.create_container("container");
    keeps_the_contract(azure(&server, "container", KEY)).await;

    let nowhere = open(&azure(&server, "no-such-container", KEY), &impatient()).unwrap();
    let error = nowhere.create("a", vec![Bytes::from_static(b"x")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    assert!(error.message().contains("does not exist"), "{error}");
    let error = nowhere.get("a", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    let wrong = "aHVudGVyMg==";
    let stranger = open(&azure(&server, "container", wrong), &impatient()).unwrap();
    let error = stranger.create("a", vec![Bytes::from_static(b"x")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    assert!(!format!("{error} {error:?} {stranger:?}").contains(wrong));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gcs_client_keeps_the_contract_with_a_cloud_in_memory() {
    let proxy = Proxy::start(Upstream::Memory(Cloud::new(Conditions::Honoured))).await;
    let gcs =
        GcsSettings { bucket: "bucket".to_owned(), endpoint: Some(proxy.url()), ..GcsSettings::default() };
    let gcs = open(&StorageSettings::Gcs(gcs), &small_parts()).unwrap();
    assert!(creates_once(&gcs).await);
    suite::run(gcs, suite::Options::default()).await.unwrap();
    assert_eq!(proxy.objects(), 0);
}

/// What the emulator can: an object that was put over its JSON interface is read as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gcs_client_reads_from_the_emulator() {
    let server = Gcs::start();
    server.create_bucket("bucket");
    let path = "/upload/storage/v1/b/bucket/o?uploadType=media&name=a%2Fb";
    let put = http::request(&server.address(), "POST", path, &[], b"0123456789").unwrap();
    assert_eq!(put.status, 200, "{}", put.text());
    let gcs = GcsSettings {
        bucket: "bucket".to_owned(),
        endpoint: Some(server.endpoint.clone()),
        ..GcsSettings::default()
    };
    let gcs = open(&StorageSettings::Gcs(gcs), &impatient()).unwrap();
    assert_eq!(gcs.get("a/b", 10).await.unwrap().unwrap(), "0123456789");
    assert_eq!(gcs.get_range("a/b", 3..7).await.unwrap(), "3456");
    assert_eq!(gcs.head("a/b").await.unwrap().unwrap().size, 10);
    assert!(gcs.get("a/c", 10).await.unwrap().is_none());
}

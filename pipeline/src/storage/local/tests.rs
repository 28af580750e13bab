//! What only a file system can get wrong.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use futures::TryStreamExt;

use super::*;
use crate::seam::Seam;
use crate::storage::settings::IoSettings;
use crate::storage::suite;

fn store(root: &Path) -> LocalStore {
    let place = format!("file://{}", root.display());
    let calls = Calls { place, io: IoSettings::default(), meter: Arc::default(), seam: Seam::system() };
    LocalStore::new(root.to_owned(), calls)
}

fn part(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    suite::run(Arc::new(store(&root.path().join("new/below"))), suite::Options::default()).await.unwrap();
}

#[tokio::test]
async fn leftovers_of_a_killed_writer_are_hidden_and_swept() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.create("a/b/object", part("x")).await.unwrap();
    let leftover = root.path().join("a/b").join(format!("{}1-2", key::TEMPORARY));
    fs::write(&leftover, b"half").unwrap();
    let seen: Vec<_> = store.list("", None).try_collect().await.unwrap();
    assert_eq!(seen.iter().map(|found| found.key.as_str()).collect::<Vec<_>>(), ["a/b/object"]);
    assert_eq!(store.sweep_unfinished("", 0, true).await.unwrap(), 0, "it is young");
    assert_eq!(store.sweep_unfinished("a/", i64::MAX, false).await.unwrap(), 1);
    assert!(leftover.exists(), "a dry run removes nothing");
    assert_eq!(store.sweep_unfinished("", i64::MAX, true).await.unwrap(), 1);
    assert!(!leftover.exists());
    assert!(store.head("a/b/object").await.unwrap().is_some());
}

#[tokio::test]
async fn nothing_temporary_stays_behind() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.create("a", part("1")).await.unwrap();
    assert_eq!(store.create("a", part("2")).await.unwrap(), Created::Exists);
    store.replace_view("a", Bytes::from_static(b"3")).await.unwrap();
    let names: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a"]);
}

#[tokio::test]
async fn keys_do_not_leave_the_root() {
    let outer = tempfile::tempdir().unwrap();
    fs::write(outer.path().join("secret"), b"x").unwrap();
    let store = store(&outer.path().join("root"));
    for key in ["../secret", "/etc/passwd", "a/../../secret", "a\0b"] {
        assert!(store.get(key, 10).await.is_err(), "{key}");
        assert!(store.create(key, part("x")).await.is_err(), "{key}");
        assert!(store.delete(key).await.is_err(), "{key}");
    }
    assert!(outer.path().join("secret").exists());
}

#[tokio::test]
async fn a_folder_removed_under_a_running_store_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.create("a/b/1", part("1")).await.unwrap();
    fs::remove_dir_all(root.path().join("a")).unwrap();
    assert!(matches!(store.create("a/b/2", part("2")).await.unwrap(), Created::New(_)));
}

#[tokio::test]
async fn a_file_where_a_folder_should_be_is_said() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.create("a", part("1")).await.unwrap();
    let error = store.create("a/b", part("1")).await.unwrap_err();
    assert!(error.message().contains("a part of the path is a file"), "{error}");
    assert_eq!(store.get("a/b", 9).await.unwrap(), None);
    store.create("c/d", part("1")).await.unwrap();
    let error = store.create("c", part("1")).await.unwrap_err();
    assert!(error.message().contains("a folder stands where an object should be"), "{error}");
    assert_eq!(store.get("c", 9).await.unwrap(), None);
}

#[tokio::test]
async fn a_body_of_thousands_of_parts_is_written_in_order() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let body: Vec<Bytes> = (0_u32..5000)
        .map(|n| if n % 7 == 0 { Bytes::new() } else { n.to_be_bytes().to_vec().into() })
        .collect();
    let whole: Vec<u8> = body.concat();
    store.create("big", body).await.unwrap();
    assert_eq!(store.get("big", 1 << 20).await.unwrap().unwrap(), whole);
}

#[test]
fn errors_say_what_to_do() {
    let words = |code| io_error("write", Path::new("/x/y"), io::Error::from_raw_os_error(code)).to_string();
    assert!(words(28).contains("cannot write /x/y: no space is left"), "{}", words(28)); // ENOSPC
    assert!(words(122).contains("quota"), "{}", words(122)); // EDQUOT
    assert!(words(30).contains("read-only"), "{}", words(30)); // EROFS
    assert!(words(13).contains("permission denied"), "{}", words(13)); // EACCES
    let link = write::link_error(Path::new("/x/y"), io::Error::from_raw_os_error(1)); // EPERM, as vfat answers
    assert!(link.message().contains("hard links"), "{link}");
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_is_said() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let result = store(root.path()).create("a/b", part("x")).await;
    if fs::write(root.path().join("probe"), b"").is_ok() {
        println!("skipped: this user may write everywhere");
        return;
    }
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Credentials);
}

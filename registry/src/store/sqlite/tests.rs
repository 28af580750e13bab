//! The suite, and what only a file can show.

use super::*;
use crate::store::suite;
use std::fs;

async fn open(folder: &Path) -> SqliteStore {
    SqliteStore::connect(SqliteSettings::new(folder)).await.expect("a store")
}

#[tokio::test]
async fn passes_the_suite() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await;
    suite::passes(&store, "sqlite").await;
    suite::survives_reopening(&store, "sqlite").await.is_kept_by(&open(folder.path()).await).await;
    let file = Connection::open(folder.path().join(FILE)).expect("the file");
    let largest: i64 = file.query_row("SELECT MAX(id) FROM schemas", [], |row| row.get(0)).expect("a number");
    assert!((1..1 << 31).contains(&largest), "people see ids as clients know them, not {largest}");
}

#[tokio::test]
async fn older_tables_are_brought_up_to_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let held = suite::survives_reopening(&open(folder.path()).await, "older").await;
    let file = Connection::open(folder.path().join(FILE)).expect("the file");
    file.execute_batch("DROP VIEW schemas; CREATE VIEW schemas AS SELECT 0 AS id; PRAGMA user_version = 1")
        .expect("a change");
    held.is_kept_by(&open(folder.path()).await).await;
    let ids: i64 = file.query_row("SELECT SUM(id) FROM schemas", [], |row| row.get(0)).expect("a number");
    assert!(ids > 0, "the view is that of the newest version");
}

/// Two connections that do not know of each other, as of two processes.
#[tokio::test(flavor = "multi_thread")]
async fn survives_races() {
    let folder = tempfile::tempdir().expect("a folder");
    let stores: Vec<Arc<dyn Store>> =
        vec![Arc::new(open(folder.path()).await), Arc::new(open(folder.path()).await)];
    suite::survives_races(stores, "sqlite", 50, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_start_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let starts = (0..8).map(|_| {
        let settings = SqliteSettings::new(folder.path().join("new"));
        tokio::spawn(async move { SqliteStore::connect(settings).await?.heads().await })
    });
    let mut epochs = std::collections::BTreeSet::new();
    for start in starts.collect::<Vec<_>>() {
        epochs.insert(start.await.expect("a task").expect("a start").epoch);
    }
    assert_eq!(epochs.len(), 1, "{epochs:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await;
    suite::passes(&store, "rights").await;
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name());
    }
    assert_eq!(names.len(), 3, "{names:?}");
}

#[tokio::test]
async fn a_newer_file_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    open(folder.path()).await.close().await;
    let file = folder.path().join(FILE);
    Connection::open(&file).and_then(|file| file.pragma_update(None, "user_version", 99)).expect("a change");
    let error = SqliteStore::connect(SqliteSettings::new(folder.path())).await.expect_err("a refusal");
    assert!(error.to_string().contains("version 99"), "{error}");
}

#[tokio::test]
async fn what_is_no_database_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(FILE), vec![b'x'; 8192]).expect("a file");
    let error = SqliteStore::connect(SqliteSettings::new(folder.path())).await.expect_err("a refusal");
    assert!(matches!(&error, StoreError::Corrupt(why) if why.contains(FILE)), "{error}");
}

#[tokio::test]
async fn a_foreign_lock_is_waited_for_and_then_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = SqliteSettings::new(folder.path());
    settings.busy_timeout = Duration::from_millis(100);
    let store = SqliteStore::connect(settings).await.expect("a store");
    let other = Connection::open(folder.path().join(FILE)).expect("another one");
    other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    let error = store.commit(&suite::first_commit("locked")).await.expect_err("locked out");
    assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("lock")), "{error}");
    store.heads().await.expect("readers are not locked out");
    other.execute_batch("ROLLBACK").expect("no lock");
    store.commit(&suite::first_commit("locked")).await.expect("the lock is gone");
}

#[tokio::test]
async fn a_file_that_was_replaced_is_not_written_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await;
    fs::rename(folder.path().join(FILE), folder.path().join("moved")).expect("a move");
    let error = store.commit(&suite::first_commit("replaced")).await.expect_err("a refusal");
    assert!(error.to_string().contains("replaced"), "{error}");
    assert!(store.heads().await.is_err());
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await;
    store.commit(&suite::first_commit("closed")).await.expect("a commit");
    store.close().await;
    assert!(matches!(store.heads().await, Err(StoreError::Unavailable(why)) if why.contains("closed")));
    assert!(!folder.path().join(format!("{FILE}-wal")).exists(), "the log was written back");
}

#[tokio::test]
async fn the_view_is_for_people() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await;
    store.commit(&suite::first_commit("view")).await.expect("a commit");
    let file = Connection::open(folder.path().join(FILE)).expect("the file");
    let sql = "SELECT subject || version || id || type || text FROM schemas";
    let row: String = file.query_row(sql, [], |row| row.get(0)).expect("a row");
    assert_eq!(row, "s11JSONtrue");
}

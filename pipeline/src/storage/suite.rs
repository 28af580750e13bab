//! The tests that every backend must pass, as functions: against a real server they say what the server does not keep.
//!
//! Each works in a folder of its own and leaves little behind. An `Err` names the promise that was broken.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Created, ObjectInfo, Store};
use crate::seam::Seam;
use crate::{Error, ErrorKind, Result};

/// How much to ask of a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many create one key at the same time.
    pub creators: usize,
    /// How many such races.
    pub races: usize,
    /// How many objects one listing has; above 1000 it takes several pages on S3.
    pub listed: usize,
    /// Size of the large body in bytes; above the part size it is uploaded in parts.
    pub large: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { creators: 32, races: 4, listed: 1100, large: 17 << 20 }
    }
}

/// Runs every test. Stops at the first broken promise.
///
/// # Errors
/// What the store did not keep, or what it answered instead.
pub async fn run(store: Arc<dyn Store>, options: Options) -> Result<()> {
    let unique = format!("suite-{:016x}", Seam::system().rand.next_u64());
    let folder = |name: &str| format!("{unique}/{name}/");
    named("one creator wins", one_creator_wins(&store, &folder("race"), &options)).await?;
    named("bodies are whole", bodies_are_whole(&*store, &folder("whole"))).await?;
    named("ranges", ranges(&*store, &folder("ranges"))).await?;
    named("sizes are limited", sizes_are_limited(&*store, &folder("limit"))).await?;
    named("missing objects", missing_objects(&*store, &folder("missing"))).await?;
    named("listings", listings(&*store, &folder("list"))).await?;
    named("long listings", long_listings(&*store, &folder("long"), options.listed)).await?;
    named("folders", folders(&*store, &folder("folders"))).await?;
    named("deletes", deletes(&*store, &folder("delete"))).await?;
    named("views", views(&*store, &folder("view"))).await?;
    named("odd keys", odd_keys(&*store, &folder("odd"))).await?;
    named("bad keys", bad_keys(&*store)).await?;
    named("large bodies", large_bodies(&*store, &folder("large"), options.large)).await?;
    named("sweeps spare objects", sweeps_spare_objects(&*store, &folder("sweep"))).await?;
    clean(&*store, &format!("{unique}/")).await
}

async fn named(name: &str, test: impl Future<Output = Result<()>>) -> Result<()> {
    test.await.map_err(|error| error.at(name))
}

fn ensure(kept: bool, promise: impl FnOnce() -> String) -> Result<()> {
    if kept { Ok(()) } else { Err(Error::permanent(format!("broken promise: {}", promise()))) }
}

fn same<T: PartialEq + std::fmt::Debug>(got: &T, expected: &T, what: &str) -> Result<()> {
    ensure(got == expected, || format!("{what} is {got:?} where {expected:?} is expected"))
}

fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, what: &str) -> Result<()> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        other => {
            Err(Error::permanent(format!("broken promise: {what} gave {other:?} where {kind:?} is expected")))
        }
    }
}

async fn create(store: &dyn Store, key: &str, body: impl Into<Bytes>) -> Result<()> {
    match store.create(key, vec![body.into()]).await? {
        Created::New(_) => Ok(()),
        other => Err(Error::permanent(format!("broken promise: creating the new key {key} gave {other:?}"))),
    }
}

/// Bytes in which a displaced or repeated piece shows.
fn pattern(size: usize, seed: u64) -> Bytes {
    let words = (0..size.div_ceil(8) as u64)
        .flat_map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed).to_le_bytes());
    words.take(size).collect::<Vec<u8>>().into()
}

async fn keys(store: &dyn Store, folder: &str, after: Option<&str>) -> Result<Vec<String>> {
    store.list(folder, after).map_ok(|info| info.key).try_collect().await
}

/// Of any number of concurrent creators of one key exactly one wins, and its bytes stand.
///
/// # Errors
/// See [`run`].
pub async fn one_creator_wins(store: &Arc<dyn Store>, folder: &str, options: &Options) -> Result<()> {
    for race in 0..options.races {
        let key = format!("{folder}{race}");
        let attempts = (0..options.creators).map(|creator| {
            let (store, key) = (Arc::clone(store), key.clone());
            let task = async move { store.create(&key, vec![body_of(creator)]).await };
            async move {
                let joined = tokio::spawn(task).await;
                joined.unwrap_or_else(|stopped| Err(Error::permanent("a creator stopped").caused_by(stopped)))
            }
        });
        let results = futures::future::try_join_all(attempts).await?;
        let stands = store.get(&key, 1 << 20).await?;
        let mut winners = Vec::new();
        for (creator, result) in results.iter().enumerate() {
            match result {
                Created::New(_) => winners.push(creator),
                // Nobody can tell who won but the bytes.
                Created::Unclear(_) if stands.as_ref() == Some(&body_of(creator)) => winners.push(creator),
                Created::Exists | Created::Unclear(_) => {}
            }
        }
        ensure(winners.len() == 1, || {
            format!("of {} creators of {key}, {} were told that they won", options.creators, winners.len())
        })?;
        same(&stands, &Some(body_of(winners[0])), "what the winner wrote")?;
        let late = store.create(&key, vec![Bytes::from_static(b"late")]).await?;
        same(&late, &Created::Exists, "a late create")?;
    }
    Ok(())
}

fn body_of(creator: usize) -> Bytes {
    pattern(3000, creator as u64)
}

/// A body of several parts is their concatenation; an empty one is an object too.
///
/// # Errors
/// See [`run`].
pub async fn bodies_are_whole(store: &dyn Store, folder: &str) -> Result<()> {
    let key = format!("{folder}parts");
    let parts = vec![pattern(10, 1), Bytes::new(), pattern(100_000, 2), pattern(1, 3), Bytes::new()];
    let whole: Bytes = parts.concat().into();
    let created = store.create(&key, parts).await?;
    ensure(matches!(created, Created::New(_)), || format!("creating a new key gave {created:?}"))?;
    same(&store.get(&key, 1 << 20).await?, &Some(whole.clone()), "the body")?;
    let info = store.head(&key).await?;
    ensure(info.as_ref().is_some_and(|info| info.size == whole.len() as u64 && info.key == key), || {
        format!("head gave {info:?} for {key}")
    })?;

    let empty = format!("{folder}empty");
    ensure(matches!(store.create(&empty, Vec::new()).await?, Created::New(_)), || {
        "an empty body".to_owned()
    })?;
    same(&store.get(&empty, 0).await?, &Some(Bytes::new()), "the empty body")?;
    same(&store.create(&empty, Vec::new()).await?, &Created::Exists, "creating an empty object twice")
}

/// Any range inside an object is read exactly; anything beyond its end is an error, not a shorter answer.
///
/// # Errors
/// See [`run`].
pub async fn ranges(store: &dyn Store, folder: &str) -> Result<()> {
    let key = format!("{folder}object");
    let body = pattern(70_000, 9);
    create(store, &key, body.clone()).await?;
    for range in [0..1, 0..70_000, 69_999..70_000, 100..20_000, 5..5, 70_000..70_000] {
        let got = store.get_range(&key, range.clone()).await?;
        let expected = body.slice(range.start as usize..range.end as usize);
        ensure(got == expected, || format!("bytes {range:?} differ ({} were given)", got.len()))?;
    }
    for range in [0..70_001, 69_999..70_001, 70_000..70_001, 90_000..90_010] {
        let what = format!("bytes {range:?} of 70000");
        refused(store.get_range(&key, range).await, ErrorKind::Damaged, &what)?;
    }
    let missing = store.get_range(&format!("{folder}missing"), 0..1).await;
    refused(missing, ErrorKind::NotFound, "a range of a missing object")
}

/// An object larger than its reader allows is refused.
///
/// # Errors
/// See [`run`].
pub async fn sizes_are_limited(store: &dyn Store, folder: &str) -> Result<()> {
    let key = format!("{folder}object");
    create(store, &key, pattern(1000, 4)).await?;
    same(&store.get(&key, 1000).await?.map(|body| body.len()), &Some(1000), "an object of the size allowed")?;
    refused(store.get(&key, 999).await, ErrorKind::Damaged, "an object larger than allowed")
}

/// What is not there is told apart from trouble.
///
/// # Errors
/// See [`run`].
pub async fn missing_objects(store: &dyn Store, folder: &str) -> Result<()> {
    let key = format!("{folder}a/b");
    same(&store.get(&key, 10).await?, &None, "a missing object")?;
    same(&store.head(&key).await?, &None, "head of a missing object")?;
    store.delete(&key).await?;
    same(&keys(store, folder, None).await?, &Vec::new(), "the list of a missing folder")?;
    same(&store.folders(folder).await?, &Vec::new(), "the folders of a missing folder")?;
    create(store, &format!("{folder}a/b/c"), "x").await?;
    same(&store.get(&key, 10).await?, &None, "a folder read as an object")?;
    same(&store.head(&key).await?, &None, "head of a folder")
}

/// Listings are complete, in key order, stay inside their folder, and start where told.
///
/// # Errors
/// See [`run`].
pub async fn listings(store: &dyn Store, folder: &str) -> Result<()> {
    let names = ["a", "b-c", "b.c", "b/1", "b/10", "b/2", "b/d/e", "b0", "c/x", "ca"];
    let neighbour = format!("{}-neighbour", folder.trim_end_matches('/'));
    create(store, &neighbour, "x").await?;
    for name in names.iter().rev() {
        create(store, &format!("{folder}{name}"), *name).await?;
    }
    let full = |names: &[&str]| names.iter().map(|name| format!("{folder}{name}")).collect::<Vec<_>>();
    same(&keys(store, folder, None).await?, &full(&names), "the listing")?;
    same(
        &keys(store, &format!("{folder}b/"), None).await?,
        &full(&names[3..7]),
        "the listing of a sub-folder",
    )?;
    for (after, rest) in [
        ("a", 1),
        ("b", 1),
        ("b/1", 4),
        ("b/11", 5),
        ("b/d/", 6),
        ("b/d/e", 7),
        ("c/x", 9),
        ("ca", 10),
        ("", 0),
    ] {
        let after = format!("{folder}{after}");
        same(
            &keys(store, folder, Some(&after)).await?,
            &full(&names[rest..]),
            &format!("what is after {after}"),
        )?;
    }
    let after = format!("{folder}b/10");
    same(
        &keys(store, &format!("{folder}b/"), Some(&after)).await?,
        &full(&names[5..7]),
        "the rest of a sub-folder",
    )?;

    let infos: Vec<ObjectInfo> = store.list(folder, None).try_collect().await?;
    for (info, name) in infos.iter().zip(names) {
        same(&info.size, &(name.len() as u64), "a listed size")?;
        ensure(info.modified_ms > 0, || format!("{} has no time", info.key))?;
        let head = store.head(&info.key).await?;
        // HTTP dates are whole seconds.
        let close =
            |head: &ObjectInfo| head.size == info.size && (head.modified_ms - info.modified_ms).abs() < 1000;
        ensure(head.as_ref().is_some_and(close), || format!("head gave {head:?} and the listing {info:?}"))?;
    }
    Ok(())
}

/// A listing of many pages is complete, in order, and can be resumed anywhere.
///
/// # Errors
/// See [`run`].
pub async fn long_listings(store: &dyn Store, folder: &str, count: usize) -> Result<()> {
    let expected: Vec<String> = (0..count).map(|n| format!("{folder}{n:08}")).collect();
    stream::iter(&expected)
        .map(|key| create(store, key, "x"))
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await?;
    let listed = keys(store, folder, None).await?;
    ensure(listed == expected, || {
        format!("of {count} objects {} were listed, or out of order", listed.len())
    })?;
    if let Some(last) = expected.get(count.saturating_sub(2)) {
        same(
            &keys(store, folder, Some(last)).await?,
            &expected[count - 1..].to_vec(),
            "the end of a long listing",
        )?;
    }
    // A listing may be dropped half-way.
    let some = store.list(folder, None).take(3).try_collect::<Vec<_>>().await?;
    same(&some.len(), &count.min(3), "the start of a long listing")
}

/// Sub-folders are those that hold objects, at any depth.
///
/// # Errors
/// See [`run`].
pub async fn folders(store: &dyn Store, folder: &str) -> Result<()> {
    for name in ["top", "b/1", "a/x/y/z", "a-b/1", "a/1", "gone/1/2"] {
        create(store, &format!("{folder}{name}"), "x").await?;
    }
    store.delete(&format!("{folder}gone/1/2")).await?;
    same(
        &store.folders(folder).await?,
        &vec!["a".to_owned(), "a-b".to_owned(), "b".to_owned()],
        "the folders",
    )?;
    same(
        &store.folders(&format!("{folder}a/")).await?,
        &vec!["x".to_owned()],
        "the folders of a sub-folder",
    )?;
    same(&store.folders(&format!("{folder}b/")).await?, &Vec::new(), "the folders of an innermost folder")
}

/// Deleting is idempotent, seen at once, and touches one key only.
///
/// # Errors
/// See [`run`].
pub async fn deletes(store: &dyn Store, folder: &str) -> Result<()> {
    let (key, longer) = (format!("{folder}a"), format!("{folder}ab"));
    create(store, &key, "1").await?;
    create(store, &longer, "2").await?;
    store.delete(&key).await?;
    store.delete(&key).await?;
    same(&store.get(&key, 10).await?, &None, "a deleted object")?;
    same(&keys(store, folder, None).await?, &vec![longer], "the listing after a delete")?;
    create(store, &key, "3").await?;
    same(&store.get(&key, 10).await?, &Some(Bytes::from_static(b"3")), "an object made anew")
}

/// A view is replaced whatever was there.
///
/// # Errors
/// See [`run`].
pub async fn views(store: &dyn Store, folder: &str) -> Result<()> {
    let key = format!("{folder}manifest.json");
    for body in ["first", "second, longer", "3"] {
        store.replace_view(&key, Bytes::from_static(body.as_bytes())).await?;
        same(&store.get(&key, 100).await?, &Some(Bytes::from_static(body.as_bytes())), "the view")?;
    }
    same(&store.create(&key, vec![Bytes::from_static(b"4")]).await?, &Created::Exists, "creating over a view")
}

/// Keys come back as they were given.
///
/// # Errors
/// See [`run`].
pub async fn odd_keys(store: &dyn Store, folder: &str) -> Result<()> {
    let long = "l".repeat(249);
    let names = [
        "..a", ".hidden", "a b", "a%2Fb", "a%", "a&b=c", "a+b", "a,b;c", "a:b", "a=b", "a@b", "a_b", "a~b",
        "a'b", "a!b", "a(b)", "a*b", "a#b", "a?b", "a[b]", "a{b}", "a|b", "a^b", "a`b", "a\"b", "a<b>",
        "a$b", "ä", "日本", "😀", &long,
    ];
    let mut expected = BTreeSet::new();
    for name in names {
        for key in [format!("{folder}{name}/x"), format!("{folder}{name}.seg")] {
            create(store, &key, name.to_owned()).await.map_err(|error| error.at(&key))?;
            let got = store.get(&key, 1000).await.map_err(|error| error.at(&key))?;
            same(&got, &Some(Bytes::from(name.to_owned())), &key)?;
            expected.insert(key);
        }
    }
    let listed: BTreeSet<String> = keys(store, folder, None).await?.into_iter().collect();
    let lost: Vec<_> = expected.symmetric_difference(&listed).collect();
    ensure(lost.is_empty(), || format!("listed otherwise than created: {lost:?}"))?;
    let folders: BTreeSet<String> = store.folders(folder).await?.into_iter().collect();
    same(&folders, &names.iter().map(|&name| name.to_owned()).collect(), "the folders with odd names")?;
    for key in &expected {
        store.delete(key).await.map_err(|error| error.at(key))?;
        same(&store.head(key).await?, &None, key)?;
    }
    same(&keys(store, folder, None).await?, &Vec::new(), "the listing after deleting all odd keys")
}

/// Keys that would leave their folder are refused.
///
/// # Errors
/// See [`run`].
pub async fn bad_keys(store: &dyn Store) -> Result<()> {
    for key in ["", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/.", "a\0b", "a\nb"] {
        refused(store.create(key, Vec::new()).await, ErrorKind::Input, &format!("creating {key:?}"))?;
        refused(
            store.replace_view(key, Bytes::new()).await,
            ErrorKind::Input,
            &format!("replacing {key:?}"),
        )?;
        refused(store.get(key, 1).await, ErrorKind::Input, &format!("reading {key:?}"))?;
        refused(store.get_range(key, 0..1).await, ErrorKind::Input, &format!("reading from {key:?}"))?;
        refused(store.head(key).await, ErrorKind::Input, &format!("head of {key:?}"))?;
        refused(store.delete(key).await, ErrorKind::Input, &format!("deleting {key:?}"))?;
    }
    for folder in ["a", "/", "../", "a//"] {
        refused(keys(store, folder, None).await, ErrorKind::Input, &format!("listing {folder:?}"))?;
        refused(store.folders(folder).await, ErrorKind::Input, &format!("folders of {folder:?}"))?;
        let sweep = store.sweep_unfinished(folder, 0, false).await;
        refused(sweep, ErrorKind::Input, &format!("sweeping {folder:?}"))?;
    }
    Ok(())
}

/// A body of several parts arrives whole and in order, is readable by ranges, and does not replace.
///
/// # Errors
/// See [`run`].
pub async fn large_bodies(store: &dyn Store, folder: &str, size: usize) -> Result<()> {
    let key = format!("{folder}object");
    let body = pattern(size, 77);
    // Uneven pieces, so that they do not end where the parts do.
    let pieces: Vec<Bytes> =
        (0..size).step_by(1_000_003).map(|start| body.slice(start..size.min(start + 1_000_003))).collect();
    let created = store.create(&key, pieces.clone()).await?;
    ensure(matches!(created, Created::New(_)), || format!("creating a large object gave {created:?}"))?;
    same(&store.head(&key).await?.map(|info| info.size), &Some(size as u64), "the size of a large object")?;
    let read = store.get(&key, size as u64).await?;
    ensure(read.as_ref() == Some(&body), || "a large body is not what was written".to_owned())?;
    let middle = (size as u64 / 2)..(size as u64 / 2 + 1000);
    let part = store.get_range(&key, middle.clone()).await?;
    ensure(part == body[middle.start as usize..middle.end as usize], || format!("bytes {middle:?} differ"))?;
    same(&store.create(&key, pieces).await?, &Created::Exists, "creating a large object twice")
}

/// A sweep removes no object, however old it is said to be.
///
/// # Errors
/// See [`run`].
pub async fn sweeps_spare_objects(store: &dyn Store, folder: &str) -> Result<()> {
    create(store, &format!("{folder}a/b"), "x").await?;
    same(
        &store.sweep_unfinished(folder, i64::MAX, true).await?,
        &0,
        "the unfinished uploads of a quiet folder",
    )?;
    same(
        &store.sweep_unfinished(&format!("{folder}none/"), i64::MAX, true).await?,
        &0,
        "those of a missing folder",
    )?;
    same(&keys(store, folder, None).await?, &vec![format!("{folder}a/b")], "the listing after a sweep")
}

/// Removes what the tests left.
async fn clean(store: &dyn Store, folder: &str) -> Result<()> {
    let left = keys(store, folder, None).await?;
    stream::iter(&left).map(|key| store.delete(key)).buffer_unordered(16).try_collect::<Vec<()>>().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStore;
    use crate::storage::wrap::Prefixed;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn memory_keeps_the_contract() {
        let store = Arc::new(MemoryStore::new(Seam::system().clock));
        run(store, Options::default()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_folder_of_a_store_keeps_the_contract() {
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(Seam::system().clock));
        create(&*inner, "a/bc", "outside").await.unwrap();
        let store: Arc<dyn Store> = Arc::new(Prefixed::new(Arc::clone(&inner), "/a/b/").unwrap());
        create(&*store, "seen", "x").await.unwrap();
        assert_eq!(keys(&*inner, "", None).await.unwrap(), ["a/b/seen", "a/bc"]);
        assert_eq!(keys(&*store, "", None).await.unwrap(), ["seen"]);
        assert_eq!(store.location(), "memory:/a/b");
        run(store, Options::default()).await.unwrap();
        assert_eq!(keys(&*inner, "", None).await.unwrap(), ["a/b/seen", "a/bc"]);
    }
}

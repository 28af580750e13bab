use std::sync::atomic::Ordering;

use formats::commit::SegmentObject;
use formats::paths::{CHECKPOINTS, ObjectName, SegmentName};

use super::*;
use crate::archive::samples::{Sample, batch, place};
use crate::verify::{VerifySettings, verify};

const DAY: i64 = 24 * 3600 * 1000;

async fn orphan(sample: &mut Sample) -> (String, Incarnation) {
    let p = place("orders", 0);
    let SegmentObject::Own(incarnation, counter) = sample.object(false) else { unreachable!("asked for") };
    let lineage = sample.log.state().partition(&p.topic, 0).unwrap().current().unwrap().id;
    let key =
        ObjectName::Segment(SegmentName { partition: p, lineage, first: 900, incarnation, counter }).key();
    sample.store.create(&key, vec![Bytes::from_static(b"lost work")]).await.unwrap();
    (key, incarnation)
}

#[tokio::test]
async fn orphans_go_only_when_their_writer_can_name_them_no_more() {
    let mut sample = Sample::new().await;
    let p = place("orders", 0);
    let lineage = sample.lineage(&p, 0, None).await;
    let entry = sample.segment(&p, lineage, (0, 5), &[batch(0, 5, None)], None).await;
    let (old, old_writer) = orphan(&mut sample).await;
    sample.clock.0.fetch_add(2 * DAY, Ordering::SeqCst);
    sample.restart().await;
    let (newest, newest_writer) = orphan(&mut sample).await;
    let store = Arc::clone(&sample.store);
    let seam = Sample::seam(&sample.clock);
    let there = async |key: &str| store.head(key).await.unwrap().is_some();

    let mut settings = PruneSettings::default();
    let dry = prune_orphans(Arc::clone(&store), seam.clone(), &settings).await.unwrap();
    let verdicts = |report: &PruneReport| {
        report.writers.iter().map(|w| (w.incarnation, w.verdict)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(
        verdicts(&dry),
        BTreeMap::from([(old_writer, Verdict::Retire), (newest_writer, Verdict::Newest)])
    );
    assert_eq!((dry.objects.as_slice(), dry.deleted), (&[old.clone()][..], 1));
    assert!(there(&old).await && dry.commit.is_none());

    settings.execute = true;
    let done = prune_orphans(Arc::clone(&store), seam.clone(), &settings).await.unwrap();
    assert!(done.commit.is_some() && !there(&old).await && there(&newest).await);
    assert!(there(&entry.key(&p, lineage)).await);
    // The running writer goes on: the retirement takes nothing over.
    sample.segment(&p, lineage, (5, 6), &[batch(5, 1, None)], None).await;

    settings.incarnations.insert(newest_writer);
    let young = prune_orphans(Arc::clone(&store), seam.clone(), &settings).await.unwrap();
    assert_eq!(verdicts(&young), BTreeMap::from([(newest_writer, Verdict::Young)]));
    sample.clock.0.fetch_add(2 * DAY, Ordering::SeqCst);
    let named = prune_orphans(Arc::clone(&store), seam, &settings).await.unwrap();
    assert_eq!((named.deleted, there(&newest).await), (1, false));
    let fenced = sample.log.commit(vec![Op::Writer]).await.unwrap_err();
    assert_eq!(fenced.kind(), crate::ErrorKind::Fenced);
    let mut left = store.list("", None);
    while let Some(object) = left.try_next().await.unwrap() {
        assert!(!object.key.contains("probe"), "{}", object.key);
    }
}

/// A page and a root of a checkpoint after the newest commit, as a writer that dies before its next commit leaves them.
async fn unnamed_checkpoint(sample: &mut Sample) -> Vec<String> {
    let store = Arc::clone(&sample.store);
    let keys = async || {
        let listed = store.list(CHECKPOINTS, None).map_ok(|object| object.key);
        listed.try_collect::<BTreeSet<_>>().await.unwrap()
    };
    let before = keys().await;
    sample.log.write_checkpoint().await.unwrap();
    keys().await.difference(&before).cloned().collect()
}

#[tokio::test]
async fn checkpoints_that_no_commit_leads_to_are_orphans_of_who_made_their_commit() {
    let mut sample = Sample::new().await;
    let store = Arc::clone(&sample.store);
    let seam = Sample::seam(&sample.clock);
    let there = async |key: &str| store.head(key).await.unwrap().is_some();
    let p = place("orders", 0);
    let lineage = sample.lineage(&p, 0, None).await;
    sample.segment(&p, lineage, (0, 5), &[batch(0, 5, None)], None).await;
    let named = unnamed_checkpoint(&mut sample).await;
    assert!(named.len() >= 4, "{named:?}");
    // This commit names it; another checkpoint builds upon it, and dies with its writer.
    sample.segment(&p, lineage, (5, 9), &[batch(5, 4, None)], None).await;
    let dead = unnamed_checkpoint(&mut sample).await;
    let maker = sample.log.incarnation();
    assert!(dead.len() >= 4 && dead.iter().all(|key| !named.contains(key)), "{dead:?}");
    sample.restart().await;
    sample.segment(&p, lineage, (9, 10), &[batch(9, 1, None)], None).await;
    // And one of the newest writer, which may name it with its next commit.
    let coming = unnamed_checkpoint(&mut sample).await;
    let foreign = format!("{CHECKPOINTS}strange");
    store.create(&foreign, vec![Bytes::from_static(b"x")]).await.unwrap();

    let classes = async || {
        let settings = VerifySettings { parallel: 1, ..VerifySettings::default() };
        let report = verify(Arc::clone(&store), &settings, Arc::default()).await.unwrap();
        assert!(report.is_sound() && !report.leftovers.unknown, "{:?}", report.findings);
        let classes: Vec<_> = report.leftovers.classes.iter().map(|(c, total)| (*c, total.objects)).collect();
        classes
    };
    let count = |keys: &[String]| keys.len() as u64;
    use crate::verify::LeftoverClass::{Newest, Superseded, Unknown};
    assert_eq!(classes().await, [(Superseded, count(&dead)), (Newest, count(&coming)), (Unknown, 1)]);

    let settings = PruneSettings { older_than: Duration::ZERO, ..PruneSettings::default() };
    let dry = prune_orphans(Arc::clone(&store), seam.clone(), &settings).await.unwrap();
    assert_eq!((dry.deleted, dry.commit), (count(&dead), None));
    assert!(dry.objects[0].ends_with("/root"), "a root never stands there without its pages");
    for key in named.iter().chain(&dead).chain(&coming) {
        assert!(there(key).await, "{key}");
    }
    let settings = PruneSettings { execute: true, ..settings };
    let done = prune_orphans(Arc::clone(&store), seam.clone(), &settings).await.unwrap();
    assert_eq!(done.deleted, count(&dead));
    assert!(done.writers.iter().any(|w| w.incarnation == maker && w.verdict == Verdict::Retire));
    for key in named.iter().chain(&coming).chain([&foreign]) {
        assert!(there(key).await, "{key}");
    }
    for key in &dead {
        assert!(!there(key).await, "{key}");
    }
    // What was not named then is now, and whoever opens the backup goes on from there.
    sample.segment(&p, lineage, (10, 12), &[batch(10, 2, None)], None).await;
    assert_eq!(classes().await, [(Unknown, 1)]);
    sample.restart().await;
    assert_eq!(sample.log.topic_lists(&p.topic).await.unwrap()[&(0, lineage)].len(), 4);
}

#[tokio::test]
async fn a_damaged_checkpoint_keeps_what_it_may_name_and_nothing_else() {
    let mut sample = Sample::new().await;
    let p = place("orders", 0);
    let lineage = sample.lineage(&p, 0, None).await;
    sample.segment(&p, lineage, (0, 5), &[batch(0, 5, None)], None).await;
    let named = unnamed_checkpoint(&mut sample).await;
    sample.segment(&p, lineage, (5, 9), &[batch(5, 4, None)], None).await;
    let dead = unnamed_checkpoint(&mut sample).await;
    let (segment, _) = orphan(&mut sample).await;
    sample.restart().await;
    let root = named.iter().find(|key| key.ends_with("/root")).unwrap();
    sample.store.replace_view(root, Bytes::from_static(b"damaged")).await.unwrap();
    let settings = PruneSettings { execute: true, older_than: Duration::ZERO, ..PruneSettings::default() };
    let seam = Sample::seam(&sample.clock);
    let done = prune_orphans(Arc::clone(&sample.store), seam, &settings).await.unwrap();
    assert_eq!(done.objects, [segment]);
    for key in &dead {
        assert!(sample.store.head(key).await.unwrap().is_some(), "{key}");
    }
}

#[tokio::test]
async fn probes_go_when_they_are_a_day_old_and_journals_of_restores_never() {
    let sample = Sample::new().await;
    let store = Arc::clone(&sample.store);
    let seam = Sample::seam(&sample.clock);
    let journal = ObjectName::Restore(formats::ids::RestoreId(7), 1).key();
    let probe = probe::name(&*seam.rand);
    for key in [&journal, &probe] {
        store.create(key, vec![Bytes::from_static(b"{}")]).await.unwrap();
    }
    let report = verify(Arc::clone(&store), &VerifySettings::default(), Arc::default()).await.unwrap();
    use crate::verify::LeftoverClass::{Probe, RestoreJournal};
    let classes: Vec<_> = report.leftovers.classes.into_keys().collect();
    assert_eq!(classes, [RestoreJournal, Probe]);
    let settings = PruneSettings { execute: true, older_than: Duration::ZERO, ..PruneSettings::default() };
    for (days, probes) in [(0, 0), (2, 1), (0, 0)] {
        sample.clock.0.fetch_add(days * DAY, Ordering::SeqCst);
        let done = prune_orphans(Arc::clone(&store), seam.clone(), &settings).await.unwrap();
        assert_eq!((done.probes, done.deleted), (probes, 0));
    }
    assert!(store.head(&probe).await.unwrap().is_none());
    assert!(store.head(&journal).await.unwrap().is_some());
}

use std::sync::atomic::Ordering;

use formats::commit::SegmentObject;
use formats::paths::{ObjectName, SegmentName};

use super::*;
use crate::archive::samples::{Sample, batch, place};

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

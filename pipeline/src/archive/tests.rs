use std::sync::Arc;

use formats::codec::{Codec, Decompressor};
use formats::ids::{LineageId, OffsetRange, TopicPartition};

use super::samples::{Sample, batch, marker, noise, place};
use super::{Archive, BatchFate, FateReader, FrameBatches, Piece, SegmentReader};
use crate::ErrorKind;
use crate::budget::Budget;

const BUDGET: usize = 32 << 20;

/// Base offset, kept range and fate of every batch of a history.
async fn walk(
    archive: &Archive,
    partition: &TopicPartition,
    lineage: LineageId,
) -> Vec<(i64, OffsetRange, BatchFate)> {
    let budget = Budget::new(BUDGET);
    let segments: Arc<[_]> = archive.segments(partition, lineage).await.unwrap().into();
    let mut fates = FateReader::new(
        Arc::clone(archive.store()),
        budget.clone(),
        partition.clone(),
        Arc::clone(&segments),
    );
    let mut found = Vec::new();
    let mut decompressor = Decompressor::new();
    for (number, segment) in segments.iter().enumerate() {
        let reader =
            SegmentReader::open(archive.store(), &budget, partition, segment.lineage, &segment.entry)
                .await
                .unwrap();
        let rules = fates.segment(number, &reader).await.unwrap();
        let run = reader.read_frames(reader.frames_of(segment.range)).await.unwrap();
        for (n, frame) in run.frames().iter().enumerate() {
            let raw = run.decode(n, &mut decompressor).unwrap();
            for batch in FrameBatches::new(frame, &raw, segment.range) {
                let batch = batch.unwrap();
                found.push((batch.batch.base_offset(), batch.keep, rules.fate(&batch.batch)));
            }
        }
    }
    found
}

async fn open(sample: &Sample) -> Archive {
    Archive::open(Arc::clone(&sample.store), Sample::seam(&sample.clock)).await.unwrap()
}

#[tokio::test]
async fn a_fork_includes_its_ancestors_below_the_fork_even_inside_a_batch() {
    let mut sample = Sample::new().await;
    let p = place("orders", 0);
    let first = sample.lineage(&p, 0, None).await;
    sample.segment(&p, first, (0, 10), &[batch(0, 4, None), batch(4, 6, None)], None).await;
    sample.gap(&p, first, 10, 12).await;
    sample.segment(&p, first, (12, 20), &[batch(12, 8, None)], None).await;
    let second = sample.lineage(&p, 15, Some(first)).await;
    sample.segment(&p, second, (15, 30), &[batch(15, 15, None)], None).await;
    let third = sample.lineage(&p, 15, Some(second)).await;
    sample.segment(&p, third, (15, 16), &[batch(15, 1, None)], None).await;
    let archive = open(&sample).await;

    let range = OffsetRange::new;
    let piece = |lineage, first, end| Piece { lineage, range: range(first, end) };
    assert_eq!(archive.chain(&p, first).unwrap(), [piece(first, 0, 20)]);
    assert_eq!(archive.chain(&p, second).unwrap(), [piece(first, 0, 15), piece(second, 15, 30)]);
    assert_eq!(archive.chain(&p, third).unwrap(), [piece(first, 0, 15), piece(third, 15, 16)]);
    let plain = |base, first, end| (base, range(first, end), BatchFate::Plain);
    let expected = [plain(0, 0, 4), plain(4, 4, 10), plain(12, 12, 15), plain(15, 15, 30)];
    assert_eq!(walk(&archive, &p, second).await, expected);
    let gaps = archive.gaps(&p, second).unwrap();
    assert_eq!(gaps.iter().map(|gap| gap.gap.range()).collect::<Vec<_>>(), [range(10, 12)]);

    let unknown = archive.chain(&place("orders", 1), first).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert_eq!(archive.chain(&p, LineageId(7)).unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn markers_decide_across_segments_where_the_broker_listed_nothing() {
    let mut sample = Sample::new().await;
    let p = place("pay", 0);
    let l = sample.lineage(&p, 0, None).await;
    let (a, b, c) = (Some(1), Some(2), Some(3));
    sample
        .segment(
            &p,
            l,
            (0, 6),
            &[batch(0, 2, a), batch(2, 2, b), batch(4, 1, None), marker(5, 2, false)],
            None,
        )
        .await;
    sample.segment(&p, l, (6, 8), &[batch(6, 1, b), batch(7, 1, c)], None).await;
    sample
        .segment(
            &p,
            l,
            (8, 12),
            &[marker(8, 1, true), batch(9, 1, a), marker(10, 2, true), marker(11, 1, false)],
            None,
        )
        .await;
    let archive = open(&sample).await;
    let fates: Vec<_> = walk(&archive, &p, l).await.into_iter().map(|(base, _, fate)| (base, fate)).collect();
    use BatchFate::{Aborted, Committed, Control, Plain, Undecided};
    let expected = [
        (0, Committed),
        (2, Aborted),
        (4, Plain),
        (5, Control),
        (6, Committed),
        (7, Undecided),
        (8, Control),
        (9, Aborted),
        (10, Control),
        (11, Control),
    ];
    assert_eq!(fates, expected);
}

#[tokio::test]
async fn the_brokers_list_decides_where_there_is_one() {
    let mut sample = Sample::new().await;
    let p = place("pay", 0);
    let l = sample.lineage(&p, 0, None).await;
    let batches = [
        batch(0, 2, Some(1)),
        marker(2, 1, false),
        batch(3, 1, Some(1)),
        marker(4, 1, true),
        batch(5, 1, Some(1)),
    ];
    sample.segment(&p, l, (0, 6), &batches, Some(&[(1, 0), (1, 5)])).await;
    sample
        .segment(&p, l, (6, 9), &[batch(6, 1, Some(1)), marker(7, 1, false), batch(8, 1, Some(1))], Some(&[]))
        .await;
    let archive = open(&sample).await;
    use BatchFate::{Aborted, Committed, Control};
    let fates: Vec<_> = walk(&archive, &p, l).await.into_iter().map(|(_, _, fate)| fate).collect();
    assert_eq!(fates, [Aborted, Control, Committed, Control, Aborted, Aborted, Control, Committed]);
}

#[tokio::test]
async fn after_a_fork_only_markers_of_the_history_count() {
    let mut sample = Sample::new().await;
    let p = place("pay", 0);
    let first = sample.lineage(&p, 0, None).await;
    // Aborted in the old history beyond the fork, committed in the new one; producer 2's marker is only in the old one.
    let batches = [batch(0, 1, Some(1)), batch(1, 1, Some(2)), marker(2, 1, false), marker(3, 2, true)];
    sample.segment(&p, first, (0, 4), &batches, Some(&[(1, 0)])).await;
    let second = sample.lineage(&p, 2, Some(first)).await;
    sample.segment(&p, second, (2, 4), &[batch(2, 1, None), marker(3, 1, true)], None).await;
    let archive = open(&sample).await;
    use BatchFate::{Aborted, Committed, Control, Plain, Undecided};
    let fates =
        |found: Vec<(i64, OffsetRange, BatchFate)>| found.into_iter().map(|(_, _, f)| f).collect::<Vec<_>>();
    assert_eq!(fates(walk(&archive, &p, second).await), [Committed, Undecided, Plain, Control]);
    assert_eq!(fates(walk(&archive, &p, first).await), [Aborted, Committed, Control, Control]);
}

#[tokio::test]
async fn large_segments_are_read_in_runs_within_the_budget() {
    let mut sample = Sample::new().await;
    let p = place("big", 0);
    let l = sample.lineage(&p, 0, None).await;
    // Noise does not compress, so that frames are stored as they are.
    let values: Vec<_> = (1..=20).map(|seed| noise(seed, 300_000)).collect();
    let item = |value| super::samples::Item { value: Some(value), ..Default::default() };
    let batch =
        |n: usize| super::samples::batch_of(n as i64, Codec::None, None, &[item(values[n].as_slice())]);
    let batches: Vec<_> = (0..20).map(batch).collect();
    let entry = sample.segment(&p, l, (0, 20), &batches, None).await;
    assert!(entry.length > 6_000_000);
    let budget = Budget::new(4 << 20);
    let reader = SegmentReader::open(&sample.store, &budget, &p, l, &entry).await.unwrap();
    let frames = reader.frames_of(OffsetRange::new(5, 15));
    let mut at = frames.start;
    let mut bytes = 0;
    while at < frames.end {
        let some = reader.coalesce(at..frames.end, 1 << 20);
        let run = reader.read_frames(some.clone()).await.unwrap();
        for n in 0..run.frames().len() {
            bytes += run.decode(n, &mut Decompressor::new()).unwrap().len();
        }
        at = some.end;
    }
    assert!(bytes > 3_000_000 && budget.peak() < 2_500_000, "{bytes} bytes, {} at once", budget.peak());
    drop(reader);
    let whole = SegmentReader::open_whole(&sample.store, &budget, &p, l, &entry).await.unwrap();
    let run = whole.read_frames(0..whole.index().frames.len()).await.unwrap();
    assert_eq!(run.decode(0, &mut Decompressor::new()).unwrap()[..100], batches[0][..100]);
    drop((whole, run));
    assert_eq!(budget.used(), 0);
}

/// A copy of a backup in another store has other versions, or none.
#[tokio::test]
async fn a_version_that_is_not_there_is_read_by_its_key() {
    let mut sample = Sample::new().await;
    let p = place("orders", 3);
    let l = sample.lineage(&p, 0, None).await;
    let written = batch(0, 4, None);
    let mut entry = sample.segment(&p, l, (0, 4), std::slice::from_ref(&written), None).await;
    entry.version_id = Some("of another store".to_owned());
    let budget = Budget::new(BUDGET);
    let opened = SegmentReader::open(&sample.store, &budget, &p, l, &entry).await.unwrap();
    let whole = SegmentReader::open_whole(&sample.store, &budget, &p, l, &entry).await.unwrap();
    for reader in [opened, whole] {
        let run = reader.read_frames(0..1).await.unwrap();
        assert_eq!(run.decode(0, &mut Decompressor::new()).unwrap()[..], written[..]);
    }
}

#[tokio::test]
async fn damage_names_object_and_offsets() {
    let mut sample = Sample::new().await;
    let p = place("orders", 3);
    let l = sample.lineage(&p, 0, None).await;
    let entry = sample.segment(&p, l, (0, 4), &[batch(0, 4, None)], None).await;
    let key = entry.key(&p, l);
    let budget = Budget::new(BUDGET);
    let mut stored = sample.store.get(&key, 1 << 20).await.unwrap().unwrap().to_vec();
    stored[70] ^= 1;
    sample.store.replace_view(&key, stored.into()).await.unwrap();
    let whole = SegmentReader::open_whole(&sample.store, &budget, &p, l, &entry).await.unwrap_err();
    sample.store.delete(&key).await.unwrap();
    let gone = SegmentReader::open(&sample.store, &budget, &p, l, &entry).await.unwrap_err();
    for error in [whole, gone] {
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.message().contains(&key) && error.message().contains("orders-3@[0,4)"), "{error}");
    }
}

/// Opens a segment that lies where `entry` says and reads all of it as a restore does.
async fn read_all(
    sample: &Sample,
    p: &TopicPartition,
    lineage: LineageId,
    entry: &formats::commit::SegmentEntry,
) -> crate::Result<()> {
    let reader = SegmentReader::open(&sample.store, &Budget::new(BUDGET), p, lineage, entry).await?;
    let mut frames = 0..reader.index().frames.len();
    while !frames.is_empty() {
        let run = reader.coalesce(frames.clone(), 1 << 20);
        frames.start = run.end;
        reader.read_frames(run).await?.check()?;
    }
    Ok(())
}

/// Both are sound segments of the same length and range: only the header and the commit's hash know.
#[tokio::test]
async fn a_large_segment_in_anothers_place_is_not_read() {
    let mut sample = Sample::new().await;
    let places = [place("orders", 0), place("orders", 1)];
    let mut entries = Vec::new();
    for (n, p) in places.iter().enumerate() {
        let l = sample.lineage(p, 0, None).await;
        let value = noise(n as u64 + 1, 300_000);
        let item = |_| super::samples::Item { value: Some(&value), ..Default::default() };
        let batch = |n: i64| super::samples::batch_of(n, Codec::None, None, &[item(())]);
        let entry = sample.segment(p, l, (0, 4), &(0..4).map(batch).collect::<Vec<_>>(), None).await;
        read_all(&sample, p, l, &entry).await.expect("as it was written");
        entries.push((l, entry));
    }
    let [(first, mine), (second, other)] = &entries[..] else { panic!("two") };
    assert_eq!(mine.length, other.length);
    let (key, theirs) = (mine.key(&places[0], *first), other.key(&places[1], *second));
    let sound = sample.store.get(&key, 8 << 20).await.unwrap().unwrap();
    let foreign = sample.store.get(&theirs, 8 << 20).await.unwrap().unwrap();

    sample.store.replace_view(&key, foreign.clone()).await.unwrap();
    let error = read_all(&sample, &places[0], *first, mine).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Damaged && error.message().contains("another place"), "{error}");
    // From the middle on, too: nothing of it is given out.
    let reader =
        SegmentReader::open(&sample.store, &Budget::new(BUDGET), &places[0], *first, mine).await.unwrap();
    assert!(reader.read_frames(2..3).await.is_err());

    // With the right header the frames are still those of another segment, each of them sound.
    let header = reader_header(&sound);
    let mixed = [&sound[..header], &foreign[header..]].concat();
    sample.store.replace_view(&key, mixed.into()).await.unwrap();
    let error = read_all(&sample, &places[0], *first, mine).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Damaged && error.message().contains("BLAKE3"), "{error}");
}

fn reader_header(segment: &[u8]) -> usize {
    formats::segment::read_header(segment).unwrap().1
}

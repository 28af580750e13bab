//! The promise that everything else rests on: wherever a run begins, it makes the same batches.

use std::sync::Arc;

use formats::ids::{LineageId, OffsetRange, TopicPartition};
use tokio::sync::mpsc;

use super::RunMap;
use super::download::{Reading, Source, feed};
use super::plan::{cpu_seconds, partition_plan};
use super::settings::TimeWindow;
use crate::archive::Archive;
use crate::archive::samples::{Sample, batch, marker, place};
use crate::budget::Budget;
use crate::target::lane::{ALIGN, LaneResults, LaneSettings};
use crate::target::part::Part;

/// A batch that came out: records before it, records, bytes.
type Made = (u64, i32, Vec<u8>);

async fn source(sample: &Sample, partition: &TopicPartition, lineage: LineageId) -> Source {
    let archive = Archive::open(Arc::clone(&sample.store), Sample::seam(&sample.clock)).await.expect("opens");
    let segments = archive.segments(partition, lineage).await.expect("segments");
    Source { partition: partition.clone(), segments: segments.into() }
}

async fn made(
    sample: &Sample,
    source: &Source,
    window: TimeWindow,
    present: u64,
    digest: bool,
) -> (Vec<Made>, LaneResults) {
    let budget = Budget::new(1 << 20);
    let reading = Reading::new(Arc::clone(&sample.store), budget.clone(), Arc::default(), 4);
    let (remap, part) = (None, Part::Own);
    let settings = LaneSettings { window, max_batch: 60_000, digest, max_runs: 10, remap, part };
    let (out, mut batches) = mpsc::channel(4);
    let source = source.clone();
    let fed = tokio::spawn(async move { feed(reading, source, settings, 7, present, &out).await });
    let mut made = Vec::new();
    while let Some(batch) = batches.recv().await {
        let batch = batch.expect("no damage");
        made.push((batch.index, batch.records, batch.bytes.to_vec()));
    }
    let results = fed.await.expect("no panic").expect("results");
    assert_eq!(budget.used(), 0, "all memory is given back");
    (made, results)
}

/// Large and tiny batches across several multiples of `ALIGN`, in segments of changing size.
async fn long(sample: &mut Sample) -> Source {
    let partition = place("long", 0);
    let lineage = sample.lineage(&partition, 0, None).await;
    let (mut offset, mut number) = (0, 0_usize);
    while offset < 2 * ALIGN + 20_000 {
        let (first, mut batches) = (offset, Vec::new());
        for _ in 0..(number % 7) * 3 + 1 {
            let count = match number % 10 {
                0 => 4000,
                5 => 1000,
                _ => number * 37 % 300 + 1,
            };
            batches.push(batch(offset, count, None));
            offset += count as i64;
            number += 1;
        }
        sample.segment(&partition, lineage, (first, offset), &batches, None).await;
    }
    source(sample, &partition, lineage).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_makes_the_same_batches() {
    let mut sample = Sample::new().await;
    let source = long(&mut sample).await;
    let (whole, results) = made(&sample, &source, TimeWindow::default(), 0, false).await;
    assert!(results.counts.passthrough_batches > 0 && results.counts.rebuilt_oversize > 0);
    assert!(results.counts.rebuilt_tiny > 0);
    assert_eq!(results.records, source.segments.iter().map(|segment| segment.entry.records).sum::<u64>());
    let end = source.segments.last().expect("segments").range.end;
    assert_eq!(
        results.runs,
        Some(RunMap { start: 7, runs: vec![super::Run { source: 0, target: 7, length: end as u64 }] })
    );
    for at in (0..whole.len()).step_by(13).chain([whole.len() - 1]) {
        let (rest, again) = made(&sample, &source, TimeWindow::default(), whole[at].0, false).await;
        assert!(rest == whole[at..], "from batch {at} on");
        assert_eq!((again.records, &again.runs), (results.records, &results.runs));
    }
    let (nothing, again) = made(&sample, &source, TimeWindow::default(), results.records, false).await;
    assert!(nothing.is_empty() && again.runs == results.runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_and_a_digest_do_not_change_what_is_made() {
    let mut sample = Sample::new().await;
    let source = long(&mut sample).await;
    // Record n is at 1,000,000 + 10 n ms.
    let window = TimeWindow { start: Some(1_000_000 + 10 * 70_123), end: Some(1_000_000 + 10 * 140_001) };
    let (whole, results) = made(&sample, &source, window, 0, false).await;
    assert_eq!(results.records, 140_001 - 70_123 + 1);
    assert_eq!(results.runs.as_ref().unwrap().translate(70_123), 7);
    let (digested, with_digest) = made(&sample, &source, window, 0, true).await;
    assert!(digested == whole);
    assert_eq!(with_digest.digest.unwrap().records(), results.records);
    for at in (0..whole.len()).step_by(11) {
        let (rest, again) = made(&sample, &source, window, whole[at].0, at % 2 == 0).await;
        assert!(rest == whole[at..], "from batch {at} on");
        assert_eq!(again.runs, results.runs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_runs_are_not_kept() {
    let mut sample = Sample::new().await;
    let partition = place("holes", 0);
    let lineage = sample.lineage(&partition, 0, None).await;
    for (number, kept) in [(10, true), (11, false)] {
        let first = if kept { 0 } else { 1000 };
        let batches: Vec<_> = (0..number).map(|at| batch(first + at * 5, 2, None)).collect();
        sample.segment(&partition, lineage, (first, first + 1000), &batches, None).await;
    }
    let mut source = source(&sample, &partition, lineage).await;
    let (_, results) = made(&sample, &source, TimeWindow::default(), 0, false).await;
    assert_eq!((results.records, results.runs), (42, None));
    source.segments = source.segments[..1].into();
    let (_, results) = made(&sample, &source, TimeWindow::default(), 0, false).await;
    assert_eq!((results.records, results.runs.map(|map| map.runs.len())), (20, Some(10)));
}

/// Each batch has two reasons here, and is no more than once its size.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_rebuilds_no_more_than_there_is() {
    let mut sample = Sample::new().await;
    let partition = place("holes", 0);
    let lineage = sample.lineage(&partition, 0, None).await;
    let batches: Vec<_> = (0..4).map(|at| batch(at * 5, 2, None)).collect();
    sample.segment(&partition, lineage, (0, 20), &batches, None).await;
    let source = source(&sample, &partition, lineage).await;
    let range = OffsetRange::new(0, 20);
    let mut plan = partition_plan(0, 0, lineage, range, &source.segments, Vec::new(), TimeWindow::default());
    assert!(plan.bytes > 0 && plan.rebuild_tiny == plan.bytes, "{plan:?}");
    plan.rebuild_holes = plan.bytes;
    assert_eq!(plan.rebuilt(), plan.bytes);
    let rebuilt = cpu_seconds([(&plan, false)].into_iter());
    (plan.rebuild_holes, plan.rebuild_tiny) = (0, 0);
    assert_eq!(plan.rebuilt(), 0);
    plan.bytes *= 1_000_000;
    let untouched = cpu_seconds([(&plan, false)].into_iter());
    assert!(rebuilt <= untouched && untouched > 0.0, "{rebuilt} {untouched}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_committed_records_come_out() {
    let mut sample = Sample::new().await;
    let partition = place("tx", 0);
    let lineage = sample.lineage(&partition, 0, None).await;
    let batches = [
        batch(0, 5, Some(1)),
        batch(5, 3, Some(2)),
        marker(8, 1, true),
        batch(9, 2, None),
        marker(11, 2, false),
        batch(12, 4, Some(3)),
    ];
    sample.segment(&partition, lineage, (0, 16), &batches, None).await;
    let source = source(&sample, &partition, lineage).await;
    let (whole, results) = made(&sample, &source, TimeWindow::default(), 0, true).await;
    assert_eq!((results.records, results.digest.unwrap().records()), (7, 7));
    let counts = results.counts;
    assert_eq!((counts.control_batches, counts.aborted_records, counts.undecided_records), (2, 3, 4));
    assert_eq!(whole.iter().map(|(_, records, _)| *records).sum::<i32>(), 7);
    let runs: Vec<_> =
        results.runs.as_ref().unwrap().runs.iter().map(|run| (run.source, run.target, run.length)).collect();
    assert_eq!(runs, [(0, 7, 5), (9, 12, 2)]);
    let (rest, again) = made(&sample, &source, TimeWindow::default(), 7, false).await;
    assert!(rest.is_empty() && again.runs == results.runs);
}

use super::*;
use crate::archive::samples::{Item, Sample, batch, batch_of, marker, place};
use formats::codec::Codec;
use formats::record_batch::Batches;

fn everything(partition: TopicPartition) -> DumpSettings {
    DumpSettings {
        partition,
        lineage: None,
        offsets: OffsetRange::new(0, i64::MAX),
        times: None,
        isolation: Isolation::ReadCommitted,
        control: false,
    }
}

async fn sample() -> (Sample, TopicPartition) {
    let mut sample = Sample::new().await;
    let p = place("pay.ments", 2);
    let l = sample.lineage(&p, 10, None).await;
    let headers = vec![(&b"h"[..], Some(&b"1"[..])), (b"h", None), (b"\xff", Some(b""))];
    let items = [
        Item { key: Some(b"k"), value: None, headers },
        Item { key: None, value: Some(b""), headers: vec![] },
    ];
    let batches = [batch_of(10, Codec::Snappy, None, &items), batch(12, 2, Some(1)), batch(14, 1, Some(2))];
    sample.segment(&p, l, (10, 15), &batches, None).await;
    sample
        .segment(&p, l, (15, 18), &[marker(15, 1, true), marker(16, 2, false), batch(17, 1, Some(3))], None)
        .await;
    (sample, p)
}

async fn offsets(archive: &Archive, settings: &DumpSettings) -> Vec<i64> {
    let mut found = Vec::new();
    let budget = Budget::new(16 << 20);
    let each = |record: &DumpedRecord<'_>| {
        found.push(record.offset);
        Ok(true)
    };
    let count = records(archive, settings, &budget, each).await.unwrap();
    assert_eq!((count, budget.used()), (found.len() as u64, 0));
    found
}

#[tokio::test]
async fn shows_what_a_consumer_sees_by_isolation_offsets_and_times() {
    let (sample, p) = sample().await;
    let archive = Archive::open(Arc::clone(&sample.store), Sample::seam(&sample.clock)).await.unwrap();
    let all = everything(p.clone());
    assert_eq!(offsets(&archive, &all).await, [10, 11, 12, 13]);
    let uncommitted = DumpSettings { isolation: Isolation::ReadUncommitted, ..all.clone() };
    assert_eq!(offsets(&archive, &uncommitted).await, [10, 11, 12, 13, 14, 17]);
    let control = DumpSettings { control: true, ..all.clone() };
    assert_eq!(offsets(&archive, &control).await, [10, 11, 12, 13, 15, 16]);
    let some = DumpSettings { offsets: OffsetRange::new(11, 13), ..all.clone() };
    assert_eq!(offsets(&archive, &some).await, [11, 12]);
    let times = DumpSettings { times: Some((1_000_110, 1_000_120)), ..all.clone() };
    assert_eq!(offsets(&archive, &times).await, [11, 12]);

    let mut first = None;
    let each = |record: &DumpedRecord<'_>| {
        first =
            Some((record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), record.headers.len()));
        Ok(false)
    };
    assert_eq!(records(&archive, &all, &Budget::new(1 << 20), each).await.unwrap(), 1);
    assert_eq!(first, Some((Some(b"k".to_vec()), None, 3)));

    let nobody = everything(place("pay.ments", 9));
    let error = records(&archive, &nobody, &Budget::new(1 << 20), |_| Ok(true)).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::NotFound);
}

#[tokio::test]
async fn log_files_hold_the_batches_exactly() {
    let (sample, p) = sample().await;
    let archive = Archive::open(Arc::clone(&sample.store), Sample::seam(&sample.clock)).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let all = OffsetRange::new(0, i64::MAX);
    let budget = Budget::new(16 << 20);
    let files = as_log(&archive, &p, None, all, dir.path(), &budget).await.unwrap();
    let path = dir.path().join("pay.ments-2/00000000000000000010.log");
    assert_eq!(files.iter().map(|file| &file.path).collect::<Vec<_>>(), [&path]);
    let bytes = std::fs::read(&path).unwrap();
    let bases: Vec<_> = Batches::new(&bytes)
        .map(|batch| {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            batch.base_offset()
        })
        .collect();
    assert_eq!(bases, [10, 12, 14, 15, 16, 17]);
    assert_eq!((files[0].bytes, files[0].end_offset), (bytes.len() as u64, 18));
    let again = as_log(&archive, &p, None, all, dir.path(), &budget).await.unwrap_err();
    assert_eq!(again.kind(), crate::ErrorKind::Input);
}

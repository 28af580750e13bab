//! What `schema_ids: scan` costs: segments encoded from batches that lie in memory, with looking for ids and without.

use bytes::Bytes;
use formats::codec::Codec;
use formats::ids::{LineageId, OffsetRange, Topic, TopicPartition};
use formats::segment::{EncodedSegment, FrameCompression, SegmentEncoder, SegmentIdentity, SegmentInput};
use formats::transactions::SegmentTransactions;

use super::rewrite::Pool;
use crate::measure::{self, Usage};
use crate::table::{Row, Runs, ratio, row, say};
use crate::{Result, Scale};

/// The most that a batch here decompresses to.
const CAP: usize = 1 << 20;

/// The rows.
///
/// # Errors
/// A segment that does not list an id for every record.
pub(crate) fn run(scale: &Scale) -> Result<()> {
    for (codec, size) in [(Codec::Zstd, 1000), (Codec::Lz4, 1000), (Codec::None, 1000), (Codec::None, 100)] {
        figure(scale, codec, size)?;
    }
    Ok(())
}

fn figure(scale: &Scale, codec: Codec, size: usize) -> Result<()> {
    let pool = Pool::new(size, codec)?;
    let (batches, rounds) = (Bytes::from(pool.batches.clone()), pool.rounds(scale));
    say(&format!("scan of {} records of {size} B, {codec}, {rounds} times", pool.records));
    let mut plain = SegmentEncoder::new(FrameCompression::None);
    let mut scanning = SegmentEncoder::new(FrameCompression::None).with_schema_ids(CAP);
    let (mut ours, mut bare) = (Runs::default(), Runs::default());
    for _ in 0..scale.runs {
        let mut looked = || -> Result<()> {
            for _ in 0..rounds {
                let found = encode(&mut scanning, &pool, &batches)?.schema_ids.unwrap_or_default();
                if found.value.prefix.total() != pool.records {
                    return Err(
                        format!("{} ids in {} records", found.value.prefix.total(), pool.records).into()
                    );
                }
            }
            Ok(())
        };
        ours.push("scan", measure::thread(&mut looked)?);
        let passed = || -> Result<()> {
            for _ in 0..rounds {
                encode(&mut plain, &pool, &batches)?;
            }
            Ok(())
        };
        bare.push("no scan", measure::thread(passed)?);
    }
    let bytes = batches.len() as u64 * rounds;
    row(&Row {
        figure: format!(
            "segments with `schema_ids: scan`, {codec}, {size} B records, in memory: CPU a GB of stored batches"
        ),
        ours: ours.cost(bytes),
        reference: format!("the same segments without {}", bare.cost(bytes)),
        result: format!("{:.2}x", ratio(&ours, &bare, Usage::cpu)),
        bar: "stated".into(),
        met: None,
    });
    Ok(())
}

fn encode(encoder: &mut SegmentEncoder, pool: &Pool, batches: &Bytes) -> Result<EncodedSegment> {
    let identity = SegmentIdentity {
        partition: TopicPartition::new(Topic::new("scan")?, 0),
        lineage: LineageId(1),
        range: OffsetRange::new(0, pool.records as i64),
        aborted_listed: false,
    };
    let (runs, transactions) = (vec![batches.clone()], SegmentTransactions::default());
    Ok(encoder.encode(SegmentInput { identity, runs, transactions })?)
}

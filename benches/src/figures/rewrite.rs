//! Schema ids changed in batches that lie in memory: uncompressed ones in nanoseconds a record, zstd ones against
//! decompressing and compressing the same blocks with nothing in between.

use formats::codec::{Codec, Compressor};
use formats::ids::SchemaId;
use formats::record_batch::{Attributes, BatchHeader, Batches, HEADER_LEN, Producer, RecordBatch};
use formats::rewrite::{Becomes, Carrier, IdRules, RewriteSettings, Rewriter};
use formats::varint::{varint_len, write_varint};

use crate::load;
use crate::measure::{self, Usage};
use crate::table::{Row, Runs, ratio, row, say};
use crate::{Result, Scale};

/// Bytes of a batch before compression, about.
const BATCH: usize = 64 << 10;
/// Batches that the second cache of a core holds, and their copies.
const IN_CACHE: usize = 8;
/// The most that a batch here decompresses to.
const CAP: usize = 1 << 20;

/// The rows.
///
/// # Errors
/// A batch that is not rewritten as it must be.
pub(crate) fn run(scale: &Scale) -> Result<()> {
    uncompressed(scale)?;
    compressed(scale)
}

fn uncompressed(scale: &Scale) -> Result<()> {
    // As they come from a socket, and from as much memory that no cache holds them.
    for (batches, what) in [(Some(IN_CACHE), "in the cache"), (None, "in memory")] {
        let mut pool = Pool::new(100, Codec::None)?;
        if let Some(batches) = batches {
            pool.keep(batches)?;
        }
        let rounds = pool.rounds(scale);
        say(&format!("rewrite of {} uncompressed records of 100 B, {what}, {rounds} times", pool.records));
        let (mut rewriter, mut out) = (rewriter()?, Vec::new());
        let (mut runs, mut crcs) = (Runs::default(), Runs::default());
        for _ in 0..scale.runs {
            runs.push(
                "ours",
                measure::thread(|| pool.each(rounds, |batch| ours(&mut rewriter, batch, &mut out)))?,
            );
            let crc = || pool.each(rounds, |batch| Ok(batch.verify_crc()?));
            crcs.push("CRC alone", measure::thread(crc)?);
        }
        let each = |seconds: f64| seconds * 1e9 / (pool.records * rounds) as f64;
        let told = |runs: &Runs| {
            let all = || runs.0.iter().map(Usage::cpu).map(each);
            let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
            format!("{:.0} ({least:.0}-{most:.0}) ns", each(runs.cpu()))
        };
        let middle = each(runs.cpu());
        row(&Row {
            figure: format!("schema ids changed, uncompressed, 100 B records {what}: CPU a record"),
            ours: told(&runs),
            reference: format!("one check of the same batches' CRC {}", told(&crcs)),
            result: format!("{middle:.0} ns"),
            bar: "at most 40 ns".into(),
            met: Some(middle <= 40.0),
        });
    }
    Ok(())
}

fn compressed(scale: &Scale) -> Result<()> {
    let pool = Pool::new(1000, Codec::Zstd)?;
    let rounds = pool.rounds(scale);
    say(&format!("rewrite of {} records of 1 KB with zstd 3, {rounds} times", pool.records));
    let (mut rewriter, mut out) = (rewriter()?, Vec::new());
    let mut decompressor = zstd::bulk::Decompressor::new()?;
    let mut compressor = zstd::bulk::Compressor::new(3)?;
    let (mut raw, mut packed) = (Vec::with_capacity(CAP), Vec::with_capacity(CAP));
    let (mut runs, mut bare) = (Runs::default(), Runs::default());
    for _ in 0..scale.runs {
        runs.push(
            "ours",
            measure::thread(|| pool.each(rounds, |batch| ours(&mut rewriter, batch, &mut out)))?,
        );
        let blocks = || {
            pool.each(rounds, |batch| {
                raw.clear();
                packed.clear();
                decompressor.decompress_to_buffer(batch.records_payload(), &mut raw)?;
                compressor.compress_to_buffer(&raw, &mut packed)?;
                Ok(())
            })
        };
        bare.push("zstd alone", measure::thread(blocks)?);
    }
    let bytes = pool.raw * rounds;
    let cpu = ratio(&runs, &bare, Usage::cpu);
    row(&Row {
        figure: "schema ids changed, zstd level 3, 1 KB records, in memory: CPU a GB of uncompressed batches"
            .into(),
        ours: runs.cost(bytes),
        reference: format!("the same blocks decompressed and compressed {}", bare.cost(bytes)),
        result: format!("{cpu:.2}x"),
        bar: "at most 1.15x".into(),
        met: Some(cpu <= 1.15),
    });
    Ok(())
}

fn rewriter() -> Result<Rewriter> {
    Ok(Rewriter::new(RewriteSettings { decompressed_cap: CAP, gzip_level: None, zstd_level: None })?)
}

fn ours(rewriter: &mut Rewriter, batch: &RecordBatch<'_>, out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    let report = rewriter.rewrite(batch, &mut Next, out)?;
    let changed = report.counts.value.prefix.changed;
    if changed != u64::from(batch.record_count().unsigned_abs()) {
        return Err(format!("{changed} ids of {} records changed", batch.record_count()).into());
    }
    Ok(())
}

/// Every id becomes the one after it.
struct Next;

impl IdRules for Next {
    fn prefix(&mut self, id: SchemaId, _: &Carrier<'_>) -> Becomes<SchemaId> {
        SchemaId::new(id.number() + 1).map_or(Becomes::Unknown, Becomes::Other)
    }

    fn header_id(&mut self, _: SchemaId, _: &Carrier<'_>) -> Becomes<SchemaId> {
        Becomes::Unknown
    }

    fn header_guid(&mut self, _: uuid::Uuid, _: &Carrier<'_>) -> Becomes<uuid::Uuid> {
        Becomes::Unknown
    }
}

/// Batches one behind the other.
pub(super) struct Pool {
    pub(super) batches: Vec<u8>,
    pub(super) records: u64,
    /// Bytes before compression.
    raw: u64,
}

impl Pool {
    /// The records of the other figures, of `size` bytes, each with an id before it and a key of 8 bytes.
    pub(super) fn new(size: usize, codec: Codec) -> Result<Self> {
        let (mut pool, mut compressor) =
            (Self { batches: Vec::new(), records: 0, raw: 0 }, Compressor::new());
        let (mut payload, mut count) = (Vec::new(), 0);
        for (value, id) in load::values(size - 5).iter().zip(1_u32..) {
            let length = 4 + varint_len(count) + 8 + varint_len(size as i32) + 5 + value.len();
            write_varint(length as i32, &mut payload);
            payload.extend([0, 0]);
            write_varint(count, &mut payload);
            write_varint(8, &mut payload);
            payload.extend(&value[..8]);
            write_varint(5 + value.len() as i32, &mut payload);
            payload.push(0);
            payload.extend((id % 1000 + 1).to_be_bytes());
            payload.extend(value);
            payload.push(0);
            count += 1;
            if payload.len() >= BATCH {
                pool.push(&payload, count, codec, &mut compressor)?;
                (count, payload) = (0, Vec::new());
            }
        }
        Ok(pool)
    }

    fn push(&mut self, payload: &[u8], count: i32, codec: Codec, compressor: &mut Compressor) -> Result<()> {
        let mut batch = vec![0; HEADER_LEN];
        compressor.compress(codec, Some(3).filter(|_| codec == Codec::Zstd), payload, &mut batch)?;
        let header = BatchHeader {
            base_offset: self.records as i64,
            leader_epoch: 0,
            attributes: Attributes(codec as u16),
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer: Producer::NONE,
            record_count: count,
        };
        header.write_to(&mut batch)?;
        self.batches.extend(batch);
        self.records += u64::from(count.unsigned_abs());
        self.raw += (HEADER_LEN + payload.len()) as u64;
        Ok(())
    }

    /// Leaves only the first batches.
    fn keep(&mut self, batches: usize) -> Result<()> {
        let (mut bytes, mut records) = (0, 0);
        for batch in Batches::new(&self.batches).take(batches) {
            let batch = batch?;
            bytes += batch.bytes().len();
            records += u64::from(batch.record_count().unsigned_abs());
        }
        self.batches.truncate(bytes);
        (self.records, self.raw) = (records, bytes as u64);
        Ok(())
    }

    /// How often the pool makes up what was asked for.
    pub(super) fn rounds(&self, scale: &Scale) -> u64 {
        (scale.megabytes * 1_000_000).div_ceil(self.raw)
    }

    fn each(&self, rounds: u64, mut work: impl FnMut(&RecordBatch<'_>) -> Result<()>) -> Result<()> {
        for _ in 0..rounds {
            for batch in Batches::new(&self.batches) {
                work(&batch?)?;
            }
        }
        Ok(())
    }
}

//! Archives of any number of segments without a byte of segments: what start, `list` and `describe` read is commits and
//! checkpoints only. They are written through the pipeline's own commit log, as a backup writes them.

use std::sync::Arc;

use formats::commit::{CodecBytes, LastBatch, Lineage, LineageReason, Op, SegmentEntry, SegmentObject};
use formats::hash::Hash;
use formats::ids::{BackupId, Incarnation, LineageId, Topic, TopicId};
use pipeline::commit_log::CommitLog;
use pipeline::seam::Seam;
use pipeline::storage::Store;

use crate::Result;
use crate::load::Chance;

/// Topics, with three partitions each.
pub(crate) const TOPICS: usize = 1000;
/// Partitions of a topic.
pub(crate) const PARTITIONS: i32 = 3;

/// A backup that grows.
pub(crate) struct Growing {
    log: CommitLog,
    chance: Chance,
    made: u32,
    now_ms: i64,
}

/// The name of a topic.
///
/// # Errors
/// None: every number makes a legal name.
pub(crate) fn topic(number: usize) -> Result<Topic> {
    Ok(Topic::new(format!("topic-{number:04}"))?)
}

impl Growing {
    /// Begins a backup of 3,000 partitions without any data.
    ///
    /// # Errors
    /// Whatever the store says.
    pub(crate) async fn begin(store: Arc<dyn Store>, id: &str, cluster_id: &str) -> Result<Self> {
        let id = BackupId::new(id)?;
        let mut log = CommitLog::open_or_create(store, Seam::system(), &id, cluster_id).await?;
        log.become_writer().await?;
        for from in (0..TOPICS).step_by(100) {
            let mut ops = Vec::new();
            for number in from..from + 100 {
                for partition in 0..PARTITIONS {
                    ops.push(Op::Lineage(Lineage {
                        topic: topic(number)?,
                        partition,
                        lineage: LineageId(1),
                        after: None,
                        cluster_id: cluster_id.into(),
                        topic_id: TopicId::default(),
                        start: 0,
                        reason: LineageReason::First,
                        fork: None,
                    }));
                }
            }
            log.commit(ops).await?;
        }
        Ok(Self { log, chance: Chance(5), made: 0, now_ms: 1_700_000_000_000 })
    }

    /// One commit, a second after the one before, that adds a segment to each of the next `count` partitions.
    ///
    /// # Errors
    /// Whatever the store says.
    pub(crate) async fn commit(&mut self, count: u32) -> Result<()> {
        self.now_ms += 1000;
        let mut ops = Vec::new();
        for _ in 0..count {
            let at = self.made as usize % (TOPICS * PARTITIONS as usize);
            let (name, partition) = (topic(at / PARTITIONS as usize)?, (at % PARTITIONS as usize) as i32);
            let current = self.log.state().partition(&name, partition).and_then(|found| found.current());
            let first = current.map_or(0, |current| current.next);
            let incarnation = self.log.incarnation();
            let segments = vec![entry(&mut self.chance, first, incarnation, self.made, self.now_ms)?];
            ops.push(Op::Add { topic: name, partition, lineage: LineageId(1), segments });
            self.made += 1;
        }
        self.log.commit(ops).await?;
        Ok(())
    }

    /// The number of the last commit.
    pub(crate) fn seq(&self) -> u64 {
        self.log.head().seq
    }
}

/// An entry with numbers as a cluster has them: all that is a hash, a digest or a CRC is random, so nothing compresses
/// that would not.
fn entry(
    chance: &mut Chance,
    first: i64,
    incarnation: Incarnation,
    counter: u32,
    now_ms: i64,
) -> Result<SegmentEntry> {
    let records = 500 + chance.below(1000) as u64;
    let length = records * (300 + chance.below(80) as u64);
    let end = first + records as i64;
    let batches = 10 + chance.below(20) as u32;
    let mut hash = [0; 32];
    for part in hash.chunks_mut(8) {
        part.copy_from_slice(&chance.next().to_le_bytes());
    }
    let digest = (u128::from(chance.next() >> 2) << 64) | u128::from(chance.next());
    Ok(SegmentEntry {
        first,
        end,
        object: SegmentObject::Own(incarnation, counter),
        position: 0,
        length,
        blake3: Hash(hash),
        version_id: None,
        batches,
        control: 0,
        records,
        missing: 0,
        bytes: CodecBytes { zstd: length - 300, ..CodecBytes::default() },
        log_append_time: 0,
        holes: 0,
        largest_batch: 20_000 + chance.below(20_000) as u32,
        min_timestamp: now_ms - 60_000 - chance.below(500) as i64,
        min_exact: true,
        max_timestamp: now_ms - chance.below(500) as i64,
        batch_digest: format!("{batches}:{digest:032x}").parse()?,
        content_digest: None,
        last: Some(LastBatch { offset: end - 40, epoch: 7, crc: chance.next() as u32 }),
        open: Vec::new(),
        schema_ids: None,
        extra: serde_json::Map::new(),
    })
}

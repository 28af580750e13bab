//! Decode: archived batches in, batches to be produced out. Pure CPU work, no I/O.
//!
//! A batch goes out as it lies in the archive (the *passthrough* lane) unless something must change (the *rebuild* lane):
//!
//! | why | what |
//! |---|---|
//! | holes | compaction removed records; a broker wants them numbered without gaps |
//! | LogAppendTime | the records carry their producer's times; consumers saw the broker's |
//! | cut | the time window, or a fork of the history, ends inside the batch |
//! | over-size | the target takes no batch so large |
//! | other ids | an id in it is another one in the target: the batch with that id takes its place first |
//! | quarantine | some of its records go to another topic: see [`super::part`] |
//! | tiny | neighbours that cost more as requests than as work are put together |
//!
//! **What comes out is a function of the archive's batches and the settings alone**: a rerun must cut the same batches
//! at the same records, because their sequence numbers and offsets follow from that. So nothing here depends on how the
//! archive groups batches into segments and frames (a merge may change that between two runs), and a rebuilt batch never
//! spans a multiple of [`ALIGN`] in source offsets, so that a run may begin at any such multiple. Whatever changes the
//! batches that come out (the constants below too) needs a new [`crate::restore`]'s journal version.

use std::sync::Arc;

use bytes::Bytes;
use formats::codec::Decompressor;
use formats::digest::ContentDigest;
use formats::ids::OffsetRange;
use formats::rebuild::{Holes, RebuildSettings, Rebuilder, RebuiltBatch};
use formats::record_batch::RecordBatch;
use formats::rewrite::UnknownId;
use serde::{Deserialize, Serialize};

use super::part::{Choice, Goes, Part};
use super::runs::{Run, RunMap};
use crate::archive::{BatchFate, ClippedBatch};
use crate::budget::Budget;
use crate::restore::TimeWindow;
use crate::restore::schemas::{RecordIds, RemapCounts, Remapped, Remapper, TopicRemap, UnknownIds};
use crate::{Error, Result};

/// Rebuilt batches end at multiples of this many source offsets.
pub(crate) const ALIGN: i64 = 1 << 16;
/// Batches below this size are put together with their neighbours.
pub(crate) const TINY: usize = 8 << 10;
/// The uncompressed size that rebuilt batches grow to.
const REBUILT: usize = 512 << 10;
/// The most that one batch of the archive may decompress to.
const DECOMPRESSED_CAP: usize = 512 << 20;

/// A batch for the target.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// How many records of the partition come before it.
    pub(crate) index: u64,
    /// How many records it has.
    pub(crate) records: i32,
    /// The whole batch; its header is renewed when it is sent.
    pub(crate) bytes: Bytes,
    /// The first source offset in it, for messages.
    pub(crate) source: i64,
}

impl Prepared {
    /// The number of the record after its last one.
    pub(crate) fn end(&self) -> u64 {
        self.index + u64::from(self.records.unsigned_abs())
    }
}

/// What was done with a partition's batches. Counts cover what was decoded in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneCounts {
    /// Batches sent as they lie in the archive.
    pub passthrough_batches: u64,
    /// Their bytes.
    pub passthrough_bytes: u64,
    /// Bytes of archived batches rebuilt because compaction left holes.
    pub rebuilt_holes: u64,
    /// Bytes of archived batches rebuilt because the broker had stamped them.
    pub rebuilt_log_append_time: u64,
    /// Bytes of archived batches rebuilt because a bound cuts them.
    pub rebuilt_cut: u64,
    /// Bytes of archived batches rebuilt because records of them are quarantined, and others are not.
    #[serde(default)]
    pub rebuilt_quarantine: u64,
    /// Bytes of archived batches rebuilt because the target takes no batch so large.
    pub rebuilt_oversize: u64,
    /// Bytes of archived batches put together with their neighbours.
    pub rebuilt_tiny: u64,
    /// Batches that came out of the rebuild lane.
    pub rebuilt_batches: u64,
    /// Control batches left out.
    pub control_batches: u64,
    /// Records of aborted transactions left out.
    pub aborted_records: u64,
    /// Records left out because nothing in the archive tells whether their transaction was committed.
    pub undecided_records: u64,
    /// Records left out because their time lies outside of the window.
    pub outside_window: u64,
    /// Records left out of their topic because they name a schema that nothing in the target stands for: they are quarantined.
    #[serde(default)]
    pub quarantined_records: u64,
    /// What became of schema ids.
    #[serde(default)]
    pub schema_ids: RemapCounts,
}

/// Why a batch is rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Holes,
    LogAppendTime,
    Cut,
    Quarantine,
    Oversize,
    Tiny,
}

/// What a lane needs to know.
#[derive(Debug, Clone)]
pub(crate) struct LaneSettings {
    pub(crate) window: TimeWindow,
    /// The largest batch that the target takes.
    pub(crate) max_batch: usize,
    /// Whether the content digest is computed on the way.
    pub(crate) digest: bool,
    /// Of more runs than this no map is kept.
    pub(crate) max_runs: usize,
    /// What schema ids in records become; none where they are not looked at.
    pub(crate) remap: Option<Arc<TopicRemap>>,
    /// Which of the records.
    pub(crate) part: Part,
}

impl LaneSettings {
    /// Whether only reading the records tells how many come out: entries of segments do not say which name what schema.
    pub(crate) fn must_read(&self) -> bool {
        let divides = self.remap.as_ref().is_some_and(|remap| remap.policy() == UnknownIds::Quarantine);
        self.digest || divides
    }
}

/// Turns one partition's batches into those for the target, in order.
#[derive(Debug)]
pub(crate) struct Lane {
    settings: LaneSettings,
    budget: Budget,
    remapper: Option<Remapper>,
    rebuilder: Rebuilder,
    rebuilding: bool,
    /// The block of [`ALIGN`] offsets that the waiting records belong to.
    block: i64,
    counting_below: i64,
    held: Option<Held>,
    decompressor: Decompressor,
    scratch: Vec<u8>,
    rebuilt: Vec<RebuiltBatch>,
    out: Vec<Prepared>,
    /// Records before the next batch.
    index: u64,
    /// Records that are on the target already.
    present: u64,
    counts: LaneCounts,
    digest: ContentDigest,
    /// None where there are too many.
    runs: Option<RunMap>,
    misses_schema: bool,
}

/// A tiny batch whose next neighbour decides what becomes of it.
#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    choice: Choice,
}

impl Lane {
    /// Begins at record `index` of the partition; batches among the first `present` records are not given out, because
    /// the target has them.
    pub(crate) fn new(
        settings: LaneSettings,
        budget: Budget,
        index: u64,
        present: u64,
        runs: RunMap,
    ) -> Result<Self> {
        let rebuilder = Rebuilder::new(RebuildSettings {
            codec: None,
            level: None,
            batch_bytes: REBUILT,
            max_batch_bytes: settings.max_batch,
            decompressed_cap: DECOMPRESSED_CAP,
            holes: Holes::Close,
        })?;
        let remapper =
            settings.remap.clone().map(|topic| Remapper::new(topic, DECOMPRESSED_CAP)).transpose()?;
        Ok(Self {
            settings,
            budget,
            remapper,
            rebuilder,
            rebuilding: false,
            block: 0,
            counting_below: i64::MIN,
            held: None,
            decompressor: Decompressor::new(),
            scratch: Vec::new(),
            rebuilt: Vec::new(),
            out: Vec::new(),
            index,
            present,
            counts: LaneCounts::default(),
            digest: ContentDigest::EMPTY,
            runs: Some(runs),
            misses_schema: false,
        })
    }

    /// Batches that begin below this offset, a multiple of [`ALIGN`], are only counted.
    #[must_use]
    pub(crate) fn counting_below(self, offset: i64) -> Self {
        Self { counting_below: offset, ..self }
    }

    /// The batches made since the last call.
    pub(crate) fn take(&mut self) -> Vec<Prepared> {
        std::mem::take(&mut self.out)
    }

    /// How many records the partition has up to here, what was done, the digest over them, and where they went.
    pub(crate) fn results(self) -> LaneResults {
        let digest = self.settings.digest.then_some(self.digest);
        LaneResults { records: self.index, counts: self.counts, digest, runs: self.runs }
    }

    /// Takes the next batch; `shared` is the buffer that it lies in. Checks its CRC.
    pub(crate) fn push(&mut self, clipped: &ClippedBatch<'_>, fate: BatchFate, shared: &Bytes) -> Result<()> {
        clipped.batch.verify_crc()?;
        self.push_checked(clipped, fate, shared)
    }

    /// As [`Lane::push`], of a batch whose CRC was checked.
    pub(crate) fn push_checked(
        &mut self,
        clipped: &ClippedBatch<'_>,
        fate: BatchFate,
        shared: &Bytes,
    ) -> Result<()> {
        let batch = &clipped.batch;
        let records = u64::from(batch.record_count().unsigned_abs());
        // What neither part has is told of the topic itself, once.
        let own = u64::from(self.settings.part == Part::Own);
        match fate {
            BatchFate::Control => self.counts.control_batches += own,
            BatchFate::Aborted => self.counts.aborted_records += own * records,
            BatchFate::Undecided => self.counts.undecided_records += own * records,
            BatchFate::Plain | BatchFate::Committed if records == 0 => {}
            BatchFate::Plain | BatchFate::Committed => return self.data(clipped, shared),
        }
        Ok(())
    }

    fn data(&mut self, clipped: &ClippedBatch<'_>, shared: &Bytes) -> Result<()> {
        let archived = clipped.batch.len();
        let Remapped { bytes, unknown, records } = self.remapped(clipped)?;
        let quarantines = self.remapper.as_ref().is_some_and(|it| it.policy() == UnknownIds::Quarantine);
        let (window, part) = (self.settings.window, self.settings.part);
        let choice = Choice::new(clipped.keep, window, part, if quarantines { &unknown } else { &[] });
        if choice.is_empty() {
            return Ok(());
        }
        if bytes.is_empty() {
            return self.kept(clipped, choice, &records, shared, archived);
        }
        let bytes = self.budget.charge(bytes.len()).attach(bytes);
        let batch = RecordBatch::parse(&bytes)?;
        self.kept(&ClippedBatch { batch, keep: clipped.keep }, choice, &records, &bytes, archived)
    }

    /// The batch with the ids of the target, where any of them changes and that is wanted, and what is to be known of its ids.
    fn remapped(&mut self, clipped: &ClippedBatch<'_>) -> Result<Remapped> {
        // What is only counted is not digested either.
        let (Some(remapper), true) = (&mut self.remapper, clipped.keep.first >= self.counting_below) else {
            return Ok(Remapped::default());
        };
        let remapped = match self.settings.part {
            Part::Own => remapper.remap(&clipped.batch)?,
            Part::Quarantined => remapper.look(&clipped.batch)?,
        };
        if remapper.policy() == UnknownIds::Fail && !remapped.unknown.is_empty() {
            self.refuse_unknown(clipped, &remapped.unknown)?;
        }
        Ok(remapped)
    }

    /// An error where a record that is restored names a schema that nothing in the target stands for.
    fn refuse_unknown(&mut self, clipped: &ClippedBatch<'_>, unknown: &[UnknownId]) -> Result<()> {
        let batch = &clipped.batch;
        let choice = Choice::new(clipped.keep, self.settings.window, Part::Quarantined, unknown);
        let mut first = None;
        for record in self.decompressor.records(batch, DECOMPRESSED_CAP, &mut self.scratch)? {
            let record = record?;
            let offset = batch.base_offset() + i64::from(record.offset_delta);
            let timestamp = batch.effective_timestamp(record.timestamp_delta);
            if choice.of(offset, timestamp) == Goes::Here {
                first = unknown.iter().find(|unknown| unknown.offset == offset);
                break;
            }
        }
        let Some(UnknownId { offset, side, schema, .. }) = first else {
            return Ok(());
        };
        self.misses_schema = true;
        Err(Error::permanent(format!(
            "the record at offset {offset} names {schema} in its {side}, and nothing in the target stands for that"
        ))
        .hint(
            "with `schema_registry.restore.unknown_ids: keep` the next run restores it as it is, and with `quarantine` into another \
             topic; or delete the target's topics, restore that schema too or name the id in \
             `schema_registry.restore.id_mapping_file`, and begin again",
        ))
    }

    /// Takes a batch with the ids of the target, of which `ids` tells; `archived` is how long it was with those of the archive.
    fn kept(
        &mut self,
        clipped: &ClippedBatch<'_>,
        choice: Choice,
        ids: &[RecordIds],
        shared: &Bytes,
        archived: usize,
    ) -> Result<()> {
        let (batch, keep) = (&clipped.batch, clipped.keep);
        let records = u64::from(batch.record_count().unsigned_abs());
        let (kept, apart) = if choice.is_whole(clipped) && !self.settings.digest {
            self.counts.schema_ids.batch(archived, ids.iter().copied());
            (records, 0)
        } else {
            self.examine(batch, &choice, ids, archived)?
        };
        if self.settings.part == Part::Own {
            self.counts.outside_window += records - kept - apart;
            self.counts.quarantined_records += apart;
        }
        if kept == 0 {
            return Ok(());
        }
        if keep.first < self.counting_below {
            // Only in segments without holes, markers and bounds: the records are the batch's offsets.
            self.map(keep);
            self.index += kept;
            return Ok(());
        }
        let why = match () {
            () if kept + apart < records => Some(Why::Cut),
            () if apart > 0 => Some(Why::Quarantine),
            () => self.why(batch, archived),
        };
        let block = keep.first / ALIGN;
        if block != self.block {
            self.flush()?;
            self.block = block;
        }
        match why {
            None => {
                self.flush()?;
                self.pass(batch, shared_slice(shared, batch));
            }
            Some(Why::Tiny) if self.held.is_none() && !self.rebuilding => {
                self.held = Some(Held { bytes: batch.bytes().to_vec(), choice });
            }
            Some(why) => {
                if let Some(held) = self.held.take() {
                    let first = RecordBatch::parse(&held.bytes)?;
                    self.rebuild(&first, &held.choice, Why::Tiny)?;
                }
                self.rebuild(batch, &choice, why)?;
            }
        }
        Ok(())
    }

    /// Counts the records that come out here and those that come out of the other part's lane, with what became of their ids, and
    /// digests the former where that is wanted.
    fn examine(
        &mut self,
        batch: &RecordBatch<'_>,
        choice: &Choice,
        ids: &[RecordIds],
        archived: usize,
    ) -> Result<(u64, u64)> {
        let (mut kept, mut apart) = (0, 0);
        let (mut ids, mut told) = (ids.iter().peekable(), Vec::new());
        let records = self.decompressor.records(batch, DECOMPRESSED_CAP, &mut self.scratch)?;
        for record in records {
            let record = record.map_err(|e| {
                let (first, end) = (batch.base_offset(), batch.next_offset());
                e.at(format_args!("record batch at offsets [{first},{end})"))
            })?;
            let timestamp = batch.effective_timestamp(record.timestamp_delta);
            let offset = batch.base_offset() + i64::from(record.offset_delta);
            let ids = ids.next_if(|ids| ids.offset == offset);
            match choice.of(offset, timestamp) {
                Goes::Here => {
                    kept += 1;
                    told.extend(ids.copied());
                    if self.settings.digest {
                        self.digest.push_record(timestamp, &record);
                    }
                }
                Goes::There => {
                    apart += 1;
                    told.extend(ids.map(|ids| ids.quarantined()));
                }
                Goes::Nowhere => {}
            }
        }
        if self.settings.part == Part::Own {
            self.counts.schema_ids.batch(archived, told.into_iter());
        }
        Ok((kept, apart))
    }

    /// `archived` decides what is tiny: how well a batch with other ids compresses is not the archive's to say.
    fn why(&self, batch: &RecordBatch<'_>, archived: usize) -> Option<Why> {
        match () {
            () if batch.has_holes() => Some(Why::Holes),
            () if batch.attributes().log_append_time() => Some(Why::LogAppendTime),
            () if batch.len() > self.settings.max_batch => Some(Why::Oversize),
            () if archived < TINY => Some(Why::Tiny),
            () => None,
        }
    }

    fn rebuild(&mut self, batch: &RecordBatch<'_>, choice: &Choice, why: Why) -> Result<()> {
        let bytes = batch.len() as u64;
        let counts = &mut self.counts;
        *match why {
            Why::Holes => &mut counts.rebuilt_holes,
            Why::LogAppendTime => &mut counts.rebuilt_log_append_time,
            Why::Cut => &mut counts.rebuilt_cut,
            Why::Quarantine => &mut counts.rebuilt_quarantine,
            Why::Oversize => &mut counts.rebuilt_oversize,
            Why::Tiny => &mut counts.rebuilt_tiny,
        } += bytes;
        let is_wanted = |offset, timestamp| choice.of(offset, timestamp) == Goes::Here;
        self.rebuilder.push(batch, |offset, timestamp, _| is_wanted(offset, timestamp), &mut self.rebuilt)?;
        self.rebuilding = true;
        self.give_rebuilt();
        Ok(())
    }

    /// Gives out whatever waits, so that the next batch stands behind it.
    fn flush(&mut self) -> Result<()> {
        if let Some(held) = self.held.take() {
            let bytes = Bytes::from(held.bytes);
            let batch = RecordBatch::parse(&bytes)?;
            self.pass(&batch, bytes.clone());
        }
        if self.rebuilding {
            self.rebuilt.extend(self.rebuilder.finish()?);
            self.rebuilding = false;
            self.give_rebuilt();
        }
        Ok(())
    }

    /// Ids become something else from the next batch on.
    pub(crate) fn set_remap(&mut self, topic: Option<Arc<TopicRemap>>) -> Result<()> {
        match (&mut self.remapper, topic) {
            (Some(remapper), Some(topic)) => remapper.follow(topic),
            (_, topic) => {
                self.remapper = topic.map(|topic| Remapper::new(topic, DECOMPRESSED_CAP)).transpose()?;
            }
        }
        Ok(())
    }

    /// Whether the last batch was refused because nothing in the target stands for an id in it.
    pub(crate) fn misses_schema(&self) -> bool {
        self.misses_schema
    }

    /// Where records went since the last call, in runs.
    pub(crate) fn take_runs(&mut self) -> Vec<Run> {
        self.runs.as_mut().map_or_else(Vec::new, |map| std::mem::take(&mut map.runs))
    }

    /// Ends the partition, or what there is of it for now.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.flush()
    }

    fn pass(&mut self, batch: &RecordBatch<'_>, bytes: Bytes) {
        self.counts.passthrough_batches += 1;
        self.counts.passthrough_bytes += bytes.len() as u64;
        let range = OffsetRange::new(batch.base_offset(), batch.next_offset());
        self.give(bytes, batch.record_count(), &[range]);
    }

    fn give_rebuilt(&mut self) {
        for batch in std::mem::take(&mut self.rebuilt) {
            self.counts.rebuilt_batches += 1;
            let bytes = self.budget.charge(batch.bytes.len()).attach(batch.bytes);
            self.give(bytes, batch.records, &batch.sources);
        }
    }

    /// Notes where these records go.
    fn map(&mut self, source: OffsetRange) {
        if let Some(map) = &mut self.runs {
            map.push(source, self.index);
            if map.runs.len() > self.settings.max_runs {
                self.runs = None;
            }
        }
    }

    fn give(&mut self, bytes: Bytes, records: i32, sources: &[OffsetRange]) {
        let index = self.index;
        for source in sources {
            self.map(*source);
            self.index += source.len();
        }
        if self.index > self.present {
            let source = sources.first().map_or(-1, |range| range.first);
            self.out.push(Prepared { index, records, bytes, source });
        }
    }
}

/// What a lane says at its end.
#[derive(Debug)]
pub(crate) struct LaneResults {
    pub(crate) records: u64,
    pub(crate) counts: LaneCounts,
    /// Where it was asked for.
    pub(crate) digest: Option<ContentDigest>,
    /// None where there are too many.
    pub(crate) runs: Option<RunMap>,
}

/// The batch as a slice of the buffer that it lies in; a copy where it lies elsewhere.
fn shared_slice(shared: &Bytes, batch: &RecordBatch<'_>) -> Bytes {
    let start = (batch.bytes().as_ptr() as usize).checked_sub(shared.as_ptr() as usize);
    match start.filter(|start| start + batch.len() <= shared.len()) {
        Some(start) => shared.slice(start..start + batch.len()),
        None => Bytes::copy_from_slice(batch.bytes()),
    }
}

/// The error of a batch of a partition whose target holds a part of it.
pub(crate) fn split_batch(place: &str, present: u64, batch: &Prepared) -> Error {
    Error::permanent(format!(
        "{place}: the target holds {present} records of this restore, which ends inside the batch of records {} to {}",
        batch.index,
        batch.end()
    ))
    .hint("somebody else writes to this partition, or the restore's settings were changed: delete the topic and restore it again")
}

//! Reads one segment by ranges: the index first, then as many frames at once as the caller wants.
//!
//! ```text
//! open         last 64 KiB: tail and index      one request; a second only where the index is larger
//! read_frames  neighbouring frames              one request; none where `open` has read the whole segment
//! ```
//! Payload is admitted before it is read: the stored bytes and those that they decompress to. A run larger than half of
//! the budget is admitted as if it were half, so that it cannot wait for ever, and then counted in full.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use formats::codec::Decompressor;
use formats::commit::SegmentEntry;
use formats::hash::Hash;
use formats::ids::{LineageId, OffsetRange, TopicPartition};
use formats::segment::{
    Frame, FrameCodec, MAX_HEADER, SegmentIdentity, SegmentIndex, TAIL, decode_frame, read_header, read_tail,
};

use crate::budget::{Budget, Charge};
use crate::storage::Store;
use crate::{Error, ErrorKind, Result};

/// Read from the end of a segment at first: the index of any ordinary segment is shorter.
const FIRST_READ: u64 = 64 << 10;

/// One segment, opened.
#[derive(Debug)]
pub struct SegmentReader {
    store: Arc<dyn Store>,
    budget: Budget,
    key: String,
    place: String,
    partition: TopicPartition,
    lineage: LineageId,
    range: OffsetRange,
    position: u64,
    length: u64,
    index: SegmentIndex,
    whole: Option<Bytes>,
    _charge: Charge,
}

impl SegmentReader {
    /// Opens the segment that `entry` names: reads its index, and where that costs nothing its header.
    ///
    /// # Errors
    /// Damage, named by object key and topic-partition@offsets; a missing object is damage too; whatever the store says.
    pub async fn open(
        store: &Arc<dyn Store>,
        budget: &Budget,
        partition: &TopicPartition,
        lineage: LineageId,
        entry: &SegmentEntry,
    ) -> Result<Self> {
        let mut reader = Self::closed(store, budget, partition, lineage, entry);
        let from = entry.length.saturating_sub(FIRST_READ);
        let end = reader.get(from..entry.length).await?;
        let kept = if from == 0 { end.len() } else { 0 };
        let parsed = reader.parse(from, end).await;
        let index = parsed.map_err(|e| e.at(&reader.place))?;
        // Beyond the limit if need be: a reader that waited here would hold nothing that it could give back.
        reader._charge = budget.charge(2 * index + kept);
        Ok(reader)
    }

    /// Opens the segment and reads all of it in one request, checking its BLAKE3 and its header. Frames then cost no
    /// further request. For segments that fit the budget.
    ///
    /// # Errors
    /// As [`SegmentReader::open`].
    pub async fn open_whole(
        store: &Arc<dyn Store>,
        budget: &Budget,
        partition: &TopicPartition,
        lineage: LineageId,
        entry: &SegmentEntry,
    ) -> Result<Self> {
        let mut reader = Self::closed(store, budget, partition, lineage, entry);
        let held = admit(budget, entry.length).await;
        let whole = hold(reader.get(0..entry.length).await?, &held);
        if Hash::of(&whole) != entry.blake3 {
            let message = format!("{}: its BLAKE3 is not the one that the backup recorded", reader.place);
            return Err(Error::damaged(message).hint("restore the object from a copy of the store"));
        }
        let parsed = reader.parse(0, whole).await;
        let index = parsed.map_err(|e| e.at(&reader.place))?;
        reader._charge = budget.charge(2 * index);
        Ok(reader)
    }

    fn closed(
        store: &Arc<dyn Store>,
        budget: &Budget,
        partition: &TopicPartition,
        lineage: LineageId,
        entry: &SegmentEntry,
    ) -> Self {
        let key = entry.key(partition, lineage);
        let place = format!("{key}: {partition}@{}", entry.range());
        Self {
            store: Arc::clone(store),
            budget: budget.clone(),
            key,
            place,
            partition: partition.clone(),
            lineage,
            range: entry.range(),
            position: entry.position,
            length: entry.length,
            index: SegmentIndex::default(),
            whole: None,
            _charge: budget.charge(0),
        }
    }

    /// Reads tail and index out of the segment's last bytes, which begin at `from`; gives the index's stored length.
    async fn parse(&mut self, from: u64, end: Bytes) -> Result<usize> {
        let tail = read_tail(&end, self.length)?;
        let index = match tail.index_position.checked_sub(from) {
            Some(at) => end.slice(at as usize..end.len() - TAIL),
            None => {
                let until = tail.index_position + u64::from(tail.index_length);
                self.get(tail.index_position..until).await?
            }
        };
        self.index = SegmentIndex::decode(&index, tail.index_position)?;
        let in_range =
            |frame: &Frame| self.range.first <= frame.range.first && frame.range.end <= self.range.end;
        if !self.index.frames.iter().all(in_range) {
            return Err(Error::damaged("a frame of its index lies outside of its offsets"));
        }
        if from == 0 {
            self.check_header(&end)?;
            self.whole = Some(end);
        }
        Ok(index.len())
    }

    fn check_header(&self, bytes: &[u8]) -> Result<SegmentIdentity> {
        let (identity, length) = read_header(bytes)?;
        let same = identity.partition == self.partition
            && identity.lineage == self.lineage
            && identity.range == self.range;
        if !same {
            return Err(Error::damaged(format!(
                "it holds {}@{} of lineage {}: the segment of another place",
                identity.partition, identity.range, identity.lineage
            ))
            .hint("restore the object from a copy of the store"));
        }
        let first = self.index.frames.first().map_or(length as u64, |frame| frame.position);
        if first != length as u64 {
            return Err(Error::damaged("its first frame does not begin where its header ends"));
        }
        Ok(identity)
    }

    /// Reads and checks the header: what the segment itself says it is.
    ///
    /// # Errors
    /// Damage; the segment of another place; whatever the store says.
    pub async fn identity(&self) -> Result<SegmentIdentity> {
        let header = match &self.whole {
            Some(whole) => whole.clone(),
            None => self.get(0..(MAX_HEADER as u64).min(self.length)).await?,
        };
        self.check_header(&header).map_err(|e| e.at(&self.place))
    }

    /// The object's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Object key and topic-partition@offsets: what errors begin with.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Frames, markers, transactions, leader epochs.
    pub fn index(&self) -> &SegmentIndex {
        &self.index
    }

    /// The numbers of the frames that may hold an offset of the range.
    pub fn frames_of(&self, range: OffsetRange) -> Range<usize> {
        let frames = &self.index.frames;
        let from = frames.partition_point(|frame| frame.range.end <= range.first);
        let until = frames.partition_point(|frame| frame.range.first < range.end);
        from..until.max(from)
    }

    /// The first of these frames and its followers, as many as have at most `max` stored bytes together; one at least.
    pub fn coalesce(&self, frames: Range<usize>, max: u64) -> Range<usize> {
        let mut sum = 0_u64;
        let fits = |frame: &&Frame| {
            sum += u64::from(frame.stored);
            sum <= max
        };
        let count = self.index.frames.get(frames.clone()).unwrap_or_default().iter().take_while(fits).count();
        frames.start..frames.end.min(frames.start + count.max(1))
    }

    /// Reads neighbouring frames with one request. Waits until their bytes, stored and decompressed, fit the budget.
    ///
    /// # Errors
    /// Frames that the segment does not have; a missing or shorter object, as damage; whatever the store says.
    pub async fn read_frames(&self, frames: Range<usize>) -> Result<FrameRun> {
        let Some(list) = self.index.frames.get(frames.clone()) else {
            let message = format!("{}: there are no frames {frames:?}", self.place);
            return Err(Error::permanent(message));
        };
        let list = list.to_vec();
        let (Some(first), Some(last)) = (list.first(), list.last()) else {
            return Ok(FrameRun {
                place: self.place.clone(),
                frames: list,
                stored: Bytes::new(),
                held: Held::none(),
            });
        };
        let range = first.position..last.position + u64::from(last.stored);
        let raw = list.iter().filter(|f| f.codec != FrameCodec::None).map(|f| u64::from(f.raw)).sum::<u64>();
        let (stored, held) = match &self.whole {
            // The stored bytes are here and charged; the rest must not wait for what this very reader holds.
            Some(whole) => {
                let stored = whole.slice(range.start as usize..range.end as usize);
                (stored, Arc::new(Held { _charges: vec![self.budget.charge(size(raw))] }))
            }
            None => {
                let held = admit(&self.budget, (range.end - range.start).saturating_add(raw)).await;
                (hold(self.get(range).await?, &held), held)
            }
        };
        Ok(FrameRun { place: self.place.clone(), frames: list, stored, held })
    }

    async fn get(&self, range: Range<u64>) -> Result<Bytes> {
        let range = self.position + range.start..self.position + range.end;
        self.store.get_range(&self.key, range).await.map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::damaged(format!("{}: the object is missing", self.place))
                .hint("restore the object from a copy of the store"),
            _ => e.at(&self.place),
        })
    }
}

/// Some neighbouring frames as they are stored. Their memory is given back when the run and everything decoded from it
/// is dropped.
#[derive(Debug)]
pub struct FrameRun {
    place: String,
    frames: Vec<Frame>,
    stored: Bytes,
    held: Arc<Held>,
}

impl FrameRun {
    /// The frames, in offset order.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The bytes of the `n`th frame of the run: its batches exactly as Kafka's log held them. Without a copy where they
    /// are stored as they are.
    ///
    /// # Errors
    /// Damage, named by object key and offsets.
    pub fn decode(&self, n: usize, decompressor: &mut Decompressor) -> Result<Bytes> {
        let at = |e: Error| e.at(&self.place);
        let missing =
            || at(Error::permanent(format!("there is no frame {n} in a run of {}", self.frames.len())));
        let frame = self.frames.get(n).ok_or_else(missing)?;
        let start = size(frame.position - self.frames.first().map_or(0, |first| first.position));
        let stored = self.stored.slice(start..start + frame.stored as usize);
        let raw = match decode_frame(frame, &stored, decompressor).map_err(|e| at(e.into()))? {
            Cow::Borrowed(_) => None,
            Cow::Owned(raw) => Some(raw),
        };
        Ok(raw.map_or(stored, |raw| hold(raw.into(), &self.held)))
    }
}

/// Bytes admitted together.
#[derive(Debug)]
struct Held {
    _charges: Vec<Charge>,
}

impl Held {
    fn none() -> Arc<Self> {
        Arc::new(Self { _charges: Vec::new() })
    }
}

async fn admit(budget: &Budget, bytes: u64) -> Arc<Held> {
    let bytes = size(bytes);
    let now = bytes.min(budget.limit() / 2);
    let admitted = budget.admit(now).await;
    Arc::new(Held { _charges: vec![admitted, budget.charge(bytes - now)] })
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

struct Owned {
    bytes: Bytes,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn hold(bytes: Bytes, held: &Arc<Held>) -> Bytes {
    Bytes::from_owner(Owned { bytes, _held: Arc::clone(held) })
}

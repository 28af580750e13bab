//! Reads one segment by ranges: the index first, then as many frames at once as the caller wants.
//!
//! ```text
//! open         last 64 KiB: tail and index      one request; a second only where the index is larger
//! read_frames  neighbouring frames              one request; none where `open` has read the whole segment
//! check        what was read, against BLAKE3    none
//! ```
//! Before any frame is given out, the header has said that this is the segment which the commit names. It comes with the
//! first frame in one request; who begins further behind costs one more. Who reads all frames in their order, and checks each
//! run, has checked the whole segment against the commit's BLAKE3 with the last one.
//!
//! Where the commit names the version of the object, that version is read, so that an overwrite or a deletion which only made a
//! new version costs nothing; without it (another store's copy of the backup, a version that was cleaned away) what stands
//! under the key.
//!
//! Payload is admitted before it is read: the stored bytes and those that they decompress to. A run larger than half of
//! the budget is admitted as if it were half, so that it cannot wait for ever, and then counted in full.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    version_id: Option<String>,
    /// The store did not give the version: what stands under the key is read instead.
    is_version_gone: AtomicBool,
    index: SegmentIndex,
    whole: Option<Bytes>,
    is_identified: AtomicBool,
    sequence: Arc<Mutex<Sequence>>,
    _charge: Charge,
}

/// A segment's BLAKE3 as far as it was read without a hole.
#[derive(Debug)]
struct Sequence {
    hasher: blake3::Hasher,
    /// Where the next bytes must begin.
    next: u64,
    /// What lies behind the frames, and where.
    end: [Bytes; 2],
    index_position: u64,
    expected: Hash,
}

impl Sequence {
    /// Takes bytes; what does not begin where the last ones ended is no longer a whole. False where the hash is another one.
    fn take(&mut self, position: u64, bytes: &[u8]) -> bool {
        if position != self.next {
            self.next = u64::MAX;
            return true;
        }
        self.hasher.update(bytes);
        self.next += bytes.len() as u64;
        if self.next != self.index_position {
            return true;
        }
        for end in &self.end {
            self.hasher.update(end);
        }
        Hash::from(self.hasher.finalize()) == self.expected
    }
}

impl SegmentReader {
    /// Opens the segment that `entry` names: reads its index, and where that is all of it checks its BLAKE3 and its header.
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
        if from == 0 {
            reader.check_hash(Hash::of(&end), entry)?;
        }
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
        reader.check_hash(Hash::of(&whole), entry)?;
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
            version_id: entry.version_id.clone(),
            is_version_gone: AtomicBool::new(false),
            index: SegmentIndex::default(),
            whole: None,
            is_identified: AtomicBool::new(false),
            sequence: Arc::new(Mutex::new(Sequence {
                hasher: blake3::Hasher::new(),
                next: 0,
                end: [Bytes::new(), Bytes::new()],
                index_position: 0,
                expected: entry.blake3,
            })),
            _charge: budget.charge(0),
        }
    }

    fn check_hash(&self, found: Hash, entry: &SegmentEntry) -> Result<()> {
        if found == entry.blake3 { Ok(()) } else { Err(other_hash(&self.place)) }
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
        let length = index.len();
        if from == 0 {
            self.check_header(&end)?;
            self.whole = Some(end);
        } else {
            let mut sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
            sequence.index_position = tail.index_position;
            sequence.end = [index, end.slice(end.len() - TAIL..)];
        }
        Ok(length)
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
        self.is_identified.store(true, Ordering::Release);
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
    /// Frames that the segment does not have; the segment of another place; a missing or shorter object, as damage; whatever
    /// the store says.
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
                header: Bytes::new(),
                stored: Bytes::new(),
                held: Held::none(),
                sequence: None,
            });
        };
        let mut range = first.position..last.position + u64::from(last.stored);
        // The header comes with the first frame.
        if frames.start == 0 {
            range.start = 0;
        } else if !self.is_identified.load(Ordering::Acquire) {
            self.identity().await?;
        }
        let raw = list.iter().filter(|f| f.codec != FrameCodec::None).map(|f| u64::from(f.raw)).sum::<u64>();
        let start = range.start;
        let (mut stored, held) = match &self.whole {
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
        let header = stored.split_to(size(first.position - start).min(stored.len()));
        if !self.is_identified.load(Ordering::Acquire) {
            self.check_header(&header).map_err(|e| e.at(&self.place))?;
        }
        let sequence = self.whole.is_none().then(|| Arc::clone(&self.sequence));
        Ok(FrameRun { place: self.place.clone(), frames: list, header, stored, held, sequence })
    }

    async fn get(&self, range: Range<u64>) -> Result<Bytes> {
        let range = self.position + range.start..self.position + range.end;
        if let Some(version_id) = &self.version_id
            && !self.is_version_gone.load(Ordering::Acquire)
        {
            match self.store.get_version_range(&self.key, version_id, range.clone()).await {
                Err(error) if error.kind() != ErrorKind::Retry => {
                    tracing::debug!(place = self.place, %error, "the version that the commit names is not read");
                    self.is_version_gone.store(true, Ordering::Release);
                }
                read => return read.map_err(|e| e.at(&self.place)),
            }
        }
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
    header: Bytes,
    stored: Bytes,
    held: Arc<Held>,
    sequence: Option<Arc<Mutex<Sequence>>>,
}

impl FrameRun {
    /// The frames, in offset order.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Adds the run to what was read of the segment. Where it is all of it with this run, and in its order, the segment is
    /// the one that the backup recorded, byte for byte. Work for a CPU thread.
    ///
    /// # Errors
    /// Damage: the bytes are not those that the commit names, whatever their own checksums say.
    pub fn check(&self) -> Result<()> {
        let (Some(sequence), Some(first)) = (&self.sequence, self.frames.first()) else { return Ok(()) };
        let mut sequence = sequence.lock().unwrap_or_else(PoisonError::into_inner);
        let header = self.header.len() as u64;
        let good = header == 0 || sequence.take(first.position - header, &self.header);
        if good && sequence.take(first.position, &self.stored) {
            Ok(())
        } else {
            Err(other_hash(&self.place))
        }
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

fn other_hash(place: &str) -> Error {
    Error::damaged(format!("{place}: its BLAKE3 is not the one that the backup recorded"))
        .hint("restore the object from a copy of the store")
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

//! The minimal restore: read each segment, hash it, check the CRC-32C of each batch as it was stored, renew the header,
//! CRC, pipelined idempotent produce.
//!
//! The list of segments comes from a file, `partition path` a line, which the bench makes.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use clap::Args;

use super::batch;
use super::produce::{Outgoing, Pipeline};
use crate::Result;

/// What is restored, and where to.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The broker that leads all partitions.
    #[arg(long)]
    pub(crate) broker: String,
    /// The topic.
    #[arg(long)]
    pub(crate) topic: String,
    /// How many partitions it has.
    #[arg(long)]
    pub(crate) partitions: usize,
    /// The list of segments.
    #[arg(long)]
    pub(crate) list: PathBuf,
}

/// A partition's segments, the one being sent in memory.
#[derive(Default)]
struct Source {
    paths: Vec<PathBuf>,
    next: usize,
    bytes: Vec<u8>,
    frames: Range<usize>,
}

/// The list as it was written: paths by partition.
pub(crate) fn read_list(args: &RestoreArgs) -> Result<Vec<Vec<PathBuf>>> {
    let mut paths = vec![Vec::new(); args.partitions];
    for line in fs::read_to_string(&args.list)?.lines() {
        let (partition, path) = line.split_once(' ').ok_or("a line without a path")?;
        paths[partition.parse::<usize>()?].push(PathBuf::from(path));
    }
    Ok(paths)
}

/// Reads a file into a buffer that is used again.
pub(crate) fn read(path: &PathBuf, into: &mut Vec<u8>) -> Result<()> {
    use std::io::Read as _;
    into.clear();
    fs::File::open(path)?.read_to_end(into)?;
    Ok(())
}

/// Where the batches lie: the header says how long it is, the tail where the index begins (`formats/FORMAT.md`).
pub(crate) fn frames(segment: &[u8]) -> Result<Range<usize>> {
    let header = segment.get(10..12).ok_or("a segment without header")?;
    let tail = segment.len().checked_sub(40).and_then(|at| segment.get(at..at + 8)).ok_or("no tail")?;
    let mut position = [0; 8];
    position.copy_from_slice(tail);
    let start = usize::from(u16::from_le_bytes([header[0], header[1]]));
    Ok(start..usize::try_from(u64::from_le_bytes(position))?)
}

impl Source {
    /// The next batch, checked.
    fn next(&mut self) -> Result<Option<&mut [u8]>> {
        while self.frames.is_empty() {
            let Some(path) = self.paths.get(self.next) else { return Ok(None) };
            self.next += 1;
            read(path, &mut self.bytes)?;
            std::hint::black_box(blake3::hash(&self.bytes));
            self.frames = frames(&self.bytes)?;
        }
        let size =
            batch::size(&self.bytes[self.frames.clone()]).ok_or("a segment holds a part of a batch")?;
        let batch = self.frames.start..self.frames.start + size;
        self.frames.start = batch.end;
        let batch = &mut self.bytes[batch];
        batch::check(batch)?;
        Ok(Some(batch))
    }
}

/// Restores a topic.
///
/// # Errors
/// The broker's, damage, a missing file.
pub(crate) fn run(args: &RestoreArgs) -> Result<()> {
    let mut sources: Vec<Source> =
        read_list(args)?.into_iter().map(|paths| Source { paths, ..Source::default() }).collect();
    let mut pipeline = Pipeline::new(&args.broker, &args.topic, args.partitions)?;
    loop {
        let mut batches = Vec::with_capacity(sources.len());
        for (partition, source) in sources.iter_mut().enumerate() {
            if let Some(batch) = source.next()? {
                batches.push(Outgoing { partition, batch });
            }
        }
        if batches.is_empty() {
            return pipeline.finish();
        }
        pipeline.send(&mut batches)?;
    }
}

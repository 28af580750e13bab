//! Where the minimal backup puts its segments: files with every sync that a durable creation needs, or objects of S3.
//!
//! Files are written as the bytes come, so that they are hashed and copied while they are in the cache. An object's
//! signature covers the hash of its body, so there the body is gathered first.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::s3::{Bucket, BucketArgs};
use crate::Result;

/// Bytes of one write: larger ones cost more (`pipeline/src/storage/local/write.rs` says why).
const WRITE: usize = 256 << 10;

/// Where to, and how.
#[derive(Debug, Args)]
pub(crate) struct SinkArgs {
    /// A folder; otherwise a bucket.
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
    /// A bucket.
    #[command(flatten)]
    pub(crate) bucket: BucketArgs,
    /// Bytes after which a segment ends.
    #[arg(long)]
    pub(crate) segment: usize,
}

/// One partition's open segment.
#[derive(Default)]
struct Open {
    hasher: blake3::Hasher,
    file: Option<(File, PathBuf)>,
    body: Vec<u8>,
    length: usize,
    made: usize,
}

enum Place {
    Folder(PathBuf),
    Bucket(Bucket),
}

/// Takes batches, makes segments.
pub(crate) struct Sink {
    place: Place,
    topic: String,
    segment: usize,
    open: Vec<Open>,
    hash: bool,
}

impl Sink {
    /// A sink for the partitions of a topic.
    pub(crate) fn new(args: &SinkArgs, topic: &str, partitions: usize) -> Result<Self> {
        let place = match &args.folder {
            Some(folder) => Place::Folder(folder.clone()),
            None => Place::Bucket(Bucket::new(&args.bucket)?),
        };
        let open = (0..partitions).map(|_| Open::default()).collect();
        Ok(Self { place, topic: topic.to_owned(), segment: args.segment, open, hash: true })
    }

    /// One that does not hash, to measure what is left.
    pub(crate) fn bare(args: &SinkArgs, topic: &str, partitions: usize) -> Result<Self> {
        Ok(Self { hash: false, ..Self::new(args, topic, partitions)? })
    }

    /// Appends whole batches of a partition.
    pub(crate) fn append(&mut self, partition: usize, bytes: &[u8]) -> Result<()> {
        let open = &mut self.open[partition];
        if self.hash {
            open.hasher.update(bytes);
        }
        match &self.place {
            Place::Folder(folder) => {
                if open.file.is_none() {
                    let folder = partition_folder(folder, &self.topic, partition);
                    fs::create_dir_all(&folder)?;
                    let path = folder.join("temporary");
                    open.file = Some((File::create_new(&path)?, path));
                }
                if let Some((file, _)) = &mut open.file {
                    for piece in bytes.chunks(WRITE) {
                        file.write_all(piece)?;
                    }
                }
            }
            Place::Bucket(_) => open.body.extend_from_slice(bytes),
        }
        open.length += bytes.len();
        if open.length >= self.segment { self.close(partition) } else { Ok(()) }
    }

    /// Ends a segment: durable under its name.
    fn close(&mut self, partition: usize) -> Result<()> {
        let open = &mut self.open[partition];
        if open.length == 0 {
            return Ok(());
        }
        let name = format!("{:06}-{}.seg", open.made, open.hasher.finalize());
        match &self.place {
            Place::Folder(folder) => {
                let folder = partition_folder(folder, &self.topic, partition);
                if let Some((file, path)) = open.file.take() {
                    file.sync_all()?;
                    fs::hard_link(&path, folder.join(name))?;
                    fs::remove_file(&path)?;
                    File::open(&folder)?.sync_all()?;
                }
            }
            Place::Bucket(bucket) => {
                bucket.put(&format!("{}/{partition}/{name}", self.topic), &open.body)?;
                open.body.clear();
            }
        }
        open.hasher.reset();
        open.length = 0;
        open.made += 1;
        Ok(())
    }

    /// Ends all segments.
    pub(crate) fn finish(mut self) -> Result<()> {
        for partition in 0..self.open.len() {
            self.close(partition)?;
        }
        if let Place::Folder(folder) = &self.place {
            // The names of the folders themselves.
            File::open(folder.join(&self.topic))?.sync_all()?;
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

fn partition_folder(folder: &Path, topic: &str, partition: usize) -> PathBuf {
    folder.join(topic).join(partition.to_string())
}

//! The parts that the minimal loops are made of, each alone and as bare as it gets: what their sum is, the loops may not
//! exceed by much, or they would be a reference that is easy to beat.
//!
//! All but `receive` and `produce` work on one buffer that is used again and fits the cache, as the loops' data does
//! when it comes from a socket.

use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, ValueEnum};

use super::produce::{Outgoing, Pipeline};
use super::sink::{Sink, SinkArgs};
use super::{backup, batch, restore};
use crate::Result;

/// How much of an answer belongs to one partition.
const PIECE: usize = 4 << 20;
/// The size of a block that is compressed by itself.
const BLOCK: usize = 1 << 20;

/// A part of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Fetch a topic and do nothing with it.
    Receive,
    /// CRC-32C of each batch.
    Crc,
    /// BLAKE3.
    Blake3,
    /// Files or objects without hashing them first; SHA-256 belongs to the signature of an object.
    Store,
    /// Fetch a topic and compress it with zstd level 3 in blocks of 1 MiB.
    FetchZstd,
    /// The same, and decompress each block again, as whoever promises to read back what it stores must.
    FetchZstdBack,
    /// Read files.
    Read,
    /// Produce the same batches again and again.
    Produce,
}

/// Which kernel, and on what.
#[derive(Debug, Args)]
pub(crate) struct KernelArgs {
    /// Which.
    #[arg(long)]
    kernel: Kernel,
    /// A file of whole batches; for `receive` nothing.
    #[arg(long)]
    batches: Option<PathBuf>,
    /// How many bytes to work through.
    #[arg(long, default_value_t = 0)]
    total: u64,
    /// Broker, for `receive` and `produce`.
    #[arg(long, default_value = "")]
    broker: String,
    /// Topic, for `receive` and `produce`.
    #[arg(long, default_value = "")]
    topic: String,
    /// Partitions.
    #[arg(long, default_value_t = 8)]
    partitions: usize,
    /// Files to read, `partition path` a line.
    #[arg(long)]
    list: Option<PathBuf>,
    /// Where `store` stores.
    #[command(flatten)]
    sink: SinkArgs,
}

/// Runs one kernel.
///
/// # Errors
/// Whatever the broker, the store or the file system say.
pub(crate) fn run(args: &KernelArgs) -> Result<()> {
    let KernelArgs { broker, topic, partitions, .. } = args;
    match args.kernel {
        Kernel::Receive => {
            backup::fetch(broker, topic, *partitions, |_, _| Ok(()))?;
        }
        Kernel::Crc => {
            pieces(args, |_, piece| batch::walk(piece, batch::check).map(drop))?;
        }
        Kernel::Blake3 => {
            let mut hasher = blake3::Hasher::new();
            pieces(args, |_, piece| {
                hasher.update(piece);
                Ok(())
            })?;
            std::hint::black_box(hasher.finalize());
        }
        Kernel::Store => {
            let mut sink = Sink::bare(&args.sink, topic, *partitions)?;
            pieces(args, |number, piece| sink.append(number % partitions, piece))?;
            sink.finish()?;
        }
        Kernel::FetchZstd => fetch_zstd(args, false)?,
        Kernel::FetchZstdBack => fetch_zstd(args, true)?,
        Kernel::Read => {
            let list = args.list.clone().ok_or("no list")?;
            let args = restore::RestoreArgs {
                broker: String::new(),
                topic: String::new(),
                partitions: *partitions,
                list,
            };
            let mut buffer = Vec::new();
            for path in restore::read_list(&args)?.into_iter().flatten() {
                restore::read(&path, &mut buffer)?;
            }
        }
        Kernel::Produce => produce(args)?,
    }
    Ok(())
}

/// Gives pieces of whole batches until the total is reached.
fn pieces(args: &KernelArgs, mut each: impl FnMut(usize, &Bytes) -> Result<()>) -> Result<()> {
    let file = args.batches.as_ref().ok_or("no file of batches")?;
    let bytes = Bytes::from(std::fs::read(file)?);
    let mut cut = Vec::new();
    let mut from = 0;
    while from < bytes.len() {
        let (size, _) = batch::walk(&bytes[from..bytes.len().min(from + PIECE)], |_| Ok(()))?;
        if size == 0 {
            break;
        }
        cut.push(bytes.slice(from..from + size));
        from += size;
    }
    let mut done = 0;
    for (number, piece) in cut.iter().cycle().enumerate() {
        if done >= args.total {
            break;
        }
        each(number, piece)?;
        done += piece.len() as u64;
    }
    Ok(())
}

fn fetch_zstd(args: &KernelArgs, back: bool) -> Result<()> {
    let (mut zstd, mut unzstd) = (zstd::bulk::Compressor::new(3)?, zstd::bulk::Decompressor::new()?);
    let (mut packed, mut raw) = (vec![0; zstd::zstd_safe::compress_bound(BLOCK)], vec![0; BLOCK]);
    let mut compress = |block: &[u8]| -> Result<()> {
        let size = zstd.compress_to_buffer(block, &mut packed[..])?;
        if back && unzstd.decompress_to_buffer(&packed[..size], &mut raw[..])? != block.len() {
            return Err("a block does not come back".into());
        }
        Ok(())
    };
    let mut blocks = vec![Vec::with_capacity(BLOCK); args.partitions];
    backup::fetch(&args.broker, &args.topic, args.partitions, |partition, records| {
        let (block, mut rest) = (&mut blocks[partition], &records[..]);
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(BLOCK - block.len()));
            block.extend_from_slice(head);
            rest = tail;
            if block.len() == BLOCK {
                compress(block)?;
                block.clear();
            }
        }
        Ok(())
    })?;
    for block in blocks {
        compress(&block)?;
    }
    Ok(())
}

fn produce(args: &KernelArgs) -> Result<()> {
    let file = args.batches.as_ref().ok_or("no file of batches")?;
    let mut bytes = std::fs::read(file)?;
    let mut pipeline = Pipeline::new(&args.broker, &args.topic, args.partitions)?;
    let mut done = 0;
    while done < args.total {
        let mut rest = &mut bytes[..];
        while let Some(size) = batch::size(rest) {
            let mut batches = Vec::new();
            let mut size = Some(size);
            for partition in 0..args.partitions {
                let Some(length) = size else { break };
                let (batch, behind) = rest.split_at_mut(length);
                rest = behind;
                done += length as u64;
                batches.push(Outgoing { partition, batch });
                size = batch::size(rest);
            }
            pipeline.send(&mut batches)?;
            if done >= args.total {
                break;
            }
        }
    }
    pipeline.finish()
}

//! A registry as a file: JSON lines, hashed, with an end that a cut file does not have.
//!
//! ```text
//! {"record":"header","format":1,...}                      what it is, of which registry, when
//! {"record":"context","context":".payments"}
//! {"record":"config","subject":"","config":{...}}         "" is the registry, ":.payments:" a context
//! {"record":"mode","subject":"orders-value","mode":"READONLY"}
//! {"record":"version","subject":"orders-value","version":1,"id":7,...}   what is referred to before what refers to it
//! {"record":"end","contexts":2,...,"blake3":"..."}        counts, and the hash of all bytes before this line
//! ```
//! Reading trusts nothing: not the length of a line, not the counts, not the order. Lines of a kind that is not known are refused,
//! for they could be what a restore must not leave out; members that are not known are not.

use super::error::{Error, Kind, Result};
use super::index::{Index, Key};
use super::walk::Item;
use crate::client::{Schema, Settings};
use crate::settings::Mode;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The version of the format.
pub const FORMAT: u32 = 1;

/// Bytes of a line at most: a schema is a megabyte or a few.
const MAX_LINE: u64 = 64 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the format.
    pub format: u32,
    /// What wrote it.
    pub program: String,
    /// The registry, without credentials.
    pub source: String,
    /// When, in milliseconds of the epoch.
    pub time_ms: i64,
    /// The contexts that were asked for; none stand for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contexts: Vec<String>,
}

/// How much of everything there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Contexts.
    pub contexts: u64,
    /// Places with settings.
    pub configs: u64,
    /// Places with a mode.
    pub modes: u64,
    /// Versions, softly deleted ones included.
    pub versions: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
enum Line {
    Header(Head),
    Context { context: String },
    Config { subject: String, config: Settings },
    Mode { subject: String, mode: Mode },
    Version(Schema),
    End(End),
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    #[serde(flatten)]
    counts: Counts,
    blake3: String,
}

/// Writes a file.
pub struct ArchiveWriter<W> {
    out: W,
    name: String,
    hash: blake3::Hasher,
    counts: Counts,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins. `name` is what errors call it.
    pub fn new(out: W, name: String, head: Head) -> Result<Self> {
        let mut writer = Self { out, name, hash: blake3::Hasher::new(), counts: Counts::default() };
        writer.line(&Line::Header(head))?;
        Ok(writer)
    }

    /// Adds what was found. The numbers of a subject's versions are no part of a file, and neither is what is gone.
    pub fn add(&mut self, item: Item) -> Result<()> {
        let counts = &mut self.counts;
        let line = match item {
            Item::Listed(..) | Item::Gone(_) => return Ok(()),
            Item::Context(context) => {
                counts.contexts += 1;
                Line::Context { context }
            }
            Item::Config(subject, config) => {
                counts.configs += 1;
                Line::Config { subject, config }
            }
            Item::Mode(subject, mode) => {
                counts.modes += 1;
                Line::Mode { subject, mode }
            }
            Item::Version(schema) => {
                counts.versions += 1;
                Line::Version(schema)
            }
        };
        self.line(&line)
    }

    /// Ends the file; gives the counts and the hash that it ends with.
    pub fn finish(mut self) -> Result<(W, Counts, String)> {
        let hash = self.hash.finalize().to_hex().to_string();
        let counts = self.counts;
        self.line(&Line::End(End { counts, blake3: hash.clone() }))?;
        let flushed = self.out.flush();
        flushed.map_err(|error| self.failed(error))?;
        Ok((self.out, counts, hash))
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let mut bytes = serde_json::to_vec(line).map_err(|error| self.failed(error.into()))?;
        bytes.push(b'\n');
        self.hash.update(&bytes);
        let written = self.out.write_all(&bytes);
        written.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::new(Kind::Failed, format!("{} cannot be written: {error}", self.name))
    }
}

/// A file that was read once, and of which versions are read again on demand.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    head: Head,
    counts: Counts,
    file: Mutex<BufReader<File>>,
}

impl Archive {
    /// Reads a file through, and proves that it is whole.
    pub fn open(path: &Path, stop: &(dyn Fn() -> bool + Sync)) -> Result<(Self, Index)> {
        let at = |line: u64| format!("{}, line {line}", path.display());
        let file = File::open(path).map_err(|error| {
            Error::new(Kind::Input, format!("{} cannot be read: {error}", path.display()))
        })?;
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let (mut hash, mut index, mut counts) = (blake3::Hasher::new(), Index::default(), Counts::default());
        let (mut head, mut number, mut offset) = (None, 0, 0);
        let mut bytes = Vec::new();
        loop {
            number += 1;
            if number % 256 == 0 && stop() {
                return Err(Error::new(
                    Kind::Interrupted,
                    format!("reading {} was interrupted", path.display()),
                ));
            }
            let length = line(&mut reader, &mut bytes).map_err(|error| error.at(at(number)))?;
            if length == 0 {
                return Err(damaged(&at(number), "the file ends before its last line: it was cut"));
            }
            let parsed: Line = serde_json::from_slice(&bytes).map_err(|error| match head.is_none() {
                true => {
                    Error::new(Kind::Input, format!("{} is no export of a registry: {error}", path.display()))
                        .hint("write one with `replevin registry export`")
                }
                false => damaged(&at(number), &format!("it makes no sense: {error}")),
            })?;
            match (parsed, &head) {
                (Line::Header(read), None) => {
                    if read.format != FORMAT {
                        let text = format!(
                            "{} is of format {}, and this program reads format {FORMAT}",
                            path.display(),
                            read.format
                        );
                        return Err(Error::new(Kind::Input, text)
                            .hint("use the program that wrote it, or a newer one"));
                    }
                    head = Some(read);
                }
                (_, None) => {
                    let text =
                        format!("{} is no export of a registry: its first line is no header", path.display());
                    return Err(Error::new(Kind::Input, text));
                }
                (Line::Header(_), Some(_)) => return Err(damaged(&at(number), "a second header")),
                (Line::Context { context }, _) => {
                    counts.contexts += 1;
                    index.contexts.insert(context);
                }
                (Line::Config { subject, config }, _) => {
                    counts.configs += 1;
                    index.configs.insert(subject, config);
                }
                (Line::Mode { subject, mode }, _) => {
                    counts.modes += 1;
                    index.modes.insert(subject, mode);
                }
                (Line::Version(schema), _) => {
                    counts.versions += 1;
                    if !index.insert(&schema, offset) {
                        let text = format!("{} version {} comes twice", schema.subject, schema.version);
                        return Err(damaged(&at(number), &text));
                    }
                }
                (Line::End(end), Some(head)) => {
                    let found = hash.finalize().to_hex().to_string();
                    if end.blake3 != found || end.counts != counts {
                        return Err(damaged(&at(number), "what came before is not what was written"));
                    }
                    if line(&mut reader, &mut bytes)? > 0 {
                        return Err(damaged(&at(number), "something follows the last line"));
                    }
                    let (path, head) = (path.to_owned(), head.clone());
                    return Ok((Self { path, head, counts, file: Mutex::new(reader) }, index));
                }
            }
            hash.update(&bytes);
            offset += length;
        }
    }

    /// Its first line.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// How much is in it.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A version whose line begins at an offset.
    pub(super) fn version(&self, key: &Key, offset: u64) -> Result<Schema> {
        let place = format!("{} at byte {offset}", self.path.display());
        let mut bytes = Vec::new();
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let sought = file.seek(SeekFrom::Start(offset));
            sought.map_err(|error| Error::new(Kind::Failed, format!("{place} cannot be read: {error}")))?;
            line(&mut *file, &mut bytes).map_err(|error| error.at(&place))?;
        }
        match serde_json::from_slice(&bytes) {
            Ok(Line::Version(schema)) if schema.subject == *key.subject && schema.version == key.version => {
                Ok(schema)
            }
            _ => Err(damaged(&place, &format!("{key} was there, and is not any more: the file was changed"))),
        }
    }
}

fn damaged(place: &str, why: &str) -> Error {
    Error::new(Kind::Damaged, format!("{place}: {why}"))
        .hint("take another copy of the file; nothing was written")
}

/// Reads a line with its end into `bytes`; 0 where there is no more.
fn line(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> Result<u64> {
    bytes.clear();
    let read = std::io::Read::take(reader, MAX_LINE).read_until(b'\n', bytes);
    let read = read.map_err(|error| Error::new(Kind::Failed, format!("it cannot be read: {error}")))?;
    if read > 0 && bytes.last() != Some(&b'\n') {
        let why = if read as u64 == MAX_LINE {
            "the line is too long"
        } else {
            "the line has no end: the file was cut"
        };
        return Err(Error::new(Kind::Damaged, why).hint("take another copy of the file; nothing was written"));
    }
    Ok(read as u64)
}

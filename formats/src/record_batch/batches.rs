//! Walks a record set: batches one after another, the last perhaps cut off, as a Fetch response or a log segment has
//! them.

use super::{Frame, RecordBatch};
use crate::Result;

/// The whole batches of a record set, in order.
///
/// Ends silently before a batch that is cut off, as the last of a Fetch response may be: see [`Batches::rest`] and
/// [`Batches::cut_off_size`]. Ends after the first error, and then stays ended. A message of magic 0 or 1 is such an
/// error (unsupported); [`Batches::at_message_set`] tells it from others.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
    total: usize,
    failed: bool,
}

impl<'a> Batches<'a> {
    /// Walks `records`.
    pub fn new(records: &'a [u8]) -> Self {
        Self { rest: records, total: records.len(), failed: false }
    }

    /// What has not been yielded: empty at the end, or the cut-off batch, or what the error is about.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes the batches yielded so far have.
    pub fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    /// The size in bytes of the batch that is cut off at the end, once the iterator has ended: what a fetch must ask
    /// for at least. `None` where nothing is cut off or too little of it is there to know.
    pub fn cut_off_size(&self) -> Option<usize> {
        let frame = Frame::peek(self.rest).ok()??;
        (frame.len > self.rest.len()).then_some(frame.len)
    }

    /// Whether the rest begins with a message of magic 0 or 1: see [`crate::message_set`].
    pub fn at_message_set(&self) -> bool {
        Frame::peek(self.rest).ok().flatten().is_some_and(|frame| frame.is_legacy())
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<RecordBatch<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let result = match Frame::peek(self.rest) {
            // Magic is judged before the cut: a cut-off message of magic 0 is no batch that a larger fetch would bring.
            Ok(Some(frame)) if frame.magic.is_some() => match frame.require_magic_2() {
                Ok(()) if frame.len > self.rest.len() => return None,
                Ok(()) => RecordBatch::parse(self.rest),
                Err(error) => Err(error),
            },
            Ok(_) => return None,
            Err(error) => Err(error),
        };
        match &result {
            Ok(batch) => self.rest = &self.rest[batch.len()..],
            Err(_) => self.failed = true,
        }
        Some(result)
    }
}

impl std::iter::FusedIterator for Batches<'_> {}

//! Encode: CPU workers that turn what was cut into segments: compress what the producer did not, index, hash; and, where asked to,
//! list the schemas that records name. The batches' bytes are the same either way.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use formats::segment::{FrameCompression, SegmentEncoder};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::closed;
use super::message::{CutObject, CutSegment, EncodedObject};
use crate::budget::Budget;
use crate::stage::{Stage, Watch};
use crate::{Error, Result};

/// The workers, to be waited for.
pub(super) struct Workers(Vec<JoinHandle<Result<()>>>);

/// What a batch may decompress to that is looked through for schema ids; each worker may hold one beside the budget.
const SCANNED_BATCH: usize = 64 << 20;

/// Starts a worker for each core. With `scans` they list the schemas that records name.
pub(super) fn spawn(
    compression: FrameCompression,
    scans: bool,
    budget: &Budget,
    cut: mpsc::Receiver<CutObject>,
    to_upload: mpsc::Sender<EncodedObject>,
    failed: &CancellationToken,
    stage: &Arc<Stage>,
) -> Result<Workers> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cut = Arc::new(Mutex::new(cut));
    let start = |number: usize| {
        let (cut, to_upload, budget) = (Arc::clone(&cut), to_upload.clone(), budget.clone());
        let (failed, stage) = (failed.clone(), Arc::clone(stage));
        std::thread::Builder::new()
            .name(format!("encode-{number}"))
            .spawn(move || {
                work(encoder(compression, scans), &budget, &cut, &to_upload, &stage)
                    .inspect_err(|_| failed.cancel())
            })
            .map_err(|e| Error::permanent("no thread for the encode stage").caused_by(e))
    };
    Ok(Workers((0..cores).map(start).collect::<Result<_>>()?))
}

impl Workers {
    /// Waits until the queue is closed and everything in it is done.
    pub(super) async fn join(self) -> Result<()> {
        let joined = tokio::task::spawn_blocking(move || {
            let mut result = Ok(());
            for worker in self.0 {
                let ended =
                    worker.join().unwrap_or_else(|_| Err(Error::permanent("an encode worker panicked")));
                result = result.and(ended);
            }
            result
        });
        joined.await.unwrap_or_else(|e| Err(Error::permanent("the encode stage was lost").caused_by(e)))
    }
}

fn encoder(compression: FrameCompression, scans: bool) -> SegmentEncoder {
    let encoder = SegmentEncoder::new(compression);
    if scans { encoder.with_schema_ids(SCANNED_BATCH) } else { encoder }
}

fn work(
    mut encoder: SegmentEncoder,
    budget: &Budget,
    cut: &Mutex<mpsc::Receiver<CutObject>>,
    to_upload: &mpsc::Sender<EncodedObject>,
    stage: &Arc<Stage>,
) -> Result<()> {
    let mut watch = Watch::new(stage);
    loop {
        watch.rest();
        // One worker waits with the lock; the others wait for the lock. Either way each object goes to one of them.
        let object = cut.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(CutObject { segments, in_flight }) = object else { return Ok(()) };
        watch.work();
        let mut encoded = Vec::with_capacity(segments.len());
        let mut charges = Vec::new();
        for CutSegment { ticket, input, charges: held, .. } in segments {
            let segment = encoder.encode(input)?;
            // The compressed frames are new memory; the batches they were made of are free already.
            charges.push(budget.charge(segment.owned_bytes));
            charges.extend(held);
            encoded.push((ticket, segment));
        }
        stage.count(1, encoded.iter().map(|(_, segment)| segment.length).sum());
        let object = EncodedObject { segments: encoded, charges, in_flight };
        watch.blocked_here(|| to_upload.blocking_send(object)).map_err(|_| closed())?;
    }
}

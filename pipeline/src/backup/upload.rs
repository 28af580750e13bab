//! Upload: objects into the store, several at once. What is durable goes to the order stage.

use std::sync::Arc;

use bytes::Bytes;
use formats::commit::{SegmentEntry, SegmentObject};
use formats::ids::Incarnation;
use formats::segment::EncodedSegment;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::closed;
use super::message::{EncodedObject, Ordered, Ticket, ToOrder};
use super::progress::BackupProgress;
use crate::rate::Limits;
use crate::stage::Watch;
use crate::storage::{Created, Store};
use crate::{Error, Result};

/// Keys tried for one object when the store gives no clear answer.
const ATTEMPTS: u32 = 5;

/// How many uploads at once, and how fast.
pub(super) struct Pace {
    parallelism: usize,
    limits: Limits,
    /// From then on nothing is held back: what was fetched is to be committed soon.
    hurry: CancellationToken,
}

impl Pace {
    pub(super) fn new(parallelism: usize, bytes_per_second: Option<u64>, hurry: CancellationToken) -> Self {
        Self { parallelism: parallelism.max(1), limits: Limits::new(bytes_per_second, None), hurry }
    }

    async fn pay(&self, bytes: u64) {
        tokio::select! {
            () = self.limits.pay(bytes, 0) => {}
            () = self.hurry.cancelled() => {}
        }
    }
}

/// Runs until the queue is closed and every upload is done.
pub(super) async fn run(
    store: Arc<dyn Store>,
    incarnation: Incarnation,
    pace: Pace,
    mut encoded: mpsc::Receiver<EncodedObject>,
    to_order: mpsc::Sender<ToOrder>,
    progress: Arc<BackupProgress>,
) -> Result<()> {
    let mut counter = 0;
    let mut uploads = FuturesUnordered::new();
    let mut watch = Watch::new(&progress.upload);
    loop {
        tokio::select! {
            object = encoded.recv(), if uploads.len() < pace.parallelism => match object {
                Some(object) => {
                    let first = counter;
                    counter += ATTEMPTS;
                    uploads.push(upload(&*store, incarnation, first, object, &progress, &pace));
                }
                None => break,
            },
            Some(done) = uploads.next(), if !uploads.is_empty() => watch.blocked(pass_on(done?, &to_order)).await?,
        }
    }
    while let Some(done) = uploads.next().await {
        watch.blocked(pass_on(done?, &to_order)).await?;
    }
    Ok(())
}

type Durable = Vec<(Ticket, SegmentEntry)>;

async fn pass_on(durable: Durable, to_order: &mpsc::Sender<ToOrder>) -> Result<()> {
    for (ticket, entry) in durable {
        let what = Ordered::Segment(Box::new(entry));
        to_order.send(ToOrder::Partition { ticket, what }).await.map_err(|_| closed())?;
    }
    Ok(())
}

/// Writes an object. Where it is not clear what became of a put, the next key is used: the first object, if it is
/// there, is an orphan that no commit names.
async fn upload(
    store: &dyn Store,
    incarnation: Incarnation,
    first: u32,
    object: EncodedObject,
    progress: &BackupProgress,
    pace: &Pace,
) -> Result<Durable> {
    let mut watch = Watch::new(&progress.upload);
    watch.work();
    let EncodedObject { segments, charges, in_flight } = object;
    pace.pay(segments.iter().map(|(_, segment)| segment.length).sum()).await;
    let mut why = String::new();
    for counter in first..first + ATTEMPTS {
        let own = segments.len() == 1;
        let place = if own {
            SegmentObject::Own(incarnation, counter)
        } else {
            SegmentObject::Pack(incarnation, counter)
        };
        let entries = entries(&segments, place);
        let Some((ticket, entry)) = entries.first() else { return Ok(entries) };
        let key = entry.key(&ticket.partition, ticket.lineage);
        let parts: Vec<Bytes> =
            segments.iter().flat_map(|(_, segment)| segment.parts.iter().cloned()).collect();
        match store.create(&key, parts).await {
            Ok(Created::New(version)) => {
                let stored = entries.iter().map(|(_, entry)| entry.length).sum();
                BackupProgress::add(&progress.objects_stored, 1);
                BackupProgress::add(&progress.bytes_stored, stored);
                progress.upload.count(1, stored);
                drop((segments, charges, in_flight));
                let versioned = |(ticket, mut entry): (Ticket, SegmentEntry)| {
                    entry.version_id.clone_from(&version.version_id);
                    (ticket, entry)
                };
                return Ok(entries.into_iter().map(versioned).collect());
            }
            Ok(Created::Exists) => why = "an object of this key is there".into(),
            Ok(Created::Unclear(reason)) => why = reason,
            Err(error) => return Err(error.at(key)),
        }
        tracing::warn!(key, why, "no clear answer; writing the object again under another key");
    }
    Err(Error::permanent(format!(
        "{}: no clear answer to {ATTEMPTS} writes of an object: {why}",
        store.location()
    )))
}

fn entries(segments: &[(Ticket, EncodedSegment)], place: SegmentObject) -> Durable {
    let mut position = 0;
    let entry = |(ticket, segment): &(Ticket, EncodedSegment)| {
        let entry = SegmentEntry::of(segment, place, position);
        position += segment.length;
        (ticket.clone(), entry)
    };
    segments.iter().map(entry).collect()
}

//! Bodies above the part size: uploaded in parts, each retried alone, some at a time.
//!
//! The last step, which makes the object appear, is not conditional: not every server can, and the crate offers it for
//! none. So the key must be unique by construction, as the trait demands. It is looked up before, which finds mistakes
//! but not races; and where the answer to the last step is lost, an object of the right size under a key that nobody
//! else uses is ours.

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::PutPayload;
use object_store::multipart::PartId;
use object_store::path::Path;

use super::fault::Fault;
use super::{Backend, CloudStore};
use crate::failpoint;
use crate::storage::meter::Operation;
use crate::storage::{Created, Version};
use crate::{Error, Result};

/// How many parts S3 and GCS accept of one object; Azure takes more.
const MAX_PARTS: u64 = 10_000;

impl<B: Backend> CloudStore<B> {
    /// Creates a large object.
    pub(super) async fn upload(
        &self,
        key: &str,
        path: &Path,
        body: Vec<Bytes>,
        size: u64,
    ) -> Result<Created> {
        if self.meta(key, path).await?.is_some() {
            return Ok(Created::Exists);
        }
        failpoint::hit("before_multipart_begin");
        let begin = || async {
            let begun = self.backend.create_multipart(path).await;
            begun.map_err(|error| self.error(Operation::Part, key, error))
        };
        let id = self.calls.retried(Operation::Part, 0, begin).await?;
        failpoint::hit("after_multipart_begin");
        let parts = match self.upload_parts(key, path, &id, body, size).await {
            Ok(parts) => parts,
            Err(error) => {
                // What stays behind costs storage only, and the sweep finds it.
                let _ = self.give_up(key, path, &id).await;
                return Err(error);
            }
        };
        failpoint::hit("before_multipart_complete");
        let created =
            self.calls.create(Operation::Part, 0, || self.finish_once(key, path, &id, parts.clone())).await;
        failpoint::hit("after_multipart_complete");
        match created {
            Ok(Created::New(version)) => Ok(Created::New(version)),
            Ok(Created::Exists | Created::Unclear(_)) => self.settle(key, path, size, created).await,
            Err(error) => {
                let _ = self.give_up(key, path, &id).await;
                Err(error)
            }
        }
    }

    async fn upload_parts(
        &self,
        key: &str,
        path: &Path,
        id: &String,
        body: Vec<Bytes>,
        size: u64,
    ) -> Result<Vec<PartId>> {
        let part_size = self.calls.io.part_size.max(size.div_ceil(MAX_PARTS));
        let uploads = cut(body, usize::try_from(part_size).unwrap_or(usize::MAX)).into_iter().enumerate();
        stream::iter(uploads.map(|(index, payload)| self.upload_part(key, path, id, index, payload)))
            .buffered(self.calls.io.parallel_parts)
            .try_collect()
            .await
    }

    async fn upload_part(
        &self,
        key: &str,
        path: &Path,
        id: &String,
        index: usize,
        payload: PutPayload,
    ) -> Result<PartId> {
        let size = payload.content_length() as u64;
        let put = || async {
            self.calls.meter.add_sent(size);
            let part = self.backend.put_part(path, id, index, payload.clone()).await;
            part.map_err(|error| self.error(Operation::Part, key, error))
        };
        failpoint::hit("before_part_put");
        let part = self.calls.retried(Operation::Part, size, put).await?;
        failpoint::hit("after_part_put");
        Ok(part)
    }

    /// Asks once for the object to be made of its parts. `Exists` stands for "there is no such upload (any more)".
    async fn finish_once(&self, key: &str, path: &Path, id: &String, parts: Vec<PartId>) -> Result<Created> {
        let error = match self.backend.complete_multipart(path, id, parts).await {
            Ok(put) => return Ok(Created::New(Version { version_id: put.version, etag: put.e_tag })),
            Err(error) => error,
        };
        let fault = Fault::of(&error);
        let words = fault.error(Operation::Part, &self.calls.place, key, &error);
        match fault {
            Fault::Missing => Ok(Created::Exists),
            Fault::Conflict | Fault::Server | Fault::Lost => Ok(Created::Unclear(words.to_string())),
            _ => Err(words),
        }
    }

    /// Finds out what became of a last step without a clear answer.
    async fn settle(&self, key: &str, path: &Path, size: u64, doubt: Result<Created>) -> Result<Created> {
        match (self.meta(key, path).await?, doubt) {
            (Some(meta), _) if meta.size == size => {
                Ok(Created::New(Version { version_id: meta.version, etag: meta.e_tag }))
            }
            (Some(_), _) => Ok(Created::Exists),
            (None, Ok(Created::Unclear(why))) => Ok(Created::Unclear(why)),
            (None, _) => Err(Error::retry(format!(
                "{}: the unfinished upload of {key} vanished before it was complete",
                self.calls.place
            ))
            .hint("something removes unfinished uploads too early: a lifecycle rule, or a sweep by somebody else")),
        }
    }

    /// Tells the store that an upload will not be finished. One that is gone is no error.
    pub(super) async fn give_up(&self, key: &str, path: &Path, id: &str) -> Result<()> {
        let abort = async {
            match self.backend.abort_multipart(path, &id.to_owned()).await {
                Err(error) if Fault::of(&error) != Fault::Missing => {
                    Err(self.error(Operation::Part, key, error))
                }
                _ => Ok(()),
            }
        };
        self.calls.once(Operation::Part, 0, abort).await
    }
}

/// Cuts a body into parts of one size (the last one apart) without copying.
fn cut(body: Vec<Bytes>, part_size: usize) -> Vec<PutPayload> {
    let mut parts = Vec::new();
    let mut part: Vec<Bytes> = Vec::new();
    let mut room = part_size;
    for mut piece in body {
        while piece.len() >= room {
            part.push(piece.split_to(room));
            parts.push(part.drain(..).collect());
            room = part_size;
        }
        if !piece.is_empty() {
            room -= piece.len();
            part.push(piece);
        }
    }
    if !part.is_empty() {
        parts.push(part.into_iter().collect());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_of_one_size_and_in_order() {
        let bytes: Bytes = (0..=255).collect::<Vec<u8>>().into();
        for piece in [1, 7, 64, 100, 256] {
            let body: Vec<Bytes> =
                (0..256).step_by(piece).map(|at| bytes.slice(at..256.min(at + piece))).collect();
            for part_size in [1, 10, 64, 255, 256, 300] {
                let parts = cut(body.clone(), part_size);
                assert_eq!(parts.len(), 256_usize.div_ceil(part_size));
                assert!(parts[..parts.len() - 1].iter().all(|part| part.content_length() == part_size));
                let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().flatten().copied()).collect();
                assert_eq!(whole, bytes);
            }
        }
    }
}

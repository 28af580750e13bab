//! What a verification finds, collected from many tasks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use formats::ids::{LineageId, OffsetRange, TopicPartition};
use serde::Serialize;

use super::VerifyProgress;
use crate::{Error, ErrorKind, Result};

/// No more findings are kept; further ones are counted.
const KEPT: usize = 10_000;

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// An object is not there.
    Missing,
    /// An object's bytes are not what was written.
    Damaged,
    /// Parts of the backup contradict each other.
    Contradiction,
    /// An expected commit is not in the log, or another one is in its place.
    Anchor,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What kind of trouble it is.
    pub kind: FindingKind,
    /// The object's key.
    pub object: String,
    /// Whose records are concerned, where it is about records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Whose records are concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Which history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lineage: Option<LineageId>,
    /// The first offset concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<i64>,
    /// The offset after the last one concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
    /// What is wrong.
    pub message: String,
}

/// Findings under collection.
#[derive(Debug)]
pub(super) struct Findings {
    kept: Mutex<(Vec<Finding>, u64)>,
    progress: Arc<VerifyProgress>,
}

impl Findings {
    pub(super) fn new(progress: Arc<VerifyProgress>) -> Self {
        Self { kept: Mutex::default(), progress }
    }

    /// A poisoned lock means that another thread panicked between two pushes, which leave the list whole.
    fn kept(&self) -> MutexGuard<'_, (Vec<Finding>, u64)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, finding: Finding) {
        VerifyProgress::add(&self.progress.findings, 1);
        let mut kept = self.kept();
        if kept.0.len() < KEPT { kept.0.push(finding) } else { kept.1 += 1 }
    }

    /// Records that an object could not be read as what it should be.
    ///
    /// # Errors
    /// Passes on what says nothing about the backup: a store that does not answer, refused credentials.
    pub(super) fn object(&self, key: &str, error: Error) -> Result<()> {
        let kind = kind_of(&error)?;
        let message = tell(key, &error);
        self.push(Finding {
            kind,
            object: key.to_owned(),
            topic: None,
            partition: None,
            lineage: None,
            first: None,
            end: None,
            message,
        });
        Ok(())
    }

    /// Records that records could not be read.
    ///
    /// # Errors
    /// As [`Findings::object`].
    pub(super) fn records(
        &self,
        key: &str,
        partition: &TopicPartition,
        lineage: LineageId,
        range: OffsetRange,
        error: Error,
    ) -> Result<()> {
        let kind = kind_of(&error)?;
        let message = tell(key, &error);
        let place = message.strip_prefix(&format!("{partition}@[")).and_then(|rest| rest.split_once("): "));
        let message = place.map_or(message.as_str(), |(_, message)| message).to_owned();
        self.push(Finding {
            kind,
            object: key.to_owned(),
            topic: Some(partition.topic.to_string()),
            partition: Some(partition.partition),
            lineage: Some(lineage),
            first: Some(range.first),
            end: Some(range.end),
            message,
        });
        Ok(())
    }

    /// Records that something does not fit.
    pub(super) fn plain(&self, kind: FindingKind, key: &str, message: String) {
        self.push(Finding {
            kind,
            object: key.to_owned(),
            topic: None,
            partition: None,
            lineage: None,
            first: None,
            end: None,
            message,
        });
    }

    /// What was found, and how many more.
    pub(super) fn finish(&self) -> (Vec<Finding>, u64) {
        std::mem::take(&mut *self.kept())
    }
}

/// The message without the key, which the finding has already.
fn tell(key: &str, error: &Error) -> String {
    let message = error.to_string();
    message.strip_prefix(key).map_or(message.as_str(), |rest| rest.trim_start_matches(": ")).to_owned()
}

/// Whether the store did not answer, or would not: another time it may say something else.
pub(crate) fn says_nothing_about_the_backup(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Retry | ErrorKind::Credentials | ErrorKind::Interrupted)
}

fn kind_of(error: &Error) -> Result<FindingKind> {
    match error.kind() {
        _ if says_nothing_about_the_backup(error) => Err(Error::new(error.kind(), error.to_string())),
        ErrorKind::NotFound => Ok(FindingKind::Missing),
        _ => Ok(FindingKind::Damaged),
    }
}

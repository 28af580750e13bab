//! The value of an entry. It is kept, compared and copied as JSON text: the map of a hundred thousand schema ids is in here, and every
//! write to a journal reads what is there.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{Error, Result};

/// A value as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text(Arc<RawValue>);

impl Text {
    /// What somebody has stored; nothing where that is no JSON.
    pub(super) fn stored(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.get()
    }
}

/// They are equal where they are the same to the letter.
impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

pub(super) fn value(entry: &impl Serialize) -> Result<Text> {
    match to_raw_value(entry) {
        Ok(text) => Ok(Text(text.into())),
        Err(e) => Err(Error::permanent("a journal entry does not serialize").caused_by(e)),
    }
}

pub(super) fn read<T: DeserializeOwned>(value: &Text) -> Result<T> {
    serde_json::from_str(value.as_str()).map_err(|e| {
        Error::damaged("it is not what this build writes")
            .caused_by(e)
            .hint("another program may write to the journal")
    })
}

//! The value of an entry. It is kept, compared and copied as JSON text: the map of a hundred thousand schema ids is in here, and every
//! write to a journal reads what is there.

use std::sync::Arc;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::{Error, Result, json};

/// A value as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(Arc<str>);

impl Text {
    /// What somebody has stored; nothing where that is no JSON.
    pub(super) fn stored(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<IgnoredAny>(bytes).ok()?;
        Some(Self(std::str::from_utf8(bytes).ok()?.into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        json::pass(self.0.as_bytes(), to)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        value(&Value::deserialize(from)?).map_err(de::Error::custom)
    }
}

pub(super) fn value(entry: &impl Serialize) -> Result<Text> {
    match serde_json::to_string(entry) {
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

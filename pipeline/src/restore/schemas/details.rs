//! What a target says of each schema, for programs. There may be a hundred thousand of them: as a tree of JSON values this would be the
//! largest thing that a restore holds, so it is kept as it is known, and becomes text when it is printed.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Something that is JSON when somebody asks.
#[derive(Clone)]
pub struct Details(Arc<dyn erased_serde::Serialize + Send + Sync>);

impl Details {
    /// What this says.
    pub fn of(said: impl Serialize + Send + Sync + 'static) -> Self {
        Self(Arc::new(said))
    }
}

impl Default for Details {
    fn default() -> Self {
        Self::of(Value::Null)
    }
}

impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Details")
    }
}

/// They are equal where they say the same.
impl PartialEq for Details {
    fn eq(&self, other: &Self) -> bool {
        let said = |of: &Self| serde_json::to_value(of).ok();
        said(self) == said(other)
    }
}

impl Serialize for Details {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Value::deserialize(from).map(Self::of)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    struct Said {
        format: u64,
        ids: BTreeMap<u32, i64>,
        rows: Vec<Option<(&'static str, f64, bool)>>,
        nothing: Vec<()>,
        nobody: BTreeMap<String, ()>,
    }

    fn said() -> Said {
        Said {
            format: u64::MAX,
            ids: [(1, -7), (20, i64::MIN)].into(),
            rows: vec![Some(("with \"marks\", ü and \u{1}", 0.5, true)), None],
            nothing: Vec::new(),
            nobody: BTreeMap::new(),
        }
    }

    #[test]
    fn details_are_printed_to_the_letter_as_what_they_tell_would_be() {
        let (details, itself) = ([("details", Details::of(said()))], [("details", said())]);
        let (details, itself) = (BTreeMap::from(details), BTreeMap::from(itself));
        let pretty = serde_json::to_string_pretty(&details).expect("JSON");
        assert_eq!(pretty, serde_json::to_string_pretty(&itself).expect("JSON"));
        let text = serde_json::to_string(&details).expect("JSON");
        assert_eq!(text, serde_json::to_string(&itself).expect("JSON"));
        assert!(text.contains("-9223372036854775808") && text.contains("null"), "{text}");
    }

    #[test]
    fn details_that_are_read_say_what_was_written() {
        let details = Details::of(said());
        let text = serde_json::to_string(&details).expect("JSON");
        let read: Details = serde_json::from_str(&text).expect("details");
        assert_eq!(read, details);
        assert_ne!(read, Details::default());
    }
}

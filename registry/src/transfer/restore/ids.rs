//! Which id of the target stands for which id of the archive: as a file that people write, and as the result of a restore.

use super::strict::Strict;
use crate::names::{Context, Subject};
use crate::transfer::error::{Error, Kind, Result};
use crate::transfer::index::Key;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The form of a map as it is written.
const FORMAT: u64 = 1;

/// An id of a context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextId {
    /// The context.
    pub context: Context,
    /// The id there.
    pub id: u32,
}

/// `5` in the default context, `:.context:5` in another one.
impl std::fmt::Display for ContextId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.context.prefix(), self.id)
    }
}

impl ContextId {
    /// The id of a version.
    pub fn of(key: &Key, id: u32) -> Self {
        Self { context: key.subject().context, id }
    }

    fn parse(text: &str) -> Option<Self> {
        let subject = Subject::parse(text);
        let id: u32 = subject.name.parse().ok().filter(|id| is_id(*id))?;
        // "+1" and "01" are no ids.
        (id.to_string() == *subject.name).then_some(Self { context: subject.context, id })
    }
}

/// What fits the four bytes in front of a record as clients read them.
fn is_id(id: u32) -> bool {
    id > 0 && i32::try_from(id).is_ok()
}

/// Ids of the target by those of the archive, as somebody says they are to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given(BTreeMap<ContextId, u32>);

impl Given {
    /// Reads `{"1": 100, ":.context:1": 101}`, or the richer form that [`IdMap`] is written in.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::new(Kind::Input, format!("the mapping of ids {why}")).hint(
                "write it as {\"1\": 100}: an id of the archive, and the id that it is to have in the target",
            )
        };
        let Strict(value) =
            serde_json::from_str(text).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        // A report of a restore of everything has it too, among other things.
        let value = value.get("schemas").filter(|schemas| schemas.get("ids").is_some()).unwrap_or(&value);
        if let Some(format) = value.get("format").filter(|format| **format != FORMAT) {
            return Err(wrong(format!("has format {format}, and this program knows {FORMAT}")));
        }
        let ids = match value.get("ids").unwrap_or(value) {
            Value::Object(ids) => ids,
            _ => return Err(wrong("is no object of ids".to_owned())),
        };
        let pair = |(from, to): (&String, &Value)| {
            let key = ContextId::parse(from)
                .ok_or_else(|| wrong(format!("has {from:?}, which is no id between 1 and {}", i32::MAX)))?;
            let id = to.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|id| is_id(*id));
            let id = id.ok_or_else(|| {
                wrong(format!("has {to} for {from:?}, which is no id between 1 and {}", i32::MAX))
            })?;
            Ok((key, id))
        };
        Ok(Self(ids.iter().map(pair).collect::<Result<_>>()?))
    }

    /// The id that one of the archive is to have.
    pub fn get(&self, id: &ContextId) -> Option<u32> {
        self.0.get(id).copied()
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&ContextId, u32)> {
        self.0.iter().map(|(from, to)| (from, *to))
    }
}

impl FromIterator<(ContextId, u32)> for Given {
    fn from_iter<T: IntoIterator<Item = (ContextId, u32)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// What of the archive is what in the target.
///
/// As JSON it is everything, and can be given back as a mapping of ids too. Contexts are told of ids that have another one in the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap {
    /// Ids. Two of the archive may be one in the target, where their schemas are the same.
    pub ids: BTreeMap<ContextId, ContextId>,
    /// GUIDs, also those that are the same in the target.
    pub guids: BTreeMap<String, String>,
    /// Versions, but for those that were gone from the source.
    pub versions: BTreeMap<Key, Key>,
    /// Ids of the archive that nothing in the target stands for: their schemas were not restored.
    pub unmapped: BTreeSet<ContextId>,
    /// GUIDs of the archive that nothing in the target stands for: their schemas were not restored, or the target has no GUIDs. Also
    /// those that more than one schema of the target would have to stand for, because references lead elsewhere there.
    pub unmapped_guids: BTreeSet<String>,
}

impl IdMap {
    /// The ids alone: `{"1": 100, ":.context:1": 101}`. This can be given back as a mapping of ids.
    pub fn to_file(&self) -> Value {
        let pairs = self.ids.iter().map(|(from, to)| (from.to_string(), Value::from(to.id)));
        Value::Object(pairs.collect())
    }

    /// Reads what it was written as.
    pub fn from_json(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(Kind::Damaged, format!("the map of ids cannot be read: {why}"))
                .hint("take the one that the restore has written")
        };
        let Strict(value) = serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        if value["format"] != FORMAT {
            return Err(wrong(&format!(
                "its format is {}, and this program knows {FORMAT}",
                value["format"]
            )));
        }
        let context = |id: &ContextId| {
            let moved = value["contexts"].get(id.to_string()).and_then(Value::as_str);
            moved.and_then(Context::named).unwrap_or_else(|| id.context.clone())
        };
        let given = Given::parse(text)?;
        let ids = given.iter().map(|(from, id)| {
            let to = ContextId { context: context(from), id };
            (from.clone(), to)
        });
        let guids = value["guids"].as_object().ok_or_else(|| wrong("it has no guids"))?;
        let guids = guids.iter().map(|(from, to)| {
            let to = to.as_str().ok_or_else(|| wrong(&format!("GUID {from} makes no sense")))?;
            Ok((from.clone(), to.to_owned()))
        });
        let lost = value["unmapped_guids"].as_array().ok_or_else(|| wrong("it has no unmapped GUIDs"))?;
        let lost = lost.iter().map(|guid| {
            guid.as_str().map(str::to_owned).ok_or_else(|| wrong("an unmapped GUID makes no sense"))
        });
        let key = |entry: &Value, subject: &str, version: &str| {
            let number = entry[version].as_i64().and_then(|number| i32::try_from(number).ok());
            let pair = entry[subject].as_str().zip(number);
            pair.map(|(subject, version)| Key { subject: subject.into(), version })
        };
        let versions = value["versions"].as_array().ok_or_else(|| wrong("it has no versions"))?.iter();
        let versions = versions.map(|entry| {
            let pair = key(entry, "subject", "version").zip(key(entry, "target_subject", "target_version"));
            pair.ok_or_else(|| wrong("a version makes no sense"))
        });
        let unmapped = value["unmapped"].as_array().ok_or_else(|| wrong("it has no unmapped ids"))?.iter();
        let unmapped = unmapped.map(|id| {
            id.as_str().and_then(ContextId::parse).ok_or_else(|| wrong("an unmapped id makes no sense"))
        });
        Ok(Self {
            ids: ids.collect(),
            guids: guids.collect::<Result<_>>()?,
            versions: versions.collect::<Result<_>>()?,
            unmapped: unmapped.collect::<Result<_>>()?,
            unmapped_guids: lost.collect::<Result<_>>()?,
        })
    }
}

/// A version, and what it is in the target.
#[derive(Serialize)]
struct Row<'a> {
    subject: &'a str,
    version: i32,
    target_subject: &'a str,
    target_version: i32,
}

/// Row by row: there may be a hundred thousand, and as JSON values they would be larger than everything else that is held.
impl Serialize for IdMap {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(7))?;
        map.serialize_entry("format", &FORMAT)?;
        map.serialize_entry("ids", &Members(|| self.ids.iter().map(|(from, to)| (from.to_string(), to.id))))?;
        let moved = || self.ids.iter().filter(|(from, to)| from.context != to.context);
        let contexts = || moved().map(|(from, to)| (from.to_string(), to.context.as_str()));
        map.serialize_entry("contexts", &Members(contexts))?;
        map.serialize_entry("guids", &self.guids)?;
        let versions = || {
            self.versions.iter().map(|(from, to)| Row {
                subject: &from.subject,
                version: from.version,
                target_subject: &to.subject,
                target_version: to.version,
            })
        };
        map.serialize_entry("versions", &Elements(versions))?;
        map.serialize_entry("unmapped", &Elements(|| self.unmapped.iter().map(ContextId::to_string)))?;
        map.serialize_entry("unmapped_guids", &self.unmapped_guids)?;
        map.end()
    }
}

/// An object of what comes one after the other.
struct Members<F>(F);

impl<F: Fn() -> I, I: Iterator<Item = (K, V)>, K: Serialize, V: Serialize> Serialize for Members<F> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_map((self.0)())
    }
}

/// A list of what comes one after the other.
struct Elements<F>(F);

impl<F: Fn() -> I, I: Iterator<Item = T>, T: Serialize> Serialize for Elements<F> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_seq((self.0)())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(context: &str, id: u32) -> ContextId {
        ContextId { context: Context::named(context).expect("a context"), id }
    }

    #[test]
    fn a_mapping_of_people_is_read_and_a_wrong_one_is_refused() {
        let given = Given::parse(r#"{"1": 100, ":.pay:1": 7}"#).expect("a mapping");
        assert_eq!((given.get(&id(".", 1)), given.get(&id(".pay", 1))), (Some(100), Some(7)));
        assert_eq!(given.get(&id(".", 2)), None);
        for wrong in [
            r#"{"0": 1}"#,
            r#"{"1": 0}"#,
            r#"{"1": 2147483648}"#,
            r#"{"x": 1}"#,
            r#"{"01": 1}"#,
            r#"{"1": "1"}"#,
            r#"{"-1": 1}"#,
            r#"{"1": 100, "1": 101}"#,
            r#"{"format": 2, "ids": {"1": 100}}"#,
            "[1]",
            "1: 2",
        ] {
            let error = Given::parse(wrong).expect_err(wrong);
            assert!(error.kind() == Kind::Input && error.next_step().is_some(), "{error}");
        }
    }

    #[test]
    fn a_map_is_read_back_and_can_be_given_as_a_mapping() {
        let key = |subject: &str, version| Key { subject: subject.into(), version };
        let map = IdMap {
            ids: [(id(".", 1), id(".", 100)), (id(".", 2), id(".pay", 3))].into(),
            guids: [("a".to_owned(), "b".to_owned())].into(),
            versions: [(key("a", 3), key(":.pay:b", 2))].into(),
            unmapped: [id(".pay", 9)].into(),
            unmapped_guids: ["c".to_owned()].into(),
        };
        let text = serde_json::to_string(&map).expect("JSON");
        let wanted = concat!(
            r#"{"format":1,"ids":{"1":100,"2":3},"contexts":{"2":".pay"},"guids":{"a":"b"},"versions":[{"subject":"a","version":3,"#,
            r#""target_subject":":.pay:b","target_version":2}],"unmapped":[":.pay:9"],"unmapped_guids":["c"]}"#
        );
        assert_eq!(text, wanted);
        assert_eq!(IdMap::from_json(&text).expect("read"), map);
        for (part, by) in [
            (r#""format":1"#, r#""format":2"#),
            (r#""a":"b""#, r#""a":1"#),
            (r#""a":"b""#, r#""a":"b","a":"c""#),
        ] {
            let other = text.replacen(part, by, 1);
            assert_ne!(other, text, "{part}");
            assert_eq!(IdMap::from_json(&other).expect_err(by).kind(), Kind::Damaged, "{by}");
        }
        for text in [text, map.to_file().to_string()] {
            let given = Given::parse(&text).expect("a mapping");
            assert_eq!(given.iter().map(|(from, to)| (from.id, to)).collect::<Vec<_>>(), [(1, 100), (2, 3)]);
        }
    }
}

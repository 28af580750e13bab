//! What a registry keeps beside schemas: keys of encryption, and records of kinds that nobody here knows.
//!
//! ```text
//! source        key                                            value
//! dek-registry  {"kek"}                                        a KEK as GET /dek-registry/v1/keks/{kek} answers it
//! dek-registry  {"kek", "subject", "version", "algorithm"}     a DEK as its registry answers it, with wrapped material only
//! _schemas      the record's key                               the record's value
//! ```
//! Keys and values of records are JSON where that gives the same bytes again, and else `{"hex": "..."}`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::OtherRow;
use crate::{Error, Result};

/// The source of records of a registry's topic, whatever that one is called.
pub const FROM_TOPIC: &str = "_schemas";
/// The source of keys of encryption.
pub const FROM_DEK_REGISTRY: &str = "dek-registry";

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other<'a> {
    /// A key that wraps others, by its name.
    Kek(&'a str),
    /// A key that encrypts data.
    Dek {
        /// The name of the key that wraps it.
        kek: &'a str,
        /// Whose data it encrypts.
        subject: &'a str,
        /// Its number.
        version: i32,
        /// What it is for.
        algorithm: &'a str,
    },
    /// A record of a registry's topic, by the kind that its key names.
    Record(Option<String>),
    /// Of a source that this build does not know.
    Unknown,
}

impl OtherRow {
    /// A KEK as its registry answers it.
    pub fn kek(name: &str, value: Value) -> Self {
        Self { source: FROM_DEK_REGISTRY.to_owned(), key: json!({ "kek": name }), value }
    }

    /// A DEK of a KEK as its registry answers it, without the key itself.
    pub fn dek(kek: &str, (subject, version, algorithm): (&str, i32, &str), value: Value) -> Self {
        let key = json!({ "kek": kek, "subject": subject, "version": version, "algorithm": algorithm });
        Self { source: FROM_DEK_REGISTRY.to_owned(), key, value }
    }

    /// A record of a registry's topic that is there.
    pub fn record(key: &[u8], value: &[u8]) -> Self {
        Self { source: FROM_TOPIC.to_owned(), key: carried(key), value: carried(value) }
    }

    /// The key and the value of a record, as they lay in the topic.
    ///
    /// # Errors
    /// Something that [`OtherRow::record`] does not make.
    pub fn record_bytes(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        Ok((bytes(&self.key)?, bytes(&self.value)?))
    }

    /// What it is about.
    ///
    /// # Errors
    /// A key or a value that does not belong to its source; a key of encryption that is not wrapped.
    pub fn read(&self) -> Result<Other<'_>> {
        match self.source.as_str() {
            FROM_TOPIC => {
                let read = self.record_bytes();
                let (key, _) = read.map_err(|error| error.at(format_args!("record {}", self.key)))?;
                let key: Option<Value> = serde_json::from_slice(&key).ok();
                let kind = key.as_ref().and_then(|key| key.get("keytype")?.as_str());
                Ok(Other::Record(kind.map(str::to_owned)))
            }
            FROM_DEK_REGISTRY => self.read_key().map_err(|error| error.at(format_args!("key {}", self.key))),
            _ => Ok(Other::Unknown),
        }
    }

    fn read_key(&self) -> Result<Other<'_>> {
        let nameless = || Error::corrupt("it does not say of which key of encryption it is");
        let (Value::Object(key), Value::Object(value)) = (&self.key, &self.value) else {
            return Err(nameless());
        };
        if value.contains_key("keyMaterial") {
            return Err(Error::corrupt("it holds a key that is not wrapped"));
        }
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let kek = text("kek").ok_or_else(nameless)?;
        if key.len() == 1 {
            return same(key, value, &[("kek", "name")]).map(|()| Other::Kek(kek));
        }
        let version = key.get("version").and_then(Value::as_i64);
        let version = version.and_then(|version| i32::try_from(version).ok()).filter(|number| *number > 0);
        let (Some(subject), Some(version), Some(algorithm)) = (text("subject"), version, text("algorithm"))
        else {
            return Err(nameless());
        };
        let own = ["subject", "version", "algorithm"].map(|name| (name, name));
        same(key, value, &own)?;
        same(key, value, &[("kek", "kekName")])?;
        Ok(Other::Dek { kek, subject, version, algorithm })
    }
}

/// Whether the value says of itself what the key says: pairs of names, the key's first.
fn same(key: &Map<String, Value>, value: &Map<String, Value>, names: &[(&str, &str)]) -> Result<()> {
    match names.iter().find(|(of_key, of_value)| key.get(*of_key) != value.get(*of_value)) {
        Some((_, name)) => Err(Error::corrupt(format!("its {name:?} is not the one that its key says"))),
        None => Ok(()),
    }
}

/// Bytes as JSON that gives them again.
fn carried(bytes: &[u8]) -> Value {
    let plain = serde_json::from_slice(bytes).ok().filter(|value: &Value| {
        // Null stands for what was removed.
        let is_own = !value.is_null() && hex_of(value).is_none() && !is_deep(value);
        is_own && serde_json::to_vec(value).is_ok_and(|again| again == bytes)
    });
    plain.unwrap_or_else(|| {
        let mut hex = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        json!({ "hex": hex })
    })
}

/// How deep JSON may nest and be carried as it is: it lies a few levels deeper in a snapshot, and readers of JSON have a limit (128).
const DEEPEST: usize = 32;

/// Whether a value nests deeper than it can be carried as it is.
fn is_deep(value: &Value) -> bool {
    fn deeper(value: &Value, left: usize) -> bool {
        let mut inner: Box<dyn Iterator<Item = &Value>> = match value {
            Value::Array(items) => Box::new(items.iter()),
            Value::Object(members) => Box::new(members.values()),
            _ => return false,
        };
        left == 0 || inner.any(|value| deeper(value, left - 1))
    }
    deeper(value, DEEPEST)
}

fn hex_of(value: &Value) -> Option<&str> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    members.get("hex")?.as_str()
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    let Some(hex) = hex_of(value) else {
        return serde_json::to_vec(value)
            .map_err(|e| Error::invalid("a carried value does not serialize").caused_by(e));
    };
    let digits = hex.as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair).ok().filter(|_| pair.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    });
    let bytes: Option<Vec<u8>> = pairs.collect();
    bytes.ok_or_else(|| Error::corrupt("a carried value is no hex digits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_record_gives_its_own_bytes_again() {
        let deep = [vec![b'['; 120], vec![b']'; 120]].concat();
        let odd: [&[u8]; 10] = [
            &deep,
            br#"{"keytype":"ENCRYPTION","magic":0}"#,
            br#"{ "keytype": "spaced" }"#,
            br#"{"a":1,"a":2}"#,
            br#"{"hex":"00"}"#,
            b"null",
            b"1.50",
            b"\"text\"",
            b"\x00\xff",
            b"",
        ];
        for key in odd {
            for value in odd {
                let row = OtherRow::record(key, value);
                assert!(!row.value.is_null(), "a value that is there must not pass for a removed one");
                let stored = serde_json::to_vec(&row).expect("JSON");
                let row: OtherRow = serde_json::from_slice(&stored).expect("a row");
                assert_eq!(row.record_bytes().expect("bytes"), (key.to_vec(), value.to_vec()));
            }
        }
        let row = OtherRow::record(odd[1], b"{}");
        assert_eq!(row.read().expect("read"), Other::Record(Some("ENCRYPTION".to_owned())));
        let broken = OtherRow { key: json!({ "hex": "0" }), ..row };
        assert_eq!(broken.read().expect_err("half a byte").kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_key_is_what_its_row_says() {
        let kek = OtherRow::kek("k", json!({ "name": "k", "kmsType": "aws-kms" }));
        assert_eq!(kek.read().expect("read"), Other::Kek("k"));
        let value = json!({ "kekName": "k", "subject": "s", "version": 2, "algorithm": "AES256_GCM", "encryptedKeyMaterial": "w" });
        let dek = OtherRow::dek("k", ("s", 2, "AES256_GCM"), value);
        let read = Other::Dek { kek: "k", subject: "s", version: 2, algorithm: "AES256_GCM" };
        assert_eq!(dek.read().expect("read"), read);
        let changed = |row: &OtherRow, name: &str, value: Value| {
            let mut row = row.clone();
            row.value[name] = value;
            row.read().expect_err("refused").to_string()
        };
        assert!(changed(&kek, "name", json!("other")).contains("\"name\" is not the one"));
        assert!(changed(&dek, "version", json!(3)).contains("\"version\" is not the one"));
        assert!(changed(&dek, "keyMaterial", json!("secret")).contains("not wrapped"));
        let mut partial = dek.clone();
        partial.key = json!({ "kek": "k", "subject": "s" });
        assert_eq!(partial.read().expect_err("no number").kind(), ErrorKind::Corrupt);
        let new = OtherRow { source: "of later".to_owned(), ..dek };
        assert_eq!(new.read().expect("left alone"), Other::Unknown);
    }
}

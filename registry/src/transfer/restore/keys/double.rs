//! A stand-in for `/dek-registry/v1`, for tests: no registry that serves it is at hand. It is strict: what its callers must not send
//! is refused, and it answers the numbers of the registry contract.
//!
//! A KEK that is shared may be unwrapped by the registry, so its DEKs are answered with the bare key: here, its material with a word
//! in front that tests look for.

use crate::client::{Dek, Kek};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a bare key begins with, wherever one is answered.
pub const BARE: &str = "bare-key-of:";

const ALGORITHMS: [&str; 3] = ["AES128_GCM", "AES256_GCM", "AES256_SIV"];

/// A DEK's KEK, subject, algorithm and number.
type Place = (String, String, String, i32);

/// The keys of a registry.
#[derive(Debug, Default)]
pub struct Double {
    keks: BTreeMap<String, Kek>,
    deks: BTreeMap<Place, Dek>,
}

/// A status and an `error_code` with a message, or a body.
type Answer = Result<(u16, Value), (u16, u32, String)>;

fn refused<T>(status: u16, code: u32, message: impl Into<String>) -> Result<T, (u16, u32, String)> {
    Err((status, code, message.into()))
}

fn decoded(segment: &str) -> String {
    // A plus is one in a path.
    let form = segment.replace('+', "%2B");
    form_urlencoded::parse(form.as_bytes()).map(|(name, _)| name.into_owned()).next().unwrap_or_default()
}

/// What was asked besides the path.
struct Asked<'a> {
    query: BTreeMap<String, String>,
    body: &'a [u8],
}

impl Asked<'_> {
    fn only(&self, names: &[&str]) -> Result<(), (u16, u32, String)> {
        match self.query.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => refused(422, 422, format!("query parameter {name} is none of this request")),
            None => Ok(()),
        }
    }

    fn is(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| value == "true")
    }

    fn algorithm(&self) -> Result<String, (u16, u32, String)> {
        let name = self.query.get("algorithm").map_or("AES256_GCM", String::as_str);
        match ALGORITHMS.contains(&name) {
            true => Ok(name.to_owned()),
            false => refused(422, 42271, format!("no algorithm {name}")),
        }
    }

    fn members(&self, names: &[&str]) -> Result<Map<String, Value>, (u16, u32, String)> {
        let Ok(Value::Object(members)) = serde_json::from_slice(self.body) else {
            return refused(400, 400, "the body is no JSON object");
        };
        match members.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => refused(422, 422, format!("unrecognized field: {name}")),
            None => Ok(members),
        }
    }

    /// A page of a list.
    fn page(&self, names: impl Iterator<Item = Value>) -> Answer {
        let number = |name: &str, other: usize| match self.query.get(name) {
            Some(text) => text.parse().unwrap_or(other),
            None => other,
        };
        let page: Vec<Value> = names.skip(number("offset", 0)).take(number("limit", usize::MAX)).collect();
        Ok((200, Value::Array(page)))
    }
}

impl Double {
    /// Answers a request whose path begins with `/dek-registry/v1`: a status and a body.
    pub fn answer(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, String) {
        let query = form_urlencoded::parse(query.as_bytes());
        let asked = Asked { query: query.into_owned().collect(), body };
        let segments: Vec<String> = path.split('/').skip(3).map(decoded).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let answered = match (method, &segments[..]) {
            ("GET", ["keks"]) => self.list_keks(&asked),
            ("POST", ["keks"]) => self.make_kek(&asked),
            ("GET", ["keks", kek]) => self.kek(kek, &asked),
            ("PUT", ["keks", kek]) => self.update_kek(kek, &asked),
            ("DELETE", ["keks", kek]) => self.delete_kek(kek, &asked),
            ("POST", ["keks", kek, "undelete"]) => self.undelete_kek(kek, &asked),
            ("GET", ["keks", kek, "deks"]) => self.list_deks(kek, &asked),
            ("POST", ["keks", kek, "deks"]) => self.make_dek(kek, &asked),
            ("GET", ["keks", kek, "deks", subject, "versions"]) => self.list_versions(kek, subject, &asked),
            (_, ["keks", kek, "deks", subject, "versions", version, rest @ ..]) => {
                match (version.parse(), method, rest) {
                    (Ok(version), "GET", []) => self.dek(kek, subject, version, &asked),
                    (Ok(version), "DELETE", []) => self.mark_dek(kek, subject, version, true, &asked),
                    (Ok(version), "POST", ["undelete"]) => {
                        self.mark_dek(kek, subject, version, false, &asked)
                    }
                    _ => refused(404, 404, "HTTP 404 Not Found"),
                }
            }
            _ => refused(404, 404, "HTTP 404 Not Found"),
        };
        match answered {
            Ok((204, _)) => (204, String::new()),
            Ok((status, body)) => (status, body.to_string()),
            Err((status, code, message)) => {
                (status, json!({ "error_code": code, "message": message }).to_string())
            }
        }
    }

    /// Everything that is kept, without times, to be compared.
    pub fn held(&self) -> Value {
        let keks = self.keks.values().map(|kek| json!(Kek { ts: None, ..kek.clone() }));
        let deks = self.deks.values().map(|dek| json!(Dek { ts: None, ..dek.clone() }));
        json!({ "keks": keks.collect::<Vec<_>>(), "deks": deks.collect::<Vec<_>>() })
    }

    fn known(&self, name: &str) -> Result<&Kek, (u16, u32, String)> {
        match self.keks.get(name) {
            Some(kek) => Ok(kek),
            None => refused(404, 40470, format!("KEK {name} is not there")),
        }
    }

    fn list_keks(&self, asked: &Asked<'_>) -> Answer {
        asked.only(&["deleted", "offset", "limit", "subjectPrefix"])?;
        let shown = self.keks.values().filter(|kek| asked.is("deleted") || kek.deleted != Some(true));
        asked.page(shown.map(|kek| json!(kek.name)))
    }

    fn make_kek(&mut self, asked: &Asked<'_>) -> Answer {
        asked.only(&[])?;
        let members = asked.members(&["name", "kmsType", "kmsKeyId", "kmsProps", "doc", "shared"])?;
        let Ok(kek) = serde_json::from_value::<Kek>(Value::Object(members)) else {
            return refused(422, 42271, "no KEK");
        };
        let types = ["aws-kms", "azure-kms", "gcp-kms", "hcvault", "openbao"];
        if !types.contains(&kek.kms_type.as_str()) || kek.kms_key_id.is_empty() || kek.name.is_empty() {
            return refused(422, 42271, "a KEK has a name, a KMS and its id there");
        }
        if self.keks.contains_key(&kek.name) {
            return refused(409, 40970, format!("KEK {} is there", kek.name));
        }
        let kek = Kek { ts: Some(1_700_000_000_000 + i64::from(self.keks.len() as u32)), ..kek };
        let answer = json!(kek);
        self.keks.insert(kek.name.clone(), kek);
        Ok((200, answer))
    }

    fn kek(&self, name: &str, asked: &Asked<'_>) -> Answer {
        asked.only(&["deleted"])?;
        let kek = self.known(name)?;
        match kek.deleted == Some(true) && !asked.is("deleted") {
            true => refused(404, 40470, format!("KEK {name} is deleted")),
            false => Ok((200, json!(kek))),
        }
    }

    /// What is not told stays, and what is told as empty is none.
    fn update_kek(&mut self, name: &str, asked: &Asked<'_>) -> Answer {
        asked.only(&[])?;
        let members = asked.members(&["kmsProps", "doc", "shared"])?;
        if self.known(name)?.deleted == Some(true) {
            return refused(404, 40470, format!("KEK {name} is deleted"));
        }
        let mut kek = json!(self.known(name)?);
        kek.as_object_mut().into_iter().for_each(|kek| kek.extend(members.clone()));
        let Ok(mut kek) = serde_json::from_value::<Kek>(kek) else { return refused(422, 42271, "no KEK") };
        kek.kms_props = kek.kms_props.filter(|props| !props.is_empty());
        kek.doc = kek.doc.filter(|doc| !doc.is_empty());
        self.keks.insert(name.to_owned(), kek.clone());
        Ok((200, json!(kek)))
    }

    fn delete_kek(&mut self, name: &str, asked: &Asked<'_>) -> Answer {
        asked.only(&[])?;
        self.known(name)?;
        if self.deks.values().any(|dek| dek.kek_name == name && dek.deleted != Some(true)) {
            return refused(422, 42272, format!("KEK {name} has DEKs"));
        }
        match self.keks.get_mut(name) {
            Some(kek) if kek.deleted != Some(true) => kek.deleted = Some(true),
            _ => return refused(404, 40472, format!("KEK {name} is deleted")),
        }
        Ok((204, Value::Null))
    }

    fn undelete_kek(&mut self, name: &str, asked: &Asked<'_>) -> Answer {
        asked.only(&[])?;
        self.known(name)?;
        if let Some(kek) = self.keks.get_mut(name) {
            kek.deleted = None;
        }
        Ok((204, Value::Null))
    }

    fn list_deks(&self, kek: &str, asked: &Asked<'_>) -> Answer {
        asked.only(&["deleted", "offset", "limit"])?;
        self.known(kek)?;
        let own = self.deks.values().filter(|dek| dek.kek_name == kek);
        let shown = own.filter(|dek| asked.is("deleted") || dek.deleted != Some(true));
        let subjects: BTreeSet<&str> = shown.map(|dek| dek.subject.as_str()).collect();
        asked.page(subjects.into_iter().map(|subject| json!(subject)))
    }

    fn make_dek(&mut self, kek: &str, asked: &Asked<'_>) -> Answer {
        asked.only(&[])?;
        if self.known(kek)?.deleted == Some(true) {
            return refused(404, 40472, format!("KEK {kek} is deleted"));
        }
        let mut members = asked.members(&["subject", "version", "algorithm", "encryptedKeyMaterial"])?;
        members.insert("kekName".to_owned(), json!(kek));
        let Ok(dek) = serde_json::from_value::<Dek>(Value::Object(members)) else {
            return refused(422, 42271, "no DEK");
        };
        // A registry that may unwrap keys makes one where none is given; nobody who restores may ask for that.
        if dek.encrypted_key_material.is_none() || !ALGORITHMS.contains(&dek.algorithm.as_str()) {
            return refused(422, 42271, "a DEK is of a known algorithm, and wrapped");
        }
        let place = (kek.to_owned(), dek.subject.clone(), dek.algorithm.clone(), dek.version);
        if self.deks.contains_key(&place) {
            return refused(409, 40971, format!("DEK {place:?} is there"));
        }
        let dek = Dek { ts: Some(1_700_000_100_000 + i64::from(self.deks.len() as u32)), ..dek };
        self.deks.insert(place, dek.clone());
        Ok((200, self.shown(&dek)))
    }

    /// As it is answered: with the bare key where the registry may unwrap it.
    fn shown(&self, dek: &Dek) -> Value {
        let mut shown = json!(dek);
        if self.keks.get(&dek.kek_name).is_some_and(|kek| kek.shared) {
            let wrapped = dek.encrypted_key_material.as_deref().unwrap_or_default();
            shown["keyMaterial"] = json!(format!("{BARE}{wrapped}"));
        }
        shown
    }

    fn list_versions(&self, kek: &str, subject: &str, asked: &Asked<'_>) -> Answer {
        asked.only(&["deleted", "offset", "limit", "algorithm"])?;
        self.known(kek)?;
        let algorithm = asked.algorithm()?;
        let own = self.deks.values().filter(|dek| {
            (dek.kek_name.as_str(), dek.subject.as_str(), &dek.algorithm) == (kek, subject, &algorithm)
        });
        let shown = own.filter(|dek| asked.is("deleted") || dek.deleted != Some(true));
        let numbers: Vec<Value> = shown.map(|dek| json!(dek.version)).collect();
        match numbers.is_empty() {
            true => refused(404, 40471, format!("KEK {kek} has no such DEK of {subject}")),
            false => asked.page(numbers.into_iter()),
        }
    }

    fn dek(&self, kek: &str, subject: &str, version: i32, asked: &Asked<'_>) -> Answer {
        asked.only(&["deleted", "algorithm"])?;
        self.known(kek)?;
        let place = (kek.to_owned(), subject.to_owned(), asked.algorithm()?, version);
        match self.deks.get(&place).filter(|dek| asked.is("deleted") || dek.deleted != Some(true)) {
            Some(dek) => Ok((200, self.shown(dek))),
            None => refused(404, 40471, format!("DEK {place:?} is not there")),
        }
    }

    fn mark_dek(&mut self, kek: &str, subject: &str, version: i32, gone: bool, asked: &Asked<'_>) -> Answer {
        asked.only(&["algorithm"])?;
        if self.known(kek)?.deleted == Some(true) {
            return refused(404, 40472, format!("KEK {kek} is deleted"));
        }
        let place = (kek.to_owned(), subject.to_owned(), asked.algorithm()?, version);
        let Some(dek) = self.deks.get_mut(&place) else {
            return refused(404, 40471, format!("DEK {place:?} is not there"));
        };
        if gone && dek.deleted == Some(true) {
            return refused(404, 40472, format!("DEK {place:?} is deleted"));
        }
        dek.deleted = gone.then_some(true);
        Ok((204, Value::Null))
    }
}

//! Keys of encryption: `/dek-registry/v1`, which not every registry serves. KEKs are of the whole registry and not of a context.
//!
//! The keys themselves are never asked for. A registry that may unwrap them answers them unasked, so no answer from here is kept but
//! for the members of [`Dek`], and none is shown in a message.

use super::error::{Error, ErrorKind, Result};
use super::place::segment;
use super::shape::{Dek, Kek};
use super::{Client, body, flag, optional};
use futures::stream::{self, Stream, TryStreamExt};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::json;

const ROOT: &str = "/dek-registry/v1/keks";

/// What DEKs are for. A list of versions is one of an algorithm, and of no other.
const ALGORITHMS: [&str; 3] = ["AES256_GCM", "AES128_GCM", "AES256_SIV"];

fn kek_path(name: &str) -> String {
    format!("{ROOT}/{}", segment(name))
}

fn deks_path(kek: &str) -> String {
    format!("{}/deks", kek_path(kek))
}

fn versions_path(kek: &str, subject: &str) -> String {
    format!("{}/{}/versions", deks_path(kek), segment(subject))
}

fn dek_path(dek: &Dek) -> String {
    format!("{}/{}", versions_path(&dek.kek_name, &dek.subject), dek.version)
}

fn algorithm(name: &str) -> (&'static str, String) {
    ("algorithm", name.to_owned())
}

impl Client {
    /// Names of KEKs, softly deleted ones too. A registry that serves no keys answers the first with 404
    /// ([`is_no_path`](Error::is_no_path)).
    pub fn kek_names(&self) -> impl Stream<Item = Result<String>> + Send + '_ {
        self.all(ROOT.to_owned(), vec![flag("deleted")], String::clone)
    }

    /// Whether keys are served at all.
    pub async fn has_keys(&self) -> Result<bool> {
        match std::pin::pin!(self.kek_names()).try_next().await {
            Err(error) if error.is_no_path() => Ok(false),
            names => names.map(|_| true),
        }
    }

    /// A KEK, softly deleted or not.
    pub async fn kek(&self, name: &str) -> Result<Option<Kek>> {
        optional(self.key(&kek_path(name), &[flag("deleted")]).await)
    }

    /// All DEKs of a KEK, softly deleted ones too.
    pub fn deks<'a>(&'a self, kek: &'a str) -> impl Stream<Item = Result<Dek>> + Send + 'a {
        let subjects = self.all(deks_path(kek), vec![flag("deleted")], String::clone);
        let lists = subjects.map_ok(|subject| {
            stream::iter(ALGORITHMS.map(|algorithm| Ok::<_, Error>((subject.clone(), algorithm))))
        });
        let lists = lists.try_flatten().map_ok(move |(subject, name)| async move {
            let query = vec![flag("deleted"), algorithm(name)];
            let numbers = self.all(versions_path(kek, &subject), query, i32::clone).try_collect().await;
            let numbers: Vec<i32> = optional(numbers)?.unwrap_or_default();
            let all = numbers.into_iter().map(move |number| Ok::<_, Error>((subject.clone(), number, name)));
            Ok(stream::iter(all))
        });
        let deks = lists.try_buffered(self.ahead()).try_flatten().map_ok(
            move |(subject, number, name)| async move { self.dek(kek, (&subject, number, name)).await },
        );
        // What is nothing was deleted for good since it was listed.
        deks.try_buffered(self.ahead()).try_filter_map(|found| std::future::ready(Ok(found)))
    }

    /// A DEK by its subject, number and algorithm, softly deleted or not.
    pub async fn dek(&self, kek: &str, (subject, number, name): (&str, i32, &str)) -> Result<Option<Dek>> {
        let path = format!("{}/{number}", versions_path(kek, subject));
        optional(self.key(&path, &[flag("deleted"), algorithm(name)]).await)
    }

    /// Makes a KEK.
    pub async fn create_kek(&self, kek: &Kek) -> Result<()> {
        let mut asked = json!({
            "name": kek.name,
            "kmsType": kek.kms_type,
            "kmsKeyId": kek.kms_key_id,
            "shared": kek.shared,
        });
        if let Some(props) = &kek.kms_props {
            asked["kmsProps"] = json!(props);
        }
        if let Some(doc) = &kek.doc {
            asked["doc"] = json!(doc);
        }
        self.sender.send(Method::POST, ROOT, &[], Some(body(&asked)?)).await.map(drop)
    }

    /// Gives a KEK that is there the properties that may change. What is not told would stay, so what it has none of is told as empty.
    pub async fn update_kek(&self, kek: &Kek) -> Result<()> {
        let asked = json!({
            "kmsProps": kek.kms_props.clone().unwrap_or_default(),
            "doc": kek.doc.as_deref().unwrap_or_default(),
            "shared": kek.shared,
        });
        self.sender.send(Method::PUT, &kek_path(&kek.name), &[], Some(body(&asked)?)).await.map(drop)
    }

    /// Makes a DEK of the material that it has, with its number.
    pub async fn create_dek(&self, dek: &Dek) -> Result<()> {
        let asked = json!({
            "subject": dek.subject,
            "version": dek.version,
            "algorithm": dek.algorithm,
            "encryptedKeyMaterial": dek.encrypted_key_material,
        });
        let path = deks_path(&dek.kek_name);
        self.sender.send(Method::POST, &path, &[], Some(body(&asked)?)).await.map(drop)
    }

    /// Deletes a KEK softly. One that is gone in that way already stays so.
    pub async fn delete_kek(&self, name: &str) -> Result<()> {
        self.delete_key(&kek_path(name), &[]).await
    }

    /// Deletes a DEK softly. One that is gone in that way already stays so.
    pub async fn delete_dek(&self, dek: &Dek) -> Result<()> {
        self.delete_key(&dek_path(dek), &[algorithm(&dek.algorithm)]).await
    }

    /// Brings a softly deleted KEK back.
    pub async fn undelete_kek(&self, name: &str) -> Result<()> {
        let path = format!("{}/undelete", kek_path(name));
        self.sender.send(Method::POST, &path, &[], None).await.map(drop)
    }

    /// Brings a softly deleted DEK back.
    pub async fn undelete_dek(&self, dek: &Dek) -> Result<()> {
        let path = format!("{}/undelete", dek_path(dek));
        self.sender.send(Method::POST, &path, &[algorithm(&dek.algorithm)], None).await.map(drop)
    }

    async fn delete_key(&self, path: &str, query: &super::Query<'_>) -> Result<()> {
        super::gone(self.sender.send(Method::DELETE, path, query, None).await.map(drop))
    }

    /// An answer of which nothing is shown where it makes no sense: there may be a key in it.
    async fn key<T: DeserializeOwned>(&self, path: &str, query: &super::Query<'_>) -> Result<T> {
        let sent = self.sender.send(Method::GET, path, query, None).await?;
        serde_json::from_slice(&sent.body).map_err(|_| {
            let text = format!("GET {}{path}: the answer is not a key as a registry keeps it", self.name());
            Error::new(ErrorKind::Strange, text)
                .hint("look at what the registry answers there; it is not shown here")
        })
    }
}

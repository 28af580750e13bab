//! A client of any registry that speaks Confluent's REST API: Confluent's own, Karapace, AxonOps', ours.
//!
//! ```text
//!   Client (one method a question)  ->  send (whom, how often, how fast)  ->  HTTP
//!     list (page after page)              token (OAuth)   pace (a second, pauses)
//! ```
//! It promises that memory and time are bounded whatever is answered, that no credentials are in what it says, and that nothing it
//! repeats is done twice. It keeps nothing: what it was answered is the caller's. Who wants to know whether that is still so has a
//! client that listens ([`Client::listening`]), which keeps hashes.

mod bulk;
mod error;
mod heard;
mod keys;
mod list;
mod pace;
mod place;
mod properties;
#[cfg(test)]
pub(crate) mod scripted;
mod send;
mod settings;
mod shape;
#[cfg(test)]
mod tests;
mod token;

pub use error::{Error, ErrorKind, Result};
pub use properties::{PropertyError, from_properties};
pub use settings::{Auth, Bearer, ClientSettings, Limits, OAuth, Random, Tls, Trust};
pub use shape::{Dek, Fit, IdInContext, Kek, Registered, Schema, Settings};

use crate::names::Subject;
use crate::service::Deletion;
use crate::settings::Mode;
use bytes::Bytes;
use heard::Heard;
use place::segment;
use reqwest::Method;
use send::{Sender, excerpt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

/// Asks one registry.
pub struct Client {
    sender: Arc<Sender>,
    /// What is answered is noted here, where somebody wants to know.
    heard: Option<Heard>,
}

/// Parameters of a request.
type Query<'a> = [(&'a str, String)];

/// How a schema is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// Under the next number, with the id that the registry gives.
    Next,
    /// Under its own number with its own id, which only mode IMPORT allows.
    Same,
}

/// The path of a setting: of the registry for the root of the default context, else of a context or a subject.
fn setting(what: &str, of: &Subject) -> String {
    match of.is_root() && of.context.is_default() {
        true => format!("/{what}"),
        false => format!("/{what}/{}", segment(&of.to_string())),
    }
}

fn versions_path(subject: &Subject) -> String {
    format!("/subjects/{}/versions", segment(&subject.to_string()))
}

fn flag(name: &'static str) -> (&'static str, String) {
    (name, "true".to_owned())
}

impl Client {
    /// A client of a registry; it connects when it is first asked something. `random` spreads the pauses between attempts.
    pub fn new(settings: ClientSettings, random: Random) -> Result<Self> {
        Ok(Self { sender: Arc::new(Sender::new(settings, random)?), heard: None })
    }

    /// The registry for messages and reports: its first URL, without credentials.
    pub fn name(&self) -> String {
        self.sender.name()
    }

    /// All its URLs, without credentials, with commas between them.
    pub fn places(&self) -> String {
        self.sender.places()
    }

    /// The registry's own version, where it tells one.
    pub async fn registry_version(&self) -> Result<Option<String>> {
        let answer = optional(self.get::<Value>("/v1/metadata/version", &[]).await)?;
        let version = answer.as_ref().and_then(|answer| answer.get("version")?.as_str());
        Ok(version.filter(|version| !version.is_empty()).map(str::to_owned))
    }

    /// Requests at once.
    pub fn in_flight(&self) -> usize {
        self.sender.limits().in_flight.max(settings::LEAST_IN_FLIGHT)
    }

    /// Requests that a stream makes ahead of whoever reads it. Nobody drives these while the reader asks something itself, and each
    /// may hold a turn: two such stages, a page of names and the reader's own request must all have one.
    fn ahead(&self) -> usize {
        (self.in_flight().saturating_sub(2) / 2).max(1)
    }

    fn page_size(&self) -> usize {
        self.sender.limits().page.max(2)
    }

    /// A version of a subject, softly deleted ones too; never that of another subject which an alias leads to.
    pub async fn version(&self, subject: &Subject, number: i32) -> Result<Schema> {
        let path = format!("{}/{number}", versions_path(subject));
        let answered = self.get::<Schema>(&path, &[flag("deleted")]).await;
        match answered {
            Ok(schema) if is_of(&schema.subject, subject) => {
                Ok(Schema { subject: subject.to_string(), ..schema })
            }
            Err(error) if !error.is_absent() => Err(error),
            other => {
                let listed = self.listed(subject).await?.into_iter().find(|schema| schema.version == number);
                let absent = || {
                    let text = format!("{}: subject {subject} has no version {number}", self.name());
                    Error::new(ErrorKind::Absent, text)
                };
                listed.ok_or_else(|| other.err().unwrap_or_else(absent))
            }
        }
    }

    /// A schema by its id: in a subject's context, or in the default one. Subject and version are not told.
    pub async fn by_id(&self, id: u32, subject: Option<&Subject>) -> Result<Schema> {
        let of = subject.map(|subject| ("subject", subject.to_string()));
        let query: Vec<_> = of.into_iter().collect();
        let schema: Schema = self.get(&format!("/schemas/ids/{id}"), &query).await?;
        Ok(Schema { id, ..schema })
    }

    /// The highest id that a context has given, where the registry tells it; `id` is any of the context, which `root` stands for.
    pub async fn highest_id(&self, id: u32, root: &Subject) -> Result<Option<u32>> {
        let of = (!root.context.is_default()).then(|| ("subject", root.to_string()));
        let query: Vec<_> = [flag("fetchMaxId")].into_iter().chain(of).collect();
        let answer: Value = self.get(&format!("/schemas/ids/{id}"), &query).await?;
        Ok(answer.get("maxId").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok()))
    }

    /// A schema by its GUID. Neither subject nor id are told: [`Self::ids_of`] knows the ids.
    pub async fn by_guid(&self, guid: &str) -> Result<Schema> {
        self.get(&format!("/schemas/guids/{}", segment(guid)), &[]).await
    }

    /// The ids that a GUID has, context by context.
    pub async fn ids_of(&self, guid: &str) -> Result<Vec<IdInContext>> {
        self.get(&format!("/schemas/guids/{}/ids", segment(guid)), &[]).await
    }

    /// The version of a subject that a schema already is.
    pub async fn look_up(&self, subject: &Subject, schema: &Schema) -> Result<Schema> {
        let path = format!("/subjects/{}", segment(&subject.to_string()));
        let body = body(&asked(schema, Placed::Next))?;
        self.ask(Method::POST, &path, &[flag("deleted")], Some(body)).await
    }

    /// Registers a schema under its subject. The same schema again is the same version.
    pub async fn register(&self, schema: &Schema, placed: Placed) -> Result<Registered> {
        let path = versions_path(&Subject::parse(&schema.subject));
        self.ask(Method::POST, &path, &[], Some(body(&asked(schema, placed))?)).await
    }

    /// Whether a schema may follow the versions that a subject has, as the level that counts for it asks; nothing where the registry
    /// cannot be asked that. Nothing is registered.
    pub async fn check(&self, subject: &Subject, schema: &Schema) -> Result<Option<Fit>> {
        let body = body(&asked(schema, Placed::Next))?;
        let all = format!("/compatibility{}", versions_path(subject));
        // Karapace compares with one version at a time.
        for path in [all.clone(), format!("{all}/latest")] {
            match self.ask(Method::POST, &path, &[flag("verbose")], Some(body.clone())).await {
                Err(error) if error.is_absent() => {}
                answer => return answer.map(Some),
            }
        }
        Ok(None)
    }

    /// Deletes a version. One that was deleted the same way already stays so.
    pub async fn delete_version(&self, subject: &Subject, number: i32, how: Deletion) -> Result<()> {
        self.delete(&format!("{}/{number}", versions_path(subject)), how).await
    }

    /// Deletes all versions of a subject.
    pub async fn delete_subject(&self, subject: &Subject, how: Deletion) -> Result<()> {
        self.delete(&format!("/subjects/{}", segment(&subject.to_string())), how).await
    }

    async fn delete(&self, path: &str, how: Deletion) -> Result<()> {
        let query = [flag("permanent")];
        let query: &Query<'_> = if how == Deletion::Permanent { &query } else { &[] };
        match self.sender.send(Method::DELETE, path, query, None).await {
            // 40404 and 40406: softly deleted before.
            Err(error) if matches!(error.code(), Some(40404 | 40406)) => Ok(()),
            Err(error) => Err(error),
            Ok(sent) => {
                if sent.repeated {
                    tracing::debug!(path, "a deletion was repeated; the first one may have been carried out");
                }
                Ok(())
            }
        }
    }

    /// What a subject, a context (its root) or the registry (the default context's root) is set to; nothing where it has no
    /// settings of its own.
    pub async fn config(&self, of: &Subject) -> Result<Option<Settings>> {
        optional(self.get(&setting("config", of), &[]).await)
    }

    /// The settings that count for a subject, a context or the registry, wherever they are set.
    pub async fn config_in_scope(&self, of: &Subject) -> Result<Settings> {
        self.get(&setting("config", of), &[flag("defaultToGlobal")]).await
    }

    /// Sets what the settings name, and clears what is null in them. The level is named as in answers: `compatibilityLevel`.
    pub async fn set_config(&self, of: &Subject, settings: &Settings) -> Result<()> {
        let mut asked = settings.clone();
        if let Some(level) = asked.shift_remove("compatibilityLevel") {
            asked.insert("compatibility".to_owned(), level);
        }
        self.ask::<Value>(Method::PUT, &setting("config", of), &[], Some(body(&asked)?)).await.map(drop)
    }

    /// Removes settings; what has none stays so.
    pub async fn delete_config(&self, of: &Subject) -> Result<()> {
        gone(self.sender.send(Method::DELETE, &setting("config", of), &[], None).await.map(drop))
    }

    /// The mode of a subject, a context or the registry; nothing where it has none of its own.
    pub async fn mode(&self, of: &Subject) -> Result<Option<Mode>> {
        let answer = optional(self.get::<shape::ModeAnswer>(&setting("mode", of), &[]).await)?;
        answer.map(|answer| self.mode_of(&answer.mode)).transpose()
    }

    /// The mode that counts for a subject, a context or the registry, wherever it is set.
    pub async fn mode_in_scope(&self, of: &Subject) -> Result<Mode> {
        let answer: shape::ModeAnswer = self.get(&setting("mode", of), &[flag("defaultToGlobal")]).await?;
        self.mode_of(&answer.mode)
    }

    fn mode_of(&self, name: &str) -> Result<Mode> {
        name.parse().map_err(|_| {
            Error::new(ErrorKind::Strange, format!("{}: mode {name:?} is unknown here", self.name()))
        })
    }

    /// Sets a mode whatever is registered already; nothing registered is touched by that.
    pub async fn set_mode(&self, of: &Subject, mode: Mode) -> Result<()> {
        let body = body(&json!({ "mode": mode.name() }))?;
        self.ask::<Value>(Method::PUT, &setting("mode", of), &[flag("force")], Some(body)).await.map(drop)
    }

    /// Removes a mode; what has none stays so.
    pub async fn delete_mode(&self, of: &Subject) -> Result<()> {
        gone(self.sender.send(Method::DELETE, &setting("mode", of), &[], None).await.map(drop))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &Query<'_>) -> Result<T> {
        let sent = self.sender.send(Method::GET, path, query, None).await;
        if let Some(heard) = &self.heard {
            match &sent {
                Ok(sent) => heard.note(path, query, Some(&sent.body)),
                Err(error) if error.is_absent() => heard.note(path, query, None),
                Err(_) => {}
            }
        }
        self.read(&Method::GET, path, &sent?.body)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &Query<'_>,
        body: Option<Bytes>,
    ) -> Result<T> {
        let sent = self.sender.send(method.clone(), path, query, body).await?;
        self.read(&method, path, &sent.body)
    }

    fn read<T: DeserializeOwned>(&self, method: &Method, path: &str, answer: &[u8]) -> Result<T> {
        serde_json::from_slice(answer).map_err(|error| {
            let text = format!(
                "{method} {}{path}: the answer is not that of a registry ({error}): {}",
                self.name(),
                excerpt(answer)
            );
            Error::new(ErrorKind::Strange, text)
                .hint("check the URL: a log-in page or a proxy may be answering in the registry's place")
        })
    }
}

/// Whether an answer speaks of the subject that was asked for. Some registries leave the context away that the question had.
fn is_of(answered: &str, asked: &Subject) -> bool {
    answered.is_empty() || Subject::parse(answered) == *asked || *answered == *asked.name
}

fn optional<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        // Without a number it is no registry that misses something, and somebody must hear of that.
        Err(error) if error.is_absent() && error.code().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

fn gone(deleted: Result<()>) -> Result<()> {
    deleted.or_else(|error| if error.is_gone() { Ok(()) } else { Err(error) })
}

fn asked(schema: &Schema, placed: Placed) -> shape::Asked<'_> {
    shape::Asked {
        schema: &schema.schema,
        schema_type: &schema.schema_type,
        references: &schema.references,
        metadata: schema.metadata.as_ref(),
        rule_set: schema.rule_set.as_ref(),
        id: (placed == Placed::Same).then_some(schema.id),
        version: (placed == Placed::Same).then_some(schema.version),
    }
}

fn body(value: &impl serde::Serialize) -> Result<Bytes> {
    let text = serde_json::to_vec(value).map(Bytes::from);
    text.map_err(|error| Error::new(ErrorKind::Refused, format!("a request cannot be written: {error}")))
}

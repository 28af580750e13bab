//! Puts back what is borrowed, or puts there what is to be in the end instead.
//!
//! ```text
//! settings (several at once)  ->  modes of subjects  ->  modes of contexts  ->  the journal keeps what failed, or goes
//! ```
//! What fails does not keep the rest from being tried, and all failures are told. What a registry answers is not taken for done: it is
//! read back. Settings go first, because a place that is closed again takes none; so where settings of a context failed, the journal
//! keeps its modes too, and the next run opens it once more.

use super::diff::same_config;
use super::error::{Error, Kind, Result};
use super::index::{Place, root};
use super::journal::Journal;
use crate::client::{self, Client, ErrorKind, Settings};
use crate::names::{Context, Subject};
use crate::settings::Mode;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// Failures that are told; more are only counted.
const TOLD: usize = 10;
/// Unanswered requests on end after which nothing more is tried.
const AWAY: usize = 8;

/// What places are to be in the end, whatever they were.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Modes.
    pub(super) modes: BTreeMap<Place, Mode>,
    /// Settings, with null for what is cleared; nothing where a place is to have none.
    pub(super) configs: BTreeMap<Place, Option<Settings>>,
}

/// What became of a place.
struct Done {
    place: Place,
    /// The journal need not know it any more.
    is_back: bool,
    failure: Option<String>,
    /// What a registry has not kept of something new.
    lost: Option<String>,
}

impl Done {
    fn well(place: &str) -> Self {
        Self { place: place.to_owned(), is_back: true, failure: None, lost: None }
    }

    fn failed(place: &str, is_back: bool, failure: String) -> Self {
        Self { place: place.to_owned(), is_back, failure: Some(failure), lost: None }
    }
}

impl Journal {
    /// Puts everything back, and removes the journal; of a restore that has not come to its end it keeps how that began.
    pub async fn put_back(&mut self, client: &Client) -> Result<()> {
        let failures = self.places(client, &Ends::default()).await.0;
        self.close(client, failures).await
    }

    /// Puts everything back but for what is to be something else in the end, and then the restore has come to its end. Gives what the
    /// registry has not kept of what is new.
    pub(super) async fn finish(&mut self, client: &Client, ends: &Ends) -> Result<Vec<String>> {
        let (failures, lost) = self.places(client, ends).await;
        if failures.is_empty() {
            self.begin(None);
        }
        self.close(client, failures).await.map(|()| lost)
    }

    /// All places: what failed, and what is not kept.
    async fn places(&mut self, client: &Client, ends: &Ends) -> (Vec<String>, Vec<String>) {
        let (mut failures, mut lost) = (Vec::new(), Vec::new());
        let (borrowed_modes, borrowed_configs) = (&self.written.modes, &self.written.configs);
        let turns = Turns { client, modes: borrowed_modes, away: AtomicUsize::new(0) };
        let places: BTreeSet<Place> = borrowed_configs.keys().chain(ends.configs.keys()).cloned().collect();
        let configs = places.iter().rev().map(|place| {
            let (before, end) = (borrowed_configs.get(place), ends.configs.get(place));
            turns.config(place, before, end).boxed()
        });
        let configs = all(configs, client.in_flight()).await;
        // Subjects before their contexts: a context that is writable again must not find its subjects in IMPORT.
        let places: BTreeSet<Place> = turns.modes.keys().chain(ends.modes.keys()).cloned().collect();
        let (roots, subjects): (Vec<&Place>, Vec<&Place>) =
            places.iter().rev().partition(|place| Subject::parse(place).is_root());
        let mode = |place: &'_ Place| {
            let (before, end) = (turns.modes.get(place).copied(), ends.modes.get(place).copied());
            turns.mode(place.clone(), before, end)
        };
        let subjects = subjects.into_iter().map(|place| mode(place).boxed());
        let mut modes = all(subjects, client.in_flight()).await;
        for place in roots {
            modes.push(mode(place).await);
        }
        let still: HashSet<Context> = configs
            .iter()
            .filter(|done| !done.is_back)
            .map(|done| Subject::parse(&done.place).context)
            .collect();
        for done in configs {
            if done.is_back {
                self.written.configs.remove(&done.place);
            }
            failures.extend(done.failure);
            lost.extend(done.lost);
        }
        for done in modes {
            if done.is_back && !still.contains(&Subject::parse(&done.place).context) {
                self.written.modes.remove(&done.place);
            }
            failures.extend(done.failure);
        }
        (failures, lost)
    }

    /// The journal keeps what is left, or goes.
    async fn close(&mut self, client: &Client, failures: Vec<String>) -> Result<()> {
        let kept = self.keep_or_remove().await;
        if failures.is_empty() {
            return kept;
        }
        let (count, of) = (failures.len(), client.name());
        let mut text = failures.into_iter().take(TOLD).collect::<Vec<_>>().join("; ");
        if count > TOLD {
            text += &format!("; and {} more", count - TOLD);
        }
        let next = format!("run the same command again: {} says what it was", self.place());
        let error = Error::new(Kind::Failed, format!("{of}: {text}")).hint(next);
        Err(match kept {
            Ok(()) => error,
            Err(besides) => error.and(besides),
        })
    }
}

/// Does all, so many at once; the others are not begun yet, and take no memory.
async fn all<'a>(mut later: impl Iterator<Item = BoxFuture<'a, Done>>, at_once: usize) -> Vec<Done> {
    let (mut begun, mut done) = (FuturesUnordered::new(), Vec::new());
    loop {
        while begun.len() < at_once
            && let Some(next) = later.next()
        {
            begun.push(next);
        }
        let Some(ended) = begun.next().await else { break done };
        done.push(ended);
    }
}

/// The registry understood, and said no: asking again comes to the same.
fn is_refused(error: &client::Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused | ErrorKind::Absent)
}

fn named(place: &str) -> String {
    if place.is_empty() { "the registry".to_owned() } else { format!("{place:?}") }
}

struct Turns<'a> {
    client: &'a Client,
    /// Modes that are borrowed, with what they were.
    modes: &'a BTreeMap<Place, Option<Mode>>,
    /// Requests on end that nobody answered.
    away: AtomicUsize,
}

impl Turns<'_> {
    /// With a count of what nobody answers.
    async fn counted<T>(&self, asked: impl Future<Output = client::Result<T>>) -> client::Result<T> {
        if self.away.load(Relaxed) >= AWAY {
            let text = format!("{} does not answer, and was not asked any more", self.client.name());
            return Err(client::Error::new(ErrorKind::Away, text));
        }
        let answer = asked.await;
        match &answer {
            Err(error) if error.kind() == ErrorKind::Away => {
                self.away.fetch_add(1, Relaxed);
            }
            _ => self.away.store(0, Relaxed),
        }
        answer
    }

    async fn config(
        &self,
        place: &str,
        before: Option<&Option<Settings>>,
        end: Option<&Option<Settings>>,
    ) -> Done {
        let Some(wanted) = end.or(before) else { return Done::well(place) };
        let what = format!("the settings of {}", named(place));
        let failed = match (self.set_config(place, wanted).await, end) {
            (Ok(lost), Some(_)) => {
                let lost =
                    lost.map(|names| format!("{what} are not kept as they are in the archive: {names}"));
                return Done { lost, ..Done::well(place) };
            }
            (Ok(None), None) => return Done::well(place),
            (Ok(Some(names)), None) => {
                return Done::failed(
                    place,
                    false,
                    format!("{what} are not back, though it says so: {names}"),
                );
            }
            (Err(error), None) => {
                return Done::failed(place, false, format!("{what} are not put back: {error}"));
            }
            (Err(error), Some(_)) => error,
        };
        let text = format!("{what} are not set as they are in the archive: {failed}");
        let Some(before) = before.filter(|_| is_refused(&failed)) else {
            return Done::failed(place, before.is_none(), text);
        };
        match self.set_config(place, before).await {
            Ok(_) => Done::failed(place, true, format!("{text}; they are what they were")),
            Err(error) => Done::failed(place, false, format!("{text}; nor are they put back: {error}")),
        }
    }

    /// Sets or removes settings, and gives the names of those that the registry has not kept.
    async fn set_config(&self, place: &str, config: &Option<Settings>) -> client::Result<Option<String>> {
        let subject = Subject::parse(place);
        let mut set = self.send_config(&subject, config).await;
        // Modes were put back before, and not all settings were.
        if let Err(error) = &set
            && error.code() == Some(42205)
            && self.open(place).await?
        {
            set = self.send_config(&subject, config).await;
        }
        let refused = match set {
            Err(error) if !is_refused(&error) => return Err(error),
            set => set.err(),
        };
        let there = self.counted(self.client.config(&subject)).await?;
        let lost = lost(config.as_ref(), there.as_ref());
        match (refused, lost) {
            // It was so already.
            (Some(_), None) => Ok(None),
            (Some(error), Some(_)) => Err(error),
            (None, lost) => Ok(lost),
        }
    }

    async fn send_config(&self, subject: &Subject, config: &Option<Settings>) -> client::Result<()> {
        match config {
            Some(config) => self.counted(self.client.set_config(subject, config)).await,
            None => self.counted(self.client.delete_config(subject)).await,
        }
    }

    /// Opens a place whose mode is borrowed; false where none is.
    async fn open(&self, place: &str) -> client::Result<bool> {
        let own = root(&Subject::parse(place).context);
        let borrowed: Vec<&str> =
            [&*own, place].into_iter().filter(|at| self.modes.contains_key(*at)).collect();
        for at in &borrowed {
            self.counted(self.client.set_mode(&Subject::parse(at), Mode::Readwrite)).await?;
        }
        Ok(!borrowed.is_empty())
    }

    async fn mode(&self, place: Place, before: Option<Option<Mode>>, end: Option<Mode>) -> Done {
        let Some(wanted) = end.map(Some).or(before) else { return Done::well(&place) };
        let what = format!("the mode of {}", named(&place));
        let Err(failed) = self.set_mode(&place, wanted).await else { return Done::well(&place) };
        if end.is_none() {
            return Done::failed(&place, false, format!("{what} is not put back: {failed}"));
        }
        let text = format!("{what} is not set as it is in the archive: {failed}");
        let Some(before) = before.filter(|_| is_refused(&failed)) else {
            return Done::failed(&place, before.is_none(), text);
        };
        match self.set_mode(&place, before).await {
            Ok(()) => Done::failed(&place, true, format!("{text}; it is what it was")),
            Err(error) => Done::failed(&place, false, format!("{text}; nor is it put back: {error}")),
        }
    }

    /// Sets or removes a mode, and looks whether it is so then.
    async fn set_mode(&self, place: &str, mode: Option<Mode>) -> client::Result<()> {
        let subject = Subject::parse(place);
        let set = match mode {
            Some(mode) => self.counted(self.client.set_mode(&subject, mode)).await,
            None => match self.counted(self.client.delete_mode(&subject)).await {
                // Of the registry itself not every one removes a mode: then it gets the one that counts there without.
                Err(error) if place.is_empty() && is_refused(&error) => {
                    let of_all = Subject::new(Context::global(), "");
                    let of_all = self.client.mode(&of_all).await.ok().flatten().unwrap_or(Mode::Readwrite);
                    self.counted(self.client.set_mode(&subject, of_all)).await
                }
                removed => removed,
            },
        };
        let refused = match set {
            Err(error) if !is_refused(&error) => return Err(error),
            set => set.err(),
        };
        let there = self.counted(self.client.mode(&subject)).await?;
        let is_so = match (mode, there) {
            // It is answered for every place.
            (_, Some(Mode::ReadonlyOverride)) => true,
            // The registry itself always answers one.
            (None, Some(there)) => place.is_empty() && there != Mode::Import,
            (mode, there) => mode == there,
        };
        match refused {
            // A registry that lets no mode be changed has not let it be borrowed either.
            _ if is_so => Ok(()),
            Some(error) => Err(error),
            None => {
                let there = there.map_or_else(|| "nothing".to_owned(), |there| there.to_string());
                let text = format!("{} took that, and answers {there}", self.client.name());
                Err(client::Error::new(ErrorKind::Refused, text))
            }
        }
    }
}

/// Names of settings that are not there as they were asked for. What is there besides may be inherited.
fn lost(asked: Option<&Settings>, there: Option<&Settings>) -> Option<String> {
    let Some(asked) = asked else {
        return there.map(|there| there.keys().map(String::as_str).collect::<Vec<_>>().join(", "));
    };
    let one = |settings: Option<&Settings>, name: &str| {
        let value = settings.and_then(|settings| settings.get(name)).filter(|value| !value.is_null());
        value.map(|value| Settings::from_iter([(name.to_owned(), value.clone())]))
    };
    let lost = asked.iter().filter(|(name, value)| {
        !value.is_null() && !same_config(one(Some(asked), name).as_ref(), one(there, name).as_ref())
    });
    let names: Vec<&str> = lost.map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

//! Brings keys to a registry as a plan says. Each is read back: a registry may make a key of its own in place of the one it was given,
//! and nothing could be read with that. A key that it takes for none is left out, and named.

use super::{KeyPlan, Step, dek_name, is_deleted, kek_name, other_key, other_props};
use crate::client::{self, Client};
use crate::transfer::error::{Error, Kind, Result};
use crate::transfer::journal::Journal;
use crate::transfer::turns::{self, Turn};
use futures::FutureExt;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What a registry answers to a key that it does not take for one, as a KEK of a KMS that it does not know.
const NO_KEY: u32 = 42271;

/// Keys that are left out, by their names, with the reasons.
type LeftOut = Mutex<BTreeMap<String, String>>;

/// What was done with keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KeysPut {
    /// KEKs made, brought back or updated.
    pub keks: u64,
    /// DEKs made or brought back.
    pub deks: u64,
    /// Keys that are softly deleted now.
    pub deleted: u64,
    /// Keys that the target takes for none, with what it said, and DEKs of such KEKs.
    #[serde(skip)]
    pub not_taken: Vec<String>,
}

impl KeyPlan {
    /// Carries the plan out. A run that died is made good by the next one with the same journal.
    pub async fn put(
        &self,
        to: &Client,
        journal: &mut Journal,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<KeysPut> {
        let mut done = KeysPut::default();
        if self.steps.is_empty() && self.obstacles.is_empty() && !journal.owes_any() {
            return Ok(done);
        }
        journal.require_own().await?;
        // What a run that died has borrowed goes back also where this one comes no further.
        if journal.is_left_over() {
            journal.put_back(to).await?;
        }
        self.in_the_way(to)?;
        if !self.owed.is_empty() {
            journal.owe(&self.owed);
            journal.store().await?;
        }
        let go_on = || match stop() {
            true => {
                let text = format!("bringing keys of encryption to {} was interrupted", to.name());
                Err(Error::new(Kind::Interrupted, text)
                    .hint("run the same restore again; what is there stays"))
            }
            false => Ok(()),
        };
        let left_out = LeftOut::default();
        let begin = |step| take(step, to, &left_out).boxed();
        let ended = |step: Option<&Step>| {
            if let Some(step) = step {
                done.add(step);
            }
        };
        turns::take(&self.steps, turn, to.in_flight(), go_on, begin, ended).await?;
        journal.settle_keys().await?;
        let left_out = left_out.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.not_taken = left_out.into_iter().map(|(name, why)| format!("{name}: {why}")).collect();
        Ok(done)
    }

    fn in_the_way(&self, to: &Client) -> Result<()> {
        let Some(first) = self.obstacles.first() else { return Ok(()) };
        let text = format!(
            "keys of encryption cannot be restored to {}: {}: {}{}",
            to.name(),
            first.key,
            first.why,
            match self.obstacle_count {
                1 => String::new(),
                count => format!(", and {} more are in the way", count - 1),
            }
        );
        Err(Error::new(Kind::Input, text).hint(first.next_step.clone()))
    }
}

impl KeysPut {
    fn add(&mut self, step: &Step) {
        match step {
            Step::MakeKek(_) | Step::ReviveKek(_) | Step::UpdateKek(_) => self.keks += 1,
            Step::MakeDek(_) | Step::ReviveDek(_) => self.deks += 1,
            Step::DeleteDek(_) | Step::DeleteKek(..) => self.deleted += 1,
        }
    }

    /// What was done, in words.
    pub fn said(&self) -> Option<String> {
        let counts = [
            (self.keks, "KEKs brought or updated"),
            (self.deks, "DEKs brought"),
            (self.deleted, "keys softly deleted as they were"),
        ];
        let counts: Vec<_> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(n, what)| format!("{n} {what}")).collect();
        (!counts.is_empty()).then(|| counts.join(", "))
    }
}

/// A KEK before its DEKs, these by subject one after the other, and a KEK that goes after all of them.
fn turn(step: &Step) -> Turn {
    let of_subject = |kek: &str, subject: &str| Arc::<str>::from(format!("{kek}\n{subject}"));
    let (subject, waits_for) = match step {
        Step::MakeKek(kek) | Step::ReviveKek(kek) | Step::UpdateKek(kek) => {
            (kek.name.as_str().into(), Vec::new())
        }
        Step::MakeDek(dek) | Step::ReviveDek(dek) | Step::DeleteDek(dek) => {
            (of_subject(&dek.kek_name, &dek.subject), vec![dek.kek_name.as_str().into()])
        }
        Step::DeleteKek(kek, subjects) => {
            let subjects = subjects.iter().map(|subject| of_subject(&kek.name, subject));
            (kek.name.as_str().into(), subjects.collect())
        }
    };
    Turn { subject, waits_for, is_alone: false }
}

/// Whether a step is one of a key that is left out. A DEK is so with its KEK.
fn is_left_out(step: &Step, left_out: &LeftOut) -> bool {
    let mut left_out = left_out.lock().unwrap_or_else(PoisonError::into_inner);
    match step {
        Step::MakeDek(dek) if left_out.contains_key(&kek_name(&dek.kek_name)) => {
            left_out.insert(dek_name(dek), format!("{} is left out", kek_name(&dek.kek_name)));
            true
        }
        Step::DeleteDek(dek) => left_out.contains_key(&dek_name(dek)),
        Step::DeleteKek(kek, _) => left_out.contains_key(&kek_name(&kek.name)),
        _ => false,
    }
}

/// Takes a step; nothing where its key is left out.
async fn take<'a>(step: &'a Step, to: &Client, left_out: &LeftOut) -> Result<Option<&'a Step>> {
    if is_left_out(step, left_out) {
        return Ok(None);
    }
    let (name, asked) = match step {
        Step::MakeKek(kek) => (kek_name(&kek.name), to.create_kek(kek).await),
        Step::ReviveKek(kek) => (kek_name(&kek.name), to.undelete_kek(&kek.name).await),
        Step::UpdateKek(kek) => (kek_name(&kek.name), to.update_kek(kek).await),
        Step::MakeDek(dek) => (dek_name(dek), to.create_dek(dek).await),
        Step::ReviveDek(dek) => (dek_name(dek), to.undelete_dek(dek).await),
        Step::DeleteDek(dek) => (dek_name(dek), to.delete_dek(dek).await),
        Step::DeleteKek(kek, _) => (kek_name(&kek.name), to.delete_kek(&kek.name).await),
    };
    // A request that was repeated finds what the first one has done, and is refused for that.
    let refused = match asked {
        Err(error) if matches!(error.kind(), client::ErrorKind::Refused | client::ErrorKind::Absent) => {
            Some(error)
        }
        asked => {
            asked.map_err(|error| Error::from(error).at(&name))?;
            None
        }
    };
    let is_so = is_so(step, to).await.map_err(|error| Error::from(error).at(&name))?;
    match (is_so, refused) {
        (true, _) => Ok(Some(step)),
        (false, Some(error))
            if matches!(step, Step::MakeKek(_) | Step::MakeDek(_)) && error.code() == Some(NO_KEY) =>
        {
            let mut left_out = left_out.lock().unwrap_or_else(PoisonError::into_inner);
            left_out.insert(name, error.to_string());
            Ok(None)
        }
        (false, Some(error)) => Err(Error::from(error)
            .at(&name)
            .or_hint("look at what the registry says of it, and run the same restore again")),
        (false, None) => {
            let text = format!("{name}: {} took it, and answers another one", to.name());
            Err(Error::new(Kind::Failed, text)
                .hint("what this key encrypts cannot be read with that registry; restore into another one"))
        }
    }
}

/// Whether the registry has what a step is about, as it leaves it.
async fn is_so(step: &Step, to: &Client) -> client::Result<bool> {
    let gone = matches!(step, Step::DeleteDek(_) | Step::DeleteKek(..));
    Ok(match step {
        Step::MakeKek(kek) | Step::ReviveKek(kek) | Step::UpdateKek(kek) | Step::DeleteKek(kek, _) => {
            // What is there already may have other properties, unless it is to get these.
            let gets_props = matches!(step, Step::MakeKek(_) | Step::UpdateKek(_));
            let there = to.kek(&kek.name).await?;
            there.is_some_and(|there| {
                other_key(kek, &there).is_empty()
                    && (!gets_props || other_props(kek, &there).is_empty())
                    && is_deleted(there.deleted) == gone
            })
        }
        Step::MakeDek(dek) | Step::ReviveDek(dek) | Step::DeleteDek(dek) => {
            let there = to.dek(&dek.kek_name, (&dek.subject, dek.version, &dek.algorithm)).await?;
            there.is_some_and(|there| {
                there.encrypted_key_material == dek.encrypted_key_material
                    && is_deleted(there.deleted) == gone
            })
        }
    })
}

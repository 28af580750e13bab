//! Looking at the store: which contexts have moved, what has changed there, and whether it is still the same store.

use super::{Live, MAX_AGE};
use crate::error::{Error, Result};
use crate::names::Context;
use crate::state::ContextState;
use crate::store::{Head, Revision, StoreError};
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

/// How often an instance looks by itself: so often that hardly anybody has to wait for a look.
const EVERY: Duration = Duration::from_millis(250);

/// When the store was looked at, and what came of it.
pub(super) struct Looks {
    begun: Instant,
    /// Milliseconds after `begun` at which the last look began that ended well, plus one; 0 before the first time.
    seen: AtomicU64,
    /// All commits with references between contexts up to this number are in the state.
    links: AtomicU64,
    /// One look at a time.
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    epoch: Option<Uuid>,
    /// When the last look that ended well began; when the last one that did not ended, and why.
    well: Option<Instant>,
    badly: Option<(Instant, Error)>,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            seen: AtomicU64::new(0),
            links: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }
}

impl Looks {
    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    fn is_fresh(&self, max_age: Duration) -> bool {
        let looked = self.seen.load(Ordering::Acquire).checked_sub(1);
        let age = looked.map(|looked| self.millis(Instant::now()).saturating_sub(looked));
        age.is_some_and(|age| Duration::from_millis(age) < max_age)
    }

    /// What was seen is not to be believed any more.
    pub(super) fn forget(&self) {
        self.seen.store(0, Ordering::Release);
    }

    /// Commits with references between contexts that the state has for sure.
    pub(super) fn links(&self) -> Revision {
        self.links.load(Ordering::Acquire)
    }
}

/// Looks as long as somebody holds the registry.
pub(super) async fn by_itself(live: Weak<Live>) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answers = true;
    loop {
        every.tick().await;
        let Some(live) = live.upgrade() else { return };
        match live.refresh(EVERY).await {
            Err(error) if answers => {
                tracing::warn!(%error, "the store cannot be looked at; schemas by id go on to be answered from memory");
                answers = false;
            }
            Ok(()) if !answers => {
                tracing::info!("the store answers again");
                answers = true;
            }
            _ => {}
        }
    }
}

impl Live {
    /// Looks, unless somebody has done so within this time. Who waits for the look of another one shares its outcome: a good one
    /// if that look began after he asked, a bad one in any case. So a store that does not answer is waited for once, and not by one
    /// after the other.
    pub(super) async fn refresh(&self, max_age: Duration) -> Result<()> {
        if self.looks.is_fresh(max_age) {
            return Ok(());
        }
        let asked = Instant::now();
        let mut last = self.looks.last.lock().await;
        match &last.badly {
            Some((ended, why)) if *ended >= asked => return Err(why.clone()),
            _ if last.well.is_some_and(|began| began >= asked) || self.looks.is_fresh(max_age) => {
                return Ok(());
            }
            _ => {}
        }
        let began = Instant::now();
        let outcome = self.look(&mut last.epoch).await;
        match &outcome {
            Ok(()) => {
                self.looks.seen.store(self.looks.millis(began) + 1, Ordering::Release);
                last.well = Some(began);
            }
            Err(why) => last.badly = Some((Instant::now(), why.clone())),
        }
        outcome
    }

    async fn look(&self, epoch: &mut Option<Uuid>) -> Result<()> {
        // What was known before the question: what is committed after it need not be in the answer.
        let known: Vec<(Context, Head)> = self
            .contexts()
            .into_iter()
            .map(|name| (name.clone(), self.read(&name, ContextState::head)))
            .collect();
        let heads = self.store.heads().await?;
        if epoch.is_some_and(|epoch| epoch != heads.epoch) {
            self.break_off("the store is another one than at the start".to_owned());
        }
        epoch.get_or_insert(heads.epoch);
        for (context, head) in &known {
            // Gone, or the answer was an old one: its history tells.
            if head.revision > 0 && !heads.contexts.contains_key(context) {
                self.follow(context).await?;
            }
        }
        for (context, head) in &heads.contexts {
            if self.read(context, ContextState::head) != *head {
                self.follow(context).await?;
            }
        }
        self.looks.links.store(heads.links, Ordering::Release);
        Ok(())
    }

    /// Takes what has changed in a context since its state was made.
    async fn follow(&self, context: &Context) -> Result<()> {
        loop {
            let since = self.read(context, ContextState::head);
            match self.store.changes(context, since).await {
                Ok((head, changes)) => {
                    let now = self.read(context, ContextState::head);
                    if head.revision <= now.revision || self.apply(context, since, head, changes) {
                        return Ok(());
                    }
                }
                Err(StoreError::Forked(why)) => {
                    self.break_off(format!("an older copy of the store was put in place: {why}"));
                    // What it says now is what there is; what was seen before must not shine through.
                    let (head, changes) = self.store.changes(context, Head::EMPTY).await?;
                    self.replace(context, head, changes);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

// A look may be twice as old as the time between two of them before somebody waits for one.
const _: () = assert!(EVERY.as_millis() * 2 <= MAX_AGE.as_millis());

//! Who follows: look after look until it is promoted, and what is told of that.

use super::look::{Looked, Memory, Trouble};
use super::marker::{Marker, Phase};
use super::{Following, Promotion, State, Status};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::live::{Live, Scope};
use crate::names::Context;
use crate::service::Registry;
use crate::store::kafka::log::Writer;
use crate::transfer::{MassDeletion, Progress};
use async_trait::async_trait;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// In about this time every version is read again, a share at each look: its number may have become another schema's.
const ROUND: Duration = Duration::from_secs(600);

/// The longest pause between two looks that do not go well.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often it is written down when both were last equal.
const NOTE_EVERY: i64 = 60_000;

/// Looks that a promotion makes at most: what is gone must be seen so twice.
const LAST_LOOKS: u32 = 3;

/// How a registry follows. Values only.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The leader, as people know it: without credentials.
    pub leader: String,
    /// From the end of a look to the next one.
    pub interval: Duration,
    /// What becomes of deletions that take most away.
    pub mass_deletion: MassDeletion,
    /// How long the looks of a promotion may take.
    pub catch_up: Duration,
}

/// What is told of the looks.
#[derive(Debug)]
struct Told {
    state: State,
    why: Option<String>,
    /// When the last look began that found both equal.
    equal: Option<Instant>,
    looks: u64,
    errors: u64,
    looked: Looked,
}

/// Keeps a registry like its leader.
pub struct Follower {
    registry: Arc<Registry>,
    client: Arc<Client>,
    settings: Settings,
    progress: Progress,
    /// One look at a time; a promotion waits for its turn, too.
    memory: tokio::sync::Mutex<Memory>,
    /// How many promotions want the turn.
    ending: watch::Sender<usize>,
    told: Mutex<Told>,
    pub(super) changes: AtomicU64,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Follower {
    /// One whose store has the marker. `whole`: the first look reads every version.
    pub(super) fn new(registry: Arc<Registry>, client: Arc<Client>, settings: Settings, whole: bool) -> Self {
        let told = Told {
            state: State::Filling,
            why: None,
            equal: None,
            looks: 0,
            errors: 0,
            looked: Looked::default(),
        };
        Self {
            registry,
            client,
            settings,
            progress: Progress::default(),
            memory: tokio::sync::Mutex::new(Memory::new(whole)),
            ending: watch::Sender::new(0),
            told: Mutex::new(told),
            changes: AtomicU64::new(0),
        }
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        self.registry.live()
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn leader(&self) -> &str {
        &self.settings.leader
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn mass_deletion(&self) -> MassDeletion {
        self.settings.mass_deletion
    }

    /// Looks in which every version is read once.
    pub(super) fn rounds(&self) -> u32 {
        let looks = ROUND.as_millis() / self.settings.interval.as_millis().max(1);
        u32::try_from(looks).unwrap_or(u32::MAX).clamp(10, 300)
    }

    pub(super) fn is_following(&self) -> bool {
        self.live().marker().is_some_and(|marker| marker.phase == Phase::Following)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks until it is promoted, here or by another instance.
    pub async fn run(&self) {
        let mut ending = self.ending.subscribe();
        let mut pause = self.settings.interval;
        while self.is_following() {
            match self.live().store().writer() {
                Writer::Other(url) => {
                    let mut told = self.told();
                    (told.state, told.why) =
                        (State::Elsewhere, Some(format!("the registry at {url} writes")));
                    pause = self.settings.interval;
                }
                Writer::This(_) | Writer::Nobody(_) => {
                    let mut memory = self.memory.lock().await;
                    let looked = tokio::select! {
                        biased;
                        // Somebody else has the turn next.
                        _ = ending.wait_for(|wanted| *wanted > 0) => None,
                        looked = self.look_once(&mut memory) => Some(looked),
                    };
                    drop(memory);
                    pause = match looked {
                        Some(true) => self.settings.interval,
                        Some(false) => (pause * 2)
                            .max(Duration::from_millis(200))
                            .min(LONGEST_PAUSE.max(self.settings.interval)),
                        None => {
                            // Until that one is done: promoted, or not.
                            let _ = ending.wait_for(|wanted| *wanted == 0).await;
                            continue;
                        }
                    };
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = ending.wait_for(|wanted| *wanted > 0) => {}
            }
        }
        tracing::info!(leader = self.leader(), "this registry does not follow any more");
    }

    /// A look, and what is told of it; whether it went well.
    async fn look_once(&self, memory: &mut Memory) -> bool {
        let (began, began_ms) = (Instant::now(), self.registry.now_ms());
        let mut outcome = self.look(memory).await;
        if let Ok(looked) = &outcome
            && looked.behind == 0
            && let Err(error) = self.note(began_ms).await
        {
            outcome = Err(Trouble::Store(error));
        }
        let mut told = self.told();
        told.looks += 1;
        let (state, why) = match outcome {
            Ok(looked) => {
                if looked.behind == 0 {
                    told.equal = Some(began);
                }
                told.looked = looked;
                (State::Following, None)
            }
            // Nobody needs to do anything: the next look sees it all.
            Err(trouble @ (Trouble::Overtaken | Trouble::Ended)) => {
                tracing::debug!(why = trouble.text(), "a look was dropped");
                return true;
            }
            Err(trouble) => {
                told.errors += 1;
                let state = match &trouble {
                    Trouble::Held(_) => State::Held,
                    Trouble::Store(_) => State::Failing,
                    _ => State::Away,
                };
                (state, Some(trouble.text()))
            }
        };
        let before = (told.state, told.why.clone());
        (told.state, told.why) = (state, why.clone());
        drop(told);
        let leader = self.leader();
        match (why, before) {
            (Some(why), (_, said)) if said.as_deref() != Some(&why) => {
                tracing::warn!(leader, why, "the standby is not kept like its leader; it is tried again");
            }
            (None, (before, _)) if before != State::Following => {
                tracing::info!(leader, changes = self.changes.load(Relaxed), "the standby follows");
            }
            _ => {}
        }
        state == State::Following
    }

    /// Writes down now and then when both were equal; who starts later knows how old it all is.
    async fn note(&self, equal_ms: i64) -> Result<()> {
        let noted = self.live().marker().map_or(0, |marker| marker.equal_ms);
        if noted > 0 && equal_ms.saturating_sub(noted) < NOTE_EVERY {
            return Ok(());
        }
        let global = Context::global();
        let noting = self.live().mirror(&global, Scope::Context, 0, move |draft| {
            if let Some(marker) = Marker::of(draft.state()).filter(|marker| marker.phase == Phase::Following)
            {
                draft.put(Marker { equal_ms: equal_ms.max(marker.equal_ms), ..marker }.change());
            }
            Ok(())
        });
        noting.await
    }

    /// The last looks, as many as are needed and as time allows; why both are not equal after them.
    async fn catch_up(&self, memory: &mut Memory) -> Option<String> {
        let looks = async {
            let mut why = None;
            for _ in 0..LAST_LOOKS {
                self.look_once(memory).await;
                let told = self.told();
                why = match (&told.why, &told.looked) {
                    (Some(why), _) => return Some(why.clone()),
                    (None, Looked { behind: 0, left_out: 0 }) => return None,
                    (None, Looked { behind: 0, left_out }) => {
                        return Some(format!("versions that this registry cannot hold: {left_out}"));
                    }
                    (None, Looked { behind, .. }) => {
                        Some(format!("versions that are otherwise at the leader: {behind}"))
                    }
                };
            }
            why
        };
        match tokio::time::timeout(self.settings.catch_up, looks).await {
            Ok(why) => why,
            Err(_) => Some(format!(
                "the leader was not read to its end within {} ms",
                self.settings.catch_up.as_millis()
            )),
        }
    }

    /// Ends following. What is begun goes on whether or not the caller still waits.
    pub(super) async fn end(&self) -> Result<Promotion> {
        self.ending.send_modify(|wanted| *wanted += 1);
        let mut memory = self.memory.lock().await;
        let ended = async {
            self.live().confirm().await?;
            let missing = match self.is_following() {
                true => self.catch_up(&mut memory).await,
                false => None,
            };
            let promotion = self.registry.end_following().await?;
            Ok::<_, Error>((promotion, missing))
        };
        let ended = ended.await;
        drop(memory);
        self.ending.send_modify(|wanted| *wanted -= 1);
        let (promotion, missing) = ended?;
        let (leader, why) = (self.leader(), missing.as_deref().unwrap_or("it is equal to the leader"));
        if !promotion.before {
            tracing::info!(leader, why, "this registry is promoted: it takes changes, and follows nobody");
        }
        let caught_up = !promotion.before && missing.is_none();
        Ok(Promotion { status: self.status(), caught_up, missing, ..promotion })
    }
}

#[async_trait]
impl Following for Follower {
    fn status(&self) -> Status {
        let marker = self.live().marker();
        let now_ms = self.registry.now_ms();
        let is_promoted = marker.as_ref().is_some_and(|marker| marker.phase == Phase::Promoted);
        let filled = marker.as_ref().is_some_and(|marker| marker.equal_ms > 0);
        let told = self.told();
        let lag = match (is_promoted, told.equal, &marker) {
            (true, ..) => 0.0,
            (false, Some(equal), _) => equal.elapsed().as_secs_f64(),
            (false, None, marker) => marker.as_ref().map_or(0.0, |marker| marker.lag_seconds(now_ms)),
        };
        Status {
            state: match told.state {
                _ if is_promoted => State::Promoted,
                State::Following if !filled => State::Filling,
                state => state,
            },
            leader: self.settings.leader.clone(),
            lag_seconds: lag,
            filled,
            behind: told.looked.behind,
            left_out: told.looked.left_out,
            looks: told.looks,
            errors: told.errors,
            changes: self.changes.load(Relaxed),
            promoted_ms: marker.as_ref().and_then(Marker::promoted_ms),
            why: told.why.clone().filter(|_| !is_promoted),
        }
    }

    async fn promote(&self) -> Result<Promotion> {
        self.end().await
    }
}

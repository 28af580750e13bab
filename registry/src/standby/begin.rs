//! How a store becomes a standby, goes on as one, or ends being one, when its registry starts.
//!
//! ```text
//! store says      asked for: nothing      --follow                     --promote
//! nothing         a registry              joins, if nothing differs    a registry (with --follow: refused)
//! joining         a registry again        joins                        a registry again
//! following       refused                 goes on                      promoted
//! promoted        a registry              refused; --rejoin: joins     a registry
//! ```
//! Joining: both are read and compared, then the marker says "joining", from which on nobody takes changes; only if none came in between,
//! it says "following". So nothing that a client was told is ever taken away by following.

use super::follower::{Follower, Settings};
use super::marker::{Marker, Phase};
use super::rows::{Fresh, Here};
use crate::client::Client;
use crate::error::Error;
use crate::live::Scope;
use crate::names::{Context, Subject};
use crate::service::Registry;
use crate::settings::Config;
use crate::state::ContextState;
use crate::store::Head;
use crate::transfer::{self, Item, Key, Kind, Progress, Walk};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// In this time every instance on the store has seen the marker, and what was begun before is written.
const SETTLED: Duration = Duration::from_secs(1);

/// Who has not ended joining after this time never will.
const JOINING_MS: i64 = 5_000;

/// Differences that are named.
const NAMED: usize = 5;

/// What is asked for at the start.
#[derive(Default)]
pub struct Begin {
    /// Whom to follow, by a client of it.
    pub follow: Option<(Arc<Client>, Settings)>,
    /// End following.
    pub promote: bool,
    /// Follow although the store was promoted, or has less than the leader.
    pub rejoin: bool,
}

/// Why a registry does not start as it was asked to.
#[derive(Debug)]
pub enum NotBegun {
    /// Only another command mends it: why, and what to do.
    Refused(String, String),
    /// It may be so in a while: why.
    Later(String),
}

impl From<Error> for NotBegun {
    fn from(error: Error) -> Self {
        Self::Later(error.message().to_owned())
    }
}

impl From<transfer::Error> for NotBegun {
    fn from(error: transfer::Error) -> Self {
        let next = error.next_step().unwrap_or_default().to_owned();
        match error.kind() {
            Kind::Input => Self::Refused(error.to_string(), next),
            _ if next.is_empty() => Self::Later(error.to_string()),
            _ => Self::Later(format!("{error}; {next}")),
        }
    }
}

/// What of two registries must be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    /// Everything.
    All,
    /// What is here; the leader may have more, and settings are as it has them.
    Here,
}

fn refused(why: String, next: &str) -> NotBegun {
    NotBegun::Refused(why, next.to_owned())
}

/// Begins to follow, goes on, or ends it; gives who follows, where anybody does.
pub async fn begin(registry: &Arc<Registry>, asked: &Begin) -> Result<Option<Arc<Follower>>, NotBegun> {
    registry.live().confirm().await?;
    let marker = registry.live().marker();
    let phase = marker.as_ref().map(|marker| marker.phase);
    match (marker, &asked.follow) {
        (None, None) => Ok(None),
        (None, Some(_)) if asked.promote => Err(refused(
            "--promote is given beside --follow, and this store has never followed anybody".to_owned(),
            "leave out --promote to make it a standby",
        )),
        (Some(marker), None) if phase == Some(Phase::Joining) => {
            tracing::warn!(
                leader = marker.leader,
                "this store was to become a standby, and nothing of it was changed; it is a registry as before"
            );
            write(registry, None, &marker).await?;
            Ok(None)
        }
        (None, Some((client, settings))) => {
            let compared = if asked.rejoin { Compared::Here } else { Compared::All };
            join(registry, client, settings, compared, None).await.map(Some)
        }
        (Some(marker), Some((client, settings))) if phase == Some(Phase::Joining) => {
            let age = registry.now_ms().saturating_sub(marker.since_ms);
            if (0..JOINING_MS).contains(&age) && !asked.rejoin && marker.since_ms > 0 && !is_alone(registry) {
                return Err(NotBegun::Later("another instance is making this store a standby".to_owned()));
            }
            let compared = if asked.rejoin { Compared::Here } else { Compared::All };
            join(registry, client, settings, compared, Some(marker)).await.map(Some)
        }
        (Some(marker), None) if phase == Some(Phase::Following) && !asked.promote => Err(refused(
            format!("this store is a standby of {}, and nobody was asked to follow", marker.leader),
            "start it with --follow URL to go on, or with --promote to make it a registry of its own",
        )),
        (Some(_), None) if phase == Some(Phase::Following) => {
            tracing::warn!(
                "promoted without a last look at the leader; --follow URL beside --promote takes one"
            );
            let promotion = registry.end_following().await?;
            tracing::info!(
                leader = promotion.status.leader,
                "this registry is promoted: it takes changes, and follows nobody"
            );
            Ok(None)
        }
        (Some(marker), Some((client, settings))) if phase == Some(Phase::Following) => {
            let follower = match marker.leader == settings.leader {
                true => {
                    Arc::new(Follower::new(Arc::clone(registry), Arc::clone(client), settings.clone(), false))
                }
                // The same leader at another place, or another one: what is here must be there.
                false => join(registry, client, settings, Compared::Here, Some(marker)).await?,
            };
            if !asked.promote {
                return Ok(Some(follower));
            }
            let promotion = follower.end().await?;
            if let Some(missing) = promotion.missing {
                tracing::warn!(missing, "promoted without all that the leader has");
            }
            Ok(None)
        }
        (Some(_), None) => Ok(None),
        (Some(_), Some(_)) if asked.promote => Ok(None),
        (Some(_), Some((client, settings))) if asked.rejoin => {
            join(registry, client, settings, Compared::Here, None).await.map(Some)
        }
        (Some(marker), Some(_)) => Err(refused(
            format!(
                "this store was a standby of {} and was promoted: it is a registry of its own, and to follow again would make two \
                 histories of one",
                marker.leader
            ),
            "leave out --follow, or add --promote, to serve it as it is; with --rejoin it follows again, if all that it has is at the leader too",
        )),
    }
}

/// Nobody else can have begun to join.
fn is_alone(registry: &Registry) -> bool {
    !registry.live().store().is_shared()
}

/// Writes the marker, or takes it away, if it is still `before`; whether it was.
async fn write(registry: &Registry, marker: Option<Marker>, before: &Marker) -> Result<bool, Error> {
    let before = before.clone();
    let global = Context::global();
    let writing = registry.live().mirror(&global, Scope::Context, 0, move |draft| {
        if Marker::of(draft.state()).as_ref() != Some(&before) {
            return Ok(false);
        }
        draft.put(marker.as_ref().map_or_else(Marker::removal, Marker::change));
        Ok(true)
    });
    writing.await
}

fn heads(registry: &Registry) -> BTreeMap<Context, Head> {
    let live = registry.live();
    let contexts = live.contexts().into_iter().filter(|context| !context.is_global());
    contexts.map(|context| (context.clone(), live.read(&context, ContextState::head))).collect()
}

/// Makes a store a standby, if it fits; `before` is the marker that it has.
async fn join(
    registry: &Arc<Registry>,
    client: &Arc<Client>,
    settings: &Settings,
    compared: Compared,
    before: Option<Marker>,
) -> Result<Arc<Follower>, NotBegun> {
    let live = registry.live();
    let now_ms = registry.now_ms();
    let goes_on = before.filter(|marker| marker.phase == Phase::Following);
    let previous = live.marker();
    let seen = heads(registry);
    let is_empty = live.contexts().iter().all(|context| live.read(context, |state| is_bare(context, state)));
    if !is_empty {
        tracing::info!(leader = settings.leader, "what this store has is compared with the leader");
        let found = differences(registry, client, compared).await?;
        if found.count > 0 {
            return Err(found.refusal(&settings.leader, compared));
        }
    }
    let following = Marker {
        leader: settings.leader.clone(),
        phase: Phase::Following,
        since_ms: now_ms,
        equal_ms: goes_on.as_ref().map_or(0, |marker| marker.equal_ms),
    };
    let follower =
        || Arc::new(Follower::new(Arc::clone(registry), Arc::clone(client), settings.clone(), true));
    if let Some(marker) = goes_on {
        return match write(registry, Some(following), &marker).await? {
            true => Ok(follower()),
            false => Err(NotBegun::Later("another instance has written the marker meanwhile".to_owned())),
        };
    }
    let joining = Marker { phase: Phase::Joining, ..following.clone() };
    let (expected, first) = (previous.clone(), joining.clone());
    let global = Context::global();
    let written = live.mirror(&global, Scope::Context, 0, move |draft| {
        if Marker::of(draft.state()) != expected {
            return Ok(false);
        }
        draft.put(first.change());
        Ok(true)
    });
    if !written.await? {
        return Err(NotBegun::Later("another instance is making this store a standby".to_owned()));
    }
    if live.store().is_shared() {
        tokio::time::sleep(SETTLED).await;
        live.confirm().await?;
    }
    if heads(registry) != seen {
        write(registry, previous.filter(|marker| marker.phase == Phase::Promoted), &joining).await?;
        return Err(refused(
            "changes came to this store while it was to become a standby, and none of them was touched"
                .to_owned(),
            "stop the other instances on it, or start them with --follow too",
        ));
    }
    match write(registry, Some(following), &joining).await? {
        true => {
            tracing::info!(leader = settings.leader, "this store is a standby from now on");
            Ok(follower())
        }
        false => Err(NotBegun::Later("another instance has written the marker meanwhile".to_owned())),
    }
}

/// Nothing is registered or set.
fn is_bare(context: &Context, state: &ContextState) -> bool {
    // A subject of the context of all contexts is the marker.
    let mut configs = state.configs().filter(|name| !context.is_global() || name.is_empty());
    state.is_empty() && configs.next().is_none() && state.modes().next().is_none()
}

/// What is not the same.
#[derive(Default)]
struct Differences {
    count: u64,
    named: Vec<String>,
}

impl Differences {
    fn add(&mut self, what: String) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(what);
        }
    }

    fn refusal(self, leader: &str, compared: Compared) -> NotBegun {
        let named = self.named.join("; ");
        let more = self.count - self.named.len() as u64;
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let why = format!(
            "this store has schemas of its own, and is not what {leader} has: {named}{more}. Nothing was changed"
        );
        match compared {
            Compared::All => NotBegun::Refused(
                why,
                "give the standby an empty store; or, where all that this one has is at the leader too, add --rejoin".to_owned(),
            ),
            Compared::Here => {
                NotBegun::Refused(why, "give the standby an empty store, or delete what is named".to_owned())
            }
        }
    }
}

/// Reads the leader whole and compares it with what is here.
async fn differences(
    registry: &Registry,
    client: &Client,
    compared: Compared,
) -> Result<Differences, NotBegun> {
    let (live, all) = (registry.live(), compared == Compared::All);
    let mut found = Differences::default();
    let (mut there, mut configs, mut modes) = (HashSet::new(), BTreeMap::new(), BTreeMap::new());
    let progress = Progress::default();
    let walk = Walk { client, contexts: &[], known: None, progress: &progress, stop: &|| false };
    let mut visit = |item| {
        match item {
            Item::Config(place, config) => drop(configs.insert(place, config)),
            Item::Mode(place, mode) => drop(modes.insert(place, mode)),
            Item::Version(schema) => {
                let at = Key {
                    subject: Subject::parse(&schema.subject).to_string().into(),
                    version: schema.version,
                };
                match Fresh::of(schema) {
                    // What cannot be held anyway is said once it follows.
                    Err(_) => {}
                    Ok(fresh) => match fresh.here(live) {
                        Here::Another => found.add(format!("{at} is another schema here, or has another id")),
                        Here::Missing if all => found.add(format!("{at} is not here")),
                        Here::Missing if fresh.is_id_taken(live) => {
                            found.add(format!("{at} has id {}, which is another schema's here", fresh.id()));
                        }
                        Here::Otherwise if all && !fresh.is_held(live) => {
                            found.add(format!("{at} is deleted on one side only"));
                        }
                        _ => {}
                    },
                }
                there.insert(at);
            }
            Item::Context(_) | Item::Listed(..) | Item::Gone(_) => {}
        }
        Ok(())
    };
    walk.go(&mut visit).await?;
    for context in live.contexts() {
        let here: Vec<Key> = live.read(&context, |state| {
            let key = |name: &Arc<str>, version| {
                let subject = Subject { context: context.clone(), name: Arc::clone(name) };
                Key { subject: subject.to_string().into(), version }
            };
            let subjects = state.subjects();
            let keys = subjects
                .flat_map(|(name, versions)| versions.iter().map(move |version| key(name, version.version)));
            keys.filter(|key| !there.contains(key)).collect()
        });
        here.into_iter().for_each(|key| found.add(format!("{key} is not at the leader")));
    }
    if all {
        settings(registry, &configs, &modes, &mut found).await;
    }
    Ok(found)
}

/// Compares settings and modes as both would answer them.
async fn settings(
    registry: &Registry,
    configs: &BTreeMap<String, crate::client::Settings>,
    modes: &BTreeMap<String, crate::settings::Mode>,
    found: &mut Differences,
) {
    let shown = |place: &str| if place.is_empty() { "the registry".to_owned() } else { place.to_owned() };
    for (place, config) in configs {
        let there = serde_json::from_value::<Config>(Value::Object(config.clone())).ok();
        if registry.config(&Subject::parse(place), false).await.ok() != there {
            found.add(format!("the settings of {} are others", shown(place)));
        }
    }
    for (place, mode) in modes {
        if registry.mode(&Subject::parse(place), false).await.ok() != Some(*mode) {
            found.add(format!("the mode of {} is another", shown(place)));
        }
    }
    for context in registry.live().contexts() {
        let own: Vec<(String, bool)> = registry.live().read(&context, |state| {
            let at =
                |name: &Arc<str>| Subject { context: context.clone(), name: Arc::clone(name) }.to_string();
            let named = |name: &&Arc<str>| !context.is_global() || name.is_empty();
            let configs = state.configs().filter(named).map(|name| (at(name), true));
            configs.chain(state.modes().filter(named).map(|name| (at(name), false))).collect()
        });
        for (place, is_config) in own {
            match is_config {
                true if !configs.contains_key(&place) => {
                    found.add(format!("{} has settings here only", shown(&place)));
                }
                false if !modes.contains_key(&place) => {
                    found.add(format!("{} has a mode here only", shown(&place)));
                }
                _ => {}
            }
        }
    }
}

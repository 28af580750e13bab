//! A standby: a registry that is kept like another one, its leader, with the same ids, until it is promoted.
//!
//! ```text
//! leader --walk--> look (what is new, other or gone)  ->  commits, each only while the marker says "following"   ->  store
//! promotion: one more look, if the leader answers  ->  the marker says "promoted"  ->  clients register
//! ```
//! - **The marker** ([`Marker`]) lies in the store, so every instance on it refuses changes as long as it follows, and a store that was
//!   promoted does not follow again unless somebody says so. Every commit of a look relies on it: what comes after a promotion is void.
//! - **Nothing is decided here**: ids, numbers, texts and times are the leader's. What makes sense there makes sense here.
//! - **What is gone** is believed only when two looks in a row do not see it and the leader says so of that very version.
//! - A look that other commits have overtaken is dropped: two instances that follow for one store cannot undo each other's work.

mod marker;

#[cfg(feature = "client")]
mod begin;
#[cfg(feature = "client")]
mod follower;
#[cfg(feature = "client")]
mod look;
#[cfg(feature = "client")]
mod rows;
#[cfg(all(test, feature = "client"))]
mod tests;

#[cfg(feature = "client")]
pub use begin::{Begin, NotBegun, begin};
#[cfg(feature = "client")]
pub use follower::{Follower, Settings};
pub use marker::{Marker, Phase};

use crate::error::{Error, Result};
use crate::live::Scope;
use crate::names::Context;
use crate::service::Registry;
use async_trait::async_trait;

/// What a registry is, as to following.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No standby, and it never was one.
    None,
    /// It follows, and never had everything yet.
    Filling,
    /// It follows, and the last look went well.
    Following,
    /// It follows; the leader could not be looked at the last time.
    Away,
    /// It follows; something must be decided by a person before it goes on.
    Held,
    /// It follows; its own store did not take what was to be written.
    Failing,
    /// Another instance on the same store follows.
    Elsewhere,
    /// It was a standby, and is a registry of its own.
    Promoted,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Filling,
        Self::Following,
        Self::Away,
        Self::Held,
        Self::Failing,
        Self::Elsewhere,
        Self::Promoted,
    ];

    /// The name in answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Filling => "filling",
            Self::Following => "following",
            Self::Away => "away",
            Self::Held => "held",
            Self::Failing => "failing",
            Self::Elsewhere => "elsewhere",
            Self::Promoted => "promoted",
        }
    }
}

/// How a standby stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What it is.
    pub state: State,
    /// The registry that it follows, or has followed.
    pub leader: String,
    /// Seconds since it was known to be equal to the leader; before the first time, since it began to follow.
    pub lag_seconds: f64,
    /// It was equal once: what it answers is all that there was then.
    pub filled: bool,
    /// Versions that the last look found otherwise at the leader, and that are not brought along yet.
    pub behind: u64,
    /// Versions that this registry cannot hold.
    pub left_out: u64,
    /// Looks so far.
    pub looks: u64,
    /// Looks that did not go well.
    pub errors: u64,
    /// Versions, settings and modes written so far.
    pub changes: u64,
    /// When it was promoted, in milliseconds of the epoch.
    pub promoted_ms: Option<i64>,
    /// What is wrong.
    pub why: Option<String>,
}

/// What became of a promotion.
#[derive(Debug, Clone, PartialEq)]
pub struct Promotion {
    /// How it stands now.
    pub status: Status,
    /// It was promoted before.
    pub before: bool,
    /// The last look found this registry equal to the leader.
    pub caught_up: bool,
    /// What the last look could not bring along, and why; nothing where it is equal.
    pub missing: Option<String>,
}

/// What keeps a registry like its leader.
#[async_trait]
pub trait Following: Send + Sync + 'static {
    /// How it stands.
    fn status(&self) -> Status;

    /// Ends following, for good. The leader is looked at once more, for a limited time.
    async fn promote(&self) -> Result<Promotion>;
}

impl Registry {
    /// How a registry stands that nothing here keeps like another one.
    pub fn unattended(&self) -> Status {
        let marker = self.live().marker();
        let state = match marker.as_ref().map(|marker| marker.phase) {
            None => State::None,
            Some(Phase::Joining | Phase::Following) => State::Elsewhere,
            Some(Phase::Promoted) => State::Promoted,
        };
        let lag = marker.as_ref().filter(|_| state == State::Elsewhere);
        let filled = marker.as_ref().is_some_and(|marker| marker.equal_ms > 0);
        Status {
            state,
            lag_seconds: lag.map_or(0.0, |marker| marker.lag_seconds(self.now_ms())),
            filled,
            behind: 0,
            left_out: 0,
            looks: 0,
            errors: 0,
            changes: 0,
            promoted_ms: marker.as_ref().and_then(Marker::promoted_ms),
            leader: marker.map(|marker| marker.leader).unwrap_or_default(),
            why: None,
        }
    }

    /// Writes the marker that ends following. Done before, it stays as it was.
    pub(crate) async fn end_following(&self) -> Result<Promotion> {
        self.live().confirm().await?;
        let now_ms = self.now_ms();
        let before = self
            .live()
            .mirror(&Context::global(), Scope::Context, 0, move |draft| {
                let Some(marker) = Marker::of(draft.state()) else { return Err(no_standby()) };
                match marker.phase {
                    Phase::Promoted => return Ok(true),
                    Phase::Joining => return Err(no_standby()),
                    Phase::Following => {}
                }
                draft.put(Marker { phase: Phase::Promoted, since_ms: now_ms, ..marker }.change());
                Ok(false)
            })
            .await?;
        Ok(Promotion { status: self.unattended(), before, caught_up: false, missing: None })
    }

    /// Promotes a registry that nothing here keeps like another one.
    pub async fn promote_unattended(&self) -> Result<Promotion> {
        let missing = "the leader was not looked at: this instance does not follow it".to_owned();
        let promotion = self.end_following().await?;
        Ok(Promotion { missing: (!promotion.before).then_some(missing), ..promotion })
    }
}

fn no_standby() -> Error {
    Error::not_permitted(
        "This registry is no standby, so there is nothing to promote. It takes changes already",
    )
}

//! `registry serve --follow`: a registry that is kept like another one until it is promoted.

use std::sync::Arc;

use pipeline::{Error, Result};
use registry::service::Registry;
use registry::standby::{self, Begin, Follower, NotBegun};

use super::topic::Place;
use super::{access, from_backup::FromBackup};
use crate::components::client_settings;
use crate::config::registry::{Follow, RegistryConfig};

/// What `registry serve` does with a standby.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StandbyArgs {
    /// Be a warm standby of the registry at this URL: all that it has is kept in the configured store, with the same ids, and read from
    /// there; nobody can change anything until it is promoted. Several URLs with commas between them are instances of one;
    /// kafka://BROKER:9092/_schemas follows a registry's topic. Credentials and TLS are in the file, under `follow`.
    #[arg(long, value_name = "URL")]
    pub(super) follow: Option<String>,
    /// End following for good: the store becomes a registry of its own, with the same ids. With --follow the leader is looked at once
    /// more before, if it answers. A store that was promoted already is served as it is.
    #[arg(long, conflicts_with = "served_backup")]
    promote: bool,
    /// With --follow: follow although the store was promoted, or has less than the leader. All that it has must be at the leader, too;
    /// what is not is named, and nothing is changed.
    #[arg(long, conflicts_with_all = ["promote", "served_backup"])]
    rejoin: bool,
}

/// What was asked for.
#[derive(Debug)]
pub(super) struct Standby {
    follow: Option<Follow>,
    promote: bool,
    rejoin: bool,
}

/// Who follows, and the topic that is followed, where it is one.
pub(super) struct Kept {
    pub(super) follower: Arc<Follower>,
    _place: Place,
}

impl Standby {
    /// What flags and file say; a backup follows nobody.
    pub(super) fn of(
        args: &StandbyArgs,
        config: &RegistryConfig,
        backup: &FromBackup,
        file: Option<&str>,
    ) -> Result<Self> {
        if let (Some((_, at)), true) = (&config.follow, backup.is_given()) {
            let place = match (at.outside, file) {
                (None, Some(file)) => format!("{file}:{at}"),
                _ => at.to_string(),
            };
            return Err(Error::input(format!(
                "{place}: a registry is to be followed, and a backup is to be served: what is served from a backup does not change"
            ))
            .hint("leave out one of them"));
        }
        if args.rejoin && config.follow.is_none() {
            return Err(Error::input("--rejoin is given, and nobody is to be followed")
                .hint("add --follow URL, or follow.url to the file"));
        }
        let follow = config.follow.as_ref().map(|(follow, _)| follow.clone());
        Ok(Self { follow, promote: args.promote, rejoin: args.rejoin })
    }

    /// What a file says, where no flags do.
    pub(super) fn as_configured(config: &RegistryConfig) -> Self {
        let follow = config.follow.as_ref().map(|(follow, _)| follow.clone());
        Self { follow, promote: false, rejoin: false }
    }

    /// Begins to follow, goes on, or ends it.
    ///
    /// # Errors
    /// [`pipeline::ErrorKind::Retry`] where it may be possible in a while.
    pub(super) async fn begin(&self, registry: &Arc<Registry>) -> Result<Option<Kept>> {
        let (follow, place) = match &self.follow {
            None => (None, None),
            Some(follow) => {
                let place = Place::in_time(follow.access.url.expose()).await?;
                let client = access::client(client_settings(&follow.access, &place.url)?)?;
                let settings = standby::Settings {
                    leader: place.name(client.places()),
                    interval: follow.interval,
                    mass_deletion: follow.mass_deletion,
                    catch_up: follow.catch_up,
                };
                (Some((client, settings)), Some(place))
            }
        };
        let asked = Begin { follow, promote: self.promote, rejoin: self.rejoin };
        let begun = standby::begin(registry, &asked).await.map_err(|error| match error {
            NotBegun::Refused(why, next) => Error::input(why).hint(next),
            NotBegun::Later(why) => Error::retry(why),
        })?;
        Ok(begun.zip(place).map(|(follower, place)| Kept { follower, _place: place }))
    }
}

//! How a command reaches the registries that it is given: flags, environment, and properties by Confluent's names.
//!
//! Of what is said several times, flags win over properties on the command line, these over variables, and these over a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pipeline::seam::Seam;
use pipeline::{Error, ErrorKind, Result};
use registry::client::{Client, ClientSettings, from_properties};
use registry::names::Context;
use registry::transfer::{self, Kind, Modes, Progress, Side};
use tokio_util::sync::CancellationToken;

use crate::progress::{self, Bar};

/// What help says of all commands that ask registries.
pub(super) const HELP: &str = "A registry is a URL, or several instances of one with commas between them. Credentials and TLS are \
properties by Confluent's names, in a file (--from-properties), one by one (--from-property basic.auth.user.info=USER:PASSWORD) or \
as variables (FROM_BASIC_AUTH_USER_INFO, FROM_BEARER_AUTH_TOKEN, FROM_SSL_CA_LOCATION, ...); the same with --to and TO_ for the second \
registry. What a command line says others on the machine can see: passwords belong into a file or a variable.";

macro_rules! flags {
    ($name:ident, $side:literal, $env:literal) => {
        /// How to reach one registry.
        #[derive(Debug, Clone, Default, clap::Args)]
        pub(super) struct $name {
            #[arg(id = concat!($side, "_properties"), long = concat!($side, "-properties"), value_name = "FILE", help = concat!(
                "File of properties by Confluent's names, for `", $side, "`"
            ))]
            properties: Option<PathBuf>,
            #[arg(id = concat!($side, "_property"), long = concat!($side, "-property"), value_name = "NAME=VALUE", help = concat!(
                "One such property; may be given several times"
            ))]
            property: Vec<String>,
            #[arg(id = concat!($side, "_user_info"), long = concat!($side, "-user-info"), value_name = "USER:PASSWORD", help = concat!(
                "Short for basic.auth.user.info"
            ))]
            user_info: Option<String>,
            #[arg(id = concat!($side, "_insecure"), long = concat!($side, "-insecure"), help = concat!(
                "Believe any certificate. Passwords and schemas are open to whoever stands between"
            ))]
            insecure: bool,
        }

        impl $name {
            /// The settings for a URL.
            pub(super) fn settings(&self, url: &str, speed: &Speed) -> Result<ClientSettings> {
                let Self { properties, property, user_info, insecure } = self;
                settings($env, url, properties.as_deref(), property, user_info.as_deref(), *insecure, speed)
            }
        }
    };
}

flags!(FromFlags, "from", "FROM_");
flags!(ToFlags, "to", "TO_");

/// How hard registries are asked.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Speed {
    /// Requests a second that each registry gets at most; 0 is as many as it answers.
    #[arg(long, default_value_t = 0)]
    requests_per_second: u32,
    /// Requests that each registry gets at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    requests_at_once: u16,
}

fn settings(
    env: &str,
    url: &str,
    file: Option<&Path>,
    pairs: &[String],
    user_info: Option<&str>,
    insecure: bool,
    speed: &Speed,
) -> Result<ClientSettings> {
    let mut properties = BTreeMap::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::input(format!("the properties in {} cannot be read", path.display())).caused_by(error)
        })?;
        properties.extend(lines(&text));
    }
    // Names of variables are those of properties in capitals, with _ for a dot.
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?.strip_prefix(env)?.to_ascii_lowercase().replace('_', ".");
        let ours = ["schema.registry.", "basic.auth.", "bearer.auth.", "ssl.", "enable.ssl."];
        ours.iter().any(|begin| name.starts_with(begin)).then_some((name, value.into_string().ok()?))
    });
    properties.extend(variables);
    for pair in pairs {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Error::input("a property on the command line has no =").hint("write it as NAME=VALUE")
        })?;
        properties.insert(name.trim().to_owned(), value.to_owned());
    }
    if let Some(user_info) = user_info {
        properties.insert("basic.auth.user.info".to_owned(), user_info.to_owned());
    }
    if insecure {
        properties.insert("enable.ssl.certificate.verification".to_owned(), "false".to_owned());
    }
    if speed.requests_per_second > 0 {
        properties.insert("requests.per.second".to_owned(), speed.requests_per_second.to_string());
    }
    properties.insert("schema.registry.url".to_owned(), url.to_owned());
    let mut settings =
        from_properties(&properties, |path| std::fs::read(path)).map_err(|e| Error::input(e.to_string()))?;
    settings.limits.in_flight = speed.requests_at_once.into();
    Ok(settings)
}

/// The pairs of a file of properties: comments with # or !, NAME=VALUE or NAME:VALUE.
fn lines(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let meant = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    meant.filter_map(|line| {
        let at = line.find(['=', ':'])?;
        Some((line[..at].trim().to_owned(), line[at + 1..].trim().to_owned()))
    })
}

/// A client with the machine's randomness.
pub(super) fn client(settings: ClientSettings) -> Result<Arc<Client>> {
    let rand = Seam::system().rand;
    let client = Client::new(settings, Arc::new(move || rand.next_u64()));
    client.map(Arc::new).map_err(|error| failed(error.into()))
}

/// Contexts by their names.
pub(super) fn contexts(names: &[String]) -> Result<Vec<Context>> {
    let named = names.iter().map(|name| {
        Context::named(name.trim_matches(':')).ok_or_else(|| {
            Error::input(format!("context {name:?} has a colon or a control character in it"))
                .hint("write it like .payments; . is the default one")
        })
    });
    named.collect()
}

/// Whether what was given is a registry, and no file.
pub(super) fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Reads a registry or a file.
pub(super) async fn side(
    text: &str,
    settings: impl FnOnce() -> Result<ClientSettings>,
    contexts: &[Context],
    progress: &Progress,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Side> {
    if !is_url(text) {
        return Side::file(Path::new(text), stop).map_err(failed);
    }
    let client = client(settings()?)?;
    Side::live(client, contexts, progress, stop).await.map_err(failed)
}

/// The modes of a registry that are borrowed, with what an earlier run has left to be put back.
pub(super) fn modes(journal: PathBuf, client: &Client) -> Result<Modes> {
    let modes = Modes::open(journal, client).map_err(failed)?;
    if modes.is_left_over() {
        let journal = modes.path().display();
        tracing::info!(%journal, "an earlier run was cut short; its modes are put back at the end of this one");
    }
    Ok(modes)
}

/// Puts back what is borrowed, by this run or an earlier one, whatever became of this one. Only a plan leaves it as it is.
pub(super) async fn put_back<T>(
    ended: Result<T>,
    is_plan: bool,
    modes: &mut Modes,
    client: &Client,
) -> Result<T> {
    let put_back = match is_plan {
        true => Ok(()),
        false => modes.put_back(client).await.map_err(failed),
    };
    let ended = ended?;
    put_back.map(|()| ended)
}

/// The error of a command from that of the library.
pub(super) fn failed(error: transfer::Error) -> Error {
    let kind = match error.kind() {
        Kind::Input => ErrorKind::Input,
        Kind::Credentials => ErrorKind::Credentials,
        Kind::Failed => ErrorKind::Permanent,
        Kind::Damaged => ErrorKind::Damaged,
        Kind::Interrupted => ErrorKind::Interrupted,
    };
    let made = Error::new(kind, error.to_string());
    match error.next_step() {
        Some(next) => made.hint(next),
        None => made,
    }
}

/// Whether a signal asked for an end.
pub(super) fn stopped(stop: &CancellationToken) -> impl Fn() -> bool + Sync + use<> {
    let stop = stop.clone();
    move || stop.is_cancelled()
}

/// A bar for what is read and written.
pub(super) fn bar(counters: &Arc<Progress>) -> Bar {
    let counters = Arc::clone(counters);
    progress::follow("{spinner} {elapsed_precise} {msg}", move |bar| {
        let [read, written, wanted] =
            [&counters.read, &counters.written, &counters.wanted].map(|count| count.load(Relaxed));
        bar.set_message(match wanted {
            0 if written == 0 => format!("{read} versions read"),
            0 => format!("{read} versions read, {written} looked at"),
            wanted => format!("{read} versions read, {written} of {wanted} written"),
        });
    })
}

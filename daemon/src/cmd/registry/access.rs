//! How a command reaches the registries that it is given: flags, environment, and properties by Confluent's names.
//!
//! Of what is said several times, flags win over properties on the command line, these over variables, and these over a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pipeline::seam::Seam;
use pipeline::{Error, ErrorKind, Result};
use registry::client::{Client, ClientSettings, from_properties};
use registry::names::{Context, Subject};
use registry::transfer::{self, Index, Kind, Modes, Progress, Side};
use tokio_util::sync::CancellationToken;

use super::topic::Place;
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
        lines(&text).for_each(|(name, value)| say(&mut properties, &name, value));
    }
    // Names of variables are those of properties in capitals, with _ for a dot.
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?.strip_prefix(env)?.to_ascii_lowercase().replace('_', ".");
        let ours = ["schema.registry.", "basic.auth.", "bearer.auth.", "ssl.", "enable.ssl."];
        ours.iter().any(|begin| name.starts_with(begin)).then_some((name, value.into_string().ok()?))
    });
    variables.for_each(|(name, value)| say(&mut properties, &name, value));
    for pair in pairs {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Error::input("a property on the command line has no =").hint("write it as NAME=VALUE")
        })?;
        say(&mut properties, name.trim(), value.to_owned());
    }
    if let Some(user_info) = user_info {
        say(&mut properties, "basic.auth.credentials.source", "USER_INFO".to_owned());
        say(&mut properties, "basic.auth.user.info", user_info.to_owned());
    }
    if insecure {
        say(&mut properties, "enable.ssl.certificate.verification", "false".to_owned());
    }
    if speed.requests_per_second > 0 {
        say(&mut properties, "requests.per.second", speed.requests_per_second.to_string());
    }
    say(&mut properties, "schema.registry.url", url.to_owned());
    let mut settings =
        from_properties(&properties, |path| std::fs::read(path)).map_err(|e| Error::input(e.to_string()))?;
    settings.limits.in_flight = speed.requests_at_once.into();
    Ok(settings)
}

/// Notes a property in place of what was said of it before, with Java's prefix or without.
fn say(properties: &mut BTreeMap<String, String>, name: &str, value: String) {
    let prefix = "schema.registry.";
    let plain = name.strip_prefix(prefix).unwrap_or(name);
    properties.remove(plain);
    properties.remove(&format!("{prefix}{plain}"));
    properties.insert(name.to_owned(), value);
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
pub(crate) fn client(settings: ClientSettings) -> Result<Arc<Client>> {
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

/// Reads a registry, a topic or a file. No contexts stand for all.
pub(super) async fn side(
    place: &Place,
    settings: impl FnOnce(&str) -> Result<ClientSettings>,
    contexts: &[Context],
    progress: &Progress,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Side> {
    if !is_url(&place.url) {
        let mut side = Side::file(Path::new(&place.url), stop).map_err(failed)?;
        narrow(&mut side.index, contexts);
        return Ok(side);
    }
    let client = client(settings(&place.url)?)?;
    Side::live(client, contexts, progress, stop).await.map_err(failed)
}

/// Leaves what belongs to some contexts, as a registry is read of which only these are asked for.
fn narrow(index: &mut Index, contexts: &[Context]) {
    if contexts.is_empty() {
        return;
    }
    let is_wanted = |place: &str| contexts.contains(&Subject::parse(place).context);
    index.contexts.retain(|name| contexts.iter().any(|context| context.as_str() == name));
    index.configs.retain(|place, _| is_wanted(place));
    index.modes.retain(|place, _| is_wanted(place));
    index.versions.retain(|key, _| is_wanted(&key.subject));
}

/// Refuses a context that is not there: nothing would look like all of it. The one with the defaults of all contexts is in no list.
pub(super) fn are_there(contexts: &[Context], there: &BTreeSet<String>, place: &str) -> Result<()> {
    match contexts.iter().find(|context| !context.is_global() && !there.contains(context.as_str())) {
        None => Ok(()),
        Some(context) => Err(Error::input(format!("there is no context {context} in {place}"))
            .hint("GET /contexts of a registry names those that are there")),
    }
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
pub(crate) fn failed(error: transfer::Error) -> Error {
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
pub(crate) fn stopped(stop: &CancellationToken) -> impl Fn() -> bool + Sync + use<> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use registry::client::{Auth, Schema};
    use registry::transfer::{ArchiveWriter, FORMAT, Head, Item};

    #[tokio::test]
    async fn of_a_file_only_the_contexts_count_that_are_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("all.jsonl");
        let (program, source) = ("test".to_owned(), "here".to_owned());
        let head = Head { format: FORMAT, program, source, time_ms: 0, contexts: Vec::new() };
        let out = std::fs::File::create(&file).expect("a file");
        let mut writer = ArchiveWriter::new(out, "all".to_owned(), head).expect("a writer");
        for (context, root, subject) in [(".", "", "a"), (".pay", ":.pay:", ":.pay:a")] {
            let (subject, schema) = (subject.to_owned(), "\"int\"".to_owned());
            for item in [
                Item::Context(context.to_owned()),
                Item::Config(root.to_owned(), registry::client::Settings::new()),
                Item::Mode(subject.clone(), registry::settings::Mode::Readonly),
                Item::Version(Schema { subject, version: 1, schema, ..Schema::default() }),
            ] {
                writer.add(item).expect("written");
            }
        }
        writer.finish().expect("finished");
        let place = Place::of(file.to_str().expect("UTF-8")).await.expect("a place");
        let found = async |names: &[&str]| {
            let contexts = contexts(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            let contexts = contexts.expect("names");
            let progress = Progress::default();
            let read = side(&place, |_| unreachable!(), &contexts, &progress, &|| false).await;
            let Index { contexts: there, configs, modes, versions, .. } = read.expect("read").index;
            let counts = [there.len(), configs.len(), modes.len(), versions.len()];
            (counts, are_there(&contexts, &there, "the file").map_err(|error| error.to_string()))
        };
        assert_eq!(found(&[]).await, ([2; 4], Ok(())));
        assert_eq!(found(&["."]).await, ([1; 4], Ok(())));
        assert_eq!(found(&[".pay", ".__GLOBAL"]).await, ([1; 4], Ok(())));
        let refused = Err("there is no context .nope in the file".to_owned());
        assert_eq!(found(&[".pay", ".nope"]).await, ([1; 4], refused));
    }

    #[test]
    fn what_is_said_later_counts_by_whichever_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("client.properties");
        let text = "schema.registry.basic.auth.user.info=file:f\nschema.registry.max.retries=1\nschema.registry.url=http://file\n\
                    schema.registry.enable.ssl.certificate.verification=true\nbasic.auth.credentials.source=URL\n\
                    schema.registry.requests.per.second=1\nretries.wait.ms=1\n";
        std::fs::write(&file, text).expect("a file");
        let pairs = ["max.retries=2".to_owned(), "schema.registry.retries.wait.ms=2".to_owned()];
        let speed = Speed { requests_per_second: 2, requests_at_once: 8 };
        let read = settings("NO_SUCH_", "http://flag", Some(&file), &pairs, Some("flag:f"), true, &speed);
        let read = read.expect("read");
        assert!(matches!(&read.auth, Auth::Basic { user, .. } if user == "flag"), "{:?}", read.auth);
        assert_eq!((read.limits.retries, read.limits.per_second), (2, 2));
        assert_eq!(read.limits.pause.as_millis(), 2);
        assert_eq!(read.urls, ["http://flag"]);
        assert_eq!(read.tls.trust, registry::client::Trust::Anybody);
    }
}

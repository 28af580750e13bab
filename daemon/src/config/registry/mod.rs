//! The configuration of `replevin registry serve`: a file, the environment and flags, in either of two dialects.
//!
//! ```text
//! file -> yaml -> expand (${VAR}) -> + variables, + flags -> check (against the tables of keys) -> RegistryConfig
//! ```
//!
//! The dialects are that of the AxonOps registry's own files (`default_level`, whole seconds, variables that begin with
//! `SCHEMA_REGISTRY_`) and that of its operations guide (`level`, `30s`, `POSTGRES_HOST`). They are not told apart: every name of
//! either is known everywhere. Nothing at all is a configuration too.

mod environment;
mod follow;
mod store_settings;
mod stores;
pub(super) mod tables;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use registry::identity::Identity;
use registry::settings::Level;

use super::ConfigError;
use super::check::{Checker, Section};
use super::error::{At, Notice, Problems};
use super::expand::{self, Surroundings, Unset};
use super::kind::{self, FileKind};
use super::yaml::{self, Data, Node};
use store_settings::duration;

pub(crate) use environment::Outside;
pub(crate) use follow::Follow;
pub(crate) use store_settings::StoreSettings;

/// Everything that `replevin registry serve` is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RegistryConfig {
    pub(crate) server: Server,
    pub(crate) store: StoreSettings,
    /// Where the store is named, if it is not the default one.
    pub(crate) store_named: Option<At>,
    /// Whom this registry is a standby of, and where that is said.
    pub(crate) follow: Option<(Follow, At)>,
    pub(crate) default_level: Level,
    /// The error code of an incompatible schema.
    pub(crate) incompatible_code: u32,
    pub(crate) schemas: Schemas,
    /// Empty where none is set.
    pub(crate) cluster_id: String,
    /// Whether there are pages about the API.
    pub(crate) docs_enabled: bool,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) logging: Logging,
    /// What the operator should know, to be logged once.
    pub(crate) notices: Vec<Notice>,
}

/// How clients are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) read_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) max_header_bytes: usize,
    pub(crate) max_request_body_size: usize,
    pub(crate) max_body_memory: usize,
    pub(crate) max_connections: usize,
}

impl Server {
    /// Where this machine reaches it; nothing where its port is any that is free.
    pub(super) fn own_url(&self) -> Option<String> {
        let host = match self.host.as_str() {
            "0.0.0.0" | "" => "127.0.0.1",
            "::" | "[::]" => "[::1]",
            host => host,
        };
        (self.port != 0).then(|| format!("http://{host}:{}", self.port))
    }
}

/// What is taken, and what of it is kept in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schemas {
    pub(crate) max_size: usize,
    pub(crate) max_references: usize,
    pub(crate) reject_empty_subject: bool,
    pub(crate) identity: Identity,
    pub(crate) mode_mutability: bool,
    pub(crate) text_cache_size: u64,
    pub(crate) answer_cache_size: u64,
    pub(crate) parsed_cache_size: u64,
}

/// Where metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metrics {
    pub(crate) path: String,
    /// A port of their own, beside the registry's.
    pub(crate) port: Option<u16>,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logging {
    pub(crate) level: String,
    pub(crate) is_json: bool,
    /// The level at which each request is logged.
    pub(crate) requests: Option<tracing::Level>,
}

/// Reads the configuration: from a file, if there is one, the environment and flags. `is_lenient`: keys that nobody knows are notices.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong. Exit code 2.
pub(crate) fn load(
    path: Option<&Path>,
    flags: &[Outside],
    is_lenient: bool,
) -> Result<RegistryConfig, ConfigError> {
    let (file, text) = match path {
        Some(path) => super::read(path, "give a YAML file, see configs/registry.yaml, or none at all")?,
        None => (String::new(), String::new()),
    };
    parse(&file, &text, flags, &expand::Process, is_lenient)
}

/// Reads the text of a registry's file, called `file` in errors, and what the surroundings say.
pub(super) fn parse(
    file: &str,
    text: &str,
    flags: &[Outside],
    surroundings: &dyn Surroundings,
    is_lenient: bool,
) -> Result<RegistryConfig, ConfigError> {
    let mut problems = Problems::default();
    let mut notices = Vec::new();
    let built = (|| {
        let mut tree = tree(super::without_mark(text), &mut problems)?;
        if kind::of(&tree) == FileKind::Job && names_a_job(&tree) {
            let message = "this is a job file and not a registry's";
            problems.add(tree.at, message, "give it to `replevin backup` or `replevin restore`");
            return None;
        }
        unset_blanks(&mut tree);
        expand::expand(&mut tree, surroundings, Unset::Kept(&mut notices), &mut problems);
        let said = environment::variables(surroundings, &mut problems, &mut notices);
        said.iter().chain(flags).for_each(|outside| environment::put(&mut tree, outside));
        let mut checker = Checker {
            problems: &mut problems,
            notices: &mut notices,
            all: &tables::TABLES,
            file: "a registry's file",
            is_lenient,
        };
        let root = checker.section(&tables::ROOT, &tree, "")?;
        if !problems.is_empty() {
            return None;
        }
        build(&root, &mut problems, &mut notices)
    })();
    match built {
        Some(built) if problems.is_empty() => Ok(RegistryConfig { notices, ..built }),
        _ => {
            if problems.is_empty() {
                let message = "it passes every check but makes no configuration";
                problems.add(At::START, message, "report this with the file and the environment");
            }
            Err(problems.into_error(file))
        }
    }
}

/// The tree of a text; an empty one where the text says nothing.
fn tree(text: &str, problems: &mut Problems) -> Option<Node> {
    let says_nothing = text.lines().map(str::trim_start).all(|line| line.is_empty() || line.starts_with('#'));
    if says_nothing {
        return Some(Node { at: At::START, tag: None, data: Data::Map(Vec::new()) });
    }
    yaml::parse(text, problems)
}

/// An empty text is as good as none, as it is in a variable: files of AxonOps' registry are full of them.
fn unset_blanks(node: &mut Node) {
    match &mut node.data {
        Data::Scalar(scalar) => scalar.plain |= scalar.text.is_empty(),
        Data::List(items) => items.iter_mut().for_each(unset_blanks),
        Data::Map(entries) => entries.iter_mut().for_each(|entry| unset_blanks(&mut entry.value)),
    }
}

/// Whether it has what every job must have; other files with nothing of a registry are checked key by key.
fn names_a_job(tree: &Node) -> bool {
    let Data::Map(entries) = &tree.data else { return false };
    entries.iter().any(|entry| matches!(entry.key.as_str(), "mode" | "backup_id" | "source" | "target"))
}

/// Builds the configuration from a file, or a section of one, whose every key has been checked.
pub(super) fn build(
    root: &Section,
    problems: &mut Problems,
    notices: &mut Vec<Notice>,
) -> Option<RegistryConfig> {
    let server = server(root.section("server")?, problems)?;
    let store = store_settings::build(root.section("storage")?, server.port, problems, notices)?;
    let schemas = schemas(root.section("schemas")?)?;
    if schemas.identity == Identity::Axonops && matches!(store, StoreSettings::Kafka(_)) {
        let message = "schemas.identity axonops needs several texts for an id, which records of Confluent's registry cannot hold";
        problems.add(
            root.section("schemas")?.at("identity"),
            message,
            "write confluent, or another storage.type",
        );
    }
    let section = root.section("follow")?;
    let follow = Follow::build(section, problems, notices)?.map(|follow| (follow, section.at("url")));
    if schemas.identity == Identity::Axonops
        && let Some((_, at)) = &follow
    {
        let message = "schemas.identity axonops gives several texts one id, and a standby gives every id the text that its leader answers";
        problems.add(
            *at,
            message,
            "write confluent, or bring the registry over with `replevin registry takeover`",
        );
    }
    let compatibility = root.section("compatibility")?;
    let metrics = root.section("metrics")?;
    let metrics = match metrics.bool("enabled")? {
        true => Some(self::metrics(metrics, &server, problems)?),
        false => None,
    };
    let logging = root.section("logging")?;
    Some(RegistryConfig {
        store,
        store_named: store_settings::named(root.section("storage")?),
        follow,
        default_level: Level::from_str(compatibility.text("level")?).ok()?,
        incompatible_code: compatibility.text("error_code")?.parse().ok()?,
        schemas,
        cluster_id: root.section("server")?.text("cluster_id").unwrap_or_default().to_owned(),
        docs_enabled: root.section("server")?.bool("docs_enabled")?,
        metrics,
        logging: Logging {
            level: logging.text("level")?.to_owned(),
            is_json: logging.text("format")? == "json",
            requests: logging.text("requests")?.parse().ok(),
        },
        server,
        notices: Vec::new(),
    })
}

fn schemas(section: &Section) -> Option<Schemas> {
    Some(Schemas {
        max_size: size(section, "max_size")?,
        max_references: size(section, "max_references")?,
        reject_empty_subject: section.bool("reject_empty_subject")?,
        identity: match section.text("identity")? {
            "axonops" => Identity::Axonops,
            _ => Identity::Confluent,
        },
        mode_mutability: section.bool("mode_mutability")?,
        text_cache_size: section.unsigned("text_cache_size")?,
        answer_cache_size: section.unsigned("answer_cache_size")?,
        parsed_cache_size: section.unsigned("parsed_cache_size")?,
    })
}

fn size(section: &Section, key: &str) -> Option<usize> {
    section.unsigned(key).and_then(|number| usize::try_from(number).ok())
}

fn server(section: &Section, problems: &mut Problems) -> Option<Server> {
    let size = |key: &str| size(section, key);
    let server = Server {
        host: section.text("host")?.to_owned(),
        port: port(section)?,
        read_timeout: duration(section, "read_timeout")?,
        write_timeout: duration(section, "write_timeout")?,
        idle_timeout: duration(section, "idle_timeout")?,
        shutdown_timeout: duration(section, "shutdown_timeout")?,
        max_header_bytes: size("max_header_bytes")?,
        max_request_body_size: size("max_request_body_size")?,
        max_body_memory: size("max_body_memory")?,
        max_connections: size("max_connections")?,
    };
    if server.max_body_memory < server.max_request_body_size {
        if section.is_written("max_body_memory") {
            let message = "server.max_body_memory has no room for one body of max_request_body_size";
            problems.add(section.at("max_body_memory"), message, "write at least as much as that");
        }
        return Some(Server { max_body_memory: server.max_request_body_size, ..server });
    }
    Some(server)
}

fn port(section: &Section) -> Option<u16> {
    section.int("port").and_then(|port| u16::try_from(port).ok())
}

fn metrics(section: &Section, server: &Server, problems: &mut Problems) -> Option<Metrics> {
    let path = section.text("path")?.to_owned();
    let taken = registry::api::Endpoint::ALL.iter().any(|endpoint| endpoint.path() == path);
    let plain = path.starts_with('/') && !path.contains(['?', '#', '%', ' ']) && !path.contains("//");
    if !plain || taken {
        let message = format!("metrics.path: {path:?} is no path that is free");
        problems.add(section.at("path"), message, "write a path of your own, such as /metrics");
    }
    // The registry's own port has them anyway.
    let port = port(section).filter(|port| *port != server.port || *port == 0);
    Some(Metrics { path, port })
}

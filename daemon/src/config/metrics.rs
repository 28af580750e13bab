//! `metrics`: where a daemon tells its numbers and its state over HTTP.

use std::time::Duration;

use super::check::Section;
use super::error::Problems;
use super::keys::{Key, Kind, Table, no_effect, oso, ours};
use crate::metrics::Most;

/// The section.
pub(crate) static METRICS: Table = Table {
    path: "metrics",
    about: "Where a daemon (`replevin run`) answers who asks for its numbers (`path`), whether it lives (`/livez`) and \
            takes what comes (`/readyz`), what all of its jobs do (`/status`) and what it is (`/version`). Jobs of one process may name one address. \
            A job with an end (`backup --once`, `restore`, `migrate`) answers for its numbers where its file has this section.",
    keys: &[
        oso("enabled", Kind::Bool, "whether it does").default("true"),
        oso("bind_address", Kind::Text, "address or name to listen on").default("0.0.0.0"),
        oso(
            "port",
            Kind::Int { min: 0, max: u16::MAX as i64 },
            "port to listen on; 0: any that is free, which is logged",
        )
        .default("8080"),
        oso("path", Kind::Text, "where the numbers are").default("/metrics"),
        ours(
            "max_topic_labels",
            COUNT,
            "topics of a job that have numbers of their own: those that are farthest behind; sums are of all",
        )
        .default("1000"),
        oso("max_partition_labels", COUNT, "the same of partitions").default("0"),
        ours("push_url", Kind::Text, "URL of a Prometheus Pushgateway that a job with an end pushes its numbers to while it runs and when it is over").example("http://pushgateway:9091"),
        ours("push_job", Kind::Text, "label `job` there; `command` and `backup_id` or `migration_id` are labels of the group too").default("replevin"),
        ours("push_interval", Kind::Duration { plain: None, min: 1_000 }, "how often it does while it runs").default("15s"),
        no_effect("keep_alive_seconds", AGE, "what became of a run with an end is in its report, and pushed where push_url says to"),
        no_effect("update_interval_ms", AGE, "numbers are looked at when they are asked for"),
    ],
};

const COUNT: Kind = Kind::Int { min: 0, max: 100_000 };
const AGE: Kind = Kind::Int { min: 0, max: i64::MAX };

/// The key at the top of a job's file.
pub(crate) const METRICS_KEY: Key = oso(
    "metrics",
    Kind::Section(&METRICS),
    "where a daemon tells its numbers and its state, and a job with an end its numbers where this is there",
);

/// Paths that a daemon answers besides.
const PATHS: [&str; 4] = ["/livez", "/readyz", "/status", "/version"];

/// An address to be asked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Metrics {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) most: Most,
    pub(crate) push: Option<Push>,
    /// Whether the file says anything of it: what it does not ask for may fail.
    pub(crate) is_asked_for: bool,
}

/// Where a job with an end pushes its numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Push {
    /// Of the Pushgateway. It may hold a password.
    pub(crate) url: String,
    pub(crate) job: String,
    pub(crate) interval: Duration,
}

impl Push {
    fn build(section: &Section, problems: &mut Problems) -> Option<Self> {
        let (url, job) = (section.text("push_url")?, section.text("push_job")?);
        if !["http://", "https://"]
            .iter()
            .any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
        {
            let message = "metrics.push_url is no URL of a Pushgateway";
            problems.add(section.at("push_url"), message, "write it as http://pushgateway:9091");
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if job.is_empty() || !job.chars().all(is_plain) {
            let message = format!("metrics.push_job: {job:?} is no name of a job");
            problems.add(section.at("push_job"), message, "use a-z, A-Z, 0-9, '.', '_' and '-'");
        }
        let interval = Duration::from_millis(section.unsigned("push_interval")?);
        Some(Self { url: url.to_owned(), job: job.to_owned(), interval })
    }
}

impl Metrics {
    /// Builds it from its checked section; nothing where it is switched off.
    pub(super) fn build(section: &Section, problems: &mut Problems) -> Option<Self> {
        if !section.bool("enabled")? {
            return None;
        }
        let path = section.text("path")?.to_owned();
        let is_plain = path.starts_with('/')
            && path.len() > 1
            && !path.contains(['?', '#', '%', ' '])
            && !path.contains("//");
        if !is_plain || PATHS.contains(&path.as_str()) {
            let message = format!("metrics.path: {path:?} is no path that is free");
            problems.add(section.at("path"), message, "write a path of your own, such as /metrics");
        }
        let push = Push::build(section, problems);
        Some(Self {
            push,
            host: section.text("bind_address")?.to_owned(),
            port: u16::try_from(section.int("port")?).ok()?,
            path,
            most: Most {
                topics: usize::try_from(section.int("max_topic_labels")?).ok()?,
                partitions: usize::try_from(section.int("max_partition_labels")?).ok()?,
            },
            is_asked_for: section.says_something(),
        })
    }
}

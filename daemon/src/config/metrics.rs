//! `metrics`: where a daemon tells its numbers and its state over HTTP.

use super::check::Section;
use super::error::Problems;
use super::keys::{Key, Kind, Table, no_effect, oso, ours};
use crate::metrics::Most;

/// The section.
pub(crate) static METRICS: Table = Table {
    path: "metrics",
    about: "Where a daemon (`replevin run`) answers who asks for its numbers (`path`), whether it lives (`/livez`) and \
            takes what comes (`/readyz`), what all of its jobs do (`/status`) and what it is (`/version`). Jobs of one process may name one address.",
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
        no_effect("keep_alive_seconds", AGE, "what became of a run with an end is in its report"),
        no_effect("update_interval_ms", AGE, "numbers are looked at when they are asked for"),
    ],
};

const COUNT: Kind = Kind::Int { min: 0, max: 100_000 };
const AGE: Kind = Kind::Int { min: 0, max: i64::MAX };

/// The key at the top of a job's file.
pub(crate) const METRICS_KEY: Key = oso(
    "metrics",
    Kind::Section(&METRICS),
    "for `replevin run`: where it tells its numbers and its state; other commands do not",
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
    /// Whether the file says anything of it: what it does not ask for may fail.
    pub(crate) is_asked_for: bool,
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
        Some(Self {
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

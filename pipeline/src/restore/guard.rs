//! Topics under guard: what configs a topic has while it is filled, and what it gets at the end.
//!
//! Without a guard a target would delete or compact what is being restored before the restore has ended, recompress or
//! restamp it, or refuse it for its age. Values only; [`super::topics`] talks to the cluster.

use std::collections::BTreeMap;

use super::settings::Retention;

/// What a batch of an ordinary topic may have: Kafka's default of `max.message.bytes`.
const DEFAULT_MAX_MESSAGE: u64 = 1_048_588;
/// Room for what rebuilding may add to the largest batch.
const HEADROOM: u64 = 64 << 10;
/// Configs that name replicas or exist only in some versions, and are not carried over.
const NOT_CARRIED: [&str; 4] = [
    "leader.replication.throttled.replicas",
    "follower.replication.throttled.replicas",
    "message.format.version",
    "message.timestamp.difference.max.ms",
];
/// What retention consists of.
pub(crate) const RETENTION: [&str; 2] = ["retention.ms", "retention.bytes"];

/// The configs of a topic's brokers that matter here.
#[derive(Debug, Clone, Default)]
pub(crate) struct BrokerConfigs(pub(super) BTreeMap<String, Option<String>>);

impl BrokerConfigs {
    fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_ref()?.parse().ok()
    }

    /// What a topic without a `retention.ms` of its own gets.
    pub(crate) fn retention_ms(&self) -> Option<i64> {
        let minutes = || Some(self.number("log.retention.minutes")?.saturating_mul(60_000));
        let hours = || Some(self.number("log.retention.hours")?.saturating_mul(3_600_000));
        self.number("log.retention.ms").or_else(minutes).or_else(hours)
    }
}

/// The configs of the archive that a topic is to have, without those that are not carried over; names dropped.
pub(crate) fn carried(
    archive: &BTreeMap<String, String>,
    overrides: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, Vec<String>) {
    let mut dropped = Vec::new();
    let mut configs = BTreeMap::new();
    for (name, value) in archive {
        if NOT_CARRIED.contains(&name.as_str()) && !overrides.contains_key(name) {
            dropped.push(name.clone());
        } else {
            configs.insert(name.clone(), value.clone());
        }
    }
    configs.extend(overrides.iter().map(|(name, value)| (name.clone(), value.clone())));
    (configs, dropped)
}

/// What a topic has while it is filled. `own` are its configs afterwards, `largest` is its largest batch, `max_message` what
/// it would take by itself.
pub(crate) fn guard(
    brokers: &BrokerConfigs,
    own: &BTreeMap<String, String>,
    largest: u64,
    max_message: Option<u64>,
) -> BTreeMap<String, String> {
    let max_message =
        max_message.unwrap_or(DEFAULT_MAX_MESSAGE).max(DEFAULT_MAX_MESSAGE).max(largest + HEADROOM);
    let mut guard = BTreeMap::from([
        ("retention.ms", "-1".to_owned()),
        ("retention.bytes", "-1".to_owned()),
        ("cleanup.policy", "delete".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("message.timestamp.type", "CreateTime".to_owned()),
        ("max.message.bytes", max_message.min(i32::MAX.unsigned_abs().into()).to_string()),
    ]);
    // A batch must fit into one segment of the log.
    if segment_bytes(own, brokers).is_some_and(|bytes| bytes < largest + HEADROOM) {
        guard.insert("segment.bytes", (largest + HEADROOM).min(i32::MAX.unsigned_abs().into()).to_string());
    }
    // From 3.6 on two bounds, one before (KIP-937); 4.0 knows only the two, and bounds the future by an hour by default.
    let bounds = ["message.timestamp.before.max.ms", "message.timestamp.after.max.ms"];
    let old = "message.timestamp.difference.max.ms";
    let new = bounds.iter().all(|name| brokers.knows(&format!("log.{name}")));
    for name in bounds.into_iter().filter(|_| new) {
        guard.insert(name, i64::MAX.to_string());
    }
    if !new && brokers.knows(&format!("log.{old}")) {
        guard.insert(old, i64::MAX.to_string());
    }
    guard.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn segment_bytes(configs: &BTreeMap<String, String>, brokers: &BrokerConfigs) -> Option<u64> {
    let own = configs.get("segment.bytes").and_then(|bytes| bytes.parse().ok());
    own.or_else(|| brokers.number("log.segment.bytes").and_then(|bytes| bytes.try_into().ok()))
}

/// What changes at the end, given the topic's own configs: those of the guard go back, others that differ are set.
pub(crate) fn finals(
    guard: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
    held: bool,
) -> BTreeMap<String, Option<String>> {
    let mut finals: BTreeMap<String, Option<String>> =
        guard.keys().map(|name| (name.clone(), own.get(name).cloned())).collect();
    for (name, value) in own {
        finals.insert(name.clone(), Some(value.clone()));
    }
    if held {
        // What the guard says stays.
        finals.retain(|name, _| !RETENTION.contains(&name.as_str()));
    }
    finals
}

/// Whether retention is held back at the end.
pub(crate) fn holds(setting: Retention, records_at_risk: u64) -> bool {
    match setting {
        Retention::Hold => true,
        Retention::Original => false,
        Retention::Auto => records_at_risk > 0,
    }
}

/// The largest batch that the topic takes while it is filled.
pub(crate) fn max_batch(
    guard: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
    brokers: &BrokerConfigs,
) -> u64 {
    let number = |name: &str| guard.get(name)?.parse::<u64>().ok();
    let message = number("max.message.bytes").unwrap_or(DEFAULT_MAX_MESSAGE);
    let segment = number("segment.bytes").or_else(|| segment_bytes(own, brokers));
    message.min(segment.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_guard_names_only_bounds_that_the_brokers_know() {
        let broker = |names: &[&str]| {
            BrokerConfigs(names.iter().map(|name| ((*name).to_owned(), Some("1".to_owned()))).collect())
        };
        let old = guard(&broker(&["log.message.timestamp.difference.max.ms"]), &map(&[]), 10, None);
        assert!(old.contains_key("message.timestamp.difference.max.ms"));
        let new = ["log.message.timestamp.before.max.ms", "log.message.timestamp.after.max.ms"];
        let new = guard(&broker(&new), &map(&[]), 50 << 20, Some(7));
        assert_eq!(new["message.timestamp.after.max.ms"], i64::MAX.to_string());
        assert!(!new.contains_key("message.timestamp.difference.max.ms"));
        assert_eq!(new["max.message.bytes"], ((50_u64 << 20) + HEADROOM).to_string());
        assert_eq!(
            guard(&broker(&[]), &map(&[]), 10, None)["max.message.bytes"],
            DEFAULT_MAX_MESSAGE.to_string()
        );
    }

    #[test]
    fn at_the_end_the_topic_has_its_own_configs_and_nothing_of_the_guard() {
        let guard = guard(&BrokerConfigs::default(), &map(&[]), 0, None);
        let own = map(&[("cleanup.policy", "compact"), ("retention.ms", "5"), ("segment.ms", "9")]);
        let all = finals(&guard, &own, false);
        assert_eq!(all["cleanup.policy"].as_deref(), Some("compact"));
        assert_eq!(all["retention.ms"].as_deref(), Some("5"));
        assert_eq!(all["retention.bytes"], None);
        assert_eq!(all["segment.ms"].as_deref(), Some("9"));
        let held = finals(&guard, &own, true);
        assert!(!held.contains_key("retention.ms") && held.contains_key("cleanup.policy"));
        assert_eq!(max_batch(&guard, &map(&[("segment.bytes", "1000")]), &BrokerConfigs::default()), 1000);
    }

    #[test]
    fn a_batch_larger_than_a_log_segment_gets_room_until_the_end() {
        let own = map(&[("segment.bytes", "1000000")]);
        let small = guard(&BrokerConfigs::default(), &own, 1000, None);
        assert!(!small.contains_key("segment.bytes"));
        let large = guard(&BrokerConfigs::default(), &own, 2_000_000, None);
        let room = 2_000_000 + HEADROOM;
        assert_eq!(large["segment.bytes"], room.to_string());
        assert_eq!(max_batch(&large, &own, &BrokerConfigs::default()), room);
        assert_eq!(finals(&large, &own, false)["segment.bytes"].as_deref(), Some("1000000"));
    }

    #[test]
    fn what_only_fits_the_source_is_not_carried_over() {
        let archive = map(&[("message.format.version", "2.8"), ("segment.ms", "1")]);
        let (configs, dropped) = carried(&archive, &map(&[("segment.ms", "2")]));
        assert_eq!(
            (configs, dropped),
            (map(&[("segment.ms", "2")]), vec!["message.format.version".to_owned()])
        );
    }
}

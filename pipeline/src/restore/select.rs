//! What the settings select of an archive. Whatever they name and the archive does not have is a problem: a name that is
//! misspelt must not come to mean something else.

use std::collections::{BTreeMap, BTreeSet};

use formats::cluster::ClusterSnapshot;
use formats::ids::{LineageId, Topic, TopicPartition};
use formats::state::PartitionState;

use super::journal::Pin;
use super::settings::RestoreSettings;
use super::topics;
use crate::archive::{Archive, Piece};

/// Which topics and partitions, by target topic.
pub(super) type Wanted = BTreeMap<Topic, (Topic, Vec<Pin>)>;

/// How many names a message lists.
const NAMED: usize = 5;

/// What the settings select, with positions as they are now.
pub(super) fn select(
    settings: &RestoreSettings,
    archive: &Archive,
    snapshot: Option<&ClusterSnapshot>,
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Wanted {
    let state = archive.state();
    let mut names: BTreeSet<Topic> = state.topics.keys().cloned().collect();
    names.extend(snapshot.iter().flat_map(|snapshot| &snapshot.topics).map(|topic| topic.topic.clone()));
    let internal = |topic: &Topic| {
        snapshot.and_then(|snapshot| snapshot.topic(topic)).is_some_and(|topic| topic.internal)
    };
    for named in settings.topics.named().filter(|topic| !names.contains(*topic)) {
        problems.push(format!("topic {named} is not in the backup: see `replevin describe`"));
    }
    for mapped in settings.topic_mapping.keys().filter(|topic| !names.contains(*topic)) {
        problems.push(format!(
            "restore.topic_mapping renames topic {mapped}, which is not in the backup: see `replevin describe`"
        ));
    }
    let mut wanted = Wanted::new();
    let mut seen: BTreeSet<TopicPartition> = BTreeSet::new();
    for source in names.into_iter().filter(|topic| settings.topics.matches(topic.as_str(), internal(topic))) {
        let target = settings.target_topic(&source).clone();
        let mut pins: Vec<Pin> = Vec::new();
        let mut older = Vec::new();
        let count = snapshot.and_then(|snapshot| snapshot.topic(&source)).map_or(0, |topic| topic.partitions);
        seen.extend((0..count).map(|number| TopicPartition::new(source.clone(), number)));
        for (&number, histories) in state.topics.get(&source).into_iter().flat_map(|topic| topic.iter()) {
            let place = TopicPartition::new(source.clone(), number);
            seen.insert(place.clone());
            if settings.source_partitions.as_ref().is_some_and(|wanted| !wanted.contains(&number)) {
                continue;
            }
            let current = histories.current().map(|lineage| lineage.id);
            let chosen = settings.lineages.get(&place).copied();
            let Some(lineage) = chosen.or(current) else { continue };
            let chain = match archive.chain(&place, lineage) {
                Ok(chain) => chain,
                Err(error) => {
                    problems.push(topics::with_hint(&error));
                    continue;
                }
            };
            if chosen.is_none() && has_others(histories, lineage, &chain) {
                older.push(number);
            }
            let first = chain.first().map_or(0, |piece| piece.range.first);
            let end = chain.last().map_or(0, |piece| piece.range.end);
            let target = settings.target_partition(number);
            if let Some(other) = pins.iter().find(|pin| pin.target == target) {
                problems.push(format!(
                    "partitions {} and {number} of topic {source} both map to partition {target}: order would be lost",
                    other.source
                ));
            }
            pins.push(Pin { source: number, target, lineage, first, end, records: 0 });
        }
        if !older.is_empty() {
            warnings.push(format!(
                "topic {source}: of {} the backup also holds older histories, from before the topic was made anew or cut; the newest is \
                 restored: `replevin describe` lists them, `restore.lineage` chooses",
                partitions(&older)
            ));
        }
        if let Some(only) = settings.source_partitions.as_ref().filter(|_| pins.is_empty())
            && only.iter().all(|number| *number >= count)
        {
            warnings.push(format!("topic {source} is left out: it has none of restore.source_partitions"));
            continue;
        }
        if let Some((other, _)) = wanted.get(&target) {
            problems
                .push(format!("topics {other} and {source} both map to topic {target}: order would be lost"));
        }
        wanted.insert(target, (source, pins));
    }
    check_numbers(settings, &seen, problems);
    let unknown = |topic: &&Topic| !wanted.contains_key(*topic);
    for topic in settings.topic_config_overrides_by_topic.keys().filter(unknown) {
        problems.push(format!(
            "restore.topic_config_overrides names topic {topic}, which is not restored: give the name that it has in the target"
        ));
    }
    wanted
}

/// Partitions that the settings name and no selected topic has.
fn check_numbers(settings: &RestoreSettings, seen: &BTreeSet<TopicPartition>, problems: &mut Vec<String>) {
    let numbers: BTreeSet<i32> = seen.iter().map(|place| place.partition).collect();
    let only = settings.source_partitions.iter().flatten().map(|number| ("source_partitions", number));
    let mapped = settings.partition_mapping.keys().map(|number| ("partition_mapping", number));
    for (key, number) in only.chain(mapped).filter(|(_, number)| !numbers.contains(number)) {
        problems
            .push(format!("restore.{key} names partition {number}, which none of the selected topics has"));
    }
    for place in settings.lineages.keys().filter(|place| !seen.contains(*place)) {
        problems.push(format!("restore.lineage names {place}, which is not among what is restored"));
    }
}

/// Whether a partition has histories with records that do not lead to this one.
fn has_others(histories: &PartitionState, lineage: LineageId, chain: &[Piece]) -> bool {
    histories.lineages.iter().any(|other| {
        other.id != lineage && other.next > other.start && chain.iter().all(|piece| piece.lineage != other.id)
    })
}

fn partitions(numbers: &[i32]) -> String {
    let some: Vec<String> = numbers.iter().take(NAMED).map(ToString::to_string).collect();
    let more = numbers.len() - some.len();
    let some = some.join(", ");
    match more {
        0 => format!("partitions {some}"),
        more => format!("partitions {some} and {more} more"),
    }
}

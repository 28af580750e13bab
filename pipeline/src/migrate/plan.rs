//! What a migration would do. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use formats::ids::{Topic, TopicPartition};
use serde::Serialize;

use super::MigrateSettings;
use super::groups;
use super::journal::Journal;
use super::position::Entry;
use super::schemas::Follower;
use crate::kafka::{Client, Isolation};
use crate::restore::topics::{self, Facts};
use crate::source::cluster::{self, Selected};
use crate::{Error, Result};

/// What a migration would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MigratePlan {
    /// Every topic.
    pub topics: Vec<TopicPlan>,
    /// What is done with schemas, in lines for people.
    pub schemas: Vec<String>,
    /// Groups whose offsets would be carried over, and for how many partitions.
    pub groups: BTreeMap<String, usize>,
    /// What makes it impossible.
    pub problems: Vec<String>,
    /// What the reader should know.
    pub warnings: Vec<String>,
}

/// What would be done with a topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopicPlan {
    /// Its name at the source.
    pub source: Topic,
    /// Its name in the target.
    pub target: Topic,
    /// Its partitions at the source.
    pub partitions: usize,
    /// Offsets that the source holds of it, up to where its transactions are decided.
    pub offsets: u64,
    /// Records that earlier runs have brought, as far as the journal says.
    pub done: u64,
    /// What happens to the target's topic.
    pub action: String,
}

/// What a migration would do. Touches nothing.
///
/// # Errors
/// A cluster that cannot be asked. What speaks against the migration itself is in [`MigratePlan::problems`].
pub async fn plan(settings: &MigrateSettings, source: &Client, target: &Client) -> Result<MigratePlan> {
    let selected = cluster::select(source, &settings.topics).await?;
    let facts = facts(settings, target, &selected).await?;
    let known = Journal::look(target.clone(), &settings.migration_id).await?;
    let mut plan = MigratePlan {
        problems: problems(settings, source, &selected, &facts, &known),
        ..MigratePlan::default()
    };
    let partitions: Vec<TopicPartition> = selected.partitions().collect();
    let list = |at, isolation| source.list_offsets(partitions.iter().cloned(), at, isolation);
    let (first, stable) = tokio::join!(
        list(crate::kafka::At::Earliest, Isolation::ReadUncommitted),
        list(crate::kafka::At::Latest, Isolation::ReadCommitted)
    );
    let offset = |listed: Option<&Result<crate::kafka::ListedOffset>>| listed?.as_ref().ok()?.offset;
    for (topic, described) in &selected.topics {
        let of = |place: &&TopicPartition| place.topic == *topic;
        let offsets = partitions.iter().filter(of).filter_map(|place| {
            let (first, stable) = (offset(first.get(place))?, offset(stable.get(place))?);
            u64::try_from(stable - first).ok()
        });
        let done =
            known.iter().filter(|(place, _)| place.topic == *topic).map(|(_, entry)| entry.notes.end());
        let name = settings.target_topic(topic);
        let begun = known.keys().any(|place| place.topic == *topic);
        plan.topics.push(TopicPlan {
            source: topic.clone(),
            target: name.clone(),
            partitions: described.partitions.len(),
            offsets: offsets.sum(),
            done: done.sum(),
            action: match (facts.existing.contains_key(name), begun) {
                (false, _) => "create".to_owned(),
                (true, false) => "fill".to_owned(),
                (true, true) => "go on".to_owned(),
            },
        });
    }
    if let Some(schemas) = &settings.schemas {
        let (lines, problems, warnings) = Follower::new(schemas.clone(), target).await?.plan().await?;
        plan.schemas = lines;
        plan.problems.extend(problems);
        plan.warnings.extend(warnings);
    }
    match groups::ask(settings, source, |place| selected.topics.contains_key(&place.topic)).await {
        Ok(asked) => {
            plan.groups = asked.groups.into_iter().map(|(name, committed)| (name, committed.len())).collect();
            plan.warnings.extend(asked.warnings);
        }
        Err(error) => {
            let why = topics::with_hint(&error);
            plan.warnings.push(format!("offsets of groups could not be carried over: {why}"));
        }
    }
    for (topic, why) in &selected.refused {
        plan.warnings.push(format!("topic {topic} is left out: {why}"));
    }
    Ok(plan)
}

/// What the target is asked before anything is touched.
pub(super) async fn facts(settings: &MigrateSettings, target: &Client, selected: &Selected) -> Result<Facts> {
    let names: BTreeSet<Topic> =
        selected.topics.keys().map(|topic| settings.target_topic(topic).clone()).collect();
    topics::facts(target, &names).await
}

/// What speaks against it.
pub(super) fn problems(
    settings: &MigrateSettings,
    source: &Client,
    selected: &Selected,
    facts: &Facts,
    known: &BTreeMap<TopicPartition, Entry>,
) -> Vec<String> {
    let mut problems = Vec::new();
    if selected.topics.is_empty() {
        problems.push("the selection takes no topic of the source: see source.topics.include".to_owned());
    }
    let same = source.metadata().cluster_id.as_ref() == Some(&facts.cluster_id);
    let mut names: BTreeMap<&Topic, &Topic> = BTreeMap::new();
    for (topic, described) in &selected.topics {
        let name = settings.target_topic(topic);
        if let Some(other) = names.insert(name, topic) {
            problems.push(format!(
                "topics {other} and {topic} would both go to {name}: map one of them to another name in migrate.topic_mapping"
            ));
        }
        if same && name == topic {
            problems.push(format!(
                "source and target are the same cluster, and topic {topic} keeps its name: map it to another one in \
                 migrate.topic_mapping, or check target.bootstrap_servers"
            ));
        }
        let mut numbers = BTreeSet::new();
        let to = |number: &i32| settings.target(&TopicPartition::new(topic.clone(), *number)).partition;
        if let Some(number) = described.partitions.keys().map(to).find(|number| !numbers.insert(*number)) {
            problems.push(format!(
                "several partitions of {topic} would go to {name}-{number}: give each one of its own in migrate.partition_mapping"
            ));
        }
        let Some(existing) = facts.existing.get(name) else {
            if !settings.create_topics {
                problems.push(format!(
                    "topic {name} does not exist: create it with {} partitions, or set migrate.create_topics: true",
                    described.partitions.len()
                ));
            }
            continue;
        };
        let stamped =
            existing.effective.get("message.timestamp.type").is_some_and(|kind| kind == "LogAppendTime");
        let is_ours = known.iter().any(|(place, entry)| place.topic == *topic && entry.target.created);
        if stamped && !is_ours {
            problems.push(format!(
                "topic {name} of the target stamps records with its own time (message.timestamp.type is LogAppendTime): set it to \
                 CreateTime until the migration is over"
            ));
        }
        let begun = |number: &i32| known.contains_key(&TopicPartition::new(topic.clone(), *number));
        let full: Vec<i32> = described
            .partitions
            .keys()
            .filter(|number| !begun(number))
            .map(to)
            .filter(|number| existing.ends.get(number).is_some_and(|(first, end)| end > first))
            .collect();
        if let Some(number) = full.first().filter(|_| !settings.into_non_empty) {
            problems.push(format!(
                "{name}-{number} is not empty (as are {} partitions of the topic): delete the topic, map it to another name, or set \
                 migrate.into_non_empty: append",
                full.len()
            ));
        }
    }
    problems
}

/// As an error, where there are any.
pub(super) fn refuse(problems: &[String]) -> Result<()> {
    let Some(first) = problems.first() else { return Ok(()) };
    let more = problems.len() - 1;
    let text = if more == 0 { first.clone() } else { format!("{first} (and {more} more)") };
    Err(Error::input(text).hint("`replevin migrate --plan` lists everything; nothing was touched"))
}

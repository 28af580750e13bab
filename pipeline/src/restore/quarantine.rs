//! Quarantine: records that name a schema which nothing in the target stands for go, as they lie in the archive, to a topic of their own:
//! `<topic>.quarantine`, into the partition of the same number.
//!
//! ```text
//! topic filled with all others -> records left out of each partition
//!   none: nothing is made
//!   some: journal (quarantine) -> topic, guarded -> journal (partitions) -> produced as any other partition
//! confirmed, proven, sealed and given its configs together with the topic
//! ```
//! Who quarantines reads every partition from its first record on, so each run knows by itself what it leaves out; only of what an earlier
//! run has sealed does the journal tell. Decision 6 of this crate says why it is two passes.

use std::collections::{BTreeMap, BTreeSet};

use formats::ids::{Topic, TopicPartition};

use super::journal::{Attempt, TopicEntry};
use super::plan::{PlanState, TopicPlan};
use super::prepare::{Creation, Prepared};
use super::report::{Failure, RestoreReport, TopicReport};
use super::schemas::{TopicFraming, UnknownIds};
use super::settings::RestoreSettings;
use super::topics::{self, Facts};
use crate::kafka::{Client, NewTopic};
use crate::{Error, Result};

/// What the name of a topic's quarantine ends with.
const SUFFIX: &str = ".quarantine";

/// The topic that records of a target topic are quarantined into.
pub(super) fn name(target: &Topic) -> Result<Topic> {
    let name = format!("{target}{SUFFIX}");
    let long = |_| {
        Error::input(format!("topic {target}: {name}, where its records may be quarantined, is too long for a name"))
            .hint("map the topic to a name of at most 238 characters, or set `schema_registry.restore.unknown_ids` to fail or keep")
    };
    Topic::new(&name).map_err(long)
}

/// Whether records are quarantined.
pub(super) fn is_asked_for(settings: &RestoreSettings) -> bool {
    settings.schemas.as_ref().is_some_and(|rules| rules.rewrite && rules.unknown == UnknownIds::Quarantine)
}

/// The quarantines that an earlier run has sealed, and that are not what it left: people look at them, and delete them.
pub(super) fn gone(attempt: &Attempt, is_there: impl Fn(&TopicPartition) -> bool) -> BTreeSet<Topic> {
    let lost = |quarantine: &&Topic| {
        attempt.is_sealed(quarantine)
            && attempt.partitions.keys().any(|place| place.topic == **quarantine && !is_there(place))
    };
    attempt.quarantines.values().filter(lost).cloned().collect()
}

/// What is known before anything is touched.
pub(super) struct Check<'a> {
    pub(super) settings: &'a RestoreSettings,
    pub(super) facts: &'a Facts,
    pub(super) attempt: &'a Attempt,
    pub(super) state: PlanState,
    /// Which topics name schemas.
    pub(super) framings: &'a BTreeMap<Topic, TopicFraming>,
}

impl Check<'_> {
    /// Names the quarantine in the plan of each topic that may need one. Of `like`, one for each target topic, gives those that would
    /// be made.
    pub(super) async fn plan(
        &self,
        client: &Client,
        plans: &mut [TopicPlan],
        mut like: BTreeMap<Topic, Creation>,
        (warnings, all_problems): (&mut Vec<String>, &mut Vec<String>),
    ) -> Result<BTreeMap<Topic, NewTopic>> {
        let (mut new, mut problems) = (BTreeMap::new(), Vec::new());
        let targets: BTreeSet<Topic> = plans.iter().map(|plan| plan.target.clone()).collect();
        for plan in plans {
            plan.quarantine = self.attempt.quarantines.get(&plan.target).cloned();
            let may_name = self.framings.get(&plan.source).is_some_and(TopicFraming::names_schemas);
            let is_over = self.state == PlanState::Complete || self.attempt.is_sealed(&plan.target);
            if is_over || !may_name || !is_asked_for(self.settings) {
                continue;
            }
            let quarantine = match name(&plan.target) {
                Ok(quarantine) => quarantine,
                Err(error) => {
                    problems.push(topics::with_hint(&error));
                    continue;
                }
            };
            let known = self.facts.metadata.topics.get(&quarantine);
            let exists = known.is_some_and(|known| !known.partitions.is_empty());
            let is_ours = plan.quarantine.is_some();
            problems.extend(self.objection(plan, &quarantine, &targets, exists && !is_ours));
            if let Some(like) = like.remove(&plan.target).filter(|_| !exists) {
                warnings.extend(like.warnings);
                problems.extend(like.problems);
                new.insert(plan.target.clone(), like.topic);
            }
            plan.quarantine = Some(quarantine);
        }
        if problems.is_empty() {
            let new: Vec<NewTopic> = new.values().cloned().collect();
            problems.extend(topics::objections(client, &new).await?);
        }
        all_problems.extend(problems);
        Ok(new)
    }

    fn objection(
        &self,
        plan: &TopicPlan,
        quarantine: &Topic,
        targets: &BTreeSet<Topic>,
        is_foreign: bool,
    ) -> Option<String> {
        let target = &plan.target;
        let is_mapped = self.settings.topic_mapping.values().any(|other| other == quarantine);
        match () {
            () if targets.contains(quarantine) || is_mapped => Some(format!(
                "topic {quarantine} is where records of {target} may be quarantined, and another topic is to get that name: map one of \
                 them to another name"
            )),
            () if is_foreign => Some(format!(
                "topic {quarantine} is where records of {target} may be quarantined, and it is there already: delete it, or map {} to \
                 another name",
                plan.source
            )),
            () if !self.settings.create_topics => Some(format!(
                "topic {quarantine}, where records of {target} may be quarantined, would have to be created: set \
                 `restore.create_topics: true`, or `schema_registry.restore.unknown_ids` to fail or keep"
            )),
            () => None,
        }
    }
}

impl Prepared {
    /// The plans of the quarantines that are needed after topics were filled so far; what is known of the topics themselves is then known
    /// of them too.
    pub(super) fn quarantine(&mut self, filled: &[TopicReport]) -> Vec<TopicPlan> {
        let mut plans = Vec::new();
        for topic in filled {
            let own = self.plan.topics.iter().find(|plan| plan.target == topic.target);
            let Some((own, quarantine)) = own.and_then(|own| Some((own, own.quarantine.clone()?))) else {
                continue;
            };
            if self.gone_quarantines.contains(&quarantine) {
                continue;
            }
            let is_needed = |number: i32| {
                let begun = TopicPartition::new(quarantine.clone(), number);
                let left_out = |partition: &super::PartitionReport| {
                    partition.target == number && partition.lanes.quarantined_records > 0
                };
                self.attempt.partitions.contains_key(&begun) || topic.partitions.iter().any(left_out)
            };
            let mut plan = TopicPlan { target: quarantine.clone(), quarantine: None, ..own.clone() };
            plan.absent.clear();
            plan.partitions.retain(|partition| is_needed(partition.target));
            // What the archive lacks is told of the topic itself.
            plan.partitions.iter_mut().for_each(|partition| partition.gaps.clear());
            if plan.partitions.is_empty() {
                continue;
            }
            for partition in &plan.partitions {
                let of = |topic: &Topic| TopicPartition::new(topic.clone(), partition.target);
                if let Some(source) = self.sources.get(&of(&topic.target)).cloned() {
                    self.sources.insert(of(&quarantine), source);
                }
            }
            if let Some(entry) = self.topics.get(&topic.target).cloned() {
                self.topics.insert(quarantine, TopicEntry { created: true, ..entry });
            }
            plans.push(plan);
        }
        plans
    }
}

impl RestoreReport {
    /// Holds what topics were filled without against what was quarantined. Of partitions that this run has filled, which are those of
    /// topics that no earlier one has sealed.
    pub(super) fn compare_quarantine(&mut self, attempt: &Attempt) {
        let mut found = BTreeMap::new();
        for topic in &self.quarantine {
            for partition in &topic.partitions {
                found.insert(
                    (topic.source.clone(), partition.target),
                    (partition.records, partition.failure.is_some()),
                );
            }
        }
        for topic in self.topics.iter_mut().filter(|topic| !attempt.is_sealed(&topic.target)) {
            for partition in topic.partitions.iter_mut().filter(|partition| partition.failure.is_none()) {
                let wanted = partition.quarantined_records;
                let (held, has_failed) =
                    found.get(&(topic.source.clone(), partition.target)).copied().unwrap_or_default();
                if held != wanted && !has_failed {
                    let error = Error::permanent(format!(
                        "{wanted} records of {}-{} were to be quarantined, and its quarantine holds {held}",
                        topic.target, partition.target
                    ))
                    .hint("run it again; where it stays so, delete the topic and its quarantine and restore them again");
                    partition.failure = Some(Failure::of(&error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantine_has_a_name_of_at_most_249_characters() {
        let named = |length: usize| name(&Topic::new("t".repeat(length)).expect("legal"));
        assert_eq!(named(238).expect("legal").as_str().len(), 249);
        let error = named(239).expect_err("too long");
        assert!(error.to_string().contains("too long") && error.next_step().is_some(), "{error}");
    }
}

//! Making the plan: what the archive holds, what the target is, what the journal remembers. Reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use formats::cluster::{ClusterSnapshot, TopicSnapshot};
use formats::commit::Gap;
use formats::hash::Hash;
use formats::ids::{RestoreId, Topic, TopicPartition};

use super::download::Source;
use super::journal::{
    Attempt, Begin, Entries, JOURNAL_TOPIC, ObjectJournal, PartitionEntry, Pin, TopicEntry, TopicJournal,
    VERSION, notes, notes_id,
};
use super::plan::{
    ArchiveCommit, OffsetMode, PartitionPlan, PlanState, RestorePlan, RetentionPlan, TopicAction, TopicPlan,
    at_risk, cpu_seconds, partition_plan,
};
use super::resume::made_anew;
use super::schemas::TopicFraming;
use super::select::{Wanted, select};
use super::settings::{ExistingConfigs, JournalPlace, NonEmpty, RestoreSettings};
use super::topics::{self, Facts};
use super::{gaps, guard, schemas};
use crate::archive::{Archive, PieceSegment, clip};
use crate::budget::Budget;
use crate::commit_log::{TopicLists, read_commit};
use crate::kafka::{Client, NewTopic, Placement};
use crate::seam::Seam;
use crate::storage::Store;
use crate::{Error, ErrorKind, Result};

/// No cluster snapshot is larger.
const MAX_SNAPSHOT: u64 = 256 << 20;

/// Everything that a run needs to know before it begins.
pub(super) struct Prepared {
    pub(super) plan: RestorePlan,
    pub(super) entries: Entries,
    /// The attempt that is to be made or continued.
    pub(super) attempt: Attempt,
    pub(super) begin: Begin,
    pub(super) topics: BTreeMap<Topic, TopicEntry>,
    /// What each target partition is filled from.
    pub(super) sources: BTreeMap<TopicPartition, Source>,
    pub(super) new_topics: Vec<NewTopic>,
    /// Topics that the target compacts as they are configured now.
    pub(super) compacted: BTreeSet<Topic>,
    /// The schemas, where there are any to restore.
    pub(super) schemas: Option<schemas::Prepared>,
}

pub(super) async fn prepare(
    settings: &RestoreSettings,
    client: &Client,
    store: &Arc<dyn Store>,
    seam: &Seam,
    budget: &Budget,
) -> Result<Prepared> {
    let archive = Archive::open(Arc::clone(store), seam.clone()).await?;
    if archive.repository().backup_id != settings.backup_id {
        let (found, wanted) = (&archive.repository().backup_id, &settings.backup_id);
        return Err(Error::not_found(format!("{} holds backup {found}, not {wanted}", store.location())));
    }
    let (snapshot, damage) = match snapshot(&archive).await {
        Ok(snapshot) => (snapshot, None),
        Err(error) if error.kind() == ErrorKind::Damaged => (None, Some(error)),
        Err(error) => return Err(error),
    };
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let selected = select(settings, &archive, snapshot.as_ref(), &mut problems, &mut warnings);
    let facts = topics::facts(client, &selected.keys().cloned().collect()).await?;
    let id = restore_id(settings, &facts.cluster_id);
    let journal = |id: RestoreId| -> Result<Arc<dyn super::journal::Journal>> {
        Ok(match settings.journal {
            JournalPlace::Topic => Arc::new(TopicJournal::new(client.clone(), budget.clone(), id)?),
            JournalPlace::Object => Arc::new(ObjectJournal::new(Arc::clone(store), id)),
        })
    };
    let entries = Entries::new(journal(id)?, id);
    let mut attempt = entries.newest().await?;
    let mut state = state_of(&attempt, &facts);
    if state == PlanState::New && attempt.begin.is_some() {
        // What an earlier attempt made is not there any more: another attempt, with producers of its own.
        attempt = Attempt::numbered(attempt.number);
    }
    if state == PlanState::New {
        attempt.number += 1;
    }
    let head = archive.head();
    let mut commit = ArchiveCommit { seq: head.seq, hash: head.hash };
    if let Some(begin) = &attempt.begin {
        problems.extend(another_archive(store, begin).await?);
        if has_more(&selected, &attempt) {
            let (seq, now) = (begin.commit, head.seq);
            warnings.push(format!(
                "the backup has gone on since this restore began (commit {seq}, now {now}), and what came later is not restored: \
                 for that, delete the target topics and run it again, or restore under other names"
            ));
        }
        commit = ArchiveCommit { seq: begin.commit, hash: begin.hash };
    }
    if state == PlanState::Resumes {
        let gone = attempt.partitions.iter().filter(|(place, entry)| !is_there(place, entry, &facts));
        let gone: BTreeSet<&Topic> = gone.map(|(place, _)| &place.topic).collect();
        problems.extend(gone.into_iter().map(|topic| topics::with_hint(&made_anew(topic))));
    }
    let wanted = match state {
        PlanState::New => selected,
        PlanState::Resumes | PlanState::Complete => {
            let topic = |(target, entry): (&Topic, &TopicEntry)| {
                (target.clone(), (entry.source.clone(), entry.pins.clone()))
            };
            attempt.topics.iter().map(topic).collect()
        }
    };
    let mut maker = Maker {
        settings,
        archive: &archive,
        snapshot: snapshot.as_ref(),
        facts: &facts,
        attempt: &attempt,
        state,
        now_ms: seam.clock.now_ms(),
        warnings: [warnings, facts.warnings.clone()].concat(),
        problems,
        topics: BTreeMap::new(),
        sources: BTreeMap::new(),
        new_topics: Vec::new(),
    };
    let mut plans = Vec::with_capacity(wanted.len());
    for (target, (source, pins)) in wanted {
        plans.push(maker.topic(target, source, pins).await?);
    }
    if plans.is_empty() {
        maker.problems.push("the selection takes no topic of the backup: see `replevin describe`".to_owned());
        state = PlanState::New;
    }
    if maker.problems.is_empty() && state != PlanState::Complete {
        maker.problems.extend(topics::objections(client, &maker.new_topics).await?);
        let there = |topic: &&TopicPlan| facts.existing.contains_key(&topic.target);
        let guards = plans.iter().filter(there).map(TopicPlan::guarding).collect();
        let refused = topics::alter(client, guards, true).await?;
        maker.problems.extend(refused.values().map(topics::with_hint));
    }
    let Maker { mut warnings, mut problems, topics, sources, new_topics, .. } = maker;
    let snapshot_of_schemas = match &attempt.begin {
        Some(begin) => begin.schemas.clone(),
        None => archive.state().schemas.clone().filter(|_| settings.schemas.is_some()),
    };
    let (schemas, schema_plan) = match (&settings.schemas, &snapshot_of_schemas) {
        (Some(rules), Some(snapshot)) => {
            let id = notes_id(&rules.target.name());
            let notes = notes(journal(id)?, id, seam);
            let step = schemas::Step { rules, archive: &archive, notes, attempt: &attempt, budget };
            let (schemas, plan) = step.prepare(snapshot, state == PlanState::Complete, &sources).await?;
            warnings.extend(schemas.warnings.iter().cloned());
            problems.extend(schemas.problems.iter().cloned());
            (Some(schemas), Some(plan))
        }
        (Some(_), None) => {
            problems.push(
                "the backup holds no schemas: let the backup have a `schema_registry`, or set `schema_registry.restore.enabled: \
                 false` to restore records with the ids that they have"
                    .to_owned(),
            );
            (None, None)
        }
        (None, _) => {
            if archive.state().schemas.is_some() && state == PlanState::New {
                warnings.push(
                    "the backup holds schemas, and this restore leaves them out: records keep the ids that they have, which another \
                     registry may not know; give the file a `schema_registry` section to restore them first"
                        .to_owned(),
                );
            }
            (None, None)
        }
    };
    // The records do not need it, and a complete restore has its topics' configs in the journal.
    let without = |error: Error| {
        format!(
            "{}: topics that are created now get the cluster's defaults instead of their own configs. Put the object back first if \
             there is a copy of the store",
            topics::with_hint(&error)
        )
    };
    let damaged = damage.filter(|_| state != PlanState::Complete).map(without).into_iter().collect();
    let is_compacted = |existing: &topics::Existing| {
        existing.effective.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"))
    };
    let compacted = facts.existing.iter().filter(|(_, existing)| is_compacted(existing));
    let compacted = compacted.map(|(topic, _)| topic.clone()).collect();
    let plan = RestorePlan {
        restore_id: id,
        state,
        backup_id: settings.backup_id.clone(),
        archive: commit,
        target_cluster: facts.cluster_id.clone(),
        mode: OffsetMode::Translated,
        window: settings.window,
        journal: settings.journal,
        cpu_seconds: cpu_seconds(plans.iter().flat_map(|topic| {
            let framing = schema_plan.as_ref().and_then(|plan| plan.topics.get(&topic.source));
            let is_remapped = framing.is_some_and(TopicFraming::names_schemas);
            topic.partitions.iter().map(move |partition| (partition, is_remapped))
        })),
        schemas: schema_plan,
        topics: plans,
        problems,
        warnings,
        damaged,
    };
    let begin = attempt.begin.clone().unwrap_or_else(|| Begin {
        version: VERSION,
        backup_id: settings.backup_id.clone(),
        commit: commit.seq,
        hash: commit.hash,
        cluster_id: facts.cluster_id,
        window: settings.window,
        time_ms: seam.clock.now_ms(),
        topics: topics.len(),
        schemas: snapshot_of_schemas,
    });
    Ok(Prepared { plan, entries, attempt, begin, topics, sources, new_topics, compacted, schemas })
}

/// The same settings against the same cluster have the same id.
fn restore_id(settings: &RestoreSettings, cluster_id: &str) -> RestoreId {
    let text = format!(
        "{}\n{cluster_id}\n{}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}",
        settings.backup_id,
        settings.identity,
        settings.topic_mapping,
        settings.source_partitions,
        settings.partition_mapping,
        settings.lineages,
        settings.window,
        settings.into_non_empty,
    );
    let hash = blake3::derive_key("replevin 2026 restore id", text.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    RestoreId(u128::from_be_bytes(half))
}

/// What speaks against going on with what a journal began: another archive in the place of the one that it began with.
async fn another_archive(store: &Arc<dyn Store>, begin: &Begin) -> Result<Option<String>> {
    let found = read_commit(&**store, begin.commit).await?.map(|(_, hash)| hash);
    if found == Some(begin.hash) {
        return Ok(None);
    }
    let (seq, hash) = (begin.commit, begin.hash);
    let now = found.map_or_else(|| "is not there".to_owned(), |hash| format!("is {hash}"));
    Ok(Some(format!(
        "this restore was begun from another backup of the same name: commit {seq} was {hash} then and {now} now: bring that \
         backup back, or delete the target topics and begin again"
    )))
}

/// Whether the settings select more of the archive now than the journal pinned.
fn has_more(selected: &Wanted, attempt: &Attempt) -> bool {
    let pinned = |target: &Topic, pin: &Pin| {
        let entry = attempt.topics.get(target)?;
        entry.pins.iter().find(|old| old.source == pin.source)
    };
    let is_more = |target: &Topic, pin: &Pin| match pinned(target, pin) {
        Some(old) => old.lineage != pin.lineage || old.end < pin.end,
        None => true,
    };
    selected.iter().any(|(target, (_, pins))| {
        !attempt.topics.contains_key(target) || pins.iter().any(|pin| is_more(target, pin))
    })
}

async fn snapshot(archive: &Archive) -> Result<Option<ClusterSnapshot>> {
    let Some(object) = archive.state().cluster.clone() else { return Ok(None) };
    let stored = archive.store().get(&object.key, MAX_SNAPSHOT).await?;
    let stored = stored.ok_or_else(|| {
        Error::damaged(format!("{}: the object is missing", object.key))
            .hint("restore the object from a copy of the store")
    })?;
    if Hash::of(&stored) != object.blake3 {
        return Err(Error::damaged(format!(
            "{}: its BLAKE3 is not the one that the backup recorded",
            object.key
        ))
        .hint("restore the object from a copy of the store"));
    }
    Ok(Some(ClusterSnapshot::decode(&stored).map_err(|e| e.at(&object.key))?))
}

/// Whether the journal's newest attempt goes on, is done, or has lost what it made.
fn state_of(attempt: &Attempt, facts: &Facts) -> PlanState {
    if attempt.begin.is_none() {
        return PlanState::New;
    }
    let kept = attempt.partitions.iter().filter(|(place, entry)| is_there(place, entry, facts)).count();
    let known =
        |topic: &Topic| facts.metadata.topics.get(topic).is_some_and(|known| !known.partitions.is_empty());
    let all = kept == attempt.partitions.len() && attempt.topics.keys().all(known);
    match attempt.complete {
        // What was restored was deleted since: the user wants it again.
        true if !all => PlanState::New,
        true => PlanState::Complete,
        false if kept == 0 && !attempt.partitions.is_empty() => PlanState::New,
        false => PlanState::Resumes,
    }
}

/// Whether the target still has a partition, of the same topic and not of another one of that name.
fn is_there(place: &TopicPartition, entry: &PartitionEntry, facts: &Facts) -> bool {
    facts.metadata.topic_id(&place.topic).is_none_or(|now| now == entry.topic_id)
        && facts.metadata.partition(&place.topic, place.partition).is_some()
}

struct Maker<'a> {
    settings: &'a RestoreSettings,
    archive: &'a Archive,
    snapshot: Option<&'a ClusterSnapshot>,
    facts: &'a Facts,
    attempt: &'a Attempt,
    state: PlanState,
    now_ms: i64,
    warnings: Vec<String>,
    problems: Vec<String>,
    topics: BTreeMap<Topic, TopicEntry>,
    sources: BTreeMap<TopicPartition, Source>,
    new_topics: Vec<NewTopic>,
}

impl Maker<'_> {
    async fn topic(&mut self, target: Topic, source: Topic, mut pins: Vec<Pin>) -> Result<TopicPlan> {
        let lists = self.archive.lists(&source).await?;
        let mut partitions = Vec::with_capacity(pins.len());
        let mut segments_of = Vec::with_capacity(pins.len());
        for pin in &mut pins {
            let (plan, segments) = self.partition(&source, &target, pin, &lists)?;
            partitions.push(plan);
            segments_of.push(segments);
        }
        let largest =
            partitions.iter().map(|partition| u64::from(partition.largest_batch)).max().unwrap_or(0);
        let archived = self.snapshot.and_then(|snapshot| snapshot.topic(&source));
        let (carried, dropped) = self.carried(&source, archived);
        if !dropped.is_empty() {
            self.warnings.push(format!("topic {target}: not carried over: {}", dropped.join(", ")));
        }
        let existing = self.facts.existing.get(&target);
        let journalled = self.attempt.topics.get(&target).filter(|_| self.state != PlanState::New);
        let created = journalled.map_or(existing.is_none(), |entry| entry.created);
        let own = match existing {
            Some(existing) if !created && self.settings.existing_topic_configs != ExistingConfigs::Apply => {
                existing.own.clone()
            }
            _ => carried.clone(),
        };
        if let Some(existing) = existing.filter(|_| journalled.is_none()) {
            self.check_configs(&target, existing, &carried);
        }
        if self.settings.journal == JournalPlace::Topic && target.as_str() == JOURNAL_TOPIC {
            self.problems.push(format!(
                "topic {target} is where restores keep their journal: map {source} to another name, or use `restore.journal: object`"
            ));
        }
        let absent = self.absent(&source);
        let max_message = own.get("max.message.bytes").and_then(|value| value.parse().ok());
        let max_message = max_message.or_else(|| {
            self.facts.brokers.number("message.max.bytes").and_then(|bytes| u64::try_from(bytes).ok())
        });
        let guard = guard::guard(&self.facts.brokers, &own, largest, max_message);
        let at_risk = self.at_risk(&own, existing.filter(|_| !created), &segments_of);
        let held = journalled.map_or(guard::holds(self.settings.retention, at_risk), |entry| entry.held);
        let finals = match journalled {
            Some(entry) => entry.finals.clone(),
            None => guard::finals(&guard, &own, held),
        };
        let max_batch = journalled
            .map_or_else(|| guard::max_batch(&guard, &own, &self.facts.brokers), |entry| entry.max_batch);
        let action = self.action(&target, archived, &own, &guard, &pins);
        self.check_request_size(&target, largest);
        let entry =
            TopicEntry { source: source.clone(), created, finals: finals.clone(), held, max_batch, pins };
        self.topics.insert(target.clone(), entry);
        let retention = RetentionPlan { records_at_risk: at_risk, held };
        Ok(TopicPlan { source, target, action, guard, finals, retention, max_batch, absent, partitions })
    }

    /// Partitions that the source had when the backup last looked, and that the backup has not begun with.
    fn absent(&mut self, source: &Topic) -> Vec<i32> {
        let count =
            self.snapshot.and_then(|snapshot| snapshot.topic(source)).map_or(0, |topic| topic.partitions);
        let known = self.archive.state().topics.get(source);
        let is_asked_for = |number: &i32| {
            self.settings.source_partitions.as_ref().is_none_or(|wanted| wanted.contains(number))
        };
        let is_unknown = |number: &i32| known.is_none_or(|topic| !topic.contains_key(number));
        (0..count).filter(is_asked_for).filter(is_unknown).collect()
    }

    fn partition(
        &mut self,
        source: &Topic,
        target: &Topic,
        pin: &mut Pin,
        lists: &TopicLists,
    ) -> Result<(PartitionPlan, Arc<[PieceSegment]>)> {
        let place = TopicPartition::new(source.clone(), pin.source);
        let range = pin.range();
        let mut segments = self.archive.segments_in(lists, &place, pin.lineage)?;
        segments.retain_mut(|segment| {
            segment.range = clip(segment.range, range);
            !segment.range.is_empty()
        });
        let records = segments.iter().map(|segment| segment.entry.records).sum();
        if self.state == PlanState::New {
            pin.records = records;
        } else if pin.records != records
            && !self.attempt.is_sealed(target)
            && segments.last().is_none_or(|segment| !segment.is_cut())
        {
            self.problems.push(format!(
                "{place}@{range}: the archive holds {records} records where the restore began with {}: segments were dropped \
                 since; delete the target topic {target} and begin again",
                pin.records
            ));
        }
        let gaps = self.archive.gaps(&place, pin.lineage)?;
        let gaps: Vec<Gap> = gaps
            .into_iter()
            .map(|piece| piece.gap)
            .filter(|gap| !clip(gap.range(), range).is_empty())
            .collect();
        let gaps = gaps::judge(&gaps, &segments, self.settings.window);
        let segments: Arc<[PieceSegment]> = segments.into();
        let plan =
            partition_plan(pin.source, pin.target, pin.lineage, range, &segments, gaps, self.settings.window);
        let to = TopicPartition::new(target.clone(), pin.target);
        self.sources.insert(to, Source { partition: place, segments: Arc::clone(&segments) });
        Ok((plan, segments))
    }

    fn carried(
        &mut self,
        source: &Topic,
        archived: Option<&TopicSnapshot>,
    ) -> (BTreeMap<String, String>, Vec<String>) {
        let none = BTreeMap::new();
        if archived.is_none() {
            self.warnings
                .push(format!("topic {source}: its settings are not in the backup; the broker's hold"));
        }
        let restored = archived.filter(|_| self.settings.restore_topic_configs);
        let mut overrides = self.settings.topic_config_overrides.clone();
        let target = self.settings.target_topic(source);
        if let Some(own) = self.settings.topic_config_overrides_by_topic.get(target) {
            overrides.extend(own.clone());
        }
        guard::carried(restored.map_or(&none, |topic| &topic.configs), &overrides)
    }

    fn check_configs(
        &mut self,
        target: &Topic,
        existing: &topics::Existing,
        carried: &BTreeMap<String, String>,
    ) {
        let differs = |(name, value): &(&String, &String)| existing.effective.get(*name) != Some(*value);
        let different: Vec<String> = carried
            .iter()
            .filter(differs)
            .map(|(name, value)| {
                let now = existing.effective.get(name).map_or("nothing", String::as_str);
                format!("{name} is {now}, in the backup {value}")
            })
            .collect();
        if different.is_empty() {
            return;
        }
        let text = format!("topic {target} exists with other configs: {}", different.join("; "));
        match self.settings.existing_topic_configs {
            ExistingConfigs::Fail => self.problems.push(text),
            ExistingConfigs::ValidateOnly => self.warnings.push(text + "; they are left"),
            ExistingConfigs::Apply => self.warnings.push(text + "; the backup's are applied at the end"),
        }
    }

    fn at_risk(
        &self,
        own: &BTreeMap<String, String>,
        existing: Option<&topics::Existing>,
        segments: &[Arc<[PieceSegment]>],
    ) -> u64 {
        let value =
            |name: &str| own.get(name).or_else(|| existing.and_then(|existing| existing.effective.get(name)));
        let policy = value("cleanup.policy").map_or("delete", String::as_str);
        if !policy.contains("delete") {
            return 0;
        }
        let number = |name: &str| value(name).and_then(|value| value.parse::<i64>().ok());
        let ms = number("retention.ms").or_else(|| self.facts.brokers.retention_ms()).filter(|ms| *ms >= 0);
        let cutoff = ms.map(|ms| self.now_ms.saturating_sub(ms));
        let bytes = number("retention.bytes").or_else(|| self.facts.brokers.number("log.retention.bytes"));
        let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
        segments.iter().map(|segments| at_risk(segments, cutoff, bytes)).sum()
    }

    /// Whether the topic is made, and what speaks against filling it.
    fn action(
        &mut self,
        target: &Topic,
        archived: Option<&TopicSnapshot>,
        own: &BTreeMap<String, String>,
        guard: &BTreeMap<String, String>,
        pins: &[Pin],
    ) -> TopicAction {
        let needed = pins.iter().map(|pin| pin.target + 1).max().unwrap_or(0);
        if let Some(existing) = self.facts.existing.get(target) {
            let partitions = i32::try_from(existing.ends.len()).unwrap_or(i32::MAX);
            if partitions < needed {
                self.problems.push(format!(
                    "topic {target} has {partitions} partitions, {needed} are needed: add partitions, map them, or delete the topic"
                ));
            }
            if archived.is_some_and(|archived| partitions > archived.partitions) {
                self.warnings.push(format!(
                    "topic {target} has {partitions} partitions, more than in the backup: producers will put keys elsewhere than \
                     the restored records are"
                ));
            }
            let non_empty: Vec<i32> = pins
                .iter()
                .map(|pin| pin.target)
                .filter(|number| existing.ends.get(number).is_some_and(|(first, end)| end > first))
                .collect();
            let journalled = self.attempt.topics.contains_key(target);
            if self.state == PlanState::Complete || (journalled && self.attempt.is_sealed(target)) {
                return TopicAction::Nothing { partitions };
            }
            if journalled && pins.iter().any(|pin| self.has_begun(target, pin)) {
                return TopicAction::Continue { partitions };
            }
            if self.state == PlanState::New
                && self.settings.into_non_empty == NonEmpty::Refuse
                && let Some(number) = non_empty.first()
            {
                self.problems.push(format!(
                    "{target}-{number} is not empty (as are {} partitions of the topic): delete the topic, map it to another \
                     name, or set `restore.into_non_empty: append`",
                    non_empty.len()
                ));
            }
            let non_empty = u32::try_from(non_empty.len()).unwrap_or(u32::MAX);
            return TopicAction::Fill { partitions, non_empty };
        }
        let mapped = self.settings.source_partitions.is_some() || !self.settings.partition_mapping.is_empty();
        let whole = archived.filter(|_| !mapped).map_or(0, |archived| archived.partitions);
        let partitions = needed.max(whole).max(1);
        let brokers = i16::try_from(self.facts.metadata.brokers.len()).unwrap_or(i16::MAX);
        let asked = self.settings.default_replication_factor.filter(|factor| *factor > 0);
        let mut replicas = asked.or(archived.map(|archived| archived.replication_factor));
        if let Some(factor) = replicas.filter(|factor| *factor > brokers) {
            let text =
                format!("topic {target}: {factor} replicas are wanted, the cluster has {brokers} brokers");
            if asked.is_some() {
                self.problems.push(text);
            } else {
                self.warnings.push(format!("{text}; it gets {brokers}"));
                replicas = Some(brokers);
            }
        }
        if !self.settings.create_topics && self.state != PlanState::Complete {
            self.problems.push(format!(
                "topic {target} does not exist: create it with {partitions} partitions, or set `restore.create_topics: true`"
            ));
        }
        let mut configs = own.clone();
        let in_sync = own.get("min.insync.replicas").and_then(|value| value.parse::<i16>().ok());
        if let (Some(in_sync), Some(replicas)) = (in_sync, replicas)
            && in_sync > replicas
        {
            self.warnings.push(format!(
                "topic {target}: min.insync.replicas is {in_sync} with {replicas} replicas; nothing could be produced, so it is \
                 {replicas} until the end"
            ));
            configs.insert("min.insync.replicas".to_owned(), replicas.to_string());
        }
        configs.extend(guard.iter().map(|(name, value)| (name.clone(), value.clone())));
        self.new_topics.push(NewTopic {
            name: target.clone(),
            placement: Placement::Chosen { partitions, replication_factor: replicas },
            configs,
        });
        TopicAction::Create { partitions, replication_factor: replicas }
    }

    /// Whether an earlier run got so far as to note where a partition's records go.
    fn has_begun(&self, target: &Topic, pin: &Pin) -> bool {
        self.attempt.partitions.contains_key(&TopicPartition::new(target.clone(), pin.target))
    }

    fn check_request_size(&mut self, target: &Topic, largest: u64) {
        let limit =
            self.facts.brokers.number("socket.request.max.bytes").and_then(|max| u64::try_from(max).ok());
        if let Some(limit) = limit.filter(|limit| largest + 4096 > *limit) {
            self.problems.push(format!(
                "topic {target} holds a batch of {largest} bytes, the brokers take requests of at most {limit}: raise \
                 socket.request.max.bytes"
            ));
        }
    }
}

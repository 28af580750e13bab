//! The step of a restore that brings schemas: planned, done once, and pinned in the restore's journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use formats::commit::ObjectRef;
use formats::ids::{Topic, TopicPartition};
use formats::wire::Side;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::details::Details;
use super::framing::{Framing, Framings, TopicFraming};
use super::ids::{Ids, Landing};
use super::remap::{Readers, Remap};
use super::sample::{Counter, Looked, Sampler};
use super::{KeyIds, SchemaNotes, SchemaRules, TargetPlan, TargetReport, UnknownIds};
use crate::archive::Archive;
use crate::budget::Budget;
use crate::restore::download::Source;
use crate::restore::journal::{Attempt, Entries, SchemaPin};
use crate::schemas::SchemaArchive;
use crate::{Error, Result, failpoint};

/// Versions and keys that are named where the target did not take them.
const MOST_NAMED: usize = 1000;

/// What a restore would do with schemas, and with ids in records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchemaPlan {
    /// The snapshot of schemas in the backup.
    pub snapshot: String,
    /// Where they go.
    pub target: String,
    /// An earlier run has brought them.
    pub done: bool,
    /// What is done, in lines for people.
    pub lines: Vec<String>,
    /// What is done, for programs.
    pub details: Details,
    /// Ids of the archive that are the same in the target.
    pub same: u64,
    /// Ids that are others there.
    pub changed: u64,
    /// Ids that the target is to give.
    pub new: u64,
    /// Ids that nothing in the target stands for.
    pub nowhere: u64,
    /// By its name in the backup, which topic's records name schemas, and how that is known. Nothing where no id changes.
    pub topics: BTreeMap<Topic, TopicFraming>,
}

/// The schemas of a restore that is about to begin or to go on.
pub(in crate::restore) struct Prepared {
    archive: Arc<SchemaArchive>,
    notes: Arc<dyn SchemaNotes>,
    /// What an earlier run has pinned.
    pinned: Option<SchemaPin>,
    /// An earlier run has said what is done with unknown ids.
    has_begun: bool,
    framings: Framings,
    /// Nothing is left to do but to say so.
    is_done: bool,
    pub(in crate::restore) problems: Vec<String>,
    pub(in crate::restore) warnings: Vec<String>,
}

/// What a step needs to know.
pub(in crate::restore) struct Step<'a> {
    pub(in crate::restore) rules: &'a SchemaRules,
    pub(in crate::restore) archive: &'a Archive,
    pub(in crate::restore) notes: Arc<dyn SchemaNotes>,
    pub(in crate::restore) attempt: &'a Attempt,
    pub(in crate::restore) budget: &'a Budget,
}

/// What a restore did with schemas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchemaReport {
    /// Where they went.
    pub target: String,
    /// An earlier run had brought them.
    pub done: bool,
    /// What was done, in lines for people.
    pub lines: Vec<String>,
    /// What was done, for programs.
    pub details: Details,
    /// Versions of the backup that are not there, because the target takes them for no schemas, or what they refer to; and what is kept
    /// beside schemas and the target does not take. With the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_taken: Vec<String>,
    /// What ids of the backup are in the target: `5`, or `:.context:5` in another context than the default one. It can be given to
    /// another restore as its mapping of ids.
    pub ids: BTreeMap<String, u32>,
    /// By its name in the backup, which topic's records name schemas, and how that is known.
    pub topics: BTreeMap<Topic, TopicFraming>,
}

impl Step<'_> {
    /// Looks at everything, and touches nothing. `snapshot` is what is restored, and up to which commit it is complete; `sources` tell
    /// where records are that can be sampled.
    pub(in crate::restore) async fn prepare(
        &self,
        (snapshot, covers): &(ObjectRef, u64),
        is_complete: bool,
        sources: &BTreeMap<TopicPartition, Source>,
    ) -> Result<(Prepared, SchemaPlan)> {
        let archive = self.rules.opened.open(self.archive.store(), snapshot).await?;
        let notes = Arc::clone(&self.notes);
        let pinned = self.attempt.schemas.clone();
        let TargetPlan { lines, details, mut problems, mut warnings, map, new } = match &pinned {
            Some(pin) => TargetPlan {
                lines: vec!["an earlier run has brought them".to_owned()],
                map: pin.map.clone(),
                ..TargetPlan::default()
            },
            None if is_complete => TargetPlan::default(),
            None => self.rules.target.plan(&archive, &notes).await?,
        };
        let ids = Arc::new(Ids::new(&archive.catalog, &map, &new));
        let framings = match &pinned {
            Some(pin) => pin.framings.clone(),
            None if is_complete || !self.rules.rewrite => Framings::new(),
            None if !ids.change() && !ids.has_guids() && self.rules.unknown == UnknownIds::Keep => {
                Framings::new()
            }
            None => self.framings(&archive, &ids, sources, &mut warnings).await?,
        };
        if pinned.is_none() && !is_complete {
            warnings.extend(self.warnings(&archive, &ids, &framings));
            let commit = self.attempt.begin.as_ref().map_or(self.archive.head().seq, |begin| begin.commit);
            // The commit that brought the snapshot is one of its own.
            if covers + 1 < commit {
                warnings.push(format!(
                    "the schemas of the backup are complete up to commit {covers}, and it goes by commit {commit}: records of later \
                     commits may name schemas that it does not hold"
                ));
            }
        }
        problems.extend(self.rules.changed_since(pinned.as_ref(), self.attempt.unknown));
        let [same, changed, given, nowhere] = ids.totals();
        let plan = SchemaPlan {
            snapshot: snapshot.key.clone(),
            target: self.rules.target.name(),
            done: is_complete || pinned.is_some(),
            lines,
            details,
            same,
            changed,
            new: given,
            nowhere,
            topics: framings.clone(),
        };
        let has_begun = self.attempt.unknown.is_some() || is_complete;
        let is_done = plan.done;
        Ok((Prepared { archive, notes, pinned, has_begun, framings, is_done, problems, warnings }, plan))
    }

    /// What each topic's records are taken for.
    async fn framings(
        &self,
        archive: &Arc<SchemaArchive>,
        ids: &Arc<Ids>,
        sources: &BTreeMap<TopicPartition, Source>,
        warnings: &mut Vec<String>,
    ) -> Result<Framings> {
        let sampler = Sampler {
            store: Arc::clone(self.archive.store()),
            budget: self.budget.clone(),
            counter: Counter {
                ids: Arc::clone(ids),
                readers: Arc::new(Readers::new(Arc::clone(&self.rules.target), Arc::clone(archive))),
            },
            snapshot: archive.newest.key.clone(),
            samples: self.rules.samples.clone(),
        };
        let mut topics: BTreeMap<&Topic, Vec<&Source>> = BTreeMap::new();
        for source in sources.values() {
            topics.entry(&source.partition.topic).or_default().push(source);
        }
        let known = |topic: &Topic| {
            TopicFraming::of(&self.rules.told, topic, |side| ids.named(&archive.catalog, topic, side).len())
        };
        let mut framings: Framings = topics.keys().map(|topic| ((*topic).clone(), known(topic))).collect();
        // Headers are looked at whatever is said of payloads.
        topics.retain(|topic, _| {
            let framing = framings.get(*topic).copied().unwrap_or_default();
            Side::ALL.iter().any(|side| framing.side(*side).how == Framing::Raw)
        });
        for (topic, Looked { counted, damaged }) in sampler.look(&topics).await? {
            for damage in damaged {
                warnings.push(format!("topic {topic}: a sample cannot be read: {damage}"));
            }
            let framing = framings.entry(topic.clone()).or_default();
            framing.add(&counted);
            framing.infer(&self.rules.told, topic);
        }
        Ok(framings)
    }

    fn warnings(&self, archive: &SchemaArchive, ids: &Ids, framings: &Framings) -> Vec<String> {
        let mut warnings = Vec::new();
        for (topic, framing) in framings {
            let named = ids.named(&archive.catalog, topic, Side::Key);
            let changes = |to: &&Option<Landing<_>>| matches!(to, Some(Landing::Other(_) | Landing::New));
            let others = named.values().filter(changes).count();
            let which = match framing.key.how {
                Framing::Raw => None,
                Framing::Named => (others > 0).then(|| format!("{others} of {} ids", named.len())),
                Framing::Told | Framing::Inferred => ids.change().then(|| "ids".to_owned()),
            };
            if let Some(which) = which.filter(|_| self.rules.keys == KeyIds::Rewrite) {
                warnings.push(format!(
                    "topic {topic}: {which} in its keys become others, and the bytes of these keys with them: what is restored stays \
                     in its partitions, but producers will put such a key into another one from then on, and compaction takes it \
                     for another key than what they write later under an id that the source's records do not have; \
                     `schema_registry.restore.keys: keep` leaves keys as they are"
                ));
            }
            for side in Side::ALL {
                let own = framing.side(side);
                let is_told = self.rules.told.iter().any(|told| told.says(topic, side).is_some());
                let looks_framed = own.proven > 0 || (own.framed > 0 && own.framed == own.sampled);
                if own.how == Framing::Raw && looks_framed && !is_told {
                    warnings.push(format!(
                        "topic {topic}: of {} sampled {side}s {} begin with an id of the backup and {} can be read with its schema, not \
                         all, so its {side}s are left as they are; `schema_registry.restore.framing` can say that they are framed",
                        own.sampled, own.framed, own.proven
                    ));
                }
            }
        }
        let [_, changed, new, nowhere] = ids.totals();
        if changed + new > 0 && !self.rules.rewrite {
            warnings.push(format!(
                "{} ids of the backup are others in the target, and records keep those that they have: whoever reads them there finds \
                 other schemas, or none (`schema_registry.restore.rewrite_ids`)",
                changed + new
            ));
        }
        if nowhere > 0 && self.rules.rewrite {
            let what = match self.rules.unknown {
                UnknownIds::Fail => "a record that has one ends the restore of its partition",
                UnknownIds::Keep => "records that have one keep it",
                UnknownIds::Quarantine => "records that have one go to the quarantine of their topic",
            };
            warnings.push(format!(
                "{nowhere} ids of the backup have nothing in the target that stands for them: {what} (`schema_registry.restore.unknown_ids`)"
            ));
        }
        warnings
    }
}

impl SchemaRules {
    /// What must not have changed since an earlier run pinned what ids become, and has. From stopping at unknown ids one may go on to
    /// keep or quarantine them: whatever was restored by then has none.
    fn changed_since(&self, pinned: Option<&SchemaPin>, unknown: Option<UnknownIds>) -> Option<String> {
        let mut changed = Vec::new();
        for (name, then) in pinned.iter().flat_map(|pin| &pin.settings) {
            let now = self.settings.get(name).filter(|now| *now != then);
            changed.extend(now.map(|now| format!("`schema_registry.{name}` was {then} and is {now}")));
        }
        if let Some(then) = unknown.filter(|then| *then != self.unknown) {
            let now = self.unknown;
            changed.push(format!("`schema_registry.restore.unknown_ids` was {then} and is {now}"));
        }
        (!changed.is_empty()).then(|| {
            format!(
                "an earlier run of this restore has pinned what ids become, by other settings: {}; put them back to go on, or delete the \
                 target topics and begin again",
                changed.join(", ")
            )
        })
    }
}

impl Prepared {
    /// Puts back what a run that died has changed for the time, where this one is refused.
    pub(in crate::restore) async fn put_back(&self, rules: &SchemaRules) -> Result<bool> {
        rules.target.put_back(&self.notes).await
    }

    /// Brings the schemas, unless an earlier run did, and pins what ids become. Gives what is done to records, the report, and what the
    /// reader should know.
    pub(in crate::restore) async fn bring(
        &self,
        rules: &SchemaRules,
        (entries, number): (&Entries, u32),
        stop: &CancellationToken,
    ) -> Result<(Remap, SchemaReport, Vec<String>)> {
        let mut report = TargetReport::default();
        let pin = match &self.pinned {
            Some(pin) => pin.clone(),
            None if self.is_done => SchemaPin::default(),
            None => {
                failpoint::hit("before_schemas");
                report = rules.target.run(&self.archive, &self.notes, stop).await?;
                failpoint::hit("after_schemas");
                let (map, framings) = (std::mem::take(&mut report.map), self.framings.clone());
                let not_taken = report.not_taken.iter().take(MOST_NAMED).map(|what| short(what)).collect();
                let pin = SchemaPin { map, framings, settings: rules.settings.clone(), not_taken };
                let pin = entries.pin_schemas(number, pin).await?;
                failpoint::hit("after_schema_pin");
                pin
            }
        };
        let mut unknown = None;
        if rules.rewrite && rules.unknown != UnknownIds::Fail && !self.has_begun {
            unknown = Some(entries.unknown_ids(number, rules.unknown).await?);
        }
        // Another copy of the job may have been first.
        if let Some(changed) = rules.changed_since(Some(&pin), unknown) {
            return Err(Error::input(changed));
        }
        let TargetReport { lines, details, warnings, .. } = report;
        let report = SchemaReport {
            target: rules.target.name(),
            done: self.is_done,
            lines,
            details,
            not_taken: pin.not_taken.clone(),
            ids: pin.map.ids.iter().map(|(from, to)| (from.to_string(), to.number())).collect(),
            topics: pin.framings.clone(),
        };
        let ids = Arc::new(Ids::new(&self.archive.catalog, &pin.map, &[]));
        let readers = Arc::new(Readers::new(Arc::clone(&rules.target), Arc::clone(&self.archive)));
        let (archive, framings) = (Arc::clone(&self.archive), pin.framings);
        let remap = Remap { ids, readers, keys: rules.keys, unknown: rules.unknown, archive, framings };
        Ok((remap, report, warnings))
    }
}

/// The beginning of a reason: a registry may answer with the whole schema, and an entry of the journal has a limit.
fn short(what: &str) -> String {
    const MOST: usize = 500;
    match what.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &what[..end]),
        None => what.to_owned(),
    }
}

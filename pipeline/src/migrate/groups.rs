//! Cut-over of consumer groups: what they have committed at the source, said in offsets of the target.
//!
//! What a group has committed in the target already is never moved back: it may have gone on there. How offsets are translated is
//! told in [`super::translate`].

use std::collections::{BTreeMap, BTreeSet};

use formats::ids::TopicPartition;
use futures::{StreamExt, stream};
use serde::Serialize;

use super::MigrateSettings;
use super::cut_over::CutOver;
use super::report::{MigrateReport, Standing};
use super::translate::To;
use crate::kafka::{Client, CommittedOffset, KafkaErrorCode, ListedGroup, Refusal};
use crate::restore::topics;
use crate::{Error, ErrorKind, Result, failpoint};

/// Groups that are asked about at once.
const AT_ONCE: usize = 8;

/// What has become of a group's offsets.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GroupReport {
    /// The group.
    pub group: String,
    /// Each partition of the migration for which it has committed something.
    pub offsets: Vec<GroupOffset>,
    /// Why the group was left out.
    pub failure: Option<String>,
}

/// What has become of a committed offset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupOffset {
    /// The partition of the source.
    pub source: TopicPartition,
    /// That of the target.
    pub target: TopicPartition,
    /// What the group has committed at the source.
    pub source_offset: i64,
    /// What that is in the target; none where that could not be found out.
    pub target_offset: Option<i64>,
    /// What was done.
    pub outcome: OffsetOutcome,
    /// Why it was not committed, where it was not; what is not there for the group, where that is so.
    pub why: Option<String>,
}

/// What was done with a group's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OffsetOutcome {
    /// It was committed in the target.
    Committed,
    /// The group is there or further in the target already.
    Kept,
    /// It is not committed.
    Failed,
}

impl GroupReport {
    /// Whether something of it is missing in the target.
    pub fn is_partial(&self) -> bool {
        self.failure.is_some() || self.offsets.iter().any(|offset| offset.outcome == OffsetOutcome::Failed)
    }
}

/// What a group has committed, by partition.
pub(super) type Committed = BTreeMap<TopicPartition, CommittedOffset>;
/// A partition of the source, what of it is in the target, what the group has committed, and what that is in the target.
type Place<'a> = (&'a TopicPartition, &'a Standing, &'a CommittedOffset, Option<&'a Result<To>>);

impl CutOver<'_> {
    /// Commits in the target what groups have committed at the source.
    ///
    /// # Errors
    /// Groups cannot be listed; it was stopped. What is wrong with one group is in its report.
    pub(super) async fn groups(&self, report: &mut MigrateReport) -> Result<()> {
        let standings = report.standings();
        let Asked { groups, refused, warnings } =
            ask(self.settings, self.source, |place| standings.contains_key(place)).await?;
        report.warnings.extend(warnings);
        for (name, error) in refused {
            let failure = Some(topics::with_hint(&error));
            report.groups.push(GroupReport { group: name, offsets: Vec::new(), failure });
        }
        let mut wanted = BTreeMap::<TopicPartition, BTreeSet<i64>>::new();
        for (place, committed) in groups.values().flatten() {
            wanted.entry(place.clone()).or_default().insert(committed.offset);
        }
        let translated = self.translate(&standings, wanted).await?;
        let groups = groups.iter().map(|(name, committed)| {
            let places = committed.iter().map(|(place, committed)| {
                let to = translated.get(&(place.clone(), committed.offset));
                (place, &standings[place], committed, to)
            });
            self.commit(name, places.collect())
        });
        // One by one: what was committed is told also where the cut-over is stopped in the middle.
        let mut committed = std::pin::pin!(stream::iter(groups).buffer_unordered(AT_ONCE));
        while let Some(group) = committed.next().await {
            report.groups.push(group);
        }
        Ok(())
    }

    /// Commits a group's offsets, but where it is there or further already.
    async fn commit(&self, group: &str, offsets: Vec<Place<'_>>) -> GroupReport {
        let mut report = GroupReport { group: group.to_owned(), ..GroupReport::default() };
        let there = match self.target.committed_offsets(group).await {
            Ok(there) => there,
            Err(error) => {
                report.failure = Some(topics::with_hint(&error));
                return report;
            }
        };
        let mut new = Committed::new();
        for (source, Standing { target, start, .. }, committed, to) in offsets {
            let (target_offset, mut why) = match to {
                Some(Ok(To { offset, why })) => (Some(*offset), why.clone()),
                Some(Err(error)) => (None, Some(topics::with_hint(error))),
                None => (None, Some("nobody knows what it is in the target".to_owned())),
            };
            let there = there.get(target).map(|there| there.offset);
            let outcome = match target_offset {
                None => OffsetOutcome::Failed,
                Some(offset) if there.is_some_and(|there| there >= offset) => OffsetOutcome::Kept,
                Some(_) if there.is_some_and(|there| there < *start) => {
                    why = Some(format!(
                        "in the target the group is at offset {}, among records that were there before this migration's: let it read up to \
                         {start}, or delete its offsets there, and run the migration again",
                        there.unwrap_or_default()
                    ));
                    OffsetOutcome::Failed
                }
                Some(offset) => {
                    new.insert(target.clone(), CommittedOffset { offset, ..committed.clone() });
                    OffsetOutcome::Committed
                }
            };
            report.offsets.push(GroupOffset {
                source: source.clone(),
                target: target.clone(),
                source_offset: committed.offset,
                target_offset,
                outcome,
                why,
            });
        }
        if new.is_empty() {
            return report;
        }
        failpoint::hit("before_migration_groups");
        let answers = self.target.commit_offsets(group, &new).await;
        failpoint::hit("after_migration_groups");
        let refused = match answers {
            Ok(answers) => {
                answers.into_iter().filter_map(|(place, answer)| Some((place, answer.err()?))).collect()
            }
            Err(error) => {
                report.failure = Some(topics::with_hint(&error));
                BTreeMap::new()
            }
        };
        for offset in report.offsets.iter_mut().filter(|offset| offset.outcome == OffsetOutcome::Committed) {
            let refusal: Option<&Refusal> = refused.get(&offset.target);
            if let Some(refusal) = refusal {
                offset.why = Some(refused_by(group, refusal));
            }
            if refusal.is_some() || report.failure.is_some() {
                offset.outcome = OffsetOutcome::Failed;
            }
        }
        report
    }
}

fn refused_by(group: &str, refusal: &Refusal) -> String {
    let error = refusal.to_error(format!("OffsetCommit of group {group} in the target"));
    topics::with_hint(&match refusal.code {
        KafkaErrorCode::UNKNOWN_MEMBER_ID
        | KafkaErrorCode::ILLEGAL_GENERATION
        | KafkaErrorCode::REBALANCE_IN_PROGRESS => {
            error.hint("the group has members in the target already: stop them, and run the migration again")
        }
        _ => error,
    })
}

/// What groups of the source have committed.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Those that have committed something that is wanted.
    pub(super) groups: BTreeMap<String, Committed>,
    /// Those that could not be asked.
    refused: Vec<(String, Error)>,
    /// What the reader should know.
    pub(super) warnings: Vec<String>,
}

/// Asks the groups that are taken what they have committed for partitions that are wanted.
///
/// # Errors
/// Groups cannot be listed.
pub(super) async fn ask(
    settings: &MigrateSettings,
    source: &Client,
    is_wanted: impl Fn(&TopicPartition) -> bool,
) -> Result<Asked> {
    let mut asked = Asked::default();
    let Some(selection) = &settings.groups else { return Ok(asked) };
    let mut taken = source.list_groups().await.map_err(|error| match error.kind() {
        ErrorKind::Credentials => error.hint(
            "grant DESCRIBE on the groups of the source to this client's principal (kafka-acls), or set `migrate.consumer_group_offsets: skip`",
        ),
        _ => error,
    })?;
    taken.retain(|name, _| selection.matches(name));
    // Whoever may not see a group is not told of it: one that is named is asked for all the same.
    for name in selection.named().filter(|name| !taken.contains_key(*name)).collect::<Vec<_>>() {
        taken.insert(name.to_owned(), ListedGroup::default());
    }
    let is_share = |group: &ListedGroup| group.kind.eq_ignore_ascii_case("share");
    if let Some((first, _)) = taken.iter().find(|(_, group)| is_share(group)) {
        asked.warnings.push(format!(
            "{} share groups (the first is {first}) are left out: what they have acknowledged is no offset (KIP-932)",
            taken.values().filter(|group| is_share(group)).count()
        ));
    }
    taken.retain(|_, group| !is_share(group));
    let answers = taken
        .iter()
        .map(|(name, group)| async move { (name.clone(), group, source.committed_offsets(name).await) });
    let mut answers = stream::iter(answers).buffer_unordered(AT_ONCE);
    while let Some((name, group, committed)) = answers.next().await {
        let mut committed = match committed {
            Ok(committed) => committed,
            Err(error) => {
                asked.refused.push((name, error));
                continue;
            }
        };
        committed.retain(|place, _| is_wanted(place));
        if committed.is_empty() {
            if selection.named().any(|named| *named == name) {
                asked.warnings.push(format!("group {name} has committed nothing for what is migrated"));
            }
            continue;
        }
        if group.has_members() {
            asked.warnings.push(format!(
                "group {name} has members at the source ({}): what it commits there after the cut-over is not carried over",
                group.state
            ));
        }
        asked.groups.insert(name, committed);
    }
    if asked.groups.is_empty() && asked.refused.is_empty() {
        asked.warnings.push(
            "no group that this client may see has committed an offset for what is migrated; to see groups it needs DESCRIBE on them \
             (kafka-acls)"
                .to_owned(),
        );
    }
    Ok(asked)
}

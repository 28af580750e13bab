//! Proof of a migration: both sides of each partition read once more, and compared by their content digests.
//!
//! The source's records are given the ids that the target gave first. What the source does not have any more cannot be compared, and is
//! said: of a log whose beginning was deleted what is left is; of a log that was compacted since nothing is.

use std::collections::BTreeMap;

use formats::digest::ContentDigest;
use formats::ids::{OffsetRange, TopicPartition};
use serde::Serialize;

use super::cut_over::CutOver;
use super::report::{MigrateReport, Standing};
use super::reread::SourceSide;
use super::translate::{compacts, firsts, firsts_of_targets};
use crate::Result;
use crate::kafka::Isolation;
use crate::ranges::{Read, Sink};
use crate::restore::proof::ReadBack;
use crate::restore::topics;

/// How a partition of the target compares with that of the source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartitionProof {
    /// What came of it.
    pub verdict: ProofVerdict,
    /// How many records were compared.
    pub records: u64,
    /// The content digest of the source's, with the ids that they have in the target.
    pub source_digest: Option<ContentDigest>,
    /// The content digest of the target's.
    pub target_digest: Option<ContentDigest>,
    /// What the reader should know of it.
    pub why: Option<String>,
}

/// What came of comparing a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofVerdict {
    /// All records are the same.
    Equal,
    /// All records that both sides still have are the same; the older ones are gone from one of them.
    EqualWhereBothHave,
    /// One side has compacted since: it has fewer records than were brought.
    Compacted,
    /// They are not the same. Exit code 4.
    Differs,
    /// One side could not be read.
    Unread,
}

impl PartitionProof {
    pub(super) fn unread(why: String) -> Self {
        Self {
            verdict: ProofVerdict::Unread,
            records: 0,
            source_digest: None,
            target_digest: None,
            why: Some(why),
        }
    }
}

/// A partition to be compared.
struct Compared {
    standing: Standing,
    /// The first offset that each side still has.
    source_first: i64,
    target_first: i64,
}

impl Compared {
    fn source(&self) -> OffsetRange {
        let Standing { from, position, .. } = self.standing;
        OffsetRange::new(from.max(self.source_first).min(position), position)
    }

    /// Records that the target still has.
    fn target(&self) -> OffsetRange {
        let Standing { start, end, .. } = self.standing;
        OffsetRange::new(start.max(self.target_first).min(end), end)
    }

    /// How many records of the source's beginning the target has lost to its own retention.
    fn skip(&self) -> u64 {
        u64::try_from(self.target().first - self.standing.start).unwrap_or(0)
    }

    /// Whether the source has lost the beginning of what was brought.
    fn is_cut(&self) -> bool {
        self.source_first > self.standing.from
    }
}

impl CutOver<'_> {
    /// Reads what the source still has of partitions, but for so many records.
    async fn read_sources(
        &self,
        compared: &BTreeMap<TopicPartition, Compared>,
        skips: BTreeMap<TopicPartition, u64>,
    ) -> Result<Read<SourceSide>> {
        let mut ranges = BTreeMap::new();
        for (place, skip) in skips {
            let (range, ids) = (compared[&place].source(), self.ids(&place.topic));
            ranges.insert(place, (range, SourceSide::digesting(skip, ids)));
        }
        self.read(self.source, ranges, Isolation::ReadCommitted).await
    }

    /// Compares every partition that has come.
    ///
    /// # Errors
    /// It was stopped; a cluster cannot be asked.
    pub(super) async fn prove(&self, report: &mut MigrateReport) -> Result<()> {
        let standings = report.standings();
        let mut here = firsts(self.source, standings.keys().cloned()).await;
        let mut there = firsts_of_targets(self.target, &standings, standings.keys()).await;
        let (mut proofs, mut compared) = (Proofs::new(), BTreeMap::new());
        for (place, standing) in standings {
            match (here.remove(&place), there.remove(&place)) {
                (Some(Ok(source_first)), Some(Ok(target_first))) => {
                    compared.insert(place, Compared { source_first, target_first, standing });
                }
                (Some(Err(error)), _) | (_, Some(Err(error))) => {
                    proofs.insert(place, PartitionProof::unread(topics::with_hint(&error)));
                }
                _ => {}
            }
        }
        let here = compacts(self.source, compared.keys().map(|place| place.topic.clone())).await?;
        let targets = compared.values().map(|one| one.standing.target.topic.clone());
        let there = compacts(self.target, targets).await?;
        let compacted = |place: &TopicPartition, one: &Compared| {
            [here.get(&place.topic), there.get(&one.standing.target.topic)].map(|is_so| is_so == Some(&true))
        };
        // Of a log whose beginning is gone nobody knows how many records that were.
        let skips =
            compared.iter().map(|(place, one)| (place.clone(), if one.is_cut() { 0 } else { one.skip() }));
        let mut read = self.read_sources(&compared, skips.collect()).await?;
        let longer = read.iter().filter_map(|(place, side)| {
            let (one, records) = (&compared[place], side.as_ref().ok()?.records());
            let skip = records.saturating_sub(one.target().len());
            (one.is_cut() && one.skip() > 0 && skip > 0).then(|| (place.clone(), skip))
        });
        let longer = longer.collect();
        read.extend(self.read_sources(&compared, longer).await?);
        let (mut sources, mut ranges) = (BTreeMap::new(), BTreeMap::new());
        for (place, side) in read {
            let side = match side {
                Ok(side) => side,
                Err(error) => {
                    proofs.insert(place, PartitionProof::unread(topics::with_hint(&error.at("the source"))));
                    continue;
                }
            };
            let one = &compared[&place];
            let (digests, mut target) = (side.digests(), one.target());
            let records = i64::try_from(digests[0].records()).unwrap_or(i64::MAX);
            if one.is_cut() {
                target.first = target.first.max(target.end.saturating_sub(records));
            }
            ranges.insert(one.standing.target.clone(), (target, ReadBack::default()));
            sources.insert(place, digests);
        }
        let mut read = self.read(self.target, ranges, Isolation::ReadUncommitted).await?;
        for (place, digests) in sources {
            let one = &compared[&place];
            let proof = match read.remove(&one.standing.target) {
                Some(Ok(ReadBack { digest, .. })) => one.compare(digests, digest, compacted(&place, one)),
                Some(Err(error)) => PartitionProof::unread(topics::with_hint(&error.at("the target"))),
                None => continue,
            };
            proofs.insert(place, proof);
        }
        report.set_proofs(proofs);
        Ok(())
    }
}

impl Compared {
    /// `sources` are the digests with the ids of the source and with those of the target: where records have passed before it was
    /// known that they name schemas, they have kept their ids. `compacted`: whether the source's topic is compacted, and the target's.
    fn compare(
        &self,
        sources: [ContentDigest; 2],
        target: ContentDigest,
        compacted: [bool; 2],
    ) -> PartitionProof {
        let [plain, landed] = sources;
        let source = if plain == target { plain } else { landed };
        let brought = self.standing.records;
        let (verdict, why) = match () {
            () if source == target && target.records() == brought => (ProofVerdict::Equal, None),
            () if source == target => {
                let why = format!(
                    "of {brought} records that were brought both sides still have {}",
                    target.records()
                );
                (ProofVerdict::EqualWhereBothHave, Some(why))
            }
            () if compacted[0] && source.records() < brought => {
                (ProofVerdict::Compacted, Some(shrunk("the source", source.records(), brought)))
            }
            () if compacted[1] && target.records() < brought => {
                (ProofVerdict::Compacted, Some(shrunk("the target", target.records(), brought)))
            }
            () => (ProofVerdict::Differs, Some("the content digests are not the same".to_owned())),
        };
        let records = target.records().min(source.records());
        PartitionProof { verdict, records, source_digest: Some(source), target_digest: Some(target), why }
    }
}

fn shrunk(side: &str, records: u64, brought: u64) -> String {
    format!("{side} holds {records} of {brought} records that were brought: it has compacted the log since")
}

/// What came of each partition.
pub(super) type Proofs = BTreeMap<TopicPartition, PartitionProof>;

#[cfg(test)]
mod tests {
    use super::*;
    use formats::ids::Topic;

    /// What records with these numbers come to.
    fn digest(first: u64, records: u64) -> ContentDigest {
        format!("{records}:{:032x}", 1000 * first + records).parse().expect("a digest")
    }

    fn compared(brought: i64, source_first: i64, target_first: i64) -> Compared {
        let target = TopicPartition::new(Topic::new("t").expect("legal"), 0);
        let records = brought.unsigned_abs();
        let standing = Standing { target, start: 0, end: brought, records, from: 0, position: brought };
        Compared { standing, source_first, target_first }
    }

    #[test]
    fn what_is_not_the_same_is_never_called_so() {
        let whole = compared(10, 0, 0);
        let verdict =
            |one: &Compared, source, target, compacts| one.compare(source, target, [compacts, false]).verdict;
        let ten = digest(0, 10);
        assert_eq!(verdict(&whole, [ten; 2], ten, false), ProofVerdict::Equal);
        // With other ids, or as they were.
        assert_eq!(verdict(&whole, [digest(50, 10), ten], ten, false), ProofVerdict::Equal);
        assert_eq!(verdict(&whole, [ten, digest(50, 10)], ten, false), ProofVerdict::Equal);
        assert_eq!(verdict(&whole, [digest(1, 10); 2], ten, false), ProofVerdict::Differs);
        // Too many in the target, too few.
        assert_eq!(verdict(&whole, [digest(0, 9); 2], ten, false), ProofVerdict::Differs);
        assert_eq!(verdict(&whole, [digest(0, 11); 2], ten, true), ProofVerdict::Differs);
        // Only a log that is compacted may have fewer.
        assert_eq!(verdict(&whole, [digest(0, 9); 2], ten, true), ProofVerdict::Compacted);
        let in_target = whole.compare([ten; 2], digest(0, 8), [false, true]);
        assert_eq!(in_target.verdict, ProofVerdict::Compacted, "{in_target:?}");
        let cut = compared(10, 4, 0);
        assert_eq!(verdict(&cut, [digest(4, 6); 2], digest(4, 6), false), ProofVerdict::EqualWhereBothHave);
        assert_eq!(verdict(&cut, [digest(4, 6); 2], digest(5, 5), false), ProofVerdict::Differs);
    }

    #[test]
    fn what_is_read_is_what_both_sides_still_have() {
        let whole = compared(10, 0, 0);
        assert_eq!(
            (whole.source(), whole.target(), whole.skip()),
            (OffsetRange::new(0, 10), OffsetRange::new(0, 10), 0)
        );
        let cut = compared(10, 4, 3);
        assert!(cut.is_cut());
        assert_eq!(
            (cut.source(), cut.target(), cut.skip()),
            (OffsetRange::new(4, 10), OffsetRange::new(3, 10), 3)
        );
        let gone = compared(10, 12, 15);
        assert_eq!((gone.source().len(), gone.target().len()), (0, 0));
    }
}

//! The schemas of a backup, as the guide asks for them, and what scanned data says of them.
//!
//! An id counts as known where any context of the registry has it, because records do not say which context theirs is of.

use std::sync::Arc;

use formats::ids::Topic;
use formats::schemas::{Catalog, Other, VersionRow, VersionState};
use pipeline::Result;
use pipeline::archive::Archive;
use pipeline::schemas::{Radar, RadarReport, SchemaArchive};
use pipeline::select::TopicSelection;
use serde::Serialize;

use crate::output::{Align, Table, count};

/// The schemas of a backup. What the registry had no more when it was last looked at is counted in `gone_count` only.
#[derive(Debug, Default, Serialize)]
pub(super) struct SchemaDescription {
    /// Whether the backup has schemas at all.
    enabled: bool,
    /// The registry that they come from.
    registry: Option<String>,
    /// When it was last looked at and something was new.
    time_ms: Option<i64>,
    /// Records of the commits up to this one have all their schemas here, as far as the registry still had them.
    covers: Option<u64>,
    subjects_count: usize,
    /// Versions of all subjects, deleted ones included.
    schemas_count: usize,
    gone_count: usize,
    /// Keys of encryption that wrap others, deleted ones included.
    keks_count: usize,
    /// Keys of encryption that data is written with, wrapped; deleted ones included.
    deks_count: usize,
    /// What is carried without being known here: records of a registry's topic.
    others_count: usize,
    /// Why they cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    subjects: Vec<SubjectDescription>,
    /// What records name, where the schemas can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_ids: Option<IdsDescription>,
}

/// What the records of scanned segments name.
#[derive(Debug, Default, Serialize)]
struct IdsDescription {
    #[serde(flatten)]
    report: RadarReport,
    /// Why the lists of segments cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct SubjectDescription {
    name: String,
    versions: usize,
    latest_id: u32,
    schema_type: String,
}

/// Describes the schemas; what data says of them goes by these topics, or by all.
pub(super) async fn describe(archive: &Archive, chosen: Option<&TopicSelection>) -> SchemaDescription {
    let Some((newest, covers)) = &archive.state().schemas else { return SchemaDescription::default() };
    let found = SchemaDescription { enabled: true, covers: Some(*covers), ..SchemaDescription::default() };
    let catalog = match SchemaArchive::open(Arc::clone(archive.store()), newest).await {
        Ok(schemas) => schemas.catalog,
        Err(error) => return SchemaDescription { error: Some(error.to_string()), ..found },
    };
    let there = |rows: &[VersionRow]| rows.iter().filter(|row| row.state != VersionState::Gone).count();
    let subject = |(name, rows): (&String, &Vec<VersionRow>)| {
        let last = |state| rows.iter().rfind(|row| row.state == state);
        let latest = last(VersionState::Active).or_else(|| last(VersionState::Deleted))?;
        let (latest_id, schema_type) = (latest.id, latest.schema_type.clone());
        Some(SubjectDescription { name: name.clone(), versions: there(rows), latest_id, schema_type })
    };
    let subjects: Vec<SubjectDescription> = catalog.subjects.iter().filter_map(subject).collect();
    let schemas_count = subjects.iter().map(|subject| subject.versions).sum();
    let (mut keks_count, mut deks_count, mut others_count) = (0, 0, 0);
    for row in catalog.others.values() {
        // What makes no sense is for `verify` to find.
        match row.read() {
            Ok(Other::Kek(_)) => keks_count += 1,
            Ok(Other::Dek { .. }) => deks_count += 1,
            _ => others_count += 1,
        }
    }
    SchemaDescription {
        registry: Some(catalog.registry.clone()),
        time_ms: Some(catalog.time_ms),
        subjects_count: subjects.len(),
        schemas_count,
        gone_count: catalog.versions().count() - schemas_count,
        keks_count,
        deks_count,
        others_count,
        subjects,
        schema_ids: Some(ids(archive, chosen, &catalog).await),
        ..found
    }
}

async fn ids(archive: &Archive, chosen: Option<&TopicSelection>, catalog: &Catalog) -> IdsDescription {
    let is_chosen = |topic: &&Topic| chosen.is_none_or(|chosen| chosen.matches(topic.as_str(), false));
    let topics: Vec<&Topic> = archive.state().topics.keys().filter(is_chosen).collect();
    if !archive.log().may_be_scanned() {
        let lineages = topics.iter().filter_map(|topic| archive.state().topics.get(*topic));
        let lineages = lineages.flat_map(|partitions| partitions.values()).flat_map(|state| &state.lineages);
        let segments = lineages.map(|lineage| lineage.totals.segments).sum();
        return IdsDescription { report: RadarReport { segments, ..RadarReport::default() }, error: None };
    }
    let all = topics.len() == archive.state().topics.len();
    let mut radar = Radar::new(catalog);
    match look(archive, &topics, all, &mut radar).await {
        Ok(()) => IdsDescription { report: radar.finish(all), error: None },
        Err(error) => IdsDescription { error: Some(error.to_string()), ..IdsDescription::default() },
    }
}

async fn look(archive: &Archive, topics: &[&Topic], all: bool, radar: &mut Radar<'_>) -> Result<()> {
    if all {
        let log = archive.log();
        return log
            .each_list(|place, lineage, list| radar.list(&place.topic, place.partition, lineage, list))
            .await;
    }
    for topic in topics {
        for ((partition, lineage), list) in archive.lists(topic).await? {
            radar.list(topic, partition, lineage, &list);
        }
    }
    Ok(())
}

impl SchemaDescription {
    /// What is said of them in the head of the text.
    pub(super) fn lines(&self) -> Vec<String> {
        let Some(covers) = self.covers else { return Vec::new() };
        if let Some(error) = &self.error {
            return vec![format!("schemas  cannot be read: {error}")];
        }
        let registry = self.registry.as_deref().unwrap_or_default();
        let (subjects, versions) =
            (count(self.subjects_count as u64, "subject"), count(self.schemas_count as u64, "version"));
        let mut lines =
            vec![format!("schemas  {subjects}, {versions} of {registry}, for records up to commit {covers}")];
        let carried = [
            (self.keks_count, "KEK"),
            (self.deks_count, "DEK"),
            (self.others_count, "record of an unknown kind"),
        ];
        let carried = carried.iter().filter(|(number, _)| *number > 0);
        let carried: Vec<_> = carried.map(|(number, what)| format!("{number} x {what}")).collect();
        if !carried.is_empty() {
            lines.push(format!("keys     {}", carried.join(", ")));
        }
        lines.extend(self.schema_ids.as_ref().and_then(IdsDescription::line));
        lines
    }

    /// What scanned data says of them.
    pub(super) fn tables(&self) -> Vec<String> {
        self.schema_ids
            .iter()
            .flat_map(|ids| [ids.unknown(), ids.unframed(), ids.unused()])
            .flatten()
            .collect()
    }
}

impl IdsDescription {
    fn line(&self) -> Option<String> {
        if let Some(error) = &self.error {
            return Some(format!("ids      cannot be read: {error}"));
        }
        let RadarReport { segments, scanned, unread_batches, unknown, unknown_omitted, beyond, .. } =
            &self.report;
        if *scanned == 0 {
            return None;
        }
        let unknown = unknown.len() as u64 + unknown_omitted;
        let mut line = format!("ids      of {scanned} of {}, {unknown} unknown", count(*segments, "segment"));
        if *unread_batches > 0 {
            line.push_str(&format!(", {} could not be read", count_of(*unread_batches, "batch", "batches")));
        }
        if !beyond.is_empty() {
            let sides: Vec<_> = beyond.iter().map(|beyond| side(&beyond.topic, &beyond.side)).collect();
            line.push_str(&format!("; too many to list all in {}", sides.join(", ")));
        }
        Some(line)
    }

    fn unknown(&self) -> Option<String> {
        use Align::{Left, Right};
        let mut table = Table::new(&[
            ("UNKNOWN SCHEMA", Left),
            ("IN", Left),
            ("COUNT", Right),
            ("SEGMENTS", Right),
            ("FIRST", Left),
        ]);
        for row in &self.report.unknown {
            table.row([
                row.schema(),
                format!("{} ({})", side(&row.topic, &row.side), row.place),
                row.count.to_string(),
                row.segments.to_string(),
                format!("{}-{}@[{},{})", row.topic, row.partition, row.first, row.end),
            ]);
        }
        shown(&table, self.report.unknown_omitted, None)
    }

    fn unframed(&self) -> Option<String> {
        use Align::{Left, Right};
        let mut table = Table::new(&[
            ("PERHAPS NOT FRAMED", Left),
            ("LIKE UNKNOWN IDS", Right),
            ("KNOWN", Right),
            ("OTHERWISE", Right),
            ("SUCH AS", Left),
        ]);
        for row in &self.report.unframed {
            let examples: Vec<_> = row.examples.iter().map(ToString::to_string).collect();
            table.row([
                side(&row.topic, &row.side),
                row.count.to_string(),
                row.known.to_string(),
                row.other.to_string(),
                examples.join(", "),
            ]);
        }
        shown(&table, 0, None)
    }

    fn unused(&self) -> Option<String> {
        use Align::{Left, Right};
        let RadarReport { segments, scanned, unread_batches, unused, unused_omitted, unused_unsure, .. } =
            &self.report;
        let Some(unused) = unused else {
            let why = match (segments - scanned, unread_batches) {
                _ if *scanned == 0 => return None,
                (0, 0) => "only some topics were looked at".to_owned(),
                (0, unread) => format!("{} could not be read", count_of(*unread, "batch", "batches")),
                (missing, _) => format!("{missing} of {} are not scanned", count(*segments, "segment")),
            };
            return Some(format!("Which schemas no data uses cannot be said: {why}"));
        };
        let mut table = Table::new(&[("USED BY NO DATA", Left), ("VERSION", Right), ("ID", Right)]);
        for row in unused {
            table.row([row.subject.clone(), row.version.to_string(), row.id.to_string()]);
        }
        let unsure = (*unused_unsure > 0).then(|| {
            let them = count(*unused_unsure, "version");
            format!("Of {them} it cannot be said whether data uses them: too many different ids were seen")
        });
        shown(&table, *unused_omitted, unsure)
    }
}

fn shown(table: &Table, omitted: u64, note: Option<String>) -> Option<String> {
    let more = (omitted > 0).then(|| format!("and {omitted} more"));
    let lines = (!table.is_empty()).then(|| table.to_string()).into_iter().chain(more).chain(note);
    let lines: Vec<_> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// One side of a topic in words.
fn side(topic: &Topic, side: &str) -> String {
    format!("{side}s of {topic}")
}

fn count_of(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

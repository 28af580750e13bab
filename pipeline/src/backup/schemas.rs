//! Schemas beside the data: the registry is looked at after data was committed, and what it has by then covers that data.
//!
//! A producer registers a schema before it sends a record with its id. So a walk through the registry that *begins* after a record was
//! fetched sees the record's schema, unless the registry itself has lost it; and a walk that begins after commit n covers all data
//! up to n. Data never waits for that, and a registry that is away stops nothing: how far the schemas have come is told instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use formats::commit::Op;
use formats::ids::Topic;
use formats::schema_ids::IdTally;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::message::ToOrder;
use super::progress::BackupProgress;
use crate::commit_log::CommitLog;
use crate::schemas::{Depth, KnownIds, SchemaSelection, SchemaSource, SchemaWriter, UnknownId, Walked};
use crate::seam::{Seam, backoff};
use crate::{Error, Result};

/// Walks through versions take at most one part in so many of the time, however often data comes; so do those through settings.
const SHARE: u32 = 20;
/// Between two walks that ask for settings and modes too, which cost a request or two a subject.
const SETTINGS_INTERVAL: Duration = Duration::from_secs(300);
/// Between two writings of the views for people, and no more of their bytes a second than this.
const VIEWS_INTERVAL: Duration = Duration::from_secs(60);
const VIEWS_RATE: u64 = 4096;
/// How long a run that was told to stop still waits for the registry.
const LAST_WALK: Duration = Duration::from_secs(5);
/// How long a walk may take that is made before the first record is fetched.
const FIRST_WALK: Duration = Duration::from_secs(60);
/// Subjects that are named; more are counted.
const NAMED: usize = 10;

/// How schemas are backed up.
#[derive(Debug, Clone)]
pub struct SchemaSettings {
    /// Where they come from.
    pub source: Arc<dyn SchemaSource>,
    /// Which of them.
    pub selection: SchemaSelection,
    /// The shortest time between two walks.
    pub poll_interval: Duration,
    /// How far what answers may lag behind what was registered.
    pub read_delay: Duration,
    /// Whether records are looked through for the schemas that they name.
    pub scan_ids: bool,
}

/// What a backup did about schemas.
#[derive(Debug, Clone, Default)]
pub struct SchemaReport {
    /// The last commit whose records have all their schemas in the backup, as far as the registry still had them.
    pub covers: u64,
    /// Subjects in the backup.
    pub subjects: u64,
    /// Versions in the backup, those that the registry has no more included.
    pub versions: u64,
    /// Versions that this run added.
    pub new: u64,
    /// Versions that the registry has no more since this run.
    pub gone: u64,
    /// Subjects of the backup's topics of which the selection leaves something out.
    pub left_out: Vec<String>,
    /// Why the last walk failed: records after `covers` may have schemas that are not in the backup.
    pub failed: Option<String>,
    /// Why settings and modes could not be read when they were asked for last: those in the backup may be older.
    pub settings_failed: Option<String>,
    /// Why keys of encryption could not be read when they were asked for last: some may not be in the backup.
    pub keys_failed: Option<String>,
    /// Schemas that records of this run name and that the backup does not have although the registry was looked at after them; none
    /// where records are not scanned, or the last walk failed.
    pub unknown_ids: Option<Vec<UnknownId>>,
}

/// Keeps the schemas of a running backup.
pub(super) struct Follower {
    settings: SchemaSettings,
    writer: SchemaWriter,
    seam: Seam,
    progress: Arc<BackupProgress>,
    /// The last commit that is covered, and whether anything ever was.
    covers: Option<u64>,
    /// The snapshot that was told last, and what it covers: who is idle makes no commits.
    told: Option<(String, u64)>,
    /// The backup's topics, as they were at its start.
    topics: BTreeSet<Topic>,
    report: SchemaReport,
    /// How long the last walk through versions alone took.
    walk_took: Duration,
    settings_due: Instant,
    views_due: Instant,
}

impl Follower {
    pub(super) async fn open(
        settings: SchemaSettings,
        log: &CommitLog,
        seam: Seam,
        progress: Arc<BackupProgress>,
    ) -> Result<Self> {
        let known = log.state().schemas.as_ref();
        let writer = SchemaWriter::open(
            Arc::clone(log.store()),
            seam.clone(),
            log.incarnation(),
            settings.selection.clone(),
            known.map(|(newest, _)| newest),
        );
        let writer = writer.await.map_err(|error| error.at("the backup's schemas"))?;
        let (report, now) = (SchemaReport::default(), Instant::now());
        // The first walk asks for everything, in this run as in every other.
        Ok(Self {
            settings,
            writer,
            seam,
            progress,
            covers: None,
            told: known.map(|(newest, covers)| (newest.key.clone(), *covers)),
            topics: BTreeSet::new(),
            report,
            walk_took: Duration::ZERO,
            settings_due: now,
            views_due: now + VIEWS_INTERVAL,
        })
    }

    /// Says what the selection leaves out of the topics that are backed up, before the first record is fetched. Costs a walk, and
    /// only where something can be left out.
    pub(super) async fn announce(&mut self, log: &mut CommitLog, topics: BTreeSet<Topic>) -> Result<()> {
        self.topics = topics;
        if self.settings.selection.is_everything() {
            return Ok(());
        }
        let head = log.head().seq;
        match timeout(FIRST_WALK, self.walk(head)).await {
            Ok(Ok(op)) => {
                if let Some(op) = op {
                    log.commit(vec![op]).await?;
                }
            }
            Ok(Err(error)) => self.say_failed(&error),
            Err(_) => self.say_failed(&Error::retry(format!("no end after {} s", FIRST_WALK.as_secs()))),
        }
        Ok(())
    }

    /// Looks at the registry after data was committed, until `stop`. `data` is the number of the last commit with data.
    pub(super) async fn run(
        mut self,
        mut data: watch::Receiver<u64>,
        out: mpsc::Sender<ToOrder>,
        stop: CancellationToken,
    ) -> Result<Self> {
        let (mut due, mut failures) = (Instant::now(), 0);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(self),
                () = sleep_until(due) => {}
            }
            let head = *data.borrow_and_update();
            if self.covers.is_some_and(|covers| covers >= head) && Instant::now() < self.settings_due {
                tokio::select! {
                    () = stop.cancelled() => return Ok(self),
                    () = sleep_until(self.settings_due) => {}
                    // Without an end to wait for the run is over, and `stop` comes.
                    changed = data.changed() => if changed.is_err() { stop.cancelled().await },
                }
                continue;
            }
            let walked = tokio::select! {
                () = stop.cancelled() => return Ok(self),
                walked = self.walk_late(head) => walked,
            };
            due = match walked {
                Ok(op) => {
                    failures = 0;
                    if let Some(op) = op
                        && out.send(ToOrder::Op(op)).await.is_err()
                    {
                        return Ok(self);
                    }
                    self.renew_views().await;
                    Instant::now() + self.settings.poll_interval.max(self.walk_took * SHARE)
                }
                Err(error) => {
                    self.say_failed(&error);
                    failures += 1;
                    let pause =
                        backoff(&*self.seam.rand, failures, Duration::from_secs(1), Duration::from_secs(60));
                    Instant::now() + pause.max(self.settings.poll_interval)
                }
            };
        }
    }

    /// The last walk, after the last data was committed; `stopped` where somebody waits for the end of the run.
    pub(super) async fn finish(
        mut self,
        log: &mut CommitLog,
        stopped: bool,
        seen: BTreeMap<Topic, IdTally>,
    ) -> Result<SchemaReport> {
        let head = log.head().seq;
        // Settings as they are at the end; where somebody waits, what records need and no more.
        self.settings_due = Instant::now() + if stopped { SETTINGS_INTERVAL } else { Duration::ZERO };
        let walk = self.walk_late(head);
        let walked = match stopped {
            false => walk.await,
            true => timeout(LAST_WALK, walk).await.unwrap_or_else(|_| {
                let text = format!("no end within {} s of being told to stop", LAST_WALK.as_secs());
                Err(Error::retry(text).hint("the next run goes on from there"))
            }),
        };
        match walked {
            Ok(op) => {
                if let Some(op) = op {
                    log.commit(vec![op]).await?;
                }
            }
            Err(error) => self.say_failed(&error),
        }
        self.writer.write_views().await;
        self.report.covers = log.state().schemas.as_ref().map_or(0, |(_, covers)| *covers);
        let catalog = self.writer.catalog();
        self.report.subjects = catalog.subjects.len() as u64;
        self.report.versions = catalog.versions().count() as u64;
        if self.settings.scan_ids && self.report.failed.is_none() {
            let known = KnownIds::of(catalog);
            let unknown = seen.into_iter().flat_map(|(topic, tally)| known.unknown(&topic, &tally.finish()));
            let unknown: Vec<_> = unknown.collect();
            say_unknown(&unknown);
            self.report.unknown_ids = Some(unknown);
        }
        Ok(self.report)
    }

    async fn walk_late(&mut self, head: u64) -> Result<Option<Op>> {
        sleep(self.settings.read_delay).await;
        self.walk(head).await
    }

    /// Gives what to commit, if that says anything new.
    async fn walk(&mut self, head: u64) -> Result<Option<Op>> {
        let source = Arc::clone(&self.settings.source);
        if Instant::now() >= self.settings_due {
            let began = Instant::now();
            let walked = self.writer.walk(&*source, Depth::Everything, head).await;
            self.settings_due = Instant::now() + SETTINGS_INTERVAL.max(began.elapsed() * SHARE);
            self.report.settings_failed = walked.as_ref().err().map(ToString::to_string);
            match walked {
                Ok(walked) => {
                    if let Some(why) = &walked.keys_failed {
                        tracing::warn!(why, registry = source.name(), "keys of encryption could not be read");
                    }
                    self.report.keys_failed.clone_from(&walked.keys_failed);
                    return Ok(self.note(walked, head));
                }
                // Perhaps it is only settings that cannot be read. What records need are the versions.
                Err(error) => {
                    tracing::warn!(%error, registry = source.name(), "settings and modes could not be read; versions are read without them");
                }
            }
        }
        let began = Instant::now();
        let walked = self.writer.walk(&*source, Depth::Versions, head).await;
        self.walk_took = began.elapsed();
        Ok(self.note(walked?, head))
    }

    fn note(&mut self, walked: Walked, head: u64) -> Option<Op> {
        self.covers = Some(head);
        self.report.new += walked.new;
        self.report.gone += walked.gone;
        self.report.failed = None;
        let left_out = of_topics(&walked.left_out, &self.topics);
        if left_out.len() > self.report.left_out.len() {
            say_left_out(&left_out);
        }
        self.report.left_out = left_out;
        BackupProgress::add(&self.progress.schema_walks, 1);
        BackupProgress::add(&self.progress.schemas_new, walked.new);
        let Some(Op::Schemas { object, covers, .. }) = &walked.op else { return None };
        let told = Some((object.key.clone(), *covers));
        let is_new = told != self.told;
        self.told = told;
        walked.op.filter(|_| is_new)
    }

    async fn renew_views(&mut self) {
        if Instant::now() >= self.views_due {
            let size = self.writer.write_views().await;
            self.views_due =
                Instant::now() + VIEWS_INTERVAL.max(Duration::from_secs(size as u64 / VIEWS_RATE));
        }
    }

    fn say_failed(&mut self, error: &Error) {
        tracing::warn!(%error, registry = self.settings.source.name(), "the schemas could not be backed up; data goes on without them");
        BackupProgress::add(&self.progress.schema_failures, 1);
        self.report.failed = Some(error.to_string());
    }
}

/// Those subjects that records of these topics use, as far as their names tell.
fn of_topics(subjects: &BTreeSet<String>, topics: &BTreeSet<Topic>) -> Vec<String> {
    let is_used = |subject: &&String| {
        let name = subject.rsplit_once(':').map_or(subject.as_str(), |(_, name)| name);
        topics.iter().any(|topic| name.strip_prefix(topic.as_str()).is_some_and(|rest| rest.starts_with('-')))
    };
    subjects.iter().filter(is_used).cloned().collect()
}

/// The first of them, and how many more there are.
fn first_of(all: &[String]) -> String {
    let more = all.len().saturating_sub(NAMED);
    let named = all[..all.len() - more].join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

fn say_unknown(unknown: &[UnknownId]) {
    if !unknown.is_empty() {
        let named = unknown.iter().map(|id| format!("{} in {}s of {}", id.schema, id.side, id.topic));
        let named = first_of(&named.collect::<Vec<_>>());
        tracing::warn!(
            "records name schemas that the registry does not have, or that a filter leaves out: {named}. The data is in the backup; who reads \
             it needs these schemas from elsewhere. `replevin describe` shows where they are"
        );
    }
}

fn say_left_out(used: &[String]) {
    if !used.is_empty() {
        let named = first_of(used);
        tracing::warn!(
            "schemas that records of this backup's topics use are left out: of {named}. What bears their ids cannot be read \
             where the registry is lost: take all subjects and versions"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::archive::samples::Sample;
    use crate::schemas::shelf::Shelf;
    use formats::schemas::PlaceRow;

    async fn follower(sample: &Sample, shelf: &Arc<Shelf>) -> Follower {
        let settings = SchemaSettings {
            source: Arc::clone(shelf) as Arc<dyn SchemaSource>,
            selection: SchemaSelection::all(),
            poll_interval: Duration::from_secs(1),
            read_delay: Duration::ZERO,
            scan_ids: false,
        };
        let seam = Sample::seam(&sample.clock);
        Follower::open(settings, &sample.log, seam, Arc::default()).await.unwrap()
    }

    fn covers(message: Option<ToOrder>) -> u64 {
        match message {
            Some(ToOrder::Op(Op::Schemas { covers, .. })) => covers,
            _ => panic!("no schemas are told"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn settings_that_cannot_be_read_hold_no_versions_back() {
        let mut sample = Sample::new().await;
        let shelf = Arc::new(Shelf { refuses_settings: true, ..Shelf::default() });
        shelf.put("s", 1, 1, "\"int\"");
        let report =
            follower(&sample, &shelf).await.finish(&mut sample.log, false, BTreeMap::new()).await.unwrap();
        assert!(report.settings_failed.is_some_and(|why| why.contains("403")));
        assert_eq!((report.failed, report.versions, report.covers), (None, 1, 1));
        assert_eq!(*shelf.asked.lock().unwrap(), [Depth::Everything, Depth::Versions]);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_cannot_be_read_hold_no_settings_back() {
        let mut sample = Sample::new().await;
        let shelf = Arc::new(Shelf::default());
        shelf.put("s", 1, 1, "\"int\"");
        let place = PlaceRow { place: "s".into(), config: None, mode: Some("READONLY".into()) };
        *shelf.places.lock().unwrap() = vec![place.clone()];
        *shelf.keys_fail.lock().unwrap() = Some("GET /dek-registry/v1/keks: 403".into());
        let mut follower = follower(&sample, &shelf).await;
        follower.walk(1).await.unwrap();
        assert_eq!(follower.writer.catalog().places.get("s"), Some(&place));
        let report = follower.finish(&mut sample.log, false, BTreeMap::new()).await.unwrap();
        assert_eq!((report.failed, report.settings_failed), (None, None));
        assert!(report.keys_failed.is_some_and(|why| why.contains("403")));
    }

    #[tokio::test(start_paused = true)]
    async fn data_is_covered_by_a_walk_that_began_after_it_and_an_idle_registry_tells_nothing() {
        let sample = Sample::new().await;
        let shelf = Arc::new(Shelf::default());
        shelf.put("s", 1, 1, "\"int\"");
        let (data, stop) = (watch::Sender::new(1), CancellationToken::new());
        let (out, mut told) = mpsc::channel(16);
        let run = follower(&sample, &shelf).await.run(data.subscribe(), out, stop.clone());
        let run = tokio::spawn(run);
        assert_eq!(covers(told.recv().await), 1);
        // While it looks for 2, 3 comes: that look covers 2 and no more, and there is another one.
        shelf.put("s", 2, 2, "\"long\"");
        shelf.hangs.store(true, Ordering::Relaxed);
        data.send_replace(2);
        sleep(Duration::from_secs(5)).await;
        data.send_replace(3);
        assert_eq!(shelf.asked.lock().unwrap().len(), 2);
        assert!(told.try_recv().is_err());
        stop.cancel();
        let again = run.await.unwrap().unwrap();
        assert_eq!(again.covers, Some(1), "a walk that was broken off covers nothing");
        shelf.hangs.store(false, Ordering::Relaxed);
        let (out, mut told) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let run = tokio::spawn(again.run(data.subscribe(), out, stop.clone()));
        assert_eq!(covers(told.recv().await), 3);
        // Settings are asked for now and then, and what is found is what was told.
        sleep(SETTINGS_INTERVAL * 4).await;
        assert!(told.try_recv().is_err());
        assert!(shelf.asked.lock().unwrap().len() > 5);
        stop.cancel();
        run.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_told_to_stop_does_not_wait_for_a_registry_that_hangs() {
        let mut sample = Sample::new().await;
        let shelf = Arc::new(Shelf::default());
        shelf.hangs.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let report =
            follower(&sample, &shelf).await.finish(&mut sample.log, true, BTreeMap::new()).await.unwrap();
        assert!(began.elapsed() <= LAST_WALK + Duration::from_secs(1));
        assert!(report.failed.is_some_and(|why| why.contains("told to stop")));
        assert_eq!(*shelf.asked.lock().unwrap(), [Depth::Versions]);
    }

    #[tokio::test(start_paused = true)]
    async fn ids_that_the_registry_does_not_know_are_named_unless_it_was_away() {
        let seen = || {
            let mut ids = formats::schema_ids::SchemaIds::default();
            ids.value.prefix.ids = [1, 9].map(|id| (formats::ids::SchemaId::new(id).unwrap(), 3)).to_vec();
            let mut tally = IdTally::default();
            tally.merge(&ids);
            BTreeMap::from([(Topic::new("t").unwrap(), tally)])
        };
        for (scan_ids, hangs, expected) in
            [(true, false, Some(vec!["schema id 9"])), (true, true, None), (false, false, None)]
        {
            let mut sample = Sample::new().await;
            let shelf = Arc::new(Shelf::default());
            shelf.put("t-value", 1, 1, "\"int\"");
            shelf.hangs.store(hangs, Ordering::Relaxed);
            let mut follower = follower(&sample, &shelf).await;
            follower.settings.scan_ids = scan_ids;
            let report = follower.finish(&mut sample.log, hangs, seen()).await.unwrap();
            let named =
                report.unknown_ids.map(|ids| ids.iter().map(|id| id.schema.to_string()).collect::<String>());
            assert_eq!(named, expected.map(|ids: Vec<&str>| ids.join(", ")));
            assert_eq!(report.failed.is_some(), hangs);
        }
    }

    #[test]
    fn a_topics_subjects_are_known_by_their_names() {
        let subjects =
            ["orders-value", "orders-key", ":.eu:orders-com.x.Order", "ordersx-value", "com.x.Order"];
        let subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
        let topics = [Topic::new("orders").unwrap()].into();
        let used = of_topics(&subjects, &topics);
        assert_eq!(used, [":.eu:orders-com.x.Order", "orders-key", "orders-value"]);
    }
}

//! Schemas that come while records do: the source's registry is walked, what is new is brought to the target's, and records get the
//! ids that it gave.
//!
//! A producer registers a schema before it sends a record with its id. So a walk that begins after a record was fetched sees the
//! schema, unless the registry has lost it: a flow that meets an id it does not know asks for such a walk and waits for it, and
//! holds nothing meanwhile. What the walks find lies in memory, as a snapshot in the form that an archive has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use formats::commit::Op;
use formats::ids::{Incarnation, Topic};
use formats::wire::Side;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::reread::Ids;
use crate::budget::Budget;
use crate::kafka::Client;
use crate::restore::journal::{TopicJournal, notes, notes_id};
use crate::restore::schemas::{
    Framing, Remap, SchemaNotes, SchemaRules, TopicFraming, TopicRemap, UnknownIds,
};
use crate::schemas::{Depth, SchemaArchive, SchemaSelection, SchemaSource, SchemaWriter};
use crate::seam::backoff;
use crate::storage::Store;
use crate::storage::memory::MemoryStore;
use crate::{Error, Result, failpoint};

/// Between two walks that ask for settings and modes too.
const SETTINGS_INTERVAL: Duration = Duration::from_secs(300);
/// The shortest pause between two walks, whoever asks.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
/// Walks take at most one part in so many of the time.
const SHARE: u32 = 10;
/// Records of a topic that are looked at to find out whether they name schemas.
const ENOUGH: u32 = 1000;

/// How schemas are migrated.
#[derive(Debug, Clone)]
pub struct MigrateSchemas {
    /// The source's registry.
    pub source: Arc<dyn SchemaSource>,
    /// Which of its schemas.
    pub selection: SchemaSelection,
    /// The shortest time between two walks where nothing asks for one.
    pub poll_interval: Duration,
    /// How far what it answers may lag behind what was registered.
    pub read_delay: Duration,
    /// The target's registry, and what becomes of ids in records.
    pub rules: SchemaRules,
}

/// What is known of schemas after a walk.
#[derive(Debug, Clone)]
pub(super) struct Current {
    /// Counts the walks that have come to their end.
    pub(super) walk: u64,
    remap: Arc<Remap>,
}

/// What is done to records of a topic; nothing where they need not be looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// Below `covered`: what is not known is not there.
    pub(super) settled: Option<Arc<TopicRemap>>,
    /// From there on: what is not known may have come since.
    pub(super) open: Option<Arc<TopicRemap>>,
    pub(super) covered: i64,
}

/// What flows ask for what becomes of ids.
#[derive(Debug)]
pub(super) struct Schemas {
    rules: SchemaRules,
    current: watch::Receiver<Current>,
    asked: Arc<Notify>,
    /// And how many records were looked at for that.
    framings: Mutex<BTreeMap<Topic, (TopicFraming, u32)>>,
    /// The rules that were made last, and by what.
    made: Mutex<BTreeMap<Topic, (By, Rules)>>,
}

/// What rules follow from: the walk, what both sides are taken for, whether headers name schemas.
type By = (u64, Framing, Framing, bool);

impl Schemas {
    /// What is known now.
    pub(super) fn current(&self) -> Current {
        self.current.borrow().clone()
    }

    /// Asks for a walk that begins after now, and waits until it has come to its end; false where nobody walks any more.
    pub(super) async fn walk_after(&self, walk: u64) -> bool {
        // The next one may have begun already.
        let mut current = self.current.clone();
        loop {
            if current.borrow_and_update().walk >= walk + 2 {
                return true;
            }
            self.asked.notify_one();
            if current.changed().await.is_err() {
                return false;
            }
        }
    }

    /// What is done to records of a topic, given whole batches of it. What lies below `covered` was fetched before the last walk
    /// began, so that what is not known is not there; none where a record behind it may name a schema that came since. Not for the
    /// threads that drive the runtime.
    pub(super) fn topic(
        &self,
        current: &Current,
        topic: &Topic,
        covered: Option<i64>,
        batches: &[u8],
    ) -> Result<Option<Rules>> {
        if !self.rules.rewrite {
            return Ok(Some(Rules::default()));
        }
        let (known, looked) = self.framings().get(topic).copied().unwrap_or_default();
        let sample = (looked < ENOUGH).then_some((batches, covered.unwrap_or(i64::MIN)));
        let (framing, more, is_stale) = current.remap.framing(&self.rules.told, topic, known, sample)?;
        if is_stale {
            return Ok(None);
        }
        let framing = {
            let mut framings = self.framings();
            let known = framings.entry(topic.clone()).or_default();
            // Other partitions have looked meanwhile. What was taken for framed stays so: each record is read before it changes.
            let mut framing = framing;
            for side in Side::ALL {
                if known.0.side(side).how == Framing::Inferred && framing.side(side).how == Framing::Raw {
                    framing = framing.inferred(side);
                }
            }
            *known = (framing, known.1.max(looked).saturating_add(more));
            framing
        };
        let by = (current.walk, framing.key.how, framing.value.how, framing.headers > 0);
        let covered = covered.unwrap_or(i64::MIN);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rules)) = made.get(topic).filter(|(known, _)| *known == by) {
            return Ok(Some(Rules { covered, ..rules.clone() }));
        }
        let settled = current.remap.of(topic, framing, self.rules.unknown, true);
        let open = current.remap.of(topic, framing, UnknownIds::Fail, false);
        let rules = Rules { settled, open, covered };
        made.insert(topic.clone(), (by, rules.clone()));
        Ok(Some(rules))
    }

    /// What becomes of ids in a topic whose records are read once more.
    pub(super) fn reread(self: &Arc<Self>, topic: &Topic) -> Ids {
        let current = self.current();
        // Where this run has brought nothing of it, the records tell once more what it is taken for.
        let known = self.framings().get(topic).copied();
        let rules = known.map(|(framing, _)| {
            let rules = current.remap.of(topic, framing, self.rules.unknown, true);
            rules.filter(|_| self.rules.rewrite)
        });
        Ids::new(Arc::clone(self), current, topic.clone(), rules)
    }

    /// What the topics are taken for.
    pub(super) fn taken_for(&self) -> BTreeMap<Topic, TopicFraming> {
        self.framings().iter().map(|(topic, (framing, _))| (topic.clone(), *framing)).collect()
    }

    fn framings(&self) -> MutexGuard<'_, BTreeMap<Topic, (TopicFraming, u32)>> {
        self.framings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Walks and brings.
pub(super) struct Follower {
    settings: MigrateSchemas,
    client: Client,
    writer: SchemaWriter,
    store: Arc<dyn Store>,
    notes: Arc<dyn SchemaNotes>,
    asked: Arc<Notify>,
    /// The snapshot that was brought last.
    brought: Option<String>,
    settings_due: Instant,
    report: Arc<Mutex<SchemaReport>>,
}

/// What a migration did with schemas.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct SchemaReport {
    /// Where they went.
    pub target: String,
    /// Walks through the source's registry.
    pub walks: u64,
    /// Subjects of the source.
    pub subjects: u64,
    /// Versions of the source.
    pub versions: u64,
    /// What ids of the source are in the target: `5`, or `:.context:5` in another context than the default one.
    pub ids: BTreeMap<String, u32>,
    /// Why schemas could not be read or brought when that was tried last.
    pub failed: Option<String>,
    /// By its name at the source, which topic's records name schemas, and how that is known.
    pub topics: BTreeMap<Topic, TopicFraming>,
    /// Versions that the target takes for no schemas, and those that refer to them; and what is kept beside schemas and the target does
    /// not take. With the reasons.
    pub not_taken: BTreeSet<String>,
    /// What the reader should know.
    pub warnings: BTreeSet<String>,
}

impl Follower {
    /// Before anything is touched.
    pub(super) async fn new(settings: MigrateSchemas, client: &Client) -> Result<Self> {
        let seam = client.seam().clone();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&seam.clock)));
        let incarnation = Incarnation(seam.rand.next_u64());
        let selection = settings.selection.clone();
        let writer =
            SchemaWriter::open(Arc::clone(&store), seam.clone(), incarnation, selection, None).await?;
        let target = settings.rules.target.name();
        let id = notes_id(&target);
        let journal = TopicJournal::new(client.clone(), Budget::within(64 << 20), id)?;
        let report = Arc::new(Mutex::new(SchemaReport { target, ..SchemaReport::default() }));
        Ok(Self {
            settings,
            client: client.clone(),
            writer,
            store,
            notes: notes(Arc::new(journal), id, &seam),
            asked: Arc::default(),
            brought: None,
            settings_due: Instant::now(),
            report,
        })
    }

    /// What is told at the end.
    pub(super) fn report(&self) -> Arc<Mutex<SchemaReport>> {
        Arc::clone(&self.report)
    }

    /// What would be done with schemas, in lines for people, and what speaks against it. Touches nothing.
    pub(super) async fn plan(&mut self) -> Result<(Vec<String>, Vec<String>, Vec<String>)> {
        let Some(archive) = self.look().await? else { return Ok(Default::default()) };
        let plan = self.settings.rules.target.plan(&archive, &self.notes).await?;
        Ok((plan.lines, plan.problems, plan.warnings))
    }

    /// Brings what there is, before the first record.
    ///
    /// # Errors
    /// A registry that cannot be asked; what speaks against bringing the schemas ([`crate::ErrorKind::Input`]).
    pub(super) async fn first(
        &mut self,
        stop: &CancellationToken,
    ) -> Result<(Schemas, watch::Sender<Current>)> {
        let remap = match self.walk(stop).await? {
            Some(remap) => remap,
            None => return Err(Error::permanent("the first walk through the registry has left no snapshot")),
        };
        let (out, current) = watch::channel(Current { walk: 1, remap });
        let schemas = Schemas {
            rules: self.settings.rules.clone(),
            current,
            asked: Arc::clone(&self.asked),
            framings: Mutex::default(),
            made: Mutex::default(),
        };
        Ok((schemas, out))
    }

    /// Walks on until it is told to stop.
    pub(super) async fn run(mut self, out: watch::Sender<Current>, stop: CancellationToken) -> Result<()> {
        let mut pause = self.settings.poll_interval;
        let mut failures = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep(pause) => {}
                () = self.asked.notified() => tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = sleep(LEAST_PAUSE) => {}
                },
            }
            let began = Instant::now();
            // Not dropped in its midst: what it has borrowed of the target it puts back itself, and it knows of `stop`.
            let walked = self.walk(&stop).await;
            if stop.is_cancelled() {
                return Ok(());
            }
            match walked {
                Ok(remap) => {
                    failures = 0;
                    pause = self.settings.poll_interval.max(began.elapsed() * SHARE);
                    out.send_modify(|current| {
                        current.walk += 1;
                        if let Some(remap) = remap {
                            current.remap = remap;
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, registry = self.settings.source.name(), "schemas could not be brought; partitions that need new ones wait");
                    self.say(|report| report.failed = Some(crate::restore::topics::with_hint(&error)));
                    failures += 1;
                    let rand = &*self.client.seam().rand;
                    pause = backoff(rand, failures, Duration::from_secs(1), Duration::from_secs(30));
                    // Whoever asked still waits.
                    self.asked.notify_one();
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = sleep(pause) => {}
                    }
                }
            }
        }
    }

    fn say(&self, what: impl FnOnce(&mut SchemaReport)) {
        what(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// One walk through the source's registry; what it has, where that is not what was brought last.
    async fn look(&mut self) -> Result<Option<Arc<SchemaArchive>>> {
        sleep(self.settings.read_delay).await;
        let source = Arc::clone(&self.settings.source);
        let mut depth = Depth::Versions;
        if Instant::now() >= self.settings_due {
            (depth, self.settings_due) = (Depth::Everything, Instant::now() + SETTINGS_INTERVAL);
        }
        let walked = self.writer.walk(&*source, depth, 0).await?;
        let (subjects, versions) =
            (self.writer.catalog().subjects.len() as u64, self.writer.catalog().versions().count() as u64);
        self.say(|report| {
            (report.subjects, report.versions) = (subjects, versions);
            report.walks += 1;
        });
        let Some(Op::Schemas { object, .. }) = walked.op else { return Ok(None) };
        if self.brought.as_ref() == Some(&object.key) {
            return Ok(None);
        }
        Ok(Some(Arc::new(SchemaArchive::open(Arc::clone(&self.store), &object).await?)))
    }

    /// One walk, and what is new is brought. What becomes of ids, where that has changed.
    async fn walk(&mut self, stop: &CancellationToken) -> Result<Option<Arc<Remap>>> {
        let looked = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            looked = self.look() => looked?,
        };
        let Some(archive) = looked else {
            self.say(|report| report.failed = None);
            return Ok(None);
        };
        let target = &self.settings.rules.target;
        let plan = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            plan = target.plan(&archive, &self.notes) => plan?,
        };
        if let Some(first) = plan.problems.first() {
            let more = plan.problems.len() - 1;
            let text = if more == 0 { first.clone() } else { format!("{first} (and {more} more)") };
            return Err(Error::input(text).hint("`replevin migrate --plan` lists everything"));
        }
        failpoint::hit("before_migration_schemas");
        let done = target.run(&archive, &self.notes, stop).await?;
        failpoint::hit("after_migration_schemas");
        self.brought = Some(archive.newest.key.clone());
        self.say(|report| {
            report.failed = None;
            report.ids = done.map.ids.iter().map(|(from, to)| (from.to_string(), to.number())).collect();
            report.warnings.extend(plan.warnings);
            report.warnings.extend(done.warnings);
            report.not_taken.extend(done.not_taken);
        });
        Ok(Some(Arc::new(Remap::live(&self.settings.rules, archive, &done.map))))
    }
}

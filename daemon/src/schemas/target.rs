//! Where a restore's schemas go: a registry, or nowhere, where a file alone says what ids become.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_trait::async_trait;
use formats::ids::SchemaId;
use formats::schemas::VersionRow;
use pipeline::restore::schemas::{
    ContextId, Details, PayloadReader, SchemaMap, SchemaNotes, SchemaTarget, TargetPlan, TargetReport,
};
use pipeline::schemas::SchemaArchive;
use pipeline::{Error, Result, failpoint};
use registry::client::Client;
use registry::payload::Reader;
use registry::transfer::restore::keys::{KeyPlan, KeysPut};
use registry::transfer::restore::{Action, Given, IdMap, Plan, Restore, Settings};
use registry::transfer::{self, Intents, Journal, Progress, Side};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::archived::{self, noted};
use super::keys::Carried;
use crate::cmd::registry::{failed, stopped};

/// Between two words about how far it has come.
const SAID: Duration = Duration::from_secs(10);

/// A registry.
pub(crate) struct RegistryTarget {
    client: Arc<Client>,
    settings: Settings,
    progress: Arc<Progress>,
    stop: CancellationToken,
    /// What was read and planned last, so that a restore that shows its plan first does not do it twice.
    planned: Mutex<Option<Planned>>,
}

/// The plan for a snapshot, by its key, and the archive as it was read for that.
struct Planned {
    snapshot: String,
    side: Arc<Side>,
    plans: Arc<Plans>,
    /// As it was then: what somebody else writes into it meanwhile is noticed.
    journal: Journal,
}

/// What is to be done with everything.
#[derive(Serialize)]
struct Plans {
    #[serde(flatten)]
    schemas: Plan,
    keys: KeyPlan,
    /// What stays in the backup whatever the target is.
    #[serde(skip)]
    stays: Option<String>,
    /// What of the backup is not what it should be, and stays there for that.
    #[serde(skip)]
    odd: Vec<String>,
}

/// What has become of everything.
#[derive(Serialize)]
struct Brought {
    #[serde(flatten)]
    map: IdMap,
    keys: KeysPut,
}

impl fmt::Debug for RegistryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegistryTarget").field(&self.client.name()).finish()
    }
}

impl RegistryTarget {
    /// A registry that is asked by this client.
    pub(crate) fn new(
        client: Arc<Client>,
        settings: Settings,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> Self {
        Self { client, settings, progress, stop, planned: Mutex::default() }
    }

    /// The plan, made now where there is none yet.
    async fn planned(
        &self,
        archive: &Arc<SchemaArchive>,
        notes: &Arc<dyn SchemaNotes>,
    ) -> Result<Arc<Plans>> {
        let mut planned = self.planned.lock().await;
        if let Some(Planned { snapshot, plans, .. }) = &*planned
            && *snapshot == archive.newest.key
        {
            return Ok(Arc::clone(plans));
        }
        let journal = self.journal(notes).await?;
        tracing::info!(registry = self.client.name(), "compares the schemas with those of the target");
        let side = Arc::new(archived::side(archive).await?);
        let stop = stopped(&self.stop);
        let restore = self.restore(&side, &stop);
        let name = self.client.name();
        let schemas = told(&self.progress, &name, restore.plan(&journal)).await.map_err(failed)?;
        let carried = Carried::of(archive.catalog.others.values());
        let planning = KeyPlan::of(&carried.keys, &self.client, &self.settings, &journal, &stop);
        let keys = told(&self.progress, &name, planning).await.map_err(failed)?;
        let plans = Arc::new(Plans { schemas, keys, stays: carried.line(), odd: carried.odd });
        let snapshot = archive.newest.key.clone();
        *planned = Some(Planned { snapshot, side, plans: Arc::clone(&plans), journal });
        Ok(plans)
    }

    fn restore<'a>(&'a self, side: &'a Side, stop: &'a (dyn Fn() -> bool + Sync)) -> Restore<'a> {
        Restore {
            from: side,
            to: Arc::clone(&self.client),
            settings: &self.settings,
            progress: &self.progress,
            stop,
        }
    }

    async fn journal(&self, notes: &Arc<dyn SchemaNotes>) -> Result<Journal> {
        Journal::open(Box::new(Notes(Arc::clone(notes))), &self.client).await.map_err(failed)
    }
}

#[async_trait]
impl SchemaTarget for RegistryTarget {
    fn name(&self) -> String {
        self.client.name()
    }

    async fn plan(&self, archive: &Arc<SchemaArchive>, notes: &Arc<dyn SchemaNotes>) -> Result<TargetPlan> {
        let plans = self.planned(archive, notes).await?;
        let Plans { schemas: plan, keys, stays, odd } = &*plans;
        if !plan.obstacles.is_empty() || !keys.obstacles.is_empty() {
            // Somebody may take them out of the way.
            *self.planned.lock().await = None;
        }
        let (map, new) = expected(plan);
        let mut lines = plan.lines();
        // What is in the way and what is to be known have places of their own.
        lines.retain(|line| !["note: ", "in the way: ", "  -> "].iter().any(|said| line.starts_with(said)));
        lines.extend(keys.lines());
        lines.extend(stays.clone());
        lines.extend(odd.iter().map(|what| format!("  left in the backup {what}")));
        let problems = plan.obstacles.iter().map(|obstacle| {
            let version = obstacle.version.map_or(String::new(), |version| format!(" version {version}"));
            let subject = if obstacle.subject.is_empty() { "the registry" } else { &*obstacle.subject };
            format!("schemas: {subject}{version}: {}; {}", obstacle.why, obstacle.next_step)
        });
        let of_keys = keys.obstacles.iter();
        let of_keys = of_keys.map(|one| format!("schemas: {}: {}; {}", one.key, one.why, one.next_step));
        let mut problems: Vec<String> = problems.chain(of_keys).collect();
        let more = (plan.obstacle_count + keys.obstacle_count).saturating_sub(problems.len() as u64);
        if more > 0 {
            problems.push(format!("schemas: {more} more are in the way"));
        }
        let warnings = warnings(plan.warnings.iter().chain(&keys.warnings));
        let details = Details::of(Arc::clone(&plans));
        Ok(TargetPlan { lines, details, problems, warnings, map, new })
    }

    async fn run(
        &self,
        archive: &Arc<SchemaArchive>,
        notes: &Arc<dyn SchemaNotes>,
        stop: &CancellationToken,
    ) -> Result<TargetReport> {
        self.planned(archive, notes).await?;
        // Afterwards the target is not what it was planned for.
        let planned = self.planned.lock().await.take();
        let Some(Planned { side, plans, mut journal, .. }) = planned else {
            return Err(Error::permanent("two restores of schemas go on in one process"));
        };
        let is_stopped = stopped(stop);
        let stop = || {
            // Asked before anything is written, and before each version: from then on modes and levels are those of the restore.
            failpoint::hit("before_schema_write");
            is_stopped()
        };
        let Plans { schemas: plan, keys, stays, odd } = &*plans;
        let (restore, name) = (self.restore(&side, &stop), self.client.name());
        // Where the schemas are refused nothing is written, and what an earlier run has borrowed goes back.
        let put = match plan.obstacles.is_empty() {
            true => told(&self.progress, &name, keys.put(&self.client, &mut journal, &is_stopped)).await,
            false => Ok(KeysPut::default()),
        };
        let put = put.map_err(failed)?;
        let running = restore.run(plan, &mut journal);
        let outcome = told(&self.progress, &name, running).await.map_err(failed)?;
        // What is to be known of keys was told with the plan.
        let (stays, warnings) = (stays.clone(), warnings(&outcome.warnings));
        let not_taken = [&outcome.not_taken, odd, &keys.not_taken, &put.not_taken];
        let not_taken = not_taken.into_iter().flatten().cloned().collect();
        // What has become of each schema takes as much again.
        drop((side, plans));
        let mut map = SchemaMap::default();
        for (from, to) in &outcome.map.ids {
            map.ids.extend(pair(from, to.id));
        }
        for (from, to) in &outcome.map.guids {
            if let (Ok(from), Ok(to)) = (Uuid::parse_str(from), Uuid::parse_str(to)) {
                map.guids.insert(from, to);
            }
        }
        map.unmapped_guids =
            outcome.map.unmapped_guids.iter().filter_map(|guid| Uuid::parse_str(guid).ok()).collect();
        let counts = [
            (outcome.registered, "registered"),
            (outcome.deleted, "softly deleted"),
            (outcome.removed, "of the target deleted for good"),
            (outcome.configs, "settings set"),
            (outcome.modes, "modes set"),
        ];
        let counts =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        let counts: Vec<String> = counts.collect();
        let said = if counts.is_empty() { "nothing was to be done".to_owned() } else { counts.join(", ") };
        let mut lines = vec![format!("{name}: {said}")];
        lines.extend(put.said().map(|said| format!("{name}: {said}")));
        lines.extend(stays);
        let details = Details::of(Brought { map: outcome.map, keys: put });
        Ok(TargetReport { lines, details, map, warnings, not_taken })
    }

    async fn put_back(&self, notes: &Arc<dyn SchemaNotes>) -> Result<bool> {
        let mut journal = self.journal(notes).await?;
        let is_left_over = journal.is_left_over();
        if is_left_over {
            journal.put_back(&self.client).await.map_err(failed)?;
        }
        Ok(is_left_over)
    }

    async fn reader(
        &self,
        archive: &SchemaArchive,
        row: &VersionRow,
    ) -> Result<Option<Arc<dyn PayloadReader>>> {
        reader(archive, row).await
    }
}

/// What is to be known of schemas and keys.
fn warnings<'a>(told: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    told.into_iter().map(|warning| format!("schemas: {warning}")).collect()
}

/// Says every now and then how far it has come.
async fn told<T>(progress: &Progress, registry: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(SAID, work.as_mut()).await {
            Ok(done) => return done,
            Err(_) => {
                let [read, written, wanted] =
                    [&progress.read, &progress.written, &progress.wanted].map(|count| count.load(Relaxed));
                tracing::info!(registry, read, written, wanted, "goes on with schemas");
            }
        }
    }
}

/// What ids become as far as that is known before anything is done, and those that the target is to give.
fn expected(plan: &Plan) -> (SchemaMap, Vec<ContextId>) {
    let (mut map, mut new) = (SchemaMap::default(), Vec::new());
    for version in &plan.versions {
        let is_there = match version.action {
            Action::Create
            | Action::Replace
            | Action::Delete
            | Action::Exists
            | Action::ExistsUnderOtherId
            | Action::Shared => true,
            Action::Skipped
            | Action::Conflict
            | Action::Incompatible
            | Action::ReferenceMissing
            | Action::Cycle
            | Action::NotTaken => false,
        };
        let from = transfer::restore::ContextId::of(&version.key(), version.id);
        match version.target_id.filter(|_| is_there) {
            Some(id) => map.ids.extend(pair(&from, id)),
            None if is_there => new.extend(pair(&from, version.id).map(|(from, _)| from)),
            None => {}
        }
    }
    (map, new)
}

fn pair(from: &transfer::restore::ContextId, to: u32) -> Option<(ContextId, SchemaId)> {
    let context = from.context.as_str().into();
    Some((ContextId { context, id: SchemaId::new(from.id)? }, SchemaId::new(to)?))
}

/// No registry: a file says what ids become, and all others stay.
#[derive(Debug)]
pub(crate) struct GivenTarget {
    given: Given,
    /// Where it was read from.
    file: String,
}

impl GivenTarget {
    /// As this mapping says, which is called so in messages.
    pub(crate) fn new(given: Given, file: String) -> Self {
        Self { given, file }
    }

    fn map(&self, archive: &SchemaArchive) -> SchemaMap {
        let mut map = SchemaMap::default();
        for row in archive.catalog.versions() {
            let key = transfer::Key { subject: row.subject.as_str().into(), version: row.version };
            let from = transfer::restore::ContextId::of(&key, row.id);
            map.ids.extend(pair(&from, self.given.get(&from).unwrap_or(row.id)));
        }
        map
    }
}

#[async_trait]
impl SchemaTarget for GivenTarget {
    fn name(&self) -> String {
        self.file.clone()
    }

    async fn plan(&self, archive: &Arc<SchemaArchive>, _: &Arc<dyn SchemaNotes>) -> Result<TargetPlan> {
        let map = self.map(archive);
        let others = map.ids.iter().filter(|(from, to)| from.id != **to).count();
        let lines =
            vec![format!("no schemas are restored; {others} ids become others as {} says", self.file)];
        let known = |id: &transfer::restore::ContextId| {
            pair(id, id.id).is_some_and(|(id, _)| map.ids.contains_key(&id))
        };
        let unknown: Vec<String> =
            self.given.iter().filter(|(id, _)| !known(id)).map(|(id, _)| id.to_string()).collect();
        let warnings = unknown.first().map(|first| {
            format!("{} names {} ids that the backup does not have, as {first}", self.file, unknown.len())
        });
        Ok(TargetPlan { lines, map, warnings: warnings.into_iter().collect(), ..TargetPlan::default() })
    }

    async fn run(
        &self,
        archive: &Arc<SchemaArchive>,
        notes: &Arc<dyn SchemaNotes>,
        _: &CancellationToken,
    ) -> Result<TargetReport> {
        let TargetPlan { lines, details, map, .. } = self.plan(archive, notes).await?;
        Ok(TargetReport { lines, details, map, ..TargetReport::default() })
    }

    async fn put_back(&self, _: &Arc<dyn SchemaNotes>) -> Result<bool> {
        Ok(false)
    }

    async fn reader(
        &self,
        archive: &SchemaArchive,
        row: &VersionRow,
    ) -> Result<Option<Arc<dyn PayloadReader>>> {
        reader(archive, row).await
    }
}

/// The registry's own understanding of a schema.
#[derive(Debug)]
struct Read(Reader);

impl PayloadReader for Read {
    fn reads(&self, payload: &[u8]) -> bool {
        self.0.is_evidence() && self.0.reads(payload, true)
    }
}

async fn reader(archive: &SchemaArchive, row: &VersionRow) -> Result<Option<Arc<dyn PayloadReader>>> {
    let made = archived::parsed(archive, row).await?.and_then(|parsed| Reader::of(&parsed));
    Ok(match made {
        Ok(reader) => Some(Arc::new(Read(reader))),
        Err(why) => {
            let (subject, version) = (&row.subject, row.version);
            tracing::warn!(%subject, version, why, "records of this schema cannot be read");
            None
        }
    })
}

/// The restore's journal, as whoever borrows modes wants it.
struct Notes(Arc<dyn SchemaNotes>);

#[async_trait]
impl Intents for Notes {
    async fn load(&self) -> transfer::Result<Option<Vec<u8>>> {
        self.0.load().await.map_err(noted)
    }

    async fn store(&self, bytes: &[u8]) -> transfer::Result<()> {
        self.0.store(bytes).await.map_err(noted)
    }

    async fn remove(&self) -> transfer::Result<()> {
        self.0.remove().await.map_err(noted)
    }

    fn name(&self) -> String {
        self.0.name()
    }
}

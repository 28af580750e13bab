//! Writing: what waits for a context is decided against one state and committed as one.
//!
//! A decision is made where nothing else can be written between looking and writing; so "check and insert" is one step. Several
//! registrations become one commit, because a durable commit costs the same for one row and for fifty. Decisions that look at more
//! than their own subject are committed alone.

use super::Live;
use super::queue::Waiting;
use crate::error::{Error, Result};
use crate::names::{Context, Subject};
use crate::schema::Reference;
use crate::standby::Marker;
use crate::state::{ContextState, Version};
use crate::store::{Change, Commit, Guard, Key, Revision, SchemaId, SchemaKey, SchemaRow, StoreError, Texts};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::time::Duration;
use uuid::Uuid;

/// Lost races before giving up. Every lost race is somebody else's commit.
const RACES: u32 = 100;
/// The pause after the first lost race at most; each is twice as long as the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A context as it will be after the decisions before this one, and what this one adds.
pub struct Draft<'a> {
    live: &'a Live,
    context: &'a Context,
    state: &'a ContextState,
    changes: Vec<Change>,
    texts: Vec<Texts>,
    /// What was looked at in other contexts.
    relied_on: Vec<(Context, Revision, Key)>,
    /// Nothing was found in any context, and that must stay so.
    needs_no_links: bool,
    links: Revision,
    /// No id below this one is given.
    least_id: SchemaId,
}

impl<'a> Draft<'a> {
    fn new(live: &'a Live, context: &'a Context, state: &'a ContextState) -> Self {
        Self {
            live,
            context,
            state,
            changes: Vec::new(),
            texts: Vec::new(),
            relied_on: Vec::new(),
            needs_no_links: false,
            // Before any look at another context: what is counted later may not have been seen.
            links: live.looks.links(),
            least_id: 0,
        }
    }

    /// Why nobody can ever write here, where that is so.
    pub(crate) fn read_only(&self) -> Option<&str> {
        self.live.read_only()
    }

    /// Refuses where only the leader of a standby says what changes. Nothing relies on that here: a registry becomes a standby only
    /// where nothing was written meanwhile.
    pub(super) fn require_own(&self) -> Result<()> {
        let marker = match self.context.is_global() {
            true => Marker::of(self.state),
            false => self.live.marker(),
        };
        marker.map_or(Ok(()), |marker| marker.require_own())
    }

    /// The marker of a standby, which must stay as it is until this is committed.
    #[cfg(feature = "client")]
    pub(crate) fn marker(&mut self) -> Option<Marker> {
        self.other(&Context::global(), [Marker::key()], Marker::of)
    }

    /// The context before this commit.
    pub fn state(&self) -> &ContextState {
        self.state
    }

    /// The settings and the mode of a whole context, which must stay as they are until this is committed.
    pub fn settings<T>(&mut self, context: &Context, look: impl FnOnce(&ContextState) -> T) -> T {
        self.other(context, [Key::Config("".into()), Key::Mode("".into())], look)
    }

    /// A version of whatever context, which must stay as it is until this is committed.
    pub fn version(&mut self, subject: &Subject, number: i32) -> Option<Version> {
        self.other(&subject.context, [Key::Version(subject.name.clone(), number)], |state| {
            state.versions(&subject.name).iter().find(|version| version.version == number).copied()
        })
    }

    fn other<T>(
        &mut self,
        context: &Context,
        rows: impl IntoIterator<Item = Key>,
        look: impl FnOnce(&ContextState) -> T,
    ) -> T {
        if context == self.context {
            return look(self.state);
        }
        self.live.read(context, |state| {
            let seen = state.head().revision;
            self.relied_on.extend(rows.into_iter().map(|key| (context.clone(), seen, key)));
            look(state)
        })
    }

    /// Whether a reference that somebody looks for is found in any context. If not, none may be made until this is committed.
    pub fn is_linked(&mut self, mut look: impl FnMut(&Context, &ContextState) -> bool) -> bool {
        self.needs_no_links = true;
        let own = look(self.context, self.state);
        let mut others = self.live.contexts().into_iter().filter(|context| context != self.context);
        own || others.any(|context| self.live.read(&context, |state| look(&context, state)))
    }

    /// Schemas that this commit brings.
    fn fresh(&self) -> impl Iterator<Item = &SchemaRow> {
        self.changes
            .iter()
            .filter_map(|change| if let Change::Schema(row) = change { Some(row) } else { None })
    }

    /// The schemas of a content, those of the lowest id first.
    pub fn schemas_of(&self, identity: &[u8; 16]) -> Vec<SchemaRow> {
        let known = self.state.keys_of(identity).filter_map(|key| self.state.schema(key));
        let fresh = self.fresh().filter(|row| row.identity == *identity);
        let mut rows: Vec<_> = known.chain(fresh).cloned().collect();
        rows.sort_by_key(|row| row.key);
        rows
    }

    /// A schema, also one that an earlier decision of this commit has brought.
    pub fn schema(&self, key: SchemaKey) -> Option<&SchemaRow> {
        self.fresh().find(|row| row.key == key).or_else(|| self.state.schema(key))
    }

    /// Whether this commit brings a schema with this id.
    pub fn has_fresh(&self, id: SchemaId) -> bool {
        self.fresh().any(|row| row.key.id == id)
    }

    /// Whether this commit puts a version that is this schema.
    pub fn uses(&self, key: SchemaKey) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Version(row) if row.schema == key))
    }

    /// The id that a new schema would get.
    pub fn next_id(&self) -> SchemaId {
        let least = self.state.head().next_id.max(self.least_id);
        self.fresh().map(|row| row.key.id.saturating_add(1)).fold(least, SchemaId::max)
    }

    /// No id below this one will be given. Without a change it is forgotten.
    #[cfg(feature = "client")]
    pub(crate) fn raise_next_id(&mut self, least: SchemaId) {
        self.least_id = self.least_id.max(least);
    }

    /// Adds a schema under its id.
    pub fn put_schema(&mut self, row: SchemaRow, texts: Texts) {
        self.changes.push(Change::Schema(row));
        self.texts.push(texts);
    }

    /// Adds a change.
    pub fn put(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Asks a decision; what it has added is taken back where it refuses.
    fn ask(&mut self, waiting: &mut Waiting) -> Result<()> {
        let (changes, texts, relied_on) = (self.changes.len(), self.texts.len(), self.relied_on.len());
        let needs_no_links = self.needs_no_links;
        let decided = catch_unwind(AssertUnwindSafe(|| waiting.decision.decide(self)));
        let decided = decided.unwrap_or_else(|_| {
            Err(Error::new(
                500,
                "The registry has failed at this request, and nothing was changed. Report it",
            ))
        });
        if decided.is_err() {
            self.changes.truncate(changes);
            self.texts.truncate(texts);
            self.relied_on.truncate(relied_on);
            self.needs_no_links = needs_no_links;
        }
        decided
    }

    /// The rows that were looked at, by context; the first look at each counts.
    fn guards(&self) -> Vec<Guard> {
        let mut guards: BTreeMap<&Context, (Revision, BTreeSet<Key>)> = BTreeMap::new();
        for (context, seen, key) in &self.relied_on {
            let (first, rows) = guards.entry(context).or_insert((*seen, BTreeSet::new()));
            *first = (*first).min(*seen);
            rows.insert(key.clone());
        }
        let guards = guards.into_iter();
        guards.map(|(context, (seen, rows))| Guard { context: context.clone(), seen, rows }).collect()
    }

    /// Whether a version that is put here leads into another context.
    fn adds_links(&self) -> bool {
        let leads_out = |references: &[Reference]| {
            references
                .iter()
                .any(|reference| Subject::parse_in(&reference.subject, self.context).context != *self.context)
        };
        self.changes.iter().any(|change| match change {
            Change::Version(row) => {
                self.schema(row.schema).is_some_and(|schema| leads_out(&schema.references))
            }
            _ => false,
        })
    }

    fn commit(self) -> Option<Commit> {
        if self.changes.is_empty() {
            return None;
        }
        let (next_id, guards, adds_links) = (self.next_id(), self.guards(), self.adds_links());
        Some(Commit {
            context: self.context.clone(),
            expected: self.state.head(),
            guards,
            links_seen: self.needs_no_links.then_some(self.links),
            adds_links,
            attempt: Uuid::new_v4(),
            next_id,
            changes: self.changes,
            texts: self.texts,
        })
    }
}

impl Live {
    /// Decides a batch and commits it; answers every decision. Where the store refuses the batch, one of them is to blame.
    pub(super) async fn batch(&self, context: &Context, batch: Vec<Waiting>) {
        for one in self.commit_together(context, batch).await {
            self.commit_together(context, vec![one]).await;
        }
    }

    /// Gives back what must be committed one by one; everything else is answered.
    async fn commit_together(&self, context: &Context, mut batch: Vec<Waiting>) -> Vec<Waiting> {
        for round in 0..RACES {
            if let Some(why) = self.broken() {
                return answer(batch, &Error::new(50001, format!("Nothing is written: {why}")));
            }
            batch.retain(|waiting| !waiting.decision.is_abandoned());
            let (commit, decided) = self.decide(context, batch);
            batch = decided;
            let Some(commit) = commit else { return done(batch) };
            match self.store.commit(&commit).await {
                Ok(head) => {
                    self.remember(&commit);
                    // Where a look at the store was faster, it has all of this already.
                    self.apply(context, commit.expected, head, commit.changes);
                    return done(batch);
                }
                Err(StoreError::Conflict) => {
                    tokio::time::sleep(pause(round, commit.attempt)).await;
                    if let Err(error) = self.refresh(Duration::ZERO).await {
                        return answer(batch, &error);
                    }
                }
                Err(StoreError::Refused(_)) if batch.len() > 1 => return batch,
                Err(error) => {
                    // Whatever became of it: the next look finds out.
                    self.looks.forget();
                    return answer(batch, &error.into());
                }
            }
        }
        answer(batch, &StoreError::Conflict.into())
    }

    /// Decides all against one state. What is refused is answered here; the rest is given back with its commit, or without where
    /// nothing changes.
    fn decide(&self, context: &Context, batch: Vec<Waiting>) -> (Option<Commit>, Vec<Waiting>) {
        // A context that was never written to is not made by what is refused.
        let shared = self.shared(context).unwrap_or_default();
        let state = shared.read().unwrap_or_else(PoisonError::into_inner);
        let mut draft = Draft::new(self, context, &state);
        let mut decided = Vec::with_capacity(batch.len());
        for mut waiting in batch {
            match draft.ask(&mut waiting) {
                Ok(()) => decided.push(waiting),
                Err(error) => waiting.decision.done(Err(error)),
            }
        }
        (draft.commit(), decided)
    }

    fn remember(&self, commit: &Commit) {
        for (row, texts) in commit.schemas().into_iter().flatten() {
            self.texts.insert(&commit.context, row, texts.clone());
        }
    }
}

fn done(batch: Vec<Waiting>) -> Vec<Waiting> {
    batch.into_iter().for_each(|waiting| waiting.decision.done(Ok(())));
    Vec::new()
}

fn answer(batch: Vec<Waiting>, error: &Error) -> Vec<Waiting> {
    batch.into_iter().for_each(|waiting| waiting.decision.done(Err(error.clone())));
    Vec::new()
}

/// Longer from race to race, and not the same for two writers: their attempts are random.
fn pause(round: u32, attempt: Uuid) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << round.min(10)).min(LONGEST_PAUSE);
    longest.mul_f64(f64::from(attempt.as_bytes()[0]) / 255.0)
}

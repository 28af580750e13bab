//! Segment lists in a checkpoint: runs of changes, written page by page and merged level by level.

use std::collections::VecDeque;

use formats::checkpoint::{FANOUT, ListChange, ListFold, RunIndex, RunPage, RunPageRef, RunPages, RunRef};
use formats::ids::{LineageId, Topic, TopicPartition};

use super::checkpoint::{PageWriter, read_page};
use crate::Result;
use crate::storage::Store;

/// Merges the newest runs while there are [`FANOUT`] of one level at the end of the list; where a merge fails, the runs
/// stay as they are, until there are as many again.
pub(super) async fn merge(pages: &PageWriter<'_>, runs: &mut Vec<RunRef>) -> Result<()> {
    let store = pages.store;
    while let Some(level) = runs.last().map(|run| run.level) {
        let from = runs.iter().rposition(|run| run.level != level).map_or(0, |at| at + 1);
        if !(runs.len() - from).is_multiple_of(FANOUT) {
            return Ok(());
        }
        let oldest = from == 0;
        let mut sources = Vec::new();
        for run in &runs[from..] {
            sources.push(Source::open(store, run).await?);
        }
        let mut writer = RunWriter::new(pages);
        while let Some(change) = next_merged(store, &mut sources, oldest).await? {
            writer.push(change).await?;
        }
        let merged = writer.finish(level + 1).await?;
        runs.truncate(from);
        runs.push(merged);
    }
    Ok(())
}

/// A run that is read from its first page to its last.
pub(super) struct Source {
    pages: VecDeque<RunPageRef>,
    changes: VecDeque<ListChange>,
}

impl Source {
    /// A run by its index.
    pub(super) async fn open(store: &dyn Store, run: &RunRef) -> Result<Self> {
        let index: RunIndex = read_page(store, run.index).await?;
        Ok(Self { pages: index.pages.into(), changes: VecDeque::new() })
    }

    /// Sorted changes that no run holds yet.
    pub(super) fn of(changes: Vec<ListChange>) -> Self {
        Self { pages: VecDeque::new(), changes: changes.into() }
    }

    async fn peek(&mut self, store: &dyn Store) -> Result<Option<(Topic, i32, LineageId)>> {
        while self.changes.is_empty() {
            let Some(page) = self.pages.pop_front() else { return Ok(None) };
            let page: RunPage = read_page(store, page.page).await?;
            self.changes = page.changes.into();
        }
        Ok(self.changes.front().map(|change| (change.topic.clone(), change.partition, change.lineage)))
    }
}

/// The next lineage's changes in all sources as one change. Removals that hit nothing are kept for older runs, unless
/// there is none.
pub(super) async fn next_merged(
    store: &dyn Store,
    sources: &mut [Source],
    oldest: bool,
) -> Result<Option<ListChange>> {
    let mut least: Option<(Topic, i32, LineageId)> = None;
    for source in sources.iter_mut() {
        if let Some(place) = source.peek(store).await?
            && least.as_ref().is_none_or(|least| place < *least)
        {
            least = Some(place);
        }
    }
    let Some(least) = least else { return Ok(None) };
    let mut fold = ListFold::default();
    for source in sources.iter_mut() {
        while source.peek(store).await?.as_ref() == Some(&least) {
            let Some(change) = source.changes.pop_front() else { break };
            fold.take(&change.removed, change.added);
        }
    }
    let (added, mut removed) = fold.finish();
    if oldest {
        removed.clear();
    }
    let (topic, partition, lineage) = least;
    Ok(Some(ListChange { topic, partition, lineage, removed, added }))
}

/// Writes a run page by page.
pub(super) struct RunWriter<'a> {
    to: &'a PageWriter<'a>,
    pages: RunPages,
    index: RunIndex,
    segments: u64,
    scanned: u64,
}

impl<'a> RunWriter<'a> {
    pub(super) fn new(to: &'a PageWriter<'a>) -> Self {
        Self { to, pages: RunPages::default(), index: RunIndex::default(), segments: 0, scanned: 0 }
    }

    pub(super) async fn push(&mut self, change: ListChange) -> Result<()> {
        self.segments += change.added.len() as u64;
        self.scanned += change.added.iter().filter(|entry| entry.schema_ids.is_some()).count() as u64;
        for page in self.pages.push(change) {
            self.put(page).await?;
        }
        Ok(())
    }

    async fn put(&mut self, page: RunPage) -> Result<()> {
        let place = |change: &ListChange| TopicPartition::new(change.topic.clone(), change.partition);
        let (Some(first), Some(last)) = (page.changes.first().map(place), page.changes.last().map(place))
        else {
            return Ok(());
        };
        let page = self.to.put(&page).await?;
        self.index.pages.push(RunPageRef { first, last, page });
        Ok(())
    }

    pub(super) async fn finish(mut self, level: u32) -> Result<RunRef> {
        if let Some(page) = std::mem::take(&mut self.pages).finish() {
            self.put(page).await?;
        }
        let index = self.to.put(&self.index).await?;
        Ok(RunRef { level, segments: self.segments, scanned: Some(self.scanned), index })
    }
}

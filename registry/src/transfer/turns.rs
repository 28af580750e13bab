//! Several things at once where none of them waits for another, and in order where one does.

use super::error::Result;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Steps ahead of the first unfinished one that may be begun.
const WINDOW: usize = 256;

/// What a step waits for.
pub(super) struct Turn {
    /// Its subject: of that, one step after the other.
    pub(super) subject: Arc<str>,
    /// Subjects whose earlier steps come first.
    pub(super) waits_for: Vec<Arc<str>>,
    /// It waits for everything before it, and everything after waits for it.
    pub(super) is_alone: bool,
}

/// Does all steps, at most so many at once. What was begun is finished, also after a failure: then nothing is half done.
pub(super) async fn take<'a, S, T>(
    steps: &'a [S],
    turn: impl Fn(&S) -> Turn,
    at_once: usize,
    go_on: impl Fn() -> Result<()>,
    begin: impl Fn(&'a S) -> BoxFuture<'a, Result<T>>,
    mut done: impl FnMut(T),
) -> Result<()> {
    let mut ahead: VecDeque<(&S, Turn)> = VecDeque::new();
    let mut later = steps.iter();
    let mut busy: HashSet<Arc<str>> = HashSet::new();
    let mut running = FuturesUnordered::new();
    let (mut failed, mut alone) = (None, false);
    loop {
        if failed.is_none() {
            failed = go_on().err();
        }
        while failed.is_none() && !alone && running.len() < at_once {
            while ahead.len() < WINDOW
                && let Some(step) = later.next()
            {
                ahead.push_back((step, turn(step)));
            }
            let Some((step, next)) = ready(&ahead, &busy).and_then(|at| ahead.remove(at)) else { break };
            alone = next.is_alone;
            busy.insert(Arc::clone(&next.subject));
            let running_step = begin(step);
            running.push(async move { (next.subject, running_step.await) });
        }
        let Some((subject, what)) = running.next().await else { break };
        busy.remove(&subject);
        alone = false;
        match what {
            Ok(value) => done(value),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(()), Err)
}

/// The first step that waits for nothing.
fn ready<S>(ahead: &VecDeque<(&S, Turn)>, busy: &HashSet<Arc<str>>) -> Option<usize> {
    let mut blocked: HashSet<&str> = busy.iter().map(|subject| &**subject).collect();
    for (at, (_, turn)) in ahead.iter().enumerate() {
        if turn.is_alone {
            return (at == 0 && busy.is_empty()).then_some(at);
        }
        let free = !blocked.contains(&*turn.subject)
            && turn.waits_for.iter().all(|subject| !blocked.contains(&**subject));
        if free {
            return Some(at);
        }
        blocked.insert(&turn.subject);
    }
    None
}

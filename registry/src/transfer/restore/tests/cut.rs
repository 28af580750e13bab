//! Restores that are cut: at every request, before it is carried out and after, and by whoever stops them.

use super::*;
use crate::client::scripted::json as answer;
use std::sync::atomic::AtomicUsize;

/// How a request is cut.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Cut {
    /// It never arrives, and neither does any later one.
    Before,
    /// It is carried out, and nothing later arrives.
    After,
}

/// A bed that counts what is written, and is away from some such request on.
struct CutBed {
    bed: Bed,
    /// Writes until it is away; the highest number stands for never.
    left: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
}

impl CutBed {
    async fn new(cut: Cut) -> Self {
        let (left, writes) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(AtomicUsize::new(0)));
        let (is_left, counted) = (Arc::clone(&left), Arc::clone(&writes));
        let bed = Bed::behind(move |_, asked| {
            let left = is_left.load(SeqCst);
            if left == usize::MAX {
                counted.fetch_add(usize::from(asked.method != "GET"), SeqCst);
                return None;
            }
            if left == 0 {
                return Some(answer(503, "{}"));
            }
            if asked.method == "GET" {
                return None;
            }
            is_left.fetch_sub(1, SeqCst);
            match (left, cut) {
                (1, Cut::Before) => Some(answer(503, "{}")),
                (1, Cut::After) => Some(Reply::Lost),
                _ => None,
            }
        })
        .await;
        bed.level("", "BACKWARD").await;
        bed.has("orders", &record("R", &[("a", "int")])).await;
        bed.has("orders", &fixed_as_record("X")).await;
        bed.has("used", &fixed("Used")).await;
        bed.level("orders", "BACKWARD").await;
        bed.to.set_mode(&Subject::parse("used"), Mode::Readonly).await.expect("set");
        Self { bed, left, writes }
    }
}

/// A record without fields, which every other record of its name can be read with.
fn fixed_as_record(_: &str) -> String {
    record("R", &[])
}

fn archive() -> Side {
    kept(vec![
        version("orders", 1, 11, &record("R", &[("a", "int")])),
        version("orders", 2, 12, &record("R", &[("b", "int")])),
        deleted("orders", 3, 13, &record("R", &[("c", "int")])),
        version("used", 1, 14, &fixed("Used")),
        version("used", 2, 15, &fixed("Used").replace('4', "5")),
        deleted("new", 1, 16, &fixed("Base")),
        gone("new", 2, 17, &fixed("Gone")),
        version("new", 4, 18, &fixed("Base").replace('4', "6")),
        referring("top", 2, 19, &record("Top", &[("b", "Base")]), &[("Base", "new", 1)]),
        version(":.pay:x", 1, 20, &fixed("X")),
        Item::Config("new".into(), config(json!({"compatibilityLevel": "NONE"}))),
        Item::Config("orders".into(), config(json!({"compatibilityLevel": "FULL"}))),
        Item::Config(":.pay:".into(), config(json!({"compatibilityLevel": "FORWARD"}))),
        Item::Mode("top".into(), Mode::Readonly),
    ])
}

/// Everything that the target has, but for times.
async fn state(bed: &Bed) -> Vec<String> {
    let there = side(&bed.to).await;
    let mut found = Vec::new();
    for (key, entry) in &there.index.versions {
        let text = bed.to.version(&key.subject(), key.version).await.expect("there").schema;
        found.push(format!("{key} {} {text}", entry.deleted));
    }
    found.sort();
    found.extend(there.index.configs.iter().map(|(place, config)| {
        let config = crate::transfer::content::settled(&serde_json::Value::Object(config.clone()));
        format!("{place} {config}")
    }));
    found.extend(there.index.modes.iter().map(|(place, mode)| format!("{place} {mode}")));
    found
}

async fn cut_everywhere(settings: Settings, cut: Cut) {
    let from = archive();
    let whole = CutBed::new(cut).await;
    let before = whole.writes.load(SeqCst);
    whole.bed.restored(&from, &settings).await;
    let writes = whole.writes.load(SeqCst) - before;
    let expected = state(&whole.bed).await;
    assert!(writes > 8, "{writes}");
    for number in 1..=writes {
        let cut_bed = CutBed::new(cut).await;
        let bed = &cut_bed.bed;
        cut_bed.left.store(number, SeqCst);
        let ended = bed.restore(&from, &settings).await;
        assert!(ended.is_err() || (cut == Cut::After && number == writes), "{number} of {writes}");
        cut_bed.left.store(usize::MAX, SeqCst);
        let (plan, _) = match bed.restore(&from, &settings).await {
            Ok(done) => done,
            Err(error) => panic!("{number} of {writes} with {settings:?}: {error}"),
        };
        let found = state(bed).await;
        assert_eq!(found, expected, "cut at {number} of {writes} with {settings:?}, then {plan:?}");
        assert!(bed.memory.0.lock().expect("unpoisoned").is_none());
        let again = bed.plan(&from, &settings).await;
        assert!(again.is_empty(), "{again:?}");
    }
}

fn forced_register(strategy: Strategy) -> Settings {
    Settings { strategy, registration: Registration::Forced, modes: Choice::Restored, ..Settings::default() }
}

#[tokio::test]
async fn a_restore_that_was_cut_before_any_request_comes_to_the_same_end() {
    for strategy in [Strategy::Preserve, Strategy::Skip] {
        cut_everywhere(forced_register(strategy), Cut::Before).await;
    }
}

#[tokio::test]
async fn a_restore_that_was_cut_after_any_request_comes_to_the_same_end() {
    for strategy in [Strategy::Preserve, Strategy::Skip] {
        cut_everywhere(forced_register(strategy), Cut::After).await;
    }
}

#[tokio::test]
async fn an_overwriting_restore_that_was_cut_comes_to_the_same_end() {
    for cut in [Cut::Before, Cut::After] {
        cut_everywhere(forced_register(Strategy::Overwrite), cut).await;
        let settings = Settings { ids: Ids::Forced, ..forced_register(Strategy::Overwrite) };
        cut_everywhere(settings, cut).await;
    }
}

#[tokio::test]
async fn a_restore_with_ids_of_a_file_that_was_cut_comes_to_the_same_end() {
    let given = Given::parse(r#"{"12": 500, "18": 501, "16": 502}"#).expect("a mapping");
    let settings = Settings { ids: Ids::Given(given), ..forced_register(Strategy::Preserve) };
    cut_everywhere(settings, Cut::After).await;
}

#[tokio::test]
async fn a_restore_that_is_stopped_puts_everything_back_and_goes_on_later() {
    let settings = forced_register(Strategy::Skip);
    let from = archive();
    let whole = CutBed::new(Cut::Before).await;
    whole.bed.restored(&from, &settings).await;
    let expected = state(&whole.bed).await;
    let mut interrupted = 0;
    for looks in 0..12 {
        let cut_bed = CutBed::new(Cut::Before).await;
        let bed = &cut_bed.bed;
        let before = side(&bed.to).await.index;
        let progress = Progress::default();
        let (count, running) = (AtomicUsize::new(0), std::sync::atomic::AtomicBool::new(false));
        let stop = || running.load(SeqCst) && count.fetch_add(1, SeqCst) >= looks;
        let restore = Restore {
            from: &from,
            to: Arc::clone(&bed.to),
            settings: &settings,
            progress: &progress,
            stop: &stop,
        };
        let mut journal = bed.journal().await;
        let plan = restore.plan(&journal).await.expect("planned");
        running.store(true, SeqCst);
        let Err(error) = restore.run(&plan, &mut journal).await else { continue };
        interrupted += 1;
        assert_eq!(error.kind(), Kind::Interrupted);
        let there = side(&bed.to).await.index;
        assert_eq!(there.modes, before.modes, "after {looks} looks");
        assert_eq!(there.configs, before.configs, "after {looks} looks");
        bed.restore(&from, &settings).await.expect("restored");
        assert_eq!(state(bed).await, expected, "after {looks} looks");
    }
    assert!(interrupted > 2, "{interrupted}");
}

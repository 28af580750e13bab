//! What an earlier run has left behind, whose it is, and what is told of what cannot be put back.

use super::*;
use crate::client::scripted::json as answer;

/// A bed with two subjects that are closed and set to something, and whose requests fail as a function says while a switch is on.
async fn closed(fails: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> (Bed, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    let is_on = Arc::clone(&switch);
    let bed = Bed::behind(move |_, asked| is_on.load(SeqCst).then(|| fails(asked)).flatten()).await;
    for subject in ["a", "b"] {
        bed.has(subject, &fixed("X")).await;
        bed.level(subject, "FULL").await;
        bed.to.set_mode(&Subject::parse(subject), Mode::Readonly).await.expect("set");
    }
    (bed, switch)
}

fn archive() -> Side {
    kept(vec![version("a", 2, 12, &fixed("A")), version("b", 2, 13, &fixed("B"))])
}

fn forced() -> Settings {
    Settings { registration: Registration::Forced, ..Settings::default() }
}

fn is_put(asked: &Asked, path: &str, text: &str) -> bool {
    asked.method == "PUT" && asked.path == path && String::from_utf8_lossy(&asked.body).contains(text)
}

async fn level(bed: &Bed, subject: &str) -> Option<serde_json::Value> {
    let config = bed.to.config(&Subject::parse(subject)).await.expect("asked");
    config.and_then(|config| config.get("compatibilityLevel").cloned())
}

fn is_kept(bed: &Bed) -> bool {
    bed.memory.0.lock().expect("unpoisoned").is_some()
}

#[tokio::test]
async fn what_cannot_be_put_back_does_not_keep_the_rest_from_it() {
    let (bed, switch) = closed(|asked| {
        let is_put_back = asked.path.starts_with("/config/") && is_put(asked, &asked.path, "FULL");
        is_put_back.then(|| answer(500, r#"{"error_code":50001,"message":"no disk"}"#))
    })
    .await;
    switch.store(true, SeqCst);
    let error = refused(bed.restore(&archive(), &forced()).await);
    for subject in ["a", "b"] {
        assert!(
            error.to_string().contains(&format!("the settings of \"{subject}\" are not put back")),
            "{error}"
        );
        assert_eq!(bed.mode(subject).await, Some(Mode::Readonly), "modes are put back all the same");
        assert_eq!(level(&bed, subject).await, Some("NONE".into()));
    }
    // What is closed again is opened once more for them.
    switch.store(false, SeqCst);
    let (plan, _) = bed.restored(&archive(), &forced()).await;
    assert!(plan.is_empty(), "{plan:?}");
    for subject in ["a", "b"] {
        assert_eq!(
            (level(&bed, subject).await, bed.mode(subject).await),
            (Some("FULL".into()), Some(Mode::Readonly))
        );
    }
}

#[tokio::test]
async fn both_are_told_where_neither_writing_nor_putting_back_works() {
    let (bed, switch) = closed(|asked| {
        let is_put_back = is_put(asked, "/mode/a", "READONLY");
        (is_put_back || asked.method == "POST")
            .then(|| answer(422, r#"{"error_code":42299,"message":"no schema"}"#))
    })
    .await;
    switch.store(true, SeqCst);
    let error = refused(bed.restore(&archive(), &forced()).await);
    let text = error.to_string();
    assert!(
        text.contains("no schema; besides, ") && text.contains("the mode of \"a\" is not put back"),
        "{text}"
    );
    assert!(
        error
            .next_step()
            .is_some_and(|next| next.contains("look at what the registry says") && next.contains("memory"))
    );
    assert_eq!(bed.mode("b").await, Some(Mode::Readonly));
    switch.store(false, SeqCst);
    bed.restore(&archive(), &forced()).await.expect("restored");
    assert_eq!(bed.mode("a").await, Some(Mode::Readonly));
}

#[tokio::test]
async fn what_says_that_it_is_put_back_and_is_not_is_told() {
    let (bed, switch) = closed(|asked| is_put(asked, "/mode/a", "READONLY").then(|| answer(200, "{}"))).await;
    switch.store(true, SeqCst);
    let error = refused(bed.restore(&archive(), &forced()).await);
    assert!(error.to_string().contains("took that, and answers READWRITE"), "{error}");
    switch.store(false, SeqCst);
    bed.restore(&archive(), &forced()).await.expect("restored");
    assert_eq!(bed.mode("a").await, Some(Mode::Readonly));
}

#[tokio::test]
async fn a_registry_that_removes_no_mode_has_not_removed_it() {
    let switch = Arc::new(AtomicBool::new(true));
    let is_on = Arc::clone(&switch);
    let bed = Bed::behind(move |_, asked| {
        let is_removed = is_on.load(SeqCst) && asked.method == "DELETE" && asked.path.starts_with("/mode");
        is_removed.then(|| answer(405, r#"{"error_code":405,"message":"HTTP 405 Method Not Allowed"}"#))
    })
    .await;
    let from = kept(vec![version(":.pay:a", 1, 7, &fixed("A"))]);
    let settings = Settings { ids: Ids::Forced, ..Settings::default() };
    let error = refused(bed.restore(&from, &settings).await);
    assert!(error.to_string().contains("the mode of \":.pay:\" is not put back"), "{error}");
    assert!(is_kept(&bed));
    switch.store(false, SeqCst);
    bed.restored(&from, &settings).await;
    assert_eq!(bed.mode(":.pay:").await, None);
}

#[tokio::test]
async fn a_journal_that_cannot_be_kept_stops_before_anything_is_changed() {
    let (bed, _) = closed(|_| None).await;
    bed.memory.1.store(true, SeqCst);
    let error = bed.restore(&archive(), &forced()).await.map(drop).expect_err("refused");
    assert!(error.to_string().contains("memory takes nothing"), "{error}");
    bed.memory.1.store(false, SeqCst);
    for subject in ["a", "b"] {
        assert_eq!(
            (level(&bed, subject).await, bed.mode(subject).await),
            (Some("FULL".into()), Some(Mode::Readonly))
        );
        assert_eq!(bed.to.versions(&Subject::parse(subject)).await.expect("listed").len(), 1);
    }
}

#[tokio::test]
async fn a_restore_that_is_done_but_for_its_journal_has_nothing_left_to_do() {
    let bed = Bed::new().await;
    let memory = bed.memory.clone();
    let progress = Progress::default();
    let (from, settings) = (archive(), Settings::default());
    // The last thing that a run looks at is whether to stop; from then on nothing is kept or removed.
    let restore = bed.asked(&from, &settings, &progress);
    let mut journal = bed.journal().await;
    let plan = restore.plan(&journal).await.expect("planned");
    let to_break = memory.clone();
    let breaks = move || {
        to_break.1.store(to_break.0.lock().expect("unpoisoned").is_some(), SeqCst);
        false
    };
    let restore = Restore { stop: &breaks, ..restore };
    restore.run(&plan, &mut journal).await.map(drop).expect_err("the journal stays");
    memory.1.store(false, SeqCst);
    assert!(is_kept(&bed));
    let (plan, outcome) = bed.restored(&from, &settings).await;
    assert!(plan.is_empty() && outcome.map.ids.len() == 2, "{plan:?}");
}

/// Dies as soon as everything is borrowed.
async fn dead(bed: &Bed, switch: &AtomicBool, settings: &Settings) {
    switch.store(true, SeqCst);
    bed.restore(&archive(), settings).await.map(drop).expect_err("dead");
    switch.store(false, SeqCst);
    assert!(is_kept(bed));
    assert_eq!(bed.mode("a").await, Some(Mode::Readwrite), "something is borrowed");
}

/// Nothing is heard of it once a version is to come, and one has.
async fn dying() -> (Bed, Arc<AtomicBool>) {
    let is_dead = AtomicBool::new(false);
    closed(move |asked| {
        if is_dead.load(SeqCst) {
            return Some(answer(503, "{}"));
        }
        let comes = asked.method == "POST" && asked.path == "/subjects/a/versions";
        is_dead.store(comes, SeqCst);
        comes.then_some(Reply::Lost)
    })
    .await
}

#[tokio::test]
async fn another_restore_puts_back_what_is_borrowed_and_says_so() {
    let others = [
        (archive(), Settings { subject_mapping: [("a".to_owned(), "c".to_owned())].into(), ..forced() }),
        (kept_as("another backup", vec![version("c", 1, 1, &fixed("C"))]), forced()),
    ];
    for (other, settings) in others {
        let (bed, switch) = dying().await;
        dead(&bed, &switch, &forced()).await;
        let plan = bed.plan(&other, &settings).await;
        let said = |warning: &String| warning.contains("another restore") && warning.contains("memory");
        assert!(plan.obstacles.is_empty() && plan.warnings.iter().any(said), "{plan:?}");
        let (_, outcome) = bed.restored(&other, &settings).await;
        assert!(!outcome.map.ids.is_empty());
        for subject in ["a", "b"] {
            assert_eq!(bed.mode(subject).await, Some(Mode::Readonly));
            assert_eq!(level(&bed, subject).await, Some("FULL".into()));
        }
        assert_eq!(bed.to.versions(&Subject::parse("c")).await.expect("listed").len(), 1);
        // And that one goes on.
        let (_, outcome) = bed.restored(&archive(), &forced()).await;
        assert_eq!(outcome.map.ids.len(), 2);
    }
}

#[tokio::test]
async fn how_versions_come_may_be_told_otherwise_and_is_not_judged_by_what_is_borrowed() {
    let (bed, switch) = dying().await;
    dead(&bed, &switch, &forced()).await;
    assert_eq!(level(&bed, "b").await, Some("NONE".into()));
    // The level of the time would let it pass.
    let plan = bed.plan(&archive(), &Settings::default()).await;
    assert_eq!(plan.counts.get(&Action::Incompatible), Some(&1), "{plan:?}");
    let error = refused(bed.restore(&archive(), &Settings::default()).await);
    assert!(error.to_string().contains("compares as FULL"), "{error}");
    assert_eq!((level(&bed, "b").await, bed.mode("b").await), (Some("FULL".into()), Some(Mode::Readonly)));
    let settings = Settings { set_compatibility: Some(crate::settings::Level::None), ..Settings::default() };
    bed.restored(&archive(), &settings).await;
    // Both have got versions of this restore, one of them in the run that died.
    for subject in ["a", "b"] {
        assert_eq!(level(&bed, subject).await, Some("NONE".into()));
    }
}

#[tokio::test]
async fn what_an_archive_has_got_meanwhile_counts_as_new() {
    let (bed, switch) = dying().await;
    dead(&bed, &switch, &forced()).await;
    let from = kept(vec![
        version("a", 2, 12, &fixed("A")),
        version("b", 2, 13, &fixed("B")),
        version("new", 1, 14, &fixed("N")),
        Item::Config("new".into(), config(json!({"compatibilityLevel": "FORWARD"}))),
    ]);
    bed.restored(&from, &forced()).await;
    assert_eq!(level(&bed, "new").await, Some("FORWARD".into()));
}

#[tokio::test]
async fn what_another_run_has_borrowed_meanwhile_is_left_to_it() {
    let (bed, switch) = dying().await;
    let (from, settings, progress) = (archive(), forced(), Progress::default());
    let to = Arc::clone(&bed.to);
    let restore = Restore { from: &from, to, settings: &settings, progress: &progress, stop: GO_ON };
    let mut journal = bed.journal().await;
    let plan = restore.plan(&journal).await.expect("planned");
    // It is under way by then, or has died; nobody can tell.
    dead(&bed, &switch, &settings).await;
    let error = restore.run(&plan, &mut journal).await.map(drop).expect_err("refused");
    assert!(error.to_string().contains("another run is under way") && error.next_step().is_some(), "{error}");
    assert!(is_kept(&bed) && bed.mode("a").await == Some(Mode::Readwrite), "it is as that one has left it");
    bed.restored(&archive(), &settings).await;
}

//! In which order things are done: soft deletions last, and nothing that is not what the plan has seen.

use super::super::run::{Rows, rewritten};
use super::super::same::{Form, Sameness};
use super::*;

/// What was asked of a path that begins like this, in order.
fn done(bed: &Bed) -> Vec<String> {
    let asked = bed.server.asked();
    let writes = asked.iter().filter(|asked| asked.method != "GET" && !asked.path.starts_with("/compat"));
    writes.map(|asked| format!("{} {}", asked.method, asked.path)).collect()
}

fn at(done: &[String], what: &str) -> usize {
    done.iter().rposition(|found| found == what).unwrap_or_else(|| panic!("{what} is not in {done:?}"))
}

fn deleted_referring(subject: &str, number: i32, id: u32, text: &str, to: &[(&str, &str, i32)]) -> Item {
    let Item::Version(schema) = referring(subject, number, id, text, to) else { unreachable!() };
    Item::Version(Schema { deleted: Some(true), ..schema })
}

#[tokio::test]
async fn soft_deletions_come_after_the_last_version_and_referrers_first() {
    for ids in [Ids::Mapped, Ids::Forced] {
        let bed = Bed::new().await;
        let from = kept(vec![
            deleted("base", 1, 1, &fixed("Base")),
            version("base", 2, 2, &fixed("Later")),
            deleted_referring("top", 1, 3, &record("Top", &[("b", "Base")]), &[("Base", "base", 1)]),
            deleted("alone", 1, 4, &fixed("Alone")),
        ]);
        let (_, outcome) = bed.restored(&from, &Settings { ids, ..Settings::default() }).await;
        assert_eq!((outcome.registered, outcome.deleted), (4, 3));
        let done = done(&bed);
        let (base, top) =
            (at(&done, "DELETE /subjects/base/versions/1"), at(&done, "DELETE /subjects/top/versions/1"));
        assert!(base > at(&done, "POST /subjects/base/versions") && top < base, "{done:?}");
    }
}

#[tokio::test]
async fn what_a_live_version_refers_to_is_deleted_before_that_comes() {
    let bed = Bed::new().await;
    bed.level("base", "FULL").await;
    let from = kept(vec![
        deleted("base", 1, 1, &fixed("Base")),
        deleted_referring("behind", 1, 2, &record("Behind", &[("b", "Base")]), &[("Base", "base", 1)]),
        referring("top", 1, 3, &record("Top", &[("b", "Base")]), &[("Base", "base", 1)]),
        referring("base", 2, 4, &record("Own", &[("b", "Base")]), &[("Base", "base", 1)]),
    ]);
    let settings = Settings { registration: Registration::Forced, ..Settings::default() };
    let (_, outcome) = bed.restored(&from, &settings).await;
    assert_eq!((outcome.registered, outcome.deleted), (4, 2));
    assert_eq!(bed.versions("base").await.iter().map(|found| found.2).collect::<Vec<_>>(), [true, false]);
    let done = done(&bed);
    let base = at(&done, "DELETE /subjects/base/versions/1");
    assert!(base < at(&done, "POST /subjects/top/versions"), "{done:?}");
    // A registry may have dropped the level for the time with the last live version.
    assert_eq!(done[base + 1], "PUT /config/base", "{done:?}");
}

#[tokio::test]
async fn what_was_deleted_before_the_next_one_came_is_not_compared_with_it() {
    let with = |field: &str| record("R", &[(field, "int")]);
    let from = kept(vec![
        version("orders", 1, 1, &with("a")),
        deleted("orders", 2, 2, &record("Wrong", &[])),
        version("orders", 3, 3, &with("a").replace("\"int\"", "\"long\"")),
        deleted("orders", 4, 4, &fixed("Wrong")),
    ]);
    let bed = Bed::behind(|_, _| None).await;
    let plan = bed.plan(&from, &Settings::default()).await;
    // Deleted ones are compared themselves, where the target compares.
    assert_eq!(plan.counts, [(Action::Create, 2), (Action::Incompatible, 2)].into(), "{plan:?}");
    let from = kept(vec![
        deleted("orders", 1, 1, &fixed("Wrong")),
        version("orders", 2, 2, &with("a")),
        version("orders", 3, 3, &with("a").replace("\"int\"", "\"long\"")),
    ]);
    let (_, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_eq!((outcome.registered, outcome.deleted), (3, 1));
}

#[tokio::test]
async fn what_is_another_schema_meanwhile_is_not_deleted_for_good() {
    let bed = Bed::new().await;
    bed.has("orders", &fixed("A")).await;
    bed.has("orders", &fixed("X")).await;
    let from = kept(vec![version("orders", 1, 1, &fixed("A")), version("orders", 2, 2, &fixed("B"))]);
    let settings = Settings { strategy: Strategy::Overwrite, ..Settings::default() };
    let progress = Progress::default();
    let restore = bed.asked(&from, &settings, &progress);
    let mut journal = bed.journal().await;
    let plan = restore.plan(&journal).await.expect("planned");
    let orders = Subject::parse("orders");
    for how in [Deletion::Soft, Deletion::Permanent] {
        bed.to.delete_version(&orders, 2, how).await.expect("deleted");
    }
    bed.has("orders", &fixed("Y")).await;
    let error = restore.run(&plan, &mut journal).await.map(drop).expect_err("refused");
    assert!(
        error.to_string().contains("orders version 2") && error.to_string().contains("meanwhile"),
        "{error}"
    );
    assert_eq!(bed.versions("orders").await[1], (2, fixed("Y"), false));
    bed.restored(&from, &settings).await;
}

#[tokio::test]
async fn a_reference_that_leads_to_nothing_yet_is_not_taken_for_another() {
    let bed = Bed::new().await;
    let from = kept(vec![
        version("base", 3, 1, &fixed("Base")),
        referring("top", 1, 2, &record("Top", &[("b", "Base")]), &[("Base", "base", 3)]),
    ]);
    let plan = bed.plan(&from, &Settings::default()).await;
    let names = BTreeMap::new();
    let rows = Rows::new(&plan.versions, &names);
    let top = from.schema(&key("top", 1)).await.expect("read").expect("a text");
    let missing = rewritten(top, &plan.versions[1], &rows, &|_| None).expect_err("nothing is there");
    assert_eq!(missing, key("base", 3));
}

#[tokio::test]
async fn texts_are_compared_in_the_form_that_is_asked_for() {
    let bed = Bed::new().await;
    let sorted = r#"{"type":"record","name":"N","fields":[],"b":{"c":2,"d":1},"z":1}"#;
    let mixed = r#"{"type":"record","name":"N","fields":[],"z":1,"b":{"d":1,"c":2}}"#;
    bed.has("orders", sorted).await;
    let (from, to) = (kept(vec![version("orders", 1, 1, mixed)]), side(&bed.to).await);
    let mut same = Sameness::new(&from, &to, 2, GO_ON);
    let own = from.index.versions.first().expect("a version");
    let theirs = to.index.versions.first().expect("a version");
    let mut found = Vec::new();
    for form in [Form::Canonical, Form::Normal, Form::Canonical] {
        let one = same.is_same(own, theirs, form).await.expect("compared");
        let all = same.in_subject(own, &[theirs], form).await.expect("compared");
        assert_eq!(one, !all.is_empty());
        found.push(one);
    }
    assert_eq!(found, [false, true, false]);
}

#[tokio::test]
async fn planning_stops_where_it_is_told_to() {
    let bed = Bed::new().await;
    let from = kept((1..50).map(|n| version("orders", n, n as u32, &fixed(&format!("N{n}")))).collect());
    let (settings, to) = (Settings::default(), side(&bed.to).await);
    let stop: &(dyn Fn() -> bool + Sync) = &|| true;
    let decide = decide::Decide::new(&from, &to, &settings, None, (2, stop));
    let error = decide.decide().await.map(drop).expect_err("interrupted");
    assert!(error.kind() == Kind::Interrupted && error.next_step().is_some(), "{error}");
}

#[tokio::test]
async fn a_restore_can_be_another_threads() {
    fn sent<T: Send>(what: T) -> T {
        what
    }
    let bed = Bed::new().await;
    let (from, settings) = (kept(vec![version("orders", 1, 1, &fixed("A"))]), Settings::default());
    let progress = Progress::default();
    let to = Arc::clone(&bed.to);
    let restore = Restore { from: &from, to, settings: &settings, progress: &progress, stop: GO_ON };
    let mut journal = bed.journal().await;
    let plan = sent(restore.plan(&journal)).await.expect("planned");
    sent(restore.run(&plan, &mut journal)).await.expect("restored");
}

//! Ids that are kept, and ids that a file says.

use super::*;

fn forced() -> Settings {
    Settings { ids: Ids::Forced, ..Settings::default() }
}

fn given(text: &str) -> Settings {
    Settings { ids: Ids::Given(Given::parse(text).expect("a mapping")), ..Settings::default() }
}

#[tokio::test]
async fn ids_and_numbers_are_kept_where_they_are_free() {
    let bed = Bed::new().await;
    bed.has("other", &fixed("Other")).await;
    let from = kept(vec![
        version("orders", 3, 30, &fixed("A")),
        deleted("orders", 5, 50, &fixed("B")),
        gone("orders", 6, 60, &fixed("C")),
        version("orders", 7, 70, &fixed("D")),
        referring("top", 2, 80, &record("Top", &[("a", "A")]), &[("A", "orders", 3)]),
    ]);
    let (plan, outcome) = bed.restored(&from, &forced()).await;
    assert_eq!(plan.for_the_time.modes, [(String::new(), (Some(Mode::Readwrite), Mode::Import))].into());
    assert!(outcome.map.ids.iter().all(|(from, to)| from == to) && outcome.map.ids.len() == 5);
    let expected =
        [(3, fixed("A"), false), (5, fixed("B"), true), (6, fixed("C"), true), (7, fixed("D"), false)];
    assert_eq!(bed.versions("orders").await, expected);
    assert!(outcome.map.guids.iter().all(|(from, to)| from == to));
}

#[tokio::test]
async fn a_taken_id_and_a_taken_number_are_named_and_nothing_is_touched() {
    let bed = Bed::new().await;
    let taken = bed.has("other", &fixed("Other")).await;
    bed.has("orders", &fixed("X")).await;
    let from = kept(vec![version("orders", 1, 90, &fixed("A")), version("orders", 2, taken, &fixed("B"))]);
    let plan = bed.plan(&from, &forced()).await;
    let whys: Vec<_> =
        plan.obstacles.iter().map(|found| (found.version, found.what, found.why.as_str())).collect();
    assert_eq!((whys.len(), plan.counts[&Action::Conflict]), (2, 2), "{plan:?}");
    assert!(whys.iter().any(|(version, _, why)| *version == Some(1) && why.contains("version 1 of orders")));
    assert!(whys.iter().any(|(version, _, why)| *version == Some(2) && why.contains("other version 1")));
    let before = bed.server.asked().len();
    refused(bed.restore(&from, &forced()).await);
    assert!(bed.server.asked()[before..].iter().all(|asked| asked.method == "GET"));
    // The same schema under another id is in the way too, unless it has its own besides.
    let bed = Bed::new().await;
    let id = bed.has("orders", &fixed("A")).await;
    let from = kept(vec![version("orders", 1, id + 5, &fixed("A"))]);
    let error = refused(bed.restore(&from, &forced()).await);
    assert!(error.to_string().contains("not its own"), "{error}");
    let with_both = kept(vec![version("copy", 1, id + 5, &fixed("A"))]);
    bed.restored(&with_both, &forced()).await;
    let (_, outcome) = bed.restored(&from, &forced()).await;
    assert_eq!(of(&outcome.map, id + 5), Some(id + 5));
}

#[tokio::test]
async fn one_id_of_two_schemas_is_refused() {
    let bed = Bed::new().await;
    let from = kept(vec![version("a", 1, 1, &fixed("A")), version("b", 1, 1, &fixed("B"))]);
    let error = refused(bed.restore(&from, &forced()).await);
    assert!(error.to_string().contains("another schema's too: a version 1"), "{error}");
}

#[tokio::test]
async fn ids_of_a_file_are_taken_where_they_are_the_same_schema_and_given_where_they_are_free() {
    let bed = Bed::new().await;
    let known = bed.has("orders", &fixed("A")).await;
    let from = kept(vec![
        version("orders", 1, 1, &fixed("A")),
        version("orders", 2, 5, &fixed("B")),
        version("orders", 3, 6, &fixed("C")),
        version("payments", 1, 2, &fixed("D")),
        version("copy", 1, 1, &fixed("A")),
    ]);
    let settings = given(&format!(r#"{{"1": {known}, "5": 101, "2": 102, "77": 5}}"#));
    let (plan, outcome) = bed.restored(&from, &settings).await;
    assert_eq!([1, 5, 2].map(|id| of(&outcome.map, id)), [Some(known), Some(101), Some(102)]);
    assert_eq!(of(&outcome.map, 6), Some(103), "what the file does not name the target counts");
    assert!(plan.warnings[0].contains("77"), "{plan:?}");
    assert_eq!(bed.mode("orders").await, None);
    // What came out can be given back, to this target and to an empty one.
    let everything = serde_json::to_string(&outcome.map).expect("JSON");
    for text in [outcome.map.to_file().to_string(), everything] {
        let (_, again) = bed.restored(&from, &given(&text)).await;
        assert_eq!((again.map, again.registered), (outcome.map.clone(), 0));
        let (_, again) = Bed::new().await.restored(&from, &given(&text)).await;
        assert_eq!(again.map.ids, outcome.map.ids);
    }
}

#[tokio::test]
async fn a_file_that_is_wrong_is_refused() {
    let bed = Bed::new().await;
    let (a, other) = (bed.has("orders", &fixed("A")).await, bed.has("other", &fixed("Other")).await);
    let from = kept(vec![version("orders", 1, 1, &fixed("A")), version("new", 1, 2, &fixed("N"))]);
    for (text, why) in [
        (format!(r#"{{"1": {other}}}"#), "another schema's there: other version 1".to_owned()),
        (format!(r#"{{"2": {other}}}"#), "another schema's in the target: other version 1".to_owned()),
        (r#"{"1": 500}"#.to_owned(), format!("is there as version 1 with id {a}")),
        (r#"{"1": 500, "2": 500}"#.to_owned(), "id 500".to_owned()),
    ] {
        let error = refused(bed.restore(&from, &given(&text)).await);
        assert!(error.to_string().contains(&why), "{text}: {error}");
    }
}

//! How far a restore reaches: what is left alone, what was not asked for, and where ids end.

use super::*;

#[tokio::test]
async fn one_that_is_skipped_is_not_written_to_where_ids_are_kept() {
    let bed = Bed::new().await;
    let a = bed.has("orders", &fixed("A")).await;
    let c = bed.has("orders", &fixed("C")).await;
    let from = kept(vec![
        version("orders", 1, a, &fixed("A")),
        version("orders", 3, 40, &fixed("C")),
        version("orders", 4, 41, &fixed("D")),
    ]);
    let settings = Settings { strategy: super::Strategy::Skip, ids: Ids::Forced, ..Settings::default() };
    let (plan, outcome) = bed.restored(&from, &settings).await;
    let actions = [1, 3, 4].map(|number| action(&plan, "orders", number));
    assert_eq!(actions, [Action::Exists, Action::Skipped, Action::Skipped], "{plan:?}");
    assert_eq!((outcome.registered, bed.versions("orders").await.len()), (0, 2));
    let note = plan.versions[1].note.as_deref().unwrap_or_default();
    assert!(note.contains(&format!("version 2 with id {c}")), "{note}");
    assert_eq!(outcome.map.unmapped.iter().map(|id| id.id).collect::<Vec<_>>(), [40, 41]);
}

#[tokio::test]
async fn what_is_only_referred_to_is_not_overwritten() {
    let bed = Bed::new().await;
    bed.has("base", &fixed("Base").replace('4', "8")).await;
    bed.level("base", "NONE").await;
    bed.has("orders", &fixed("X")).await;
    bed.has("orders", &fixed("Y")).await;
    let from = kept(vec![
        version("base", 1, 1, &fixed("Base")),
        referring("orders", 1, 2, &record("O", &[("b", "Base")]), &[("Base", "base", 1)]),
        Item::Config("base".into(), config(json!({"compatibilityLevel": "FULL"}))),
    ]);
    let subjects = Patterns::new(&["orders".to_owned()], &[]).expect("patterns");
    let settings = Settings { strategy: super::Strategy::Overwrite, subjects, ..Settings::default() };
    let (plan, outcome) = bed.restored(&from, &settings).await;
    assert_eq!(plan.removed, ["orders version 1"], "{plan:?}");
    assert_eq!(outcome.map.versions[&key("base", 1)], key("base", 2));
    let orders = bed.to.version(&Subject::parse("orders"), 1).await.expect("there");
    assert_eq!((orders.references[0].subject.as_str(), orders.references[0].version), ("base", 2));
    let level = bed.to.config(&Subject::parse("base")).await.expect("asked").expect("settings");
    assert_eq!(level["compatibilityLevel"], "NONE");
    assert!(plan.warnings.iter().any(|found| found.contains("as orders version 2")), "{plan:?}");
}

#[tokio::test]
async fn ids_end_where_clients_read_no_further() {
    let bed = Bed::new().await;
    bed.to.set_mode(&Subject::parse(""), Mode::Import).await.expect("set");
    let last = Schema { id: i32::MAX as u32, version: 1, ..avro("last", &fixed("Last"), &[]) };
    bed.to.register(&last, Placed::Same).await.expect("registered");
    bed.to.set_mode(&Subject::parse(""), Mode::Readwrite).await.expect("set");
    let settings = Settings { strategy: super::Strategy::Overwrite, ..Settings::default() };
    let from = kept(vec![version("orders", 5, 1, &fixed("A"))]);
    let error = refused(bed.restore(&from, &settings).await);
    assert!(error.to_string().contains("no id is left"), "{error}");
}

#[tokio::test]
async fn what_is_no_schema_to_the_target_is_left_out_with_what_refers_to_it() {
    for settings in [Settings::default(), Settings { ids: Ids::Forced, ..Settings::default() }] {
        let bed = Bed::behind(|_, asked| {
            let comes = asked.method == "POST" && asked.path.starts_with("/subjects/broken/versions");
            comes.then(|| {
                crate::client::scripted::json(422, r#"{"error_code":42201,"message":"Invalid schema"}"#)
            })
        })
        .await;
        let from = kept(vec![
            version("broken", 1, 1, &fixed("A")),
            referring("leans", 1, 2, &record("L", &[("a", "A")]), &[("A", "broken", 1)]),
            version("whole", 1, 3, &fixed("W")),
        ]);
        let (_, outcome) = bed.restore(&from, &settings).await.expect("all others come");
        assert_eq!(outcome.registered, 1);
        assert_eq!(outcome.not_taken.len(), 2, "{:?}", outcome.not_taken);
        assert!(
            outcome.not_taken[0].contains("broken version 1")
                && outcome.not_taken[0].contains("Invalid schema")
        );
        assert!(outcome.not_taken[1].contains("leans version 1 refers to broken version 1"));
        assert_eq!(outcome.map.unmapped.iter().map(|id| id.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(bed.versions("whole").await.len(), 1);
    }
}

#[tokio::test]
async fn an_alias_that_is_lifted_leaves_the_level_as_it_counts() {
    let bed = Bed::new().await;
    bed.has("orders", &fixed("A")).await;
    bed.has("leads", &fixed("Other")).await;
    let alias = |level: &str| config(json!({"alias": "leads", "compatibilityLevel": level}));
    bed.to.set_config(&Subject::parse("orders"), &alias("NONE")).await.expect("set");
    let from = kept(vec![version("orders", 2, 2, &fixed("B"))]);
    let plan = bed.plan(&from, &Settings::default()).await;
    let lifted = &plan.for_the_time.configs["orders"];
    assert_eq!((&lifted["alias"], &lifted["compatibilityLevel"]), (&serde_json::Value::Null, &"NONE".into()));
    // And what the alias leads to is not what the version is compared with.
    bed.to.set_config(&Subject::parse("orders"), &alias("FULL")).await.expect("set");
    bed.level("leads", "NONE").await;
    let plan = bed.plan(&from, &Settings::default()).await;
    assert_eq!(plan.counts, [(Action::Incompatible, 1)].into(), "{plan:?}");
}

//! What there is in the end: settings and modes of the archive, and of what nobody asked for none.

use super::*;
use crate::client::scripted::json as answer;
use crate::settings::Level;

async fn level(bed: &Bed, place: &str) -> Option<serde_json::Value> {
    let config = bed.to.config(&Subject::parse(place)).await.expect("asked");
    config.and_then(|config| config.get("compatibilityLevel").cloned())
}

fn with_level(level: &str) -> Side {
    kept(vec![
        version("orders", 1, 1, &fixed("A")),
        version("orders", 2, 2, &fixed("B")),
        Item::Config("orders".into(), config(json!({"compatibilityLevel": level, "normalize": true}))),
    ])
}

#[tokio::test]
async fn settings_that_the_target_refuses_leave_those_that_were_there() {
    let switch = Arc::new(AtomicBool::new(true));
    let is_on = Arc::clone(&switch);
    let bed = Bed::behind(move |_, asked| {
        let is_new = asked.method == "PUT" && String::from_utf8_lossy(&asked.body).contains("FORWARD");
        (is_on.load(SeqCst) && is_new)
            .then(|| answer(422, r#"{"error_code":42203,"message":"no such level"}"#))
    })
    .await;
    bed.has("orders", &fixed("A")).await;
    bed.level("orders", "FULL").await;
    let settings =
        Settings { strategy: Strategy::Overwrite, registration: Registration::Forced, ..Settings::default() };
    let error = refused(bed.restore(&with_level("FORWARD"), &settings).await);
    assert!(
        error.to_string().contains("no such level") && error.to_string().contains("they are what they were"),
        "{error}"
    );
    assert_eq!(level(&bed, "orders").await, Some("FULL".into()));
    assert_eq!(bed.versions("orders").await.len(), 2);
    switch.store(false, SeqCst);
    bed.restored(&with_level("FORWARD"), &settings).await;
    assert_eq!(level(&bed, "orders").await, Some("FORWARD".into()));
}

#[tokio::test]
async fn settings_that_the_target_does_not_keep_are_told() {
    let bed = Bed::behind(|_, asked| {
        let is_final = asked.method == "PUT" && String::from_utf8_lossy(&asked.body).contains("normalize");
        is_final.then(|| answer(200, "{}"))
    })
    .await;
    bed.level("", "NONE").await;
    let (_, outcome) = bed.restore(&with_level("NONE"), &Settings::default()).await.expect("restored");
    let warning = &outcome.warnings[..];
    assert!(
        warning.len() == 1 && warning[0].contains("\"orders\"") && warning[0].contains("normalize"),
        "{warning:?}"
    );
    assert_eq!(outcome.to_json()["warnings"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_level_is_set_only_where_versions_come() {
    let bed = Bed::new().await;
    bed.has("there", &fixed("A")).await;
    let from = kept(vec![version("there", 1, 1, &fixed("A")), version("new", 1, 2, &fixed("B"))]);
    let settings = Settings { set_compatibility: Some(Level::Full), ..Settings::default() };
    bed.restored(&from, &settings).await;
    assert_eq!((level(&bed, "there").await, level(&bed, "new").await), (None, Some("FULL".into())));
}

#[tokio::test]
async fn a_mode_of_all_contexts_is_lifted_for_its_settings_and_is_not_pinned() {
    let from = kept(vec![
        version("orders", 1, 1, &fixed("A")),
        Item::Config(":.__GLOBAL:".into(), config(json!({"compatibilityLevel": "FULL"}))),
    ]);
    for ids in [Ids::Mapped, Ids::Forced] {
        let bed = Bed::behind(|_, _| None).await;
        bed.to.set_mode(&Subject::parse(":.__GLOBAL:"), Mode::Readonly).await.expect("set");
        assert_eq!(bed.mode("").await, Some(Mode::Readonly), "it is that of all contexts");
        bed.restore(&from, &Settings { ids, ..Settings::default() }).await.expect("restored");
        assert_eq!(bed.mode(":.__GLOBAL:").await, Some(Mode::Readonly));
        assert_eq!(level(&bed, ":.__GLOBAL:").await, Some("FULL".into()));
        bed.to.set_mode(&Subject::parse(":.__GLOBAL:"), Mode::Readwrite).await.expect("set");
        assert_eq!(bed.mode("").await, Some(Mode::Readwrite), "it has none of its own");
    }
}

#[tokio::test]
async fn a_level_of_all_contexts_that_comes_first_counts() {
    let with = |field: &str| record("R", &[(field, "int")]);
    let from = kept(vec![
        version(":.pay:orders", 1, 1, &with("a")),
        version(":.pay:orders", 2, 2, &with("b")),
        Item::Config(":.__GLOBAL:".into(), config(json!({"compatibilityLevel": "NONE"}))),
    ]);
    let bed = Bed::behind(|_, _| None).await;
    let (_, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_eq!(outcome.registered, 2);
}

#[tokio::test]
async fn a_version_gets_the_number_of_its_new_place() {
    let numbered = |number: i32| Schema {
        metadata: Some(json!({"properties": {"owner": "me", "confluent:version": number.to_string()}})),
        ..schema("orders", number, number as u32, &fixed(&format!("N{number}")))
    };
    let from = kept(vec![Item::Version(numbered(3)), Item::Version(numbered(7))]);
    let bed = Bed::new().await;
    let (_, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_eq!(outcome.map.versions[&key("orders", 7)], key("orders", 2));
    let there =
        bed.to.version(&Subject::parse("orders"), 2).await.expect("there").metadata.expect("metadata");
    assert_eq!(there["properties"], json!({"owner": "me", "confluent:version": "2"}));
    // And one id that tells several of them is one schema.
    let again = Schema { subject: "copy".into(), version: 1, ..numbered(3) };
    let again =
        Schema { metadata: Some(json!({"properties": {"owner": "me", "confluent:version": "1"}})), ..again };
    let from = kept(vec![Item::Version(numbered(3)), Item::Version(again)]);
    let plan = Bed::new().await.plan(&from, &Settings { ids: Ids::Forced, ..Settings::default() }).await;
    assert_eq!(plan.obstacles, [], "{plan:?}");
}

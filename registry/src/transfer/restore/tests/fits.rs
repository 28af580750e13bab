//! Compatibility, modes, and what a target does not permit.

use super::*;
use crate::settings::Level;

fn evolving() -> Side {
    // Neither of the later ones can be read with the one before.
    let with = |field: &str| record("R", &[(field, "int")]);
    kept(vec![
        version("orders", 1, 1, &with("a")),
        version("orders", 2, 2, &with("b")),
        version("orders", 3, 3, &with("c")),
    ])
}

#[tokio::test]
async fn what_would_be_refused_is_named_in_the_plan() {
    // By our own rules, where the target knows nothing of it yet.
    let bed = Bed::behind(|_, _| None).await;
    let plan = bed.plan(&evolving(), &Settings::default()).await;
    assert_eq!(plan.counts, [(Action::Create, 1), (Action::Incompatible, 2)].into(), "{plan:?}");
    let error = refused(bed.restore(&evolving(), &Settings::default()).await);
    assert!(error.to_string().contains("BACKWARD") && error.to_string().contains("field b"), "{error}");
    assert!(error.next_step().is_some_and(|next| next.contains("set_compatibility")));
    // By the target, where it has something to compare with.
    bed.has("orders", &record("R", &[("a", "int")])).await;
    let plan = bed.plan(&evolving(), &Settings::default()).await;
    assert_eq!(plan.counts, [(Action::Exists, 1), (Action::Incompatible, 2)].into(), "{plan:?}");
    let asked = bed.server.asked();
    let asked: Vec<_> = asked.iter().filter(|asked| asked.path.starts_with("/compatibility/")).collect();
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn a_level_that_is_set_counts_and_stays() {
    for there in [false, true] {
        let bed = Bed::behind(|_, _| None).await;
        if there {
            bed.has("orders", &record("R", &[("a", "int")])).await;
            bed.level("orders", "FULL").await;
        }
        let settings = Settings { set_compatibility: Some(Level::None), ..Settings::default() };
        bed.restored(&evolving(), &settings).await;
        let level = bed.to.config(&Subject::parse("orders")).await.expect("asked").expect("settings");
        assert_eq!(level["compatibilityLevel"], "NONE");
        assert_eq!(bed.versions("orders").await.len(), 3);
    }
}

#[tokio::test]
async fn what_is_forced_is_registered_and_the_level_is_what_it_was() {
    for own in [None, Some("FULL")] {
        let bed = Bed::behind(|_, _| None).await;
        bed.has("orders", &record("R", &[("a", "int")])).await;
        if let Some(level) = own {
            bed.level("orders", level).await;
        }
        let settings = Settings { registration: Registration::Forced, ..Settings::default() };
        let (plan, _) = bed.restored(&evolving(), &settings).await;
        assert_eq!(plan.for_the_time.configs["orders"]["compatibilityLevel"], "NONE");
        let config = bed.to.config(&Subject::parse("orders")).await.expect("asked");
        assert_eq!(
            config.and_then(|config| config["compatibilityLevel"].as_str().map(str::to_owned)).as_deref(),
            own
        );
        assert_eq!(bed.versions("orders").await.len(), 3);
    }
}

#[tokio::test]
async fn a_subject_comes_under_the_level_that_it_had() {
    let mut items = Vec::new();
    let from = evolving();
    for key in from.index.versions.keys() {
        items.push(Item::Version(from.schema(key).await.expect("read").expect("a text")));
    }
    items.push(Item::Config("orders".into(), config(json!({"compatibilityLevel": "NONE"}))));
    let from = kept(items);
    let bed = Bed::behind(|_, _| None).await;
    bed.restored(&from, &Settings::default()).await;
    // Not where the target has the subject: its own level counts.
    let bed = Bed::behind(|_, _| None).await;
    bed.has("orders", &record("R", &[("a", "int")])).await;
    refused(bed.restore(&from, &Settings::default()).await);
}

#[tokio::test]
async fn a_chain_of_versions_that_fit_each_other_is_no_obstacle() {
    let with = |count: usize| {
        let fields: Vec<String> =
            (0..count).map(|n| format!("{{\"name\":\"f{n}\",\"type\":\"int\",\"default\":0}}")).collect();
        format!("{{\"type\":\"record\",\"name\":\"R\",\"fields\":[{}]}}", fields.join(","))
    };
    let items = (1..6).map(|n| version("orders", n, n as u32, &with(n as usize))).collect();
    let bed = Bed::behind(|_, _| None).await;
    bed.level("", "FULL_TRANSITIVE").await;
    bed.has("orders", &with(1)).await;
    let (_, outcome) = bed.restored(&kept(items), &Settings::default()).await;
    assert_eq!(outcome.registered, 4);
}

#[tokio::test]
async fn a_target_that_is_closed_is_opened_for_the_time() {
    let from = kept(vec![version("orders", 1, 1, &fixed("A")), version("orders", 2, 2, &fixed("B"))]);
    for mode in [Mode::Readonly, Mode::Import, Mode::Readwrite] {
        for ids in [Ids::Mapped, Ids::Forced] {
            let bed = Bed::new().await;
            bed.has("orders", &fixed("A")).await;
            bed.to.set_mode(&Subject::parse(""), mode).await.expect("set");
            bed.to.set_mode(&Subject::parse("orders"), Mode::Readonly).await.expect("set");
            let settings = Settings { ids, ..Settings::default() };
            bed.restored(&from, &settings).await;
            assert_eq!((bed.mode("").await, bed.mode("orders").await), (Some(mode), Some(Mode::Readonly)));
            assert_eq!(bed.versions("orders").await.len(), 2);
        }
    }
}

#[tokio::test]
async fn what_a_target_does_not_permit_is_said() {
    let from = kept(vec![version("orders", 1, 1, &fixed("A"))]);
    let bed = Bed::new().await;
    bed.to.set_mode(&Subject::parse(""), Mode::ReadonlyOverride).await.expect("set");
    let error = refused(bed.restore(&from, &Settings::default()).await);
    assert!(error.kind() == Kind::Input && error.to_string().contains("READONLY_OVERRIDE"), "{error}");
    // Its mode cannot be changed.
    let bed = Bed::behind(|_, asked| {
        let sets = asked.method == "PUT" && asked.path.starts_with("/mode");
        sets.then(|| {
            crate::client::scripted::json(
                422,
                r#"{"error_code":42205,"message":"Mode changes are not allowed"}"#,
            )
        })
    })
    .await;
    let settings = Settings { ids: Ids::Forced, ..Settings::default() };
    let mut journal = bed.journal().await;
    let progress = Progress::default();
    let restore = bed.asked(&from, &settings, &progress);
    let plan = restore.plan(&journal).await.expect("planned");
    let error = restore.run(&plan, &mut journal).await.map(drop).expect_err("refused");
    assert!(
        error.next_step().is_some_and(|next| next.contains("rewrite_ids")),
        "{error} {:?}",
        error.next_step()
    );
    assert_eq!(bed.versions("orders").await, []);
    bed.restored(&from, &Settings::default()).await;
}

#[tokio::test]
async fn a_subject_without_a_version_keeps_its_own_mode_and_level() {
    let bed = Bed::new().await;
    bed.level("orders", "FULL").await;
    bed.to.set_mode(&Subject::parse("orders"), Mode::Readonly).await.expect("set");
    let settings = Settings { registration: Registration::Forced, ..Settings::default() };
    bed.restored(&evolving(), &settings).await;
    assert_eq!(bed.mode("orders").await, Some(Mode::Readonly));
    let level = bed.to.config(&Subject::parse("orders")).await.expect("asked").expect("settings");
    assert_eq!(level["compatibilityLevel"], "FULL");
}

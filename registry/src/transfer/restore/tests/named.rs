//! References and names: mapped subjects, shifted numbers, diamonds, chains, circles, contexts.

use super::*;

fn mapping(pairs: &[(&str, &str)]) -> Settings {
    let pairs = pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
    Settings { subject_mapping: pairs.collect(), ..Settings::default() }
}

fn diamond() -> Vec<Item> {
    vec![
        version("z-base", 2, 10, &fixed("Base")),
        referring("y-left", 1, 11, &record("Left", &[("b", "Base")]), &[("Base", "z-base", 2)]),
        referring("x-right", 4, 12, &record("Right", &[("b", "Base")]), &[("Base", "z-base", 2)]),
        referring(
            "a-top",
            1,
            13,
            &record("Top", &[("l", "Left"), ("r", "Right")]),
            &[("Left", "y-left", 1), ("Right", "x-right", 4)],
        ),
    ]
}

#[tokio::test]
async fn references_name_what_they_lead_to_in_the_target() {
    let bed = Bed::new().await;
    let settings = mapping(&[("z-base", "common"), ("a-top", "restored-top"), ("nobody", "x")]);
    let mut items = diamond();
    items.reverse();
    let from = kept(items);
    let (plan, outcome) = bed.restored(&from, &settings).await;
    assert!(plan.warnings.iter().any(|warning| warning.contains("nobody")), "{plan:?}");
    let left = bed.to.version(&Subject::parse("y-left"), 1).await.expect("there");
    assert_eq!((left.references[0].subject.as_str(), left.references[0].version), ("common", 1));
    let top = bed.to.version(&Subject::parse("restored-top"), 1).await.expect("there");
    let found: Vec<_> = top.references.iter().map(|to| (to.subject.as_str(), to.version)).collect();
    assert_eq!(found, [("y-left", 1), ("x-right", 1)]);
    assert_eq!(outcome.map.versions[&key("z-base", 2)], key("common", 1));
    assert_eq!(bed.versions("z-base").await, []);
}

#[tokio::test]
async fn guids_that_change_are_mapped() {
    let source = client(&Server::registry(|_, _| None).await.url);
    source.register(&avro("base", &fixed("Base"), &[]), Placed::Next).await.expect("registered");
    let top = avro("top", &record("Top", &[("b", "Base")]), &[("Base", "base", 1)]);
    source.register(&top, Placed::Next).await.expect("registered");
    let from = archived(&source).await;
    let bed = Bed::new().await;
    let (_, outcome) = bed.restored(&from, &mapping(&[("base", "common")])).await;
    let guid = async |client: &Client, subject: &str| {
        client.version(&Subject::parse(subject), 1).await.expect("there").guid.expect("a GUID")
    };
    let (base, top) = (guid(&source, "base").await, guid(&source, "top").await);
    let there = guid(&bed.to, "top").await;
    assert_ne!(top, there);
    // That of what has no references is made of the same, and is told as well.
    assert_eq!(outcome.map.guids, [(base.clone(), base), (top, there)].into());
    assert_eq!(outcome.map.unmapped_guids, [].into());
}

#[tokio::test]
async fn a_guid_that_nothing_or_more_than_one_thing_stands_for_is_told() {
    let referring = |subject: &str, id| {
        let Item::Version(schema) =
            referring(subject, 1, id, &record("Top", &[("b", "Base")]), &[("Base", "base", 1)])
        else {
            unreachable!()
        };
        Item::Version(Schema { guid: Some("twice".to_owned()), ..schema })
    };
    let with = |guid: &str, item: Item| match item {
        Item::Version(schema) => Item::Version(Schema { guid: Some(guid.to_owned()), ..schema }),
        item => item,
    };
    let from = kept(vec![
        with("base", version("base", 1, 1, &fixed("Base"))),
        referring("top", 2),
        with("base", version(":.pay:base", 1, 1, &fixed("Base"))),
        referring(":.pay:top", 2),
        with("left", version("left", 1, 4, &fixed("Left"))),
    ]);
    let bed = Bed::new().await;
    let subjects = Patterns::new(&[], &["left".to_owned()]).expect("patterns");
    let settings = Settings { subjects, ..mapping(&[(":.pay:base", ":.pay:common")]) };
    let (plan, outcome) = bed.restored(&from, &settings).await;
    assert_eq!(outcome.map.guids.keys().collect::<Vec<_>>(), ["base"], "{plan:?}");
    assert_eq!(outcome.map.unmapped_guids, ["left".to_owned(), "twice".to_owned()].into());
}

#[tokio::test]
async fn what_is_there_under_shifted_references_is_found() {
    let bed = Bed::new().await;
    bed.has("z-base", &fixed("Other")).await;
    bed.has("z-base", &fixed("Base")).await;
    let left = avro("y-left", &record("Left", &[("b", "Base")]), &[("Base", "z-base", 2)]);
    bed.to.register(&left, Placed::Next).await.expect("registered");
    let from = kept(vec![
        version("z-base", 7, 10, &fixed("Base")),
        referring("y-left", 9, 11, &record("Left", &[("b", "Base")]), &[("Base", "z-base", 7)]),
    ]);
    let (plan, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_eq!((plan.counts[&Action::ExistsUnderOtherId], outcome.registered), (2, 0), "{plan:?}");
}

#[tokio::test]
async fn two_subjects_do_not_become_one() {
    let from = kept(vec![version("a", 1, 1, &fixed("A")), version("b", 1, 2, &fixed("B"))]);
    let bed = Bed::new().await;
    for pairs in [&[("a", "b")][..], &[("a", "c"), ("b", "c")]] {
        let error = refused(bed.restore(&from, &mapping(pairs)).await);
        assert!(error.next_step().is_some_and(|next| next.contains("subject_mapping")), "{error}");
    }
    bed.restored(&from, &mapping(&[("a", "b"), ("b", "a")])).await;
    assert_eq!(bed.versions("b").await, [(1, fixed("A"), false)]);
}

#[tokio::test]
async fn a_circle_and_what_is_missing_are_refused() {
    let bed = Bed::new().await;
    let from = kept(vec![
        referring("a", 1, 1, "\"int\"", &[("n", "b", 1)]),
        referring("b", 1, 2, "\"long\"", &[("n", "a", 1)]),
        referring("behind", 1, 3, "\"float\"", &[("n", "a", 1)]),
        referring("lost", 1, 4, "\"double\"", &[("n", "nowhere", 3)]),
        referring("behind-lost", 1, 5, "\"bytes\"", &[("n", "lost", 1)]),
        referring("itself", 1, 6, "\"string\"", &[("n", "itself", 1)]),
        version("fine", 1, 7, &fixed("Fine")),
    ]);
    let plan = bed.plan(&from, &Settings::default()).await;
    let actions: HashMap<_, _> = plan.versions.iter().map(|found| (&*found.subject, found.action)).collect();
    assert_eq!(
        (actions["a"], actions["b"], actions["itself"]),
        (Action::Cycle, Action::Cycle, Action::Cycle)
    );
    for behind in ["behind", "lost", "behind-lost"] {
        assert_eq!(actions[behind], Action::ReferenceMissing, "{plan:?}");
    }
    assert_eq!(actions["fine"], Action::Create);
    let text = plan.lines().join("\n");
    assert!(text.contains("a version 1 -> b version 1 -> a version 1"), "{text}");
    assert!(text.contains("it refers to nowhere version 3, which is neither"), "{text}");
    refused(bed.restore(&from, &Settings::default()).await);
    assert_eq!(bed.versions("fine").await, []);
}

#[tokio::test]
async fn what_only_the_target_has_may_be_referred_to() {
    let bed = Bed::new().await;
    bed.has("common", &fixed("Common")).await;
    let text = record("O", &[("c", "Common")]);
    let from = kept(vec![referring("orders", 1, 3, &text, &[("Common", "base", 1)])]);
    let (plan, _) = bed.restored(&from, &mapping(&[("base", "common")])).await;
    let warning = "orders version 1 refers to base version 1, which the archive does not have: it will refer to common version 1";
    assert!(plan.warnings.iter().any(|found| found.starts_with(warning)), "{plan:?}");
    let orders = bed.to.version(&Subject::parse("orders"), 1).await.expect("there");
    assert_eq!(orders.references[0].subject, "common");
}

#[tokio::test]
async fn contexts_have_ids_of_their_own_and_can_be_moved() {
    let items = || {
        vec![
            version("orders", 1, 1, &fixed("A")),
            version(":.pay:orders", 1, 1, &fixed("B")),
            version(":.pay:base", 3, 2, &fixed("Base")),
            // An unqualified name is one of the own context.
            referring(":.pay:top", 1, 3, &record("Top", &[("b", "Base")]), &[("Base", "base", 3)]),
            referring(":.pay:plain", 1, 4, &record("P", &[("a", "A")]), &[("A", ":.:orders", 1)]),
            Item::Context(".pay".into()),
            Item::Config(":.pay:".into(), config(json!({"compatibilityLevel": "NONE"}))),
        ]
    };
    let bed = Bed::new().await;
    let other = bed.has(":.pay:other", &fixed("Other")).await;
    bed.level(":.pay:", "NONE").await;
    let from = kept(items());
    let (_, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_readable(&from, &bed, &outcome.map).await;
    assert_eq!((other, outcome.map.to_file()[":.pay:1"].as_u64()), (1, Some(2)));
    // All of the context into another one, and one of the default context into a third.
    let bed = Bed::new().await;
    let settings = mapping(&[
        (":.pay:orders", ":.dr:orders"),
        (":.pay:base", ":.dr:bottom"),
        (":.pay:top", ":.dr:top"),
        (":.pay:plain", ":.dr:plain"),
    ]);
    let (plan, outcome) = bed.restored(&from, &settings).await;
    assert!(plan.warnings.iter().any(|found| found.contains("subjects of the default one")), "{plan:?}");
    assert_readable(&from, &bed, &outcome.map).await;
    let top = bed.to.version(&Subject::parse(":.dr:top"), 1).await.expect("there");
    assert_eq!((top.references[0].subject.as_str(), top.references[0].version), ("bottom", 1));
    let plain = bed.to.version(&Subject::parse(":.dr:plain"), 1).await.expect("there");
    assert_eq!(plain.references[0].subject, ":.:orders");
    // Into the default context, what named that one explicitly still does.
    let bed = Bed::new().await;
    let settings = mapping(&[(":.pay:plain", "plain"), (":.pay:top", "top")]);
    bed.restored(&from, &settings).await;
    let top = bed.to.version(&Subject::parse("top"), 1).await.expect("there");
    assert_eq!(top.references[0].subject, ":.pay:base");
}

#[tokio::test]
async fn an_id_does_not_go_to_two_contexts() {
    let from = kept(vec![version("a", 1, 1, &fixed("A")), version("b", 1, 1, &fixed("A"))]);
    let bed = Bed::new().await;
    let error = refused(bed.restore(&from, &mapping(&[("a", ":.dr:a")])).await);
    assert!(error.to_string().contains("two contexts"), "{error}");
}

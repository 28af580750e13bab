//! What is no schema, where the target is overwritten: what the target has there stays, or comes back.

use super::*;
use crate::client::scripted::json as answer;

fn overwrite(ids: Ids) -> Settings {
    Settings { strategy: Strategy::Overwrite, ids, ..Settings::default() }
}

#[tokio::test]
async fn a_text_that_is_no_schema_takes_no_version_of_the_target_away() {
    for ids in [Ids::Mapped, Ids::Forced] {
        let bed = Bed::new().await;
        let id = bed.has("orders", &fixed("A")).await;
        bed.has("orders", &fixed("X")).await;
        bed.has("leans", &fixed("Y")).await;
        let before = (bed.versions("orders").await, bed.versions("leans").await);
        let from = kept(vec![
            version("orders", 1, id, &fixed("A")),
            version("orders", 2, 50, r#"{"type":"record","name":"Broken","fields":"#),
            referring("leans", 1, 51, &record("L", &[("b", "Broken")]), &[("Broken", "orders", 2)]),
            referring("new", 1, 52, &record("N", &[("l", "L")]), &[("L", "leans", 1)]),
            version("whole", 1, 53, &fixed("W")),
        ]);
        let (plan, outcome) = bed.restored(&from, &overwrite(ids)).await;
        let actions =
            [("orders", 2), ("leans", 1), ("new", 1), ("whole", 1)].map(|(s, n)| action(&plan, s, n));
        assert_eq!(
            actions,
            [Action::NotTaken, Action::NotTaken, Action::NotTaken, Action::Create],
            "{plan:?}"
        );
        assert!(plan.removed.is_empty(), "{plan:?}");
        assert!(!plan.warnings.iter().any(|warning| warning.contains("not in the archive")), "{plan:?}");
        assert!(
            plan.lines().iter().any(|line| line.contains("left out           orders version 2")),
            "{plan:?}"
        );
        assert_eq!((outcome.registered, outcome.removed, outcome.not_taken.len()), (1, 0, 3));
        let [leans, new, orders] = &outcome.not_taken[..] else { panic!("{:?}", outcome.not_taken) };
        assert!(
            orders.starts_with("orders version 2: its text is no schema: ") && orders.ends_with("stays"),
            "{orders}"
        );
        assert!(
            leans.contains("leans version 1: it refers to orders version 2, which is left out; what"),
            "{leans}"
        );
        assert!(new.ends_with("it refers to leans version 1, which is left out"), "{new}");
        assert_eq!((bed.versions("orders").await, bed.versions("leans").await), before);
        assert_eq!(outcome.map.unmapped.iter().map(|id| id.id).collect::<Vec<_>>(), [50, 51, 52]);
    }
}

#[tokio::test]
async fn what_cannot_be_judged_here_is_for_the_target_to_say() {
    let bed = Bed::new().await;
    bed.has("base", &fixed("Base")).await;
    bed.has("orders", &fixed("X")).await;
    // What it refers to is in the target alone.
    let text = record("R", &[("b", "Base")]);
    let from = kept(vec![referring("orders", 1, 50, &text, &[("Base", "base", 1)])]);
    let (plan, outcome) = bed.restored(&from, &overwrite(Ids::Mapped)).await;
    assert_eq!((action(&plan, "orders", 1), outcome.removed), (Action::Replace, 1), "{plan:?}");
    assert_eq!(bed.versions("orders").await, [(1, text, false)]);
}

/// A target with versions in the place of those of the archive. Once it is told to, it refuses texts with this word.
async fn refusing(word: &'static str) -> (Bed, Arc<AtomicBool>) {
    let refuses = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&refuses);
    let bed = Bed::behind(move |_, asked| {
        let is_registered = asked.method == "POST" && asked.path.ends_with("/versions");
        let is_meant = is_registered && String::from_utf8_lossy(&asked.body).contains(word);
        (is_meant && told.load(SeqCst))
            .then(|| answer(422, r#"{"error_code":42201,"message":"Invalid schema"}"#))
    })
    .await;
    bed.level("", "NONE").await;
    bed.has("orders", &fixed("Its1")).await;
    bed.has("orders", &fixed("Its2")).await;
    let first = avro("top", &record("ItsTop", &[("o", "Its1")]), &[("Its1", "orders", 1)]);
    bed.to.register(&first, Placed::Next).await.expect("registered");
    bed.to.delete_version(&Subject::parse("orders"), 2, Deletion::Soft).await.expect("deleted");
    refuses.store(true, SeqCst);
    (bed, refuses)
}

fn refused_ones() -> Side {
    kept(vec![
        version("orders", 1, 50, &fixed("Bad1")),
        version("orders", 2, 51, &fixed("Bad2")),
        referring("top", 1, 52, &record("Top", &[("b", "Bad1")]), &[("Bad1", "orders", 1)]),
    ])
}

#[tokio::test]
async fn what_was_deleted_for_a_text_that_the_target_refuses_is_back() {
    for ids in [Ids::Mapped, Ids::Forced] {
        let (bed, refuses) = refusing("Bad").await;
        let before = side(&bed.to).await;
        for what in ["first", "again"] {
            let (plan, outcome) =
                bed.restore(&refused_ones(), &overwrite(ids.clone())).await.expect("restored");
            assert_eq!(plan.removed.len(), 3, "{what}: {plan:?}");
            assert_eq!((outcome.registered, outcome.removed), (0, 0), "{what}");
            assert_eq!(outcome.not_taken.len(), 3, "{what}: {:?}", outcome.not_taken);
            for why in &outcome.not_taken {
                assert!(why.ends_with("what the target had there is back"), "{what}: {why}");
            }
            let found = diff(&before, &side(&bed.to).await, Guids::All).await.expect("compared");
            assert_eq!(found.count, 0, "{what}: {found:?}");
            assert!(bed.memory.0.lock().expect("unpoisoned").is_none(), "{what}: the journal is gone");
        }
        // And once it takes them, they come.
        refuses.store(false, SeqCst);
        let (_, outcome) = bed.restored(&refused_ones(), &overwrite(ids)).await;
        assert_eq!((outcome.registered, outcome.removed, outcome.not_taken.len()), (3, 3, 0));
    }
}

#[tokio::test]
async fn what_cannot_be_put_back_ends_the_restore_and_is_named() {
    // It refuses its own texts as well.
    let (bed, _) = refusing("fixed").await;
    let error = refused(bed.restore(&refused_ones(), &overwrite(Ids::Mapped)).await);
    let said = error.to_string();
    assert!(
        said.contains("orders version 1 was deleted for another one") && said.contains("cannot be put back"),
        "{said}"
    );
    assert!(error.next_step().is_some_and(|next| next.contains("register it again")), "{error:?}");
}

//! Any archive into any target: afterwards there is nothing left to do, and every id leads to its schema.

use super::*;
use proptest::prelude::*;

/// A version: its subject, its text, how it is there, whether it refers to the one before.
type Drawn = (usize, usize, u8, bool);

const SUBJECTS: [&str; 3] = ["a", "b", "c"];

fn archive(drawn: &[Drawn]) -> Side {
    let mut numbers = [0_i32; 3];
    let mut items: Vec<Item> = Vec::new();
    let mut ids: HashMap<(usize, String), u32> = HashMap::new();
    let mut last: Option<(usize, i32)> = None;
    for (subject, text, state, refers) in drawn {
        // With holes.
        numbers[*subject] += 1 + i32::from(*text == 0);
        let to: Vec<(&str, &str, i32)> = match last.filter(|_| *refers) {
            Some((other, number)) => vec![("n", SUBJECTS[other], number)],
            None => Vec::new(),
        };
        let count = ids.len() as u32;
        let id = *ids.entry((*text, format!("{to:?}"))).or_insert(100 + count);
        // A text that defines what it refers to would be another one.
        let name = to.first().map_or(String::new(), |(_, subject, number)| format!("Of{subject}{number}"));
        let text = fixed(&format!("T{text}{name}"));
        let made = referring(SUBJECTS[*subject], numbers[*subject], id, &text, &to);
        let Item::Version(schema) = made else { unreachable!() };
        last = Some((*subject, schema.version));
        items.push(match state {
            0 => Item::Version(Schema { deleted: Some(true), ..schema }),
            1 if !refers => Item::Gone(schema),
            _ => Item::Version(schema),
        });
    }
    kept(items)
}

fn drawn(count: usize) -> impl Strategy<Value = Vec<Drawn>> {
    prop::collection::vec((0..3_usize, 0..5_usize, 0..6_u8, any::<bool>()), 0..count)
}

use proptest::strategy::Strategy;

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_restore_is_done_when_it_is_done(
        drawn in drawn(9),
        there in prop::collection::vec((0..3_usize, 0..5_usize, any::<bool>()), 0..7),
        overwrite in any::<bool>(),
        skip in any::<bool>(),
        renamed in any::<bool>(),
        ids in 0..3_u8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let bed = Bed::new().await;
            for (subject, text, deleted) in &there {
                bed.has(SUBJECTS[*subject], &fixed(&format!("T{text}"))).await;
                if *deleted {
                    let subject = Subject::parse(SUBJECTS[*subject]);
                    let versions = bed.to.versions(&subject).await.expect("listed");
                    let last = versions.last().expect("a version").0;
                    bed.to.delete_version(&subject, last, Deletion::Soft).await.expect("deleted");
                }
            }
            let from = archive(&drawn);
            let strategy = match (overwrite, skip) {
                (true, _) => super::Strategy::Overwrite,
                (_, true) => super::Strategy::Skip,
                _ => super::Strategy::Preserve,
            };
            let mapping = match renamed {
                true => [("a".to_owned(), "z".to_owned())].into(),
                false => BTreeMap::new(),
            };
            let given = || {
                let of = |entry: &crate::transfer::Entry| entry.id;
                let ids: BTreeSet<u32> = from.index.versions.values().map(of).filter(|id| id % 2 == 0).collect();
                let context = crate::names::Context::default_context;
                ids.into_iter().map(|id| (ContextId { context: context(), id }, id + 400)).collect()
            };
            let ids = match ids {
                0 => Ids::Mapped,
                1 => Ids::Forced,
                _ => Ids::Given(given()),
            };
            let settings = Settings { strategy, ids, subject_mapping: mapping, ..Settings::default() };
            let plan = bed.plan(&from, &settings).await;
            // What the target refers to, or what is skipped and referred to, may be in the way; and where ids are told, others.
            if !plan.obstacles.is_empty() {
                assert!(strategy != super::Strategy::Preserve || settings.ids != Ids::Mapped, "{plan:?}");
                return;
            }
            let (_, outcome) = bed.restored(&from, &settings).await;
            for (key, entry) in &from.index.versions {
                let Some(to) = outcome.map.ids.get(&ContextId::of(key, entry.id)) else {
                    assert!(strategy == super::Strategy::Skip, "{key} leads nowhere: {plan:?}");
                    continue;
                };
                let found = bed.to.by_id(to.id, None).await.expect("there").schema;
                assert_eq!(found, from.schema(key).await.expect("read").expect("a text").schema);
            }
        });
    }
}

//! Anything at any time through two instances: afterwards both know what is in the store, and nothing leads nowhere.

use super::super::bed::{Folder, Instance, referring, submitted};
use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Register(usize, usize),
    Refer(usize, usize, usize),
    Import(usize, usize, u32),
    Delete(usize, bool),
    DeleteVersion(usize, bool),
    Mode(usize, Option<Mode>, bool),
    Config(usize, bool),
}

const SUBJECTS: [&str; 4] = ["a", "b", ":.c:a", ":.d:b"];
const TEXTS: [&str; 4] =
    ["\"int\"", "\"long\"", r#"{"type":"array","items":"int"}"#, r#"{"type":"map","values":"int"}"#];

fn step() -> impl Strategy<Value = Step> {
    let (subject, text) = (|| 0..SUBJECTS.len(), || 0..TEXTS.len());
    let mode = prop_oneof![Just(None), Just(Some(Mode::Import)), Just(Some(Mode::Readwrite))];
    prop_oneof![
        4 => (subject(), text()).prop_map(|(subject, text)| Step::Register(subject, text)),
        4 => (subject(), text(), subject()).prop_map(|(subject, text, to)| Step::Refer(subject, text, to)),
        2 => (subject(), text(), 1..9_u32).prop_map(|(subject, text, id)| Step::Import(subject, text, id)),
        3 => (subject(), any::<bool>()).prop_map(|(subject, gone)| Step::Delete(subject, gone)),
        2 => (subject(), any::<bool>()).prop_map(|(subject, gone)| Step::DeleteVersion(subject, gone)),
        2 => (subject(), mode, any::<bool>()).prop_map(|(subject, mode, force)| Step::Mode(subject, mode, force)),
        1 => (subject(), any::<bool>()).prop_map(|(subject, set)| Step::Config(subject, set)),
    ]
}

async fn take(instance: Arc<Instance>, step: Step) -> Result<()> {
    let subject = |n: usize| (SUBJECTS[n], Subject::parse(SUBJECTS[n]));
    let kind = |gone| if gone { Deletion::Permanent } else { Deletion::Soft };
    let registry = &instance.registry;
    match step {
        Step::Register(to, text) => instance.register(SUBJECTS[to], TEXTS[text]).await.map(drop),
        Step::Refer(to, text, dep) => {
            let (_, dep) = subject(dep);
            let dep = format!(":{}:{}", dep.context, dep.name);
            instance.submit(SUBJECTS[to], referring(TEXTS[text], "x", &dep, 1)).await.map(drop)
        }
        Step::Import(to, text, id) => {
            let import = Submitted { id: Some(id), version: 1, ..submitted(TEXTS[text]) };
            instance.submit(SUBJECTS[to], import).await.map(drop)
        }
        Step::Delete(n, gone) => registry.delete_subject(&subject(n).1, kind(gone)).await.map(drop),
        Step::DeleteVersion(n, gone) => {
            registry.delete_version(&subject(n).1, 1, "1", kind(gone)).await.map(drop)
        }
        Step::Mode(n, mode, force) => {
            let (name, subject) = subject(n);
            registry.set_mode(&subject, name, mode, force).await
        }
        Step::Config(n, true) => {
            let (name, subject) = subject(n);
            let level = ConfigUpdate { compatibility: Field::Set("NONE".into()), ..ConfigUpdate::default() };
            registry.set_config(&subject, name, level).await.map(drop)
        }
        Step::Config(n, false) => registry.delete_config(&subject(n).1).await.map(drop),
    }
}

/// All that references of schemas which somebody uses lead to is there.
fn assert_no_dangling_references(live: &Live) {
    for context in live.contexts() {
        let schemas: Vec<SchemaRow> = live.read(&context, |state| {
            let versions = state.subjects().flat_map(|(_, versions)| versions);
            versions.filter_map(|version| state.schema(version.schema).cloned()).collect()
        });
        for reference in schemas.iter().flat_map(|row| row.references.iter()) {
            let target = Subject::parse_in(&reference.subject, &context);
            let found = live.read(&target.context, |state| {
                state.versions(&target.name).iter().any(|version| version.version == reference.version)
            });
            assert!(found, "{reference:?} in {context} leads nowhere");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn two_instances_know_the_same(steps in prop::collection::vec(step(), 40..80)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let folder = Folder::new();
            let mut instances = Vec::new();
            for _ in 0..2 {
                instances.push(Arc::new(Instance::open(folder.store().await, Settings::default()).await));
            }
            for four in steps.chunks(4) {
                let tasks = four.iter().enumerate().map(|(n, step)| {
                    tokio::spawn(take(Arc::clone(&instances[n % 2]), step.clone()))
                });
                for task in tasks.collect::<Vec<_>>() {
                    if let Err(error) = task.await.expect("a task") {
                        assert!(error.status() < 500, "{error}");
                    }
                }
            }
            let fresh = Instance::open(folder.store().await, Settings::default()).await;
            for instance in &instances {
                let live = instance.registry.live();
                live.confirm().await.expect("a look");
                assert_eq!((live.contexts(), live.broken()), (fresh.registry.live().contexts(), None));
                for context in live.contexts() {
                    let state = |live: &Live| live.read(&context, ContextState::clone);
                    assert_eq!(state(live), state(fresh.registry.live()), "context {context}");
                }
            }
            assert_no_dangling_references(fresh.registry.live());
        });
    }
}

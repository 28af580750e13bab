//! `replevin registry serve --follow`: a warm standby of another registry, killed at any moment, left alone by its leader, promoted.

use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::postgres::{self, Postgres};
use sandbox::questions::{answer, answers, ask, assert_same, fixed, furnish, get, questions, register};
use sandbox::registry::Registry;
use sandbox::scratch::{Port, Scratch};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Looks follow each other closely, and who asks in vain does not ask for long.
const QUICK: [(&str, &str); 1] = [("SCHEMA_REGISTRY_FOLLOW_INTERVAL", "100ms")];

/// A store in a folder.
fn sqlite(folder: &Scratch) -> Vec<String> {
    let path = folder.path().display().to_string();
    vec!["--storage-type".to_owned(), "sqlite".to_owned(), "--data-dir".to_owned(), path]
}

/// Starts a registry with a store and further arguments, and waits for nothing.
fn launch(port: Port, store: &[String], more: &[&str], variables: &[(&str, &str)]) -> Registry {
    let args: Vec<&str> = store.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Registry::launch(port, &args, &[&QUICK, variables].concat())
}

fn standby(leader: &Registry, store: &[String], variables: &[(&str, &str)]) -> Registry {
    launch(Port::reserve(), store, &["--follow", &leader.url()], variables)
}

fn status(registry: &Registry) -> Value {
    get(registry, "/admin/standby")
}

/// Waits until this is so.
fn until(registry: &Registry, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let asked = registry.ask("GET", "/admin/standby", "");
        let told = asked.ok().filter(|answer| answer.status == 200);
        let told: Option<Value> = told.and_then(|answer| serde_json::from_str(&answer.text()).ok());
        if let Some(told) = told.as_ref().filter(|told| is_so(told)) {
            return told.clone();
        }
        assert!(began.elapsed() < LIMIT, "{what}: {told:?}\n{}", registry.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for looks that begin after this and find both equal.
fn settle(registry: &Registry) {
    let first = until(registry, "it follows", |told| told["state"] == "following");
    let looks = first["looks"].as_u64().expect("a number");
    until(registry, "it is equal", |told| {
        told["state"] == "following"
            && told["versions_behind"] == 0
            && told["looks"].as_u64() >= Some(looks + 4)
    });
}

/// Every question has one answer.
fn assert_equal(leader: &Registry, standby: &Registry) {
    let questions = questions(leader);
    assert!(questions.len() > 500, "{}", questions.len());
    assert_same(standby, &questions, &answers(leader, &questions));
}

fn assert_refused(standby: &Registry, leader: &str) {
    for (method, path, body) in [
        ("POST", "/subjects/new/versions", fixed("New")),
        ("DELETE", "/subjects/twice", Value::Null),
        ("PUT", "/config", json!({ "compatibility": "FULL" })),
        ("PUT", "/mode", json!({ "mode": "IMPORT" })),
    ] {
        let (status, said) = answer(standby, method, path, &body);
        assert_eq!(status, 422, "{method} {path}: {said}");
        for words in ["42205", leader, "POST /admin/standby/promote"] {
            assert!(said.contains(words), "{method} {path}: {said}");
        }
    }
}

/// What a client does to a leader, step by step: versions, references, contexts, deletions of both kinds, settings and modes.
fn work(leader: &Registry, n: u64) {
    let delete = |path: &str| drop(answer(leader, "DELETE", path, &Value::Null));
    let put = |path: &str, body: Value| drop(answer(leader, "PUT", path, &body));
    let subject = format!("w{}", n % 17);
    put(&format!("/config/{subject}"), json!({ "compatibility": "NONE" }));
    register(leader, &subject, &fixed(&format!("W{n}")));
    match n % 8 {
        0 => drop(register(leader, &format!(":.c{}:w{n}", n % 3), &fixed(&format!("C{n}")))),
        1 => delete(&format!("/subjects/{subject}/versions/latest")),
        2 => {
            register(leader, &format!("gone{n}"), &fixed(&format!("G{n}")));
            delete(&format!("/subjects/gone{n}"));
            delete(&format!("/subjects/gone{n}?permanent=true"));
        }
        3 => {
            let base = register(leader, &format!("base{n}"), &fixed(&format!("B{n}")));
            assert!(base > 0);
            let referring = json!({
                "schema": json!({
                    "type": "record", "name": format!("R{n}"), "fields": [{ "name": "b", "type": format!("B{n}") }],
                })
                .to_string(),
                "references": [{ "name": format!("B{n}"), "subject": format!("base{n}"), "version": 1 }],
            });
            register(leader, &format!("refers{n}"), &referring);
        }
        4 => put("/mode/twice", json!({ "mode": if n % 16 == 4 { "READONLY" } else { "READWRITE" } })),
        5 => put("/config", json!({ "compatibility": if n % 16 == 5 { "FULL" } else { "NONE" } })),
        6 => {
            let labelled = json!({
                "schema": json!({ "type": "fixed", "name": format!("L{n}"), "size": 4 }).to_string(),
                "metadata": { "properties": { "n": n.to_string() } },
            });
            register(leader, &subject, &labelled);
        }
        _ => delete(&format!("/config/{subject}")),
    }
}

/// The highest id of the default context.
fn highest(registry: &Registry) -> u64 {
    let all = get(registry, "/schemas?deleted=true");
    let ids = all.as_array().expect("a list").iter().filter_map(|schema| schema["id"].as_u64());
    let id = ids.max().expect("some");
    get(registry, &format!("/schemas/ids/{id}?fetchMaxId=true"))["maxId"].as_u64().expect("an id")
}

/// A number that is another one in every run.
fn random(below: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now()) % below
}

#[test]
fn a_standby_that_is_killed_over_and_over_has_what_its_leader_has_and_is_promoted_once_that_is_gone() {
    let (folder, database) = (Scratch::new("leader"), Postgres::start());
    let leader = launch(Port::reserve(), &sqlite(&folder), &[], &[]);
    leader.wait_ready();
    furnish(&leader);
    let port = database.port().to_string();
    let variables = [
        ("STORAGE_TYPE", "postgresql"),
        ("POSTGRES_HOST", "127.0.0.1"),
        ("POSTGRES_PORT", &port),
        ("POSTGRES_USER", postgres::USER),
        ("POSTGRES_PASSWORD", postgres::PASSWORD),
        ("POSTGRES_DATABASE", "postgres"),
    ];
    let (is_done, steps) = (AtomicBool::new(false), AtomicU64::new(0));
    let kept = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                work(&leader, steps.fetch_add(1, Ordering::AcqRel));
                std::thread::sleep(Duration::from_millis(80));
            }
        });
        // Killed while it joins, while it is filled, and while it follows.
        let mut kept = standby(&leader, &[], &variables);
        for round in 0..10 {
            std::thread::sleep(Duration::from_millis(200 + random(400 + 150 * round)));
            let port = kept.kill9();
            kept = launch(port, &[], &["--follow", &leader.url()], &variables);
        }
        settle_or_say(&kept, &is_done);
        kept
    });
    assert!(steps.load(Ordering::Acquire) > 40, "{steps:?}");
    settle(&kept);
    assert_equal(&leader, &kept);
    assert_refused(&kept, &leader.url());
    // What is there may be registered again: producers do that when they start.
    assert_eq!(register(&kept, "twice", &fixed("Twice")), register(&leader, "twice", &fixed("Twice")));
    let metrics = kept.ask("GET", "/metrics", "").expect("metrics").text();
    let number = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name}: {metrics}"))
    };
    assert!(number("schema_registry_standby_lag_seconds") < 5.0, "{metrics}");
    assert!(number("schema_registry_standby_looks_total") > 0.0);
    assert!(metrics.contains("schema_registry_standby_state{state=\"following\"} 1"), "{metrics}");

    // The leader is gone: what was known is served, and the lag grows.
    let url = leader.url();
    let few: Vec<_> = questions(&leader).into_iter().step_by(9).collect();
    let expected = answers(&leader, &few);
    let last = highest(&leader);
    let port = leader.kill9();
    let away = until(&kept, "the leader is away", |told| told["state"] == "away");
    assert!(away["why"].as_str().is_some_and(|why| why.contains(&url)), "{away}");
    let (code, ready) = answer(&kept, "GET", "/health/ready", &Value::Null);
    assert!(code == 200 && ready.contains("\"away\""), "{code} {ready}");
    assert_same(&kept, &few, &expected);
    assert_refused(&kept, &url);

    let promoted = ask(&kept, "POST", "/admin/standby/promote", &Value::Null);
    assert_eq!(
        (&promoted["state"], &promoted["caught_up"]),
        (&json!("promoted"), &json!(false)),
        "{promoted}"
    );
    assert!(promoted["missing"].is_string(), "{promoted}");
    assert_same(&kept, &few, &expected);
    assert_eq!(register(&kept, "own", &fixed("Own")), last + 1);
    let again = ask(&kept, "POST", "/admin/standby/promote", &Value::Null);
    assert_eq!(
        (&again["promoted_before"], &again["promoted_at_ms"]),
        (&json!(true), &promoted["promoted_at_ms"])
    );

    // It stays what it is, and nobody makes it follow again by accident.
    let own = kept.kill9();
    let refused = launch(own, &[], &["--follow", &url], &variables);
    let (ended, own) = refused.wait();
    let ended = ended.expect_code(2);
    for words in ["was promoted", &url, "two histories", "--rejoin"] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    let back = launch(port, &sqlite(&folder), &[], &[]);
    back.wait_ready();
    let (ended, own) = launch(own, &[], &["--follow", &url, "--rejoin"], &variables).wait();
    let ended = ended.expect_code(2);
    assert!(ended.stderr.contains("own version 1 is not at the leader"), "{}", ended.stderr);
    let kept = launch(own, &[], &["--follow", &url, "--promote"], &variables);
    kept.wait_ready();
    assert_eq!(register(&kept, "own-too", &fixed("OwnToo")), last + 2);
    // The old leader becomes the standby of the new one.
    let (ended, port) = launch(back.kill9(), &sqlite(&folder), &["--follow", &kept.url()], &[]).wait();
    assert!(ended.expect_code(2).stderr.contains("--rejoin"));
    let back = launch(port, &sqlite(&folder), &["--follow", &kept.url(), "--rejoin"], &[]);
    settle(&back);
    let few: Vec<_> = questions(&kept).into_iter().step_by(9).collect();
    assert_same(&back, &few, &answers(&kept, &few));
    kept.stop();
    back.stop();
}

/// Waits until it follows, and ends the work of others whatever becomes of that.
fn settle_or_say(kept: &Registry, is_done: &AtomicBool) {
    let settled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until(kept, "it follows again", |told| told["state"] == "following");
    }));
    is_done.store(true, Ordering::Release);
    settled.expect("it follows");
}

#[test]
fn a_marker_that_is_cut_off_before_or_after_its_commit_is_what_it_was_or_what_it_was_to_be() {
    let leader = Registry::start();
    furnish(&leader);
    let url = leader.url();
    // Joining, following, and the note that both were equal.
    for place in ["before", "after"] {
        for nth in 1..=3 {
            let folder = Scratch::new("cut");
            let failpoint = format!("{place}_standby_marker:{nth}");
            let dying = standby(&leader, &sqlite(&folder), &[("REPLEVIN_FAILPOINT", &failpoint)]);
            let (ended, port) = dying.wait();
            assert_eq!(ended.code(), None, "{failpoint}: {}", ended.stderr);
            let kept = launch(port, &sqlite(&folder), &["--follow", &url], &[]);
            settle(&kept);
            if nth == 3 {
                assert_equal(&leader, &kept);
            }
            // A promotion by HTTP, and then one by flag, cut off in the same place.
            let port = kept.kill9();
            let failpoint = format!("{place}_standby_marker:1");
            let fatal = [("REPLEVIN_FAILPOINT", failpoint.as_str())];
            let port = match nth {
                1 => {
                    let kept = launch(port, &sqlite(&folder), &["--follow", &url], &fatal);
                    settle(&kept);
                    assert!(kept.ask("POST", "/admin/standby/promote", "").is_err(), "it is dead");
                    kept.wait().1
                }
                2 => launch(port, &sqlite(&folder), &["--follow", &url, "--promote"], &fatal).wait().1,
                _ => launch(port, &sqlite(&folder), &["--promote"], &fatal).wait().1,
            };
            let kept = launch(port, &sqlite(&folder), &["--follow", &url], &[]);
            let port = match place {
                "before" => {
                    settle(&kept);
                    assert_refused(&kept, &url);
                    kept.stop()
                }
                _ => {
                    let (ended, port) = kept.wait();
                    assert!(ended.expect_code(2).stderr.contains("was promoted"));
                    port
                }
            };
            let kept = launch(port, &sqlite(&folder), &["--promote"], &[]);
            kept.wait_ready();
            assert_eq!(status(&kept)["state"], "promoted");
            assert_eq!(register(&kept, "own", &fixed("Own")), highest(&leader) + 1);
            kept.stop();
        }
    }
}

#[test]
fn a_registry_is_no_standby_by_accident_and_a_standby_no_registry() {
    let (leader, folder) = (Registry::start(), Scratch::new("own"));
    register(&leader, "theirs", &fixed("Theirs"));
    let own = launch(Port::reserve(), &sqlite(&folder), &[], &[]);
    own.wait_ready();
    register(&own, "ours", &fixed("Ours"));
    assert_eq!(status(&own), json!({ "state": "none" }));
    let (code, said) = answer(&own, "POST", "/admin/standby/promote", &Value::Null);
    assert!(code == 422 && said.contains("no standby"), "{code} {said}");
    let port = own.stop();
    for more in [&[][..], &["--rejoin"][..]] {
        let url = leader.url();
        let args = [&["--follow", &url][..], more].concat();
        let (ended, _) = launch(Port::reserve(), &sqlite(&folder), &args, &[]).wait();
        let said = ended.expect_code(2).stderr;
        for words in [
            "schemas of its own",
            "ours version 1 is not at the leader",
            "Nothing was changed",
            "empty store",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    let own = launch(port, &sqlite(&folder), &[], &[]);
    own.wait_ready();
    assert_eq!(register(&own, "more", &fixed("More")), 2);

    let empty = Scratch::new("empty");
    let kept = standby(&leader, &sqlite(&empty), &[]);
    settle(&kept);
    let port = kept.stop();
    let (ended, port) = launch(port, &sqlite(&empty), &[], &[]).wait();
    let said = ended.expect_code(2).stderr;
    assert!(
        said.contains(&format!("is a standby of {}", leader.url())) && said.contains("--promote"),
        "{said}"
    );
    // Promoted by the flag, with a last look.
    ask(&leader, "PUT", "/config", &json!({ "compatibility": "NONE" }));
    register(&leader, "theirs", &fixed("Later"));
    let kept = launch(port, &sqlite(&empty), &["--follow", &leader.url(), "--promote"], &[]);
    kept.wait_ready();
    assert_eq!(get(&kept, "/subjects/theirs/versions"), json!([1, 2]));
    assert_eq!(register(&kept, "theirs", &fixed("Own")), 3);
    for args in [&["--rejoin"][..], &["--follow", "ftp://nowhere"][..]] {
        launch(Port::reserve(), &["--storage-type".to_owned(), "memory".to_owned()], args, &[])
            .wait()
            .0
            .expect_code(2);
    }
}

#[test]
fn a_topic_is_followed_without_its_registry_and_a_topic_is_a_standbys_store() {
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
    let bootstrap = cluster.bootstrap();
    let kafka = |topic: &'static str| {
        [
            ("STORAGE_TYPE", "kafka"),
            ("SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS", bootstrap.as_str()),
            ("SCHEMA_REGISTRY_KAFKASTORE_TOPIC", topic),
            ("SCHEMA_REGISTRY_SCHEMA_REGISTRY_GROUP_ID", topic),
            ("SCHEMA_REGISTRY_HOST_NAME", "127.0.0.1"),
        ]
    };
    // Two of one group: one writes, and follows; both answer.
    let topic = format!("kafka://{bootstrap}/_schemas");
    let leader = launch(Port::reserve(), &[], &[], &kafka("_schemas"));
    leader.wait_ready();
    furnish(&leader);
    let first = launch(Port::reserve(), &[], &["--follow", &topic], &kafka("_standby"));
    settle(&first);
    let second = launch(Port::reserve(), &[], &["--follow", &topic], &kafka("_standby"));
    until(&second, "the other one follows", |told| told["state"] == "elsewhere");
    register(&leader, "later", &fixed("Later"));
    settle(&first);
    assert_equal(&leader, &first);
    assert_equal(&leader, &second);
    assert_refused(&second, &topic);
    let last = highest(&leader);
    leader.kill9();
    // Passed on to the one that writes.
    let promoted = ask(&second, "POST", "/admin/standby/promote", &Value::Null);
    assert_eq!(promoted["state"], "promoted", "{promoted}");
    assert_eq!(promoted["caught_up"], true, "a topic needs no registry: {promoted}");
    assert_eq!(register(&first, "own", &fixed("Own")), last + 1);
    assert_eq!(register(&second, "own-too", &fixed("OwnToo")), last + 2);
}

//! Registries that are away, slow, busy or not what they seem (S1): a backup of records goes on, and neither a restore nor a migration
//! guesses what an id means.

use sandbox::binary::Replevin;
use sandbox::client::{self, Isolation, NewRecord, Producer};
use sandbox::front::{Front, Mood};
use sandbox::job::{Job, folder, json};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::process::wait_until;
use sandbox::questions::{ask, register};
use sandbox::registry::Registry;
use sandbox::scratch::Scratch;
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// Moods in which nothing can be done, and a word of what is said then.
const BAD: [(Mood, &str); 5] = [
    (Mood::Down, ""),
    (Mood::Slow(1_500), "timed out"),
    (Mood::LoginPage, "not that of a registry"),
    (Mood::NotFoundPage, "404"),
    (Mood::OtherJson, ""),
];

fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

/// A section's lines, for a registry that is asked with little patience.
fn asked(url: &str, retries: u32) -> String {
    format!(
        "url: {url}\n  connection: {{rate_limit_rps: 0, timeout_ms: 1000, max_retries: {retries}, retry_backoff_ms: 50}}"
    )
}

/// A schema of its own for each number.
fn schema(number: u32) -> Value {
    let fields = json!([{ "name": "text", "type": "string" }]);
    let schema = json!({ "type": "record", "name": format!("Own{number}"), "fields": fields });
    json!({ "schema": schema.to_string() })
}

/// Records that name a schema.
fn framed(id: u64, text: &str, count: usize) -> Vec<NewRecord> {
    let id = u32::try_from(id).expect("an id").to_be_bytes();
    let one = |n: usize| {
        let text = format!("{text} {n}");
        let length = 2 * u8::try_from(text.len()).expect("short");
        NewRecord::new(format!("{n}"), [&[0], &id[..], &[length], text.as_bytes()].concat())
    };
    (0..count).map(one).collect()
}

/// Ids and texts of a topic's records.
fn found(topic: &str) -> Vec<(u64, String)> {
    let records = client::read_all(&cluster().bootstrap(), topic, Isolation::ReadCommitted);
    let one = |value: Vec<u8>| {
        let id = u32::from_be_bytes(value[1..5].try_into().expect("four bytes"));
        (u64::from(id), String::from_utf8_lossy(&value[6..]).into_owned())
    };
    records.into_iter().map(|record| one(record.value.expect("a value"))).collect()
}

/// A topic whose records name two schemas of a registry.
fn home(topic: &str) -> Registry {
    let registry = Registry::start();
    client::create_topic(&cluster().bootstrap(), topic, 1, 1, &[]);
    register(&registry, "taken", &schema(0));
    for number in [1, 2] {
        ask(&registry, "PUT", &format!("/config/{topic}-value"), &json!({ "compatibility": "NONE" }));
        let id = register(&registry, &format!("{topic}-value"), &schema(number));
        Producer::new(&cluster().bootstrap(), &[]).send(topic, &framed(id, &format!("of {number}"), 10));
    }
    registry
}

#[test]
fn a_backup_of_records_goes_on_and_says_that_they_are_not_covered() {
    let registry = home("kept");
    let front = Front::of(&registry.url());
    let scratch = Scratch::new("registry-faults");
    let job = |url: &str, retries| {
        let job = Job::new("kept", &cluster().bootstrap(), &folder(scratch.path())).topics(&["kept"]);
        job.top(&format!("schema_registry:\n  {}", asked(url, retries)))
    };
    let mut records = 20;
    for (mood, word) in BAD {
        front.set(mood);
        let report = job(&front.url(), 1).back_up(3);
        assert_eq!(
            (&report["records"], &report["schemas"]["covers"]),
            (&json!(records), &json!(0)),
            "{mood:?}"
        );
        let why = report["schemas"]["failed"].as_str().unwrap_or_default();
        assert!(!why.is_empty() && why.contains(word), "{mood:?}: {why}");
        Producer::new(&cluster().bootstrap(), &[]).send("kept", &framed(2, "more", 5));
        records = 5;
    }
    // TLS is spoken to a port that does not speak it.
    front.set(Mood::Well);
    let report = job(&front.url().replace("http:", "https:"), 1).back_up(3);
    assert_ne!(report["schemas"]["failed"], Value::Null);
    for mood in [Mood::Flapping, Mood::TooMany] {
        front.set(mood);
        let report = job(&front.url(), 6).back_up(0);
        assert_eq!(
            (&report["schemas"]["failed"], &report["schemas"]["versions"]),
            (&Value::Null, &json!(3)),
            "{mood:?}"
        );
    }
}

#[test]
fn a_restore_touches_no_topic_until_the_registry_is_itself() {
    let registry = home("away");
    let scratch = Scratch::new("registry-faults-restore");
    let job = Job::new("away", &cluster().bootstrap(), &folder(scratch.path())).topics(&["away"]);
    let job = job.top(&format!("schema_registry:\n  {}", asked(&registry.url(), 1)));
    job.back_up(0);
    let target = Registry::start();
    let front = Front::of(&target.url());
    // Even one that would keep ids that it does not know: nobody knows yet which those are.
    let restore = |url: &str, retries, name: &str| {
        let registry = asked(url, retries);
        let lines =
            format!("schema_registry:\n  {registry}\n  restore: {{enabled: true, unknown_ids: keep}}");
        job.restore(&cluster().bootstrap()).set(&format!("topic_mapping: {{away: {name}}}")).top(&lines)
    };
    let refused = |restore: &sandbox::job::Restore, what: &str| {
        let finished = restore.command(&[]).run();
        assert!(matches!(finished.code(), Some(1 | 2)), "{what}: {:?} {}", finished.code(), finished.stderr);
        assert!(!client::topics(&cluster().bootstrap()).iter().any(|topic| topic == "back"), "{what}");
        assert_eq!(ask(&target, "GET", "/subjects?deleted=true", &Value::Null), json!([]), "{what}");
        finished
    };
    for (mood, word) in BAD {
        front.set(mood);
        let finished = refused(&restore(&front.url(), 1, "back"), &format!("{mood:?}"));
        assert!(finished.stderr.contains(word), "{mood:?}: {}", finished.stderr);
    }
    front.set(Mood::Well);
    refused(&restore(&front.url().replace("http:", "https:"), 1, "back"), "TLS");
    for (mood, name) in [(Mood::Flapping, "back"), (Mood::TooMany, "back-again")] {
        front.set(mood);
        let before = front.asked();
        let report = restore(&front.url(), 8, name).run(0);
        assert_eq!(report["verdict"], "proven", "{mood:?}: {report:#}");
        assert!(front.asked() > before, "{mood:?}");
        let ids: Vec<u64> = found(name).into_iter().map(|(id, _)| id).collect();
        let of = |number| register(&target, "away-value", &schema(number));
        assert_eq!(ids, [vec![of(1); 10], vec![of(2); 10]].concat(), "{mood:?}");
    }
}

#[test]
fn a_migration_holds_what_it_does_not_know_and_brings_what_it_does() {
    let registry = home("moving");
    let target = Registry::start();
    for number in 10..20 {
        register(
            &target,
            "others",
            &json!({ "schema": json!({ "type": "fixed", "name": format!("F{number}"), "size": 3 }).to_string() }),
        );
        ask(&target, "PUT", "/config/others", &json!({ "compatibility": "NONE" }));
    }
    let (from, to) = (Front::of(&registry.url()), Front::of(&target.url()));
    let bootstrap = cluster().bootstrap();
    let migrate = |args: &[&str]| {
        let file = format!(
            "mode: migrate\nmigration_id: moving\nsource:\n  bootstrap_servers: [\"{bootstrap}\"]\n  topics: {{include: [moving]}}\n\
             target:\n  bootstrap_servers: [\"{bootstrap}\"]\nsource_schema_registry:\n  {}\n  backup: {{poll_interval: 500ms}}\n\
             target_schema_registry:\n  {}\n  restore: {{enabled: true, unknown_ids: keep}}\n\
             migrate:\n  refresh_interval: 1s\n  topic_mapping: {{moving: moved}}\n",
            asked(&from.url(), 1),
            asked(&to.url(), 1)
        );
        Replevin::new(&[&["migrate", "--output", "json"], args].concat()).config(file).limit(LIMIT)
    };
    let live = migrate(&[]).start();
    let until = |count: usize| {
        let come = || match client::topics(&bootstrap).iter().any(|topic| topic == "moved") {
            true => found("moved").len(),
            false => 0,
        };
        wait_until(LIMIT, || if come() == count { Ok(()) } else { Err(format!("{} have come", come())) })
            .expect("records");
    };
    until(20);
    let mut count = 20;
    for (n, (mood, _)) in BAD.into_iter().enumerate() {
        for (side, front) in [(0, &from), (1, &to)] {
            front.set(mood);
            // An id that it knows needs nobody.
            let producer = Producer::new(&bootstrap, &[]);
            producer.send("moving", &framed(2, "known", 3));
            until(count + 3);
            let number = 100 + 2 * u32::try_from(n).expect("small") + side;
            let id = register(&registry, "moving-value", &schema(number));
            producer.send("moving", &framed(id, &format!("new {number}"), 4));
            std::thread::sleep(Duration::from_millis(1200));
            assert_eq!(found("moved").len(), count + 3, "{mood:?}: a record came before its schema");
            front.set(Mood::Well);
            until(count + 7);
            let own = register(&target, "moving-value", &schema(number));
            let last = found("moved").pop().expect("a record");
            assert_eq!(last, (own, format!("new {number} 3")), "{mood:?}");
            count += 7;
        }
    }
    live.signal("TERM");
    live.wait().expect_code(0);
    let report = json(&migrate(&["--until-caught-up"]).run().expect_code(0));
    assert_eq!(report["partitions"][0]["proof"]["verdict"], "equal", "{report:#}");
}

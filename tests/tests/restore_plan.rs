//! What a restore says before, while and after it works: losses of the archive, what is done already, names that mean
//! nothing, rights that are missing. Partial is never success.

use sandbox::client::{self, Compared, Isolation, NewRecord, Producer, Rec};
use sandbox::fixtures;
use sandbox::job::{Job, Restore, folder, json};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::kafka_tools::ACLS;
use sandbox::scratch::Scratch;
use serde_json::{Value, json};
use std::sync::OnceLock;

/// One cluster that is both source and target.
fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

fn read(topic: &str) -> Vec<Rec> {
    client::read_all(&cluster().bootstrap(), topic, Isolation::ReadUncommitted)
}

/// Records with rising times, ten to a round: round 0 is at 1,700,000,000,000 ms and the nine after it.
fn send(topic: &str, partition: i32, round: i64) {
    let record = |n: i64| {
        let number = round * 10 + n;
        NewRecord::new(format!("{number}"), format!("value {number}"))
            .partition(partition)
            .at(1_700_000_000_000 + number)
    };
    Producer::new(&cluster().bootstrap(), &[]).send(topic, &(0..10).map(record).collect::<Vec<_>>());
}

fn text(restore: &Restore, args: &[&str], code: i32) -> (String, String) {
    let finished = restore.text_command(args).run().expect_code(code);
    (finished.stdout, finished.stderr)
}

fn as_name(job: &Job, topic: &str, name: &str) -> Restore {
    job.restore(&cluster().bootstrap()).set(&format!("topic_mapping: {{{topic}: {name}}}"))
}

// P10

/// Offsets 10 to 20 of partition 0 were gone before the second run came.
#[test]
fn a_loss_in_the_archive_makes_the_restore_partial_and_says_so() {
    let bootstrap = cluster().bootstrap();
    client::create_topic(&bootstrap, "holed", 2, 1, &[("retention.ms", "-1")]);
    let scratch = Scratch::new("holed");
    let job = Job::new("holed", &bootstrap, &folder(scratch.path())).topics(&["holed"]);
    send("holed", 0, 0);
    send("holed", 1, 0);
    job.back_up(0);
    let first = read("holed");
    send("holed", 0, 1);
    send("holed", 0, 2);
    client::delete_records(&bootstrap, "holed", 0, 20);
    job.back_up(3);
    let expected: Vec<Rec> = {
        let mut all = first;
        all.extend(read("holed").into_iter().filter(|record| record.partition == 0));
        all.sort_by_key(|record| (record.partition, record.offset));
        all
    };
    assert_eq!(expected.len(), 30);

    let restore = as_name(&job, "holed", "partial");
    let gap = json!([{ "first": 10, "end": 20, "reason": "retention", "lost": true }]);
    let plan = json(&restore.command(&["--plan"]).run().expect_code(0));
    assert_eq!(plan["topics"][0]["partitions"][0]["gaps"], gap, "{plan}");
    let (words, _) = text(&restore, &["--plan"], 0);
    assert!(words.contains("lost: holed-0@[10,20) (retention)") && words.contains("exit code 3"), "{words}");
    for _ in 0..2 {
        // Again: what is lost does not come back by asking twice, and nothing is restored twice.
        let report = restore.run(3);
        assert_eq!(report["verdict"], "partial", "{report}");
        let partitions = &report["topics"][0]["partitions"];
        assert_eq!((&partitions[0]["gaps"], &partitions[1]["gaps"]), (&gap, &json!([])));
        client::assert_same("partial", &expected, &read("partial"), Compared::Content);
    }
    assert_eq!(json(&restore.command(&["--plan"]).run().expect_code(0))["state"], "complete");
    let (words, _) = text(&restore, &[], 3);
    assert!(words.contains("lost: holed-0@[10,20) (retention)") && words.contains("partial"), "{words}");

    // What does not ask for the lost range gets everything.
    let other = as_name(&job, "holed", "other-partition").set("source_partitions: [1]");
    assert_eq!(other.run(0)["verdict"], "proven");
    let later = as_name(&job, "holed", "later").set("time_window_start: 1700000000017");
    assert_eq!(later.run(3)["verdict"], "partial", "the segment behind the loss reaches into the window");
    let latest = as_name(&job, "holed", "latest").set("time_window_start: 1700000000030");
    let report = latest.run(0);
    assert_eq!(report["verdict"], "proven", "{report}");
    assert_eq!(report["topics"][0]["partitions"][0]["gaps"][0]["lost"], json!(false), "named all the same");
}

#[test]
fn a_restore_that_is_done_says_so_and_nothing_else() {
    let bootstrap = cluster().bootstrap();
    client::create_topic(&bootstrap, "done", 1, 1, &[("retention.ms", "-1")]);
    send("done", 0, 0);
    let scratch = Scratch::new("done");
    let job = Job::new("done", &bootstrap, &folder(scratch.path())).topics(&["done"]);
    job.back_up(0);
    let offsets = scratch.path().join("offsets.json");
    let restore = as_name(&job, "done", "done-again").set(&format!("offset_report: {}", offsets.display()));
    let (said, told) = text(&restore, &["--proof", "--quiet"], 0);
    assert!(said.contains("proven") && !told.contains("restore of backup"), "quiet: {told}");
    let written: Value = serde_json::from_slice(&std::fs::read(&offsets).unwrap()).unwrap();
    let (words, _) = text(&restore, &["--plan"], 0);
    assert!(words.contains("already restored") && words.contains("nothing to do"), "{words}");
    assert!(!words.contains("append") && !words.contains("warning"), "{words}");
    let plan = json(&restore.command(&["--plan"]).run().expect_code(0));
    assert_eq!((&plan["state"], &plan["topics"][0]["action"]["do"]), (&json!("complete"), &json!("nothing")));
    // The map of offsets comes again, and is the same.
    std::fs::remove_file(&offsets).unwrap();
    let (said, told) = text(&restore, &[], 0);
    assert!(said.contains("already restored") && told.contains("already restored"), "{said}{told}");
    assert_eq!(serde_json::from_slice::<Value>(&std::fs::read(&offsets).unwrap()).unwrap(), written);
    // Producers may write there again; what the backup has got since is spoken of.
    Producer::new(&bootstrap, &[]).send("done-again", &[NewRecord::new("new", "life")]);
    send("done", 0, 1);
    job.back_up(0);
    let (words, _) = text(&restore, &["--plan"], 0);
    assert!(words.contains("the backup has gone on since"), "{words}");
    let report = json(&restore.command(&[]).run().expect_code(0));
    assert_eq!(report["verdict"], "already_restored");
    // What the restore left is still proven, whatever has come behind it.
    assert_eq!(restore.run(0)["verdict"], "proven");
    assert_eq!(read("done-again").len(), 11);
}

/// A restore says "--proof reads it back": also when that is asked for later, and as far as the topics' own settings
/// have left anything to prove.
#[test]
fn a_complete_restore_is_proven_when_asked_later() {
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[("log.cleaner.backoff.ms", "300")]);
    let bootstrap = cluster.bootstrap();
    let topics = ["kept", "cut", "squeezed"];
    for topic in topics {
        client::create_topic(&bootstrap, topic, 1, 1, &[("retention.ms", "-1")]);
        let records: Vec<_> = (0..20).map(|n| NewRecord::new(format!("{}", n % 2), format!("{n}"))).collect();
        Producer::new(&bootstrap, &[("batch.num.messages", "4")]).send(topic, &records);
    }
    let scratch = Scratch::new("later");
    let job = Job::new("later", &bootstrap, &folder(scratch.path())).topics(&topics);
    job.back_up(0);
    let names = topics.map(|topic| format!("{topic}: again-{topic}")).join(", ");
    let restore = job.restore(&bootstrap).set(&format!("topic_mapping: {{{names}}}"));
    let (said, _) = text(&restore, &[], 0);
    assert!(said.contains("restored: ") && !said.contains("proven"), "{said}");
    let report = restore.run(0);
    assert_eq!((&report["verdict"], &report["state"]), (&json!("proven"), &json!("complete")));
    for topic in report["topics"].as_array().unwrap() {
        let partition = &topic["partitions"][0];
        assert!(!partition["target_digest"].is_null(), "{partition}");
        assert_eq!(partition["target_digest"], partition["archive_digest"]);
    }
    // What the topics' own settings have taken since is no fault of the restore. It is just not there to be proven.
    client::delete_records(&bootstrap, "again-cut", 0, 4);
    let compact =
        "cleanup.policy=compact,segment.ms=1000,min.cleanable.dirty.ratio=0.01,max.compaction.lag.ms=100";
    let args = ["--alter", "--topic", "again-squeezed", "--add-config", compact];
    cluster.tool_output("kafka.admin.ConfigCommand", &args);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let read_again = || client::read_all(&bootstrap, "again-squeezed", Isolation::ReadUncommitted);
    // Down to nothing of what was restored: the first batch that is left then lies behind the restored range.
    while read_again().iter().any(|record| record.offset < 20) {
        assert!(std::time::Instant::now() < deadline, "the topic was never compacted");
        // A segment is only closed when something is written behind it.
        let records = ["0", "1"].map(|key| NewRecord::new(key, "later"));
        Producer::new(&bootstrap, &[]).send("again-squeezed", &records);
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    let (said, _) = text(&restore, &["--proof"], 0);
    assert!(said.contains("already restored"), "{said}");
    for (topic, is_left) in [("kept", true), ("cut", false), ("squeezed", false)] {
        let named = said.contains(&format!("again-{topic}-0 cannot be proven any more"));
        assert_eq!(named, !is_left, "{said}");
    }
}

/// Old, new, none and future, in any order, in batches whose headers tell only the first and the greatest.
/// The run died between sealing a topic and giving it its configs. What it sealed without a proof, the next run proves.
#[test]
fn a_restore_that_goes_on_proves_what_was_sealed_unproven() {
    let bootstrap = cluster().bootstrap();
    client::create_topic(&bootstrap, "sealed", 1, 1, &[("retention.ms", "-1")]);
    send("sealed", 0, 0);
    let scratch = Scratch::new("sealed");
    let job = Job::new("sealed", &bootstrap, &folder(scratch.path())).topics(&["sealed"]);
    job.back_up(0);
    let restore = as_name(&job, "sealed", "sealed-again");
    assert!(restore.command(&[]).env("REPLEVIN_FAILPOINT", "after_seal").run().code().is_none());
    let plan = json(&restore.command(&["--plan"]).run().expect_code(0));
    assert_eq!(plan["state"], "resumes", "{plan}");
    let report = restore.run(0);
    assert_eq!(report["verdict"], "proven", "{report}");
    let partition = &report["topics"][0]["partitions"][0];
    assert_eq!(partition["target_digest"], partition["archive_digest"], "{partition}");
    assert!(!partition["target_digest"].is_null(), "{partition}");
}

#[test]
fn a_window_takes_records_by_their_own_times_whatever_the_order() {
    let bootstrap = cluster().bootstrap();
    fixtures::times(&bootstrap, "disorder");
    for codec in ["none", "zstd", "lz4"] {
        let record = |n: i64| NewRecord::new(format!("{n}"), codec).at(1 + (n * 7919) % 1000);
        let records: Vec<_> = (0..300).map(record).collect();
        Producer::new(&bootstrap, &[("compression.codec", codec), ("batch.num.messages", "50")])
            .send("disorder", &records);
    }
    let scratch = Scratch::new("disorder");
    let job = Job::new("disorder", &bootstrap, &folder(scratch.path()))
        .topics(&["disorder"])
        .set("segment_max_bytes: 64KiB");
    job.back_up(0);
    let all = read("disorder");
    for (number, (start, end)) in [
        (Some(5), Some(500)),
        (Some(900), None),
        (None, Some(4)),
        (Some(1_700_000_000_000), Some(1_700_000_000_000)),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("window-{number}");
        let mut restore = as_name(&job, "disorder", &name);
        for (key, bound) in [("start", start), ("end", end)] {
            if let Some(bound) = bound {
                restore = restore.set(&format!("time_window_{key}: {bound}"));
            }
        }
        let report = restore.run(0);
        assert_eq!(report["verdict"], "proven", "{report}");
        let inside = |time: i64| start.is_none_or(|start| start <= time) && end.is_none_or(|end| time <= end);
        let expected: Vec<Rec> = all.iter().filter(|record| inside(record.timestamp)).cloned().collect();
        assert!(!expected.is_empty() && expected.len() < all.len());
        client::assert_same(&name, &expected, &read(&name), Compared::Content);
    }
}

/// Another backup of the same name must not be gone on with.
#[test]
fn a_restore_does_not_go_on_from_another_backup_of_the_same_name() {
    let bootstrap = cluster().bootstrap();
    client::create_topic(&bootstrap, "twin", 1, 1, &[("retention.ms", "-1")]);
    send("twin", 0, 0);
    let (one, two) = (Scratch::new("twin"), Scratch::new("twin"));
    let job = |scratch: &Scratch| {
        let job = Job::new("twin", &bootstrap, &folder(scratch.path())).topics(&["twin"]);
        job.back_up(0);
        job
    };
    let (one, two) = (job(&one), job(&two));
    let died =
        as_name(&one, "twin", "twin-again").command(&[]).env("REPLEVIN_FAILPOINT", "before_configs").run();
    assert_eq!(died.code(), None, "was the binary built with --features failpoints?");
    let refused = as_name(&two, "twin", "twin-again").command(&["--plan"]).run().expect_code(2);
    assert!(refused.stdout.contains("another backup of the same name"), "{}", refused.stdout);
    as_name(&one, "twin", "twin-again").run(0);
}

#[test]
fn names_that_mean_nothing_are_refused() {
    let bootstrap = cluster().bootstrap();
    client::create_topic(&bootstrap, "named", 2, 1, &[("retention.ms", "-1")]);
    send("named", 0, 0);
    let scratch = Scratch::new("named");
    let job = Job::new("named", &bootstrap, &folder(scratch.path())).topics(&["named"]);
    job.back_up(0);
    for (line, words) in [
        ("topic_mapping: {nmaed: x}", "renames topic nmaed, which is not in the backup"),
        ("source_partitions: [0, 7]", "names partition 7, which none of the selected topics has"),
        ("partition_mapping: {5: 1}", "names partition 5, which none of the selected topics has"),
        ("lineage: {named-9: 00d1e2f3a4b5c6d7}", "restore.lineage names named-9"),
        (
            "topic_config_overrides: {other: {retention.ms: \"1\"}}",
            "names topic other, which is not restored",
        ),
        ("topic_mapping: {named: replevin-restore-journal}", "is where restores keep their journal"),
    ] {
        let refused = job.restore(&bootstrap).set(line).command(&["--plan"]).run().expect_code(2);
        assert!(refused.stdout.contains(words), "{line}\n{}", refused.stdout);
    }
}

/// The journal lies in the cluster that is backed up.
#[test]
fn a_backup_leaves_the_journal_of_restores_alone_unless_it_is_named() {
    let bootstrap = cluster().bootstrap();
    client::create_topic(&bootstrap, "beside", 1, 1, &[("retention.ms", "-1")]);
    send("beside", 0, 0);
    let scratch = Scratch::new("beside");
    let job = Job::new("beside", &bootstrap, &folder(scratch.path())).topics(&["beside"]);
    job.back_up(0);
    as_name(&job, "beside", "beside-again").run(0);
    let journal = "replevin-restore-journal";
    assert!(client::topics(&bootstrap).contains(&journal.to_owned()));
    let taken = |id: &str, topics: &[&str]| {
        let job = Job::new(id, &bootstrap, &folder(scratch.path())).topics(topics);
        job.back_up(0);
        let described = job.describe();
        let topics = described["topics"].as_array().expect("a list").clone();
        topics.iter().any(|topic| topic["topic"] == journal)
    };
    assert!(!taken("patterns", &["besid*", "replevin-*"]));
    assert!(taken("named", &["beside", journal]));
}

/// A target whose log segments are smaller than a batch, and whose limit is smaller too.
#[test]
fn large_batches_get_room_in_the_target_and_the_target_its_limits_back() {
    let bootstrap = cluster().bootstrap();
    client::create_topic(&bootstrap, "big", 1, 1, &[("max.message.bytes", "5000000")]);
    let value: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    Producer::new(&bootstrap, &[("message.max.bytes", "4000000")])
        .send("big", &[NewRecord::new("big", value), NewRecord::new("small", "v")]);
    let scratch = Scratch::new("big");
    let job = Job::new("big", &bootstrap, &folder(scratch.path())).topics(&["big"]);
    job.back_up(0);
    let limits = [("max.message.bytes", "1000000"), ("segment.bytes", "2000000")];
    client::create_topic(&bootstrap, "narrow", 1, 1, &limits);
    assert_eq!(as_name(&job, "big", "narrow").run(0)["verdict"], "proven");
    client::assert_same("narrow", &read("big"), &read("narrow"), Compared::Content);
    let expected = limits.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(client::configs(&bootstrap, "narrow"), expected);
}

/// Kafka's own authorizer, with rights taken from the only principal that there is without authentication.
#[test]
fn a_missing_right_is_named_with_its_resource_and_the_next_step() {
    let cluster = KafkaCluster::start(
        KafkaVersion::V4,
        1,
        &[
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("allow.everyone.if.no.acl.found", "true"),
        ],
    );
    let bootstrap = cluster.bootstrap();
    client::create_topic(&bootstrap, "source", 1, 1, &[]);
    Producer::new(&bootstrap, &[]).send("source", &[NewRecord::new("k", "v")]);
    let scratch = Scratch::new("rights");
    let job = Job::new("rights", &bootstrap, &folder(scratch.path())).topics(&["source"]);
    job.back_up(0);
    let all = ["Describe", "DescribeConfigs", "AlterConfigs", "Read", "Write"];
    let allow = |resource: &[&str], rights: &[&str]| {
        let mut args = vec!["--add", "--allow-principal", "User:ANONYMOUS"];
        rights.iter().for_each(|right| args.extend(["--operation", right]));
        cluster.tool_output(ACLS, &[&args, resource].concat());
    };
    // The right to alter configs holds the one to read them.
    for (missing, named, code) in [
        (
            &["DescribeConfigs", "AlterConfigs"][..],
            "grant DESCRIBE_CONFIGS on topic without-DescribeConfigs",
            12,
        ),
        (&["AlterConfigs"], "grant ALTER_CONFIGS on topic without-AlterConfigs", 2),
        (&["Write"], "grant WRITE on topic without-Write", 3),
        (&["Read"], "grant READ on topic without-Read", 3),
    ] {
        let target = format!("without-{}", missing[0]);
        client::create_topic(&bootstrap, &target, 1, 1, &[]);
        let rights: Vec<&str> = all.into_iter().filter(|right| !missing.contains(right)).collect();
        allow(&["--topic", &target], &rights);
        let restore = job.restore(&bootstrap).set(&format!("topic_mapping: {{source: {target}}}"));
        let finished = restore.command(&["--proof"]).run().expect_code(code);
        let said = finished.stdout + &finished.stderr;
        assert!(said.contains(named) && said.contains("kafka-acls"), "{missing:?}: {said}");
    }
    // Nothing is created from now on but what is named: neither a topic of data nor the journal's.
    let no_create = ["Describe", "DescribeConfigs", "AlterConfigs", "Read", "Write"];
    client::delete_topics(&bootstrap, &["replevin-restore-journal"]);
    allow(&["--topic", "replevin-restore-journal"], &no_create);
    allow(&["--topic", "new"], &no_create);
    let cluster_rights =
        ["ClusterAction", "Alter", "AlterConfigs", "Describe", "DescribeConfigs", "IdempotentWrite"];
    allow(&["--cluster"], &cluster_rights);
    let restore = job.restore(&bootstrap).set("topic_mapping: {source: new}");
    let refused = restore.command(&["--plan"]).run().expect_code(2);
    assert!(refused.stdout.contains("grant CREATE on topic new (or on the cluster)"), "{}", refused.stdout);
    allow(&["--topic", "new"], &["Create"]);
    let refused = restore.command(&[]).run().expect_code(12);
    let words = "grant CREATE, DESCRIBE, READ and WRITE on topic replevin-restore-journal";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    assert!(!client::topics(&bootstrap).contains(&"new".to_owned()), "nothing was touched");
    cluster.stop();
}

#[test]
fn the_plan_says_what_is_rebuilt_and_why_and_what_that_costs() {
    let bootstrap = cluster().bootstrap();
    fixtures::log_append_time(&bootstrap, "stamped");
    client::create_topic(&bootstrap, "plain", 1, 1, &[]);
    Producer::new(&bootstrap, &[]).send("plain", &[NewRecord::new("k", fixtures::noise(1, 300_000))]);
    let scratch = Scratch::new("lanes");
    let job = Job::new("lanes", &bootstrap, &folder(scratch.path())).topics(&["stamped", "plain"]);
    job.back_up(0);
    let restore = job.restore(&bootstrap).set("topic_mapping: {stamped: stamped-back, plain: plain-back}");
    let (planned, _) = text(&restore, &["--plan"], 0);
    let line = |topic: &str| {
        let mut lines = planned.lines().skip_while(|line| !line.contains(&format!("{topic} -> ")));
        lines.nth(1).unwrap_or_default().trim().to_owned()
    };
    assert_eq!(line("plain"), "all of it travels untouched", "{planned}");
    assert!(
        line("stamped").contains("are rebuilt: ") && line("stamped").contains(" stamped by the broker"),
        "{planned}"
    );
    assert!(planned.contains(" s of processor time at most; the target's brokers set the pace"), "{planned}");
    let plan = json(&restore.command(&["--plan"]).run().expect_code(0));
    assert!(plan["cpu_seconds"].as_f64().unwrap() > 0.0, "{plan}");
}

//! Kafka's own console tools write and judge: what the console producer wrote, the console consumer prints of the source
//! and of the cluster that was restored, line by line: key, value, headers, timestamp, offset, partition.

use sandbox::client::{self, Isolation};
use sandbox::job::{Job, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::scratch::Scratch;
use std::fmt::Write as _;

const LINES: usize = 150;
const PARTITIONS: i32 = 2;

/// Keys, values and headers of every kind that the producer's line format can say.
fn lines(codec: &str) -> String {
    let mut text = String::new();
    for n in 0..LINES {
        let headers = match n % 7 {
            0 => "<none>".to_owned(),
            1 => "name:one,name:two,name:one".to_owned(),
            2 => "empty:,null:<none>".to_owned(),
            _ => format!("number:{n},codec:{codec}"),
        };
        let key = if n % 10 == 3 { "<none>".to_owned() } else { format!("{codec} {}", n % 40) };
        let value = match n % 13 {
            5 => "<none>".to_owned(),
            6 => String::new(),
            _ => format!("{codec} {n} {}", "ä value ".repeat(n % 30)),
        };
        let _ = writeln!(text, "{headers}\t{key}\t{value}");
    }
    text
}

/// What the consumer prints of all topics; partitions come as they are served, so in order of the lines' text.
fn printed(cluster: &KafkaCluster, count: usize) -> Vec<String> {
    let mut lines = cluster.console_consume_matching("console-.*", count);
    assert_eq!(lines.len(), count, "{:?}", lines.first());
    lines.sort();
    lines
}

/// A topic a codec; both directions together have them all.
fn there_and_back(from: KafkaVersion, to: KafkaVersion, codecs: [&str; 3]) {
    let source = KafkaCluster::start(from, 1, &[]);
    let bootstrap = source.bootstrap();
    let names = codecs.map(|codec| format!("console-{codec}"));
    for (codec, name) in codecs.iter().zip(&names) {
        client::create_topic(&bootstrap, name, PARTITIONS, 1, &[("retention.ms", "-1")]);
        let properties = ["parse.key=true", "parse.headers=true", "null.marker=<none>"];
        source.console_produce_with(name, &lines(codec), &properties, &["--compression-codec", codec]);
    }
    let expected = printed(&source, codecs.len() * LINES);
    let said = |text: &str| expected.iter().any(|line| line.contains(text));
    assert!(said("\tname:one,name:two,name:one\t") && said("\tempty:,null:null\t") && said("\tNO_HEADERS\t"));
    let scratch = Scratch::new("console");
    let job = Job::new("console", &bootstrap, &folder(scratch.path())).topics(&["console-*"]);
    job.back_up(0);
    source.stop();

    let target = KafkaCluster::start(to, 1, &[]);
    let report = job.restore(&target.bootstrap()).run(0);
    assert_eq!(report["verdict"], "proven", "{report}");
    for (name, codec) in names.iter().zip(codecs) {
        // The consumer was told how many lines to read: there are no more.
        let marks = client::watermarks(&target.bootstrap(), name, Isolation::ReadUncommitted);
        assert_eq!(marks.values().map(|(first, end)| end - first).sum::<i64>(), LINES as i64, "{codec}");
    }
    for (line, (before, after)) in expected.iter().zip(printed(&target, expected.len())).enumerate() {
        assert_eq!(*before, after, "line {line}");
    }
    target.stop();
}

#[test]
fn what_the_console_producer_wrote_to_3_9_the_console_consumer_reads_from_4() {
    there_and_back(KafkaVersion::V3_9, KafkaVersion::V4, ["none", "gzip", "zstd"]);
}

#[test]
fn what_the_console_producer_wrote_to_4_the_console_consumer_reads_from_3_9() {
    there_and_back(KafkaVersion::V4, KafkaVersion::V3_9, ["snappy", "lz4", "zstd"]);
}

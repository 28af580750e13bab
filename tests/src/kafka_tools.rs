//! Kafka's own command line tools, run against a cluster of [`crate::kafka`]: the judges that are neither ours nor librdkafka.

use crate::client::Isolation;
use crate::kafka::{KafkaCluster, KafkaVersion};
use crate::process;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;

/// Creates, lists, describes, alters, deletes topics.
pub const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
/// Reads records as text.
pub const CONSOLE_CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
/// Deletes records below an offset.
pub const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
/// Describes and alters configs.
pub const CONFIGS: &str = "kafka.admin.ConfigCommand";
/// First and last offsets.
pub const GET_OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
/// Lists, describes, resets, deletes consumer groups.
pub const CONSUMER_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
/// Lists, adds, removes access rights; of Kafka 4.
pub const ACLS: &str = "org.apache.kafka.tools.AclCommand";
/// Lists, describes, aborts transactions.
pub const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";

impl KafkaVersion {
    /// Writes records from text, one a line.
    pub fn console_producer(self) -> &'static str {
        match self {
            Self::V3_9 => "kafka.tools.ConsoleProducer",
            Self::V4 => "org.apache.kafka.tools.ConsoleProducer",
        }
    }

    /// Prints what is in log files. Its exit status is 0 for damaged files as well: read the output.
    pub fn dump_log_segments(self) -> &'static str {
        match self {
            Self::V3_9 => "kafka.tools.DumpLogSegments",
            Self::V4 => "org.apache.kafka.tools.DumpLogSegments",
        }
    }

    /// What 4.x calls a console tool's property option; it prints a warning among the records under the old name.
    fn property_option(self, name: &'static str) -> &'static str {
        match self {
            Self::V3_9 => "--property",
            Self::V4 => name,
        }
    }

    /// Runs the tool `class` with `stdin` as its input and waits for its end (some seconds: each is a JVM).
    ///
    /// # Panics
    /// When Java cannot be started.
    pub fn tool(self, class: &str, args: &[&str], stdin: &[u8]) -> Output {
        // The first compiler only: a tool ends before the second pays.
        let mut java = self.java(&["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"], "tools-");
        java.arg(class).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process::spawn(java);
        let mut input = child.stdin.take().expect("piped");
        thread::scope(|scope| {
            // A tool that does not read all of its input closes the pipe: no error of ours.
            scope.spawn(move || input.write_all(stdin));
            child.wait_with_output().unwrap_or_else(|error| panic!("wait for {class}: {error}"))
        })
    }
}

impl KafkaCluster {
    /// Runs Kafka's tool `class` with `--bootstrap-server` (past any proxy) and `args`.
    pub fn tool(&self, class: &str, args: &[&str]) -> Output {
        self.tool_with_input(class, args, &[])
    }

    /// As [`KafkaCluster::tool`], with input.
    pub fn tool_with_input(&self, class: &str, args: &[&str], stdin: &[u8]) -> Output {
        let direct = self.direct();
        self.version().tool(class, &[&["--bootstrap-server", &direct], args].concat(), stdin)
    }

    /// The standard output of a tool that must succeed.
    ///
    /// # Panics
    /// When it fails, with what it said.
    pub fn tool_output(&self, class: &str, args: &[&str]) -> String {
        succeeded(class, args, self.tool(class, args))
    }

    /// Writes text lines to a topic with the console producer; `properties` such as `parse.key=true`.
    ///
    /// # Panics
    /// When the tool fails.
    pub fn console_produce(&self, topic: &str, lines: &str, properties: &[&str]) {
        self.console_produce_with(topic, lines, properties, &[]);
    }

    /// As [`KafkaCluster::console_produce`], with more arguments.
    ///
    /// # Panics
    /// When the tool fails.
    pub fn console_produce_with(&self, topic: &str, lines: &str, properties: &[&str], more: &[&str]) {
        let mut args = [&["--topic", topic], more].concat();
        let option = self.version().property_option("--reader-property");
        properties.iter().for_each(|property| args.extend([option, property]));
        let class = self.version().console_producer();
        succeeded(class, &args, self.tool_with_input(class, &args, lines.as_bytes()));
    }

    /// Reads a whole topic with the console consumer: one line a record with its timestamp, partition, offset, headers,
    /// key and value, as the tool prints them. It ends once nothing has come for `idle_ms`.
    ///
    /// # Panics
    /// When the tool fails.
    pub fn console_consume(&self, topic: &str, isolation: Isolation, idle_ms: u32) -> Vec<String> {
        let idle = idle_ms.to_string();
        self.console(&["--topic", topic, "--timeout-ms", &idle, "--isolation-level", isolation.name()])
    }

    /// As [`KafkaCluster::console_consume`], all topics whose names match a regular expression; it ends once it has read
    /// `count` records.
    ///
    /// # Panics
    /// When the tool fails.
    pub fn console_consume_matching(&self, pattern: &str, count: usize) -> Vec<String> {
        let count = count.to_string();
        self.console(&["--include", pattern, "--max-messages", &count, "--timeout-ms", "60000"])
    }

    fn console(&self, more: &[&str]) -> Vec<String> {
        let mut args = [&["--from-beginning"], more].concat();
        let option = self.version().property_option("--formatter-property");
        for print in [
            "print.timestamp=true",
            "print.partition=true",
            "print.offset=true",
            "print.headers=true",
            "print.key=true",
            "print.value=true",
        ] {
            args.extend([option, print]);
        }
        let output = self.tool(CONSOLE_CONSUMER, &args);
        // The timeout that ends it well is logged as an error, and is one line on standard error.
        succeeded(CONSOLE_CONSUMER, &args, output).lines().map(str::to_owned).collect()
    }

    /// What `kafka-dump-log` prints about a log file, each record and its payload included.
    ///
    /// # Panics
    /// When the tool fails.
    pub fn dump_log(&self, file: &Path) -> String {
        let file = file.display().to_string();
        let args = ["--files", &file, "--deep-iteration", "--print-data-log"];
        let class = self.version().dump_log_segments();
        succeeded(class, &args, self.version().tool(class, &args, &[]))
    }
}

fn succeeded(class: &str, args: &[&str], output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{class} {} ended with {}\n{text}\n{}",
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

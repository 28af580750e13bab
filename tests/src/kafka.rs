//! Apache Kafka clusters in KRaft mode, every node broker and controller, each in a folder of its own.
//!
//! A node has three listeners: CLIENT, whose advertised address may be a proxy's; INTERNAL, for the other brokers and
//! for whoever must not pass the proxy (judges, Kafka's own tools); CONTROLLER.

use crate::process::{self, Process};
use crate::scratch::{Port, Scratch, installed};
use rand::RngExt;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A node under load on two busy cores was seen to take half a minute.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Retention, roll and compaction are looked at within seconds: for tests that wait for them to happen.
pub const FAST_CLEANING: &[(&str, &str)] = &[
    ("log.cleaner.backoff.ms", "500"),
    ("log.retention.check.interval.ms", "1000"),
    ("log.initial.task.delay.ms", "500"),
    ("log.segment.delete.delay.ms", "500"),
];

/// What every cluster is started with; `extra_properties` come after and win.
const PROPERTIES: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "false"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "2"),
    ("transaction.state.log.num.partitions", "2"),
    ("share.coordinator.state.topic.num.partitions", "2"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("log.cleaner.dedupe.buffer.size", "16777216"),
    // Three nodes on two busy cores miss their heartbeats for longer than the defaults allow.
    ("broker.session.timeout.ms", "15000"),
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
    ("listener.security.protocol.map", "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"),
    ("inter.broker.listener.name", "INTERNAL"),
    ("controller.listener.names", "CONTROLLER"),
];

/// Which Apache Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KafkaVersion {
    /// The newest 3.9.
    V3_9,
    /// The newest 4.x whose tools are published.
    V4,
}

impl KafkaVersion {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V3_9, Self::V4];

    /// Its name for `tests/install.sh`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V3_9 => "kafka-3.9",
            Self::V4 => "kafka-4",
        }
    }

    /// A Java command for this version's classes, that dies with this program; tools log errors only, to standard error.
    pub(crate) fn java(self, flags: &[&str], log_settings: &str) -> Command {
        let home = installed(self.name());
        let mut java = process::command("java");
        java.args(flags);
        match self {
            Self::V3_9 => java
                .arg(format!("-Dlog4j.configuration=file:{}/{log_settings}log4j.properties", home.display())),
            Self::V4 => java.arg(format!(
                "-Dlog4j2.configurationFile={}/{log_settings}log4j2.properties",
                home.display()
            )),
        };
        java.arg("-cp").arg(format!("{}/libs/*", home.display()));
        java
    }
}

/// One node.
#[derive(Debug)]
struct Node {
    id: i32,
    client: Port,
    internal: Port,
    controller: Port,
    /// What clients are told to connect to.
    advertised: String,
    folder: PathBuf,
    process: Option<Process>,
}

/// A running cluster; killed and removed when dropped. Brokers are numbered from 1.
#[derive(Debug)]
pub struct KafkaCluster {
    version: KafkaVersion,
    nodes: Vec<Node>,
    // Dropped after the nodes, which write here.
    scratch: Scratch,
}

impl KafkaCluster {
    /// Starts a cluster and waits until every broker answers. `{broker}` in a property is each broker's number.
    ///
    /// # Panics
    /// When a broker does not start, with the end of its log.
    pub fn start(version: KafkaVersion, brokers: usize, extra_properties: &[(&str, &str)]) -> Self {
        Self::start_behind(version, brokers, extra_properties, |_, address| address.to_owned())
    }

    /// As [`KafkaCluster::start`], but clients are told to connect to the address that `advertise` answers for each
    /// broker's number and real address: that of a proxy, which must be there before the first client comes.
    pub fn start_behind(
        version: KafkaVersion,
        brokers: usize,
        extra_properties: &[(&str, &str)],
        mut advertise: impl FnMut(i32, &str) -> String,
    ) -> Self {
        let scratch = Scratch::new(version.name());
        let nodes: Vec<Node> = (1..)
            .take(brokers)
            .map(|id| {
                let client = Port::reserve();
                let advertised = advertise(id, &client.address());
                let folder = scratch.path().join(format!("broker-{id}"));
                Node {
                    id,
                    client,
                    internal: Port::reserve(),
                    controller: Port::reserve(),
                    advertised,
                    folder,
                    process: None,
                }
            })
            .collect();
        let mut cluster = Self { version, nodes, scratch };
        let cluster_id = random_id();
        for index in 0..cluster.nodes.len() {
            cluster.format(index, &cluster_id, extra_properties);
            cluster.launch(index);
        }
        cluster.wait_ready();
        cluster
    }

    /// The version.
    pub fn version(&self) -> KafkaVersion {
        self.version
    }

    /// What a client is given: every broker, at its advertised address.
    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(|node| node.advertised.clone()).collect::<Vec<_>>().join(",")
    }

    /// The same brokers without any proxy, also for what they advertise: for judges, loaders and Kafka's own tools.
    pub fn direct(&self) -> String {
        self.nodes.iter().map(|node| node.internal.address()).collect::<Vec<_>>().join(",")
    }

    /// The numbers of all brokers, running or not.
    pub fn brokers(&self) -> Vec<i32> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// The folder with a broker's partition folders. Change files only while the broker is stopped.
    pub fn log_dir(&self, broker: i32) -> PathBuf {
        self.nodes[index_of(broker)].folder.join("data")
    }

    /// The file with what a broker has written to its output.
    pub fn server_log(&self, broker: i32) -> PathBuf {
        self.nodes[index_of(broker)].folder.join("server.log")
    }

    /// A folder that lives as long as the cluster, for files that tests hand to Kafka's tools.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The process number of a running broker.
    ///
    /// # Panics
    /// When the broker is not running.
    pub fn pid(&self, broker: i32) -> u32 {
        self.running(broker).pid()
    }

    /// Kills a broker at once.
    pub fn kill9(&mut self, broker: i32) {
        self.nodes[index_of(broker)].process = None;
    }

    /// Stops a broker in good order.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop_broker(&mut self, broker: i32) {
        if let Some(mut process) = self.nodes[index_of(broker)].process.take() {
            assert!(process.terminate(STOP_LIMIT), "broker {broker} did not stop\n{}", process.tail());
        }
    }

    /// Starts a broker again, stopping it first where it runs, and waits until the whole cluster answers.
    ///
    /// # Panics
    /// When it does not start, with the end of its log.
    pub fn restart(&mut self, broker: i32) {
        self.stop_broker(broker);
        self.launch(index_of(broker));
        self.wait_ready();
    }

    /// Stops a broker's process where it stands; its connections stay open and answer nothing.
    pub fn freeze(&self, broker: i32) {
        self.running(broker).freeze();
    }

    /// Lets a frozen broker go on.
    pub fn thaw(&self, broker: i32) {
        self.running(broker).thaw();
    }

    /// Stops all brokers, in good order where they manage, and removes everything.
    pub fn stop(mut self) {
        let mut running: Vec<Process> =
            self.nodes.iter_mut().filter_map(|node| node.process.take()).collect();
        // All at once: a node that waits for a controller that is already gone waits for long.
        running.iter().for_each(|process| process::signal(process.pid(), "TERM"));
        for process in &mut running {
            process.terminate(STOP_LIMIT);
        }
    }

    fn running(&self, broker: i32) -> &Process {
        match &self.nodes[index_of(broker)].process {
            Some(process) => process,
            None => panic!("broker {broker} is not running"),
        }
    }

    /// Writes a node's settings and its formatted storage, as `StorageTool` made it once when Kafka was installed: the
    /// tool takes two seconds, and a node's storage differs in three values only.
    fn format(&self, index: usize, cluster_id: &str, extra_properties: &[(&str, &str)]) {
        let node = &self.nodes[index];
        let data = node.folder.join("data");
        // An even number of voters tolerates no more deaths than one fewer.
        let voters = if self.nodes.len().is_multiple_of(2) { self.nodes.len() - 1 } else { self.nodes.len() };
        let voter_list: Vec<String> = self.nodes[..voters]
            .iter()
            .map(|node| format!("{}@{}", node.id, node.controller.address()))
            .collect();
        let mut listeners =
            format!("CLIENT://{},INTERNAL://{}", node.client.address(), node.internal.address());
        let advertised = format!("CLIENT://{},INTERNAL://{}", node.advertised, node.internal.address());
        if index < voters {
            let _ = write!(listeners, ",CONTROLLER://{}", node.controller.address());
        }
        let mut text = String::new();
        let mut set = |key: &str, value: &str| {
            let _ = writeln!(text, "{key}={value}");
        };
        set("node.id", &node.id.to_string());
        set("process.roles", if index < voters { "broker,controller" } else { "broker" });
        set("log.dirs", &data.display().to_string());
        set("controller.quorum.voters", &voter_list.join(","));
        set("listeners", &listeners);
        set("advertised.listeners", &advertised);
        // Java's Properties keep the last of equal keys.
        let number = node.id.to_string();
        PROPERTIES
            .iter()
            .chain(extra_properties)
            .for_each(|(key, value)| set(key, &value.replace("{broker}", &number)));
        let identity = format!(
            "version=1\ncluster.id={cluster_id}\nnode.id={}\ndirectory.id={}\n",
            node.id,
            random_id()
        );
        let checkpoint = installed(self.version.name()).join("formatted/bootstrap.checkpoint");
        let written = fs::create_dir_all(&data)
            .and_then(|()| fs::copy(checkpoint, data.join("bootstrap.checkpoint")))
            .and_then(|_| fs::write(data.join("meta.properties"), identity))
            .and_then(|()| fs::write(node.folder.join("server.properties"), text));
        written.unwrap_or_else(|error| panic!("prepare {}: {error}", node.folder.display()));
    }

    fn launch(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let mut java = self.version.java(&["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC"], "");
        java.arg("kafka.Kafka").arg(node.folder.join("server.properties"));
        let name = format!("{} broker {}", self.version.name(), node.id);
        node.process = Some(Process::start(&name, java, &node.folder.join("server.log")));
    }

    /// Every running broker says that it has started, and each answers a metadata request with all of them.
    fn wait_ready(&mut self) {
        let running = self.nodes.iter().filter(|node| node.process.is_some()).count();
        for node in &mut self.nodes {
            let Some(process) = &mut node.process else { continue };
            process.wait_for_line("Kafka Server started", START_LIMIT);
            let address = node.internal.address();
            process.wait_ready(START_LIMIT, |_| match crate::client::broker_count(&address) {
                Ok(count) if count >= running => Ok(()),
                Ok(count) => Err(format!("it knows {count} of {running} brokers")),
                Err(error) => Err(error),
            });
        }
    }
}

fn index_of(broker: i32) -> usize {
    usize::try_from(broker - 1).expect("brokers are numbered from 1")
}

/// A Kafka UUID: 16 random bytes in URL-safe base64, which must not begin with a dash.
fn random_id() -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut rng = rand::rng();
    (0..22)
        .map(|place| {
            let index = match place {
                0 => rng.random_range(0..62),
                // The last of 22 letters carries two bits.
                21 => rng.random_range(0..4) * 16,
                _ => rng.random_range(0..64),
            };
            char::from(LETTERS[index])
        })
        .collect()
}

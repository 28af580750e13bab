//! Apache Cassandra: one node, or one in each of two data centres, with its data in a scratch folder.

use crate::process::{self, Process};
use crate::scratch::{Port, Scratch, installed};
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// A node under load on two busy cores was seen to take a minute.
const START_LIMIT: Duration = Duration::from_secs(180);

/// What Java 17 must be told before Cassandra may use its insides; from Cassandra's own `jvm17-server.options`.
const EXPORTS: &[&str] = &[
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "java.base/java.lang.reflect",
    "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach",
    "jdk.compiler/com.sun.tools.javac.file",
];
const OPENS: &[&str] = &[
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.math",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.nio.charset",
    "java.base/java.nio.file.spi",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.util.concurrent.locks",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.compiler/com.sun.tools.javac",
    "jdk.management/com.sun.management.internal",
];

/// A running node; killed and removed when dropped.
#[derive(Debug)]
pub struct Cassandra {
    /// For clients and for other nodes. Drivers ask every node of a cluster at the same port, so nodes differ in their addresses.
    ports: Arc<(Port, Port)>,
    address: &'static str,
    /// For `nodetool`.
    management: Port,
    process: Option<Process>,
    scratch: Scratch,
}

impl Cassandra {
    /// Starts a node and waits until it takes clients. Its data centre is `datacenter1`.
    ///
    /// # Panics
    /// When it does not start, with the end of its log.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1", "datacenter1", &Arc::new((Port::reserve(), Port::reserve())))
    }

    /// Starts a cluster of two nodes in data centres `east` and `west`.
    ///
    /// # Panics
    /// When one does not start, with the end of its log.
    pub fn start_east_and_west() -> (Self, Self) {
        let ports = Arc::new((Port::reserve(), Port::reserve()));
        let east = Self::start_at("127.0.0.1", "east", &ports);
        (east, Self::start_at("127.0.0.2", "west", &ports))
    }

    fn start_at(address: &'static str, data_centre: &str, ports: &Arc<(Port, Port)>) -> Self {
        let scratch = Scratch::new("cassandra");
        let ports = Arc::clone(ports);
        let mut node = Self { ports, address, management: Port::reserve(), process: None, scratch };
        let folder = node.scratch.path();
        fs::write(folder.join("cassandra.yaml"), node.settings()).expect("a file");
        fs::write(folder.join("rackdc.properties"), format!("dc={data_centre}\nrack=rack1\n"))
            .expect("a file");
        node.launch();
        node
    }

    /// `host:port`, for a proxy.
    pub fn address(&self) -> String {
        format!("{}:{}", self.address, self.ports.0.number())
    }

    /// The command of `nodetool` for this node, as words for a shell.
    pub fn nodetool(&self) -> String {
        format!(
            "java {} -cp '{}/*' -Duser.home={} org.apache.cassandra.tools.NodeTool -h 127.0.0.1 -p {}",
            insides().join(" "),
            installed("cassandra").join("libs").display(),
            self.scratch.path().display(),
            self.management.number()
        )
    }

    /// Stops the node where it stands; its connections stay open and answer nothing.
    pub fn freeze(&self) {
        self.process.iter().for_each(Process::freeze);
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self) {
        self.process.iter().for_each(Process::thaw);
    }

    /// Kills the node at once.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Starts it again after [`Cassandra::kill9`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn launch(&mut self) {
        let (home, folder) = (installed("cassandra"), self.scratch.path());
        let mut java = process::command("java");
        java.args([
            "-Xms320m",
            "-Xmx320m",
            "-XX:+UseSerialGC",
            "-Xss512k",
            "-Djdk.attach.allowAttachSelf=true",
        ]);
        let jamm = fs::read_dir(home.join("libs")).into_iter().flatten().flatten().map(|entry| entry.path());
        let jamm = jamm
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("jamm-")));
        java.arg(format!("-javaagent:{}", jamm.max().expect("jamm is among Cassandra's jars").display()));
        java.args(insides());
        java.arg(format!("-Dcassandra.config=file://{}", folder.join("cassandra.yaml").display()));
        java.arg(format!("-Dcassandra.storagedir={}", folder.display()));
        let place = folder.join("rackdc.properties");
        java.arg(format!("-Dcassandra-rackdc.properties=file://{}", place.display()));
        java.arg(format!("-Dlogback.configurationFile={}", home.join("logback.xml").display()));
        java.arg(format!("-Dcassandra.jmx.local.port={}", self.management.number()));
        java.args(["-Dcassandra-foreground=yes", "-Dcassandra.ring_delay_ms=100"]);
        java.args(["-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.superuser_setup_delay_ms=0"]);
        java.arg("-cp").arg(home.join("libs/*")).arg("org.apache.cassandra.service.CassandraDaemon");
        let mut process = Process::start("cassandra", java, &folder.join("server.log"));
        process.wait_for_line("Starting listening for CQL clients", START_LIMIT);
        self.process = Some(process);
    }

    fn settings(&self) -> String {
        let mut yaml = String::new();
        let folder = self.scratch.path().display().to_string();
        let (client, storage) = (self.ports.0.number().to_string(), self.ports.1.number().to_string());
        for (name, value) in [
            ("cluster_name", "tests"),
            ("partitioner", "org.apache.cassandra.dht.Murmur3Partitioner"),
            ("endpoint_snitch", "GossipingPropertyFileSnitch"),
            ("listen_address", self.address),
            ("rpc_address", self.address),
            ("native_transport_port", &client),
            ("storage_port", &storage),
            ("num_tokens", "1"),
            ("auto_bootstrap", "false"),
            ("commitlog_sync", "periodic"),
            ("commitlog_sync_period", "10000ms"),
            ("memtable_heap_space", "64MiB"),
            // Two nodes on two busy cores agree more slowly than two machines do.
            ("cas_contention_timeout", "10000ms"),
            ("read_request_timeout", "10000ms"),
            ("write_request_timeout", "10000ms"),
            ("authenticator", "AllowAllAuthenticator"),
            ("authorizer", "AllowAllAuthorizer"),
            ("commitlog_directory", &format!("{folder}/commitlog")),
            ("saved_caches_directory", &format!("{folder}/saved_caches")),
            ("hints_directory", &format!("{folder}/hints")),
            ("cdc_raw_directory", &format!("{folder}/cdc_raw")),
            ("data_file_directories", &format!("[{folder}/data]")),
            (
                "seed_provider",
                &format!(
                    "[{{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{{seeds: \"127.0.0.1:{storage}\"}}]}}]"
                ),
            ),
        ] {
            let _ = writeln!(yaml, "{name}: {value}");
        }
        yaml
    }
}

/// What Java is told before Cassandra and its tools may use its insides.
fn insides() -> Vec<String> {
    let exports = EXPORTS.iter().map(|module| format!("--add-exports={module}=ALL-UNNAMED"));
    exports.chain(OPENS.iter().map(|module| format!("--add-opens={module}=ALL-UNNAMED"))).collect()
}

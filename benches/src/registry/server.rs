//! `replevin registry serve` on one core, and what the kernel says of it.

use std::path::Path;
use std::time::{Duration, Instant};

use sandbox::http;
use sandbox::kafka::KafkaCluster;
use sandbox::postgres::{PASSWORD, Postgres, USER};
use sandbox::process::{self, Process};
use sandbox::scratch::{Port, Scratch};

use crate::{Result, measure, ours};

/// The core that servers run on.
const CORE: &str = "0";
/// Longer than any start takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Environment variables.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// A registry that keeps its schemas in this store.
pub(crate) fn with_store(name: &str) -> Variables {
    vec![("STORAGE_TYPE", name.to_owned())]
}

/// A registry with SQLite in this folder.
pub(crate) fn with_sqlite(folder: &Scratch) -> Variables {
    let mut variables = with_store("sqlite");
    variables.push(("STATE_DIRECTORY", folder.path().display().to_string()));
    variables
}

/// A registry with this database.
pub(crate) fn with_postgres(postgres: &Postgres) -> Variables {
    let mut variables = with_store("postgresql");
    variables.extend([
        ("POSTGRES_HOST", "127.0.0.1".to_owned()),
        ("POSTGRES_PORT", postgres.port().to_string()),
        ("POSTGRES_USER", USER.to_owned()),
        ("POSTGRES_PASSWORD", PASSWORD.to_owned()),
        ("POSTGRES_DATABASE", "postgres".to_owned()),
        ("POSTGRES_SSLMODE", "disable".to_owned()),
    ]);
    variables
}

/// A registry with the topic `_schemas` of this cluster.
pub(crate) fn with_kafka(cluster: &KafkaCluster) -> Variables {
    let mut variables = with_store("kafka");
    variables.extend([
        ("SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS", cluster.bootstrap()),
        ("SCHEMA_REGISTRY_HOST_NAME", "127.0.0.1".to_owned()),
    ]);
    variables
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: String,
    /// How long it took until it answered rightly for the first time.
    pub(crate) started: Duration,
    _scratch: Scratch,
}

impl Server {
    /// Starts the registry with these environment variables, and waits until `path` is answered with 200.
    pub(crate) fn registry(variables: &Variables, path: &str) -> Result<Self> {
        let mut args =
            vec!["registry".to_owned(), "serve".to_owned(), "--host".to_owned(), "127.0.0.1".to_owned()];
        args.push("--port".to_owned());
        Self::start(&ours::binary()?, args, variables, path)
    }

    /// Starts this program's bare server, which answers with the files of a folder.
    pub(crate) fn bare(folder: &Path) -> Result<Self> {
        let args = vec!["bare-http".to_owned(), folder.display().to_string()];
        Self::start(&std::env::current_exe()?, args, &Variables::new(), "/schemas/ids/1")
    }

    fn start(program: &Path, mut args: Vec<String>, variables: &Variables, path: &str) -> Result<Self> {
        let scratch = Scratch::new("bench-server");
        let port = Port::reserve();
        let address = port.address();
        args.push(port.number().to_string());
        let mut command = process::command("taskset");
        command.args(["--cpu-list", CORE]).arg(program).args(&args).current_dir(scratch.path());
        command.envs(variables.iter().cloned());
        let begun = Instant::now();
        let process = Process::start("server", command, &scratch.path().join("log"));
        while !http::request(&address, "GET", path, &[], b"").is_ok_and(|answer| answer.status == 200) {
            if begun.elapsed() > LIMIT {
                return Err(format!("{path} is not answered: {}", process.tail()).into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Self { process, address, started: begun.elapsed(), _scratch: scratch })
    }

    /// Seconds of processor time so far, in ticks of a hundredth.
    pub(crate) fn cpu(&self) -> Result<f64> {
        Ok(measure::so_far(self.process.pid())?.cpu())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        measure::resident(self.process.pid())
    }
}

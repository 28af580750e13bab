//! The settings of a store, from its checked section.

use std::path::PathBuf;
use std::time::Duration;

use registry::secret::Secret;
#[cfg(feature = "cassandra")]
use registry::store::cassandra::{CassandraSettings, Consistency, SerialConsistency};
use registry::store::kafka::KafkaLogSettings;
use registry::store::sql::{SqlSettings, SslMode};
use registry::store::sqlite::SqliteSettings;

use super::super::check::{Section, Value};
use super::super::error::{At, Notice, Problems};
use super::stores::NAMES;

/// Where schemas are kept, and how to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreSettings {
    /// Nowhere.
    Memory,
    /// In a file.
    Sqlite(SqliteSettings),
    /// In PostgreSQL.
    Postgresql(SqlSettings),
    /// In MariaDB or MySQL.
    Mysql(SqlSettings),
    /// In Cassandra.
    #[cfg(feature = "cassandra")]
    Cassandra(CassandraSettings),
    /// In a topic.
    Kafka(KafkaLogSettings),
}

impl StoreSettings {
    /// The name in `storage.type`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::Postgresql(_) => "postgresql",
            Self::Mysql(_) => "mysql",
            #[cfg(feature = "cassandra")]
            Self::Cassandra(_) => "cassandra",
            Self::Kafka(_) => "kafka",
        }
    }
}

/// Where a store is named: by its type, or by a section of its own in the file. What variables say about a store of no type is said to
/// every service.
pub(super) fn named(storage: &Section) -> Option<At> {
    let is_told =
        |name: &&str| storage.is_written(name) && (*name == "type" || storage.at(name).outside.is_none());
    let told = ["type"].iter().chain(NAMES).copied().find(is_told);
    told.map(|name| storage.at(name))
}

/// Builds the store's settings from the checked section. Clients, and other registries, come to `port`.
pub(super) fn build(
    storage: &Section,
    port: u16,
    problems: &mut Problems,
    notices: &mut Vec<Notice>,
) -> Option<StoreSettings> {
    let name = storage.text("type")?;
    // What the surroundings say about a folder is said to every service, whatever its store.
    let is_told =
        |other: &str| storage.is_written(other) && (other != "sqlite" || storage.at(other).outside.is_none());
    for other in NAMES.iter().filter(|other| **other != name && is_told(other)) {
        let message =
            format!("storage.{other} has no effect: storage.type is {name}; write type: {other} to use it");
        notices.push(Notice { at: storage.at(other), message });
    }
    Some(match name {
        "memory" => {
            let message = "storage.type memory keeps nothing once the process ends".to_owned();
            notices.push(Notice { at: storage.at("type"), message });
            StoreSettings::Memory
        }
        "sqlite" => StoreSettings::Sqlite(sqlite(storage.section("sqlite")?)?),
        "postgresql" => {
            let section = storage.section("postgresql")?;
            let mode = match section.text("sslmode")? {
                "prefer" => SslMode::Prefer,
                "require" => SslMode::Require,
                "verify-ca" => SslMode::VerifyCa,
                "verify-full" => SslMode::VerifyFull,
                _ => SslMode::Disable,
            };
            StoreSettings::Postgresql(sql(section, mode, "postgresql", "POSTGRES_USER", problems)?)
        }
        "mysql" => {
            let section = storage.section("mysql")?;
            let mode = match section.text("tls")? {
                "true" => SslMode::VerifyFull,
                "verify-ca" => SslMode::VerifyCa,
                "preferred" => SslMode::Prefer,
                "skip-verify" => SslMode::Require,
                _ => SslMode::Disable,
            };
            StoreSettings::Mysql(sql(section, mode, "mysql", "MYSQL_USER", problems)?)
        }
        "kafka" => StoreSettings::Kafka(kafka(storage.section("kafka")?, port, problems)?),
        _ => cassandra(storage, problems)?,
    })
}

fn kafka(section: &Section, port: u16, problems: &mut Problems) -> Option<KafkaLogSettings> {
    let server = |value: &Value| match value {
        Value::Server(host, port) if host.contains(':') => Some(format!("[{host}]:{port}")),
        Value::Server(host, port) => Some(format!("{host}:{port}")),
        _ => None,
    };
    let servers: Vec<String> = section.list("bootstrap_servers").iter().filter_map(server).collect();
    if servers.is_empty() {
        let message =
            "storage.kafka.bootstrap_servers is missing: the brokers that have the topic".to_owned();
        let next = "add bootstrap_servers: [host:9092], or set SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS";
        problems.add(section.at, message, next);
        return None;
    }
    let host = section.text("advertised_host").map_or_else(own_host, str::to_owned);
    Some(KafkaLogSettings {
        topic: section.text("topic")?.to_owned(),
        replication_factor: section.int("topic_replication_factor").and_then(|n| i16::try_from(n).ok())?,
        group_id: section.text("group_id")?.to_owned(),
        leader_eligibility: section.bool("leader_eligibility")?,
        init_timeout: duration(section, "init_timeout")?,
        timeout: duration(section, "timeout")?,
        ..KafkaLogSettings::new(servers, host, port)
    })
}

/// The name of this machine.
fn own_host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

fn sqlite(section: &Section) -> Option<SqliteSettings> {
    // systemd gives several folders with colons between them; the first is the service's own.
    let folder = section.text("data_dir")?;
    let folder = match section.at("data_dir").outside {
        Some("STATE_DIRECTORY") => folder.split(':').next().unwrap_or(folder),
        _ => folder,
    };
    Some(SqliteSettings {
        folder: PathBuf::from(folder),
        busy_timeout: duration(section, "busy_timeout")?,
        operation_timeout: duration(section, "operation_timeout")?,
    })
}

fn sql(
    section: &Section,
    ssl_mode: SslMode,
    name: &str,
    variable: &str,
    problems: &mut Problems,
) -> Option<SqlSettings> {
    let Some(user) = section.text("user") else {
        let message = format!("storage.{name}.user is missing: who the registry is to the database");
        problems.add(section.at, message, format!("add user: schemaregistry, or set {variable}"));
        return None;
    };
    let ca_file = section.text("ca_file").map(PathBuf::from);
    if ca_file.is_some() && matches!(ssl_mode, SslMode::Disable) {
        let message = format!("storage.{name}.ca_file is of no use: TLS is switched off");
        let key = if name == "mysql" { "tls: true" } else { "sslmode: verify-full" };
        problems.add(section.at("ca_file"), message, format!("write {key}, or leave ca_file out"));
    }
    let connect_timeout = duration(section, "connection_timeout")?;
    let max_connections = count(section, "max_connections")?;
    Some(SqlSettings {
        host: section.text("host")?.to_owned(),
        port: port(section)?,
        user: user.to_owned(),
        password: Secret::new(section.text("password").unwrap_or_default()),
        database: section.text("database")?.to_owned(),
        ssl_mode,
        ca_file,
        max_connections,
        min_connections: count(section, "min_connections")?.min(max_connections),
        max_lifetime: duration(section, "max_connection_lifetime")?,
        connect_timeout,
        operation_timeout: duration(section, "operation_timeout")?,
        // Who connects tries again for ever; this is one of these tries.
        start_timeout: connect_timeout,
    })
}

#[cfg(feature = "cassandra")]
fn cassandra(storage: &Section, _: &mut Problems) -> Option<StoreSettings> {
    let section = storage.section("cassandra")?;
    let default_port = port(section)?;
    let host = |value: &Value| match value {
        Value::Server(host, 0) => Some(address(host, default_port)),
        Value::Server(host, port) => Some(address(host, *port)),
        _ => None,
    };
    let hosts = section.list("hosts").iter().filter_map(host).collect();
    let level = |key: &str| section.text(key).or_else(|| section.text("consistency")).map(consistency);
    let connect_timeout = duration(section, "connect_timeout")?;
    let mut settings = CassandraSettings::new(hosts, section.text("keyspace")?);
    settings.local_dc = section.text("local_dc").map(str::to_owned);
    settings.replication_factor = count(section, "replication_factor");
    settings.read_consistency = level("read_consistency")?;
    settings.write_consistency = level("write_consistency")?;
    settings.serial_consistency = match section.text("serial_consistency")? {
        "LOCAL_SERIAL" => SerialConsistency::LocalSerial,
        _ => SerialConsistency::Serial,
    };
    settings.user = section.text("username").map(str::to_owned);
    settings.password = section.text("password").map(Secret::new);
    settings.ca_file = section.text("ca_file").map(PathBuf::from);
    settings.connect_timeout = connect_timeout;
    settings.operation_timeout = duration(section, "timeout")?;
    settings.start_timeout = connect_timeout;
    Some(StoreSettings::Cassandra(settings))
}

#[cfg(not(feature = "cassandra"))]
fn cassandra(storage: &Section, problems: &mut Problems) -> Option<StoreSettings> {
    let message = "storage.type cassandra: this program was built without it";
    problems.add(storage.at("type"), message, "build it with the feature cassandra, or use another store");
    None
}

#[cfg(feature = "cassandra")]
fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(feature = "cassandra")]
fn consistency(name: &str) -> Consistency {
    match name {
        "ONE" => Consistency::One,
        "TWO" => Consistency::Two,
        "THREE" => Consistency::Three,
        "QUORUM" => Consistency::Quorum,
        "ALL" => Consistency::All,
        "EACH_QUORUM" => Consistency::EachQuorum,
        "LOCAL_ONE" => Consistency::LocalOne,
        _ => Consistency::LocalQuorum,
    }
}

fn port(section: &Section) -> Option<u16> {
    section.int("port").and_then(|port| u16::try_from(port).ok())
}

fn count(section: &Section, key: &str) -> Option<u32> {
    section.int(key).and_then(|number| u32::try_from(number).ok())
}

pub(super) fn duration(section: &Section, key: &str) -> Option<Duration> {
    section.unsigned(key).map(Duration::from_millis)
}

//! `storage`: where schemas are kept. A table a store, and the settings that come out of it.

use std::path::PathBuf;
use std::time::Duration;

use registry::secret::Secret;
#[cfg(feature = "cassandra")]
use registry::store::cassandra::{CassandraSettings, Consistency, SerialConsistency};
use registry::store::kafka::KafkaLogSettings;
use registry::store::sql::{SqlSettings, SslMode};
use registry::store::sqlite::SqliteSettings;

use super::super::check::{Section, Value};
use super::super::error::{Notice, Problems};
use super::super::keys::{Harmless, Kind, Table, no_effect, ours, refused};
use super::tables::seconds;

const NAMES: &[&str] = &["memory", "sqlite", "postgresql", "mysql", "cassandra", "kafka"];
const VAULT: &str = "not yet supported: Vault";
const CONNECTION: &str = "how long to wait for a connection";
const OPERATION: &str =
    "how long a call may take; a commit whose answer was lost may take as long again to be looked up";
const LIFETIME: &str = "after this a connection is replaced";
const PORT: Kind = Kind::Int { min: 1, max: u16::MAX as i64 };
const CONNECTIONS: Kind = Kind::Int { min: 1, max: 10_000 };
const CHECKED: &str = "a health check waits for the store for 5 s";
const AGAIN: &str = "a commit is tried again as long as operation_timeout allows";

/// `storage`.
pub(crate) static STORAGE: Table = Table {
    path: "storage",
    about: "Where schemas are kept. Several registries may share one database of `postgresql`, `mysql` or `cassandra`, or one topic of `kafka`.",
    keys: &[
        ours("type", Kind::Choice(NAMES), "the store; memory keeps nothing once the process ends")
            .default("sqlite")
            .env(&["SCHEMA_REGISTRY_STORAGE_TYPE", "STORAGE_TYPE"]),
        ours("sqlite", Kind::Section(&SQLITE), "a file in a folder of this machine"),
        ours("postgresql", Kind::Section(&POSTGRESQL), "PostgreSQL 13 or newer"),
        ours("mysql", Kind::Section(&MYSQL), "MariaDB or MySQL"),
        ours("cassandra", Kind::Section(&CASSANDRA), "Apache Cassandra 4.0 or newer"),
        ours("kafka", Kind::Section(&KAFKA), "a compacted Kafka topic, in Confluent's records"),
        refused("auth_type", "not yet supported: users are kept nowhere", "leave it out")
            .unless(Harmless::Values(&[""])),
        refused("vault", VAULT, "leave it out").unless(Harmless::Empty),
    ],
};

/// `storage.sqlite`.
pub(crate) static SQLITE: Table = Table {
    path: "storage.sqlite",
    about: "One file in a folder, which must not be on a network.",
    keys: &[
        ours(
            "data_dir",
            Kind::Text,
            "the folder; made where it is missing. `STATE_DIRECTORY` is what systemd sets",
        )
        .default("replevin-data")
        .env(&["SCHEMA_REGISTRY_DATA_DIR", "STATE_DIRECTORY"]),
        ours("busy_timeout", seconds(0), "how long to wait for a lock that another process holds")
            .default("5s"),
        ours("operation_timeout", seconds(100), "how long a call may take").default("30s"),
    ],
};

/// `storage.postgresql`.
pub(crate) static POSTGRESQL: Table = Table {
    path: "storage.postgresql",
    about: "The database must exist; the tables are made in it.",
    keys: &[
        ours("host", Kind::Text, "host name or address")
            .default("localhost")
            .env(&["SCHEMA_REGISTRY_PG_HOST", "POSTGRES_HOST"]),
        ours("port", PORT, "port").default("5432").env(&["SCHEMA_REGISTRY_PG_PORT", "POSTGRES_PORT"]),
        ours("user", Kind::Text, "who must be allowed to create tables, at least at the first start; required for this store")
            .example("schemaregistry")
            .env(&["SCHEMA_REGISTRY_PG_USER", "POSTGRES_USER"]),
        ours("password", Kind::Secret, "the user's password")
            .example("${POSTGRES_PASSWORD}")
            .env(&["SCHEMA_REGISTRY_PG_PASSWORD", "POSTGRES_PASSWORD"]),
        ours("database", Kind::Text, "the database")
            .default("schema_registry")
            .env(&["SCHEMA_REGISTRY_PG_DATABASE", "POSTGRES_DATABASE"]),
        ours("sslmode", Kind::Word(&["disable", "require", "verify-ca", "verify-full"]), "TLS: none; whoever answers is believed; a certificate of a known authority; and one for this host")
            .also(&["ssl_mode"])
            .default("disable")
            .env(&["SCHEMA_REGISTRY_PG_SSLMODE", "POSTGRES_SSLMODE"]),
        ours("ca_file", Kind::Text, "a PEM file of authorities that are trusted beside the public ones")
            .also(&["sslrootcert", "ssl_root_cert"])
            .example("/etc/ssl/postgresql-ca.pem")
            .env(&["SCHEMA_REGISTRY_PG_CA_FILE"]),
        ours("max_connections", CONNECTIONS, "connections at most")
            .also(&["max_open_conns"])
            .default("25")
            .env(&["SCHEMA_REGISTRY_PG_MAX_OPEN_CONNS"]),
        ours("min_connections", Kind::Int { min: 0, max: 10_000 }, "connections that are kept open")
            .also(&["max_idle_conns"])
            .default("1")
            .env(&["SCHEMA_REGISTRY_PG_MAX_IDLE_CONNS"]),
        ours("max_connection_lifetime", seconds(1_000), LIFETIME)
            .also(&["conn_max_lifetime"])
            .default("300s")
            .env(&["SCHEMA_REGISTRY_PG_CONN_MAX_LIFETIME"]),
        ours("connection_timeout", seconds(100), CONNECTION)
            .also(&["connect_timeout"])
            .default("5s")
            .env(&["SCHEMA_REGISTRY_PG_CONNECT_TIMEOUT"]),
        ours("operation_timeout", seconds(100), OPERATION).default("15s"),
        no_effect("health_check_timeout", seconds(0), CHECKED)
            .env(&["SCHEMA_REGISTRY_PG_HEALTH_CHECK_TIMEOUT"]),
        no_effect("schema_max_retries", Kind::Int { min: 0, max: i64::MAX }, AGAIN)
            .env(&["SCHEMA_REGISTRY_PG_SCHEMA_MAX_RETRIES"]),
    ],
};

/// `storage.mysql`.
pub(crate) static MYSQL: Table = Table {
    path: "storage.mysql",
    about: "The database must exist; the tables are made in it. Tested on MariaDB.",
    keys: &[
        ours("host", Kind::Text, "host name or address")
            .default("localhost")
            .env(&["SCHEMA_REGISTRY_MYSQL_HOST", "MYSQL_HOST"]),
        ours("port", PORT, "port").default("3306").env(&["SCHEMA_REGISTRY_MYSQL_PORT", "MYSQL_PORT"]),
        ours("user", Kind::Text, "who must be allowed to create tables, at least at the first start; required for this store")
            .example("schemaregistry")
            .env(&["SCHEMA_REGISTRY_MYSQL_USER", "MYSQL_USER"]),
        ours("password", Kind::Secret, "the user's password")
            .example("${MYSQL_PASSWORD}")
            .env(&["SCHEMA_REGISTRY_MYSQL_PASSWORD", "MYSQL_PASSWORD"]),
        ours("database", Kind::Text, "the database")
            .default("schema_registry")
            .env(&["SCHEMA_REGISTRY_MYSQL_DATABASE", "MYSQL_DATABASE"]),
        ours("tls", Kind::Word(&["false", "true", "skip-verify", "verify-ca"]), "TLS: none; a certificate of a known authority for this host; whoever answers is believed; a certificate of a known authority")
            .default("false")
            .env(&["SCHEMA_REGISTRY_MYSQL_TLS"]),
        ours("ca_file", Kind::Text, "a PEM file of authorities that are trusted beside the public ones")
            .example("/etc/ssl/mysql-ca.pem")
            .env(&["SCHEMA_REGISTRY_MYSQL_CA_FILE"]),
        ours("max_connections", CONNECTIONS, "connections at most")
            .also(&["max_open_conns"])
            .default("25")
            .env(&["SCHEMA_REGISTRY_MYSQL_MAX_OPEN_CONNS"]),
        ours("min_connections", Kind::Int { min: 0, max: 10_000 }, "connections that are kept open")
            .also(&["max_idle_conns"])
            .default("1")
            .env(&["SCHEMA_REGISTRY_MYSQL_MAX_IDLE_CONNS"]),
        ours("max_connection_lifetime", seconds(1_000), LIFETIME)
            .also(&["conn_max_lifetime"])
            .default("300s")
            .env(&["SCHEMA_REGISTRY_MYSQL_CONN_MAX_LIFETIME"]),
        ours("connection_timeout", seconds(100), CONNECTION)
            .also(&["connect_timeout"])
            .default("5s")
            .env(&["SCHEMA_REGISTRY_MYSQL_CONNECT_TIMEOUT"]),
        ours("operation_timeout", seconds(100), OPERATION).default("15s"),
        no_effect("health_check_timeout", seconds(0), CHECKED)
            .env(&["SCHEMA_REGISTRY_MYSQL_HEALTH_CHECK_TIMEOUT"]),
        no_effect("schema_max_retries", Kind::Int { min: 0, max: i64::MAX }, AGAIN)
            .env(&["SCHEMA_REGISTRY_MYSQL_SCHEMA_MAX_RETRIES"]),
    ],
};

const LEVEL: Kind =
    Kind::Word(&["ONE", "TWO", "THREE", "QUORUM", "ALL", "LOCAL_QUORUM", "EACH_QUORUM", "LOCAL_ONE"]);

/// `storage.cassandra`.
pub(crate) static CASSANDRA: Table = Table {
    path: "storage.cassandra",
    about: "The keyspace is made where it is missing, with NetworkTopologyStrategy in the local data centre; one in several data centres must be made, or altered, by hand.",
    keys: &[
        ours("hosts", Kind::List(&Kind::Host), "nodes to begin with; the others are found through them")
            .default("localhost")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_HOSTS"]),
        ours("port", PORT, "port of those hosts that are written without one")
            .default("9042")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_PORT"]),
        ours("keyspace", Kind::Text, "the keyspace")
            .default("schema_registry")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_KEYSPACE"]),
        ours("local_dc", Kind::Text, "the data centre whose nodes are talked to; that of the first node where it is not set")
            .example("dc1")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_LOCAL_DC"]),
        ours("replication_factor", Kind::Int { min: 1, max: 1_000 }, "replicas in this data centre of a keyspace that is made; unset: three, or as many as there are nodes")
            .example("3")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_REPLICATION_FACTOR"]),
        ours("consistency", LEVEL, "how many replicas must answer a question, and have what is written")
            .also(&["consistency_level"])
            .default("LOCAL_QUORUM")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_CONSISTENCY"]),
        ours("read_consistency", LEVEL, "the same for questions alone; unset: as consistency")
            .example("LOCAL_QUORUM")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_READ_CONSISTENCY"]),
        ours("write_consistency", LEVEL, "the same for what is written alone; unset: as consistency")
            .example("LOCAL_QUORUM")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_WRITE_CONSISTENCY"]),
        ours("serial_consistency", Kind::Word(&["SERIAL", "LOCAL_SERIAL"]), "who decides about commits: all data centres, or only this one, which is right only where it is the only one that writes")
            .default("SERIAL")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_SERIAL_CONSISTENCY"]),
        ours("username", Kind::Text, "user, where the cluster asks for one")
            .also(&["user"])
            .example("schemaregistry")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_USERNAME"]),
        ours("password", Kind::Secret, "the user's password")
            .example("${CASSANDRA_PASSWORD}")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_PASSWORD"]),
        ours("ca_file", Kind::Text, "TLS, with a PEM file of the authorities that are believed; a node's certificate must name its address")
            .example("/etc/ssl/cassandra-ca.pem")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_CA_FILE"]),
        ours("timeout", seconds(100), OPERATION)
            .also(&["operation_timeout"])
            .default("30s")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_TIMEOUT"]),
        ours("connect_timeout", seconds(100), CONNECTION)
            .also(&["connection_timeout"])
            .default("10s")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_CONNECT_TIMEOUT"]),
        no_effect("max_retries", Kind::Int { min: 0, max: i64::MAX }, "a commit is tried again as long as timeout allows")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_MAX_RETRIES"]),
        no_effect("id_block_size", Kind::Int { min: 0, max: i64::MAX }, "ids are given one by one, so that none is left out")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_ID_BLOCK_SIZE"]),
    ],
};

/// `storage.kafka`.
pub(crate) static KAFKA: Table = Table {
    path: "storage.kafka",
    about: "A compacted topic of one partition, made where it is missing. Registries that share it, Confluent's and Karapace among them, elect one that writes; the others pass on to it what changes something. Brokers are spoken to without TLS and without a password.",
    keys: &[
        ours(
            "bootstrap_servers",
            Kind::List(&Kind::Server),
            "brokers to begin with; required for this store",
        )
        .example("localhost:9092")
        .env(&["SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS", "KAFKASTORE_BOOTSTRAP_SERVERS"]),
        ours("topic", Kind::Text, "the topic")
            .default("_schemas")
            .env(&["SCHEMA_REGISTRY_KAFKASTORE_TOPIC", "KAFKASTORE_TOPIC"]),
        ours(
            "topic_replication_factor",
            Kind::Int { min: 1, max: 1_000 },
            "replicas of a topic that is made; fewer where there are fewer brokers",
        )
        .default("3")
        .env(&["SCHEMA_REGISTRY_KAFKASTORE_TOPIC_REPLICATION_FACTOR"]),
        ours("group_id", Kind::Text, "the group in which registries elect the one that writes")
            .default("schema-registry")
            .env(&["SCHEMA_REGISTRY_SCHEMA_REGISTRY_GROUP_ID"]),
        ours("leader_eligibility", Kind::Bool, "whether this registry may be elected")
            .default("true")
            .env(&["SCHEMA_REGISTRY_LEADER_ELIGIBILITY"]),
        ours(
            "advertised_host",
            Kind::Text,
            "the host at which the others reach this registry, at server.port; unset: the machine's name",
        )
        .also(&["host_name"])
        .example("registry-1")
        .env(&["SCHEMA_REGISTRY_HOST_NAME"]),
        ours("init_timeout", seconds(1_000), "how long reading the topic at the start may take")
            .default("60s"),
        ours("timeout", seconds(100), OPERATION).also(&["operation_timeout"]).default("10s"),
    ],
};

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

//! `storage`: where schemas are kept. A table a store.

use super::super::keys::{Harmless, Kind, Table, no_effect, ours, refused};
use super::tables::seconds;

/// The stores by name.
pub(super) const NAMES: &[&str] = &["memory", "sqlite", "postgresql", "mysql", "cassandra", "kafka"];
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
        ours("sslmode", Kind::Word(&["disable", "prefer", "require", "verify-ca", "verify-full"]), "TLS: none; where the server offers it; always, but whoever answers is believed; a certificate of a known authority; and one for this host")
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
        ours("tls", Kind::Word(&["false", "true", "preferred", "skip-verify", "verify-ca"]), "TLS: none; a certificate of a known authority for this host; where the server offers it; always, but whoever answers is believed; a certificate of a known authority")
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
    about: "The keyspace is made where it is missing, with NetworkTopologyStrategy and replicas in all data centres that the cluster has then.",
    keys: &[
        ours("hosts", Kind::List(&Kind::Host), "nodes to begin with; the others are found through them")
            .default("localhost")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_HOSTS", "CASSANDRA_HOSTS"]),
        ours("port", PORT, "port of those hosts that are written without one")
            .default("9042")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_PORT", "CASSANDRA_PORT"]),
        ours("keyspace", Kind::Text, "the keyspace")
            .default("schema_registry")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_KEYSPACE", "CASSANDRA_KEYSPACE"]),
        ours("local_dc", Kind::Text, "the data centre whose nodes are talked to; that of the first node where it is not set")
            .example("dc1")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_LOCAL_DC", "CASSANDRA_LOCAL_DC"]),
        ours("replication_factor", Kind::Int { min: 1, max: 1_000 }, "replicas in each data centre of a keyspace that is made; unset: three, or as many as it has nodes")
            .example("3")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_REPLICATION_FACTOR", "CASSANDRA_REPLICATION_FACTOR"]),
        ours("consistency", LEVEL, "how many replicas must answer a question, and have what is written")
            .also(&["consistency_level"])
            .default("LOCAL_QUORUM")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_CONSISTENCY", "CASSANDRA_CONSISTENCY"]),
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
            .env(&["SCHEMA_REGISTRY_CASSANDRA_USERNAME", "CASSANDRA_USERNAME"]),
        ours("password", Kind::Secret, "the user's password")
            .example("${CASSANDRA_PASSWORD}")
            .env(&["SCHEMA_REGISTRY_CASSANDRA_PASSWORD", "CASSANDRA_PASSWORD"]),
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

//! `source` and `target`: which brokers, which topics, how to connect.
//!
//! TLS and SASL are refused until they work; the names that Kafka, Java and librdkafka give to settings are understood
//! beside OSO's.

use pipeline::select::TopicSelection;

use super::check::{Section, Value};
use super::error::Problems;
use super::keys::{Handling, Harmless, Key, Kind, Origin, Table, oso, ours, refused};

const NO_SECURITY: &str = "not yet supported: TLS and SASL";
const USE_PLAINTEXT: &str = "only PLAINTEXT listeners can be reached so far";
const PLAINTEXT_ONLY: Harmless = Harmless::Values(&["PLAINTEXT", "plaintext"]);

/// `security` of a cluster: all of it still refused, but for `PLAINTEXT`.
pub(crate) static SECURITY: Table = Table {
    path: "source.security",
    about: "How to authenticate. Only `PLAINTEXT` so far.",
    keys: &[
        refused("security_protocol", NO_SECURITY, USE_PLAINTEXT)
            .also(&["security.protocol"])
            .unless(PLAINTEXT_ONLY),
        refused("sasl_mechanism", NO_SECURITY, USE_PLAINTEXT),
        refused("sasl_username", NO_SECURITY, USE_PLAINTEXT),
        refused("sasl_password", NO_SECURITY, USE_PLAINTEXT),
        refused("sasl_kerberos_service_name", NO_SECURITY, USE_PLAINTEXT),
        refused("sasl_keytab_path", NO_SECURITY, USE_PLAINTEXT),
        refused("sasl_krb5_config_path", NO_SECURITY, USE_PLAINTEXT),
        refused("ssl_ca_location", NO_SECURITY, USE_PLAINTEXT),
        refused("ssl_certificate_location", NO_SECURITY, USE_PLAINTEXT),
        refused("ssl_key_location", NO_SECURITY, USE_PLAINTEXT),
        refused("ssl_key_password", NO_SECURITY, USE_PLAINTEXT),
        refused("sasl.*", NO_SECURITY, USE_PLAINTEXT).also(&["ssl.*"]).kafka(),
    ],
};

/// `connection` of a cluster.
pub(crate) static CONNECTION: Table = Table {
    path: "source.connection",
    about: "How to connect to brokers.",
    keys: &[
        oso("tcp_keepalive", Kind::Bool, "keep idle connections alive through firewalls").default("true"),
        oso("keepalive_time_secs", Kind::Duration { plain: Some(1_000), min: 1_000 }, "idle time before the first keep-alive probe")
            .default("60"),
        oso("keepalive_interval_secs", Kind::Duration { plain: Some(1_000), min: 1_000 }, "time between keep-alive probes")
            .default("20"),
        oso("tcp_nodelay", Kind::Bool, "send small requests at once").default("true"),
        oso("connections_per_broker", Kind::Int { min: 1, max: 64 }, "connections to each broker for data: a broker serves one connection's requests one after another")
            .default("4"),
        ours("client_rack", Kind::Text, "the rack that this process runs in: data is then fetched from replicas of the same rack (KIP-392)")
            .also(&["client.rack"])
            .example("eu-west-1a"),
        ours("client_id", Kind::Text, "the name under which brokers see this process, for logs and quotas")
            .also(&["client.id"])
            .default("replevin"),
        ours("connect_timeout_ms", Kind::Duration { plain: Some(1), min: 100 }, "the longest that opening a connection may take")
            .also(&["socket.connection.setup.timeout.ms"])
            .default("10s"),
        ours("request_timeout_ms", Kind::Duration { plain: Some(1), min: 1_000 }, "the longest that the answer to a request may take")
            .also(&["request.timeout.ms", "socket.timeout.ms"])
            .default("30s"),
    ],
};

static TOPICS_MAPPING: &str = "not supported: OSO never read this key, so topics would keep their names";

/// `topics` of a cluster.
pub(crate) static TOPICS: Table = Table {
    path: "source.topics",
    about: "Which topics. A plain name is that topic; `*`, `?` and `[abc]` make a glob; `~` begins a regular expression that must match the whole name.",
    keys: &[
        oso(
            "include",
            Kind::List(&Kind::TopicPattern),
            "topics to take; an empty list takes all but internal ones and the journals that restores and migrations keep",
        )
        .default("[]"),
        oso("exclude", Kind::List(&Kind::TopicPattern), "topics to leave out, whatever include says")
            .default("[]"),
        refused("mapping", TOPICS_MAPPING, "write it as restore.topic_mapping").unless(Harmless::Empty),
    ],
};

/// `source` and `target`.
pub(crate) static KAFKA: Table = Table {
    path: "source",
    about: "The cluster to back up (`source`) or to restore into (`target`); both take the same keys. On restore, `topics` filters what the backup holds.",
    keys: &[
        oso(
            "bootstrap_servers",
            Kind::List(&Kind::Server),
            "brokers to ask first; the others are found through them",
        )
        .also(&["bootstrap.servers", "metadata.broker.list"])
        .required()
        .example("[\"localhost:9092\"]"),
        oso("topics", Kind::Section(&TOPICS), "which topics"),
        oso("connection", Kind::Section(&CONNECTION), "how to connect"),
        oso("security", Kind::Section(&SECURITY), "how to authenticate"),
        Key { origin: Origin::Kafka, ..refused("security_protocol", NO_SECURITY, USE_PLAINTEXT) }
            .also(&["security.protocol"])
            .unless(PLAINTEXT_ONLY),
        refused("sasl_*", NO_SECURITY, USE_PLAINTEXT).also(&["sasl.*", "ssl_*", "ssl.*"]).kafka(),
        FLAT_RACK,
        FLAT_CLIENT_ID,
    ],
};

/// Kafka clients write these beside the brokers, not in a `connection` section.
const FLAT_RACK: Key = Key {
    handling: Handling::Honoured,
    ..ours("client.rack", Kind::Text, "the same as connection.client_rack")
}
.also(&["client_rack"])
.example("eu-west-1a")
.kafka();
const FLAT_CLIENT_ID: Key = ours("client.id", Kind::Text, "the same as connection.client_id")
    .also(&["client_id"])
    .example("replevin")
    .kafka();

/// A broker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Name or address; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A cluster and what is wanted of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kafka {
    /// At least one.
    pub(crate) bootstrap_servers: Vec<Server>,
    /// Patterns that [`TopicSelection::new`] accepts.
    pub(crate) include: Vec<String>,
    /// Patterns that [`TopicSelection::new`] accepts.
    pub(crate) exclude: Vec<String>,
    pub(crate) connection: Connection,
}

/// How to connect to brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) tcp_keepalive: bool,
    pub(crate) keepalive_time_ms: u64,
    pub(crate) keepalive_interval_ms: u64,
    pub(crate) tcp_nodelay: bool,
    pub(crate) connections_per_broker: usize,
    pub(crate) client_rack: Option<String>,
    pub(crate) client_id: String,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) request_timeout_ms: u64,
}

impl Kafka {
    /// Builds it from its checked section, called `name` in the file.
    pub(crate) fn build(section: &Section, name: &str, problems: &mut Problems) -> Option<Self> {
        let bootstrap_servers = section.list("bootstrap_servers").iter().filter_map(|value| match value {
            Value::Server(host, port) => Some(Server { host: host.clone(), port: *port }),
            _ => None,
        });
        let connection = section.section("connection")?;
        let topics = section.section("topics")?;
        let mut flat = |flat: &str, nested: &str| {
            if section.is_written(flat) && connection.is_written(nested) {
                let message =
                    format!("{name}.{flat} and {name}.connection.{nested} are one setting given twice");
                problems.add(section.at(flat), message, "keep one of them");
            }
            section.text(flat).or(connection.text(nested)).map(str::to_owned)
        };
        Some(Self {
            bootstrap_servers: bootstrap_servers.collect(),
            include: topics.texts("include"),
            exclude: topics.texts("exclude"),
            connection: Connection {
                client_rack: flat("client.rack", "client_rack"),
                client_id: flat("client.id", "client_id")?,
                tcp_keepalive: connection.bool("tcp_keepalive")?,
                keepalive_time_ms: connection.unsigned("keepalive_time_secs")?,
                keepalive_interval_ms: connection.unsigned("keepalive_interval_secs")?,
                tcp_nodelay: connection.bool("tcp_nodelay")?,
                connections_per_broker: usize::try_from(connection.int("connections_per_broker")?).ok()?,
                connect_timeout_ms: connection.unsigned("connect_timeout_ms")?,
                request_timeout_ms: connection.unsigned("request_timeout_ms")?,
            },
        })
    }

    /// The topics that this job takes.
    ///
    /// # Errors
    /// None for a loaded file: its patterns have been checked.
    pub(crate) fn selection(
        &self,
        include_internal: bool,
        internal: &[String],
    ) -> pipeline::Result<TopicSelection> {
        TopicSelection::new(&self.include, &self.exclude, include_internal, internal)
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

//! What can be set for the `kafka` store. Values only.

use std::time::Duration;

/// Where the topic is, and who shares it. The names in brackets are those of Confluent's registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaLogSettings {
    /// Brokers to ask first, each `host:port` (`kafkastore.bootstrap.servers`).
    pub bootstrap_servers: Vec<String>,
    /// The topic that schemas are kept in (`kafkastore.topic`).
    pub topic: String,
    /// Replicas of the topic where it has to be made; fewer where there are fewer brokers
    /// (`kafkastore.topic.replication.factor`).
    pub replication_factor: i16,
    /// The group in which registries elect the one that writes (`schema.registry.group.id`).
    pub group_id: String,
    /// Whether this instance may be elected (`leader.eligibility`).
    pub leader_eligibility: bool,
    /// How other instances reach this one: `http` or `https` (`inter.instance.protocol`).
    pub advertised_scheme: String,
    /// The same: a host that they can reach (`host.name`).
    pub advertised_host: String,
    /// The same: the port.
    pub advertised_port: u16,
    /// How long reading the whole topic may take at the start (`kafkastore.init.timeout.ms`).
    pub init_timeout: Duration,
    /// How long one question or one commit may take (`kafkastore.timeout.ms`).
    pub timeout: Duration,
    /// How long an instance may be silent before another is elected (`kafkagroup.session.timeout.ms`).
    pub session_timeout: Duration,
    /// How often it says that it is there (`kafkagroup.heartbeat.interval.ms`).
    pub heartbeat_interval: Duration,
    /// How long others wait for it when they elect anew (`kafkagroup.rebalance.timeout.ms`).
    pub rebalance_timeout: Duration,
}

impl KafkaLogSettings {
    /// The defaults, for a registry that others reach at this host and port over HTTP.
    pub fn new(bootstrap_servers: Vec<String>, host: impl Into<String>, port: u16) -> Self {
        Self {
            bootstrap_servers,
            topic: "_schemas".to_owned(),
            replication_factor: 3,
            group_id: "schema-registry".to_owned(),
            leader_eligibility: true,
            advertised_scheme: "http".to_owned(),
            advertised_host: host.into(),
            advertised_port: port,
            init_timeout: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
        }
    }
}

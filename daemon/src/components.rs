//! From values to components: what a checked job file says becomes clients, stores and pipeline settings.

use std::sync::Arc;
use std::time::Duration;

use formats::ids::BackupId;
use formats::segment::FrameCompression;
use pipeline::Result;
use pipeline::backup::{BackupSettings, StartOffset};
use pipeline::kafka::{Client, ClientConfig, HostPort, Isolation};
use pipeline::restore::{self, RestoreSettings};
use pipeline::seam::Seam;
use pipeline::storage::wrap::Prefixed;
use pipeline::storage::{self, IoSettings, StorageSettings, Store};

use crate::config;

/// The shortest time between two commits.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// The store that holds a backup, as its folder.
pub(crate) fn backup_store(settings: &StorageSettings, backup_id: &BackupId) -> Result<Arc<dyn Store>> {
    let whole = storage::open(settings, &IoSettings::default())?;
    Ok(Arc::new(Prefixed::new(whole, backup_id.as_str())?))
}

/// A client of the cluster that a `source` or `target` section names.
pub(crate) async fn kafka_client(kafka: &config::Kafka, seam: Seam) -> Result<Client> {
    let servers = kafka.bootstrap_servers.iter().map(|server| HostPort::new(&server.host, server.port));
    let mut client = ClientConfig::new(servers.collect());
    let connection = &kafka.connection;
    client.client_id.clone_from(&connection.client_id);
    client.client_rack.clone_from(&connection.client_rack);
    client.connections_per_broker = connection.connections_per_broker;
    client.connect_timeout = Duration::from_millis(connection.connect_timeout_ms);
    client.request_timeout = Duration::from_millis(connection.request_timeout_ms);
    client.tcp.nodelay = connection.tcp_nodelay;
    client.tcp.keepalive = connection.tcp_keepalive.then(|| pipeline::kafka::config::Keepalive {
        time: Duration::from_millis(connection.keepalive_time_ms),
        interval: Duration::from_millis(connection.keepalive_interval_ms),
    });
    Client::connect(client, seam).await
}

/// What a backup job says.
pub(crate) fn backup_settings(job: &config::BackupJob) -> Result<BackupSettings> {
    let backup = &job.backup;
    Ok(BackupSettings {
        backup_id: job.backup_id.clone(),
        topics: job.source.selection(backup.include_internal_topics, &backup.internal_topics)?,
        continuous: backup.continuous,
        isolation: match backup.isolation {
            config::Isolation::ReadCommitted => Isolation::ReadCommitted,
            config::Isolation::ReadUncommitted => Isolation::ReadUncommitted,
        },
        start: match &backup.start_offset {
            config::StartOffset::Earliest => StartOffset::Earliest,
            config::StartOffset::Latest => StartOffset::Latest,
            config::StartOffset::Specific(offsets) => StartOffset::Specific(offsets.clone()),
        },
        segment_max_bytes: bytes(backup.segment_max_bytes),
        segment_max_age: Duration::from_millis(backup.segment_max_interval_ms),
        segment_max_records: backup.segment_max_records,
        fetch_max_bytes: Some(bytes(backup.fetch_max_bytes)),
        compression: match backup.compression {
            config::Compression::None => FrameCompression::None,
            config::Compression::Lz4 => FrameCompression::Lz4,
            config::Compression::Zstd { level } => FrameCompression::Zstd(level),
        },
        memory_limit: bytes(job.memory_limit),
        upload_parallelism: backup.upload_parallelism,
        refresh_interval: Duration::from_millis(backup.refresh_interval_ms),
        commit_interval: COMMIT_INTERVAL,
    })
}

/// What a restore job says.
pub(crate) fn restore_settings(job: &config::RestoreJob) -> Result<RestoreSettings> {
    let values = &job.restore;
    let topics = job.target.selection(true, &[])?;
    let identity = format!("{:?} {:?}", job.target.include, job.target.exclude);
    Ok(RestoreSettings {
        topic_mapping: values.topic_mapping.clone(),
        source_partitions: values.source_partitions.clone(),
        partition_mapping: values.partition_mapping.clone(),
        lineages: values.lineage.clone(),
        create_topics: values.create_topics,
        default_replication_factor: (values.default_replication_factor > 0)
            .then_some(values.default_replication_factor),
        window: restore::TimeWindow { start: values.time_window_start, end: values.time_window_end },
        into_non_empty: match values.into_non_empty {
            config::IntoNonEmpty::Refuse => restore::NonEmpty::Refuse,
            config::IntoNonEmpty::Append => restore::NonEmpty::Append,
        },
        retention: match values.retention {
            None => restore::Retention::Auto,
            Some(config::Retention::Hold) => restore::Retention::Hold,
            Some(config::Retention::Original) => restore::Retention::Original,
        },
        journal: match values.journal {
            config::Journal::Topic => restore::JournalPlace::Topic,
            config::Journal::Object => restore::JournalPlace::Object,
        },
        restore_topic_configs: values.restore_topic_configs,
        existing_topic_configs: match values.existing_topic_config_policy {
            config::ExistingTopicConfigPolicy::ValidateOnly => restore::ExistingConfigs::ValidateOnly,
            config::ExistingTopicConfigPolicy::Apply => restore::ExistingConfigs::Apply,
            config::ExistingTopicConfigPolicy::Fail => restore::ExistingConfigs::Fail,
        },
        topic_config_overrides: values.topic_config_overrides.all.clone(),
        topic_config_overrides_by_topic: values.topic_config_overrides.by_topic.clone(),
        proof: values.proof,
        bytes_per_second: values.rate_limit_bytes_per_sec,
        records_per_second: values.rate_limit_records_per_sec,
        max_concurrent_partitions: values.max_concurrent_partitions,
        memory_limit: bytes(job.memory_limit),
        produce_timeout: Duration::from_millis(values.produce_timeout_ms),
        ..RestoreSettings::new(job.backup_id.clone(), topics, identity)
    })
}

fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

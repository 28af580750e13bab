//! From values to components: what a checked job file says becomes clients, stores and pipeline settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use formats::hash::Hash;
use formats::ids::BackupId;
use formats::segment::FrameCompression;
use pipeline::backup::{BackupSettings, FetchRate, SchemaSettings, StartOffset};
use pipeline::kafka::{Client, ClientConfig, HostPort, Isolation};
use pipeline::migrate::{MigrateSchemas, MigrateSettings};
use pipeline::restore::schemas::{Samples, SchemaRules, SchemaTarget};
use pipeline::restore::{self, RestoreSettings};
use pipeline::schemas::Opened;
use pipeline::schemas::SchemaSelection;
use pipeline::seam::Seam;
use pipeline::secret::Secret;
use pipeline::select::GroupSelection;
use pipeline::storage::meter::Meter;
use pipeline::storage::wrap::Prefixed;
use pipeline::storage::{self, IoSettings, StorageSettings, Store};
use pipeline::{Error, Result};
use registry::client::{Auth, Bearer, ClientSettings, OAuth, Trust};
use registry::transfer::restore::{Choice, Given, Ids, Patterns, Registration, Versions};
use tokio_util::sync::CancellationToken;

use crate::cmd::registry::Place;
use crate::schemas::{GivenTarget, RegistrySource, RegistryTarget};
use crate::{cmd, config};

/// The shortest time between two commits.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// The store that holds a backup, as its folder.
pub(crate) fn backup_store(settings: &StorageSettings, backup_id: &BackupId) -> Result<Arc<dyn Store>> {
    metered_store(settings, backup_id, Arc::default())
}

/// [`backup_store`] that counts what is asked of it.
pub(crate) fn metered_store(
    settings: &StorageSettings,
    backup_id: &BackupId,
    meter: Arc<Meter>,
) -> Result<Arc<dyn Store>> {
    let whole = storage::open_metered(settings, &IoSettings::default(), &Seam::system(), meter)?;
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
        start: start_offset(&backup.start_offset),
        segment_max_bytes: bytes(backup.segment_max_bytes),
        segment_max_age: Duration::from_millis(backup.segment_max_interval_ms),
        segment_max_records: backup.segment_max_records,
        fetch_max_bytes: Some(bytes(backup.fetch_max_bytes)),
        fetch_rate: FetchRate {
            in_all: backup.fetch_rate_limit_bytes_per_sec,
            per_broker: backup.fetch_rate_limit_per_broker_bytes_per_sec,
        },
        upload_rate: backup.upload_rate_limit_bytes_per_sec,
        compression: match backup.compression {
            config::Compression::None => FrameCompression::None,
            config::Compression::Lz4 => FrameCompression::Lz4,
            config::Compression::Zstd { level } => FrameCompression::Zstd(level),
        },
        memory_limit: bytes(job.memory_limit),
        upload_parallelism: backup.upload_parallelism,
        refresh_interval: Duration::from_millis(backup.refresh_interval_ms),
        commit_interval: COMMIT_INTERVAL,
        schemas: None,
    })
}

/// What a backup job says about schemas.
pub(crate) async fn schema_settings(registry: &config::SchemaRegistry) -> Result<SchemaSettings> {
    let config::SchemaRegistry { subjects, exclude, types, references, .. } = registry;
    let mut selection = SchemaSelection::new(subjects, exclude, types, *references)?;
    if !registry.protobuf_references {
        selection = selection.without_protobuf_references();
    }
    let place = Place::of(registry.access.url.expose()).await?;
    let settings = client_settings(&registry.access, &place.url)?;
    let source = RegistrySource::new(cmd::registry::client(settings)?, place);
    Ok(SchemaSettings {
        source: Arc::new(source),
        selection,
        poll_interval: Duration::from_millis(registry.poll_interval_ms),
        read_delay: Duration::from_millis(registry.read_delay_ms),
        scan_ids: registry.scan_ids,
    })
}

/// How the registry at a URL is asked.
pub(crate) fn client_settings(access: &config::Access, url: &str) -> Result<ClientSettings> {
    let mut settings = ClientSettings::new(url.split(',').map(str::trim));
    let read = |path: &PathBuf| {
        std::fs::read(path)
            .map_err(|e| Error::input(format!("{} cannot be read", path.display())).caused_by(e))
    };
    let bearer = |cloud: &config::Cloud| Bearer {
        logical_cluster: cloud.logical_cluster.clone(),
        identity_pool: cloud.identity_pool.clone(),
    };
    let secret = |secret: &Secret| registry::secret::Secret::new(secret.expose());
    settings.auth = match &access.auth {
        config::SchemaAuth::None => Auth::None,
        config::SchemaAuth::Basic { username, password } => {
            Auth::Basic { user: username.clone(), password: secret(password) }
        }
        config::SchemaAuth::Bearer { token, cloud } => Auth::Bearer(bearer(cloud), secret(token)),
        config::SchemaAuth::ClientCredentials { token_url, client_id, client_secret, scope, cloud } => {
            let oauth = OAuth {
                token_url: token_url.clone(),
                client_id: client_id.clone(),
                client_secret: secret(client_secret),
                scope: scope.clone(),
            };
            Auth::OAuth(bearer(cloud), oauth)
        }
    };
    settings.tls.ca = access.ca_cert.as_ref().map(read).transpose()?;
    if let Some((certificate, key)) = &access.identity {
        let key = String::from_utf8(read(key)?)
            .map_err(|_| Error::input(format!("{} is no PEM file", key.display())))?;
        settings.tls.identity = Some((read(certificate)?, registry::secret::Secret::new(key)));
    }
    if access.insecure {
        settings.tls.trust = Trust::Anybody;
    }
    settings.limits.request = Duration::from_millis(access.timeout_ms);
    settings.limits.retries = access.max_retries;
    settings.limits.pause = Duration::from_millis(access.retry_backoff_ms);
    settings.limits.per_second = access.rate_limit_rps;
    Ok(settings)
}

/// What a restore job says about schemas and the ids in records; `stop` ends planning too.
fn schema_rules(schemas: &config::RestoredSchemas, stop: &CancellationToken) -> Result<SchemaRules> {
    let mut settings = schemas.settings.clone();
    let given = schemas.id_mapping_file.as_ref().map(|file| {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Error::input(format!("{} cannot be read", file.display())).caused_by(e))?;
        let given = Given::parse(&text).map_err(|e| cmd::registry::failed(e).at(file.display()))?;
        Ok::<_, Error>((given, file.display().to_string(), text))
    });
    let given = given.transpose()?;
    // What the file says counts, and not where it lies.
    let mapping = given.as_ref().map_or_else(
        || "unset".to_owned(),
        |(_, _, text)| format!("a file of BLAKE3 {}", Hash::of(text.as_bytes())),
    );
    settings.insert("restore.id_mapping_file".to_owned(), mapping);
    let target: Arc<dyn SchemaTarget> = match (&schemas.registry, given) {
        (None, given) => {
            let (given, file, _) = given.unwrap_or_default();
            Arc::new(GivenTarget::new(given, file))
        }
        (Some(registry), given) => {
            let chosen = |wanted| if wanted { Choice::Restored } else { Choice::Left };
            let settings = registry::transfer::restore::Settings {
                strategy: schemas.strategy,
                ids: match given {
                    Some((given, ..)) => Ids::Given(given),
                    None if schemas.force_ids => Ids::Forced,
                    None => Ids::Mapped,
                },
                subject_mapping: schemas.subject_mapping.clone(),
                set_compatibility: schemas.set_compatibility,
                registration: if schemas.force_register {
                    Registration::Forced
                } else {
                    Registration::Checked
                },
                subjects: Patterns::new(&registry.subjects, &registry.exclude)
                    .map_err(cmd::registry::failed)?,
                schema_types: registry.types.iter().filter_map(|name| name.parse().ok()).collect(),
                versions: if schemas.only_latest { Versions::Latest } else { Versions::All },
                deleted: chosen(schemas.soft_deleted),
                gone: chosen(schemas.soft_deleted),
                modes: chosen(schemas.modes),
                ..registry::transfer::restore::Settings::default()
            };
            let client =
                cmd::registry::client(client_settings(&registry.access, registry.access.url.expose())?)?;
            Arc::new(RegistryTarget::new(client, settings, Arc::default(), stop.clone()))
        }
    };
    Ok(SchemaRules {
        target,
        rewrite: schemas.rewrite,
        keys: schemas.keys,
        unknown: schemas.unknown,
        told: schemas.framing.clone(),
        settings,
        samples: Samples::default(),
        opened: Opened::default(),
    })
}

/// What a restore job says.
pub(crate) fn restore_settings(
    job: &config::RestoreJob,
    stop: &CancellationToken,
) -> Result<RestoreSettings> {
    let values = &job.restore;
    let topics = job.target.selection(true, &[])?;
    let mut identity = format!("{:?} {:?}", job.target.include, job.target.exclude);
    if let Some(schemas) = &job.schemas {
        identity += &format!(" {}", schemas.identity());
    }
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
        schemas: job.schemas.as_ref().map(|schemas| schema_rules(schemas, stop)).transpose()?,
        ..RestoreSettings::new(job.backup_id.clone(), topics, identity)
    })
}

/// What a migration does, as its job says.
pub(crate) async fn migrate_settings(
    job: &config::MigrateJob,
    stop: &CancellationToken,
) -> Result<MigrateSettings> {
    let schemas = match &job.schemas {
        Some((source, target)) => {
            let SchemaSettings { source, selection, poll_interval, read_delay, .. } =
                schema_settings(source).await?;
            let rules = schema_rules(target, stop)?;
            Some(MigrateSchemas { source, selection, poll_interval, read_delay, rules })
        }
        None => None,
    };
    let topics = job.source.selection(job.include_internal_topics, &[])?;
    let groups = job.consumer_groups.as_deref().map(GroupSelection::new).transpose()?;
    Ok(MigrateSettings {
        topic_mapping: job.topic_mapping.clone(),
        partition_mapping: job.partition_mapping.clone(),
        create_topics: job.create_topics,
        replication_factor: job.replication_factor,
        into_non_empty: job.into_non_empty,
        start: start_offset(&job.start_offset),
        refresh_interval: Duration::from_millis(job.refresh_interval_ms),
        until_caught_up: job.until_caught_up,
        bytes_per_second: job.rate_limit_bytes_per_sec,
        records_per_second: job.rate_limit_records_per_sec,
        connections_per_broker: job.target.connection.connections_per_broker,
        memory_limit: bytes(job.memory_limit),
        fetch_max_bytes: Some(bytes(job.fetch_max_bytes)),
        produce_timeout: Duration::from_millis(job.produce_timeout_ms),
        give_up_after: Duration::from_millis(job.give_up_after_ms),
        groups,
        proof: job.proof,
        schemas,
        ..MigrateSettings::new(job.migration_id.to_string(), topics)
    })
}

fn start_offset(start: &config::StartOffset) -> StartOffset {
    match start {
        config::StartOffset::Earliest => StartOffset::Earliest,
        config::StartOffset::Latest => StartOffset::Latest,
        config::StartOffset::Specific(offsets) => StartOffset::Specific(offsets.clone()),
    }
}

fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

//! `registry serve`: opens the store, listens, and serves until it is told to stop.
//!
//! A store behind a network may be away: then health says so and everything else is refused, and it is tried again for as long as it
//! takes. What only another configuration can mend (a folder that cannot be written, an address that is taken, a backup that is not
//! there or is damaged) ends the process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pipeline::seam::Seam;
use pipeline::{Error, Result};
use registry::api::{About, Api};
use registry::service::{Registry, Settings};
use registry::standby::Following;
use registry::store::memory::MemoryStore;
use registry::store::mysql::MysqlStore;
use registry::store::postgresql::PostgresqlStore;
use registry::store::sqlite::SqliteStore;
use registry::store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::app::{App, MetricsOnly};
use super::from_backup::FromBackup;
use super::standby::Standby;
use super::{ServeArgs, log_notices};
use crate::config::registry::{self as config, RegistryConfig, Server, StoreSettings};
use crate::forward::HttpForward;
use crate::logging::{LogFormat, Logging};
use crate::metrics::Metered;
use crate::{exit, http, kept, registry_log, signals};

/// Pauses between attempts to reach a store: from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Who collects metrics is not many.
const METRICS_CONNECTIONS: usize = 64;

/// Runs `registry serve`.
pub(super) async fn run(args: &ServeArgs, logging: Logging) -> Result<u8> {
    let file = args.config.as_deref();
    let loaded = config::load(file, &args.outside(), args.lenient);
    let config = loaded.map_err(|error| {
        logging.start();
        Error::input(error.to_string())
    })?;
    let format = if config.logging.is_json { LogFormat::Json } else { LogFormat::Text };
    logging.start_at(&config.logging.level, format);
    log_notices(&config, file);
    let name = file.map(|file| file.display().to_string());
    args.backup.require_no_store(&config, name.as_deref())?;
    let standby = Standby::of(&args.standby, &config, &args.backup, name.as_deref())?;
    let backup = args.backup.is_given().then(|| args.backup.clone());
    let stop = signals::stop_token()?;
    Serving::bind(config, (backup, standby)).await?.run(stop).await?;
    Ok(exit::DONE)
}

/// A registry whose ports are its own already.
pub(crate) struct Serving {
    app: Arc<App>,
    config: RegistryConfig,
    listener: (TcpListener, SocketAddr),
    metrics: Option<(TcpListener, SocketAddr)>,
    near: Option<Arc<dyn Store>>,
    others: (Option<FromBackup>, Standby),
}

impl Serving {
    /// Takes the ports that a configuration names, and opens a store that is on this machine.
    pub(crate) async fn of(config: RegistryConfig) -> Result<Self> {
        let standby = Standby::as_configured(&config);
        Self::bind(config, (None, standby)).await
    }

    async fn bind(config: RegistryConfig, others: (Option<FromBackup>, Standby)) -> Result<Self> {
        let near = if others.0.is_some() { None } else { near(&config.store).await? };
        let path = config.metrics.as_ref().map(|metrics| metrics.path.clone());
        let app = Arc::new(App::new(config.logging.requests, path));
        let listener = listen(&config.server.host, config.server.port).await?;
        let metrics = match config.metrics.as_ref().and_then(|metrics| metrics.port) {
            Some(port) => Some(listen(&config.server.host, port).await?),
            None => None,
        };
        Ok(Self { app, config, listener, metrics, near, others })
    }

    /// Serves until it is told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<()> {
        let Self { app, config, listener: (listener, address), metrics, near, others } = self;
        let store = if others.0.is_some() { kept::BACKEND } else { config.store.name() };
        tracing::info!(%address, store, "the registry listens");
        let opening = open(Arc::clone(&app), config.clone(), near, others, stop.clone());
        // A failure here ends the registry, and nothing beside it.
        let ended = stop.child_token();
        let ends = ended.clone();
        let opening = tokio::spawn(async move {
            let opened = opening.await;
            if opened.is_err() {
                ends.cancel();
            }
            opened
        });
        let limits = limits(&config.server);
        let metrics = metrics.map(|(listener, address)| {
            tracing::info!(%address, "metrics are told here too");
            let limits = http::Limits { connections: METRICS_CONNECTIONS, ..limits.clone() };
            let only = Arc::new(MetricsOnly(Arc::clone(&app)));
            tokio::spawn(http::serve(listener, only, limits, ended.clone()))
        });
        http::serve(listener, app, limits, ended.clone()).await;
        if let Some(metrics) = metrics {
            metrics.await.map_err(|e| Error::permanent("the port of the metrics failed").caused_by(e))?;
        }
        let store =
            opening.await.map_err(|e| Error::permanent("opening the store failed").caused_by(e))??;
        if let Some(store) = store {
            store.close().await;
        }
        // Who reads the log as JSON reads all of it as JSON.
        tracing::info!(%address, "the registry has stopped");
        Ok(())
    }
}

async fn listen(host: &str, port: u16) -> Result<(TcpListener, SocketAddr)> {
    let bound = TcpListener::bind((host, port)).await;
    let named = bound.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    named.map_err(|error| {
        Error::input(format!("cannot listen on {host}:{port}"))
            .caused_by(error)
            .hint("choose another server.host, server.port or metrics.port")
    })
}

fn limits(server: &Server) -> http::Limits {
    let connections = http::places(server.max_connections);
    if connections < server.max_connections {
        tracing::warn!(
            connections,
            wanted = server.max_connections,
            "the process may not open enough files for server.max_connections; raise its limit (ulimit -n)"
        );
    }
    http::Limits {
        body: server.max_request_body_size,
        bodies: server.max_body_memory,
        head: server.max_header_bytes,
        connections,
        read: server.read_timeout,
        write: server.write_timeout,
        idle: server.idle_timeout,
        shutdown: server.shutdown_timeout,
    }
}

/// A store of this machine, which is there or never will be; nothing for one behind a network.
async fn near(settings: &StoreSettings) -> Result<Option<Arc<dyn Store>>> {
    Ok(match settings {
        StoreSettings::Memory => Some(Arc::new(MemoryStore::new(Uuid::new_v4()))),
        StoreSettings::Sqlite(settings) => {
            let opened = SqliteStore::connect(settings.clone()).await.map_err(|error| {
                Error::input(format!(
                    "the registry's data cannot be kept in {}: {error}",
                    settings.folder.display()
                ))
                .hint("choose another folder with --data-dir, or keep nothing with STORAGE_TYPE=memory")
            })?;
            Some(Arc::new(opened))
        }
        _ => None,
    })
}

async fn connect(settings: &StoreSettings) -> std::result::Result<Arc<dyn Store>, StoreError> {
    Ok(match settings {
        StoreSettings::Memory => Arc::new(MemoryStore::new(Uuid::new_v4())),
        StoreSettings::Sqlite(settings) => Arc::new(SqliteStore::connect(settings.clone()).await?),
        StoreSettings::Postgresql(settings) => Arc::new(PostgresqlStore::connect(settings).await?),
        StoreSettings::Mysql(settings) => Arc::new(MysqlStore::connect(settings).await?),
        #[cfg(feature = "cassandra")]
        StoreSettings::Cassandra(settings) => {
            Arc::new(registry::store::cassandra::CassandraStore::connect(settings).await?)
        }
        StoreSettings::Kafka(settings) => Arc::new(registry_log::open(settings, Seam::system()).await?),
    })
}

/// Opens a backup, for as long as it takes to reach it; nothing where it was told to stop before. What no waiting mends is an error.
async fn open_backup(
    app: &App,
    backup: &FromBackup,
    stop: &CancellationToken,
) -> Result<Option<Arc<dyn Store>>> {
    let mut pause = PAUSES.0;
    loop {
        let opened = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            opened = backup.open() => opened,
        };
        match opened {
            Err(error) if error.is_retriable() => {
                if !is_time_again(app, error.to_string(), &mut pause, stop).await {
                    return Ok(None);
                }
            }
            opened => return opened.map(Some),
        }
    }
}

/// Waits before another attempt, and says why; false where it was told to stop meanwhile.
async fn is_time_again(app: &App, why: String, pause: &mut Duration, stop: &CancellationToken) -> bool {
    tracing::error!(why, again_in_ms = pause.as_millis(), "the registry waits for its store");
    app.wait(why);
    tokio::select! {
        () = stop.cancelled() => return false,
        () = tokio::time::sleep(*pause) => {}
    }
    *pause = (*pause * 2).min(PAUSES.1);
    true
}

/// Opens the registry, for as long as it takes, and keeps a standby like its leader. Answers its store once it is told to stop, or is no
/// standby; nothing where it was told to stop before there was one.
async fn open(
    app: Arc<App>,
    config: RegistryConfig,
    near: Option<Arc<dyn Store>>,
    (backup, standby): (Option<FromBackup>, Standby),
    stop: CancellationToken,
) -> Result<Option<Arc<dyn Store>>> {
    let mut pause = PAUSES.0;
    let mut store = near;
    if let Some(backup) = &backup {
        store = open_backup(&app, backup, &stop).await?;
        if store.is_none() {
            return Ok(None);
        }
    }
    loop {
        let opening = async {
            let store = match &store {
                Some(store) => Arc::clone(store),
                None => connect(&config.store).await.map_err(|error| (None, error.to_string()))?,
            };
            let metered = Arc::new(Metered::new(Arc::clone(&store), Arc::clone(app.numbers().store())));
            let registry = match registry(Arc::clone(&metered), &config).await {
                Ok(registry) => Arc::new(registry),
                Err(error) => return Err((Some(store), error.message().to_owned())),
            };
            metered.know(registry.live());
            let kept = standby.begin(&registry).await;
            Ok((store, registry, kept))
        };
        let opened = tokio::select! {
            () = stop.cancelled() => return Ok(store),
            opened = opening => opened,
        };
        let why = match opened {
            Ok((connected, _, Err(error))) if error.is_retriable() => {
                store = Some(connected);
                error.to_string()
            }
            Ok((store, _, Err(error))) => {
                store.close().await;
                return Err(error);
            }
            Ok((store, registry, Ok(kept))) => {
                let about = About {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    cluster_id: config.cluster_id.clone(),
                    docs_enabled: config.docs_enabled,
                    ..About::default()
                };
                let forward = Arc::new(HttpForward { limit: config.server.write_timeout });
                let mut api = Api::new(registry, about).forwarding(forward);
                if let Some(kept) = &kept {
                    api = api.standing_by(Arc::clone(&kept.follower) as Arc<dyn Following>);
                }
                app.open(api);
                tracing::info!(store = store.backend(), "the registry serves");
                if let Some(kept) = kept {
                    stop.run_until_cancelled(kept.follower.run()).await;
                }
                return Ok(Some(store));
            }
            Err((connected, why)) => {
                store = connected;
                why
            }
        };
        if !is_time_again(&app, why, &mut pause, &stop).await {
            return Ok(store);
        }
    }
}

async fn registry(store: Arc<Metered>, config: &RegistryConfig) -> registry::error::Result<Registry> {
    let settings = Settings {
        default_level: config.default_level,
        incompatible_code: config.incompatible_code,
        identity: config.schemas.identity,
        mode_mutability: config.schemas.mode_mutability,
        reject_empty_subject: config.schemas.reject_empty_subject,
        max_schema_bytes: config.schemas.max_size,
        max_references: config.schemas.max_references,
        text_cache_bytes: config.schemas.text_cache_size,
        answer_cache_bytes: config.schemas.answer_cache_size,
        parsed_cache_bytes: config.schemas.parsed_cache_size,
        ..Settings::default()
    };
    let clock = Seam::system().clock;
    Registry::open(store, settings, move || clock.now_ms()).await
}

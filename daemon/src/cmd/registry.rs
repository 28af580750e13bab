//! `registry serve`: a schema registry.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pipeline::seam::Seam;
use pipeline::{Error, Result};
use registry::api::{About, Api};
use registry::service::{Registry, Settings};
use registry::settings::Level;
use registry::store::Store;
use registry::store::memory::MemoryStore;
use registry::store::sqlite::{SqliteSettings, SqliteStore};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::output::Output;
use crate::{exit, http, signals};

/// Arguments of `registry`.
#[derive(Debug, clap::Args)]
pub(crate) struct RegistryArgs {
    #[command(subcommand)]
    command: RegistryCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RegistryCommand {
    /// Serve a schema registry, compatible with Confluent's REST API.
    Serve(ServeArgs),
}

/// Arguments of `registry serve`. Each is also read from the environment.
#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Address to listen on.
    #[arg(long, env = "SERVER_HOST", default_value = "0.0.0.0")]
    host: std::net::IpAddr,
    /// Port to listen on.
    #[arg(long, env = "SERVER_PORT", default_value_t = 8081)]
    port: u16,
    /// Where schemas are kept.
    #[arg(long, env = "STORAGE_TYPE", value_enum, default_value_t = StorageType::Sqlite)]
    storage_type: StorageType,
    /// Folder of the SQLite file.
    #[arg(long, env = "STATE_DIRECTORY", default_value = "replevin-data")]
    data_dir: PathBuf,
    /// Compatibility where nothing else is set.
    #[arg(long, env = "COMPATIBILITY_LEVEL", default_value = "BACKWARD")]
    compatibility_level: Level,
}

/// Stores by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum StorageType {
    /// A file in the data folder.
    Sqlite,
    /// Nothing is kept after the process ends.
    Memory,
}

/// Runs `registry`.
pub(crate) async fn run(args: RegistryArgs, output: &Output) -> Result<u8> {
    let RegistryCommand::Serve(args) = args.command;
    serve(args, output).await
}

async fn serve(args: ServeArgs, output: &Output) -> Result<u8> {
    let stop = signals::stop_token()?;
    let store: Arc<dyn Store> = match args.storage_type {
        StorageType::Memory => Arc::new(MemoryStore::new(Uuid::new_v4())),
        StorageType::Sqlite => {
            let opened = SqliteStore::connect(SqliteSettings::new(&args.data_dir)).await;
            Arc::new(opened.map_err(|error| {
                Error::input(format!(
                    "the registry's data cannot be kept in {}: {error}",
                    args.data_dir.display()
                ))
                .hint("choose another folder with --data-dir, or keep nothing with STORAGE_TYPE=memory")
            })?)
        }
    };
    let settings = Settings { default_level: args.compatibility_level, ..Settings::default() };
    let clock = Seam::system().clock;
    let opened = Registry::open(Arc::clone(&store), settings, move || clock.now_ms()).await;
    let registry = Arc::new(opened.map_err(|error| Error::permanent(error.message().to_owned()))?);
    let about = About { version: env!("CARGO_PKG_VERSION").to_owned(), ..About::default() };
    let api = Arc::new(Api::new(registry, about));
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Error::input(format!("cannot listen on {address}")).caused_by(error).hint("choose another --port")
    })?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, store = store.backend(), "the registry serves");
    let served = http::serve(listener, api, http::Limits::default(), stop).await;
    store.close().await;
    served?;
    output.print(&serde_json::json!({ "stopped": address }), || {
        format!("the registry at {address} has stopped")
    });
    Ok(exit::DONE)
}

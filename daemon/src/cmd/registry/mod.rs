//! `registry`: a schema registry, and what moves, compares and checks whole ones.

mod access;
mod app;
mod check;
mod diff;
mod export;
mod from_backup;
mod import;
mod serve;
mod standby;
mod takeover;
mod topic;

pub(crate) use access::{client, failed, stopped};
pub(crate) use serve::Serving;
pub(crate) use topic::Place;

use std::path::{Path, PathBuf};

use pipeline::Result;

use crate::config::registry::{Outside, RegistryConfig};
use crate::logging::Logging;
use crate::output::Output;

/// Arguments of `registry`.
#[derive(Debug, clap::Args)]
pub(crate) struct RegistryArgs {
    #[command(subcommand)]
    command: RegistryCommand,
}

// A variable with a URL may have a password in it, and help goes into tickets.
#[derive(Debug, clap::Subcommand)]
#[command(mut_subcommands(|command| command.mut_args(|arg| arg.hide_env_values(true))))]
enum RegistryCommand {
    /// Serve a schema registry, compatible with Confluent's REST API.
    #[command(after_help = HELP)]
    Serve(ServeArgs),
    /// Write all of a registry to a file: versions with ids, deleted ones too, settings, modes, contexts.
    #[command(after_help = access::HELP)]
    Export(export::ExportArgs),
    /// Bring a file into a registry, with the same ids.
    #[command(after_help = access::HELP)]
    Import(import::ImportArgs),
    /// Compare two registries, or files.
    #[command(after_help = access::HELP)]
    Diff(diff::DiffArgs),
    /// Look whether references, texts, ids and GUIDs of a registry, or of a file, are sound.
    #[command(after_help = access::HELP)]
    Check(check::CheckArgs),
    /// Bring all of a registry into another one, follow it, and prove that they are equal.
    #[command(after_help = access::HELP)]
    Takeover(takeover::TakeoverArgs),
}

const HELP: &str = "Flags win over environment variables, and these over the file. Every key of the file has a variable: \
SCHEMA_REGISTRY_PORT or SERVER_PORT, SCHEMA_REGISTRY_STORAGE_TYPE or STORAGE_TYPE, SCHEMA_REGISTRY_PG_HOST or POSTGRES_HOST; \
configs/README.md names them all. Without any of it, schemas are kept in SQLite in ./replevin-data and port 8081 is listened on.

\
With --from-backup or --backup-config, what the registry had is answered from a backup, before anything is restored: all that is \
read, with its ids, versions and GUIDs, and lookups and compatibility checks. What changes something is refused with 42205, and GET /mode answers \
READONLY. Schemas that the registry had deleted for good are answered by id and GUID, because records bear them.

\
With --follow it is a warm standby of another registry. POST /admin/standby/promote, or --promote at the next start, makes it a registry of \
its own: it takes changes, new ids go on above the highest, and it does not follow again (only --rejoin makes it). GET /admin/standby and \
schema_registry_standby_lag_seconds tell how far behind it is.";

/// Arguments of `registry serve`.
#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// The registry's file.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keys of the file that nobody knows are warnings and no errors.
    #[arg(long)]
    lenient: bool,
    /// Address to listen on.
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on.
    #[arg(long)]
    port: Option<u16>,
    /// Where schemas are kept: memory, sqlite, postgresql, mysql, cassandra or kafka.
    #[arg(long, value_name = "TYPE")]
    storage_type: Option<String>,
    /// Folder of the SQLite file.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// Compatibility where nothing else is set.
    #[arg(long, value_name = "LEVEL")]
    compatibility_level: Option<String>,
    #[command(flatten)]
    backup: from_backup::FromBackup,
    #[command(flatten)]
    standby: standby::StandbyArgs,
}

impl ServeArgs {
    /// What the flags say, as the configuration takes it.
    fn outside(&self) -> Vec<Outside> {
        let port = self.port.map(|port| port.to_string());
        let flags = [
            ("--host", vec!["server", "host"], &self.host),
            ("--port", vec!["server", "port"], &port),
            ("--storage-type", vec!["storage", "type"], &self.storage_type),
            ("--data-dir", vec!["storage", "sqlite", "data_dir"], &self.data_dir),
            ("--compatibility-level", vec!["compatibility", "level"], &self.compatibility_level),
            ("--follow", vec!["follow", "url"], &self.standby.follow),
        ];
        let said = flags.into_iter().filter_map(|(name, path, text)| Some((name, path, text.clone()?)));
        said.map(|(name, path, text)| Outside { name, path, text }).collect()
    }
}

/// Runs `registry`.
pub(crate) async fn run(args: RegistryArgs, logging: Logging, output: &Output) -> Result<u8> {
    // What a served registry logs is said by its configuration, which it must read first.
    if !matches!(args.command, RegistryCommand::Serve(_)) {
        logging.start();
    }
    match args.command {
        RegistryCommand::Serve(args) => serve::run(&args, logging).await,
        RegistryCommand::Export(args) => export::run(args, output).await,
        RegistryCommand::Import(args) => import::run(args, output).await,
        RegistryCommand::Diff(args) => diff::run(args, output).await,
        RegistryCommand::Check(args) => check::run(args, output).await,
        RegistryCommand::Takeover(args) => takeover::run(args, output).await,
    }
}

/// Logs what a configuration says that has no effect here.
pub(super) fn log_notices(config: &RegistryConfig, file: Option<&Path>) {
    let file = file.map(|file| file.display().to_string());
    for notice in &config.notices {
        tracing::warn!("{}", notice.in_file(file.as_deref()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use clap::{CommandFactory, Parser};

    async fn run(args: &[&str]) -> Result<u8> {
        let args = ["replevin", "registry"].iter().chain(args);
        let crate::Command::Registry(args) = crate::Cli::parse_from(args).command else { panic!("another") };
        let output = Output::new(Format::Text);
        match args.command {
            RegistryCommand::Diff(args) => diff::run(args, &output).await,
            RegistryCommand::Check(args) => check::run(args, &output).await,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_topic_is_no_file() {
        let topic = "kafka:///_schemas";
        for args in [&["check", topic][..], &["diff", topic, "file"], &["diff", "http://localhost:9", topic]]
        {
            let error = run(args).await.expect_err("refused").to_string();
            assert!(error.contains("names no broker"), "{args:?}: {error}");
        }
    }

    #[test]
    fn help_does_not_show_what_variables_hold() {
        let all = crate::Cli::command();
        let registry = all.find_subcommand("registry").expect("a command");
        let of_variables = registry.get_subcommands().flat_map(clap::Command::get_arguments);
        let of_variables: Vec<_> = of_variables.filter(|arg| arg.get_env().is_some()).collect();
        assert!(of_variables.len() >= 4, "{of_variables:?}");
        for arg in of_variables {
            assert!(arg.is_hide_env_values_set(), "{}", arg.get_id());
        }
    }
}

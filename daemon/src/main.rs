//! The binary: parse, load, run, map errors to exit codes. stdout is data, stderr is logs and progress.

mod cmd;
mod components;
mod config;
mod exit;
mod forward;
mod http;
mod kept;
mod logging;
mod metrics;
mod oneshot;
mod output;
mod progress;
mod registry_log;
mod schemas;
mod service;
mod signals;
mod supervise;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::logging::{LogFormat, Logging};
use crate::output::{Format, Output};

/// Backs up, restores and migrates Apache Kafka with its schemas.
#[derive(Debug, Parser)]
#[command(name = "replevin", version, about, after_help = exit::TABLE, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How results are printed to stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text, visible_alias = "format")]
    output: Format,
    /// How logs are printed to stderr. RUST_LOG chooses what is logged.
    #[arg(long, global = true, value_enum)]
    log_format: Option<LogFormat>,
    /// Say less: of logs only warnings and errors, of a restore not its plan.
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Back up topics into object storage, once or for ever.
    Backup(cmd::backup::BackupArgs),
    /// Keep any number of backups running, with a schema registry beside them where one is configured.
    Run(cmd::run::RunArgs),
    /// Bring a backup back into a cluster, and prove it.
    Restore(cmd::restore::RestoreArgs),
    /// Bring topics of one cluster to another one, live.
    Migrate(cmd::migrate::MigrateArgs),
    /// List the backups of a store.
    List(cmd::list::ListArgs),
    /// Show what a backup holds: topics, offsets, times, sizes, gaps.
    Describe(cmd::describe::DescribeArgs),
    /// Prove that a backup is whole, or say what is not.
    Verify(cmd::verify::VerifyArgs),
    /// Print records of a partition, or write them as Kafka's own log files.
    Dump(cmd::dump::DumpArgs),
    /// Delete what no commit names.
    Prune(cmd::prune::PruneArgs),
    /// Serve a schema registry.
    Registry(cmd::registry::RegistryArgs),
    /// Show what a daemon does: its backups, how far they are behind, and which stage is the brake.
    Status(cmd::status::StatusArgs),
    /// The same, live: `status --watch`.
    Top(cmd::status::StatusArgs),
    /// Check a job file or a registry's file and say what it means.
    CheckConfig(cmd::check_config::CheckConfigArgs),
    /// Print shell completions.
    Completions(cmd::completions::CompletionsArgs),
    /// Print the man page.
    Man,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let logging = Logging { format: cli.log_format, quiet: cli.quiet };
    // What a registry logs is said by its configuration, which it must read first.
    if !matches!(cli.command, Command::Registry(_)) {
        logging.start();
    }
    let output = Output::new(cli.output);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output
                .error(&pipeline::Error::permanent("the program cannot start its threads").caused_by(error));
            return ExitCode::from(exit::FAILED);
        }
    };
    let code = runtime.block_on(run(cli.command, logging, &output)).unwrap_or_else(|error| {
        output.error(&error);
        exit::code(error.kind())
    });
    // A thread that is stuck in a store must not keep a finished process alive.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn run(command: Command, logging: Logging, output: &Output) -> pipeline::Result<u8> {
    match command {
        Command::Backup(args) => cmd::backup::run(args, output).await,
        Command::Run(args) => cmd::run::run(args, output).await,
        Command::Restore(args) => cmd::restore::run(args, logging.quiet, output).await,
        Command::Migrate(args) => cmd::migrate::run(args, output).await,
        Command::List(args) => cmd::list::run(args, output).await,
        Command::Describe(args) => cmd::describe::run(args, output).await,
        Command::Verify(args) => cmd::verify::run(args, output).await,
        Command::Dump(args) => cmd::dump::run(args, output).await,
        Command::Prune(args) => cmd::prune::run(args, output).await,
        Command::Registry(args) => cmd::registry::run(args, logging, output).await,
        Command::Status(args) => cmd::status::run(args, output).await,
        Command::Top(args) => cmd::status::top(args, output).await,
        Command::CheckConfig(args) => cmd::check_config::run(&args, output),
        Command::Completions(args) => cmd::completions::run(&args, &mut Cli::command()),
        Command::Man => cmd::completions::man(Cli::command()),
    }
}

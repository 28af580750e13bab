//! The binary: parse, load, run, map errors to exit codes. stdout is data, stderr is logs and progress.

mod cmd;
mod components;
mod config;
mod exit;
mod http;
mod output;
mod progress;
mod signals;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::output::{Format, Output};

/// Backs up, restores and migrates Apache Kafka with its schemas.
#[derive(Debug, Parser)]
#[command(name = "replevin", version, about, after_help = exit::TABLE, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How results are printed to stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// How logs are printed to stderr. RUST_LOG chooses what is logged.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Say less: of logs only warnings and errors, of a restore not its plan.
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Back up topics into object storage, once or for ever.
    Backup(cmd::backup::BackupArgs),
    /// Bring a backup back into a cluster, and prove it.
    Restore(cmd::restore::RestoreArgs),
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
    /// Check a job file and say what it means.
    CheckConfig(cmd::check_config::CheckConfigArgs),
    /// Print shell completions.
    Completions(cmd::completions::CompletionsArgs),
    /// Print the man page.
    Man,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(&cli);
    let output = Output::new(cli.output);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output
                .error(&pipeline::Error::permanent("the program cannot start its threads").caused_by(error));
            return ExitCode::from(exit::FAILED);
        }
    };
    let code = runtime.block_on(run(cli.command, cli.quiet, &output)).unwrap_or_else(|error| {
        output.error(&error);
        exit::code(error.kind())
    });
    // A thread that is stuck in a store must not keep a finished process alive.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn run(command: Command, quiet: bool, output: &Output) -> pipeline::Result<u8> {
    match command {
        Command::Backup(args) => cmd::backup::run(args, output).await,
        Command::Restore(args) => cmd::restore::run(args, quiet, output).await,
        Command::List(args) => cmd::list::run(args, output).await,
        Command::Describe(args) => cmd::describe::run(args, output).await,
        Command::Verify(args) => cmd::verify::run(args, output).await,
        Command::Dump(args) => cmd::dump::run(args, output).await,
        Command::Prune(args) => cmd::prune::run(args, output).await,
        Command::Registry(args) => cmd::registry::run(args, output).await,
        Command::CheckConfig(args) => cmd::check_config::run(&args, output),
        Command::Completions(args) => cmd::completions::run(&args, &mut Cli::command()),
        Command::Man => cmd::completions::man(Cli::command()),
    }
}

fn start_logging(cli: &Cli) {
    let default = if cli.quiet { "warn" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // A second logger cannot exist in this process, so setting it up cannot fail.
    match cli.log_format {
        LogFormat::Text => logs.with_target(false).compact().init(),
        LogFormat::Json => logs.json().init(),
    }
}

//! Measures Replevin beside references in the same run: `replevin-bench FIGURE`. See `benches/README.md`.
//!
//! The hidden subcommands are the references, so that each runs as a process whose cost can be measured like ours.

mod archive;
mod figures;
mod librdkafka;
mod load;
mod measure;
mod minimal;
mod mirror;
mod ours;
mod registry;
mod requests;
mod schemas;
mod table;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use minimal::{backup, kernel, restore};

/// Whatever fails ends the bench; a person reads why.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures Replevin beside references.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// How much and how often.
#[derive(Debug, Clone, Args)]
pub(crate) struct Scale {
    /// How often each program is run.
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
    /// Megabytes of stored batches.
    #[arg(long, default_value_t = 1200)]
    pub(crate) megabytes: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The head of the table.
    Head,
    /// Backup of compressed batches into a folder, against the minimal loop.
    BackupFs(Scale),
    /// Backup of compressed batches into S3, against the minimal loop.
    BackupS3(Scale),
    /// Backup against a librdkafka consumer that counts records.
    BackupConsumer(Scale),
    /// Backup with compression, against fetch and zstd alone.
    BackupCompress(Scale),
    /// Peak memory of backup and restore.
    Memory(Scale),
    /// Start, list and describe with 1,000,000 segments.
    Archive(Scale),
    /// Bytes of commits and checkpoints that so many hours write.
    Day {
        /// Hours.
        #[arg(long, default_value_t = 24)]
        hours: u32,
    },
    /// Restore from a folder, against the minimal loop and a librdkafka producer.
    Restore(Scale),
    /// Schema ids changed in batches, against the codec alone.
    Rewrite(Scale),
    /// Segments whose records are looked through for schema ids, against segments whose are not.
    Scan(Scale),
    /// Restore with every id rewritten, against a restore of the same archive without.
    RestoreRewrite(Scale),
    /// What following a registry costs a backup.
    Fence(Scale),
    /// Backup and restore of 100,000 schemas.
    #[command(name = "schemas-100k")]
    ManySchemas {
        /// How often each program is run.
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
    /// Migration against MirrorMaker 2, without rewriting ids and with it.
    Migrate(Scale),
    /// Memory of a migration that goes on.
    MigrateMemory {
        /// How long it goes on.
        #[arg(long, default_value_t = 30)]
        minutes: u64,
    },
    /// A figure of the schema registry.
    Registry {
        figure: registry::Figure,
        /// How often each program is run.
        #[arg(long, default_value_t = 5)]
        runs: usize,
        /// How long the mixed load lasts.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    #[command(hide = true)]
    BareHttp(registry::BareArgs),
    #[command(hide = true)]
    Measured {
        file: PathBuf,
        #[arg(last = true)]
        program: Vec<OsString>,
    },
    #[command(hide = true)]
    MinimalBackup(backup::BackupArgs),
    #[command(hide = true)]
    MinimalRestore(restore::RestoreArgs),
    #[command(hide = true)]
    Kernel(kernel::KernelArgs),
    #[command(hide = true)]
    LibrdkafkaCount(librdkafka::CountArgs),
    #[command(hide = true)]
    LibrdkafkaProduce(librdkafka::ProduceArgs),
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Head => {
            table::head();
            Ok(())
        }
        Command::BackupFs(scale) => figures::backup::run(scale, false),
        Command::BackupS3(scale) => figures::backup::run(scale, true),
        Command::BackupConsumer(scale) => figures::consumer::run(scale),
        Command::BackupCompress(scale) => figures::compress::run(scale),
        Command::Memory(scale) => figures::memory::run(scale),
        Command::Archive(scale) => figures::archive::run(scale),
        Command::Day { hours } => figures::archive::day(*hours),
        Command::Restore(scale) => figures::restore::run(scale),
        Command::Rewrite(scale) => figures::rewrite::run(scale),
        Command::Scan(scale) => figures::scan::run(scale),
        Command::RestoreRewrite(scale) => figures::restore_rewrite::run(scale),
        Command::Fence(scale) => figures::fence::run(scale),
        Command::ManySchemas { runs } => figures::many_schemas::run(*runs),
        Command::Migrate(scale) => figures::migrate::run(scale),
        Command::MigrateMemory { minutes } => figures::steady::run(*minutes),
        Command::Registry { figure, runs, minutes } => registry::run(*figure, *runs, *minutes),
        Command::BareHttp(args) => registry::serve_bare(args),
        Command::Measured { file, program } => measure::middle(file, program),
        Command::MinimalBackup(args) => backup::run(args),
        Command::MinimalRestore(args) => restore::run(args),
        Command::Kernel(args) => kernel::run(args),
        Command::LibrdkafkaCount(args) => librdkafka::count(args),
        Command::LibrdkafkaProduce(args) => librdkafka::produce(args),
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::say(&format!("replevin-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

//! What is done once the target holds everything: groups go over, both sides are compared, topics get their own configs.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::report::MigrateReport;
use super::schemas::Schemas;
use super::targets::Targets;
use super::{MigrateProgress, MigrateSettings};
use crate::budget::Budget;
use crate::kafka::Client;
use crate::restore::topics;
use crate::{Error, ErrorKind, Result};

/// What a cut-over needs.
pub(super) struct CutOver<'a> {
    pub(super) settings: &'a MigrateSettings,
    pub(super) source: &'a Client,
    pub(super) target: &'a Client,
    pub(super) budget: &'a Budget,
    pub(super) schemas: Option<&'a Arc<Schemas>>,
    pub(super) progress: &'a MigrateProgress,
    pub(super) stop: &'a CancellationToken,
}

impl CutOver<'_> {
    /// All of it; what could not be done is in the report.
    pub(super) async fn run(&self, report: &mut MigrateReport, targets: &Targets) {
        let done = tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                Err(Error::new(ErrorKind::Interrupted, "it was stopped").hint("run the migration again"))
            }
            done = self.in_order(report, targets) => done,
        };
        report.groups.sort_by(|a, b| a.group.cmp(&b.group));
        if let Err(error) = done {
            report.interrupted = error.kind() == ErrorKind::Interrupted;
            let why = topics::with_hint(&error);
            tracing::error!(why, "the cut-over is not complete");
            report.unfinished = Some(why);
        }
    }

    async fn in_order(&self, report: &mut MigrateReport, targets: &Targets) -> Result<()> {
        if self.settings.groups.is_some() {
            tracing::info!("the target has caught up; offsets of groups are carried over");
            self.groups(report).await?;
        }
        if self.settings.proof {
            tracing::info!("both sides are compared");
            self.prove(report).await?;
        }
        // A cleaner would take what a later look is to compare.
        if report.differs() { Ok(()) } else { report.finish(targets).await }
    }
}

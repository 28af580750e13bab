//! `oha`, which loads a server from the other core: as fast as it answers, or at a fixed rate whatever it answers.

use std::process::Command;

use sandbox::scratch;
use serde_json::Value;

use crate::Result;

/// What a load came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) requests: f64,
    pub(super) per_second: f64,
    /// In seconds.
    pub(super) p99: f64,
}

/// 64 connections for `seconds`; with a rate, each answer's time counts from when its request was due.
///
/// # Errors
/// The program is missing or fails; any answer but 200.
pub(super) fn load(url: &str, seconds: u64, rate: Option<f64>) -> Result<Load> {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "1"]).arg(scratch::installed("oha").join("bin/oha"));
    command.args([
        "-z",
        &format!("{seconds}s"),
        "-c",
        "64",
        "--no-tui",
        "--output-format",
        "json",
        "--rand-regex-url",
    ]);
    if let Some(rate) = rate {
        command.args(["-q", &format!("{rate:.0}"), "--latency-correction"]);
    }
    let output = command.arg(url).output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("oha: {error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    let codes = report["statusCodeDistribution"].as_object().cloned().unwrap_or_default();
    let number = |value: &Value| value.as_f64().ok_or_else(|| format!("oha reports {report}"));
    if codes.len() != 1 || !codes.contains_key("200") {
        return Err(format!("not all answers were 200: {codes:?}").into());
    }
    Ok(Load {
        requests: number(&codes["200"])?,
        per_second: number(&report["summary"]["requestsPerSec"])?,
        p99: number(&report["latencyPercentiles"]["p99"])?,
    })
}

//! Who asks the registry: connections that are kept, on the other core.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::avro;
use crate::Result;

/// The core that this process runs on.
const CORE: usize = 1;

/// Keeps this process on its core.
///
/// # Errors
/// There is no such core.
pub(crate) fn pin() -> Result<()> {
    let mut set = CpuSet::new();
    set.set(CORE)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(())
}

/// A registry to ask.
#[derive(Clone)]
pub(crate) struct Asked {
    client: Client,
    url: Arc<str>,
}

impl Asked {
    pub(crate) fn new(address: &str) -> Result<Self> {
        let client = Client::builder().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { client, url: format!("http://{address}").into() })
    }

    /// Asks; what is not answered with 200 is an error.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if status != 200 {
            return Err(format!("{path}: {status}: {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// Registers versions of so many subjects, eight at once.
    pub(crate) async fn fill(&self, subjects: usize, versions: usize) -> Result<()> {
        each(8, subjects, async |subject| {
            for version in 0..versions {
                let body = json!({ "schema": avro(subject, version) });
                self.ask(Method::POST, &format!("/subjects/s{subject}/versions"), Some(&body)).await?;
            }
            Ok(())
        })
        .await
        .map(drop)
    }
}

/// Does something for each number, so many at once; answers how long all of it took.
pub(crate) async fn each(
    at_once: usize,
    count: usize,
    act: impl AsyncFn(usize) -> Result<()>,
) -> Result<Duration> {
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    let worker = async || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return Ok::<(), Box<dyn std::error::Error>>(());
        }
        act(number).await?;
    };
    futures::future::try_join_all((0..at_once).map(|_| worker())).await?;
    Ok(begun.elapsed())
}

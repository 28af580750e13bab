//! Pushes numbers to a Prometheus Pushgateway: one group a job, under the command and the id.
//!
//! POST replaces what has the same names and leaves the rest of the group as it was, so when the job last ended well stays known after
//! a run that did not. <https://github.com/prometheus/pushgateway#command-line>

use std::time::Duration;

use crate::config::Push;
use crate::metrics::{OneShotNumbers, TEXT, Watched};

/// How long one push may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the last one is tried, and the pause between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// Where numbers are pushed to.
pub(super) struct Pushgateway {
    client: reqwest::Client,
    url: String,
}

impl Pushgateway {
    /// The group of a job.
    pub(super) fn new(push: &Push, watched: &Watched) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        let (label, id) = watched.id();
        // Names of jobs and ids have no characters that would have to be encoded; the configuration sees to that.
        let (url, job, command) = (push.url.trim_end_matches('/'), &push.job, watched.command());
        Ok(Self { client, url: format!("{url}/metrics/job/{job}/command/{command}/{label}/{id}") })
    }

    /// Pushes once; answers why that failed.
    pub(super) async fn push(&self, text: String) -> Result<(), String> {
        let sent = self.client.post(&self.url).header("Content-Type", TEXT).body(text).send().await;
        // Of the URL, which may hold a password, nothing is said.
        let answer = sent.map_err(|error| error.without_url().to_string())?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let why = answer.text().await.unwrap_or_default();
        Err(format!(
            "the Pushgateway answered {status}: {}",
            why.chars().take(200).collect::<String>().trim()
        ))
    }

    /// Pushes what the job has come to, a few times where that fails.
    pub(super) async fn push_at_the_end(&self, numbers: &OneShotNumbers) {
        for attempt in 1..=ATTEMPTS {
            match self.push(numbers.text()).await {
                Ok(()) => return,
                Err(error) if attempt == ATTEMPTS => {
                    tracing::warn!(error, attempts = ATTEMPTS, "what the job has come to was not pushed");
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

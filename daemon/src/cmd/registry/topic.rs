//! A registry's topic in place of a registry: `kafka://broker:9092,broker:9092/_schemas` is read into memory, and asked as any
//! registry is, at a port of this machine that is there for as long as the command runs. Nothing is written to the topic, and no
//! group is joined, so the registry that it belongs to may go on, or be gone.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pipeline::seam::Seam;
use pipeline::{Error, Result};
use registry::api::{About, Api};
use registry::service::{Registry, Settings};
use registry::store::kafka::{KafkaLogSettings, KafkaStore};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::app::App;
use crate::{http, registry_log};

const SCHEME: &str = "kafka://";
/// How long reading the whole topic may take.
const READING: Duration = Duration::from_secs(600);
/// The pause between two attempts to read it.
const AGAIN: Duration = Duration::from_secs(2);
/// Only this process asks.
const LIMITS: http::Limits = http::Limits {
    body: 1 << 20,
    bodies: 64 << 20,
    head: 64 << 10,
    connections: 300,
    read: Duration::from_secs(60),
    write: Duration::from_secs(60),
    idle: Duration::from_secs(120),
    shutdown: Duration::ZERO,
};

/// Where a registry is to be asked: at a URL (or in a file) as it was given, or for the topic that was.
pub(crate) struct Place {
    /// The URL to be asked, or the file.
    pub(crate) url: String,
    /// Serves the topic until this is dropped.
    topic: Option<Served>,
}

struct Served {
    name: String,
    /// What is served; nothing where it may not have been read yet.
    store: Option<Arc<KafkaStore>>,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What a topic is called, and where it is; nothing where a place is no topic.
fn named(place: &str) -> Result<Option<(String, KafkaLogSettings)>> {
    let Some(rest) = place.strip_prefix(SCHEME) else { return Ok(None) };
    let (servers, topic) = rest.split_once('/').unwrap_or((rest, ""));
    if servers.is_empty() {
        return Err(Error::input(format!("{place} names no broker"))
            .hint("write kafka://HOST:PORT,HOST:PORT/_schemas"));
    }
    let servers = servers.split(',').map(str::to_owned).collect();
    let mut settings = KafkaLogSettings::new(servers, "localhost", 0);
    if !topic.is_empty() {
        settings.topic = topic.to_owned();
    }
    settings.init_timeout = READING;
    let name = format!("{SCHEME}{}/{}", settings.bootstrap_servers.join(","), settings.topic);
    Ok(Some((name, settings)))
}

/// Reads a topic whole.
async fn read(name: &str, settings: &KafkaLogSettings) -> Result<(Api, Arc<KafkaStore>)> {
    let wrong = |error: &dyn std::fmt::Display| Error::permanent(format!("{name}: {error}"));
    let store = registry_log::open_to_read(settings, Seam::system()).await.map_err(|e| wrong(&e))?;
    let (store, clock) = (Arc::new(store), Seam::system().clock);
    let opened = Registry::open(store.clone(), Settings::default(), move || clock.now_ms()).await;
    Ok((Api::new(Arc::new(opened.map_err(|e| wrong(&e.message()))?), About::default()), store))
}

/// Answers at a port of this machine.
async fn serve(name: String, app: Arc<App>, store: Option<Arc<KafkaStore>>) -> Result<Place> {
    let wrong = |error: std::io::Error| Error::permanent(format!("{name}: {error}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(wrong)?;
    let address = listener.local_addr().map_err(wrong)?;
    let stop = CancellationToken::new();
    tokio::spawn(http::serve(listener, app, LIMITS, stop.clone()));
    Ok(Place { url: format!("http://{address}"), topic: Some(Served { name, store, stop }) })
}

impl Place {
    /// Reads the topic, if it is one.
    pub(crate) async fn of(place: &str) -> Result<Self> {
        let Some((name, settings)) = named(place)? else {
            return Ok(Self { url: place.to_owned(), topic: None });
        };
        let (api, store) = read(&name, &settings).await?;
        let app = Arc::new(App::new(None, None));
        app.open(api);
        serve(name, app, Some(store)).await
    }

    /// The same, whether or not the topic can be read yet: until then 503 is answered.
    pub(crate) async fn in_time(place: &str) -> Result<Self> {
        let Some((name, settings)) = named(place)? else { return Self::of(place).await };
        let app = Arc::new(App::new(None, None));
        let place = serve(name.clone(), Arc::clone(&app), None).await?;
        let stop = place.topic.as_ref().map(|topic| topic.stop.clone()).unwrap_or_default();
        let reading = async move {
            loop {
                match read(&name, &settings).await {
                    Ok((api, _)) => return app.open(api),
                    Err(error) => app.wait(error.to_string()),
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::spawn(stop.run_until_cancelled_owned(reading));
        Ok(place)
    }

    /// Where it is a topic: its records of kinds that nobody here knows, as keys and values, as they are now.
    pub(crate) async fn foreign(&self) -> Result<Option<Vec<(Bytes, Bytes)>>> {
        let Some(Served { name, store: Some(store), .. }) = &self.topic else { return Ok(None) };
        let records = store.foreign().await;
        records.map(Some).map_err(|error| Error::retry(format!("{name}: {error}")))
    }

    /// What it is called in reports, where that is not `name`.
    pub(crate) fn name(&self, name: String) -> String {
        self.topic.as_ref().map_or(name, |topic| topic.name.clone())
    }
}

//! A cluster as seen by one client: who leads what, and a connection to each broker that is asked something.
//!
//! Metadata are asked of any broker that answers: first over connections that are open, then of the brokers known, then of
//! the bootstrap servers again, so a cluster whose brokers all moved is found back. Small requests share one control
//! connection a broker; payload uses connections of its own, from [`Client::open`]. A broker that refused a connection is
//! not tried again before a pause that grows, shared by all who want it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use formats::ids::Topic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::time::{Instant, sleep, sleep_until};

use super::auth::{Authenticator, Plaintext};
use super::config::{ClientConfig, HostPort};
use super::connection::{Connection, Peer};
use super::error::KafkaErrorCode;
use super::metadata::{Broker, ClusterMetadata, Topics};
use super::stream::{Connector, Tcp};
use crate::seam::{Seam, backoff};
use crate::{Error, ErrorKind, Result};

/// A client of one cluster. Clones share everything.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    seam: Seam,
    connector: Arc<dyn Connector>,
    authenticator: Arc<dyn Authenticator>,
    metadata: RwLock<Arc<ClusterMetadata>>,
    slots: Mutex<HashMap<HostPort, Arc<Slot>>>,
}

/// The control connection to one server, and when it may be tried again.
#[derive(Debug, Default)]
struct Slot {
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    pace: Mutex<Pace>,
}

#[derive(Debug, Default)]
struct Pace {
    failures: u32,
    not_before: Option<Instant>,
    last: Option<(ErrorKind, String)>,
}

impl Slot {
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest failure, if it came after so many in a row.
    fn failure_since(&self, failures: u32) -> Option<Error> {
        let pace = self.pace();
        let (kind, message) = pace.last.as_ref().filter(|_| pace.failures > failures)?;
        Some(Error::new(*kind, message.clone()))
    }
}

impl Client {
    /// Connects to a cluster in plain text, and learns its brokers.
    ///
    /// # Errors
    /// None of the bootstrap servers could be used within the retry deadline; each is listed with its reason.
    pub async fn connect(config: ClientConfig, seam: Seam) -> Result<Self> {
        let connector = Arc::new(Tcp::new(config.tcp.clone()));
        Self::connect_with(config, seam, connector, Arc::new(Plaintext)).await
    }

    /// As [`Client::connect`], over streams and with an introduction of the caller's choice.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(
        config: ClientConfig,
        seam: Seam,
        connector: Arc<dyn Connector>,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Self> {
        if config.bootstrap_servers.is_empty() {
            return Err(Error::input("no bootstrap servers are given").hint("list at least one host:port"));
        }
        let client = Self(Arc::new(Inner {
            config,
            seam,
            connector,
            authenticator,
            metadata: RwLock::new(Arc::new(ClusterMetadata::empty())),
            slots: Mutex::default(),
        }));
        client.refresh(Topics::Named(&[])).await?;
        Ok(client)
    }

    /// The settings.
    pub fn config(&self) -> &ClientConfig {
        &self.0.config
    }

    /// Clock and randomness.
    pub fn seam(&self) -> &Seam {
        &self.0.seam
    }

    /// What is known of the cluster now, without asking.
    pub fn metadata(&self) -> Arc<ClusterMetadata> {
        Arc::clone(&self.0.metadata.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is known of the cluster, all topics asked for again if that is older than `metadata_max_age`.
    ///
    /// # Errors
    /// As [`Client::refresh`].
    pub async fn fresh_metadata(&self) -> Result<Arc<ClusterMetadata>> {
        let known = self.metadata();
        if known.fetched_at.elapsed() < self.0.config.metadata_max_age && !known.topics.is_empty() {
            return Ok(known);
        }
        self.refresh(Topics::All).await
    }

    /// Asks for the metadata of topics, until a broker answers or the retry deadline passes.
    ///
    /// # Errors
    /// No broker answered; each that was tried is listed. Errors of single topics are in the result.
    pub async fn refresh(&self, topics: Topics<'_>) -> Result<Arc<ClusterMetadata>> {
        self.retry("cluster metadata", |_| self.refresh_once(topics)).await
    }

    /// As [`Client::refresh`], asking each candidate once.
    pub(super) async fn refresh_once(&self, topics: Topics<'_>) -> Result<Arc<ClusterMetadata>> {
        let request = metadata_request(topics);
        let mut failures: Vec<Error> = Vec::new();
        for peer in self.candidates() {
            match self.ask_metadata(&peer, &request, topics).await {
                Ok(metadata) => return Ok(metadata),
                Err(error) => {
                    tracing::debug!(%error, "no metadata from {peer}");
                    failures.push(error);
                }
            }
        }
        Err(no_broker(failures))
    }

    async fn ask_metadata(
        &self,
        peer: &Peer,
        request: &MetadataRequest,
        topics: Topics<'_>,
    ) -> Result<Arc<ClusterMetadata>> {
        let connection = self.control_to(peer).await?;
        let response = connection.call(request).await?;
        if let Some(code) = KafkaErrorCode::check(response.error_code) {
            return Err(code.to_error(format!("{peer}: Metadata"), None));
        }
        let mut current = self.0.metadata.write().unwrap_or_else(PoisonError::into_inner);
        let next = current.after(response, topics).map_err(|error| error.at(peer))?;
        if let (Some(was), Some(is)) = (&current.cluster_id, &next.cluster_id)
            && was != is
        {
            return Err(Error::permanent(format!("{peer} belongs to cluster {is}, not to cluster {was}"))
                .hint("check that all bootstrap servers belong to one cluster"));
        }
        *current = Arc::new(next);
        Ok(Arc::clone(&current))
    }

    /// Whom to ask for metadata: brokers with an open connection, then other brokers, those that failed last, and then the
    /// bootstrap servers.
    fn candidates(&self) -> Vec<Peer> {
        let metadata = self.metadata();
        let mut peers: Vec<Peer> = metadata.brokers.values().map(peer_of).collect();
        if !peers.is_empty() {
            // Spreads clients over brokers.
            let turn = self.0.seam.rand.next_u64() % peers.len() as u64;
            peers.rotate_left(usize::try_from(turn).unwrap_or(0));
        }
        let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let unfit = |peer: &Peer| {
            let slot = slots.get(&peer.address)?;
            let held = slot.connection.try_lock().ok();
            let is_open = held.is_some_and(|held| held.as_ref().is_some_and(|held| held.is_alive()));
            Some(if is_open { 0 } else { 1 + slot.pace().failures })
        };
        peers.sort_by_key(|peer| unfit(peer).unwrap_or(1));
        drop(slots);
        for address in &self.0.config.bootstrap_servers {
            if !peers.iter().any(|peer| peer.address == *address) {
                peers.push(Peer { broker: None, address: address.clone() });
            }
        }
        peers
    }

    /// The control connection to a broker, made where there is none.
    ///
    /// # Errors
    /// The broker is not in the metadata (retriable), or cannot be connected to.
    pub async fn control(&self, broker: i32) -> Result<Arc<Connection>> {
        self.control_to(&self.peer(broker)?).await
    }

    async fn control_to(&self, peer: &Peer) -> Result<Arc<Connection>> {
        let slot = self.slot(&peer.address);
        let failures = slot.pace().failures;
        let mut held = slot.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(Arc::clone(connection));
        }
        *held = None;
        // Those who waited for an attempt that failed share its failure, instead of trying one after the other.
        if let Some(error) = slot.failure_since(failures) {
            return Err(error);
        }
        let connection = Arc::new(self.open_paced(peer, &slot).await?);
        *held = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// A new connection to a broker, for its caller alone.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn open(&self, broker: i32) -> Result<Connection> {
        let peer = self.peer(broker)?;
        let slot = self.slot(&peer.address);
        self.open_paced(&peer, &slot).await
    }

    async fn open_paced(&self, peer: &Peer, slot: &Slot) -> Result<Connection> {
        let not_before = slot.pace().not_before;
        if let Some(not_before) = not_before {
            sleep_until(not_before).await;
        }
        let inner = &self.0;
        let opened =
            Connection::open(peer.clone(), &inner.config, &*inner.connector, &*inner.authenticator).await;
        let mut pace = slot.pace();
        match &opened {
            Ok(_) => *pace = Pace::default(),
            Err(error) => {
                tracing::warn!(%error, failures = pace.failures + 1, "cannot use {peer}");
                let pause = self.pause(pace.failures);
                pace.failures = pace.failures.saturating_add(1);
                pace.not_before = Some(Instant::now() + pause);
                pace.last = Some((error.kind(), error.to_string()));
            }
        }
        opened
    }

    fn slot(&self, address: &HostPort) -> Arc<Slot> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(address) {
            // Addresses that the cluster no longer has are forgotten, so a long life with many moves costs nothing.
            let metadata = self.metadata();
            slots.retain(|held, _| {
                self.0.config.bootstrap_servers.contains(held)
                    || metadata.brokers.values().any(|broker| broker.address == *held)
            });
        }
        Arc::clone(slots.entry(address.clone()).or_default())
    }

    fn peer(&self, broker: i32) -> Result<Peer> {
        let metadata = self.metadata();
        metadata
            .brokers
            .get(&broker)
            .map(peer_of)
            .ok_or_else(|| Error::retry(format!("broker {broker} is not among the cluster's brokers now")))
    }

    /// Asks a broker over its control connection.
    ///
    /// # Errors
    /// The connection's.
    pub async fn call<R: Request>(&self, broker: i32, request: &R) -> Result<R::Response> {
        self.control(broker).await?.call(request).await
    }

    /// As [`Client::call`], for a request that allows the broker to wait so long before it answers.
    ///
    /// # Errors
    /// The connection's.
    pub async fn call_patiently<R: Request>(
        &self,
        broker: i32,
        request: &R,
        broker_wait: Duration,
    ) -> Result<R::Response> {
        self.control(broker).await?.call_patiently(request, broker_wait).await
    }

    /// A broker that can be asked what every broker knows.
    ///
    /// # Errors
    /// None is known (retriable).
    pub(super) fn any_broker(&self) -> Result<i32> {
        let peer = self.candidates().into_iter().find_map(|peer| peer.broker);
        peer.ok_or_else(|| Error::retry("no broker of the cluster is known"))
    }

    /// The broker that takes controller requests.
    ///
    /// # Errors
    /// None is known (retriable).
    pub(super) fn controller(&self) -> Result<i32> {
        self.metadata().controller.ok_or_else(|| Error::retry("the cluster has no controller now"))
    }

    /// Tries something until it succeeds, fails for good, or the retry deadline passes.
    pub(super) async fn retry<T, F>(&self, what: &str, mut attempt: impl FnMut(u32) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let (started, deadline) = (Instant::now(), self.0.config.retry.deadline);
        let mut done = 0;
        loop {
            let error = match attempt(done).await {
                Ok(value) => return Ok(value),
                Err(error) if !error.is_retriable() => return Err(error),
                Err(error) => error,
            };
            let pause = self.pause(done);
            done += 1;
            if started.elapsed() + pause >= deadline {
                return Err(
                    error.at(format!("{what}: gave up after {done} attempts in {:?}", started.elapsed()))
                );
            }
            tracing::warn!(%error, attempt = done, ?pause, "{what}: trying again");
            sleep(pause).await;
        }
    }

    /// How long to wait before trying something again that failed `attempt` + 1 times in a row.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        let retry = &self.0.config.retry;
        backoff(&*self.0.seam.rand, attempt, retry.base, retry.cap)
    }
}

fn peer_of(broker: &Broker) -> Peer {
    Peer { broker: Some(broker.id), address: broker.address.clone() }
}

fn metadata_request(topics: Topics<'_>) -> MetadataRequest {
    let topics = match topics {
        Topics::All => None,
        Topics::Named(names) => {
            let topic = |name: &Topic| MetadataRequestTopic::default().with_name(Some(wire_name(name)));
            Some(names.iter().map(topic).collect())
        }
    };
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false)
}

/// A topic's name as the codec has it.
pub(super) fn wire_name(topic: &Topic) -> TopicName {
    TopicName(StrBytes::from_string(topic.as_str().to_owned()))
}

/// One error out of those of all candidates. Retriable while any of them is.
fn no_broker(failures: Vec<Error>) -> Error {
    let list: Vec<String> = failures.iter().map(ToString::to_string).collect();
    let text = format!("no broker could be asked: {}", list.join("; "));
    let lasting = failures.iter().all(|error| !error.is_retriable());
    match failures.into_iter().next() {
        Some(first) if lasting => {
            let error = Error::new(first.kind(), text);
            match first.next_step() {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
        _ => Error::retry(text).hint(
            "check bootstrap_servers, and that the brokers' advertised addresses are reachable from here",
        ),
    }
}

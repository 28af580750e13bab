//! The log of the registry's `kafka` store, on Kafka: the topic, and the election of the one that writes.
//!
//! ```text
//! join the group -> assign, or be told -> writer? -> heartbeat ... -> somebody comes or goes: join again
//! ```
//! An instance is the writer for as long as the group's coordinator is known to keep its place for it: the session time-out
//! from when the last heartbeat that was answered was *sent*. So who hears nothing stops writing before another is elected, as
//! far as clocks run alike. While the others are waited for in an election the writer goes on.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use formats::ids::Topic;
use pipeline::kafka::{
    AppendError, Beat, Client, ClientConfig, GroupMember, GroupSettings, HostPort, LogRecord, TopicLog,
    TopicLogSettings,
};
use pipeline::seam::{Seam, backoff};
use pipeline::{Error, ErrorKind, Result};
use registry::store::StoreError;
use registry::store::kafka::election::{self, Identity};
use registry::store::kafka::log::{Chunk, Extent, Log, LogError, Record, Result as LogResult, Writer};
use registry::store::kafka::{KafkaLogSettings, KafkaStore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What a topic that is made takes at once: a registration of the largest schema, and a batch of many.
const MAX_MESSAGE_BYTES: u32 = 16 << 20;
/// How long leaving the group may take.
const LEAVING: Duration = Duration::from_secs(5);

/// A registry's log on Kafka.
#[derive(Debug)]
pub(crate) struct RegistryLog {
    topic: TopicLog,
    seam: Seam,
    limit: Duration,
    role: Arc<Role>,
    stop: CancellationToken,
    member: Mutex<Option<JoinHandle<()>>>,
}

/// Who writes, as this instance knows.
#[derive(Debug)]
struct Role(RwLock<Known>);

#[derive(Debug)]
struct Known {
    writer: Writer,
    /// Until when that is so where it is this instance.
    until: Instant,
    elections: i64,
}

impl Role {
    fn new(nobody: &str) -> Self {
        let writer = Writer::Nobody(nobody.to_owned());
        Self(RwLock::new(Known { writer, until: Instant::now(), elections: 0 }))
    }

    fn writer(&self) -> Writer {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &known.writer {
            Writer::This(_) if Instant::now() >= known.until => {
                Writer::Nobody("the coordinator of the registry's group does not answer".to_owned())
            }
            Writer::This(_) => Writer::This(known.elections),
            other => other.clone(),
        }
    }

    fn set(&self, writer: Writer, until: Instant) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.writer != writer {
            tracing::info!(?writer, "who writes to the schemas topic");
        }
        known.elections += 1;
        (known.writer, known.until) = (writer, until);
    }

    /// For how long this instance is the writer yet.
    fn left(&self) -> Duration {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.until.saturating_duration_since(Instant::now())
    }

    fn extend(&self, until: Instant) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).until = until;
    }
}

/// Opens the store on a log of its own.
pub(crate) async fn open(
    settings: &KafkaLogSettings,
    seam: Seam,
) -> std::result::Result<KafkaStore, StoreError> {
    let log =
        RegistryLog::open(settings, seam).await.map_err(|error| StoreError::Unavailable(words(&error)))?;
    KafkaStore::open(Arc::new(log), settings.init_timeout, settings.timeout).await
}

/// Opens a store that only reads a topic, which must be there: it joins no group, and refuses commits.
pub(crate) async fn open_to_read(
    settings: &KafkaLogSettings,
    seam: Seam,
) -> std::result::Result<KafkaStore, StoreError> {
    let log = RegistryLog::open_to_read(settings, seam).await;
    let log = log.map_err(|error| StoreError::Unavailable(words(&error)))?;
    KafkaStore::open(Arc::new(log), settings.init_timeout, settings.timeout).await
}

impl RegistryLog {
    async fn open_to_read(settings: &KafkaLogSettings, seam: Seam) -> Result<Self> {
        let client = Self::client(settings, &seam).await?;
        let topic = TopicLog::existing(client, Topic::new(settings.topic.as_str())?).await?;
        let role = Arc::new(Role::new("the topic is only read here"));
        let (stop, member) = (CancellationToken::new(), Mutex::default());
        Ok(Self { topic, seam, limit: settings.timeout, role, stop, member })
    }

    async fn client(settings: &KafkaLogSettings, seam: &Seam) -> Result<Client> {
        let servers: Result<Vec<HostPort>> =
            settings.bootstrap_servers.iter().map(|server| server.parse()).collect();
        let mut config = ClientConfig::new(servers?);
        config.client_id = "replevin-registry".to_owned();
        config.connect_timeout = config.connect_timeout.min(settings.timeout);
        config.request_timeout = settings.timeout / 2;
        config.retry.deadline = settings.timeout;
        Client::connect(config, seam.clone()).await
    }

    /// Connects, makes or checks the topic, and joins the group.
    pub(crate) async fn open(settings: &KafkaLogSettings, seam: Seam) -> Result<Self> {
        let client = Self::client(settings, &seam).await?;
        let topic = TopicLogSettings {
            topic: Topic::new(settings.topic.as_str())?,
            replication_factor: settings.replication_factor,
            max_message_bytes: MAX_MESSAGE_BYTES,
        };
        let topic = TopicLog::open(client.clone(), &topic).await?;
        let (role, stop) =
            (Arc::new(Role::new("this registry has not joined its group yet")), CancellationToken::new());
        let member = Member::new(settings, client, seam.clone(), Arc::clone(&role));
        let member = tokio::spawn(member.run(stop.clone()));
        Ok(Self { topic, seam, limit: settings.timeout, role, stop, member: Mutex::new(Some(member)) })
    }
}

#[async_trait]
impl Log for RegistryLog {
    async fn extent(&self) -> LogResult<Extent> {
        let (id, end) = self.topic.extent().await.map_err(log_error)?;
        Ok(Extent { log: id.0, end })
    }

    async fn read(&self, from: i64) -> LogResult<Chunk> {
        let (records, next) = self.topic.read(from).await.map_err(log_error)?;
        let record = |(offset, record): (i64, LogRecord)| {
            let key = record.key.unwrap_or_default();
            let time_ms = Some(record.timestamp);
            (offset, Record { key, value: record.value, headers: record.headers, time_ms })
        };
        Ok(Chunk { records: records.into_iter().map(record).collect(), next })
    }

    async fn append(&self, records: &[Record]) -> LogResult<Vec<i64>> {
        let now = self.seam.clock.now_ms();
        let record = |record: &Record| LogRecord {
            key: Some(record.key.clone()),
            value: record.value.clone(),
            headers: record.headers.clone(),
            timestamp: record.time_ms.unwrap_or(now),
        };
        let records: Vec<LogRecord> = records.iter().map(record).collect();
        // What is sent, or sent again, must not arrive when another one writes.
        if !matches!(self.role.writer(), Writer::This(_)) {
            return Err(LogError::Unavailable(
                "this registry is not the one that writes any more".to_owned(),
            ));
        }
        let limit = self.limit.min(self.role.left());
        self.topic.append(&records, limit).await.map_err(|error| match error {
            AppendError::Unknown(error) => LogError::Unknown(words(&error)),
            AppendError::Nothing(error) => match error.kind() {
                ErrorKind::Input | ErrorKind::Permanent => LogError::Refused(words(&error)),
                _ => LogError::Unavailable(words(&error)),
            },
        })
    }

    fn writer(&self) -> Writer {
        self.role.writer()
    }

    async fn close(&self) {
        self.stop.cancel();
        let member = self.member.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(member) = member {
            // It ends by itself; a panic in it has been reported.
            let _ = member.await;
        }
    }
}

impl Drop for RegistryLog {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn log_error(error: Error) -> LogError {
    match error.kind() {
        ErrorKind::Damaged => LogError::Corrupt(words(&error)),
        _ => LogError::Unavailable(words(&error)),
    }
}

fn words(error: &Error) -> String {
    match error.next_step() {
        Some(next) => format!("{error}; {next}"),
        None => error.to_string(),
    }
}

/// This instance in the registries' group.
struct Member {
    group: GroupMember,
    metadata: Vec<u8>,
    session: Duration,
    beat: Duration,
    seam: Seam,
    role: Arc<Role>,
}

impl Member {
    fn new(settings: &KafkaLogSettings, client: Client, seam: Seam, role: Arc<Role>) -> Self {
        let group = GroupSettings {
            group_id: settings.group_id.clone(),
            protocol_type: election::PROTOCOL_TYPE.to_owned(),
            protocol: election::PROTOCOL.to_owned(),
            session_timeout: settings.session_timeout,
            rebalance_timeout: settings.rebalance_timeout,
        };
        let identity = Identity::new(
            settings.advertised_scheme.as_str(),
            settings.advertised_host.as_str(),
            settings.advertised_port,
            settings.leader_eligibility,
        );
        Self {
            group: GroupMember::new(client, group),
            metadata: identity.metadata(),
            session: settings.session_timeout,
            beat: settings.heartbeat_interval,
            seam,
            role,
        }
    }

    /// Takes part until it is told to stop; then leaves, so that nobody waits for it.
    async fn run(mut self, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            let Some(ended) = unless(&stop, self.take_part()).await else { break };
            match ended {
                Ok(()) => failures = 0,
                Err(error) => {
                    tracing::warn!(%error, "this registry takes no part in its group; trying again");
                    let pause = backoff(&*self.seam.rand, failures, Duration::from_millis(100), self.beat);
                    failures = failures.saturating_add(1);
                    if unless(&stop, sleep(pause)).await.is_none() {
                        break;
                    }
                }
            }
        }
        self.role.set(Writer::Nobody("this registry is shutting down".to_owned()), Instant::now());
        match timeout(LEAVING, self.group.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the group will wait for this registry for a while"),
            Err(_) => tracing::warn!(
                "the group's coordinator does not answer; it will wait for this registry for a while"
            ),
        }
    }

    /// From one election to the next.
    async fn take_part(&mut self) -> Result<()> {
        let joined = self.group.join(&self.metadata).await?;
        let begun = Instant::now();
        // Whoever is elected now may begin before this instance is told.
        self.role.set(Writer::Nobody("an election is under way".to_owned()), begun);
        let assignments = match joined.is_leader {
            true => election::assign(
                joined.members.iter().map(|(member, metadata)| (member.as_str(), &**metadata)),
            ),
            false => Vec::new(),
        };
        let assignments = assignments.into_iter().map(|(member, bytes)| (member, Bytes::from(bytes)));
        let assigned = self.group.sync(assignments.collect()).await?;
        let writer = election::elected(&assigned, &joined.member_id, joined.generation);
        let mut until = begun + self.session;
        self.role.set(writer, until);
        loop {
            sleep(self.beat).await;
            let sent = Instant::now();
            match self.group.heartbeat().await {
                Ok(Beat::Stable) => {
                    until = sent + self.session;
                    self.role.extend(until);
                }
                Ok(Beat::Rejoin) => return Ok(()),
                Ok(Beat::Expelled) => {
                    self.role
                        .set(Writer::Nobody("the group has gone on without this registry".to_owned()), sent);
                    return Ok(());
                }
                Err(error) if error.is_retriable() && Instant::now() < until => {
                    tracing::warn!(%error, "a heartbeat of this registry was not answered");
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What comes of a future, unless it is told to stop first.
async fn unless<T>(stop: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        value = future => Some(value),
    }
}

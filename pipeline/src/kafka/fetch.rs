//! Fetching whole record batches from one broker, over one connection, in a fetch session.
//!
//! The caller owns the positions. A [`Fetcher`] has at most one request on the wire, because the next one must carry the
//! positions behind what was just received. To keep the wire busy all the same, look only at the batch headers of an
//! outcome, [`Fetcher::seek`] behind them, [`Fetcher::issue`] the next request, and only then do the real work:
//!
//! ```text
//! receive -> headers -> seek -> issue -> check, cut, hand on -> receive ...
//!                                 '---- the next answer is read meanwhile ----'
//! ```
//!
//! An answer's body is read only once its bytes are admitted to the byte budget; the charge is given back when the last
//! slice of the answer is dropped. Several fetchers on one broker, with different partitions, work in parallel.

use std::time::Duration;

use bytes::Bytes;
use formats::ids::{TopicId, TopicPartition};
use kafka_protocol::messages::FetchRequest;
use tokio::time::sleep;

use super::client::Client;
use super::config::Isolation;
use super::connection::{Answer, Connection};
use super::error::KafkaErrorCode;
use super::fetch_session::{Received, Session};
use crate::budget::Budget;
use crate::{Error, Result};

/// How often in a row a broker may refuse a session before that is an error.
const RESTARTS: u32 = 5;

/// How much a broker gathers before it answers.
#[derive(Debug, Clone)]
pub struct FetchSettings {
    /// How long it waits for `min_bytes`.
    pub max_wait: Duration,
    /// The number of bytes that is worth an answer.
    pub min_bytes: i32,
    /// The number of bytes of an answer. The first batch is sent whole even if it is larger.
    pub max_bytes: i32,
    /// The number of bytes of one partition in an answer, with the same exception.
    pub partition_max_bytes: i32,
    /// What is seen of transactions.
    pub isolation: Isolation,
    /// Whether the client's rack is told. A leader may name a nearer replica then, and gives nothing itself.
    pub from_rack: bool,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 16 << 20,
            partition_max_bytes: 4 << 20,
            isolation: Isolation::ReadCommitted,
            from_rack: false,
        }
    }
}

/// Where to go on in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The next offset.
    pub offset: i64,
    /// The leader epoch of the batch before it. The broker then says where its log went another way (KIP-595).
    pub last_fetched_epoch: Option<i32>,
    /// The leader epoch that we know. A broker with another one refuses, so stale leaders are noticed (KIP-320).
    pub leader_epoch: Option<i32>,
}

impl Position {
    /// An offset about which nothing else is known.
    pub fn at(offset: i64) -> Self {
        Self { offset, last_fetched_epoch: None, leader_epoch: None }
    }
}

/// A transaction that was aborted, in the sense of the Fetch answer: see the trap in its use with compacted topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose transaction.
    pub producer_id: i64,
    /// Its first offset.
    pub first_offset: i64,
}

/// What an answer says about one partition.
#[derive(Debug, Clone)]
pub struct FetchedPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// The topic's id as it was asked for; all zero where fetched by name.
    pub topic_id: TopicId,
    /// The offset that was asked for. The first batch may begin before it.
    pub fetch_offset: i64,
    /// Why there is nothing. The broker repeats it at once for as long as the partition is asked for: act on it.
    pub error: Option<KafkaErrorCode>,
    /// The end of what is replicated.
    pub high_watermark: i64,
    /// The end of what is decided by transactions.
    pub last_stable_offset: i64,
    /// The first offset that is left.
    pub log_start_offset: i64,
    /// The log went another way: the epoch at or below `last_fetched_epoch` that both logs have, and its end offset there.
    pub diverging_epoch: Option<(i32, i64)>,
    /// The present leader and its epoch, where the broker asked is not it.
    pub current_leader: Option<(i32, i32)>,
    /// A nearer replica to fetch from (KIP-392).
    pub preferred_read_replica: Option<i32>,
    /// Aborted transactions that overlap the records.
    pub aborted: Vec<AbortedTransaction>,
    /// Raw record batches, the last one possibly cut. A slice of the answer.
    pub records: Option<Bytes>,
}

/// What an answer says.
#[derive(Debug, Clone, Default)]
pub struct FetchOutcome {
    /// Partitions about which there is something to say; the others have nothing new.
    pub partitions: Vec<FetchedPartition>,
    /// For how long the broker holds us back because of a quota. It does so by itself.
    pub throttle: Duration,
}

/// Fetches some partitions from one broker.
#[derive(Debug)]
pub struct Fetcher {
    client: Client,
    broker: i32,
    settings: FetchSettings,
    budget: Budget,
    session: Session,
    connection: Option<Connection>,
    in_flight: Option<Answer<FetchRequest>>,
    failures: u32,
    restarts: u32,
}

impl Fetcher {
    /// A fetcher without partitions. It connects when it first has to.
    pub fn new(client: Client, broker: i32, settings: FetchSettings, budget: Budget) -> Self {
        Self {
            client,
            broker,
            settings,
            budget,
            session: Session::default(),
            connection: None,
            in_flight: None,
            failures: 0,
            restarts: 0,
        }
    }

    /// How many bytes the next answers should have at most.
    pub fn set_max_bytes(&mut self, bytes: i32) {
        self.settings.max_bytes = bytes;
    }

    /// What answers are admitted to.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The broker that is asked.
    pub fn broker(&self) -> i32 {
        self.broker
    }

    /// Fetches one more partition from a position on. `topic_id` is all zero where unknown.
    pub fn add(&mut self, partition: TopicPartition, topic_id: TopicId, position: Position) {
        self.session.add(partition, topic_id, position);
    }

    /// Goes on at another position. What is under way from the old one will not be delivered. False where the partition is
    /// not fetched here.
    pub fn seek(&mut self, partition: &TopicPartition, position: Position) -> bool {
        self.session.seek(partition, position)
    }

    /// Stops fetching a partition, and gives its position.
    pub fn remove(&mut self, partition: &TopicPartition) -> Option<Position> {
        self.session.remove(partition)
    }

    /// The partitions fetched here and their positions.
    pub fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Position)> {
        self.session.positions()
    }

    /// Whether no partition is fetched here.
    pub fn is_empty(&self) -> bool {
        self.session.is_empty()
    }

    /// Puts the next request on the wire, unless one is there. Connects where necessary, after a pause that grows with the
    /// failures in a row. May be dropped at any time.
    ///
    /// # Errors
    /// The broker cannot be reached. The same call may simply be made again while the error is retriable.
    pub async fn issue(&mut self) -> Result<()> {
        if self.in_flight.is_some() {
            return Ok(());
        }
        let connection = match &mut self.connection {
            Some(connection) if connection.is_alive() => connection,
            held => {
                *held = None;
                self.session.restart();
                if let Some(past) = self.failures.checked_sub(1) {
                    sleep(self.client.pause(past)).await;
                }
                held.insert(self.client.open(self.broker).await?)
            }
        };
        let version = self.session.version(connection.version::<FetchRequest>()?);
        let rack = self.client.config().client_rack.as_deref().filter(|_| self.settings.from_rack);
        let request = self.session.request(version, &self.settings, rack);
        let wait = self.settings.max_wait;
        self.in_flight = Some(connection.send_charged(&request, version, wait, Some(&self.budget)).await?);
        self.session.sent();
        Ok(())
    }

    /// Waits for the answer to the request on the wire; issues one first where there is none. May be dropped at any time.
    /// Without partitions it waits for `max_wait` and has nothing to say.
    ///
    /// # Errors
    /// The connection failed, or the answer makes no sense. Positions stay as they are, and the next call starts over with
    /// a new session, so it may simply be made again while the error is retriable.
    pub async fn receive(&mut self) -> Result<FetchOutcome> {
        if self.session.is_empty() && self.in_flight.is_none() {
            sleep(self.settings.max_wait).await;
            return Ok(FetchOutcome::default());
        }
        loop {
            self.issue().await?;
            let Some(answer) = &mut self.in_flight else { continue };
            let response = answer.wait().await;
            self.in_flight = None;
            let received = response.and_then(|response| {
                self.session.receive(response).map_err(|error| error.at(format!("broker {}", self.broker)))
            });
            match received {
                Ok(Received::Partitions(partitions, throttle)) => {
                    (self.failures, self.restarts) = (0, 0);
                    let throttle = Duration::from_millis(u64::try_from(throttle).unwrap_or(0));
                    return Ok(FetchOutcome { partitions, throttle });
                }
                Ok(Received::Restart(code)) => {
                    self.restarts += 1;
                    let (broker, restarts) = (self.broker, self.restarts);
                    tracing::debug!(broker, restarts, %code, "starting a new fetch session");
                    if restarts > RESTARTS {
                        self.restarts = 0;
                        let text =
                            format!("broker {broker} refused {restarts} fetch sessions in a row: {code}");
                        return Err(self.failed(Error::retry(text)));
                    }
                    sleep(self.client.pause(restarts)).await;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn failed(&mut self, error: Error) -> Error {
        self.failures = self.failures.saturating_add(1);
        self.connection = None;
        self.session.restart();
        error
    }
}

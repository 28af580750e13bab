//! Fetch sessions as a broker keeps them (KIP-227): what a client wants, in the order in which it is served next.

use super::cluster::Cluster;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::PartitionData;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// The first version that names topics by id.
const BY_ID: i16 = 13;

/// A partition as a client names it.
pub(super) type Key = (Uuid, String, i32);

/// One partition that a client wants.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) topic_id: Uuid,
    /// The topic's name; none where no topic has the id.
    pub(super) topic: Option<String>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) last_fetched_epoch: i32,
    pub(super) max_bytes: i32,
    /// What the client was last told.
    told: (i64, i64),
}

impl Wanted {
    /// Whether an answer says anything that the client does not know.
    fn tells(&mut self, data: &PartitionData) -> bool {
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let told = (data.high_watermark, data.log_start_offset);
        let is_news = has_records
            || told != self.told
            || data.error_code != 0
            || data.diverging_epoch.end_offset >= 0
            || data.preferred_read_replica.0 >= 0;
        // After an error all is told once more.
        self.told = if data.error_code == 0 { told } else { (-1, told.1) };
        is_news
    }
}

/// One session.
#[derive(Debug, Default)]
pub(super) struct Session {
    epoch: i32,
    by_id: bool,
    places: HashMap<Key, u64>,
    order: BTreeMap<u64, Wanted>,
    next_place: u64,
}

impl Session {
    fn put(&mut self, key: Key, wanted: Wanted) {
        match self.places.get(&key).and_then(|place| self.order.get_mut(place)) {
            Some(known) => {
                // The name once found stays, whatever becomes of the topic.
                let topic = known.topic.take().or(wanted.topic);
                *known = Wanted { topic, told: known.told, ..wanted };
            }
            None => {
                self.places.insert(key, self.next_place);
                self.order.insert(self.next_place, wanted);
                self.next_place += 1;
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(place) = self.places.remove(key) {
            self.order.remove(&place);
        }
    }

    /// Whether a partition's answer is sent; it is served last the next time then.
    fn selects(&mut self, key: &Key, data: &PartitionData) -> bool {
        let Some(place) = self.places.get(key).copied() else { return false };
        let Some(mut wanted) = self.order.remove(&place) else { return false };
        let is_news = wanted.tells(data);
        let place = if is_news { self.next_place } else { place };
        self.next_place += 1;
        self.places.insert(key.clone(), place);
        self.order.insert(place, wanted);
        is_news
    }
}

/// The sessions of all brokers.
#[derive(Debug)]
pub struct Sessions {
    /// How many a broker keeps.
    pub slots: usize,
    open: BTreeMap<(i32, i32), Session>,
    made: i32,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { slots: 1000, open: BTreeMap::new(), made: 0 }
    }
}

impl Sessions {
    /// Forgets all, as brokers do that start anew.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.open.len()
    }
}

/// What a request amounts to.
#[derive(Debug)]
pub(super) enum Context {
    /// A full request; whether a session is wanted.
    Full(Vec<Wanted>, bool),
    /// The next request of a session, and the epoch after it.
    Session(i32, i32),
    /// The session is refused.
    Refused(i16),
}

pub(super) fn key(by_id: bool, topic_id: Uuid, topic: &str, partition: i32) -> Key {
    if by_id { (topic_id, String::new(), partition) } else { (Uuid::nil(), topic.to_owned(), partition) }
}

fn wanted(cluster: &Cluster, by_id: bool, id: Uuid, name: &str, asked: &FetchPartition) -> Wanted {
    let (topic_id, topic) = if by_id {
        (id, cluster.name_of(id).map(str::to_owned))
    } else {
        (Uuid::nil(), Some(name.to_owned()))
    };
    Wanted {
        topic_id,
        topic,
        partition: asked.partition,
        offset: asked.fetch_offset,
        leader_epoch: asked.current_leader_epoch,
        last_fetched_epoch: asked.last_fetched_epoch,
        max_bytes: asked.partition_max_bytes,
        told: (-1, -1),
    }
}

/// Takes a request in.
pub(super) fn begin(cluster: &mut Cluster, broker: i32, request: &FetchRequest, version: i16) -> Context {
    let by_id = version >= BY_ID;
    let mut asked = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            asked.push(wanted(cluster, by_id, topic.topic_id, &topic.topic, partition));
        }
    }
    let place = (broker, request.session_id);
    if request.session_epoch <= 0 {
        cluster.sessions.open.remove(&place);
        return Context::Full(asked, request.session_epoch == 0);
    }
    let Some(session) = cluster.sessions.open.get_mut(&place) else {
        return Context::Refused(super::FETCH_SESSION_ID_NOT_FOUND);
    };
    if session.epoch != request.session_epoch {
        return Context::Refused(super::INVALID_FETCH_SESSION_EPOCH);
    }
    if session.by_id != by_id {
        return Context::Refused(super::FETCH_SESSION_TOPIC_ID_ERROR);
    }
    for wanted in asked {
        let name = wanted.topic.as_deref().unwrap_or_default();
        session.put(key(by_id, wanted.topic_id, name, wanted.partition), wanted);
    }
    for topic in &request.forgotten_topics_data {
        for partition in &topic.partitions {
            session.forget(&key(by_id, topic.topic_id, &topic.topic, *partition));
        }
    }
    if session.order.is_empty() {
        cluster.sessions.open.remove(&place);
        return Context::Full(Vec::new(), false);
    }
    session.epoch = session.epoch.checked_add(1).unwrap_or(1);
    Context::Session(request.session_id, session.epoch)
}

/// What is wanted, in order; none where the session is gone.
pub(super) fn wants<'c>(
    cluster: &'c Cluster,
    broker: i32,
    context: &'c Context,
) -> Option<Box<dyn Iterator<Item = &'c Wanted> + 'c>> {
    match context {
        Context::Full(wanted, _) => Some(Box::new(wanted.iter())),
        Context::Session(id, epoch) => {
            let session = cluster.sessions.open.get(&(broker, *id))?;
            (session.epoch == *epoch).then(|| Box::new(session.order.values()) as Box<_>)
        }
        Context::Refused(_) => None,
    }
}

/// Ends a request: makes the session where one is wanted, or leaves out of the answer what its client knows. The id of the
/// session and what is left of the answer.
pub(super) fn end(
    cluster: &mut Cluster,
    broker: i32,
    context: Context,
    version: i16,
    answer: Vec<(Key, PartitionData)>,
) -> (i32, Vec<(Key, PartitionData)>) {
    match context {
        Context::Full(wanted, true) => {
            let held = cluster.sessions.open.range((broker, 0)..=(broker, i32::MAX)).count();
            // A broker without room makes none.
            if held >= cluster.sessions.slots {
                return (0, answer);
            }
            let by_id = version >= BY_ID;
            let mut session = Session { epoch: 1, by_id, ..Session::default() };
            for (mut wanted, (key, data)) in wanted.into_iter().zip(&answer) {
                wanted.tells(data);
                session.put(key.clone(), wanted);
            }
            cluster.sessions.made += 1;
            let id = cluster.sessions.made;
            cluster.sessions.open.insert((broker, id), session);
            (id, answer)
        }
        Context::Session(id, _) => {
            let Some(session) = cluster.sessions.open.get_mut(&(broker, id)) else { return (0, answer) };
            let answer = answer.into_iter().filter(|(key, data)| session.selects(key, data)).collect();
            (id, answer)
        }
        Context::Full(_, false) | Context::Refused(_) => (0, answer),
    }
}

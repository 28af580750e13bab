//! What goes wrong, and when: each fault waits for the fetch of one partition from an offset on.

use super::cluster::Cluster;
use kafka_protocol::messages::fetch_response::PartitionData;
use std::fmt;

/// How an answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is never sent, and the connection stays open.
    Silence,
    /// Half of it is sent, and the connection is closed.
    Half,
    /// Half of it is sent, and the connection is reset.
    Reset,
    /// Its length is said to be 2 GiB.
    Oversize,
}

type Change = Box<dyn FnOnce(&mut Cluster) + Send>;
type Lie = Box<dyn FnMut(&mut PartitionData) + Send>;

enum What {
    Change(Change),
    Lie(Lie),
    Cut(Cut),
}

struct Fault {
    topic: String,
    partition: i32,
    /// The least offset at which it comes to pass.
    from: i64,
    /// How often it has yet to come to pass.
    times: usize,
    what: What,
}

/// The faults that are still to come.
#[derive(Default)]
pub struct Faults(Vec<Fault>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pending()).finish()
    }
}

impl Faults {
    /// The cluster changes before the first fetch of the partition from that offset on is looked at.
    pub fn change(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
        change: impl FnOnce(&mut Cluster) + Send + 'static,
    ) {
        self.push(topic, partition, from, 1, What::Change(Box::new(change)));
    }

    /// So many answers for the partition that were asked from that offset on, and bring records, are changed.
    pub fn lie(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
        times: usize,
        lie: impl FnMut(&mut PartitionData) + Send + 'static,
    ) {
        self.push(topic, partition, from, times, What::Lie(Box::new(lie)));
    }

    /// So many answers to fetches of the partition from that offset on are lost.
    pub fn cut(&mut self, topic: &str, partition: i32, from: i64, times: usize, cut: Cut) {
        self.push(topic, partition, from, times, What::Cut(cut));
    }

    fn push(&mut self, topic: &str, partition: i32, from: i64, times: usize, what: What) {
        self.0.push(Fault { topic: topic.to_owned(), partition, from, times, what });
    }

    /// Where faults are still to come.
    pub fn pending(&self) -> Vec<String> {
        self.0.iter().map(|fault| format!("{}-{}@{}", fault.topic, fault.partition, fault.from)).collect()
    }

    /// The changes that these wants bring about.
    pub(super) fn changes(&mut self, wants: &[(String, i32, i64)]) -> Vec<Change> {
        let is_due = |fault: &mut Fault| matches!(fault.what, What::Change(_)) && fault.is_asked(wants);
        let due = self.0.extract_if(.., is_due);
        due.filter_map(|fault| match fault.what {
            What::Change(change) => Some(change),
            What::Lie(_) | What::Cut(_) => None,
        })
        .collect()
    }

    /// How the answer to these wants is lost.
    pub(super) fn cut_of(&mut self, wants: &[(String, i32, i64)]) -> Option<Cut> {
        let found =
            self.0.iter_mut().find(|fault| matches!(fault.what, What::Cut(_)) && fault.is_asked(wants));
        let cut = found.and_then(|fault| {
            fault.times -= 1;
            match fault.what {
                What::Cut(cut) => Some(cut),
                What::Change(_) | What::Lie(_) => None,
            }
        });
        self.0.retain(|fault| fault.times > 0);
        cut
    }

    /// Changes the answer for a partition.
    pub(super) fn lie_about(&mut self, wants: &[(String, i32, i64)], topic: &str, data: &mut PartitionData) {
        let partition = data.partition_index;
        if data.records.as_ref().is_none_or(bytes::Bytes::is_empty) {
            return;
        }
        for fault in &mut self.0 {
            if fault.topic == topic
                && fault.partition == partition
                && fault.is_asked(wants)
                && let What::Lie(lie) = &mut fault.what
            {
                lie(data);
                fault.times -= 1;
            }
        }
        self.0.retain(|fault| fault.times > 0);
    }
}

impl Fault {
    fn is_asked(&self, wants: &[(String, i32, i64)]) -> bool {
        wants.iter().any(|(topic, partition, offset)| {
            *topic == self.topic && *partition == self.partition && *offset >= self.from
        })
    }
}

//! `manifest.json`: a view of the backup for people and `jq`, rebuilt from the state whenever somebody likes. No program
//! reads it back.

use formats::ids::Topic;
use formats::paths::MANIFEST;
use serde_json::{Value, json};

use super::CommitLog;

impl CommitLog {
    /// Writes the view, and says how large it is. A store that does not let objects be overwritten keeps the old one, or
    /// none, and nothing is lost.
    pub async fn write_manifest(&self) -> usize {
        let text = serde_json::to_vec_pretty(&self.manifest()).unwrap_or_default();
        let size = text.len();
        if let Err(error) = self.store().replace_view(MANIFEST, text.into()).await {
            tracing::debug!(%error, "the manifest view was not written");
        }
        size
    }

    fn manifest(&self) -> Value {
        let state = self.state();
        let topic = |(topic, partitions): (&Topic, &std::sync::Arc<formats::state::TopicState>)| {
            let partition = |(number, partition): (&i32, &formats::state::PartitionState)| {
                let lineage = |lineage: &formats::state::LineageState| {
                    json!({
                        "lineage": lineage.id,
                        "topic_id": lineage.topic_id,
                        "start": lineage.start,
                        "end": lineage.next,
                        "segments": lineage.totals.segments,
                        "records": lineage.totals.records,
                        "raw_bytes": lineage.totals.bytes.total(),
                        "stored_bytes": lineage.totals.stored,
                        "max_timestamp": lineage.totals.max_timestamp,
                        "gaps": lineage.gaps,
                    })
                };
                json!({
                    "partition": number,
                    "lineages": partition.lineages.iter().map(lineage).collect::<Vec<_>>(),
                })
            };
            json!({ "name": topic, "partitions": partitions.iter().map(partition).collect::<Vec<_>>() })
        };
        json!({
            "note": "a view; the truth is in commits/",
            "backup_id": self.repository().backup_id,
            "cluster_id": self.repository().cluster_id,
            "commit": { "seq": state.seq, "blake3": state.head_hash() },
            "topics": state.topics.iter().map(topic).collect::<Vec<_>>(),
        })
    }
}

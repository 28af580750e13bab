//! What is known of records before a restore begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use formats::codec::Codec;
use formats::ids::Topic;

use super::{Letters, catalog, framed, map};
use crate::archive::Archive;
use crate::archive::samples::{Item, Sample, batch_of, place};
use crate::budget::Budget;
use crate::restore::download::Source;
use crate::restore::schemas::Samples;
use crate::restore::schemas::ids::Ids;
use crate::restore::schemas::remap::Readers;
use crate::restore::schemas::sample::{Counter, Sampler};
use crate::schemas::SchemaArchive;
use crate::seam::Seam;
use crate::storage::Store;
use crate::storage::memory::MemoryStore;

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_looked_at_once_however_often_a_plan_is_made() {
    let mut sample = Sample::new().await;
    let mut sources: BTreeMap<Topic, Vec<Source>> = BTreeMap::new();
    let value = framed(5, b"x");
    for number in 0..20 {
        let partition = place(&format!("t{}", number % 10), number / 10);
        let lineage = sample.lineage(&partition, 0, None).await;
        for first in [0, 10, 20] {
            let item = || Item { key: None, value: Some(&value), headers: Vec::new() };
            let items: Vec<Item<'_>> = (0..10).map(|_| item()).collect();
            let batches = [batch_of(first, Codec::Zstd, None, &items)];
            sample.segment(&partition, lineage, (first, first + 10), &batches, None).await;
        }
        let archive =
            Archive::open(Arc::clone(&sample.store), Sample::seam(&sample.clock)).await.expect("opens");
        let segments = archive.segments(&partition, lineage).await.expect("segments").into();
        sources.entry(partition.topic.clone()).or_default().push(Source { partition, segments });
    }
    let topics: BTreeMap<&Topic, Vec<&Source>> =
        sources.iter().map(|(topic, sources)| (topic, sources.iter().collect())).collect();
    let nothing: Arc<dyn Store> = Arc::new(MemoryStore::new(Seam::system().clock));
    let archive = Arc::new(SchemaArchive::of(Arc::clone(&nothing), catalog(&[("some-x", 1, 5, None)])));
    let sampler = Sampler {
        store: Arc::clone(&sample.store),
        budget: Budget::new(1 << 20),
        counter: Counter {
            ids: Arc::new(Ids::new(&archive.catalog, &map(&[("5", 50)]), &[])),
            readers: Arc::new(Readers::new(Arc::new(Letters::default()), Arc::clone(&archive))),
        },
        snapshot: "schema-registry/snapshots/1".to_owned(),
        samples: Samples::default(),
    };
    let first = sampler.look(&topics).await.expect("read");
    assert_eq!(first.len(), 10);
    for looked in first.values() {
        let own = looked.counted.value;
        assert_eq!((own.sampled, own.framed, own.proven), (40, 40, 40), "both ends of two partitions");
        assert!(looked.damaged.is_empty());
    }
    assert_eq!(sampler.budget.used(), 0);
    // Whoever looks again needs no store; held against other schemas, it is another look.
    let away = Sampler { store: nothing, ..sampler.clone() };
    assert_eq!(away.look(&topics).await.expect("known"), first);
    let other = Sampler { snapshot: "schema-registry/snapshots/2".to_owned(), ..away };
    let other = other.look(&topics).await.expect("damage is told");
    assert!(other.values().all(|looked| looked.counted.value.sampled == 0 && looked.damaged.len() == 4));
}

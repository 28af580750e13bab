use bytes::Bytes;
use formats::ids::Incarnation;
use formats::schemas::ReferenceRow;
use pipeline::schemas::{Depth, Found, FoundVersion, SchemaSelection, SchemaSource, SchemaWriter};
use pipeline::storage::memory::MemoryStore;
use registry::service::{Listed, Page, Registry, Settings};
use tokio::sync::mpsc::Sender;

use super::*;

/// A source of these versions.
#[derive(Debug)]
struct Shelf(Vec<Found>);

#[async_trait]
impl SchemaSource for Shelf {
    fn name(&self) -> String {
        "http://shelf".to_owned()
    }

    async fn walk(&self, _: Depth, found: Sender<Found>) -> Result<()> {
        for one in &self.0 {
            let _ = found.send(one.clone()).await;
        }
        Ok(())
    }

    async fn is_unchanged(&self) -> Result<bool> {
        Ok(false)
    }

    async fn version(&self, _: &str, _: i32) -> Result<Option<FoundVersion>> {
        Ok(None)
    }
}

fn found(subject: &str, version: i32, id: u32, text: &str) -> FoundVersion {
    FoundVersion {
        subject: subject.to_owned(),
        version,
        id,
        guid: None,
        schema_type: "AVRO".to_owned(),
        deleted: Some(false),
        text: Bytes::copy_from_slice(text.as_bytes()),
        labels: None,
        references: Vec::new(),
        ts: Some(1_700_000_000_000),
    }
}

/// A backup that has walked through these, one after the other.
async fn backup(shelves: Vec<Vec<Found>>) -> (Arc<dyn Store>, Catalog, Archived) {
    let seam = Seam::system();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&seam.clock)));
    let writer =
        SchemaWriter::open(Arc::clone(&store), seam, Incarnation(1), SchemaSelection::all(), None).await;
    let mut writer = writer.expect("a writer");
    let mut newest = None;
    for shelf in shelves {
        let walked = writer.walk(&Shelf(shelf), Depth::Everything, 1).await.expect("walked");
        let Some(formats::commit::Op::Schemas { object, .. }) = walked.op else { panic!("nothing is new") };
        newest = Some(object);
    }
    let newest = newest.expect("a snapshot");
    store.create(REPOSITORY, vec![Bytes::from_static(b"{}")]).await.expect("created");
    let mut schemas = SchemaArchive::open(Arc::clone(&store), &newest).await.expect("an archive");
    let catalog = std::mem::take(&mut schemas.catalog);
    (store, catalog, Archived { schemas, reads: Semaphore::new(READS) })
}

async fn registry(catalog: Catalog, archived: Archived) -> Registry {
    let kept = kept(catalog, &archived).await.expect("kept");
    let store = KeptStore::new(BACKEND, archived, "It is a backup".to_owned(), kept);
    Registry::open(Arc::new(store), Settings::default(), || 0).await.expect("a registry")
}

#[tokio::test]
async fn a_number_is_its_last_schema_and_what_was_before_is_there_by_id() {
    let first =
        vec![Found::Version(found("s", 1, 1, "\"int\"")), Found::Version(found("s", 2, 2, "\"long\""))];
    let second =
        vec![Found::Version(found("s", 1, 3, "\"bytes\"")), Found::Version(found("s", 2, 2, "\"long\""))];
    let (_, catalog, archived) = backup(vec![first, second]).await;
    let here = registry(catalog, archived).await;
    let subject = Subject::parse("s");
    let version = here.version(&subject, 1, false).await.expect("a version");
    assert_eq!((version.version.schema.id, &*version.texts.canonical), (3, "\"bytes\""));
    assert_eq!(&*here.schema(1, None).await.expect("a schema").texts.canonical, "\"int\"");
    let page = Page { offset: 0, limit: 10 };
    assert_eq!(here.versions(&subject, Listed::All, false, page).await.expect("versions"), [1, 2]);
}

#[tokio::test]
async fn a_guid_that_the_registry_did_not_tell_is_that_of_text_labels_and_references() {
    let labels = Bytes::from_static(br#"{"metadata":{"properties":{"a":"b"}}}"#);
    let reference = ReferenceRow { name: "n".to_owned(), subject: "other".to_owned(), version: 1 };
    let told =
        FoundVersion { labels: Some(labels), references: vec![reference], ..found("s", 1, 7, "\"string\"") };
    let other = FoundVersion { schema_type: "XSD".to_owned(), ..found("other", 1, 8, "<x/>") };
    let (_, catalog, archived) = backup(vec![vec![Found::Version(told), Found::Version(other)]]).await;
    let here = registry(catalog, archived).await;
    let found = here.schema(7, None).await.expect("a schema");
    let metadata = found.texts.metadata.as_deref();
    let properties = metadata.and_then(|metadata| metadata.properties.as_ref()).expect("labels");
    assert_eq!(properties["a"], "b");
    assert_eq!(found.guid, identity::guid("\"string\"", &found.references, metadata, None));
    assert!(here.schema_of_guid(&found.guid).await.is_ok());
    assert!(here.schema(8, None).await.is_err(), "of a language that nobody here knows");
}

#[tokio::test]
async fn a_text_that_is_damaged_is_named_and_the_rest_is_served() {
    let both =
        vec![Found::Version(found("a", 1, 1, "\"int\"")), Found::Version(found("b", 1, 2, "\"long\""))];
    let (store, catalog, archived) = backup(vec![both]).await;
    store.delete("schema-registry/subjects/a/v1.avsc").await.expect("deleted");
    let here = registry(catalog, archived).await;
    let error = here.schema(1, None).await.expect_err("it is gone");
    assert!(error.message().contains("schema-registry/subjects/a/v1.avsc"), "{error}");
    assert!(here.schema(2, None).await.is_ok());
    assert!(here.live().ready().await.is_ok());
    store.delete(REPOSITORY).await.expect("deleted");
    assert!(here.live().ready().await.is_err(), "the backup was taken away");
}

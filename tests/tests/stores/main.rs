//! The stores against real servers: the suite of the pipeline that every backend must pass, and what happens when answers
//! are lost, late, cut or refused on the way (O3, O5).
//!
//! S3 is versitygw and Azure is Azurite. The installable emulator of Google Cloud Storage takes no puts over the XML
//! interface, which is the one that the client speaks and the only one with create-only puts in this shape; so that client
//! meets the small cloud in memory of `cloud.rs`, which is ours: it shows that the client speaks the interface as the
//! documentation describes it, not that Google's servers do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(clippy::print_stdout, reason = "a failed run is replayed by what it printed")]

mod cloud;
mod contract;
mod faults;
mod often;
mod proxy;
mod whole;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use pipeline::seam::Seam;
use pipeline::secret::Secret;
use pipeline::storage::meter::Meter;
use pipeline::storage::settings::S3Settings;
use pipeline::storage::{Created, IoSettings, StorageSettings, Store, open_metered};
use sandbox::s3::{ACCESS_KEY, S3, SECRET_KEY};

use self::proxy::{Proxy, Upstream};

/// One S3 server for all tests here, with the bucket `bucket`. Killed when the test program ends.
fn s3() -> &'static S3 {
    static SERVER: OnceLock<S3> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = S3::start();
        server.create_bucket("bucket");
        server
    })
}

/// Its bucket, by way of this address.
fn s3_at(url: &str) -> StorageSettings {
    StorageSettings::S3(S3Settings {
        bucket: "bucket".to_owned(),
        endpoint: Some(url.to_owned()),
        allow_http: true,
        access_key: Some(Secret::new(ACCESS_KEY)),
        secret_key: Some(Secret::new(SECRET_KEY)),
        ..S3Settings::default()
    })
}

/// An impatient store behind a proxy, before a real S3 server.
struct Rig {
    proxy: Proxy,
    store: Arc<dyn Store>,
    meter: Arc<Meter>,
    folder: String,
}

fn impatient() -> IoSettings {
    IoSettings {
        request_timeout: Duration::from_secs(2),
        stall_timeout: Duration::from_millis(300),
        retry_for: Duration::from_secs(3),
        retry_base: Duration::from_millis(10),
        retry_cap: Duration::from_millis(100),
        part_size: 5 << 20,
        ..IoSettings::default()
    }
}

async fn rig() -> Rig {
    rig_with(&impatient()).await
}

async fn rig_with(io: &IoSettings) -> Rig {
    rig_in("bucket", io).await
}

async fn rig_in(bucket: &str, io: &IoSettings) -> Rig {
    let proxy = Proxy::start(Upstream::Server(s3().address())).await;
    let seam = Seam::system();
    let folder = format!("faults-{:016x}/", seam.rand.next_u64());
    let meter = Arc::new(Meter::default());
    let StorageSettings::S3(settings) = s3_at(&proxy.url()) else { panic!("not s3") };
    let settings = StorageSettings::S3(S3Settings { bucket: bucket.to_owned(), ..settings });
    let store = open_metered(&settings, io, &seam, Arc::clone(&meter)).unwrap();
    Rig { proxy, store, meter, folder }
}

impl Rig {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    async fn create(&self, key: &str, body: &'static str) -> Created {
        self.store.create(key, vec![Bytes::from_static(body.as_bytes())]).await.unwrap()
    }
}

//! From settings to a store.

use std::path::Path;
use std::sync::Arc;

use super::call::Calls;
use super::local::LocalStore;
use super::memory::MemoryStore;
use super::meter::Meter;
use super::settings::{IoSettings, MIN_PART, StorageSettings};
use super::wrap::Prefixed;
use super::{Store, azure, gcs, key, s3};
use crate::seam::Seam;
use crate::{Error, Result};

/// Makes the store that settings describe. Nothing is asked of it yet: a wrong bucket or password shows at the first
/// call.
///
/// # Errors
/// [`crate::ErrorKind::Input`] for settings that contradict each other or cannot be used.
pub fn open(settings: &StorageSettings, io: &IoSettings) -> Result<Arc<dyn Store>> {
    open_metered(settings, io, &Seam::system(), Arc::default())
}

/// [`open`] with a clock, randomness and counters of the caller's.
///
/// # Errors
/// As [`open`].
pub fn open_metered(
    settings: &StorageSettings,
    io: &IoSettings,
    seam: &Seam,
    meter: Arc<Meter>,
) -> Result<Arc<dyn Store>> {
    if io.part_size < MIN_PART || io.parallel_parts == 0 || io.min_bytes_per_sec == 0 {
        return Err(Error::input(
            "storage parts must be at least 5 MiB, at least one at a time, at more than 0 bytes/s",
        ));
    }
    let calls = |place: String| Calls { place, io: io.clone(), meter, seam: seam.clone() };
    match settings {
        StorageSettings::Filesystem { path, prefix } => {
            let root = path.join(key::folder_of_prefix(prefix.as_deref().unwrap_or_default())?);
            let place = format!("file://{}", absolute(&root));
            Ok(Arc::new(LocalStore::new(root, calls(place))))
        }
        StorageSettings::Memory => Ok(Arc::new(MemoryStore::new(Arc::clone(&seam.clock)))),
        StorageSettings::S3(s3) => {
            let place = format!("s3://{}", s3.bucket);
            below(s3::open(s3, calls(place))?, s3.prefix.as_deref())
        }
        StorageSettings::Azure(azure) => {
            let place = format!("azure://{}/{}", azure.account_name, azure.container_name);
            below(azure::open(azure, calls(place))?, azure.prefix.as_deref())
        }
        StorageSettings::Gcs(gcs) => {
            let place = format!("gcs://{}", gcs.bucket);
            below(gcs::open(gcs, calls(place))?, gcs.prefix.as_deref())
        }
    }
}

/// The store, or the folder of it that the prefix names.
fn below(store: impl Store + 'static, prefix: Option<&str>) -> Result<Arc<dyn Store>> {
    let store: Arc<dyn Store> = Arc::new(store);
    match prefix {
        Some(prefix) if !prefix.trim_matches('/').is_empty() => Ok(Arc::new(Prefixed::new(store, prefix)?)),
        _ => Ok(store),
    }
}

/// The path as messages show it, without the trailing slash that an empty prefix leaves.
fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.display().to_string().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::settings::S3Settings;

    #[test]
    fn an_unencrypted_endpoint_must_be_allowed() {
        let s3 = S3Settings {
            bucket: "bucket".to_owned(),
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            ..S3Settings::default()
        };
        let error = open(&StorageSettings::S3(s3), &IoSettings::default()).unwrap_err();
        assert!(error.next_step().unwrap().contains("allow_http"));
    }
}

//! Google Cloud Storage.
//!
//! Unfinished uploads are not swept here: listing them needs signed URLs, which not every kind of credential can make.
//! A lifecycle rule of the bucket (`AbortIncompleteMultipartUpload`) does it.

use std::sync::Arc;

use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey};

use super::call::Calls;
use super::object::{Backend, CloudStore, client_options, no_retries, unusable};
use super::settings::GcsSettings;
use crate::Result;

impl Backend for GoogleCloudStorage {}

/// A bucket, without its prefix.
pub(super) fn open(settings: &GcsSettings, calls: Calls) -> Result<CloudStore<GoogleCloudStorage>> {
    let plain = settings.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = match settings.service_account_path {
        Some(_) => GoogleCloudStorageBuilder::new(),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    builder = builder
        .with_client_options(client_options(&calls.io, plain))
        .with_retry(no_retries())
        .with_bucket_name(&settings.bucket);
    if let Some(path) = &settings.service_account_path {
        builder = builder.with_service_account_path(path.to_string_lossy());
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_config(GoogleConfigKey::BaseUrl, endpoint.trim_end_matches('/'));
    }
    if plain {
        // Not merely unsigned: without any credential the crate would ask the machine for one.
        let nobody = GcpCredential { bearer: String::new() };
        builder = builder
            .with_credentials(Arc::new(StaticCredentialProvider::new(nobody)))
            .with_skip_signature(true);
    }
    let backend = builder.build().map_err(|error| unusable(&calls.place, &error))?;
    Ok(CloudStore::new(backend, calls, None))
}

//! Azure Blob Storage.
//!
//! Large bodies are block blobs; blocks of an upload that was not finished are discarded by Azure itself after a week, so
//! there is nothing to sweep.

use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};

use super::call::Calls;
use super::object::{Backend, CloudStore, client_options, no_retries, unusable};
use super::settings::AzureSettings;
use crate::{Error, Result};

impl Backend for MicrosoftAzure {}

/// A container, without its prefix.
pub(super) fn open(settings: &AzureSettings, calls: Calls) -> Result<CloudStore<MicrosoftAzure>> {
    let plain = settings.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = credentials(settings)?
        .with_client_options(client_options(&calls.io, plain))
        .with_retry(no_retries())
        .with_account(&settings.account_name)
        .with_container_name(&settings.container_name);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    let backend = builder.build().map_err(|error| unusable(&calls.place, &error))?;
    Ok(CloudStore::new(backend, calls, None))
}

/// The first complete kind of credentials, and never a mixture with another's.
fn credentials(settings: &AzureSettings) -> Result<MicrosoftAzureBuilder> {
    let new = MicrosoftAzureBuilder::new;
    if let Some(sas) = &settings.sas_token {
        let sas = sas.expose().trim_start_matches('?');
        return Ok(new().with_config(AzureConfigKey::SasKey, sas).with_credential_type("sas_token"));
    }
    if let Some(account_key) = &settings.account_key {
        return Ok(new().with_access_key(account_key.expose()).with_credential_type("access_key"));
    }
    if let Some(secret) = &settings.client_secret {
        let (Some(client), Some(tenant)) = (&settings.client_id, &settings.tenant_id) else {
            return Err(Error::input("azure storage: client_secret needs client_id and tenant_id beside it"));
        };
        let builder = new().with_client_secret_authorization(client, secret.expose(), tenant);
        return Ok(builder.with_credential_type("client_secret"));
    }
    let mut builder = MicrosoftAzureBuilder::from_env();
    if let Some(client) = &settings.client_id {
        builder = builder.with_client_id(client);
    }
    if let Some(tenant) = &settings.tenant_id {
        builder = builder.with_tenant_id(tenant);
    }
    if settings.use_workload_identity {
        builder = builder.with_credential_type("workload_identity");
    }
    Ok(builder)
}

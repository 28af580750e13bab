//! Anything that speaks S3.
//!
//! Credentials, first found first: the settings' keys; the settings' profile; `AWS_ACCESS_KEY_ID` with its companions;
//! the profile that `AWS_PROFILE` names; a web identity (`AWS_WEB_IDENTITY_TOKEN_FILE`); the default profile; the
//! container's; the machine's. Kinds are never mixed: a session token belongs to its keys.

mod profile;
mod unfinished;

use std::path::PathBuf;
use std::sync::Arc;

use object_store::aws::{
    AmazonS3, AmazonS3Builder, AmazonS3ConfigKey as Key, AwsCredential, S3ConditionalPut,
};
use url::Url;

use self::profile::{Files, Profile};
use self::unfinished::S3Unfinished;
use super::call::Calls;
use super::object::{Backend, CloudStore, client_options, no_retries, unusable};
use super::settings::S3Settings;
use crate::{Error, Result};

impl Backend for AmazonS3 {}

/// Where credentials come from.
enum Source {
    Keys(AwsCredential),
    Profile(Profile),
    /// Keys in the environment, which the crate reads.
    Environment,
    /// Web identity, container or machine, which the crate finds.
    Machine,
}

/// A bucket, without its prefix.
pub(super) fn open(settings: &S3Settings, calls: Calls) -> Result<CloudStore<AmazonS3>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let source = source(settings, &variable)?;
    let endpoint = settings
        .endpoint
        .clone()
        .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
        .or_else(|| variable("AWS_ENDPOINT_URL"));
    let plain = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    if plain && !settings.allow_http {
        return Err(Error::input(format!(
            "{}: the endpoint is http, which sends everything unencrypted",
            calls.place
        ))
        .hint("use https, or set allow_http: true"));
    }
    let options = client_options(&calls.io, plain);
    let mut builder = AmazonS3Builder::new().with_client_options(options.clone()).with_retry(no_retries());
    let mut region =
        settings.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
    match source {
        Source::Keys(keys) => {
            builder = builder.with_access_key_id(keys.key_id).with_secret_access_key(keys.secret_key);
            if let Some(token) = keys.token {
                builder = builder.with_token(token);
            }
        }
        Source::Profile(profile) => {
            region = region.or_else(|| profile.region());
            builder = builder.with_credentials(Arc::new(profile));
        }
        Source::Environment => {
            builder = with_environment(builder, &[Key::AccessKeyId, Key::SecretAccessKey, Key::Token])
        }
        Source::Machine => {
            builder = with_environment(
                builder,
                &[
                    Key::WebIdentityTokenFile,
                    Key::RoleArn,
                    Key::RoleSessionName,
                    Key::StsEndpoint,
                    Key::ContainerCredentialsRelativeUri,
                    Key::ContainerCredentialsFullUri,
                    Key::ContainerAuthorizationTokenFile,
                    Key::MetadataEndpoint,
                    Key::ImdsV1Fallback,
                ],
            );
        }
    }
    let path_style = settings.path_style.unwrap_or(endpoint.is_some());
    builder = builder
        .with_bucket_name(&settings.bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // One request an object: every server has it, and its outcome is that of the one key.
        .with_disable_bulk_delete(true)
        .with_virtual_hosted_style_request(!path_style)
        .with_unsigned_payload(settings.unsigned_payload.unwrap_or(!plain));
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(bucket_endpoint(&endpoint, &settings.bucket, path_style)?);
    }
    let backend = builder.build().map_err(|error| unusable(&calls.place, &error))?;
    let unfinished = S3Unfinished::new(backend.clone(), &options, &calls.place)?;
    Ok(CloudStore::new(backend, calls, Some(Arc::new(unfinished))))
}

/// The endpoint as the crate wants it: with the bucket in the host name where it goes there.
fn bucket_endpoint(endpoint: &str, bucket: &str, path_style: bool) -> Result<String> {
    let invalid = || {
        Error::input(format!("the storage endpoint {endpoint:?} is not a URL"))
            .hint("write https://host:port")
    };
    let mut url = Url::parse(endpoint).map_err(|_| invalid())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid());
    }
    if !path_style {
        let host = format!("{bucket}.{}", url.host_str().ok_or_else(invalid)?);
        url.set_host(Some(&host)).map_err(|_| invalid())?;
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn source(settings: &S3Settings, variable: &dyn Fn(&str) -> Option<String>) -> Result<Source> {
    match (&settings.access_key, &settings.secret_key) {
        (Some(key_id), Some(secret)) => {
            return Ok(Source::Keys(AwsCredential {
                key_id: key_id.expose().to_owned(),
                secret_key: secret.expose().to_owned(),
                token: settings.session_token.as_ref().map(|token| token.expose().to_owned()),
            }));
        }
        (None, None) if settings.session_token.is_none() => {}
        _ => {
            return Err(Error::input(
                "s3 storage: access_key and secret_key belong together (and session_token to them)",
            ));
        }
    }
    let files = Files::from_environment(variable);
    if let Some(name) = &settings.profile {
        return Profile::load(files, name).map(Source::Profile);
    }
    if variable("AWS_ACCESS_KEY_ID").is_some() {
        return Ok(Source::Environment);
    }
    if let Some(name) = variable("AWS_PROFILE") {
        return Profile::load(files, &name).map(Source::Profile);
    }
    if variable("AWS_WEB_IDENTITY_TOKEN_FILE").is_none()
        && let Some(profile) = Profile::default_with_keys(files)?
    {
        return Ok(Source::Profile(profile));
    }
    Ok(Source::Machine)
}

fn with_environment(mut builder: AmazonS3Builder, wanted: &[Key]) -> AmazonS3Builder {
    for (name, value) in std::env::vars() {
        if name.starts_with("AWS_")
            && !value.is_empty()
            && let Ok(key) = name.to_ascii_lowercase().parse::<Key>()
            && wanted.contains(&key)
        {
            builder = builder.with_config(key, value);
        }
    }
    builder
}

impl Files {
    fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let home = variable("HOME").map(PathBuf::from);
        let place = |name, file| {
            variable(name)
                .map(PathBuf::from)
                .or_else(|| home.as_ref().map(|home| home.join(".aws").join(file)))
        };
        Self {
            credentials: place("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            config: place("AWS_CONFIG_FILE", "config"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(settings: &S3Settings, variables: &[(&str, &str)]) -> Result<&'static str> {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Ok(match source(settings, &variable)? {
            Source::Keys(_) => "keys",
            Source::Profile(_) => "profile",
            Source::Environment => "environment",
            Source::Machine => "machine",
        })
    }

    #[test]
    fn credentials_are_taken_from_one_place_in_a_fixed_order() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let file = "[default]\naws_access_key_id=a\naws_secret_access_key=b\n[other]\naws_access_key_id=c\naws_secret_access_key=d\n";
        std::fs::write(home.path().join(".aws/credentials"), file).unwrap();
        let home = ("HOME", home.path().to_str().unwrap());
        let keys = S3Settings {
            access_key: Some(crate::secret::Secret::new("a")),
            secret_key: Some(crate::secret::Secret::new("b")),
            profile: Some("other".to_owned()),
            ..S3Settings::default()
        };
        let profile = S3Settings { profile: Some("other".to_owned()), ..S3Settings::default() };
        let none = S3Settings::default();
        let env = ("AWS_ACCESS_KEY_ID", "x");
        assert_eq!(kind(&keys, &[home, env]).unwrap(), "keys");
        assert_eq!(kind(&profile, &[home, env]).unwrap(), "profile");
        assert_eq!(kind(&none, &[home, env, ("AWS_PROFILE", "other")]).unwrap(), "environment");
        assert_eq!(kind(&none, &[home, ("AWS_PROFILE", "other")]).unwrap(), "profile");
        assert_eq!(kind(&none, &[home, ("AWS_WEB_IDENTITY_TOKEN_FILE", "f")]).unwrap(), "machine");
        assert_eq!(kind(&none, &[home]).unwrap(), "profile");
        assert_eq!(kind(&none, &[]).unwrap(), "machine");
        assert!(kind(&none, &[home, ("AWS_PROFILE", "missing")]).is_err());
        let half = S3Settings { access_key: Some(crate::secret::Secret::new("a")), ..S3Settings::default() };
        assert!(kind(&half, &[home, env]).is_err(), "half a pair must not be completed from elsewhere");
        let token =
            S3Settings { session_token: Some(crate::secret::Secret::new("t")), ..S3Settings::default() };
        assert!(kind(&token, &[home, env]).is_err());
    }

    #[test]
    fn the_bucket_goes_where_the_style_says() {
        assert_eq!(bucket_endpoint("http://127.0.0.1:7070/", "b", true).unwrap(), "http://127.0.0.1:7070");
        assert_eq!(
            bucket_endpoint("https://s3.example.org", "b", false).unwrap(),
            "https://b.s3.example.org"
        );
        assert!(bucket_endpoint("s3.example.org", "b", true).is_err());
        assert!(bucket_endpoint("ftp://s3.example.org", "b", true).is_err());
    }
}

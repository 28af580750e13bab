//! Which store and how to treat it: values only, as a configuration file or a URL gives them.
//!
//! The keys are those of OSO kafka-backup's `storage` section, with ours beside them. Making a store of them is
//! [`super::open`]'s business.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;
use url::form_urlencoded;

use crate::secret::Secret;
use crate::{Error, Result};

/// Which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageSettings {
    /// A folder.
    Filesystem {
        /// The folder. Made by the first write where it is missing.
        path: PathBuf,
        /// A folder below it.
        prefix: Option<String>,
    },
    /// Anything that speaks S3.
    S3(S3Settings),
    /// Azure Blob Storage.
    Azure(AzureSettings),
    /// Google Cloud Storage.
    Gcs(GcsSettings),
    /// Gone with the process. For tests.
    Memory,
}

/// An S3 bucket. Credentials that are not given come from the environment, a profile or the machine; see
/// `storage/s3.rs` for the order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// The region. Default: `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, `us-east-1`.
    pub region: Option<String>,
    /// The server's URL, where it is not AWS itself.
    pub endpoint: Option<String>,
    /// Access key id; with `secret_key`.
    pub access_key: Option<Secret>,
    /// Secret access key.
    pub secret_key: Option<Secret>,
    /// Session token of temporary credentials.
    pub session_token: Option<Secret>,
    /// Keys are below it.
    pub prefix: Option<String>,
    /// Whether the bucket is in the path (true) or in the host name (false). Default: in the path where an endpoint is
    /// given.
    pub path_style: Option<bool>,
    /// Whether an endpoint may be `http:`.
    pub allow_http: bool,
    /// Whether bodies are sent without being part of the signature, which saves a SHA-256 over them. Default: over TLS,
    /// which protects them itself.
    pub unsigned_payload: Option<bool>,
    /// The profile in the shared credentials file.
    pub profile: Option<String>,
}

/// An Azure container. Credentials are tried in this order: SAS token, account key, service principal (client id,
/// tenant id and client secret), workload identity, the environment (`AZURE_*`), the machine's identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AzureSettings {
    /// The storage account.
    pub account_name: String,
    /// The container.
    pub container_name: String,
    /// Account key.
    pub account_key: Option<Secret>,
    /// Keys are below it.
    pub prefix: Option<String>,
    /// The server's URL, where it is not Azure itself.
    pub endpoint: Option<String>,
    /// Whether to take the identity of the Kubernetes workload.
    pub use_workload_identity: bool,
    /// Client id of a service principal or workload identity.
    pub client_id: Option<String>,
    /// Tenant id of it.
    pub tenant_id: Option<String>,
    /// Client secret of a service principal.
    pub client_secret: Option<Secret>,
    /// Shared access signature, as a query string.
    pub sas_token: Option<Secret>,
}

/// A Google Cloud Storage bucket. Without a service account: the application default credentials, then the machine's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcsSettings {
    /// The bucket.
    pub bucket: String,
    /// A service account's key file.
    pub service_account_path: Option<PathBuf>,
    /// Keys are below it.
    pub prefix: Option<String>,
    /// The server's URL, where it is not Google's. Requests to an `http:` one are not signed: it is an emulator.
    pub endpoint: Option<String>,
}

/// How long to wait, how often to try, how much at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoSettings {
    /// To establish a connection.
    pub connect_timeout: Duration,
    /// For one request, on top of what its bytes need at `min_bytes_per_sec`.
    pub request_timeout: Duration,
    /// For the next piece of a body that is being received.
    pub stall_timeout: Duration,
    /// The slowest link that is still waited for.
    pub min_bytes_per_sec: u64,
    /// How long one request is repeated while trouble looks passing.
    pub retry_for: Duration,
    /// The first pause between attempts; it doubles.
    pub retry_base: Duration,
    /// The longest pause between attempts.
    pub retry_cap: Duration,
    /// Bodies above this many bytes are uploaded in parts of this many. At least 5 MiB, which S3 demands.
    pub part_size: u64,
    /// How many parts of one body travel at once.
    pub parallel_parts: usize,
}

/// The smallest part that S3 takes, the last one apart.
pub(super) const MIN_PART: u64 = 5 << 20;

impl Default for IoSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            min_bytes_per_sec: 64 << 10,
            retry_for: Duration::from_secs(120),
            retry_base: Duration::from_millis(100),
            retry_cap: Duration::from_secs(10),
            part_size: 16 << 20,
            parallel_parts: 4,
        }
    }
}

/// Reads a storage URL or a plain path:
///
/// * `s3://bucket/prefix?region=&endpoint=&path_style=&allow_http=&unsigned_payload=&profile=`
/// * `azure://account.blob.core.windows.net/container/prefix`, `azure://account/container/prefix?endpoint=`
/// * `gcs://bucket/prefix?endpoint=&service_account_path=`, also as `gs://`
/// * `file:///path`, `memory:`, `/a/path`, `a/path`
///
/// Credentials do not belong into a URL, which ends up in shell histories and process lists; they come from the
/// environment.
///
/// # Errors
/// [`crate::ErrorKind::Input`], naming what is wrong.
pub fn parse_url(text: &str) -> Result<StorageSettings> {
    if text == "memory:" || text == "memory://" {
        return Ok(StorageSettings::Memory);
    }
    let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return filesystem(text.into());
    };
    match (scheme.to_ascii_lowercase().as_str(), rest.strip_prefix("//")) {
        ("file", _) => {
            let path = Url::parse(text).ok().and_then(|url| url.to_file_path().ok());
            filesystem(path.ok_or_else(|| {
                Error::input(format!("{text:?} names no local folder"))
                    .hint("write file:///path, with three slashes")
            })?)
        }
        ("s3", Some(rest)) => Location::parse(text, rest)?.s3(),
        ("azure", Some(rest)) => Location::parse(text, rest)?.azure(),
        ("gcs" | "gs", Some(rest)) => Location::parse(text, rest)?.gcs(),
        (_, Some(_)) => Err(Error::input(format!("storage scheme {scheme:?} is not known"))
            .hint("use s3://, azure://, gcs://, file:///, memory: or a path")),
        // A colon in a path.
        (_, None) => filesystem(text.into()),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn filesystem(path: PathBuf) -> Result<StorageSettings> {
    if path.as_os_str().is_empty() {
        return Err(Error::input("the storage path is empty").hint("write . for the current folder"));
    }
    Ok(StorageSettings::Filesystem { path, prefix: None })
}

/// What follows `scheme://`. Keys are taken literally, without percent-decoding, as the vendors' own tools do.
struct Location<'a> {
    url: &'a str,
    host: &'a str,
    path: &'a str,
    query: Vec<(String, String)>,
}

impl<'a> Location<'a> {
    fn parse(url: &'a str, rest: &'a str) -> Result<Self> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        if host.contains('@') {
            // Not repeated in the message: it may hold a password.
            return Err(Error::input("a storage URL must not hold credentials")
                .hint("give them in the configuration file or the environment"));
        }
        if host.is_empty() {
            return Err(Error::input(format!("{url:?} names no bucket or account")));
        }
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Self { url, host, path, query })
    }

    /// Takes a query parameter.
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.query.iter().position(|(key, _)| key == name)?;
        Some(self.query.swap_remove(at).1)
    }

    fn take_bool(&mut self, name: &str) -> Result<Option<bool>> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("true" | "1" | "") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => {
                Err(Error::input(format!("{name}={other} in a storage URL is neither true nor false")))
            }
        }
    }

    /// Refuses what nobody took. Values are not repeated: they may be secret.
    fn finish(self, known: &str) -> Result<()> {
        match self.query.first() {
            None => Ok(()),
            Some((key, _)) => {
                let place = self.url.split('?').next().unwrap_or_default();
                Err(Error::input(format!("parameter {key:?} of storage URL {place} is not known"))
                    .hint(format!("known are: {known}")))
            }
        }
    }

    fn s3(mut self) -> Result<StorageSettings> {
        let settings = S3Settings {
            bucket: self.host.to_owned(),
            prefix: prefix(self.path),
            region: self.take("region"),
            endpoint: self.take("endpoint"),
            path_style: self.take_bool("path_style")?,
            allow_http: self.take_bool("allow_http")?.unwrap_or(false),
            unsigned_payload: self.take_bool("unsigned_payload")?,
            profile: self.take("profile"),
            ..S3Settings::default()
        };
        self.finish("region, endpoint, path_style, allow_http, unsigned_payload, profile")?;
        Ok(StorageSettings::S3(settings))
    }

    fn azure(mut self) -> Result<StorageSettings> {
        let (account, domain) = self.host.split_once('.').unwrap_or((self.host, ""));
        let (container, rest) = self.path.split_once('/').unwrap_or((self.path, ""));
        if container.is_empty() {
            return Err(Error::input(format!("{:?} names no container", self.url))
                .hint("write azure://account.blob.core.windows.net/container/prefix"));
        }
        // Other clouds have other domains; the usual one is the library's own.
        let other = !matches!(domain, "" | "blob.core.windows.net");
        let settings = AzureSettings {
            account_name: account.to_owned(),
            container_name: container.to_owned(),
            prefix: prefix(rest),
            endpoint: self.take("endpoint").or_else(|| other.then(|| format!("https://{}", self.host))),
            ..AzureSettings::default()
        };
        self.finish("endpoint")?;
        Ok(StorageSettings::Azure(settings))
    }

    fn gcs(mut self) -> Result<StorageSettings> {
        let settings = GcsSettings {
            bucket: self.host.to_owned(),
            prefix: prefix(self.path),
            endpoint: self.take("endpoint"),
            service_account_path: self.take("service_account_path").map(PathBuf::from),
        };
        self.finish("endpoint, service_account_path")?;
        Ok(StorageSettings::Gcs(settings))
    }
}

fn prefix(path: &str) -> Option<String> {
    let path = path.trim_matches('/');
    (!path.is_empty()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(url: &str) -> S3Settings {
        match parse_url(url).unwrap() {
            StorageSettings::S3(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn s3_urls_carry_everything_but_credentials() {
        let url = "s3://bucket/a/b/?region=eu-west-1&endpoint=http%3A%2F%2F127.0.0.1%3A7070&path_style=true&allow_http=1";
        let expected = S3Settings {
            bucket: "bucket".to_owned(),
            prefix: Some("a/b".to_owned()),
            region: Some("eu-west-1".to_owned()),
            endpoint: Some("http://127.0.0.1:7070".to_owned()),
            path_style: Some(true),
            allow_http: true,
            ..S3Settings::default()
        };
        assert_eq!(s3(url), expected);
        assert_eq!(s3("s3://bucket?endpoint=http://h:1").endpoint.as_deref(), Some("http://h:1"));
        assert_eq!(s3("S3://bucket").prefix, None);
        assert_eq!(s3("s3://bucket/a%20b").prefix.as_deref(), Some("a%20b"));
    }

    #[test]
    fn azure_urls_take_both_forms_of_the_account() {
        let azure = |url| match parse_url(url).unwrap() {
            StorageSettings::Azure(settings) => settings,
            other => panic!("{other:?}"),
        };
        let short = azure("azure://account/container/p/q");
        assert_eq!(short, azure("azure://account.blob.core.windows.net/container/p/q/"));
        assert_eq!((short.account_name.as_str(), short.container_name.as_str()), ("account", "container"));
        assert_eq!(short.prefix.as_deref(), Some("p/q"));
        let china = azure("azure://account.blob.core.chinacloudapi.cn/container");
        assert_eq!(china.endpoint.as_deref(), Some("https://account.blob.core.chinacloudapi.cn"));
    }

    #[test]
    fn the_rest_is_gcs_memory_or_a_path() {
        assert_eq!(parse_url("gcs://b/p").unwrap(), parse_url("gs://b/p").unwrap());
        assert_eq!(parse_url("memory:").unwrap(), StorageSettings::Memory);
        for (url, path) in [
            ("file:///a/b", "/a/b"),
            ("file:///a%20b", "/a b"),
            ("/a/b", "/a/b"),
            ("a/b", "a/b"),
            ("./c:d", "./c:d"),
        ] {
            let expected = StorageSettings::Filesystem { path: path.into(), prefix: None };
            assert_eq!(parse_url(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not_repeated() {
        for (url, words) in [
            ("s3://key:hunter2@bucket/p", "credentials"),
            ("s3:///p", "names no bucket"),
            ("s3://b?regoin=x", "regoin"),
            ("s3://b?secret_key=hunter2", "secret_key"),
            ("s3://b?path_style=maybe", "neither true nor false"),
            ("azure://account", "no container"),
            ("ftp://x/y", "not known"),
            ("file://host/x", "no local folder"),
            ("", "empty"),
        ] {
            let error = parse_url(url).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Input, "{url}");
            assert!(error.message().contains(words), "{url}: {error}");
            assert!(!error.message().contains("hunter2"), "{error}");
        }
    }
}

//! Keys in the files that the AWS tools share: `~/.aws/credentials` and `~/.aws/config`.
//!
//! Only profiles that hold keys, with or without a session token. Profiles that must first ask somebody (assumed roles,
//! SSO, helper processes) are refused in words. The files are read again now and then, so that renewed keys are taken up
//! without a restart.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::time::Instant;

use crate::{Error, ErrorKind, Result};

/// How long keys are used before the files are read again.
const FRESH: Duration = Duration::from_secs(30);

/// Where the files are. A file that does not exist is an empty one.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub(super) credentials: Option<PathBuf>,
    pub(super) config: Option<PathBuf>,
}

/// The values of one profile, of both files; those of the credentials file come first.
type Values = BTreeMap<String, String>;

/// A profile that holds keys.
pub(super) struct Profile {
    files: Files,
    name: String,
    region: Option<String>,
    /// The newest keys and when they were read.
    keys: Mutex<(Arc<AwsCredential>, Option<Instant>)>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile")
            .field("files", &self.files)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Profile {
    /// A profile by its name.
    pub(super) fn load(files: Files, name: &str) -> Result<Self> {
        let values = files.profile(name)?.ok_or_else(|| {
            Error::new(
                ErrorKind::Credentials,
                format!("there is no AWS profile {name:?} in {}", files.names()),
            )
        })?;
        let keys = keys(&values, name)?;
        let region = values.get("region").cloned();
        Ok(Self { files, name: name.to_owned(), region, keys: Mutex::new((Arc::new(keys), None)) })
    }

    /// The profile `default`, where it holds keys: nobody asked for it, so it may also be missing or of another kind.
    pub(super) fn default_with_keys(files: Files) -> Result<Option<Self>> {
        match files.profile("default")? {
            Some(values) if values.contains_key("aws_access_key_id") => {
                Self::load(files, "default").map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The region that the profile names.
    pub(super) fn region(&self) -> Option<String> {
        self.region.clone()
    }

    /// The keys, read again where they are not fresh. While the files cannot be read the last keys go on being used.
    fn current(&self) -> Arc<AwsCredential> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.1.is_none_or(|read| read.elapsed() >= FRESH) {
            if let Ok(Some(values)) = self.files.profile(&self.name)
                && let Ok(new) = self::keys(&values, &self.name)
                && new != *keys.0
            {
                keys.0 = Arc::new(new);
            }
            keys.1 = Some(Instant::now());
        }
        Arc::clone(&keys.0)
    }
}

#[async_trait]
impl CredentialProvider for Profile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        Ok(self.current())
    }
}

impl Files {
    fn names(&self) -> String {
        let paths = [&self.credentials, &self.config].into_iter().flatten();
        paths.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
    }

    /// A profile's values, or `None` where neither file has it.
    fn profile(&self, name: &str) -> Result<Option<Values>> {
        let mut found = None;
        // In the config file a section is called `profile name`, except for `default`.
        let in_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        for (path, section) in [(&self.config, in_config.as_str()), (&self.credentials, name)] {
            let Some(path) = path else { continue };
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let message = format!("cannot read {}", path.display());
                    return Err(Error::new(ErrorKind::Credentials, message).caused_by(error));
                }
            };
            if let Some(values) = self::section(&text, section) {
                found.get_or_insert_with(Values::new).extend(values);
            }
        }
        Ok(found)
    }
}

/// The values of one section. Indented lines belong to nested settings, which hold nothing for us.
fn section(text: &str, wanted: &str) -> Option<Values> {
    let mut found: Option<Values> = None;
    let mut inside = false;
    for line in text.lines() {
        let line = line.trim_end();
        if line.starts_with(['#', ';', ' ', '\t']) || line.is_empty() {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = name.split_whitespace().collect::<Vec<_>>().join(" ") == wanted;
            if inside {
                found.get_or_insert_with(Values::new);
            }
        } else if inside
            && let Some((key, value)) = line.split_once('=')
            && let Some(values) = &mut found
        {
            let value = value.split(" #").next().unwrap_or_default().split(" ;").next().unwrap_or_default();
            values.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

fn keys(values: &Values, name: &str) -> Result<AwsCredential> {
    let value = |key: &str| values.get(key).filter(|value| !value.is_empty()).cloned();
    match (value("aws_access_key_id"), value("aws_secret_access_key")) {
        (Some(key_id), Some(secret_key)) => {
            Ok(AwsCredential { key_id, secret_key, token: value("aws_session_token") })
        }
        _ => {
            let message = format!("the AWS profile {name:?} does not hold an access key and its secret");
            let other =
                ["role_arn", "credential_process", "sso_session", "sso_start_url", "web_identity_token_file"];
            let error = match other.iter().find(|key| values.contains_key(**key)) {
                Some(key) => format!("{message}, but {key}, which is not supported"),
                None => message,
            };
            Err(Error::new(ErrorKind::Credentials, error)
                .hint(format!("put its keys into the environment: aws configure export-credentials --profile {name} --format env")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "\
# comment
[default]
aws_access_key_id = AKID
aws_secret_access_key=se/cr+et=   # trailing

[ other ]
AWS_ACCESS_KEY_ID=OTHER
aws_secret_access_key=x
aws_session_token = tok=en
s3 =
  max_concurrent_requests = 20
  aws_secret_access_key = nested
[role]
role_arn = arn:aws:iam::1:role/x
source_profile = default
";
    const CONFIG: &str =
        "[default]\nregion=eu-central-1\n[profile other]\nregion = us-west-2\n[other]\nregion = wrong\n";

    fn files(folder: &tempfile::TempDir) -> Files {
        let (credentials, config) = (folder.path().join("credentials"), folder.path().join("config"));
        std::fs::write(&credentials, CREDENTIALS).unwrap();
        std::fs::write(&config, CONFIG).unwrap();
        Files { credentials: Some(credentials), config: Some(config) }
    }

    #[test]
    fn keys_token_and_region_come_from_the_named_profile() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::load(files(&folder), "default").unwrap();
        let keys = profile.current();
        assert_eq!((keys.key_id.as_str(), keys.secret_key.as_str()), ("AKID", "se/cr+et="));
        assert_eq!((keys.token.as_deref(), profile.region().as_deref()), (None, Some("eu-central-1")));
        let other = Profile::load(files(&folder), "other").unwrap();
        let keys = other.current();
        assert_eq!((keys.key_id.as_str(), keys.secret_key.as_str()), ("OTHER", "x"));
        assert_eq!((keys.token.as_deref(), other.region().as_deref()), (Some("tok=en"), Some("us-west-2")));
        assert!(!format!("{other:?}").contains("tok=en"));
    }

    #[test]
    fn profiles_without_keys_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = Profile::load(files(&folder), "role").unwrap_err();
        assert!(error.message().contains("role_arn"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Credentials);
        let error = Profile::load(files(&folder), "none").unwrap_err();
        assert!(error.message().contains("\"none\"") && error.message().contains("credentials"), "{error}");
        assert!(Profile::default_with_keys(Files::default()).unwrap().is_none());
        assert!(Profile::default_with_keys(files(&folder)).unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn renewed_keys_are_taken_up_and_a_broken_file_keeps_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(&folder);
        let path = files.credentials.clone().unwrap();
        let profile = Profile::load(files, "other").unwrap();
        assert_eq!(profile.current().key_id, "OTHER");
        std::fs::write(&path, CREDENTIALS.replace("OTHER", "RENEWED")).unwrap();
        assert_eq!(profile.current().key_id, "OTHER", "still fresh");
        tokio::time::advance(FRESH).await;
        assert_eq!(profile.get_credential().await.unwrap().key_id, "RENEWED");
        std::fs::write(&path, "").unwrap();
        tokio::time::advance(FRESH).await;
        assert_eq!(profile.current().key_id, "RENEWED");
    }
}

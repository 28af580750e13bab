//! `storage`: where backups lie. One table and one struct a backend; credentials are [`Secret`]s.

use std::path::PathBuf;

use pipeline::secret::Secret;
use pipeline::storage::settings::{AzureSettings, GcsSettings, S3Settings, StorageSettings};

use super::check::Section;
use super::error::Problems;
use super::keys::{Kind, Table, no_effect, oso, ours, refused};

const PREFIX: &str = "folder inside the bucket or container, before the backup's own";
const ALLOW_HTTP: &str = "allow an endpoint without TLS";

/// Keys of `backend: s3`.
pub(crate) static S3: Table = Table {
    path: "storage (s3)",
    about: "Any S3 API. Without keys, credentials come from the environment, the profile or the instance.",
    keys: &[
        oso("bucket", Kind::Text, "the bucket").required().example("kafka-backups"),
        oso("region", Kind::Text, "the bucket's region; from the environment where unset").example("eu-west-1"),
        oso("endpoint", Kind::Text, "URL of an S3 API that is not AWS's").example("https://s3.example.com"),
        oso("prefix", Kind::Text, PREFIX).example("production"),
        oso("access_key", Kind::Secret, "access key id; with secret_key").also(&["access_key_id"]).example("${AWS_ACCESS_KEY_ID}"),
        oso("secret_key", Kind::Secret, "secret access key; with access_key")
            .also(&["secret_access_key"])
            .example("${AWS_SECRET_ACCESS_KEY}"),
        ours("session_token", Kind::Secret, "token of temporary credentials; with access_key and secret_key").example("${AWS_SESSION_TOKEN}"),
        ours("profile", Kind::Text, "profile of the AWS configuration files to take credentials from").example("backup"),
        oso("path_style", Kind::Bool, "put the bucket into the path instead of the host name; unset: where an endpoint is given (which is what OSO always does)")
            .example("true"),
        oso("allow_http", Kind::Bool, ALLOW_HTTP).default("false"),
        ours("unsigned_payload", Kind::Bool, "leave bodies out of the signature also without TLS (over TLS that is always so)").default("false"),
    ],
};

/// Keys of `backend: azure`.
pub(crate) static AZURE: Table = Table {
    path: "storage (azure)",
    about: "Azure Blob Storage. The first that is given counts: SAS token, account key, service principal, workload identity, then the environment's default.",
    keys: &[
        oso("account_name", Kind::Text, "the storage account").required().example("mystorageaccount"),
        oso("container_name", Kind::Text, "the container")
            .also(&["container"])
            .required()
            .example("kafka-backups"),
        oso("prefix", Kind::Text, PREFIX).example("production"),
        oso("endpoint", Kind::Text, "URL of the blob service where it is not the public cloud's")
            .example("https://mystorageaccount.blob.core.usgovcloudapi.net"),
        oso("sas_token", Kind::Secret, "shared access signature").example("${AZURE_SAS_TOKEN}"),
        oso("account_key", Kind::Secret, "key of the account").example("${AZURE_STORAGE_KEY}"),
        oso("client_id", Kind::Text, "service principal or workload identity: client")
            .example("12345678-1234-1234-1234-123456789abc"),
        oso("tenant_id", Kind::Text, "service principal or workload identity: tenant")
            .example("87654321-4321-4321-4321-cba987654321"),
        oso("client_secret", Kind::Secret, "service principal: secret").example("${AZURE_CLIENT_SECRET}"),
        oso("use_workload_identity", Kind::Bool, "use AKS workload identity").default("false"),
        ours("allow_http", Kind::Bool, ALLOW_HTTP).default("false"),
        refused(
            "connection_string",
            "not supported: OSO never read this key",
            "write account_name and account_key",
        ),
    ],
};

/// Keys of `backend: gcs`.
pub(crate) static GCS: Table = Table {
    path: "storage (gcs)",
    about: "Google Cloud Storage. Without a key file, credentials come from the environment.",
    keys: &[
        oso("bucket", Kind::Text, "the bucket").required().example("kafka-backups"),
        oso("prefix", Kind::Text, PREFIX).example("production"),
        oso("service_account_path", Kind::Text, "JSON key file of a service account")
            .example("/etc/replevin/gcs.json"),
        ours("endpoint", Kind::Text, "URL of another server that speaks the same API")
            .example("https://storage.example.com"),
        ours("allow_http", Kind::Bool, ALLOW_HTTP).default("false"),
        refused(
            "service_account_json",
            "not supported: OSO never read this key",
            "put the key into a file and name it as service_account_path",
        ),
    ],
};

/// Keys of `backend: filesystem`.
pub(crate) static FILESYSTEM: Table = Table {
    path: "storage (filesystem)",
    about: "A folder of this machine or a mounted share.",
    keys: &[
        oso("path", Kind::Text, "the folder; it is made where it is missing")
            .required()
            .example("/var/lib/replevin"),
        no_effect("prefix", Kind::Text, "OSO ignores it too; put the folder into storage.path"),
    ],
};

/// `backend: memory` takes no keys.
pub(crate) static MEMORY: Table = Table {
    path: "storage (memory)",
    about: "Nothing is kept once the process ends: for trials.",
    keys: &[],
};

/// The backends by name.
pub(crate) static STORAGE: Kind = Kind::Tagged {
    tag: "backend",
    variants: &[
        ("s3", &S3),
        ("azure", &AZURE),
        ("gcs", &GCS),
        ("filesystem", &FILESYSTEM),
        ("memory", &MEMORY),
    ],
};

/// Builds the store's settings from their checked section.
pub(crate) fn build(section: &Section, problems: &mut Problems) -> Option<StorageSettings> {
    let text = |key: &str| section.text(key).map(str::to_owned);
    let secret = |key: &str| section.text(key).map(Secret::new);
    let prefix = Some(prefix(section, problems)).filter(|prefix| !prefix.is_empty());
    let endpoint = endpoint(section, problems);
    Some(match section.variant {
        "s3" => {
            together(section, &["access_key", "secret_key"], "session_token", problems);
            StorageSettings::S3(S3Settings {
                bucket: text("bucket")?,
                region: text("region"),
                path_style: section.bool("path_style"),
                endpoint,
                prefix,
                access_key: secret("access_key"),
                secret_key: secret("secret_key"),
                session_token: secret("session_token"),
                profile: text("profile"),
                allow_http: section.bool("allow_http")?,
                // Written as false, it means the default: over TLS bodies are never part of the signature.
                unsigned_payload: section.bool("unsigned_payload").filter(|unsigned| *unsigned),
            })
        }
        "azure" => {
            if section.is_written("client_secret") {
                together(section, &["client_id", "tenant_id", "client_secret"], "client_secret", problems);
            }
            StorageSettings::Azure(AzureSettings {
                account_name: text("account_name")?,
                container_name: text("container_name")?,
                prefix,
                endpoint,
                sas_token: secret("sas_token"),
                account_key: secret("account_key"),
                client_id: text("client_id"),
                tenant_id: text("tenant_id"),
                client_secret: secret("client_secret"),
                use_workload_identity: section.bool("use_workload_identity")?,
            })
        }
        "gcs" => StorageSettings::Gcs(GcsSettings {
            bucket: text("bucket")?,
            prefix,
            service_account_path: text("service_account_path").map(PathBuf::from),
            endpoint,
        }),
        "filesystem" => StorageSettings::Filesystem { path: text("path")?.into(), prefix: None },
        _ => StorageSettings::Memory,
    })
}

/// The prefix without slashes at its ends (OSO's examples end it in one).
fn prefix(section: &Section, problems: &mut Problems) -> String {
    let prefix = section.text("prefix").unwrap_or_default().trim_matches('/');
    if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        let message = "storage.prefix has an empty, \".\" or \"..\" folder in it";
        problems.add(section.at("prefix"), message, "write folders with single slashes between them");
    }
    prefix.to_owned()
}

/// The endpoint, which must be a URL, over TLS unless told otherwise.
fn endpoint(section: &Section, problems: &mut Problems) -> Option<String> {
    let endpoint = section.text("endpoint")?;
    let at = section.at("endpoint");
    if endpoint.starts_with("http://") {
        if section.bool("allow_http") != Some(true) {
            let message = "storage.endpoint has no TLS: keys and data would travel in the clear";
            problems.add(at, message, "use https://, or set storage.allow_http: true");
        }
    } else if !endpoint.starts_with("https://") {
        problems.add(at, "storage.endpoint is not a URL", "write https://host or https://host:port");
    }
    Some(endpoint.trim_end_matches('/').to_owned())
}

/// Reports keys of a group that are given without the others; `dependent` needs the whole group.
fn together(section: &Section, group: &[&str], dependent: &str, problems: &mut Problems) {
    let given = |key: &&&str| section.is_written(key);
    let missing: Vec<&str> = group.iter().filter(|key| !given(key)).copied().collect();
    let asked = group.iter().copied().chain([dependent]).find(|key| section.is_written(key));
    if let (Some(asked), false) = (asked, missing.is_empty()) {
        let message = format!("storage.{asked} needs {} as well", missing.join(" and "));
        problems.add(
            section.at(asked),
            message,
            "give them together, or none of them to use the environment's credentials",
        );
    }
}

//! `schema_registry`, also `enterprise.schema_registry`: which registry, how to reach it, which schemas, and what a restore does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use formats::wire::Side;
use pipeline::restore::schemas::{KeyIds, Told, UnknownIds};
use pipeline::secret::Secret;
use registry::settings::Level;
use registry::transfer::restore::Strategy;

use super::check::Section;
use super::error::{Notice, Problems};
use super::keys::{Key, Kind, Table, oso, ours};

const TYPES: Kind = Kind::Word(&["AVRO", "JSON", "PROTOBUF"]);

/// Every key of the section.
pub(crate) static SCHEMA_REGISTRY: Table = Table {
    path: "schema_registry",
    about: "The schema registry whose schemas belong to the data; `enterprise.schema_registry` is the same section in another place. Schemas are \
            looked at after data was committed, and a backup says up to which commit they are complete. Keys of encryption (KEKs and DEKs, \
            wrapped as they are) come along where the registry serves `/dek-registry/v1`.",
    keys: &[
        oso(
            "enabled",
            Kind::Bool,
            "whether schemas are backed up, or restored; where it is left out: if `url` is there",
        )
        .default("false"),
        oso(
            "url",
            Kind::Text,
            "the registry; several URLs with commas between them are instances of one, tried in turn. \
            `kafka://HOST:PORT/_schemas` reads a registry's topic without its registry",
        )
        .example("http://localhost:8081"),
        oso("auth", Kind::Section(&AUTH), "who asks"),
        oso("tls", Kind::Section(&TLS), "how connections are secured"),
        oso("backup", Kind::Section(&TAKEN), "what to take"),
        oso("schema_types", Kind::List(&TYPES), "only schemas of these types; an empty list takes all")
            .default("[]"),
        oso("protobuf", Kind::Section(&PROTOBUF), "for Protobuf"),
        oso("connection", Kind::Section(&CONNECTION), "how hard it is asked"),
        oso(
            "restore",
            Kind::Section(&RESTORED),
            "what a restore does with schemas and with the ids in records; a backup does not read it",
        ),
    ],
};

/// Who asks a registry, wherever that is configured.
pub(super) const AUTH_KEYS: &[Key] = &[
    oso("type", Kind::Choice(&["none", "basic", "mtls", "oauth", "bearer"]), "how to authenticate; mtls needs tls.client_cert and tls.client_key, which may also come beside the others")
        .default("none"),
    oso("username", Kind::Text, "for basic: the user, or the API key").example("${SR_USERNAME}"),
    oso("password", Kind::Secret, "for basic: the password, or the API secret").example("${SR_PASSWORD}"),
    ours("token", Kind::Secret, "for bearer").example("${SR_TOKEN}"),
    oso("token_url", Kind::Text, "for oauth: where tokens are made").example("https://auth.example.com/oauth/token"),
    oso("client_id", Kind::Text, "for oauth").example("${SR_CLIENT_ID}"),
    oso("client_secret", Kind::Secret, "for oauth").example("${SR_CLIENT_SECRET}"),
    oso("scope", Kind::Text, "for oauth: what the token is to be good for").example("schema-registry"),
    ours("logical_cluster", Kind::Text, "for oauth and bearer: Confluent Cloud's `bearer.auth.logical.cluster`").example("lsrc-1a2b3c"),
    ours("identity_pool_id", Kind::Text, "for oauth and bearer: Confluent Cloud's `bearer.auth.identity.pool.id`").example("pool-1a2b"),
];

pub(crate) static AUTH: Table =
    Table { path: "schema_registry.auth", about: "Who asks the registry.", keys: AUTH_KEYS };

/// How connections to a registry are secured, wherever that is configured.
pub(super) const TLS_KEYS: &[Key] = &[
    oso(
        "ca_cert",
        Kind::Text,
        "certificates of those who may vouch for the registry; left out: those of the machine",
    )
    .example("/certs/ca.crt"),
    oso("client_cert", Kind::Text, "the client's certificate; with client_key").example("/certs/client.crt"),
    oso("client_key", Kind::Text, "the client's key").example("/certs/client.key"),
    ours(
        "insecure_skip_verify",
        Kind::Bool,
        "believe any certificate: passwords and schemas are open to whoever stands between",
    )
    .default("false"),
];

pub(crate) static TLS: Table = Table {
    path: "schema_registry.tls",
    about: "How connections to the registry are secured. Files are PEM.",
    keys: TLS_KEYS,
};

pub(crate) static TAKEN: Table = Table {
    path: "schema_registry.backup",
    about: "What a backup takes. Of a subject that is taken it keeps every version, deleted ones too: records may bear the id of any of them. \
            What taken schemas leave out of the backup's own topics is said before the first record is fetched.",
    keys: &[
        oso("subjects", Kind::List(&Kind::SubjectPattern), "subjects to take: names or globs, `:.context:name` in other contexts than the default one; an empty list takes all").default("[]"),
        oso("exclude", Kind::List(&Kind::SubjectPattern), "subjects to leave out, whatever subjects says").default("[]"),
        oso("include_references", Kind::Bool, "take what taken schemas refer to, whatever is said above").default("true"),
        oso("include_soft_deleted", Kind::Bool, "whether a restore registers versions that were deleted, softly or for good (and deletes them softly again): records may bear their ids; the backup has them in any case").default("true"),
        oso("include_versions", Kind::Choice(&["all", "latest"]), "which versions a restore registers; the backup has all of them in any case").default("all"),
        ours("poll_interval", Kind::Duration { plain: None, min: 100 }, "the shortest time between two looks at the registry while a continuous backup runs; they take a twentieth of the time at most").default("10s"),
        ours("read_delay", Kind::Duration { plain: Some(1), min: 0 }, "how far the registry's answers may lag behind what was registered (instances that follow another one); unset: 0, with `kafka://` 2s").example("2s"),
        ours("schema_ids", Kind::Choice(&["scan", "off"]), "scan: look through every record for the schema ids that it names, and list them with its segment; `describe` then shows ids that the registry does not know and schemas that no data uses, `verify` whether all of them resolve. What producers compressed is decompressed for that, on the cores that encode segments; what is stored of a record does not change").default("off"),
    ],
};

pub(crate) static PROTOBUF: Table = Table {
    path: "schema_registry.protobuf",
    about: "For Protobuf schemas.",
    keys: &[oso(
        "include_dependencies",
        Kind::Bool,
        "take the files that a taken one imports, as include_references does for all types",
    )
    .default("true")],
};

pub(crate) static CONNECTION: Table = Table {
    path: "schema_registry.connection",
    about: "How hard the registry is asked.",
    keys: &[
        oso("timeout_ms", Kind::Duration { plain: Some(1), min: 100 }, "the longest that an answer may take")
            .default("30000"),
        oso("max_retries", Kind::Int { min: 0, max: 100 }, "attempts after the first one").default("3"),
        oso(
            "retry_backoff_ms",
            Kind::Duration { plain: Some(1), min: 1 },
            "pauses between attempts grow from this",
        )
        .default("1000"),
        oso(
            "rate_limit_rps",
            Kind::Int { min: 0, max: 1_000_000 },
            "requests a second at most; 0 is as many as it answers",
        )
        .default("25"),
    ],
};

pub(crate) static RESTORED: Table = Table {
    path: "schema_registry.restore",
    about: "What a restore does with schemas.",
    keys: &[
        oso("enabled", Kind::Bool, "whether schemas are restored, before data").default("true"),
        oso("strategy", Kind::Choice(&["preserve", "overwrite", "skip"]), "what becomes of subjects that the target has: missing versions are added; replaced; left as they are").default("preserve"),
        oso("id_mapping", Kind::Bool, "whether ids of the backup are mapped to those of the target").default("true"),
        oso("rewrite_ids", Kind::Bool, "whether ids in records are rewritten to those of the target").default("true"),
        oso("force_ids", Kind::Bool, "whether schemas get the ids that they had").default("false"),
        oso("id_mapping_file", Kind::Text, "a JSON object from ids of the backup to ids of the target").example("/config/id-mapping.json"),
        oso("subject_mapping", Kind::Map(&Kind::Text, &Kind::Text), "names that subjects get").default("{}"),
        oso("set_compatibility", Kind::Word(&["NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"]), "the level that restored subjects get").example("NONE"),
        oso("force_register", Kind::Bool, "whether schemas are registered that do not fit older versions").default("false"),
        ours("modes", Kind::Bool, "whether subjects, contexts and the registry get the modes that they had").default("false"),
        ours("keys", Kind::Choice(&["rewrite", "keep"]), "what becomes of ids in keys: rewritten, the bytes of a key change with its id, so that producers put it into another partition").default("rewrite"),
        ours("unknown_ids", Kind::Choice(&["fail", "keep", "quarantine"]), "what to do with a record whose schema nothing in the target stands for. fail: its partition is not restored any further. keep: the record stays as it is. quarantine, in a restore alone: it is left out and goes as it is to the topic `TOPIC.quarantine`, made where there is any, and the restore ends with exit code 3").default("fail"),
        ours("framing", Kind::Map(&Kind::Text, &Kind::Choice(&["framed", "raw"])), "of topics (names in the backup, or globs; `NAME:key` and `NAME:value` for one side) whether records begin with schema ids, where subjects and samples do not tell; the first that matches counts").default("{}"),
    ],
};

/// What a restore does with schemas.
#[derive(Debug, Clone)]
pub(crate) struct Restored {
    /// Where they go; nothing where only a file says what ids become.
    pub(crate) registry: Option<Box<SchemaRegistry>>,
    pub(crate) strategy: Strategy,
    /// Whether ids in records become those of the target.
    pub(crate) rewrite: bool,
    pub(crate) force_ids: bool,
    pub(crate) id_mapping_file: Option<PathBuf>,
    pub(crate) subject_mapping: BTreeMap<String, String>,
    pub(crate) set_compatibility: Option<Level>,
    pub(crate) force_register: bool,
    pub(crate) modes: bool,
    pub(crate) keys: KeyIds,
    pub(crate) unknown: UnknownIds,
    pub(crate) framing: Vec<Told>,
    /// What decides which schemas are brought and what ids become, as text by the names of keys; what a file says apart.
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) soft_deleted: bool,
    pub(crate) only_latest: bool,
}

/// How a registry is reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Access {
    /// URLs with commas, or one that begins with `kafka://`. A password may be in them.
    pub(crate) url: Secret,
    pub(crate) auth: Auth,
    pub(crate) ca_cert: Option<PathBuf>,
    /// Certificate and key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    pub(crate) insecure: bool,
    pub(crate) timeout_ms: u64,
    pub(crate) max_retries: u32,
    pub(crate) retry_backoff_ms: u64,
    pub(crate) rate_limit_rps: u32,
}

/// A registry, and which of its schemas.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SchemaRegistry {
    pub(crate) access: Access,
    pub(crate) subjects: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) types: Vec<String>,
    pub(crate) references: bool,
    pub(crate) protobuf_references: bool,
    pub(crate) poll_interval_ms: u64,
    pub(crate) read_delay_ms: u64,
    pub(crate) scan_ids: bool,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Auth {
    None,
    Basic {
        username: String,
        password: Secret,
    },
    Bearer {
        token: Secret,
        cloud: Cloud,
    },
    /// OAuth 2.0.
    ClientCredentials {
        token_url: String,
        client_id: String,
        client_secret: Secret,
        scope: Option<String>,
        cloud: Cloud,
    },
}

/// What Confluent Cloud wants to know beside a token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cloud {
    pub(crate) logical_cluster: Option<String>,
    pub(crate) identity_pool: Option<String>,
}

impl SchemaRegistry {
    /// Builds it from its checked section, called `path`; nothing where it is switched off. `own` is the registry of the same process.
    pub(crate) fn build(
        section: &Section,
        path: &str,
        own: Option<String>,
        problems: &mut Problems,
        notices: &mut Vec<Notice>,
    ) -> Option<Self> {
        let is_enabled = match section.is_written("enabled") {
            true => section.bool("enabled")?,
            false => true,
        };
        if !is_enabled {
            return None;
        }
        let Some(url) = section.text("url").map(str::to_owned).or(own) else {
            if !section.is_given("url") && section.says_something() {
                let message = format!("{path}.url is missing: where the registry is");
                problems.add(
                    section.at("url"),
                    message,
                    "add url: http://HOST:8081, or leave the section out",
                );
            }
            return None;
        };
        let access = Access::build(section, path, url, problems, notices)?;
        let taken = section.section("backup")?;
        let is_topic = access.url.expose().starts_with("kafka://");
        Some(Self {
            access,
            subjects: taken.texts("subjects"),
            exclude: taken.texts("exclude"),
            types: section.texts("schema_types"),
            references: taken.bool("include_references")?,
            protobuf_references: section.section("protobuf")?.bool("include_dependencies")?,
            poll_interval_ms: taken.unsigned("poll_interval")?,
            read_delay_ms: taken.unsigned("read_delay").unwrap_or(if is_topic { 2_000 } else { 0 }),
            scan_ids: taken.text("schema_ids")? == "scan",
        })
    }
}

impl Access {
    /// Builds it from a checked section, called `path`, of a registry at a URL.
    pub(crate) fn build(
        section: &Section,
        path: &str,
        url: String,
        problems: &mut Problems,
        notices: &mut Vec<Notice>,
    ) -> Option<Self> {
        let is_topic = url.starts_with("kafka://");
        let is_known = |one: &str| one.starts_with("http://") || one.starts_with("https://");
        if !is_topic && !url.split(',').map(str::trim).all(is_known) {
            let message = format!("{path}.url is neither a URL of a registry nor one of a topic");
            problems.add(
                section.at("url"),
                message,
                "write http://HOST:8081, https://HOST:8081 or kafka://HOST:9092/_schemas",
            );
        }
        let (tls, connection) = (section.section("tls")?, section.section("connection")?);
        let file = |key: &str| tls.text(key).map(PathBuf::from);
        let identity = match (file("client_cert"), file("client_key")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (certificate, _) => {
                let missing = if certificate.is_some() { "client_key" } else { "client_cert" };
                problems.add(
                    tls.at(missing),
                    format!("{path}.tls.{missing} is missing beside the other one"),
                    "give both",
                );
                None
            }
        };
        let auth = Auth::build(section.section("auth")?, path, identity.is_some(), problems, notices);
        Some(Self {
            url: Secret::new(url),
            auth: auth?,
            ca_cert: file("ca_cert"),
            identity,
            insecure: tls.bool("insecure_skip_verify")?,
            timeout_ms: connection.unsigned("timeout_ms")?,
            max_retries: u32::try_from(connection.unsigned("max_retries")?).ok()?,
            retry_backoff_ms: connection.unsigned("retry_backoff_ms")?,
            rate_limit_rps: u32::try_from(connection.unsigned("rate_limit_rps")?).ok()?,
        })
    }
}

impl Restored {
    /// What makes a restore another one. What ids become is pinned when the first record is restored, so it need not be in here.
    pub(crate) fn identity(&self) -> String {
        let places = self.registry.as_ref().map(|registry| {
            // Passwords change.
            let urls = registry.access.url.expose().split(',');
            urls.map(|url| url.rsplit('@').next().unwrap_or_default().trim()).collect::<Vec<_>>()
        });
        format!("{places:?} {} {:?}", self.rewrite, self.keys)
    }

    /// Builds it from its checked section, called `path`; nothing where schemas are left out and records keep their ids.
    pub(crate) fn build(
        section: &Section,
        path: &str,
        problems: &mut Problems,
        notices: &mut Vec<Notice>,
    ) -> Option<Self> {
        let (restored, taken) = (section.section("restore")?, section.section("backup")?);
        let is_off = section.is_written("enabled") && !section.bool("enabled")?;
        let id_mapping_file = restored.text("id_mapping_file").map(PathBuf::from);
        let registry = match restored.bool("enabled")? && !is_off {
            true => Some(Box::new(SchemaRegistry::build(section, path, None, problems, notices)?)),
            false => None,
        };
        if let Some(registry) = &registry
            && registry.access.url.expose().starts_with("kafka://")
        {
            let message = format!("{path}.url is a topic: schemas cannot be restored into that");
            problems.add(
                section.at("url"),
                message,
                "write the URL of the registry that the topic belongs to",
            );
        }
        if registry.is_none() && (is_off || id_mapping_file.is_none()) {
            return None;
        }
        let is_mapped = restored.bool("id_mapping")?;
        if !is_mapped && restored.is_written("rewrite_ids") && restored.bool("rewrite_ids")? {
            let message = format!("{path}.restore.rewrite_ids has no effect beside id_mapping: false");
            notices.push(Notice { at: restored.at("rewrite_ids"), message });
        }
        let force_ids = restored.bool("force_ids")?;
        if force_ids && id_mapping_file.is_some() {
            let message = format!("{path}.restore has both force_ids and id_mapping_file");
            problems.add(
                restored.at("force_ids"),
                message,
                "keep one: the ids of the backup, or those of the file",
            );
        }
        let rewrite = is_mapped && restored.bool("rewrite_ids")?;
        if !rewrite && restored.text("unknown_ids")? == "quarantine" {
            let message = format!(
                "{path}.restore.unknown_ids: quarantine needs rewrite_ids and id_mapping: ids in records are not looked at"
            );
            problems.add(
                restored.at("unknown_ids"),
                message,
                "leave unknown_ids out, or rewrite_ids and id_mapping",
            );
        }
        let subject_mapping = restored.map("subject_mapping").iter();
        let subject_mapping = subject_mapping
            .map(|(from, to)| Some((from.as_text()?.to_owned(), to.as_text()?.to_owned())))
            .collect::<Option<_>>()?;
        let mut framing = Vec::new();
        for (topics, how) in restored.map("framing") {
            match told(topics.as_text()?, how.as_text()?) {
                Ok(told) => framing.push(told),
                Err(error) => {
                    let message = format!("{path}.restore.framing: {error}");
                    problems.add(
                        restored.at("framing"),
                        message,
                        "write TOPIC, TOPIC:key or TOPIC:value, with * for any characters",
                    );
                }
            }
        }
        Some(Self {
            registry,
            strategy: match restored.text("strategy")? {
                "overwrite" => Strategy::Overwrite,
                "skip" => Strategy::Skip,
                _ => Strategy::Preserve,
            },
            rewrite,
            force_ids,
            id_mapping_file,
            subject_mapping,
            set_compatibility: restored.text("set_compatibility").and_then(|level| level.parse().ok()),
            force_register: restored.bool("force_register")?,
            modes: restored.bool("modes")?,
            keys: match restored.text("keys")? {
                "keep" => KeyIds::Keep,
                _ => KeyIds::Rewrite,
            },
            unknown: match restored.text("unknown_ids")? {
                "keep" => UnknownIds::Keep,
                "quarantine" => UnknownIds::Quarantine,
                _ => UnknownIds::Fail,
            },
            framing,
            settings: settings(section)?,
            soft_deleted: taken.bool("include_soft_deleted")?,
            only_latest: taken.text("include_versions")? == "latest",
        })
    }
}

/// What the registry's section says that decides what ids become, as text by the names of keys.
fn settings(section: &Section) -> Option<BTreeMap<String, String>> {
    let (restored, taken) = (section.section("restore")?, section.section("backup")?);
    let pairs = |key: &str| {
        let pairs = restored.map(key).iter();
        let pairs = pairs.map(|(name, value)| Some(format!("{}: {}", name.as_text()?, value.as_text()?)));
        Some(format!("{{{}}}", pairs.collect::<Option<Vec<_>>>()?.join(", ")))
    };
    let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
    let word = |section: &Section, key: &str| section.text(key).unwrap_or("unset").to_owned();
    let flag = |section: &Section, key: &str| section.bool(key).map(|flag| flag.to_string());
    let settings = [
        ("restore.strategy", word(restored, "strategy")),
        ("restore.force_ids", flag(restored, "force_ids")?),
        ("restore.subject_mapping", pairs("subject_mapping")?),
        ("restore.set_compatibility", word(restored, "set_compatibility")),
        ("restore.force_register", flag(restored, "force_register")?),
        ("restore.modes", flag(restored, "modes")?),
        ("restore.framing", pairs("framing")?),
        ("backup.subjects", list(taken.texts("subjects"))),
        ("backup.exclude", list(taken.texts("exclude"))),
        ("backup.include_soft_deleted", flag(taken, "include_soft_deleted")?),
        ("backup.include_versions", word(taken, "include_versions")),
        ("schema_types", list(section.texts("schema_types"))),
    ];
    Some(settings.map(|(name, value)| (name.to_owned(), value)).into())
}

fn told(topics: &str, how: &str) -> pipeline::Result<Told> {
    let (topics, side) = match topics.rsplit_once(':') {
        Some((topics, "key")) => (topics, Some(Side::Key)),
        Some((topics, "value")) => (topics, Some(Side::Value)),
        _ => (topics, None),
    };
    Told::new(topics, side, how == "framed")
}

impl Auth {
    fn build(
        section: &Section,
        path: &str,
        has_certificate: bool,
        problems: &mut Problems,
        notices: &mut Vec<Notice>,
    ) -> Option<Self> {
        let kind = section.text("type")?;
        let used: &[&str] = match kind {
            "basic" => &["username", "password"],
            "bearer" => &["token", "logical_cluster", "identity_pool_id"],
            "oauth" => {
                &["token_url", "client_id", "client_secret", "scope", "logical_cluster", "identity_pool_id"]
            }
            _ => &[],
        };
        for key in AUTH.keys.iter().map(|key| key.name).filter(|name| *name != "type" && !used.contains(name))
        {
            if section.is_written(key) {
                let message = format!("{path}.auth.{key} has no effect: auth.type is {kind}");
                notices.push(Notice { at: section.at(key), message });
            }
        }
        let mut needed = |key: &str| {
            let text = section.text(key).map(str::to_owned);
            if text.is_none() && !section.is_given(key) {
                let message = format!("{path}.auth.{key} is missing: auth.type {kind} needs it");
                problems.add(section.at(key), message, format!("add {key}"));
            }
            text
        };
        let text = |key: &str| section.text(key).map(str::to_owned);
        let cloud =
            Cloud { logical_cluster: text("logical_cluster"), identity_pool: text("identity_pool_id") };
        match kind {
            "basic" => {
                let (username, password) = (needed("username"), needed("password"));
                Some(Self::Basic { username: username?, password: Secret::new(password?) })
            }
            "bearer" => Some(Self::Bearer { token: Secret::new(needed("token")?), cloud }),
            "oauth" => {
                let (token_url, client_id) = (needed("token_url"), needed("client_id"));
                let client_secret = Secret::new(needed("client_secret")?);
                Some(Self::ClientCredentials {
                    token_url: token_url?,
                    client_id: client_id?,
                    client_secret,
                    scope: text("scope"),
                    cloud,
                })
            }
            "mtls" if !has_certificate => {
                let message =
                    format!("{path}.tls.client_cert and client_key are missing: auth.type mtls needs them");
                problems.add(section.at("type"), message, "add both to the tls section");
                None
            }
            _ => Some(Self::None),
        }
    }
}

//! The keys of a registry's file, but for its stores. Names of both dialects mean the same; variables win over the file.

use super::super::keys::{Handling, Harmless, Key, Kind, Table, no_effect, ours, refused};
use super::follow;
use super::stores::{CASSANDRA, KAFKA, MYSQL, POSTGRESQL, SQLITE, STORAGE};

/// A length of time, in seconds where no unit is written.
pub(super) const fn seconds(min: i64) -> Kind {
    Kind::Duration { plain: Some(1_000), min }
}

const SWITCH_OFF: &str = "leave it out, or set enabled: false in it";

/// A section of a feature that does not exist yet.
const fn later(name: &'static str, why: &'static str) -> Key {
    refused(name, why, SWITCH_OFF).unless(Harmless::Disabled)
}

const AUTH: &str = "not yet supported: authentication and authorisation";
const AUDIT: &str = "not yet supported: an audit log";
const RATE: &str = "not yet supported: rate limits";
const TLS: &str = "not yet supported: TLS for clients";

/// The top level.
pub(crate) static ROOT: Table = Table {
    path: "",
    about: "What `replevin registry serve` reads. All of it may be left out.",
    keys: &[
        ours("server", Kind::Section(&SERVER), "how clients are served"),
        ours("storage", Kind::Section(&STORAGE), "where schemas are kept"),
        ours("follow", Kind::Section(&follow::FOLLOW), "the registry that this one is a standby of"),
        ours("compatibility", Kind::Section(&COMPATIBILITY), "what new schemas must be compatible with"),
        ours("schemas", Kind::Section(&SCHEMAS), "what is taken, and what of it is kept in memory"),
        ours("metrics", Kind::Section(&METRICS), "numbers for Prometheus"),
        ours("logging", Kind::Section(&LOGGING), "what is logged, to standard error"),
        ours("security", Kind::Section(&SECURITY), "nothing of it is supported yet"),
        later("auth", AUTH).also(&["rbac"]),
        later("audit", AUDIT),
        later("rate_limit", RATE).also(&["rate_limiting"]),
        later("mcp", "not yet supported: a server for MCP"),
    ],
};

/// `server`.
pub(crate) static SERVER: Table = Table {
    path: "server",
    about: "How clients are served. A client that is too slow for a limit is answered 408 where HTTP allows, and cut off.",
    keys: &[
        ours("host", Kind::Text, "address or name to listen on")
            .default("0.0.0.0")
            .env(&["SCHEMA_REGISTRY_HOST", "SERVER_HOST"]),
        ours("port", Kind::Int { min: 0, max: u16::MAX as i64 }, "port to listen on; 0: any that is free, which is logged")
            .default("8081")
            .env(&["SCHEMA_REGISTRY_PORT", "SERVER_PORT"]),
        ours("read_timeout", seconds(100), "the longest that the headers of a request may take, and after them its body")
            .default("30s")
            .env(&["SCHEMA_REGISTRY_READ_TIMEOUT"]),
        ours("write_timeout", seconds(100), "the longest that making an answer may take, and after that the longest that its client may take to read it, with a second more for each 64 KiB")
            .default("30s")
            .env(&["SCHEMA_REGISTRY_WRITE_TIMEOUT"]),
        ours("idle_timeout", seconds(100), "how long a connection may be silent between requests")
            .default("120s")
            .env(&["SCHEMA_REGISTRY_IDLE_TIMEOUT"]),
        ours("shutdown_timeout", seconds(0), "how long requests may go on once the registry is told to stop")
            .default("30s")
            .env(&["SCHEMA_REGISTRY_SHUTDOWN_TIMEOUT"]),
        ours("max_header_bytes", Kind::Size { min: 8 << 10, max: 4 << 20 }, "bytes of a request's line and headers; more is answered 431")
            .default("64KiB")
            .env(&["SCHEMA_REGISTRY_MAX_HEADER_BYTES"]),
        ours("max_request_body_size", Kind::Size { min: 1 << 10, max: 1 << 30 }, "bytes of a body; more is answered 413")
            .default("10MiB")
            .env(&["SCHEMA_REGISTRY_MAX_REQUEST_BODY_SIZE"]),
        ours("max_body_memory", Kind::Size { min: 1 << 20, max: 1 << 40 }, "bytes of large bodies, of requests and answers each, in memory at once; who finds no room is answered 503. At least the largest body")
            .default("16MiB")
            .env(&["SCHEMA_REGISTRY_MAX_BODY_MEMORY"]),
        ours("max_connections", Kind::Int { min: 1, max: 1_000_000 }, "connections at once, if the process may open so many files; more are answered 503, but for health and metrics")
            .default("2048")
            .env(&["SCHEMA_REGISTRY_MAX_CONNECTIONS"]),
        ours("cluster_id", Kind::Text, "the name of the Kafka cluster that the schemas belong to, for GET /v1/metadata/id")
            .example("lkc-1a2b3")
            .env(&["SCHEMA_REGISTRY_CLUSTER_ID"]),
        ours("docs_enabled", Kind::Bool, "serve a page about the API, /docs, and its description, /openapi.yaml and /openapi.json")
            .default("false")
            .env(&["SCHEMA_REGISTRY_DOCS_ENABLED"]),
        no_effect("metrics_refresh_interval", seconds(0), "numbers are counted when they are asked for")
            .env(&["SCHEMA_REGISTRY_METRICS_REFRESH_INTERVAL"]),
        later("tls", TLS),
    ],
};

/// `compatibility`.
pub(crate) static COMPATIBILITY: Table = Table {
    path: "compatibility",
    about: "What new schemas must be compatible with.",
    keys: &[
        ours(
            "level",
            Kind::Word(&[
                "NONE",
                "BACKWARD",
                "BACKWARD_TRANSITIVE",
                "FORWARD",
                "FORWARD_TRANSITIVE",
                "FULL",
                "FULL_TRANSITIVE",
            ]),
            "the level where nothing else is set",
        )
        .also(&["default_level"])
        .default("BACKWARD")
        .env(&["SCHEMA_REGISTRY_COMPATIBILITY_LEVEL", "COMPATIBILITY_LEVEL"]),
        ours("error_code", Kind::Choice(&["409", "40901"]), "error_code of an incompatible schema; the status is 409 either way. 40901 is for clients of Confluent 8.0.3 and newer")
            .default("409")
            .env(&["SCHEMA_REGISTRY_COMPATIBILITY_ERROR_CODE"]),
    ],
};

/// `schemas`.
pub(crate) static SCHEMAS: Table = Table {
    path: "schemas",
    about: "What is taken, and what of it is kept in memory.",
    keys: &[
        ours(
            "max_size",
            Kind::Size { min: 1 << 10, max: 64 << 20 },
            "bytes of a schema's text; more is answered 42209",
        )
        .default("1MiB")
        .env(&["SCHEMA_REGISTRY_SCHEMA_MAX_SIZE"]),
        ours(
            "max_references",
            Kind::Int { min: 0, max: 100_000 },
            "schemas that one may lead to, references of references included",
        )
        .default("1000")
        .env(&["SCHEMA_REGISTRY_SCHEMA_MAX_REFERENCES"]),
        ours("reject_empty_subject", Kind::Bool, "register nothing under an empty name")
            .default("false")
            .env(&["SCHEMA_REGISTRY_REJECT_EMPTY_SUBJECT"]),
        ours(
            "identity",
            Kind::Choice(&["confluent", "axonops"]),
            "what must be equal for an id to be given again: text, references, metadata and rules, or only what decides how bytes \
             are read. Fixed once there is a schema; `axonops` needs a store other than `kafka`",
        )
        .default("confluent")
        .env(&["SCHEMA_REGISTRY_IDENTITY"]),
        ours("mode_mutability", Kind::Bool, "let clients change modes")
            .default("true")
            .env(&["SCHEMA_REGISTRY_MODE_MUTABILITY"]),
        ours(
            "text_cache_size",
            Kind::Size { min: 0, max: 1 << 40 },
            "bytes of texts that are kept in memory, for stores outside of it",
        )
        .default("16MiB")
        .env(&["SCHEMA_REGISTRY_TEXT_CACHE_SIZE"]),
        ours(
            "answer_cache_size",
            Kind::Size { min: 0, max: 1 << 40 },
            "bytes of finished answers about ids that are kept in memory",
        )
        .default("16MiB")
        .env(&["SCHEMA_REGISTRY_ANSWER_CACHE_SIZE"]),
        ours(
            "parsed_cache_size",
            Kind::Size { min: 0, max: 1 << 40 },
            "bytes of parsed schemas that are kept in memory, about",
        )
        .default("8MiB")
        .env(&["SCHEMA_REGISTRY_PARSED_CACHE_SIZE"]),
    ],
};

/// `metrics`.
pub(crate) static METRICS: Table = Table {
    path: "metrics",
    about: "Numbers in Prometheus' text form. They are counted as things happen.",
    keys: &[
        ours("enabled", Kind::Bool, "serve them").default("true").env(&["SCHEMA_REGISTRY_METRICS_ENABLED"]),
        ours("path", Kind::Text, "their path").default("/metrics").env(&["SCHEMA_REGISTRY_METRICS_PATH"]),
        ours(
            "port",
            Kind::Int { min: 0, max: u16::MAX as i64 },
            "a port for them, beside the registry's own, which has them too",
        )
        .example("9090")
        .env(&["SCHEMA_REGISTRY_METRICS_PORT"]),
    ],
};

/// `logging`.
pub(crate) static LOGGING: Table = Table {
    path: "logging",
    about: "What is logged, to standard error. `RUST_LOG` and `--quiet` win over `level`, `--log-format` over `format`.",
    keys: &[
        ours("level", Kind::Word(&["trace", "debug", "info", "warn", "error"]), "the least that is logged")
            .default("info")
            .env(&["SCHEMA_REGISTRY_LOG_LEVEL"]),
        ours("format", Kind::Word(&["text", "json"]), "for people or for programs")
            .default("text")
            .env(&["SCHEMA_REGISTRY_LOG_FORMAT"]),
        ours(
            "requests",
            Kind::Word(&["off", "debug", "info"]),
            "the level at which each request is logged; those that fail with 5xx are warnings",
        )
        .default("debug")
        .env(&["SCHEMA_REGISTRY_LOG_REQUESTS"]),
    ],
};

/// `security`, whose parts are refused unless they are switched off.
pub(crate) static SECURITY: Table = Table {
    path: "security",
    about: "Nothing of it is supported yet.",
    keys: &[
        later("tls", TLS),
        later("auth", AUTH),
        later("rate_limiting", RATE),
        later("audit", AUDIT),
        Key {
            handling: Handling::NoEffect("nobody is told apart yet, so numbers are not counted by who asked"),
            ..ours("metrics", Kind::Section(&PRINCIPALS), "")
        },
    ],
};

/// `security.metrics`: typed, but without effect.
pub(crate) static PRINCIPALS: Table = Table {
    path: "security.metrics",
    about: "Numbers by who asked.",
    keys: &[ours("per_principal_metrics", Kind::Bool, "")],
};

/// Every table, in the order in which people read about them.
pub(crate) static TABLES: [&Table; 18] = [
    &ROOT,
    &SERVER,
    &STORAGE,
    &SQLITE,
    &POSTGRESQL,
    &MYSQL,
    &CASSANDRA,
    &KAFKA,
    &follow::FOLLOW,
    &follow::AUTH,
    &follow::TLS,
    &follow::CONNECTION,
    &COMPATIBILITY,
    &SCHEMAS,
    &METRICS,
    &LOGGING,
    &SECURITY,
    &PRINCIPALS,
];

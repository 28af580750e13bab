//! `follow`: the registry that this one is a standby of.

use std::time::Duration;

use registry::transfer::MassDeletion;

use super::super::check::Section;
use super::super::error::{Notice, Problems};
use super::super::keys::{Kind, Table, ours};
use super::super::schemas::{AUTH_KEYS, Access, TLS_KEYS};
use super::store_settings::duration;
use super::tables::seconds;

/// `follow`.
pub(super) static FOLLOW: Table = Table {
    path: "follow",
    about: "The registry that this one is a standby of, kept in the configured store until it is promoted. Where `url` is left out nobody is followed.",
    keys: &[
        ours("url", Kind::Text, "the leader, as `--follow`; several URLs with commas between them are instances of one, tried in turn. `kafka://HOST:PORT/_schemas` follows a registry's topic without its registry")
            .example("https://registry.example.com:8081")
            .env(&["SCHEMA_REGISTRY_FOLLOW_URL"]),
        ours("auth", Kind::Section(&AUTH), "who asks"),
        ours("tls", Kind::Section(&TLS), "how connections are secured"),
        ours("connection", Kind::Section(&CONNECTION), "how hard it is asked"),
        ours("interval", seconds(100), "from the end of a look at the leader to the next one")
            .default("2s")
            .env(&["SCHEMA_REGISTRY_FOLLOW_INTERVAL"]),
        ours("mass_deletion", Kind::Choice(&["refuse", "follow"]), "what becomes of deletions that take most of the leader's versions at once, or all: a leader that has lost its data looks the same")
            .default("refuse")
            .env(&["SCHEMA_REGISTRY_FOLLOW_MASS_DELETION"]),
        ours("catch_up_timeout", seconds(0), "how long the last looks at the leader may take when this registry is promoted")
            .default("10s")
            .env(&["SCHEMA_REGISTRY_FOLLOW_CATCH_UP_TIMEOUT"]),
    ],
};

/// `follow.auth`.
pub(super) static AUTH: Table = Table { path: "follow.auth", about: "Who asks the leader.", keys: AUTH_KEYS };

/// `follow.tls`.
pub(super) static TLS: Table = Table {
    path: "follow.tls",
    about: "How connections to the leader are secured. Files are PEM.",
    keys: TLS_KEYS,
};

/// `follow.connection`.
pub(super) static CONNECTION: Table = Table {
    path: "follow.connection",
    about: "How hard the leader is asked. A look asks four questions a subject, and one for each version that is new.",
    keys: &[
        ours(
            "timeout_ms",
            Kind::Duration { plain: Some(1), min: 100 },
            "the longest that an answer may take",
        )
        .default("30000"),
        ours("max_retries", Kind::Int { min: 0, max: 100 }, "attempts after the first one").default("3"),
        ours(
            "retry_backoff_ms",
            Kind::Duration { plain: Some(1), min: 1 },
            "pauses between attempts grow from this",
        )
        .default("200"),
        ours(
            "rate_limit_rps",
            Kind::Int { min: 0, max: 1_000_000 },
            "requests a second at most; 0 is as many as it answers",
        )
        .default("0"),
    ],
};

/// Whom a registry follows, and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Follow {
    pub(crate) access: Access,
    pub(crate) interval: Duration,
    pub(crate) mass_deletion: MassDeletion,
    pub(crate) catch_up: Duration,
}

impl Follow {
    /// Builds it from its checked section; nothing where nobody is named.
    pub(super) fn build(
        section: &Section,
        problems: &mut Problems,
        notices: &mut Vec<Notice>,
    ) -> Option<Option<Self>> {
        if section.text("url").is_none() {
            if section.says_something() && !section.is_given("url") {
                let message = "follow has no effect: it names no url, and nobody is followed".to_owned();
                notices.push(Notice { at: section.at, message });
            }
            return Some(None);
        }
        Some(Some(Self {
            access: Access::build(section, "follow", section.text("url")?.to_owned(), problems, notices)?,
            interval: duration(section, "interval")?,
            mass_deletion: match section.text("mass_deletion")? {
                "follow" => MassDeletion::Followed,
                _ => MassDeletion::Refused,
            },
            catch_up: duration(section, "catch_up_timeout")?,
        }))
    }
}

//! Two registries, records that bear ids of the first, and a second in which the same schemas get other ids.

use std::fmt::Write as _;

use formats::varint::write_varint;
use reqwest::Method;
use serde_json::json;

use crate::Result;
use crate::load::TOPIC;
use crate::registry::client::Asked;
use crate::registry::server::{Server, with_store};

/// Versions of the topic's subject: every record bears another one's id than the record before it.
const VERSIONS: usize = 10;
/// Subjects of ten versions each that the second registry has before: no id can be what it was.
const OTHERS: usize = 10;

/// The registries, both with the memory store.
pub(crate) struct Registries {
    source: Server,
    target: Server,
    ids: Vec<u32>,
}

impl Registries {
    /// Starts both and registers what the records name with the first.
    ///
    /// # Errors
    /// Whatever a registry says.
    pub(crate) fn start() -> Result<Self> {
        let memory = with_store("memory");
        let source = Server::registry(&memory, "/health/ready")?;
        let target = Server::registry(&memory, "/health/ready")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ids = runtime.block_on(async {
            Asked::new(&target.address)?.fill(OTHERS, 10).await?;
            let (asked, mut ids) = (Asked::new(&source.address)?, Vec::new());
            for version in 0..VERSIONS {
                let body = json!({ "schema": schema(version) });
                let path = format!("/subjects/{TOPIC}-value/versions");
                let answer = asked.ask(Method::POST, &path, Some(&body)).await?;
                ids.push(answer["id"].as_u64().ok_or("no id")?.try_into()?);
            }
            Ok::<_, Box<dyn std::error::Error>>(ids)
        })?;
        Ok(Self { source, target, ids })
    }

    /// A value as a serializer makes it: the id of a schema, and a message of that schema.
    pub(crate) fn framed(&self, number: usize, text: &[u8]) -> Vec<u8> {
        let mut value = vec![0];
        value.extend(self.ids[number % self.ids.len()].to_be_bytes());
        write_varint(i32::try_from(text.len()).unwrap_or(0), &mut value);
        value.extend(text);
        value
    }

    /// Whether a value bears an id of the first registry's, which the second has given to something else.
    pub(crate) fn is_of_first(&self, value: &[u8]) -> bool {
        value.first_chunk().is_some_and(|[_, id @ ..]: &[u8; 5]| self.ids.contains(&u32::from_be_bytes(*id)))
    }

    /// The section of a backup with the first registry.
    pub(crate) fn backup(&self) -> String {
        section("schema_registry", &self.source)
    }

    /// The section of a restore with the second registry: ids are rewritten.
    pub(crate) fn restore(&self) -> String {
        section("schema_registry", &self.target) + "  restore: {enabled: true}\n"
    }

    /// The sections of a migration from the first to the second.
    pub(crate) fn migrate(&self) -> String {
        let mut text = section("source_schema_registry", &self.source);
        let _ =
            writeln!(text, "{}  restore: {{enabled: true}}", section("target_schema_registry", &self.target));
        text
    }
}

/// A record of one text; versions differ in what they say about themselves.
fn schema(version: usize) -> String {
    let fields = json!([{ "name": "text", "type": "string" }]);
    json!({ "type": "record", "name": "Text", "doc": format!("version {version}"), "fields": fields })
        .to_string()
}

/// The section of a registry, which is asked as fast as it answers.
pub(crate) fn section(name: &str, registry: &Server) -> String {
    format!("{name}:\n  url: http://{}\n  connection: {{rate_limit_rps: 0}}\n", registry.address)
}

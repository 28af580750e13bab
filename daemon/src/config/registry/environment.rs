//! What variables and flags say, put into the tree of the file before it is checked: so they are checked as the file is, and their
//! errors name them.
//!
//! Flags win over variables, variables over the file. Kubernetes describes every service of a namespace in variables; a service
//! called `schema-registry`, `postgres` or `mysql` makes some that look like ours, and these are passed over.

use super::super::error::{At, Notice, Problems};
use super::super::expand::Surroundings;
use super::super::keys::{Kind, Table};
use super::super::unknown::nearest;
use super::super::yaml::{Data, Entry, Node, Scalar};
use super::tables::ROOT;

/// What the variables of both dialects have in common, but for the short ones.
const PREFIX: &str = "SCHEMA_REGISTRY_";

/// Variables of features that do not exist yet: how they begin, what they are for, and which ones switch them off.
const LATER: &[(&[&str], &str, &[&str])] = &[
    (&["TLS_"], "not yet supported: TLS for clients", &["TLS_ENABLED"]),
    (
        &["AUTH_", "BOOTSTRAP_", "BASIC_", "LDAP_", "OIDC_", "API_KEY_", "JWT_", "RBAC_"],
        "not yet supported: authentication and authorisation",
        &["AUTH_ENABLED"],
    ),
    (&["RATE_LIMIT_"], "not yet supported: rate limits", &["RATE_LIMIT_ENABLED"]),
    (&["AUDIT_"], "not yet supported: an audit log", &["AUDIT_ENABLED"]),
    (&["VAULT_"], "not yet supported: Vault", &[]),
    (&["MCP_"], "not yet supported: a server for MCP", &["MCP_ENABLED"]),
];

/// One value from outside the file.
#[derive(Debug, Clone)]
pub(crate) struct Outside {
    /// The variable or flag.
    pub(crate) name: &'static str,
    /// The keys that lead to what it sets.
    pub(crate) path: Vec<&'static str>,
    /// What it says.
    pub(crate) text: String,
}

/// What the environment says, in the order of the tables. Reports what cannot be used, and what looks like ours and is not known.
pub(super) fn variables(
    surroundings: &dyn Surroundings,
    problems: &mut Problems,
    notices: &mut Vec<Notice>,
) -> Vec<Outside> {
    let mut names = surroundings.names();
    names.sort();
    let mut said = Vec::new();
    let mut known = Vec::new();
    collect(&ROOT, &mut Vec::new(), &mut |name, path, is_port| {
        known.push(name);
        if names.binary_search_by(|other| other.as_str().cmp(name)).is_err() {
            return;
        }
        match surroundings.variable(name) {
            Ok(Some(text)) if text.is_empty() || (is_port && is_link_value(&text)) => {}
            Ok(Some(text)) => {
                said.push(Outside { name, path: path.to_vec(), text });
            }
            Ok(_) => {}
            Err(why) => problems.add(At::outside(name), why, "set it to a text"),
        }
    });
    let said = agreed(said, problems);
    for name in names.iter().filter(|name| name.starts_with(PREFIX) && !known.contains(&name.as_str())) {
        let value = surroundings.variable(name).ok().flatten().unwrap_or_default();
        if !value.is_empty() && !is_link(name, &value) {
            report(name, &value, surroundings, &known, problems, notices);
        }
    }
    said
}

/// Visits every variable of the tables with the path of its key.
fn collect(
    table: &'static Table,
    path: &mut Vec<&'static str>,
    visit: &mut impl FnMut(&'static str, &[&'static str], bool),
) {
    for key in table.keys {
        path.push(key.name);
        let is_port = key.name == "port";
        key.env.iter().for_each(|name| visit(name, path, is_port));
        if let Kind::Section(inner) = key.kind {
            collect(inner, path, visit);
        }
        path.pop();
    }
}

/// One value a key: two variables that say different things are refused.
fn agreed(said: Vec<Outside>, problems: &mut Problems) -> Vec<Outside> {
    let mut agreed: Vec<Outside> = Vec::new();
    for outside in said {
        let Some(first) = agreed.last().filter(|first| first.path == outside.path) else {
            agreed.push(outside);
            continue;
        };
        // systemd's folder is the default that an own variable replaces.
        if first.text != outside.text && outside.name != "STATE_DIRECTORY" {
            let key = outside.path.join(".");
            let message = format!("{key} is set to something else by {}", first.name);
            problems.add(At::outside(outside.name), message, "keep one of the two variables");
        }
    }
    agreed
}

/// A variable with our prefix that no key has: of a feature to come, or unknown.
fn report(
    name: &str,
    value: &str,
    surroundings: &dyn Surroundings,
    known: &[&'static str],
    problems: &mut Problems,
    notices: &mut Vec<Notice>,
) {
    let short = name.strip_prefix(PREFIX).unwrap_or(name);
    let is_off = |name: &str| {
        let value = surroundings.variable(&format!("{PREFIX}{name}")).ok().flatten();
        value.is_some_and(|value| value.eq_ignore_ascii_case("false"))
    };
    let later = LATER.iter().find(|(starts, _, _)| starts.iter().any(|start| short.starts_with(start)));
    match later {
        Some((_, why, switches)) => {
            if !value.eq_ignore_ascii_case("false") && !switches.iter().any(|switch| is_off(switch)) {
                let hint = match switches.first() {
                    Some(switch) => format!("unset it, or set {PREFIX}{switch}=false"),
                    None => "unset it".to_owned(),
                };
                problems.add(At::START, format!("variable {name}: {why}"), hint);
            }
        }
        None => {
            let near = nearest(name, known.iter().copied().filter(|known| known.starts_with(PREFIX)));
            let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            let message = format!("variable {name} means nothing to this registry{near}");
            notices.push(Notice { at: At::START, message });
        }
    }
}

/// Whether Kubernetes made this variable to describe a service.
fn is_link(name: &str, value: &str) -> bool {
    let is_port_part = |part: &str| {
        let mut words = part.split('_');
        let number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
        let protocol = words.next().is_some_and(|word| matches!(word, "TCP" | "UDP" | "SCTP"));
        let field = words.next().is_none_or(|word| matches!(word, "PROTO" | "PORT" | "ADDR"));
        number && protocol && field && words.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && is_link_value(value))
        || name.match_indices("_PORT_").any(|(at, word)| is_port_part(&name[at + word.len()..]))
}

fn is_link_value(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

/// Puts a value into the tree, in place of what the file says for the same key.
pub(super) fn put(root: &mut Node, outside: &Outside) {
    let at = At::outside(outside.name);
    let scalar = Scalar { text: outside.text.clone(), plain: false, expanded: false, failed: false };
    let value = Node { at, tag: None, data: Data::Scalar(scalar) };
    place(root, &ROOT, &outside.path, value);
}

fn place(node: &mut Node, table: &'static Table, path: &[&'static str], value: Node) {
    let Some((name, rest)) = path.split_first() else { return };
    if node.is_null() {
        node.data = Data::Map(Vec::new());
    }
    // Something else than a section is reported by whoever checks the file.
    let Data::Map(entries) = &mut node.data else { return };
    let is_it = |entry: &Entry| table.find(&entry.key).is_some_and(|key| key.name == *name);
    let inner = table.keys.iter().find(|key| key.name == *name).map(|key| key.kind);
    match inner {
        Some(Kind::Section(inner)) if !rest.is_empty() => {
            let at = value.at;
            let known = entries.iter().position(is_it);
            let index = known.unwrap_or_else(|| {
                let value = Node { at, tag: None, data: Data::Map(Vec::new()) };
                entries.push(Entry { key: (*name).to_owned(), at, value });
                entries.len() - 1
            });
            if let Some(entry) = entries.get_mut(index) {
                place(&mut entry.value, inner, rest, value);
            }
        }
        _ => {
            entries.retain(|entry| !is_it(entry));
            entries.push(Entry { key: (*name).to_owned(), at: value.at, value });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_says_about_services_is_told_apart() {
        for (name, value) in [
            ("SCHEMA_REGISTRY_PORT", "tcp://10.0.0.1:8081"),
            ("SCHEMA_REGISTRY_SERVICE_HOST", "10.0.0.1"),
            ("SCHEMA_REGISTRY_SERVICE_PORT", "8081"),
            ("SCHEMA_REGISTRY_SERVICE_PORT_HTTP", "8081"),
            ("SCHEMA_REGISTRY_PORT_8081_TCP", "tcp://10.0.0.1:8081"),
            ("SCHEMA_REGISTRY_PORT_8081_TCP_PROTO", "tcp"),
            ("SCHEMA_REGISTRY_PORT_8081_TCP_PORT", "8081"),
            ("SCHEMA_REGISTRY_PORT_8081_TCP_ADDR", "10.0.0.1"),
            ("SCHEMA_REGISTRY_MCP_PORT_9081_UDP", "udp://10.0.0.1:9081"),
        ] {
            assert!(is_link(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("SCHEMA_REGISTRY_PORT", "8081"),
            ("SCHEMA_REGISTRY_HOST", "10.0.0.1"),
            ("SCHEMA_REGISTRY_PORT_8081", "1"),
            ("SCHEMA_REGISTRY_PORT_8081_TCP_X", "1"),
        ] {
            assert!(!is_link(name, value), "{name}={value}");
        }
    }

    #[test]
    fn no_variable_belongs_to_two_keys() {
        let mut seen = Vec::new();
        collect(&ROOT, &mut Vec::new(), &mut |name, _, _| seen.push(name));
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() == count && count > 60, "{seen:?}");
        assert!(seen.iter().all(|name| name.starts_with(PREFIX) || !name.starts_with("SCHEMA")));
    }
}

//! `configs/README.md` and the files `configs/*full*.yaml`, made from the tables of keys.
//!
//! The tests here fail where a page is not what the tables say. `REPLEVIN_REWRITE=1 cargo test -p replevin` writes the
//! pages anew.

use std::fmt::Write;

use super::check::expected;
use super::job::{Job, Mode, Overrides, ROOT, TABLES};
use super::keys::{Handling, Harmless, Key, Kind, Origin, Table};
use super::registry::tables;
use super::storage::FILESYSTEM;
use super::tests::{Samples, configs, matches_file};

const INTRO: &str = "\
# Job files and registry files

One YAML file describes one job: `replevin backup -c FILE`, `replevin restore -c FILE`. Another kind of file is for
`replevin registry serve -c FILE`; its keys are [at the end](#registry-files). `replevin check-config FILE` reads a file of either kind
and does nothing else.

This page is made from the code and checked by a test. Begin with [minimal.yaml](minimal.yaml); [full.yaml](full.yaml) and
[full-restore.yaml](full-restore.yaml) hold every key with its default; [s3.yaml](s3.yaml), [schemas.yaml](schemas.yaml), [restore-schemas.yaml](restore-schemas.yaml), [local-dev.yaml](local-dev.yaml),
[restore.yaml](restore.yaml) and [restore-s3.yaml](restore-s3.yaml) are examples. `oso-*.yaml` are written the way OSO kafka-backup's
users write them. `wrong/` holds broken files, each beside the exact error it gets.

## How a file is read

- **Nothing is ignored.** Every key works, or is accepted with a notice that says why it changes nothing, or is refused. An
  unknown key is an error that names file, line, column and the nearest key. All problems are reported at once.
- **Variables.** `${VAR}`, `${VAR:-default}` and `${file:/path}` are replaced inside values, after the file has been parsed, so
  that a value can never become structure. A variable that is not set and has no default is an error. Defaults and paths may
  hold variables (`${file:${CREDENTIALS_DIRECTORY}/key}`); `${VAR:-}` leaves the key out where nothing is set. `$${` is a literal `${`; every other dollar is a dollar.
  One line break at the end of a file is cut off.
- **Sizes** are bytes, or numbers with `KiB`, `MiB`, `GiB`, `TiB` (1024) or `kB`, `MB`, `GB`, `TB` (1000).
- **Lengths of time** are numbers in the unit of the key's name, or numbers with `ms`, `s`, `m`, `h` or `d`.
- **Secrets** never appear in errors, logs or reports.
- A key without a value, or with `null`, counts as left out. Anchors, aliases and merge keys (`<<`) work. A file has at
  most 1 MiB and one document.

*From* says where a key comes from: **OSO** kafka-backup, with this meaning; **ours**; or **Kafka**'s, Java's or librdkafka's name
for a setting.
";

const REGISTRY: &str = "
# Registry files

`replevin registry serve` needs none of this: without a file, a variable or a flag it keeps schemas in SQLite and listens on port 8081.
[registry.yaml](registry.yaml), [registry-mysql.yaml](registry-mysql.yaml) and [registry-cassandra.yaml](registry-cassandra.yaml) are
examples, [registry-standby.yaml](registry-standby.yaml) is that of a [warm standby](../registry/README.md#a-standby), [registry-axonops.yaml](registry-axonops.yaml) is written the way users of the AxonOps registry write theirs, and
[registry-full.yaml](registry-full.yaml) holds every key with its default. With `--from-backup` or `--backup-config` a backup is served, and
`storage` is left out ([registry/README.md](../registry/README.md#from-a-backup)).

- **Both dialects.** Names of the AxonOps registry's files and names of its operations guide are one key in two spellings. Lengths of
  time are seconds, or have a unit, or several (`1h30m`).
- **Flags win over variables, variables over the file.** A variable that is set to nothing counts as not set. Two variables that say
  different things about one key are refused. Variables that Kubernetes makes for services (`SCHEMA_REGISTRY_PORT=tcp://...`,
  `*_SERVICE_HOST`) are passed over. A variable that begins with `SCHEMA_REGISTRY_` and is not known is a warning.
- **Variables in a file** are replaced as in a job file, but one that is not set stays as it is written, with a warning: `$2a$10$...` and
  `${...}` may be parts of a password.
- **Features to come** are refused by name, in files and variables, unless they are switched off: TLS for clients, authentication and
  authorisation, an audit log, rate limits, Vault, MCP.
";

fn readme() -> String {
    let mut page = INTRO.to_owned();
    page.push_str(&sections(&TABLES, false));
    page.push_str(REGISTRY);
    page.push_str(&sections(&tables::TABLES, true));
    page
}

/// The keys of all tables. Those of a registry are shown with their variables, those of a job with where they come from.
fn sections(tables: &[&'static Table], with_variables: bool) -> String {
    let mut page = String::new();
    for table in tables {
        let title = match table.path {
            "" if with_variables => "Top level of a registry file".to_owned(),
            "" => "Top level".to_owned(),
            " (migration)" => "Top level of a migration".to_owned(),
            "storage" => "`storage` of a registry".to_owned(),
            "metrics" if with_variables => "`metrics` of a registry".to_owned(),
            "source" => "`source` and `target`".to_owned(),
            path if path.starts_with("source.") => format!("`{path}`, `target.{}`", &path["source.".len()..]),
            path => match path.split_once(" (") {
                Some((path, kind)) => format!("`{path}`, `backend: {}`", kind.trim_end_matches(')')),
                None => format!("`{path}`"),
            },
        };
        let _ = write!(page, "\n## {title}\n\n{}\n", table.about);
        // Sections without effect list their keys only to be typed.
        let keys = tables.iter().flat_map(|outer| outer.keys);
        let mut own = keys
            .filter(|key| matches!(key.kind, Kind::Section(inner) if inner.path == table.path))
            .peekable();
        let idle = own.peek().is_some() && own.all(|key| matches!(key.handling, Handling::NoEffect(_)));
        if idle {
            let names: Vec<String> = table.keys.iter().map(|key| format!("`{}`", key.name)).collect();
            let _ = write!(page, "\nKeys: {}. The whole section has no effect.\n", names.join(", "));
            continue;
        }
        honoured(&mut page, table, with_variables);
        others(&mut page, table);
    }
    page
}

fn honoured(page: &mut String, table: &Table, with_variables: bool) {
    let keys: Vec<&Key> = table.keys.iter().filter(|key| key.is_honoured()).collect();
    if keys.is_empty() {
        return;
    }
    let last = if with_variables { "variables" } else { "from" };
    let _ = write!(page, "\n| key | type | default | what it does | {last} |\n|---|---|---|---|---|\n");
    for key in keys {
        let spellings =
            if key.also.is_empty() { String::new() } else { format!(" (also {})", code(key.also)) };
        let default = match (key.required, key.default) {
            (true, _) => "required".to_owned(),
            (false, Some(default)) => format!("`{default}`"),
            (false, None) if matches!(key.kind, Kind::Section(_)) => String::new(),
            (false, None) => "unset".to_owned(),
        };
        let from = match key.origin {
            _ if with_variables => code(key.env),
            Origin::Oso => "OSO".to_owned(),
            Origin::Ours => "ours".to_owned(),
            Origin::Kafka => "Kafka".to_owned(),
        };
        let _ = writeln!(
            page,
            "| `{}`{spellings} | {} | {default} | {} | {from} |",
            key.name,
            kind(&key.kind),
            key.about.replace('|', "\\|"),
        );
    }
}

fn others(page: &mut String, table: &Table) {
    let mut idle: Vec<(String, Vec<&str>)> = Vec::new();
    let mut refused: Vec<(String, Vec<&str>)> = Vec::new();
    for key in table.keys {
        let (list, words) = match key.handling {
            Handling::Honoured => continue,
            Handling::NoEffect(why) => (&mut idle, why.to_owned()),
            Handling::Refused { why, instead, unless } => {
                let unless = match unless {
                    Harmless::Never => String::new(),
                    Harmless::Values(values) => format!(" Accepted as {}.", code(values)),
                    Harmless::Empty => " Accepted where empty.".to_owned(),
                    Harmless::Disabled => " Accepted with `enabled: false`.".to_owned(),
                };
                (&mut refused, format!("{why}; {instead}.{unless}"))
            }
        };
        let names = std::iter::once(key.name).chain(key.also.iter().copied());
        match list.iter_mut().find(|(known, _)| *known == words) {
            Some((_, known)) => known.extend(names),
            None => list.push((words, names.collect())),
        }
    }
    for (title, list) in [("Accepted without effect", idle), ("Refused", refused)] {
        if !list.is_empty() {
            let _ = write!(page, "\n{title}:\n\n");
        }
        for (words, names) in list {
            let _ = writeln!(page, "- {}: {words}", code(&names));
        }
    }
}

fn code(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn kind(kind: &Kind) -> String {
    let bounds = match kind {
        Kind::Int { min, max } if *max < i64::from(i32::MAX) => format!(", {min} to {max}"),
        _ => String::new(),
    };
    format!("{}{bounds}", expected(kind)).replace('|', "\\|")
}

/// A file with every key of a registry.
fn full_registry(live: Live) -> String {
    let mut page = "# Every key of a registry's file, made from the code. Keys in comments show their defaults, or an example where\n\
                    # there is none (\"unset\"). What each means in full, and which variables say it too: README.md.\n"
        .to_owned();
    for key in tables::ROOT.keys.iter().filter(|key| key.is_useful()) {
        write_key(&mut page, key, 0, live);
    }
    page
}

/// Which keys of a full file are live.
#[derive(Clone, Copy, PartialEq)]
enum Live {
    Required,
    Defaults,
    All,
}

/// A file with every key that a mode reads.
fn full(mode: Mode, live: Live) -> String {
    let mut page = format!(
        "# Every key of a {mode}, made from the code. Keys in comments show their defaults, or an example where there is\n\
         # none (\"unset\"). What each means in full: README.md.\n\nmode: {mode}\n"
    );
    let read = |key: &&Key| match mode {
        // The same section stands at the top.
        _ if key.name == "enterprise" => false,
        Mode::Backup => !matches!(key.name, "mode" | "target" | "restore"),
        Mode::Restore => {
            !matches!(key.name, "mode" | "source" | "backup" | "registry" | "metrics" | "shutdown_grace")
        }
        Mode::Migrate => key.name != "mode",
    };
    let table = if mode == Mode::Migrate { &super::migrate::MIGRATION } else { &ROOT };
    for key in table.keys.iter().filter(|key| key.is_useful()).filter(read) {
        write_key(&mut page, key, 0, live);
    }
    page
}

fn write_key(page: &mut String, key: &Key, depth: usize, live: Live) {
    let indent = "  ".repeat(depth);
    if key.origin == Origin::Kafka || !key.is_useful() {
        return;
    }
    if depth == 0 {
        page.push('\n');
    }
    let unset = if key.default.is_none() && !key.required { " (unset)" } else { "" };
    let section = match key.kind {
        Kind::Section(table) => Some(table),
        Kind::Tagged { .. } => Some(&FILESYSTEM),
        _ => None,
    };
    let unset = if section.is_some() { "" } else { unset };
    for line in wrap(&format!("{}{unset}", key.about), 100 - indent.len()) {
        let _ = writeln!(page, "{indent}## {line}");
    }
    // A whole file of its own stands beside this one.
    if section.is_some_and(|table| std::ptr::eq(table, &tables::ROOT)) {
        let _ = writeln!(page, "{indent}## Its keys: registry-full.yaml\n{indent}# {}: {{}}", key.name);
        return;
    }
    if let Some(table) = section {
        let _ = writeln!(page, "{indent}{}:", key.name);
        if matches!(key.kind, Kind::Tagged { .. }) {
            let _ = writeln!(
                page,
                "{indent}  ## s3, azure, gcs, filesystem or memory, each with keys of its own\n{indent}  backend: filesystem"
            );
        }
        for key in table.keys.iter().filter(|key| key.is_honoured()) {
            write_key(page, key, depth + 1, live);
        }
        return;
    }
    let on = key.required || live == Live::All || (live == Live::Defaults && key.default.is_some());
    let mark = if on { "" } else { "# " };
    let value = key.default.unwrap_or(key.example);
    let _ = writeln!(page, "{indent}{mark}{}: {value}", key.name);
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() {
                line.push_str(word);
            } else if line.chars().count() + 1 + word.chars().count() <= width {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(word.to_owned());
            }
        }
    }
    lines
}

#[test]
fn the_pages_are_what_the_tables_say() {
    matches_file(&configs().join("README.md"), &readme());
    matches_file(&configs().join("full.yaml"), &full(Mode::Backup, Live::Required));
    matches_file(&configs().join("full-restore.yaml"), &full(Mode::Restore, Live::Required));
    matches_file(&configs().join("full-migrate.yaml"), &full(Mode::Migrate, Live::Required));
    matches_file(&configs().join("registry-full.yaml"), &full_registry(Live::Required));
}

#[test]
fn defaults_written_out_change_nothing_and_examples_load() {
    for mode in [Mode::Backup, Mode::Restore, Mode::Migrate] {
        let load = |live| {
            let text = full(mode, live);
            let job = super::parse("full.yaml", &text, &Overrides::default(), &Samples);
            let mut job = job.unwrap_or_else(|error| panic!("{error}\n{text}"));
            let metrics = match &mut job {
                Job::Backup(job) => &mut job.metrics,
                Job::Restore(job) => &mut job.metrics,
                Job::Migrate(job) => &mut job.metrics,
            };
            // Whether the file says anything of it is what differs here.
            metrics.iter_mut().for_each(|metrics| metrics.is_asked_for = false);
            job
        };
        assert_eq!(format!("{:?}", load(Live::Required)), format!("{:?}", load(Live::Defaults)));
        load(Live::All);
    }
    let load = |live| {
        let text = full_registry(live);
        let config = super::registry::parse("registry-full.yaml", &text, &[], &Samples, false);
        let config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
        super::registry::RegistryConfig { notices: Vec::new(), store_named: None, ..config }
    };
    assert_eq!(load(Live::Required), load(Live::Defaults));
    load(Live::All);
}

#[test]
fn every_example_of_every_table_is_of_its_own_type() {
    for table in TABLES.into_iter().chain(tables::TABLES) {
        for key in table.keys.iter().filter(|key| key.is_honoured()) {
            let shown = key.default.is_some() || !key.example.is_empty();
            let section = matches!(key.kind, Kind::Section(_) | Kind::Tagged { .. });
            let idle = key.about.is_empty();
            assert!(
                shown || section || idle,
                "{}.{} shows neither a default nor an example",
                table.path,
                key.name
            );
        }
    }
}

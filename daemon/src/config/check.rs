//! The tree of a file against the tables of keys: what comes out is typed, complete with defaults, and free of unknown
//! keys; what does not fit is reported, all of it in one pass.
//!
//! Sections then build their structs from a [`Section`] that is known to be sound, and check only what concerns
//! several keys at once.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use formats::ids::{BackupId, LineageId, Topic};
use pipeline::schemas::SchemaSelection;
use pipeline::select::{GroupSelection, TopicSelection};

use super::error::{At, Notice, Problems};
use super::keys::{Handling, Harmless, Key, Kind, PARTITION, Table};
use super::yaml::{Data, Entry, Node, Scalar};
use super::{unknown, value};

/// A checked value.
pub(crate) enum Value {
    Text(String),
    Bool(bool),
    /// A number, bytes or milliseconds.
    Int(i64),
    Server(String, u16),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Section(Section),
}

/// A checked section.
pub(crate) struct Section {
    /// Where it begins, or its parent where it was left out.
    pub(crate) at: At,
    /// Which kind it is, for sections with kinds (`storage.backend`).
    pub(crate) variant: &'static str,
    values: BTreeMap<&'static str, Given>,
    /// Keys that the file holds with values that have problems.
    unsound: BTreeSet<&'static str>,
}

/// A value, where it stands, and whether the file holds it (rather than the table's default).
struct Given {
    at: At,
    value: Value,
    written: bool,
}

/// Checks trees, collecting problems and notices.
pub(crate) struct Checker<'a> {
    pub(crate) problems: &'a mut Problems,
    pub(crate) notices: &'a mut Vec<Notice>,
    /// Every table, to tell where a misplaced key belongs.
    pub(crate) all: &'a [&'static Table],
    /// What kind of file this is, for people: `a job file`.
    pub(crate) file: &'static str,
    /// Keys that no section knows are notices and no problems.
    pub(crate) is_lenient: bool,
}

/// Starts at 0 milliseconds, bytes or records; bounded by what fits.
const ANY_OFFSET: Kind = Kind::Int { min: 0, max: i64::MAX };
const SPECIFIC: Kind = Kind::Map(&Kind::Topic, &Kind::Map(&PARTITION, &ANY_OFFSET));

impl Checker<'_> {
    /// Checks a section; `path` is its place in this file. `None` where it is not a map at all.
    pub(crate) fn section(&mut self, table: &'static Table, node: &Node, path: &str) -> Option<Section> {
        self.section_of(table, node, path, "", None)
    }

    fn section_of(
        &mut self,
        table: &'static Table,
        node: &Node,
        path: &str,
        variant: &'static str,
        skip: Option<&str>,
    ) -> Option<Section> {
        let entries = match &node.data {
            Data::Map(entries) => entries.as_slice(),
            _ if node.is_null() => &[],
            _ => return self.mismatch(node, path, "a section of keys"),
        };
        let mut values: BTreeMap<&'static str, Given> = BTreeMap::new();
        let mut written: BTreeMap<&'static str, (At, &str)> = BTreeMap::new();
        let mut unsound = BTreeSet::new();
        for Entry { key: name, at, value } in entries {
            if skip == Some(name.as_str()) {
                continue;
            }
            let Some(key) = table.find(name) else {
                // Keys with variables in them have been reported already.
                if !name.contains("${") {
                    let mut unknown = Problems::default();
                    unknown::report(name, *at, path, table, self.all, self.file, &mut unknown);
                    match self.is_lenient {
                        true => self.notices.extend(unknown.into_notices()),
                        false => self.problems.extend(unknown),
                    }
                }
                continue;
            };
            let key_path = join(path, name);
            if let Some((first, other)) = written.insert(key.name, (*at, name))
                && other != name
                && key.is_honoured()
            {
                let message = format!("{key_path} and {} are one key in two spellings", join(path, other));
                self.problems.add(
                    *at,
                    message,
                    format!("keep one of them; the other is at line {}", first.line),
                );
            }
            match self.entry(key, *at, value, &key_path) {
                Some((at, value)) => {
                    values.insert(key.name, Given { at, value, written: true });
                }
                None if key.is_honoured() && !value.is_null() => {
                    unsound.insert(key.name);
                }
                None => {}
            }
        }
        let absent = |key: &&Key| !values.contains_key(key.name) && !unsound.contains(key.name);
        let absent: Vec<_> = table.keys.iter().filter(|key| key.is_honoured()).filter(absent).collect();
        for key in absent {
            let key_path = join(path, key.name);
            if key.required {
                let at = written.get(key.name).map_or(node.at, |(at, _)| *at);
                let hint = format!("add {}: {}", key.name, key.example);
                self.problems.add(at, format!("{key_path} is missing: {}", key.about), hint);
            } else if let Some(value) = self.absent(key, node.at, &key_path) {
                values.insert(key.name, Given { at: node.at, value, written: false });
            }
        }
        Some(Section { at: node.at, variant, values, unsound })
    }

    /// One key of a file. `None` where it has no value, no effect, or a problem.
    fn entry(&mut self, key: &'static Key, at: At, node: &Node, path: &str) -> Option<(At, Value)> {
        match key.handling {
            Handling::Honoured => {
                if node.is_null() {
                    return None;
                }
                self.value(&key.kind, node, path).map(|value| (node.at, value))
            }
            Handling::NoEffect(why) => {
                if !node.is_null() && !failed(node) {
                    self.notices.push(Notice { at, message: format!("{path} has no effect: {why}") });
                    // Still typed and searched for unknown keys, but one notice is enough.
                    let mut quiet = Vec::new();
                    Checker {
                        problems: self.problems,
                        notices: &mut quiet,
                        all: self.all,
                        file: self.file,
                        is_lenient: self.is_lenient,
                    }
                    .value(&key.kind, node, path);
                }
                None
            }
            Handling::Refused { why, instead, unless } => {
                if !node.is_null() && !failed(node) && !harmless(node, unless) {
                    self.problems.add(at, format!("{path}: {why}"), instead);
                }
                None
            }
        }
    }

    /// What a key that the file leaves out stands for.
    fn absent(&mut self, key: &'static Key, at: At, path: &str) -> Option<Value> {
        let node = |text: &str| Node {
            at,
            tag: None,
            data: Data::Scalar(Scalar { text: text.to_owned(), plain: true, expanded: false, failed: false }),
        };
        match (key.kind, key.default) {
            (Kind::Section(table), _) if table.keys.iter().all(|key| !key.required) => {
                self.section(table, &node(""), path).map(Value::Section)
            }
            (_, Some("[]")) => Some(Value::List(Vec::new())),
            (_, Some("{}")) => Some(Value::Map(Vec::new())),
            (kind, Some(text)) => self.value(&kind, &node(text), path),
            (_, None) => None,
        }
    }

    /// Checks one value against its kind. `None`, with a problem, where it does not fit.
    fn value(&mut self, kind: &Kind, node: &Node, path: &str) -> Option<Value> {
        if failed(node) {
            return None;
        }
        if let (Some(tag), false) = (&node.tag, matches!(kind, Kind::StartOffset | Kind::Any)) {
            let message = format!("{path}: the tag !{tag} means nothing here");
            self.problems.add(node.at, message, "remove the tag");
            return None;
        }
        match kind {
            Kind::Any => Some(Value::Text(String::new())),
            Kind::Section(table) => self.section(table, node, path).map(Value::Section),
            Kind::Tagged { tag, variants } => self.tagged(tag, variants, node, path),
            Kind::List(inner) => self.list(inner, node, path),
            Kind::Map(keys, values) => self.map(keys, values, node, path),
            Kind::StartOffset => self.start_offset(node, path),
            Kind::TopicConfigs => self.topic_configs(node, path),
            scalar => self.scalar(scalar, node, path),
        }
    }

    fn tagged(
        &mut self,
        tag: &'static str,
        variants: &'static [(&'static str, &'static Table)],
        node: &Node,
        path: &str,
    ) -> Option<Value> {
        let names = || variants.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let Data::Map(entries) = &node.data else {
            return self.mismatch(node, path, "a section of keys");
        };
        let Some(entry) = entries.iter().find(|entry| entry.key == tag && !entry.value.is_null()) else {
            let message = format!("{path}.{tag} is missing: which kind of {path} it is");
            self.problems.add(node.at, message, format!("add {tag}: one of {}", names()));
            return None;
        };
        let path_of_tag = join(path, tag);
        if failed(&entry.value) {
            return None;
        }
        let Data::Scalar(scalar) = &entry.value.data else {
            return self.mismatch(&entry.value, &path_of_tag, &format!("one of {}", names()));
        };
        let Some((name, table)) = variants.iter().find(|(name, _)| *name == scalar.text) else {
            let near = unknown::nearest(&scalar.text, variants.iter().map(|(name, _)| *name));
            return self.not_one_of(&entry.value, &path_of_tag, &names(), near);
        };
        self.section_of(table, node, path, name, Some(tag)).map(Value::Section)
    }

    fn list(&mut self, inner: &Kind, node: &Node, path: &str) -> Option<Value> {
        let servers = matches!(inner, Kind::Server | Kind::Host);
        let items = match &node.data {
            Data::List(items) => items.as_slice(),
            // Kafka, and variables, write servers as one text with commas.
            Data::Scalar(_) if servers || matches!(inner, Kind::SubjectPattern) => std::slice::from_ref(node),
            _ => return self.mismatch(node, path, "a list"),
        };
        let mut values = Vec::new();
        let mut sound = true;
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if item.is_null() && !matches!(inner, Kind::Any) {
                self.problems.add(item.at, format!("{path} is empty"), "remove the item or fill it in");
                sound = false;
                continue;
            }
            for part in parts(item, servers) {
                match self.value(inner, &part, &path) {
                    Some(value) => values.push(value),
                    None => sound = false,
                }
            }
        }
        if servers && values.is_empty() && sound {
            let what = if matches!(inner, Kind::Host) { "host" } else { "broker" };
            self.problems.add(node.at, format!("{path} names no {what}"), "write one host:port an item");
        }
        sound.then_some(Value::List(values))
    }

    fn map(&mut self, keys: &Kind, values: &Kind, node: &Node, path: &str) -> Option<Value> {
        let Data::Map(entries) = &node.data else { return self.mismatch(node, path, "a map") };
        let mut map = Vec::new();
        let mut sound = true;
        for Entry { key, at, value } in entries {
            let key_node = Node {
                at: *at,
                tag: None,
                data: Data::Scalar(Scalar {
                    text: key.clone(),
                    plain: false,
                    expanded: false,
                    failed: false,
                }),
            };
            let path = join(path, key);
            if value.is_null() && !matches!(values, Kind::Any) {
                self.problems.add(value.at, format!("{path} is empty"), "remove the key or fill it in");
                sound = false;
                continue;
            }
            match (self.value(keys, &key_node, &path), self.value(values, value, &path)) {
                (Some(key), Some(value)) => map.push((key, value)),
                _ => sound = false,
            }
        }
        sound.then_some(Value::Map(map))
    }

    /// `earliest`, `latest`, `!specific {topic: {partition: offset}}`, or the same as `specific: {...}`.
    fn start_offset(&mut self, node: &Node, path: &str) -> Option<Value> {
        const EXPECTED: &str = "earliest, latest, or specific with offsets by topic and partition";
        const HOW: &str = "write start_offset: {specific: {my-topic: {0: 1200}}}";
        match (node.tag.as_deref(), &node.data) {
            (Some("specific"), Data::Map(_)) => self.map_of_offsets(node, path),
            (None, Data::Map(entries)) => match entries.as_slice() {
                [Entry { key, value, .. }] if key == "specific" => self.map_of_offsets(value, path),
                _ => {
                    self.problems.add(
                        node.at,
                        format!("{path}: expected {EXPECTED}, found a map of something else"),
                        HOW,
                    );
                    None
                }
            },
            (None, Data::Scalar(scalar)) if scalar.text == "specific" => {
                self.problems.add(node.at, format!("{path}: specific needs the offsets"), HOW);
                None
            }
            (None, Data::Scalar(_)) => {
                self.scalar(&Kind::Choice(&["earliest", "latest", "specific"]), node, path)
            }
            (Some(tag), _) if tag != "specific" => {
                self.problems.add(node.at, format!("{path}: the tag !{tag} means nothing here"), HOW);
                None
            }
            _ => self.mismatch(node, path, EXPECTED),
        }
    }

    fn map_of_offsets(&mut self, node: &Node, path: &str) -> Option<Value> {
        let Kind::Map(keys, values) = SPECIFIC else { return None };
        self.map(keys, values, node, &join(path, "specific"))
    }

    /// Config values by name; a map below a name makes that name a topic.
    fn topic_configs(&mut self, node: &Node, path: &str) -> Option<Value> {
        let Data::Map(entries) = &node.data else {
            return self.mismatch(node, path, "a map of topic configs");
        };
        let mut map = Vec::new();
        let mut sound = true;
        for entry in entries {
            let nested = matches!(entry.value.data, Data::Map(_));
            let one = Node { at: node.at, tag: None, data: Data::Map(vec![entry.clone()]) };
            let checked = match nested {
                true => self.map(&Kind::Topic, &Kind::Map(&Kind::Text, &Kind::Text), &one, path),
                false => self.map(&Kind::Text, &Kind::Text, &one, path),
            };
            match checked {
                Some(Value::Map(mut pairs)) => map.append(&mut pairs),
                _ => sound = false,
            }
        }
        sound.then_some(Value::Map(map))
    }

    fn scalar(&mut self, kind: &Kind, node: &Node, path: &str) -> Option<Value> {
        let secret = matches!(kind, Kind::Secret);
        let Data::Scalar(scalar) = &node.data else {
            return self.not_of(node, path, &expected(kind), how(kind), secret);
        };
        let text = scalar.text.as_str();
        let checked = match kind {
            Kind::Text | Kind::Secret if text.is_empty() => None,
            Kind::Text | Kind::Secret => Some(Value::Text(text.to_owned())),
            Kind::Bool => match text {
                "true" | "True" | "TRUE" => Some(Value::Bool(true)),
                "false" | "False" | "FALSE" => Some(Value::Bool(false)),
                _ => None,
            },
            Kind::Int { min, max } => {
                text.parse().ok().and_then(|number| self.within(number, *min, *max, kind, node, path))
            }
            Kind::Size { min, max } => value::size(text)
                .and_then(|bytes| i64::try_from(bytes).ok())
                .and_then(|bytes| self.within(bytes, *min, *max, kind, node, path)),
            Kind::Duration { plain, min } => value::duration_ms(text, *plain)
                .and_then(|ms| self.within(ms, *min, i64::MAX, kind, node, path)),
            Kind::Time => value::time_ms(text).map(Value::Int),
            Kind::Choice(choices) => match choices.contains(&text) {
                true => Some(Value::Text(text.to_owned())),
                false => {
                    let near = unknown::nearest(text, choices.iter().copied());
                    return self.not_one_of(node, path, &choices.join(", "), near);
                }
            },
            Kind::Word(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
                Some(word) => Some(Value::Text((*word).to_owned())),
                None => {
                    let near = unknown::nearest(text, words.iter().copied());
                    return self.not_one_of(node, path, &words.join(", "), near);
                }
            },
            Kind::Host => match value::host(text.trim()) {
                Ok((host, port)) => Some(Value::Server(host, port.unwrap_or(0))),
                Err(why) => {
                    let message = format!("{path}: expected a host, found {}: {why}", found(node, false));
                    self.problems.add(node.at, message, "write for example cassandra-1 or cassandra-1:9042");
                    return None;
                }
            },
            Kind::Server => match value::server(text.trim()) {
                Ok((host, port)) => Some(Value::Server(host, port)),
                Err(why) => {
                    let found = found(node, false);
                    let message = format!("{path}: expected host:port of a broker, found {found}: {why}");
                    self.problems.add(node.at, message, "write for example kafka-1:9092 or [::1]:9092");
                    return None;
                }
            },
            Kind::Topic => {
                return self.named(Topic::new(text).map(drop).map_err(pipeline::Error::from), node, path);
            }
            Kind::BackupId => {
                return self.named(BackupId::new(text).map(drop).map_err(pipeline::Error::from), node, path);
            }
            Kind::TopicPattern => return self.named(TopicSelection::check_pattern(text), node, path),
            Kind::GroupPattern => return self.named(GroupSelection::new(&[text]).map(drop), node, path),
            Kind::SubjectPattern => return self.named(SchemaSelection::check_pattern(text), node, path),
            Kind::Lineage => {
                return self.named(
                    LineageId::from_str(text).map(drop).map_err(pipeline::Error::from),
                    node,
                    path,
                );
            }
            Kind::TopicPartition => {
                let split = text.rsplit_once('-').filter(|(topic, partition)| {
                    Topic::new(topic).is_ok() && partition.parse::<i32>().is_ok_and(|number| number >= 0)
                });
                split.map(|_| Value::Text(text.to_owned()))
            }
            _ => None,
        };
        // A number out of bounds has been reported with its bounds.
        if checked.is_none() && !is_number(kind, text) {
            return self.not_of(node, path, &expected(kind), how(kind), secret);
        }
        checked
    }

    fn within(
        &mut self,
        number: i64,
        min: i64,
        max: i64,
        kind: &Kind,
        node: &Node,
        path: &str,
    ) -> Option<Value> {
        if (min..=max).contains(&number) {
            return Some(Value::Int(number));
        }
        let show = |number: i64| match kind {
            Kind::Size { .. } => show_size(number),
            Kind::Duration { .. } => format!("{number}ms"),
            _ => number.to_string(),
        };
        let bounds = match max {
            i64::MAX => format!("at least {}", show(min)),
            _ => format!("between {} and {}", show(min), show(max)),
        };
        let message = format!("{path}: {} is out of range", found(node, false));
        self.problems.add(node.at, message, format!("it must be {bounds}"));
        None
    }

    /// A text that another crate's type has judged.
    fn named(&mut self, checked: pipeline::Result<()>, node: &Node, path: &str) -> Option<Value> {
        let Data::Scalar(scalar) = &node.data else { return None };
        match checked {
            Ok(()) => Some(Value::Text(scalar.text.clone())),
            Err(_) if scalar.expanded => {
                let message = format!("{path}: {} is not acceptable", found(node, false));
                self.problems.add(node.at, message, "check what the variable or file holds");
                None
            }
            Err(error) => {
                let hint = error.next_step().unwrap_or("write another value").to_owned();
                self.problems.add(node.at, format!("{path}: {}", error.message()), hint);
                None
            }
        }
    }

    fn not_one_of<T>(&mut self, node: &Node, path: &str, choices: &str, near: Option<&str>) -> Option<T> {
        let mut message = format!("{path}: expected one of {choices}, found {}", found(node, false));
        if let Some(near) = near {
            message.push_str(&format!("; did you mean {near:?}?"));
        }
        self.problems.add(node.at, message, "write one of these words");
        None
    }

    fn mismatch<T>(&mut self, node: &Node, path: &str, expected: &str) -> Option<T> {
        self.not_of(node, path, expected, "configs/README.md has the type of every key", false)
    }

    fn not_of<T>(&mut self, node: &Node, path: &str, expected: &str, how: &str, secret: bool) -> Option<T> {
        let place = if path.is_empty() { "the file" } else { path };
        let message = format!("{place}: expected {expected}, found {}", found(node, secret));
        let hint = match &node.data {
            Data::Scalar(scalar) if scalar.expanded => {
                "check what the variable or file holds: it supplies one value, no structure"
            }
            Data::Scalar(_) if expected == "a list" => "write one item a line, each after a dash",
            Data::Scalar(_) if expected == "a section of keys" => {
                "write its keys on the next lines, indented"
            }
            _ => how,
        };
        self.problems.add(node.at, message, hint);
        None
    }
}

impl Section {
    /// Where a key stands, or its section where it was left out.
    pub(crate) fn at(&self, key: &str) -> At {
        self.values.get(key).map_or(self.at, |given| given.at)
    }

    /// Whether the file itself holds the key.
    pub(crate) fn is_written(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|given| given.written)
    }

    /// Whether the file says anything in this section or in one below it.
    pub(crate) fn says_something(&self) -> bool {
        let says = |given: &Given| match &given.value {
            Value::Section(section) => section.says_something(),
            _ => given.written,
        };
        !self.unsound.is_empty() || self.values.values().any(says)
    }

    /// Whether the file holds the key, with a sound value or not.
    pub(crate) fn is_given(&self, key: &str) -> bool {
        self.is_written(key) || self.unsound.contains(key)
    }

    /// The value of a key, `None` where it was left out and has no default.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).map(|given| &given.value)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn int(&self, key: &str) -> Option<i64> {
        match self.get(key) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        }
    }

    /// A number that its table bounds from below by zero.
    pub(crate) fn unsigned(&self, key: &str) -> Option<u64> {
        self.int(key).and_then(|number| u64::try_from(number).ok())
    }

    pub(crate) fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key) {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    /// The items of a list; none where it was left out.
    pub(crate) fn list(&self, key: &str) -> &[Value] {
        match self.get(key) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// The pairs of a map; none where it was left out.
    pub(crate) fn map(&self, key: &str) -> &[(Value, Value)] {
        match self.get(key) {
            Some(Value::Map(pairs)) => pairs,
            _ => &[],
        }
    }

    pub(crate) fn section(&self, key: &str) -> Option<&Section> {
        match self.get(key) {
            Some(Value::Section(section)) => Some(section),
            _ => None,
        }
    }

    /// The texts of a list.
    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        self.list(key).iter().filter_map(Value::as_text).map(str::to_owned).collect()
    }
}

impl Value {
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }
}

fn join(path: &str, key: &str) -> String {
    let key: String = key.chars().take(80).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn failed(node: &Node) -> bool {
    matches!(&node.data, Data::Scalar(scalar) if scalar.failed)
}

/// The parts of an item: brokers may come as one text with commas.
fn parts(item: &Node, split: bool) -> Vec<Node> {
    match &item.data {
        Data::Scalar(scalar) if split && !scalar.failed && scalar.text.contains(',') => scalar
            .text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| Node {
                at: item.at,
                tag: item.tag.clone(),
                data: Data::Scalar(Scalar { text: part.to_owned(), ..scalar.clone() }),
            })
            .collect(),
        _ => vec![item.clone()],
    }
}

fn harmless(node: &Node, unless: Harmless) -> bool {
    match (unless, &node.data) {
        (Harmless::Values(values), Data::Scalar(scalar)) => values.contains(&scalar.text.as_str()),
        (Harmless::Empty, Data::List(items)) => items.is_empty(),
        (Harmless::Empty, Data::Map(entries)) => entries.is_empty(),
        (Harmless::Disabled, Data::Map(entries)) => entries.iter().any(|entry| {
            entry.key == "enabled"
                && matches!(&entry.value.data, Data::Scalar(scalar) if scalar.text == "false")
        }),
        _ => false,
    }
}

/// Whether the text is a number of that kind, in bounds or not.
fn is_number(kind: &Kind, text: &str) -> bool {
    match kind {
        Kind::Int { .. } => text.parse::<i64>().is_ok(),
        Kind::Size { .. } => value::size(text).is_some_and(|bytes| i64::try_from(bytes).is_ok()),
        Kind::Duration { plain, .. } => value::duration_ms(text, *plain).is_some(),
        _ => false,
    }
}

/// How to write a value of a kind.
fn how(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "write true or false",
        Kind::Int { .. } => "write digits only",
        Kind::Size { .. } => "write for example 134217728, 128MiB (1024) or 128MB (1000)",
        Kind::Duration { .. } => "write for example 500ms, 30s or 5m",
        Kind::Time => {
            "write for example 1768465800000 or 2026-01-15T08:30:00Z, with a zone and a day that exists"
        }
        _ => "configs/README.md has the type of every key",
    }
}

/// Words for a kind.
pub(crate) fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Text => "a text",
        Kind::Secret => "a text (secret)",
        Kind::Bool => "true or false",
        Kind::Int { .. } => "a whole number",
        Kind::Size { .. } => "a size in bytes such as 128MiB",
        Kind::Duration { plain: None, .. } => "a length of time with its unit, such as 30s",
        Kind::Duration { plain: Some(1_000), .. } => {
            "a length of time in seconds, or with a unit such as 30s"
        }
        Kind::Duration { .. } => "a length of time in milliseconds, or with a unit such as 30s",
        Kind::Time => "milliseconds since 1970 or a time such as 2026-01-15T08:30:00Z",
        Kind::Choice(choices) | Kind::Word(choices) => return format!("one of {}", choices.join(", ")),
        Kind::List(inner) => return format!("a list of: {}", expected(inner)),
        Kind::Map(keys, values) => return format!("a map from {} to {}", expected(keys), expected(values)),
        Kind::Section(_) | Kind::Tagged { .. } => "a section of keys",
        Kind::Topic => "a topic's name",
        Kind::TopicPattern => "a topic's name, a glob or a ~regex",
        Kind::GroupPattern => "a consumer group's name, a glob or a ~regex",
        Kind::SubjectPattern => "a subject's name or a glob",
        Kind::TopicPartition => "a topic and a partition such as orders-0",
        Kind::Server => "host:port of a broker",
        Kind::Host => "host or host:port",
        Kind::BackupId => "a backup id",
        Kind::Lineage => "a lineage of 16 hexadecimal digits",
        Kind::StartOffset => "earliest, latest, or specific with offsets by topic and partition",
        Kind::TopicConfigs => "a map of topic configs, for all topics or by topic",
        Kind::Any => "anything",
    }
    .to_owned()
}

/// What stands there, quoted unless it could be a secret.
fn found(node: &Node, secret: bool) -> String {
    match &node.data {
        Data::List(_) => "a list".to_owned(),
        Data::Map(_) => "a map".to_owned(),
        Data::Scalar(scalar) if scalar.text.is_empty() => "nothing".to_owned(),
        Data::Scalar(_) if secret => "something else".to_owned(),
        Data::Scalar(scalar) if scalar.expanded => "a value from a variable or file (not shown)".to_owned(),
        Data::Scalar(scalar) => {
            let shown: String = scalar.text.chars().take(60).collect();
            let more = if shown.len() < scalar.text.len() { "..." } else { "" };
            format!("{shown:?}{more}")
        }
    }
}

fn show_size(bytes: i64) -> String {
    for (unit, factor) in [("TiB", 1_i64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes % factor == 0 {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes} bytes")
}

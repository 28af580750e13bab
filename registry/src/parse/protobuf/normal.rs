//! What normalising changes: order, full names, one form for what can be written in several.
//!
//! As in Confluent's registry, with one difference: it prints numbers with at most three digits after the point, which
//! would change a default; here every digit stays.

use super::element::{Extend, Extensions, Oneof, Opt, Span, Value};
use super::names::Names;
use indexmap::IndexMap;
use std::collections::HashSet;

/// Options under full names, sorted, those that set parts of one value merged into one.
pub(super) fn options(names: &Names<'_>, scope: &str, options: &[Opt]) -> Vec<Opt> {
    let mut sorted: Vec<(Opt, bool)> = options.iter().map(|option| qualified(names, scope, option)).collect();
    sorted.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let mut merged: Vec<Opt> = Vec::with_capacity(sorted.len());
    let mut rest = sorted.into_iter().peekable();
    while let Some((option, single)) = rest.next() {
        if !single {
            merged.push(option);
            continue;
        }
        let mut merge = Merge { value: Value::List(Vec::new()), touched: HashSet::new() };
        merge.start(option.value);
        while let Some((more, _)) = rest.next_if(|(more, _)| more.name == option.name) {
            merge.add(more.value);
        }
        merged.push(Opt { value: merge.finish(), ..option });
    }
    merged
}

/// The option, and whether it is an extension that can be set only once.
fn qualified(names: &Names<'_>, scope: &str, option: &Opt) -> (Opt, bool) {
    let found = if option.extension { names.find_extension(scope, &option.name) } else { None };
    match found {
        Some((name, repeated)) => (Opt { name, extension: true, value: option.value.clone() }, !repeated),
        None => (option.clone(), false),
    }
}

/// Several settings of one option, as one value.
struct Merge {
    value: Value,
    /// Keys that were set more than once: their values are a list without repetitions.
    touched: HashSet<String>,
}

impl Merge {
    fn start(&mut self, value: Value) {
        self.value = match value {
            Value::Part(part) => {
                let mut map = IndexMap::new();
                set(&mut map, *part, &mut self.touched);
                Value::Map(map)
            }
            other => other,
        };
    }

    fn add(&mut self, value: Value) {
        match (&mut self.value, value) {
            (Value::Map(map), Value::Part(part)) => set(map, *part, &mut self.touched),
            (Value::Map(map), Value::Map(more)) => {
                for (key, value) in more {
                    combine(map, key, value, &mut self.touched);
                }
            }
            (_, later) => {
                self.touched.clear();
                self.start(later);
            }
        }
    }

    fn finish(mut self) -> Value {
        if let Value::Map(map) = &mut self.value {
            for key in &self.touched {
                if let Some(Value::List(items)) = map.get_mut(key) {
                    let mut seen = HashSet::new();
                    items.retain(|item| seen.insert(format!("{item:?}")));
                }
            }
        }
        self.value
    }
}

/// Sets a part of a value: `.a.b = 1` goes into what `.a` holds already.
fn set(map: &mut IndexMap<String, Value>, part: Opt, touched: &mut HashSet<String>) {
    let key = match part.name.strip_prefix('(').and_then(|name| name.strip_suffix(')')) {
        Some(extension) => format!("[{extension}]"),
        None => part.name,
    };
    match part.value {
        Value::Part(inner) => {
            let entry = map.entry(key).or_insert_with(|| Value::Map(IndexMap::new()));
            if !matches!(entry, Value::Map(_)) {
                *entry = Value::Map(IndexMap::new());
            }
            if let Value::Map(within) = entry {
                // Only what stands directly in the option is made free of repetitions, as in Confluent's registry.
                set(within, *inner, &mut HashSet::new());
            }
        }
        value => combine(map, key, value, touched),
    }
}

fn combine(map: &mut IndexMap<String, Value>, key: String, value: Value, touched: &mut HashSet<String>) {
    let Some(previous) = map.get_mut(&key) else {
        map.insert(key, value);
        return;
    };
    let mut items = match std::mem::replace(previous, Value::List(Vec::new())) {
        Value::List(items) => items,
        one => vec![one],
    };
    match value {
        Value::List(more) => items.extend(more),
        one => items.push(one),
    }
    *previous = Value::List(items);
    touched.insert(key);
}

/// The entries of a value: without empty lists, extensions under full names, sorted.
pub(super) fn entries(
    names: &Names<'_>,
    scope: &str,
    entries: &IndexMap<String, Value>,
) -> IndexMap<String, Value> {
    let mut sorted: Vec<(String, Value)> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        if matches!(value, Value::List(items) if items.is_empty()) {
            continue;
        }
        let extension = key.strip_prefix('[').and_then(|key| key.strip_suffix(']'));
        let full = extension.and_then(|name| names.find_extension(scope, name));
        sorted.push((full.map_or_else(|| key.clone(), |(full, _)| format!("[{full}]")), value.clone()));
    }
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    // Of two keys that mean the same extension the first one stays.
    sorted.dedup_by(|(later, _), (first, _)| later == first);
    sorted.into_iter().collect()
}

/// One line per item, in the order of where they start, names at the end.
pub(super) fn spans(lines: &[Vec<Span>]) -> Vec<Vec<Span>> {
    let mut items: Vec<&Span> = lines.iter().flatten().collect();
    let key = |span: &Span| match span {
        Span::One(tag) => (*tag, tag.to_string()),
        Span::Range(start, end) => (*start, format!("{start}..{end}")),
        Span::Name(name) => (i32::MAX, name.clone()),
    };
    items.sort_by_cached_key(|span| key(span));
    items.into_iter().map(|span| vec![span.clone()]).collect()
}

pub(super) fn extensions(lines: &[Extensions]) -> Vec<Extensions> {
    let single = |line: &Extensions| -> Vec<Extensions> {
        let one = |span: &Span| Extensions { spans: vec![span.clone()], options: line.options.clone() };
        line.spans.iter().map(one).collect()
    };
    let mut split: Vec<Extensions> = lines.iter().flat_map(single).collect();
    split.sort_by_key(|line| match line.spans.first() {
        Some(Span::One(start) | Span::Range(start, _)) => *start,
        _ => i32::MAX,
    });
    split
}

/// Oneofs with fields, both in the order of the numbers.
pub(super) fn oneofs(oneofs: &[Oneof]) -> Vec<Oneof> {
    let mut sorted: Vec<Oneof> = oneofs.to_vec();
    for oneof in &mut sorted {
        oneof.fields.sort_by_key(|field| field.tag);
    }
    // Confluent drops a oneof without fields; one that holds only groups has a meaning.
    sorted.retain(|oneof| !oneof.fields.is_empty() || !oneof.groups.is_empty());
    sorted.sort_by_key(|oneof| {
        let groups = oneof.groups.iter().map(|group| group.tag).min();
        oneof.fields.first().map(|field| field.tag).or(groups)
    });
    sorted
}

/// One block per extended message, under its full name.
pub(super) fn extends(names: &Names<'_>, scope: &str, extends: &[Extend]) -> Vec<Extend> {
    let mut blocks: IndexMap<String, Extend> = IndexMap::new();
    for extend in extends {
        let name = match names.find(scope, &extend.name) {
            Some((full, _)) => format!(".{full}"),
            None => extend.name.clone(),
        };
        let block = blocks.entry(name.clone()).or_insert_with(|| Extend { name, ..Extend::default() });
        block.fields.extend_from_slice(&extend.fields);
        block.groups.extend_from_slice(&extend.groups);
    }
    blocks.into_values().collect()
}

/// A number in decimal digits, without an exponent or a suffix; what is none stays as it is.
pub(super) fn number(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let whole = match hexadecimal {
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None if digits.len() > 1 && digits.starts_with('0') => u128::from_str_radix(digits, 8).ok(),
        None => digits.parse::<u128>().ok(),
    };
    if let Some(whole) = whole {
        return if whole == 0 { "0".to_owned() } else { format!("{sign}{whole}") };
    }
    let plain = digits.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(digits);
    let numeric = plain.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    match plain.parse::<f64>() {
        Ok(value) if numeric && hexadecimal.is_none() && value.is_finite() => format!("{sign}{value}"),
        _ => text.to_owned(),
    }
}

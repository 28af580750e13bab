//! Differences in words: Confluent's, and ours for people.

use super::places::Places;
use super::{Found, MAX_DEPTH, MAX_STEPS, Rule, missing_symbols};
use crate::compat::Difference;
use crate::parse::avro::graph::{Enum, Graph, Kind, TypeId};

/// Bytes of a list of symbols in Confluent's form; Confluent has no limit.
const MAX_LIST: usize = 64 * 1024;

/// Names in a list for people.
const MAX_SHOWN: usize = 8;

pub(super) fn difference(reader: &Graph, writer: &Graph, places: &Places, found: &Found) -> Difference {
    let Found { rule, reader: r, writer: w, place } = *found;
    let path = places.path(place);
    let (kind, info, description) = match rule {
        Rule::NameMismatch => (
            "NAME_MISMATCH",
            format!("expected: {}", writer.branch_name(w)),
            format!("The name of the schema has changed (path '{path}')"),
        ),
        Rule::FixedSizeMismatch => (
            "FIXED_SIZE_MISMATCH",
            format!("expected: {}, found: {}", size(writer, w), size(reader, r)),
            format!(
                "The size of FIXED type field at path '{path}' in the %s schema does not match with the %s schema"
            ),
        ),
        Rule::MissingEnumSymbols => {
            let symbols = confluent_symbols(reader, r, writer, w);
            let description = format!(
                "The %s schema is missing enum symbols '{symbols}' at path '{path}' in the %s schema"
            );
            ("MISSING_ENUM_SYMBOLS", symbols, description)
        }
        Rule::ReaderFieldMissingDefaultValue => {
            let name = field_name(reader, r, places.index(place)).to_owned();
            let description = format!(
                "The field '{name}' at path '{path}' in the %s schema has no default value and is missing in the %s \
                 schema"
            );
            ("READER_FIELD_MISSING_DEFAULT_VALUE", name, description)
        }
        Rule::TypeMismatch => (
            "TYPE_MISMATCH",
            format!(
                "reader type: {} not compatible with writer type: {}",
                java_type(reader, r),
                java_type(writer, w)
            ),
            format!("The type (path '{path}') of a field in the %s schema does not match with the %s schema"),
        ),
        Rule::MissingUnionBranch => (
            "MISSING_UNION_BRANCH",
            format!(
                "reader union lacking writer type: {}",
                java_type(writer, lacking(writer, places, found))
            ),
            format!("The %s schema is missing a type inside a union field at path '{path}' in the %s schema"),
        ),
        Rule::AmbiguousAlias => {
            let name = field_name(reader, r, places.index(place));
            let field = field_type(reader, r, places.index(place)).unwrap_or(r);
            let place = places.index(place).unwrap_or(0);
            let confluent = format!(
                "Unexpected exception during compatibility check: Reader record field {name} type:{} pos:{place} \
                 matches multiple fields in writer record schema {}",
                java_type(reader, field),
                writer.branch_name(w)
            );
            let message = message(reader, writer, places, found);
            return Difference { rule: "AMBIGUOUS_ALIAS", path, message, confluent };
        }
        Rule::TooLarge => {
            let message = message(reader, writer, places, found);
            let confluent = format!("Unexpected exception during compatibility check: {message}");
            return Difference { rule: "TOO_LARGE", path, message, confluent };
        }
    };
    let confluent = format!("{{errorType:'{kind}', description:'{description}', additionalInfo:'{info}'}}");
    Difference { rule: kind, path, message: message(reader, writer, places, found), confluent }
}

/// One sentence: where, both values, and a fix.
fn message(reader: &Graph, writer: &Graph, places: &Places, found: &Found) -> String {
    let Found { rule, reader: r, writer: w, place } = *found;
    let dotted = places.dotted(reader, place);
    let at = if dotted.is_empty() { String::new() } else { format!("field {dotted}: ") };
    let (ours, theirs) = (shown(reader, r), shown(writer, w));
    match rule {
        Rule::NameMismatch => format!(
            "{at}the reader's {ours} has another name than the writer's {theirs}; keep the name, or add {:?} to the \
             reader's aliases",
            writer.branch_name(w)
        ),
        Rule::FixedSizeMismatch => format!(
            "{at}the reader's {ours} has {} bytes and the writer's {}; keep the size, or use a new name in a new field",
            size(reader, r),
            size(writer, w)
        ),
        Rule::MissingEnumSymbols => format!(
            "{at}the reader's {ours} lacks {}, which the writer may write; keep all symbols, or give the enum a \
             default",
            people_symbols(reader, r, writer, w)
        ),
        Rule::ReaderFieldMissingDefaultValue => format!(
            "{at}the reader's {ours} needs it, but the writer's {theirs} does not have it and it has no default; give \
             it a default, or name the writer's field in its aliases"
        ),
        Rule::TypeMismatch => format!(
            "{at}the reader expects {ours} where the writer wrote {theirs}; keep the type, or add a field of the new \
             type with a default"
        ),
        Rule::MissingUnionBranch => format!(
            "{at}no branch of the reader's {ours} can hold the writer's {}; add it to the union",
            shown(writer, lacking(writer, places, found))
        ),
        Rule::AmbiguousAlias => format!(
            "{at}its name and aliases match several fields of the writer's {theirs}; remove aliases until only one \
             matches"
        ),
        Rule::TooLarge => format!(
            "{at}the comparison ends here, after {MAX_STEPS} steps or {MAX_DEPTH} types inside each other; split the \
             schemas into smaller ones"
        ),
    }
}

/// The writer's type that no branch takes: one of its union, or all of it.
fn lacking(writer: &Graph, places: &Places, found: &Found) -> TypeId {
    match &writer.get(found.writer).kind {
        Kind::Union(branches) => {
            places.index(found.place).and_then(|n| branches.get(n)).copied().unwrap_or(found.writer)
        }
        _ => found.writer,
    }
}

/// The name of Java's constant for the kind of type.
fn java_type(graph: &Graph, id: TypeId) -> String {
    graph.kind_name(id).to_ascii_uppercase()
}

/// `record com.example.User`, `union [null, string]`, `int`.
fn shown(graph: &Graph, id: TypeId) -> String {
    match &graph.get(id).kind {
        Kind::Record(_) | Kind::Enum(_) | Kind::Fixed(_) => {
            format!("{} {}", graph.kind_name(id), graph.branch_name(id))
        }
        Kind::Union(branches) => {
            let names = branches.iter().map(|branch| graph.branch_name(*branch));
            format!("union [{}]", few(names, branches.len()))
        }
        Kind::Primitive(_) | Kind::Array(_) | Kind::Map(_) => graph.kind_name(id).to_owned(),
    }
}

fn size(graph: &Graph, id: TypeId) -> i32 {
    if let Kind::Fixed(fixed) = &graph.get(id).kind { fixed.size } else { 0 }
}

fn field_name(graph: &Graph, id: TypeId, place: Option<usize>) -> &str {
    match (&graph.get(id).kind, place) {
        (Kind::Record(record), Some(n)) => record.fields.get_index(n).map_or("", |(name, _)| name),
        _ => "",
    }
}

fn field_type(graph: &Graph, id: TypeId, place: Option<usize>) -> Option<TypeId> {
    match &graph.get(id).kind {
        Kind::Record(record) => record.fields.get_index(place?).map(|(_, field)| field.schema),
        _ => None,
    }
}

/// What the reader lacks, in the order of Java's `TreeSet`.
fn symbols<'a>(reader: &'a Graph, r: TypeId, writer: &'a Graph, w: TypeId) -> Vec<&'a str> {
    let enums = |graph: &'a Graph, id| -> Option<&'a Enum> {
        if let Kind::Enum(symbols) = &graph.get(id).kind { Some(symbols) } else { None }
    };
    let (Some(r), Some(w)) = (enums(reader, r), enums(writer, w)) else { return Vec::new() };
    let mut missing: Vec<_> = missing_symbols(r, w).collect();
    missing.sort_unstable();
    missing
}

fn confluent_symbols(reader: &Graph, r: TypeId, writer: &Graph, w: TypeId) -> String {
    let mut list = "[".to_owned();
    for (n, symbol) in symbols(reader, r, writer, w).into_iter().enumerate() {
        if list.len() > MAX_LIST {
            list.push_str(", ...");
            break;
        }
        if n > 0 {
            list.push_str(", ");
        }
        list.push_str(symbol);
    }
    list.push(']');
    list
}

fn people_symbols(reader: &Graph, r: TypeId, writer: &Graph, w: TypeId) -> String {
    let missing = symbols(reader, r, writer, w);
    let noun = if missing.len() == 1 { "symbol" } else { "symbols" };
    format!("{noun} {}", few(missing.iter().copied(), missing.len()))
}

/// The first of a list, and how many there are beyond them.
fn few(names: impl Iterator<Item = impl AsRef<str>>, count: usize) -> String {
    let mut list = String::new();
    for (n, name) in names.take(MAX_SHOWN).enumerate() {
        if n > 0 {
            list.push_str(", ");
        }
        list.push_str(name.as_ref());
    }
    match count.checked_sub(MAX_SHOWN) {
        None | Some(0) => list,
        Some(more) => format!("{list} and {more} more"),
    }
}

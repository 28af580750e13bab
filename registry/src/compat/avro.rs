//! Whether an Avro reader can decode what an Avro writer wrote: the rules of Apache Avro's `SchemaCompatibility`, which
//! Confluent's registry uses as it is, with its order, its paths and its habit of naming the inside of a union's branch as
//! if the branch were a document of its own.
//!
//! A pair of types is compared once, at the place where it is met first; met again inside itself it counts as compatible.
//! That makes the time linear in the number of pairs, which may be the product of both sizes: after [`MAX_STEPS`] steps, or
//! [`MAX_DEPTH`] types inside each other, the schemas count as incompatible, with a difference that says so. What is kept
//! on the way is bounded too, at some tens of megabytes.

use super::Difference;
use crate::parse::avro::Avro;
use crate::parse::avro::graph::{Enum, Graph, Kind, Named, Primitive, Record, TypeId};
use std::collections::HashMap;

mod places;
#[cfg(test)]
mod tests;
mod words;

use places::{Place, Places, Step};

/// Differences that are listed; one would be enough to refuse.
pub const MAX_DIFFERENCES: usize = 100;

/// Pairs of types, fields and symbols that are looked at: about a second. Schemas that people write need some hundreds.
pub const MAX_STEPS: usize = 4_000_000;

/// Types inside each other, recursion included.
pub const MAX_DEPTH: usize = 600;

/// Pairs, places and differences that are kept because they may be needed again.
const MAX_KEPT: usize = 2_000_000;

/// Why `reader` cannot decode what `writer` wrote; empty where it can.
///
/// [`Difference::confluent`] is as Confluent's `isBackwardCompatible` returns it: where it holds `%s` twice, the first
/// stands for the reader's word (`new` when backward compatibility is checked), the second for the writer's.
pub fn differences(reader: &Avro, writer: &Avro) -> Vec<Difference> {
    let (reader_graph, writer_graph) = (reader.graph(), writer.graph());
    let (places, root) = Places::new(reader.root());
    let mut comparison = Comparison {
        reader: reader_graph,
        writer: writer_graph,
        seen: HashMap::new(),
        places,
        pinned: 1,
        steps: 0,
        kept: 0,
    };
    let found = match comparison.compare(reader.root(), writer.root(), root, 0) {
        Ok(found) => found,
        // What Confluent answers then is this one message and nothing else.
        Err(stop) => vec![stop],
    };
    found
        .iter()
        .map(|found| words::difference(reader_graph, writer_graph, &comparison.places, found))
        .collect()
}

/// The rules, by the names that Apache Avro has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    NameMismatch,
    FixedSizeMismatch,
    MissingEnumSymbols,
    ReaderFieldMissingDefaultValue,
    TypeMismatch,
    MissingUnionBranch,
    /// A field that, by its name and aliases, is several of the writer's; Apache Avro throws.
    AmbiguousAlias,
    /// Given up.
    TooLarge,
}

/// A difference that is not in words yet: most are found in branches that another branch makes up for.
#[derive(Debug, Clone, Copy)]
struct Found {
    rule: Rule,
    reader: TypeId,
    writer: TypeId,
    place: Place,
}

struct Comparison<'a> {
    reader: &'a Graph,
    writer: &'a Graph,
    /// Pairs with a name on at least one side, `None` while one is being compared. Other types have one place only, so
    /// that their pairs are met once for each time that the pair around them is compared.
    seen: HashMap<u64, Option<Box<[Found]>>>,
    places: Places,
    /// As many of the places as differences in `seen` may refer to.
    pinned: usize,
    steps: usize,
    /// Differences in `seen`.
    kept: usize,
}

/// Differences of a pair, or why the whole comparison ends.
type Answer = Result<Vec<Found>, Found>;

impl Comparison<'_> {
    fn compare(&mut self, reader: TypeId, writer: TypeId, place: Place, depth: usize) -> Answer {
        if depth >= MAX_DEPTH {
            return Err(Found { rule: Rule::TooLarge, reader, writer, place });
        }
        self.count(1, reader, writer, place)?;
        if let (Kind::Primitive(r), Kind::Primitive(w)) =
            (&self.reader.get(reader).kind, &self.writer.get(writer).kind)
        {
            let fits = r == w || promotes(*w, *r);
            return Ok(if fits {
                Vec::new()
            } else {
                vec![found(Rule::TypeMismatch, reader, writer, place)]
            });
        }
        if self.reader.named(reader).is_none() && self.writer.named(writer).is_none() {
            return self.composite(reader, writer, place, depth);
        }
        let pair = reader.number() << 32 | writer.number();
        match self.seen.get(&pair) {
            // Met inside itself: compatible, unless something else says otherwise.
            Some(None) => return Ok(Vec::new()),
            Some(Some(found)) => return Ok(found.to_vec()),
            None => {}
        }
        self.seen.insert(pair, None);
        let differences = self.composite(reader, writer, place, depth)?;
        if !differences.is_empty() {
            self.kept += differences.len();
            self.pinned = self.places.len();
        }
        if self.kept + self.places.len() + self.seen.len() > MAX_KEPT {
            return Err(found(Rule::TooLarge, reader, writer, place));
        }
        self.seen.insert(pair, Some(differences.clone().into()));
        Ok(differences)
    }

    /// Whether the pair fits, where nobody asks why not.
    fn fits(&mut self, reader: TypeId, writer: TypeId, place: Place, depth: usize) -> Result<bool, Found> {
        let length = self.places.len();
        let inside = self.places.add(place, Step::Branch(reader));
        let fits = self.compare(reader, writer, inside, depth)?.is_empty();
        self.release(length);
        Ok(fits)
    }

    /// Forgets places that no difference refers to.
    fn release(&mut self, length: usize) {
        self.places.truncate(length.max(self.pinned));
    }

    fn count(&mut self, steps: usize, reader: TypeId, writer: TypeId, place: Place) -> Result<(), Found> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS { Err(found(Rule::TooLarge, reader, writer, place)) } else { Ok(()) }
    }

    fn composite(&mut self, reader: TypeId, writer: TypeId, place: Place, depth: usize) -> Answer {
        let (reader_graph, writer_graph) = (self.reader, self.writer);
        match (&reader_graph.get(reader).kind, &writer_graph.get(writer).kind) {
            (Kind::Array(r), Kind::Array(w)) => {
                let inside = self.places.add(place, Step::Items);
                self.compare(*r, *w, inside, depth + 1)
            }
            (Kind::Map(r), Kind::Map(w)) => {
                let inside = self.places.add(place, Step::Values);
                self.compare(*r, *w, inside, depth + 1)
            }
            (Kind::Fixed(r), Kind::Fixed(w)) => {
                let mut differences = Vec::new();
                self.names(&r.named, &w.named, reader, writer, place, &mut differences);
                if r.size != w.size {
                    let place = self.places.add(place, Step::Size);
                    differences.push(found(Rule::FixedSizeMismatch, reader, writer, place));
                }
                Ok(differences)
            }
            (Kind::Enum(r), Kind::Enum(w)) => {
                let mut differences = Vec::new();
                self.names(&r.named, &w.named, reader, writer, place, &mut differences);
                self.count(w.symbols.len(), reader, writer, place)?;
                if r.default.is_none() && missing_symbols(r, w).next().is_some() {
                    let place = self.places.add(place, Step::Symbols);
                    differences.push(found(Rule::MissingEnumSymbols, reader, writer, place));
                }
                Ok(differences)
            }
            (Kind::Record(r), Kind::Record(w)) => {
                let mut differences = Vec::new();
                self.names(&r.named, &w.named, reader, writer, place, &mut differences);
                self.fields((r, reader), (w, writer), place, depth, &mut differences)?;
                Ok(differences)
            }
            (Kind::Union(_), Kind::Union(branches)) => {
                let mut differences = Vec::new();
                for (n, branch) in (0..).zip(branches) {
                    let length = self.places.len();
                    let place = self.places.add(place, Step::Index(n));
                    if self.fits(reader, *branch, place, depth + 1)? {
                        self.release(length);
                    } else {
                        merge(&mut differences, [found(Rule::MissingUnionBranch, reader, writer, place)]);
                    }
                }
                Ok(differences)
            }
            (_, Kind::Union(branches)) => {
                let mut differences = Vec::new();
                for branch in branches {
                    let inside = self.places.add(place, Step::Branch(reader));
                    merge(&mut differences, self.compare(reader, *branch, inside, depth + 1)?);
                }
                Ok(differences)
            }
            (Kind::Union(branches), _) => {
                for branch in branches {
                    if self.fits(*branch, writer, place, depth + 1)? {
                        return Ok(Vec::new());
                    }
                }
                Ok(vec![found(Rule::MissingUnionBranch, reader, writer, place)])
            }
            _ => Ok(vec![found(Rule::TypeMismatch, reader, writer, place)]),
        }
    }

    /// The same name, whatever the namespace, or an alias that is the writer's full name.
    fn names(
        &mut self,
        r: &Named,
        w: &Named,
        reader: TypeId,
        writer: TypeId,
        place: Place,
        differences: &mut Vec<Found>,
    ) {
        if r.name.simple != w.name.simple && !r.aliases.contains(&w.name) {
            let place = self.places.add(place, Step::Name);
            differences.push(found(Rule::NameMismatch, reader, writer, place));
        }
    }

    fn fields(
        &mut self,
        (r, reader): (&Record, TypeId),
        (w, writer): (&Record, TypeId),
        place: Place,
        depth: usize,
        differences: &mut Vec<Found>,
    ) -> Result<(), Found> {
        let list = self.places.add(place, Step::Fields);
        for (n, (name, field)) in (0..).zip(&r.fields) {
            let (length, before) = (self.places.len(), differences.len());
            let place = self.places.add(list, Step::Index(n));
            self.count(1 + field.aliases.len(), reader, writer, place)?;
            let direct = w.fields.get(name);
            let aliased = field.aliases.iter().filter_map(|alias| w.fields.get(alias));
            let mut matching = direct.into_iter().chain(aliased);
            let source = matching.next();
            if matching.next().is_some() {
                return Err(found(Rule::AmbiguousAlias, reader, writer, place));
            }
            if let Some(source) = source {
                let inside = self.places.add(place, Step::Type);
                merge(differences, self.compare(field.schema, source.schema, inside, depth + 1)?);
            } else if field.default.is_none() {
                // Apache Avro takes an enum's default for a field's, and then compares the enum with the writer's record.
                let has_default = matches!(&self.reader.get(field.schema).kind, Kind::Enum(symbols) if symbols.default.is_some());
                if has_default {
                    let inside = self.places.add(place, Step::Type);
                    merge(differences, self.compare(field.schema, writer, inside, depth + 1)?);
                } else {
                    merge(differences, [found(Rule::ReaderFieldMissingDefaultValue, reader, writer, place)]);
                }
            }
            if differences.len() == before {
                self.release(length);
            }
        }
        Ok(())
    }
}

fn found(rule: Rule, reader: TypeId, writer: TypeId, place: Place) -> Found {
    Found { rule, reader, writer, place }
}

fn merge(differences: &mut Vec<Found>, more: impl IntoIterator<Item = Found>) {
    let room = MAX_DIFFERENCES.saturating_sub(differences.len());
    differences.extend(more.into_iter().take(room));
}

fn missing_symbols<'a>(reader: &'a Enum, writer: &'a Enum) -> impl Iterator<Item = &'a str> {
    writer.symbols.iter().filter(|symbol| !reader.symbols.contains(*symbol)).map(|symbol| &**symbol)
}

/// Whether a value of one primitive type may be read as another.
fn promotes(from: Primitive, to: Primitive) -> bool {
    use Primitive::{Bytes, Double, Float, Int, Long, String};
    matches!(
        (from, to),
        (Int, Long | Float | Double)
            | (Long, Float | Double)
            | (Float, Double)
            | (String, Bytes)
            | (Bytes, String)
    )
}

//! Where in two schemas a comparison stands: cheap to extend, put into words only for what is reported.

use crate::parse::avro::graph::{Graph, Kind, TypeId};
use std::fmt::Write;

/// A place among [`Places`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(u32);

/// One step further inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The whole schema, with the reader's type.
    Root(TypeId),
    /// Into a branch of a union, where Apache Avro begins its path anew; with the reader's type there.
    Branch(TypeId),
    Fields,
    Index(u32),
    Type,
    Items,
    Values,
    Name,
    Symbols,
    Size,
}

/// The places that were entered and may still be reported, each with the one around it.
#[derive(Debug)]
pub(super) struct Places(Vec<(Place, Step)>);

impl Places {
    /// With the place that the whole schema is.
    pub(super) fn new(reader: TypeId) -> (Self, Place) {
        (Self(vec![(Place(0), Step::Root(reader))]), Place(0))
    }

    pub(super) fn add(&mut self, around: Place, step: Step) -> Place {
        // There are fewer of them than the comparison may take steps.
        let place = Place(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        self.0.push((around, step));
        place
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets all but the first.
    pub(super) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    fn at(&self, place: Place) -> (Place, Step) {
        self.0[place.0 as usize]
    }

    fn steps(&self, place: Place) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = place;
        loop {
            let (around, step) = self.at(at);
            steps.push(step);
            if matches!(step, Step::Root(_)) {
                steps.reverse();
                return steps;
            }
            at = around;
        }
    }

    /// As Apache Avro writes it: a JSON pointer, from the innermost branch of a union on.
    pub(super) fn path(&self, place: Place) -> String {
        let steps = self.steps(place);
        let begin =
            steps.iter().rposition(|step| matches!(step, Step::Root(_) | Step::Branch(_))).unwrap_or(0);
        let mut path = String::new();
        for step in &steps[begin + 1..] {
            let written = match step {
                Step::Index(n) => write!(path, "/{n}"),
                Step::Fields => write!(path, "/fields"),
                Step::Type => write!(path, "/type"),
                Step::Items => write!(path, "/items"),
                Step::Values => write!(path, "/values"),
                Step::Name => write!(path, "/name"),
                Step::Symbols => write!(path, "/symbols"),
                Step::Size => write!(path, "/size"),
                Step::Root(_) | Step::Branch(_) => Ok(()),
            };
            debug_assert!(written.is_ok(), "text takes what is written to it");
        }
        if path.is_empty() { "/".to_owned() } else { path }
    }

    /// The number of the field that a place is, if it is one.
    pub(super) fn index(&self, place: Place) -> Option<usize> {
        if let (_, Step::Index(n)) = self.at(place) { Some(n as usize) } else { None }
    }

    /// For people: names of fields from the root of the reader's schema on, `[]` for what is in arrays and maps.
    pub(super) fn dotted(&self, graph: &Graph, place: Place) -> String {
        let mut path = String::new();
        let mut at = None;
        let mut in_fields = false;
        for step in self.steps(place) {
            match step {
                Step::Root(reader) | Step::Branch(reader) => at = Some(reader),
                Step::Fields => in_fields = true,
                Step::Index(n) if std::mem::take(&mut in_fields) => {
                    let record = match at.map(|id| &graph.get(id).kind) {
                        Some(Kind::Record(record)) => Some(record),
                        _ => None,
                    };
                    if let Some((name, field)) = record.and_then(|record| record.fields.get_index(n as usize))
                    {
                        if !path.is_empty() {
                            path.push('.');
                        }
                        path.push_str(name);
                        at = Some(field.schema);
                    }
                }
                Step::Items | Step::Values => {
                    path.push_str("[]");
                    at = match at.map(|id| &graph.get(id).kind) {
                        Some(Kind::Array(inner) | Kind::Map(inner)) => Some(*inner),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
        path
    }
}

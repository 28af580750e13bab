//! Whether two definitions are of the same type: what Apache Avro compares when a name is defined again, which is all but
//! documentation and aliases.

use super::graph::{Field, Graph, Kind, TypeId};
use std::collections::HashSet;

/// Whether `again`, just read, defines what `first` does. What is still being read counts as equal: it is compared itself
/// when it is complete.
pub(super) fn same(graph: &Graph, first: TypeId, again: TypeId) -> bool {
    let mut pairs = vec![(first, again)];
    let mut seen = HashSet::new();
    while let Some((first, again)) = pairs.pop() {
        if first == again || !seen.insert((first, again)) {
            continue;
        }
        let (a, b) = (graph.get(first), graph.get(again));
        let has_name = match (graph.named(first), graph.named(again)) {
            (Some(a), Some(b)) => a.name == b.name,
            (None, None) => true,
            _ => false,
        };
        let fits = match (&a.kind, &b.kind) {
            // Its properties are not there yet either.
            (Kind::Record(_), Kind::Record(b)) if has_name && !b.is_complete => continue,
            (Kind::Primitive(a), Kind::Primitive(b)) => a == b,
            (Kind::Array(a), Kind::Array(b)) | (Kind::Map(a), Kind::Map(b)) => {
                pairs.push((*a, *b));
                true
            }
            (Kind::Union(a), Kind::Union(b)) => {
                pairs.extend(a.iter().copied().zip(b.iter().copied()));
                a.len() == b.len()
            }
            (Kind::Record(a), Kind::Record(b)) => {
                pairs.extend(a.fields.values().zip(b.fields.values()).map(|(a, b)| (a.schema, b.schema)));
                let fields = a.fields.iter().zip(&b.fields);
                a.fields.len() == b.fields.len()
                    && fields.into_iter().all(|((a, x), (b, y))| a == b && alike(x, y))
            }
            (Kind::Enum(a), Kind::Enum(b)) => a.symbols.iter().eq(&b.symbols),
            (Kind::Fixed(a), Kind::Fixed(b)) => a.size == b.size,
            _ => false,
        };
        if !fits || !has_name || a.props != b.props {
            return false;
        }
    }
    true
}

fn alike(a: &Field, b: &Field) -> bool {
    a.default == b.default && a.order == b.order && a.props == b.props
}

//! Logical types, as far as normalisation must know whether one is valid on its type. Comparing schemas ignores them.

use super::graph::{Graph, Kind, Primitive, TypeId};
use crate::json::Json;

/// Properties that no logical type stands beside.
const EXCLUDING: [&str; 4] = ["avro.java.string", "java-class", "java-key-class", "java-element-class"];

/// A logical type that its type can carry.
pub(super) struct Logical {
    /// Written behind it: the precision of a decimal, and its scale where it is not 0.
    pub(super) leading: Vec<&'static str>,
}

/// The logical type of a type, where it names one that Avro knows and that fits.
pub(super) fn of(graph: &Graph, id: TypeId) -> Option<Logical> {
    let ty = graph.get(id);
    let prop = |name: &str| ty.props.iter().find(|(key, _)| &**key == name).map(|(_, value)| value);
    let name = prop("logicalType")?.as_str()?;
    if EXCLUDING.iter().any(|excluding| prop(excluding).is_some_and(|value| value.as_str().is_some())) {
        return None;
    }
    let is = |primitive| matches!(ty.kind, Kind::Primitive(found) if found == primitive);
    let fits = match name {
        "uuid" => true,
        "date" | "time-millis" => is(Primitive::Int),
        "time-micros"
        | "timestamp-millis"
        | "timestamp-micros"
        | "local-timestamp-millis"
        | "local-timestamp-micros" => is(Primitive::Long),
        "big-decimal" => is(Primitive::Bytes),
        "decimal" => return decimal(&ty.kind, prop("precision"), prop("scale")),
        _ => false,
    };
    fits.then(|| Logical { leading: vec!["logicalType"] })
}

fn decimal(kind: &Kind, precision: Option<&Json>, scale: Option<&Json>) -> Option<Logical> {
    let int =
        |json: &Json| json.as_number().and_then(|number| number.as_i64()).and_then(|n| i32::try_from(n).ok());
    let precision = int(precision?)?;
    let scale = scale.map_or(Some(0), int)?;
    let limit = match kind {
        Kind::Primitive(Primitive::Bytes) => f64::from(i32::MAX),
        Kind::Fixed(fixed) => (std::f64::consts::LOG10_2 * (8.0 * f64::from(fixed.size) - 1.0)).floor(),
        _ => return None,
    };
    if precision <= 0 || f64::from(precision) > limit || scale < 0 || scale > precision {
        return None;
    }
    let mut leading = vec!["logicalType", "precision"];
    if scale != 0 {
        leading.push("scale");
    }
    Some(Logical { leading })
}

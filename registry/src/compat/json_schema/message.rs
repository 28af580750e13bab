//! What is said about a breaking change: a sentence with a fix for people, and Confluent's own form for clients.

use super::changes::Found;
use super::rule::Rule;
use crate::compat::Difference;

/// A change as it is reported. Confluent's form calls the reader's schema the new one.
pub(super) fn difference(found: &Found) -> Difference {
    let path = format!("#/{}", found.path);
    Difference {
        rule: found.rule.name(),
        message: message(found, &path),
        // The quotes do not match there either, and clients look for them.
        confluent: format!(
            "{{errorType:\"{}\", description:\"{}'}}",
            found.rule.name(),
            confluent(
                found.rule,
                if found.rule == Rule::ReservedPropertyRemoved { &found.path } else { &path }
            )
        ),
        path,
    }
}

fn confluent(rule: Rule, path: &str) -> String {
    let name = rule.name();
    match rule {
        Rule::AdditionalItemsRemoved
        | Rule::AdditionalPropertiesRemoved
        | Rule::UnevaluatedPropertiesRemoved
        | Rule::UnevaluatedItemsRemoved => absent(path),
        Rule::RequiredPropertyAddedToOpen
        | Rule::RequiredPropertyWithDefaultAddedToOpen
        | Rule::OptionalPropertyAddedToOpen
        | Rule::ItemAddedToOpen => format!(
            "The %s schema has an open content model and has a property or item at path '{path}' which is missing in \
             the %s schema"
        ),
        Rule::RequiredPropertyAddedToUnopen => format!(
            "The %s schema has an unopen content model and has a required property at path '{path}' which is missing \
             in the %s schema"
        ),
        Rule::PropertyRemovedFromClosed | Rule::ItemRemovedFromClosed => format!(
            "The %s schema has a closed content model and is missing a property or item present at path '{path}' in \
             the %s schema"
        ),
        Rule::PropertyRemovedNotCovered | Rule::ItemRemovedNotCovered => format!(
            "A property or item is missing in the %s schema but present at path '{path}' in the %s schema and is not \
             covered by its partially open content model"
        ),
        Rule::PropertyAddedNotCovered | Rule::ItemAddedNotCovered => format!(
            "The %s schema has a property or item at path '{path}' which is missing in the %s schema and is not \
             covered by its partially open content model"
        ),
        Rule::ReservedPropertyRemoved => format!(
            "The %s schema has reserved property '{path}' removed from its metadata which is present in the %s schema."
        ),
        Rule::ReservedPropertyConflicts => format!(
            "The %s schema has property at path '{path}' that conflicts with the reserved properties which is missing \
             in the %s schema."
        ),
        Rule::PatternChanged | Rule::MultipleOfChanged | Rule::DependencyArrayChanged => {
            format!("The value at path '{path}' is different between the %s and %s schema")
        }
        Rule::TypeChanged
        | Rule::TypeNarrowed
        | Rule::CombinedTypeChanged
        | Rule::CombinedTypeSubschemasChanged
        | Rule::EnumArrayChanged => {
            format!("A type at path '{path}' is different between the %s schema and the %s schema")
        }
        Rule::DependencyArrayExtended | Rule::ProductTypeExtended | Rule::NotTypeExtended => format!(
            "An array or combined type at path '{path}' has more elements in the %s schema than the %s schema"
        ),
        Rule::AdditionalItemsNarrowed
        | Rule::EnumArrayNarrowed
        | Rule::SumTypeNarrowed
        | Rule::AdditionalPropertiesNarrowed
        | Rule::UnevaluatedPropertiesNarrowed
        | Rule::UnevaluatedItemsNarrowed => format!(
            "An array or combined type at path '{path}' has fewer elements in the %s schema than the %s schema"
        ),
        Rule::SchemaAdded => String::new(),
        Rule::TooComplex => format!("The schemas at path '{path}' are too complex to be compared"),
        _ if name.ends_with("_ADDED") => absent(path),
        _ if name.ends_with("_INCREASED") || name.ends_with("_EXPANDED") => {
            format!("The value at path '{path}' in the %s schema is more than its value in the %s schema")
        }
        _ if name.ends_with("_DECREASED") => {
            format!("The value at path '{path}' in the %s schema is less than its value in the %s schema")
        }
        _ => String::new(),
    }
}

fn absent(path: &str) -> String {
    format!("The keyword at path '{path}' in the %s schema is not present in the %s schema")
}

/// What is wrong and what to do about it.
fn message(found: &Found, path: &str) -> String {
    let (what, fix) = words(found.rule);
    let values = match (found.values.old.as_str(), found.values.new.as_str()) {
        ("", "") => String::new(),
        (old, "") => format!(" ({old})"),
        (old, new) => format!(" (was {old}, is {new})"),
    };
    format!("{path}: {what}{values}; {fix}")
}

fn words(rule: Rule) -> (&'static str, &'static str) {
    let name = rule.name();
    match rule {
        Rule::OptionalPropertyAddedToOpen => (
            "a property is new, and the writer's schema is open: its data may hold anything under that name already",
            "give the property the empty schema {}, or close the content model from the start \
             (\"additionalProperties\": false), or set compatibilityPolicy to LENIENT",
        ),
        Rule::RequiredPropertyWithDefaultAddedToOpen => (
            "a required property is new, and the writer's schema is open: its data may hold anything under that name",
            "make it optional with the empty schema {}, or close the content model from the start \
             (\"additionalProperties\": false), or set compatibilityPolicy to LENIENT",
        ),
        Rule::RequiredPropertyAddedToOpen | Rule::RequiredPropertyAddedToUnopen => (
            "a required property is new that the writer's data need not have",
            "make it optional or give it a default",
        ),
        Rule::RequiredAttributeAdded => (
            "a property is required now that the writer may leave out",
            "leave it optional or give it a default",
        ),
        Rule::PropertyRemovedFromClosed => (
            "a property is gone, and the reader's schema is closed: it refuses data that has it",
            "keep the property, or allow additional properties, or set compatibilityPolicy to LENIENT",
        ),
        Rule::PropertyRemovedNotCovered => (
            "a property is gone, and what the reader allows under that name refuses what the writer writes",
            "keep the property, or widen the pattern or the schema of additionalProperties that it falls under",
        ),
        Rule::PropertyAddedNotCovered => (
            "a property is new, and it refuses what the writer allows under that name",
            "let it allow all that the writer's pattern or schema of additionalProperties allows",
        ),
        Rule::AdditionalPropertiesRemoved | Rule::UnevaluatedPropertiesRemoved => (
            "properties that are not named are refused now, and the writer's data may have them",
            "go on allowing them, or set compatibilityPolicy to LENIENT",
        ),
        Rule::AdditionalPropertiesNarrowed | Rule::UnevaluatedPropertiesNarrowed => (
            "properties that are not named must obey a schema now",
            "allow anything there as before, or set compatibilityPolicy to LENIENT",
        ),
        Rule::AdditionalItemsRemoved | Rule::UnevaluatedItemsRemoved => {
            ("items that have no schema of their own are refused now", "go on allowing them")
        }
        Rule::AdditionalItemsNarrowed | Rule::UnevaluatedItemsNarrowed => (
            "items that have no schema of their own must obey a schema now",
            "allow anything there as before",
        ),
        Rule::ItemAddedToOpen => (
            "an item has a schema now, and the writer may put anything at that place",
            "give it the empty schema {} or take it away again",
        ),
        Rule::ItemRemovedFromClosed => (
            "an item is gone, and the reader allows none at that place",
            "keep the item or allow additional items",
        ),
        Rule::ItemRemovedNotCovered => (
            "an item is gone, and the schema of additional items refuses what the writer writes there",
            "keep the item or widen the schema of additional items",
        ),
        Rule::ItemAddedNotCovered => (
            "an item has a schema of its own now that refuses what the writer may write there",
            "let it allow all that the writer's schema of additional items allows",
        ),
        Rule::SchemaAdded => {
            ("a schema is there now where there was none", "take it away again or make it {}")
        }
        Rule::TypeChanged => ("the kind of schema has changed", "keep the type, or allow both with anyOf"),
        Rule::TypeNarrowed => ("only integers are read now", "keep the type \"number\""),
        Rule::EnumArrayNarrowed => ("values are gone that the writer may write", "keep them in the enum"),
        Rule::EnumArrayChanged => ("the values are others", "keep the writer's values beside the new ones"),
        Rule::PatternAdded => ("strings must match a pattern now", "take the pattern away"),
        Rule::PatternChanged => ("the pattern is another", "keep the pattern, or take it away"),
        Rule::MultipleOfChanged | Rule::MultipleOfExpanded => {
            ("numbers must be multiples of another number now", "choose a divisor of the writer's multipleOf")
        }
        Rule::DependencyArrayAdded | Rule::DependencyArrayExtended | Rule::DependencyArrayChanged => (
            "a property asks for others now that the writer may leave out",
            "ask for no more than the writer's schema does",
        ),
        Rule::DependencySchemaAdded => {
            ("a property asks for a schema now that the writer's data need not obey", "take it away again")
        }
        Rule::UniqueItemsAdded => ("items must be unique now", "take uniqueItems away"),
        Rule::CombinedTypeChanged => (
            "schemas are combined in a stricter way",
            "keep the keyword; only anyOf reads what the others wrote",
        ),
        Rule::ProductTypeExtended => ("allOf has more schemas that data must obey", "take the new ones away"),
        Rule::SumTypeNarrowed => {
            ("there are fewer schemas to choose from", "keep the writer's schemas among them")
        }
        Rule::CombinedTypeSubschemasChanged => (
            "not every combined schema has become one that reads its data",
            "change each of them only as it could be changed alone",
        ),
        Rule::NotTypeExtended => {
            ("not forbids more than before", "let it forbid no more than the writer's schema")
        }
        Rule::ReservedPropertyRemoved => {
            ("a reserved name is no longer reserved", "keep it in confluent:reserved of the metadata")
        }
        Rule::ReservedPropertyConflicts => ("the name is reserved in the metadata", "use another name"),
        Rule::TooComplex => (
            "the schemas are too complex to be compared in bounded time, so they count as incompatible",
            "divide them into smaller schemas, with fewer members in anyOf, oneOf and allOf",
        ),
        _ if name.ends_with("_ADDED") => {
            ("there is a limit now that the writer's data need not obey", "take it away")
        }
        _ if name.ends_with("_INCREASED") => {
            ("the lower limit is higher than what the writer may write", "lower it to the writer's")
        }
        _ if name.ends_with("_DECREASED") => {
            ("the upper limit is lower than what the writer may write", "raise it to the writer's")
        }
        _ => ("data of the writer may be refused", "undo the change"),
    }
}

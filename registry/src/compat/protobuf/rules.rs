//! The kinds of change between two Protobuf schemas: Confluent's names, which of them a reader survives, and the words
//! for people and for clients.

use crate::compat::Difference;

macro_rules! rules {
    ($($variant:ident = $name:literal, $compatible:literal;)*) => {
        /// A kind of change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) enum Rule { $($variant,)* }

        impl Rule {
            #[cfg(test)]
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether a reader with the change can read what was written without it.
            pub(super) fn compatible(self) -> bool {
                match self { $(Self::$variant => $compatible,)* }
            }
        }
    };
}

rules! {
    PackageChanged = "PACKAGE_CHANGED", false;
    MessageAdded = "MESSAGE_ADDED", true;
    MessageRemoved = "MESSAGE_REMOVED", false;
    MessageMoved = "MESSAGE_MOVED", true;
    EnumAdded = "ENUM_ADDED", true;
    EnumRemoved = "ENUM_REMOVED", true;
    EnumConstAdded = "ENUM_CONST_ADDED", true;
    EnumConstChanged = "ENUM_CONST_CHANGED", true;
    EnumConstRemoved = "ENUM_CONST_REMOVED", true;
    FieldAdded = "FIELD_ADDED", true;
    FieldRemoved = "FIELD_REMOVED", true;
    FieldNameChanged = "FIELD_NAME_CHANGED", true;
    FieldKindChanged = "FIELD_KIND_CHANGED", false;
    FieldScalarKindChanged = "FIELD_SCALAR_KIND_CHANGED", false;
    FieldNamedTypeChanged = "FIELD_NAMED_TYPE_CHANGED", false;
    FieldNumericLabelChanged = "FIELD_NUMERIC_LABEL_CHANGED", false;
    FieldStringOrBytesLabelChanged = "FIELD_STRING_OR_BYTES_LABEL_CHANGED", true;
    RequiredFieldAdded = "REQUIRED_FIELD_ADDED", false;
    RequiredFieldRemoved = "REQUIRED_FIELD_REMOVED", false;
    OneofAdded = "ONEOF_ADDED", true;
    OneofRemoved = "ONEOF_REMOVED", true;
    OneofFieldAdded = "ONEOF_FIELD_ADDED", true;
    OneofFieldRemoved = "ONEOF_FIELD_REMOVED", false;
    OneofFieldMovedToTopLevel = "ONEOF_FIELD_MOVED_TO_TOP_LEVEL", true;
    MultipleFieldsMovedToOneof = "MULTIPLE_FIELDS_MOVED_TO_ONEOF", false;
    FieldMovedToExistingOneof = "FIELD_MOVED_TO_EXISTING_ONEOF", false;
}

/// A change in one place, with what stands there on both sides (empty where nothing does).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) rule: Rule,
    pub(super) path: String,
    pub(super) old: String,
    pub(super) new: String,
}

impl Change {
    pub(super) fn difference(&self) -> Difference {
        let name = self.rule.name();
        Difference {
            rule: name,
            path: self.path.clone(),
            message: format!("{name} at {}: {}", self.path, self.words()),
            confluent: format!("{{errorType:\"{name}\", description:\"{}\"}}", self.description()),
        }
    }

    fn words(&self) -> String {
        let Self { old, new, .. } = self;
        match self.rule {
            Rule::PackageChanged => {
                format!(
                    "the package was {old} and is {new}; keep it, or register the file under another subject"
                )
            }
            Rule::MessageAdded => format!("{new} is new"),
            Rule::MessageRemoved => {
                format!("{old} is gone; keep the message, even if nothing writes it any more")
            }
            Rule::MessageMoved => {
                format!("the message stood in place {old} and stands in place {new} among its siblings")
            }
            Rule::EnumAdded => format!("{new} is new"),
            Rule::EnumRemoved => format!("{old} is gone"),
            Rule::EnumConstAdded => format!("the value {new} is new"),
            Rule::EnumConstChanged => format!("the value was called {old} and is called {new}"),
            Rule::EnumConstRemoved => format!("the value {old} is gone; readers get its number"),
            Rule::FieldAdded => format!("{new} is new"),
            Rule::FieldRemoved => format!("{old} is gone; reserve its number"),
            Rule::FieldNameChanged => format!("the field was called {old} and is called {new}"),
            Rule::FieldKindChanged | Rule::FieldScalarKindChanged => format!(
                "the field was {old} and is {new}, which is encoded differently; keep the type, and add a field with \
                 the new type under a number that was never used"
            ),
            Rule::FieldNamedTypeChanged => format!(
                "the field was {old} and is {new}, and the two types are not compatible; keep the type, and add a \
                 field with the new type under a number that was never used"
            ),
            Rule::FieldNumericLabelChanged => format!(
                "the field was {old} and is {new}, which is encoded differently for numbers; keep the label, and add a \
                 field with the new one under a number that was never used"
            ),
            Rule::FieldStringOrBytesLabelChanged => format!("the field was {old} and is {new}"),
            Rule::RequiredFieldAdded if old.is_empty() => {
                format!("{new} is required but old data does not have it; make it optional")
            }
            Rule::RequiredFieldAdded => {
                format!("the field was {old} and is {new}, but old data may not have it; leave it optional")
            }
            Rule::RequiredFieldRemoved => format!(
                "{old} is gone, but readers with the old schema cannot do without it; keep it, or make it optional first"
            ),
            Rule::OneofAdded => format!("oneof {new} is new"),
            Rule::OneofRemoved => format!("oneof {old} is gone"),
            Rule::OneofFieldAdded => format!("{new} is new in this oneof"),
            Rule::OneofFieldRemoved => format!(
                "{old} is gone from a oneof, so that data that set it seems to set nothing; keep the field"
            ),
            Rule::OneofFieldMovedToTopLevel => format!("{new} stood in oneof {old} and stands in none"),
            Rule::MultipleFieldsMovedToOneof => format!(
                "{new} could be set together before and exclude each other in this oneof, so that values get lost; \
                 leave all but one of them outside"
            ),
            Rule::FieldMovedToExistingOneof => format!(
                "{new} could be set together before and exclude each other in this oneof, so that values get lost; \
                 leave the fields where they were"
            ),
        }
    }

    /// Confluent's sentence: empty for what is compatible. The first `%s` is the reader's word, the second the writer's.
    fn description(&self) -> String {
        let path = &self.path;
        match self.rule {
            Rule::PackageChanged => {
                format!(
                    "The package at '{path}' in the %s schema does not match the package in the %s schema"
                )
            }
            Rule::MessageRemoved => {
                format!("The %s schema is missing a MESSAGE type at path '{path}' in the %s schema")
            }
            Rule::FieldKindChanged => {
                format!("The type of a field at path '{path}' in the %s schema does not match the %s schema")
            }
            Rule::FieldScalarKindChanged => format!(
                "The kind of a SCALAR field at path '{path}' in the %s schema does not match its kind in the %s schema"
            ),
            Rule::FieldNamedTypeChanged => format!(
                "The type of a MESSAGE field at path '{path}' in the %s schema does not match its type in the %s \
                 schema"
            ),
            Rule::FieldNumericLabelChanged => format!(
                "The label for a NUMERIC field at path '{path}' in the %s schema does not match its label in the %s \
                 schema"
            ),
            // The two blanks are Confluent's.
            Rule::RequiredFieldAdded => {
                format!("A required field  at path '{path}' in the %s schema is missing in the %s schema")
            }
            Rule::RequiredFieldRemoved => {
                format!("The %s schema is missing a required field at path: '{path}' in the %s schema")
            }
            Rule::OneofFieldRemoved => {
                format!("The %s schema is missing a oneof field at path '{path}' in the %s schema")
            }
            Rule::MultipleFieldsMovedToOneof => format!(
                "Multiple fields in the oneof at path '{path}' in the %s schema are outside a oneof in the %s schema"
            ),
            Rule::FieldMovedToExistingOneof => format!(
                "A field in the oneof at path '{path}' in the %s schema is outside an existing oneof in the %s schema"
            ),
            _ => String::new(),
        }
    }
}

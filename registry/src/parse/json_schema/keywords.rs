//! Whether every keyword has the kind of value that its dialect gives it.
//!
//! A checker of our own, not the published metaschemas: a validator for those would bring some thirty crates into the
//! product to answer what this page answers, would need the document in another tree, and could not name the fix.
//! Unknown keywords are left alone, as everywhere.

use super::draft::Draft;
use crate::json::Json;
use crate::parse::Problem;
use regex_syntax::ast::{ErrorKind, parse::Parser};

/// The names that `type` may have.
const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];

/// What a keyword's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Pattern,
    Flag,
    Number,
    /// A number above zero.
    Positive,
    /// A whole number from zero on.
    Count,
    Schema,
    /// A schema or `true`/`false`, also where the dialect has no boolean schemas.
    Schemas,
    /// At least one schema in an array.
    SchemaList,
    /// An object of schemas.
    SchemaMap,
    /// The same, with patterns as names.
    PatternMap,
    Types,
    Names,
    NamesMap,
    /// Names or a schema for each member.
    Dependencies,
    Values,
}

fn kind_of(keyword: &str, draft: Draft) -> Option<Kind> {
    let modern = draft.is_modern();
    Some(match keyword {
        "$ref" | "title" | "description" | "format" | "$comment" | "$anchor" | "$dynamicRef"
        | "$dynamicAnchor" => Kind::Text,
        keyword if keyword == draft.id_keyword() || keyword == "$schema" => Kind::Text,
        "pattern" => Kind::Pattern,
        "uniqueItems" => Kind::Flag,
        "exclusiveMinimum" | "exclusiveMaximum" if draft == Draft::Draft4 => Kind::Flag,
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => Kind::Number,
        "multipleOf" => Kind::Positive,
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
            Kind::Count
        }
        "minContains" | "maxContains" if modern => Kind::Count,
        "not" | "additionalProperties" => Kind::Schema,
        "contains" | "propertyNames" if draft > Draft::Draft4 => Kind::Schema,
        "if" | "then" | "else" if draft >= Draft::Draft7 => Kind::Schema,
        "additionalItems" if draft < Draft::Draft2020 => Kind::Schema,
        "unevaluatedItems" | "unevaluatedProperties" if modern => Kind::Schema,
        "items" if draft == Draft::Draft2020 => Kind::Schema,
        "items" => Kind::Schemas,
        "allOf" | "anyOf" | "oneOf" => Kind::SchemaList,
        "prefixItems" if draft == Draft::Draft2020 => Kind::SchemaList,
        "properties" | "definitions" => Kind::SchemaMap,
        "$defs" | "dependentSchemas" if modern => Kind::SchemaMap,
        "patternProperties" => Kind::PatternMap,
        "type" => Kind::Types,
        "required" => Kind::Names,
        "dependentRequired" if modern => Kind::NamesMap,
        "dependencies" if !modern => Kind::Dependencies,
        "enum" => Kind::Values,
        _ => return None,
    })
}

/// Refuses the first keyword, in the order of the text, whose value cannot be meant.
pub(super) fn check(document: &Json, draft: Draft) -> Result<(), Problem> {
    Checker { draft, path: Vec::new() }.schema(document)
}

struct Checker {
    draft: Draft,
    path: Vec<String>,
}

impl Checker {
    fn wrong(&self, what: impl std::fmt::Display) -> Problem {
        let path: String = self.path.iter().map(|token| format!("/{token}")).collect();
        Problem::new(format!("#{path}: {what}"))
    }

    fn inside(
        &mut self,
        token: &str,
        visit: impl FnOnce(&mut Self) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.path.push(token.chars().take(80).collect());
        visit(self)?;
        self.path.pop();
        Ok(())
    }

    fn schema(&mut self, schema: &Json) -> Result<(), Problem> {
        let members = match schema {
            Json::Bool(_) => return Ok(()),
            Json::Object(members) => members,
            other => {
                return Err(
                    self.wrong(format!("a schema must be an object or a boolean, not {}", other.kind()))
                );
            }
        };
        for (keyword, value) in members {
            if let Some(kind) = kind_of(keyword, self.draft) {
                self.inside(keyword, |checker| checker.value(kind, value))?;
            }
        }
        Ok(())
    }

    fn must_be(&self, what: &str, value: &Json) -> Problem {
        self.wrong(format!("must be {what}, not {}", value.kind()))
    }

    fn value(&mut self, kind: Kind, value: &Json) -> Result<(), Problem> {
        match kind {
            Kind::Text => value.as_str().map(|_| ()).ok_or_else(|| self.must_be("a string", value)),
            Kind::Pattern => {
                let pattern = value.as_str().ok_or_else(|| self.must_be("a string", value))?;
                self.pattern(pattern)
            }
            Kind::Flag => value.as_bool().map(|_| ()).ok_or_else(|| self.must_be("true or false", value)),
            Kind::Number => value.as_number().map(|_| ()).ok_or_else(|| self.must_be("a number", value)),
            Kind::Positive => {
                let number = value.as_number().ok_or_else(|| self.must_be("a number", value))?.decimal();
                let above_zero = !number.negative && number.digits != "0";
                above_zero.then_some(()).ok_or_else(|| self.wrong("must be above 0"))
            }
            Kind::Count => {
                let number = value.as_number().ok_or_else(|| self.must_be("a whole number", value))?;
                let counts = super::build::count(number).is_some();
                counts.then_some(()).ok_or_else(|| self.wrong("must be a whole number from 0 on"))
            }
            Kind::Schema => self.schema(value),
            Kind::Schemas => match value {
                Json::Array(schemas) => self.list(schemas),
                schema => self.schema(schema),
            },
            Kind::SchemaList => {
                let schemas = value.as_array().ok_or_else(|| self.must_be("an array of schemas", value))?;
                if schemas.is_empty() {
                    return Err(self.wrong("must have at least one schema"));
                }
                self.list(schemas)
            }
            Kind::SchemaMap | Kind::PatternMap => {
                let schemas = value.as_object().ok_or_else(|| self.must_be("an object of schemas", value))?;
                for (name, schema) in schemas {
                    self.inside(name, |checker| {
                        if kind == Kind::PatternMap {
                            checker.pattern(name)?;
                        }
                        checker.schema(schema)
                    })?;
                }
                Ok(())
            }
            Kind::Types => match value {
                Json::String(name) => self.type_name(name),
                Json::Array(names) if !names.is_empty() => {
                    self.names(names)?;
                    names.iter().filter_map(Json::as_str).try_for_each(|name| self.type_name(name))
                }
                other => Err(self.must_be("the name of a type or an array of such names", other)),
            },
            Kind::Names => {
                let names = value.as_array().ok_or_else(|| self.must_be("an array of names", value))?;
                self.names(names)
            }
            Kind::NamesMap | Kind::Dependencies => {
                let members = value.as_object().ok_or_else(|| self.must_be("an object", value))?;
                for (name, dependency) in members {
                    self.inside(name, |checker| match dependency {
                        Json::Array(names) => checker.names(names),
                        schema if kind == Kind::Dependencies => checker.schema(schema),
                        other => Err(checker.must_be("an array of names", other)),
                    })?;
                }
                Ok(())
            }
            Kind::Values => {
                let values = value.as_array().ok_or_else(|| self.must_be("an array of values", value))?;
                let empty = self.draft == Draft::Draft4 && values.is_empty();
                if empty { Err(self.wrong("must have at least one value")) } else { Ok(()) }
            }
        }
    }

    fn list(&mut self, schemas: &[Json]) -> Result<(), Problem> {
        for (n, schema) in schemas.iter().enumerate() {
            self.inside(&n.to_string(), |checker| checker.schema(schema))?;
        }
        Ok(())
    }

    fn type_name(&self, name: &str) -> Result<(), Problem> {
        if TYPES.contains(&name) {
            return Ok(());
        }
        let name: String = name.chars().take(80).collect();
        Err(self.wrong(format!("{name:?} is no type: use one of {}", TYPES.join(", "))))
    }

    fn names(&self, names: &[Json]) -> Result<(), Problem> {
        let mut seen = std::collections::HashSet::new();
        for name in names {
            let name = name.as_str().ok_or_else(|| self.must_be("an array of names", name))?;
            if !seen.insert(name) {
                let name: String = name.chars().take(80).collect();
                return Err(self.wrong(format!("{name:?} is there twice: remove one")));
            }
        }
        Ok(())
    }

    /// Refuses only what is wrong in every dialect of regular expressions: what a validator of the readers' language
    /// knows (looking around, back references) need not be known here.
    fn pattern(&self, pattern: &str) -> Result<(), Problem> {
        let Err(error) = Parser::new().parse(pattern) else { return Ok(()) };
        let what = match error.kind() {
            ErrorKind::GroupUnclosed => "a group that does not end",
            ErrorKind::GroupUnopened => "the end of a group that did not begin",
            ErrorKind::ClassUnclosed => "a character class that does not end",
            ErrorKind::RepetitionMissing => "a repetition of nothing",
            ErrorKind::EscapeUnexpectedEof => "a backslash at the end",
            _ => return Ok(()),
        };
        Err(self.wrong(format!(
            "{what} makes this no regular expression, at offset {}",
            error.span().start.offset
        )))
    }
}

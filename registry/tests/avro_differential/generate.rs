//! Random Avro schemas, and changes to them of the kind that people make.

use serde_json::{Map, Value, json};

/// Numbers from a seed (splitmix64): the same everywhere, so that a run is repeated from its seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next() % limit as u64) as usize }
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
const SPACES: [&str; 3] = ["com.acme", "org.acme.deep", ""];
const NUMBERS: [&str; 18] = [
    "0",
    "-0",
    "7",
    "-1",
    "2147483648",
    "123456789012345678901",
    "1e2",
    "-0.0",
    "1.50",
    "0.1",
    "1E-7",
    "123456789.5",
    "1e21",
    "0.001",
    "0.00099",
    "9999999.0",
    "1e999",
    "3.5E+2",
];

/// A type that may be referred to.
struct Known {
    space: String,
    simple: String,
}

/// Makes schemas.
pub(crate) struct Generator<'a> {
    pub(crate) random: &'a mut Random,
    known: Vec<Known>,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(random: &'a mut Random) -> Self {
        Self { random, known: Vec::new() }
    }

    /// A named type without named types inside, for others to refer to.
    pub(crate) fn dependency(&mut self) -> Value {
        match self.random.below(3) {
            0 => self.symbols(""),
            1 => self.fixed(""),
            _ => {
                let mut members = self.named("record", "").0;
                let fields = (0..self.random.below(3)).map(|n| {
                    let inner = self.primitive();
                    json!({"name": format!("d{n}"), "type": inner})
                });
                members.insert("fields".to_owned(), fields.collect());
                Value::Object(members)
            }
        }
    }

    /// A schema that is mostly a record.
    pub(crate) fn root(&mut self) -> Value {
        if self.random.chance(80) { self.record(4, "") } else { self.schema(4, "", false) }
    }

    fn schema(&mut self, depth: usize, space: &str, in_union: bool) -> Value {
        let kind = if depth == 0 { self.random.below(40) } else { self.random.below(100) };
        match kind {
            0..30 => self.primitive(),
            30..40 => self.reference(space).unwrap_or_else(|| self.primitive()),
            40..48 => {
                let inner = self.schema(depth - 1, space, false);
                self.with_props(json!({"type": "array", "items": inner}))
            }
            48..56 => {
                let inner = self.schema(depth - 1, space, false);
                self.with_props(json!({"values": inner, "type": "map"}))
            }
            56..72 if !in_union => self.union(depth - 1, space),
            72..80 => self.symbols(space),
            80..86 => self.fixed(space),
            _ => self.record(depth, space),
        }
    }

    fn primitive(&mut self) -> Value {
        let name = self.random.pick(&PRIMITIVES);
        match self.random.below(10) {
            0 => self.with_props(json!({"type": name, "doc": "dropped"})),
            1 => {
                let logical = self.random.pick(&["date", "timestamp-millis", "decimal", "uuid", "made-up"]);
                json!({"logicalType": logical, "type": name, "precision": 4, "scale": self.random.below(3)})
            }
            _ => json!(name),
        }
    }

    fn union(&mut self, depth: usize, space: &str) -> Value {
        let mut branches: Vec<Value> = Vec::new();
        for _ in 0..self.random.below(4) {
            let branch = self.schema(depth, space, true);
            if !branches.iter().any(|other| branch_name(other) == branch_name(&branch)) {
                branches.push(branch);
            }
        }
        if self.random.chance(60) && !branches.iter().any(|other| branch_name(other) == "null") {
            branches.insert(0, json!("null"));
        }
        Value::Array(branches)
    }

    fn reference(&mut self, space: &str) -> Option<Value> {
        if self.known.is_empty() {
            return None;
        }
        let known = &self.known[self.random.below(self.known.len())];
        let full = if known.space.is_empty() {
            known.simple.clone()
        } else {
            format!("{}.{}", known.space, known.simple)
        };
        let is_near = known.space == space;
        let text = if is_near && self.random.chance(70) { simple_name(&full) } else { full };
        Some(if is_near && self.random.chance(10) { json!({"type": text, "lost": 1}) } else { json!(text) })
    }

    /// Name, namespace and what else named types have; and the namespace inside.
    fn named(&mut self, kind: &str, space: &str) -> (Map<String, Value>, String) {
        let simple = format!("{}{}", kind[..1].to_uppercase(), self.known.len());
        let mut members = Map::new();
        let inside = match self.random.below(4) {
            0 | 1 => {
                members.insert("name".to_owned(), json!(simple));
                space.to_owned()
            }
            2 => {
                let own = self.random.pick(&SPACES);
                members.insert("namespace".to_owned(), json!(own));
                members.insert("name".to_owned(), json!(simple));
                own.to_owned()
            }
            _ => {
                let own = self.random.pick(&SPACES[..2]);
                members.insert("name".to_owned(), json!(format!("{own}.{simple}")));
                own.to_owned()
            }
        };
        let place = self.random.below(members.len() + 1);
        members.shift_insert(place, "type".to_owned(), json!(kind));
        if self.random.chance(20) {
            members.insert("doc".to_owned(), json!(self.random.pick(&["", "a \"doc\"\n", "é\u{1}😀"])));
        }
        if self.random.chance(15) {
            members.insert("aliases".to_owned(), json!(["Old", "x.y.Older", format!("{simple}Alias")]));
        }
        self.known.push(Known { space: inside.clone(), simple });
        (members, inside)
    }

    fn symbols(&mut self, space: &str) -> Value {
        let (mut members, _) = self.named("enum", space);
        let symbols: Vec<_> = (0..1 + self.random.below(4)).map(|n| format!("S{n}")).collect();
        if self.random.chance(25) {
            members.insert("default".to_owned(), json!(symbols[self.random.below(symbols.len())]));
        }
        members.insert("symbols".to_owned(), json!(symbols));
        self.with_props(Value::Object(members))
    }

    fn fixed(&mut self, space: &str) -> Value {
        let (mut members, _) = self.named("fixed", space);
        members.insert("size".to_owned(), json!(1 + self.random.below(20)));
        self.with_props(Value::Object(members))
    }

    fn record(&mut self, depth: usize, space: &str) -> Value {
        let kind = if self.random.chance(5) { "error" } else { "record" };
        let (mut members, inside) = self.named(kind, space);
        let mut fields = Vec::new();
        for n in 0..self.random.below(6) {
            let inner = self.schema(depth.saturating_sub(1), &inside, false);
            fields.push(self.field(&format!("f{n}"), inner));
        }
        members.insert("fields".to_owned(), Value::Array(fields));
        self.with_props(Value::Object(members))
    }

    fn field(&mut self, name: &str, inner: Value) -> Value {
        let mut field = Map::new();
        let default = if self.random.chance(40) { self.default(&inner, 3) } else { None };
        field.insert("name".to_owned(), json!(name));
        field.insert("type".to_owned(), inner);
        if let Some(default) = default {
            let place = self.random.below(3);
            field.shift_insert(place, "default".to_owned(), default);
        }
        if self.random.chance(10) {
            field.insert("order".to_owned(), json!(self.random.pick(&["ascending", "descending", "Ignore"])));
        }
        if self.random.chance(10) {
            field.insert("aliases".to_owned(), json!([format!("{name}old"), "any name"]));
        }
        if self.random.chance(10) {
            field.insert("doc".to_owned(), json!("field"));
        }
        self.with_props(Value::Object(field))
    }

    fn number(&mut self) -> Value {
        if self.random.chance(70) {
            return json!(format!("@@{}@@", self.random.pick(&NUMBERS)));
        }
        let (digits, exponent) = (self.random.below(100_000), self.random.below(24) as i64 - 12);
        json!(format!("@@{digits}.{}e{exponent}@@", self.random.below(10)))
    }

    /// A value of the type, where one is found; now and then of another type.
    fn default(&mut self, schema: &Value, depth: usize) -> Option<Value> {
        let kind = match schema {
            Value::String(name) => name.as_str(),
            Value::Array(branches) => return self.default(branches.first()?, depth),
            _ => schema.get("type")?.as_str()?,
        };
        if depth == 0 || self.random.chance(2) {
            return self.random.chance(30).then(|| json!(0));
        }
        Some(match kind {
            "null" => Value::Null,
            "boolean" => json!(true),
            "int" => json!(self.random.below(100)),
            "long" => json!(self.random.next() as i64),
            "float" | "double" => {
                if self.random.chance(10) {
                    json!(self.random.pick(&["NaN", "1.5", "-Infinity", " 2e1d"]))
                } else {
                    self.number()
                }
            }
            "bytes" | "fixed" => json!("\u{0}ÿ~"),
            "string" => json!(self.random.pick(&["", "text", "\\ \" \u{8} é"])),
            "array" => {
                let inner = schema.get("items")?.clone();
                (0..self.random.below(3)).map(|_| self.default(&inner, depth - 1)).collect::<Option<_>>()?
            }
            "map" => {
                let inner = schema.get("values")?.clone();
                let mut members = Map::new();
                for n in 0..self.random.below(3) {
                    members.insert(format!("k{n}"), self.default(&inner, depth - 1)?);
                }
                Value::Object(members)
            }
            "enum" => schema.get("symbols")?.get(0)?.clone(),
            "record" | "error" => {
                let mut members = Map::new();
                for field in schema.get("fields")?.as_array()?.clone() {
                    if field.get("default").is_none() || self.random.chance(30) {
                        members.insert(
                            field["name"].as_str()?.to_owned(),
                            self.default(&field["type"], depth - 1)?,
                        );
                    }
                }
                Value::Object(members)
            }
            _ => return None,
        })
    }

    fn with_props(&mut self, mut schema: Value) -> Value {
        if let (true, Some(members)) = (self.random.chance(12), schema.as_object_mut()) {
            let number = self.number();
            let value = match self.random.below(4) {
                0 => Value::Null,
                1 => number,
                2 => json!("text é"),
                _ => json!({"b": [1, number, {}], "a": false}),
            };
            let place = self.random.below(members.len() + 1);
            members.shift_insert(place, format!("prop{}", self.random.below(3)), value);
        }
        schema
    }

    /// Changes one thing, somewhere.
    pub(crate) fn change(&mut self, root: &mut Value) {
        let mut places = Vec::new();
        schemas(root, String::new(), &mut places);
        let place = places[self.random.below(places.len())].clone();
        let in_union = place.rsplit_once('/').is_some_and(|(parent, last)| {
            last.parse::<usize>().is_ok() && root.pointer(parent).is_some_and(Value::is_array)
        });
        let Some(node) = root.pointer_mut(&place) else { return };
        match node {
            Value::String(name) if PRIMITIVES.contains(&name.as_str()) => {
                self.change_primitive(node, in_union)
            }
            Value::Array(branches) => self.change_union(branches),
            Value::Object(members) => match members.get("type").and_then(Value::as_str) {
                Some("record" | "error") if self.random.chance(75) => self.change_fields(members),
                Some("enum") if self.random.chance(70) => self.change_symbols(members),
                Some("fixed") if self.random.chance(40) => {
                    members.insert("size".to_owned(), json!(1 + self.random.below(20)));
                }
                Some("record" | "error" | "enum" | "fixed") => self.rename(root, &place),
                Some("array") if self.random.chance(10) => {
                    *node = json!({"type": "map", "values": node["items"].clone()});
                }
                _ => {
                    members.insert("doc".to_owned(), json!("changed"));
                }
            },
            _ => {
                if !in_union {
                    *node = json!(["null", node.clone()]);
                }
            }
        }
    }

    fn change_primitive(&mut self, node: &mut Value, in_union: bool) {
        let wider = match node.as_str() {
            Some("int") => "long",
            Some("long") => "float",
            Some("float") => "double",
            Some("string") => "bytes",
            Some("bytes") => "string",
            _ => "int",
        };
        *node = match self.random.below(10) {
            0..4 => json!(wider),
            4..6 if !in_union => json!(["null", node.clone()]),
            6..8 => json!({"type": node.clone(), "logicalType": "date"}),
            _ => json!(self.random.pick(&PRIMITIVES)),
        };
    }

    fn change_union(&mut self, branches: &mut Vec<Value>) {
        let count = branches.len();
        match self.random.below(4) {
            0 | 1 => {
                let more = json!(self.random.pick(&PRIMITIVES));
                if !branches.iter().any(|branch| branch_name(branch) == branch_name(&more)) {
                    branches.insert(self.random.below(count + 1), more);
                }
            }
            2 if count > 1 => {
                branches.remove(self.random.below(count));
            }
            _ if count > 1 => branches.swap(0, self.random.below(count)),
            _ => {}
        }
    }

    fn change_fields(&mut self, members: &mut Map<String, Value>) {
        let Some(fields) = members.get_mut("fields").and_then(Value::as_array_mut) else { return };
        let count = fields.len();
        let at = self.random.below(count);
        match self.random.below(12) {
            0..4 => {
                let inner = self.primitive();
                let default = self.default(&inner, 1);
                let mut field = json!({"name": format!("added{}", self.random.below(1000)), "type": inner});
                if let (true, Some(default)) = (self.random.chance(80), default) {
                    field["default"] = default;
                }
                fields.insert(self.random.below(count + 1), field);
            }
            4..7 if count > 0 => {
                fields.remove(at);
            }
            7..9 if count > 0 => {
                let old = fields[at]["name"].clone();
                fields[at]["name"] = json!(format!("{}x", old.as_str().unwrap_or("f")));
                if self.random.chance(80) {
                    fields[at]["aliases"] = json!([old]);
                }
            }
            9 if count > 1 => fields.swap(at, 0),
            10 if count > 1 => fields[at]["aliases"] = json!([fields[0]["name"], "f1"]),
            _ if count > 0 => {
                if let Some(field) = fields[at].as_object_mut() {
                    field.shift_remove("default");
                }
            }
            _ => {}
        }
    }

    fn change_symbols(&mut self, members: &mut Map<String, Value>) {
        let default = members.get("default").cloned();
        let has_default = default.is_some();
        let Some(symbols) = members.get_mut("symbols").and_then(Value::as_array_mut) else { return };
        match self.random.below(4) {
            0 | 1 => symbols.push(json!(format!("T{}", self.random.below(1000)))),
            2 if symbols.len() > 1 => {
                let at = self.random.below(symbols.len());
                if default.as_ref() != Some(&symbols[at]) {
                    symbols.remove(at);
                }
            }
            _ if has_default => {
                members.shift_remove("default");
            }
            _ => {
                let first = symbols[0].clone();
                members.insert("default".to_owned(), first);
            }
        }
    }

    /// A new name for a type and wherever it is referred to, with or without the old one as an alias.
    fn rename(&mut self, root: &mut Value, place: &str) {
        let Some(node) = root.pointer(place) else { return };
        let Some(name) = node["name"].as_str().map(str::to_owned) else { return };
        let simple = simple_name(&name);
        let renamed = format!("{simple}x");
        replace_name(root, &simple, &renamed);
        if let (true, Some(node)) = (self.random.chance(60), root.pointer_mut(place)) {
            let alias = if self.random.chance(60) { simple } else { name };
            node["aliases"] = json!([alias]);
        }
    }
}

/// Where schemas stand inside a schema.
fn schemas(schema: &Value, at: String, places: &mut Vec<String>) {
    match schema {
        Value::Array(branches) => {
            for (n, branch) in branches.iter().enumerate() {
                schemas(branch, format!("{at}/{n}"), places);
            }
        }
        Value::Object(members) => {
            for key in ["items", "values"] {
                if let Some(inner) = members.get(key) {
                    schemas(inner, format!("{at}/{key}"), places);
                }
            }
            for (n, field) in
                members.get("fields").and_then(Value::as_array).into_iter().flatten().enumerate()
            {
                schemas(&field["type"], format!("{at}/fields/{n}/type"), places);
            }
        }
        _ => {}
    }
    places.push(at);
}

fn simple_name(full: &str) -> String {
    full.rsplit('.').next().unwrap_or(full).to_owned()
}

fn branch_name(schema: &Value) -> String {
    let text = match schema {
        Value::Object(members) => match members.get("name") {
            Some(name) => name.as_str(),
            None => members.get("type").and_then(Value::as_str),
        },
        _ => schema.as_str(),
    };
    simple_name(text.unwrap_or(""))
}

fn replace_name(value: &mut Value, old: &str, new: &str) {
    match value {
        Value::String(text)
            if text == old || text.strip_suffix(old).is_some_and(|before| before.ends_with('.')) =>
        {
            text.truncate(text.len() - old.len());
            text.push_str(new);
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| replace_name(element, old, new)),
        Value::Object(members) => members.values_mut().for_each(|member| replace_name(member, old, new)),
        _ => {}
    }
}

/// As text, the numbers as they were meant to be written.
pub(crate) fn text(random: &mut Random, schema: &Value) -> String {
    let text = match random.below(10) {
        0 => format!("/* c */ {schema:#}"),
        _ => schema.to_string(),
    };
    text.replace("\"@@", "").replace("@@\"", "")
}

/// Breaks a schema somewhere: most of what comes out is none.
pub(crate) fn damage(random: &mut Random, schema: &Value) -> String {
    if random.chance(30) {
        let mut text: Vec<char> = text(random, schema).chars().collect();
        let start = random.below(text.len());
        let end = text.len().min(start + random.below(3));
        text.splice(start..end, random.pick(&["", "\"", "}", "0", "é", ".", "\\u0041", "null"]).chars());
        return text.into_iter().collect();
    }
    let mut schema = schema.clone();
    let mut places = Vec::new();
    values(&schema, String::new(), &mut places);
    let place = places[random.below(places.len())].clone();
    let scalars = [
        json!(null),
        json!(1),
        json!("int"),
        json!("E0"),
        json!([]),
        json!({}),
        json!(true),
        json!("9 x"),
        json!(""),
    ];
    if let Some(node) = schema.pointer_mut(&place) {
        match node {
            Value::Object(members) if random.chance(50) && !members.is_empty() => {
                let key = members.keys().nth(random.below(members.len())).cloned().unwrap_or_default();
                members.shift_remove(&key);
            }
            Value::Array(elements) if random.chance(50) && !elements.is_empty() => {
                let again = elements[random.below(elements.len())].clone();
                elements.push(again);
            }
            _ => *node = scalars[random.below(scalars.len())].clone(),
        }
    }
    text(random, &schema)
}

fn values(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Array(elements) => {
            for (n, element) in elements.iter().enumerate() {
                values(element, format!("{at}/{n}"), places);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                values(member, format!("{at}/{key}"), places);
            }
        }
        _ => {}
    }
    places.push(at);
}

//! Avro's Parsing Canonical Form: full names, and nothing that does not change how bytes are read.

use super::graph::{Graph, Kind, TypeId, Written};
use super::print::quoted;

pub(super) fn parsing(graph: &Graph, root: TypeId) -> String {
    let mut form = Form { graph, written: Written::none(graph), out: String::new() };
    form.schema(root);
    form.out
}

struct Form<'a> {
    graph: &'a Graph,
    written: Written,
    out: String,
}

impl Form<'_> {
    fn schema(&mut self, id: TypeId) {
        let graph = self.graph;
        if let Some(named) = graph.named(id) {
            let name = named.name.full();
            if self.written.again(id) {
                return quoted(&mut self.out, &name);
            }
            self.out.push_str("{\"name\":");
            quoted(&mut self.out, &name);
            self.out.push_str(",\"type\":\"");
            self.out.push_str(graph.kind_name(id));
            self.out.push('"');
        }
        match &graph.get(id).kind {
            Kind::Primitive(primitive) => quoted(&mut self.out, primitive.name()),
            Kind::Array(inner) => self.container("{\"type\":\"array\",\"items\":", *inner),
            Kind::Map(inner) => self.container("{\"type\":\"map\",\"values\":", *inner),
            Kind::Union(branches) => self.list("[", branches, |form, branch| form.schema(*branch)),
            Kind::Record(record) => {
                self.list(",\"fields\":[", &record.fields, |form, (name, field)| {
                    form.out.push_str("{\"name\":");
                    quoted(&mut form.out, name);
                    form.out.push_str(",\"type\":");
                    form.schema(field.schema);
                    form.out.push('}');
                });
                self.out.push('}');
            }
            Kind::Enum(symbols) => {
                self.list(",\"symbols\":[", &symbols.symbols, |form, symbol| quoted(&mut form.out, symbol));
                self.out.push('}');
            }
            Kind::Fixed(fixed) => {
                self.out.push_str(",\"size\":");
                self.out.push_str(&fixed.size.to_string());
                self.out.push('}');
            }
        }
    }

    fn container(&mut self, head: &str, inner: TypeId) {
        self.out.push_str(head);
        self.schema(inner);
        self.out.push('}');
    }

    fn list<T>(
        &mut self,
        head: &str,
        elements: impl IntoIterator<Item = T>,
        mut print: impl FnMut(&mut Self, T),
    ) {
        self.out.push_str(head);
        for (n, element) in elements.into_iter().enumerate() {
            if n > 0 {
                self.out.push(',');
            }
            print(self, element);
        }
        self.out.push(']');
    }
}

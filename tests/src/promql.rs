//! Which names and labels an expression of Prometheus asks for. It knows tokens, not meaning: `promtool` says whether an expression is
//! one at all.

use std::collections::BTreeSet;

/// Words that stand where a name could, and are none.
const WORDS: [&str; 12] = [
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "atan2",
];
/// Words before a list of labels in brackets.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// What an expression asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The name of each series, with the labels that are asked for in its braces.
    pub series: Vec<(String, BTreeSet<String>)>,
    /// Labels of `by (...)` and its like.
    pub labels: BTreeSet<String>,
}

/// Reads an expression. Variables of dashboards (`$name`) may stand for durations and in texts.
pub fn asked(expression: &str) -> Asked {
    let (mut asked, tokens) = (Asked::default(), tokens(expression));
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        let next = tokens.get(at).map(String::as_str);
        match token.as_str() {
            // Of which labels, or for how long.
            "[" => at = past(&tokens, at, "]"),
            word if BEFORE_LABELS.contains(&word) && next == Some("(") => {
                let end = past(&tokens, at + 1, ")");
                asked.labels.extend(tokens[at + 1..end - 1].iter().filter(|token| is_name(token)).cloned());
                at = end;
            }
            word if is_name(word) && !WORDS.contains(&word) && !is_called(next) => {
                let mut labels = BTreeSet::new();
                if next == Some("{") {
                    let end = past(&tokens, at + 1, "}");
                    labels.extend(tokens[at + 1..end - 1].iter().filter(|token| is_name(token)).cloned());
                    at = end;
                }
                asked.series.push((word.to_owned(), labels));
            }
            _ => {}
        }
    }
    asked
}

/// Labels that a text names: `{{label}}` in a legend, `{{ $labels.label }}` in an alert.
pub fn named(text: &str) -> BTreeSet<String> {
    let inside = text.split("{{").skip(1).filter_map(|part| part.split_once("}}"));
    inside
        .filter_map(|(inside, _)| {
            let word = inside.split_whitespace().next()?;
            let label = word.strip_prefix("$labels.").unwrap_or(word);
            is_name(label).then(|| label.to_owned())
        })
        .collect()
}

/// Whether what stands before this is a function: of brackets, or, before them, of labels.
fn is_called(next: Option<&str>) -> bool {
    matches!(next, Some("(" | "by" | "without"))
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// The place behind the next `end`.
fn past(tokens: &[String], from: usize, end: &str) -> usize {
    tokens[from..].iter().position(|token| token == end).map_or(tokens.len(), |found| from + found + 1)
}

/// Names, and single characters. Texts in quotes are left out.
fn tokens(expression: &str) -> Vec<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$');
    let (mut tokens, mut rest) = (Vec::new(), expression);
    while let Some(first) = rest.chars().next() {
        if let '"' | '\'' | '`' = first {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let is_end = c == first && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            rest = end.map_or("", |end| &rest[end + 2..]);
            continue;
        }
        let length = if is_of_name(first) {
            rest.find(|c| !is_of_name(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push(rest[..length].to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn names_and_labels_are_found_and_functions_words_and_times_are_not() {
        let said = asked(
            r#"histogram_quantile(0.99, sum by (le, path) (rate(a_bucket{job=~"$job", status!="5\"x"}[$__rate_interval])))
               / on (path) group_left b_total offset 5m > 0 or vector(0) and min_over_time(c:d[1h])"#,
        );
        let series = |name: &str, labels: &[&str]| (name.to_owned(), set(labels));
        assert_eq!(said.series[0], series("a_bucket", &["job", "status"]));
        assert_eq!(said.series[1..], [series("b_total", &[]), series("c:d", &[])]);
        assert_eq!(said.labels, set(&["le", "path"]));
    }

    #[test]
    fn labels_in_texts_are_found() {
        let text = "of {{ $labels.backup_id }} by {{ $value | humanize }}, {{path}} {{ other }}";
        assert_eq!(named(text), set(&["backup_id", "other", "path"]));
    }
}

//! `${VAR}`, `${VAR:-default}` and `${file:/path}` inside values.
//!
//! Expansion happens after the file has been parsed, in values only, so that what a variable holds can never become
//! structure: no injected keys, no quoting trouble. A variable that is not set and has no default is an error, never
//! an empty value; a registry's file keeps such a text as it is, with a notice. `$${` stands for a literal `${`; every other dollar is just a dollar (passwords and `~regex$` stay as
//! they are). Defaults and paths may nest. What was expanded is marked, so that errors do not quote it.

use super::error::{Notice, Problems};
use super::yaml::{Data, Node};

/// The deepest nesting of variables inside defaults and paths.
const DEEPEST: usize = 8;
/// The largest file that `${file:...}` reads, and the most bytes that one value may grow to.
pub(crate) const LARGEST: usize = 64 << 10;
/// The most bytes that all expansions of one job file may bring: aliases repeat what they name.
const MOST_BYTES: usize = 4 << 20;

/// What becomes of `${VAR}` where VAR is not set.
pub(crate) enum Unset<'a> {
    /// It is an error.
    Refused,
    /// It stays as it is written, which is told.
    Kept(&'a mut Vec<Notice>),
}

/// Where variables and files come from: the process, or a test.
pub(crate) trait Surroundings {
    /// The value of a variable, `None` where it is not set.
    ///
    /// # Errors
    /// Words for why a variable that is set cannot be used.
    fn variable(&self, name: &str) -> Result<Option<String>, String>;

    /// The text of a file of at most [`LARGEST`] bytes.
    ///
    /// # Errors
    /// Words for why it cannot be read.
    fn file(&self, path: &str) -> Result<String, String>;

    /// The names of all variables that are set.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The variables and files that this process sees.
pub(crate) struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Result<Option<String>, String> {
        match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err("its value is not UTF-8".to_owned()),
        }
    }

    fn file(&self, path: &str) -> Result<String, String> {
        super::read_text(path.as_ref(), LARGEST)
    }

    fn names(&self) -> Vec<String> {
        // A name that is not UTF-8 is none of ours.
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }
}

/// Expands every value of a tree in place, reporting what cannot be expanded.
pub(crate) fn expand(
    root: &mut Node,
    surroundings: &dyn Surroundings,
    unset: Unset<'_>,
    problems: &mut Problems,
) {
    let mut left = MOST_BYTES;
    let (keep, notices) = match unset {
        Unset::Refused => (false, &mut Vec::new()),
        Unset::Kept(notices) => (true, notices),
    };
    let mut source = Source { surroundings, keep, kept: Vec::new() };
    walk(root, &mut source, &mut left, problems, notices);
}

fn walk(
    node: &mut Node,
    source: &mut Source<'_>,
    left: &mut usize,
    problems: &mut Problems,
    notices: &mut Vec<Notice>,
) {
    match &mut node.data {
        Data::List(items) => {
            items.iter_mut().for_each(|item| walk(item, source, left, problems, notices));
        }
        Data::Map(entries) => {
            for entry in entries {
                if entry.key.contains("${") {
                    let message = format!("key {:?} holds a variable: only values are expanded", entry.key);
                    problems.add(entry.at, message, "write the key out");
                }
                walk(&mut entry.value, source, left, problems, notices);
            }
        }
        Data::Scalar(scalar) if scalar.text.contains("${") => {
            // `$${` alone brings nothing from outside, so that errors may quote it.
            scalar.expanded = scalar.text.replace("$${", "").contains("${");
            let value = text(&scalar.text, source, 0).and_then(|value| {
                *left = left.saturating_sub(value.len());
                if *left == 0 {
                    return fail(
                        "the variables of this file bring too much text",
                        "use fewer or smaller ones",
                    );
                }
                Ok(value)
            });
            match value {
                Ok(value) => scalar.text = value,
                Err(Failure { message, hint }) => {
                    problems.add(node.at, message, hint);
                    scalar.failed = true;
                }
            }
            for name in source.kept.drain(..) {
                let message = format!("variable {name} is not set: ${{{name}}} is kept as it is written");
                notices.push(Notice { at: node.at, message });
            }
        }
        Data::Scalar(_) => {}
    }
}

struct Source<'a> {
    surroundings: &'a dyn Surroundings,
    keep: bool,
    /// Variables of the value at hand that are not set.
    kept: Vec<String>,
}

struct Failure {
    message: String,
    hint: String,
}

fn fail<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, Failure> {
    Err(Failure { message: message.into(), hint: hint.into() })
}

/// Expands one text.
fn text(input: &str, source: &mut Source<'_>, depth: usize) -> Result<String, Failure> {
    if depth > DEEPEST {
        return fail(format!("variables nested more than {DEEPEST} deep"), "write the value out");
    }
    let mut output = String::new();
    let mut rest = input;
    while let Some(dollar) = rest.find('$') {
        output.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            output.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let Some(end) = closing(after) else {
                return fail("\"${\" without its \"}\"", "close it, or write $${ for a literal ${");
            };
            output.push_str(&one(&after[..end], source, depth)?);
            rest = &after[end + 1..];
        } else {
            output.push('$');
            rest = &rest[1..];
        }
        if output.len() > LARGEST {
            return fail(format!("a value grew beyond {LARGEST} bytes"), "use a smaller variable or file");
        }
    }
    output.push_str(rest);
    Ok(output)
}

/// Where the brace closes that was opened just before `input`, past braces that nested expansions open.
fn closing(input: &str) -> Option<usize> {
    let (mut depth, mut previous) = (0_usize, ' ');
    for (index, c) in input.char_indices() {
        match c {
            '{' if previous == '$' => depth += 1,
            '}' if depth == 0 => return Some(index),
            '}' => depth -= 1,
            _ => {}
        }
        previous = c;
    }
    None
}

/// Expands what stands between the braces.
fn one(inside: &str, source: &mut Source<'_>, depth: usize) -> Result<String, Failure> {
    if let Some(written) = inside.strip_prefix("file:") {
        // Errors quote the path as it is written: a variable in it may hold what nobody is to see.
        let path = text(written, source, depth + 1)?;
        if !path.starts_with('/') {
            return fail(
                format!("${{file:{written}}} needs an absolute path"),
                "write ${file:/path/to/file}",
            );
        }
        let mut content = source.surroundings.file(&path).or_else(|why| {
            fail(
                format!("cannot read {written} for ${{file:{written}}}: {why}"),
                "check the path and its permissions",
            )
        })?;
        // Editors and `echo` end a file with one line break that is no part of a secret.
        if content.ends_with('\n') {
            content.pop();
            if content.ends_with('\r') {
                content.pop();
            }
        }
        return Ok(content);
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(legal) {
        let hint = "write ${NAME}, ${NAME:-default} or ${file:/path}; $${ is a literal ${";
        return fail(format!("{name:?} is not the name of a variable"), hint);
    }
    let value = source
        .surroundings
        .variable(name)
        .or_else(|why| fail(format!("variable {name} cannot be used: {why}"), "set it to a text"))?;
    match (value, default) {
        // As in a shell, `:-` also stands in for a variable that is set to nothing.
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (Some(value), None) => Ok(value),
        (_, Some(default)) => text(default, source, depth + 1),
        (None, None) if source.keep => {
            source.kept.push(name.to_owned());
            Ok(format!("${{{name}}}"))
        }
        (None, None) => fail(
            format!("variable {name} is not set"),
            format!("set {name}, or give a default: ${{{name}:-default}}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Surroundings for Fixed {
        fn variable(&self, name: &str) -> Result<Option<String>, String> {
            Ok(match name {
                "A" => Some("alpha".to_owned()),
                "EMPTY" => Some(String::new()),
                "TRICK" => Some("x: ${A}\ny: 1".to_owned()),
                "LONG" => Some("x".repeat(LARGEST)),
                "RUN" => Some("/run".to_owned()),
                _ => None,
            })
        }

        fn file(&self, path: &str) -> Result<String, String> {
            match path {
                "/run/key" => Ok("s3cret\n".to_owned()),
                _ => Err("no such file".to_owned()),
            }
        }
    }

    fn expanded(input: &str) -> Result<String, String> {
        let mut source = Source { surroundings: &Fixed, keep: false, kept: Vec::new() };
        text(input, &mut source, 0).map_err(|failure| failure.message)
    }

    #[test]
    fn what_is_not_set_may_be_kept() {
        let mut source = Source { surroundings: &Fixed, keep: true, kept: Vec::new() };
        let expanded = text("${A}-${B}-${C:-c}-$2a$10$x", &mut source, 0).map_err(|failure| failure.message);
        assert_eq!(expanded.as_deref(), Ok("alpha-${B}-c-$2a$10$x"));
        assert_eq!(source.kept, ["B"]);
    }

    #[test]
    fn expands_variables_defaults_and_files() {
        for (input, output) in [
            ("${A}", "alpha"),
            ("x-${A}-${A}", "x-alpha-alpha"),
            ("${B:-beta}", "beta"),
            ("${A:-beta}", "alpha"),
            ("${EMPTY:-beta}", "beta"),
            ("${EMPTY}", ""),
            ("${B:-}", ""),
            ("${B:-${C:-${A}}}!", "alpha!"),
            ("${file:/run/key}", "s3cret"),
            ("<${file:${RUN}/key}>", "<s3cret>"),
            ("${file:${B:-/run}/key}", "s3cret"),
            ("$${A}", "${A}"),
            ("pa$$word $A ~^a$ $2a$10$", "pa$$word $A ~^a$ $2a$10$"),
            ("${TRICK}", "x: ${A}\ny: 1"),
        ] {
            assert_eq!(expanded(input).as_deref(), Ok(output), "{input}");
        }
    }

    #[test]
    fn what_cannot_be_expanded_is_an_error_never_empty() {
        for (input, words) in [
            ("${B}", "variable B is not set"),
            ("${A", "without its"),
            ("${}", "not the name of a variable"),
            ("${1A}", "not the name of a variable"),
            ("${a.b}", "not the name of a variable"),
            ("${file:key}", "absolute path"),
            ("${file:${B}/key}", "variable B is not set"),
            ("${file:${A}/key}", "${file:${A}/key} needs an absolute path"),
            ("${file:/none}", "no such file"),
            ("${LONG}${LONG}", "grew beyond"),
        ] {
            let error = expanded(input).expect_err(input);
            assert!(error.contains(words), "{input}: {error}");
        }
        let nested = (0..20).fold("x".to_owned(), |inner, _| format!("${{B:-{inner}}}"));
        assert!(expanded(&nested).expect_err("deep").contains("nested"));
    }
}

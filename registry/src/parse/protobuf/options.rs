//! Options: a name and a value, as `option name = value;`, between square brackets, and inside of values.

use super::element::{Opt, Value};
use super::lex::Lexer;
use crate::parse::Problem;
use indexmap::IndexMap;

/// How deeply values may hold values.
const MAX_DEPTH: u32 = 32;

/// `[name = value, ...]` if it stands here.
pub(super) fn bracketed(lexer: &mut Lexer<'_>) -> Result<Vec<Opt>, Problem> {
    let mut options = Vec::new();
    if !lexer.eat('[')? || lexer.eat(']')? {
        return Ok(options);
    }
    loop {
        options.push(assignment(lexer)?);
        if lexer.eat(']')? {
            return Ok(options);
        }
        lexer.require(',')?;
    }
}

/// `name = value` without what stands before and behind it.
pub(super) fn assignment(lexer: &mut Lexer<'_>) -> Result<Opt, Problem> {
    let extension = lexer.peek()? == Some('(');
    let name = if extension { in_parentheses(lexer)? } else { plain(lexer)? };
    let parts = parts(lexer)?;
    lexer.require('=')?;
    let value = value(lexer, 0)?;
    let value = parts
        .into_iter()
        .rev()
        .fold(value, |value, name| Value::Part(Box::new(Opt { name, extension: false, value })));
    Ok(Opt { name, extension, value })
}

/// `a.b`, or `a.` where a part in parentheses comes next.
fn plain(lexer: &mut Lexer<'_>) -> Result<String, Problem> {
    let word = lexer.word()?;
    let open = lexer.peek()? == Some('(');
    let name = if open { word.strip_suffix('.').unwrap_or(word) } else { word };
    if name.split('.').any(str::is_empty) {
        return Err(lexer.wrong(format_args!("{word:?} is no name of an option")));
    }
    Ok(name.to_owned())
}

fn in_parentheses(lexer: &mut Lexer<'_>) -> Result<String, Problem> {
    lexer.require('(')?;
    let name = lexer.full_name()?;
    lexer.require(')')?;
    Ok(name)
}

/// The parts behind `(name)`: `.a.b`, `.(c.d).e`. Parts in parentheses keep them.
fn parts(lexer: &mut Lexer<'_>) -> Result<Vec<String>, Problem> {
    let mut parts = Vec::new();
    loop {
        match lexer.peek()? {
            Some('.') => {
                let word = lexer.word()?;
                parts.extend(word.split('.').filter(|part| !part.is_empty()).map(str::to_owned));
            }
            Some('(') => parts.push(format!("({})", in_parentheses(lexer)?)),
            _ => break,
        }
        if parts.len() > MAX_DEPTH as usize {
            return Err(lexer.wrong(format_args!("an option's name has more than {MAX_DEPTH} parts")));
        }
    }
    Ok(parts)
}

fn value(lexer: &mut Lexer<'_>, depth: u32) -> Result<Value, Problem> {
    if depth >= MAX_DEPTH {
        return Err(
            lexer.wrong(format_args!("an option's value is nested more than {MAX_DEPTH} levels deep"))
        );
    }
    match lexer.peek()? {
        Some('{') => map(lexer, '{', '}', depth),
        Some('<') => map(lexer, '<', '>', depth),
        Some('[') => list(lexer, depth),
        Some('"' | '\'') => Ok(Value::Text(lexer.quoted()?)),
        Some(first) => {
            let word = lexer.word()?.to_owned();
            let number = first == '-' || first.is_ascii_digit();
            Ok(if number { Value::Number(word) } else { Value::Word(word) })
        }
        None => Err(lexer.wrong("the text ends where the value of an option is expected")),
    }
}

fn list(lexer: &mut Lexer<'_>, depth: u32) -> Result<Value, Problem> {
    lexer.require('[')?;
    let mut items = Vec::new();
    while !lexer.eat(']')? {
        items.push(value(lexer, depth + 1)?);
        if !lexer.eat(',')? && lexer.peek()? != Some(']') {
            let found = lexer.found()?;
            return Err(lexer.wrong(format_args!("expected ',' or ']' but found {found}")));
        }
    }
    Ok(Value::List(items))
}

fn map(lexer: &mut Lexer<'_>, open: char, close: char, depth: u32) -> Result<Value, Problem> {
    lexer.require(open)?;
    let mut entries: IndexMap<String, Value> = IndexMap::new();
    while !lexer.eat(close)? {
        let key = key(lexer)?;
        let opens = matches!(lexer.peek()?, Some('{' | '<'));
        if !lexer.eat(':')? && !opens {
            let found = lexer.found()?;
            return Err(lexer.wrong(format_args!("expected ':' after {key:?} but found {found}")));
        }
        let value = value(lexer, depth + 1)?;
        match entries.get_mut(&key) {
            None => {
                entries.insert(key, value);
            }
            Some(Value::List(items)) => append(items, value),
            Some(previous) => {
                let mut items = vec![previous.clone()];
                append(&mut items, value);
                *previous = Value::List(items);
            }
        }
        let _ = lexer.eat(',')? || lexer.eat(';')?;
    }
    Ok(Value::Map(entries))
}

fn append(items: &mut Vec<Value>, value: Value) {
    match value {
        Value::List(more) => items.extend(more),
        one => items.push(one),
    }
}

/// The name of a field, or `[an.extension]`, or `[host/of.an.Any]`.
fn key(lexer: &mut Lexer<'_>) -> Result<String, Problem> {
    if !lexer.eat('[')? {
        return Ok(lexer.word()?.to_owned());
    }
    let mut name = lexer.full_name()?;
    while lexer.eat('/')? {
        name = format!("{name}/{}", lexer.full_name()?);
    }
    lexer.require(']')?;
    Ok(format!("[{name}]"))
}

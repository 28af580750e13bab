//! JSON names in an encoded descriptor. A compiler gives each field one; clients and Confluent's registry write down only those that
//! the text has, and a descriptor that is registered again must be the same schema. Everything else stays byte for byte: what is
//! in it may be known only to the files that declare custom options.

use super::element::{Extend, Field, File, Message};
use prost::bytes::Buf as _;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use std::collections::HashSet;

/// The encoded `FileDescriptorProto` of this file without the names that its text does not have. Nothing if it is none.
pub(super) fn declared_only(file: &File, descriptor: &[u8]) -> Option<Vec<u8>> {
    let mut declared = HashSet::new();
    extensions(&file.extends, "", &mut declared);
    file.messages.iter().for_each(|message| fields(message, "", &mut declared));
    entries(descriptor, |tag, body| match tag {
        4 => message(body, "", &declared).map(Part::Other),
        7 => field(body, "", &declared).map(Part::Other),
        _ => Some(Part::Same),
    })
}

/// Adds the fields (`Message.Nested.field`) that have a name.
fn fields(found: &Message, path: &str, declared: &mut HashSet<String>) {
    let path = format!("{path}{}.", found.name);
    named(&found.fields, &path, declared);
    found.oneofs.iter().for_each(|oneof| named(&oneof.fields, &path, declared));
    for group in found.all_groups() {
        if group.options.iter().any(|option| option.name == "json_name") {
            declared.insert(format!("{path}{}", group.body.name.to_ascii_lowercase()));
        }
        fields(&group.body, &path, declared);
    }
    extensions(&found.extends, &path, declared);
    found.messages.iter().for_each(|nested| fields(nested, &path, declared));
}

fn extensions(found: &[Extend], path: &str, declared: &mut HashSet<String>) {
    found.iter().for_each(|extend| named(&extend.fields, path, declared));
}

fn named(found: &[Field], path: &str, declared: &mut HashSet<String>) {
    let with = found.iter().filter(|field| field.json_name.is_some());
    declared.extend(with.map(|field| format!("{path}{}", field.name)));
}

fn message(bytes: &[u8], path: &str, declared: &HashSet<String>) -> Option<Vec<u8>> {
    let path = format!("{path}{}.", name(bytes)?);
    entries(bytes, |tag, body| match tag {
        2 | 6 => field(body, &path, declared).map(Part::Other),
        3 => message(body, &path, declared).map(Part::Other),
        _ => Some(Part::Same),
    })
}

fn field(bytes: &[u8], path: &str, declared: &HashSet<String>) -> Option<Vec<u8>> {
    let is_declared = declared.contains(&format!("{path}{}", name(bytes)?));
    entries(bytes, |tag, _| Some(if tag == 10 && !is_declared { Part::Gone } else { Part::Same }))
}

/// What the last entry with tag 1 says, which is the name of a message and of a field.
fn name(bytes: &[u8]) -> Option<&str> {
    let (mut rest, mut found) = (bytes, None);
    while rest.has_remaining() {
        let entry = Entry::read(&mut rest)?;
        found = entry.body.filter(|_| entry.tag == 1).or(found);
    }
    std::str::from_utf8(found?).ok()
}

enum Part {
    Same,
    Other(Vec<u8>),
    Gone,
}

/// An encoded message with what becomes of each entry that has a length; the others stay. Nothing if it is not encoded well.
fn entries(bytes: &[u8], mut becomes: impl FnMut(u32, &[u8]) -> Option<Part>) -> Option<Vec<u8>> {
    let (mut rest, mut kept) = (bytes, Vec::with_capacity(bytes.len()));
    while rest.has_remaining() {
        let entry = Entry::read(&mut rest)?;
        match entry.body.map_or(Some(Part::Same), |body| becomes(entry.tag, body))? {
            Part::Same => kept.extend_from_slice(entry.whole),
            Part::Other(body) => {
                encode_key(entry.tag, WireType::LengthDelimited, &mut kept);
                encode_varint(u64::try_from(body.len()).ok()?, &mut kept);
                kept.extend_from_slice(&body);
            }
            Part::Gone => {}
        }
    }
    Some(kept)
}

/// An entry of an encoded message.
struct Entry<'a> {
    tag: u32,
    whole: &'a [u8],
    /// What it holds, if that has a length.
    body: Option<&'a [u8]>,
}

impl<'a> Entry<'a> {
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let begin = *rest;
        let (tag, kind) = decode_key(rest).ok()?;
        let mut body = None;
        if kind == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
            let (found, behind) = rest.split_at_checked(length)?;
            (body, *rest) = (Some(found), behind);
        } else {
            skip_field(kind, tag, rest, DecodeContext::default()).ok()?;
        }
        Some(Self { tag, whole: &begin[..begin.len() - rest.len()], body })
    }
}

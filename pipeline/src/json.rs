//! JSON text that becomes a part of another document without becoming a tree first: values that are held by the hundred thousand are
//! held as text, which is a fifth of what the tree takes.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};

/// Writes what a text says.
///
/// # Errors
/// It is no JSON, or cannot be written.
pub(crate) fn pass<S: Serializer>(text: &[u8], to: S) -> Result<S::Ok, S::Error> {
    Passed::new(&mut serde_json::Deserializer::from_slice(text)).serialize(to)
}

/// A value that is still to be read, handed on to a serializer as it is read: neither list nor object is ever there as a whole.
struct Passed<'de, D>(Cell<Option<D>>, PhantomData<&'de ()>);

impl<D> Passed<'_, D> {
    fn new(from: D) -> Self {
        Self(Cell::new(Some(from)), PhantomData)
    }
}

impl<'de, D: Deserializer<'de>> Serialize for Passed<'de, D> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let from = self.0.take().ok_or_else(|| ser::Error::custom("it was passed on already"))?;
        from.deserialize_any(Pass(to)).map_err(ser::Error::custom)
    }
}

/// Passes what is read on to a serializer.
struct Pass<S>(S);

/// Passes the next element on to a list that is being written.
struct Element<'a, S>(&'a mut S);
/// Passes the next key on to an object that is being written.
struct Name<'a, S>(&'a mut S);
/// Passes the next value on to an object that is being written.
struct Member<'a, S>(&'a mut S);

impl<'de, S: Serializer> Visitor<'de> for Pass<S> {
    type Value = S::Ok;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<S::Ok, E> {
        self.0.serialize_unit().map_err(E::custom)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<S::Ok, E> {
        self.0.serialize_bool(value).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<S::Ok, E> {
        self.0.serialize_u64(value).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<S::Ok, E> {
        self.0.serialize_i64(value).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<S::Ok, E> {
        self.0.serialize_f64(value).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<S::Ok, E> {
        self.0.serialize_str(value).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<S::Ok, A::Error> {
        let mut to = self.0.serialize_seq(from.size_hint()).map_err(de::Error::custom)?;
        while from.next_element_seed(Element(&mut to))?.is_some() {}
        to.end().map_err(de::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<S::Ok, A::Error> {
        let mut to = self.0.serialize_map(from.size_hint()).map_err(de::Error::custom)?;
        while from.next_key_seed(Name(&mut to))?.is_some() {
            from.next_value_seed(Member(&mut to))?;
        }
        to.end().map_err(de::Error::custom)
    }
}

impl<'de, S: SerializeSeq> DeserializeSeed<'de> for Element<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.serialize_element(&Passed::new(from)).map_err(de::Error::custom)
    }
}

impl<'de, S: SerializeMap> DeserializeSeed<'de> for Name<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.serialize_key(&Passed::new(from)).map_err(de::Error::custom)
    }
}

impl<'de, S: SerializeMap> DeserializeSeed<'de> for Member<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.serialize_value(&Passed::new(from)).map_err(de::Error::custom)
    }
}

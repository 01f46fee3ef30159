//! JSON from others: what is meant to be an object must be one.
//!
//! A derived `Deserialize` also takes a list of a struct's fields in their order, and for an enum's
//! word an object with that name. Neither is what the API describes, and other readers of the same
//! text (a proxy's rules, a log) would see something else in it.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Reads an object, and nothing else, as a `T`.
///
/// # Errors
/// Where the text is no JSON, no object, or no `T`.
pub fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).map(|Object(value)| value)
}

/// A field, or a whole text that another crate parses, that must be an object.
#[derive(Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

/// Reads a field that must be a string as one of an enum's words.
///
/// # Errors
/// Where it is no string, or none of the words.
pub fn word<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    T::deserialize(IntoDeserializer::<D::Error>::into_deserializer(text))
}

/// Whether a field is there, whatever it holds: also `null`.
///
/// # Errors
/// Where the text is no JSON.
pub fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// A field as it is, where a `null` is something else than none.
///
/// # Errors
/// Where the text is no JSON.
pub fn any<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct Inner {
        a: u8,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Yes,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
        inner: Option<Object<Inner>>,
        #[serde(default, deserialize_with = "is_there")]
        marked: bool,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Tagged {
        One { a: u8 },
        Two,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct WithWord {
        #[serde(deserialize_with = "word")]
        word: Word,
    }

    #[test]
    fn an_object_is_read_and_a_list_of_its_fields_is_not() {
        let outer = object::<Outer<'_>>(br#"{"inner":{"a":1},"text":"x","more":[]}"#).unwrap();
        assert_eq!((outer.inner, outer.marked), (Some(Object(Inner { a: 1 })), false));
        assert!(matches!(outer.text, Cow::Borrowed("x")), "nothing is copied");
        assert!(object::<Outer<'_>>(br#"{"text":"x","marked":null}"#).unwrap().marked);
        for text in [
            r#"["x",{"a":1}]"#,
            r#"["x"]"#,
            "[]",
            r#""x""#,
            "1",
            "null",
            "",
            r#"{"text":"x","inner":[1]}"#,
            r#"{"text":"x","text":"y"}"#,
            r#"{"text":"x"} {"#,
        ] {
            assert!(object::<Outer<'_>>(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn so_is_an_enum_that_is_told_by_a_field() {
        assert_eq!(object(br#"{"a":1,"type":"one"}"#).ok(), Some(Tagged::One { a: 1 }));
        assert_eq!(object(br#"{"type":"two","a":1}"#).ok(), Some(Tagged::Two));
        for text in [r#"["one",1]"#, r#"["one",{"a":1}]"#, r#"["two"]"#, r#"{"type":1}"#] {
            assert!(object::<Tagged>(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_word_is_a_string() {
        assert_eq!(object(br#"{"word":"yes"}"#).ok(), Some(WithWord { word: Word::Yes }));
        for text in [r#"{"word":{"yes":null}}"#, r#"{"word":["yes"]}"#, r#"{"word":"no"}"#] {
            assert!(object::<WithWord>(text.as_bytes()).is_err(), "{text}");
        }
    }
}

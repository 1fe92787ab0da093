//! Task bodies: `[args, kwargs, embed]`, or the map of protocol 1.

use std::borrow::Cow;

use crate::content::Serializer;
use crate::fields::Fields;
use crate::json::{self, Value, Writer};
use crate::{Limits, Malformed, NeedsPython, ReadError, compression, msgpack};

/// Undoes the codec of a body, if there is one.
pub fn unpack<'b>(body: &'b [u8], codec: Option<&str>, limits: &Limits) -> Result<Cow<'b, [u8]>, ReadError> {
    match codec {
        None => Ok(Cow::Borrowed(body)),
        Some(name) => compression::decompress(name, body, limits).map(Cow::Owned).map_err(|error| match error {
            ReadError::Malformed(error) => error.of("body").into(),
            other => other,
        }),
    }
}

/// An unpacked body as JSON text, converted from MessagePack if that is what it is.
pub fn json_text<'b>(content_type: &str, body: Cow<'b, [u8]>, limits: &Limits) -> Result<Cow<'b, [u8]>, ReadError> {
    match Serializer::named(content_type) {
        Some(Serializer::Json) => Ok(body),
        Some(Serializer::Msgpack) => {
            let value = msgpack::decode(&body, limits).map_err(|error| error.of("body"))?;
            Ok(Cow::Owned(json::to_vec(&value)))
        }
        _ => Err(NeedsPython::Serializer(content_type.to_owned()).into()),
    }
}

/// The parts of a JSON body, each still JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyText<'a> {
    /// A list.
    pub args: &'a str,
    /// An object.
    pub kwargs: &'a str,
    /// What follows.
    pub embed: Embed<'a>,
}

/// What is to happen after a task, as JSON text; `None` is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Embed<'a> {
    /// `link`: a list of signatures.
    pub callbacks: Option<&'a str>,
    /// `link_error`: a list of signatures.
    pub errbacks: Option<&'a str>,
    /// Steps of the chain still to come, the next one last.
    pub chain: Option<&'a str>,
    /// Body of the chord this task counts towards.
    pub chord: Option<&'a str>,
}

impl<'a> Embed<'a> {
    fn of(fields: &Fields<'a>) -> Self {
        Self {
            callbacks: fields.raw("callbacks"),
            errbacks: fields.raw("errbacks"),
            chain: fields.raw("chain"),
            chord: fields.raw("chord"),
        }
    }
}

impl<'a> BodyText<'a> {
    /// Takes a JSON body apart, of either protocol; everything in it is checked to be JSON.
    pub fn split(body: &'a [u8], limits: &Limits) -> Result<Self, Malformed> {
        match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Self::split_map(body, limits),
            _ => Self::split_list(body, limits),
        }
    }

    fn split_list(body: &'a [u8], limits: &Limits) -> Result<Self, Malformed> {
        let parts = json::elements(body, limits).map_err(|error| error.of("body"))?;
        let [args, kwargs, embed] = parts[..] else {
            return Err(Malformed::new("body", format!("expected [args, kwargs, embed], found {} parts", parts.len())));
        };
        let embed = match embed {
            "null" => Embed::default(),
            text if text.starts_with('{') => Embed::of(&Fields::read(text.as_bytes(), "body", "embed key", limits)?),
            _ => return Err(Malformed::new("body", "embed (the third part) is no object")),
        };
        Self { args, kwargs, embed }.checked()
    }

    fn split_map(body: &'a [u8], limits: &Limits) -> Result<Self, Malformed> {
        let fields = Fields::read(body, "body", "body key", limits)?;
        let (args, kwargs) = (fields.raw("args").unwrap_or("[]"), fields.raw("kwargs").unwrap_or("{}"));
        // Protocol 1 has no chain: its steps are callbacks of callbacks.
        Self { args, kwargs, embed: Embed { chain: None, ..Embed::of(&fields) } }.checked()
    }

    fn checked(self) -> Result<Self, Malformed> {
        if !self.args.starts_with('[') {
            return Err(Malformed::new("body", "args is no list"));
        }
        if !self.kwargs.starts_with('{') {
            return Err(Malformed::new("body", "kwargs is no object"));
        }
        Ok(self)
    }

    /// Writes a protocol 2 body, as Celery does; null is written for what is absent.
    pub fn write(&self) -> Vec<u8> {
        let mut writer = Writer::over(Vec::with_capacity(self.args.len() + self.kwargs.len() + 128));
        writer.begin_array();
        writer.raw(self.args);
        writer.raw(self.kwargs);
        writer.begin_object();
        let Embed { callbacks, errbacks, chain, chord } = self.embed;
        for (name, text) in [("callbacks", callbacks), ("errbacks", errbacks), ("chain", chain), ("chord", chord)] {
            writer.key(name);
            writer.raw(text.unwrap_or("null"));
        }
        writer.end_object();
        writer.end_array();
        writer.into_bytes()
    }
}

/// The parts of a body as values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Body {
    /// A list.
    pub args: Value,
    /// An object.
    pub kwargs: Value,
    /// `link`: a list of signatures, or null.
    pub callbacks: Value,
    /// `link_error`: a list of signatures, or null.
    pub errbacks: Value,
    /// Steps of the chain still to come, the next one last; or null.
    pub chain: Value,
    /// Body of the chord this task counts towards, or null.
    pub chord: Value,
}

impl Body {
    /// Reads a body of either protocol, JSON or MessagePack; `codec` as the `compression` header has it.
    pub fn read(body: &[u8], content_type: &str, codec: Option<&str>, limits: &Limits) -> Result<Self, ReadError> {
        let text = json_text(content_type, unpack(body, codec, limits)?, limits)?;
        let BodyText { args, kwargs, embed } = BodyText::split(&text, limits)?;
        let value = |text: Option<&str>| match text {
            None => Ok(Value::Null),
            Some(text) => json::parse(text.as_bytes(), limits).map_err(|error| error.of("body")),
        };
        Ok(Self {
            args: value(Some(args))?,
            kwargs: value(Some(kwargs))?,
            callbacks: value(embed.callbacks)?,
            errbacks: value(embed.errbacks)?,
            chain: value(embed.chain)?,
            chord: value(embed.chord)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_written_as_celery_writes_it() {
        let body = BodyText { args: "[2, 3]", kwargs: "{}", embed: Embed::default() };
        let text = br#"[[2, 3], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#;
        assert_eq!(body.write(), text);
        assert_eq!(BodyText::split(text, &Limits::default()), Ok(body));
    }

    #[test]
    fn a_protocol_1_map_has_the_same_parts() {
        let text = br#"{"task": "t", "id": "i", "args": [1], "callbacks": [{}], "chain": [5]}"#;
        let body = BodyText::split(text, &Limits::default()).expect("a body");
        assert_eq!((body.args, body.kwargs), ("[1]", "{}"));
        assert_eq!(body.embed, Embed { callbacks: Some("[{}]"), ..Embed::default() });
    }

    #[test]
    fn other_shapes_are_malformed() {
        for text in ["[]", "[[], {}]", "[[], {}, 5]", "[5, {}, {}]", "[[], [], {}]", "5", "", r#"{"kwargs": 5}"#] {
            assert!(BodyText::split(text.as_bytes(), &Limits::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn msgpack_and_compression_are_undone() {
        let plain = br#"[[1], {"a": null}, {"chord": {"task": "t"}}]"#;
        let limits = Limits::default();
        let packed = msgpack::encode(&json::parse(plain, &limits).expect("json")).expect("fits");
        let packed = compression::Codec::Zstd.compress(&packed).expect("native");
        let body = Body::read(&packed, "application/x-msgpack", Some("zstd"), &limits).expect("a body");
        assert_eq!(body, Body::read(plain, "application/json", None, &limits).expect("a body"));
        assert!(matches!(
            Body::read(b"\x80", "application/x-python-serialize", None, &limits),
            Err(ReadError::NeedsPython(NeedsPython::Serializer(_)))
        ));
    }
}

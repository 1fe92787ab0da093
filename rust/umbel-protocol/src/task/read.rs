//! From a message to [`TaskHeaders`] or their better part, [`TaskFacts`].

use std::borrow::Cow;
use std::time::Duration;

use super::{Protocol, ReadOptions, TaskFacts, TaskHeaders, read_time, read_time_limit};
use crate::body;
use crate::content::Serializer;
use crate::fields::Fields;
use crate::json::Value;
use crate::{Limits, Malformed, Message, ReadError, Timestamp};

impl TaskFacts {
    /// Reads a task message.
    ///
    /// Protocol 2 needs the headers alone. Protocol 1 (no `task` header) needs the body; when only Python can read
    /// that (pickle, yaml, lzma), the error is [`ReadError::NeedsPython`]. A message without a usable id or name,
    /// and one with a wrong type in any of [`TaskHeaders`]' fields, is malformed.
    pub fn parse(message: &Message, options: &ReadOptions) -> Result<Self, ReadError> {
        parse(message, options, |sources, protocol, compression| {
            sources.check_rest(&options.limits)?;
            sources.facts(protocol, compression, options)
        })
    }
}

impl TaskHeaders {
    /// Reads a task message; as [`TaskFacts::parse`].
    pub fn parse(message: &Message, options: &ReadOptions) -> Result<Self, ReadError> {
        parse(message, options, |sources, protocol, compression| {
            let facts = sources.facts(protocol, compression, options)?;
            sources.headers(facts, &options.limits)
        })
    }
}

/// Finds out which form the message has and where its fields are, and has `read` read them.
fn parse<T>(
    message: &Message,
    options: &ReadOptions,
    read: impl Fn(&Sources<'_, '_>, Protocol, Option<String>) -> Result<T, Malformed>,
) -> Result<T, ReadError> {
    let text = if message.headers.is_empty() { "{}" } else { message.headers.as_str() };
    let headers = Fields::read(text.as_bytes(), "headers", "header", &options.limits)?;
    let compression = headers.string("compression")?;
    let is_two = headers.has("task");
    if is_two && !may_be_hybrid(message, compression.is_some(), &headers) {
        return Ok(read(&Sources { headers: Some(&headers), body: None }, Protocol::Two, compression)?);
    }
    let text = match body_as_json(message, compression.as_deref(), &options.limits) {
        Err(ReadError::NeedsPython(_)) if is_two => Cow::Borrowed(b"".as_slice()),
        other => other?,
    };
    if is_two && !is_map_with_args(&text, &options.limits) {
        return Ok(read(&Sources { headers: Some(&headers), body: None }, Protocol::Two, compression)?);
    }
    let body = protocol_one(&text, &options.limits)?;
    if is_two {
        return Ok(read(&Sources { headers: Some(&headers), body: Some(&body) }, Protocol::Hybrid, compression)?);
    }
    if !body.has("task") {
        return Err(no_task().into());
    }
    Ok(read(&Sources { headers: None, body: Some(&body) }, Protocol::One, compression)?)
}

fn no_task() -> Malformed {
    Malformed::new("message", "not a task: it has no 'task' header and its body is no protocol 1 map")
}

/// Whether the body must be looked at though there is a `task` header. A protocol 2 body is a list, which its first
/// byte tells; one that is compressed or for Python counts as protocol 2 as long as the headers have an id.
fn may_be_hybrid(message: &Message, compressed: bool, headers: &Fields<'_>) -> bool {
    if compressed {
        return !headers.has("id");
    }
    match Serializer::named(&message.content_type) {
        Some(Serializer::Json) => message.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{'),
        Some(Serializer::Msgpack) => matches!(message.body.first(), Some(0x80..=0x8f | 0xde | 0xdf)),
        _ => false,
    }
}

/// The body as JSON text, unpacked and converted where need be.
fn body_as_json<'m>(
    message: &'m Message,
    compression: Option<&str>,
    limits: &Limits,
) -> Result<Cow<'m, [u8]>, ReadError> {
    body::json_text(&message.content_type, body::unpack(&message.body, compression, limits)?, limits)
}

fn is_map_with_args(text: &[u8], limits: &Limits) -> bool {
    text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
        && Fields::read(text, "body", "body key", limits).is_ok_and(|fields| fields.has("args"))
}

fn protocol_one<'t>(text: &'t [u8], limits: &Limits) -> Result<Fields<'t>, Malformed> {
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(no_task());
    }
    let fields = Fields::read(text, "body", "body key", limits)?;
    match fields.raw("kwargs") {
        Some(raw) if !raw.starts_with('{') => Err(fields.wrong("kwargs", "an object", raw)),
        _ => Ok(fields),
    }
}

/// Where facts are read from: headers first, then a protocol 1 body.
struct Sources<'s, 'a> {
    headers: Option<&'s Fields<'a>>,
    body: Option<&'s Fields<'a>>,
}

impl Sources<'_, '_> {
    fn facts(
        &self,
        protocol: Protocol,
        compression: Option<String>,
        options: &ReadOptions,
    ) -> Result<TaskFacts, Malformed> {
        let (time_limit, soft_time_limit) = self.time_limits(&options.limits)?;
        // Protocol 1 called it taskset, and that name wins where it is present.
        let group = if protocol == Protocol::One && self.of("taskset").has("taskset") { "taskset" } else { "group" };
        Ok(TaskFacts {
            protocol,
            task: self.required("task")?,
            id: self.required("id")?,
            eta: self.time("eta", options)?,
            expires: self.time("expires", options)?,
            group: self.string(group)?,
            parent_id: self.string("parent_id")?,
            retries: self.count("retries")?,
            time_limit,
            soft_time_limit,
            ignore_result: self.of("ignore_result").boolean("ignore_result")?,
            compression,
        })
    }

    fn headers(&self, facts: TaskFacts, limits: &Limits) -> Result<TaskHeaders, Malformed> {
        Ok(TaskHeaders {
            facts,
            shadow: self.of("shadow").shown("shadow"),
            group_index: self.of("group_index").integer("group_index")?,
            root_id: self.string("root_id")?,
            argsrepr: self.of("argsrepr").shown("argsrepr"),
            kwargsrepr: self.of("kwargsrepr").shown("kwargsrepr"),
            origin: self.of("origin").shown("origin"),
            replaced_task_nesting: self.count("replaced_task_nesting")?,
            stamps: self.stamps(limits)?,
        })
    }

    /// What [`Sources::headers`] would find wrong, without making anything of what is right.
    fn check_rest(&self, limits: &Limits) -> Result<(), Malformed> {
        self.of("group_index").integer("group_index")?;
        self.of("root_id").text("root_id")?;
        self.count("replaced_task_nesting")?;
        self.stamps(limits).map(drop)
    }

    /// Where `name` is to be read: in the headers if they have it.
    fn of(&self, name: &str) -> &Fields<'_> {
        match (self.headers, self.body) {
            (Some(headers), Some(body)) if !headers.has(name) => body,
            (Some(headers), _) => headers,
            (None, Some(body)) => body,
            (None, None) => &EMPTY,
        }
    }

    fn string(&self, name: &str) -> Result<Option<String>, Malformed> {
        self.of(name).string(name)
    }

    fn required(&self, name: &str) -> Result<String, Malformed> {
        let fields = self.of(name);
        let missing = || fields.malformed(name, "missing; a task message must have a non-empty one");
        fields.string(name)?.filter(|text| !text.is_empty()).ok_or_else(missing)
    }

    fn count(&self, name: &str) -> Result<u32, Malformed> {
        let fields = self.of(name);
        let number = fields.integer(name)?.unwrap_or(0);
        u32::try_from(number).map_err(|_| fields.malformed(name, format!("{number} is no count")))
    }

    fn time(&self, name: &str, options: &ReadOptions) -> Result<Option<Timestamp>, Malformed> {
        let fields = self.of(name);
        let Some(value) = fields.value(name, &options.limits)? else { return Ok(None) };
        read_time(&value, &options.zone).map_err(|error| fields.malformed(name, error.detail))
    }

    fn time_limits(&self, limits: &Limits) -> Result<(Option<Duration>, Option<Duration>), Malformed> {
        let fields = self.of("timelimit");
        if fields.raw("timelimit").is_none_or(|raw| raw == "[null, null]") {
            return Ok((None, None)); // As almost all messages have it.
        }
        let value = fields.value("timelimit", limits)?.unwrap_or(Value::Null);
        let read = |value| read_time_limit(value).map_err(|error| fields.malformed("timelimit", error.detail));
        match &value {
            Value::Null => Ok((None, None)),
            Value::Array(pair) => match pair.as_slice() {
                [] => Ok((None, None)),
                [hard, soft] => Ok((read(hard)?, read(soft)?)),
                _ => Err(fields.malformed("timelimit", "expected [hard, soft]")),
            },
            other => Err(fields.malformed("timelimit", format!("expected [hard, soft], found {}", other.kind()))),
        }
    }

    fn stamps(&self, limits: &Limits) -> Result<Vec<(String, Value)>, Malformed> {
        let names = self.of("stamped_headers");
        let Some(listed) = names.raw("stamped_headers").filter(|raw| *raw != "[]") else { return Ok(Vec::new()) };
        let Some(Value::Array(listed_names)) = names.value("stamped_headers", limits)? else {
            return Err(names.wrong("stamped_headers", "a list of names", listed));
        };
        let stamps = self.of("stamps").value("stamps", limits)?.unwrap_or_default();
        let stamp = |name: &Value| {
            let name = name.as_str()?;
            stamps.get(name).map(|value| (name.to_owned(), value.clone()))
        };
        Ok(listed_names.iter().filter_map(stamp).collect())
    }
}

/// Fields of nothing.
static EMPTY: Fields<'static> = Fields::none("header");

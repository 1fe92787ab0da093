//! Messages as Python dicts.

use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping, PyString};
use pyo3::{Bound, intern};

use umbel_broker::{DeadLetter, Outgoing, Payload, Waiting};
use umbel_protocol::{ChordPart, ChordStep, Destination, Message, Properties, Timestamp};

use crate::codec;
use crate::errors::malformed;
use crate::gil;
use umbel_protocol::Malformed;

/// The messages of a sequence of `MessageDict`.
pub(crate) fn outgoing(messages: &Bound<'_, PyAny>) -> PyResult<Vec<Outgoing>> {
    let mut batch = Vec::with_capacity(messages.len().unwrap_or(0));
    for message in messages.try_iter()? {
        batch.push(one(&as_dict(&message?, "message")?)?);
    }
    Ok(batch)
}

/// The message of a `MessageDict`.
pub(crate) fn one(message: &Bound<'_, PyDict>) -> PyResult<Outgoing> {
    let py = message.py();
    let text = |name: &Bound<'_, PyString>| -> PyResult<Option<String>> {
        message.get_item(name)?.filter(|value| !value.is_none()).map(|value| value.extract()).transpose()
    };
    let destination = Destination {
        exchange: required(text(intern!(py, "exchange"))?, "exchange")?,
        routing_key: required(text(intern!(py, "routing_key"))?, "routing_key")?,
    };
    let headers = required(message.get_item(intern!(py, "headers"))?, "headers")?;
    let body = required(message.get_item(intern!(py, "body"))?, "body")?;
    let mut properties = match message.get_item(intern!(py, "properties"))? {
        Some(given) if !given.is_none() => properties(&as_dict(&given, "properties")?)?,
        _ => Properties::default(),
    };
    properties.destination = destination.clone();
    let eta = message.get_item(intern!(py, "eta"))?.map(|eta| eta.extract::<Option<f64>>()).transpose()?.flatten();
    Ok(Outgoing {
        destination,
        message: Message {
            headers: json_text(as_dict(&headers, "headers")?.as_any())?,
            body: body.extract::<Vec<u8>>()?,
            content_type: text(intern!(py, "content_type"))?.unwrap_or_else(|| "application/json".to_owned()),
            content_encoding: text(intern!(py, "content_encoding"))?.unwrap_or_else(|| "utf-8".to_owned()),
            properties,
        },
        eta: eta.map(Timestamp::from_seconds),
        line: text(intern!(py, "line"))?.filter(|line| !line.is_empty()),
        chord: chord_step(message)?.map(Box::new),
    })
}

/// The item `chord`: a dict of `group` alone ends one, one with `task_id`, `index`, `part` and `expires` counts.
fn chord_step(message: &Bound<'_, PyDict>) -> PyResult<Option<ChordStep>> {
    let Some(given) = message.get_item(intern!(message.py(), "chord"))?.filter(|given| !given.is_none()) else {
        return Ok(None);
    };
    let given = as_dict(&given, "chord")?;
    let group = required(given.get_item("group")?, "group")?.extract()?;
    let Some(task_id) = given.get_item("task_id")? else { return Ok(Some(ChordStep::End { group })) };
    let expires = given.get_item("expires")?.map(|expires| expires.extract::<Option<f64>>()).transpose()?.flatten();
    Ok(Some(ChordStep::Count(ChordPart {
        group,
        task_id: task_id.extract()?,
        index: given.get_item("index")?.map(|index| index.extract()).transpose()?.flatten(),
        part: required(given.get_item("part")?, "part")?.extract::<Vec<u8>>()?,
        expires: gil::seconds(expires)?,
    })))
}

fn required<T>(value: Option<T>, name: &str) -> PyResult<T> {
    value.ok_or_else(|| PyKeyError::new_err(format!("a message needs {name:?}")))
}

fn as_dict<'py>(value: &Bound<'py, PyAny>, what: &str) -> PyResult<Bound<'py, PyDict>> {
    if let Ok(dict) = value.cast::<PyDict>() {
        return Ok(dict.clone());
    }
    if value.cast::<PyMapping>().is_err() {
        let found = value.get_type().name()?;
        return Err(PyTypeError::new_err(format!("{what} must be a mapping, not {found}")));
    }
    Ok(value.py().get_type::<PyDict>().call1((value,))?.cast_into::<PyDict>()?)
}

pub(crate) fn json_text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let json = codec::dumps(value)?;
    // The writer escapes everything but ASCII.
    String::from_utf8(json).map_err(|error| malformed(Malformed::new("JSON", error.to_string())))
}

/// Properties under their own names where they have one, others as JSON text. Those that an engine fills in itself
/// are left out.
pub(crate) fn properties(given: &Bound<'_, PyDict>) -> PyResult<Properties> {
    let mut properties = Properties::default();
    for (name, value) in given.iter() {
        if value.is_none() {
            continue;
        }
        let name: String = name.extract()?;
        match name.as_str() {
            "correlation_id" => properties.correlation_id = Some(value.extract()?),
            "reply_to" => properties.reply_to = Some(value.extract()?),
            "delivery_mode" => properties.delivery_mode = Some(value.extract()?),
            "priority" => properties.priority = Some(value.extract()?),
            "expiration" => properties.expiration = Some(value.str()?.to_string()),
            "delivery_info" | "delivery_tag" | "body_encoding" => {}
            _ => properties.extra.push((name, json_text(&value)?)),
        }
    }
    Ok(properties)
}

/// The headers of a message as a dict.
pub(crate) fn headers_dict<'py>(py: Python<'py>, message: &Message) -> PyResult<Bound<'py, PyAny>> {
    codec::loads(py, message.headers.as_bytes())
}

/// The properties of a message as a dict; absent ones are left out.
pub(crate) fn properties_dict<'py>(py: Python<'py>, properties: &Properties) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    if let Some(id) = &properties.correlation_id {
        dict.set_item(intern!(py, "correlation_id"), id)?;
    }
    if let Some(queue) = &properties.reply_to {
        dict.set_item(intern!(py, "reply_to"), queue)?;
    }
    if let Some(mode) = properties.delivery_mode {
        dict.set_item(intern!(py, "delivery_mode"), mode)?;
    }
    if let Some(priority) = properties.priority {
        dict.set_item(intern!(py, "priority"), priority)?;
    }
    if let Some(expiration) = &properties.expiration {
        dict.set_item(intern!(py, "expiration"), expiration)?;
    }
    if let Some(tag) = &properties.delivery_tag {
        dict.set_item(intern!(py, "delivery_tag"), tag)?;
    }
    for (name, json) in &properties.extra {
        dict.set_item(name, codec::loads(py, json.as_bytes())?)?;
    }
    Ok(dict)
}

/// `request.delivery_info`, from what the message says of its way.
pub(crate) fn delivery_info<'py>(py: Python<'py>, properties: &Properties) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item(intern!(py, "exchange"), &properties.destination.exchange)?;
    dict.set_item(intern!(py, "routing_key"), &properties.destination.routing_key)?;
    dict.set_item(intern!(py, "priority"), properties.priority)?;
    dict.set_item(intern!(py, "redelivered"), properties.redelivered)?;
    Ok(dict)
}

/// A dead letter as `DeadLetterDict`. Headers that are no JSON are None, as for a payload that is no message.
pub(crate) fn dead_letter_dict<'py>(py: Python<'py>, letter: &DeadLetter) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", &letter.id)?;
    dict.set_item("queue", &letter.queue)?;
    dict.set_item("kind", &letter.reason.kind)?;
    dict.set_item("reason", &letter.reason.detail)?;
    dict.set_item("at", letter.at.as_seconds())?;
    set_payload(py, &dict, &letter.payload)?;
    Ok(dict)
}

/// A message that waits, as `WaitingDict`.
pub(crate) fn waiting_dict<'py>(py: Python<'py>, waiting: &Waiting) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("due", waiting.due.map(|due| due.as_seconds()))?;
    set_payload(py, &dict, &waiting.payload)?;
    Ok(dict)
}

fn set_payload(py: Python<'_>, dict: &Bound<'_, PyDict>, payload: &Payload) -> PyResult<()> {
    let (headers, properties, body, content_type, content_encoding) = match payload {
        Payload::Message(message) => (
            headers_dict(py, message).ok(),
            properties_dict(py, &message.properties).ok(),
            message.body.as_slice(),
            message.content_type.as_str(),
            message.content_encoding.as_str(),
        ),
        Payload::Malformed { raw, .. } => (None, None, raw.as_slice(), "", ""),
    };
    dict.set_item("headers", headers)?;
    dict.set_item("properties", properties)?;
    dict.set_item("body", PyBytes::new(py, body))?;
    dict.set_item("content_type", content_type)?;
    dict.set_item("content_encoding", content_encoding)?;
    Ok(())
}

//! Remote control: messages and revocations, to and from Python.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use umbel_broker::{Revocation, Revoked};
use umbel_protocol::{Message, Properties, Timestamp};

/// Headers, content type, content encoding and body of a message, as Python takes them.
pub(crate) type Received<'py> = (String, String, String, Bound<'py, PyBytes>);

/// What is revoked, as Python gives it.
pub(crate) fn revocations(ids: Vec<String>, stamps: Vec<(String, String)>, until: f64) -> Vec<Revocation> {
    let until = Timestamp::from_seconds(until);
    let stamps = stamps.into_iter().map(|(header, value)| Revoked::Stamp { header, value });
    let all = ids.into_iter().map(Revoked::Task).chain(stamps);
    all.map(|what| Revocation { what, until }).collect()
}

/// Ids of revoked tasks, sorted.
pub(crate) fn task_ids(revocations: Vec<Revocation>) -> Vec<String> {
    let tasks = revocations.into_iter().filter_map(|revocation| match revocation.what {
        Revoked::Task(id) => Some(id),
        Revoked::Stamp { .. } => None,
    });
    let mut ids: Vec<String> = tasks.collect();
    ids.sort_unstable();
    ids
}

/// A body with its content type and encoding.
pub(crate) type Content<'a> = (String, String, &'a [u8]);

/// A message as Python gives it.
pub(crate) fn message(headers: &str, content: Content<'_>, delivery_mode: Option<i64>) -> Message {
    let (content_type, content_encoding, body) = content;
    Message {
        headers: headers.to_owned(),
        body: body.to_vec(),
        content_type,
        content_encoding,
        properties: Properties { delivery_mode, ..Properties::default() },
    }
}

/// A message that was heard.
pub(crate) fn received<'py>(py: Python<'py>, message: &Message) -> PyResult<Received<'py>> {
    let (content_type, content_encoding) = (message.content_type.clone(), message.content_encoding.clone());
    Ok((message.headers.clone(), content_type, content_encoding, PyBytes::new(py, &message.body)))
}

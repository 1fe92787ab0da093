//! What brokers in Python are given and give: messages, and what becomes of them.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use umbel_broker::{DeadLetter, DeadReason, Delivery, Disposition, GivenUp, Payload, Settlement, Tag, Waiting};
use umbel_protocol::{Destination, Limits, Timestamp, envelope};

use crate::errors::malformed;
use crate::message;

/// A message between Python and the core. It does not change.
#[pyclass(frozen, module = "umbel._native", name = "Message")]
pub(super) struct PyMessage(umbel_protocol::Message);

#[pymethods]
impl PyMessage {
    #[new]
    #[pyo3(signature = (
        headers, body, content_type = "application/json", content_encoding = "utf-8", properties = None,
        exchange = "", routing_key = "", redelivered = false, failures = 0
    ))]
    #[allow(clippy::too_many_arguments)] // They are Python's.
    fn new(
        headers: &Bound<'_, PyAny>,
        body: Vec<u8>,
        content_type: &str,
        content_encoding: &str,
        properties: Option<&Bound<'_, PyDict>>,
        exchange: &str,
        routing_key: &str,
        redelivered: bool,
        failures: u32,
    ) -> PyResult<Self> {
        let headers = match headers.extract::<String>() {
            Ok(text) => text,
            Err(_) => message::json_text(headers)?,
        };
        let mut known = properties.map(message::properties).transpose()?.unwrap_or_default();
        if let Some(tag) = properties.map(|given| given.get_item("delivery_tag")).transpose()?.flatten() {
            known.delivery_tag = tag.extract()?;
        }
        known.destination = Destination { exchange: exchange.to_owned(), routing_key: routing_key.to_owned() };
        (known.redelivered, known.failed_deliveries) = (redelivered, failures);
        Ok(Self(umbel_protocol::Message {
            headers,
            body,
            content_type: content_type.to_owned(),
            content_encoding: content_encoding.to_owned(),
            properties: known,
        }))
    }

    /// Reads kombu's envelope.
    #[staticmethod]
    #[pyo3(signature = (raw, /))]
    fn from_envelope(raw: &[u8]) -> PyResult<Self> {
        envelope::decode(raw, &limits()).map(Self).map_err(malformed)
    }

    /// As kombu's envelope.
    #[pyo3(signature = (delivery_tag, /))]
    fn to_envelope<'py>(&self, py: Python<'py>, delivery_tag: &str) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &envelope::encode(&self.0, delivery_tag))
    }

    /// The same message with other marks.
    #[pyo3(signature = (redelivered, failures))]
    fn marked(&self, redelivered: bool, failures: u32) -> Self {
        let mut message = self.0.clone();
        (message.properties.redelivered, message.properties.failed_deliveries) = (redelivered, failures);
        Self(message)
    }

    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        message::headers_dict(py, &self.0)
    }

    #[getter]
    fn headers_text(&self) -> &str {
        &self.0.headers
    }

    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.body)
    }

    #[getter]
    fn content_type(&self) -> &str {
        &self.0.content_type
    }

    #[getter]
    fn content_encoding(&self) -> &str {
        &self.0.content_encoding
    }

    #[getter]
    fn properties<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        message::properties_dict(py, &self.0.properties)
    }

    #[getter]
    fn priority(&self) -> i64 {
        self.0.properties.priority.unwrap_or(0)
    }

    #[getter]
    fn exchange(&self) -> &str {
        &self.0.properties.destination.exchange
    }

    #[getter]
    fn routing_key(&self) -> &str {
        &self.0.properties.destination.routing_key
    }

    #[getter]
    fn redelivered(&self) -> bool {
        self.0.properties.redelivered
    }

    #[getter]
    fn failures(&self) -> u32 {
        self.0.properties.failed_deliveries
    }

    fn __repr__(&self) -> String {
        format!("<Message {} to {:?}>", self.0.headers, self.0.properties.destination.routing_key)
    }
}

impl PyMessage {
    pub(super) fn of(message: &umbel_protocol::Message) -> Self {
        Self(message.clone())
    }

    pub(super) fn get(&self) -> &umbel_protocol::Message {
        &self.0
    }
}

/// A message on its way out.
#[pyclass(frozen, get_all, module = "umbel._native", name = "Outgoing")]
pub(super) struct PyOutgoing {
    exchange: String,
    routing_key: String,
    message: Py<PyMessage>,
    /// When it is due, in seconds since the epoch.
    eta: Option<f64>,
}

impl PyOutgoing {
    pub(super) fn of(py: Python<'_>, outgoing: &umbel_broker::Outgoing) -> PyResult<Self> {
        let mut message = outgoing.message.clone();
        message.properties.destination.clone_from(&outgoing.destination);
        Ok(Self {
            exchange: outgoing.destination.exchange.clone(),
            routing_key: outgoing.destination.routing_key.clone(),
            message: Py::new(py, PyMessage(message))?,
            eta: outgoing.eta.map(Timestamp::as_seconds),
        })
    }
}

/// A batch as a list.
pub(super) fn outgoing_list<'py>(py: Python<'py>, batch: &[umbel_broker::Outgoing]) -> PyResult<Bound<'py, PyList>> {
    let batch = batch.iter().map(|outgoing| PyOutgoing::of(py, outgoing)).collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, batch)
}

/// The end of one delivery.
#[pyclass(frozen, get_all, module = "umbel._native", name = "Settlement")]
pub(super) struct PySettlement {
    /// None: acknowledged before, and only `publish` is left to do.
    tag: Option<String>,
    /// `ack`, `requeue`, `delay` or `dead`.
    action: &'static str,
    front: bool,
    failed: bool,
    until: f64,
    kind: String,
    reason: String,
    publish: Py<PyList>,
    /// Locks to give up, by name and owner.
    releases: Vec<(String, String)>,
}

impl PySettlement {
    fn of(py: Python<'_>, settlement: &Settlement) -> PyResult<Self> {
        let mut made = Self {
            tag: settlement.tag.as_ref().map(|tag| tag.0.to_string()),
            action: "ack",
            front: false,
            failed: false,
            until: 0.0,
            kind: String::new(),
            reason: String::new(),
            publish: outgoing_list(py, &settlement.publish)?.unbind(),
            releases: settlement.gives_up.iter().filter_map(lock).collect(),
        };
        match &settlement.disposition {
            Disposition::Ack => {}
            Disposition::Requeue { front, failed } => {
                (made.action, made.front, made.failed) = ("requeue", *front, *failed);
            }
            Disposition::Delay { until } => (made.action, made.until) = ("delay", until.as_seconds()),
            Disposition::Dead(reason) => {
                made.action = "dead";
                (made.kind, made.reason) = (reason.kind.clone(), reason.detail.clone());
            }
            // The bridge has counted by itself.
            Disposition::Enter(_) => debug_assert!(false, "no broker in Python has slots"),
        }
        Ok(made)
    }
}

fn lock(given_up: &GivenUp) -> Option<(String, String)> {
    match given_up {
        GivenUp::Lock { name, owner } => Some((name.clone(), owner.clone())),
        // No broker in Python has slots or lines.
        GivenUp::Slot { .. } | GivenUp::Place { .. } => None,
    }
}

/// Settlements as a list.
pub(super) fn settlement_list<'py>(py: Python<'py>, settlements: &[Settlement]) -> PyResult<Bound<'py, PyList>> {
    let made = settlements.iter().map(|settlement| PySettlement::of(py, settlement)).collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, made)
}

/// A message, or bytes that may be one.
fn payload(given: &Bound<'_, PyAny>) -> PyResult<Payload> {
    if let Ok(message) = given.cast::<PyMessage>() {
        return Ok(Payload::Message(Box::new(message.get().0.clone())));
    }
    let raw: Vec<u8> = given.extract()?;
    Ok(match envelope::decode(&raw, &limits()) {
        Ok(message) => Payload::Message(Box::new(message)),
        Err(error) => Payload::Malformed { raw, error },
    })
}

/// A delivery: tag, queue, payload, and the marks of the message where they are kept apart from it.
pub(super) fn delivery(given: &Bound<'_, PyAny>) -> PyResult<Delivery> {
    let (tag, queue, found, redelivered, failures): (String, String, Bound<'_, PyAny>, Option<bool>, Option<u32>) =
        given.extract()?;
    let mut payload = payload(&found)?;
    if let Payload::Message(message) = &mut payload {
        let properties = &mut message.properties;
        properties.redelivered = redelivered.unwrap_or(properties.redelivered);
        properties.failed_deliveries = failures.unwrap_or(properties.failed_deliveries);
    }
    Ok(Delivery { tag: Tag(tag.into()), queue: queue.into(), payload })
}

/// A dead letter: id, queue, kind, reason, moment, payload.
pub(super) fn dead_letter(given: &Bound<'_, PyAny>) -> PyResult<DeadLetter> {
    let (id, queue, kind, detail, at, found): (String, String, String, String, f64, Bound<'_, PyAny>) =
        given.extract()?;
    Ok(DeadLetter { id, queue, reason: DeadReason { kind, detail }, at: moment(at), payload: payload(&found)? })
}

/// A message that waits: payload, and when it is due.
pub(super) fn waiting(given: &Bound<'_, PyAny>) -> PyResult<Waiting> {
    let (found, due): (Bound<'_, PyAny>, Option<f64>) = given.extract()?;
    Ok(Waiting { payload: payload(&found)?, due: due.map(moment) })
}

/// A sequence of things, each read by `read`.
pub(super) fn each<T>(given: &Bound<'_, PyAny>, read: impl Fn(&Bound<'_, PyAny>) -> PyResult<T>) -> PyResult<Vec<T>> {
    given.try_iter()?.map(|item| read(&item?)).collect()
}

/// A moment given in seconds since the epoch, to the microsecond.
pub(super) fn moment(seconds: f64) -> Timestamp {
    Timestamp((seconds * 1e6).round() as i64)
}

fn limits() -> Limits {
    // What is too large is refused where it is taken in, with a reason.
    Limits { max_bytes: usize::MAX, ..Limits::default() }
}

/// Puts the classes into the module.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyMessage>()?;
    module.add_class::<PyOutgoing>()?;
    module.add_class::<PySettlement>()
}

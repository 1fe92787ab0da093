//! `Job`: one task to run, as its child sees it.

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList};
use pyo3::{Bound, intern};

use umbel_protocol::{Limits, Malformed, Message, Protocol, TaskFacts, body};
use umbel_worker::engine;

use crate::codec;
use crate::errors::malformed;
use crate::message;

/// One task to run. Attributes are built on first use.
#[pyclass(frozen, module = "umbel._native")]
pub(crate) struct Job {
    pub(crate) inner: engine::Job,
    headers: PyOnceLock<Py<PyAny>>,
    body: PyOnceLock<Py<PyBytes>>,
}

impl Job {
    pub(crate) fn new(inner: engine::Job) -> Self {
        Self { inner, headers: PyOnceLock::new(), body: PyOnceLock::new() }
    }

    fn message(&self) -> &Message {
        &self.inner.message
    }

    fn facts(&self) -> &TaskFacts {
        &self.inner.facts
    }

    /// The body without compression, unless that takes Python.
    fn unpacked(&self) -> PyResult<Cow<'_, [u8]>> {
        let packed = &self.message().body;
        let codec = self.facts().compression.as_deref();
        match body::unpack(packed, codec, &Limits { max_bytes: MAX_BODY, ..Limits::default() }) {
            Ok(body) => Ok(body),
            Err(umbel_protocol::ReadError::Malformed(error)) => Err(malformed(error)),
            Err(umbel_protocol::ReadError::NeedsPython(_)) => Ok(Cow::Borrowed(packed)),
        }
    }

    /// A protocol 1 body as the headers protocol 2 would have; headers there are win.
    fn headers_from_body<'py>(&self, py: Python<'py>, headers: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let Ok(facts) = codec::loads(py, &self.unpacked()?)?.cast_into::<PyDict>() else { return Ok(headers) };
        for name in ["args", "kwargs", "callbacks", "errbacks", "chord", "chain", "utc"] {
            if facts.contains(name)? {
                facts.del_item(name)?;
            }
        }
        if let Some(taskset) = facts.get_item("taskset")? {
            facts.del_item("taskset")?;
            if taskset.is_truthy()? {
                facts.set_item("group", taskset)?;
            }
        }
        facts.call_method1(intern!(py, "update"), (headers,))?;
        Ok(facts.into_any())
    }
}

/// The largest body that is unpacked (bytes), twice the default of `worker_max_message_bytes` for packed ones: a small
/// message that unpacks to more is a bomb sooner than a task.
const MAX_BODY: usize = 1 << 28;

#[pymethods]
impl Job {
    #[getter]
    pub(crate) fn id(&self) -> &str {
        &self.facts().id
    }

    /// Unlike the id, never the same for two jobs at a time.
    #[getter]
    fn number(&self) -> u64 {
        self.inner.id.0
    }

    #[getter]
    fn task(&self) -> &str {
        &self.facts().task
    }

    /// Header `group`; of protocol 1, `taskset` as well.
    #[getter]
    fn group(&self) -> Option<&str> {
        self.facts().group.as_deref()
    }

    #[getter]
    fn parent_id(&self) -> Option<&str> {
        self.facts().parent_id.as_deref()
    }

    #[getter]
    fn retries(&self) -> u32 {
        self.facts().retries
    }

    /// None: the task's own setting decides.
    #[getter]
    fn ignore_result(&self) -> Option<bool> {
        self.facts().ignore_result
    }

    /// As protocol 2 has them; built from the body of a message of protocol 1.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let headers = self.headers.get_or_try_init(py, || -> PyResult<_> {
            let headers = message::headers_dict(py, self.message())?;
            Ok(match self.facts().protocol {
                Protocol::Two => headers,
                Protocol::One | Protocol::Hybrid => self.headers_from_body(py, headers)?,
            }
            .unbind())
        })?;
        Ok(headers.bind(py).clone())
    }

    #[getter]
    fn properties<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        message::properties_dict(py, &self.message().properties)
    }

    /// Decompressed (unless `compression` says otherwise), still serialized.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let body = self.body.get_or_try_init(py, || self.unpacked().map(|body| PyBytes::new(py, &body).unbind()))?;
        Ok(body.bind(py).clone())
    }

    /// The codec that only Python can undo and `body` still has; None as a rule.
    #[getter]
    fn compression(&self) -> Option<&str> {
        let name = self.facts().compression.as_deref()?;
        let native = umbel_protocol::compression::Codec::named(name).is_some_and(|codec| codec.is_native());
        (!native).then_some(name)
    }

    #[getter]
    fn content_type(&self) -> &str {
        &self.message().content_type
    }

    #[getter]
    fn content_encoding(&self) -> &str {
        &self.message().content_encoding
    }

    #[getter]
    fn queue(&self) -> &str {
        &self.inner.queue
    }

    #[getter]
    fn redelivered(&self) -> bool {
        self.message().properties.redelivered
    }

    #[getter]
    fn failed_deliveries(&self) -> u32 {
        self.message().properties.failed_deliveries
    }

    /// exchange, routing_key, priority, redelivered: as `request.delivery_info`.
    #[getter]
    fn delivery_info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        message::delivery_info(py, &self.message().properties)
    }

    /// args, kwargs, embed of a JSON body (protocol 2, 1 or hybrid). Raises `MalformedError`.
    fn decode_json<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let body = codec::loads(py, &self.unpacked()?)?;
        match body.cast::<PyDict>() {
            Ok(map) => from_map(map),
            Err(_) => from_list(&body),
        }
    }

    fn __repr__(&self) -> String {
        format!("<Job {}[{}]>", self.task(), self.id())
    }
}

type Parts<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Protocol 2: `[args, kwargs, embed]`, the last of which may be null.
fn from_list<'py>(body: &Bound<'py, PyAny>) -> PyResult<Parts<'py>> {
    let wrong = |detail: &str| malformed(Malformed::new("body", detail));
    let list = body.cast::<PyList>().map_err(|_| wrong("expected [args, kwargs, embed]"))?;
    if list.len() != 3 {
        return Err(wrong(&format!("expected [args, kwargs, embed], found {} parts", list.len())));
    }
    let embed = list.get_item(2)?;
    let embed = if embed.is_none() { PyDict::new(body.py()).into_any() } else { embed };
    checked(list.get_item(0)?, list.get_item(1)?, embed)
}

/// Protocol 1: a map. It has no chain: its steps are callbacks of callbacks.
fn from_map<'py>(body: &Bound<'py, PyDict>) -> PyResult<Parts<'py>> {
    let py = body.py();
    let given = |name: &str| body.get_item(name).map(|value| value.filter(|value| !value.is_none()));
    let embed = PyDict::new(py);
    for name in ["callbacks", "errbacks", "chain", "chord"] {
        embed.set_item(name, if name == "chain" { None } else { given(name)? })?;
    }
    let args = given("args")?.unwrap_or_else(|| PyList::empty(py).into_any());
    let kwargs = given("kwargs")?.unwrap_or_else(|| PyDict::new(py).into_any());
    checked(args, kwargs, embed.into_any())
}

fn checked<'py>(args: Bound<'py, PyAny>, kwargs: Bound<'py, PyAny>, embed: Bound<'py, PyAny>) -> PyResult<Parts<'py>> {
    let wrong = if !args.is_exact_instance_of::<PyList>() {
        "args is no list"
    } else if !kwargs.is_exact_instance_of::<PyDict>() {
        "kwargs is no object"
    } else if !embed.is_exact_instance_of::<PyDict>() {
        "embed (the third part) is no object"
    } else {
        return Ok((args, kwargs, embed));
    };
    Err(malformed(Malformed::new("body", wrong)))
}

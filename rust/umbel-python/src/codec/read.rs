//! JSON text to Python objects, straight from the parser.

use std::vec::Drain;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};
use pyo3::{IntoPyObject, intern};

use umbel_protocol::json::{self, Build};
use umbel_protocol::{Limits, Malformed};

use super::keys::KeyCache;
use super::{MAX_DEPTH, extended};
use crate::errors::{MalformedError, malformed};

/// The Python object that the document `json` stands for. Raises `MalformedError`.
pub(crate) fn loads<'py>(py: Python<'py>, json: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // Size is bounded by whoever received the bytes.
    let limits = Limits { max_depth: MAX_DEPTH, max_bytes: usize::MAX };
    json::build(json, &limits, &mut ObjectBuilder::new(py)).map_err(|error| error.0)
}

/// `error` as the cause of a `MalformedError` about `what`; exceptions that must not be caught pass unchanged.
pub(super) fn wrapped(py: Python<'_>, what: &str, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyException>(py) || error.is_instance_of::<MalformedError>(py) {
        return error;
    }
    let detail = error.value(py).str().map_or_else(|_| error.to_string(), |text| text.to_string_lossy().into_owned());
    let malformed = MalformedError::new_err(format!("{what}: {detail}"));
    malformed.set_cause(py, Some(error));
    malformed
}

/// The builder's error: a Python exception, ready to be raised.
pub(crate) struct Raised(pub(crate) PyErr);

impl From<Malformed> for Raised {
    fn from(error: Malformed) -> Self {
        Self(malformed(error))
    }
}

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

/// Makes Python objects of what the parser finds.
pub(crate) struct ObjectBuilder<'py> {
    py: Python<'py>,
    keys: KeyCache,
}

impl<'py> ObjectBuilder<'py> {
    pub(crate) fn new(py: Python<'py>) -> Self {
        Self { py, keys: KeyCache::borrow() }
    }

    /// The value for an object whose members are `__type__` and `__value__`.
    fn extended(&self, marker: &Bound<'py, PyAny>, value: Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>, Raised> {
        extended::read(marker, value).map_err(|error| {
            let what = format!("extended JSON type {}", marker.repr().map_or_else(|_| "?".into(), |r| r.to_string()));
            Raised(wrapped(self.py, &what, error))
        })
    }
}

impl<'py> Build for ObjectBuilder<'py> {
    type Node = Bound<'py, PyAny>;
    type Key = Bound<'py, PyString>;
    type Error = Raised;

    fn null(&mut self) -> Result<Self::Node, Raised> {
        Ok(self.py.None().into_bound(self.py))
    }

    fn bool(&mut self, flag: bool) -> Result<Self::Node, Raised> {
        Ok(PyBool::new(self.py, flag).to_owned().into_any())
    }

    fn integer(&mut self, number: i64) -> Result<Self::Node, Raised> {
        number.into_pyobject(self.py).map(Bound::into_any).map_err(|error| match error {})
    }

    fn big_integer(&mut self, digits: &str) -> Result<Self::Node, Raised> {
        let made = self.py.get_type::<PyInt>().call1((digits,));
        made.map_err(|error| Raised(wrapped(self.py, "JSON", error)))
    }

    fn float(&mut self, number: f64) -> Result<Self::Node, Raised> {
        Ok(PyFloat::new(self.py, number).into_any())
    }

    fn string(&mut self, text: &str) -> Result<Self::Node, Raised> {
        Ok(PyString::new(self.py, text).into_any())
    }

    fn key(&mut self, text: &str) -> Result<Self::Key, Raised> {
        Ok(match text {
            "__type__" => intern!(self.py, "__type__").clone(),
            "__value__" => intern!(self.py, "__value__").clone(),
            _ => self.keys.get(self.py, text),
        })
    }

    fn array(&mut self, items: Drain<'_, Self::Node>) -> Result<Self::Node, Raised> {
        Ok(PyList::new(self.py, items)?.into_any())
    }

    fn object(&mut self, members: Drain<'_, (Self::Key, Self::Node)>) -> Result<Self::Node, Raised> {
        let (marker_name, value_name) = (intern!(self.py, "__type__"), intern!(self.py, "__value__"));
        if let [(first, marker), (second, value)] = members.as_slice()
            && first.is(marker_name)
            && second.is(value_name)
        {
            return self.extended(marker, value.clone());
        }
        let many = members.len() > 1;
        let dict = PyDict::new(self.py);
        for (key, value) in members {
            dict.set_item(key, value)?;
        }
        // The other order, or the same names several times.
        if many
            && dict.len() == 2
            && let Some(marker) = dict.get_item(marker_name)?
            && let Some(value) = dict.get_item(value_name)?
        {
            return self.extended(&marker, value);
        }
        Ok(dict.into_any())
    }

    fn surrogate_string(&mut self, wtf8: &[u8]) -> Result<Self::Node, Raised> {
        self.surrogate_key(wtf8).map(Bound::into_any)
    }

    fn surrogate_key(&mut self, wtf8: &[u8]) -> Result<Self::Key, Raised> {
        let bytes = PyBytes::new(self.py, wtf8);
        let text = bytes.call_method1(intern!(self.py, "decode"), ("utf-8", "surrogatepass"))?;
        Ok(text.cast_into::<PyString>().map_err(PyErr::from)?)
    }
}

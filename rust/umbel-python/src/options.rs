//! Settings that come from Python as one mapping.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyTuple};

use umbel_broker::TransportOptions;

use crate::errors::ConfigError;
use crate::gil;

/// A mapping of options, read by name.
pub(crate) struct Options<'py>(Bound<'py, PyDict>);

impl<'py> Options<'py> {
    /// From any mapping.
    pub(crate) fn new(mapping: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = mapping.py();
        if let Ok(dict) = mapping.cast::<PyDict>() {
            return Ok(Self(dict.clone()));
        }
        let dict = py.get_type::<PyDict>().call1((mapping,))?;
        Ok(Self(dict.cast_into::<PyDict>()?))
    }

    /// The option `name`, unless it is absent or None.
    pub(crate) fn get<T>(&self, name: &str) -> PyResult<Option<T>>
    where
        T: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>,
    {
        let Some(value) = self.given(name)? else { return Ok(None) };
        match value.extract() {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let error: PyErr = error.into();
                Err(ConfigError::new_err(format!("{name}: {} (got {})", error.value(self.0.py()), value.repr()?)))
            }
        }
    }

    /// The option `name` as a number of seconds: absent, None (for ever) or given.
    pub(crate) fn seconds(&self, name: &str) -> PyResult<Option<Option<Duration>>> {
        if !self.0.contains(name)? {
            return Ok(None);
        }
        let given = self.get::<f64>(name)?;
        gil::seconds(given).map(Some)
    }

    /// Whether the option `name` was given as None.
    pub(crate) fn is_none(&self, name: &str) -> PyResult<bool> {
        Ok(self.0.get_item(name)?.is_some_and(|value| value.is_none()))
    }

    /// The option `name`, a mapping of transport options, as text.
    pub(crate) fn transport(&self, name: &str) -> PyResult<TransportOptions> {
        let mut options = TransportOptions::new();
        if let Some(given) = self.given(name)? {
            for (key, value) in Options::new(&given)?.0.iter() {
                if let Some(text) = text_of(&value)? {
                    options.insert(key.str()?.to_string(), text);
                }
            }
        }
        Ok(options)
    }

    fn given(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(name)?.filter(|value| !value.is_none()))
    }
}

/// An option's value as an engine reads it: booleans in lower case, containers as JSON; None is as good as absent.
fn text_of(value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if value.is_none() {
        return Ok(None);
    }
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(Some(flag.is_true().to_string()));
    }
    if value.is_instance_of::<PyDict>() || value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let json = crate::codec::dumps(value)?;
        return Ok(Some(String::from_utf8_lossy(&json).into_owned()));
    }
    Ok(Some(value.str()?.to_string()))
}

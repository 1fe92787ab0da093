//! The types kombu adds to JSON, as objects with exactly the members `__type__` and `__value__`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyType};
use pyo3::{Bound, intern};

use super::hooks;
use super::write::Encoder;

/// The Python classes and functions behind the extended types, imported when the first one is met.
struct Extended {
    datetime: Py<PyType>,
    date: Py<PyType>,
    time: Py<PyType>,
    decimal: Py<PyType>,
    uuid: Py<PyType>,
    b64decode: Py<PyAny>,
}

impl Extended {
    fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static EXTENDED: PyOnceLock<Extended> = PyOnceLock::new();
        EXTENDED.get_or_try_init(py, || {
            let class = |module: &str, name: &str| -> PyResult<Py<PyType>> {
                Ok(py.import(module)?.getattr(name)?.cast_into::<PyType>()?.unbind())
            };
            Ok(Self {
                datetime: class("datetime", "datetime")?,
                date: class("datetime", "date")?,
                time: class("datetime", "time")?,
                decimal: class("decimal", "Decimal")?,
                uuid: class("uuid", "UUID")?,
                b64decode: py.import("base64")?.getattr("b64decode")?.unbind(),
            })
        })
    }
}

/// Writes an object that is no JSON type. Returns false if it is not one of kombu's types either.
pub(super) fn write(encoder: &mut Encoder<'_>, object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    if let Ok(bytes) = object.cast::<PyBytes>() {
        write_bytes(encoder, bytes.as_bytes());
        return Ok(true);
    }
    let known = Extended::get(py)?;
    if object.is_instance(known.datetime.bind(py))? {
        // A subclass may print itself otherwise; kombu asks the base class.
        let text = known.datetime.bind(py).call_method1(intern!(py, "isoformat"), (object,))?;
        write_marked(encoder, "datetime", &text)?;
    } else if object.is_instance(known.date.bind(py))? {
        write_marked(encoder, "date", &object.call_method0(intern!(py, "isoformat"))?)?;
    } else if object.is_instance(known.time.bind(py))? {
        write_marked(encoder, "time", &object.call_method0(intern!(py, "isoformat"))?)?;
    } else if object.is_instance(known.decimal.bind(py))? {
        write_marked(encoder, "decimal", object.str()?.as_any())?;
    } else if object.is_instance(known.uuid.bind(py))? {
        let value = PyDict::new(py);
        value.set_item(intern!(py, "hex"), object.getattr(intern!(py, "hex"))?)?;
        write_marked(encoder, "uuid", value.as_any())?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn write_marked(encoder: &mut Encoder<'_>, marker: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    encoder.writer.begin_object();
    encoder.writer.key("__type__");
    encoder.writer.plain_string(marker);
    encoder.writer.key("__value__");
    encoder.value(value)?;
    encoder.writer.end_object();
    Ok(())
}

fn write_bytes(encoder: &mut Encoder<'_>, bytes: &[u8]) {
    let writer = &mut encoder.writer;
    writer.begin_object();
    writer.key("__type__");
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            writer.plain_string("bytes");
            writer.key("__value__");
            writer.string(text);
        }
        Err(_) => {
            writer.plain_string("base64");
            writer.key("__value__");
            writer.plain_string(&BASE64.encode(bytes));
        }
    }
    writer.end_object();
}

/// The object that `__type__` and `__value__` stand for. Raises whatever its class raises; ValueError for a name
/// that nobody knows.
pub(super) fn read<'py>(marker: &Bound<'py, PyAny>, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = marker.py();
    let Ok(name) = marker.cast::<PyString>() else {
        return Err(PyTypeError::new_err(format!("__type__ must be a string, not {}", marker.get_type().name()?)));
    };
    let known = Extended::get(py)?;
    let fromisoformat = intern!(py, "fromisoformat");
    match name.to_str()? {
        "datetime" => known.datetime.bind(py).call_method1(fromisoformat, (value,)),
        "date" => {
            let moment = known.datetime.bind(py).call_method1(fromisoformat, (value,))?;
            moment.call_method0(intern!(py, "date"))
        }
        "time" => known.time.bind(py).call_method1(fromisoformat, (value,)),
        "decimal" => known.decimal.bind(py).call1((value,)),
        "uuid" => known.uuid.bind(py).call((), Some(value.cast::<PyDict>()?)),
        "bytes" => Ok(PyBytes::new(py, value.cast::<PyString>()?.to_str()?.as_bytes()).into_any()),
        "base64" => known.b64decode.bind(py).call1((value.cast::<PyString>()?.to_str()?.as_bytes(),)),
        other => match hooks::object_hook(py) {
            Some(hook) => hook.call1((name, value)),
            None => Err(PyValueError::new_err(format!("unsupported __type__ {other:?}"))),
        },
    }
}

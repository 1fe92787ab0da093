//! Python objects to JSON text, with the bytes of `json.dumps` and kombu's encoder.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use pyo3::{ffi, intern};

use umbel_protocol::json::Writer;

use super::items::DictItems;
use super::{MAX_DEPTH, extended, hooks};

/// The JSON text of `value`.
pub(crate) fn dumps(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut encoder = Encoder::new(value.py());
    encoder.value(value)?;
    Ok(encoder.writer.into_bytes())
}

/// What a result record of a success says, besides that.
pub(crate) struct Success<'a, 'py> {
    pub(crate) task_id: &'a str,
    pub(crate) result: &'a Bound<'py, PyAny>,
    pub(crate) children: &'a Bound<'py, PyAny>,
    pub(crate) date_done: &'a str,
    pub(crate) group: Option<&'a str>,
    pub(crate) parent_id: Option<&'a str>,
}

impl Success<'_, '_> {
    /// The record, with Celery's fields in Celery's order.
    pub(crate) fn dumps(&self) -> PyResult<Vec<u8>> {
        let mut encoder = Encoder::new(self.result.py());
        // The record is a container like any other.
        encoder.open.push(std::ptr::null_mut());
        encoder.writer.begin_object();
        encoder.text("status", "SUCCESS");
        encoder.writer.key("result");
        encoder.value(self.result)?;
        encoder.writer.key("traceback");
        encoder.writer.null();
        encoder.writer.key("children");
        encoder.value(self.children)?;
        encoder.text("date_done", self.date_done);
        for (name, id) in [("group_id", self.group), ("parent_id", self.parent_id)] {
            if let Some(id) = id.filter(|id| !id.is_empty()) {
                encoder.text(name, id);
            }
        }
        encoder.text("task_id", self.task_id);
        encoder.writer.end_object();
        Ok(encoder.writer.into_bytes())
    }
}

/// Writes one document.
pub(super) struct Encoder<'py> {
    py: Python<'py>,
    pub(super) writer: Writer,
    /// Containers and hooked objects being written, outermost first.
    open: Vec<*mut ffi::PyObject>,
}

impl<'py> Encoder<'py> {
    fn new(py: Python<'py>) -> Self {
        Self { py, writer: Writer::over(Vec::with_capacity(256)), open: Vec::new() }
    }

    fn text(&mut self, name: &str, text: &str) {
        self.writer.key(name);
        self.writer.string(text);
    }

    /// Writes any value: exact types first, by how often they come.
    pub(super) fn value(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(text) = value.cast_exact::<PyString>() {
            return self.string(text);
        }
        if let Ok(number) = value.cast_exact::<PyInt>() {
            return self.integer(number);
        }
        if value.is_none() {
            self.writer.null();
            return Ok(());
        }
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            return self.within(value, |encoder| encoder.exact_dict(dict));
        }
        if let Ok(list) = value.cast_exact::<PyList>() {
            return self.within(value, |encoder| encoder.list(list));
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            return self.within(value, |encoder| encoder.tuple(tuple));
        }
        if let Ok(flag) = value.cast_exact::<PyBool>() {
            self.writer.bool(flag.is_true());
            return Ok(());
        }
        if let Ok(number) = value.cast_exact::<PyFloat>() {
            self.writer.float(number.value());
            return Ok(());
        }
        self.subclass(value)
    }

    /// Writes an instance of a subclass of a JSON type as that type, in the order in which `json` looks.
    fn subclass(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(text) = value.cast::<PyString>() {
            return self.string(text);
        }
        if let Ok(number) = value.cast::<PyInt>() {
            return self.integer(number);
        }
        if let Ok(number) = value.cast::<PyFloat>() {
            self.writer.float(number.value());
            return Ok(());
        }
        if let Ok(list) = value.cast::<PyList>() {
            return self.within(value, |encoder| encoder.list(list));
        }
        if let Ok(tuple) = value.cast::<PyTuple>() {
            return self.within(value, |encoder| encoder.tuple(tuple));
        }
        if let Ok(dict) = value.cast::<PyDict>() {
            return self.within(value, |encoder| encoder.dict_subclass(dict));
        }
        self.within(value, |encoder| encoder.other(value))
    }

    /// Writes what is no JSON type: by its own `__json__`, as one of kombu's types, or through the hook.
    fn other(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if !value.is_exact_instance_of::<PyBytes>()
            && let Some(reducer) = value.getattr_opt(intern!(self.py, "__json__"))?
            && !reducer.is_none()
        {
            return self.value(&reducer.call0()?);
        }
        if extended::write(self, value)? {
            return Ok(());
        }
        match hooks::default(self.py) {
            Some(default) => self.value(&default.call1((value,))?),
            None => {
                let name = value.get_type().name()?;
                Err(PyTypeError::new_err(format!("Object of type {name} is not JSON serializable")))
            }
        }
    }

    /// Runs `write` with `value` marked as open.
    fn within(&mut self, value: &Bound<'_, PyAny>, write: impl FnOnce(&mut Self) -> PyResult<()>) -> PyResult<()> {
        let address = value.as_ptr();
        if self.open.contains(&address) {
            return Err(PyValueError::new_err("Circular reference detected"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(PyValueError::new_err(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(address);
        write(self)?;
        self.open.pop();
        Ok(())
    }

    fn string(&mut self, text: &Bound<'_, PyString>) -> PyResult<()> {
        match text.to_str() {
            Ok(text) => self.writer.string(text),
            // Lone surrogates: JSON text can carry them as escapes, and Python's does.
            Err(_) => {
                let encoded = text.call_method1(intern!(self.py, "encode"), ("utf-32-le", "surrogatepass"))?;
                let codes = encoded.cast::<PyBytes>()?.as_bytes().chunks_exact(4);
                self.writer.code_points(codes.map(|code| u32::from_le_bytes([code[0], code[1], code[2], code[3]])));
            }
        }
        Ok(())
    }

    fn integer(&mut self, number: &Bound<'_, PyInt>) -> PyResult<()> {
        let mut overflow = 0;
        // SAFETY: `number` is an int, so that no conversion runs and no error can be set.
        let small = unsafe { ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &mut overflow) };
        if overflow == 0 {
            self.writer.integer(small);
        } else {
            self.writer.raw(int_repr(number)?.to_str()?);
        }
        Ok(())
    }

    fn list(&mut self, list: &Bound<'_, PyList>) -> PyResult<()> {
        self.writer.begin_array();
        for item in list.iter() {
            self.value(&item)?;
        }
        self.writer.end_array();
        Ok(())
    }

    fn tuple(&mut self, tuple: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.writer.begin_array();
        for item in tuple.iter_borrowed() {
            self.value(&item)?;
        }
        self.writer.end_array();
        Ok(())
    }

    fn exact_dict(&mut self, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        self.writer.begin_object();
        for item in DictItems::new(dict) {
            let (key, value) = item?;
            self.key(&key)?;
            self.value(&value)?;
        }
        self.writer.end_object();
        Ok(())
    }

    /// A subclass may keep its members elsewhere or in another order: its `items` decides.
    fn dict_subclass(&mut self, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        self.writer.begin_object();
        if !dict.is_empty() {
            for item in dict.call_method0(intern!(self.py, "items"))?.try_iter()? {
                let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
                self.key(&key)?;
                self.value(&value)?;
            }
        }
        self.writer.end_object();
        Ok(())
    }

    /// A member name: strings as they are, numbers and constants as the text JSON would have for them.
    fn key(&mut self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(text) = key.cast::<PyString>() {
            self.string(text)?;
            self.writer.colon();
        } else if let Ok(number) = key.cast::<PyFloat>() {
            let mut text = Writer::new();
            text.float(number.value());
            self.writer.key(&String::from_utf8_lossy(&text.into_bytes()));
        } else if let Ok(flag) = key.cast::<PyBool>() {
            self.writer.key(if flag.is_true() { "true" } else { "false" });
        } else if let Ok(number) = key.cast::<PyInt>() {
            self.writer.key(int_repr(number)?.to_str()?);
        } else if key.is_none() {
            self.writer.key("null");
        } else {
            let name = key.get_type().name()?;
            return Err(PyTypeError::new_err(format!("keys must be str, int, float, bool or None, not {name}")));
        }
        Ok(())
    }
}

/// The digits of an int, whatever a subclass (an IntEnum, say) prints for itself.
fn int_repr<'py>(number: &Bound<'py, PyInt>) -> PyResult<Bound<'py, PyString>> {
    let py = number.py();
    let digits = py.get_type::<PyInt>().call_method1(intern!(py, "__repr__"), (number,))?;
    Ok(digits.cast_into::<PyString>()?)
}

//! `argsrepr` and `kwargsrepr`: what a task was called with, for people, cut to a bearable length.
//!
//! The text is that of Celery's `saferepr`: Python's `repr` for containers and values, at most so many characters and
//! levels, text cut at a word, and every bracket that was opened closed.

use std::borrow::Cow;
use std::collections::HashSet;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyRange, PySet, PyString, PyTuple, PyType};
use pyo3::{Bound, intern};

const MAX_LENGTH: isize = 1024;
const MAX_LEVELS: usize = 3;

/// `argsrepr` and `kwargsrepr` as Celery limits them (1024 characters, depth 3).
#[pyfunction]
#[pyo3(signature = (args, kwargs, /))]
fn argument_repr(args: &Bound<'_, PyAny>, kwargs: &Bound<'_, PyAny>) -> PyResult<(String, String)> {
    Ok((limited_repr(args, MAX_LENGTH)?, limited_repr(kwargs, MAX_LENGTH)?))
}

/// Puts the function into the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(argument_repr, module)?)
}

fn limited_repr(value: &Bound<'_, PyAny>, length: isize) -> PyResult<String> {
    let mut printer = Printer { out: String::new(), left: length, cut: false, level: 0, open: HashSet::new() };
    printer.value(value)?;
    Ok(printer.out)
}

/// Prints one value.
struct Printer {
    out: String,
    /// Characters that may still be printed; closing brackets are printed in any case.
    left: isize,
    /// Something was left out: only closing brackets follow.
    cut: bool,
    level: usize,
    /// Containers being printed.
    open: HashSet<usize>,
}

impl Printer {
    /// Whether there is room for more; prints `, ...` when there first is none.
    fn has_room(&mut self) -> bool {
        if !self.cut && self.left <= 0 {
            self.out.push_str(", ...");
            self.cut = true;
        }
        !self.cut
    }

    fn put(&mut self, text: &str) {
        if self.has_room() {
            self.out.push_str(text);
            self.left -= text.chars().count() as isize;
        }
    }

    fn value(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.has_room() {
            return Ok(());
        }
        if let Ok(text) = value.cast::<PyString>() {
            self.text(text)
        } else if value.is_exact_instance_of::<PyInt>() || value.is_exact_instance_of::<PyFloat>() {
            self.word(value.str()?)
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.nested(value, "{", "}", |printer| printer.members(dict))
        } else if let Ok(list) = value.cast::<PyList>() {
            self.nested(value, "[", "]", |printer| printer.items(list.as_any()))
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            let end = if tuple.len() == 1 { ",)" } else { ")" };
            self.nested(value, "(", end, |printer| printer.items(tuple.as_any()))
        } else if let Ok(bytes) = value.cast::<PyBytes>() {
            self.bytes(bytes.as_bytes());
            Ok(())
        } else if value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>() {
            self.set(value)
        } else if !value.is_instance_of::<PyRange>() && is_number(value)? {
            self.word(value.str()?)
        } else {
            self.word(repr(value)?)
        }
    }

    /// Text in single quotes, its own escaped.
    fn text(&mut self, text: &Bound<'_, PyString>) -> PyResult<()> {
        let text = self.truncated(&printable(text)?).replace('\'', "\\'");
        self.put(&format!("'{text}'"));
        Ok(())
    }

    /// Bytes as text if they are some, else in hexadecimal.
    fn bytes(&mut self, bytes: &[u8]) {
        let room = usize::try_from(self.left).unwrap_or(0);
        let (shown, dots) = if bytes.len() > room { (&bytes[..room], "...") } else { (bytes, "") };
        let text = match std::str::from_utf8(shown) {
            Ok(text) => text.to_owned(),
            Err(_) => shown.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        self.put(&format!("b'{text}{dots}'"));
    }

    fn word(&mut self, text: Bound<'_, PyString>) -> PyResult<()> {
        let text = self.truncated(&printable(&text)?);
        self.put(&text);
        Ok(())
    }

    /// `text` if it fits, else what fits of it up to a space, and dots.
    fn truncated(&self, text: &str) -> String {
        let room = usize::try_from(self.left).unwrap_or(0);
        match text.char_indices().nth(room.saturating_sub(1)) {
            Some((last, letter)) => {
                let head = &text[..last + letter.len_utf8()];
                format!("{}...", head.rfind(' ').map_or(head, |space| &head[..space]))
            }
            None => text.to_owned(),
        }
    }

    fn set(&mut self, set: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = set.get_type().name()?.to_string();
        if set.len()? == 0 {
            self.put(&format!("{name}()"));
            return Ok(());
        }
        let (start, end) =
            if set.is_exact_instance_of::<PySet>() { ("{".to_owned(), "}") } else { (format!("{name}({{"), "})") };
        self.nested(set, &start, end, |printer| printer.items(set))
    }

    /// A container: too deep and already open ones are only hinted at.
    fn nested(
        &mut self,
        container: &Bound<'_, PyAny>,
        start: &str,
        end: &str,
        contents: impl FnOnce(&mut Self) -> PyResult<()>,
    ) -> PyResult<()> {
        if self.level >= MAX_LEVELS {
            self.put(&format!("{start}...{end}"));
            return Ok(());
        }
        let address = container.as_ptr() as usize;
        if !self.open.insert(address) {
            let name = container.get_type().name()?;
            let text = self.truncated(&format!("<Recursion on {name} with id={address}>"));
            self.put(&text);
            return Ok(());
        }
        self.put(start);
        self.level += 1;
        contents(self)?;
        self.level -= 1;
        self.out.push_str(end);
        if !self.cut {
            self.left -= end.chars().count() as isize;
        }
        self.open.remove(&address);
        Ok(())
    }

    fn items(&mut self, items: &Bound<'_, PyAny>) -> PyResult<()> {
        for (index, item) in items.try_iter()?.enumerate() {
            if index > 0 {
                self.put(", ");
            }
            self.value(&item?)?;
            if self.cut {
                break;
            }
        }
        Ok(())
    }

    fn members(&mut self, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        let items = dict.call_method0(intern!(dict.py(), "items"))?;
        for (index, item) in items.try_iter()?.enumerate() {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
            if index > 0 {
                self.put(", ");
            }
            if self.has_room() {
                let key = limited_repr(&key, self.left)?;
                self.put(&key);
            }
            self.put(": ");
            self.value(&value)?;
            if self.cut {
                break;
            }
        }
        Ok(())
    }
}

/// Text that can be sent: lone surrogates are escaped, where Celery has the headers carry them.
fn printable<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, str>> {
    if let Ok(text) = text.to_str() {
        return Ok(Cow::Borrowed(text));
    }
    let escaped = text.call_method1(intern!(text.py(), "encode"), ("utf-8", "backslashreplace"))?;
    Ok(Cow::Owned(String::from_utf8_lossy(escaped.cast::<PyBytes>()?.as_bytes()).into_owned()))
}

/// Whether Python counts it among the numbers; those print with `str`, except decimals.
fn is_number(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static NUMBER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static DECIMAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = value.py();
    Ok(value.is_instance(NUMBER.import(py, "numbers", "Number")?)?
        && !value.is_instance(DECIMAL.import(py, "decimal", "Decimal")?)?)
}

/// `repr(value)`, or what became of trying.
fn repr<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let py = value.py();
    match value.repr() {
        Err(error) if error.is_instance_of::<PyException>(py) => {
            let (class, address) = (value.get_type().repr()?, value.as_ptr() as usize);
            Ok(PyString::new(py, &format!("<Unrepresentable {class}{address:#x}: {}>", error.value(py).repr()?)))
        }
        repr => repr,
    }
}

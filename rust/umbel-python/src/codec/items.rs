//! Iterating a dict that other code may change meanwhile.

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::PyDict;

/// A member of a dict.
pub(super) type Item<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// The members of a dict in order. A dict that changes size meanwhile (a hook called between two members may do
/// that) ends the iteration with RuntimeError, as it does in Python.
pub(super) struct DictItems<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    position: ffi::Py_ssize_t,
    size: usize,
    left: usize,
}

impl<'a, 'py> DictItems<'a, 'py> {
    pub(super) fn new(dict: &'a Bound<'py, PyDict>) -> Self {
        let size = dict.len();
        Self { dict, position: 0, size, left: size }
    }
}

impl<'py> Iterator for DictItems<'_, 'py> {
    type Item = PyResult<Item<'py>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.dict.len() != self.size {
            return Some(Err(PyRuntimeError::new_err("dictionary changed size during iteration")));
        }
        // A member removed and another added each time would otherwise go on for ever.
        self.left = self.left.checked_sub(1)?;
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        let py = self.dict.py();
        with_critical_section(self.dict.as_any(), || {
            // SAFETY: `dict` is a dict, the position comes from this function alone, and the borrowed references are
            // made strong before anything else can run: we hold the GIL, or on a free-threaded build the dict's lock.
            unsafe {
                if ffi::PyDict_Next(self.dict.as_ptr(), &mut self.position, &mut key, &mut value) == 0 {
                    return None;
                }
                Some(Ok((Bound::from_borrowed_ptr(py, key), Bound::from_borrowed_ptr(py, value))))
            }
        })
    }
}

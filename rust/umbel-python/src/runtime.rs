//! Objects with threads of their own, which do not survive a fork.

use std::mem::ManuallyDrop;

use pyo3::prelude::*;

use crate::errors::ForkedError;

/// A value that only the process that made it may touch. In a forked child it raises `ForkedError`, and is neither
/// used nor dropped: its threads are not there, and its locks may be held by them for ever.
pub(crate) struct OneProcess<T> {
    process: u32,
    what: &'static str,
    value: ManuallyDrop<T>,
}

impl<T> OneProcess<T> {
    /// `value`, called `what` in errors.
    pub(crate) fn new(what: &'static str, value: T) -> Self {
        Self { process: std::process::id(), what, value: ManuallyDrop::new(value) }
    }

    /// The value, in the process that made it.
    pub(crate) fn get(&self) -> PyResult<&T> {
        if self.is_here() {
            return Ok(&self.value);
        }
        Err(ForkedError::new_err(format!(
            "this {} belongs to process {}, and this is a child forked from it: make a new one here",
            self.what, self.process
        )))
    }

    fn is_here(&self) -> bool {
        self.process == std::process::id()
    }
}

impl<T> Drop for OneProcess<T> {
    fn drop(&mut self) {
        if self.is_here() {
            // SAFETY: dropped once, here, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

//! Member names that were seen before, so that `"task"` or `"id"` is made once and hashed once.

use pyo3::prelude::*;
use pyo3::types::PyString;
use umbel_broker::sync::Mutex;

const SLOTS: usize = 1024;
const LONGEST: usize = 48;

type Slots = [Option<Py<PyString>>; SLOTS];

static SHARED: Mutex<Option<Box<Slots>>> = Mutex::new(None);

/// A cache of names, borrowed from the process for one document. Whoever finds it taken (another thread, or a hook
/// that reads JSON itself) works without.
pub(super) struct KeyCache(Option<Box<Slots>>);

impl KeyCache {
    /// Takes the process's cache.
    pub(super) fn borrow() -> Self {
        static STARTED: std::sync::Once = std::sync::Once::new();
        let Some(mut shared) = SHARED.try_lock() else { return Self(None) };
        STARTED.call_once(|| *shared = Some(Box::new([const { None }; SLOTS])));
        Self(shared.take())
    }

    /// The Python string for `text`.
    pub(super) fn get<'py>(&mut self, py: Python<'py>, text: &str) -> Bound<'py, PyString> {
        let (Some(slots), 1..=LONGEST) = (self.0.as_deref_mut(), text.len()) else {
            return PyString::new(py, text);
        };
        let slot = &mut slots[place(text.as_bytes())];
        if let Some(known) = slot {
            let known = known.bind(py);
            if known.to_str().is_ok_and(|known| known == text) {
                return known.clone();
            }
        }
        let made = PyString::new(py, text);
        *slot = Some(made.clone().unbind());
        made
    }
}

impl Drop for KeyCache {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take()
            && let Some(mut shared) = SHARED.try_lock()
        {
            *shared = Some(slots);
        }
    }
}

/// FNV-1a, folded: names are short, and a collision only costs a string.
fn place(text: &[u8]) -> usize {
    let hash = text.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    ((hash ^ (hash >> 15)) as usize) % SLOTS
}

//! How large and how deep an input may be.

/// The deepest nesting any parser here accepts, whatever [`Limits::max_depth`] says: nested values are dropped and
/// written by recursion, which must fit in a small thread's stack.
pub const DEEPEST: usize = 1024;

/// Bounds on what a parser accepts; beyond them an input is [`crate::Malformed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nested arrays and objects; capped at [`DEEPEST`].
    pub max_depth: usize,
    /// Bytes of input, and of output when decompressing.
    pub max_bytes: usize,
}

impl Default for Limits {
    /// 512 levels, 64 MiB.
    fn default() -> Self {
        Self { max_depth: 512, max_bytes: 64 << 20 }
    }
}

impl Limits {
    /// The nesting that is really enforced.
    pub fn depth(&self) -> usize {
        self.max_depth.min(DEEPEST)
    }
}

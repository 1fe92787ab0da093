//! Replies of Redis.

use std::io::{self, Read};

use umbel_broker::redis::wire::{Buffered, Value};

use super::memory::bounded;

/// Bytes of memory for each byte received: `_`, CR, LF is a [`Value`], in a vector that has just grown.
const TIMES: usize = 128;

/// What an announced length may reserve before anything of it is here: 1024 values on each of 32 levels, a string's
/// first 64 KiB, and the buffer.
const RESERVED: usize = 4 << 20;

/// Bytes that arrive in pieces.
struct Pieces<'a> {
    rest: &'a [u8],
    sizes: fastrand::Rng,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = self.rest.len().min(into.len());
        let count = if most == 0 { 0 } else { self.sizes.usize(1..=most.min(9)) };
        into[..count].copy_from_slice(&self.rest[..count]);
        self.rest = &self.rest[count..];
        Ok(count)
    }
}

/// Replies mean the same however they are cut, and announced lengths reserve little. The first two bytes are a seed.
pub(super) fn resp(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first_chunk::<2>() else { return };
    let sizes = fastrand::Rng::with_seed(u64::from(u16::from_le_bytes(*seed)));
    let whole = bounded(bytes.len() * TIMES + RESERVED, 1, || replies(bytes));
    let cut = replies(Pieces { rest: bytes, sizes });
    assert_eq!(whole, cut);
    for value in &whole.0 {
        let _ = (value.as_int(), value.as_str(), value.as_bytes());
    }
}

/// All replies up to the end or the first that is none, and what kind of error that was.
fn replies(reader: impl Read) -> (Vec<Value>, io::ErrorKind) {
    let mut input = Buffered::new(reader);
    let mut values = Vec::new();
    loop {
        match input.value() {
            Ok(value) => values.push(value),
            Err(error) => return (values, error.kind()),
        }
    }
}

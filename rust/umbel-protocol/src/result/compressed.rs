//! Compressed records: a marker, the codec's content type, and the packed bytes, each ended by a zero byte but the
//! last. Readers look for the marker whatever their settings say.

use std::borrow::Cow;

use crate::compression::{self, Codec};
use crate::{Limits, Malformed, NeedsPython, ReadError};

const MARKER: &[u8] = b"\x00celery-compressed\x00";

/// Whether `record` carries the marker.
pub fn is_compressed(record: &[u8]) -> bool {
    record.starts_with(MARKER)
}

/// Packs an encoded record.
pub fn compress(record: &[u8], codec: Codec) -> Result<Vec<u8>, NeedsPython> {
    let packed = codec.compress(record)?;
    Ok([MARKER, codec.content_type().as_bytes(), b"\x00", &packed].concat())
}

/// The encoded record, unpacked if it carries the marker.
pub fn unpack<'r>(record: &'r [u8], limits: &Limits) -> Result<Cow<'r, [u8]>, ReadError> {
    let Some(rest) = record.strip_prefix(MARKER) else { return Ok(Cow::Borrowed(record)) };
    let malformed = || Malformed::new("compressed result", "no content type after the marker");
    let end = memchr::memchr(0, rest).ok_or_else(malformed)?;
    let (codec, packed) = (&rest[..end], &rest[end + 1..]);
    let codec = std::str::from_utf8(codec).map_err(|_| malformed())?;
    compression::decompress(codec, packed, limits).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_record_comes_back_and_a_plain_one_passes() {
        let record = b"{\"status\": \"SUCCESS\"}";
        let packed = compress(record, Codec::Zlib).expect("native");
        assert!(packed.starts_with(b"\x00celery-compressed\x00application/x-gzip\x00\x78\x9c"));
        assert!(is_compressed(&packed) && !is_compressed(record));
        assert_eq!(unpack(&packed, &Limits::default()).as_deref(), Ok(record.as_slice()));
        assert_eq!(unpack(record, &Limits::default()).as_deref(), Ok(record.as_slice()));
    }

    #[test]
    fn a_marker_alone_is_malformed() {
        for record in [MARKER.to_vec(), [MARKER, b"application/x-gzip"].concat(), [MARKER, b"\xff\x00x"].concat()] {
            assert!(matches!(unpack(&record, &Limits::default()), Err(ReadError::Malformed(_))));
        }
    }
}

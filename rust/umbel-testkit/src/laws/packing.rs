//! Base64 and compression.

use umbel_protocol::compression::Codec;
use umbel_protocol::{Limits, base64};

use super::memory::bounded;

/// What a decoder needs for itself.
pub(super) const TABLES: usize = 4 << 20;

/// Bytes come back from their base64, also from lines of it.
pub(super) fn base64(data: &[u8]) {
    if let Some(bytes) = bounded(data.len(), 8, || base64::decode(data)) {
        assert!(bytes.len() <= data.len());
    }
    let mut text = Vec::new();
    base64::encode_into(data, &mut text);
    assert_eq!(base64::decode(&text).as_deref(), Some(data));
    let lines: Vec<u8> = text.chunks(19).flat_map(|line| [line, b"\r\n"].concat()).collect();
    assert_eq!(base64::decode(&lines).as_deref(), Some(data));
}

/// What unpacks stays within the limit; what is packed comes back whole or, cut short, not at all. The first byte
/// chooses the codec.
pub(super) fn compression(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let codec = [Codec::Zlib, Codec::Bzip2, Codec::Zstd][usize::from(choice % 3)];
    let limits = Limits { max_bytes: 1 << 18, ..Limits::default() };
    // The output, twice while it grows, and bzip2's tables.
    if let Ok(out) = bounded((3 << 18) + TABLES, 1, || codec.decompress(data, &limits)) {
        assert!(out.len() <= limits.max_bytes);
    }
    if *choice >= 64 {
        // Packing is slow, and bytes off the wire are unpacked.
        return;
    }
    let packed = codec.compress(data).expect("a codec of ours");
    assert_eq!(codec.decompress(&packed, &limits).as_deref(), Ok(data));
    let end = packed.len() - 1 - usize::from(*choice) % packed.len();
    assert!(codec.decompress(&packed[..end], &limits).is_err(), "cut at {end} of {}", packed.len());
}

//! Finding the bytes of a string that need work, eight at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// High bit of each byte that is zero (lower bytes exact; a set bit above the first one may be false).
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

const fn equal_bytes(word: u64, byte: u8) -> u64 {
    zero_bytes(word ^ (ONES * byte as u64))
}

/// High bit of each byte below 0x20 (ASCII bytes only; same exactness as [`zero_bytes`]).
const fn control_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGHS
}

fn find(bytes: &[u8], from: usize, mask: impl Fn(u64) -> u64, wanted: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let hits = mask(u64::from_le_bytes(*chunk));
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    bytes.get(at..).and_then(|rest| rest.iter().position(|byte| wanted(*byte))).map_or(bytes.len(), |found| at + found)
}

/// Where reading a string must stop, from `from` on: `"`, `\` or a control character; the length if nowhere.
pub fn first_to_stop(bytes: &[u8], from: usize) -> usize {
    find(
        bytes,
        from,
        |word| equal_bytes(word, b'"') | equal_bytes(word, b'\\') | control_bytes(word),
        |byte| byte == b'"' || byte == b'\\' || byte < 0x20,
    )
}

/// The first byte from `from` on that JSON text cannot carry as it is: `"`, `\`, or outside printable ASCII; the
/// length if there is none.
pub fn first_to_escape(bytes: &[u8], from: usize) -> usize {
    find(
        bytes,
        from,
        |word| {
            let high = word & HIGHS;
            high | equal_bytes(word, b'"') | equal_bytes(word, b'\\') | equal_bytes(word, 0x7f) | control_bytes(word)
        },
        |byte| byte == b'"' || byte == b'\\' || !(0x20..0x7f).contains(&byte),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_judged_like_the_slow_way() {
        for byte in 0..=255u8 {
            for place in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[place] = byte;
                let stop = byte == b'"' || byte == b'\\' || byte < 0x20;
                assert_eq!(first_to_stop(&bytes, 0), if stop { place } else { 20 }, "stop {byte:#x} at {place}");
                let escape = byte == b'"' || byte == b'\\' || !(0x20..0x7f).contains(&byte);
                assert_eq!(first_to_escape(&bytes, 0), if escape { place } else { 20 }, "escape {byte:#x} at {place}");
            }
        }
    }
}

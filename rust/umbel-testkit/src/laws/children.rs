//! Frames between a worker's main process and its children.

use std::fmt::Debug;

use umbel_protocol::Malformed;
use umbel_worker::link::incoming::Incoming;
use umbel_worker::link::{PROTOCOL_VERSION, ToChild, ToMain};

use super::memory::bounded;

/// Bytes of memory for each byte of a payload: eight bytes can claim a pair of strings.
const TIMES: usize = 64;

/// Frames to a child.
pub(super) fn to_child(data: &[u8]) {
    frames(data, ToChild::decode, |frame, out| frame.encode(out), |frame| frame);
}

/// Frames to the main process.
pub(super) fn to_main(data: &[u8]) {
    // A version is what the writer has.
    let ours = |frame| match frame {
        ToMain::Ready { slots, .. } => ToMain::Ready { version: PROTOCOL_VERSION, slots },
        other => other,
    };
    frames(data, ToMain::decode, |frame, out| frame.encode(out), ours);
}

/// A stream means the same however it is cut; what was read is written and read again as the same. The first byte says
/// into pieces of what size the rest is cut.
fn frames<T: PartialEq + Debug>(
    data: &[u8],
    decode: fn(u8, &[u8]) -> Result<T, Malformed>,
    encode: fn(&T, &mut Vec<u8>),
    written: fn(T) -> T,
) {
    let Some((size, stream)) = data.split_first() else { return };
    let whole = bounded(stream.len(), TIMES, || received(stream, stream.len().max(1), decode));
    let cut = received(stream, usize::from(*size).max(1), decode);
    assert_eq!(whole, cut);
    let expected: Vec<T> = whole.into_iter().filter_map(Result::ok).map(written).collect();
    let mut bytes = Vec::new();
    expected.iter().for_each(|frame| encode(frame, &mut bytes));
    let again: Result<Vec<T>, Malformed> = received(&bytes, bytes.len().max(1), decode).into_iter().collect();
    // An empty list of jobs is no frame.
    let again: Vec<T> = again.expect("what was written can be read");
    let said =
        |frames: &[T]| frames.iter().map(|frame| format!("{frame:?}")).filter(|text| text != "Jobs([])").collect();
    let (again, expected): (Vec<String>, Vec<String>) = (said(&again), said(&expected));
    assert_eq!(again, expected);
}

/// The frames of a stream that arrives in pieces, up to an error.
fn received<T>(stream: &[u8], size: usize, decode: fn(u8, &[u8]) -> Result<T, Malformed>) -> Vec<Result<T, Malformed>> {
    let (mut incoming, mut found) = (Incoming::default(), Vec::new());
    for piece in stream.chunks(size) {
        incoming.push(piece);
        loop {
            match incoming.next_frame() {
                Ok(Some((kind, payload))) => found.push(decode(kind, payload)),
                Ok(None) => break,
                Err(error) => {
                    found.push(Err(error));
                    return found;
                }
            }
        }
    }
    found
}

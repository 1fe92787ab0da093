//! Frames: a type, a channel, a length, a payload, an end mark.

use crate::error::Malformed;

/// Bytes around a payload.
pub const OVERHEAD: usize = 8;

/// The last byte of each frame.
pub const END: u8 = 0xCE;

/// The first bytes of a connection.
pub const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\x00\x00\x09\x01";

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A method.
    Method,
    /// The header of a content.
    Header,
    /// A piece of a content's body.
    Body,
    /// Nothing: a sign of life.
    Heartbeat,
}

impl Kind {
    /// Its number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Method => 1,
            Self::Header => 2,
            Self::Body => 3,
            Self::Heartbeat => 8,
        }
    }
}

/// One frame in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: Kind,
    /// 0 for the connection itself.
    pub channel: u16,
    /// Its content.
    pub payload: &'a [u8],
}

/// Takes the first frame off `bytes`, and says how long it is; `None` while it is not all there.
///
/// # Errors
/// An unknown type, a payload longer than `largest`, a missing end mark; as soon as it can be seen.
pub fn split(bytes: &[u8], largest: usize) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let kind = match first {
        1 => Kind::Method,
        2 => Kind::Header,
        3 => Kind::Body,
        8 => Kind::Heartbeat,
        b'A' if PROTOCOL_HEADER.starts_with(&bytes[..bytes.len().min(4)]) => {
            return refused_version(bytes).map_or(Ok(None), Err);
        }
        other => return Err(Malformed::new("frame", format!("type {other} is unknown"))),
    };
    let Some(head) = bytes.first_chunk::<7>() else { return Ok(None) };
    let channel = u16::from_be_bytes([head[1], head[2]]);
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > largest {
        return Err(Malformed::new("frame", format!("{length} bytes, where at most {largest} were agreed on")));
    }
    let Some(&end) = bytes.get(7 + length) else { return Ok(None) };
    if end != END {
        return Err(Malformed::new("frame", format!("it ends with {end:#04x} in place of 0xce")));
    }
    let frame = Frame { kind, channel, payload: &bytes[7..7 + length] };
    Ok(Some((frame, length + OVERHEAD)))
}

/// A server that speaks another version says which, and closes; `None` while it has not said all of it.
fn refused_version(bytes: &[u8]) -> Option<Malformed> {
    let version = bytes.first_chunk::<8>()?[4..].iter().map(u8::to_string).collect::<Vec<_>>().join(".");
    Some(Malformed::new("greeting", format!("the server speaks another protocol (AMQP {version})")))
}

/// Appends a frame.
pub fn write(out: &mut Vec<u8>, kind: Kind, channel: u16, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.push(kind.number());
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
    out.push(END);
}

//! Bytes from a socket, cut into frames.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::net::RecvFlags;
use umbel_protocol::Malformed;

use super::frame::{HEADER, MAX_PAYLOAD};

/// Room asked of the kernel per read (bytes): about what a socket buffer holds.
const READ: usize = 64 << 10;

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadState {
    /// Bytes came and more may be there.
    More,
    /// Nothing more for now.
    Dry,
    /// The other end is closed; no more will come.
    Closed,
}

/// Bytes received and not yet taken as frames.
#[derive(Debug, Default)]
pub struct Incoming {
    /// Initialised as far as it reaches; what was received is `start..end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    /// Appends `bytes` as if received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Receives once, without blocking.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<ReadState> {
        self.make_room(READ);
        let room = &mut self.bytes[self.end..];
        let asked = room.len();
        loop {
            return match rustix::net::recv(socket, &mut *room, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => Ok(ReadState::Closed),
                Ok((_, received)) => {
                    self.end += received;
                    Ok(if received < asked { ReadState::Dry } else { ReadState::More })
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => Ok(ReadState::Dry),
                Err(rustix::io::Errno::CONNRESET) => Ok(ReadState::Closed),
                Err(error) => Err(error.into()),
            };
        }
    }

    /// The next whole frame: its kind and payload. `None` until more bytes are received.
    pub fn next_frame(&mut self) -> Result<Option<(u8, &[u8])>, Malformed> {
        let received = &self.bytes[self.start..self.end];
        let Some(([a, b, c, d, kind], rest)) = received.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        if length > MAX_PAYLOAD {
            return Err(Malformed::new("frame", format!("length {length} is over the limit of {MAX_PAYLOAD}")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let (kind, from) = (*kind, self.start + HEADER);
        self.start = from + length;
        Ok(Some((kind, &self.bytes[from..from + length])))
    }

    /// Makes room for `count` more bytes behind `end`. Grows by what was really received, whatever a frame claims.
    fn make_room(&mut self, count: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > 16 * READ {
                self.bytes = Vec::new();
            }
        }
        if self.bytes.len() - self.end >= count {
            return;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let needed = self.end + count;
        if self.bytes.len() < needed {
            self.bytes.resize(needed.max(self.bytes.len() * 2), 0);
        }
    }
}

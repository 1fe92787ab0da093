//! Bytes from a reader, taken line by line or so many at once.

use std::io::{self, ErrorKind, Read};

/// Bytes asked of the reader at once.
const READ_SIZE: usize = 64 * 1024;

/// A reader with its buffer. Memory grows with what has arrived, never with what was announced.
pub struct Buffered<R> {
    pub(super) reader: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<R: Read> Buffered<R> {
    /// Nothing is read yet.
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; READ_SIZE].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Whether bytes are here that nobody has taken.
    pub fn has_bytes(&self) -> bool {
        self.start < self.end
    }

    /// Reads up to the next CR LF into `line`, without it; an error beyond `limit` bytes.
    pub(super) fn line(&mut self, line: &mut Vec<u8>, limit: usize) -> io::Result<()> {
        loop {
            if !self.has_bytes() {
                self.fill()?;
            }
            let available = &self.buffer[self.start..self.end];
            let newline = available.iter().position(|byte| *byte == b'\n');
            let taken = newline.map_or(available.len(), |at| at + 1);
            line.extend_from_slice(&available[..taken]);
            self.start += taken;
            if line.len() > limit {
                return Err(io::Error::new(ErrorKind::InvalidData, "the server sent a line without end"));
            }
            if newline.is_some() && line.ends_with(b"\r\n") {
                line.truncate(line.len() - 2);
                return Ok(());
            }
        }
    }

    /// Reads exactly `length` bytes.
    pub(super) fn exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let buffered = length.min(self.end - self.start);
        let mut bytes = Vec::with_capacity(length.min(READ_SIZE));
        bytes.extend_from_slice(&self.buffer[self.start..self.start + buffered]);
        self.start += buffered;
        while bytes.len() < length {
            self.fill()?;
            let taken = (length - bytes.len()).min(self.end);
            bytes.extend_from_slice(&self.buffer[..taken]);
            self.start = taken;
        }
        Ok(bytes)
    }

    fn fill(&mut self) -> io::Result<()> {
        (self.start, self.end) = (0, 0);
        loop {
            match self.reader.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(read) => {
                    self.end = read;
                    return Ok(());
                }
            }
        }
    }
}

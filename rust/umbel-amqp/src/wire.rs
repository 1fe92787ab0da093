//! Numbers, bits and strings, read from a slice and written to a buffer.

use crate::error::{Error, Malformed, Result};

/// Reads values off a slice, from front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
    /// The octet that bits are taken from, and how many were.
    bits: Option<(u8, u8)>,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which are called `what` in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what, bits: None }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The error of this reader.
    pub fn malformed(&self, detail: impl Into<String>) -> Malformed {
        Malformed::new(self.what, detail)
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        self.bits = None;
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return Err(self.malformed(format!("{length} bytes were announced, {} are there", self.bytes.len())));
        };
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// One octet.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Two octets.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four octets.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Eight octets.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A bit: bits in a row share an octet.
    pub fn bit(&mut self) -> Result<bool, Malformed> {
        let (octet, used) = match self.bits {
            Some((octet, used)) if used < 8 => (octet, used),
            _ => (self.u8()?, 0),
        };
        self.bits = Some((octet, used + 1));
        Ok(octet >> used & 1 == 1)
    }

    /// Up to 255 bytes. Those that are no UTF-8 are replaced: a stranger's odd routing key must not end a connection.
    pub fn short_string(&mut self) -> Result<String, Malformed> {
        let length = self.u8()?.into();
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    /// Bytes with their length in front.
    pub fn long_string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }
}

/// Writes values to the end of a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// How many bits of the last octet are taken.
    bits: u8,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, bits: 0 }
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bits = 0;
        self.out.extend_from_slice(bytes);
    }

    /// One octet.
    pub fn u8(&mut self, number: u8) {
        self.bytes(&[number]);
    }

    /// Two octets.
    pub fn u16(&mut self, number: u16) {
        self.bytes(&number.to_be_bytes());
    }

    /// Four octets.
    pub fn u32(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }

    /// Eight octets.
    pub fn u64(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    /// A bit, in one octet with those before it.
    pub fn bit(&mut self, bit: bool) {
        if self.bits == 0 || self.bits == 8 {
            self.u8(0);
        }
        if let Some(octet) = self.out.last_mut() {
            *octet |= u8::from(bit) << self.bits;
        }
        self.bits += 1;
    }

    /// Up to 255 bytes.
    ///
    /// # Errors
    /// [`Error::Unsendable`] for a longer one.
    pub fn short_string(&mut self, text: &str) -> Result<()> {
        let Ok(length) = u8::try_from(text.len()) else {
            let start: String = text.chars().take(40).collect();
            let detail = format!("{start:?}… has {} bytes; AMQP carries names and keys of at most 255", text.len());
            return Err(Error::Unsendable(detail));
        };
        self.u8(length);
        self.bytes(text.as_bytes());
        Ok(())
    }

    /// Bytes with their length in front.
    ///
    /// # Errors
    /// [`Error::Unsendable`] beyond 4 GB.
    pub fn long_string(&mut self, bytes: &[u8]) -> Result<()> {
        self.u32(length_of(bytes.len())?);
        self.bytes(bytes);
        Ok(())
    }

    /// What `write` writes, with its length in front.
    ///
    /// # Errors
    /// Those of `write`; [`Error::Unsendable`] beyond 4 GB.
    pub fn measured(&mut self, write: impl FnOnce(&mut Writer<'_>) -> Result<()>) -> Result<()> {
        self.u32(0);
        let start = self.out.len();
        write(&mut Writer::new(self.out))?;
        let length = length_of(self.out.len() - start)?;
        self.out[start - 4..start].copy_from_slice(&length.to_be_bytes());
        self.bits = 0;
        Ok(())
    }
}

fn length_of(length: usize) -> Result<u32> {
    u32::try_from(length)
        .map_err(|_| Error::Unsendable(format!("{length} bytes are more than AMQP carries in one piece")))
}

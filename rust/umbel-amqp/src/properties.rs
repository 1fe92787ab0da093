//! The properties of a message: the payload of a content header after class, weight and size.

use crate::error::{Malformed, Result};
use crate::table::Table;
use crate::wire::{Reader, Writer};

/// Properties of the class `basic`, in the order of the wire.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Properties {
    /// MIME type.
    pub content_type: Option<String>,
    /// Character set or compression.
    pub content_encoding: Option<String>,
    /// Whatever the application likes.
    pub headers: Option<Table>,
    /// 1 transient, 2 persistent.
    pub delivery_mode: Option<u8>,
    /// Higher is sooner, on queues that know priorities.
    pub priority: Option<u8>,
    /// For replies.
    pub correlation_id: Option<String>,
    /// For replies.
    pub reply_to: Option<String>,
    /// Milliseconds, as text.
    pub expiration: Option<String>,
    /// Of the application.
    pub message_id: Option<String>,
    /// Seconds since 1970.
    pub timestamp: Option<u64>,
    /// Of the application.
    pub kind: Option<String>,
    /// The server checks that it is the user of the connection.
    pub user_id: Option<String>,
    /// Of the application.
    pub app_id: Option<String>,
    /// Out of use.
    pub cluster_id: Option<String>,
}

impl Properties {
    /// Reads flags and values; nothing may follow.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "content header");
        let flags = reader.u16()?;
        if flags & 0b11 != 0 {
            return Err(reader.malformed(format!("unknown property flags {flags:#018b}")));
        }
        let mut next = 16;
        let mut given = || {
            next -= 1;
            flags >> next & 1 == 1
        };
        let r = &mut reader;
        let properties = Self {
            content_type: given().then(|| r.short_string()).transpose()?,
            content_encoding: given().then(|| r.short_string()).transpose()?,
            headers: given().then(|| Table::read(r)).transpose()?,
            delivery_mode: given().then(|| r.u8()).transpose()?,
            priority: given().then(|| r.u8()).transpose()?,
            correlation_id: given().then(|| r.short_string()).transpose()?,
            reply_to: given().then(|| r.short_string()).transpose()?,
            expiration: given().then(|| r.short_string()).transpose()?,
            message_id: given().then(|| r.short_string()).transpose()?,
            timestamp: given().then(|| r.u64()).transpose()?,
            kind: given().then(|| r.short_string()).transpose()?,
            user_id: given().then(|| r.short_string()).transpose()?,
            app_id: given().then(|| r.short_string()).transpose()?,
            cluster_id: given().then(|| r.short_string()).transpose()?,
        };
        if !reader.is_empty() {
            return Err(reader.malformed(format!("{} bytes after the last property", reader.rest().len())));
        }
        Ok(properties)
    }

    /// Flags and values.
    ///
    /// # Errors
    /// [`crate::Error::Unsendable`] for texts longer than 255 bytes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = vec![0, 0];
        let (mut flags, mut next) = (0_u16, 16);
        let mut flag = |given: bool| {
            next -= 1;
            flags |= u16::from(given) << next;
            given
        };
        let writer = &mut Writer::new(&mut out);
        let text = |writer: &mut Writer<'_>, flag: &mut dyn FnMut(bool) -> bool, text: &Option<String>| {
            flag(text.is_some());
            text.as_ref().map_or(Ok(()), |text| writer.short_string(text))
        };
        text(writer, &mut flag, &self.content_type)?;
        text(writer, &mut flag, &self.content_encoding)?;
        flag(self.headers.is_some());
        if let Some(headers) = &self.headers {
            headers.write(writer)?;
        }
        for octet in [self.delivery_mode, self.priority] {
            flag(octet.is_some());
            octet.into_iter().for_each(|octet| writer.u8(octet));
        }
        for given in [&self.correlation_id, &self.reply_to, &self.expiration, &self.message_id] {
            text(writer, &mut flag, given)?;
        }
        flag(self.timestamp.is_some());
        self.timestamp.into_iter().for_each(|seconds| writer.u64(seconds));
        for given in [&self.kind, &self.user_id, &self.app_id, &self.cluster_id] {
            text(writer, &mut flag, given)?;
        }
        out[..2].copy_from_slice(&flags.to_be_bytes());
        Ok(out)
    }
}

//! The methods of AMQP 0-9-1 with RabbitMQ's extensions.

use crate::error::{Malformed, Result};
use crate::table::Table;
use crate::wire::{Reader, Writer};

/// A value that methods carry.
trait Field: Sized {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
    fn write(&self, writer: &mut Writer<'_>) -> Result<()>;
}

/// Two octets that mean nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ticket;

/// A short string that means nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unused;

/// A long string.
pub type Bytes = Vec<u8>;

macro_rules! field {
    ($type:ty, $reader:ident => $read:expr, $writer:ident, $value:ident => $write:expr) => {
        impl Field for $type {
            fn read($reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                $read
            }

            fn write(&self, $writer: &mut Writer<'_>) -> Result<()> {
                let $value = self;
                $write
            }
        }
    };
}

field!(u8, r => r.u8(), w, v => { w.u8(*v); Ok(()) });
field!(u16, r => r.u16(), w, v => { w.u16(*v); Ok(()) });
field!(u32, r => r.u32(), w, v => { w.u32(*v); Ok(()) });
field!(u64, r => r.u64(), w, v => { w.u64(*v); Ok(()) });
field!(bool, r => r.bit(), w, v => { w.bit(*v); Ok(()) });
field!(String, r => r.short_string(), w, v => w.short_string(v));
field!(Bytes, r => r.long_string().map(<[u8]>::to_vec), w, v => w.long_string(v));
field!(Table, r => Table::read(r), w, v => v.write(w));
field!(Ticket, r => r.u16().map(|_| Self), w, _v => { w.u16(0); Ok(()) });
field!(Unused, r => r.short_string().map(|_| Self), w, _v => w.short_string(""));

macro_rules! methods {
    ($($(#[doc = $doc:literal])* ($class:literal, $number:literal) $name:ident $({ $($field:ident: $type:ty),+ $(,)? })?;)+) => {
        /// A method, with the names of the specification in camel case.
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "the fields are the specification's")]
        pub enum Method {
            $($(#[doc = $doc])* $name $({ $($field: $type),+ })?,)+
        }

        impl Method {
            /// Reads class, number and fields; nothing may follow.
            ///
            /// # Errors
            /// What is wrong with them.
            pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
                let mut reader = Reader::new(bytes, "method");
                let id = (reader.u16()?, reader.u16()?);
                let method = match id {
                    $(($class, $number) => Self::$name $({ $($field: Field::read(&mut reader)?),+ })?,)+
                    (class, number) => return Err(reader.malformed(format!("{class}.{number} is none"))),
                };
                if !reader.is_empty() {
                    return Err(reader.malformed(format!("{} bytes after {}", reader.rest().len(), method.name())));
                }
                Ok(method)
            }

            /// Writes class, number and fields.
            ///
            /// # Errors
            /// [`crate::Error::Unsendable`] for texts longer than 255 bytes.
            pub fn encode(&self, writer: &mut Writer<'_>) -> Result<()> {
                let (class, number) = self.id();
                writer.u16(class);
                writer.u16(number);
                match self {
                    $(Self::$name $({ $($field),+ })? => { $($($field.write(writer)?;)+)? })+
                }
                Ok(())
            }

            /// Class and number.
            pub fn id(&self) -> (u16, u16) {
                match self {
                    $(Self::$name $({ $($field: _),+ })? => ($class, $number),)+
                }
            }

            /// Its name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name $({ $($field: _),+ })? => stringify!($name),)+
                }
            }
        }
    };
}

methods! {
    (10, 10) ConnectionStart { major: u8, minor: u8, server_properties: Table, mechanisms: Bytes, locales: Bytes };
    (10, 11) ConnectionStartOk { client_properties: Table, mechanism: String, response: Bytes, locale: String };
    (10, 20) ConnectionSecure { challenge: Bytes };
    (10, 21) ConnectionSecureOk { response: Bytes };
    (10, 30) ConnectionTune { channel_max: u16, frame_max: u32, heartbeat: u16 };
    (10, 31) ConnectionTuneOk { channel_max: u16, frame_max: u32, heartbeat: u16 };
    (10, 40) ConnectionOpen { virtual_host: String, capabilities: Unused, insist: bool };
    (10, 41) ConnectionOpenOk { known_hosts: Unused };
    (10, 50) ConnectionClose { code: u16, text: String, class: u16, method: u16 };
    (10, 51) ConnectionCloseOk;
    (10, 60) ConnectionBlocked { reason: String };
    (10, 61) ConnectionUnblocked;
    (10, 70) ConnectionUpdateSecret { secret: Bytes, reason: String };
    (10, 71) ConnectionUpdateSecretOk;
    (20, 10) ChannelOpen { out_of_band: Unused };
    (20, 11) ChannelOpenOk { channel_id: Bytes };
    (20, 20) ChannelFlow { active: bool };
    (20, 21) ChannelFlowOk { active: bool };
    (20, 40) ChannelClose { code: u16, text: String, class: u16, method: u16 };
    (20, 41) ChannelCloseOk;
    (40, 10) ExchangeDeclare {
        ticket: Ticket, exchange: String, kind: String, passive: bool, durable: bool, auto_delete: bool, internal: bool,
        no_wait: bool, arguments: Table,
    };
    (40, 11) ExchangeDeclareOk;
    (40, 20) ExchangeDelete { ticket: Ticket, exchange: String, if_unused: bool, no_wait: bool };
    (40, 21) ExchangeDeleteOk;
    (40, 30) ExchangeBind {
        ticket: Ticket, destination: String, source: String, routing_key: String, no_wait: bool, arguments: Table,
    };
    (40, 31) ExchangeBindOk;
    (40, 40) ExchangeUnbind {
        ticket: Ticket, destination: String, source: String, routing_key: String, no_wait: bool, arguments: Table,
    };
    (40, 51) ExchangeUnbindOk;
    (50, 10) QueueDeclare {
        ticket: Ticket, queue: String, passive: bool, durable: bool, exclusive: bool, auto_delete: bool, no_wait: bool,
        arguments: Table,
    };
    (50, 11) QueueDeclareOk { queue: String, message_count: u32, consumer_count: u32 };
    (50, 20) QueueBind {
        ticket: Ticket, queue: String, exchange: String, routing_key: String, no_wait: bool, arguments: Table,
    };
    (50, 21) QueueBindOk;
    (50, 30) QueuePurge { ticket: Ticket, queue: String, no_wait: bool };
    (50, 31) QueuePurgeOk { message_count: u32 };
    (50, 40) QueueDelete { ticket: Ticket, queue: String, if_unused: bool, if_empty: bool, no_wait: bool };
    (50, 41) QueueDeleteOk { message_count: u32 };
    (50, 50) QueueUnbind { ticket: Ticket, queue: String, exchange: String, routing_key: String, arguments: Table };
    (50, 51) QueueUnbindOk;
    (60, 10) BasicQos { prefetch_size: u32, prefetch_count: u16, global: bool };
    (60, 11) BasicQosOk;
    (60, 20) BasicConsume {
        ticket: Ticket, queue: String, consumer_tag: String, no_local: bool, no_ack: bool, exclusive: bool, no_wait: bool,
        arguments: Table,
    };
    (60, 21) BasicConsumeOk { consumer_tag: String };
    (60, 30) BasicCancel { consumer_tag: String, no_wait: bool };
    (60, 31) BasicCancelOk { consumer_tag: String };
    (60, 40) BasicPublish { ticket: Ticket, exchange: String, routing_key: String, mandatory: bool, immediate: bool };
    (60, 50) BasicReturn { code: u16, text: String, exchange: String, routing_key: String };
    (60, 60) BasicDeliver {
        consumer_tag: String, delivery_tag: u64, redelivered: bool, exchange: String, routing_key: String,
    };
    (60, 70) BasicGet { ticket: Ticket, queue: String, no_ack: bool };
    (60, 71) BasicGetOk {
        delivery_tag: u64, redelivered: bool, exchange: String, routing_key: String, message_count: u32,
    };
    (60, 72) BasicGetEmpty { cluster_id: Unused };
    (60, 80) BasicAck { delivery_tag: u64, multiple: bool };
    (60, 90) BasicReject { delivery_tag: u64, requeue: bool };
    (60, 100) BasicRecoverAsync { requeue: bool };
    (60, 110) BasicRecover { requeue: bool };
    (60, 111) BasicRecoverOk;
    (60, 120) BasicNack { delivery_tag: u64, multiple: bool, requeue: bool };
    (85, 10) ConfirmSelect { no_wait: bool };
    (85, 11) ConfirmSelectOk;
    (90, 10) TxSelect;
    (90, 11) TxSelectOk;
    (90, 20) TxCommit;
    (90, 21) TxCommitOk;
    (90, 30) TxRollback;
    (90, 31) TxRollbackOk;
}

impl Method {
    /// Whether a content header and body follow.
    pub fn carries_content(&self) -> bool {
        matches!(
            self,
            Self::BasicPublish { .. } | Self::BasicReturn { .. } | Self::BasicDeliver { .. } | Self::BasicGetOk { .. }
        )
    }

    /// Opens a channel.
    pub fn channel_open() -> Self {
        Self::ChannelOpen { out_of_band: Unused }
    }

    /// Declares an exchange that outlives the server's restart, unless it is not `durable`.
    pub fn exchange_declare(exchange: &str, kind: &str, durable: bool) -> Self {
        Self::ExchangeDeclare {
            ticket: Ticket,
            exchange: exchange.to_owned(),
            kind: kind.to_owned(),
            passive: false,
            durable,
            auto_delete: false,
            internal: false,
            no_wait: false,
            arguments: Table::new(),
        }
    }

    /// Declares a durable queue.
    pub fn queue_declare(queue: &str, arguments: Table) -> Self {
        Self::QueueDeclare {
            ticket: Ticket,
            queue: queue.to_owned(),
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            no_wait: false,
            arguments,
        }
    }

    /// Asks for a queue that is there, and how many messages wait in it.
    pub fn queue_look(queue: &str) -> Self {
        Self::QueueDeclare {
            ticket: Ticket,
            queue: queue.to_owned(),
            passive: true,
            durable: false,
            exclusive: false,
            auto_delete: false,
            no_wait: false,
            arguments: Table::new(),
        }
    }

    /// Binds a queue.
    pub fn queue_bind(queue: &str, exchange: &str, routing_key: &str) -> Self {
        Self::QueueBind {
            ticket: Ticket,
            queue: queue.to_owned(),
            exchange: exchange.to_owned(),
            routing_key: routing_key.to_owned(),
            no_wait: false,
            arguments: Table::new(),
        }
    }

    /// Binds an exchange to another.
    pub fn exchange_bind(destination: &str, source: &str, routing_key: &str) -> Self {
        Self::ExchangeBind {
            ticket: Ticket,
            destination: destination.to_owned(),
            source: source.to_owned(),
            routing_key: routing_key.to_owned(),
            no_wait: false,
            arguments: Table::new(),
        }
    }

    /// Takes messages of a queue from now on.
    pub fn consume(queue: &str, consumer_tag: &str, no_ack: bool) -> Self {
        Self::BasicConsume {
            ticket: Ticket,
            queue: queue.to_owned(),
            consumer_tag: consumer_tag.to_owned(),
            no_local: false,
            no_ack,
            exclusive: false,
            no_wait: false,
            arguments: Table::new(),
        }
    }

    /// Takes one message.
    pub fn get(queue: &str) -> Self {
        Self::BasicGet { ticket: Ticket, queue: queue.to_owned(), no_ack: false }
    }

    /// Sends a message, of which content follows.
    pub fn publish(exchange: &str, routing_key: &str, mandatory: bool) -> Self {
        Self::BasicPublish {
            ticket: Ticket,
            exchange: exchange.to_owned(),
            routing_key: routing_key.to_owned(),
            mandatory,
            immediate: false,
        }
    }
}

//! A task message as both transports carry it: body, content type, headers, properties.

/// Where a message goes: an exchange and a routing key.
///
/// The anonymous exchange (`""`, Celery's default) delivers to the queue named by the routing key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Destination {
    /// Exchange name, `""` for the anonymous exchange.
    pub exchange: String,
    /// Routing key; with the anonymous exchange, the queue's name.
    pub routing_key: String,
}

impl Destination {
    /// Straight to `queue` through the anonymous exchange.
    pub fn queue(queue: impl Into<String>) -> Self {
        Self { exchange: String::new(), routing_key: queue.into() }
    }
}

/// A message between transport and meaning: nothing in it has been interpreted yet.
///
/// `headers` stays JSON text so that messages pass through a worker's main process without being taken
/// apart; [`crate::task::TaskFacts`] reads what the engine needs from it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// The task's headers, the text of one JSON object.
    pub headers: String,
    /// Body bytes after transport decoding (base64 on Redis), still serialized and maybe compressed.
    pub body: Vec<u8>,
    /// MIME type of the serializer, e.g. `application/json`.
    pub content_type: String,
    /// `utf-8` or `binary`.
    pub content_encoding: String,
    /// Transport properties.
    pub properties: Properties,
}

/// Message properties, named as in AMQP and kombu.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Properties {
    /// Task id, unless the caller chose another.
    pub correlation_id: Option<String>,
    /// Reply queue of an `rpc://` client.
    pub reply_to: Option<String>,
    /// 2 persistent, 1 transient.
    pub delivery_mode: Option<i64>,
    /// As the producer gave it (kombu clamps only for routing: 12 stays 12).
    pub priority: Option<i64>,
    /// Remaining life in milliseconds, as text.
    pub expiration: Option<String>,
    /// Where the producer sent it (`delivery_info` on Redis).
    pub destination: Destination,
    /// kombu's uuid for the message; not the key Umbel records it under (see `umbel_broker::Tag`).
    pub delivery_tag: Option<String>,
    /// True once it was handed out before.
    pub redelivered: bool,
    /// How often a delivery of it ended with a dead child or worker. Property `umbel_deliveries`; absent is 0.
    pub failed_deliveries: u32,
    /// Everything else in `properties`, as `(name, JSON text)` in wire order: `message_id`, `app_id`, …
    pub extra: Vec<(String, String)>,
}

//! What is not to run: messages in a durable queue, each with its end as its expiry.
//!
//! Readers take all and give it back; one at a time, or the second would find nothing. Whoever reads owns a queue that no two
//! connections may have.

use std::time::{Duration, Instant};

use umbel_amqp::error::RESOURCE_LOCKED;
use umbel_amqp::{Content, Link, Method, Properties, Table, Value};
use umbel_protocol::Timestamp;

use super::dead_letters::walk;
use super::sender::Item;
use super::topology::Topology;
use crate::control::{Revocation, Revoked};
use crate::error::Result;

/// Where they are.
pub(super) const QUEUE: &str = "umbel.revoked";

/// Whoever has it reads.
const READING: &str = "umbel.revoked.reading";

/// How often to ask whether another has finished.
const PAUSE: Duration = Duration::from_millis(10);

const WHAT: &str = "umbel_revoked";
const UNTIL: &str = "umbel_until";

/// The channel on which somebody owns the right to read.
const CHANNEL: u16 = 3;

/// The message that keeps a revocation; `None` if it has ended.
pub(super) fn item(revocation: &Revocation, now: Timestamp) -> Result<Option<Item<'static>>> {
    let left = revocation.until.since(now);
    if revocation.until.0 <= now.0 {
        return Ok(None);
    }
    let headers = Table::new().with(WHAT, revocation.what.to_text()).with(UNTIL, revocation.until.0);
    let properties = Properties {
        headers: Some(headers),
        delivery_mode: Some(2),
        // RabbitMQ takes no more than 32 bits; it is read again in any case.
        expiration: Some(left.as_millis().clamp(1, u32::MAX.into()).to_string()),
        ..Properties::default()
    };
    Item::to_queue(QUEUE, &properties, &[]).map(Some)
}

/// All that have not ended.
pub(super) fn read(
    link: &mut Link,
    topology: &mut Topology,
    now: Timestamp,
    patience: Duration,
) -> umbel_amqp::Result<Vec<Revocation>> {
    begin(link, patience)?;
    let mut found: Vec<Revocation> = Vec::new();
    walk(link, topology, QUEUE, usize::MAX, |content| {
        found.extend(revocation(&content).filter(|revocation| revocation.until.0 > now.0));
        Ok(false)
    })?;
    let done = Method::QueueDelete {
        ticket: umbel_amqp::method::Ticket,
        queue: READING.to_owned(),
        if_unused: false,
        if_empty: false,
        no_wait: false,
    };
    link.call(CHANNEL, &done)?;
    link.call(CHANNEL, &Method::ChannelClose { code: 200, text: String::new(), class: 0, method: 0 })?;
    // Of one that was revoked twice the later end counts.
    found.sort_by(|one, other| (&one.what, other.until).cmp(&(&other.what, one.until)));
    found.dedup_by(|later, first| later.what == first.what);
    Ok(found)
}

fn begin(link: &mut Link, patience: Duration) -> umbel_amqp::Result<()> {
    let deadline = Instant::now() + patience;
    let mut reading = Method::queue_declare(READING, Table::new());
    if let Method::QueueDeclare { durable, exclusive, .. } = &mut reading {
        (*durable, *exclusive) = (false, true);
    }
    loop {
        link.call(CHANNEL, &Method::channel_open())?;
        match link.call(CHANNEL, &reading) {
            Err(error) if error.code() == Some(RESOURCE_LOCKED) && Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            other => return other.map(drop),
        }
    }
}

fn revocation(content: &Content) -> Option<Revocation> {
    let headers = Properties::decode(&content.properties).ok()?.headers?;
    let what = Revoked::from_text(headers.get(WHAT).and_then(Value::as_str)?)?;
    Some(Revocation { what, until: Timestamp(headers.get(UNTIL).and_then(Value::as_i64)?) })
}

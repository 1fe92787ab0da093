//! Fields of a frame's payload: little-endian numbers, length-prefixed bytes and text.

use std::sync::Arc;
use std::time::Duration;

use umbel_broker::{DeadReason, Outgoing};
use umbel_protocol::{
    ChordPart, ChordStep, Destination, Malformed, Message, Properties, Protocol, ResultWrite, TaskFacts, Timestamp,
};

use crate::engine::{Job, JobId, Outcome, Verdict};

const CORRELATION_ID: u8 = 1;
const REPLY_TO: u8 = 2;
const DELIVERY_MODE: u8 = 4;
const PRIORITY: u8 = 8;
const EXPIRATION: u8 = 16;
const DELIVERY_TAG: u8 = 32;
const REDELIVERED: u8 = 64;
const EXTRA: u8 = 128;

const ETA: u16 = 1;
const EXPIRES: u16 = 2;
const GROUP: u16 = 4;
const PARENT: u16 = 8;
const TIME_LIMIT: u16 = 16;
const SOFT_TIME_LIMIT: u16 = 32;
const COMPRESSION: u16 = 64;
const HAS_IGNORE_RESULT: u16 = 128;
const IGNORE_RESULT: u16 = 256;
const PROTOCOL_ONE: u16 = 512;
const HYBRID: u16 = 1024;
const BATCH: u16 = 2048;

const RESULT: u8 = 1;
const PUBLISH: u8 = 2;

pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Callers have checked that the whole item fits in a frame, so the length fits too.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

fn put_some(out: &mut Vec<u8>, text: &Option<String>) {
    if let Some(text) = text {
        put_bytes(out, text.as_bytes());
    }
}

pub(super) fn put_job(out: &mut Vec<u8>, job: &Job) {
    put_u64(out, job.id.0);
    put_bytes(out, job.queue.as_bytes());
    put_facts(out, &job.facts, job.batch.is_some());
    if let Some(batch) = job.batch {
        put_u64(out, batch);
    }
    put_message(out, &job.message);
}

fn put_facts(out: &mut Vec<u8>, facts: &TaskFacts, in_batch: bool) {
    let flag = |present: bool, bit: u16| if present { bit } else { 0 };
    let flags = flag(facts.eta.is_some(), ETA)
        | flag(facts.expires.is_some(), EXPIRES)
        | flag(facts.group.is_some(), GROUP)
        | flag(facts.parent_id.is_some(), PARENT)
        | flag(facts.time_limit.is_some(), TIME_LIMIT)
        | flag(facts.soft_time_limit.is_some(), SOFT_TIME_LIMIT)
        | flag(facts.compression.is_some(), COMPRESSION)
        | flag(facts.ignore_result.is_some(), HAS_IGNORE_RESULT)
        | flag(facts.ignore_result == Some(true), IGNORE_RESULT)
        | flag(facts.protocol == Protocol::One, PROTOCOL_ONE)
        | flag(facts.protocol == Protocol::Hybrid, HYBRID)
        | flag(in_batch, BATCH);
    out.extend_from_slice(&flags.to_le_bytes());
    put_u32(out, facts.retries);
    put_bytes(out, facts.task.as_bytes());
    put_bytes(out, facts.id.as_bytes());
    for time in [facts.eta, facts.expires].into_iter().flatten() {
        put_u64(out, time.0 as u64);
    }
    for limit in [facts.time_limit, facts.soft_time_limit].into_iter().flatten() {
        put_micros(out, limit);
    }
    put_some(out, &facts.group);
    put_some(out, &facts.parent_id);
    put_some(out, &facts.compression);
}

/// 584,000 years are for ever too.
fn put_micros(out: &mut Vec<u8>, duration: Duration) {
    put_u64(out, u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
}

fn put_message(out: &mut Vec<u8>, message: &Message) {
    put_bytes(out, message.headers.as_bytes());
    put_bytes(out, &message.body);
    put_bytes(out, message.content_type.as_bytes());
    put_bytes(out, message.content_encoding.as_bytes());
    put_properties(out, &message.properties);
}

fn put_properties(out: &mut Vec<u8>, properties: &Properties) {
    let flag = |present: bool, bit: u8| if present { bit } else { 0 };
    out.push(
        flag(properties.correlation_id.is_some(), CORRELATION_ID)
            | flag(properties.reply_to.is_some(), REPLY_TO)
            | flag(properties.delivery_mode.is_some(), DELIVERY_MODE)
            | flag(properties.priority.is_some(), PRIORITY)
            | flag(properties.expiration.is_some(), EXPIRATION)
            | flag(properties.delivery_tag.is_some(), DELIVERY_TAG)
            | flag(properties.redelivered, REDELIVERED)
            | flag(!properties.extra.is_empty(), EXTRA),
    );
    put_destination(out, &properties.destination);
    put_u32(out, properties.failed_deliveries);
    put_some(out, &properties.correlation_id);
    put_some(out, &properties.reply_to);
    for number in [properties.delivery_mode, properties.priority].into_iter().flatten() {
        out.extend_from_slice(&number.to_le_bytes());
    }
    put_some(out, &properties.expiration);
    put_some(out, &properties.delivery_tag);
    if !properties.extra.is_empty() {
        put_u32(out, u32::try_from(properties.extra.len()).unwrap_or(u32::MAX));
        for (name, raw) in &properties.extra {
            put_bytes(out, name.as_bytes());
            put_bytes(out, raw.as_bytes());
        }
    }
}

fn put_destination(out: &mut Vec<u8>, destination: &Destination) {
    put_bytes(out, destination.exchange.as_bytes());
    put_bytes(out, destination.routing_key.as_bytes());
}

pub(super) fn put_result(out: &mut Vec<u8>, result: &ResultWrite) {
    put_bytes(out, result.task_id.as_bytes());
    put_bytes(out, result.state.as_bytes());
    put_bytes(out, &result.record);
    put_micros(out, result.expires.unwrap_or(Duration::MAX));
}

pub(super) fn put_outcome(out: &mut Vec<u8>, outcome: &Outcome) {
    put_u64(out, outcome.job.0);
    let flags = u8::from(outcome.result.is_some()) * RESULT + u8::from(!outcome.publish.is_empty()) * PUBLISH;
    out.push(flags);
    put_verdict(out, &outcome.verdict);
    if let Some(result) = &outcome.result {
        put_result(out, result);
    }
    if !outcome.publish.is_empty() {
        put_u32(out, u32::try_from(outcome.publish.len()).unwrap_or(u32::MAX));
        for outgoing in &outcome.publish {
            put_outgoing(out, outgoing);
        }
    }
}

fn put_verdict(out: &mut Vec<u8>, verdict: &Verdict) {
    match verdict {
        Verdict::Success => out.push(0),
        Verdict::Failure => out.push(1),
        Verdict::Retry => out.push(2),
        Verdict::Ignored => out.push(3),
        Verdict::Requeue => out.push(4),
        Verdict::Reject(reason) => {
            out.push(5);
            put_bytes(out, reason.kind.as_bytes());
            put_bytes(out, reason.detail.as_bytes());
        }
    }
}

fn put_outgoing(out: &mut Vec<u8>, outgoing: &Outgoing) {
    put_destination(out, &outgoing.destination);
    put_u64(out, outgoing.eta.map(|eta| eta.0).unwrap_or(i64::MIN) as u64);
    put_message(out, &outgoing.message);
    put_bytes(out, outgoing.line.as_deref().unwrap_or_default().as_bytes());
    match outgoing.chord.as_deref() {
        None => out.push(0),
        Some(ChordStep::Count(part)) => {
            out.push(if part.index.is_some() { 1 } else { 2 });
            put_u64(out, part.index.unwrap_or(0) as u64);
            put_bytes(out, part.group.as_bytes());
            put_bytes(out, part.task_id.as_bytes());
            put_bytes(out, &part.part);
            put_micros(out, part.expires.unwrap_or(Duration::MAX));
        }
        Some(ChordStep::End { group }) => {
            out.push(3);
            put_bytes(out, group.as_bytes());
        }
    }
}

/// Upper bound of what a line and a chord add to a message.
fn chord_size(outgoing: &Outgoing) -> usize {
    let line = outgoing.line.as_ref().map_or(0, String::len) + 4;
    line + match outgoing.chord.as_deref() {
        None => 1,
        Some(ChordStep::Count(part)) => part.group.len() + part.task_id.len() + part.part.len() + 29,
        Some(ChordStep::End { group }) => group.len() + 5,
    }
}

/// Upper bound of what [`put_job`] writes.
pub(super) fn job_size(job: &Job) -> usize {
    let facts = &job.facts;
    let some = |text: &Option<String>| text.as_ref().map_or(0, |text| text.len() + 4);
    let texts =
        facts.task.len() + facts.id.len() + some(&facts.group) + some(&facts.parent_id) + some(&facts.compression);
    job.queue.len() + texts + message_size(&job.message) + 80
}

/// Upper bound of what [`put_message`] writes.
fn message_size(message: &Message) -> usize {
    let properties = &message.properties;
    let some = |text: &Option<String>| text.as_ref().map_or(0, |text| text.len() + 4);
    let extra: usize = properties.extra.iter().map(|(name, raw)| name.len() + raw.len() + 8).sum();
    message.headers.len()
        + message.body.len()
        + message.content_type.len()
        + message.content_encoding.len()
        + destination_size(&properties.destination)
        + some(&properties.correlation_id)
        + some(&properties.reply_to)
        + some(&properties.expiration)
        + some(&properties.delivery_tag)
        + extra
        + 64
}

fn destination_size(destination: &Destination) -> usize {
    destination.exchange.len() + destination.routing_key.len() + 8
}

/// Upper bound of what [`put_result`] writes.
pub(super) fn result_size(result: &ResultWrite) -> usize {
    result.task_id.len() + result.state.len() + result.record.len() + 32
}

/// Upper bound of what [`put_outcome`] writes.
pub(super) fn outcome_size(outcome: &Outcome) -> usize {
    let reason = match &outcome.verdict {
        Verdict::Reject(reason) => reason.kind.len() + reason.detail.len(),
        _ => 0,
    };
    let published = |outgoing: &Outgoing| {
        destination_size(&outgoing.destination) + message_size(&outgoing.message) + chord_size(outgoing) + 8
    };
    let publish: usize = outcome.publish.iter().map(published).sum();
    outcome.result.as_ref().map_or(0, result_size) + publish + reason + 32
}

/// Reads fields from a payload; every claim of length is checked against what is there.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(payload: &'a [u8], what: &'static str) -> Self {
        Self { rest: payload, what }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error("bytes follow the last field")) }
    }

    fn error(&self, detail: &str) -> Malformed {
        Malformed::new(format!("{} frame", self.what), detail)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        match self.rest.split_at_checked(count) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(self.error("ends inside a field")),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(self.error("ends inside a number")),
        }
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    fn str(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.error("text is not UTF-8"))
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.str().map(str::to_owned)
    }

    fn string_if(&mut self, present: bool) -> Result<Option<String>, Malformed> {
        if present { self.string().map(Some) } else { Ok(None) }
    }

    fn i64_if(&mut self, present: bool) -> Result<Option<i64>, Malformed> {
        if present { Ok(Some(i64::from_le_bytes(self.array()?))) } else { Ok(None) }
    }

    pub(super) fn job_id(&mut self) -> Result<JobId, Malformed> {
        self.u64().map(JobId)
    }

    /// The rest of the payload as job numbers.
    pub(super) fn job_ids(&mut self) -> Result<Vec<JobId>, Malformed> {
        let mut jobs = Vec::with_capacity(self.rest.len() / 8);
        while !self.is_empty() {
            jobs.push(self.job_id()?);
        }
        Ok(jobs)
    }

    /// A job; `queue` is reused while the name stays the same, which it mostly does within a batch.
    pub(super) fn job(&mut self, queue: &mut Option<Arc<str>>) -> Result<Job, Malformed> {
        let id = self.job_id()?;
        let name = self.str()?;
        let queue = match queue {
            Some(known) if &**known == name => Arc::clone(known),
            _ => Arc::clone(queue.insert(Arc::from(name))),
        };
        let (facts, in_batch) = self.facts()?;
        let batch = if in_batch { Some(self.u64()?) } else { None };
        Ok(Job { id, queue, facts: Arc::new(facts), message: Arc::new(self.message()?), batch })
    }

    /// And whether the number of a batch follows.
    fn facts(&mut self) -> Result<(TaskFacts, bool), Malformed> {
        let flags = self.array().map(u16::from_le_bytes)?;
        let has = |bit: u16| flags & bit != 0;
        // In the order of `put_facts`.
        let retries = self.u32()?;
        let facts = TaskFacts {
            protocol: match (has(PROTOCOL_ONE), has(HYBRID)) {
                (true, _) => Protocol::One,
                (false, true) => Protocol::Hybrid,
                (false, false) => Protocol::Two,
            },
            task: self.string()?,
            id: self.string()?,
            eta: self.time_if(has(ETA))?,
            expires: self.time_if(has(EXPIRES))?,
            time_limit: self.micros_if(has(TIME_LIMIT))?,
            soft_time_limit: self.micros_if(has(SOFT_TIME_LIMIT))?,
            group: self.string_if(has(GROUP))?,
            parent_id: self.string_if(has(PARENT))?,
            retries,
            ignore_result: has(HAS_IGNORE_RESULT).then_some(has(IGNORE_RESULT)),
            compression: self.string_if(has(COMPRESSION))?,
        };
        Ok((facts, has(BATCH)))
    }

    fn time_if(&mut self, present: bool) -> Result<Option<Timestamp>, Malformed> {
        if present { Ok(Some(Timestamp(self.u64()? as i64))) } else { Ok(None) }
    }

    fn micros_if(&mut self, present: bool) -> Result<Option<Duration>, Malformed> {
        if present { Ok(Some(Duration::from_micros(self.u64()?))) } else { Ok(None) }
    }

    fn message(&mut self) -> Result<Message, Malformed> {
        Ok(Message {
            headers: self.string()?,
            body: self.bytes()?.to_vec(),
            content_type: self.string()?,
            content_encoding: self.string()?,
            properties: self.properties()?,
        })
    }

    fn properties(&mut self) -> Result<Properties, Malformed> {
        let flags = self.u8()?;
        let has = |bit: u8| flags & bit != 0;
        // Struct fields are read in the order they are written here, which is the order of `put_properties`.
        Ok(Properties {
            destination: self.destination()?,
            failed_deliveries: self.u32()?,
            correlation_id: self.string_if(has(CORRELATION_ID))?,
            reply_to: self.string_if(has(REPLY_TO))?,
            delivery_mode: self.i64_if(has(DELIVERY_MODE))?,
            priority: self.i64_if(has(PRIORITY))?,
            expiration: self.string_if(has(EXPIRATION))?,
            delivery_tag: self.string_if(has(DELIVERY_TAG))?,
            redelivered: has(REDELIVERED),
            extra: if has(EXTRA) { self.extra()? } else { Vec::new() },
        })
    }

    fn extra(&mut self) -> Result<Vec<(String, String)>, Malformed> {
        let count = self.u32()? as usize;
        let mut extra = Vec::with_capacity(count.min(self.rest.len() / 8));
        for _ in 0..count {
            extra.push((self.string()?, self.string()?));
        }
        Ok(extra)
    }

    fn destination(&mut self) -> Result<Destination, Malformed> {
        Ok(Destination { exchange: self.string()?, routing_key: self.string()? })
    }

    pub(super) fn result(&mut self) -> Result<ResultWrite, Malformed> {
        Ok(ResultWrite {
            task_id: self.string()?,
            state: self.string()?,
            record: self.bytes()?.to_vec(),
            expires: self.life()?,
            reply_to: None,
        })
    }

    pub(super) fn outcome(&mut self) -> Result<Outcome, Malformed> {
        let job = self.job_id()?;
        let flags = self.u8()?;
        let verdict = self.verdict()?;
        let result = if flags & RESULT != 0 { Some(self.result()?) } else { None };
        let publish = if flags & PUBLISH != 0 { self.publish()? } else { Vec::new() };
        Ok(Outcome { job, verdict, result, publish })
    }

    fn publish(&mut self) -> Result<Vec<Outgoing>, Malformed> {
        let count = self.u32()? as usize;
        let mut publish = Vec::with_capacity(count.min(self.rest.len() / 64));
        for _ in 0..count {
            publish.push(self.outgoing()?);
        }
        Ok(publish)
    }

    fn verdict(&mut self) -> Result<Verdict, Malformed> {
        Ok(match self.u8()? {
            0 => Verdict::Success,
            1 => Verdict::Failure,
            2 => Verdict::Retry,
            3 => Verdict::Ignored,
            4 => Verdict::Requeue,
            5 => Verdict::Reject(DeadReason { kind: self.string()?, detail: self.string()? }),
            other => return Err(self.error(&format!("unknown verdict {other}"))),
        })
    }

    fn chord(&mut self) -> Result<Option<ChordStep>, Malformed> {
        let kind = self.u8()?;
        match kind {
            0 => Ok(None),
            1 | 2 => {
                let index = self.u64()? as i64;
                Ok(Some(ChordStep::Count(ChordPart {
                    index: (kind == 1).then_some(index),
                    group: self.string()?,
                    task_id: self.string()?,
                    part: self.bytes()?.to_vec(),
                    expires: self.life()?,
                })))
            }
            3 => Ok(Some(ChordStep::End { group: self.string()? })),
            other => Err(self.error(&format!("unknown step of a chord {other}"))),
        }
    }

    fn life(&mut self) -> Result<Option<Duration>, Malformed> {
        Ok(match self.u64()? {
            u64::MAX => None,
            micros => Some(Duration::from_micros(micros)),
        })
    }

    fn outgoing(&mut self) -> Result<Outgoing, Malformed> {
        let destination = self.destination()?;
        let eta = match self.u64()? as i64 {
            i64::MIN => None,
            micros => Some(Timestamp(micros)),
        };
        let message = self.message()?;
        let line = Some(self.string()?).filter(|line| !line.is_empty());
        Ok(Outgoing { destination, eta, message, line, chord: self.chord()?.map(Box::new) })
    }
}

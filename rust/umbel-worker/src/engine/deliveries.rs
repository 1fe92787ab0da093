//! What comes from the broker: messages, and the fate of the connection.

use umbel_broker::{Delivery, Disposition, Outgoing, Payload, Tag};
use umbel_protocol::Timestamp;

use super::Engine;
use super::acks::RETURNED;
use super::intake::{Facts, Intake, Refusal};
use super::job::JobId;
use super::ledger::{Held, Place, Taken, Yield};
use super::obituary;
use super::output::{Notice, Output};
use super::records;
use super::slots::Pass;
use super::steady::Now;

impl Engine {
    /// A fetch was answered.
    pub(super) fn delivered(
        &mut self,
        deliveries: Vec<Delivery>,
        next_due: Option<Timestamp>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        self.fetcher.delivered(deliveries.len(), next_due, now);
        if !self.is_open() {
            // Each goes in front of the one before it: the last first keeps their order.
            for delivery in deliveries.into_iter().rev() {
                self.ledger.owe(delivery.tag, RETURNED, Yield::default());
            }
            return;
        }
        for delivery in deliveries {
            self.take(delivery, now, out);
        }
    }

    fn take(&mut self, delivery: Delivery, now: Now, out: &mut Vec<Output>) {
        self.totals.received += 1;
        let Delivery { tag, queue, payload } = delivery;
        let message = match payload {
            Payload::Message(message) => message,
            Payload::Malformed { raw: _, error } => {
                return self.refuse(tag, Refusal::new("undecodable", error.to_string()), Vec::new(), out);
            }
        };
        match Intake::new(&self.config, &self.tasks).read(&message, now.wall) {
            Err(mut refusal) => {
                if let Some(record) = &mut refusal.record {
                    self.ledger.address(std::slice::from_mut(record), &message);
                }
                let tells = self.tasks.get(&refusal.task).is_some_and(|task| task.options.tells_failures);
                let (queue, record) = (self.config.own_queue(&queue), refusal.record.as_ref());
                let told = record.and_then(|record| obituary::of(&message, &queue, Some(record), tells));
                self.refuse(tag, *refusal, told.into_iter().collect(), out);
            }
            Ok(facts) => {
                let taken = Taken { tag, queue, message: message.into() };
                self.accept(taken, facts, now, out);
            }
        }
    }

    fn refuse(&mut self, tag: Tag, refusal: Refusal, publish: Vec<Outgoing>, out: &mut Vec<Output>) {
        self.totals.dead += 1;
        let Refusal { task, id, reason, record, is_stored } = refusal;
        out.push(Output::Notice(Notice::Dead { task, id, reason: reason.clone() }));
        self.ledger.owe(
            tag,
            Disposition::Dead(reason),
            Yield { publish, ..Yield::record(record.filter(|_| is_stored)) },
        );
    }

    fn accept(&mut self, taken: Taken, facts: Facts, now: Now, out: &mut Vec<Output>) {
        if facts.task.options.fair {
            self.let_next_in(&taken);
        }
        if facts.is_expired(now.wall) {
            let job = self.admit(taken, facts, Place::Waiting);
            return self.expire(job, now, out);
        }
        if self.revocations.covers(facts.id(), &taken.message, now.wall) {
            let job = self.admit(taken, facts, Place::Waiting);
            return self.discard_revoked(job, now, out);
        }
        let eta = facts.eta().filter(|&eta| eta > now.wall);
        if let Some(until) = eta {
            let is_far = until > now.wall.after(self.config.delay_threshold);
            if is_far || !self.timer.has_room() {
                self.totals.delayed += 1;
                return self.ledger.owe(taken.tag, Disposition::Delay { until }, Yield::default());
            }
        }
        out.push(Output::Notice(Notice::Received(facts.headers.clone())));
        match eta {
            Some(eta) => {
                let job = self.admit(taken, facts, Place::Timed);
                self.timer.insert(eta, job);
            }
            None => {
                let job = self.admit(taken, facts, Place::Waiting);
                self.waiting.push_back(job);
            }
        }
    }

    fn admit(&mut self, taken: Taken, facts: Facts, place: Place) -> JobId {
        let pass = Pass::of(&taken, &facts, &self.config.queue_limits);
        self.ledger.admit(Held::new(taken, facts, place, pass))
    }

    /// A job's time is over before it began.
    pub(super) fn expire(&mut self, job: JobId, now: Now, out: &mut Vec<Output>) {
        let Some(held) = self.ledger.get(job) else { return };
        let record = records::expired(&held.facts, &self.last_try(held, None), self.config.result_expires, now.wall);
        let last_words = self.last_words(held, record);
        self.totals.expired += 1;
        out.push(Output::Notice(Notice::Discarded {
            task: held.facts.name().to_owned(),
            id: held.facts.id().to_owned(),
            why: "expired",
        }));
        self.ledger.close(job, Disposition::Ack, last_words);
        self.fetcher.freed();
    }

    /// Jobs whose eta has come wait no longer.
    pub(super) fn release_due(&mut self, now: Now) {
        while let Some(job) = self.timer.pop_due(now.wall) {
            if let Some(held) = self.ledger.get_mut(job) {
                held.place = Place::Waiting;
                self.waiting.push_back(job);
            }
        }
        if let Some(at) = self.timer.next() {
            self.alarm.at_wall(at, now);
        }
    }

    /// Settlements were confirmed.
    pub(super) fn settled(&mut self, count: usize, lost: &[Tag], entered: &[Tag]) {
        self.totals.lost += lost.len() as u64;
        let confirmed = self.ledger.confirm(count, lost, entered);
        if confirmed.brings_more {
            self.fetcher.more();
        }
        if !confirmed.asked.is_empty() {
            self.answered(confirmed.asked);
        }
    }

    /// The connection broke.
    pub(super) fn disconnected(&mut self) {
        self.ledger.disconnect();
        self.fetcher.abandon();
    }

    /// Connected again; `lost` are messages that run elsewhere now. What has not started here will not.
    pub(super) fn reconnected(&mut self, lost: &[Tag], now: Now, out: &mut Vec<Output>) {
        self.extend_grace(now);
        for job in self.ledger.reconnect(lost) {
            self.totals.lost += 1;
            let Some(held) = self.ledger.get(job) else { continue };
            match held.place {
                Place::Running(_) => {}
                Place::Queued(child) if held.recalled => debug_assert!(self.pool.get(child).is_some()),
                Place::Queued(child) => self.recall_jobs(child, vec![job], out),
                Place::Timed => {
                    if let Some(eta) = held.facts.eta() {
                        self.timer.remove(eta, job);
                    }
                    self.ledger.drop_lost(job);
                }
                Place::Waiting => self.ledger.drop_lost(job),
            }
        }
        self.fetcher.abandon();
    }
}

//! The broker thread's work on one consumer: exchanges, heartbeats, and what to do when they fail.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use umbel_broker::{BrokerError, Consumer, DeadReason, Disposition, Exchanged, NextStep, Settlement, Tag};
use umbel_protocol::{ChordStep, ResultWrite, chord};

use super::control::remember;
use super::event::WorkerEvent;
use super::outbox::{Stopping, Work};
use super::results::{Apart, Results};
use super::settler::Settler;
use super::shared::{ToEngine, count};
use crate::engine::Input;

/// Why work on a connection ended.
pub(super) enum Setback {
    /// The connection is lost.
    Lost(BrokerError),
    /// The worker ends.
    Stopping,
}

impl From<Stopping> for Setback {
    fn from(_: Stopping) -> Self {
        Self::Stopping
    }
}

/// What helps against an error.
#[derive(Debug, PartialEq)]
enum Remedy {
    /// Time.
    Pause,
    /// A new connection.
    Reconnect,
    /// Trying settlements one by one.
    Isolate,
}

fn remedy(error: &BrokerError) -> Remedy {
    match (error.next_step(), error) {
        (NextStep::Reconnect, _) => Remedy::Reconnect,
        (NextStep::GiveUp, BrokerError::Unroutable { .. } | BrokerError::Protocol { .. }) => Remedy::Isolate,
        (NextStep::Retry | NextStep::GiveUp, _) => Remedy::Pause,
    }
}

/// The broker thread's work on one consumer.
pub(super) struct Connection<'a> {
    consumer: Box<dyn Consumer>,
    settler: &'a mut Settler,
    heartbeat_at: Instant,
    /// The queues ran out, and nothing rang since.
    hungry: bool,
}

impl<'a> Connection<'a> {
    pub(super) fn new(consumer: Box<dyn Consumer>, settler: &'a mut Settler) -> Self {
        let heartbeat_at = Instant::now() + settler.options.lease / 3;
        Self { consumer, settler, heartbeat_at, hungry: false }
    }

    /// Serves the outbox until something goes wrong or the worker ends.
    pub(super) fn serve(&mut self) -> Setback {
        loop {
            if let Err(setback) = self.step() {
                return setback;
            }
        }
    }

    fn step(&mut self) -> Result<(), Setback> {
        self.keep_alive()?;
        self.listen()?;
        match self.settler.shared.outbox.take(self.heartbeat_at)? {
            Some(Work { mut settlements, fetch }) => {
                self.store_results(&mut settlements)?;
                self.exchange(settlements, fetch)
            }
            None => Ok(()),
        }
    }

    /// While there is nothing to do: hears of messages on the connection itself, if that is possible.
    fn listen(&mut self) -> Result<(), Setback> {
        if !self.hungry || !self.consumer.listens() {
            return Ok(());
        }
        let consumer = &mut self.consumer;
        let listen = |timeout, waker: BorrowedFd<'_>| consumer.listen(timeout, waker);
        match self.settler.shared.outbox.listening(self.heartbeat_at, listen) {
            Some(Ok(true)) => {
                self.hungry = false;
                self.settler.shared.ring();
                Ok(())
            }
            Some(Err(error)) if remedy(&error) == Remedy::Reconnect => Err(Setback::Lost(error)),
            Some(Err(error)) => {
                log::info!("cannot listen for messages on {}: {error}", self.settler.broker.display_url());
                // The next fetch, by the safety net at the latest, says whether that was all.
                self.hungry = false;
                Ok(())
            }
            Some(Ok(false)) | None => Ok(()),
        }
    }

    /// Says "alive" when it is time.
    fn keep_alive(&mut self) -> Result<(), Setback> {
        let now = Instant::now();
        if now < self.heartbeat_at {
            return Ok(());
        }
        self.heartbeat_at = now + self.settler.options.lease / 3;
        match self.consumer.heartbeat() {
            Ok(0) => Ok(()),
            Ok(_) => {
                self.settler.shared.ring();
                Ok(())
            }
            Err(error) if remedy(&error) == Remedy::Reconnect => Err(Setback::Lost(error)),
            Err(error) => {
                // The lease outlasts two that fail; an exchange would report the same.
                log::warn!("cannot renew the lease: {error}");
                Ok(())
            }
        }
    }

    /// Reports an error and waits before the next attempt, keeping the lease meanwhile.
    fn pause(&mut self, url: String, error: &BrokerError, failures: u32) -> Result<(), Setback> {
        let until = Instant::now() + self.settler.announce_pause(url, error, failures);
        loop {
            self.keep_alive()?;
            self.settler.shared.outbox.rest(until.min(self.heartbeat_at))?;
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    /// Repeats one exchange until it succeeds.
    fn exchange(&mut self, settlements: Vec<Settlement>, fetch: Option<usize>) -> Result<(), Setback> {
        match self.attempt(&settlements, fetch.unwrap_or(0), !settlements.is_empty())? {
            Ok(exchanged) => {
                self.report(settlements.len(), fetch, exchanged);
                // After the report: the engine goes on while these are dropped.
                self.settler.shared.outbox.recycle(settlements);
                Ok(())
            }
            Err(refused) => {
                log::debug!("{} settlements are carried out one by one: {refused}", settlements.len());
                self.exchange_singly(settlements)?;
                if fetch.is_some() { self.exchange(Vec::new(), fetch) } else { Ok(()) }
            }
        }
    }

    /// Repeats an exchange through lost connections and pauses until it succeeds, or, if that is `refusable`, is
    /// refused for what it contains.
    fn attempt(
        &mut self,
        settlements: &[Settlement],
        want: usize,
        refusable: bool,
    ) -> Result<Result<Exchanged, BrokerError>, Setback> {
        let mut failures = 0;
        loop {
            let error = match self.consumer.exchange(settlements, want) {
                Ok(exchanged) => {
                    count(&self.settler.shared.traffic.exchanges, 1);
                    if failures > 0 {
                        self.settler.connected();
                    }
                    return Ok(Ok(exchanged));
                }
                Err(error) => error,
            };
            match remedy(&error) {
                Remedy::Reconnect => return Err(Setback::Lost(error)),
                Remedy::Isolate if refusable => return Ok(Err(error)),
                Remedy::Isolate | Remedy::Pause => {
                    failures += 1;
                    self.pause(self.settler.broker.display_url(), &error, failures)?;
                }
            }
        }
    }

    fn report(&mut self, settled: usize, fetch: Option<usize>, exchanged: Exchanged) {
        let Exchanged { deliveries, lost, entered, next_due } = exchanged;
        let shared = &self.settler.shared;
        count(&shared.traffic.settled, settled);
        count(&shared.traffic.fetched, deliveries.len());
        let weight = settled + deliveries.len();
        let confirmed = (settled > 0).then_some(Input::Settled { count: settled, lost, entered });
        if let Some(want) = fetch {
            self.hungry = deliveries.len() < want;
            if self.hungry && !self.consumer.listens() {
                shared.bell.listen();
            }
        }
        // One that is due later is the engine's to wait for.
        let parks = deliveries.is_empty() && next_due.is_none();
        let answered = fetch.filter(|&want| !(parks && shared.outbox.park(want)));
        let delivered = answered.map(|_| Input::Delivered { deliveries, next_due });
        self.settler.helm.tell(confirmed.into_iter().chain(delivered), weight);
    }

    /// Settles one by one. What is refused on its own is tried without its follow-ups, then without its results,
    /// its message going to the dead letters.
    fn exchange_singly(&mut self, settlements: Vec<Settlement>) -> Result<(), Setback> {
        let settled = settlements.len();
        let (mut lost, mut entered): (Vec<Tag>, Vec<Tag>) = Default::default();
        for mut settlement in settlements {
            let mut left = 2;
            let exchanged = loop {
                match self.attempt(std::slice::from_ref(&settlement), 0, left > 0)? {
                    Ok(exchanged) => break exchanged,
                    Err(error) => {
                        self.refuse(&mut settlement, &error);
                        settlement.publish.clear();
                        if left == 1 {
                            settlement.results.clear();
                        }
                        left -= 1;
                    }
                }
            };
            lost.extend(exchanged.lost);
            entered.extend(exchanged.entered);
        }
        self.report(settled, None, Exchanged { lost, entered, ..Exchanged::default() });
        Ok(())
    }

    /// Sends a message whose outcome was refused to the dead letters, if it is still ours.
    fn refuse(&self, settlement: &mut Settlement, error: &BrokerError) {
        let kind = if matches!(error, BrokerError::Unroutable { .. }) { "unroutable" } else { "refused" };
        let dead = settlement.tag.is_some();
        if dead {
            let detail = format!("its outcome was refused: {error}");
            settlement.disposition = Disposition::Dead(DeadReason { kind: kind.into(), detail });
            settlement.publish.clear();
        }
        let id = settlement.results.first().map(|result| result.task_id.clone()).unwrap_or_default();
        self.settler.shared.event(WorkerEvent::Refused { id, error: error.to_string(), dead });
    }

    /// Writes the results of a batch to their own store, if they have one, and takes them out of the settlements.
    fn store_results(&mut self, settlements: &mut [Settlement]) -> Result<(), Setback> {
        if matches!(self.settler.results, Results::Settled) {
            return Ok(());
        }
        let (mut batch, mut owners) = (Vec::new(), Vec::new());
        for (owner, settlement) in settlements.iter_mut().enumerate() {
            owners.resize(owners.len() + settlement.results.len(), owner);
            batch.append(&mut settlement.results);
        }
        if batch.is_empty() || self.write_results(&batch)?.is_ok() {
            return self.count_chords(settlements);
        }
        for (record, owner) in batch.into_iter().zip(owners) {
            let record = [record];
            if let Err(error) = self.write_results(&record)? {
                let settlement = &mut settlements[owner];
                settlement.results.extend(record);
                self.refuse(settlement, &error);
                settlement.results.clear();
            }
        }
        self.count_chords(settlements)
    }

    /// Takes the steps of chords in the result store, and out of the settlements: what waits for a chord that is complete
    /// goes out with its members, and nothing of the others.
    fn count_chords(&mut self, settlements: &mut [Settlement]) -> Result<(), Setback> {
        for settlement in settlements.iter_mut() {
            if settlement.publish.iter().all(|outgoing| outgoing.chord.is_none()) {
                continue;
            }
            for mut outgoing in std::mem::take(&mut settlement.publish) {
                match outgoing.chord.take().map(|step| *step) {
                    None => settlement.publish.push(outgoing),
                    Some(ChordStep::End { group }) => {
                        let ended = self.on_store(|results| results.end_chord(&group))?;
                        if let Some(Err(error)) = ended {
                            log::warn!("what is kept of chord {group} stays until it expires: {error}");
                        }
                        settlement.publish.push(outgoing);
                    }
                    Some(ChordStep::Count(part)) => match self.on_store(|results| results.count_part(&part))? {
                        None | Some(Ok(None)) => {}
                        Some(Ok(Some(members))) => {
                            outgoing.message = chord::completed(&outgoing.message, &members);
                            settlement.publish.push(outgoing);
                        }
                        Some(Err(error)) => self.refuse(settlement, &error),
                    },
                }
            }
        }
        Ok(())
    }

    /// Repeats a write until it succeeds, or is refused for what it contains. Meanwhile nothing is settled or
    /// fetched, so that what waits for the store stays bounded by what the engine holds.
    fn write_results(&mut self, batch: &[ResultWrite]) -> Result<Result<(), BrokerError>, Setback> {
        let written = self.on_store(|results| results.write(batch))?;
        if let Some(Ok(())) = written {
            count(&self.settler.shared.traffic.stored, batch.len());
        }
        Ok(written.unwrap_or(Ok(())))
    }

    /// Repeats a call of a result store of its own until it succeeds or is refused; `None` without such a store.
    fn on_store<T>(
        &mut self,
        mut work: impl FnMut(&mut Apart) -> Result<T, BrokerError>,
    ) -> Result<Option<Result<T, BrokerError>>, Setback> {
        let mut failures = 0;
        loop {
            let Results::Apart(results) = &mut self.settler.results else { return Ok(None) };
            let url = results.display_url();
            match work(results) {
                Ok(done) => {
                    if failures > 0 {
                        self.settler.shared.event(WorkerEvent::Connected { url });
                    }
                    return Ok(Some(Ok(done)));
                }
                Err(error) if remedy(&error) == Remedy::Isolate || matches!(error, BrokerError::Config { .. }) => {
                    return Ok(Some(Err(error)));
                }
                Err(error) => {
                    failures += 1;
                    self.pause(url, &error, failures)?;
                }
            }
        }
    }

    /// After a lost connection: reconciles with the engine.
    pub(super) fn recover(&mut self, error: BrokerError) -> Result<(), Stopping> {
        let known = self.settler.disconnected()?;
        log::debug!("reconnecting with {} held messages: {error}", known.len());
        let mut failures = 0;
        loop {
            let recovered = self.consumer.recover(&known);
            match recovered.and_then(|lost| remember(&*self.settler.broker, &self.settler.shared).map(|()| lost)) {
                Ok(lost) => {
                    self.settler.connected();
                    self.settler.shared.to_engine.push(ToEngine::Reconnected(lost));
                    self.heartbeat_at = Instant::now() + self.settler.options.lease / 3;
                    return Ok(());
                }
                Err(error) => {
                    failures += 1;
                    self.settler.pause(&error, failures)?;
                }
            }
        }
    }

    /// Gives back what is still held, which is nothing after an orderly end.
    pub(super) fn close(mut self) {
        if let Err(error) = self.consumer.close() {
            log::warn!("cannot say goodbye to the broker, whose messages come back by their lease: {error}");
        }
    }
}

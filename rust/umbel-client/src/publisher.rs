//! Publishing from many threads over one connection, without a thread of its own.
//!
//! 1. A caller who finds nobody publishing becomes the leader and publishes what is queued, its own messages among
//!    them, in one batch: a lone caller pays one round trip and no hand-over.
//! 2. Callers who come meanwhile queue up and sleep. When the leader's own messages are confirmed it names the first
//!    in the queue its successor, who takes everything queued: many callers share a round trip.
//! 3. When publishing fails, the batch goes back to the front of the queue; the leader pauses, reconnects and tries
//!    again until its own deadline, then passes the rest on. Each caller leaves at its own deadline, or when its own
//!    patience with errors ends, with the last error.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use umbel_broker::sync::{Condvar, Mutex};
use umbel_broker::{Broker, BrokerError, ExchangeKind, NextStep, Outgoing, Publisher, Result};
use umbel_protocol::Destination;

use crate::call::{Call, CallError};
use crate::kept::{Kept, no_answer};
use crate::retry_policy::{Backoff, RetryPolicy};

/// Messages in one batch; one caller's messages always go together.
const BATCH: usize = 1024;

/// Publishes for all threads of a process.
pub struct CombiningPublisher {
    broker: Arc<dyn Broker>,
    queue: Mutex<Queue>,
    /// For bindings, which are rare.
    bindings: Kept<Box<dyn Publisher>>,
}

struct Queue {
    waiting: VecDeque<Parcel>,
    led: bool,
    /// In the queue while nobody publishes.
    connection: Option<Box<dyn Publisher>>,
    backoff: Backoff,
    last_error: Option<BrokerError>,
}

/// One caller's messages.
struct Parcel {
    ticket: Arc<Ticket>,
    messages: Vec<Outgoing>,
    /// The caller's; see [`Call::with_patience`].
    patience: Option<Duration>,
    /// When sending it failed for the first time.
    failed_at: Option<Instant>,
}

impl Parcel {
    /// Whether its caller is to hear of an error that comes now.
    fn is_out_of_patience(&mut self, now: Instant) -> bool {
        let since = *self.failed_at.get_or_insert(now);
        self.patience.is_some_and(|patience| now.saturating_duration_since(since) >= patience)
    }
}

#[derive(Default)]
struct Ticket {
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Default)]
enum Turn {
    #[default]
    Waiting,
    /// Named leader.
    Lead,
    Done(Result<()>),
    /// The caller has left; its messages, if they come back, are dropped.
    Gone,
}

impl Ticket {
    fn set(&self, turn: Turn) {
        *self.turn.lock() = turn;
        self.changed.notify_one();
    }

    fn outcome(&self) -> Option<Result<()>> {
        match &*self.turn.lock() {
            Turn::Done(outcome) => Some(outcome.clone()),
            _ => None,
        }
    }
}

impl CombiningPublisher {
    /// Publishes to `broker`; connects at first use.
    pub fn new(broker: Arc<dyn Broker>, policy: RetryPolicy) -> Self {
        let queue = Queue {
            waiting: VecDeque::new(),
            led: false,
            connection: None,
            backoff: Backoff::new(policy),
            last_error: None,
        };
        let for_bindings = Arc::clone(&broker);
        let bindings = Kept::new(broker.display_url(), policy, move || for_bindings.publisher());
        Self { broker, queue: Mutex::new(queue), bindings }
    }

    /// Publishes `messages`, in order, and returns when the broker has confirmed them. Repeats after failures that
    /// may pass, until `call`'s deadline or the end of its patience; then the last error. After an error any of the
    /// messages may have been sent.
    pub fn publish(&self, messages: Vec<Outgoing>, call: &mut Call<'_>) -> std::result::Result<(), CallError> {
        if messages.is_empty() {
            return Ok(());
        }
        let ticket = Arc::new(Ticket::default());
        let mut queue = self.queue.lock();
        let patience = call.patience();
        queue.waiting.push_back(Parcel { ticket: Arc::clone(&ticket), messages, patience, failed_at: None });
        if !queue.led {
            queue.led = true;
            return self.lead(queue, &ticket, call);
        }
        drop(queue);
        self.follow(&ticket, call)
    }

    /// Declares a binding; see [`Publisher::bind`].
    pub fn bind(
        &self,
        queue: &str,
        destination: &Destination,
        kind: ExchangeKind,
        call: &mut Call<'_>,
    ) -> std::result::Result<(), CallError> {
        self.bindings.with(call, |publisher| publisher.bind(queue, destination, kind))
    }

    /// Callers whose messages wait for the batch that is on its way.
    pub fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// Closes connections that are not in use.
    pub fn close(&self) {
        let former = self.queue.lock().connection.take();
        drop(former);
        self.bindings.close();
    }

    /// Waits for a leader to publish the messages of `ticket`, or to be named leader.
    fn follow(&self, ticket: &Arc<Ticket>, call: &mut Call<'_>) -> std::result::Result<(), CallError> {
        loop {
            let mut turn = ticket.turn.lock();
            if matches!(*turn, Turn::Waiting) {
                (turn, _) = ticket.changed.wait_until(turn, call.nap());
            }
            match &*turn {
                Turn::Done(outcome) => return outcome.clone().map_err(CallError::from),
                Turn::Lead => {
                    drop(turn);
                    return self.lead(self.queue.lock(), ticket, call);
                }
                Turn::Waiting | Turn::Gone => drop(turn),
            }
            if let Err(interrupted) = call.pulse() {
                return self.leave(self.queue.lock(), ticket, interrupted);
            }
            if call.is_late() {
                let queue = self.queue.lock();
                let error = queue.last_error.clone().unwrap_or_else(|| no_answer(&self.broker.display_url(), call));
                return self.leave(queue, ticket, error.into());
            }
        }
    }

    /// Publishes what is queued until the messages of `ticket` are done with; then names a successor.
    fn lead<'q>(
        &'q self,
        mut queue: MutexGuard<'q, Queue>,
        ticket: &Arc<Ticket>,
        call: &mut Call<'_>,
    ) -> std::result::Result<(), CallError> {
        let mut failing_since = None;
        loop {
            let batch = queue.take_batch();
            let connection = queue.connection.take();
            drop(queue);
            let (connection, failed) = self.send(connection, batch);
            queue = self.queue.lock();
            queue.connection = connection;
            let pause = match failed {
                None => queue.succeeded(),
                Some((error, parcels)) => {
                    let left = call.patience_left(*failing_since.get_or_insert_with(Instant::now));
                    let pause = queue.failed(error, parcels);
                    left.map_or(pause, |left| pause.min(left))
                }
            };
            if let Some(outcome) = ticket.outcome() {
                queue.hand_over();
                return outcome.map_err(CallError::from);
            }
            if call.is_late_by(pause) {
                let error = queue.last_error.clone().unwrap_or_else(|| no_answer(&self.broker.display_url(), call));
                ticket.set(Turn::Lead);
                return self.leave(queue, ticket, error.into());
            }
            drop(queue);
            let interrupted = call.pause(pause).and_then(|()| call.pulse());
            queue = self.queue.lock();
            if let Err(interrupted) = interrupted {
                ticket.set(Turn::Lead);
                return self.leave(queue, ticket, interrupted);
            }
        }
    }

    /// Takes the messages of `ticket` out of the queue, passes leadership on if it holds it, and returns `why`;
    /// unless the messages were confirmed in this very moment.
    fn leave(
        &self,
        mut queue: MutexGuard<'_, Queue>,
        ticket: &Arc<Ticket>,
        why: CallError,
    ) -> std::result::Result<(), CallError> {
        queue.waiting.retain(|parcel| !Arc::ptr_eq(&parcel.ticket, ticket));
        let turn = std::mem::replace(&mut *ticket.turn.lock(), Turn::Gone);
        match turn {
            Turn::Done(outcome) => outcome.map_err(CallError::from),
            Turn::Lead => {
                queue.hand_over();
                Err(why)
            }
            Turn::Waiting | Turn::Gone => Err(why),
        }
    }

    /// Publishes a batch and tells its callers. What may succeed later comes back, with the error.
    #[allow(clippy::type_complexity)] // A connection and what failed: a name would say no more.
    fn send(
        &self,
        connection: Option<Box<dyn Publisher>>,
        parcels: Vec<Parcel>,
    ) -> (Option<Box<dyn Publisher>>, Option<(BrokerError, Vec<Parcel>)>) {
        let mut connection = match connection.map_or_else(|| self.broker.publisher(), Ok) {
            Ok(connection) => connection,
            Err(error) if error.next_step() == NextStep::GiveUp => {
                parcels.iter().for_each(|parcel| parcel.ticket.set(Turn::Done(Err(error.clone()))));
                return (None, None);
            }
            Err(error) => return (None, Some((error, parcels))),
        };
        match send_all(&mut *connection, parcels) {
            None => (Some(connection), None),
            Some((error, parcels)) => {
                let keep = error.next_step() != NextStep::Reconnect;
                (keep.then_some(connection), Some((error, parcels)))
            }
        }
    }
}

/// Publishes `parcels` as one batch. If one of them is refused for good, nothing was sent: each goes alone, so that
/// only the one at fault fails.
fn send_all(connection: &mut dyn Publisher, parcels: Vec<Parcel>) -> Option<(BrokerError, Vec<Parcel>)> {
    let (outcome, parcels) = send_together(connection, parcels);
    match outcome {
        Err(error) if error.next_step() != NextStep::GiveUp => return Some((error, parcels)),
        Err(_) if parcels.len() > 1 => {
            let mut rest = VecDeque::from(parcels);
            while let Some(parcel) = rest.pop_front() {
                match connection.publish(&parcel.messages) {
                    Err(error) if error.next_step() != NextStep::GiveUp => {
                        rest.push_front(parcel);
                        return Some((error, rest.into()));
                    }
                    outcome => parcel.ticket.set(Turn::Done(outcome)),
                }
            }
        }
        outcome => parcels.iter().for_each(|parcel| parcel.ticket.set(Turn::Done(outcome.clone()))),
    }
    None
}

/// One `publish` call for all parcels, which are given back whole.
fn send_together(connection: &mut dyn Publisher, mut parcels: Vec<Parcel>) -> (Result<()>, Vec<Parcel>) {
    if let [parcel] = parcels.as_slice() {
        return (connection.publish(&parcel.messages), parcels);
    }
    let lengths: Vec<usize> = parcels.iter().map(|parcel| parcel.messages.len()).collect();
    let batch: Vec<Outgoing> = parcels.iter_mut().flat_map(|parcel| parcel.messages.drain(..)).collect();
    let outcome = connection.publish(&batch);
    if outcome.is_err() {
        let mut batch = batch.into_iter();
        for (parcel, length) in parcels.iter_mut().zip(lengths) {
            parcel.messages.extend(batch.by_ref().take(length));
        }
    }
    (outcome, parcels)
}

impl Queue {
    /// Takes parcels from the front, at least one if there is any.
    fn take_batch(&mut self) -> Vec<Parcel> {
        let mut count = 0;
        let mut messages = 0;
        for parcel in &self.waiting {
            messages += parcel.messages.len();
            if count > 0 && messages > BATCH {
                break;
            }
            count += 1;
        }
        self.waiting.drain(..count).collect()
    }

    /// What was sent needs no repetition: no pause.
    fn succeeded(&mut self) -> Duration {
        self.backoff.reset();
        self.last_error = None;
        Duration::ZERO
    }

    /// Puts parcels back where they were, except those whose callers have had enough; says how long to pause.
    fn failed(&mut self, error: BrokerError, parcels: Vec<Parcel>) -> Duration {
        let (pause, now) = (self.backoff.pause(), Instant::now());
        log::debug!("{error}; next try in {pause:?}");
        for mut parcel in parcels.into_iter().rev() {
            if parcel.is_out_of_patience(now) {
                parcel.ticket.set(Turn::Done(Err(error.clone())));
            } else if !matches!(*parcel.ticket.turn.lock(), Turn::Gone) {
                self.waiting.push_front(parcel);
            }
        }
        self.last_error = Some(error);
        pause
    }

    /// Names the first in the queue leader, or nobody.
    fn hand_over(&mut self) {
        match self.waiting.front() {
            Some(parcel) => parcel.ticket.set(Turn::Lead),
            None => self.led = false,
        }
    }
}

//! Taking and settling messages of a broker that is a Python object.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;

use umbel_broker::{
    BrokerError, Capability, Consumer, ConsumerOptions, Disposition, Exchanged, GivenUp, Result, Settlement, Tag,
};

use super::broker::PythonBroker;
use super::substitutes::WaitingRoom;
use super::{Place, messages};
use crate::clock::ProcessClock;

/// One `umbel.brokers.base.Consumer`.
pub(super) struct PythonConsumer {
    place: Place,
    consumer: Py<PyAny>,
    listens: bool,
    room: Option<WaitingRoom>,
    /// Where locks are given up, if there are any.
    locks: Option<Py<PyAny>>,
}

impl PythonConsumer {
    pub(super) fn open(broker: &PythonBroker, options: &ConsumerOptions) -> Result<Self> {
        let place = broker.place().clone();
        let (consumer, listens, locks) = place.attached(|py| {
            let arguments = (options.worker_id.as_str(), options.queues.clone(), options.lease.as_secs_f64());
            let consumer = broker.object().call_method1(py, "consumer", arguments)?;
            let listens = consumer.getattr(py, "listens")?.is_truthy(py)?;
            let locks =
                broker.can(Capability::Locks).then(|| broker.object().call_method0(py, "control")).transpose()?;
            Ok((consumer, listens, locks))
        })?;
        let keeps = broker.can(Capability::Delays);
        let room = (!keeps).then(|| WaitingRoom::new(Arc::new(ProcessClock)));
        Ok(Self { place, consumer, listens, room, locks })
    }

    fn call(&self, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        // There are no slots to wait for: what would enter has.
        let enters = |settlement: &&Settlement| matches!(settlement.disposition, Disposition::Enter(_));
        let entered: Vec<Tag> =
            settlements.iter().filter(enters).filter_map(|settlement| settlement.tag.clone()).collect();
        let others: Vec<Settlement>;
        let settlements = if entered.is_empty() {
            settlements
        } else {
            others = settlements.iter().filter(|settlement| !enters(settlement)).cloned().collect();
            &others
        };
        let mut exchanged = self.place.attached(|py| {
            let arguments = (messages::settlement_list(py, settlements)?, want);
            let answer = self.consumer.bind(py).call_method1("exchange", arguments)?;
            let (deliveries, lost, next_due): (Bound<'_, PyAny>, Vec<String>, Option<f64>) = answer.extract()?;
            Ok(Exchanged {
                deliveries: messages::each(&deliveries, messages::delivery)?,
                lost: lost.into_iter().map(|tag| Tag(tag.into())).collect(),
                entered: Vec::new(),
                next_due: next_due.map(messages::moment),
            })
        })?;
        self.give_up(settlements, &exchanged.lost)?;
        exchanged.entered = entered;
        Ok(exchanged)
    }

    /// Gives up the locks of what has been settled.
    fn give_up(&self, settlements: &[Settlement], lost: &[Tag]) -> Result<()> {
        let Some(control) = &self.locks else { return Ok(()) };
        let held =
            settlements.iter().filter(|settlement| settlement.tag.as_ref().is_none_or(|tag| !lost.contains(tag)));
        let locks = held.flat_map(|settlement| &settlement.gives_up).filter_map(|given_up| match given_up {
            GivenUp::Lock { name, owner } => Some((name.clone(), owner.clone())),
            GivenUp::Slot { .. } => None,
        });
        let locks: Vec<(String, String)> = locks.collect();
        if locks.is_empty() {
            return Ok(());
        }
        self.place.attached(|py| control.call_method1(py, "release", (locks,)).map(drop))
    }
}

impl Consumer for PythonConsumer {
    fn exchange(&mut self, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        // Its store cannot be the results' too.
        if settlements.iter().any(Settlement::needs_results) {
            return Err(BrokerError::results_not_stored());
        }
        let Some(mut room) = self.room.take() else { return self.call(settlements, want) };
        let exchanged = self.exchange_with(&mut room, settlements, want);
        self.room = Some(room);
        exchanged
    }

    fn heartbeat(&mut self) -> Result<usize> {
        self.place.attached(|py| self.consumer.call_method0(py, "heartbeat")?.extract(py))
    }

    fn listens(&self) -> bool {
        self.listens
    }

    fn listen(&mut self, timeout: Duration, waker: BorrowedFd<'_>) -> Result<bool> {
        let arguments = (timeout.as_secs_f64(), waker.as_raw_fd());
        self.place.attached(|py| self.consumer.call_method1(py, "wait", arguments)?.extract(py))
    }

    fn recover(&mut self, known: &[Tag]) -> Result<Vec<Tag>> {
        let theirs = self.room.as_ref().map_or_else(|| known.to_vec(), |room| room.known(known));
        let theirs: Vec<String> = theirs.iter().map(|tag| tag.0.to_string()).collect();
        let lost: Vec<String> =
            self.place.attached(|py| self.consumer.call_method1(py, "recover", (theirs,))?.extract(py))?;
        let lost: Vec<Tag> = lost.into_iter().map(|tag| Tag(tag.into())).collect();
        Ok(match &mut self.room {
            Some(room) => room.forget(known, &lost),
            None => lost,
        })
    }

    fn close(&mut self) -> Result<()> {
        self.place.attached(|py| self.consumer.call_method0(py, "close").map(drop))
    }
}

impl PythonConsumer {
    /// With a room for messages that wait for their time.
    fn exchange_with(&self, room: &mut WaitingRoom, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        let plan = room.plan(settlements);
        let due = room.count_due(want);
        let mut exchanged = self.call(&plan.left, want - due)?;
        let lost = room.settled(plan, exchanged.lost);
        let mut deliveries = room.due(due);
        room.hold(&exchanged.deliveries);
        deliveries.append(&mut exchanged.deliveries);
        let next_due = room.next_due().into_iter().chain(exchanged.next_due).min();
        Ok(Exchanged { deliveries, lost, entered: exchanged.entered, next_due })
    }
}

impl Drop for PythonConsumer {
    /// Falls silent.
    fn drop(&mut self) {
        self.place.end(&self.consumer, "disconnect");
        if let Some(control) = &self.locks {
            self.place.end(control, "close");
        }
    }
}

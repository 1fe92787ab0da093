//! Taking and settling messages of a broker that is a Python object.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;

use umbel_broker::{
    BrokerError, Capability, Clock, Consumer, ConsumerOptions, Disposition, Exchanged, Result, Settlement, Tag,
};

use super::broker::PythonBroker;
use super::substitutes::{Memory, WaitingRoom};
use super::{Place, messages};
use crate::clock::ProcessClock;

/// One `umbel.brokers.base.Consumer`.
pub(super) struct PythonConsumer {
    place: Place,
    consumer: Py<PyAny>,
    listens: bool,
    room: Option<WaitingRoom>,
    memory: Arc<Memory>,
}

impl PythonConsumer {
    pub(super) fn open(broker: &PythonBroker, options: &ConsumerOptions) -> Result<Self> {
        let place = broker.place().clone();
        let (consumer, listens) = place.attached(|py| {
            let arguments = (options.worker_id.as_str(), options.queues.clone(), options.lease.as_secs_f64());
            let consumer = broker.object().call_method1(py, "consumer", arguments)?;
            let listens = consumer.getattr(py, "listens")?.is_truthy(py)?;
            Ok((consumer, listens))
        })?;
        let keeps = broker.can(Capability::Delays);
        let room = (!keeps).then(|| WaitingRoom::new(Arc::new(ProcessClock)));
        Ok(Self { place, consumer, listens, room, memory: Arc::clone(broker.memory()) })
    }

    fn call(&self, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        self.place.attached(|py| {
            let arguments = (messages::settlement_list(py, settlements)?, want);
            let answer = self.consumer.bind(py).call_method1("exchange", arguments)?;
            let (deliveries, lost, next_due): (Bound<'_, PyAny>, Vec<String>, Option<f64>) = answer.extract()?;
            Ok(Exchanged {
                deliveries: messages::each(&deliveries, messages::delivery)?,
                lost: lost.into_iter().map(|tag| Tag(tag.into())).collect(),
                next_due: next_due.map(messages::moment),
                ..Exchanged::default()
            })
        })
    }
}

impl Consumer for PythonConsumer {
    fn exchange(&mut self, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        // Its store cannot be the results' too.
        if settlements.iter().any(Settlement::needs_results) {
            return Err(BrokerError::results_not_stored());
        }
        let counts = |settlement: &Settlement| {
            !settlement.gives_up.is_empty() || matches!(settlement.disposition, Disposition::Enter(_))
        };
        if !settlements.iter().any(counts) {
            return self.exchange_rest(settlements, want);
        }
        // Taking and giving up what is taken and given up already changes nothing: the call may be repeated.
        let (left, entered) = self.memory.slots(settlements, ProcessClock.now());
        Ok(Exchanged { entered, ..self.exchange_rest(&left, want)? })
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
        let lost = match &mut self.room {
            Some(room) => room.forget(known, &lost),
            None => lost,
        };
        self.memory.leave(&lost);
        Ok(lost)
    }

    fn close(&mut self) -> Result<()> {
        self.place.attached(|py| self.consumer.call_method0(py, "close").map(drop))
    }
}

impl PythonConsumer {
    /// What has nothing to do with slots.
    fn exchange_rest(&mut self, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        let Some(mut room) = self.room.take() else { return self.call(settlements, want) };
        let exchanged = self.exchange_with(&mut room, settlements, want);
        self.room = Some(room);
        exchanged
    }

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
        Ok(Exchanged { deliveries, lost, next_due, ..Exchanged::default() })
    }
}

impl Drop for PythonConsumer {
    /// Falls silent.
    fn drop(&mut self) {
        self.place.end(&self.consumer, "disconnect");
    }
}

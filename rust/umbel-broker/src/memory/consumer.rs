//! Taking and settling messages in this process.

use std::sync::Arc;

use super::state::{Settled, State};
use super::store::Store;
use crate::broker::{Consumer, ConsumerOptions, Exchanged, Settlement, Tag};
use crate::error::{BrokerError, Result};

pub(super) struct MemoryConsumer {
    store: Arc<Store>,
    worker: String,
    queues: Vec<Arc<str>>,
    lease: std::time::Duration,
    stores_results: bool,
    epoch: u64,
    sequence: u64,
    /// Queue to look at first, so that all are served alike over many calls.
    first: usize,
}

impl MemoryConsumer {
    pub(super) fn open(store: Arc<Store>, options: ConsumerOptions) -> Self {
        let epoch = store.change(|state, now| {
            state.renew_lease(&options.worker_id, now.after(options.lease));
            state.next_number()
        });
        Self {
            store,
            worker: options.worker_id,
            queues: options.queues.iter().map(|queue| Arc::from(queue.as_str())).collect(),
            lease: options.lease,
            stores_results: options.stores_results,
            epoch,
            sequence: 0,
            first: 0,
        }
    }

    fn check(&self, settlements: &[Settlement]) -> Result<()> {
        if !self.stores_results && settlements.iter().any(Settlement::needs_results) {
            return Err(BrokerError::results_not_stored());
        }
        Ok(())
    }
}

impl Consumer for MemoryConsumer {
    fn exchange(&mut self, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        self.check(settlements)?;
        let store = Arc::clone(&self.store);
        store.change(|state, now| {
            let routes: Vec<_> =
                settlements.iter().map(|settlement| state.routes(&settlement.publish)).collect::<Result<_>>()?;
            let (mut lost, mut entered) = (Vec::new(), Vec::new());
            for (settlement, routes) in settlements.iter().zip(routes) {
                match state.settle(settlement, routes, now) {
                    Settled::Done => {}
                    Settled::Lost => lost.extend(settlement.tag.clone()),
                    Settled::Entered => entered.extend(settlement.tag.clone()),
                }
            }
            state.move_due(now);
            state.renew_lease(&self.worker, now.after(self.lease));
            Ok(Exchanged { deliveries: self.fetch(state, want), lost, entered, next_due: state.next_due() })
        })
    }

    fn heartbeat(&mut self) -> Result<usize> {
        Ok(self.store.change(|state, now| {
            state.renew_lease(&self.worker, now.after(self.lease));
            state.move_due(now);
            state.results.remove_expired(now);
            state.chords.remove_expired(now);
            let returned = state.reclaim(now);
            state.look_after_slots(now);
            state.look_after_lines(now);
            returned
        }))
    }

    fn recover(&mut self, known: &[Tag]) -> Result<Vec<Tag>> {
        Ok(self.store.change(|state, now| {
            state.renew_lease(&self.worker, now.after(self.lease));
            state.give_back(&self.worker, known, false);
            known.iter().filter(|tag| !state.is_held(tag)).cloned().collect()
        }))
    }

    fn close(&mut self) -> Result<()> {
        self.store.change(|state, now| {
            state.give_back(&self.worker, &[], false);
            state.end_lease(&self.worker, now);
        });
        Ok(())
    }
}

impl MemoryConsumer {
    fn fetch(&mut self, state: &mut State, want: usize) -> Vec<crate::broker::Delivery> {
        if self.queues.is_empty() {
            return Vec::new();
        }
        let (worker, epoch, sequence) = (&self.worker, self.epoch, &mut self.sequence);
        state.fetch(worker, &self.queues, &mut self.first, want, || {
            *sequence += 1;
            Tag(Arc::from(format!("{worker}.{epoch}.{sequence}")))
        })
    }
}

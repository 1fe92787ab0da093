//! What the engine takes to decide about a task: all of it, and its parts. Batches are of 64, as a fetch brings them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use umbel_broker::{Delivery, Tag};
use umbel_protocol::Timestamp;
use umbel_worker::engine::{ChildId, Engine, EngineConfig, Input, JobId, Outcome, Output, TaskOptions};

mod tasks;

const BATCH: usize = 64;

fn main() {
    divan::main();
}

/// An engine, what it asked for, and the broker and children that answer it at once.
struct Worker {
    engine: Engine,
    wanted: Vec<Output>,
    now: i64,
}

impl Worker {
    fn new(children: u32, acks_late: bool) -> Self {
        let config = EngineConfig {
            hostname: "celery@bench".into(),
            accept_content: vec!["application/json".into()],
            prefetch_multiplier: None,
            max_deliveries: 5,
            delay_threshold: Duration::from_secs(2),
            shutdown_timeout: Duration::from_secs(25),
            result_expires: None,
            queue_limits: HashMap::new(),
            max_message_bytes: 1 << 20,
            own_queue_suffix: String::new(),
        };
        let task = TaskOptions {
            name: tasks::TASK.into(),
            acks_late,
            acks_on_failure: true,
            acks_on_timeout: true,
            reject_on_worker_lost: true,
            ignore_result: false,
            store_errors_even_if_ignored: false,
            time_limit: Some(Duration::from_secs(300)),
            soft_time_limit: None,
            rate_limit: None,
            rate_limit_shared: false,
            concurrency_limit: None,
            concurrency_keyed: false,
            batch: None,
            fair: false,
            unique: false,
            tells_failures: false,
        };
        let mut worker = Self { engine: Engine::new(config), wanted: Vec::new(), now: 0 };
        worker.tell(Input::Tasks(vec![task]));
        worker.tell(Input::PoolSize(children as usize));
        for child in 0..children {
            worker.tell(Input::ChildReady { child: ChildId(child), slots: 1, killable: true });
        }
        worker
    }

    fn tell(&mut self, input: Input) {
        self.now += 3;
        self.engine.handle(Timestamp(self.now), input, &mut self.wanted);
    }

    /// Runs tasks from their delivery to their confirmed settlement; `outcomes` are theirs, in order.
    fn run(&mut self, mut supply: VecDeque<Delivery>, mut outcomes: VecDeque<Outcome>) {
        let first = outcomes.front().map_or(0, |outcome| outcome.job.0);
        let mut ends: Vec<Option<Outcome>> = outcomes.drain(..).map(Some).collect();
        let mut left = ends.len();
        while left > 0 || self.engine.stats().unconfirmed > 0 {
            for output in std::mem::take(&mut self.wanted) {
                match output {
                    // An answer of nothing would end in a circle: the fetch stays open for the next batch.
                    Output::Fetch { want } if supply.is_empty() => self.wanted.push(Output::Fetch { want }),
                    Output::Fetch { want } => {
                        let deliveries = supply.drain(..want.min(supply.len())).collect();
                        self.tell(Input::Delivered { deliveries, next_due: None });
                    }
                    Output::Settle(batch) => {
                        self.tell(Input::Settled { count: batch.len(), lost: Vec::new(), entered: Vec::new() })
                    }
                    Output::Dispatch { child, jobs } => {
                        for job in jobs {
                            left -= 1;
                            let outcome = ends[(job.id.0 - first) as usize].take().expect("dispatched once");
                            self.tell(Input::Started { child, jobs: vec![job.id] });
                            self.tell(Input::Finished { child, outcome });
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// An engine that holds `count` messages; its one child runs the first.
    fn holding(count: usize) -> Self {
        let mut worker = Self::new(1, true);
        let deliveries = (0..count).map(tasks::delivery).collect();
        worker.wanted.clear();
        worker.tell(Input::Delivered { deliveries, next_due: None });
        worker
    }
}

fn whole_life(bencher: Bencher, children: u32, acks_late: bool) {
    let mut worker = Worker::new(children, acks_late);
    let mut next = 0;
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            let numbers = next..next + BATCH;
            next += BATCH;
            let outcomes: VecDeque<Outcome> = numbers.clone().map(|job| tasks::outcome(JobId(job as u64))).collect();
            (numbers.map(tasks::delivery).collect::<VecDeque<Delivery>>(), outcomes)
        })
        .bench_local_values(|(supply, outcomes)| worker.run(supply, outcomes));
}

/// Fetched, dispatched, run, settled, confirmed.
#[divan::bench(args = [2, 64])]
fn task(bencher: Bencher, children: u32) {
    whole_life(bencher, children, true);
}

#[divan::bench(args = [2])]
fn task_with_early_acks(bencher: Bencher, children: u32) {
    whole_life(bencher, children, false);
}

/// Headers read and the job entered into the ledger; no child is there to run it.
#[divan::bench]
fn intake(bencher: Bencher) {
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            let mut worker = Worker::new(0, true);
            worker.wanted.clear();
            (worker, (0..BATCH).map(tasks::delivery).collect())
        })
        .bench_values(|(mut worker, deliveries)| {
            worker.tell(Input::Delivered { deliveries, next_due: None });
            worker
        });
}

/// The ledger's list of tags, for a connection that opens anew.
#[divan::bench(args = [64, 1024])]
fn ledger_held_tags(bencher: Bencher, held: usize) {
    let worker = Worker::holding(held);
    assert_eq!(worker.engine.stats().held, held);
    bencher.counter(ItemsCount::new(held)).bench_local(|| worker.engine.held_tags());
}

/// A connection breaks, and comes back with every second message lost to others.
#[divan::bench(args = [64, 1024])]
fn ledger_reconnect(bencher: Bencher, held: usize) {
    bencher
        .counter(ItemsCount::new(held))
        .with_inputs(|| {
            let worker = Worker::holding(held);
            let lost: Vec<Tag> = worker.engine.held_tags().into_iter().step_by(2).collect();
            (worker, lost)
        })
        .bench_values(|(mut worker, lost)| {
            worker.tell(Input::Disconnected);
            worker.tell(Input::Reconnected { lost });
            worker
        });
}

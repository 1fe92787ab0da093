//! An engine on the bench: helpers to feed it and to look at what it wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use umbel_broker::{Delivery, Disposition, Outgoing, Payload, Settlement, Tag};
use umbel_protocol::{Destination, Message, Properties, ResultWrite, Timestamp};
use umbel_worker::engine::{
    ChildId, Engine, EngineConfig, Input, Job, JobId, Notice, Outcome, Output, ShutdownKind, TaskOptions, Verdict,
};

/// The moment every bench starts at.
pub(crate) const START: Timestamp = Timestamp(1_800_000_000_000_000);

/// Settings with Umbel's defaults.
pub(crate) fn config() -> EngineConfig {
    EngineConfig {
        hostname: "celery@bench".into(),
        accept_content: vec!["application/json".into()],
        prefetch_multiplier: None,
        max_deliveries: 5,
        delay_threshold: Duration::from_secs(2),
        shutdown_timeout: Duration::from_secs(25),
        result_expires: Some(Duration::from_secs(86_400)),
        queue_limits: HashMap::new(),
        max_message_bytes: 1 << 20,
        own_queue_suffix: ".own".into(),
    }
}

/// A task with Umbel's defaults.
pub(crate) fn task(name: &str) -> TaskOptions {
    TaskOptions {
        name: name.into(),
        acks_late: true,
        acks_on_failure: true,
        acks_on_timeout: true,
        reject_on_worker_lost: true,
        ignore_result: false,
        store_errors_even_if_ignored: false,
        time_limit: None,
        soft_time_limit: None,
        rate_limit: None,
        rate_limit_shared: false,
        concurrency_limit: None,
        concurrency_keyed: false,
        batch: None,
        fair: false,
        unique: false,
        tells_failures: false,
    }
}

/// A message for `task`, with further headers as JSON members (`"eta": "…"`).
pub(crate) fn message(task: &str, id: &str, more: &str) -> Message {
    let comma = if more.is_empty() { "" } else { ", " };
    Message {
        headers: format!("{{\"lang\": \"py\", \"task\": \"{task}\", \"id\": \"{id}\"{comma}{more}}}"),
        body: b"[[], {}, {}]".to_vec(),
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        properties: Properties { correlation_id: Some(id.into()), ..Properties::default() },
    }
}

/// A time as Celery writes it, `seconds` after the start.
pub(crate) fn iso(seconds: f64) -> String {
    let at = Timestamp(START.0 + (seconds * 1e6) as i64);
    umbel_protocol::iso8601::format(at, &umbel_protocol::Zone::UTC)
}

/// A delivery of `message` whose tag is its task id.
pub(crate) fn delivery(tag: &str, message: Message) -> Delivery {
    Delivery { tag: tag_of(tag), queue: Arc::from("celery"), payload: Payload::Message(Box::new(message)) }
}

pub(crate) fn tag_of(tag: &str) -> Tag {
    Tag(Arc::from(tag))
}

/// How a job ended, with a record for the states that have one.
pub(crate) fn outcome(job: JobId, verdict: Verdict) -> Outcome {
    let state = match verdict {
        Verdict::Success => Some("SUCCESS"),
        Verdict::Failure => Some("FAILURE"),
        Verdict::Retry => Some("RETRY"),
        _ => None,
    };
    let result = state.map(|state| ResultWrite {
        task_id: format!("job {}", job.0),
        state: state.into(),
        record: b"{}".to_vec(),
        expires: None,
        reply_to: None,
    });
    Outcome { job, verdict, result, publish: Vec::new() }
}

/// A message to publish.
pub(crate) fn follow_up() -> Outgoing {
    Outgoing {
        destination: Destination::queue("celery"),
        message: message("add", "next", ""),
        eta: None,
        line: None,
        chord: None,
    }
}

/// An engine, the time, and everything it has asked for since the last look.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) now: Timestamp,
    pub(crate) out: Vec<Output>,
}

impl Bench {
    /// An engine that knows `add` and `early` (early acks) and has `children` ready with one slot each.
    pub(crate) fn new(children: u32) -> Self {
        Self::with(config(), vec![task("add"), TaskOptions { acks_late: false, ..task("early") }], children)
    }

    pub(crate) fn with(config: EngineConfig, tasks: Vec<TaskOptions>, children: u32) -> Self {
        let mut bench = Self { engine: Engine::new(config), now: START, out: Vec::new() };
        bench.feed(Input::Tasks(tasks));
        bench.feed(Input::PoolSize(children as usize));
        for child in 0..children {
            bench.ready(child);
        }
        bench
    }

    pub(crate) fn feed(&mut self, input: Input) -> &mut Self {
        self.engine.handle(self.now, input, &mut self.out);
        self
    }

    /// The next moment at which the engine asked to be woken.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        let asked = self.out.iter().rev().find_map(|output| match output {
            Output::WakeAt(at) => Some(*at),
            _ => None,
        });
        asked.filter(|at| *at > self.now)
    }

    pub(crate) fn ready(&mut self, child: u32) -> &mut Self {
        self.feed(Input::ChildReady { child: ChildId(child), slots: 1, killable: true })
    }

    /// Time passes; the engine is told.
    pub(crate) fn pass(&mut self, seconds: f64) -> &mut Self {
        // In steps no longer than the engine asks to be woken in, as a runtime would.
        let mut left = (seconds * 1e6) as i64;
        while left > 0 {
            let step = left.min(1_000_000);
            self.now.0 += step;
            left -= step;
            self.feed(Input::Tick);
        }
        self
    }

    pub(crate) fn deliver(&mut self, messages: Vec<Message>) -> &mut Self {
        let deliveries = messages.into_iter().map(|message| {
            let id = message.properties.correlation_id.clone().unwrap();
            delivery(&id, message)
        });
        let deliveries = deliveries.collect();
        self.feed(Input::Delivered { deliveries, next_due: None })
    }

    /// Delivers one plain message for `task` with this id and returns its job, if it was dispatched.
    pub(crate) fn deliver_one(&mut self, task: &str, id: &str, more: &str) -> Option<(ChildId, JobId)> {
        self.deliver(vec![message(task, id, more)]);
        self.take_dispatched().pop().map(|(child, job)| (child, job.id))
    }

    pub(crate) fn start(&mut self, child: ChildId, job: JobId) -> &mut Self {
        self.feed(Input::Started { child, jobs: vec![job] })
    }

    pub(crate) fn finish(&mut self, child: ChildId, job: JobId, verdict: Verdict) -> &mut Self {
        self.feed(Input::Finished { child, outcome: outcome(job, verdict) })
    }

    pub(crate) fn gone(&mut self, child: u32, how: &str) -> &mut Self {
        self.feed(Input::ChildGone { child: ChildId(child), how: how.into() })
    }

    pub(crate) fn shut_down(&mut self, kind: ShutdownKind) -> &mut Self {
        self.feed(Input::Shutdown(kind))
    }

    fn take<T>(&mut self, pick: impl Fn(&Output) -> Option<T>) -> Vec<T> {
        let mut taken = Vec::new();
        self.out.retain(|output| match pick(output) {
            Some(found) => {
                taken.push(found);
                false
            }
            None => true,
        });
        taken
    }

    /// Settlements asked for since the last call.
    pub(crate) fn take_settled(&mut self) -> Vec<Settlement> {
        self.take(|output| if let Output::Settle(batch) = output { Some(batch.clone()) } else { None }).concat()
    }

    /// Dispositions by tag, with the states of the records.
    pub(crate) fn take_ends(&mut self) -> Vec<(Option<String>, Disposition, Vec<String>)> {
        let end = |settlement: Settlement| {
            let tag = settlement.tag.map(|tag| tag.0.to_string());
            let states = settlement.results.iter().map(|result| result.state.clone()).collect();
            (tag, settlement.disposition, states)
        };
        self.take_settled().into_iter().map(end).collect()
    }

    /// Dispatched jobs since the last call.
    pub(crate) fn take_dispatched(&mut self) -> Vec<(ChildId, Job)> {
        let pick = |output: &Output| match output {
            Output::Dispatch { child, jobs } => Some(jobs.iter().map(|job| (*child, job.clone())).collect::<Vec<_>>()),
            _ => None,
        };
        self.take(pick).concat()
    }

    /// Fetches asked for since the last call.
    pub(crate) fn take_fetches(&mut self) -> Vec<usize> {
        self.take(|output| if let Output::Fetch { want } = output { Some(*want) } else { None })
    }

    pub(crate) fn take_recalls(&mut self) -> Vec<(ChildId, Vec<JobId>)> {
        self.take(
            |output| if let Output::Recall { child, jobs } = output { Some((*child, jobs.clone())) } else { None },
        )
    }

    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        self.take(|output| if let Output::Notice(notice) = output { Some(notice.clone()) } else { None })
    }

    /// Whether `output` was asked for since the last look; takes it.
    pub(crate) fn took(&mut self, output: &Output) -> bool {
        !self.take(|found| (found == output).then_some(())).is_empty()
    }
}

/// The one element of a list.
pub(crate) fn only<T: std::fmt::Debug>(list: Vec<T>) -> T {
    assert_eq!(list.len(), 1, "{list:?}");
    list.into_iter().next().unwrap()
}

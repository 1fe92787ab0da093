//! Remote control: hears what is said to all workers and passes it on, and says what this worker has to say.
//!
//! Two threads, for hearing blocks. What was revoked is in the broker too: the ear reads it once it listens, after every
//! silence, so that nothing said meanwhile is missed. Requests are handed to the supervisor unread, as events; what it
//! answers, and what it wants the broker to remember, goes out through the mouth, which starts with the first word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use umbel_backend::{Backend, ResultStore};
use umbel_broker::sync::Mutex;
use umbel_broker::{Broker, BrokerError, Clock, Control, Result, Revocation};
use umbel_protocol::{Destination, Limits, Message, ResultWrite, json};

use super::event::WorkerEvent;
use super::options::Pauses;
use super::shared::Shared;
use crate::engine::{Input, JobId, revoked_unseen};
use crate::link::thread;

/// How long one wait may last: the thread sees within this time that the worker has ended.
const SLICE: Duration = Duration::from_secs(1);

/// Attempts to say something to a broker that is away: an answer is soon worth nothing.
const ATTEMPTS: u32 = 5;

/// What a worker has to say.
#[derive(Debug)]
pub(super) enum Word {
    /// The answer to a request.
    Answer {
        /// The box of who asked.
        to: Destination,
        /// What to put there.
        message: Box<Message>,
    },
    /// When may this job start? The engine is told.
    AskTurn {
        /// Which job.
        job: JobId,
        /// The limit's name.
        limit: String,
        /// Between two starts.
        pause: Duration,
        /// A turn that comes later than this is not kept for it.
        patience: Duration,
    },
    /// Something the broker is to remember for others.
    Revoke {
        /// What is not to run.
        revocations: Vec<Revocation>,
        /// Ids among it that are not here: whoever waits for one of these is told by its record.
        absent: Vec<String>,
    },
}

/// States of tasks that have not been started, as Celery has it; so has one without a record.
const NOT_STARTED: [&str; 4] = ["PENDING", "RECEIVED", "RETRY", "REJECTED"];

/// The thread that listens.
pub(super) struct Ear {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) exchange: String,
    pub(super) pauses: Pauses,
    pub(super) shared: Arc<Shared>,
}

impl Ear {
    pub(super) fn run(self) {
        let mut failures = 0;
        while !self.shared.bell.stopping() {
            let Err(error) = self.listen(&mut failures) else { return };
            failures += 1;
            if failures == 1 {
                // Work is not to wait for it.
                self.shared.event(WorkerEvent::Listening);
            }
            let pause = self.pauses.after(failures);
            // The broker thread reports a broker that is away.
            log::info!("cannot hear remote control on {}, next try in {pause:.1?}: {error}", self.broker.display_url());
            self.shared.bell.rest(pause);
        }
    }

    /// Listens until the worker ends or the connection breaks.
    fn listen(&self, failures: &mut u32) -> Result<()> {
        let mut listener = self.broker.listener(&self.exchange)?;
        // From here on nothing is missed; what was said before is kept.
        let revocations = self.broker.control()?.revoked()?;
        self.shared.revoke(revocations, None);
        self.shared.event(WorkerEvent::Listening);
        while !self.shared.bell.stopping() {
            for message in listener.next(SLICE)? {
                self.shared.event(WorkerEvent::Request(Box::new(message)));
            }
            *failures = 0;
        }
        Ok(())
    }
}

/// Says things to the broker, one after the other.
pub(super) struct Mouth {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) backend: Option<Arc<dyn Backend>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) result_expires: Option<Duration>,
    pub(super) pauses: Pauses,
    pub(super) shared: Arc<Shared>,
    pub(super) words: Mutex<Option<Sender<Word>>>,
}

impl Mouth {
    /// Says something soon.
    pub(super) fn say(&self, word: Word) {
        let mut words = self.words.lock();
        if words.is_none() {
            let (sender, receiver) = unbounded();
            let speaker = Speaker {
                broker: Arc::clone(&self.broker),
                backend: self.backend.clone(),
                clock: Arc::clone(&self.clock),
                result_expires: self.result_expires,
                pauses: self.pauses,
                shared: Arc::clone(&self.shared),
                control: None,
                store: None,
            };
            match thread::spawn("umbel-control", move || speaker.run(&receiver)) {
                Ok(_) => *words = Some(sender),
                Err(error) => return log::error!("remote control cannot answer: {error}"),
            }
        }
        // The thread ends only with its sender.
        let _ = words.as_ref().map(|words| words.send(word));
    }
}

struct Speaker {
    broker: Arc<dyn Broker>,
    backend: Option<Arc<dyn Backend>>,
    clock: Arc<dyn Clock>,
    result_expires: Option<Duration>,
    pauses: Pauses,
    shared: Arc<Shared>,
    control: Option<Box<dyn Control>>,
    store: Option<Box<dyn ResultStore>>,
}

impl Speaker {
    /// Speaks until nobody has anything to say any more.
    fn run(mut self, words: &Receiver<Word>) {
        for word in words {
            let mut failures = 0;
            while let Err(error) = self.attempt(&word) {
                (self.control, self.store) = (None, None);
                failures += 1;
                if failures == ATTEMPTS {
                    log::warn!("{} cannot be told or asked: {error}", self.broker.display_url());
                    if let Word::AskTurn { job, .. } = word {
                        self.shared.input(Input::Turn { job, turn: None });
                    }
                    break;
                }
                std::thread::park_timeout(self.pauses.after(failures));
            }
        }
    }

    fn attempt(&mut self, word: &Word) -> Result<()> {
        let control = match &mut self.control {
            Some(control) => control,
            None => self.control.insert(self.broker.control()?),
        };
        match word {
            Word::Answer { to, message } => control.answer(to, message),
            Word::AskTurn { job, limit, pause, patience } => {
                let turn = control.turn(limit, *pause, *patience)?;
                self.shared.input(Input::Turn { job: *job, turn: Some(turn) });
                Ok(())
            }
            Word::Revoke { revocations, absent } => {
                control.revoke(revocations)?;
                self.tell_who_waits(absent)
            }
        }
    }

    /// Writes REVOKED for tasks that nobody has started, so that who waits for them learns of it before a worker comes
    /// to their messages. As in Celery, one that another worker runs without having said so is told over.
    fn tell_who_waits(&mut self, ids: &[String]) -> Result<()> {
        let Some(backend) = self.backend.as_ref().filter(|_| !ids.is_empty()) else { return Ok(()) };
        let store = match &mut self.store {
            Some(store) => store,
            None => self.store.insert(backend.store()?),
        };
        let found = store.read(ids)?;
        let waiting = ids.iter().zip(found).filter(|(_, record)| is_not_started(record.as_deref()));
        let now = self.clock.now();
        let records: Vec<ResultWrite> =
            waiting.filter_map(|(id, _)| revoked_unseen(id, self.result_expires, now)).collect();
        if records.is_empty() { Ok(()) } else { store.write(&records) }
    }
}

fn is_not_started(record: Option<&[u8]>) -> bool {
    let Some(record) = record else { return true };
    let state = json::parse(record, &Limits::default()).ok();
    state.as_ref().and_then(|record| record.get("status")?.as_str()).is_some_and(|state| NOT_STARTED.contains(&state))
}

/// Tells the engine what is revoked, before it is given a message.
pub(super) fn remember(broker: &dyn Broker, shared: &Shared) -> Result<(), BrokerError> {
    let begun = Instant::now();
    let revocations = broker.control()?.revoked()?;
    log::debug!("{} revocations read in {:.1?}", revocations.len(), begun.elapsed());
    shared.revoke(revocations, None);
    Ok(())
}

impl Shared {
    /// Tells the engine that tasks are not to run.
    pub(super) fn revoke(&self, revocations: Vec<Revocation>, signal: Option<i32>) {
        if !revocations.is_empty() {
            self.input(Input::Revoke { revocations, signal });
        }
    }
}

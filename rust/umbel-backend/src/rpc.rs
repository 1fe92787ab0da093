//! `rpc://`: results as messages to whoever asked for them.
//!
//! A client names a queue of its own in `reply_to` of each task it sends, and workers put each record of the task there,
//! in Celery's layout: through the anonymous exchange, with the task's id as correlation id. Any broker that can speak to
//! workers carries them ([`Control::open_box`], [`Control::answer`]). What was read is kept here, in memory, so that it
//! can be asked for more than once; another process cannot see it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use umbel_broker::sync::Mutex;
use umbel_broker::{Broker, BrokerError, Control, Result};
use umbel_protocol::result::states;
use umbel_protocol::{Destination, Message, Properties, ResultWrite};

use crate::backend::{Backend, ListenerWaker, ResultListener, ResultStore};

/// Records that are kept of tasks nobody has asked for; Celery keeps as many.
const KEPT: usize = 8192;

/// How long a wait for answers may last: a new id is looked for by then.
const SLICE: Duration = Duration::from_millis(100);

/// How replies are written.
#[derive(Debug, Clone)]
pub struct RpcOptions {
    /// Name of this process' queue for replies.
    pub reply_to: String,
    /// Of records, which do not say it themselves.
    pub content_type: String,
    /// `utf-8` or `binary`.
    pub content_encoding: String,
    /// Replies survive a restart of the broker (`result_persistent`).
    pub persistent: bool,
}

/// Replies over a broker's connections.
pub struct RpcBackend {
    broker: Arc<dyn Broker>,
    options: Arc<RpcOptions>,
    inbox: Arc<Inbox>,
}

impl RpcBackend {
    /// Replies over `broker`.
    pub fn new(broker: Arc<dyn Broker>, options: RpcOptions) -> Self {
        let inbox = Arc::new(Inbox::new(Arc::clone(&broker), options.reply_to.clone()));
        Self { broker, options: Arc::new(options), inbox }
    }
}

impl Backend for RpcBackend {
    fn display_url(&self) -> String {
        "rpc://".to_owned()
    }

    fn identity(&self) -> String {
        format!("rpc {}", self.options.reply_to)
    }

    fn expects_replies(&self) -> bool {
        true
    }

    fn at_hand(&self, task_id: &str) -> Option<Vec<u8>> {
        self.inbox.records.lock().of(task_id)
    }

    fn close(&self) {
        self.inbox.close();
    }

    fn store(&self) -> Result<Box<dyn ResultStore>> {
        let store = RpcStore {
            broker: Arc::clone(&self.broker),
            options: Arc::clone(&self.options),
            inbox: Arc::clone(&self.inbox),
            control: None,
        };
        Ok(Box::new(store))
    }

    fn listener(&self) -> Result<Box<dyn ResultListener>> {
        Ok(Box::new(RpcListener { inbox: Arc::clone(&self.inbox), seen: 0 }))
    }
}

/// This process' queue of replies, and what came out of it.
struct Inbox {
    broker: Arc<dyn Broker>,
    address: Destination,
    /// Whoever holds it reads the queue for all.
    control: Mutex<Option<Box<dyn Control>>>,
    records: Mutex<Records>,
}

/// Records by task, and the order in which they came.
#[derive(Default)]
struct Records {
    latest: HashMap<String, Kept>,
    /// Numbers and ids of all that came, the oldest first; of a task the last one counts.
    order: VecDeque<(u64, String)>,
    number: u64,
}

/// Ids and records in the order in which they came, and the number of the last one.
type News = (Vec<(String, Vec<u8>)>, u64);

struct Kept {
    number: u64,
    record: Vec<u8>,
}

impl Records {
    /// Keeps a record unless its task has ended already.
    fn add(&mut self, task_id: String, record: Vec<u8>) {
        if self.latest.get(&task_id).is_some_and(|kept| is_end(&kept.record) && !is_end(&record)) {
            return;
        }
        self.number += 1;
        self.order.push_back((self.number, task_id.clone()));
        self.latest.insert(task_id, Kept { number: self.number, record });
        while self.latest.len() > KEPT || self.order.len() > 2 * KEPT {
            let Some((number, task_id)) = self.order.pop_front() else { return };
            let is_oldest = self.latest.get(&task_id).is_some_and(|kept| kept.number == number);
            if is_oldest && self.latest.len() > KEPT {
                self.latest.remove(&task_id);
            } else if is_oldest {
                self.order.push_back((number, task_id));
            }
        }
    }

    fn of(&self, task_id: &str) -> Option<Vec<u8>> {
        self.latest.get(task_id).map(|kept| kept.record.clone())
    }

    /// What came after `seen`.
    fn after(&self, seen: u64) -> News {
        let new = self.order.iter().rev().take_while(|(number, _)| *number > seen);
        let mut found: Vec<_> = new
            .filter_map(|(number, task_id)| {
                let kept = self.latest.get(task_id).filter(|kept| kept.number == *number)?;
                Some((task_id.clone(), kept.record.clone()))
            })
            .collect();
        found.reverse();
        (found, self.number)
    }
}

fn is_end(record: &[u8]) -> bool {
    states::of_json(record).is_some_and(states::is_ready)
}

impl Inbox {
    fn new(broker: Arc<dyn Broker>, reply_to: String) -> Self {
        let address = Destination::queue(reply_to);
        Self { broker, address, control: Mutex::new(None), records: Mutex::default() }
    }

    /// Declares the queue, so that nothing that is sent there is lost.
    fn open(&self) -> Result<()> {
        // Whoever holds it reads the queue, which is there then.
        let Some(mut control) = self.control.try_lock() else { return Ok(()) };
        if control.is_some() { Ok(()) } else { self.with_control(&mut control, |_, _| Ok(())) }
    }

    /// Nobody reads what comes from now on.
    fn close(&self) {
        if let Some(mut control) = self.control.lock().take()
            && let Err(error) = control.close_box(&self.address)
        {
            log::debug!("the queue for results stays until it expires: {error}");
        }
    }

    /// Takes in what is in the queue. While another thread does so, there is nothing to do here.
    fn read(&self) -> Result<()> {
        let Some(mut control) = self.control.try_lock() else { return Ok(()) };
        self.take_in(&mut control, Duration::ZERO)
    }

    /// What came after `seen`; waits up to `timeout` if nothing has.
    fn listen(&self, seen: u64, timeout: Duration) -> Result<News> {
        let mut control = self.control.lock();
        // Another thread may have read them.
        if self.records.lock().number == seen {
            self.take_in(&mut control, timeout)?;
        }
        Ok(self.records.lock().after(seen))
    }

    fn take_in(&self, slot: &mut Option<Box<dyn Control>>, timeout: Duration) -> Result<()> {
        let messages = self.with_control(slot, |control, address| control.collect(address, timeout))?;
        let mut records = self.records.lock();
        for message in messages {
            if let Some(task_id) = message.properties.correlation_id {
                records.add(task_id, message.body);
            }
        }
        Ok(())
    }

    fn with_control<T>(
        &self,
        slot: &mut Option<Box<dyn Control>>,
        work: impl FnOnce(&mut dyn Control, &Destination) -> Result<T>,
    ) -> Result<T> {
        let control = match slot {
            Some(control) => control,
            None => {
                let mut control = self.broker.control()?;
                control.open_box(&self.address)?;
                slot.insert(control)
            }
        };
        let done = work(&mut **control, &self.address);
        if done.is_err() {
            *slot = None;
        }
        done
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.close();
    }
}

struct RpcStore {
    broker: Arc<dyn Broker>,
    options: Arc<RpcOptions>,
    inbox: Arc<Inbox>,
    /// To answer on.
    control: Option<Box<dyn Control>>,
}

impl RpcStore {
    fn reply(&self, write: &ResultWrite) -> Message {
        // What a worker itself has to say of a task is JSON, whatever serializer tasks use.
        let (content_type, content_encoding) = match write.record.starts_with(b"{\"") {
            true => ("application/json".to_owned(), "utf-8".to_owned()),
            false => (self.options.content_type.clone(), self.options.content_encoding.clone()),
        };
        Message {
            headers: "{}".to_owned(),
            body: write.record.clone(),
            content_type,
            content_encoding,
            properties: Properties {
                correlation_id: Some(write.task_id.clone()),
                delivery_mode: Some(if self.options.persistent { 2 } else { 1 }),
                priority: Some(0),
                ..Properties::default()
            },
        }
    }
}

impl ResultStore for RpcStore {
    fn prepare(&mut self) -> Result<()> {
        self.inbox.open()
    }

    /// Sends each record to whoever asked for its task; those of nobody are dropped.
    fn write(&mut self, batch: &[ResultWrite]) -> Result<()> {
        let replies = batch.iter().filter_map(|write| {
            let reply_to = write.reply_to.as_deref().filter(|queue| !queue.is_empty())?;
            Some((Destination::queue(reply_to), self.reply(write)))
        });
        let replies: Vec<_> = replies.collect();
        if replies.is_empty() {
            return Ok(());
        }
        let control = match &mut self.control {
            Some(control) => control,
            None => self.control.insert(self.broker.control()?),
        };
        let answered = control.answer_all(&replies);
        if answered.is_err() {
            self.control = None;
        }
        answered
    }

    fn read(&mut self, task_ids: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        self.inbox.read()?;
        let records = self.inbox.records.lock();
        Ok(task_ids.iter().map(|id| records.of(id)).collect())
    }

    fn forget(&mut self, task_ids: &[String]) -> Result<u64> {
        let mut records = self.inbox.records.lock();
        Ok(task_ids.iter().filter(|id| records.latest.remove(*id).is_some()).count() as u64)
    }

    fn start_chord(&mut self, _group: &str, _size: u64, _life: Option<Duration>) -> Result<()> {
        Err(BrokerError::Config {
            setting: "result_backend".to_owned(),
            detail: "rpc:// cannot count the parts of a chord (a group that is followed by a task is one): use Redis, \
                     SQLite or a database"
                .to_owned(),
        })
    }

    fn remove_expired(&mut self) -> Result<u64> {
        Ok(0)
    }
}

struct RpcListener {
    inbox: Arc<Inbox>,
    /// Number of the last record that was told.
    seen: u64,
}

impl ResultListener for RpcListener {
    /// All come to one queue.
    fn subscribe(&mut self, _task_ids: &[String]) -> Result<()> {
        self.inbox.open()
    }

    /// What is on its way is heard of next.
    fn subscribe_and_read(&mut self, task_ids: &[String]) -> Result<Option<Vec<Option<Vec<u8>>>>> {
        self.subscribe(task_ids)?;
        let records = self.inbox.records.lock();
        Ok(Some(task_ids.iter().map(|id| records.of(id)).collect()))
    }

    fn unsubscribe(&mut self, _task_ids: &[String]) -> Result<()> {
        Ok(())
    }

    fn next(&mut self, timeout: Duration) -> Result<Vec<(String, Vec<u8>)>> {
        let (found, seen) = self.inbox.listen(self.seen, SLICE.min(timeout))?;
        self.seen = seen;
        Ok(found)
    }

    /// A wait is short, and nobody waits for it: what it has heard is at hand.
    fn waker(&self) -> Box<dyn ListenerWaker> {
        Box::new(Patience)
    }
}

struct Patience;

impl ListenerWaker for Patience {
    fn wake(&self) {}
}

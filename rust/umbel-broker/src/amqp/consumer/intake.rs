//! What the server pushes, and how much of it it may.
//!
//! Each queue has a subscription with a prefetch count of its own, as quorum queues and RabbitMQ 4 want it. A count cannot be
//! changed: when more is wanted than it lets through, or much less, another subscription takes its place. What was given out
//! under the old one stays so; meanwhile a worker may hold half as much again as it wants, and no more.

use std::collections::VecDeque;
use std::sync::Arc;

use umbel_amqp::{Content, Method};

use super::settling::Kept;
use super::{AmqpConsumer, CHANNEL, Wire};
use crate::amqp::message;
use crate::amqp::options::AmqpOptions;
use crate::broker::Delivery;
use crate::error::Result;

/// The most that a prefetch count can say.
const MOST: usize = 65_535;

/// Subscriptions and what came by them.
pub(super) struct Intake {
    sources: Vec<Source>,
    /// Whose turn it is.
    next: usize,
    /// Messages that wait to be asked for.
    count: usize,
    /// Somebody has asked since the last heartbeat.
    asked: bool,
    subscriptions: u64,
}

/// One queue.
struct Source {
    queue: Arc<str>,
    waiting: VecDeque<Arrived>,
    subscription: Option<Subscription>,
    /// What is to be let through; 0 before anybody has asked.
    wanted: usize,
    /// The server has ended its subscription: it may be gone.
    gone: bool,
}

struct Subscription {
    number: u64,
    limit: usize,
    /// Deliveries under it that are not settled.
    out: usize,
}

/// A message nobody has asked for yet.
pub(super) struct Arrived {
    pub(super) content: Content,
    pub(super) number: u64,
    subscription: u64,
}

impl Intake {
    pub(super) fn new(queues: &[String]) -> Self {
        let source = |queue: &String| Source {
            queue: queue.as_str().into(),
            waiting: VecDeque::new(),
            subscription: None,
            wanted: 0,
            gone: false,
        };
        let sources = queues.iter().map(source).collect();
        Self { sources, next: 0, count: 0, asked: false, subscriptions: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The delivery with the lowest number of those that wait.
    pub(super) fn first_waiting(&self) -> Option<u64> {
        self.sources.iter().filter_map(|source| source.waiting.front()).map(|arrived| arrived.number).min()
    }

    /// A message has come.
    pub(super) fn arrived(&mut self, content: Content) {
        let Method::BasicDeliver { consumer_tag, delivery_tag, .. } = &content.method else { return };
        let (number, Some((index, subscription))) = (*delivery_tag, self.find(consumer_tag)) else { return };
        let source = &mut self.sources[index];
        if let Some(current) = source.subscription.as_mut().filter(|current| current.number == subscription) {
            current.out += 1;
        }
        source.waiting.push_back(Arrived { content, number, subscription });
        self.count += 1;
    }

    /// The server has ended a subscription: its queue is gone. Names the queue.
    pub(super) fn cancelled(&mut self, consumer_tag: &str) -> Arc<str> {
        let Some((index, subscription)) = self.find(consumer_tag) else { return "".into() };
        let source = &mut self.sources[index];
        source.gone |= source.subscription.take_if(|current| current.number == subscription).is_some();
        Arc::clone(&source.queue)
    }

    /// Queue and number of a subscription, of which its tag is made.
    fn find(&self, consumer_tag: &str) -> Option<(usize, u64)> {
        let (index, number) = consumer_tag.strip_prefix("umbel-")?.split_once('-')?;
        let index = index.parse().ok().filter(|index| *index < self.sources.len())?;
        Some((index, number.parse().ok()?))
    }

    /// A delivery under a subscription was settled.
    pub(super) fn settled(&mut self, kept: &Kept) {
        let Some(source) = self.sources.get_mut(kept.source) else { return };
        if let Some(current) = source.subscription.as_mut().filter(|current| current.number == kept.subscription) {
            current.out = current.out.saturating_sub(1);
        }
    }

    /// The next message, the queues in turn.
    fn take(&mut self) -> Option<(usize, Arrived)> {
        for turn in 0..self.sources.len() {
            let index = (self.next + turn) % self.sources.len();
            if let Some(arrived) = self.sources[index].waiting.pop_front() {
                self.next = index + 1;
                self.count -= 1;
                return Some((index, arrived));
            }
        }
        None
    }
}

impl Wire {
    /// Lets the server push so much that, with what waits here, `want` messages may come, of one queue or of several.
    fn let_in(&mut self, want: usize, options: &AmqpOptions) -> umbel_amqp::Result<()> {
        let held = self.held.len();
        for source in &mut self.intake.sources {
            let window = (held + want).min(MOST);
            source.wanted = match &source.subscription {
                None => window,
                Some(current) => {
                    let room = current.limit.saturating_sub(current.out) + source.waiting.len();
                    if room < want && current.limit < MOST {
                        // Twice as much, rather than often a little more.
                        (current.out + want).max(current.limit.saturating_mul(2).min(window)).min(MOST)
                    } else if shrinks(current.limit, window) {
                        window
                    } else {
                        current.limit
                    }
                }
            };
        }
        self.subscribe(options)?;
        self.give_back_but(want)
    }

    /// Gives back what came under a larger limit than the present one and is more than is wanted.
    fn give_back_but(&mut self, want: usize) -> umbel_amqp::Result<()> {
        let mut back = Vec::new();
        for source in &mut self.intake.sources {
            let current = source.subscription.as_ref().map(|current| current.number);
            let is_surplus =
                |arrived: &Arrived| Some(arrived.subscription) != current && source.wanted < want.max(1) * 2;
            while source.waiting.len() > want && source.waiting.back().is_some_and(&is_surplus) {
                back.extend(source.waiting.pop_back());
            }
        }
        self.intake.count -= back.len();
        self.give_back(back)
    }

    /// In their order: to a classic queue each goes back to its place, to a quorum queue behind those that came back before.
    fn give_back(&mut self, mut back: Vec<Arrived>) -> umbel_amqp::Result<()> {
        back.sort_unstable_by_key(|arrived| arrived.number);
        for arrived in back {
            self.link.send(CHANNEL, &Method::BasicReject { delivery_tag: arrived.number, requeue: true })?;
        }
        Ok(())
    }

    /// Brings the subscriptions in line with what is wanted.
    pub(super) fn subscribe(&mut self, options: &AmqpOptions) -> umbel_amqp::Result<()> {
        for index in 0..self.intake.sources.len() {
            let source = &self.intake.sources[index];
            let former = source.subscription.as_ref().map(|current| (current.number, current.limit));
            if source.wanted == 0 || former.is_some_and(|(_, limit)| limit == source.wanted) {
                continue;
            }
            let (queue, limit) = (Arc::clone(&source.queue), source.wanted);
            if source.gone {
                self.topology.forget();
                self.topology.queue(&mut self.link, options, &queue)?;
                self.intake.sources[index].gone = false;
            }
            self.intake.subscriptions += 1;
            let number = self.intake.subscriptions;
            let prefetch_count = u16::try_from(limit).unwrap_or(u16::MAX);
            self.link.send(CHANNEL, &Method::BasicQos { prefetch_size: 0, prefetch_count, global: false })?;
            self.link.send(CHANNEL, &Method::consume(&queue, &consumer_tag(index, number), false))?;
            let mut answers = 2;
            if let Some((former, _)) = former {
                let cancel = Method::BasicCancel { consumer_tag: consumer_tag(index, former), no_wait: false };
                self.link.send(CHANNEL, &cancel)?;
                answers = 3;
            }
            for _ in 0..answers {
                self.link.answer(CHANNEL)?;
            }
            self.intake.sources[index].subscription = Some(Subscription { number, limit, out: 0 });
            self.take_in()?;
        }
        Ok(())
    }

    /// Lets `want` messages of each queue in, and waits until whatever the queues have for us is here: what a queue has pushed
    /// before it answers is on its way to us, and here before the next answer.
    fn let_in_for_once(&mut self, want: usize, options: &AmqpOptions) -> umbel_amqp::Result<()> {
        self.intake.sources.iter_mut().for_each(|source| source.wanted = want.min(MOST));
        self.subscribe(options)?;
        self.look_at_queues()?;
        self.catch_up()?;
        self.take_in()
    }

    /// Waits until each queue has done what it was told before.
    pub(super) fn look_at_queues(&mut self) -> umbel_amqp::Result<()> {
        for source in &self.intake.sources {
            self.link.send(CHANNEL, &Method::queue_look(&source.queue))?;
        }
        (0..self.intake.sources.len()).try_for_each(|_| self.link.answer(CHANNEL).map(drop))
    }

    /// Waits until the server has done all that it was told.
    pub(super) fn catch_up(&mut self) -> umbel_amqp::Result<()> {
        // Means something for subscriptions to come, each of which says its own.
        self.link.call(CHANNEL, &Method::BasicQos { prefetch_size: 0, prefetch_count: 1, global: false }).map(drop)
    }

    /// Since the last heartbeat nobody has asked for messages, and some wait here: others may have time for them.
    pub(super) fn give_back_what_nobody_wants(&mut self) -> umbel_amqp::Result<()> {
        if std::mem::take(&mut self.intake.asked) || self.intake.is_empty() { Ok(()) } else { self.withdraw() }
    }

    /// Ends all subscriptions, and gives back what waits here.
    pub(super) fn withdraw(&mut self) -> umbel_amqp::Result<()> {
        for index in 0..self.intake.sources.len() {
            let source = &mut self.intake.sources[index];
            source.wanted = 0;
            if let Some(former) = source.subscription.take() {
                let cancel = Method::BasicCancel { consumer_tag: consumer_tag(index, former.number), no_wait: false };
                self.link.call(CHANNEL, &cancel)?;
            }
        }
        self.take_in()?;
        let back = self.intake.sources.iter_mut().flat_map(|source| source.waiting.drain(..)).collect();
        self.intake.count = 0;
        self.give_back(back)?;
        self.catch_up()
    }
}

impl AmqpConsumer {
    /// Up to `want` messages.
    pub(super) fn fetch(&mut self, want: usize) -> Result<Vec<Delivery>> {
        let taken = self.attempt(|wire, options| {
            wire.intake.asked = true;
            wire.take_in()?;
            if options.thorough_fetch {
                wire.let_in_for_once(want, options)?;
            } else if wire.intake.count < want {
                wire.let_in(want, options)?;
            }
            let taken: Vec<_> = std::iter::from_fn(|| wire.intake.take()).take(want).collect();
            if options.thorough_fetch {
                wire.withdraw()?;
            }
            Ok((wire.epoch, taken))
        });
        let (epoch, taken) = taken?;
        Ok(taken.into_iter().map(|(source, arrived)| self.deliver(epoch, source, arrived)).collect())
    }

    fn deliver(&mut self, epoch: u64, source: usize, arrived: Arrived) -> Delivery {
        let tag = self.tag(epoch, arrived.number);
        let Arrived { mut content, number, subscription } = arrived;
        let queue: Arc<str> = match &self.wire {
            Some(wire) => Arc::clone(&wire.intake.sources[source].queue),
            None => "".into(),
        };
        let kept = Kept::of(&content, source, subscription, Arc::clone(&queue));
        let payload = message::payload(&mut content, &queue, &tag.0);
        if let Some(wire) = &mut self.wire {
            wire.held.insert(number, kept);
        }
        Delivery { tag, queue, payload }
    }
}

fn consumer_tag(index: usize, number: u64) -> String {
    format!("umbel-{index}-{number}")
}

/// Whether a limit is so much larger than the window that holding less is worth another subscription: for slow tasks, of
/// which others could do some, soon; for quick ones, whose number goes up and down, not.
fn shrinks(limit: usize, window: usize) -> bool {
    if limit <= 64 { window * 2 < limit } else { window * 8 < limit }
}

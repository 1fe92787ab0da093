//! The combining publisher over a broker that fails on command.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod faulty;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use faulty::{FaultyBroker, broken, busy, outgoing, refused, until};
use umbel_broker::{Broker, BrokerError, ExchangeKind};
use umbel_client::{Call, CallError, CombiningPublisher, RetryPolicy};
use umbel_protocol::Destination;

const QUICK: RetryPolicy = RetryPolicy { first: Duration::from_millis(1), longest: Duration::from_millis(4) };

fn publisher(broker: &Arc<FaultyBroker>) -> CombiningPublisher {
    CombiningPublisher::new(Arc::clone(broker) as Arc<dyn Broker>, QUICK)
}

fn seconds(seconds: f64) -> Call<'static> {
    Call::new(Some(Duration::from_secs_f64(seconds)))
}

#[test]
fn a_lone_caller_publishes_over_one_connection() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    publisher.publish(vec![], &mut seconds(5.0)).unwrap();
    assert_eq!(broker.faults.opened.load(Ordering::SeqCst), 0, "nothing to send, nothing to open");
    for _ in 0..3 {
        publisher.publish(vec![outgoing("q", "a"), outgoing("q", "b")], &mut seconds(5.0)).unwrap();
    }
    assert_eq!(*broker.faults.batches.lock(), [2, 2, 2]);
    assert_eq!(broker.faults.opened.load(Ordering::SeqCst), 1);
    assert_eq!(broker.length("q"), 6);
}

#[test]
fn callers_who_come_meanwhile_share_a_batch() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    broker.faults.close_gate();
    std::thread::scope(|scope| {
        let publish = || publisher.publish(vec![outgoing("q", "a")], &mut seconds(10.0)).unwrap();
        scope.spawn(publish);
        until("the first caller leads", || broker.faults.at_gate.load(Ordering::SeqCst) == 1);
        (0..8).for_each(|_| drop(scope.spawn(publish)));
        until("the others wait", || publisher.waiting() == 8);
        broker.faults.open_gate();
    });
    assert_eq!(broker.length("q"), 9);
    let batches = broker.faults.batches.lock();
    assert_eq!((batches[0], batches.iter().sum::<usize>()), (1, 9));
    assert_eq!(batches.len(), 2, "they shared: {batches:?}");
}

#[test]
fn many_threads_lose_nothing_through_breaks() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let publisher = &publisher;
            scope.spawn(move || {
                for number in 0..50 {
                    publisher.publish(vec![outgoing("q", &format!("{thread}-{number}"))], &mut seconds(30.0)).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for error in [broken(), busy(), broken(), broken(), busy()] {
                broker.faults.calls.lock().push_back(error.clone());
                broker.faults.opens.lock().push_back(error);
                until("the faults are met", || broker.faults.calls.lock().is_empty() || broker.length("q") == 300);
            }
        });
    });
    assert_eq!(broker.length("q"), 300, "a fault comes before anything is sent, so nothing is sent twice either");
}

#[test]
fn a_broken_connection_is_opened_anew_and_a_busy_one_kept() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    let opened = || broker.faults.opened.load(Ordering::SeqCst);
    publisher.publish(vec![outgoing("q", "a")], &mut seconds(5.0)).unwrap();
    broker.faults.calls.lock().push_back(busy());
    publisher.publish(vec![outgoing("q", "b")], &mut seconds(5.0)).unwrap();
    assert_eq!(opened(), 1);
    broker.faults.calls.lock().push_back(broken());
    broker.faults.opens.lock().push_back(broken());
    publisher.publish(vec![outgoing("q", "c")], &mut seconds(5.0)).unwrap();
    assert_eq!(opened(), 3);
    assert_eq!(broker.length("q"), 3);
}

#[test]
fn what_trying_again_does_not_help_is_an_error_at_once() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    broker.faults.opens.lock().push_back(refused());
    assert_eq!(publisher.publish(vec![outgoing("q", "a")], &mut Call::new(None)), Err(CallError::Broker(refused())));
    publisher.publish(vec![outgoing("q", "a")], &mut seconds(5.0)).unwrap();
}

#[test]
fn who_has_no_patience_hears_of_the_first_error() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    for error in [broken(), busy()] {
        broker.faults.calls.lock().push_back(error.clone());
        let mut call = Call::new(None).with_patience(Some(Duration::ZERO));
        assert_eq!(publisher.publish(vec![outgoing("q", "a")], &mut call), Err(CallError::Broker(error)));
    }
    assert_eq!(broker.length("q"), 0, "a message that was given up is not sent later");
    publisher.publish(vec![outgoing("q", "b")], &mut seconds(5.0)).unwrap();
    assert_eq!(broker.length("q"), 1);
}

#[test]
fn patience_ends_long_before_the_deadline() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    broker.faults.down.store(true, Ordering::SeqCst);
    let mut call = Call::new(None).with_patience(Some(Duration::from_millis(30)));
    assert_eq!(publisher.publish(vec![outgoing("q", "a")], &mut call), Err(CallError::Broker(broken())));
    assert!(call.started().elapsed() >= Duration::from_millis(30), "it is used up");
    assert!(broker.faults.opened.load(Ordering::SeqCst) > 2, "and tries go on meanwhile");
}

#[test]
fn one_caller_s_patience_is_not_another_s() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    broker.faults.down.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let patient = scope.spawn(|| publisher.publish(vec![outgoing("q", "patient")], &mut seconds(20.0)));
        until("it tries", || broker.faults.opened.load(Ordering::SeqCst) > 0);
        let mut hasty = Call::new(None).with_patience(Some(Duration::ZERO));
        assert_eq!(publisher.publish(vec![outgoing("q", "hasty")], &mut hasty), Err(CallError::Broker(broken())));
        broker.faults.down.store(false, Ordering::SeqCst);
        assert_eq!(patient.join().unwrap(), Ok(()));
    });
    assert_eq!(broker.length("q"), 1);
}

#[test]
fn when_time_is_up_the_last_error_comes_out() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    broker.faults.set_down(true);
    let started = Instant::now();
    assert_eq!(publisher.publish(vec![outgoing("q", "a")], &mut seconds(0.05)), Err(CallError::Broker(broken())));
    assert!(started.elapsed() < Duration::from_secs(5));
    broker.faults.set_down(false);
    publisher.publish(vec![outgoing("q", "b")], &mut seconds(5.0)).unwrap();
    assert_eq!(broker.length("q"), 1, "what failed is not sent later");
}

#[test]
fn each_caller_leaves_at_its_own_deadline_and_others_go_on() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    broker.faults.set_down(true);
    std::thread::scope(|scope| {
        let patient: Vec<_> =
            (0..3).map(|_| scope.spawn(|| publisher.publish(vec![outgoing("q", "p")], &mut seconds(30.0)))).collect();
        let hasty: Vec<_> =
            (0..3).map(|_| scope.spawn(|| publisher.publish(vec![outgoing("q", "h")], &mut seconds(0.05)))).collect();
        for caller in hasty {
            assert_eq!(caller.join().unwrap(), Err(CallError::Broker(broken())));
        }
        broker.faults.set_down(false);
        for caller in patient {
            caller.join().unwrap().unwrap();
        }
    });
    assert_eq!(broker.length("q"), 3);
}

#[test]
fn a_caller_who_left_while_its_message_was_on_its_way_blocks_nobody() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    broker.faults.close_gate();
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| publisher.publish(vec![outgoing("q", "leader")], &mut seconds(30.0)));
        until("the leader is at it", || broker.faults.at_gate.load(Ordering::SeqCst) == 1);
        let successor = scope.spawn(|| publisher.publish(vec![outgoing("q", "next")], &mut seconds(30.0)));
        until("a second one waits", || publisher.waiting() == 1);
        let hasty = scope.spawn(|| publisher.publish(vec![outgoing("q", "hasty")], &mut seconds(0.05)));
        let error = hasty.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("no answer within 0.05 s"), "{error}");
        // The batch fails and comes back; the one who left must not be waited for.
        broker.faults.calls.lock().push_back(broken());
        broker.faults.open_gate();
        leader.join().unwrap().unwrap();
        successor.join().unwrap().unwrap();
    });
    publisher.publish(vec![outgoing("q", "after")], &mut seconds(5.0)).unwrap();
    assert_eq!(broker.length("q"), 3);
}

#[test]
fn an_unroutable_message_fails_alone() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    broker.faults.close_gate();
    std::thread::scope(|scope| {
        let publish = |queue: &'static str| {
            let publisher = &publisher;
            scope.spawn(move || publisher.publish(vec![outgoing(queue, "a")], &mut seconds(10.0)))
        };
        let first = publish("q");
        until("the first caller leads", || broker.faults.at_gate.load(Ordering::SeqCst) == 1);
        let others = [publish("q"), publish("nowhere"), publish("q")];
        until("the others wait", || publisher.waiting() == 3);
        broker.faults.open_gate();
        first.join().unwrap().unwrap();
        let outcomes = others.map(|other| other.join().unwrap());
        assert!(matches!(&outcomes[1], Err(CallError::Broker(BrokerError::Unroutable { .. }))), "{outcomes:?}");
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    });
    assert_eq!(broker.length("q"), 3);
}

#[test]
fn a_pulse_ends_a_call_and_takes_its_message_back() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    broker.faults.set_down(true);
    let mut pulse = || false;
    let mut call = Call::interruptible(None, &mut pulse);
    assert_eq!(publisher.publish(vec![outgoing("q", "a")], &mut call), Err(CallError::Interrupted));
    broker.faults.set_down(false);
    publisher.publish(vec![outgoing("q", "b")], &mut seconds(5.0)).unwrap();
    assert_eq!(broker.length("q"), 1);
}

#[test]
fn bindings_are_repeated_too() {
    let broker = FaultyBroker::new();
    let publisher = publisher(&broker);
    broker.faults.opens.lock().push_back(broken());
    broker.faults.calls.lock().push_back(broken());
    let destination = Destination { exchange: "logs".into(), routing_key: "*.error".into() };
    publisher.bind("errors", &destination, ExchangeKind::Topic, &mut seconds(5.0)).unwrap();
    let mut sent = outgoing("", "a");
    sent.destination = Destination { exchange: "logs".into(), routing_key: "db.error".into() };
    publisher.publish(vec![sent], &mut seconds(5.0)).unwrap();
    assert_eq!(broker.length("errors"), 1);
}

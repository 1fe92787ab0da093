//! Trouble: whatever is cut, deleted, closed or refused, nothing that was confirmed is lost, and work goes on by itself once
//! that is possible.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_amqp::Method;
use umbel_amqp::method::Ticket;
use umbel_broker::{
    AmqpBroker, Broker, BrokerError, Consumer, Delivery, Disposition, NextStep, Outgoing, Publisher, Settlement,
    TransportOptions,
};
use umbel_testkit::servers::RabbitServer;

use crate::conformance::plain_link;
use crate::proxy::Proxy;
use crate::surroundings::{PATIENCE, VirtualHost, body, consumer, outgoing, publish, take, wait_for};

fn broker(url: &str, options: &[(&str, &str)]) -> Arc<dyn Broker> {
    let quick = [("socket_timeout", "3"), ("connect_timeout", "3"), ("delay_queue_type", "classic")];
    let all: TransportOptions =
        quick.iter().chain(options).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Arc::new(AmqpBroker::from_url(url, &all).expect("options"))
}

/// Publishes as programs do: until it is confirmed.
fn insist(broker: &dyn Broker, publisher: &mut Option<Box<dyn Publisher>>, batch: &[Outgoing]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let opened = match publisher.take() {
            Some(publisher) => Ok(publisher),
            None => broker.publisher(),
        };
        match opened.and_then(|mut opened| opened.publish(batch).map(|()| opened)) {
            Ok(opened) => {
                *publisher = Some(opened);
                return;
            }
            Err(error) => {
                assert_ne!(error.next_step(), NextStep::GiveUp, "{error}");
                assert!(Instant::now() < deadline, "{error}");
            }
        }
    }
}

fn done(delivery: &Delivery, follow_up: Option<Outgoing>) -> Settlement {
    let mut settlement = Settlement::of(Some(delivery.tag.clone()), Disposition::Ack);
    settlement.publish.extend(follow_up);
    settlement
}

/// Works as a worker does, until it has seen all of `wanted`: what it has taken is settled with the next exchange, with a
/// follow-up each, and a lost connection recovered.
fn work_until_seen(worker: &mut dyn Consumer, wanted: &BTreeSet<String>) -> usize {
    let (waker, _open) = std::io::pipe().expect("a pipe");
    let (mut seen, mut runs) = (BTreeSet::new(), 0);
    let (mut held, mut deadline): (Vec<Delivery>, _) = (Vec::new(), Instant::now() + PATIENCE);
    while !seen.is_superset(wanted) || !held.is_empty() {
        assert!(Instant::now() < deadline, "only {seen:?} of {wanted:?}");
        let settlements: Vec<_> =
            held.iter().map(|delivery| done(delivery, Some(outgoing("follow", &body(delivery))))).collect();
        let outcome = worker.exchange(&settlements, 10).and_then(|exchanged| {
            seen.extend(held.drain(..).map(|delivery| body(&delivery)));
            held = exchanged.deliveries;
            runs += held.len();
            if held.is_empty() && !seen.is_superset(wanted) {
                worker.listen(Duration::from_millis(200), waker.as_fd())?;
            }
            Ok(())
        });
        match outcome.as_ref().map_err(BrokerError::next_step) {
            Ok(()) => deadline = Instant::now() + PATIENCE,
            Err(NextStep::Reconnect) => {
                held.clear();
                while worker.recover(&[]).is_err() {
                    assert!(Instant::now() < deadline, "no connection any more");
                }
            }
            Err(NextStep::Retry) => {}
            Err(NextStep::GiveUp) => panic!("{outcome:?}"),
        }
    }
    runs
}

fn names(prefix: &str, count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

/// Everything that is in a queue, once nobody publishes.
fn all_of(broker: &dyn Broker, queue: &str) -> BTreeSet<String> {
    let mut admin = broker.admin().expect("an admin");
    let waiting = admin.peek(queue, 10_000).expect("peek");
    let bodies = waiting.into_iter().map(|waiting| match waiting.payload {
        umbel_broker::Payload::Message(message) => String::from_utf8(message.body).expect("text"),
        umbel_broker::Payload::Malformed { error, .. } => panic!("{error}"),
    });
    bodies.collect()
}

#[test]
fn a_connection_may_be_cut_after_any_frame() {
    let Some(vhost) = VirtualHost::start() else { return };
    let direct = broker(&vhost.url(), &[]);
    let mut cuts = 0;
    loop {
        let proxy = Proxy::to(vhost.server.port, cuts);
        let url = vhost.url().replace(&vhost.server.port.to_string(), &proxy.port.to_string());
        let (cut, sent) = (broker(&url, &[]), names(&format!("{cuts}-"), 3));
        let batch: Vec<_> = sent.iter().map(|body| outgoing("q", body)).collect();
        insist(&*cut, &mut None, &batch);
        let mut worker = wait_for("a connection", || {
            let options = umbel_broker::ConsumerOptions {
                worker_id: "w".to_owned(),
                queues: vec!["q".to_owned()],
                lease: Duration::from_secs(8),
                stores_results: false,
            };
            cut.consumer(options).ok()
        });
        work_until_seen(&mut *worker, &sent);
        worker.close().expect("closed");
        let follow_ups = all_of(&*direct, "follow");
        assert!(follow_ups.is_superset(&sent), "cut after {cuts} frames: {follow_ups:?}");
        if !proxy.has_cut() {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 60, "a session of {cuts} frames");
}

#[test]
fn a_queue_that_is_deleted_is_declared_anew_under_its_consumer() {
    let Some(vhost) = VirtualHost::start() else { return };
    let broker = broker(&vhost.url(), &[]);
    publish(&*broker, "q", &["held"]);
    let mut worker = consumer(&*broker, "w", &["q", "other"]);
    let (waker, _open) = std::io::pipe().expect("a pipe");
    let mut held = take(&mut *worker, 5);
    while held.is_empty() {
        assert_eq!(worker.listen(PATIENCE, waker.as_fd()), Ok(true));
        held = take(&mut *worker, 5);
    }
    let mut link = plain_link(&vhost);
    link.call(1, &Method::channel_open()).expect("a channel");
    let delete = Method::QueueDelete {
        ticket: Ticket,
        queue: "q".to_owned(),
        if_unused: false,
        if_empty: false,
        no_wait: false,
    };
    link.call(1, &delete).expect("deleted");

    assert_eq!(worker.listen(Duration::from_millis(300), waker.as_fd()), Ok(false), "nothing came");
    publish(&*broker, "q", &["anew"]);
    assert_eq!(worker.listen(PATIENCE, waker.as_fd()), Ok(true));
    let exchanged = worker.exchange(&[done(&held[0], None)], 5).expect("the rest is untouched");
    assert_eq!((body(&exchanged.deliveries[0]), exchanged.lost), ("anew".to_owned(), vec![]));
}

/// Tags of a connection that is gone are not sent on the next, whose numbers are the same.
#[test]
fn a_stale_acknowledgement_is_never_sent() {
    let Some(vhost) = VirtualHost::start() else { return };
    let broker = broker(&vhost.url(), &[("thorough_fetch", "true")]);
    publish(&*broker, "q", &["1", "2"]);
    let mut worker = consumer(&*broker, "w", &["q"]);
    let old = take(&mut *worker, 1);
    let tags = vec![old[0].tag.clone()];
    assert_eq!(worker.recover(&tags), Ok(tags), "what was held has gone back");
    let new = take(&mut *worker, 1);
    assert_eq!(body(&new[0]), "1");
    let exchanged = worker.exchange(&[done(&old[0], Some(outgoing("follow", "no")))], 0).expect("nothing to do");
    assert_eq!(exchanged.lost, [old[0].tag.clone()]);
    worker.close().expect("closed");
    assert_eq!(all_of(&*broker, "q"), BTreeSet::from(["1".to_owned(), "2".to_owned()]));
    assert_eq!(all_of(&*broker, "follow"), BTreeSet::new());
}

/// On a node of its own, for it is broken in every way.
#[test]
fn the_node_may_fail_in_every_way() {
    let Some(server) = RabbitServer::start() else { return };
    let vhost = server.new_vhost();
    let broker = broker(&server.url(&vhost), &[]);
    let mut publisher = None;
    let first = names("first-", 20);
    let batch: Vec<_> = first.iter().map(|body| outgoing("q", body)).collect();
    insist(&*broker, &mut publisher, &batch);
    let mut worker = consumer(&*broker, "w", &["q"]);

    a_channel_is_closed_for_holding_a_message_too_long(&server, &*broker);
    the_password_changes_and_comes_back(&server, &mut *worker);
    memory_runs_short(&server, &*broker, &mut publisher);
    the_node_is_killed(&server, &*broker, &mut publisher);

    let wanted: BTreeSet<String> = first.into_iter().chain(["short".to_owned(), "after".to_owned()]).collect();
    work_until_seen(&mut *worker, &wanted);
    assert!(all_of(&*broker, "follow").is_superset(&wanted));
}

fn a_channel_is_closed_for_holding_a_message_too_long(server: &RabbitServer, broker: &dyn Broker) {
    publish(broker, "long", &["m"]);
    server.check("application:set_env(rabbit, consumer_timeout, 100)");
    server.check("application:set_env(rabbit, channel_tick_interval, 50)");
    let mut worker = consumer(broker, "slow", &["long"]);
    let (waker, _open) = std::io::pipe().expect("a pipe");
    let mut taken = take(&mut *worker, 1);
    while taken.is_empty() {
        worker.listen(PATIENCE, waker.as_fd()).expect("still open");
        taken = take(&mut *worker, 1);
    }
    let error = wait_for("the channel's end", || worker.listen(Duration::from_millis(50), waker.as_fd()).err());
    assert_eq!(error.next_step(), NextStep::Reconnect, "{error}");
    assert!(error.to_string().contains("406"), "{error}");
    server.check("application:set_env(rabbit, consumer_timeout, 1800000)");
    let tags = vec![taken[0].tag.clone()];
    assert_eq!(worker.recover(&tags), Ok(tags));
    work_until_seen(&mut *worker, &BTreeSet::from(["m".to_owned()]));
}

fn the_password_changes_and_comes_back(server: &RabbitServer, worker: &mut dyn Consumer) {
    let set = |password: &str| {
        server.check(&format!(
            "rabbit_auth_backend_internal:change_password(<<\"guest\">>, <<\"{password}\">>, <<\"tests\">>)"
        ));
    };
    set("changed");
    server.check("rabbit_networking:close_all_connections(\"for a test\"), ok");
    let lost = wait_for("the connection's end", || worker.heartbeat().err());
    assert_eq!(lost.next_step(), NextStep::Reconnect, "{lost}");
    let refused = worker.recover(&[]).expect_err("the password is another");
    assert!(matches!(refused, BrokerError::Access { .. }), "{refused:?}");
    set("guest");
    wait_for("the connection's return", || worker.recover(&[]).ok());
}

fn memory_runs_short(server: &RabbitServer, broker: &dyn Broker, publisher: &mut Option<Box<dyn Publisher>>) {
    server.check("vm_memory_monitor:set_vm_memory_high_watermark(0.000001)");
    let message = [outgoing("q", "short")];
    let error = wait_for("the alarm", || publisher.as_mut()?.publish(&message).err());
    assert_eq!(error.next_step(), NextStep::Retry, "{error}");
    assert!(error.to_string().contains("accepts no messages"), "{error}");
    server.check("vm_memory_monitor:set_vm_memory_high_watermark({absolute, \"2GB\"})");
    insist(broker, publisher, &message);
}

fn the_node_is_killed(server: &RabbitServer, broker: &dyn Broker, publisher: &mut Option<Box<dyn Publisher>>) {
    server.kill();
    let error = publisher.as_mut().expect("a publisher").publish(&[outgoing("q", "away")]).expect_err("killed");
    assert_eq!(error.next_step(), NextStep::Reconnect, "{error}");
    server.start_again();
    insist(broker, publisher, &[outgoing("q", "after")]);
}

//! What is on the server: declared as Celery declares it, and messages that any client can read.

use umbel_amqp::{Content, Error, Method, Properties, Table, Value, frame};
use umbel_broker::{BrokerError, ExchangeKind, NextStep};
use umbel_protocol::{Destination, Timestamp};

use crate::conformance::plain_link;
use crate::sessions;
use crate::surroundings::{VirtualHost, bodies, body, consumer, outgoing, publish, take, wait_for};

/// Declares again, which the server refuses where anything differs.
fn declare_again(vhost: &VirtualHost, methods: &[Method]) -> Result<(), Error> {
    let mut link = plain_link(vhost);
    link.call(1, &Method::channel_open())?;
    methods.iter().try_for_each(|method| link.call(1, method).map(drop))
}

fn as_celery(queue: &str, exchange: &str, kind: &str, key: &str, arguments: Table) -> [Method; 3] {
    [
        Method::exchange_declare(exchange, kind, true),
        Method::queue_declare(queue, arguments),
        Method::queue_bind(queue, exchange, key),
    ]
}

fn get(vhost: &VirtualHost, queue: &str) -> Content {
    let mut link = plain_link(vhost);
    link.call(1, &Method::channel_open()).expect("a channel");
    link.get(1, queue).expect("answered").expect("a message")
}

#[test]
fn queues_are_declared_as_celery_declares_them() {
    let Some(vhost) = VirtualHost::start() else { return };
    publish(&*vhost.broker(), "plain", &["m"]);
    declare_again(&vhost, &as_celery("plain", "plain", "direct", "plain", Table::new())).expect("the same");

    publish(&*vhost.broker_with(&[("queue_type", "quorum")]), "replicated", &["m"]);
    let quorum = Table::new().with("x-queue-type", "quorum");
    declare_again(&vhost, &as_celery("replicated", "replicated", "direct", "replicated", quorum)).expect("the same");

    let queues = r#"{"named": {"exchange": "tasks", "exchange_type": "topic", "routing_key": "a.#",
        "arguments": {"x-max-length": 100, "x-message-ttl": 3000000000}}}"#;
    publish(&*vhost.broker_with(&[("queues", queues), ("queue_max_priority", "9")]), "named", &["m"]);
    let arguments =
        Table::new().with("x-max-length", 100).with("x-message-ttl", 3_000_000_000).with("x-max-priority", 9);
    declare_again(&vhost, &as_celery("named", "tasks", "topic", "a.#", arguments)).expect("the same");
    let differs = declare_again(&vhost, &as_celery("named", "tasks", "topic", "a.#", Table::new()));
    assert_eq!(differs.expect_err("other arguments").code(), Some(406), "the server notices what differs");
}

#[test]
fn a_queue_that_is_there_with_other_arguments_is_used_as_it_is() {
    let Some(vhost) = VirtualHost::start() else { return };
    let arguments = Table::new().with("x-max-priority", 5);
    declare_again(&vhost, &as_celery("q", "q", "topic", "q", arguments)).expect("declared");
    let broker = vhost.broker();
    publish(&*broker, "q", &["m"]);
    assert_eq!(bodies(&take(&mut *consumer(&*broker, "w", &["q"]), 5)), ["m"]);
}

#[test]
fn the_delay_is_declared_as_celery_declares_it() {
    let Some(vhost) = VirtualHost::start() else { return };
    let broker = vhost.broker_with(&[("delay_queue_type", "quorum")]);
    let mut later = outgoing("q", "m");
    later.eta = Some(Timestamp::from_seconds(4_000_000_000.0));
    broker.publisher().expect("a publisher").publish(&[later]).expect("published");

    let recorded = sessions::all_of("quorum_worker_startup").into_iter().filter(|frame| !frame.from_server);
    let methods: Vec<Method> = recorded
        .filter_map(|recorded| {
            let (found, _) = frame::split(&recorded.bytes, 1 << 20).ok()??;
            let method = Method::decode(found.payload).ok()?;
            // The queues of that worker's tasks are not here.
            let concerns = |name: &str| name.starts_with("celery_delayed");
            let ours = match &method {
                Method::ExchangeDeclare { exchange, .. } => concerns(exchange),
                Method::QueueDeclare { queue, .. } | Method::QueueBind { queue, .. } => concerns(queue),
                Method::ExchangeBind { destination, .. } => concerns(destination),
                _ => false,
            };
            ours.then_some(method)
        })
        .collect();
    assert!(methods.len() > 100, "only {} declarations were recorded", methods.len());
    declare_again(&vhost, &methods).expect("all of them are as they are here");
}

#[test]
fn a_message_is_what_celery_would_have_sent() {
    let Some(vhost) = VirtualHost::start() else { return };
    let mut sent = outgoing("q", "m");
    sent.message.headers =
        r#"{"id": "x", "eta": null, "retries": 0, "timelimit": [null, 1.5], "stamps": {}}"#.to_owned();
    sent.message.properties.priority = Some(4);
    sent.message.properties.correlation_id = Some("x".to_owned());
    vhost.broker().publisher().expect("a publisher").publish(&[sent]).expect("published");

    let content = get(&vhost, "q");

    let expected = Properties {
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        headers: Some(Table(vec![
            ("id".to_owned(), Value::from("x")),
            ("eta".to_owned(), Value::Void),
            ("retries".to_owned(), Value::I32(0)),
            ("timelimit".to_owned(), Value::Array(vec![Value::Void, Value::F64(1.5)])),
            ("stamps".to_owned(), Value::Table(Table::new())),
        ])),
        delivery_mode: Some(2),
        priority: Some(4),
        correlation_id: Some("x".to_owned()),
        ..Properties::default()
    };
    assert_eq!(Properties::decode(&content.properties), Ok(expected));
    let Method::BasicGetOk { exchange, routing_key, .. } = &content.method else { panic!("{content:?}") };
    assert_eq!((exchange.as_str(), routing_key.as_str()), ("", "q"));
}

#[test]
fn higher_priorities_come_first_on_queues_that_know_them() {
    let Some(vhost) = VirtualHost::start() else { return };
    let broker = vhost.broker_with(&[("queue_max_priority", "10")]);
    let batch: Vec<_> = [0, 9, 5]
        .into_iter()
        .map(|priority| {
            let mut outgoing = outgoing("q", &priority.to_string());
            outgoing.message.properties.priority = Some(priority);
            outgoing
        })
        .collect();
    broker.publisher().expect("a publisher").publish(&batch).expect("published");
    assert_eq!(bodies(&take(&mut *consumer(&*broker, "w", &["q"]), 5)), ["9", "5", "0"]);
}

#[test]
fn a_delayed_message_is_sent_on_to_its_queue_alone() {
    let Some(vhost) = VirtualHost::start() else { return };
    let broker = vhost.broker();
    let mut publisher = broker.publisher().expect("a publisher");
    // Celery's own pattern would give the message to `b` as well.
    for queue in ["a.b", "b"] {
        let mut later = outgoing(queue, queue);
        later.eta =
            Some(umbel_broker::Clock::now(&umbel_broker::SystemClock).after(std::time::Duration::from_millis(1500)));
        publisher.publish(&[later]).expect("published");
    }
    let mut admin = broker.admin().expect("an admin");
    wait_for("both are due", || (admin.length("a.b") == Ok(1) && admin.length("b") == Ok(1)).then_some(()));
    let delivery = take(&mut *consumer(&*broker, "w", &["a.b"]), 5).remove(0);
    assert_eq!(body(&delivery), "a.b");
    let umbel_broker::Payload::Message(message) = &delivery.payload else { panic!("{delivery:?}") };
    assert_eq!(message.properties.destination, Destination::queue("a.b"));
    assert!(!message.headers.contains("x-death"), "{}", message.headers);
}

#[test]
fn a_full_queue_is_no_loss() {
    let Some(vhost) = VirtualHost::start() else { return };
    let queues = r#"{"q": {"exchange": "q", "routing_key": "q",
        "arguments": {"x-max-length": 2, "x-overflow": "reject-publish"}}}"#;
    let broker = vhost.broker_with(&[("queues", queues)]);
    let mut publisher = broker.publisher().expect("a publisher");
    let batch: Vec<_> = ["1", "2", "3"].map(|body| outgoing("q", body)).into();
    let error = publisher.publish(&batch).expect_err("one is refused");
    assert_eq!(error.next_step(), NextStep::Retry, "{error}");
    assert!(error.to_string().contains("full"), "{error}");
    let mut worker = consumer(&*broker, "w", &["q"]);
    let taken = take(&mut *worker, 5);
    assert_eq!(bodies(&taken), ["1", "2"]);
    worker.close().expect("closed");
    broker.admin().expect("an admin").purge("q").expect("purged");
    publisher.publish(&batch).expect("now there is room");
    assert_eq!(bodies(&take(&mut *consumer(&*broker, "w", &["q"]), 5)), ["3"], "what was confirmed is not sent again");
}

#[test]
fn what_amqp_cannot_carry_is_refused_and_the_rest_goes_on() {
    let Some(vhost) = VirtualHost::start() else { return };
    let broker = vhost.broker();
    let mut publisher = broker.publisher().expect("a publisher");
    let mut large = outgoing("q", "large");
    large.message.headers = format!(r#"{{"argsrepr": "{}"}}"#, "x".repeat(200_000));
    let mut number = outgoing("q", "number");
    number.message.headers = r#"{"n": 123456789012345678901234567890}"#.to_owned();
    for message in [large, number, outgoing(&"q".repeat(256), "name")] {
        let error = publisher.publish(&[outgoing("q", "before"), message]).expect_err("refused");
        assert!(matches!(error, BrokerError::Protocol { .. }), "{error:?}");
        assert_eq!(error.next_step(), NextStep::GiveUp);
    }
    publisher.publish(&[outgoing("q", "after")]).expect("published");
    assert_eq!(bodies(&take(&mut *consumer(&*broker, "w", &["q"]), 5)).last().map(String::as_str), Some("after"));
}

#[test]
fn an_exchange_that_goes_is_missed_and_one_that_comes_found() {
    let Some(vhost) = VirtualHost::start() else { return };
    let broker = vhost.broker();
    let mut publisher = broker.publisher().expect("a publisher");
    let destination = Destination { exchange: "x".to_owned(), routing_key: "k".to_owned() };
    let message = umbel_broker::Outgoing { destination: destination.clone(), ..outgoing("", "m") };
    let is_unroutable = |error: &BrokerError| matches!(error, BrokerError::Unroutable { .. });
    let refused = publisher.publish(std::slice::from_ref(&message));
    assert!(refused.as_ref().is_err_and(is_unroutable), "{refused:?}");
    publisher.bind("q", &destination, ExchangeKind::Direct).expect("bound");
    publisher.publish(std::slice::from_ref(&message)).expect("published");
    let ticket = umbel_amqp::method::Ticket;
    let delete = Method::ExchangeDelete { ticket, exchange: "x".to_owned(), if_unused: false, no_wait: false };
    declare_again(&vhost, &[delete]).expect("deleted");
    let refused = publisher.publish(&[message]);
    assert!(refused.as_ref().is_err_and(is_unroutable), "{refused:?}");
    publisher.publish(&[outgoing("q", "after")]).expect("published");
    assert_eq!(bodies(&take(&mut *consumer(&*broker, "w", &["q"]), 5)), ["m", "after"]);
}

//! A virtual host for each test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_broker::{AmqpBroker, Broker, Consumer, ConsumerOptions, Delivery, Outgoing, Payload, TransportOptions};
use umbel_protocol::{Destination, Message};
use umbel_testkit::servers::RabbitServer;

/// Longest time a test waits for something.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An empty virtual host, gone when dropped.
pub(crate) struct VirtualHost {
    pub(crate) server: &'static RabbitServer,
    pub(crate) name: String,
}

impl VirtualHost {
    pub(crate) fn start() -> Option<Self> {
        let server = RabbitServer::shared()?;
        Some(Self { server, name: server.new_vhost() })
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// A broker here, with more options. A fetch waits until all that there is has come.
    pub(crate) fn broker_with(&self, options: &[(&str, &str)]) -> Arc<dyn Broker> {
        let defaults = [("thorough_fetch", "true"), ("delay_queue_type", "classic")];
        let all: TransportOptions =
            defaults.iter().chain(options).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Arc::new(AmqpBroker::from_url(&self.url(), &all).expect("options"))
    }

    pub(crate) fn broker(&self) -> Arc<dyn Broker> {
        self.broker_with(&[])
    }
}

impl Drop for VirtualHost {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.server.drop_vhost(&self.name);
        }
    }
}

pub(crate) fn message(body: &str) -> Message {
    Message {
        headers: format!(r#"{{"id": "id-{body}", "task": "tests.add"}}"#),
        body: body.as_bytes().to_vec(),
        content_type: "application/json".to_owned(),
        content_encoding: "utf-8".to_owned(),
        properties: umbel_protocol::Properties { delivery_mode: Some(2), ..Default::default() },
    }
}

pub(crate) fn outgoing(queue: &str, body: &str) -> Outgoing {
    Outgoing { destination: Destination::queue(queue), message: message(body), eta: None, chord: None, line: None }
}

pub(crate) fn publish(broker: &dyn Broker, queue: &str, bodies: &[&str]) {
    let batch: Vec<_> = bodies.iter().map(|body| outgoing(queue, body)).collect();
    broker.publisher().expect("a publisher").publish(&batch).expect("published");
}

pub(crate) fn consumer(broker: &dyn Broker, worker: &str, queues: &[&str]) -> Box<dyn Consumer> {
    let options = ConsumerOptions {
        worker_id: worker.to_owned(),
        queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
        lease: Duration::from_secs(8),
        stores_results: false,
    };
    broker.consumer(options).expect("a consumer")
}

pub(crate) fn body(delivery: &Delivery) -> String {
    match &delivery.payload {
        Payload::Message(message) => String::from_utf8_lossy(&message.body).into_owned(),
        Payload::Malformed { error, .. } => panic!("a message was expected: {error}"),
    }
}

pub(crate) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(body).collect()
}

pub(crate) fn take(consumer: &mut dyn Consumer, want: usize) -> Vec<Delivery> {
    consumer.exchange(&[], want).expect("fetch").deliveries
}

/// Calls `look` until it finds something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

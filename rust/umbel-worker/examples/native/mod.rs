//! What the native examples share: their tasks, and their command line.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use umbel_backend::Backend;
use umbel_broker::url::TransportOptions;
use umbel_broker::{Broker, Outgoing, SystemClock};
use umbel_protocol::body::{BodyText, Embed};
use umbel_protocol::json::Value;
use umbel_protocol::{Destination, Message, Properties};
use umbel_worker::engine::EngineConfig;
use umbel_worker::native::Registry;
use umbel_worker::runtime::{Pauses, WorkerOptions};

/// Errors end an example with their text.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Options given as `--name value`.
pub(crate) struct Arguments(HashMap<String, String>);

impl Arguments {
    /// From the command line; `known` names what there is.
    pub(crate) fn read(known: &[&str]) -> Outcome<Self> {
        let mut options = HashMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").filter(|name| known.contains(name));
            let (Some(name), Some(value)) = (name, words.next()) else {
                return Err(format!("{word:?} is no option with a value; there are: --{}", known.join(", --")).into());
            };
            options.insert(name.to_owned(), value);
        }
        Ok(Self(options))
    }

    /// The value of an option, or what it is by default.
    pub(crate) fn text(&self, name: &str, default: &str) -> String {
        self.0.get(name).map_or(default, String::as_str).to_owned()
    }

    /// The value of an option that is a number.
    pub(crate) fn number(&self, name: &str, default: usize) -> Outcome<usize> {
        match self.0.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("--{name} {text}: expected a whole number").into()),
        }
    }

    /// Opens `--broker`, and `--result-backend`, which is the broker's store unless given.
    pub(crate) fn stores(&self) -> Outcome<(Arc<dyn Broker>, Arc<dyn Backend>)> {
        let broker = self.text("broker", "sqlite:///umbel.sqlite3");
        let results = self.text("result-backend", &broker);
        let (options, clock) = (TransportOptions::new(), Arc::new(SystemClock));
        let broker = umbel_broker::open(&broker, &options, clock.clone())?;
        Ok((broker, umbel_backend::open(&results, &options, clock)?))
    }
}

/// `tasks.add(a, b)` and `tasks.sleep(seconds)`.
#[allow(dead_code, reason = "the publisher runs none")]
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.register("tasks.add", |call| match (call.arg(0)?, call.arg(1)?) {
        (Value::Int(a), Value::Int(b)) => Ok(Value::from(a.checked_add(*b).ok_or("the sum does not fit in 64 bits")?)),
        (a, b) => {
            let sum = a.as_f64().zip(b.as_f64()).map(|(a, b)| a + b);
            sum.map(Value::from).ok_or_else(|| "tasks.add takes two numbers".into())
        }
    });
    registry.register("tasks.sleep", |call| {
        let seconds = call.arg(0)?.as_f64().filter(|seconds| (0.0..=3600.0).contains(seconds));
        std::thread::sleep(Duration::from_secs_f64(seconds.ok_or("tasks.sleep takes seconds, at most 3600")?));
        Ok(Value::Null)
    });
    registry
}

/// A call of `tasks.add` as Celery sends it.
#[allow(dead_code, reason = "the worker sends none")]
pub(crate) fn add(id: &str, queue: &str, a: usize, b: usize) -> Outgoing {
    let headers = format!(
        r#"{{"lang": "py", "task": "tasks.add", "id": "{id}", "shadow": null, "eta": null, "expires": null, "group": null, "group_index": null, "retries": 0, "timelimit": [null, null], "root_id": "{id}", "parent_id": null, "argsrepr": "({a}, {b})", "kwargsrepr": "{{}}", "origin": "native", "ignore_result": false, "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {{}}}}"#
    );
    let message = Message {
        headers,
        body: BodyText { args: &format!("[{a}, {b}]"), kwargs: "{}", embed: Embed::default() }.write(),
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        properties: Properties {
            correlation_id: Some(id.to_owned()),
            delivery_mode: Some(2),
            priority: Some(0),
            ..Properties::default()
        },
    };
    Outgoing { destination: Destination::queue(queue), message, eta: None, line: None, chord: None }
}

/// Umbel's defaults for a worker on these queues.
#[allow(dead_code, reason = "the publisher needs none")]
pub(crate) fn worker_options(queues: &str) -> WorkerOptions {
    let process = std::process::id();
    WorkerOptions {
        engine: EngineConfig {
            hostname: format!("native@{process}"),
            accept_content: vec!["application/json".into()],
            prefetch_multiplier: None,
            max_deliveries: 5,
            delay_threshold: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(25),
            result_expires: Some(Duration::from_secs(86_400)),
            queue_limits: HashMap::new(),
            max_message_bytes: 64 << 20,
            own_queue_suffix: String::new(),
        },
        queues: queues.split(',').map(str::to_owned).collect(),
        worker_id: format!("native-{process}-{:016x}", fastrand::u64(..)),
        lease: Duration::from_secs(10),
        control_exchange: None,
        reconnect: Pauses::default(),
    }
}

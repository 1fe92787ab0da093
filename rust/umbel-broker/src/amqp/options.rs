//! RabbitMQ URLs and transport options, under the names kombu gives them where it has one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use umbel_amqp::{Address, Link, Login, Settings, Table};
use umbel_net::{ClientConfig, Endpoint, TlsOptions};
use umbel_protocol::{Limits, json};

use super::failure;
use super::headers;
use super::is_ours;
use crate::broker::ExchangeKind;
use crate::error::{BrokerError, Result};
use crate::option_reader::{Reader, bad};
use crate::url::{TransportOptions, hide_password, percent_decoded, urls};

const PORT: u16 = 5672;
const TLS_PORT: u16 = 5671;

/// The largest frame we ask for; RabbitMQ's own default.
const FRAME_MAX: u32 = 131_072;

/// Options of kombu that ask for nothing here: what they tune does not exist, or is always on.
const WITHOUT_MEANING: [&str; 13] = [
    "client_properties",
    "confirm_publish",
    "interval_max",
    "interval_start",
    "interval_step",
    "max_retries",
    "on_blocked",
    "on_unblocked",
    "read_timeout",
    "write_timeout",
    "socket_settings",
    "tcp_user_timeout",
    "fail_fast",
];

/// One server and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The user. Of a login by certificate that is the server's matter.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The virtual host.
    pub virtual_host: String,
}

/// A queue as it is to be declared, with its exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueSpec {
    /// Empty for none.
    pub exchange: String,
    /// How that compares routing keys.
    pub kind: ExchangeKind,
    /// What it is bound by.
    pub routing_key: String,
    /// Such as `x-queue-type` and `x-max-priority`.
    pub arguments: Table,
}

/// What delay queues are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueType {
    /// On one node.
    Classic,
    /// On several.
    Quorum,
}

impl QueueType {
    /// As RabbitMQ names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }
}

/// Everything connections to RabbitMQ, and what is declared there, depend on.
pub struct AmqpOptions {
    /// URLs without passwords.
    pub display: Arc<str>,
    /// Tried in turn.
    pub servers: Vec<Server>,
    /// Which of them answered last.
    preferred: AtomicUsize,
    /// Log in by certificate.
    pub external: bool,
    tls: Option<Arc<ClientConfig>>,
    /// `connect_timeout`: default 5 s.
    pub connect_timeout: Duration,
    /// `socket_timeout`: how long an answer, or the confirmation of a message, may take. Default 15 s.
    pub socket_timeout: Duration,
    /// `socket_keepalive`. Default true.
    pub socket_keepalive: bool,
    /// `heartbeat` of connections that consume. Default 60 s, of which the server may make less.
    pub heartbeat: Duration,
    /// `polling_interval`: how often a doorbell looks. Default 50 ms.
    pub polling_interval: Duration,
    /// `client_name`: what the server shows people.
    pub client_name: String,
    /// `queues`: those of the settings.
    pub queues: BTreeMap<String, QueueSpec>,
    /// `queue_type`: of other queues.
    pub queue_type: QueueType,
    /// `queue_max_priority`: `x-max-priority` of all queues that say nothing of it.
    pub queue_max_priority: Option<i64>,
    /// `delay_queue_type`: of the queues in which messages wait for their time.
    pub delay_queue_type: QueueType,
    /// `thorough_fetch`: a fetch waits until it is certain that the queues are empty, and nothing is pushed between fetches. For
    /// tests and tools: it costs several round trips.
    pub thorough_fetch: bool,
    /// What a message may be.
    pub limits: Limits,
}

impl AmqpOptions {
    /// From a URL (or several, separated by `;`) and options; what a URL's query says wins.
    ///
    /// # Errors
    /// [`BrokerError::Config`] that names the option.
    pub fn parse(url: &str, options: &TransportOptions) -> Result<Self> {
        let mut all = options.clone();
        let mut servers: Vec<Server> = Vec::new();
        for one in urls(url) {
            servers.push(server(one, &mut all)?);
        }
        if servers.is_empty() {
            return Err(unusable("it names no server; write amqp://user:password@host:5672/vhost"));
        }
        let mut read = Reader(all);
        let wants_tls = read.flag("ssl", servers.iter().any(|server| server.tls))?;
        servers.iter_mut().for_each(|server| server.tls |= wants_tls);
        let tls = tls_of(&mut read, wants_tls)?;
        let login_method = read.text("login_method", "PLAIN").to_ascii_uppercase();
        let external = match login_method.as_str() {
            "PLAIN" | "AMQPLAIN" => false,
            "EXTERNAL" => true,
            _ => return Err(bad("login_method", &login_method, "PLAIN or EXTERNAL; amqp+pika:// may know others")),
        };
        let parsed = Self {
            display: hide_password(url).into(),
            servers,
            preferred: AtomicUsize::new(0),
            external,
            tls,
            connect_timeout: read.seconds("connect_timeout", 5.0)?,
            socket_timeout: read.seconds("socket_timeout", 15.0)?,
            socket_keepalive: read.flag("socket_keepalive", true)?,
            heartbeat: Duration::from_secs(u64::try_from(read.integer("heartbeat")?.unwrap_or(60)).unwrap_or(0)),
            polling_interval: read.seconds("polling_interval", 0.05)?,
            client_name: read.text("client_name", "umbel"),
            queues: queues_of(read.optional("queues"))?,
            queue_type: queue_type(&mut read, "queue_type", QueueType::Classic)?,
            queue_max_priority: read.integer("queue_max_priority")?,
            delay_queue_type: queue_type(&mut read, "delay_queue_type", QueueType::Quorum)?,
            thorough_fetch: read.flag("thorough_fetch", false)?,
            limits: Limits::default(),
        };
        read.finish("RabbitMQ", &WITHOUT_MEANING)?;
        Ok(parsed)
    }

    /// Connects to the first server that answers, beginning with the one that did last.
    ///
    /// # Errors
    /// What the last one tried said; a refused login of any of them.
    pub(super) fn open(&self, purpose: &str, heartbeat: Duration) -> Result<Link> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure = None;
        for turn in 0..self.servers.len() {
            let index = (first + turn) % self.servers.len();
            match Link::open(
                &self.address(&self.servers[index]),
                self.settings(&self.servers[index], purpose, heartbeat),
            ) {
                Ok(link) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(link);
                }
                Err(error) => {
                    let error = failure::opening(&self.display, self.connect_timeout, &error);
                    log::debug!("{}: {error}", self.servers[index].endpoint);
                    // A server that is away says less than one that refuses us.
                    if failure.is_none() || matches!(error, BrokerError::Access { .. }) {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| unusable("it names no server")))
    }

    fn address(&self, server: &Server) -> Address {
        Address {
            endpoint: server.endpoint.clone(),
            tls: self.tls.clone().filter(|_| server.tls),
            connect_timeout: self.connect_timeout,
            timeout: self.socket_timeout,
            keepalive: self.socket_keepalive,
        }
    }

    fn settings(&self, server: &Server, purpose: &str, heartbeat: Duration) -> Settings {
        let login = if self.external {
            Login::External
        } else {
            Login::Plain { user: server.user.clone(), password: server.password.clone() }
        };
        Settings {
            login,
            virtual_host: server.virtual_host.clone(),
            name: format!("{} {purpose}", self.client_name),
            heartbeat,
            frame_max: FRAME_MAX,
        }
    }

    /// Servers, user and virtual host as one text; the same for every spelling.
    pub(super) fn store_name(&self) -> String {
        let names = self.servers.iter().map(|server| format!("{}/{}", server.endpoint, server.virtual_host));
        format!("amqp {}", names.collect::<Vec<_>>().join(","))
    }

    /// How a queue is to be declared.
    pub(super) fn queue(&self, name: &str) -> QueueSpec {
        if is_ours(name) {
            let nothing = String::new;
            return QueueSpec {
                exchange: nothing(),
                kind: ExchangeKind::Direct,
                routing_key: nothing(),
                arguments: Table::new(),
            };
        }
        let mut spec = self.queues.get(name).cloned().unwrap_or_else(|| {
            let mut arguments = Table::new();
            if self.queue_type == QueueType::Quorum {
                arguments.set("x-queue-type", "quorum");
            }
            QueueSpec { exchange: name.to_owned(), kind: ExchangeKind::Direct, routing_key: name.to_owned(), arguments }
        });
        if let Some(priority) = self.queue_max_priority
            && spec.arguments.get("x-max-priority").is_none()
        {
            spec.arguments.set("x-max-priority", priority);
        }
        spec
    }
}

/// One URL; its query goes to the options.
fn server(url: &str, options: &mut TransportOptions) -> Result<Server> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("amqp", url));
    let tls = scheme.to_ascii_lowercase().contains("amqps");
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    options.extend(url::form_urlencoded::parse(query.as_bytes()).into_owned());
    // The last @ ends the password: one inside it need not be escaped.
    let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or("")),
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let port = match port {
        "" if tls => TLS_PORT,
        "" => PORT,
        port => port.parse().map_err(|_| unusable("the port is not a number from 1 to 65535"))?,
    };
    let or = |text: &str, default: &str| -> Result<String> {
        if text.is_empty() { Ok(default.to_owned()) } else { decode(text) }
    };
    // `amqp://h` and `amqp://h/` both mean the virtual host `/`, as does `amqp://h//`.
    let virtual_host = or(path.split('#').next().unwrap_or_default(), "/")?;
    Ok(Server {
        endpoint: Endpoint::Tcp { host: or(host, "localhost")?, port },
        tls,
        user: or(user, "guest")?,
        password: or(password, "guest")?,
        virtual_host,
    })
}

fn tls_of(read: &mut Reader, wanted: bool) -> Result<Option<Arc<ClientConfig>>> {
    let path = |value: Option<String>| value.map(PathBuf::from);
    let tls = TlsOptions {
        ca_certs: path(read.optional("ssl_ca_certs")),
        certfile: path(read.optional("ssl_certfile")),
        keyfile: path(read.optional("ssl_keyfile")),
        verify: read.certificates("ssl_cert_reqs")?,
        check_hostname: read.flag("ssl_check_hostname", true)?,
    };
    if wanted { Ok(Some(tls.config()?)) } else { Ok(None) }
}

fn queue_type(read: &mut Reader, name: &str, default: QueueType) -> Result<QueueType> {
    match read.optional(name).as_deref() {
        None => Ok(default),
        Some("classic") => Ok(QueueType::Classic),
        Some("quorum") => Ok(QueueType::Quorum),
        Some(other) => Err(bad(name, other, "classic or quorum")),
    }
}

/// `{"name": {"exchange": "x", "exchange_type": "topic", "routing_key": "k", "arguments": {...}}}`
fn queues_of(text: Option<String>) -> Result<BTreeMap<String, QueueSpec>> {
    let Some(text) = text else { return Ok(BTreeMap::new()) };
    let bad = || bad("queues", &text, "a JSON object of queues");
    let queues = json::parse(text.as_bytes(), &Limits::default()).map_err(|_| bad())?;
    let mut specs = BTreeMap::new();
    for (name, queue) in queues.as_object().ok_or_else(bad)? {
        let text = |field: &str| queue.get(field).and_then(json::Value::as_str).unwrap_or_default().to_owned();
        let kind = match text("exchange_type").as_str() {
            "" | "direct" => ExchangeKind::Direct,
            "topic" => ExchangeKind::Topic,
            "fanout" => ExchangeKind::Fanout,
            _ => return Err(bad()),
        };
        let arguments = match queue.get("arguments") {
            Some(json::Value::Object(members)) => headers::table(members)?,
            _ => Table::new(),
        };
        let spec = QueueSpec { exchange: text("exchange"), kind, routing_key: text("routing_key"), arguments };
        specs.insert(name.clone(), spec);
    }
    Ok(specs)
}

fn decode(text: &str) -> Result<String> {
    percent_decoded(text).ok_or_else(|| unusable("it is not UTF-8 after percent-decoding"))
}

fn unusable(detail: &str) -> BrokerError {
    BrokerError::Config { setting: "broker_url".to_owned(), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, options: &[(&str, &str)]) -> Result<AmqpOptions> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        AmqpOptions::parse(url, &options)
    }

    fn servers(url: &str) -> Vec<(String, String, String, String)> {
        let options = parse(url, &[]).expect(url);
        let parts = |server: Server| (server.endpoint.to_string(), server.user, server.password, server.virtual_host);
        options.servers.into_iter().map(parts).collect()
    }

    fn one(url: &str) -> (String, String, String, String) {
        servers(url).remove(0)
    }

    fn expected(endpoint: &str, user: &str, password: &str, vhost: &str) -> (String, String, String, String) {
        (endpoint.to_owned(), user.to_owned(), password.to_owned(), vhost.to_owned())
    }

    #[test]
    fn urls_name_server_user_and_virtual_host() {
        assert_eq!(one("amqp://"), expected("127.0.0.1:5672", "guest", "guest", "/"));
        assert_eq!(one("pyamqp://h//"), expected("h:5672", "guest", "guest", "/"));
        assert_eq!(one("amqp://us%40er:p%3Aw@h:7/a%2Fb"), expected("h:7", "us@er", "p:w", "a/b"));
        assert_eq!(one("amqps://u:p@[::1]/v?heartbeat=5"), expected("::1:5671", "u", "p", "v"));
        assert_eq!(one("amqp://u:p@ss;word@h/"), expected("h:5672", "u", "p@ss;word", "/"));
    }

    #[test]
    fn several_urls_are_tried_in_turn() {
        let found = servers("amqp://u:p@a/v;amqp://w:q@b:7/x");
        assert_eq!(found, [expected("a:5672", "u", "p", "v"), expected("b:7", "w", "q", "x")]);
        let options = parse("amqp://u:secret@a/v;amqp://w:secret@b", &[]).expect("two");
        assert_eq!(&*options.display, "amqp://u:**@a/v;amqp://w:**@b");
    }

    #[test]
    fn options_are_read_and_wrong_ones_named() {
        let queues = r#"{"q": {"exchange": "x", "exchange_type": "topic", "routing_key": "a.*", "arguments": {"x-max-length": 5}}}"#;
        let options =
            parse("amqp://h?heartbeat=7", &[("queues", queues), ("queue_max_priority", "9"), ("heartbeat", "3")]);
        let options = options.expect("options");
        assert_eq!(options.heartbeat, Duration::from_secs(7));
        let spec = options.queue("q");
        assert_eq!((spec.exchange.as_str(), spec.kind, spec.routing_key.as_str()), ("x", ExchangeKind::Topic, "a.*"));
        assert_eq!(spec.arguments, Table::new().with("x-max-length", 5).with("x-max-priority", 9));
        assert_eq!(options.queue("other").exchange, "other");
        for (name, value) in [
            ("queue_type", "stream"),
            ("heartbeat", "often"),
            ("queues", "[]"),
            ("login_method", "NTLM"),
            ("quues", ""),
        ] {
            let error = parse("amqp://h", &[(name, value)]).err().expect(name).to_string();
            assert!(error.starts_with(name), "{error}");
        }
        for url in ["amqp://:sesame@h:port/", ";"] {
            let error = parse(url, &[]).err().expect(url).to_string();
            assert!(!error.contains("sesame"), "{error}");
        }
    }
}

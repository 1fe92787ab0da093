//! Redis URLs and transport options, under the names kombu and redis-py give them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use umbel_protocol::Limits;

use super::address::{self, Parts};
use super::option_reader::Reader;
use super::wire::{Command, TlsOptions};
use crate::error::{BrokerError, Result};
use crate::url::{TransportOptions, hide_password};

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Host and port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Path of a unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // One name for the machine we are on, so that two spellings are one store.
            Self::Tcp { host, port } if host == "localhost" => write!(f, "127.0.0.1:{port}"),
            Self::Tcp { host, port } => write!(f, "{}:{port}", host.to_lowercase()),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// User and password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// ACL user; `None` is the default user.
    pub username: Option<String>,
    /// Password; `None` does not authenticate.
    pub password: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "**");
        f.debug_struct("Credentials").field("username", &self.username).field("password", &password).finish()
    }
}

impl Credentials {
    pub(super) fn auth(&self) -> Option<Command> {
        let password = self.password.as_ref()?;
        Some(Command::new("AUTH").args(&self.username).arg(password))
    }

    pub(super) fn hello(&self) -> Command {
        let hello = Command::new("HELLO").arg("3");
        match &self.password {
            None => hello,
            Some(password) => hello.arg("AUTH").arg(self.username.as_deref().unwrap_or("default")).arg(password),
        }
    }
}

/// Sentinels and the master they watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// The sentinels, asked in this order.
    pub nodes: Vec<Endpoint>,
    /// `master_name`.
    pub master_name: String,
    /// `sentinel_username` and `sentinel_password`: for the sentinels themselves.
    pub credentials: Credentials,
    /// `min_other_sentinels`: believe only a sentinel that knows so many others.
    pub min_other_sentinels: usize,
}

/// Which server to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// The first of these that answers.
    Direct(Vec<Endpoint>),
    /// The master that sentinels name.
    Sentinel(Sentinels),
}

/// Where results go when they are written in the same step as acknowledgements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultLayout {
    /// Database number; `None` is the broker's.
    pub db: Option<i64>,
    /// Text in front of `celery-task-meta-`, its separator included.
    pub prefix: String,
    /// `result_chord_ordered` is off: new chords keep their parts as they come, in a list.
    pub unordered_chords: bool,
}

/// Everything a Redis connection and its keys depend on.
#[derive(Clone)]
pub struct RedisOptions {
    /// URL without password.
    pub display: Arc<str>,
    /// Where to connect.
    pub server: Server,
    /// Whom to connect as.
    pub credentials: Credentials,
    /// Database number.
    pub db: i64,
    /// `None` for plain text.
    pub tls: Option<Arc<ClientConfig>>,
    /// `global_keyprefix`, put in front of every key as it is.
    pub global_keyprefix: String,
    /// `fanout_prefix`, in front of the names of exchanges that reach whoever listens. Default `/<db>.`.
    pub fanout_prefix: String,
    /// `sep`, between a queue's name and its priority step.
    pub sep: String,
    /// `priority_steps`, ascending.
    pub priority_steps: Vec<u8>,
    /// `unacked_key`.
    pub unacked_key: String,
    /// `unacked_index_key`.
    pub unacked_index_key: String,
    /// `visibility_timeout`: a message nobody vouches for goes back after this long. Default 1 h.
    pub visibility_timeout: Duration,
    /// `socket_connect_timeout`. Default 5 s.
    pub socket_connect_timeout: Duration,
    /// `socket_timeout`: how long an answer may take. Default 15 s.
    pub socket_timeout: Duration,
    /// `socket_keepalive`. Default true.
    pub socket_keepalive: bool,
    /// `health_check_interval`: an idle listener asks whether the server is there. Default 25 s.
    pub health_check_interval: Duration,
    /// `polling_interval`: how often to look for work where the server cannot tell. Default 50 ms.
    pub polling_interval: Duration,
    /// `client_tracking`: false never asks the server to tell of work, and polls. Default true.
    pub client_tracking: bool,
    /// `client_name`, shown by `CLIENT LIST`.
    pub client_name: String,
    /// Where results go that are written together with acknowledgements.
    pub results: ResultLayout,
    /// What a message may be.
    pub limits: Limits,
}

impl RedisOptions {
    /// From a URL (or several, separated by `;`) and options; what the URL's query says wins.
    ///
    /// # Errors
    /// [`BrokerError::Config`] that names the option.
    pub fn parse(url: &str, options: &TransportOptions) -> Result<Self> {
        let parts = Parts::parse(url)?;
        let mut all = options.clone();
        all.extend(parts.query.clone());
        let mut read = Reader(all);
        let server = server_of(&parts, &mut read)?;
        let tls = tls_of(&parts, &mut read)?;
        let username = read.optional("username").or(read.optional("user"));
        let password = read.optional("password").or(read.optional("pass"));
        let db = address::db(&parts.path, read.optional("virtual_host").or(read.optional("db")))?;
        let parsed = Self {
            display: hide_password(url).into(),
            server,
            credentials: Credentials { username: parts.username.or(username), password: parts.password.or(password) },
            db,
            tls,
            global_keyprefix: read.text("global_keyprefix", ""),
            fanout_prefix: read.fanout_prefix(db),
            sep: read.text("sep", "\u{6}\u{16}"),
            priority_steps: read.steps("priority_steps")?,
            unacked_key: read.text("unacked_key", "unacked"),
            unacked_index_key: read.text("unacked_index_key", "unacked_index"),
            visibility_timeout: read.seconds("visibility_timeout", 3600.0)?,
            socket_connect_timeout: read.seconds("socket_connect_timeout", 5.0)?,
            socket_timeout: read.seconds("socket_timeout", 15.0)?,
            socket_keepalive: read.flag("socket_keepalive", true)?,
            health_check_interval: read.seconds("health_check_interval", 25.0)?,
            polling_interval: read.seconds("polling_interval", 0.05)?,
            client_tracking: read.flag("client_tracking", true)?,
            client_name: read.text("client_name", "umbel"),
            results: ResultLayout {
                db: read.integer("result_db")?,
                prefix: result_prefix(&read.text("result_global_keyprefix", "")),
                unordered_chords: !read.flag("result_chord_ordered", true)?,
            },
            limits: Limits::default(),
        };
        read.finish()?;
        Ok(parsed)
    }

    /// Server, user and database as one text; the same for every spelling. Another user may not be allowed the same keys.
    pub(crate) fn store_name(&self, db: i64) -> String {
        let server = match &self.server {
            Server::Direct(endpoints) => endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(","),
            Server::Sentinel(sentinels) => {
                let mut nodes: Vec<String> = sentinels.nodes.iter().map(Endpoint::to_string).collect();
                nodes.sort();
                format!("{}@{}", sentinels.master_name, nodes.join(","))
            }
        };
        let user = self.credentials.username.as_deref().unwrap_or("default");
        format!("redis {server} as {user} db {db}")
    }

    /// Names the place where results are kept, so that a broker and a result store can be compared.
    pub fn results_identity(&self, layout: &ResultLayout) -> String {
        format!("{} results {:?}", self.store_name(layout.db.unwrap_or(self.db)), layout.prefix)
    }
}

/// The text in front of result keys for a result store's `global_keyprefix`: it gets an underscore unless it ends in
/// a separator (the broker's own prefix does not).
pub fn result_prefix(keyprefix: &str) -> String {
    match keyprefix.chars().last() {
        None | Some(':' | '_' | '-' | '.') => keyprefix.to_owned(),
        Some(_) => format!("{keyprefix}_"),
    }
}

fn server_of(parts: &Parts, read: &mut Reader) -> Result<Server> {
    let master_name = read.optional("master_name");
    let credentials =
        Credentials { username: read.optional("sentinel_username"), password: read.optional("sentinel_password") };
    let others = read.integer("min_other_sentinels")?;
    if !parts.is_sentinel() {
        return Ok(Server::Direct(parts.endpoints.clone()));
    }
    let master_name = master_name.ok_or_else(|| BrokerError::Config {
        setting: "master_name".to_owned(),
        detail: "a sentinel:// URL needs it: set broker_transport_options = {'master_name': ...}".to_owned(),
    })?;
    let min_other_sentinels = usize::try_from(others.unwrap_or(0)).unwrap_or(0);
    Ok(Server::Sentinel(Sentinels { nodes: parts.endpoints.clone(), master_name, credentials, min_other_sentinels }))
}

fn tls_of(parts: &Parts, read: &mut Reader) -> Result<Option<Arc<ClientConfig>>> {
    let path = |value: Option<String>| value.map(PathBuf::from);
    let tls = TlsOptions {
        ca_certs: path(read.optional("ssl_ca_certs")),
        certfile: path(read.optional("ssl_certfile")),
        keyfile: path(read.optional("ssl_keyfile")),
        verify: read.certificates("ssl_cert_reqs")?,
        check_hostname: read.flag("ssl_check_hostname", true)?,
    };
    let wanted = read.flag("ssl", parts.is_tls())?;
    if wanted { tls.config().map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, options: &[(&str, &str)]) -> Result<RedisOptions> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        RedisOptions::parse(url, &options)
    }

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn urls_name_server_database_and_user() {
        let options = parse("redis://us%40er:p%3Aw@h:7000/3", &[]).expect("a URL");
        assert_eq!(options.server, Server::Direct(vec![tcp("h", 7000)]));
        assert_eq!((options.db, options.credentials.username.as_deref()), (3, Some("us@er")));
        assert_eq!(options.credentials.password.as_deref(), Some("p:w"));
        assert_eq!(&*options.display, "redis://us%40er:**@h:7000/3");
        let socket = parse("redis+socket://:pw@/run/redis.sock?virtual_host=2", &[]).expect("a URL");
        assert_eq!(socket.server, Server::Direct(vec![Endpoint::Unix("/run/redis.sock".into())]));
        assert_eq!((socket.db, socket.credentials.password.as_deref()), (2, Some("pw")));
        let six = parse("redis://[::1]", &[]).expect("a URL");
        assert_eq!(six.server, Server::Direct(vec![tcp("::1", 6379)]));
    }

    #[test]
    fn several_urls_are_tried_in_turn_and_sentinels_need_a_master() {
        let failover = parse("redis://:pw@a/1;redis://b:7", &[]).expect("URLs");
        assert_eq!(failover.server, Server::Direct(vec![tcp("a", 6379), tcp("b", 7)]));
        assert_eq!((failover.db, failover.credentials.password.as_deref()), (1, Some("pw")));
        let sentinels = parse("sentinel://:pw@a/0;sentinel://b:7/4", &[("master_name", "m")]).expect("URLs");
        assert!(matches!(&sentinels.server, Server::Sentinel(s) if s.nodes == [tcp("a", 26379), tcp("b", 7)]));
        assert!(parse("sentinel://a", &[]).err().is_some_and(|error| error.to_string().contains("master_name")));
    }

    #[test]
    fn options_are_read_and_the_query_wins() {
        let given = [("visibility_timeout", "60"), ("priority_steps", "[0, 5]"), ("global_keyprefix", "pre:")];
        let options = parse("redis://h?visibility_timeout=90.5", &given).expect("options");
        assert_eq!(options.visibility_timeout, Duration::from_millis(90_500));
        assert_eq!((options.priority_steps, options.global_keyprefix.as_str()), (vec![0, 5], "pre:"));
        for (name, value) in [
            ("visibility_timeout", "0"),
            ("socket_timeout", "nan"),
            ("priority_steps", "3,0"),
            ("ssl", "perhaps"),
            ("unaked_key", "x"),
        ] {
            let error = parse("redis://h", &[(name, value)]).err().expect("refused");
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn unusable_urls_are_refused_without_their_password() {
        for url in ["redis://:sesame@h/x", "redis://:sesame@h:port/0", "redis+socket://:sesame@", "redis://h/0?db=y"] {
            let error = parse(url, &[]).err().expect(url).to_string();
            assert!(!error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn one_store_has_one_name() {
        let name = |url: &str, options: &[(&str, &str)]| {
            let options = parse(url, options).expect(url);
            options.results_identity(&options.results)
        };
        assert_eq!(name("redis://localhost", &[]), name("redis://:pw@127.0.0.1:6379/0", &[]));
        assert_eq!(name("redis://h/0", &[("result_db", "1")]), name("redis://h/1", &[]));
        assert_ne!(name("redis://h/0", &[("result_global_keyprefix", "p")]), name("redis://h/0", &[]));
        assert_eq!(
            (result_prefix("a").as_str(), result_prefix("a:").as_str(), result_prefix("").as_str()),
            ("a_", "a:", "")
        );
    }
}

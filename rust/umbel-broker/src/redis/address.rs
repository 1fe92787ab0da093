//! The parts of a Redis URL, of one or several separated by `;`.

use umbel_net::Endpoint;

use crate::error::{BrokerError, Result};
use crate::url::{TransportOptions, percent_decoded};

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What a URL says, before anything is made of it. The first URL that says something wins.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) scheme: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) path: String,
    pub(super) query: TransportOptions,
}

impl Parts {
    pub(super) fn parse(urls: &str) -> Result<Self> {
        let mut parts = Self::default();
        for url in urls.split(';').filter(|url| !url.trim().is_empty()) {
            parts.add(url.trim())?;
        }
        if parts.endpoints.is_empty() {
            return Err(unusable("it names no server; write redis://host:6379/0"));
        }
        Ok(parts)
    }

    pub(super) fn is_sentinel(&self) -> bool {
        self.scheme.ends_with("sentinel")
    }

    pub(super) fn is_tls(&self) -> bool {
        self.scheme.starts_with("rediss")
    }

    fn add(&mut self, url: &str) -> Result<()> {
        // `;h2:26379` without a scheme continues the list.
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        if self.scheme.is_empty() {
            self.scheme = scheme.to_ascii_lowercase();
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // The last @ ends the password: one inside it need not be escaped.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        self.add_query(query);
        self.add_user(user.unwrap_or_default())?;
        if matches!(self.scheme.as_str(), "redis+socket" | "unix") {
            return self.add_socket(rest);
        }
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.split('#').next().unwrap_or_default().trim_matches('/');
        if self.path.is_empty() {
            path.clone_into(&mut self.path);
        }
        for one in host.split(',') {
            let endpoint = self.endpoint(one)?;
            self.endpoints.push(endpoint);
        }
        Ok(())
    }

    fn add_query(&mut self, query: &str) {
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            self.query.entry(name.into_owned()).or_insert_with(|| value.into_owned());
        }
    }

    fn add_user(&mut self, user: &str) -> Result<()> {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        if self.username.is_none() && !name.is_empty() {
            self.username = Some(decode(name)?);
        }
        if self.password.is_none() && !password.is_empty() {
            self.password = Some(decode(password)?);
        }
        Ok(())
    }

    fn add_socket(&mut self, path: &str) -> Result<()> {
        if !path.starts_with('/') {
            return Err(unusable("the path of a unix socket is absolute: redis+socket:///path/redis.sock"));
        }
        self.endpoints.push(Endpoint::Unix(decode(path)?.into()));
        Ok(())
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint> {
        let default = if self.is_sentinel() { SENTINEL_PORT } else { PORT };
        let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        let host = if host.is_empty() { "localhost".to_owned() } else { decode(host)? };
        match port.filter(|port| !port.is_empty()).map(str::parse) {
            None => Ok(Endpoint::Tcp { host, port: default }),
            Some(Ok(port)) => Ok(Endpoint::Tcp { host, port }),
            Some(Err(_)) => Err(unusable("the port is not a number from 1 to 65535")),
        }
    }
}

/// The database number, from the path or the query (which wins, as in redis-py).
pub(super) fn db(path: &str, query: Option<String>) -> Result<i64> {
    let text = query.unwrap_or_else(|| path.to_owned());
    match text.trim_matches('/') {
        "" => Ok(0),
        number => number
            .parse()
            .ok()
            .filter(|db: &i64| *db >= 0)
            .ok_or_else(|| unusable(&format!("the database {number:?} is not a number; write redis://host:6379/0"))),
    }
}

fn decode(text: &str) -> Result<String> {
    percent_decoded(text).ok_or_else(|| unusable("it is not UTF-8 after percent-decoding"))
}

fn unusable(detail: &str) -> BrokerError {
    BrokerError::Config { setting: "broker_url".to_owned(), detail: detail.to_owned() }
}

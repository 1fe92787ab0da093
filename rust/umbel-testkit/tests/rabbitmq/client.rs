//! Connections: TLS, certificates, failover, and words for what goes wrong.

use std::time::Duration;

use umbel_broker::{AmqpBroker, Broker, BrokerError, NextStep, TransportOptions};

use crate::surroundings::{VirtualHost, bodies, consumer, publish, take};

fn open(url: &str, options: &[(&str, &str)]) -> AmqpBroker {
    let options: TransportOptions =
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    AmqpBroker::from_url(url, &options).expect("options")
}

fn refusal(broker: &AmqpBroker) -> BrokerError {
    broker.publisher().err().expect("refused")
}

#[test]
fn messages_go_over_tls_and_certificates_log_in() {
    let Some(vhost) = VirtualHost::start() else { return };
    let url = vhost.server.tls_url(&vhost.name);
    let broker = open(&url, &[("thorough_fetch", "true")]);
    publish(&broker, "q", &["secret"]);
    assert_eq!(bodies(&take(&mut *consumer(&broker, "w", &["q"]), 1)), ["secret"]);

    let (certificate, key) = (vhost.server.file("client.crt"), vhost.server.file("client.key"));
    let files = [("ssl_certfile", certificate.display().to_string()), ("ssl_keyfile", key.display().to_string())];
    let mut options: Vec<(&str, &str)> = files.iter().map(|(name, path)| (*name, path.as_str())).collect();
    let anonymous = url.replace("guest:guest@", "");
    options.push(("login_method", "EXTERNAL"));
    publish(&open(&anonymous, &options), "q", &["shown"]);

    let error = refusal(&open(url.split('?').next().expect("a URL"), &[]));
    assert!(matches!(&error, BrokerError::Access { detail, .. } if detail.contains("ssl_ca_certs")), "{error:?}");
}

#[test]
fn who_is_refused_learns_why_and_shows_no_password() {
    let Some(vhost) = VirtualHost::start() else { return };
    let wrong = vhost.url().replace("guest:guest", "guest:sesame");
    let nowhere = vhost.server.url("nowhere");
    let by_certificate = [("login_method", "EXTERNAL")];
    for (broker, words) in [
        (open(&wrong, &[]), "Login was refused"),
        (open(&nowhere, &[]), "virtual host"),
        (open(&vhost.url(), &by_certificate), "EXTERNAL"),
    ] {
        let error = refusal(&broker);
        assert!(matches!(error, BrokerError::Access { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(words) && !text.contains("sesame"), "{text}");
        assert_eq!(error.next_step(), NextStep::GiveUp);
    }
}

#[test]
fn a_server_that_is_away_or_none_is_told_from_one_that_refuses() {
    let Some(vhost) = VirtualHost::start() else { return };
    let away = refusal(&open("amqp://127.0.0.1:1//", &[]));
    assert_eq!(away.next_step(), NextStep::Reconnect, "{away}");
    // TLS on a port for plain text, and the other way about.
    let silent = [("connect_timeout", "2"), ("socket_timeout", "2")];
    let plain = refusal(&open(&format!("amqps://127.0.0.1:{}//", vhost.server.port), &silent));
    assert_eq!(plain.next_step(), NextStep::Reconnect, "{plain}");
    let tls = refusal(&open(&format!("amqp://127.0.0.1:{}//", vhost.server.tls_port), &silent));
    assert_eq!(tls.next_step(), NextStep::Reconnect, "{tls}");
}

#[test]
fn the_next_of_several_servers_takes_over() {
    let Some(vhost) = VirtualHost::start() else { return };
    let broker = open(&format!("amqp://127.0.0.1:1//;{}", vhost.url()), &[("thorough_fetch", "true")]);
    publish(&broker, "q", &["m"]);
    assert_eq!(bodies(&take(&mut *consumer(&broker, "w", &["q"]), 1)), ["m"]);
}

#[test]
fn unique_tasks_are_told_what_they_need() {
    let Some(vhost) = VirtualHost::start() else { return };
    let lock = umbel_broker::Lock {
        name: "l".to_owned(),
        owner: "o".to_owned(),
        life: Duration::from_secs(1),
        replace: false,
    };
    let message = crate::surroundings::outgoing("q", "m");
    let error = vhost.broker().publisher().expect("a publisher").publish_once(&message, &lock).expect_err("no locks");
    assert!(error.to_string().contains("Redis") && error.next_step() == NextStep::GiveUp, "{error}");
}

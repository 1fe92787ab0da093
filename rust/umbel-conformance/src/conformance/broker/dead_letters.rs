//! Dead letters: kept, listed, replayed, purged; never dropped.

use umbel_broker::{DeadReason, Payload};

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

fn kill(fixture: &dyn BrokerFixture, queue: &str, kinds: &[&str]) {
    let mut worker = consumer(fixture, "killer", &[queue]);
    for kind in kinds {
        let delivery = take_one(&mut *worker);
        assert_eq!(finish(&mut *worker, &[settle(&delivery.tag, dead(kind))]).lost, []);
    }
    worker.close().expect("close");
}

/// A dead letter keeps the message, its queue, the reason and the time.
pub fn dead_letters_say_what_and_why(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    kill(fixture, "q", &["rejected"]);

    let letters = admin(fixture).dead_letters(0, 10).expect("dead letters");

    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(letter.queue, "q");
    assert_eq!(letter.reason, DeadReason { kind: "rejected".to_owned(), detail: "because of rejected".to_owned() });
    assert!(letter.at.0 > 0);
    let (dead, sent) = (content(&letter.payload), message("m"));
    assert_eq!((&dead.headers, &dead.body), (&sent.headers, &sent.body));
    assert_eq!(length(fixture, "q"), 0);
}

/// Oldest first, in pages.
pub fn dead_letters_come_in_pages(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3", "4"]);
    kill(fixture, "q", &["a", "b", "c", "d"]);
    let mut admin = admin(fixture);
    let mut page = |offset, limit| -> Vec<String> {
        let letters = admin.dead_letters(offset, limit).expect("dead letters");
        letters.into_iter().map(|letter| letter.reason.kind).collect()
    };
    assert_eq!(page(0, 10), ["a", "b", "c", "d"]);
    assert_eq!(page(1, 2), ["b", "c"]);
    assert_eq!(page(3, 2), ["d"]);
    assert_eq!(page(4, 2), [""; 0]);
    assert_eq!(page(0, 0), [""; 0]);
}

/// One by its id; an id that is none finds nothing.
pub fn one_dead_letter_by_id(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    kill(fixture, "q", &["a", "b"]);
    let mut admin = admin(fixture);
    let letters = admin.dead_letters(0, 10).expect("dead letters");
    assert_ne!(letters[0].id, letters[1].id);
    for letter in &letters {
        assert_eq!(admin.dead_letter(&letter.id).as_ref(), Ok(&Some(letter.clone())));
    }
    for id in ["", "0", "none", "-1", "99999999999999999999999"] {
        assert_eq!(admin.dead_letter(id), Ok(None), "id {id:?}");
    }
}

/// Replayed: back in the queue it came from with its failures forgotten, and no longer dead.
pub fn replay_puts_letters_back(fixture: &dyn BrokerFixture) {
    publish(fixture, "a", &["1"]);
    publish(fixture, "b", &["3"]);
    let mut worker = consumer(fixture, "w", &["a"]);
    let delivery = take_one(&mut *worker);
    finish(&mut *worker, &[settle(&delivery.tag, requeue(true, true))]);
    publish(fixture, "a", &["2"]);
    kill(fixture, "a", &["x", "y"]);
    kill(fixture, "b", &["z"]);
    let mut admin = admin(fixture);
    let letters = admin.dead_letters(0, 10).expect("dead letters");
    assert_eq!(content(&letters[0].payload).properties.failed_deliveries, 1);
    let ids = vec![letters[0].id.clone(), letters[2].id.clone(), "none".to_owned()];

    assert_eq!(admin.dead_replay(&ids), Ok(2));

    assert_eq!(admin.dead_replay(&ids), Ok(0), "they are no longer dead");
    assert_eq!(admin.dead_letters(0, 10).expect("dead letters"), [letters[1].clone()]);
    let again = take_one(&mut *worker);
    assert_eq!(body(&again), "1");
    assert_eq!(content(&again.payload).properties.failed_deliveries, 0);
    assert_eq!(bodies(&take(&mut *consumer(fixture, "w2", &["b"]), 10)), ["3"]);
}

/// Purged: some by id, then all.
pub fn purge_forgets_letters(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3"]);
    kill(fixture, "q", &["a", "b", "c"]);
    let mut admin = admin(fixture);
    let letters = admin.dead_letters(0, 10).expect("dead letters");
    assert_eq!(admin.dead_purge(Some(&[letters[1].id.clone(), "none".to_owned()])), Ok(1));
    assert_eq!(admin.dead_purge(Some(&[])), Ok(0));
    assert_eq!(admin.dead_letters(0, 10).expect("dead letters").len(), 2);
    assert_eq!(admin.dead_purge(None), Ok(2));
    assert_eq!(admin.dead_letters(0, 10), Ok(vec![]));
    assert_eq!(length(fixture, "q"), 0);
}

/// Bytes that are no message are delivered as such, kept as dead letter, and go back as the bytes they were.
pub fn malformed_bytes_make_the_round_trip(fixture: &dyn BrokerFixture) {
    let raw: &[u8] = b"{\"not\": an envelope\xff\x00";
    fixture.inject_malformed("q", raw);
    publish(fixture, "q", &["sound"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    for round in 0..2 {
        let taken = take(&mut *worker, 10);
        let delivery = taken
            .iter()
            .find(|delivery| matches!(delivery.payload, Payload::Malformed { .. }))
            .expect("malformed bytes are delivered, not dropped");
        let Payload::Malformed { raw: found, error } = &delivery.payload else { unreachable!() };
        assert_eq!(found, raw);
        assert!(!error.to_string().is_empty());
        assert_eq!(&*delivery.queue, "q");
        assert_eq!(taken.len(), 2 - round, "sound messages come beside it");
        finish(&mut *worker, &[settle(&delivery.tag, dead("undecodable"))]);

        let mut admin = admin(fixture);
        let letters = admin.dead_letters(0, 10).expect("dead letters");
        assert_eq!(letters.len(), 1);
        assert!(matches!(&letters[0].payload, Payload::Malformed { raw: found, .. } if found == raw));
        assert_eq!(admin.dead_replay(&[letters[0].id.clone()]), Ok(1));
    }
}

/// Malformed bytes can be held, requeued and given back like a message.
pub fn malformed_bytes_can_be_requeued(fixture: &dyn BrokerFixture) {
    fixture.inject_malformed("q", b"\xff");
    let mut worker = consumer(fixture, "w", &["q"]);
    for disposition in [requeue(true, true), requeue(false, false)] {
        let delivery = take_one(&mut *worker);
        finish(&mut *worker, &[settle(&delivery.tag, disposition)]);
    }
    take_one(&mut *worker);
    worker.close().expect("close");
    let delivery = take_one(&mut *consumer(fixture, "other", &["q"]));
    assert!(matches!(&delivery.payload, Payload::Malformed { raw, .. } if raw == b"\xff"));
}

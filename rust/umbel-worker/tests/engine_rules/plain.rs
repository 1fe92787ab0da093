//! The plain way: fetch, dispatch, finish, settle.

use umbel_broker::Disposition;
use umbel_worker::engine::{ChildId, Input, Output, Verdict};

use crate::bench::{Bench, only};

#[test]
fn asks_for_children_then_for_messages() {
    let mut bench = Bench::new(0);
    bench.feed(Input::PoolSize(2));
    assert!(bench.took(&Output::Spawn { count: 2 }));
    assert!(bench.take_fetches().is_empty(), "nobody could run them");
    bench.ready(0);
    assert_eq!(bench.take_fetches(), [4]);
    bench.ready(1);
    assert!(bench.take_fetches().is_empty(), "one fetch at a time");
}

#[test]
fn runs_a_task_and_acknowledges_it_with_its_result() {
    let mut bench = Bench::new(1);
    bench.take_fetches();
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    assert_eq!(child, ChildId(0));
    bench.start(child, job);
    assert!(bench.take_settled().is_empty());
    bench.finish(child, job, Verdict::Success);
    let (tag, disposition, states) = only(bench.take_ends());
    assert_eq!((tag.as_deref(), disposition, states), (Some("a"), Disposition::Ack, vec!["SUCCESS".to_owned()]));
    assert_eq!(bench.engine.held_tags().len(), 1, "owed until confirmed");
    bench.feed(Input::Settled { count: 1, lost: Vec::new(), entered: vec![] });
    assert!(bench.engine.held_tags().is_empty());
}

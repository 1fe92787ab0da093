//! Who takes a message that stood in a line lets the next in.

use umbel_broker::GivenUp;
use umbel_worker::engine::TaskOptions;

use crate::bench::{Bench, config, message, task};

fn places(bench: &mut Bench) -> Vec<GivenUp> {
    bench.take_settled().into_iter().flat_map(|settlement| settlement.gives_up).collect()
}

#[test]
fn the_next_is_let_in_as_soon_as_one_is_taken() {
    let fair = TaskOptions { fair: true, ..task("fair") };
    let mut bench = Bench::with(config(), vec![fair, task("add")], 1);
    let header = r#""umbel_line": "ann""#;
    bench.deliver(vec![message("fair", "a", header)]);
    assert_eq!(places(&mut bench), [GivenUp::Place { queue: "celery".into(), line: "ann".into() }]);
    let mut again = message("fair", "b", header);
    again.properties.redelivered = true;
    bench.deliver(vec![again, message("fair", "c", ""), message("fair", "d", r#""umbel_line": 7"#)]);
    bench.deliver(vec![message("add", "e", header)]);
    assert_eq!(places(&mut bench), [], "it was taken before, stood in no line, or is not of such a task");
}

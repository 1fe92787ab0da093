//! Laws of the parsers, for any bytes: what `make fuzz` looks for exceptions to, and what the kept corpus is replayed
//! against in the test suite.
//!
//! "No panic" is the least of them. What was read is written and read again as the same; a stream means the same however
//! it is cut; two readers of one thing agree; and memory stays in proportion to the bytes that are there, whatever
//! lengths they claim ([`memory`]).

mod amqp;
mod children;
mod json;
pub mod memory;
mod messages;
mod packing;
mod resp;
mod results;
mod times;
mod urls;

/// One parser's laws.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name; `rust/fuzz/corpus/` has a folder of that name.
    pub name: &'static str,
    /// Panics if the bytes break a law.
    pub check: fn(&[u8]),
}

/// All parsers of bytes that come from elsewhere.
pub const TARGETS: [Target; 14] = [
    Target { name: "envelope", check: messages::envelope },
    Target { name: "task", check: messages::task },
    Target { name: "json", check: json::json },
    Target { name: "msgpack", check: json::msgpack },
    Target { name: "base64", check: packing::base64 },
    Target { name: "compression", check: packing::compression },
    Target { name: "result", check: results::result },
    Target { name: "resp", check: resp::resp },
    Target { name: "amqp", check: amqp::amqp },
    Target { name: "amqp-header", check: amqp::header },
    Target { name: "frames-to-child", check: children::to_child },
    Target { name: "frames-to-main", check: children::to_main },
    Target { name: "time", check: times::time },
    Target { name: "url", check: urls::url },
];

/// The target of a name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// Parts `data` at the first two zero bytes; without them the second part is empty.
fn parts(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.windows(2).position(|pair| pair == b"\0\0");
    end.map_or((data, &[]), |end| (&data[..end], &data[end + 2..]))
}

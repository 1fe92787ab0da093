//! JSON as Python's `json` module reads and writes it.
//!
//! That is more than RFC 8259: `NaN`, `Infinity` and `-Infinity` are numbers, integers have any size, and a string
//! may hold lone surrogates. One parser serves every target through [`Build`]; one [`Writer`] serves every source,
//! and its bytes equal those of `json.dumps` with default arguments.

mod escape;
mod number;
mod parse;
mod span;
mod text;
mod value;
mod write;

pub use escape::{first_to_escape, first_to_stop};
pub use parse::{Build, build, parse, skip};
pub use span::{Member, Text, elements, members, text_of};
pub use value::Value;
pub use write::{Writer, to_string, to_vec};

//! What every broker and every result store must do, as test cases that know no engine.
//!
//! An engine's test file says how to make an empty store (a fixture) and lets a macro make one `#[test]` per case:
//!
//! ```ignore
//! umbel_testkit::broker_conformance!(MyFixture::start);
//! umbel_testkit::backend_conformance!(MyFixture::start);
//! umbel_testkit::same_store_conformance!(MyFixture::start);
//! ```
//!
//! Where a server may be missing, `optional MyFixture::start` takes a function that returns an `Option`.

pub mod backend;
pub mod broker;
pub mod fixture;
pub mod same_store;
mod steps;

pub use fixture::{BackendFixture, BrokerFixture};

/// Writes one `#[test]` per named case, each with a fresh fixture; with `@list`, a list of the cases instead.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ([@list], $module:ident, [$($case:ident,)+]) => {
        [$($crate::conformance::$module::Case { name: stringify!($case), run: $crate::conformance::$module::$case }),+]
    };
    ([optional $make:expr], $module:ident, [$($case:ident,)+]) => {
        $(
            #[test]
            fn $case() {
                if let Some(fixture) = $make()
                    && $crate::conformance::$module::applies(stringify!($case), &fixture)
                {
                    $crate::conformance::$module::$case(&fixture);
                }
            }
        )+
    };
    ([$make:expr], $module:ident, [$($case:ident,)+]) => {
        $(
            #[test]
            fn $case() {
                let fixture = $make();
                if $crate::conformance::$module::applies(stringify!($case), &fixture) {
                    $crate::conformance::$module::$case(&fixture);
                }
            }
        )+
    };
}

/// The names of public functions in Rust sources: for tests that no case is left out of its macro.
#[cfg(test)]
fn public_functions(sources: &[&str]) -> Vec<String> {
    let lines = sources.iter().flat_map(|source| source.lines());
    let mut names: Vec<String> =
        lines.filter_map(|line| line.strip_prefix("pub fn ")?.split('(').next().map(str::to_owned)).collect();
    names.sort();
    names
}

/// The names in the list of a macro's source: alone on their lines, after one that holds only `[`.
#[cfg(test)]
fn listed_cases(source: &str) -> Vec<String> {
    let mut names: Vec<String> = source
        .lines()
        .skip_while(|line| line.trim() != "[")
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

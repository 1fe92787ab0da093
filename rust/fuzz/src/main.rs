//! Feeds libFuzzer's bytes to the laws of one parser, named by the variable `UMBEL_FUZZ_TARGET`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use umbel_testkit::laws::{self, Target, memory::Counting};

#[global_allocator]
static MEMORY: Counting = Counting;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("UMBEL_FUZZ_TARGET").unwrap_or_default();
    laws::target(&name).unwrap_or_else(|| {
        let known = laws::TARGETS.map(|target| target.name).join(", ");
        panic!("UMBEL_FUZZ_TARGET={name:?} is none of {known}")
    })
});

fuzz_target!(|data: &[u8]| (TARGET.check)(data));

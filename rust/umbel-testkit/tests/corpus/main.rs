//! The laws of the parsers, held against everything the fuzzer kept and against Celery's recordings. `make fuzz` looks
//! for more.

mod seeds;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use umbel_testkit::laws::{TARGETS, Target, memory, target};

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// Says which input broke a law.
struct Input<'a>(&'a str);

impl Drop for Input<'_> {
    #[expect(clippy::print_stderr, reason = "what failed must be named, and nothing else can")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was {}", self.0);
        }
    }
}

fn check(target: Target, name: &str, data: &[u8]) {
    let _input = Input(name);
    (target.check)(data);
}

#[test]
fn every_file_of_the_corpus_keeps_the_laws() {
    for target in TARGETS {
        let folder = corpus().join(target.name);
        let files: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        assert!(files.len() >= 10, "{} files in {}", files.len(), folder.display());
        for file in files {
            check(target, &file.display().to_string(), &fs::read(&file).expect("readable"));
        }
    }
}

#[test]
fn recordings_keep_the_laws_and_so_does_what_is_cut_from_them() {
    let mut seen = BTreeMap::new();
    for (name, data) in seeds::seeds() {
        let target = target(name).expect("a target");
        *seen.entry(name).or_insert(0) += 1;
        for end in [data.len(), data.len() / 2, data.len().saturating_sub(3)] {
            check(target, &format!("{name}: {:?}", String::from_utf8_lossy(&data[..end])), &data[..end]);
        }
    }
    assert_eq!(seen.len(), TARGETS.len(), "every parser has recordings: {seen:?}");
}

#[test]
fn no_input_is_an_input_too() {
    for target in TARGETS {
        for data in [&b""[..], b"\0", b"\0\0", b"\0\0\0", b"\xff\xff\xff\xff\xff\xff\xff\xff"] {
            check(target, &format!("{}: {data:?}", target.name), data);
        }
    }
}

/// Each level of nesting may claim what is left of the message, but not all of them together.
#[test]
fn nested_claims_buy_no_memory() {
    let level = [b"\xdf\x00\x00\x04\x00".as_slice(), b"\xa0"].concat();
    let data = [level.repeat(500), vec![0; 1024]].concat();
    check(target("msgpack").expect("a target"), "500 maps of 1024 members, in each other", &data);
}

/// Without its allocator every bound would hold.
#[test]
fn memory_is_counted_here() {
    let (kept, used) = memory::used_by(|| {
        drop(vec![1_u8; 1 << 20]);
        vec![1_u8; 1 << 10]
    });
    assert_eq!(kept.len(), 1 << 10);
    assert!((1 << 20..2 << 20).contains(&used), "{used}");
}

/// Writes what the fuzzer starts from into the folder `UMBEL_FUZZ_SEEDS`.
#[test]
#[ignore = "for a corpus that is made anew"]
fn write_seeds() {
    let folder = PathBuf::from(std::env::var("UMBEL_FUZZ_SEEDS").expect("a folder"));
    for (number, (target, data)) in seeds::seeds().into_iter().enumerate() {
        fs::create_dir_all(folder.join(target)).expect("a folder");
        fs::write(folder.join(target).join(format!("seed-{number}")), data).expect("written");
    }
}

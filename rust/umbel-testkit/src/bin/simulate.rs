//! Runs seeded histories of the simulator by the hundred thousand: `make simulate`.
//!
//! `simulate [--histories N] [--seed FIRST] [--threads N]` runs the histories of N seeds from FIRST on, and prints what
//! happened in them. A seed that breaks an invariant is printed with every step of its history, and the exit status is 1.
//! `simulate --replay SEED` prints every step of one.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command")]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use umbel_testkit::simulator::{Happening, Options, Summary, run, run_all};

/// What was asked for.
struct Arguments {
    histories: u64,
    seed: u64,
    threads: usize,
    replay: Option<u64>,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut arguments = Self { histories: 100_000, seed: 1, threads, replay: None };
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            let number: u64 = value.parse().map_err(|_| format!("{word} needs a number, not {value:?}"))?;
            match word.as_str() {
                "--histories" => arguments.histories = number,
                "--seed" => arguments.seed = number,
                "--threads" => arguments.threads = usize::try_from(number).unwrap_or(1),
                "--replay" => arguments.replay = Some(number),
                _ => return Err(format!("{word} is none of --histories, --seed, --threads, --replay")),
            }
        }
        Ok(arguments)
    }
}

/// One line that is rewritten, on a terminal; else a line for every tenth part.
struct Progress {
    all: u64,
    begun: Instant,
    shown: Mutex<(Instant, u64)>,
    rewrites: bool,
}

impl Progress {
    fn new(all: u64) -> Self {
        let begun = Instant::now();
        Self { all, begun, shown: Mutex::new((begun, 0)), rewrites: std::io::stderr().is_terminal() }
    }

    fn show(&self, done: u64) {
        let Ok(mut shown) = self.shown.try_lock() else { return };
        let tenth = done * 10 / self.all.max(1);
        let is_time = if self.rewrites { shown.0.elapsed() >= Duration::from_millis(200) } else { tenth > shown.1 };
        if !is_time {
            return;
        }
        *shown = (Instant::now(), tenth);
        let rate = done as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
        let left = (self.all - done.min(self.all)) as f64 / rate.max(1e-9);
        let (before, after) = if self.rewrites { ("\r\x1b[K", "") } else { ("", "\n") };
        eprint!("{before}{done} of {} histories, {rate:.0} a second, {left:.0} s left{after}", self.all);
        let _ = std::io::stderr().flush();
    }

    fn end(&self) -> Duration {
        if self.rewrites {
            eprint!("\r\x1b[K");
        }
        self.begun.elapsed()
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = arguments.replay {
        return replay(seed);
    }
    let progress = Progress::new(arguments.histories);
    let seeds = arguments.seed..arguments.seed.saturating_add(arguments.histories);
    let summary = run_all(seeds, arguments.threads, Options::default(), &|done| progress.show(done));
    print_summary(&summary, progress.end(), &arguments);
    match summary.violation {
        None => ExitCode::SUCCESS,
        Some((seed, _)) => {
            replay(seed);
            println!("again: make simulate SIM_ARGS=\"--replay {seed}\"");
            ExitCode::FAILURE
        }
    }
}

fn print_summary(summary: &Summary, took: Duration, arguments: &Arguments) {
    let rate = summary.histories as f64 / took.as_secs_f64().max(1e-9);
    println!(
        "{} histories (seeds {} to {}) on {} threads in {:.1} s, {rate:.0} a second",
        summary.histories,
        arguments.seed,
        arguments.seed + summary.histories.saturating_sub(1),
        arguments.threads,
        took.as_secs_f64(),
    );
    let rows = [
        ("steps of engines", summary.steps),
        ("messages", summary.messages),
        ("runs of tasks", summary.runs),
        ("faults injected", summary.faults),
        ("histories without a fault", summary.quiet),
    ];
    let happenings = Happening::ALL.map(|kind| (kind.name(), summary.counts.of(kind)));
    for (name, count) in rows.into_iter().chain(happenings) {
        println!("  {count:>12}  {name}");
    }
    match &summary.violation {
        None => println!("no invariant was broken"),
        Some((seed, violation)) => println!("seed {seed}: {violation}"),
    }
}

/// Prints every step of a history.
fn replay(seed: u64) -> ExitCode {
    let report = run(seed, Options { trace: true, ..Options::default() });
    for line in &report.trace {
        println!("{line}");
    }
    match report.violation {
        None => {
            println!("seed {seed}: no invariant was broken");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

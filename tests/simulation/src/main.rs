//! `headroom-sim`: runs histories of the simulation, one with its trace or many with their rate.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command for people")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Parser, Subcommand};
use headroom_sim::bill::{Bill, Detail};
use headroom_sim::bugs::BUGS;
use headroom_sim::conditions::Missed;
use headroom_sim::faults::Script;
use headroom_sim::history::{Setup, run};
use headroom_sim::plan::Plan;
use headroom_sim::planted::{BROKEN, Nursery};
use headroom_sim::sweep::{Sweep, Swept};
use headroom_sim::{conditions, confluence, points, recovery};

/// Deterministic simulation of Headroom: the real handlers on virtual time, with faults between any two
/// calls. One seed is one history. The exit code is 0 only if no promise was broken.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    /// Run this seed alone and print its trace.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Run so many seeds, up to the first that breaks a promise.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Begin no history after so many minutes, and fail if any are left then.
    #[arg(long)]
    minutes: Option<f64>,
    /// Go on after a broken promise, and list them all.
    #[arg(long)]
    all: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Every fault point of the reference scenarios, singly or in pairs.
    Points {
        /// After each fault, each call that follows with each fault again.
        #[arg(long)]
        pairs: bool,
        /// Only scenarios whose name holds this.
        #[arg(long, default_value = "")]
        scenario: String,
    },
    /// Takes each part of each write's condition out, and says which seed or which test of the table misses it.
    Conditions {
        /// Seeds for each.
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
        /// Only writes whose name holds this.
        #[arg(long, default_value = "")]
        write: String,
    },
    /// All orders and repetitions of a call's messages: one final state.
    Confluence {
        /// Run each word up to this length truly one by one, besides finding the states.
        #[arg(long, default_value_t = 0)]
        one_by_one: usize,
    },
    /// How long what is lost is felt, and what it costs in requests.
    Recovery {
        /// Seeds for each row.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
    },
    /// What calls cost on AWS, and an idle month.
    Bill {
        /// Calls of each kind.
        #[arg(long, default_value_t = 1000)]
        calls: u32,
        /// Each request to DynamoDB as well, by what it is for.
        #[arg(long)]
        detail: bool,
    },
    /// Plants each bug of the field in a copy of the code, and counts the seeds until it is found.
    Bugs {
        /// Seeds for each.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// Only bugs whose name holds this.
        #[arg(long, default_value = "")]
        name: String,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let good = match (&args.command, args.seed) {
        (Some(Command::Points { pairs, scenario }), _) => points(*pairs, scenario),
        (Some(Command::Conditions { seeds, write }), _) => conditions(*seeds, write)?,
        (Some(Command::Confluence { one_by_one }), _) => confluence(*one_by_one),
        (Some(Command::Recovery { seeds }), _) => recovery(*seeds),
        (Some(Command::Bill { calls, detail }), _) => bill(*calls, *detail),
        (Some(Command::Bugs { seeds, name }), _) => bugs(*seeds, name)?,
        (None, Some(seed)) => one(seed),
        (None, None) => many(&args),
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn one(seed: u64) -> bool {
    let setup = Setup { keep_trace: true, ..Setup::default() };
    let history = run(Plan::of(seed), Script::Chance, setup);
    for line in &history.trace {
        println!("{line}");
    }
    println!(
        "\nseed {seed}: {:.0} s of history, {} calls, {} faults, {} checks, digest {:016x}",
        history.seconds, history.calls, history.faults, history.checks, history.digest
    );
    match &history.violation {
        Some(violation) => println!("BROKEN {violation}"),
        None => println!("every promise held"),
    }
    history.violation.is_none()
}

fn many(args: &Args) -> bool {
    let sweep = Sweep {
        at_most: args.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
        stop_at_first: !args.all,
        ..Sweep::of(args.from, args.seeds)
    };
    let swept = sweep.run(|done| {
        if done.is_multiple_of(500) {
            eprintln!("{done} histories");
        }
    });
    for (seed, violation) in &swept.broken {
        println!("{BROKEN}{seed}: {violation}");
    }
    if let Some((seed, _)) = swept.broken.first() {
        println!("see it with: cargo run -p headroom-sim -- --seed {seed}");
    }
    report(&swept);
    if swept.histories < args.seeds && swept.broken.is_empty() {
        println!("only {} of {} seeds in the time given", swept.histories, args.seeds);
        return false;
    }
    swept.broken.is_empty()
}

fn report(swept: &Swept) {
    let Swept { histories, calls, faults, checks, hours, call_hours, took, broken, .. } = swept;
    let minutes = took.as_secs_f64() / 60.0;
    println!(
        "{histories} histories, {} broken: {calls} calls, {faults} faults, {checks} checks; {hours:.0} simulated \
         hours with {call_hours:.0} call-hours in {:.0} s: {:.0} seeds and {:.0} simulated hours a minute",
        broken.len(),
        took.as_secs_f64(),
        *histories as f64 / minutes,
        hours / minutes,
    );
}

fn points(pairs: bool, name: &str) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut good = true;
    println!("| scenario | places | singles | pairs | broken |\n|---|---|---|---|---|");
    for scenario in points::scenarios().iter().filter(|scenario| scenario.name.contains(name)) {
        let covered = points::cover(scenario, pairs, threads, |done, of| {
            if pairs && done.is_multiple_of(10) {
                eprintln!("{}: {done} of {of} singles with their pairs", scenario.name);
            }
        });
        let places: usize = covered.places.values().map(|places| places.len()).sum();
        let of = |(done, of): (usize, usize)| format!("{done} of {of}");
        let (singles, pairs) = (of(covered.singles), of(covered.pairs));
        println!("| {} | {places} | {singles} | {pairs} | {} |", scenario.name, covered.broken.len());
        for (faults, violation) in covered.broken.iter().take(5) {
            println!("    {faults:?}: {violation}");
        }
        good &= covered.broken.is_empty() && covered.singles.0 == covered.singles.1;
    }
    good
}

fn conditions(seeds: u64, name: &str) -> anyhow::Result<bool> {
    println!("| write | without | found by | what it breaks |\n|---|---|---|---|");
    let parts = conditions::all().into_iter().filter(|part| part.write.contains(name));
    let mut good = true;
    for part in parts {
        let missed = conditions::look_for(&part, seeds)?;
        println!("| `{}` | `{}` | {missed} |", part.write, part.text);
        good &= missed != Missed::Nowhere;
    }
    Ok(good)
}

fn confluence(one_by_one: usize) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let all = confluence::check(one_by_one, threads);
    println!("{}", confluence::HEAD);
    for scenario in &all {
        println!("{scenario}");
    }
    all.iter().all(confluence::Confluence::holds)
}

fn recovery(seeds: u64) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let measured = recovery::measure(1..seeds + 1, threads, |done| {
        if done.is_multiple_of(100) {
            eprintln!("{done} histories");
        }
    });
    println!("{measured}");
    measured.holds()
}

fn bill(calls: u32, detail: bool) -> bool {
    let bill = Bill::of(calls);
    if detail {
        bill.rows.iter().chain([&bill.idle]).for_each(|row| println!("{}", Detail(row)));
    }
    println!("{bill}");
    bill.broken().is_empty()
}

fn bugs(seeds: u64, name: &str) -> anyhow::Result<bool> {
    let nursery = Nursery::open()?;
    let mut good = true;
    println!("| bug | found by seed | what it breaks | s |\n|---|---|---|---|");
    let chosen: Vec<_> = BUGS.iter().filter(|bug| bug.name.contains(name)).collect();
    if chosen.is_empty() {
        bail!("no bug is called {name}");
    }
    for bug in chosen {
        let hunt = match nursery.hunt(bug, seeds) {
            Ok(hunt) => hunt,
            // The others are worth hunting all the same.
            Err(error) => {
                println!("| {} | - | {error:#} | - |", bug.name);
                good = false;
                continue;
            }
        };
        let (seed, what) =
            hunt.found.map_or(("-".to_owned(), String::new()), |(seed, what)| (seed.to_string(), what));
        println!("| {} | {seed} | {what} | {:.0} |", hunt.name, hunt.seconds);
        good &= seed != "-";
    }
    Ok(good)
}

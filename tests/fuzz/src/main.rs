//! Long runs and replays by hand: `cargo run --release -p fuzz -- --help` says it all.
#![allow(clippy::print_stdout, reason = "a command line prints")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use fuzz::run::{self, Plan};
use fuzz::targets::{ALL, Target};

/// Fuzzing of everything that reads what comes from outside.
///
/// Prints the seed, what was done and what it came to; ends with 1 at the first finding of a target,
/// with the command that shows it again and the input in target/fuzz.
#[derive(Parser)]
#[command(name = "fuzz", version)]
struct Args {
    /// What to fuzz; all of them if none is named
    #[arg(value_parser = ALL.map(|(name, _)| name))]
    targets: Vec<String>,
    /// Seconds for all targets together
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// All inputs come from this; by chance if not given
    #[arg(long)]
    seed: Option<u64>,
    /// One execution of the seed
    #[arg(long, requires = "seed")]
    execution: Option<u64>,
    /// One saved input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seconds"])]
    input: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // The stack that a function's threads have: what uses it up there must do so here.
    let runner = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let found =
        runner.spawn(move || fuzz(&args))?.join().map_err(|_| anyhow::anyhow!("the runner broke"))??;
    std::process::exit(if found { 1 } else { 0 })
}

fn fuzz(args: &Args) -> anyhow::Result<bool> {
    let chosen =
        ALL.iter().filter(|(name, _)| args.targets.is_empty() || args.targets.iter().any(|t| t == name));
    let chosen: Vec<_> = chosen.collect();
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut found = false;
    for (_, make) in &chosen {
        let target = make()?;
        found |= match &args.input {
            Some(path) => {
                let input = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                replay(&target, &input)
            }
            None => {
                let time = Duration::from_secs(args.seconds) / chosen.len() as u32;
                let (first, executions) = args.execution.map_or((0, u64::MAX), |number| (number, 1));
                go(&target, &Plan { seed, first, executions, time })
            }
        };
    }
    Ok(found)
}

fn replay(target: &Target, input: &[u8]) -> bool {
    match run::replay(target, input) {
        Ok(outcome) => println!("{}: {outcome}", target.name),
        Err(problem) => println!("FOUND {}: {problem}", target.name),
    }
    run::replay(target, input).is_err()
}

fn go(target: &Target, plan: &Plan) -> bool {
    match run::run(target, plan) {
        Ok(report) => {
            println!("{:<10}{report}", target.name);
            false
        }
        Err(finding) => {
            println!("FOUND {finding}");
            true
        }
    }
}

//! Runs: many executions of one target, from a seed, until a time or a count is reached or something
//! is found.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::corpus;
use crate::measure::execute;
use crate::targets::Target;

/// Which executions to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// All inputs come from this.
    pub seed: u64,
    /// The first execution's number.
    pub first: u64,
    /// Most executions.
    pub executions: u64,
    /// Longest time.
    pub time: Duration,
}

/// What a run that found nothing did.
#[derive(Debug, Clone)]
pub struct Report {
    /// Executions done.
    pub executions: u64,
    /// Time taken, making the inputs included.
    pub time: Duration,
    /// How many executions came to what.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The longest input.
    pub longest: usize,
    /// The slowest execution.
    pub slowest: Duration,
    /// Most bytes that one execution had in use.
    pub memory: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, seconds) = (self.executions, self.time.as_secs_f64());
        write!(f, "{count} executions in {seconds:.1} s, {:.0}/s; ", count as f64 / seconds.max(0.001))?;
        write!(f, "longest input {} bytes, slowest {:.1?}, ", self.longest, self.slowest)?;
        write!(f, "most memory {} KiB;", self.memory / 1024)?;
        for (outcome, times) in &self.outcomes {
            write!(f, " {outcome} {times}")?;
        }
        Ok(())
    }
}

/// Something found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The target.
    pub target: &'static str,
    /// The seed and the number of the execution.
    pub execution: (u64, u64),
    /// What is wrong.
    pub problem: String,
    /// The input.
    pub input: Arc<[u8]>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, (seed, number)) = (self.target, self.execution);
        writeln!(f, "{target}: {}", self.problem)?;
        writeln!(f, "again: cargo run --release -p fuzz -- {target} --seed {seed} --execution {number}")?;
        match self.save() {
            Ok(path) => write!(f, "or: cargo run --release -p fuzz -- {target} --input {}", path.display()),
            Err(error) => write!(f, "the input could not be saved: {error}"),
        }
    }
}

impl Finding {
    fn save(&self) -> std::io::Result<PathBuf> {
        let name = format!("{}-{}-{}.input", self.target, self.execution.0, self.execution.1);
        let path = findings()?.join(name);
        std::fs::write(&path, &self.input)?;
        Ok(path)
    }
}

fn findings() -> std::io::Result<PathBuf> {
    let folder = corpus::repository().join("target/fuzz");
    std::fs::create_dir_all(&folder)?;
    folder.canonicalize()
}

/// The input of one execution: the same for the same seed and number, whatever ran before.
pub fn input(target: &Target, seed: u64, number: u64) -> Vec<u8> {
    // Any mixing will do that keeps neighbours apart; the generator does the rest.
    let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03);
    (target.generate)(&mut StdRng::seed_from_u64(mixed))
}

/// Runs a target as planned. Boxed, since a finding is seldom and large.
pub fn run(target: &Target, plan: &Plan) -> Result<Report, Box<Finding>> {
    let start = Instant::now();
    let place = Place::new(target.name);
    let mut report = Report {
        executions: 0,
        time: Duration::ZERO,
        outcomes: BTreeMap::new(),
        longest: 0,
        slowest: Duration::ZERO,
        memory: 0,
    };
    for number in plan.first..plan.first.saturating_add(plan.executions) {
        if start.elapsed() >= plan.time {
            break;
        }
        let input: Arc<[u8]> = input(target, plan.seed, number).into();
        let finding = |problem| Finding {
            target: target.name,
            execution: (plan.seed, number),
            problem,
            input: input.clone(),
        };
        place.begin(finding("did not end".into()));
        let (outcome, cost) =
            execute(&*target.run, target.bounds, &input).map_err(|problem| Box::new(finding(problem)))?;
        *report.outcomes.entry(outcome).or_default() += 1;
        report.executions += 1;
        report.longest = report.longest.max(input.len());
        report.slowest = report.slowest.max(cost.time);
        report.memory = report.memory.max(cost.memory);
    }
    report.time = start.elapsed();
    Ok(report)
}

/// Runs one input of a target.
pub fn replay(target: &Target, input: &[u8]) -> Result<&'static str, String> {
    execute(&*target.run, target.bounds, input).map(|(outcome, _)| outcome)
}

/// The execution under way, for those who must tell of it when it cannot end by itself.
static UNDER_WAY: Mutex<Option<(Finding, Instant)>> = Mutex::new(None);
/// Which run has a watcher that is still wanted.
static RUNS: AtomicU64 = AtomicU64::new(0);
/// An execution that takes this long will not end.
const HANG: Duration = Duration::from_secs(60);

/// Remembers the execution under way: in memory for a panic that aborts and for one that hangs, in
/// a file for one that takes the whole process with it, as a stack that is used up does.
struct Place {
    file: Option<File>,
    run: u64,
}

impl Place {
    fn new(target: &str) -> Self {
        let file = findings().and_then(|folder| File::create(folder.join(format!("{target}.last")))).ok();
        let run = RUNS.fetch_add(1, Ordering::Relaxed) + 1;
        std::thread::spawn(move || {
            while RUNS.load(Ordering::Relaxed) == run {
                std::thread::sleep(Duration::from_secs(1));
                let under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((finding, since)) = &*under_way
                    && since.elapsed() > HANG
                {
                    tell(finding);
                    std::process::exit(1);
                }
            }
        });
        Self { file, run }
    }

    fn begin(&self, finding: Finding) {
        if let Some(file) = &self.file {
            let (seed, number) = finding.execution;
            // Only of use after a crash; a run without it is as good until then.
            let _ = file.write_all_at(format!("--seed {seed} --execution {number:<20}\n").as_bytes(), 0);
        }
        *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) = Some((finding, Instant::now()));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = RUNS.compare_exchange(self.run, self.run + 1, Ordering::Relaxed, Ordering::Relaxed);
        *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Tells of the execution under way, from inside a panic that ends the process.
pub(crate) fn found_at_last(problem: &str) {
    let under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner).take();
    match under_way {
        Some((finding, _)) => tell(&Finding { problem: problem.to_owned(), ..finding }),
        // A replay: where the input comes from is known.
        None => tell(&problem),
    }
}

#[allow(clippy::print_stderr, reason = "the process ends here, and this is all that is left of the run")]
fn tell(found: &dyn fmt::Display) {
    eprintln!("FOUND {found}");
}

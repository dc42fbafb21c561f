//! Whether each part of each write's condition is needed: taken out, it has to be missed by some seed, or by
//! one of the table's own tests.

use std::collections::BTreeSet;
use std::fmt;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::faults::Script;
use crate::history::{Setup, run};
use crate::plan::Plan;
use crate::sweep::Sweep;
use crate::weaken::{Part, WITHOUT};

/// Who missed a part of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missed {
    /// A seed, and the promise that was broken in it.
    Seed(u64, String),
    /// A test of the table.
    Test(String),
    /// Nobody, and it says why it stands there nevertheless.
    Implied(&'static str),
    /// Nobody: it is not needed, or not tested.
    Nowhere,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(seed, what) => write!(f, "seed {seed} | {what}"),
            Self::Test(name) => write!(f, "test | `{name}`"),
            Self::Implied(why) => write!(f, "nobody, it is implied | {why}"),
            Self::Nowhere => write!(f, "nobody | "),
        }
    }
}

/// The parts of all conditions that some hundred histories send.
pub fn all() -> BTreeSet<Part> {
    let mut parts = BTreeSet::new();
    for seed in 1..=300 {
        let setup = Setup { keep_parts: true, ..Setup::default() };
        parts.extend(run(Plan::of(seed), Script::Chance, setup).parts);
    }
    parts
}

/// Parts that follow from others as the writes are now, and why they are there.
const IMPLIED: [(&str, &str, &str); 2] = [
    (
        "count_message",
        "attribute_exists(pk)",
        "a campaign is stored before its messages are counted, and never deleted; without the part an update would make one up",
    ),
    (
        "change_policy",
        "attribute_not_exists(pk)",
        "an item of the ledger comes and goes with a revision of the first one; without the part lines might be written over",
    ),
];

/// Looks for who misses a part: the table's tests first, they are quicker, then the seeds.
///
/// # Errors
/// If the tests cannot be run, or fail with nothing taken out.
pub fn look_for(part: &Part, seeds: u64) -> anyhow::Result<Missed> {
    if let Some(failed) = tests_without(part)? {
        return Ok(Missed::Test(failed));
    }
    let swept = Sweep { without: Some(part.clone()), ..Sweep::of(1, seeds) }.run(|_| {});
    if let Some((seed, violation)) = swept.broken.first() {
        return Ok(Missed::Seed(*seed, violation.to_string().chars().take(90).collect()));
    }
    let implied = IMPLIED.iter().find(|(write, text, _)| (*write, *text) == (part.write, part.text.as_str()));
    Ok(implied.map_or(Missed::Nowhere, |(.., why)| Missed::Implied(why)))
}

/// The first test that fails without the part.
fn tests_without(part: &Part) -> anyhow::Result<Option<String>> {
    let ran = Command::new("cargo")
        .args(["test", "--quiet", "--offline", "-p", "flows"])
        .args([
            "--test",
            "ledger_model",
            "--test",
            "steps",
            "--test",
            "why",
            "--test",
            "reject",
            "--test",
            "shards",
            "--test",
            "quotas",
            "health",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env(WITHOUT, format!("{}: {}", part.write, part.text))
        .env("RUST_BACKTRACE", "0")
        // A failing row is not worth shrinking here, nor keeping.
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .output()
        .context("cargo cannot be run")?;
    if ran.status.success() {
        return Ok(None);
    }
    let out = String::from_utf8_lossy(&ran.stdout);
    let failed = out.lines().find_map(|line| line.strip_prefix("---- ")?.strip_suffix(" stdout ----"));
    ensure!(failed.is_some(), "the tests do not build:\n{}", String::from_utf8_lossy(&ran.stderr));
    Ok(failed.map(str::to_owned))
}

//! A short run of every target, always with the same inputs, and all findings that are kept.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::time::Duration;

use fuzz::corpus;
use fuzz::run::{self, Plan};
use fuzz::targets::ALL;

const SEED: u64 = 1;
/// A machine too slow for the planned executions does fewer of them.
const TIME: Duration = Duration::from_secs(4);

/// One test, since one execution is measured at a time.
#[test]
fn every_target_keeps_its_promises_on_kept_findings_and_on_new_inputs() {
    for (name, make) in ALL {
        let target = make().unwrap();
        for (n, input) in corpus::kept(name).iter().enumerate() {
            let outcome = run::replay(&target, input);
            assert!(outcome.is_ok(), "file {n} of {}: {outcome:?}", corpus::folder(name).display());
        }
        let plan = Plan { seed: SEED, first: 0, executions: target.short, time: TIME };
        let report = run::run(&target, &plan).unwrap_or_else(|finding| panic!("{finding}"));
        println!("{name:<10}{report}");
        if report.executions == target.short {
            for outcome in target.expected {
                assert!(report.outcomes.contains_key(outcome), "{name} never came to {outcome:?}: {report}");
            }
        }
    }
}

#[test]
fn every_kept_finding_belongs_to_a_target() {
    let folder = corpus::folder("");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_target = ALL.iter().any(|(target, _)| *target == name);
        assert!(is_target || !entry.path().is_dir(), "{name} is no target");
    }
}

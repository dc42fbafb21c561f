//! The simulation, as much of it as is worth a minute: some seeds, every single fault point of the first
//! scenario, and that it can fail at all. The rest is `headroom-sim`'s (see tests/README.md).

use std::path::Path;

use headroom_sim::bugs::BUGS;
use headroom_sim::faults::Script;
use headroom_sim::history::{Setup, run};
use headroom_sim::plan::Plan;
use headroom_sim::points::{cover, scenarios};
use headroom_sim::sweep::Sweep;
use headroom_sim::weaken::Part;

#[test]
fn some_seeds_keep_every_promise() {
    let swept = Sweep::of(1, 60).run(|_| {});
    assert_eq!(swept.broken, []);
    assert_eq!(swept.histories, 60);
    assert!(swept.faults > 600, "things do go wrong: {} times", swept.faults);
}

#[test]
fn one_seed_is_one_history() {
    for seed in [3, 9, 28] {
        let digests: Vec<u64> =
            (0..2).map(|_| run(Plan::of(seed), Script::Chance, Setup::default()).digest).collect();
        assert_eq!(digests[0], digests[1], "seed {seed}");
    }
}

#[test]
fn every_single_fault_of_a_campaign_is_survived() {
    let scenario = scenarios().swap_remove(0);
    let covered = cover(&scenario, false, 2, |_, _| {});
    assert_eq!(covered.broken, []);
    assert_eq!(covered.singles.0, covered.singles.1);
    assert!(covered.singles.0 > 250, "{:?}", covered.singles);
}

/// What the ledger's conditions keep out is seen when they are taken away.
#[test]
fn a_missing_condition_is_missed() {
    for (write, text) in [
        ("take", "nshr <= :shared"),
        ("take", "nout <= :cap"),
        ("free", "lns.#k = :t"),
        ("take_observed", "attribute_not_exists(lns.#k)"),
    ] {
        let without = Some(Part { write, text: text.to_owned() });
        let swept = Sweep { without, ..Sweep::of(1, 500) }.run(|_| {});
        assert!(!swept.broken.is_empty(), "{write} without {text} breaks nothing");
    }
}

#[test]
fn planted_bugs_still_fit_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for bug in BUGS {
        let source = std::fs::read_to_string(root.join(bug.file)).expect(bug.file);
        assert!(
            bug.plant(&source).is_some(),
            "`{}`: what it replaces has moved on in {}",
            bug.name,
            bug.file
        );
    }
}

//! The harness itself, on readers with a fault put in: each kind of fault is found, and found again
//! from its seed and from its saved input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fuzz::checks::says_no_number;
use fuzz::measure::{Bounds, Outcome};
use fuzz::run::{self, Finding, Plan};
use fuzz::targets::{ALL, Target};

const PLAN: Plan = Plan { seed: 7, first: 0, executions: 20_000, time: Duration::from_secs(60) };

/// A reader on the inputs of a real target.
fn reader(inputs_of: &str, read: impl Fn(&[u8]) -> Outcome + 'static) -> Target {
    let (_, make) = ALL.iter().find(|(name, _)| *name == inputs_of).unwrap();
    Target { name: "planted", run: Box::new(read), bounds: Bounds::READING, ..make().unwrap() }
}

/// Runs a faulty reader; its fault must be found, and found again both ways.
fn found(target: &Target) -> Finding {
    // Runs are told apart by nothing but their order.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let finding = *run::run(target, &PLAN).expect_err("the fault is found");
    let (seed, number) = finding.execution;
    assert_eq!(run::input(target, seed, number), *finding.input, "an execution is its seed and number");
    let alone = Plan { first: number, executions: 1, ..PLAN };
    assert_eq!(run::run(target, &alone).expect_err("found alone").execution, finding.execution);
    let text = finding.to_string();
    let path = text.rsplit_once("--input ").unwrap().1;
    let saved = std::fs::read(path).unwrap();
    assert!(run::replay(target, &saved).is_err(), "found in the saved file");
    std::fs::remove_file(path).unwrap();
    finding
}

#[test]
fn a_panic_is_found_with_its_place() {
    let finding = found(&reader("campaign", |input| {
        let text = String::from_utf8_lossy(input);
        Ok(if text.len() < 10 || text[..10].is_empty() { "short" } else { "long" })
    }));
    assert!(finding.problem.contains("tests/planted.rs"), "{}", finding.problem);
}

#[test]
fn time_that_grows_with_the_square_is_found() {
    let finding = found(&reader("message", |input| {
        let few = &input[..input.len().min(12_000)];
        let pairs = few.iter().flat_map(|a| few.iter().filter(move |b| black_box(a) == black_box(*b)));
        Ok(if pairs.count() > 1 { "alike" } else { "apart" })
    }));
    assert!(finding.problem.starts_with("takes"), "{}", finding.problem);
}

#[test]
fn memory_that_the_input_asks_for_is_found() {
    let finding = found(&reader("ids", |input| {
        let digits: String = input.iter().filter(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
        let size = digits.parse::<usize>().unwrap_or_default().min(1 << 26);
        Ok(if black_box(Vec::<u8>::with_capacity(size)).is_empty() { "empty" } else { "full" })
    }));
    assert!(finding.problem.starts_with("needs"), "{}", finding.problem);
}

#[test]
fn a_number_in_an_error_is_found() {
    let finding = found(&reader("campaign", |input| {
        // What an error that quotes the value comes to.
        let text = String::from_utf8_lossy(input);
        let said: String = text.chars().take(300).collect();
        says_no_number(&format!("not a campaign: {said}"), input).map(|()| "quiet")
    }));
    assert!(finding.problem.starts_with("a text tells"), "{}", finding.problem);
}

#[test]
fn a_reader_without_a_fault_passes() {
    let target = reader("ids", |input| Ok(if input.is_empty() { "empty" } else { "bytes" }));
    let few = Plan { executions: 500, ..PLAN };
    assert_eq!(run::run(&target, &few).unwrap().executions, 500);
}

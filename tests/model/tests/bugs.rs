//! Each planted mistake is found, and breaks the promise that it is known to break. So the promises are
//! not empty, and each of these details of the protocol is needed.
//!
//! `cargo test -p protocol-model -- --nocapture` prints the shortest way into each.

use protocol_model::promises::{ANY_ORDER, HOME, INBOUND_FIRST, NO_FOURTH_PLACE, ONE_DIAL, TRUE_LEDGER};
use protocol_model::{Bug, Config, find};

/// In a world with a mistake in it, `promise` is broken.
#[allow(clippy::print_stdout, reason = "the way into each mistake is what a reader wants to see")]
fn breaks(bug: Bug, config: Config, promise: &'static str) {
    let way = find(config.with(bug), promise, 20);
    let way = way.unwrap_or_else(|| panic!("{bug:?} does not break {promise}"));
    println!("{bug:?} breaks {promise}:\n{way:#?}\n");
    assert_eq!(find(config, promise, way.len()), None, "without the mistake it is kept");
}

fn one_lead() -> Config {
    Config { leads: 1, ..Config::small() }
}

#[test]
fn no_fence() {
    breaks(Bug::NoFence, one_lead(), HOME);
}

#[test]
fn free_before_outcome() {
    breaks(Bug::FreeBeforeOutcome, one_lead(), HOME);
}

#[test]
fn redial_after_unclear() {
    breaks(Bug::RedialAfterUnclear, one_lead(), ONE_DIAL);
}

#[test]
fn absence_before_deadline() {
    breaks(Bug::AbsenceBeforeDeadline, one_lead(), ONE_DIAL);
}

#[test]
fn absence_before_listed() {
    breaks(Bug::AbsenceBeforeListed, Config { each_read: true, ..one_lead() }, ONE_DIAL);
}

#[test]
fn free_by_key() {
    breaks(Bug::FreeByKey, one_lead(), TRUE_LEDGER);
}

#[test]
fn free_without_record() {
    breaks(Bug::FreeWithoutRecord, one_lead(), ANY_ORDER);
}

#[test]
fn count_any_token() {
    breaks(Bug::CountAnyToken, one_lead(), TRUE_LEDGER);
}

#[test]
fn dial_after_deadline() {
    breaks(Bug::DialAfterDeadline, one_lead(), ONE_DIAL);
}

#[test]
fn claim_before_take() {
    breaks(Bug::ClaimBeforeTake, one_lead(), NO_FOURTH_PLACE);
}

#[test]
fn free_before_give_back() {
    breaks(Bug::FreeBeforeGiveBack, one_lead(), HOME);
}

#[test]
fn room_read_before() {
    breaks(Bug::RoomReadBefore, Config { limit: 1, cap: 1, leads: 2, ..Config::small() }, INBOUND_FIRST);
}

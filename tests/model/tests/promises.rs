//! Every promise is kept in every state of the small worlds. `cargo run --release -p protocol-model`
//! checks the larger ones.

use protocol_model::{Config, check};

#[test]
fn promises_are_kept_in_a_small_world() {
    let report = check(Config { stale_reads: 0, ..Config::small() });
    println!("{report}");
    assert!(report.is_clean(), "{report}");
}

#[test]
fn promises_are_kept_with_nothing_merged_and_nothing_forgotten() {
    let report =
        check(Config { leads: 1, crashes: 0, each_read: true, forget: false, ..Config::published() });
    println!("{report}");
    assert!(report.is_clean(), "{report}");
}

//! How long a lost message or answer is felt, at the default schedule and timers: a line is free within
//! 90 s of its call's true end, and within three minutes it is known what came of a dial.

use std::thread::available_parallelism;

use headroom_sim::recovery::measure;

#[test]
fn what_is_lost_is_made_right_in_time() {
    let threads = available_parallelism().map_or(2, usize::from);
    let recovery = measure(1..5, threads, |_| {});
    println!("{recovery}");
    assert!(recovery.holds(), "{recovery}");
}

//! P8 for one call of each kind, in every order and repetition of its messages.

use headroom_sim::confluence::{HEAD, check};

/// Words up to this long are run one by one as well, all of them: none, which leaves the few that are drawn.
/// `headroom-sim confluence` goes further.
const ONE_BY_ONE: usize = 0;

#[test]
fn every_order_and_repetition_ends_in_the_same_state() {
    let all = check(ONE_BY_ONE, 2);
    println!("{HEAD}");
    for confluence in &all {
        println!("{confluence}");
    }
    let count = |of: fn(&headroom_sim::confluence::Confluence) -> u64| all.iter().map(of).sum::<u64>();
    println!(
        "{} scenarios, {} complete words, {} lossy ones, {} run one by one",
        all.len(),
        count(|one| one.complete),
        count(|one| one.lossy),
        count(|one| one.replayed),
    );
    let different: Vec<_> = all.iter().filter(|one| !one.holds()).map(|one| one.differences()).collect();
    assert!(different.is_empty(), "{} scenarios:\n{}", different.len(), different.join("\n"));
    // Each scenario is about something: its words are there, and they move the table.
    assert!(all.iter().all(|one| one.complete >= 720 && one.states >= 2));
}

//! What a call costs in write units, from its start to its end, is no more than is promised. `headroom-sim bill` prints the
//! whole bill.

use headroom_sim::bill::Bill;

#[test]
fn a_call_costs_no_more_than_is_promised() {
    let bill = Bill::of(200);
    println!("{bill}");
    assert!(bill.broken().is_empty(), "{:?}", bill.broken());
}

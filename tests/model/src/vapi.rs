//! Vapi, the network and time.
//!
//! - A request that was sent may be made a call at any moment until its deadline, whether its sender
//!   still waits or not; after the deadline, if it was not, it never will be.
//! - A message about a call may be delivered at any time after what it tells, any number of times and in
//!   any order. One that is not delivered for ever is a lost one. So losing and doubling need no steps
//!   and no bounds of their own: this network is worse than one that loses two messages and doubles one.

use crate::config::Config;
use crate::process::{Message, Sort, Step, Who};
use crate::world::{Age, Call, LeadState, World};

/// `POST /call` is done at Vapi: a person's phone rings.
pub fn create_call(world: &mut World, lead: u8, claim: u8) {
    let rang = |call| matches!(call, Call::Live | Call::Ended);
    world.rang_twice |= world.at(lead, claim).call != Call::None
        || world.lead(lead).by_claim.iter().any(|claim| rang(claim.call));
    let at = world.at_mut(lead, claim);
    at.asked = false;
    at.call = Call::Live;
}

/// Whether a call can come into being under a claim.
pub fn can_create(world: &World, lead: u8, claim: u8) -> bool {
    let caller = world.lead(lead).state == LeadState::Caller;
    let at = world.at(lead, claim);
    at.asked || (caller && claim == 1 && at.call == Call::None)
}

/// What can be delivered of a call now.
pub fn messages(world: &World, config: &Config, lead: u8, claim: u8) -> impl Iterator<Item = Message> {
    let call = world.at(lead, claim).call;
    let stripped = config.stripped && world.lead(lead).is_lead();
    let over = matches!(call, Call::Ended | Call::Blocked);
    [
        (call != Call::None, Message::Live),
        (over, Message::Ended),
        (call != Call::None && stripped, Message::LiveStripped),
        (over && stripped, Message::EndedStripped),
    ]
    .into_iter()
    .filter_map(|(can, message)| can.then_some(message))
}

/// Whether anything depends on a line's growing older.
pub fn can_age(world: &World, lead: u8, claim: u8) -> bool {
    let at = world.lead(lead);
    let waits = match at.state {
        LeadState::Ready => claim > at.claims,
        LeadState::Dialing | LeadState::Unknown => claim == at.claims,
        LeadState::Live | LeadState::Over | LeadState::Caller | LeadState::Absent => false,
    };
    waits && world.at(lead, claim).line.is_some_and(|line| line.age < Age::Settled)
}

/// Time passes, as one line sees it. Its dispatcher, if it has not asked yet, is late from then on.
pub fn grow_older(world: &mut World, config: &Config, lead: u8, claim: u8) {
    let at = world.at_mut(lead, claim);
    let Some(line) = &mut at.line else { return };
    // Where the list cannot lag behind, nothing lies between the deadline and the proof: whatever can be
    // done after the first can be done after the second.
    let at_once = !config.each_read;
    line.age = if line.age == Age::Young && !at_once { Age::DeadlinePassed } else { Age::Settled };
    let token = line.token;
    at.asked = false;
    for (place, process) in world.processes.iter_mut().enumerate() {
        if let Some(process) = process
            && Who(place as u8).sort() == Sort::Dispatcher
            && (process.lead, process.claim, process.token) == (lead, claim, token)
            && matches!(process.step, Step::Claim | Step::Dial)
        {
            process.late = true;
        }
    }
}

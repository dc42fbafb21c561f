//! `flows::observe`: what a server message moves.
//!
//! `read_pool` is the first step and [`ours`] the second, with its reads of the lead and of the call's
//! record in one; the writes that follow are single steps.

use crate::config::{Bug, Config};
use crate::process::{Message, Process, Step};
use crate::world::{LeadState, World};

/// Starts the work on a message: `read_pool`.
pub fn start(world: &World, lead: u8, claim: u8, message: Message) -> Process {
    let at = world.at(lead, claim);
    let step = Step::Ours { message, held: at.line.is_some(), observed: at.observed };
    Process::new(lead, claim, 0, step)
}

/// Whose call it is, and what follows from that: `ours`, `is_over`, `observe_dialed`, `observe_live`.
pub fn ours(process: Process, world: &World, config: &Config) -> Option<Process> {
    let Process { lead, claim, step: Step::Ours { message, held, observed }, .. } = process else {
        return None;
    };
    let stripped = matches!(message, Message::LiveStripped | Message::EndedStripped);
    let on_record = world.at(lead, claim).ended;
    let at = world.lead(lead);
    let waits = held && at.claims == claim && at.is_under_way();
    let bound = waits && at.state == LeadState::Live;
    // The stored call decides; a claim in the message counts only while its lead waits for a call.
    let ours = !observed && (bound || (waits && !stripped));
    match message {
        Message::Live | Message::LiveStripped if ours => {
            // While its dial is being made, a sign of life moves nothing.
            if at.state == LeadState::Unknown { process.then(Step::Bind) } else { None }
        }
        Message::Live | Message::LiveStripped => {
            if observed || on_record {
                None
            } else {
                process.then(Step::TakeObserved)
            }
        }
        Message::Ended | Message::EndedStripped if (stripped || !held) && !observed && on_record => None,
        Message::Ended | Message::EndedStripped if ours => {
            let process = Process { token: at.token, ..process };
            process.then(if config.bug == Some(Bug::FreeBeforeOutcome) {
                Step::Free { counts: true }
            } else {
                Step::Settle
            })
        }
        Message::Ended | Message::EndedStripped => process.then(Step::EndObserved),
    }
}

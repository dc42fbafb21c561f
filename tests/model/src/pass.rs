//! `flows::reconcile`: what the minute pass does with one held line, or with one call that holds none.
//!
//! A pass reads the ledger, the leads and Vapi's list, then goes through the lines. No line's turn
//! depends on another's, so here each line is looked at by a process of its own: two lines in one
//! pass's hands are two such processes that began together.

use crate::config::{Bug, Config};
use crate::process::{Name, Process, Step};
use crate::world::{Age, Call, Claim, LeadState, World};

/// What the pass can start with under a claim: `read_pool` shows a line, or none where a call may be.
pub fn starts(world: &World, config: &Config, lead: u8, claim: u8) -> impl Iterator<Item = Process> {
    let at = world.at(lead, claim);
    let state = world.lead(lead).state;
    let step = |token, step| Process::new(lead, claim, token, step);
    let line = at.line.map(|line| step(line.token, Step::ReadLeads));
    let observed = at.observed.then_some(step(0, Step::ReadLeadsOfObserved));
    // A call that comes into being after the ledger was read may be in the list all the same.
    let next = state == LeadState::Ready && claim == world.lead(lead).claims + 1 && claim <= config.claims;
    let missed = at.call == Call::Live || (at.call == Call::None && next);
    let missed = missed && at.line.is_none() && !at.observed;
    [line, observed, missed.then_some(step(0, Step::ListMissed))].into_iter().flatten()
}

/// What Vapi's list may show. It may lag behind until the line is [`Age::Settled`].
pub fn listings(at: &Claim) -> &'static [Name] {
    let young = at.line.is_some_and(|line| line.age < Age::Settled);
    if young && at.call != Call::None {
        &[Name::ListCalls, Name::ListCallsWithout]
    } else {
        &[Name::ListCalls]
    }
}

/// A step of a pass.
pub fn run(process: Process, world: &mut World, config: &Config, name: Name) -> Option<Process> {
    let Process { lead, claim, .. } = process;
    let at = *world.at(lead, claim);
    let call = if name == Name::ListCallsWithout { Call::None } else { at.call };
    let over = matches!(call, Call::Ended | Call::Blocked);
    let lead_now = *world.lead(lead);
    match process.step {
        Step::ReadLeads => process.then(current(process, world, config)?),
        Step::ListCalls { bound, overdue, proof } => match call {
            // `see`
            Call::Ended | Call::Blocked => process.then(Step::Settle),
            Call::Live if overdue => process.then(Step::Bind),
            // `see_unanswered`
            Call::None if proof && !bound => process.then(Step::GiveBack),
            Call::Live | Call::None => None,
        },
        Step::Fence => {
            // A dispatcher came first, or the lead has moved on: the next pass sees what is so then.
            if world.fence(lead, claim) { process.then(Step::Free { counts: false }) } else { None }
        }
        // `see_observed`
        Step::ReadLeadsOfObserved => {
            let bound = at.line.is_some() && lead_now.claims == claim && lead_now.state == LeadState::Live;
            process.then(if bound { Step::FreeObserved } else { Step::ListObserved })
        }
        Step::ListObserved => {
            if over {
                process.then(Step::EndObserved)
            } else {
                None
            }
        }
        Step::ListMissed => {
            if call == Call::Live {
                process.then(Step::FindMissed)
            } else {
                None
            }
        }
        // Taken since the ledger was read? If not, `observe_live`.
        _ => {
            let taken = lead_now.claims == claim && lead_now.is_under_way();
            if taken || at.ended { None } else { process.then(Step::TakeObserved) }
        }
    }
}

/// `current`: whether the line is still its latest claim's and that is under way, and what else to do.
fn current(process: Process, world: &World, config: &Config) -> Option<Step> {
    let Process { lead, claim, token, .. } = process;
    let at = world.lead(lead);
    // The line may be another's by now, or gone: its age is then that of a line freed long ago.
    let line = world.at(lead, claim).line.filter(|line| line.token == token);
    let age = line.map_or(Age::Young, |line| line.age);
    let bug = |bug| config.bug == Some(bug);
    if claim > at.claims {
        return match age {
            Age::Settled if bug(Bug::NoFence) => Some(Step::Free { counts: false }),
            Age::Settled => Some(Step::Fence),
            _ => None,
        };
    }
    if claim == at.claims && at.is_under_way() {
        let proof = age == Age::Settled
            || bug(Bug::AbsenceBeforeDeadline)
            || (bug(Bug::AbsenceBeforeListed) && age == Age::DeadlinePassed);
        let overdue = match at.state {
            LeadState::Unknown => true,
            LeadState::Dialing => age > Age::Young,
            _ => false,
        };
        return Some(Step::ListCalls { bound: at.state == LeadState::Live, overdue, proof });
    }
    let last = at.token == token || bug(Bug::CountAnyToken);
    let counts = claim == at.claims && at.state == LeadState::Over && last;
    Some(Step::Free { counts })
}

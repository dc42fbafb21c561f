//! `flows::settle`, and the other steps that several functions share: the lead's outcome, the call's
//! record, the free line, in this order.

use crate::config::{Bug, Config};
use crate::process::{Process, Sort, Step};
use crate::table::Settled;
use crate::world::{LeadState, World};

/// A step of the end of a call, or of one that is only observed.
pub fn run(process: Process, world: &mut World, config: &Config, sort: Sort) -> Option<Process> {
    let Process { lead, claim, token, .. } = process;
    let webhook = |bug| sort == Sort::Webhook && config.bug == Some(bug);
    match process.step {
        Step::GiveBack => {
            let moved = world.give_back(lead, claim);
            // A dispatcher's own line goes with its lead, whoever gave that back; the pass leaves it to them.
            let back = moved || (sort == Sort::Dispatcher && world.lead(lead).state == LeadState::Ready);
            if back && config.bug == Some(Bug::FreeBeforeGiveBack) && sort == Sort::Dispatcher {
                return None;
            }
            if back { process.then(Step::Free { counts: false }) } else { None }
        }
        Step::Settle => match world.settle(lead, claim) {
            Settled::Free { counts } if webhook(Bug::FreeWithoutRecord) => {
                process.then(Step::Free { counts })
            }
            Settled::Free { counts } => process.then(Step::RecordEnded { counts }),
            Settled::NotHere => None,
        },
        Step::RecordEnded { counts } => {
            world.record_ended(lead, claim);
            if webhook(Bug::FreeBeforeOutcome) { None } else { process.then(Step::Free { counts }) }
        }
        Step::Free { counts } => {
            world.free(config, lead, claim, token, counts);
            if webhook(Bug::FreeBeforeOutcome) {
                process.then(Step::Settle)
            } else if config.bug == Some(Bug::FreeBeforeGiveBack)
                && sort == Sort::Dispatcher
                && world.lead(lead).claims == claim
                && world.lead(lead).is_under_way()
            {
                process.then(Step::GiveBack)
            } else {
                None
            }
        }
        Step::Bind => {
            world.bind(lead, claim);
            None
        }
        Step::TakeObserved => {
            world.take_observed(lead, claim);
            process.then(Step::ReadEndedAgain)
        }
        // The end may have come in between: it is on record then, and found nothing to free.
        Step::ReadEndedAgain => {
            if world.at(lead, claim).ended {
                process.then(Step::EndObserved)
            } else {
                None
            }
        }
        Step::EndObserved => {
            world.record_ended(lead, claim);
            process.then(Step::FreeObserved)
        }
        _ => {
            world.free_observed(lead, claim);
            None
        }
    }
}

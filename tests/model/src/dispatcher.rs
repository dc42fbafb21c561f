//! `flows::dispatch` and `flows::dial`: take, claim, dial, then bind, `mark_unknown` or `give_back`.
//!
//! One process is one dial, from the taking of its line on. The reads before it (`read_pool`, the index
//! of ready leads) are part of `take`: what they showed may be old, so `take` also starts from a claim
//! number that was the next one at any earlier time, as often as [`Config::stale_reads`] allows.
//!
//! Between the look at the clock and `POST /call` no time passes here. That is the assumption which the
//! README names: no freeze of half a minute in that instant.

use crate::config::{Bug, Config};
use crate::process::{Name, Process, Step};
use crate::world::{Call, Claim, LeadState, World};

/// The claims of a lead that a dispatcher may take a line for: its next one, and, on an old index, each
/// that was its next once.
pub fn next_claims(world: &World, config: &Config, lead: u8) -> impl Iterator<Item = u8> {
    let at = *world.lead(lead);
    let stale = if world.stale_reads > 0 { at.claims } else { 0 };
    let fresh = at.state == LeadState::Ready && at.claims < config.claims;
    (1..=stale).chain(fresh.then_some(at.claims + 1)).filter(move |_| at.is_lead())
}

/// What a dial begins with.
pub fn first_step(config: &Config) -> Name {
    match config.bug {
        Some(Bug::ClaimBeforeTake) => Name::Claim,
        Some(Bug::RoomReadBefore) => Name::ReadPool,
        _ => Name::Take,
    }
}

/// Starts a dial.
pub fn start(world: &mut World, config: &Config, lead: u8, claim: u8) -> Option<Process> {
    if claim <= world.lead(lead).claims {
        world.stale_reads -= 1;
    }
    match config.bug {
        Some(Bug::ClaimBeforeTake) => {
            let token = world.at(lead, claim).takes + 1;
            world.claim(lead, claim, token).then_some(Process::new(lead, claim, token, Step::Take))
        }
        Some(Bug::RoomReadBefore) => {
            let room = world.outbound < config.cap && world.total < config.limit - config.headroom;
            room.then_some(Process::new(lead, claim, 0, Step::Take))
        }
        _ => world.take(config, lead, claim).map(|token| Process::new(lead, claim, token, Step::Claim)),
    }
}

/// What may come of a `POST /call`.
pub fn answers(at: &Claim) -> &'static [Name] {
    match (at.call, at.asked) {
        (Call::None, false) => &[Name::MarkUnknown],
        (Call::None, true) => &[Name::MarkUnknown, Name::Refused],
        _ => &[Name::Bind, Name::MarkUnknown],
    }
}

/// A dispatcher's own steps.
pub fn run(process: Process, world: &mut World, config: &Config, name: Name) -> Option<Process> {
    let Process { lead, claim, token, late, .. } = process;
    match (process.step, name) {
        (Step::Take, _) => take(process, world, config),
        (Step::Claim, _) => {
            if world.claim(lead, claim, token) {
                Some(Process { step: Step::Dial, ..process })
            } else {
                // The index was behind: somebody else has this lead.
                process.then(Step::Free { counts: false })
            }
        }
        (Step::Dial, _) if late && config.bug != Some(Bug::DialAfterDeadline) => {
            process.then(no_call(config))
        }
        (Step::Dial, _) => {
            world.at_mut(lead, claim).asked = true;
            process.then(Step::Answer)
        }
        (Step::Answer, Name::Bind) => {
            world.bind(lead, claim);
            process.then(Step::ReadEnded)
        }
        (Step::Answer, Name::Refused) => {
            world.at_mut(lead, claim).asked = false;
            process.then(no_call(config))
        }
        (Step::Answer, _) if config.bug == Some(Bug::RedialAfterUnclear) => process.then(no_call(config)),
        (Step::Answer, _) => {
            world.mark_unknown(lead, claim);
            None
        }
        // The call may be over already, its message having come before it was known here.
        _ => {
            let over = world.at(lead, claim).ended;
            let ours = world.lead(lead).claims == claim && world.lead(lead).is_under_way();
            if over && ours { process.then(Step::Settle) } else { None }
        }
    }
}

/// `undo`: lead first, line second.
fn no_call(config: &Config) -> Step {
    if config.bug == Some(Bug::FreeBeforeGiveBack) { Step::Free { counts: false } } else { Step::GiveBack }
}

/// The taking of a line as a step of its own, in the two planted orders.
fn take(process: Process, world: &mut World, config: &Config) -> Option<Process> {
    match (world.take(config, process.lead, process.claim), config.bug) {
        (Some(token), Some(Bug::ClaimBeforeTake)) => Process { token, ..process }.then(Step::Dial),
        (None, Some(Bug::ClaimBeforeTake)) => process.then(Step::GiveBack),
        (Some(token), _) => Process { token, ..process }.then(Step::Claim),
        (None, _) => None,
    }
}

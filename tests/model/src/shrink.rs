//! What makes the number of states small without hiding any behaviour: whatever can never matter again
//! is forgotten at once.
//!
//! - A process whose next write will be refused from now on, whatever happens, has done it.
//! - A process that can change nothing any more is gone. (It holds up nobody, so it would go anyway.)
//! - Tokens that nobody knows any more are forgotten, and so is how a lead came to be over, once every call
//!   of it is over and on record and no line is left.

use crate::config::Config;
use crate::process::{Process, Sort, Step, Who};
use crate::world::{Call, Claim, Lead, LeadState, World};

/// Forgets what can never matter again.
pub fn shrink(world: &mut World, config: &Config) {
    if !config.forget {
        return;
    }
    for place in 0..world.processes.len() {
        let Some(process) = world.processes[place] else { continue };
        world.processes[place] = outlook(process, world, Who(place as u8).sort());
    }
    for (lead, claim) in World::claims() {
        rename_tokens(world, lead, claim);
    }
    for (place, lead) in world.leads.iter_mut().enumerate() {
        if !world.processes.iter().flatten().any(|process| usize::from(process.lead) == place) {
            forget(lead, world.stale_reads > 0);
        }
    }
}

/// Tokens are only ever compared. So those of a key that a line or a process still knows are numbered from
/// 1 in their order, and the lead's own is 0 if nobody else knows it.
fn rename_tokens(world: &mut World, lead: u8, claim: u8) {
    let at = *world.at(lead, claim);
    if at.takes == 0 {
        return;
    }
    let here = |process: &&mut Process| (process.lead, process.claim) == (lead, claim);
    let of_line = at.line.map_or(0, |line| 1_u32 << line.token);
    let of_processes = world.processes.iter_mut().flatten().filter(here);
    let known = of_processes.fold(of_line, |known, process| known | 1 << process.token) & !1;
    let renamed = |token: u8| match known >> token & 1 {
        1 if token > 0 => (known & ((2 << token) - 1)).count_ones() as u8,
        _ => 0,
    };
    world
        .processes
        .iter_mut()
        .flatten()
        .filter(here)
        .for_each(|process| process.token = renamed(process.token));
    let lead = world.lead_mut(lead);
    if lead.claims == claim {
        lead.token = renamed(lead.token);
    }
    let at = &mut lead.by_claim[usize::from(claim) - 1];
    at.takes = known.count_ones() as u8;
    if let Some(line) = &mut at.line {
        line.token = renamed(line.token);
    }
}

/// Where a process stands once the steps are skipped that cannot do anything any more.
fn outlook(process: Process, world: &World, sort: Sort) -> Option<Process> {
    let Process { lead, claim, token, .. } = process;
    let (at, of) = (world.at(lead, claim), world.lead(lead));
    let line = at.line.is_some_and(|line| line.token == token);
    // Claim numbers only grow, and a claim that is over stays over.
    let over = of.claims > claim || (of.claims == claim && !of.is_under_way());
    match process.step {
        Step::Claim if of.claims >= claim => {
            outlook(process.then(Step::Free { counts: false })?, world, sort)
        }
        Step::Answer if over && !at.asked => None,
        Step::ReadEnded if over => None,
        Step::GiveBack if over && sort == Sort::Pass => None,
        Step::GiveBack if over && !line => None,
        Step::Bind if over || of.state == LeadState::Live => None,
        Step::Bind => Some(Process { token: 0, ..process }),
        Step::Settle if over && at.ended && !line => None,
        Step::RecordEnded { counts } if at.ended => {
            outlook(process.then(Step::Free { counts })?, world, sort)
        }
        Step::Free { .. } if !line => None,
        Step::Fence if of.claims >= claim => None,
        Step::EndObserved if at.ended => process.then(Step::FreeObserved),
        _ => Some(process),
    }
}

/// Of a lead that is over, with no process at work on it and nothing left to record or to free, all that
/// matters is that a line may still be taken for it on an old index.
fn forget(lead: &mut Lead, stale_reads: bool) {
    let done = |at: &Claim| at.call == Call::None || (at.call != Call::Live && at.ended);
    let quiet = |at: &Claim| done(at) && !at.asked && at.line.is_none() && !at.observed;
    if lead.state == LeadState::Over && lead.by_claim.iter().all(quiet) {
        *lead = Lead { claims: u8::from(stale_reads), ..Lead::new(LeadState::Over) };
    }
}

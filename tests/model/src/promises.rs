//! The promises of `headroom::core`, as properties of every state.
//!
//! P4 and P5 speak of the end of things: every lead ends, every line comes back. "Sooner or later" is not
//! checked as such: the graph of states has cycles (a message may be delivered again for ever), and the
//! checker's `eventually` is sound on acyclic graphs only. What is checked instead is stronger and of one
//! state at a time, see `at_rest`: *from here*, if every process dies at once, every message is lost,
//! every call ends and time passes, then passes alone bring every line home, and leave every lead either
//! over or in the index of ready ones. That a ready lead is dialed while there is room needs no proof
//! beyond that of `take`, whose condition is nothing but room and a free key.

use stateright::Property;

use crate::config::{AT_ONCE, Config};
use crate::model::Protocol;
use crate::process::{Process, Who};
use crate::world::{Call, Lead, LeadState, World};
use crate::{pass, vapi, webhook};

/// P1.
pub const INBOUND_FIRST: &str = "P1 inbound first: outbound lines and calls stay within cap and headroom";
/// P3.
pub const ONE_DIAL: &str = "P3 one dial per attempt: nobody rings twice";
/// P4, at every instant.
pub const NO_FOURTH_PLACE: &str = "P4 every lead ends: it is ready, or holds its line, or is over";
/// P4 and P5, in the end.
pub const HOME: &str = "P4 P5 passes alone bring every line home, and every lead with it";
/// P5, at every instant.
pub const ON_PROOF: &str = "P5 every line comes back: not before its call has ended";
/// P7.
pub const TRUE_LEDGER: &str = "P7 the ledger is true: counters are what lines and leads add up to";
/// P8.
pub const ANY_ORDER: &str = "P8 any order, any number of times: messages that come late change nothing";

/// All of them, and states that must be found, so that the promises are not kept by nothing happening.
pub fn properties() -> Vec<Property<Protocol>> {
    vec![
        Property::always(INBOUND_FIRST, |model, world| inbound_first(world, &model.config)),
        Property::always(ONE_DIAL, |_, world: &World| !world.rang_twice),
        Property::always(NO_FOURTH_PLACE, |_, world: &World| world.leads.iter().all(has_its_line)),
        Property::always(HOME, |model, world| is_home(&at_rest(world, &model.config))),
        Property::always(ON_PROOF, |_, world: &World| !world.freed_live && live_calls_hold_lines(world)),
        Property::always(TRUE_LEDGER, |_, world: &World| is_true(world)),
        Property::always(ANY_ORDER, |model, world| late_messages_move_nothing(world, &model.config)),
        Property::sometimes("every lead is over, after every death that was allowed", |_, world: &World| {
            world.crashes == 0 && leads(world).all(|lead| lead.state == LeadState::Over)
        }),
        Property::sometimes("a claim was burned, and the lead reached by its next", |_, world: &World| {
            leads(world).any(|lead| lead.by_claim[0].call == Call::None && lead.by_claim[1].ended)
        }),
        Property::sometimes("a dial without an answer is waiting, its call live", |_, world: &World| {
            leads(world).any(|lead| lead.state == LeadState::Unknown && lead.by_claim[0].call == Call::Live)
        }),
    ]
}

fn leads(world: &World) -> impl Iterator<Item = &Lead> {
    world.leads.iter().filter(|lead| lead.is_lead())
}

fn inbound_first(world: &World, config: &Config) -> bool {
    let count =
        |holds: fn(&World, (u8, u8)) -> bool| World::claims().filter(|at| holds(world, *at)).count() as i8;
    let lines = count(|world, (lead, claim)| world.at(lead, claim).line.is_some());
    let calls =
        count(|world, (lead, claim)| world.lead(lead).is_lead() && world.at(lead, claim).call == Call::Live);
    lines.max(calls) <= config.cap.min(config.limit - config.headroom)
}

fn has_its_line(lead: &Lead) -> bool {
    let line = || lead.by_claim[usize::from(lead.claims) - 1].line;
    !lead.is_under_way() || line().is_some_and(|line| line.token == lead.token)
}

fn live_calls_hold_lines(world: &World) -> bool {
    leads(world).flat_map(|lead| &lead.by_claim).all(|at| at.call != Call::Live || at.line.is_some())
}

fn is_true(world: &World) -> bool {
    let of = |lead: &Lead| lead.by_claim.map(|at| (at.line.is_some(), at.observed));
    let lines = |lead| of(lead).into_iter().map(|(line, seen)| i8::from(line) + i8::from(seen)).sum::<i8>();
    let total: i8 = world.leads.iter().map(lines).sum();
    let outbound: i8 = leads(world).map(lines).sum();
    let over = leads(world).filter(|lead| lead.state == LeadState::Over).count() as i8;
    (total, outbound) == (world.total, world.outbound) && world.tally <= over
}

/// The world after every process has died, every message was lost, every call has ended, time has passed,
/// and passes have run until there was nothing left to do.
fn at_rest(world: &World, config: &Config) -> World {
    let mut world = World { processes: [None; 3 * AT_ONCE], ..*world };
    for (lead, claim) in World::claims() {
        let at = world.at_mut(lead, claim);
        at.asked = false;
        if at.call == Call::Live {
            at.call = Call::Ended;
        }
        while vapi::can_age(&world, lead, claim) {
            vapi::grow_older(&mut world, config, lead, claim);
        }
    }
    // One pass deals with a line; a second sees what the first one left. More would be a promise broken.
    passes(&mut world, config);
    passes(&mut world, config);
    world
}

fn passes(world: &mut World, config: &Config) {
    for (lead, claim) in World::claims() {
        for process in pass::starts(&world.clone(), config, lead, claim) {
            to_the_end(process, world, config, Who(2 * AT_ONCE as u8));
        }
    }
}

fn to_the_end(process: Process, world: &mut World, config: &Config, who: Who) {
    let mut process = Some(process);
    while let Some(now) = process {
        // The first of what it can do is what a prompt and truthful Vapi answers.
        process = now.run(world, config, who, now.can_do(world)[0]);
    }
}

fn is_home(world: &World) -> bool {
    let held = world.leads.iter().flat_map(|lead| lead.by_claim).any(|at| at.line.is_some() || at.observed);
    let over = leads(world).filter(|lead| lead.state == LeadState::Over).count() as i8;
    let counted = (world.total, world.outbound, world.tally) == (0, 0, over);
    !held && counted && leads(world).all(|lead| !lead.is_under_way())
}

/// When every process has come to its end, and passes have run, every message about a dialed call may
/// come once more, and nothing moves.
///
/// Where a process died it is enough if the next pass undoes it: one that dies between a lead's outcome and
/// the call's record leaves a call without a record, and a late sign of life takes a line until then. So it
/// is for a caller of whom no message came before the end.
fn late_messages_move_nothing(world: &World, config: &Config) -> bool {
    let mut rest = *world;
    for place in 0..rest.processes.len() {
        if let Some(process) = rest.processes[place].take() {
            to_the_end(process, &mut rest, config, Who(place as u8));
        }
    }
    let rest = at_rest(&rest, config);
    World::claims().all(|(lead, claim)| {
        vapi::messages(&rest, config, lead, claim).all(|message| {
            let mut world = rest;
            let process = webhook::start(&world, lead, claim, message);
            to_the_end(process, &mut world, config, Who(AT_ONCE as u8));
            if rest.crashes == config.crashes && rest.lead(lead).is_lead() {
                return world == rest;
            }
            passes(&mut world, config);
            world.at_mut(lead, claim).ended = rest.at(lead, claim).ended;
            world == rest
        })
    })
}

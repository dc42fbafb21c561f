//! The model: what can happen next in a world.

use std::fmt;

use stateright::{Model, Property};

use crate::config::Config;
use crate::process::{Message, Name, Process, Sort, Who};
use crate::shrink::shrink;
use crate::world::{Call, World};
use crate::{dispatcher, pass, promises, vapi, webhook};

/// Headroom's protocol in a small world.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// How small.
    pub config: Config,
}

/// One thing that happens: a step of a process, or of the world around. `Debug` reads as a story.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// The lead it happens to.
    pub lead: u8,
    /// The claim it happens to.
    pub claim: u8,
    /// What happens.
    pub event: Event,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A dispatcher reads the pool and the index, and takes a line; the name says otherwise where a mistake
    /// is planted in that.
    Start(Who, Name),
    /// A webhook gets a message and reads the pool.
    Deliver(Who, Message),
    /// A pass reads the pool. The number tells apart what it may look at under one claim.
    ReadPool(Who, u8),
    /// A process does its next step.
    Run(Who, Name),
    /// A process dies before its next step.
    Crash(Who),
    /// Vapi creates a call, or a caller rings.
    CreateCall,
    /// A call ends.
    EndCall,
    /// A call ends as refused by Vapi's own limit.
    BlockCall,
    /// Time passes.
    TimePasses,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            Event::Deliver(who, message) => write!(f, "{who}: gets {message:?}, read_pool"),
            Event::ReadPool(who, _) => write!(f, "{who}: read_pool"),
            Event::Start(who, name) | Event::Run(who, name) => write!(f, "{who}: {}", name.name()),
            Event::Crash(who) => write!(f, "{who}: dies"),
            Event::CreateCall => write!(f, "Vapi: creates the call"),
            Event::EndCall => write!(f, "Vapi: the call ends"),
            Event::BlockCall => write!(f, "Vapi: the call ends, over the limit"),
            Event::TimePasses => write!(f, "time passes"),
        }?;
        write!(f, " (lead {}, claim {})", self.lead + 1, self.claim)
    }
}

impl Protocol {
    fn of_processes(world: &World, actions: &mut Vec<Action>) {
        for (place, process) in world.processes.iter().enumerate() {
            let Some(process) = process else { continue };
            let who = Who(place as u8);
            let action = |event| Action { lead: process.lead, claim: process.claim, event };
            actions.extend(process.can_do(world).iter().map(|name| action(Event::Run(who, *name))));
            if world.crashes > 0 {
                actions.push(action(Event::Crash(who)));
            }
        }
    }

    fn of_a_claim(&self, world: &World, lead: u8, claim: u8, actions: &mut Vec<Action>) {
        let mut can = |event| actions.push(Action { lead, claim, event });
        if let Some(who) = Who::idle(world, &self.config, Sort::Webhook) {
            for message in vapi::messages(world, &self.config, lead, claim) {
                can(Event::Deliver(who, message));
            }
        }
        if let Some(who) = Who::idle(world, &self.config, Sort::Pass) {
            for (number, _) in pass::starts(world, &self.config, lead, claim).enumerate() {
                can(Event::ReadPool(who, number as u8));
            }
        }
        if vapi::can_create(world, lead, claim) {
            can(Event::CreateCall);
        }
        if world.at(lead, claim).call == Call::Live {
            can(Event::EndCall);
            if self.config.blocked && world.lead(lead).is_lead() {
                can(Event::BlockCall);
            }
        }
        if vapi::can_age(world, lead, claim) {
            can(Event::TimePasses);
        }
    }
}

impl Protocol {
    /// Does the reads that follow the first one, where they are one step with it. A process that has nothing
    /// to write then was not worth the start.
    fn read_on(&self, process: Process, world: &mut World, who: Who) -> Option<Process> {
        let mut process = process;
        while !self.config.each_read && process.step.is_read() {
            process = process.run(world, &self.config, who, process.can_do(world)[0])?;
        }
        Some(process)
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.config)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        Self::of_processes(world, actions);
        for (lead, claim) in World::claims() {
            self.of_a_claim(world, lead, claim, actions);
        }
        if let Some(who) = Who::idle(world, &self.config, Sort::Dispatcher) {
            for lead in 0..world.leads.len() as u8 {
                let claims = dispatcher::next_claims(world, &self.config, lead);
                let event = Event::Start(who, dispatcher::first_step(&self.config));
                actions.extend(claims.map(|claim| Action { lead, claim, event }));
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let config = &self.config;
        let Action { lead, claim, event } = action;
        let mut next = *world;
        match event {
            Event::Start(who, _) => {
                let process = dispatcher::start(&mut next, config, lead, claim)?;
                next.processes[usize::from(who.0)] = Some(process);
            }
            Event::Deliver(who, message) => {
                let process = self.read_on(webhook::start(world, lead, claim, message), &mut next, who)?;
                next.processes[usize::from(who.0)] = Some(process);
            }
            Event::ReadPool(who, number) => {
                let process = pass::starts(world, config, lead, claim).nth(usize::from(number))?;
                let process = self.read_on(process, &mut next, who)?;
                next.processes[usize::from(who.0)] = Some(process);
            }
            Event::Run(who, name) => {
                let process = world.processes[usize::from(who.0)]?;
                next.processes[usize::from(who.0)] = process.run(&mut next, config, who, name);
            }
            Event::Crash(who) => {
                next.crashes -= 1;
                next.processes[usize::from(who.0)] = None;
            }
            Event::CreateCall => vapi::create_call(&mut next, lead, claim),
            Event::EndCall => next.at_mut(lead, claim).call = Call::Ended,
            Event::BlockCall => next.at_mut(lead, claim).call = Call::Blocked,
            Event::TimePasses => vapi::grow_older(&mut next, config, lead, claim),
        }
        shrink(&mut next, config);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::properties()
    }
}

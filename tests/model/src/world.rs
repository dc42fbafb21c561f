//! A state of the small world: the table, Vapi, and the processes under way.

use std::hash::{Hash, Hasher};

use crate::config::{AT_ONCE, CLAIMS, Config, LEADS};
use crate::process::Process;

/// Where a lead is: `LeadState` of the code, with done and failed as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeadState {
    /// To be called, and in the index of ready leads.
    Ready,
    /// Claimed; its call is being asked for.
    Dialing,
    /// Asked for without a clear answer.
    Unknown,
    /// Its call is known: the one of its latest claim.
    Live,
    /// Done or failed.
    Over,
    /// No lead: the place of a caller, whose call is that of claim 1.
    Caller,
    /// No lead: a place that this world does not use.
    Absent,
}

/// A call at Vapi.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Not created.
    None,
    /// Created and not over.
    Live,
    /// Over, and the lead's one attempt with it.
    Ended,
    /// Over by Vapi's own limit: nobody rang, and nothing counts.
    Blocked,
}

/// How old a line is, as far as anything depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Age {
    /// Its dial's deadline is to come.
    Young,
    /// The deadline is over: no call of this dial can be created any more. The list may lag behind.
    DeadlinePassed,
    /// And the list has shown calls made later, or has had minutes to: absence from it is proof.
    Settled,
}

/// A held line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    /// Which taking of this key it was.
    pub token: u8,
    /// Since when, as far as it matters.
    pub age: Age,
}

/// All there is under one claim of one lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// `lns`: the line under the claim's key.
    pub line: Option<Line>,
    /// Takings of this key so far; the next one's token is one more.
    pub takes: u8,
    /// A `POST /call` is on its way to Vapi, or in the making there.
    pub asked: bool,
    /// The call at Vapi.
    pub call: Call,
    /// `CALL#id`: the record that the call has ended.
    pub ended: bool,
    /// `lns`: a line under the call's own key, taken as for somebody else's call.
    pub observed: bool,
}

/// A lead, and all there is under its claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lead {
    /// `st`.
    pub state: LeadState,
    /// `claims`: the number of its latest claim.
    pub claims: u8,
    /// `tok`: the token of its latest claim that was made. Stays after the outcome.
    pub token: u8,
    /// By number, the first being 1.
    pub by_claim: [Claim; CLAIMS],
}

/// A state.
///
/// Two states that differ only in which lead is which, or in which of two like processes is which, hash
/// alike, so that the checker, which knows states by their hash, visits one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    /// The leads.
    pub leads: [Lead; LEADS],
    /// Processes under way: the dispatcher's dials, then webhooks, then passes.
    pub processes: [Option<Process>; 3 * AT_ONCE],
    /// `ntot`: lines held.
    pub total: i8,
    /// `nout`: lines held for outbound.
    pub outbound: i8,
    /// `cmp.d` + `cmp.f`: leads counted as over.
    pub tally: i8,
    /// Processes that may still die.
    pub crashes: u8,
    /// Takings on an old index that may still come.
    pub stale_reads: u8,
    /// Whether a person was rung twice for one attempt.
    pub rang_twice: bool,
    /// Whether the only line of a live call was freed.
    pub freed_live: bool,
}

impl Lead {
    /// Before its first claim.
    pub fn new(state: LeadState) -> Self {
        let claim =
            Claim { line: None, takes: 0, asked: false, call: Call::None, ended: false, observed: false };
        Self { state, claims: 0, token: 0, by_claim: [claim; CLAIMS] }
    }

    /// Different for different leads.
    fn code(&self) -> u64 {
        let head = self.state as u64 | u64::from(self.claims) << 3 | u64::from(self.token) << 5;
        self.by_claim.iter().fold(head, |code, at| {
            let line = at.line.map_or(0, |line| (line.token as u64) << 2 | line.age as u64);
            let flags = u64::from(at.asked) | u64::from(at.ended) << 1 | u64::from(at.observed) << 2;
            code << 16 | line << 8 | u64::from(at.takes) << 5 | (at.call as u64) << 3 | flags
        })
    }

    /// Whether it is neither ready nor over: a claim of it holds a line.
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, LeadState::Dialing | LeadState::Unknown | LeadState::Live)
    }

    /// Whether it stands for a lead at all.
    pub fn is_lead(&self) -> bool {
        !matches!(self.state, LeadState::Caller | LeadState::Absent)
    }
}

impl World {
    /// Before anything has happened.
    pub fn new(config: &Config) -> Self {
        let lead = |place| match place {
            place if place < config.leads => LeadState::Ready,
            place if place == LEADS - 1 && config.caller => LeadState::Caller,
            _ => LeadState::Absent,
        };
        Self {
            leads: std::array::from_fn(|place| Lead::new(lead(place))),
            processes: [None; 3 * AT_ONCE],
            total: 0,
            outbound: 0,
            tally: 0,
            crashes: config.crashes,
            stale_reads: config.stale_reads,
            rang_twice: false,
            freed_live: false,
        }
    }

    /// What is under a claim.
    pub fn at(&self, lead: u8, claim: u8) -> &Claim {
        &self.leads[usize::from(lead)].by_claim[usize::from(claim) - 1]
    }

    /// The same, to change it.
    pub fn at_mut(&mut self, lead: u8, claim: u8) -> &mut Claim {
        &mut self.leads[usize::from(lead)].by_claim[usize::from(claim) - 1]
    }

    /// A lead.
    pub fn lead(&self, lead: u8) -> &Lead {
        &self.leads[usize::from(lead)]
    }

    /// The same, to change it.
    pub fn lead_mut(&mut self, lead: u8) -> &mut Lead {
        &mut self.leads[usize::from(lead)]
    }

    /// Every lead and claim number.
    pub fn claims() -> impl Iterator<Item = (u8, u8)> {
        (0..LEADS as u8).flat_map(|lead| (1..=CLAIMS as u8).map(move |claim| (lead, claim)))
    }

    /// A lead with the processes that work on it, in an order that does not depend on names. Every
    /// process works on one lead, so a world is the set of these. Packed, since this is what a run of the
    /// checker spends most of its time on.
    fn bundle(&self, lead: usize) -> (u64, u128) {
        let mut here = [0_u16; 3 * AT_ONCE];
        for (code, process) in here.iter_mut().zip(&self.processes) {
            *code = process.filter(|p| usize::from(p.lead) == lead).map_or(0, |p| p.code());
        }
        for sort in here.chunks_mut(AT_ONCE) {
            sort.sort_unstable();
        }
        let pack = |packed: u128, code: u16| packed << 16 | u128::from(code);
        (self.leads[lead].code(), here.into_iter().fold(0, pack))
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bundles: [_; LEADS] = std::array::from_fn(|lead| self.bundle(lead));
        bundles.sort_unstable();
        bundles.hash(state);
        (self.total, self.outbound, self.tally, self.crashes, self.stale_reads).hash(state);
        (self.rang_twice, self.freed_live).hash(state);
    }
}

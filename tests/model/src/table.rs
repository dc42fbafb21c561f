//! The conditional writes of `headroom::table`, by their names there. Each is one atomic step; what it
//! returns says whether its condition held.

use crate::config::{Bug, Config};
use crate::world::{Age, Call, LeadState, Line, World};

/// What `settle` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was applied, or had been before: the line is to be freed, with or without a count.
    Free {
        /// Whether the lead that ends with the line is to be counted.
        counts: bool,
    },
    /// Its call is another one.
    NotHere,
}

impl World {
    /// `take`: outbound below the cap, total below limit − headroom, and the key not held.
    pub fn take(&mut self, config: &Config, lead: u8, claim: u8) -> Option<u8> {
        let room = self.outbound < config.cap && self.total < config.limit - config.headroom;
        let free = self.at(lead, claim).line.is_none();
        if !free || !(room || config.bug == Some(Bug::RoomReadBefore)) {
            return None;
        }
        self.total += 1;
        self.outbound += 1;
        let at = self.at_mut(lead, claim);
        at.takes += 1;
        at.line = Some(Line { token: at.takes, age: Age::Young });
        Some(at.takes)
    }

    /// `free`: the line is held by this very token. Counts the lead that ended with it.
    pub fn free(&mut self, config: &Config, lead: u8, claim: u8, token: u8, counts: bool) {
        let held = self.at(lead, claim).line.is_some_and(|line| line.token == token);
        if held || config.bug == Some(Bug::FreeByKey) {
            self.at_mut(lead, claim).line = None;
            self.total -= 1;
            self.outbound -= 1;
            self.tally += i8::from(counts);
        }
    }

    /// `take_observed`: not recorded yet. Whatever the counters say.
    pub fn take_observed(&mut self, lead: u8, claim: u8) {
        if !self.at(lead, claim).observed {
            self.at_mut(lead, claim).observed = true;
            self.count_observed(lead, 1);
        }
    }

    /// `free`, of a line under a call's own key. Its token is left out: that makes more freeings
    /// succeed than do in the code.
    pub fn free_observed(&mut self, lead: u8, claim: u8) {
        if self.at(lead, claim).observed {
            self.at_mut(lead, claim).observed = false;
            self.count_observed(lead, -1);
            let at = self.at(lead, claim);
            self.freed_live |= at.call == Call::Live && at.line.is_none();
        }
    }

    fn count_observed(&mut self, lead: u8, by: i8) {
        self.total += by;
        if self.lead(lead).state != LeadState::Caller {
            self.outbound += by;
        }
    }

    /// `claim`: ready, and this claim is its next.
    pub fn claim(&mut self, lead: u8, claim: u8, token: u8) -> bool {
        let at = self.lead_mut(lead);
        let good = at.state == LeadState::Ready && at.claims == claim - 1;
        if good {
            (at.state, at.claims, at.token) = (LeadState::Dialing, claim, token);
        }
        good
    }

    /// `fence`: ready, and this claim would be its next. Afterwards it cannot be made any more.
    pub fn fence(&mut self, lead: u8, claim: u8) -> bool {
        let at = self.lead_mut(lead);
        let good = at.state == LeadState::Ready && at.claims == claim - 1;
        if good {
            at.claims = claim;
            self.forget_age(lead, claim);
        }
        good
    }

    /// `bind`: this claim is the latest, and it has no call or this one.
    pub fn bind(&mut self, lead: u8, claim: u8) {
        let at = self.lead_mut(lead);
        if at.claims == claim && at.is_under_way() {
            at.state = LeadState::Live;
            self.forget_age(lead, claim);
        }
    }

    /// `mark_unknown`: this claim is the latest and dialing.
    pub fn mark_unknown(&mut self, lead: u8, claim: u8) {
        let at = self.lead_mut(lead);
        if at.claims == claim && at.state == LeadState::Dialing {
            at.state = LeadState::Unknown;
        }
    }

    /// `give_back`: this claim is the latest, and no call of it is known.
    pub fn give_back(&mut self, lead: u8, claim: u8) -> bool {
        let at = self.lead_mut(lead);
        let good = at.claims == claim && matches!(at.state, LeadState::Dialing | LeadState::Unknown);
        if good {
            (at.state, at.token) = (LeadState::Ready, 0);
            self.forget_age(lead, claim);
        }
        good
    }

    /// `settle`: this claim is the latest and not over. A call that Vapi's limit refused sends the lead
    /// back; any other is the end of it, with one attempt per lead.
    pub fn settle(&mut self, lead: u8, claim: u8) -> Settled {
        let blocked = self.at(lead, claim).call == Call::Blocked;
        let at = self.lead_mut(lead);
        if at.claims > claim {
            return Settled::Free { counts: false };
        }
        if at.claims < claim {
            return Settled::NotHere;
        }
        if at.is_under_way() {
            if blocked {
                (at.state, at.token) = (LeadState::Ready, 0);
            } else {
                at.state = LeadState::Over;
            }
            self.forget_age(lead, claim);
        }
        Settled::Free { counts: self.lead(lead).state == LeadState::Over }
    }

    /// `record_ended`: there is no record yet; a first one is kept.
    pub fn record_ended(&mut self, lead: u8, claim: u8) {
        self.at_mut(lead, claim).ended = true;
    }

    /// Once a claim has its call or its outcome, nothing depends on its line's age any more.
    fn forget_age(&mut self, lead: u8, claim: u8) {
        if let Some(line) = &mut self.at_mut(lead, claim).line {
            line.age = Age::Young;
        }
    }
}

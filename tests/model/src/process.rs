//! Processes: one dial, one message in work, or one line in a pass's hands. Each stands before its next
//! access to the table or to Vapi, and can die there.

use std::fmt;

use crate::config::{AT_ONCE, Config};
use crate::world::World;
use crate::{dispatcher, pass, webhook};

/// A process under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// The lead it works on.
    pub lead: u8,
    /// The claim it works on.
    pub claim: u8,
    /// The token of the line it works on, as far as it knows one.
    pub token: u8,
    /// Whether its dial's deadline is over, while it has not asked for the call.
    pub late: bool,
    /// What it does next.
    pub step: Step,
}

/// What a process does next, with what it remembers for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Dispatcher, with [`crate::Bug::ClaimBeforeTake`] or [`crate::Bug::RoomReadBefore`] only.
    Take,
    /// Dispatcher: its line is held.
    Claim,
    /// Dispatcher: its lead is claimed. Looks at the clock and asks Vapi, or gives back.
    Dial,
    /// Dispatcher: waits for Vapi's answer.
    Answer,
    /// Dispatcher or pass: no call was made.
    GiveBack,
    /// Dispatcher: its call is bound. Has it ended already?
    ReadEnded,
    /// Any: the call is over.
    Settle,
    /// Any: the lead has its outcome.
    RecordEnded {
        /// Whether the lead is to be counted with its line.
        counts: bool,
    },
    /// Any: what is left is the line.
    Free {
        /// Whether the lead is to be counted with it.
        counts: bool,
    },
    /// Webhook: has read the ledger.
    Ours {
        /// What the message says.
        message: Message,
        /// Whether the claim's line was held.
        held: bool,
        /// Whether a line was held under the call's own key.
        observed: bool,
    },
    /// Webhook or pass: the lead's call is found.
    Bind,
    /// Webhook or pass: a live call that holds no line.
    TakeObserved,
    /// The same, after the line was taken: the end may have come in between.
    ReadEndedAgain,
    /// Webhook or pass: the end of a call that is not bound to a lead.
    EndObserved,
    /// The same, its end being on record.
    FreeObserved,
    /// Pass: has read the ledger, with a claim's line on it.
    ReadLeads,
    /// Pass: its lead is under way.
    ListCalls {
        /// Whether its call is known.
        bound: bool,
        /// Whether a call of it that is listed is to be bound.
        overdue: bool,
        /// Whether its absence from the list is proof that there is none.
        proof: bool,
    },
    /// Pass: the line is old and its claim was never made.
    Fence,
    /// Pass: has read the ledger, with an observed call's line on it.
    ReadLeadsOfObserved,
    /// Pass: no lead is bound to that call.
    ListObserved,
    /// Pass: has read the ledger, without a line for this call.
    ListMissed,
    /// Pass: Vapi lists it as live all the same.
    FindMissed,
}

/// A server message, by what it says of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// It is live.
    Live,
    /// The same, without the claim that it was dialed with.
    LiveStripped,
    /// It is over.
    Ended,
    /// The same, without the claim that it was dialed with.
    EndedStripped,
}

/// The three sorts of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A dial.
    Dispatcher,
    /// A message in work.
    Webhook,
    /// A line in a pass's hands.
    Pass,
}

/// A place for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who(pub u8);

/// A step by the code's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the function of the code that has this name, see `name`")]
pub enum Name {
    ReadPool,
    Take,
    Claim,
    Dial,
    GiveBack,
    Free,
    Bind,
    MarkUnknown,
    Refused,
    ReadEnded,
    Settle,
    RecordEnded,
    Ours,
    TakeObserved,
    EndObserved,
    ReadLeads,
    ListCalls,
    ListCallsWithout,
    Fence,
    FindMissed,
}

impl Who {
    /// What it is.
    pub fn sort(self) -> Sort {
        match usize::from(self.0) / AT_ONCE {
            0 => Sort::Dispatcher,
            1 => Sort::Webhook,
            _ => Sort::Pass,
        }
    }

    /// The first free place for a process of a sort, if this world has one.
    pub fn idle(world: &World, config: &Config, sort: Sort) -> Option<Self> {
        let (from, places) = match sort {
            Sort::Dispatcher => (0, config.dispatchers),
            Sort::Webhook => (AT_ONCE, config.webhooks),
            Sort::Pass => (2 * AT_ONCE, config.passes),
        };
        (from..from + places).find(|place| world.processes[*place].is_none()).map(|place| Self(place as u8))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.sort() {
            Sort::Dispatcher => "dispatcher",
            Sort::Webhook => "webhook",
            Sort::Pass => "pass",
        };
        write!(f, "{name} {}", usize::from(self.0) % AT_ONCE + 1)
    }
}

impl Name {
    /// The name as the code spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadPool => "read_pool",
            Self::Take => "take",
            Self::Claim => "claim",
            Self::Dial => "dial",
            Self::GiveBack => "give_back",
            Self::Free => "free",
            Self::Bind => "bind",
            Self::MarkUnknown => "no clear answer: mark_unknown",
            Self::Refused => "refused",
            Self::ReadEnded => "read_ended",
            Self::Settle => "settle",
            Self::RecordEnded => "record_ended",
            Self::Ours => "ours",
            Self::TakeObserved => "take_observed",
            Self::EndObserved => "end_observed",
            Self::ReadLeads => "read_leads",
            Self::ListCalls => "list_calls",
            Self::ListCallsWithout => "list_calls, which lags behind",
            Self::Fence => "fence",
            Self::FindMissed => "find_missed",
        }
    }
}

impl Step {
    /// Whether it is one of the reads with which a webhook or a pass begins.
    pub fn is_read(self) -> bool {
        matches!(
            self,
            Self::Ours { .. }
                | Self::ReadLeads
                | Self::ListCalls { .. }
                | Self::ReadLeadsOfObserved
                | Self::ListObserved
                | Self::ListMissed
                | Self::FindMissed
        )
    }
}

impl Step {
    /// Its number, below 32, and what it remembers, below 32.
    fn code(self) -> (u16, u16) {
        let bits = |bits: [bool; 3]| bits.iter().fold(0, |code, bit| code << 1 | u16::from(*bit));
        match self {
            Self::Take => (0, 0),
            Self::Claim => (1, 0),
            Self::Dial => (2, 0),
            Self::Answer => (3, 0),
            Self::GiveBack => (4, 0),
            Self::ReadEnded => (5, 0),
            Self::Settle => (6, 0),
            Self::RecordEnded { counts } => (7, u16::from(counts)),
            Self::Free { counts } => (8, u16::from(counts)),
            Self::Ours { message, held, observed } => {
                (9, (message as u16) << 3 | bits([false, held, observed]))
            }
            Self::Bind => (10, 0),
            Self::TakeObserved => (11, 0),
            Self::ReadEndedAgain => (12, 0),
            Self::EndObserved => (13, 0),
            Self::FreeObserved => (14, 0),
            Self::ReadLeads => (15, 0),
            Self::ListCalls { bound, overdue, proof } => (16, bits([bound, overdue, proof])),
            Self::Fence => (17, 0),
            Self::ReadLeadsOfObserved => (18, 0),
            Self::ListObserved => (19, 0),
            Self::ListMissed => (20, 0),
            Self::FindMissed => (21, 0),
        }
    }
}

impl Process {
    /// A process that stands before `step`.
    pub fn new(lead: u8, claim: u8, token: u8, step: Step) -> Self {
        Self { lead, claim, token, late: false, step }
    }

    /// Different for different processes of one lead, and never 0.
    pub fn code(&self) -> u16 {
        let (step, memory) = self.step.code();
        (step | memory << 5) << 6
            | u16::from(self.late) << 5
            | u16::from(self.token) << 2
            | u16::from(self.claim)
    }

    /// The same process before its next step.
    pub fn then(self, step: Step) -> Option<Self> {
        Some(Self { step, late: false, ..self })
    }

    /// What it can do now: more than one thing where Vapi decides.
    pub fn can_do(&self, world: &World) -> &'static [Name] {
        let at = world.at(self.lead, self.claim);
        match self.step {
            Step::Take => &[Name::Take],
            Step::Claim => &[Name::Claim],
            Step::Dial => &[Name::Dial],
            Step::Answer => dispatcher::answers(at),
            Step::GiveBack => &[Name::GiveBack],
            Step::ReadEnded | Step::ReadEndedAgain => &[Name::ReadEnded],
            Step::Settle => &[Name::Settle],
            Step::RecordEnded { .. } => &[Name::RecordEnded],
            Step::Free { .. } | Step::FreeObserved => &[Name::Free],
            Step::Ours { .. } => &[Name::Ours],
            Step::Bind => &[Name::Bind],
            Step::TakeObserved => &[Name::TakeObserved],
            Step::EndObserved => &[Name::EndObserved],
            Step::ReadLeads | Step::ReadLeadsOfObserved => &[Name::ReadLeads],
            Step::ListCalls { .. } | Step::ListObserved | Step::ListMissed => pass::listings(at),
            Step::Fence => &[Name::Fence],
            Step::FindMissed => &[Name::FindMissed],
        }
    }

    /// Does one thing, and says where the process stands then, if it goes on.
    pub fn run(self, world: &mut World, config: &Config, who: Who, name: Name) -> Option<Self> {
        match self.step {
            Step::Take | Step::Claim | Step::Dial | Step::Answer | Step::ReadEnded => {
                dispatcher::run(self, world, config, name)
            }
            Step::Ours { .. } => webhook::ours(self, world, config),
            Step::ReadLeads
            | Step::ListCalls { .. }
            | Step::Fence
            | Step::ReadLeadsOfObserved
            | Step::ListObserved
            | Step::ListMissed
            | Step::FindMissed => pass::run(self, world, config, name),
            Step::GiveBack
            | Step::Settle
            | Step::RecordEnded { .. }
            | Step::Free { .. }
            | Step::Bind
            | Step::TakeObserved
            | Step::ReadEndedAgain
            | Step::EndObserved
            | Step::FreeObserved => crate::settle::run(self, world, config, who.sort()),
        }
    }
}

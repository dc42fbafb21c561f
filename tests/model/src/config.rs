//! How large the world is that is checked, and which mistake is planted in it.

/// Most leads in a world; the caller, if there is one, has the place of the last.
pub const LEADS: usize = 3;
/// Most claims of one lead in a world.
pub const CLAIMS: usize = 3;
/// Most processes of one sort at once.
pub const AT_ONCE: usize = 2;

/// The size of a world.
///
/// There is no number of lost or repeated messages here: any message may stay out for ever, and come
/// any number of times, at any later moment (see [`crate::vapi`]).
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Leads.
    pub leads: usize,
    /// Dials under way at once, in one invocation of the dispatcher or in several.
    pub dispatchers: usize,
    /// Messages in work at once.
    pub webhooks: usize,
    /// Lines that passes look at, at once.
    pub passes: usize,
    /// Most claims of one lead; one that is ready after the last is left alone.
    pub claims: u8,
    /// Most processes that die between two of their steps.
    pub crashes: u8,
    /// Most takings that rest on an index so old that the claim was made long ago.
    pub stale_reads: u8,
    /// Lines of the pool.
    pub limit: i8,
    /// Most lines for outbound.
    pub cap: i8,
    /// Lines that outbound leaves free.
    pub headroom: i8,
    /// Whether a caller rings in, whom Headroom only observes.
    pub caller: bool,
    /// Whether calls may end as refused by Vapi's limit, which sends the lead back uncounted.
    pub blocked: bool,
    /// Whether messages may lack the claim that their call was dialed with.
    pub stripped: bool,
    /// Whether each read is a step of its own. If not, a webhook's reads, and a pass's, are one step: what
    /// a message or the list tells stays true, and every write that follows repeats its conditions.
    pub each_read: bool,
    /// Whether what can never matter again is forgotten (see [`crate::shrink`]).
    pub forget: bool,
    /// The mistake.
    pub bug: Option<Bug>,
}

impl Config {
    /// The world whose state count is published: 2 lines, 3 leads, 2 dials at once, 2 crashes.
    pub const fn published() -> Self {
        Self {
            leads: 3,
            dispatchers: 2,
            webhooks: 1,
            passes: 1,
            claims: 2,
            crashes: 2,
            stale_reads: 1,
            limit: 2,
            cap: 2,
            headroom: 0,
            caller: false,
            blocked: false,
            stripped: false,
            each_read: false,
            forget: true,
            bug: None,
        }
    }

    /// One lead, but more that can happen to it: calls that Vapi refuses after the fact, messages without
    /// their claim, and every read a step of its own.
    pub const fn one_lead() -> Self {
        Self { leads: 1, blocked: true, stripped: true, each_read: true, ..Self::published() }
    }

    /// A caller beside two leads, for whom one line is kept free.
    pub const fn with_caller() -> Self {
        Self { leads: 2, caller: true, headroom: 1, stripped: true, ..Self::published() }
    }

    /// Small enough for every `cargo test`.
    pub const fn small() -> Self {
        Self { leads: 2, crashes: 1, ..Self::published() }
    }

    /// The same with a mistake in it. Nothing is forgotten then: the mistake may be in what that rests on.
    pub const fn with(self, bug: Bug) -> Self {
        Self { bug: Some(bug), forget: false, ..self }
    }
}

/// A mistake that the checker must find. Each is one that a change to the code could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The pass frees a line whose claim was never made without first burning the claim's number
    /// (`fence`), so a dispatcher that was frozen all the while can still claim the lead.
    NoFence,
    /// A webhook frees the line before it writes the lead's outcome.
    FreeBeforeOutcome,
    /// A dial without a clear answer is taken for one that made no call.
    RedialAfterUnclear,
    /// The pass takes a call's absence from the list for proof while it can still be created.
    AbsenceBeforeDeadline,
    /// The pass takes it for proof as soon as the deadline is over, before the list has caught up.
    AbsenceBeforeListed,
    /// A line is freed by its key, whoever holds it and whether anybody does.
    FreeByKey,
    /// A webhook settles a call and frees its line without the record that the call has ended.
    FreeWithoutRecord,
    /// The pass counts the lead's outcome with any line of its last claim, whatever its token.
    CountAnyToken,
    /// A dispatcher does not look at the clock between claim and `POST /call`.
    DialAfterDeadline,
    /// A dispatcher claims the lead first, and takes the line then.
    ClaimBeforeTake,
    /// A dial that made no call frees its line before it gives the lead back.
    FreeBeforeGiveBack,
    /// The room is read first and the line taken then, without the condition in the write.
    RoomReadBefore,
}

impl Bug {
    /// Each of them.
    pub const ALL: [Self; 12] = [
        Self::NoFence,
        Self::FreeBeforeOutcome,
        Self::RedialAfterUnclear,
        Self::AbsenceBeforeDeadline,
        Self::AbsenceBeforeListed,
        Self::FreeByKey,
        Self::FreeWithoutRecord,
        Self::CountAnyToken,
        Self::DialAfterDeadline,
        Self::ClaimBeforeTake,
        Self::FreeBeforeGiveBack,
        Self::RoomReadBefore,
    ];
}

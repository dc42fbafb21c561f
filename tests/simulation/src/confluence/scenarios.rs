//! The calls whose messages are put into every order: what kind of call, how far its dial has come when
//! the first of them arrives, how it ends, and what Vapi says of it if it is asked meanwhile.

use std::fmt;

use crate::scripted::{DialAnswer, Ending, Word};

/// Something that happens to a call here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Vapi asks who shall answer.
    Request,
    /// A status update other than the last.
    Status(&'static str),
    /// The last status update.
    Ended,
    /// The report.
    Report,
    /// A status update without what tells whose call it is.
    StrippedStatus(&'static str),
    /// The last status update, without it.
    StrippedEnded,
    /// The report, without it.
    StrippedReport,
    /// The answer to the dial arrives.
    Answer,
    /// The minute pass.
    Pass,
}

impl Event {
    /// Whether it tells that the call is over.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Ended | Self::Report | Self::StrippedEnded | Self::StrippedReport)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("assistant-request"),
            Self::Status(status) => f.write_str(status),
            Self::Ended => f.write_str("ended"),
            Self::Report => f.write_str("report"),
            Self::StrippedStatus(status) => write!(f, "{status}*"),
            Self::StrippedEnded => f.write_str("ended*"),
            Self::StrippedReport => f.write_str("report*"),
            Self::Answer => f.write_str("201"),
            Self::Pass => f.write_str("pass"),
        }
    }
}

/// Whose call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Of Vapi's type, and not dialed by Headroom.
    Other(&'static str),
    /// Dialed by Headroom, and this is how the dial stands: its answer came, is awaited, was lost.
    Ours(DialAnswer),
}

/// What Vapi says of the call while the word lasts; at the passes that follow it tells the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tells {
    /// That it is over, from the beginning: every message is late.
    Over,
    /// That it is live until the first end arrives.
    Follows,
    /// Always the same, however wrong.
    Always(Word),
}

impl Tells {
    /// All that differ for a pass. To a webhook that asks, no such call and no answer are the same.
    pub const ALL: [Self; 4] =
        [Self::Over, Self::Follows, Self::Always(Word::Live), Self::Always(Word::Silent)];

    fn name(self) -> &'static str {
        match self {
            Self::Over | Self::Always(Word::Ended) => "over all the time",
            Self::Follows => "the truth",
            Self::Always(Word::Live) => "still live",
            Self::Always(Word::Unheard) => "no such call",
            Self::Always(Word::Silent) => "nothing",
        }
    }
}

/// A call and its events.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it is, for the table.
    pub name: String,
    /// Whose call.
    pub caller: Caller,
    /// How it ends.
    pub ending: Ending,
    /// What Vapi says of it.
    pub tells: Tells,
    /// What happens to it, in the order that one expects.
    pub events: Vec<Event>,
}

impl Scenario {
    /// Whether `event` may come after `word`: a dial is answered once.
    pub fn may_follow(&self, word: &[Event], event: Event) -> bool {
        event != Event::Answer || !word.contains(&event)
    }

    /// Whether each event occurs in `word`.
    pub fn is_complete(&self, word: &[Event]) -> bool {
        self.events.iter().all(|event| word.contains(event))
    }

    /// Whether `word` is one of those that have to agree: an end is in it, and the answer to the dial
    /// unless that came before or never.
    pub fn is_word(&self, word: &[Event]) -> bool {
        let answered = !self.events.contains(&Event::Answer) || word.contains(&Event::Answer);
        answered && word.iter().any(|event| event.is_end())
    }

    /// Whether complete words agree by themselves. Not where the pass is an event of its own: it finishes
    /// a campaign whose last lead is over, or not yet. And not where only Vapi could tell what an end
    /// means for the lead, since the report came without its claim, and Vapi does not tell.
    pub fn decides_alone(&self) -> bool {
        let untold = matches!(self.tells, Tells::Always(_)) && self.events.contains(&Event::StrippedReport);
        !self.events.contains(&Event::Pass) && !untold
    }
}

const TALKED: Ending = Ending { reason: Some("customer-ended-call"), connected: true };
const BUSY: Ending = Ending { reason: Some("customer-busy"), connected: false };
/// Its status update does not say what it means for the lead: that depends on whether somebody was there.
const BROKE: Ending = Ending { reason: Some("pipeline-error-openai-500-server-error"), connected: true };
const BROKE_BEFORE: Ending = Ending { connected: false, ..BROKE };
const NO_REASON: Ending = Ending { reason: None, connected: false };

/// Ends that say by themselves what becomes of the lead: one of each thing that can become of it.
const CLEAR: [Ending; 8] = [
    TALKED,
    BUSY,
    Ending { reason: Some("voicemail"), connected: true },
    Ending { reason: Some("twilio-failed-to-connect-call"), connected: false },
    Ending { reason: Some("call.start.error-subscription-concurrency-limit-reached"), connected: false },
    Ending { reason: Some("assistant-not-found"), connected: false },
    Ending { reason: Some("manually-canceled"), connected: true },
    Ending { reason: Some("assistant-request-failed"), connected: false },
];

/// Every scenario.
pub fn scenarios() -> Vec<Scenario> {
    use Event::{
        Answer, Ended, Pass, Report, Request, Status, StrippedEnded, StrippedReport, StrippedStatus,
    };
    const QUEUED: Event = Status("queued");
    const RINGING: Event = Status("ringing");
    const TALKING: Event = Status("in-progress");
    const FORWARDED: Event = Status("forwarding");
    let mut all = Vec::new();
    let mut add = |what: &str, caller, ending: Ending, tells: Tells, events: &[Event]| {
        let answered = if ending.connected { "" } else { ", not answered" };
        let end = format!("{}{answered}", ending.reason.unwrap_or("no reason given"));
        let name = format!("{what}; {end}; Vapi says {}", tells.name());
        all.push(Scenario { name, caller, ending, tells, events: events.to_vec() });
    };

    // Calls that Headroom did not dial.
    let inbound = Caller::Other("inboundPhoneCall");
    let web = Caller::Other("webCall");
    let foreign = Caller::Other("outboundPhoneCall");
    let asked = [Request, RINGING, TALKING, Ended, Report];
    add("inbound, asked", inbound, TALKED, Tells::Follows, &asked);
    add("inbound", inbound, TALKED, Tells::Follows, &[RINGING, TALKING, FORWARDED, Ended, Report]);
    add("web", web, TALKED, Tells::Follows, &[QUEUED, TALKING, FORWARDED, Ended, Report]);
    add("foreign", foreign, BUSY, Tells::Follows, &[QUEUED, RINGING, TALKING, Ended, Report]);
    for tells in Tells::ALL {
        add("inbound, asked", inbound, TALKED, tells, &[Request, RINGING, TALKING, Ended, Report, Pass]);
        add("foreign", foreign, BROKE, tells, &[RINGING, TALKING, Ended, Report, Pass]);
    }

    // Calls that it dialed, and knows.
    let bound = Caller::Ours(DialAnswer::Given);
    let messages = [QUEUED, RINGING, TALKING, Ended, Report];
    for ending in CLEAR {
        add("bound", bound, ending, Tells::Follows, &messages);
    }
    for tells in Tells::ALL {
        for ending in [BROKE, BROKE_BEFORE, NO_REASON] {
            add("bound", bound, ending, tells, &messages);
        }
        add("bound", bound, BROKE_BEFORE, tells, &[QUEUED, RINGING, TALKING, Ended, Report, Pass]);
    }

    let unheard = Tells::Always(Word::Unheard);
    add("bound", bound, BROKE_BEFORE, unheard, &[QUEUED, RINGING, TALKING, Ended, Report, Pass]);
    add("bound", bound, BUSY, Tells::Follows, &[QUEUED, RINGING, TALKING, Ended, Report, Pass]);

    // Calls whose messages overtake the dial's answer.
    let dialing = Caller::Ours(DialAnswer::Held);
    for ending in CLEAR {
        add("dialing", dialing, ending, Tells::Follows, &[RINGING, TALKING, Ended, Report, Answer]);
    }
    for tells in Tells::ALL {
        add("dialing", dialing, BROKE_BEFORE, tells, &[QUEUED, RINGING, TALKING, Ended, Report, Answer]);
        add("dialing", dialing, BUSY, tells, &[RINGING, TALKING, Ended, Report, Answer, Pass]);
        add("dialing", dialing, BROKE, tells, &[RINGING, TALKING, Ended, Report, Answer, Pass]);
    }

    // Calls whose dial was never answered.
    let unknown = Caller::Ours(DialAnswer::Lost);
    for ending in CLEAR {
        add("unknown", unknown, ending, Tells::Follows, &[QUEUED, RINGING, TALKING, Ended, Report]);
    }
    for tells in Tells::ALL {
        add("unknown", unknown, BROKE_BEFORE, tells, &[QUEUED, RINGING, TALKING, Ended, Report]);
        add("unknown", unknown, BUSY, tells, &[QUEUED, RINGING, TALKING, Ended, Report, Pass]);
        add("unknown", unknown, BROKE, tells, &[QUEUED, RINGING, TALKING, Ended, Report, Pass]);
    }

    // Some of whose messages do not tell whose they are.
    for (what, caller, step) in
        [("bound", bound, Pass), ("dialing", dialing, Answer), ("unknown", unknown, Pass)]
    {
        for (ending, tells) in [
            (TALKED, Tells::Follows),
            (BUSY, Tells::Follows),
            (BROKE_BEFORE, Tells::Follows),
            (BROKE_BEFORE, Tells::Always(Word::Live)),
        ] {
            let stripped = [StrippedStatus("ringing"), RINGING, StrippedEnded, Ended, StrippedReport, step];
            add(&format!("{what}, some stripped"), caller, ending, tells, &stripped);
            let first = [StrippedStatus("ringing"), TALKING, StrippedEnded, Report, step];
            add(&format!("{what}, the first end stripped"), caller, ending, tells, &first);
            let last = [RINGING, StrippedStatus("in-progress"), StrippedEnded, StrippedReport, step];
            add(&format!("{what}, all ends stripped"), caller, ending, tells, &last);
        }
    }
    all
}

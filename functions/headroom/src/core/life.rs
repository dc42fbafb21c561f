//! The life of a campaign: what may be asked of it in which state, which of its settings may change while it lives, and
//! which of its leads a rerun calls again.
//!
//! ```text
//!          start            pause            rerun
//! draft ─────────▶ running ◀──────▶ paused     ┌───── finished ◀─ every lead is over
//!                     ▲     resume             ▼
//!                     └─ its leads are ready ─ rerunning
//!
//! draft, running, paused, rerunning ─ cancel ─▶ cancelling ─ every lead is over ─▶ cancelled ─ rerun ─▶ rerunning
//! ```
//!
//! Nobody is cut off by any of this (P6): it decides about dials that were not made yet.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::campaign::{CampaignState, Spec};
use super::ended::{Group, NoAnswer, UNKNOWN_REASON};
use super::ids::LeadRef;
use super::lead::LeadState;

/// What somebody wants of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Dial a draft's leads.
    Start,
    /// Dial no more until it is resumed.
    Pause {
        /// Why, for those who find it paused.
        reason: Option<String>,
    },
    /// Dial on.
    Resume,
    /// Dial no more, ever: each lead that is not in a call ends now.
    Cancel,
    /// Call those again who were not reached, with fresh attempts.
    Rerun {
        /// Which of them; none stands for [`Unreached::USUAL`].
        only: Vec<Unreached>,
    },
}

/// What a wish comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The campaign moves on to this state.
    To(CampaignState),
    /// It is so already.
    Already,
    /// It cannot be, for this reason.
    Not(&'static str),
}

impl Wish {
    /// What becomes of a campaign in `state` of which `by` wants this at `now`.
    pub fn after(&self, state: &CampaignState, by: &str, now: Timestamp) -> Next {
        use CampaignState::*;
        match (self, state) {
            (Self::Start, Draft) | (Self::Resume, Paused { .. }) => Next::To(Running),
            (Self::Start | Self::Resume, Running | Rerunning { .. }) => Next::Already,
            (Self::Start, Paused { .. }) => Next::Not("it is paused: resume it"),
            (Self::Resume, Draft) => Next::Not("it is a draft: start it"),

            // A person's word stands over our own: what we paused, we may resume by ourselves.
            (Self::Pause { reason }, Running | Paused { by: None, .. }) => Next::To(Paused {
                reason: reason.clone().unwrap_or_else(|| format!("paused by {by}")),
                by: Some(by.to_owned()),
                at: Some(now),
            }),
            (Self::Pause { .. }, Paused { by: Some(_), .. }) => Next::Already,
            (Self::Pause { .. }, Draft) => Next::Not("it is a draft: nothing of it is dialed"),
            (Self::Pause { .. }, Rerunning { .. }) => {
                Next::Not("its leads are being made ready again: try in a moment, or cancel it")
            }

            (Self::Cancel, Draft | Running | Paused { .. } | Rerunning { .. }) => Next::To(Cancelling),
            (Self::Cancel, Cancelling | Cancelled) => Next::Already,

            (Self::Rerun { only }, Finished | Cancelled) => Next::To(Rerunning {
                only: if only.is_empty() { Unreached::USUAL.to_vec() } else { only.clone() },
                after: None,
            }),
            (Self::Rerun { .. }, Rerunning { .. }) => Next::Already,
            (Self::Rerun { .. }, Draft) => Next::Not("it is a draft: start it"),
            (Self::Rerun { .. }, Running | Paused { .. }) => {
                Next::Not("it is not over yet: a rerun is for those whom it did not reach")
            }
            (Self::Rerun { .. }, Cancelling) => {
                Next::Not("it is being cancelled: rerun it when its last call is over")
            }

            (_, Finished) => Next::Not("it is finished: rerun it, or send it more leads"),
            (_, Cancelling | Cancelled) => Next::Not("it is cancelled for good: rerun it, or begin another"),
        }
    }

    /// What the campaign's record says of it.
    pub fn done(&self) -> String {
        match self {
            Self::Start => "started".into(),
            Self::Pause { reason: None } => "paused".into(),
            Self::Pause { reason: Some(reason) } => format!("paused: {reason}"),
            Self::Resume => "resumed".into(),
            Self::Cancel => "cancelled".into(),
            Self::Rerun { only } if only.is_empty() => "rerun".into(),
            Self::Rerun { only } => {
                let names: Vec<&str> = only.iter().map(|unreached| unreached.name()).collect();
                format!("rerun: {}", names.join(", "))
            }
        }
    }
}

/// What somebody did to a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// When, to the millisecond.
    pub at: Timestamp,
    /// Who, as they call themselves.
    pub by: String,
    /// What.
    pub what: String,
}

/// Acts that a campaign remembers: its item is read at each wake-up, and written with every message.
pub const ACTS: usize = 8;
/// Longest name and longest account of an act, in characters.
const LONGEST: (usize, usize) = (80, 160);

impl Act {
    /// An act, cut to what is kept of it.
    pub fn new(at: Timestamp, by: &str, what: &str) -> Self {
        let cut = |text: &str, most| text.chars().filter(|c| !c.is_control()).take(most).collect();
        Self {
            at: Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at),
            by: cut(by, LONGEST.0),
            what: cut(what, LONGEST.1),
        }
    }
}

/// The reason of leads that ended because their campaign was cancelled. Vapi has none of that name.
pub const CANCELLED: &str = "cancelled";
/// What the reasons of leads begin with that found no line.
pub const NO_LINE: &str = "no line: ";
/// What the reasons of leads begin with whose dials Vapi refused again and again, in words that blame their campaign.
pub const REFUSED: &str = "refused: ";
/// The reason of leads whose window has closed for good.
pub const WINDOW_CLOSED: &str = "window_closed";

/// Why a lead was not reached, as far as a rerun cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreached {
    /// It rang out.
    NoAnswer,
    /// Engaged.
    Busy,
    /// A machine answered.
    Voicemail,
    /// The call was never set up, or broke before anybody was there.
    Setup,
    /// There was no line, and its agent's leads do not wait.
    NoLine,
    /// Its window had closed.
    Window,
    /// Nobody knows.
    Unknown,
    /// It was cancelled: by a person, with its campaign or by itself.
    Cancelled,
}

impl Unreached {
    /// Whom a rerun calls if nobody says: all but those whom a person has cancelled.
    pub const USUAL: [Self; 7] =
        [Self::NoAnswer, Self::Busy, Self::Voicemail, Self::Setup, Self::NoLine, Self::Window, Self::Unknown];

    /// Why a lead that is over was not reached. Nothing for one that was, and for one that is never to be called again:
    /// its number is none, Vapi refuses it, or the person does not wish it.
    pub fn of(state: &LeadState) -> Option<Self> {
        let LeadState::Failed { reason } = state else { return None };
        match reason.as_str() {
            CANCELLED => return Some(Self::Cancelled),
            WINDOW_CLOSED => return Some(Self::Window),
            UNKNOWN_REASON => return Some(Self::Unknown),
            reason if reason.starts_with(NO_LINE) => return Some(Self::NoLine),
            reason if reason.starts_with(REFUSED) => return Some(Self::Setup),
            reason if reason.starts_with("no proof") => return Some(Self::Unknown),
            // Vapi's word on the lead itself is a sentence.
            reason if reason.contains(' ') || reason.starts_with("do_not_call") => return None,
            _ => {}
        }
        match Group::of(reason) {
            Group::NoAnswer(NoAnswer::RangOut) => Some(Self::NoAnswer),
            Group::NoAnswer(NoAnswer::Busy) => Some(Self::Busy),
            Group::NoAnswer(NoAnswer::Voicemail) => Some(Self::Voicemail),
            Group::OverLimit
            | Group::SetupFailure
            | Group::InCallFailure
            | Group::PermanentConfig
            | Group::AccountBlock
            | Group::NotOutbound => Some(Self::Setup),
            Group::Cancelled => Some(Self::Cancelled),
            Group::Reached => Some(Self::Unknown),
            Group::PermanentLead => None,
        }
    }

    /// Its name, for people and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::Busy => "busy",
            Self::Voicemail => "voicemail",
            Self::Setup => "setup",
            Self::NoLine => "no-line",
            Self::Window => "window",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no outcome of a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outcomes are no-answer, busy, voicemail, setup, no-line, window, unknown and cancelled")]
pub struct NoOutcome;

impl FromStr for Unreached {
    type Err = NoOutcome;
    fn from_str(text: &str) -> Result<Self, NoOutcome> {
        let mut all = Self::USUAL.into_iter().chain([Self::Cancelled]);
        all.find(|unreached| unreached.name() == text).ok_or(NoOutcome)
    }
}

/// How far a sweep over a campaign's leads has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Whoever has it has it until then; nobody, if there is no such instant or it has passed.
    pub held_until: Option<Timestamp>,
    /// Leads that it has moved.
    pub moved: u32,
}

/// A campaign's hours were changed: those of its leads that were put off by the old ones are looked at anew, while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHours {
    /// When they were.
    pub since: Timestamp,
    /// The last lead that was looked at.
    pub after: Option<LeadRef>,
}

/// Why a campaign's settings were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// One that never changes.
    #[error("{field} cannot be changed: {why}")]
    Fixed {
        /// Which.
        field: &'static str,
        /// Why.
        why: &'static str,
    },
    /// The settings would be none.
    #[error("{0}")]
    Bad(String),
}

/// The settings that a campaign keeps for life, and why. All others may change.
const FIXED: [(&str, &str); 7] = [
    ("id", "it is what the campaign is known by; begin another campaign"),
    ("assistantId", "calls made before and after would not be of one campaign; begin another"),
    ("squadId", "calls made before and after would not be of one campaign; begin another"),
    ("phoneNumberId", "its quotas and reserves count the calls by it; begin another campaign"),
    ("agent", "its quotas and reserves count the calls by it; begin another campaign"),
    ("org", "the calls under way are known under its key; begin another campaign"),
    ("maxDurationSeconds", "the lines of the calls under way are kept by it; begin another campaign"),
];

/// A campaign's settings with `patch` merged into them, as RFC 7396 has it: what is not named stays, and null takes
/// away. Returns them with what has changed, in words.
pub fn edited(spec: &Spec, patch: &Map<String, Value>) -> Result<(Spec, String), EditError> {
    if let Some((field, why)) = FIXED.into_iter().find(|(field, _)| patch.contains_key(*field)) {
        return Err(EditError::Fixed { field, why });
    }
    let before = serde_json::to_value(spec).expect("a campaign's fields are texts and numbers");
    let (mut after, mut patch) = (before.clone(), patch.clone());
    reword(&mut after, spec, &mut patch);
    merge(&mut after, &Value::Object(patch));
    let text = after.to_string();
    let spec: Spec = serde_json::from_str(&text).map_err(|error| EditError::Bad(plain(&error)))?;
    // As it is kept: what was left out is there with its default.
    let after = serde_json::to_value(&spec).expect("a campaign's fields are texts and numbers");
    let mut changes = Vec::new();
    changed("", &before, &after, &mut changes);
    Ok((spec, changes.join(", ")))
}

/// Settings can be said in two ways, and are kept in the shorter one; not both may stand in a message. Where the patch has
/// the other one, both are said alike, so that what it does not name stays as it is.
fn reword(settings: &mut Value, spec: &Spec, patch: &mut Map<String, Value>) {
    let names =
        |part: &Map<String, Value>, field: &str| part.get(field).is_some_and(|value| !value.is_null());
    if let Some(retry) = patch.get_mut("retry").and_then(Value::as_object_mut) {
        if retry.contains_key("outcomes") {
            settings["retry"] = spec.retry.at_length();
        }
        if let Some(outcomes) = settings.pointer_mut("/retry/outcomes").and_then(Value::as_object_mut) {
            // A delay leaves the number of attempts as it is.
            for (short, outcome) in [("noAnswerAfter", "noAnswer"), ("busyAfter", "busy")] {
                if names(retry, short)
                    && let Some(rule) = outcomes.get_mut(outcome)
                {
                    rule["after"] = Value::Array(retry.remove(short).into_iter().collect());
                }
            }
            if names(retry, "voicemail") {
                outcomes.remove("voicemail");
            }
        }
    }
    let window = patch.get("window").and_then(Value::as_object);
    if let (Some(window), Some(kept)) = (window, settings["window"].as_object_mut()) {
        const ONE_SPAN: [&str; 3] = ["days", "start", "end"];
        if names(window, "spans") {
            ONE_SPAN.iter().for_each(|field| drop(kept.remove(*field)));
        } else if ONE_SPAN.iter().any(|field| names(window, field)) {
            kept.remove("spans");
        }
    }
}

/// What has changed from one to the other, in words, each setting by its path.
fn changed(path: &str, before: &Value, after: &Value, changes: &mut Vec<String>) {
    if let (Some(was), Some(is)) = (before.as_object(), after.as_object()) {
        let fields: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        for field in fields {
            let dot = if path.is_empty() { "" } else { "." };
            changed(&format!("{path}{dot}{field}"), &before[field], &after[field], changes);
        }
    } else if before != after {
        changes.push(format!("{path} {} → {}", shown(before), shown(after)));
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().expect("it is an object by now");
    for (field, value) in patch {
        if value.is_null() {
            target.remove(field);
        } else {
            merge(target.entry(field).or_insert(Value::Null), value);
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// serde's message, without the place: nobody has seen the text that it is of.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::retry::Missed;

    fn states() -> [(CampaignState, &'static str); 8] {
        let paused = |by: Option<&str>| CampaignState::Paused {
            reason: "why".into(),
            by: by.map(str::to_owned),
            at: None,
        };
        [
            (CampaignState::Draft, "draft"),
            (CampaignState::Running, "running"),
            (paused(None), "paused by us"),
            (paused(Some("ada")), "paused by ada"),
            (CampaignState::Rerunning { only: Vec::new(), after: None }, "rerunning"),
            (CampaignState::Finished, "finished"),
            (CampaignState::Cancelling, "cancelling"),
            (CampaignState::Cancelled, "cancelled"),
        ]
    }

    /// Rows: wishes. Columns: as in `states`. `.` is not now, `=` is so already, else the first letters of the state.
    #[test]
    fn each_wish_has_its_outcome_in_each_state() {
        let table = [
            (Wish::Start, "ru = . . = . . ."),
            (Wish::Pause { reason: None }, ". pa pa = . . . ."),
            (Wish::Resume, ". = ru ru = . . ."),
            (Wish::Cancel, "ca ca ca ca ca . = ="),
            (Wish::Rerun { only: Vec::new() }, ". . . . = re . re"),
        ];
        for (wish, row) in table {
            for ((state, name), expected) in states().iter().zip(row.split(' ')) {
                let next = wish.after(state, "bob", Timestamp::UNIX_EPOCH);
                let short = match &next {
                    Next::To(state) => &state.name()[..2],
                    Next::Already => "=",
                    Next::Not(why) => {
                        assert!(why.contains(':'), "{why} says what to do");
                        "."
                    }
                };
                assert_eq!(short, expected, "{wish:?} of one that is {name}: {next:?}");
            }
        }
    }

    #[test]
    fn a_pause_says_who_and_why() {
        let pause = |reason: Option<&str>| {
            let wish = Wish::Pause { reason: reason.map(str::to_owned) };
            wish.after(&CampaignState::Running, "ada", Timestamp::UNIX_EPOCH)
        };
        for (given, reason) in [(None, "paused by ada"), (Some("lunch"), "lunch")] {
            let by = Some("ada".to_owned());
            let at = Some(Timestamp::UNIX_EPOCH);
            assert_eq!(
                pause(given),
                Next::To(CampaignState::Paused { reason: reason.into(), by: by.clone(), at })
            );
        }
    }

    #[test]
    fn a_rerun_calls_those_who_may_be_called() {
        let failed = |reason: &str| Unreached::of(&LeadState::Failed { reason: reason.into() });
        for (reason, unreached) in [
            ("customer-did-not-answer", Some(Unreached::NoAnswer)),
            ("customer-busy", Some(Unreached::Busy)),
            ("voicemail", Some(Unreached::Voicemail)),
            ("twilio-failed-to-connect-call", Some(Unreached::Setup)),
            ("pipeline-error-openai-500-server-error", Some(Unreached::Setup)),
            ("no line: cap", Some(Unreached::NoLine)),
            ("window_closed", Some(Unreached::Window)),
            ("unknown", Some(Unreached::Unknown)),
            ("no proof of its end until the ceiling", Some(Unreached::Unknown)),
            ("cancelled", Some(Unreached::Cancelled)),
            ("manually-canceled", Some(Unreached::Cancelled)),
            ("twilio-reported-customer-misdialed", None),
            ("customer.number must be a valid phone number", None),
            ("do_not_call", None),
        ] {
            assert_eq!(failed(reason), unreached, "{reason}");
        }
        assert_eq!(Unreached::of(&LeadState::Done { reason: "customer-busy".into() }), None);
        assert_eq!(Unreached::of(&LeadState::Ready), None);
        for unreached in Unreached::USUAL.into_iter().chain([Unreached::Cancelled]) {
            assert_eq!(unreached.name().parse(), Ok(unreached));
        }
        assert!("reached".parse::<Unreached>().is_err());
    }

    fn spec() -> Spec {
        let spec = json!({
            "id": "c", "assistantId": "a", "phoneNumberId": "p", "maxConcurrency": 20,
            "retry": { "maxAttempts": 3, "busyAfter": "5m" },
        });
        serde_json::from_value(spec).expect("a campaign")
    }

    #[test]
    fn an_edit_changes_what_it_names_and_nothing_else() {
        let edit = |patch: Value| edited(&spec(), patch.as_object().expect("an object"));
        let (after, what) =
            edit(json!({ "maxConcurrency": 5, "retry": { "maxAttempts": 2 } })).expect("good");
        assert_eq!(after.max_concurrency.map(|cap| cap.get()), Some(5));
        assert_eq!(after.retry.max_attempts.get(), 2);
        let busy = |spec: &Spec| spec.retry.again(Missed::Busy, 1, 1, 0.0);
        assert_eq!(busy(&after), busy(&spec()));
        assert_eq!(what, "maxConcurrency 20 → 5, retry.maxAttempts 3 → 2");
        let (after, what) = edit(json!({ "maxConcurrency": null })).expect("good");
        assert_eq!((after.max_concurrency, what.as_str()), (None, "maxConcurrency 20 → none"));
        assert_eq!(edit(json!({ "maxConcurrency": 20 })), Ok((spec(), String::new())));
        // Kept in few words, changed at length: the rest of it stays.
        let (after, _) =
            edit(json!({ "retry": { "outcomes": { "busy": { "attempts": 2 } } } })).expect("good");
        assert_eq!(after.retry.again(Missed::Busy, 1, 1, 0.0), busy(&spec()));
        assert_eq!(after.retry.again(Missed::Busy, 2, 2, 0.0), None);
        assert_eq!(
            after.retry.again(Missed::NoAnswer, 1, 1, 0.5),
            spec().retry.again(Missed::NoAnswer, 1, 1, 0.5)
        );
        let both = json!({ "retry": { "busyAfter": "9m", "outcomes": { "noAnswer": { "attempts": 1 } } } });
        let (after, _) = edit(both).expect("good");
        assert_eq!(busy(&after), Some(jiff::SignedDuration::from_mins(9)));
        let windowed =
            json!({ "window": { "days": ["mon"], "start": "09:00", "end": "17:00", "timezone": "UTC" } });
        let (windowed, _) = edit(windowed).expect("good");
        let spans = json!({ "window": { "spans": [{ "start": "10:00", "end": "11:00" }] } });
        let (after, what) = edited(&windowed, spans.as_object().expect("an object")).expect("good");
        assert_ne!(after.window, windowed.window);
        assert!(what.contains("window.end 17:00 → 11:00"), "{what}");
        let one = json!({ "window": { "start": "09:00", "end": "12:00" } });
        assert!(edited(&after, one.as_object().expect("an object")).is_ok());
        // Said at length, kept in few words; and the other way round.
        let (after, what) =
            edit(json!({ "retry": { "outcomes": { "busy": { "after": ["9m"] } } } })).expect("good");
        assert_eq!(busy(&after), Some(jiff::SignedDuration::from_mins(9)));
        assert!(what.contains("9m"), "{what}");
        let (twice, _) =
            edit(json!({ "retry": { "outcomes": { "busy": { "attempts": 2 } } } })).expect("good");
        let short = json!({ "retry": { "busyAfter": "7m" } });
        let (after, what) = edited(&twice, short.as_object().expect("an object")).expect("good");
        assert_eq!(busy(&after), Some(jiff::SignedDuration::from_mins(7)));
        assert_eq!(after.retry.again(Missed::Busy, 2, 2, 0.0), None, "as many as before");
        assert!(!what.is_empty());
        // What is taken away in the words that it is not kept in changes nothing.
        let monday = json!({ "window": { "spans": null, "start": "08:00" } });
        let (after, what) = edited(&windowed, monday.as_object().expect("an object")).expect("good");
        assert_ne!(after.window, windowed.window);
        assert_eq!(what, "window.start 09:00 → 08:00");
        let nothing = json!({ "retry": { "busyAfter": null } });
        assert_eq!(edited(&twice, nothing.as_object().expect("an object")), Ok((twice, String::new())));
        let new =
            json!({ "window": { "start": "09:00", "end": "17:00", "timezone": "UTC", "holidays": null } });
        assert!(edit(new).is_ok());
        // What a setting is reset to is told, though nobody named it.
        let nine = json!({ "retry": { "busyAfter": "9m" } });
        let (nine, _) = edit(nine).expect("good");
        let reset = json!({ "retry": { "outcomes": null }, "maxConcurrency": 5 });
        let (after, what) = edited(&nine, reset.as_object().expect("an object")).expect("good");
        assert_eq!(busy(&after), Some(jiff::SignedDuration::from_mins(15)), "as without a word");
        assert!(what.contains("maxConcurrency 20 → 5") && what.contains("retry.busyAfter"), "{what}");
        for (patch, part) in [
            (json!({ "assistantId": "b" }), "assistantId cannot be changed"),
            (json!({ "maxDurationSeconds": 60 }), "maxDurationSeconds cannot be changed"),
            (json!({ "id": "d" }), "id cannot be changed"),
            (json!({ "maxConcurrency": 0 }), "zero"),
            (json!({ "retry": { "maxAttempts": 21 } }), "1 to 20"),
            (json!({ "speed": 3 }), "unknown field"),
            (json!({ "priority": "urgent" }), "emergency"),
        ] {
            let error = edit(patch.clone()).expect_err("refused").to_string();
            assert!(error.contains(part), "{patch}: {error}");
        }
    }

    #[test]
    fn an_act_is_cut_to_what_is_kept() {
        let act = Act::new(Timestamp::UNIX_EPOCH, &"x".repeat(200), "a\nb");
        assert_eq!((act.by.len(), act.what.as_str()), (80, "ab"));
    }
}

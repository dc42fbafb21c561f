//! What is told to others: that a campaign started, was paused, finished; that a lead is over, and how.
//!
//! An event has an id. It may be told more than once, and has the same id each time. No event has a phone number in it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::campaign::CampaignState;
use super::ids::{CampaignCode, CampaignId, LeadId, PhoneNumber};
use super::lead::{Lead, LeadState};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Told again, it is the same.
    pub id: String,
    /// When it happened; for the end of a lead, when it was told.
    pub at: Timestamp,
    /// The campaign.
    pub campaign: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum What {
    /// Its leads are called from now on.
    #[serde(rename = "campaign.started")]
    Started {
        /// Who started it; nobody if it began as its message came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Nobody is dialed.
    #[serde(rename = "campaign.paused")]
    Paused {
        /// Why.
        reason: String,
        /// Who paused it; nobody if Headroom did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Its leads are called again.
    #[serde(rename = "campaign.resumed")]
    Resumed {
        /// Who resumed it; nobody if leads came to one that was finished.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Nobody is dialed any more, ever; calls go on.
    #[serde(rename = "campaign.cancelled")]
    Cancelled {
        /// By whom.
        by: String,
    },
    /// Those whom it did not reach are called again.
    #[serde(rename = "campaign.rerun")]
    Rerun {
        /// By whom.
        by: String,
    },
    /// Every lead is over.
    #[serde(rename = "campaign.finished")]
    Finished {
        /// `finished` or `cancelled`.
        state: String,
        /// All leads.
        leads: u32,
        /// Reached.
        done: u32,
        /// Not.
        failed: u32,
    },
    /// A lead is over.
    #[serde(rename = "lead.ended")]
    LeadEnded {
        /// The user's id for it; left out where that is its number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lead: Option<String>,
        /// Headroom's own short reference to it, in its campaign.
        reference: String,
        /// `done` or `failed`.
        outcome: String,
        /// Why its last call ended, or why there was none.
        reason: String,
        /// Counted attempts.
        attempts: u32,
        /// Vapi's id of its last call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
    },
}

impl What {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "campaign.started",
            Self::Paused { .. } => "campaign.paused",
            Self::Resumed { .. } => "campaign.resumed",
            Self::Cancelled { .. } => "campaign.cancelled",
            Self::Rerun { .. } => "campaign.rerun",
            Self::Finished { .. } => "campaign.finished",
            Self::LeadEnded { .. } => "lead.ended",
        }
    }

    /// What a person's change of a campaign is told as; nothing if it is none that others need to know.
    pub fn of_change(from: &CampaignState, to: &CampaignState, by: &str) -> Option<Self> {
        let by = by.to_owned();
        match to {
            CampaignState::Running if *from == CampaignState::Draft => Some(Self::Started { by: Some(by) }),
            CampaignState::Running => Some(Self::Resumed { by: Some(by) }),
            CampaignState::Paused { reason, .. } => {
                Some(Self::Paused { reason: reason.clone(), by: Some(by) })
            }
            CampaignState::Cancelling => Some(Self::Cancelled { by }),
            CampaignState::Rerunning { .. } => Some(Self::Rerun { by }),
            CampaignState::Draft | CampaignState::Cancelled | CampaignState::Finished => None,
        }
    }
}

impl Event {
    /// The event as it is told, in JSON.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and instants are JSON")
    }

    /// Of a campaign, at an instant: no two of one name happen to it in the same millisecond.
    pub fn of_campaign(code: &CampaignCode, id: &CampaignId, at: Timestamp, what: What) -> Self {
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        Self {
            id: format!("{}/{}/{}", what.name(), code.as_str(), at.as_millisecond()),
            at,
            campaign: id.as_str().to_owned(),
            what,
        }
    }

    /// The end of a lead; nothing if it is not over. The number of its claims is part of the id: a lead that is called
    /// again in a rerun ends under another one.
    pub fn of_lead(lead: &Lead, campaign: &CampaignId, now: Timestamp) -> Option<Self> {
        let (LeadState::Done { reason } | LeadState::Failed { reason }) = &lead.state else { return None };
        let what = What::LeadEnded {
            lead: shown(&lead.id, &lead.number),
            reference: lead.lead.as_str().to_owned(),
            outcome: lead.state.name().to_owned(),
            reason: reason.clone(),
            attempts: lead.attempts,
            call_id: lead.call.as_ref().map(|call| call.as_str().to_owned()),
        };
        let id = format!("{}/{}", what.name(), lead.claim());
        Some(Self { id, at: now, campaign: campaign.as_str().to_owned(), what })
    }
}

/// Fewer digits than this, at the end of a number, say nobody's.
const LEAST_DIGITS: usize = 7;

/// The id of a lead, unless it is its number, in whatever way that is written.
fn shown(id: &LeadId, number: &PhoneNumber) -> Option<String> {
    let digits: String = id.as_str().chars().filter(char::is_ascii_digit).collect();
    let national = digits.trim_start_matches('0');
    let is_number = national.len() >= LEAST_DIGITS && number.reveal().ends_with(national);
    (!is_number).then(|| id.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::LeadRef;
    use crate::core::retry::Tried;

    fn lead(id: &str, state: LeadState) -> Lead {
        let id: LeadId = id.parse().expect("an id");
        Lead {
            campaign: "abcde".parse().expect("a code"),
            lead: LeadRef::of(&id),
            id,
            number: "+14155550100".parse().expect("a number"),
            name: Some("Ada".into()),
            timezone: None,
            variables: Some(r#"{"plan":"gold"}"#.into()),
            state,
            token: None,
            call: Some("call-1".parse().expect("an id")),
            figures: None,
            claims: 3,
            attempts: 2,
            tried: Tried::default(),
            spared: 0,
            callbacks: Default::default(),
            lane: Default::default(),
        }
    }

    fn told(id: &str, state: LeadState) -> Option<Event> {
        Event::of_lead(&lead(id, state), &"may".parse().expect("an id"), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_end_of_a_lead_says_how_and_nothing_about_the_person() {
        let done = || LeadState::Done { reason: "customer-ended-call".into() };
        let event = told("crm-123", done()).expect("over");
        let json = serde_json::to_string(&event).expect("JSON");
        assert_eq!(
            json,
            format!(
                r#"{{"id":"lead.ended/abcde{0}3","at":"1970-01-01T00:00:00Z","campaign":"may","type":"lead.ended","lead":"crm-123","reference":"{0}","outcome":"done","reason":"customer-ended-call","attempts":2,"callId":"call-1"}}"#,
                lead("crm-123", done()).lead.as_str()
            )
        );
        assert_eq!(serde_json::from_str::<Event>(&json).expect("reads back"), event);
        for id in ["+14155550100", "14155550100", "(415) 555-0100", "crm-14155550100", "04155550100"] {
            let Ok(id) = id.replace(' ', "").parse::<LeadId>() else { panic!("{id}") };
            let json = serde_json::to_string(&told(id.as_str(), done())).expect("JSON");
            assert!(
                !json.contains("5550100") && !json.contains("555-0100") && !json.contains("Ada"),
                "{json}"
            );
        }
        for id in ["crm-1234567", "100", "5550100-x-5550199"] {
            let json = serde_json::to_string(&told(id, done())).expect("JSON");
            assert!(json.contains(id), "{json}");
        }
        assert_eq!(told("crm-123", LeadState::Ready), None);
    }

    #[test]
    fn events_of_campaigns_read_back_and_are_known_by_their_instant() {
        let code = "abcde".parse().expect("a code");
        let id = "may".parse().expect("an id");
        let paused = CampaignState::Paused { reason: "lunch".into(), by: Some("ada".into()), at: None };
        let (draft, running) = (CampaignState::Draft, CampaignState::Running);
        for (from, to, name) in [
            (&draft, &running, Some("campaign.started")),
            (&running, &paused, Some("campaign.paused")),
            (&paused, &running, Some("campaign.resumed")),
            (&paused, &CampaignState::Cancelling, Some("campaign.cancelled")),
            (&running, &CampaignState::Finished, None),
        ] {
            let what = What::of_change(from, to, "ada");
            assert_eq!(what.as_ref().map(What::name), name);
            let Some(what) = what else { continue };
            let at = Timestamp::from_microsecond(1_234_567).expect("in range");
            let event = Event::of_campaign(&code, &id, at, what);
            assert_eq!(event.id, format!("{}/abcde/1234", name.unwrap_or_default()));
            let json = serde_json::to_string(&event).expect("JSON");
            assert!(json.contains(&format!(r#""type":"{}""#, event.what.name())), "{json}");
            assert_eq!(serde_json::from_str::<Event>(&json).expect("reads back"), event);
        }
    }
}

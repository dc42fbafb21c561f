//! The items and the messages that promises are checked on, as much of them as the checks need. Read
//! anew from DynamoDB's own JSON: nothing here shares code with the table module.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// The ledger, as the item says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    pub(crate) limit: i64,
    pub(crate) cap: i64,
    pub(crate) headroom: i64,
    pub(crate) total: i64,
    pub(crate) outbound: i64,
    pub(crate) foreign: i64,
    pub(crate) inbound: i64,
    pub(crate) web: i64,
    /// Outbound rests until then, in milliseconds of the Unix epoch.
    pub(crate) rest_until: i64,
    /// Line key → token.
    pub lines: BTreeMap<String, String>,
    /// Campaign code → held, done, failed.
    pub(crate) campaigns: BTreeMap<String, (i64, i64, i64)>,
}

/// A lead, as the item says.
#[derive(Debug, Clone, PartialEq)]
pub struct Lead {
    /// Where it is.
    pub state: String,
    pub(crate) claims: i64,
    pub(crate) attempts: i64,
    pub(crate) token: Option<String>,
}

/// A campaign, as the item says.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignSeen {
    /// Where it is.
    pub state: String,
    pub(crate) leads: Option<i64>,
    pub(crate) done: i64,
    pub(crate) failed: i64,
}

/// What a server message says, as much as is checked and shown.
#[derive(Debug, Clone)]
pub struct Said {
    /// The call.
    pub call: String,
    /// Whether it says that the call is over.
    pub ended: bool,
    text: String,
}

impl Said {
    /// What a body says.
    pub fn of(body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = &json["message"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, status) = (text(&message["type"]), text(&message["status"]));
        let call = text(&message["call"]["id"]);
        let whose = message["call"]["name"].as_str().unwrap_or(&call);
        let reason = text(&message["endedReason"]);
        let text = format!("{kind} {status} {reason} of {whose}").replace("  ", " ");
        Self { ended: status == "ended" || kind == "end-of-call-report", call, text }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub(crate) fn number(item: &Value, name: &str) -> i64 {
    item[name]["N"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

pub(crate) fn text(item: &Value, name: &str) -> Option<String> {
    item[name]["S"].as_str().map(str::to_owned)
}

impl Ledger {
    pub(crate) fn of(item: &Value) -> Self {
        let map = |name: &str| item[name]["M"].as_object().cloned().unwrap_or_default();
        Self {
            limit: number(item, "lim"),
            cap: number(item, "cap"),
            headroom: number(item, "hroom"),
            total: number(item, "ntot"),
            outbound: number(item, "nout"),
            foreign: number(item, "nfrn"),
            inbound: number(item, "ninb"),
            web: number(item, "nweb"),
            rest_until: number(item, "rest_until"),
            lines: map("lns")
                .into_iter()
                .map(|(key, token)| (key, token["S"].as_str().unwrap_or_default().to_owned()))
                .collect(),
            campaigns: map("cmp")
                .into_iter()
                .map(|(code, tally)| {
                    let tally = &tally["M"];
                    (code, (number(tally, "h"), number(tally, "d"), number(tally, "f")))
                })
                .collect(),
        }
    }

    /// The lines that were not there before.
    pub(crate) fn new_since<'a>(&'a self, before: &'a Self) -> Vec<(&'a String, &'a String)> {
        self.lines.iter().filter(|(key, _)| !before.lines.contains_key(*key)).collect()
    }
}

impl Lead {
    pub(crate) fn of(item: &Value) -> Self {
        Self {
            state: text(item, "st").unwrap_or_default(),
            claims: number(item, "claims"),
            attempts: number(item, "att"),
            token: text(item, "tok"),
        }
    }

    /// Whether it has its final outcome.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "done" | "failed")
    }

    /// Whether a claim of it holds a line.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.is_over() && self.state != "ready"
    }

    /// Whether it is not known what came of its dial.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.state.as_str(), "dialing" | "unknown")
    }

    /// The key of its latest claim's line.
    pub(crate) fn line(&self, code: &str, reference: &str) -> String {
        format!("{code}{reference}{}", self.claims)
    }
}

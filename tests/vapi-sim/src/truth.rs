//! What really happened, for tests to compare with what the system under test believes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A snapshot of what really happened. Moments are wall epoch milliseconds with fractions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Truth {
    /// The limit now.
    pub lines: u32,
    /// The lines held now.
    pub live: LinesHeld,
    /// The lines held now as Vapi counts them: more than `live` while its counter lags behind.
    pub counted: u32,
    /// The same as `live` by org by org, the main one first.
    pub orgs: Vec<OrgLines>,
    /// Most lines ever held at once.
    pub peak_lines: u32,
    /// Most lines ever held by outbound calls at once.
    pub peak_outbound: u32,
    /// People who called in, blocked or not.
    pub callers: u64,
    /// Callers who heard a busy signal because every line was taken.
    pub blocked_inbound: u64,
    /// Those of them who were blocked while at least one outbound call was up.
    pub blocked_inbound_while_outbound_live: u64,
    /// Web calls that found no line.
    pub blocked_web: u64,
    /// Callers turned away by the server's answer to `assistant-request`, or by the lack of one.
    pub refused_by_us: u64,
    /// Every `assistant-request` sent.
    pub assistant_requests: u64,
    /// `POST /call` requests that arrived with a valid key and a valid body.
    pub posts: u64,
    /// Those of them that found every line taken.
    pub over_limit_answers: u64,
    /// What became of status updates and reports.
    pub webhooks: WebhookCounts,
    /// Customer number → how many calls were really made to it by `POST /call`. Here and below a call
    /// counts if it took a line: one that was only created to be ended over the limit rang nobody.
    pub dials: BTreeMap<String, u64>,
    /// Call `name` → how many calls were really made under it. More than one: one attempt dialled twice.
    pub dials_by_name: BTreeMap<String, u64>,
    /// Every call, in the order of creation.
    pub calls: Vec<CallTruth>,
    /// Every line taken and freed, in order.
    pub timeline: Vec<LineChange>,
    /// Every call that found no line, whoever wanted to make it.
    pub blocked: Vec<Blocked>,
}

impl Truth {
    /// The counts alone: each list and map, save that of the orgs, is replaced by its length.
    pub fn summary(&self) -> serde_json::Value {
        let mut summary =
            serde_json::to_value(self).expect("a truth holds only numbers, text and lists of them");
        for value in summary.as_object_mut().into_iter().flat_map(|truth| truth.iter_mut()) {
            match value {
                (name, list) if list.is_array() && name != "orgs" || name.starts_with("dials") => {
                    let length = list.as_array().map(Vec::len).or(list.as_object().map(serde_json::Map::len));
                    *list = length.into();
                }
                _ => {}
            }
        }
        summary
    }
}

/// What kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    /// Made by `POST /call`, or by an org itself.
    Outbound,
    /// Someone rang in.
    Inbound,
    /// Someone opened a web page.
    Web,
}

/// Lines held by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinesHeld {
    /// By outbound calls.
    pub outbound: u32,
    /// By inbound calls.
    pub inbound: u32,
    /// By web calls.
    pub web: u32,
}

impl LinesHeld {
    /// All lines held.
    pub fn total(self) -> u32 {
        self.outbound + self.inbound + self.web
    }

    pub(crate) fn of(&mut self, kind: CallKind) -> &mut u32 {
        match kind {
            CallKind::Outbound => &mut self.outbound,
            CallKind::Inbound => &mut self.inbound,
            CallKind::Web => &mut self.web,
        }
    }
}

/// Lines held by one org.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrgLines {
    /// The org.
    pub org_id: String,
    /// Its lines by kind.
    #[serde(flatten)]
    pub held: LinesHeld,
    /// Those of them whose calls were asked for by `POST /call` under a `name`, as Headroom asks for its own.
    pub named: u32,
}

/// One call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallTruth {
    /// Its id in the API.
    pub id: String,
    /// The org that it belongs to.
    pub org_id: String,
    /// Its kind.
    pub kind: CallKind,
    /// The far end, unless withheld.
    pub number: Option<String>,
    /// The `name` that the request gave.
    pub name: Option<String>,
    /// When the `POST`, the caller or the web page arrived.
    pub post_at_ms: f64,
    /// When it came to be, and took its line.
    pub created_at_ms: f64,
    /// When it connected.
    pub started_at_ms: Option<f64>,
    /// When it ended, and gave its line back.
    pub ended_at_ms: Option<f64>,
    /// Why.
    pub ended_reason: Option<String>,
    /// When the `ended` update was first sent; nothing if it was lost.
    pub ended_webhook_at_ms: Option<f64>,
    /// Whether an `ended` update was answered with 2xx.
    pub ended_webhook_accepted: bool,
    /// False for a call that was only created to be ended because of the limit: it never rang.
    pub held_line: bool,
    /// How many lines it takes if it holds any: two if it is a voice simulation.
    pub lines: u8,
}

/// The lines of one call, taken or freed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LineChange {
    /// When.
    pub at_ms: f64,
    /// By which kind of call.
    pub kind: CallKind,
    /// Lines taken, or less than zero: lines freed. One, or two of a voice simulation.
    pub delta: i8,
}

/// A call that found no line, and what held the lines then.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// When.
    pub at_ms: f64,
    /// Whose call it would have been.
    pub org_id: String,
    /// What kind of call.
    pub kind: CallKind,
    /// Lines that it would have taken.
    pub lines: u8,
    /// The limit then.
    pub limit: u32,
    /// The lines held as Vapi counted them: what kept it off the line.
    pub counted: u32,
    /// What really held the lines.
    #[serde(flatten)]
    pub held: LinesHeld,
    /// The same by org, the main one first.
    pub orgs: Vec<OrgLines>,
}

impl Blocked {
    /// Lines that calls held then which requests had asked for under a name, over all orgs.
    pub fn named(&self) -> u32 {
        self.orgs.iter().map(|org| org.named).sum()
    }
}

/// What became of status updates and reports. `assistant-request`s are not in here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookCounts {
    /// Requests sent; a doubled message counts twice.
    pub sent: u64,
    /// Messages never sent, on purpose.
    pub lost: u64,
    /// Messages sent twice, on purpose.
    pub doubled: u64,
    /// Messages held back, on purpose.
    pub late: u64,
    /// Requests that got no 2xx within 20 s. They are not repeated.
    pub failed: u64,
}

/// A call as it can be picked by: nothing is copied for those that are not.
#[derive(Clone, Copy, Debug)]
pub struct CallSeen<'a> {
    /// Vapi's id.
    pub id: uuid::Uuid,
    /// The name that it was asked for with.
    pub name: Option<&'a str>,
    /// Whom it calls.
    pub number: Option<&'a str>,
    /// Whether it ever held a line.
    pub held_line: bool,
    /// Whether it is not over yet.
    pub is_live: bool,
}

//! The items and the messages that promises are checked on, as much of them as the checks need. Read
//! anew from DynamoDB's own JSON: nothing here shares code with the table module.

use std::collections::BTreeMap;
use std::fmt;

use headroom::core::ids::NameCode;
use headroom::core::line::{LineKey, Token};
use serde_json::Value;

use crate::others::Estimate;

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
    /// Lines held beyond reserves.
    pub(crate) shared: i64,
    /// Reserve → lines held by its own calls.
    pub(crate) own: BTreeMap<String, i64>,
    /// What is reserved for whom.
    pub(crate) reserves: Vec<Reserved>,
    /// Outbound rests until then, in milliseconds of the Unix epoch.
    pub(crate) rest_until: i64,
    /// Lines that others are believed to use.
    pub(crate) unseen: Option<Estimate>,
    /// The organisation that the first key belongs to, and the limit that Vapi last told.
    pub(crate) org: Option<String>,
    pub(crate) seen: Option<i64>,
    /// Line key → token.
    pub lines: BTreeMap<String, String>,
    /// Campaign code → held, done, failed.
    pub(crate) campaigns: BTreeMap<String, (i64, i64, i64)>,
    /// Campaign code → how far it has come by its own pace.
    pub(crate) progress: BTreeMap<String, Progress>,
    /// Campaign code → the codes that its calls are known by.
    pub(crate) known: BTreeMap<String, Vec<String>>,
    /// What bounds some of the calls besides.
    pub(crate) quotas: Vec<Bounds>,
    /// Quota → the calls begun: the day, how many in it, the next instant in milliseconds.
    pub(crate) paces: BTreeMap<String, (i64, i64, i64)>,
    /// Agent → its lines by kind.
    pub(crate) by_agent: BTreeMap<String, Vec<i64>>,
    /// In the first of several items.
    pub(crate) whole: Option<Whole>,
}

/// How far a campaign has come by its own pace, as the item says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// The day, the calls in it, the next instant in milliseconds.
    pub(crate) pace: Option<(i64, i64, i64)>,
    /// The step, its beginning, and the calls ended, answered and broken before; empty without one.
    pub(crate) step: Vec<i64>,
    /// Calls ended, answered, broken.
    pub(crate) calls: [i64; 3],
}

impl Progress {
    fn of(tally: &Value) -> Self {
        let words = |name| -> Vec<i64> {
            let text = text(tally, name).unwrap_or_default();
            text.split_whitespace().map(|word| word.parse().unwrap_or(-1)).collect()
        };
        let pace = words("p");
        Self {
            pace: pace.get(2).map(|next| (pace[0], pace[1], *next)),
            step: words("r"),
            calls: ["n", "a", "x"].map(|name| number(tally, name)),
        }
    }
}

/// A quota, as the item says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bounds {
    /// Every code that it knows, its own the first.
    pub(crate) codes: Vec<String>,
    /// Most lines, calls per second, calls per day.
    pub(crate) most: [Option<i64>; 3],
}

impl Bounds {
    fn of(name: &str, text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let most = |nth: usize| words.get(nth).and_then(|word| word.parse().ok());
        let others = words.iter().skip(3).map(|code| (*code).to_owned());
        let codes = std::iter::once(NameCode::of(name).as_str().to_owned()).chain(others).collect();
        Self { codes, most: [most(0), most(1), most(2)] }
    }

    /// Where the ledger counts it.
    pub(crate) fn key(&self) -> String {
        format!("{}#", self.codes[0])
    }

    pub(crate) fn knows(&self, codes: &[String]) -> bool {
        codes.iter().any(|code| self.codes.contains(code))
    }
}

fn codes(text: &str) -> Vec<String> {
    text.as_bytes().chunks(3).map(|code| String::from_utf8_lossy(code).into_owned()).collect()
}

/// Agent → its lines by kind.
fn by_agent(reserves: &Value) -> BTreeMap<String, Vec<i64>> {
    let numbers = |text: &Value| {
        let words = text["S"].as_str().unwrap_or_default().split(' ').take(4);
        words.map(|word| word.parse().unwrap_or(-1)).collect()
    };
    let agents = reserves["M"].as_object().into_iter().flatten();
    agents.map(|(agent, text)| (agent.clone(), numbers(text))).collect()
}

/// What is reserved for one agent, as the item says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reserved {
    /// Every code that the agent is known by, its own the first.
    codes: Vec<String>,
    /// Kinds' letters and their lines; one with all the letters if they are pooled.
    lines: Vec<(&'static str, i64)>,
    is_pooled: bool,
}

impl Reserved {
    fn of(agent: &str, text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |nth: usize| words.get(nth).and_then(|word| word.parse().ok()).unwrap_or(-1);
        let is_pooled = words.get(4) == Some(&"pooled");
        let by_kind = vec![("i", number(0)), ("of", number(1)), ("w", number(2)), ("c", number(3))];
        let all = vec![("iofwc", by_kind.iter().map(|(_, lines)| lines).sum())];
        let own = NameCode::of(agent).as_str().to_owned();
        let others = words.iter().skip(5).map(|code| (*code).to_owned());
        Self {
            codes: std::iter::once(own).chain(others).collect(),
            lines: if is_pooled { all } else { by_kind },
            is_pooled,
        }
    }
}

/// A reserve that counts a line: its key on the ledger, and its size.
pub(crate) type Bucket = (String, i64);

impl Ledger {
    /// What the call is known by that holds a line: its token tells, or its campaign.
    pub(crate) fn codes(&self, key: &str, token: &str) -> Vec<String> {
        let kind = kind(token);
        // A capital is followed by the number of the item.
        let sharded = usize::from(!token.starts_with(kind));
        let bare = sharded + if kind == 'o' { 12 } else { 7 };
        let mut own = codes(token.get(bare..).unwrap_or_default());
        if let Some(known) = key.get(..5).filter(|_| is_claim(key)).and_then(|code| self.known.get(code)) {
            own.extend(known.iter().cloned());
        }
        own
    }

    /// The reserve that a line with this key and token counts for, if there is one.
    pub(crate) fn bucket(&self, key: &str, token: &str) -> Option<Bucket> {
        let kind = kind(token);
        let stands_for = |code: &String| self.reserves.iter().find(|reserved| reserved.codes.contains(code));
        let agent = self.codes(key, token).iter().find_map(stands_for)?;
        let (letters, lines) = agent.lines.iter().find(|(letters, _)| letters.contains(kind))?;
        let letter = if agent.is_pooled { "*" } else { &letters[..1] };
        (*lines > 0).then(|| (format!("{}{letter}", agent.codes[0]), *lines))
    }

    /// Lines reserved for all.
    pub(crate) fn reserved(&self) -> i64 {
        self.reserves.iter().flat_map(|reserved| &reserved.lines).map(|(_, lines)| lines).sum()
    }

    /// What the held lines come to: for each reserve and each quota, and beyond reserves.
    pub(crate) fn uses(&self) -> (BTreeMap<String, i64>, i64) {
        let (mut own, mut size, mut shared) = (BTreeMap::new(), BTreeMap::new(), 0);
        for (key, token) in &self.lines {
            let known = self.codes(key, token);
            for quota in self.quotas.iter().filter(|quota| quota.knows(&known)) {
                *own.entry(quota.key()).or_insert(0) += 1;
                size.insert(quota.key(), i64::MAX);
            }
            match self.bucket(key, token) {
                Some((key, lines)) => {
                    *own.entry(key.clone()).or_insert(0) += 1;
                    size.insert(key, lines);
                }
                None => shared += 1,
            }
        }
        shared += own.iter().map(|(key, held)| (held - size[key]).max(0)).sum::<i64>();
        (own, shared)
    }
}

/// The letter of the kind of call that a token is of.
pub(crate) fn kind(token: &str) -> char {
    token.chars().next().unwrap_or_default().to_ascii_lowercase()
}

/// What the items of a ledger of several are to have together, as the first one says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Whole {
    pub(crate) limit: i64,
    pub(crate) cap: i64,
    pub(crate) headroom: i64,
    pub(crate) reserves: BTreeMap<String, Vec<i64>>,
    pub(crate) items: i64,
}

/// A lead, as the item says.
#[derive(Debug, Clone, PartialEq)]
pub struct Lead {
    /// Where it is.
    pub state: String,
    /// The user's id for it.
    pub(crate) id: String,
    /// When its turn is, in microseconds of the Unix epoch.
    pub(crate) due_us: i64,
    pub(crate) claims: i64,
    pub(crate) attempts: i64,
    pub(crate) token: Option<String>,
    pub(crate) reason: Option<String>,
    /// Where in the index it is.
    pub(crate) queue: Option<String>,
}

/// A campaign, as the item says.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignSeen {
    /// Where it is.
    pub state: String,
    pub(crate) leads: Option<i64>,
    pub(crate) done: i64,
    pub(crate) failed: i64,
    /// Events that are still to be told.
    pub(crate) untold: usize,
}

/// What a server message says, as much as is checked and shown.
#[derive(Debug, Clone)]
pub struct Said {
    /// The call.
    pub call: String,
    /// Whether it says that the call is over.
    pub ended: bool,
    /// Whose call it is.
    pub org: String,
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
        let org = message["call"]["orgId"].as_str().unwrap_or_default().to_owned();
        Self { ended: status == "ended" || kind == "end-of-call-report", call, org, text }
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

/// A line's token as leads have it, from the ledger's packed form or from a lead's text.
pub(crate) fn token_text(value: &Value) -> String {
    let packed = value["B"].as_str().and_then(|packed| aws_smithy_types::base64::decode(packed).ok());
    let token = packed.and_then(|packed| Token::unpacked(&packed).ok());
    token
        .map_or_else(|| value["S"].as_str().unwrap_or_default().to_owned(), |token| token.as_str().to_owned())
}

/// Whether a line is held under a claim: that of a call which Headroom dials.
pub(crate) fn is_claim(key: &str) -> bool {
    matches!(key.parse(), Ok(LineKey::Claim(_)))
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
            shared: number(item, "nshr"),
            own: map("own")
                .into_iter()
                .map(|(key, held)| (key, held["N"].as_str().and_then(|n| n.parse().ok()).unwrap_or(-1)))
                .collect(),
            reserves: map("rsv")
                .into_iter()
                .map(|(agent, text)| Reserved::of(&agent, text["S"].as_str().unwrap_or_default()))
                .collect(),
            quotas: map("quo")
                .into_iter()
                .map(|(name, text)| Bounds::of(&name, text["S"].as_str().unwrap_or_default()))
                .collect(),
            paces: map("pace")
                .into_iter()
                .map(|(key, text)| {
                    let words = text["S"].as_str().unwrap_or_default().split(' ');
                    let words: Vec<i64> = words.map(|word| word.parse().unwrap_or(-1)).collect();
                    (key, (words[0], words[1], words[2]))
                })
                .collect(),
            progress: map("cmp").into_iter().map(|(code, tally)| (code, Progress::of(&tally["M"]))).collect(),
            known: map("cmp")
                .into_iter()
                .map(|(code, tally)| (code, codes(&text(&tally["M"], "k").unwrap_or_default())))
                .collect(),
            rest_until: number(item, "rest_until"),
            by_agent: by_agent(&item["rsv"]),
            whole: item["whole"]["M"].is_object().then(|| {
                let whole = &item["whole"]["M"];
                Whole {
                    limit: number(whole, "lim"),
                    cap: number(whole, "cap"),
                    headroom: number(whole, "hroom"),
                    reserves: by_agent(&whole["rsv"]),
                    items: number(whole, "items"),
                }
            }),
            unseen: text(item, "unseen").map(|text| Estimate::of(&text)),
            org: text(item, "org"),
            seen: item.get("seen").map(|_| number(item, "seen")),
            lines: map("lns").into_iter().map(|(key, token)| (key, token_text(&token))).collect(),
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
            id: text(item, "id").unwrap_or_default(),
            due_us: number(item, "due"),
            claims: number(item, "claims"),
            attempts: number(item, "att"),
            token: text(item, "tok"),
            reason: text(item, "reason"),
            queue: text(item, "q"),
        }
    }

    /// Whether it has its final outcome.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "done" | "failed")
    }

    /// Whether it ended with its campaign. The ledger does not count it.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.state == "failed" && self.reason.as_deref() == Some("cancelled")
    }

    /// Whether its end is still to be told.
    pub(crate) fn is_untold(&self) -> bool {
        self.queue.as_deref().is_some_and(|queue| queue.starts_with("E#"))
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

//! Reading calls back: one by id, or the recent ones as a list. Vapi's own word on what is live.

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::message::{person, wishes};
use super::{Vapi, VapiError, unreadable};
use crate::core::callback::Asked;
use crate::core::ids::{CallId, ClaimKey, NameCode, OrgId, PhoneNumber};
use crate::core::lead::End;
use crate::core::line::Kind;

/// A call as Vapi shows it, as much as Headroom uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its id.
    pub id: CallId,
    /// The organisation it belongs to.
    pub org: Option<OrgId>,
    /// Whose call it is by its type; outbound ones are foreign until a claim of ours is found.
    pub kind: Option<Kind>,
    /// What it is known by, the most telling first: squad, assistant, phone number.
    pub codes: Vec<NameCode>,
    /// The reservation that the call says it was made for. A claim, to be checked with the table.
    pub claim: Option<ClaimKey>,
    /// Vapi's status word.
    pub status: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it ended, if it has and Vapi says.
    pub ended: Option<Timestamp>,
    /// How long the two ends were connected, if it has ended and Vapi says.
    pub talk: Option<SignedDuration>,
    /// What is known of its end, for when the status says that it ended.
    pub end: End,
    /// What its person said of being called again, if the analysis of the call tells.
    pub wishes: Option<Box<Wishes>>,
}

/// What a person said in a call of being called again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wishes {
    /// Their number, where it is told.
    pub person: Option<PhoneNumber>,
    /// Whether they do not want to be called any more.
    pub refuses: bool,
    /// When they want to be called again.
    pub calls_back: Option<Asked>,
}

impl Call {
    /// Whether Vapi says that the call is over. `ended` is the only status that does.
    pub fn has_ended(&self) -> bool {
        self.status == "ended"
    }

    /// Whether the call holds a line. A scheduled one does not yet; not-found and statuses that
    /// nobody documents are no proof of anything.
    pub fn is_live(&self) -> bool {
        is_live_status(&self.status)
    }
}

/// Whether a status says that the call holds a line.
pub(super) fn is_live_status(status: &str) -> bool {
    matches!(status, "queued" | "ringing" | "in-progress" | "forwarding")
}

/// The call object of Vapi's API and of its webhooks. Everything may be absent or of another
/// type, but for the id.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawCall<'a> {
    pub(super) id: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) org_id: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "text")]
    pub(super) kind: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) created_at: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) started_at: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) ended_at: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) ended_reason: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) phone_number_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    assistant_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    squad_id: Option<String>,
    #[serde(borrow)]
    pub(super) customer: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    assistant_overrides: Option<&'a RawValue>,
    #[serde(borrow)]
    analysis: Option<&'a RawValue>,
}

/// From when the far end was connected until the end: none if it never was, nothing if there is no telling.
pub(super) fn talk(started: Option<&str>, ended: Option<&str>) -> Option<SignedDuration> {
    let ended: Timestamp = ended?.parse().ok()?;
    let Some(started) = started else { return Some(SignedDuration::ZERO) };
    let talk = ended.duration_since(started.parse().ok()?);
    (!talk.is_negative() && talk <= LONGEST_TALK).then_some(talk)
}

/// More than Vapi lets any call last.
const LONGEST_TALK: SignedDuration = SignedDuration::from_hours(24);

/// A text, or nothing for whatever is no text.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw = <Option<&RawValue>>::deserialize(deserializer)?;
    Ok(raw.and_then(|raw| serde_json::from_str(raw.get()).ok()))
}

/// Most characters of an ended reason that are kept. The longest known one has about half as many;
/// it is stored in two items, and one that fits no item would never let its line go.
const REASON_LEN: usize = 256;

/// The reason of an end, cut short if it can be none.
pub(super) fn reason(text: Option<String>) -> Option<String> {
    text.map(|text| match text.char_indices().nth(REASON_LEN) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    })
}

/// Reads a JSON object. Anything else is refused: serde would take a list for a struct, by position.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, serde_json::Error> {
    if json.trim_start().starts_with('{') {
        serde_json::from_str(json)
    } else {
        Err(serde::de::Error::custom("not a JSON object"))
    }
}

impl RawCall<'_> {
    /// The kind that Vapi's call type names.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self.kind.as_deref()? {
            "inboundPhoneCall" => Some(Kind::Inbound),
            "outboundPhoneCall" => Some(Kind::Foreign),
            "webCall" | "vapi.websocketCall" => Some(Kind::Web),
            _ => None,
        }
    }

    /// The call's squad and its assistant, as far as it has them.
    pub(super) fn assistants(&self) -> Vec<NameCode> {
        [&self.squad_id, &self.assistant_id].into_iter().flatten().map(|id| NameCode::of(id)).collect()
    }

    /// The reservation the call carries: in `metadata`, in the overrides' metadata, or as its name.
    /// The overrides come first, since only they are in Vapi's schema; they all are just claims.
    pub(super) fn claims(&self) -> Vec<ClaimKey> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            #[serde(default, deserialize_with = "text")]
            reservation_id: Option<String>,
        }
        #[derive(Deserialize)]
        struct Overrides<'a> {
            #[serde(borrow)]
            metadata: Option<&'a RawValue>,
        }
        let reservation = |raw: Option<&RawValue>| object::<Metadata>(raw?.get()).ok()?.reservation_id;
        let in_overrides = self
            .assistant_overrides
            .and_then(|raw| object::<Overrides<'_>>(raw.get()).ok())
            .and_then(|overrides| reservation(overrides.metadata));
        let mut claims: Vec<ClaimKey> = [in_overrides, reservation(self.metadata), self.name.clone()]
            .into_iter()
            .flatten()
            .filter_map(|text| text.parse().ok())
            .collect();
        claims.dedup();
        claims
    }

    fn read(&self) -> Option<Call> {
        Some(Call {
            id: self.id.parse().ok()?,
            org: self.org_id.as_deref().and_then(|org| org.parse().ok()),
            kind: self.kind(),
            codes: {
                let number = self.phone_number_id.iter().map(|number| NameCode::of(number));
                self.assistants().into_iter().chain(number).collect()
            },
            claim: self.claims().into_iter().next(),
            status: self.status.clone().unwrap_or_default(),
            created: self.created_at.as_deref().and_then(|at| at.parse().ok()),
            ended: self.ended_at.as_deref().and_then(|at| at.parse().ok()),
            talk: talk(self.started_at.as_deref(), self.ended_at.as_deref()),
            end: End {
                reason: reason(self.ended_reason.clone()),
                connected: Some(self.started_at.is_some()),
            },
            wishes: Some(wishes(person(self.customer), self.analysis))
                .filter(|wishes| wishes.refuses || wishes.calls_back.is_some())
                .map(Box::new),
        })
    }
}

/// What the list of recent calls showed.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The calls, in no order. One that could not be read is left out.
    pub calls: Vec<Call>,
    /// Whether every call created since the asked instant is among them.
    pub complete: bool,
}

impl Listing {
    /// When the newest of the listed calls was created.
    pub fn newest(&self) -> Option<Timestamp> {
        self.calls.iter().filter_map(|call| call.created).max()
    }
}

/// Calls asked for at once. Vapi gives up to 1,000, but each comes with its transcript.
const PAGE: usize = 200;
/// Most pages read in one go: a bound on time and money, not on truth (see [`Listing::complete`]).
const PAGES: usize = 15;

impl Vapi {
    /// The call `id`, or `None` where Vapi says that there is none (which is no proof: it says so of
    /// calls that are just being made, too).
    pub async fn get_call(&self, id: &CallId) -> Result<Option<Call>, VapiError> {
        const REQUEST: &str = "GET /call/{id}";
        match self.read::<Box<RawValue>>(REQUEST, Method::GET, &format!("/call/{id}"), None).await {
            Ok(raw) => {
                let call: RawCall<'_> = object(raw.get()).map_err(|error| unreadable(REQUEST, &error))?;
                Ok(call.read())
            }
            Err(VapiError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The calls created since `since`, up to 3,000 of them.
    ///
    /// Vapi has no cursor and promises no order, so pages are cut by creation time on the side
    /// that the page before reached to.
    pub async fn list_calls(&self, since: Timestamp) -> Result<Listing, VapiError> {
        const REQUEST: &str = "GET /call";
        let mut listing = Listing { calls: Vec::new(), complete: false };
        let (mut from, mut until) = (since, None::<Timestamp>);
        for _ in 0..PAGES {
            let mut path = format!("/call?limit={PAGE}&createdAtGe={from}");
            if let Some(until) = until {
                path.push_str(&format!("&createdAtLe={until}"));
            }
            let raw: Vec<Box<RawValue>> = self.read(REQUEST, Method::GET, &path, None).await?;
            let page: Vec<Call> =
                raw.iter().filter_map(|raw| object::<RawCall<'_>>(raw.get()).ok()?.read()).collect();
            let times = || page.iter().filter_map(|call| call.created);
            let (first, last) = (times().next(), times().next_back());
            let (oldest, newest) = (times().min(), times().max());
            listing
                .calls
                .extend(page.iter().filter(|call| call.created.is_none_or(|at| at >= since)).cloned());
            // More than asked for: whoever answers has no pages.
            if raw.len() != PAGE {
                listing.complete = true;
                break;
            }
            // Newest first: go on below the oldest seen; oldest first: above the newest.
            let before = (from, until);
            if first >= last {
                until = oldest
            } else {
                from = newest.unwrap_or(from)
            }
            if before == (from, until) {
                break;
            }
        }
        let mut seen = std::collections::HashSet::new();
        listing.calls.retain(|call| seen.insert(call.id.clone()));
        Ok(listing)
    }
}

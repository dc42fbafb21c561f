//! Names of things: campaigns, leads and their claims, calls. Each constructor is the only check its value
//! ever needs, and no value of one kind can stand where another is meant.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Why a text is not the id it claims to be. Never carries the text itself, which may be hostile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct IdError {
    pub(super) what: &'static str,
    pub(super) problem: &'static str,
}

fn check(
    what: &'static str,
    text: &str,
    max: usize,
    allowed: impl Fn(char) -> bool,
    problem: &'static str,
) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError { what, problem: "is empty" });
    }
    if text.len() > max {
        return Err(IdError { what, problem: "is too long" });
    }
    if !text.chars().all(allowed) {
        return Err(IdError { what, problem });
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $allowed:expr, $problem:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check($what, text, $max, $allowed, $problem)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A campaign's id, chosen by the user: up to 64 printable characters without spaces.
    CampaignId,
    "campaign id",
    64,
    |c| c.is_ascii_graphic(),
    "has characters other than printable ASCII without spaces"
);
text_id!(
    /// A lead's id within its campaign, chosen by the user: up to 128 characters, no control characters.
    LeadId,
    "lead id",
    128,
    |c| !c.is_control(),
    "has control characters"
);
text_id!(
    /// Vapi's id of a call. A UUID in practice; anything that is safe inside a key is taken.
    CallId,
    "call id",
    64,
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
    "has characters other than letters, digits, - and _"
);
text_id!(
    /// Vapi's id of an organisation.
    OrgId,
    "organisation id",
    64,
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
    "has characters other than letters, digits, - and _"
);
text_id!(
    /// A further organisation's name, chosen by the user.
    OrgName,
    "organisation",
    64,
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
    "has characters other than letters, digits, - and _"
);
text_id!(
    /// A pool's name, chosen by the operator. One subscription is one pool.
    PoolId,
    "pool id",
    32,
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
    "has characters other than letters, digits, - and _"
);

text_id!(
    /// An agent's name, chosen by the user: the assistant or squad that a call starts with, or several.
    AgentName,
    "agent name",
    64,
    |c| !c.is_control(),
    "has control characters"
);

text_id!(
    /// A quota's name, chosen by the user: the trunk, the number or the organisation that it bounds.
    QuotaName,
    "quota name",
    64,
    |c| !c.is_control(),
    "has control characters"
);

impl AgentName {
    /// The code of the agent's name.
    pub fn code(&self) -> NameCode {
        NameCode::of(&self.0)
    }
}

impl OrgName {
    /// What the organisation of the first key is called where all are shown.
    pub const MAIN: &str = "main";

    /// The code of the organisation's name.
    pub fn code(&self) -> NameCode {
        NameCode::of(&self.0)
    }
}

impl QuotaName {
    /// The code of the quota's name.
    pub fn code(&self) -> NameCode {
        NameCode::of(&self.0)
    }
}

impl LeadId {
    /// The id of a lead whose message gives none: its number. Digits fit every rule of a lead id.
    pub fn from_number(number: &PhoneNumber) -> Self {
        Self(number.0.clone())
    }
}

/// A number in E.164 form: `+`, then 7 to 15 digits, the first not 0.
///
/// `Debug` and `Display` hide all but the last two digits: numbers are personal data and these
/// end up in logs. [`PhoneNumber::reveal`] is for the two places that need it, Vapi and the table.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// The whole number. Not for logs.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = IdError { what: "number", problem: "is not E.164 (+ and 7 to 15 digits)" };
        let digits = text.strip_prefix('+').ok_or_else(|| error.clone())?;
        let good = (7..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        if good { Ok(Self(text.to_owned())) } else { Err(error) }
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+…{}", &self.0[self.0.len() - 2..])
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first `len` base64url characters of a hash, as a short stable stand-in for a long name.
fn short_hash(parts: &[&str], len: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut text = URL_SAFE_NO_PAD.encode(hash.finalize());
    text.truncate(len);
    text
}

/// A campaign's short stand-in inside keys: 5 characters (30 bits) of a hash of its id.
///
/// The campaign's item is stored under it with a condition on the id, so two ids that meet in one
/// code are noticed when the second is taken in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CampaignCode(String);

/// A campaign message's short stand-in: 8 characters (48 bits) of a hash of its body. A message that
/// comes again has the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageCode(String);

/// A lead's short stand-in inside keys: 9 characters (54 bits) of a hash of its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeadRef(String);

/// A short stand-in inside tokens for what a call is known by: 3 characters (18 bits) of a hash of its agent's
/// name, or of the id of its assistant, squad, phone number or organisation. Two agents of one pool that meet in one
/// code are refused when they are configured, and so are two quotas.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameCode(String);

pub(super) const NAME_LEN: usize = 3;
const CODE_LEN: usize = 5;
const MESSAGE_LEN: usize = 8;
const REF_LEN: usize = 9;

impl CampaignCode {
    /// The code of a campaign id.
    pub fn of(id: &CampaignId) -> Self {
        Self(short_hash(&[id.as_str()], CODE_LEN))
    }
    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NameCode {
    /// The code of a name or an id.
    pub fn of(text: &str) -> Self {
        Self(short_hash(&[text], NAME_LEN))
    }
    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NameCode {
    /// Codes that stand one behind the other.
    pub fn split(text: &str) -> Result<Vec<Self>, IdError> {
        let mut rest = text;
        let mut codes = Vec::new();
        while !rest.is_empty() {
            let (code, behind) = rest.split_at_checked(NAME_LEN).unwrap_or((rest, ""));
            codes.push(code.parse()?);
            rest = behind;
        }
        Ok(codes)
    }
}

impl FromStr for NameCode {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() == NAME_LEN && is_base64url(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError { what: "code", problem: "is not 3 base64url characters" })
        }
    }
}

impl MessageCode {
    /// The code of a message's body.
    pub fn of(body: &[u8]) -> Self {
        let mut text = URL_SAFE_NO_PAD.encode(Sha256::digest(body));
        text.truncate(MESSAGE_LEN);
        Self(text)
    }
    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MessageCode {
    /// How long this message waits after it met another one for the `attempt`-th time: at least 10 ms,
    /// at most 40 ms more with each attempt. Each message has delays of its own, so that two that met
    /// do not meet again.
    pub fn conflict_delay(&self, attempt: u32) -> std::time::Duration {
        let sum = self.0.bytes().fold(attempt, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        std::time::Duration::from_millis(u64::from(10 + sum % (40 * attempt.max(1))))
    }
}

impl LeadRef {
    /// The reference of a lead id.
    pub fn of(id: &LeadId) -> Self {
        Self(short_hash(&[id.as_str()], REF_LEN))
    }
    /// The reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_base64url(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl FromStr for CampaignCode {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() == CODE_LEN && is_base64url(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError { what: "campaign code", problem: "is not 5 base64url characters" })
        }
    }
}

impl FromStr for LeadRef {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() == REF_LEN && is_base64url(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError { what: "lead reference", problem: "is not 9 base64url characters" })
        }
    }
}

/// One claim of one lead: what an outbound call's line is held under, and what Vapi is given as
/// `reservationId` and `name`.
///
/// A claim number is used for one dial at most (P3). Text form: code, reference, claim in decimal,
/// without separators, since both prefixes have a fixed width.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimKey {
    /// The lead's campaign.
    pub campaign: CampaignCode,
    /// The lead.
    pub lead: LeadRef,
    /// 1 for the lead's first claim.
    pub claim: u32,
}

impl ClaimKey {
    /// A fraction from 0 to below 1 of this claim's own, the same whenever it is asked for: it spreads out what would
    /// else happen together.
    pub fn spread(&self) -> f64 {
        let hash = Sha256::digest(self.to_string());
        f64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])) / (f64::from(u32::MAX) + 1.0)
    }
}

impl fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.campaign.0, self.lead.0, self.claim)
    }
}

impl FromStr for ClaimKey {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = |problem| IdError { what: "reservation id", problem };
        if !text.is_ascii() || text.len() <= CODE_LEN + REF_LEN || text.len() > CODE_LEN + REF_LEN + 9 {
            return Err(error("has not the length of one"));
        }
        let (code, rest) = text.split_at(CODE_LEN);
        let (lead, claim) = rest.split_at(REF_LEN);
        let digits = claim.bytes().all(|b| b.is_ascii_digit()) && !claim.starts_with('0');
        match claim.parse() {
            Ok(claim) if digits => Ok(Self { campaign: code.parse()?, lead: lead.parse()?, claim }),
            _ => Err(error("has no claim number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_e164_and_hidden_when_printed() {
        for good in ["+14155550100", "+4930123456", "+1234567", "+123456789012345"] {
            assert!(good.parse::<PhoneNumber>().is_ok(), "{good}");
        }
        for bad in ["", "+", "14155550100", "+0155550100", "+1415555010x", "+123456", "+1234567890123456"] {
            assert!(bad.parse::<PhoneNumber>().is_err(), "{bad}");
        }
        assert!("+1555555٠0100".parse::<PhoneNumber>().is_err(), "an Arabic-Indic digit is no ASCII digit");
        let number: PhoneNumber = "+14155550142".parse().expect("E.164");
        assert_eq!(format!("{number} {number:?}"), "+…42 +…42");
    }

    #[test]
    fn hostile_call_ids_do_not_construct() {
        for bad in ["", "x#SLOT#campaign-1\u{0}/../etc", "a b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<CallId>().is_err(), "{bad:?}");
        }
        assert!("call_kat123".parse::<CallId>().is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics_the_parsers(text in "\\PC{0,50}") {
            let _ = (text.parse::<ClaimKey>(), text.parse::<PhoneNumber>());
        }
    }
}

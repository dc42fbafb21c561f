//! A held line: what it is held under, for which kind of call, and the token that alone frees it, each with the short
//! spelling that it has on the ledger.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::ids::{CallId, ClaimKey, IdError, NAME_LEN, NameCode};

/// What a line is held under on the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LineKey {
    /// A call that Headroom dials or dialed.
    Claim(ClaimKey),
    /// A call that Headroom only observes: inbound, web, or somebody else's outbound.
    Observed(CallId),
}

/// The first digit of a packed call id, which is below 17: characters that no claim and no other call's key begins with.
const FIRST: &[u8; 17] = b"!#$%&()*+,./:;<=>";
/// Its other digits: all that is printed but a quotation mark and a backslash.
const PACKED: &[u8; 92] =
    b"!#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~";
const PACKED_LEN: usize = 20;

impl fmt::Display for LineKey {
    /// The ledger's short spelling: claims as they are, UUIDs packed into 20 characters, since every character is paid
    /// for in each write of the item, other call ids behind a `~`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(claim) => claim.fmt(f),
            Self::Observed(call) => match canonical_uuid(call.as_str()) {
                Some(uuid) => f.write_str(&packed(uuid)),
                None => write!(f, "~{call}"),
            },
        }
    }
}

/// The UUID that `text` is, if printing it again gives `text`: else packing would change the id.
fn canonical_uuid(text: &str) -> Option<uuid::Uuid> {
    let uuid = uuid::Uuid::parse_str(text).ok()?;
    (uuid.hyphenated().to_string() == text).then_some(uuid)
}

fn packed(uuid: uuid::Uuid) -> String {
    let mut rest = uuid.as_u128();
    let mut text = [b' '; PACKED_LEN];
    for place in text[1..].iter_mut().rev() {
        *place = PACKED[(rest % 92) as usize];
        rest /= 92;
    }
    text[0] = FIRST[rest as usize];
    text.iter().copied().map(char::from).collect()
}

fn unpacked(text: &str) -> Option<uuid::Uuid> {
    let (first, rest) = text.as_bytes().split_first()?;
    let place = |digits: &[u8], char: u8| digits.iter().position(|digit| *digit == char).map(|at| at as u128);
    let uuid = rest.iter().try_fold(place(FIRST, *first)?, |sum, char| {
        sum.checked_mul(92)?.checked_add(place(PACKED, *char)?)
    })?;
    (text.len() == PACKED_LEN).then(|| uuid::Uuid::from_u128(uuid))
}

impl FromStr for LineKey {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.as_bytes().first() {
            Some(b'~') => Ok(Self::Observed(text[1..].parse()?)),
            Some(first) if FIRST.contains(first) => match unpacked(text) {
                Some(uuid) => uuid.hyphenated().to_string().parse().map(Self::Observed),
                None => Err(IdError { what: "line key", problem: "is not a packed call id" }),
            },
            _ => Ok(Self::Claim(text.parse()?)),
        }
    }
}

/// What kind of call holds a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A caller.
    Inbound,
    /// A call that Headroom dialed.
    Outbound,
    /// An outbound call made by somebody else on the same subscription: the dashboard, another system.
    Foreign,
    /// A browser or websocket call.
    Web,
    /// A chat. Vapi counts no line for one and tells of none; reserves may be set for them.
    Chat,
}

impl Kind {
    /// All kinds, for tables and sums.
    pub const ALL: [Self; 5] = [Self::Inbound, Self::Outbound, Self::Foreign, Self::Web, Self::Chat];

    /// The kind's name in logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Foreign => "foreign",
            Self::Web => "web",
            Self::Chat => "chat",
        }
    }

    /// The kind's letter inside tokens and keys.
    pub(super) fn letter(self) -> char {
        match self {
            Self::Inbound => 'i',
            Self::Outbound => 'o',
            Self::Foreign => 'f',
            Self::Web => 'w',
            Self::Chat => 'c',
        }
    }
}

/// Proof of one taking of one line: kind, instant, for dials five random characters, and the codes that the call is
/// known by, as far as they are not its campaign's.
///
/// Two dispatchers that meet at one lead in one hundredth of a second are told apart by these alone,
/// and what cannot be told apart would ring twice (P3): so 30 bits, at one byte of ledger for 6.
///
/// A line is freed only by the token it was taken with, so that a late or repeated release cannot
/// free what another took since. Text form: kind letter (see [`Token::in_shard`]), then the instant in hundredths
/// of a second since 2026 in 6 base-64 digits (enough for 21 years), then the random part, then the codes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(String);

/// 2026-01-01T00:00:00Z in epoch milliseconds: where a token's clock starts.
const TOKEN_EPOCH_MS: i64 = 1_767_225_600_000;
/// Random characters of a dial's token.
const NONCE_LEN: usize = 5;
/// Most codes of a token: an agent's, its number's, its organisation's, and one to spare.
const MOST_CODES: usize = 4;
/// A dial's token: the kind, the instant and those.
const LONG_TOKEN: usize = 1 + 6 + NONCE_LEN;
const DIGITS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// What a character stands for: 0 to 63.
fn digit(char: u8) -> u32 {
    DIGITS.iter().position(|digit| *digit == char).unwrap_or_default() as u32
}

impl Token {
    /// A token for a line taken at `now`; `nonce` (30 bits of it) tells two takings at one instant apart.
    pub fn new(kind: Kind, now: Timestamp, nonce: u32) -> Self {
        let centis = ((now.as_millisecond() - TOKEN_EPOCH_MS) / 10).max(0) as u64;
        let mut text = String::with_capacity(LONG_TOKEN);
        text.push(kind.letter());
        for place in (0..6).rev() {
            text.push(DIGITS[(centis >> (6 * place)) as usize & 63] as char);
        }
        if kind == Kind::Outbound {
            for place in 0..NONCE_LEN {
                text.push(DIGITS[(nonce >> (6 * place)) as usize & 63] as char);
            }
        }
        Self(text)
    }

    /// The same for a call that is known by these codes, the first four of them.
    pub fn known_by<'a>(mut self, codes: impl IntoIterator<Item = &'a NameCode>) -> Self {
        self.0.truncate(self.bare_len());
        codes.into_iter().take(MOST_CODES).for_each(|code| self.0.push_str(code.as_str()));
        self
    }

    /// The codes that the call is known by.
    pub fn codes(&self) -> Vec<NameCode> {
        NameCode::split(&self.0[self.bare_len()..]).expect("a token ends with codes or does not construct")
    }

    /// The same for a line of another item of the ledger than the first: the kind's letter is a capital then,
    /// and the item's number follows it as one digit to the base 64. Tokens of the first are as they are.
    pub fn in_shard(mut self, shard: u8) -> Self {
        let kind = char::from(self.0.as_bytes()[0]).to_ascii_lowercase();
        self.0.drain(..self.head_len());
        let digit = char::from(DIGITS[usize::from(shard) & 63]);
        let head =
            if shard == 0 { kind.to_string() } else { format!("{}{digit}", kind.to_ascii_uppercase()) };
        self.0.insert_str(0, &head);
        self
    }

    /// Which item of the ledger the line is on, from 0.
    pub fn shard(&self) -> u8 {
        self.0.as_bytes()[..self.head_len()].get(1).map_or(0, |char| digit(*char) as u8)
    }

    /// Kind and shard.
    fn head_len(&self) -> usize {
        if self.0.as_bytes()[0].is_ascii_uppercase() { 2 } else { 1 }
    }

    /// Without the codes.
    fn bare_len(&self) -> usize {
        let long = if self.kind() == Kind::Outbound { LONG_TOKEN } else { LONG_TOKEN - NONCE_LEN };
        long - 1 + self.head_len()
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The token as the ledger keeps it, six bits to a character: each write of the ledger is paid by the bytes of all
    /// its lines.
    pub fn packed(&self) -> Vec<u8> {
        let quarter = |chars: &[u8]| {
            let bits = chars.iter().fold(0_u32, |bits, char| (bits << 6) | digit(*char));
            let [_, bytes @ ..] = (bits << (6 * (4 - chars.len()))).to_be_bytes();
            bytes.into_iter().take((6 * chars.len()).div_ceil(8))
        };
        self.0.as_bytes().chunks(4).flat_map(quarter).collect()
    }

    /// The token that is packed so.
    pub fn unpacked(bytes: &[u8]) -> Result<Self, IdError> {
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte));
            let bits = bits << (8 * (3 - chunk.len()));
            for place in (0..4).rev().take(8 * chunk.len() / 6) {
                text.push(DIGITS[(bits >> (6 * place)) as usize & 63] as char);
            }
        }
        // Three bytes are four characters or three: only one of the two has a token's length.
        let token = text.parse::<Self>().or_else(|error| {
            text.pop();
            text.parse().map_err(|_| error)
        })?;
        if token.packed() == bytes {
            Ok(token)
        } else {
            Err(IdError { what: "line token", problem: "has bits to spare" })
        }
    }

    /// Which kind of call took the line.
    pub fn kind(&self) -> Kind {
        match self.0.as_bytes()[0].to_ascii_lowercase() {
            b'i' => Kind::Inbound,
            b'o' => Kind::Outbound,
            b'f' => Kind::Foreign,
            b'c' => Kind::Chat,
            _ => Kind::Web,
        }
    }

    /// When the line was taken, to a hundredth of a second, rounded down.
    pub fn since(&self) -> Timestamp {
        let digits = &self.0.as_bytes()[self.head_len()..][..6];
        let centis = digits.iter().fold(0_i64, |sum, char| (sum << 6) | i64::from(digit(*char)));
        Timestamp::from_millisecond(TOKEN_EPOCH_MS + centis * 10)
            .expect("36 bits of hundredths of a second after 2026 are within the range of a timestamp")
    }
}

impl FromStr for Token {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = IdError { what: "line token", problem: "is not a kind, 6 digits, a nonce and codes" };
        let bytes = text.as_bytes();
        let long = match bytes.first().map(u8::to_ascii_lowercase) {
            Some(b'o') => LONG_TOKEN,
            Some(b'i' | b'f' | b'w' | b'c') => LONG_TOKEN - NONCE_LEN,
            _ => return Err(error),
        };
        let is_sharded = bytes[0].is_ascii_uppercase();
        if is_sharded && bytes.get(1) == Some(&DIGITS[0]) {
            return Err(error);
        }
        let long = long + usize::from(is_sharded);
        let codes = bytes.len().saturating_sub(long);
        let fits = bytes.len() >= long && codes % NAME_LEN == 0 && codes <= MOST_CODES * NAME_LEN;
        if fits && bytes[1..].iter().all(|b| DIGITS.contains(b)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(error)
        }
    }
}

/// A held line: what it is held under, and the token that frees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// What the line is held under.
    pub key: LineKey,
    /// What it was taken with.
    pub token: Token,
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::core::ids::{CampaignCode, LeadRef};

    #[test]
    fn a_uuid_is_packed_only_if_it_unpacks_to_the_same_text() {
        let upper: CallId = "019D2AD0-6EB1-7AAC-9377-0000000000A1".parse().expect("an id");
        let key = LineKey::Observed(upper);
        assert_eq!(key.to_string().parse::<LineKey>(), Ok(key));
    }

    proptest! {
        #[test]
        fn line_keys_survive_their_text_form(code in "[ -~]{1,64}", lead in "[a-zé+]{1,40}", claim in 1_u32..=999_999_999,
                                             call in "[A-Za-z0-9_-]{1,64}", uuid in any::<u128>()) {
            let code = code.replace(' ', "x").parse().expect("a campaign id");
            let lead = lead.parse().expect("a lead id");
            let keys = [
                LineKey::Claim(ClaimKey { campaign: CampaignCode::of(&code), lead: LeadRef::of(&lead), claim }),
                LineKey::Observed(call.parse().expect("a call id")),
                LineKey::Observed(uuid::Uuid::from_u128(uuid).to_string().parse().expect("a call id")),
            ];
            for key in keys {
                prop_assert_eq!(key.to_string().parse::<LineKey>(), Ok(key));
            }
        }

        #[test]
        fn tokens_keep_kind_and_instant(ms in TOKEN_EPOCH_MS..TOKEN_EPOCH_MS + 600_000_000_000, nonce: u32) {
            let now = Timestamp::from_millisecond(ms).expect("in range");
            for kind in Kind::ALL {
                let bare = Token::new(kind, now, nonce);
                prop_assert_eq!(bare.codes(), []);
                let codes: Vec<_> = (0..5).map(|n| NameCode::of(&format!("{nonce} {n}"))).collect();
                let one = bare.clone().known_by(&codes[..1]);
                prop_assert_eq!(one.codes(), &codes[..1]);
                let four = one.clone().known_by(&codes);
                prop_assert_eq!(four.codes(), &codes[..MOST_CODES]);
                for shard in [0, 1, 63] {
                    let sharded = four.clone().in_shard(63).in_shard(shard);
                    prop_assert_eq!((sharded.shard(), sharded.codes()), (shard, four.codes()));
                    prop_assert_eq!(sharded == four, shard == 0);
                    prop_assert_eq!(sharded.clone().in_shard(0), four.clone());
                    prop_assert_eq!(bare.clone().in_shard(shard).codes(), []);
                }
                for token in [bare.clone(), one, four.clone(), bare.in_shard(1), four.in_shard(63)] {
                    prop_assert_eq!(token.kind(), kind);
                    prop_assert!((0..10).contains(&(ms - token.since().as_millisecond())));
                    prop_assert_eq!(token.as_str().parse::<Token>(), Ok(token.clone()));
                    prop_assert_eq!(token.packed().len(), (token.as_str().len() * 6).div_ceil(8));
                    prop_assert_eq!(Token::unpacked(&token.packed()), Ok(token.clone()));
                }
            }
        }

        #[test]
        fn no_text_panics_the_parsers(text in "\\PC{0,50}") {
            let _ = (text.parse::<LineKey>(), text.parse::<Token>());
        }

        #[test]
        fn bytes_are_one_token_or_none(bytes in vec(any::<u8>(), 0..16)) {
            if let Ok(token) = Token::unpacked(&bytes) {
                prop_assert_eq!(token.packed(), bytes);
            }
        }
    }
}

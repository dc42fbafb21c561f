//! What a person is asked to bear: whether they may be called at all, and how often, whoever's campaign it is.
//!
//! Calls are counted over the last 24 hours and the last 30 days, each dial that may have rung. A retry counts like
//! any other call.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use super::ids::ClaimKey;

/// Most calls to one person, by all campaigns together, and how far apart those of two leads are; without limits calls are
/// not counted at all. Text form: `DAY/MONTH` or `DAY/MONTH/APART`, such as `3/20` or `3/20/24h`, either number `-` for as
/// many as there are; `none` for nothing of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Often {
    /// Within any 24 hours.
    pub per_day: Option<NonZeroU32>,
    /// Within any 30 days.
    pub per_month: Option<NonZeroU32>,
    /// From the call of one lead to that of another with the same number, of another campaign or of its own.
    pub apart: SignedDuration,
}

/// Why a text is no [`Often`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "most calls to one person are DAY/MONTH, such as 3/20, each 1 to {MOST} or -, or with how far apart two leads are, such \
     as 3/20/24h; or none"
)]
pub struct OftenError;

/// Most calls that a limit may allow: each is remembered with the person.
const MOST: u32 = 100;

impl FromStr for Often {
    type Err = OftenError;
    fn from_str(text: &str) -> Result<Self, OftenError> {
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        let (day, month) = text.trim().split_once('/').ok_or(OftenError)?;
        let (month, apart) =
            month.split_once('/').map_or((month, None), |(month, apart)| (month, Some(apart)));
        let apart = apart.map_or(Ok(APART), |text| text.trim().parse().map_err(|_| OftenError))?;
        if !(SignedDuration::ZERO..=MONTH).contains(&apart) {
            return Err(OftenError);
        }
        let most = |text: &str| match text.trim() {
            "-" => Ok(None),
            number => {
                number.parse().ok().filter(|most: &NonZeroU32| most.get() <= MOST).map(Some).ok_or(OftenError)
            }
        };
        Ok(Self { per_day: most(day)?, per_month: most(month)?, apart })
    }
}

impl fmt::Display for Often {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |most: Option<NonZeroU32>| most.map_or_else(|| "-".to_owned(), |most| most.to_string());
        write!(f, "{}/{}", text(self.per_day), text(self.per_month))?;
        if self.apart == APART { Ok(()) } else { write!(f, "/{:#}", self.apart) }
    }
}

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long a call to a person is remembered.
pub const MONTH: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Two leads with the same number are called at least so far apart if nobody says: not both at once, and not one right
/// after the other.
pub const APART: SignedDuration = SignedDuration::from_mins(5);

/// One dial to a person. Text form: epoch milliseconds, a colon, the claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialed {
    /// When.
    pub at: Timestamp,
    /// For which claim.
    pub claim: ClaimKey,
}

impl fmt::Display for Dialed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.at.as_millisecond(), self.claim)
    }
}

impl FromStr for Dialed {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, claim) = text.split_once(':').ok_or(())?;
        let at = at.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).ok_or(())?;
        Ok(Self { at, claim: claim.parse().map_err(|_| ())? })
    }
}

/// What is known of a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// They do not want to be called: since when, and who says so.
    pub refused: Option<Refused>,
    /// The dials to them of the last 30 days, the oldest first.
    pub dialed: Vec<Dialed>,
}

/// A person's word that they do not want to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Since when.
    pub at: Timestamp,
    /// An operator, or the call in which they said so.
    pub by: String,
}

/// What somebody may do to the list of those who are not to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListWish {
    /// Put people on it.
    Add,
    /// Take people off it.
    Remove,
}

impl ListWish {
    /// Its name in the table and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }
}

/// What an operator did to the list; never to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListChange {
    /// When, to the millisecond.
    pub at: Timestamp,
    /// As the operator calls themself.
    pub by: String,
    /// What.
    pub wish: ListWish,
    /// How many people were named.
    pub named: u32,
    /// For how many of them it was a change. Nothing if whoever made it died before it was done: then it was for some.
    pub changed: Option<u32>,
}

/// Whether a person may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// They may, now.
    Given,
    /// Not before this.
    From(Timestamp),
    /// Never.
    Never,
}

impl Often {
    /// What is meant if nobody says: 3 in a day, which the strictest states of the USA allow, and 20 in 30 days.
    pub fn usual() -> Self {
        Self { per_day: NonZeroU32::new(3), per_month: NonZeroU32::new(20), apart: APART }
    }

    /// Whether there is a limit that calls are counted for.
    pub fn counts(&self) -> bool {
        *self != Self::default()
    }
}

impl Person {
    /// Whether a lead may be called at `now` for this claim of it, with the calls of other leads with their number, of
    /// other campaigns or of its own, `apart` from its own.
    pub fn leave(&self, claim: &ClaimKey, often: Often, apart: SignedDuration, now: Timestamp) -> Leave {
        if self.refused.is_some() {
            return Leave::Never;
        }
        // With the oldest calls of the span over, there are fewer than the most.
        let full = |most: Option<NonZeroU32>, span: SignedDuration| {
            let most = most?.get() as usize;
            let dialed: Vec<_> = self.dialed.iter().filter(|dialed| dialed.at + span > now).collect();
            let first = dialed.len().checked_sub(most)?;
            Some(dialed[first].at + span)
        };
        let other = self
            .dialed
            .iter()
            .filter(|dialed| (&dialed.claim.campaign, &dialed.claim.lead) != (&claim.campaign, &claim.lead))
            .map(|dialed| dialed.at + apart);
        let from = [full(often.per_day, DAY), full(often.per_month, MONTH), other.max()];
        match from.into_iter().flatten().max() {
            Some(from) if from > now => Leave::From(from),
            _ => Leave::Given,
        }
    }

    /// The dials with one more, those of more than 30 days ago forgotten.
    pub fn with(&self, dial: Dialed) -> Vec<Dialed> {
        let oldest = dial.at - MONTH;
        let mut all: Vec<_> = self.dialed.iter().filter(|dialed| dialed.at > oldest).cloned().collect();
        all.push(dial);
        all.sort_by_key(|dialed| dialed.at);
        // What no limit asks about need not be kept.
        all.split_off(all.len().saturating_sub(MOST as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * 3600).expect("in range")
    }

    fn dial(campaign: &str, hours: i64) -> Dialed {
        Dialed { at: at(hours), claim: format!("{campaign}abcdefghi1").parse().expect("a claim") }
    }

    fn person(hours: &[i64]) -> Person {
        Person { refused: None, dialed: hours.iter().map(|hours| dial("cam-1", *hours)).collect() }
    }

    fn leave(person: &Person, often: &str, hours: i64) -> Leave {
        person.leave(&dial("cam-1", 0).claim, often.parse().expect("limits"), APART, at(hours))
    }

    #[test]
    fn a_day_and_a_month_roll_with_the_calls() {
        let three = person(&[0, 5, 10]);
        assert_eq!(leave(&three, "3/20", 11), Leave::From(at(24)));
        assert_eq!(leave(&three, "3/20", 24), Leave::Given);
        assert_eq!(leave(&three, "2/20", 24), Leave::From(at(29)));
        assert_eq!(leave(&three, "-/3", 24), Leave::From(at(24 * 30)));
        assert_eq!(leave(&three, "3/3", 11), Leave::From(at(24 * 30)));
        assert_eq!(leave(&three, "none", 11), Leave::Given);
        assert_eq!(leave(&Person::default(), "1/1", 0), Leave::Given);
    }

    #[test]
    fn two_campaigns_do_not_call_one_person_at_once() {
        let person = Person { dialed: vec![dial("cam-2", 0)], ..Person::default() };
        assert_eq!(leave(&person, "none", 0), Leave::From(at(0) + APART));
        assert_eq!(leave(&person, "none", 1), Leave::Given);
        let own = Person { dialed: vec![dial("cam-1", 0)], ..Person::default() };
        assert_eq!(leave(&own, "none", 0), Leave::Given);
    }

    #[test]
    fn two_campaigns_are_as_far_apart_as_somebody_wants() {
        let often: Often = "3/20/24h".parse().expect("limits");
        let person = Person { dialed: vec![dial("cam-2", 0)], ..Person::default() };
        let leave = |hours| person.leave(&dial("cam-1", 0).claim, often, often.apart, at(hours));
        assert_eq!((leave(23), leave(24)), (Leave::From(at(24)), Leave::Given));
    }

    #[test]
    fn nor_do_two_leads_of_one_campaign() {
        let other = Dialed { claim: "cam-1ihgfedcba1".parse().expect("a claim"), ..dial("cam-1", 0) };
        let person = Person { dialed: vec![other], ..Person::default() };
        assert_eq!(leave(&person, "none", 0), Leave::From(at(0) + APART));
        assert_eq!(leave(&person, "none", 1), Leave::Given);
    }

    #[test]
    fn who_has_said_no_is_never_called() {
        let refused = Some(Refused { at: at(0), by: "ada".into() });
        assert_eq!(leave(&Person { refused, ..person(&[0]) }, "none", 9999), Leave::Never);
    }

    #[test]
    fn dials_are_remembered_for_a_month_and_no_more_than_any_limit_asks() {
        let person = person(&[0, 24 * 20]);
        let kept = person.with(dial("cam-1", 24 * 31));
        assert_eq!(kept, [dial("cam-1", 24 * 20), dial("cam-1", 24 * 31)]);
        let mut many = Person::default();
        for _ in 0..150 {
            many.dialed = many.with(dial("cam-1", 0));
        }
        assert_eq!(many.dialed.len(), 100);
        assert_eq!(dial("cam-1", 3).to_string().parse(), Ok(dial("cam-1", 3)));
    }

    #[test]
    fn limits_read_back_and_nonsense_is_refused() {
        for text in ["3/20", "-/4", "3/-", "-/-", "3/20/24h", "-/-/30m"] {
            assert_eq!(text.parse::<Often>().expect("limits").to_string(), text);
        }
        for bad in [
            "",
            "3",
            "0/3",
            "3/101",
            "three/four",
            "3/4/5",
            "-1/3",
            "3/4/",
            "3/4/-1h",
            "3/4/721h",
            "3/4/1h/1h",
        ] {
            assert!(bad.parse::<Often>().is_err(), "{bad}");
        }
    }
}

//! Lines that others use and that nobody tells of: sibling organisations whose key is not known here, simulations that
//! take two lines, calls that Vapi's own counter keeps after their end.
//!
//! What is told of has a line on the ledger. The rest shows only in the figures that Vapi gives with each created call:
//! its limit and what remains. They are hints: one page of Vapi's says that they include the call just made, another
//! that they do not, and a call that has just ended may still count. So each estimate is the least that the figures
//! can mean, is good for a while only, and takes lines from outbound alone. The ledger decides on all others.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// Vapi's figures at the creation of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// When they were told.
    pub at: Timestamp,
    /// Lines that Vapi counted as used.
    pub used: u32,
}

/// Calls that the ledger or a list knows: from when on, and until when if they are over.
pub type Known = (Timestamp, Option<Timestamp>);

/// Vapi may count a call for this long after its end, and clocks differ.
const BLUR: SignedDuration = SignedDuration::from_secs(5);

impl Figures {
    /// Lines in use that none of the `known` calls accounts for, at least.
    pub fn unseen(&self, known: impl IntoIterator<Item = Known>) -> u32 {
        let counts = |(from, until): &Known| {
            *from <= self.at + BLUR && until.is_none_or(|until| until >= self.at - BLUR)
        };
        self.used.saturating_sub(known.into_iter().filter(counts).count() as u32)
    }

    /// How many of the `known` calls were up when the figures were told, by their own times.
    pub fn counted(&self, known: &[Known]) -> u32 {
        let counts = |(from, until): &&Known| *from <= self.at && until.is_none_or(|until| until > self.at);
        known.iter().filter(counts).count() as u32
    }

    /// Calls of `known` that were up beyond doubt and that the figures leave out, at least. Should there be any, Vapi
    /// counts them elsewhere: on another subscription.
    pub fn left_out(&self, known: impl IntoIterator<Item = Known>) -> u32 {
        let counts = |(from, until): &Known| {
            *from <= self.at - BLUR && until.is_none_or(|until| until >= self.at + BLUR)
        };
        // The call just made may or may not be among them.
        (known.into_iter().filter(counts).count() as u32).saturating_sub(self.used.saturating_add(1))
    }
}

/// As the table spells them: lines, then the instant in epoch milliseconds.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.used, self.at.as_millisecond())
    }
}

impl FromStr for Figures {
    type Err = UnseenError;
    fn from_str(text: &str) -> Result<Self, UnseenError> {
        let (used, at) = text.split_once(' ').ok_or(UnseenError)?;
        Ok(Self { used: used.parse().map_err(|_| UnseenError)?, at: instant(at)? })
    }
}

/// An estimate of the lines that others use and that nobody tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unseen {
    /// So many.
    pub lines: u32,
    /// As of then.
    pub at: Timestamp,
    /// Believed until then.
    pub until: Timestamp,
}

/// As the table spells it: lines, then two instants in epoch milliseconds.
impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.lines, self.at.as_millisecond(), self.until.as_millisecond())
    }
}

impl FromStr for Unseen {
    type Err = UnseenError;
    fn from_str(text: &str) -> Result<Self, UnseenError> {
        let mut words = text.splitn(3, ' ');
        let mut word = || words.next().ok_or(UnseenError);
        let lines = word()?.parse().map_err(|_| UnseenError)?;
        Ok(Self { lines, at: instant(word()?)?, until: instant(word()?)? })
    }
}

fn instant(text: &str) -> Result<Timestamp, UnseenError> {
    let ms = text.parse().map_err(|_| UnseenError)?;
    Timestamp::from_millisecond(ms).map_err(|_| UnseenError)
}

/// A text that is neither figures nor an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a number of lines and instants")]
pub struct UnseenError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    #[test]
    fn what_is_not_known_is_unseen_and_doubt_is_on_outbounds_side() {
        let figures = Figures { at: at(100), used: 4 };
        let up = (at(0), None);
        let over = (at(0), Some(at(50)));
        assert_eq!(figures.unseen([up, up, over]), 2);
        assert_eq!(figures.unseen([up; 9]), 0, "fewer than are known: nobody else, and no surprise");
        // Just begun, and just over: Vapi may count them or not.
        for doubtful in [(at(104), None), (at(0), Some(at(96)))] {
            assert_eq!(figures.unseen([up, up, doubtful]), 1);
            assert_eq!(figures.left_out([up, doubtful, doubtful, doubtful, doubtful, doubtful]), 0);
        }
    }

    #[test]
    fn calls_that_the_figures_leave_out_are_on_another_subscription() {
        let figures = Figures { at: at(100), used: 1 };
        assert_eq!(figures.left_out([(at(0), None); 2]), 0, "one may be the call just made");
        assert_eq!(figures.left_out([(at(0), None); 5]), 3);
    }

    proptest! {
        #[test]
        fn no_estimate_is_more_than_others_really_use(own in proptest::collection::vec((0_i64..200, 1_i64..100), 0..20),
                                                      others in 0_u32..10, includes: bool, lag in 0_i64..5) {
            let known: Vec<Known> = own.iter().map(|(from, span)| (at(*from), Some(at(from + span)))).collect();
            let counted = own.iter().filter(|(from, span)| *from <= 100 && from + span + lag >= 100).count() as u32;
            let used = (counted + others).saturating_sub(u32::from(includes));
            let figures = Figures { at: at(100), used };
            prop_assert!(figures.unseen(known.iter().copied()) <= others);
            prop_assert_eq!(figures.left_out(known), 0);
        }

        #[test]
        fn estimates_survive_their_text_form(lines: u32, ms in 0_i64..4_000_000_000_000, span in 0_i64..1_000_000) {
            let instant = |ms| Timestamp::from_millisecond(ms).expect("in range");
            let unseen = Unseen { lines, at: instant(ms), until: instant(ms + span) };
            prop_assert_eq!(unseen.to_string().parse::<Unseen>(), Ok(unseen));
            let figures = Figures { used: lines, at: instant(ms) };
            prop_assert_eq!(figures.to_string().parse::<Figures>(), Ok(figures));
        }

        #[test]
        fn no_text_panics_the_parsers(text in "\\PC{0,40}") {
            let _ = (text.parse::<Unseen>(), text.parse::<Figures>());
        }
    }
}

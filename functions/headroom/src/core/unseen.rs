//! Lines that others use and that nobody tells of: sibling organisations whose key is not known here, simulations that
//! take two lines, calls that Vapi's own counter keeps after their end.
//!
//! What is told of has a line on the ledger. The rest shows only in the figures that Vapi gives with each created call:
//! its limit and what remains. They are hints: one page of Vapi's says that they include the call just made, another
//! that they do not, and a call that has just ended may still count. So an estimate is good for a while only, and takes
//! lines from outbound alone. The ledger decides on all others. There are two:
//!
//! - A pass compares the newest figures with all lists. What it believes anew is the least that they can mean.
//! - A dial's answer is compared with the ledger alone ([`Sight`]), which knows nothing of the calls that have ended.
//!   It is the least that the figures can mean if Vapi's counter is exact; if it lags behind, a call that has just
//!   ended counts as somebody else's for as long as Vapi counts it. To Vapi that line is taken, whoever had it: left
//!   alone, the next caller finds the room that was meant for them. A newer answer with less takes it back, and
//!   without one such a suspicion ends by itself.
//!
//! What is believed already stays while figures do not refute it: calls that are being dialed may be counted by Vapi
//! or not, so an answer tells a range, and belief moves to the nearer end of it.

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

impl Figures {
    /// Lines in use that none of the `known` calls accounts for. Vapi may count a call for `blur` after its end, and
    /// clocks differ.
    pub fn unseen(&self, known: impl IntoIterator<Item = Known>, blur: SignedDuration) -> Sight {
        let (mut perhaps, mut surely) = (0, 0);
        for (from, until) in known {
            let is_up = |blur: SignedDuration| {
                from <= self.at + blur && until.is_none_or(|until| until >= self.at - blur)
            };
            perhaps += u32::from(is_up(blur));
            surely += u32::from(is_up(-blur));
        }
        Sight { least: self.used.saturating_sub(perhaps), most: self.used.saturating_sub(surely) }
    }

    /// How many of the `known` calls were up when the figures were told, by their own times.
    pub fn counted(&self, known: &[Known]) -> u32 {
        let counts = |(from, until): &&Known| *from <= self.at && until.is_none_or(|until| until > self.at);
        known.iter().filter(counts).count() as u32
    }

    /// Calls of `known` that were up beyond doubt and that the figures leave out, at least. Should there be any, Vapi
    /// counts them elsewhere: on another subscription.
    pub fn left_out(&self, known: impl IntoIterator<Item = Known>, blur: SignedDuration) -> u32 {
        let counts = |(from, until): &Known| {
            *from <= self.at - blur && until.is_none_or(|until| until >= self.at + blur)
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

/// What figures say of the lines that others use and that nobody tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Not fewer than this.
    pub least: u32,
    /// Not more, unless Vapi still counts calls that have ended.
    pub most: u32,
}

/// How long a dial's answer is good for, and how soon a newer one may say less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spans {
    /// Believed for this long.
    pub believed: SignedDuration,
    /// Not lowered before this.
    pub steady: SignedDuration,
}

impl Sight {
    /// What is to be believed from now on, if it is something else than `before`. Told by a dial's answer at `now`.
    ///
    /// - More than believed is believed at once.
    /// - Fewer lower it, though not within [`Spans::steady`] of the last change. So answers change it as often as lines
    ///   come to be others', and once more in that time: a counter that lags behind does not make each dial write.
    /// - The same again is good for another while, said when half of it is over.
    /// - What may be as believed or less leaves it as it is, to end by itself.
    pub fn moves(self, before: Option<Unseen>, now: Timestamp, spans: Spans) -> Option<Option<Unseen>> {
        let believed = before.filter(|unseen| now < unseen.until);
        let lines = believed.map_or(0, |unseen| unseen.lines);
        let after = lines.min(self.most).max(self.least);
        let moves = match believed {
            None => after > 0,
            Some(unseen) if after < lines => now >= unseen.at + spans.steady,
            Some(unseen) if after == lines => self.least == lines && now + spans.believed / 2 >= unseen.until,
            Some(_) => true,
        };
        let until = now + spans.believed;
        moves.then(|| (after > 0).then_some(Unseen { lines: after, at: now, until }))
    }

    /// Whether a pass that is shown this by figures of the instant `at` leaves what is believed at `now` alone: what
    /// came with the same answer and may be so, or with a later one.
    pub fn leaves(self, believed: Unseen, at: Timestamp, now: Timestamp) -> bool {
        let may_be = believed.at > at || believed.at == at && believed.lines <= self.most;
        now < believed.until && believed.lines > self.least && may_be
    }
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

    const BLUR: SignedDuration = SignedDuration::from_secs(5);
    const SPANS: Spans =
        Spans { believed: SignedDuration::from_secs(75), steady: SignedDuration::from_secs(15) };

    #[test]
    fn what_is_not_known_is_unseen_and_doubt_is_on_outbounds_side() {
        let figures = Figures { at: at(100), used: 4 };
        let up = (at(0), None);
        let over = (at(0), Some(at(50)));
        assert_eq!(figures.unseen([up, up, over], BLUR), Sight { least: 2, most: 2 });
        let known = figures.unseen([up; 9], BLUR);
        assert_eq!(known, Sight { least: 0, most: 0 }, "fewer than are known: nobody else, and no surprise");
        // Just begun, and just over: Vapi may count them or not.
        for doubtful in [(at(104), None), (at(0), Some(at(96)))] {
            assert_eq!(figures.unseen([up, up, doubtful], BLUR), Sight { least: 1, most: 2 });
            assert_eq!(figures.left_out([up, doubtful, doubtful, doubtful, doubtful, doubtful], BLUR), 0);
        }
    }

    #[test]
    fn more_is_believed_at_once_and_less_after_a_while() {
        let exact = |lines| Sight { least: lines, most: lines };
        let unseen = |lines, from| Some(Unseen { lines, at: at(from), until: at(from + 75) });
        assert_eq!(exact(0).moves(None, at(0), SPANS), None, "nobody else: nothing to write");
        assert_eq!(exact(3).moves(None, at(0), SPANS), Some(unseen(3, 0)));
        assert_eq!(exact(4).moves(unseen(3, 0), at(1), SPANS), Some(unseen(4, 1)));
        assert_eq!(exact(2).moves(unseen(3, 0), at(14), SPANS), None, "not at each dial");
        assert_eq!(exact(2).moves(unseen(3, 0), at(15), SPANS), Some(unseen(2, 15)));
        assert_eq!(exact(0).moves(unseen(3, 0), at(15), SPANS), Some(None));
        assert_eq!(exact(3).moves(unseen(3, 0), at(37), SPANS), None, "it is good for some time yet");
        assert_eq!(exact(3).moves(unseen(3, 0), at(38), SPANS), Some(unseen(3, 38)));
        assert_eq!(
            exact(1).moves(unseen(3, 0), at(75), SPANS),
            Some(unseen(1, 75)),
            "what has ended is none"
        );
        assert_eq!(exact(0).moves(unseen(3, 0), at(75), SPANS), None);
    }

    #[test]
    fn what_an_answer_leaves_open_moves_no_belief_and_does_not_lengthen_it() {
        let open = Sight { least: 1, most: 6 };
        let unseen = |lines| Some(Unseen { lines, at: at(0), until: at(75) });
        for lines in 2..=6 {
            assert_eq!(open.moves(unseen(lines), at(60), SPANS), None);
        }
        assert_eq!(open.moves(unseen(8), at(60), SPANS).flatten().map(|unseen| unseen.lines), Some(6));
        assert_eq!(open.moves(None, at(60), SPANS).flatten().map(|unseen| unseen.lines), Some(1));
    }

    #[test]
    fn a_pass_lowers_what_its_figures_refute_and_not_what_came_later() {
        let seen = Sight { least: 1, most: 3 };
        let unseen = |lines, from| Unseen { lines, at: at(from), until: at(from + 75) };
        assert!(seen.leaves(unseen(3, 10), at(10), at(20)), "the same answer, which may mean that");
        assert!(!seen.leaves(unseen(4, 10), at(10), at(20)), "the lists know better");
        assert!(seen.leaves(unseen(4, 11), at(10), at(20)), "a later answer");
        assert!(!seen.leaves(unseen(3, 9), at(10), at(20)), "an older one");
        assert!(!seen.leaves(unseen(1, 10), at(10), at(20)), "the same: good for longer now");
        assert!(!seen.leaves(unseen(3, 10), at(10), at(85)), "it has ended");
    }

    #[test]
    fn calls_that_the_figures_leave_out_are_on_another_subscription() {
        let figures = Figures { at: at(100), used: 1 };
        assert_eq!(figures.left_out([(at(0), None); 2], BLUR), 0, "one may be the call just made");
        assert_eq!(figures.left_out([(at(0), None); 5], BLUR), 3);
    }

    proptest! {
        #[test]
        fn no_estimate_is_more_than_others_really_use(own in proptest::collection::vec((0_i64..200, 1_i64..100), 0..20),
                                                      others in 0_u32..10, includes: bool, lag in 0_i64..5) {
            let known: Vec<Known> = own.iter().map(|(from, span)| (at(*from), Some(at(from + span)))).collect();
            let counted = own.iter().filter(|(from, span)| *from <= 100 && from + span + lag >= 100).count() as u32;
            let used = (counted + others).saturating_sub(u32::from(includes));
            let figures = Figures { at: at(100), used };
            let sight = figures.unseen(known.iter().copied(), BLUR);
            prop_assert!(sight.least <= others && sight.most + u32::from(includes) >= others);
            prop_assert_eq!(figures.left_out(known, BLUR), 0);
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

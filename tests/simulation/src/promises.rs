//! The promises, checked after every write and at every dial, from the items as they are and from the
//! simulated Vapi's own truth. Nothing here shares code with what it checks, but for the spelling of
//! keys and tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use headroom::core::ids::ClaimKey;
use headroom::core::line::{LineKey, Token};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use vapi_sim::{CallTruth, Sim};

use crate::callbacks::Callbacks;
use crate::events::Events;
use crate::hours::Hours;
use crate::items::{CampaignSeen, Lead, Ledger, Said, is_claim, kind, number, text};
use crate::kpi::Figures;
use crate::life::{Lives, is_over};
use crate::others::Others;
use crate::plan::{Campaign, MOST_SKEW, Plan};
use crate::troubles::{self, HealthSeen};
use crate::turns::Turns;
use crate::wishes::Wishes;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which: P1 to P8, or what else has to hold.
    pub promise: &'static str,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.text)
    }
}

/// Why leads end that may never be called again.
const WINDOW_CLOSED: &str = "window_closed";

/// Checks, each of which may fail.
pub type Checked = Result<(), Violation>;

pub(crate) fn ensure(holds: bool, promise: &'static str, text: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { promise, text: text() }) }
}

/// An instant that recovery is measured by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// What came to be.
    pub step: Step,
    /// The line's key. A claim's is its call's name, too.
    pub of: String,
    /// When.
    pub at: Timestamp,
}

/// What came to be at a [`Moment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A lead was claimed, to be dialed within milliseconds.
    Claimed,
    /// What came of the dial is known: the lead is neither dialing nor unknown any more.
    Known,
    /// A line was freed.
    Freed,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Promises {
    /// By their codes.
    asked: BTreeMap<String, Campaign>,
    /// Who else is on the subscription.
    others: Others,
    /// When people may be called.
    calling: Hours,
    /// What people want.
    wishes: Wishes,
    /// Claims that leads had when they were last made ready by a rerun.
    reran: BTreeMap<(String, String), i64>,
    /// What people ask of the campaigns.
    lives: Lives,
    /// Who is promised a call.
    pub(crate) callbacks: Callbacks,
    /// The ledger's items after the last write, by their keys.
    pub ledger: BTreeMap<String, Ledger>,
    /// Code and reference → lead.
    pub leads: BTreeMap<(String, String), Lead>,
    /// By their codes.
    pub campaigns: BTreeMap<String, CampaignSeen>,
    /// Outcomes by campaign that were there before its counters.
    uncounted: BTreeMap<String, (i64, i64)>,
    /// The calls whose end was told and answered.
    ended: BTreeSet<String>,
    /// Why callers found no line, by their calls.
    refusals: BTreeMap<String, Value>,
    /// How well outbound is going.
    health: HealthSeen,
    /// Usage by hour.
    hours: BTreeMap<String, Value>,
    /// Lines that were taken once more after their call was over, and their campaigns.
    ghosts: BTreeMap<String, String>,
    /// Passes in a row that left the limit as it was, although Vapi had told another.
    unfollowed: u32,
    /// Whose turn it is.
    pub(crate) turns: Turns,
    /// What campaigns' calls came to.
    figures: Figures,
    /// What others were told.
    pub(crate) events: Events,
    checks: u64,
    /// If they are to be kept.
    moments: Option<Vec<Moment>>,
}

impl Promises {
    /// Promises about these campaigns, by their codes, and about `others`; with the moments that recovery is measured by if
    /// `keep_moments`.
    pub fn about(
        asked: BTreeMap<String, Campaign>,
        others: Others,
        calling: Hours,
        wishes: Wishes,
        lives: Lives,
        keep_moments: bool,
    ) -> Self {
        let moments = keep_moments.then(Vec::new);
        Self { asked, others, calling, wishes, lives, moments, ..Self::default() }
    }

    /// The moments that were kept.
    pub fn take_moments(&mut self) -> Vec<Moment> {
        self.moments.take().unwrap_or_default()
    }

    fn note(&mut self, step: Step, of: &str, at: Timestamp) {
        if let Some(moments) = &mut self.moments {
            moments.push(Moment { step, of: of.to_owned(), at });
        }
    }

    /// Checks so far.
    pub fn checks(&self) -> u64 {
        self.checks
    }

    /// An item was written by the table's function `by`. `item` is what it is now.
    pub fn written(
        &mut self,
        by: &str,
        (pk, sk): (&str, &str),
        item: &Value,
        vapi: &Sim,
        now: Timestamp,
    ) -> Checked {
        self.checks += 1;
        if sk.starts_with("LEDGER") {
            self.ledger_written(by, sk, Ledger::of(item), vapi, now)
        } else if let (Some(code), Some(reference)) = (pk.strip_prefix("C#"), sk.strip_prefix("L#")) {
            if by == "give_back" {
                self.given_back(code, reference, vapi)?;
            }
            if by == "end_ready" && text(item, "reason").as_deref() == Some(WINDOW_CLOSED) {
                let campaign = self.asked.get(code).map_or("", |campaign| &campaign.id);
                // A retry may not come before the end.
                let turn = Timestamp::from_microsecond(number(item, "due")).unwrap_or(now);
                self.calling.gave_up(campaign, &text(item, "num").unwrap_or_default(), turn, now)?;
            }
            let (at, lead) = ((code.to_owned(), reference.to_owned()), Lead::of(item));
            self.callbacks.lead_written(by, &at, item)?;
            self.events.lead_written(&at, &lead);
            self.lead_written(by, at.0, at.1, lead, now)
        } else if let Some(code) = sk.strip_prefix("C#") {
            let seen = CampaignSeen {
                state: text(item, "st").unwrap_or_default(),
                leads: item.get("leads").map(|_| number(item, "leads")),
                done: number(item, "done"),
                failed: number(item, "failed"),
                untold: item["ev"]["L"].as_array().map_or(0, Vec::len),
            };
            self.callbacks.campaign_written(code, item);
            let was_over = self.campaigns.get(code).is_some_and(|before| is_over(&before.state));
            if is_over(&seen.state) && !was_over {
                self.events.campaign_over(code);
            }
            self.turns.campaign_written(code, &seen.state, now);
            self.figures.written(code, item);
            self.campaigns.insert(code.to_owned(), seen);
            self.lives.written(code, item, now)
        } else if let Some(number) = pk.strip_prefix("PERSON#") {
            self.wishes.written(number, item)
        } else if sk == "HEALTH" {
            self.health.written(item, &self.ledger, now)
        } else if sk == "REFUSED" {
            troubles::refused_for_lines(item)?;
            // It says how it was at that instant.
            let before = self.refusals.insert(pk.to_owned(), item.clone());
            ensure(before.as_ref().is_none_or(|before| before == item), "P8", || {
                format!("why {pk} was refused was {before:?} and is {item}")
            })
        } else if sk.starts_with("H#") {
            // An hour is over when it is filled: filled again, it says the same.
            let before = self.hours.insert(sk.to_owned(), item.clone());
            ensure(before.as_ref().is_none_or(|before| before == item), "P8", || {
                format!("usage of {sk} was {before:?} and is {item}")
            })
        } else {
            Ok(())
        }
    }

    /// An item is there no more. The ledger's may go once they hold nothing.
    pub fn deleted(&mut self, sk: &str) -> Checked {
        let item = self.ledger.remove(sk).unwrap_or_default();
        ensure(item.lines.is_empty() && item.campaigns.is_empty(), "P5", || {
            format!("{sk} is gone with its lines {:?} and figures {:?}", item.lines, item.campaigns)
        })
    }

    /// The shares of all items are what the first one says that they have together.
    pub fn sums_up(&self, by: &str) -> Checked {
        let Some(whole) = self.ledger.get("LEDGER#0").and_then(|first| first.whole.as_ref()) else {
            return ensure(self.ledger.len() < 2, "P7", || "items of the ledger are left over".into());
        };
        let sum = |of: &dyn Fn(&Ledger) -> i64| self.ledger.values().map(of).sum::<i64>();
        // While too much is held at once they have nothing of it.
        let (limit, cap) = (sum(&|item| item.limit), sum(&|item| item.cap));
        ensure(
            (limit == whole.limit || limit == 0)
                && (cap == whole.cap || cap == 0)
                && sum(&|item| item.headroom) == whole.headroom
                && self.ledger.len() as i64 == whole.items,
            "P1",
            || format!("the items' shares of limit and cap are {limit} and {cap} of {whole:?}"),
        )?;
        for (agent, lines) in &whole.reserves {
            for (kind, lines) in lines.iter().enumerate() {
                let part = sum(&|item| item.by_agent.get(agent).map_or(0, |kinds| kinds[kind]));
                ensure(part == *lines, "P2", || {
                    format!("the items reserve {part} of {lines} lines for {agent}")
                })?;
            }
        }
        // Where lines have just been moved between items, nobody may take what others hold.
        let is_moved = by == "change_policy";
        let most = sum(&|item| item.limit.max(item.total));
        ensure(!is_moved || most <= whole.limit.max(sum(&|item| item.total)), "P1", || {
            format!("items of {} lines were given room for {most}", whole.limit)
        })?;
        let most = sum(&|item| item.cap.max(item.outbound));
        ensure(!is_moved || most <= whole.cap.max(sum(&|item| item.outbound)), "P1", || {
            let items: Vec<_> = self.ledger.values().map(|item| (item.cap, item.outbound)).collect();
            format!("items with a cap of {} were given room for {most} outbound: {items:?}", whole.cap)
        })
    }

    /// What is checked of outbound's health rests on these bounds of the history.
    pub(crate) fn know_bounds(&mut self, plan: &Plan) {
        self.health = HealthSeen::of(plan);
    }

    fn ledger_written(&mut self, by: &str, sk: &str, ledger: Ledger, vapi: &Sim, now: Timestamp) -> Checked {
        Self::adds_up(&ledger)?;
        let before = self.ledger.insert(sk.to_owned(), ledger.clone()).unwrap_or_default();
        for (key, token) in &ledger.lines {
            let was = before.lines.get(key);
            ensure(was.is_none_or(|was| was == token), "P7", || format!("the line of {key} changed hands"))?;
        }
        self.taken(&before, &ledger, now)?;
        if self.ledger.len() == 1 && ledger.whole.is_none() {
            let people = (&self.leads, &self.callbacks);
            self.turns.ledger_written((&before, &ledger), &self.asked, people, vapi, now)?;
        }
        self.others.written(&before, &ledger, vapi, now)?;
        if ledger.limit != before.limit {
            self.unfollowed = 0;
        }
        if by == "take_answered" {
            ensure(ledger.total <= before.limit, "P1", || {
                format!("a caller was let in although {} of {} lines were held", before.total, before.limit)
            })?;
            let (own, shared) = ledger.uses();
            let new = ledger.new_since(&before);
            let bucket = new.first().and_then(|(key, token)| ledger.bucket(key, token));
            let in_reserve = bucket.is_some_and(|(key, lines)| own[&key] <= lines);
            ensure(in_reserve || shared <= ledger.limit - ledger.reserved(), "P2", || {
                format!("a caller was let in on a line that is reserved: {shared} shared lines are in use")
            })?;
        }
        ensure(ledger.rest_until >= before.rest_until, "P1", || {
            "a rest that Vapi asked for was cut short by a shorter one".into()
        })?;
        for (key, _) in ledger.new_since(&before) {
            // A second copy of a taking whose call is over already: the line is freed by the pass.
            if let Some(((code, _), _)) = self
                .leads
                .iter()
                .find(|((code, reference), lead)| lead.is_over() && lead.line(code, reference) == **key)
            {
                self.ghosts.insert(key.clone(), code.clone());
            }
        }
        for (key, token) in before.new_since(&ledger) {
            self.freed(key, token, vapi, now)?;
            self.note(Step::Freed, key, now);
            // Nobody can tell its freeing from the first one: the outcome may be counted once more.
            if let Some(code) = self.ghosts.remove(key) {
                self.uncounted.remove(&code);
            }
        }
        let mut campaigns: BTreeMap<&String, (i64, i64)> = BTreeMap::new();
        for (code, (_, done, failed)) in self.ledger.values().flat_map(|item| &item.campaigns) {
            let sum = campaigns.entry(code).or_default();
            *sum = (sum.0 + done, sum.1 + failed);
        }
        // Where a campaign has counters in several items, they are closed one by one.
        let is_closing = by == "close_campaign";
        self.uncounted.retain(|code, _| campaigns.contains_key(code) && !is_closing);
        // A close that was applied minutes late may take the first item's counters away from under a campaign that has
        // lines in another; it begins with its figures anew once somebody opens it.
        let is_new =
            |code: &String| ledger.campaigns.contains_key(code) && !before.campaigns.contains_key(code);
        self.uncounted.retain(|code, _| sk != "LEDGER#0" || !is_new(code));
        for (code, (done, failed)) in campaigns {
            // An outcome counts from the moment on at which its line is free.
            let over = |state: &str| {
                let counts = |((of, reference), lead): &(&(String, String), &Lead)| {
                    let line = lead.line(of, reference);
                    let held = self.ledger.values().any(|item| {
                        let held = item.lines.get(&line);
                        held.is_some() && held == lead.token.as_ref()
                    });
                    let ghost = self.ghosts.contains_key(&line);
                    of == code && lead.state == state && !lead.is_cancelled() && (ghost || !held)
                };
                self.leads.iter().filter(counts).count() as i64
            };
            let missing = (over("done") - done, over("failed") - failed);
            // Counters that are put on the ledger from an old reading of the campaign start too low.
            let known = *self.uncounted.entry(code.clone()).or_insert(missing);
            ensure(missing == known, "P4", || {
                format!(
                    "campaign {code} counts {done} done and {failed} failed, its leads {} and {}",
                    over("done"),
                    over("failed")
                )
            })?;
        }
        Ok(())
    }

    /// P7: the counters are what the lines add up to.
    fn adds_up(ledger: &Ledger) -> Checked {
        let kind = |letter: char| ledger.lines.values().filter(|token| kind(token) == letter).count() as i64;
        let (ours, foreign) = (kind('o'), kind('f'));
        let counted = [ledger.total, ledger.outbound, ledger.foreign, ledger.inbound, ledger.web];
        let held = [ledger.lines.len() as i64, ours + foreign, foreign, kind('i'), kind('w')];
        ensure(counted == held, "P7", || {
            format!(
                "counters (total, outbound, foreign, inbound, web) are {counted:?}, the lines are {held:?}"
            )
        })?;
        let (own, shared) = ledger.uses();
        let counted: BTreeMap<_, _> = ledger
            .own
            .iter()
            .filter(|(_, held)| **held != 0)
            .map(|(key, held)| (key.clone(), *held))
            .collect();
        ensure((&counted, ledger.shared) == (&own, shared), "P7", || {
            format!(
                "reserves count {counted:?} and {} shared, the lines use {own:?} and {shared}",
                ledger.shared
            )
        })?;
        for key in ledger.lines.keys().filter(|key| is_claim(key)) {
            let known = ledger.campaigns.keys().any(|code| key.starts_with(code.as_str()));
            ensure(known, "P7", || format!("the line of {key} is counted for no campaign"))?;
        }
        for (code, (h, ..)) in &ledger.campaigns {
            let held = ledger.lines.keys().filter(|key| is_claim(key) && key.starts_with(code)).count();
            ensure(*h == held as i64, "P7", || format!("campaign {code} counts {h} lines and holds {held}"))?;
        }
        Ok(())
    }

    /// P1 and P2: what was taken for outbound had room, in its agent's own reserve or among the shared lines.
    fn taken(&self, before: &Ledger, ledger: &Ledger, now: Timestamp) -> Checked {
        let ours =
            ledger.new_since(before).into_iter().filter(|(_, token)| kind(token) == 'o').count() as i64;
        if ours == 0 {
            return Ok(());
        }
        let others = self.others.believed(before, now);
        ensure(before.total + others + ours <= before.limit, "P1", || {
            format!(
                "{ours} lines for outbound on top of {} of {}, and {others} of others",
                before.total, before.limit
            )
        })?;
        let (held, used) = before.uses();
        let (key, token) = ledger.new_since(before)[0];
        let bucket = before.bucket(key, token);
        let room = bucket.as_ref().map_or(0, |(key, lines)| lines - held.get(key).unwrap_or(&0));
        let shared = before.limit - before.reserved();
        let fits = used + others + ours <= shared - before.headroom;
        ensure(ours <= room || (room <= 0 && fits), "P2", || {
            format!(
                "{ours} lines for outbound, with room for {room} in the reserve {bucket:?}, on top of {used} of \
                 {shared} shared lines and {others} of others, with headroom {}",
                before.headroom
            )
        })?;
        ensure(before.outbound + ours <= before.cap, "P1", || {
            format!("{ours} lines for outbound on top of {}, cap {}", before.outbound, before.cap)
        })?;
        self.within_quotas(before, ledger, ours, &before.codes(key, token))?;
        self.health.taken(before, ours, self.ledger.len(), now)?;
        // The taker's clock may be ahead.
        let latest = (now + SignedDuration::try_from(MOST_SKEW).expect("some seconds")).as_millisecond();
        ensure(before.rest_until <= latest, "P1", || {
            format!("{ours} lines for outbound while it rests for {} ms", before.rest_until - latest)
        })?;
        for (code, (now, ..)) in &ledger.campaigns {
            let cap = self.lives.cap(code);
            let had = before.campaigns.get(code).map_or(0, |tally| tally.0);
            let held = |item: &Ledger| item.campaigns.get(code).map_or(0, |tally| tally.0);
            let held: i64 = self.ledger.values().map(held).sum();
            ensure(held <= cap || *now <= had, "P1", || {
                format!("campaign {code} holds {held}, its cap is {cap}")
            })?;
        }
        // Over all items, too, unless one has more than its share: that was observed.
        let others = || self.ledger.values().filter(|item| *item != ledger);
        let is_over = before.total > before.limit || others().any(|item| item.total > item.limit);
        let total: i64 = self.ledger.values().map(|item| item.total).sum();
        let limit: i64 = self.ledger.values().map(|item| item.limit).sum();
        ensure(is_over || total <= limit, "P1", || {
            format!("{ours} lines for outbound, and {total} of {limit} are held over all items")
        })
    }

    /// P1: what was taken for outbound had room in each quota that it counts in, and the calls that it begins are
    /// counted.
    fn within_quotas(&self, before: &Ledger, ledger: &Ledger, ours: i64, codes: &[String]) -> Checked {
        for quota in before.quotas.iter().filter(|quota| quota.knows(codes)) {
            let (key, [lines, per_second, per_day]) = (quota.key(), quota.most);
            let held = before.uses().0.get(&key).copied().unwrap_or_default();
            ensure(lines.is_none_or(|most| held + ours <= most), "P1", || {
                format!("{ours} lines for outbound on top of {held} in a quota of {lines:?}")
            })?;
            // Over all items, too, unless a call was observed in one: that counts wherever it came.
            let counts = |item: &Ledger, line: (&String, &String)| {
                !is_claim(line.0) && quota.knows(&item.codes(line.0, line.1))
            };
            let was_observed =
                self.ledger.values().any(|item| item.lines.iter().any(|line| counts(item, line)));
            let sum = |of: &dyn Fn(&Ledger) -> i64| self.ledger.values().map(of).sum::<i64>();
            let held = sum(&|item| item.uses().0.get(&key).copied().unwrap_or_default());
            ensure(was_observed || lines.is_none_or(|most| held <= most), "P1", || {
                format!("{ours} lines for outbound, and all items hold {held} in a quota of {lines:?}")
            })?;
            if per_second.or(per_day).is_none() {
                continue;
            }
            let was = before.paces.get(&key).copied().unwrap_or_default();
            let is = ledger.paces.get(&key).copied().unwrap_or_default();
            let counted = if is.0 == was.0 { was.1 } else { 0 };
            ensure(is.1 == counted + ours && per_day.is_none_or(|most| is.1 <= most), "P1", || {
                format!("{ours} calls begun after {counted} of {per_day:?} a day are counted as {}", is.1)
            })?;
            let today =
                |item: &Ledger| item.paces.get(&key).filter(|pace| pace.0 == is.0).map_or(0, |pace| pace.1);
            let begun = sum(&today);
            ensure(per_day.is_none_or(|most| begun <= most), "P1", || {
                format!("{ours} calls begun, and all items count {begun} of {per_day:?} today")
            })?;
            ensure(per_second.is_none_or(|rate| is.2 - was.2 >= ours * 1000 / rate), "P1", || {
                format!("{ours} calls at {per_second:?} a second move the next from {} to {}", was.2, is.2)
            })?;
        }
        Ok(())
    }

    /// P5 and P4: what was freed stood for nothing any more.
    fn freed(&self, key: &str, token: &str, vapi: &Sim, now: Timestamp) -> Checked {
        let line: LineKey =
            key.parse().map_err(|_| Violation { promise: "P7", text: format!("{key} is no line") })?;
        let held_for =
            token.parse::<Token>().map_or(SignedDuration::MAX, |token| now.duration_since(token.since()));
        match line {
            LineKey::Claim(claim) => {
                let at = (claim.campaign.as_str().to_owned(), claim.lead.as_str().to_owned());
                if let Some(lead) = self.leads.get(&at) {
                    let its_own =
                        lead.claims == i64::from(claim.claim) && lead.token.as_deref() == Some(token);
                    ensure(!(its_own && lead.is_under_way()), "P4", || {
                        format!("the line of {key} was freed while its lead is {}", lead.state)
                    })?;
                }
                let max = self.asked.get(&at.0).map_or(0, |campaign| campaign.max_seconds);
                let ceiling = SignedDuration::from_secs(i64::from(max) + 12 * 60);
                let live = vapi.calls(|call| call.is_live && call.held_line && call.name == Some(key));
                // Two dispatchers may take a line for one claim, each in another item: one of them is refused the lead.
                ensure(live.is_empty() || held_for > ceiling || self.holds(key), "P5", || {
                    format!(
                        "the line of {key} was freed after {held_for:#} under its live call {}",
                        live[0].id
                    )
                })
            }
            LineKey::Observed(id) => {
                let live =
                    vapi.calls(|call| call.is_live && call.held_line && call.id.to_string() == id.as_str());
                // A call of ours may have been seen before its dial's answer came: it has two lines then.
                // Or two messages at once have taken one for it in two items.
                let elsewhere = self.holds(key)
                    || live.first().and_then(|call| call.name.as_ref()).is_some_and(|name| self.holds(name));
                ensure(
                    live.is_empty() || elsewhere || held_for > SignedDuration::from_hours(12),
                    "P5",
                    || format!("the line of {id} was freed under its live call"),
                )
            }
        }
    }

    fn holds(&self, key: &str) -> bool {
        self.ledger.values().any(|item| item.lines.contains_key(key))
    }

    /// P3: a lead whose dial made no call has its attempt back, and it did make none.
    fn given_back(&self, code: &str, reference: &str, vapi: &Sim) -> Checked {
        let before = self.leads.get(&(code.to_owned(), reference.to_owned()));
        let Some(line) = before.filter(|lead| lead.is_unanswered()).map(|lead| lead.line(code, reference))
        else {
            return Ok(());
        };
        let made = vapi.calls(|call| call.held_line && call.name == Some(&line));
        ensure(made.is_empty(), "P3", || format!("the dial of {line} was given back, and it had made a call"))
    }

    /// P4: a lead is ready, or holds a line, or is over for good.
    fn lead_written(
        &mut self,
        by: &str,
        code: String,
        reference: String,
        lead: Lead,
        now: Timestamp,
    ) -> Checked {
        let before = self.leads.insert((code.clone(), reference.clone()), lead.clone());
        let lines = self.ledger.get("LEDGER#0").map(|item| item.lines.clone()).unwrap_or_default();
        self.turns.lead_written(&(code.clone(), reference.clone()), &lead, &lines, now);
        let was_open = before.as_ref().filter(|before| before.is_unanswered());
        match was_open {
            Some(before) if !lead.is_unanswered() => {
                self.note(Step::Known, &before.line(&code, &reference), now)
            }
            None if lead.is_unanswered() => self.note(Step::Claimed, &lead.line(&code, &reference), now),
            _ => {}
        }
        if let Some(before) = before {
            if before.is_over() && before.state != lead.state {
                Lives::rerun(by, &before.state, &lead.state)?;
                if by == "rerun_lead" {
                    self.reran.insert((code.clone(), reference.clone()), lead.claims);
                }
                // The campaign's counters are on the ledger again when it runs.
                self.uncounted.remove(&code);
            }
            ensure((0..=1).contains(&(lead.claims - before.claims)), "P3", || {
                format!("a lead of {code} had {} claims and has {}", before.claims, lead.claims)
            })?;
        }
        let at = (code.clone(), reference.clone());
        let most = self.lives.attempts(&code).saturating_add(self.callbacks.promised(&at));
        ensure(lead.attempts <= most, "P3", || {
            format!("{} counted attempts at a lead of {code}, {most} allowed", lead.attempts)
        })?;
        if lead.is_under_way() {
            let line = lead.line(&code, &reference);
            let mut held = self.ledger.values().filter_map(|item| item.lines.get(&line));
            ensure(held.any(|held| Some(held) == lead.token.as_ref()), "P4", || {
                format!("a lead of {code} is {} without its line {line}", lead.state)
            })?;
        }
        Ok(())
    }

    /// P8: once its end was told and answered, no message of a call leaves it a line.
    pub fn answered(&mut self, message: &Said, on_time: bool) -> Checked {
        self.checks += 1;
        if message.ended {
            self.ended.insert(message.call.clone());
        }
        if !on_time || !self.ended.contains(&message.call) {
            return Ok(());
        }
        let Ok(call) = message.call.parse() else { return Ok(()) };
        let held = self.holds(&LineKey::Observed(call).to_string());
        ensure(!held, "P8", || format!("after `{message}` a line is held for a call whose end was told"))
    }

    /// A pass has gone through: the limit that Vapi told is followed if `adopts`, and each call of `known`, those that
    /// were up when it began, nothing going wrong any more, holds a line if it is up still.
    pub fn passed(&mut self, adopts: bool, known: &[CallTruth], vapi: &Sim) -> Checked {
        self.checks += 1;
        // What Vapi told stands on the first item, and with it, if there are several, the sum.
        let Some(ledger) = self.ledger.get("LEDGER#0") else { return Ok(()) };
        let limit = ledger.whole.as_ref().map_or(ledger.limit, |whole| whole.limit);
        let is_followed = !adopts || ledger.seen.is_none_or(|seen| seen == limit);
        self.unfollowed = if is_followed { 0 } else { self.unfollowed + 1 };
        // A pass may have begun before it was told, and others may write in between.
        ensure(self.unfollowed < 6, "P1", || {
            format!("Vapi told the limit {:?}, and after six passes it is {limit}", ledger.seen)
        })?;
        for call in known.iter().filter(|call| self.others.knows(&call.org_id)) {
            let is_up = !vapi.calls(|seen| seen.is_live && seen.id.to_string() == call.id).is_empty();
            let name = call.name.as_ref();
            let id = call.id.parse().expect("Vapi's ids are good");
            let held =
                self.holds(&LineKey::Observed(id).to_string()) || name.is_some_and(|name| self.holds(name));
            ensure(held || !is_up, "P7", || {
                format!("after a pass the call {} of {} holds no line", call.id, call.org_id)
            })?;
        }
        Ok(())
    }

    /// P3 and P1: a dial arrives at Vapi. A retry is none too many, and none too early.
    pub fn dialed(
        &mut self,
        key: &str,
        number: &str,
        org: Option<&str>,
        vapi: &Sim,
        clocks: (Timestamp, SignedDuration),
    ) -> Checked {
        self.checks += 1;
        ensure(self.holds(key), "P1", || format!("a dial arrived for {key}, which holds no line"))?;
        self.wishes.dialed(number, key)?;
        let before = vapi.calls(|call| call.held_line && call.name == Some(key));
        ensure(before.is_empty(), "P3", || format!("{key} is dialed a second time"))?;
        let live = vapi.calls(|call| call.is_live && call.held_line && call.number == Some(number));
        ensure(live.is_empty(), "P3", || format!("{key} dials a person who is in a call already"))?;
        let claim: ClaimKey =
            key.parse().map_err(|_| Violation { promise: "P3", text: format!("{key} is no claim") })?;
        self.lives.dialed(&claim, clocks.0)?;
        let at = (claim.campaign.as_str().to_owned(), claim.lead.as_str().to_owned());
        let asked = self.asked.get(&at.0).and_then(|campaign| campaign.org);
        ensure(asked == org, "P1", || format!("{key} is dialed for {org:?}, its campaign is {asked:?}'s"))?;
        self.callbacks.dialed(&claim, clocks.0, clocks.1)?;
        // Whoever was promised a call has one more than the retries say.
        if let Some(campaign) = self.asked.get(&at.0).filter(|_| self.callbacks.promised(&at) == 0) {
            // A rerun has fresh attempts: claims of before do not count.
            let fresh = self.reran.get(&at).copied().unwrap_or_default();
            let counts =
                |name: &str| name.parse().is_ok_and(|claim: ClaimKey| i64::from(claim.claim) > fresh);
            let before = vapi
                .calls(|call| call.held_line && call.number == Some(number) && call.name.is_some_and(counts));
            let wrong = campaign.again.wrong(&before, clocks.0, clocks.1);
            ensure(wrong.is_none(), "retry", || format!("{key} is dialed: {}", wrong.unwrap_or_default()))?;
        }
        let campaign = self.asked.get(&at.0).map_or("", |campaign| &campaign.id);
        self.calling.dialed(campaign, number, self.callbacks.is_promised(&at), clocks.0)?;
        let lead = self.leads.get(&at);
        let counted = lead.is_some_and(|lead| lead.claims == i64::from(claim.claim) && !lead.is_over());
        ensure(counted, "P3", || format!("{key} is dialed, and its lead is {lead:?}"))
    }

    /// Whether each campaign's figures are what Vapi knows of its calls.
    pub(crate) fn counted(&self, vapi: &Sim) -> Checked {
        self.asked.keys().try_for_each(|code| self.figures.at_end(code, vapi))
    }

    /// Whether a person has said that they do not want to be called.
    pub(crate) fn is_refused(&self, number: &str) -> bool {
        self.wishes.is_refused(number)
    }

    /// At the end everything is accounted for.
    pub fn at_end(&mut self, vapi: &Sim, now: Timestamp) -> Checked {
        self.checks += 1;
        self.callbacks.at_end()?;
        for ledger in self.ledger.values() {
            self.others.at_end(ledger, now)?;
            ensure(ledger.total == 0, "P5", || {
                format!("lines that nobody holds are on the ledger: {:?}", ledger.lines)
            })?;
            ensure(ledger.campaigns.is_empty(), "P4", || {
                format!("counters of finished campaigns are left: {:?}", ledger.campaigns)
            })?;
        }
        for (code, asked) in &self.asked {
            let of = |(at, _): &(&(String, String), &Lead)| at.0 == *code;
            let leads: Vec<_> = self.leads.iter().filter(of).map(|(_, lead)| lead).collect();
            let (accepted, seen) = (asked.leads.len(), leads.len());
            ensure(accepted == seen, "P4", || format!("{accepted} leads were accepted, {seen} are stored"))?;
            let open: Vec<_> = leads.iter().filter(|lead| !lead.is_over()).collect();
            ensure(open.is_empty(), "P4", || format!("leads without an outcome: {open:?}"))?;
            let over = |state: &str| leads.iter().filter(|lead| lead.state == state).count() as i64;
            let campaign = self.campaigns.get(code);
            let state = campaign.map(|campaign| campaign.state.clone()).unwrap_or_default();
            ensure(is_over(&state), "P4", || format!("a campaign is {state} in the end"))?;
            let counted = CampaignSeen {
                state,
                leads: Some(accepted as i64),
                done: over("done"),
                failed: over("failed"),
                untold: 0,
            };
            ensure(campaign == Some(&counted), "P4", || {
                format!("a campaign says {campaign:?}, its leads say {counted:?}")
            })?;
            let (counted, mut rang) = (leads.iter().map(|lead| lead.attempts).sum::<i64>(), 0);
            for (_, number) in &asked.leads {
                let rings = vapi.calls(|call| call.held_line && call.number == Some(number)).len();
                rang += rings as i64;
                // Set-ups that failed are spared, three times for each lead.
                let promised = self.callbacks.promised_to(code, number);
                let most = (self.lives.attempts(code) + 3) * self.lives.runs(code) + promised;
                ensure(rings as i64 <= most, "P3", || {
                    format!("{rings} calls to one person, {most} at most")
                })?;
            }
            ensure(counted <= rang, "P4", || {
                format!("{counted} attempts are counted, {rang} calls were made")
            })?;
        }
        self.events.at_end()
    }
}

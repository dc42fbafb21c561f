//! Why somebody found no line: the record that a refusal leaves, with who held the lines at that instant and
//! when the next one is expected.
//!
//! Nobody can know when a call ends. Lengths of calls are close to memoryless: how long one has lasted says
//! little about how long it still will. So of n calls with a mean length of m the next end is expected after
//! m/n, the one after it m/(n−1) later, and so on; and none later than what its call may last at most.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::campaign::Campaign;
use super::ids::{CampaignCode, NameCode, QuotaName};
use super::line::{Kind, LineKey, Token};
use super::pacing::Own;
use super::pool::{Pool, Rule, Source};
use super::quota;
use super::reserve::BucketKey;
use super::timers::Timers;

/// What refused a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuser {
    /// One of the pool's rules.
    Rule(Rule),
    /// Vapi itself: it counts more lines than the ledger, or has fewer.
    Vapi,
}

impl Refuser {
    /// Its name in records and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rule(rule) => rule.name(),
            Self::Vapi => "vapi",
        }
    }
}

/// What became of whoever was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// The caller heard the busy message.
    Busy,
    /// The caller was connected with a number outside of Vapi.
    Forwarded,
    /// Vapi turned the caller away without asking.
    Blocked,
    /// The campaign's leads wait in their order.
    Waits,
    /// The campaign's due leads end at once: its agent's do not wait.
    Rejected,
}

/// One refusal: everything in it is as of one instant. The names of rules and kinds are text, so that a record
/// can be read for as long as it is kept, whatever rules there are then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The instant. For a campaign, the last one that is on record.
    pub at: Timestamp,
    /// Since when the rule has stood in the way without a line granted in between. A caller's is the same instant.
    pub since: Timestamp,
    /// The rule that refused, or `vapi`.
    pub rule: String,
    /// `inbound`, `outbound` or `web`.
    pub kind: String,
    /// Whose call it would have been: the agent's name, or its code if no more is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What became of the call.
    pub fate: Fate,
    /// The pool's numbers.
    pub lines: Numbers,
    /// How many lines were held by whom, the largest groups first, 50 at most.
    pub holders: Vec<Holders>,
    /// The lines that were held the longest, 50 at most.
    pub longest: Vec<HeldLine>,
    /// When a line is expected that this call could have.
    pub expected: Expected,
}

/// The pool's numbers at an instant, in lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Lines it had.
    pub limit: u32,
    /// Most that outbound might hold.
    pub cap: u32,
    /// Shared lines that outbound had to leave free.
    pub headroom: u32,
    /// Held.
    pub total: u32,
    /// Held by outbound.
    pub outbound: u32,
    /// Held out of the shared lines.
    pub shared: u32,
    /// Lines that were reserved for nobody.
    pub shared_lines: u32,
    /// Lines that were reserved.
    pub reserved: u64,
    /// Lines that others were believed to use without anybody telling.
    #[serde(default)]
    pub unseen: u32,
}

/// A line that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldLine {
    /// `inbound`, `outbound`, `foreign`, `web` or `chat`.
    pub kind: String,
    /// Whose call it is, as far as reserves or the campaign tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Which organisation's, where there are several to tell apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// The campaign that it was dialed for, if Headroom dialed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// When it was taken.
    pub since: Timestamp,
}

/// Lines held alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holders {
    /// How many.
    pub lines: u32,
    /// `inbound`, `outbound`, `foreign`, `web` or `chat`.
    pub kind: String,
    /// Whose calls: the agent's name, or its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The campaign, or its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// The longest-held one's taking.
    pub since: Timestamp,
}

/// When a line is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// As likely before as after; nothing where no held line's end would help, or none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// By what calls may last at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Timestamp>,
    /// What this rests on.
    pub basis: Basis,
}

/// What an expectation rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// The mean length of the last day's calls.
    Usage,
    /// No call of the last day is known: two minutes a call.
    Typical,
    /// Outbound rests until then.
    Rest,
    /// A quota allows no more calls until then.
    Quota,
    /// A breaker lets the next call ahead then; if no time is told, when those on their way have gone well.
    Breaker,
    /// The lines that the rule leaves are none, or nobody is known to hold one: a number has to change.
    Nothing,
}

/// Who asked for a line.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// What kind of call it would have been.
    pub kind: Kind,
    /// What it would have been known by, the most telling first.
    pub codes: &'a [NameCode],
    /// The campaign that it would have been dialed for.
    pub campaign: Option<&'a Campaign>,
    /// The asker's own line, where one was recorded although there was none to have.
    pub own: Option<&'a LineKey>,
}

/// The mean lengths of calls, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Means {
    /// Of callers' calls.
    pub inbound: Option<SignedDuration>,
    /// Of calls dialed, by whomever.
    pub outbound: Option<SignedDuration>,
    /// Of browser and websocket calls.
    pub web: Option<SignedDuration>,
}

/// What is known besides the pool.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The campaigns, for their names and what their calls may last.
    pub campaigns: &'a [Campaign],
    /// The mean lengths of calls.
    pub means: Means,
    /// For spans in real-life time.
    pub timers: &'a Timers,
}

/// The mean length of a call where nothing is known.
const TYPICAL: SignedDuration = SignedDuration::from_mins(2);
/// The longest call that Vapi allows: all that is known of calls that Headroom did not dial.
const LONGEST_CALL: SignedDuration = SignedDuration::from_hours(12);
/// Most groups, and most single lines, that a record keeps.
const MOST: usize = 50;

impl HeldLine {
    /// A held line of a pool. A token knows its agent by a code alone: the reserves tell its name, or the campaign.
    pub fn of(key: &LineKey, token: &Token, pool: &Pool, campaigns: &[Campaign]) -> Self {
        let campaign = campaign_of(key).and_then(|code| campaigns.iter().find(|known| known.code == *code));
        let codes = pool.codes(key, token);
        let reserved = codes.iter().find_map(|code| pool.reserves.agent(code)).cloned();
        let agent = reserved.or_else(|| campaign?.spec.agent.clone());
        Self {
            kind: token.kind().name().to_owned(),
            agent: agent.map(|agent| agent.to_string()),
            org: None,
            campaign: campaign.map(|campaign| campaign.spec.id.to_string()),
            since: token.since(),
        }
    }

    /// The same with codes where no name is known.
    fn with_codes(mut self, key: &LineKey, token: &Token) -> Self {
        self.agent = self.agent.or_else(|| token.codes().first().map(|code| code.as_str().to_owned()));
        self.campaign = self.campaign.or_else(|| campaign_of(key).map(|code| code.as_str().to_owned()));
        self
    }
}

impl Refusal {
    /// The record of a refusal at `now`, from the very pool that refused.
    pub fn of(
        asker: &Asker<'_>,
        by: Refuser,
        fate: Fate,
        pool: &Pool,
        known: &Known<'_>,
        now: Timestamp,
    ) -> Self {
        let name = asker.codes.iter().find_map(|code| pool.reserves.agent(code)).map(ToString::to_string);
        let named = || asker.campaign?.spec.agent.as_ref().map(ToString::to_string);
        let code = || asker.codes.first().map(|code| code.as_str().to_owned());
        let others = pool.lines.iter().filter(|(key, _)| Some(*key) != asker.own);
        let mut longest: Vec<HeldLine> = others
            .map(|(key, token)| HeldLine::of(key, token, pool, known.campaigns).with_codes(key, token))
            .collect();
        longest.sort_by_key(|line| line.since);
        let holders = grouped(&longest);
        longest.truncate(MOST);
        Self {
            at: now,
            since: now,
            rule: by.name().to_owned(),
            kind: asker.kind.name().to_owned(),
            agent: name.or_else(named).or_else(code),
            fate,
            lines: Numbers {
                limit: pool.policy.limit(),
                cap: pool.policy.cap(),
                headroom: pool.policy.headroom(),
                total: pool.counts.total,
                outbound: pool.counts.outbound,
                shared: pool.uses.shared,
                shared_lines: pool.shared(),
                reserved: pool.reserves.total(),
                unseen: pool.unseen(now),
            },
            holders,
            longest,
            expected: expected(asker, by, pool, known, now),
        }
    }
}

fn grouped(lines: &[HeldLine]) -> Vec<Holders> {
    let mut groups: BTreeMap<_, (u32, Timestamp)> = BTreeMap::new();
    for line in lines {
        let group = groups.entry((&line.kind, &line.agent, &line.campaign)).or_insert((0, line.since));
        group.0 += 1;
        group.1 = group.1.min(line.since);
    }
    let group =
        |((kind, agent, campaign), (lines, since)): ((&String, &Option<String>, &Option<String>), _)| {
            Holders { lines, kind: kind.clone(), agent: agent.clone(), campaign: campaign.clone(), since }
        };
    let mut groups: Vec<Holders> = groups.into_iter().map(group).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.lines));
    groups.truncate(MOST);
    groups
}

fn campaign_of(key: &LineKey) -> Option<&CampaignCode> {
    match key {
        LineKey::Claim(claim) => Some(&claim.campaign),
        LineKey::Observed(_) => None,
    }
}

/// When a line is expected at `now`: of the lines that the rule waits for, not just any.
pub fn expected(asker: &Asker<'_>, by: Refuser, pool: &Pool, known: &Known<'_>, now: Timestamp) -> Expected {
    let resting = now < pool.hold_until && asker.kind == Kind::Outbound;
    if by == Refuser::Rule(Rule::HoldOff) || (by == Refuser::Vapi && resting) {
        return Expected { next: Some(pool.hold_until), latest: Some(pool.hold_until), basis: Basis::Rest };
    }
    if by == Refuser::Rule(Rule::Breaker) {
        return Expected { next: None, latest: None, basis: Basis::Breaker };
    }
    let opens = match by {
        Refuser::Rule(Rule::Pace) => {
            asker.campaign.and_then(|own| pool.paced_until(&own.code, &bounds(own, pool, known), asker.codes))
        }
        Refuser::Rule(Rule::Daily) => Some(quota::next_day(now)),
        _ => None,
    };
    if opens.is_some() {
        return Expected { next: opens, latest: opens, basis: Basis::Quota };
    }
    let others = pool.lines.iter().filter(|(key, _)| Some(*key) != asker.own);
    let waited_for = others.filter(|(key, token)| is_waited_for(asker, by, pool, key, token));
    let mut all_known = true;
    let ends: Vec<(SignedDuration, Timestamp)> = waited_for
        .map(|(key, token)| {
            let (mean, longest, is_known) = length(key, token, known);
            all_known &= is_known;
            (mean, token.since() + longest)
        })
        .collect();
    match needed(asker, by, pool, known, now).and_then(|lines| ends_of(&ends, lines as usize, now)) {
        Some((next, latest)) => Expected {
            next: Some(next),
            latest: Some(latest),
            basis: if all_known { Basis::Usage } else { Basis::Typical },
        },
        None => Expected { next: None, latest: None, basis: Basis::Nothing },
    }
}

/// What bounds a campaign alone.
fn bounds(campaign: &Campaign, pool: &Pool, known: &Known<'_>) -> Own {
    Own::of(&campaign.spec.pace(), &pool.come(&campaign.code).1, known.timers)
}

/// Whether the end of a line would bring what the rule asks for nearer.
fn is_waited_for(asker: &Asker<'_>, by: Refuser, pool: &Pool, key: &LineKey, token: &Token) -> bool {
    match by {
        Refuser::Vapi
        | Refuser::Rule(Rule::Limit | Rule::HoldOff | Rule::Pace | Rule::Daily | Rule::Breaker) => true,
        Refuser::Rule(Rule::Quota) => {
            let codes = pool.codes(key, token);
            full_quotas(asker, pool).any(|(name, _)| pool.quotas.of(&codes).any(|(counts, _)| counts == name))
        }
        Refuser::Rule(Rule::Adaptive) => token.kind() == Kind::Outbound,
        Refuser::Rule(Rule::Cap) => matches!(token.kind(), Kind::Outbound | Kind::Foreign),
        Refuser::Rule(Rule::CampaignCap | Rule::Batch) => {
            campaign_of(key).is_some_and(|code| asker.campaign.is_some_and(|own| own.code == *code))
        }
        // A line within another agent's reserve goes back to that agent.
        Refuser::Rule(Rule::Headroom | Rule::Shared) => {
            match pool.reserves.bucket(&pool.codes(key, token), token.kind()) {
                Some(bucket) => {
                    pool.uses.held(&bucket.key) > bucket.reserved
                        || pool.source(asker.codes, asker.kind).bucket() == Some(&bucket)
                }
                None => true,
            }
        }
    }
}

/// How many of those lines have to end; nothing if even all of them would not do.
fn needed(asker: &Asker<'_>, by: Refuser, pool: &Pool, known: &Known<'_>, now: Timestamp) -> Option<u32> {
    let unseen = if asker.kind == Kind::Outbound { pool.unseen(now) } else { 0 };
    let (held, allowed) = match by {
        Refuser::Vapi
        | Refuser::Rule(Rule::HoldOff | Rule::Pace | Rule::Daily | Rule::Breaker | Rule::Adaptive) => {
            return Some(1);
        }
        Refuser::Rule(Rule::Limit) => {
            let held = pool.counts.total - u32::from(asker.own.is_some()).min(pool.counts.total);
            (held + unseen, pool.policy.limit())
        }
        Refuser::Rule(Rule::Quota) => full_quotas(asker, pool).next()?.1,
        Refuser::Rule(Rule::Cap) => (pool.counts.outbound, pool.policy.cap()),
        Refuser::Rule(Rule::CampaignCap) => {
            let campaign = asker.campaign?;
            (pool.come(&campaign.code).0, bounds(campaign, pool, known).lines.unwrap_or(u32::MAX))
        }
        // The next batch begins when all calls of this one are over.
        Refuser::Rule(Rule::Batch) => {
            return Some(pool.come(&asker.campaign?.code).0).filter(|held| *held > 0);
        }
        Refuser::Rule(Rule::Headroom) => (pool.uses.shared + unseen, pool.shared_for_outbound()),
        Refuser::Rule(Rule::Shared) => (pool.uses.shared, pool.shared()),
    };
    // An end in the agent's own reserve is room for it, however little is shared.
    let by_shares = matches!(by, Refuser::Rule(Rule::Headroom | Rule::Shared));
    let own_reserve = by_shares && matches!(pool.source(asker.codes, asker.kind), Source::Shared(Some(_)));
    match allowed {
        0 if own_reserve => Some(1),
        0 => None,
        allowed => Some((held + 1).saturating_sub(allowed).max(1)),
    }
}

/// The quotas that leave the asker no line: the lines that each holds, and the most it allows.
fn full_quotas<'a>(
    asker: &'a Asker<'_>,
    pool: &'a Pool,
) -> impl Iterator<Item = (&'a QuotaName, (u32, u32))> {
    pool.quotas.of(asker.codes).filter_map(|(name, quota)| {
        let (held, most) = (pool.uses.held(&BucketKey::quota(name)), quota.lines?.get());
        (held >= most).then_some((name, (held, most)))
    })
}

/// A call's mean length, the longest it may last, and whether the mean is known from usage.
fn length(key: &LineKey, token: &Token, known: &Known<'_>) -> (SignedDuration, SignedDuration, bool) {
    let mean = match token.kind() {
        Kind::Inbound => known.means.inbound,
        Kind::Outbound | Kind::Foreign => known.means.outbound,
        Kind::Web => known.means.web,
        Kind::Chat => None,
    };
    let campaign = campaign_of(key).and_then(|code| known.campaigns.iter().find(|c| c.code == *code));
    let longest = known.timers.scaled(campaign.map_or(LONGEST_CALL, |campaign| campaign.spec.max_duration()));
    let shortest = SignedDuration::from_secs(1);
    let typical = known.timers.scaled(TYPICAL);
    (mean.unwrap_or(typical).min(longest).max(shortest), longest, mean.is_some())
}

/// When `needed` of the calls that end like this are expected to have ended, and by when they have at the latest.
fn ends_of(
    calls: &[(SignedDuration, Timestamp)],
    needed: usize,
    now: Timestamp,
) -> Option<(Timestamp, Timestamp)> {
    let mut bounds: Vec<Timestamp> = calls.iter().map(|(_, longest)| *longest).collect();
    bounds.sort();
    let latest = (*bounds.get(needed.checked_sub(1)?)?).max(now);
    let calls_now = calls.len() as f64;
    let ends_per_second: f64 = calls.iter().map(|(mean, _)| mean.as_secs_f64().recip()).sum();
    let one_end = |ended: usize| calls_now / (ends_per_second * (calls_now - ended as f64));
    let wait: f64 = (0..needed).map(one_end).sum();
    let next = now.checked_add(SignedDuration::from_secs_f64(wait)).unwrap_or(latest);
    Some((next.min(latest), latest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::campaign::Message;
    use crate::core::ids::{ClaimKey, LeadRef};
    use crate::core::pool::{Counts, Policy, Tally};
    use crate::core::reserve::Reserve;

    fn now() -> Timestamp {
        "2026-05-01T10:00:00Z".parse().expect("an instant")
    }

    fn after(seconds: i64) -> Timestamp {
        now() + SignedDuration::from_secs(seconds)
    }

    fn campaign(id: &str, cap: Option<u32>) -> Campaign {
        let cap = cap.map_or(String::new(), |cap| format!(r#","maxConcurrency":{cap}"#));
        let body = format!(
            r#"{{"campaign":{{"id":"{id}","assistantId":"a","phoneNumberId":"p"{cap}}},"leads":[]}}"#
        );
        let Ok(Message::Leads { spec, .. }) = Message::parse(body.as_bytes()) else {
            panic!("{body} is one")
        };
        Campaign {
            code: CampaignCode::of(&spec.id),
            spec: *spec,
            created: now(),
            state: crate::core::campaign::CampaignState::Running,
            leads: Some(1),
            settled: (0, 0),
            lanes: Default::default(),
            revision: 0,
            run: 0,
            reran: None,
            acts: Vec::new(),
            callbacks: Default::default(),
            sweep: Default::default(),
            new_hours: None,
            kpi: Default::default(),
            untold: Vec::new(),
        }
    }

    /// A pool in which lines of these kinds are held, the first the longest: outbound ones of `campaign`.
    fn pool(policy: (u32, u32, u32), campaign: &Campaign, held: &[(Kind, &str)]) -> Pool {
        let mut pool = Pool::new(Policy::new(policy.0, policy.1, policy.2).expect("a policy"));
        for (n, (kind, agent)) in held.iter().enumerate() {
            let lead = LeadRef::of(&format!("l{n}").parse().expect("an id"));
            let key = match kind {
                Kind::Outbound => {
                    LineKey::Claim(ClaimKey { campaign: campaign.code.clone(), lead, claim: 1 })
                }
                _ => LineKey::Observed(format!("call-{n}").parse().expect("an id")),
            };
            let since = after(n as i64 - 60);
            let token = Token::new(*kind, since, n as u32).known_by([&NameCode::of(agent)]);
            pool.lines.insert(key, token);
        }
        count(&mut pool, campaign);
        pool
    }

    fn count(pool: &mut Pool, campaign: &Campaign) {
        pool.counts = Counts::of(pool.lines.values());
        pool.uses = pool.uses_of(&pool.reserves, &pool.quotas);
        let held = pool.lines.keys().filter(|key| campaign_of(key).is_some()).count() as u32;
        pool.campaigns.insert(campaign.code.clone(), Tally { held, ..Tally::default() });
    }

    fn outbound(campaign: &Campaign) -> Asker<'_> {
        Asker { kind: Kind::Outbound, codes: &[], campaign: Some(campaign), own: None }
    }

    fn expect(asker: &Asker<'_>, by: Refuser, pool: &Pool, campaigns: &[Campaign]) -> Expected {
        let minutes = |n| Some(SignedDuration::from_mins(n));
        let means = Means { inbound: minutes(4), outbound: minutes(1), web: None };
        expected(asker, by, pool, &Known { campaigns, means, timers: &Timers::default() }, now())
    }

    fn next(asker: &Asker<'_>, rule: Rule, pool: &Pool, campaigns: &[Campaign]) -> Option<i64> {
        let expected = expect(asker, Refuser::Rule(rule), pool, campaigns);
        expected.next.map(|next| next.duration_since(now()).as_secs())
    }

    #[test]
    fn each_rule_waits_for_the_lines_that_would_help() {
        use Kind::{Foreign, Inbound, Outbound};
        let campaigns = [campaign("c", Some(2))];
        let asker = outbound(&campaigns[0]);
        let held = [(Inbound, "desk"), (Outbound, "sales"), (Outbound, "sales"), (Foreign, "other")];
        let four = pool((4, 3, 0), &campaigns[0], &held);
        // One of a caller's per 4 minutes and three per minute; three per minute; two per minute.
        assert_eq!(next(&asker, Rule::Limit, &four, &campaigns), Some(18));
        assert_eq!(next(&asker, Rule::Cap, &four, &campaigns), Some(20));
        assert_eq!(next(&asker, Rule::CampaignCap, &four, &campaigns), Some(30));
        // With a headroom of 2, three have to end: of four, then of three, then of two.
        let guarded = pool((4, 4, 2), &campaigns[0], &held);
        assert_eq!(next(&asker, Rule::Headroom, &guarded, &campaigns), Some(80));
        for (policy, rule) in [((4, 0, 0), Rule::Cap), ((4, 4, 4), Rule::Headroom)] {
            let never = expect(&asker, Refuser::Rule(rule), &pool(policy, &campaigns[0], &held), &campaigns);
            assert_eq!(never, Expected { next: None, latest: None, basis: Basis::Nothing }, "{rule:?}");
        }
    }

    #[test]
    fn a_line_within_anothers_reserve_helps_nobody_else() {
        let campaigns = [campaign("c", None)];
        let mut some = pool((3, 3, 0), &campaigns[0], &[(Kind::Inbound, "desk"), (Kind::Inbound, "x")]);
        let reserve = Reserve { inbound: 2, ..Reserve::default() };
        some.reserves = some.reserves.with("desk".parse().expect("a name"), reserve, 3).expect("it fits");
        count(&mut some, &campaigns[0]);
        let (desk, other) = (NameCode::of("desk"), NameCode::of("other"));
        let caller = |code| Asker {
            kind: Kind::Inbound,
            codes: std::slice::from_ref(code),
            campaign: None,
            own: None,
        };
        // The one shared line is a caller's of nobody's; the desk's own goes back to the desk.
        assert_eq!(next(&caller(&other), Rule::Shared, &some, &campaigns), Some(240));
        let mut full = pool((3, 3, 0), &campaigns[0], &[(Kind::Inbound, "desk"); 2]);
        full.lines.insert(
            LineKey::Observed("call-9".parse().expect("an id")),
            Token::new(Kind::Inbound, now(), 0).known_by([&other]),
        );
        full.reserves = some.reserves.clone();
        count(&mut full, &campaigns[0]);
        assert_eq!(next(&caller(&desk), Rule::Shared, &full, &campaigns), Some(80));
        assert_eq!(next(&caller(&other), Rule::Shared, &full, &campaigns), Some(240));
    }

    #[test]
    fn a_rest_ends_when_it_ends_and_vapi_alone_says_nothing() {
        let campaigns = [campaign("c", None)];
        let asker = outbound(&campaigns[0]);
        let mut resting = pool((3, 3, 0), &campaigns[0], &[]);
        let nothing = expect(&asker, Refuser::Vapi, &resting, &campaigns);
        assert_eq!((nothing.next, nothing.basis), (None, Basis::Nothing));
        resting.hold_until = after(8);
        for by in [Refuser::Vapi, Refuser::Rule(Rule::HoldOff)] {
            let rest = expect(&asker, by, &resting, &campaigns);
            assert_eq!((rest.next, rest.basis), (Some(after(8)), Basis::Rest));
        }
    }

    #[test]
    fn a_record_is_bounded_and_leaves_the_asker_out() {
        let campaigns = [campaign("c", None)];
        let some = pool((500, 500, 0), &campaigns[0], &[(Kind::Inbound, "desk"); 400]);
        let own = LineKey::Observed("call-399".parse().expect("an id"));
        let asker = Asker { kind: Kind::Inbound, codes: &[], campaign: None, own: Some(&own) };
        let timers = Timers::default();
        let known = Known { campaigns: &campaigns, means: Means::default(), timers: &timers };
        let refusal = Refusal::of(&asker, Refuser::Rule(Rule::Limit), Fate::Busy, &some, &known, now());
        assert_eq!(refusal.longest.len(), 50);
        assert_eq!(refusal.longest[0].since, after(-60));
        let desk = Some(NameCode::of("desk").as_str().to_owned());
        let group =
            Holders { lines: 399, kind: "inbound".into(), agent: desk, campaign: None, since: after(-60) };
        assert_eq!(refusal.holders, [group]);
        let text = serde_json::to_string(&refusal).expect("JSON");
        assert!(text.len() < 8 * 1024, "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<Refusal>(&text).expect("a record"), refusal);
    }

    fn some_kinds() -> impl Strategy<Value = Vec<Kind>> {
        let kind = prop::sample::select(vec![Kind::Inbound, Kind::Outbound, Kind::Foreign, Kind::Web]);
        proptest::collection::vec(kind, 1..40)
    }

    proptest! {
        #[test]
        fn of_n_equal_calls_the_next_ends_after_the_mean_by_n(n in 1_i64..500, mean in 1_i64..100_000) {
            let far = after(10_000_000);
            let calls = vec![(SignedDuration::from_secs(mean), far); n as usize];
            let (next, latest) = ends_of(&calls, 1, now()).expect("there are calls");
            let wait = next.duration_since(now()).as_secs_f64();
            prop_assert!((wait - mean as f64 / n as f64).abs() < 1e-6, "{wait}");
            prop_assert_eq!(latest, far);
        }

        #[test]
        fn more_that_have_to_end_are_never_sooner_and_none_is_late(
            calls in proptest::collection::vec((1_i64..10_000, -100_i64..10_000), 1..50),
        ) {
            let calls: Vec<_> =
                calls.iter().map(|(mean, longest)| (SignedDuration::from_secs(*mean), after(*longest))).collect();
            let mut before = now();
            for needed in 1..=calls.len() {
                let (next, latest) = ends_of(&calls, needed, now()).expect("enough calls");
                prop_assert!(before <= next && next <= latest);
                before = next;
            }
            prop_assert_eq!(ends_of(&calls, calls.len() + 1, now()), None);
        }

        #[test]
        fn a_cap_waits_for_outbound_alone(kinds in some_kinds(), callers in 0_usize..20) {
            let campaigns = [campaign("c", None)];
            let held = |more: usize| -> Vec<(Kind, &str)> {
                let callers = std::iter::repeat_n(Kind::Inbound, more);
                kinds.iter().copied().chain(callers).map(|kind| (kind, "x")).collect()
            };
            let of = |more| {
                let pool = pool((100, 1, 0), &campaigns[0], &held(more));
                expect(&outbound(&campaigns[0]), Refuser::Rule(Rule::Cap), &pool, &campaigns)
            };
            prop_assert_eq!(of(callers), of(0));
        }
    }
}

//! The pool of lines: its policy, its reserves and quotas, its counters, who holds what, and how much room is left.
//! The table keeps it as one item; this is that item, parsed.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::campaign::Campaign;
use super::fair::Lines;
use super::ids::{CampaignCode, NameCode, OrgId};
use super::line::{Kind, Lease, LineKey, Token};
use super::pacing::{Own, Progress};
use super::quota::{self, Pace, Quota, Quotas};
use super::reserve::{Bucket, BucketKey, Reserves, Uses};
use super::shard::Shard;
use super::unseen::Unseen;

/// How the lines of a pool may be used. In lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    limit: u32,
    purchased: u32,
    cap: u32,
    headroom: u32,
}

/// Why numbers are no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No lines at all.
    #[error("a pool needs a limit of at least 1 line, got 0")]
    NoLines,
    /// More purchased than there are.
    #[error("{purchased} lines cannot be purchased ones where there are {limit} in all")]
    Purchased {
        /// Lines said to be purchased.
        purchased: u32,
        /// Lines in all.
        limit: u32,
    },
}

impl Policy {
    /// A policy. A cap or headroom beyond the limit is allowed: limits move, and both then simply
    /// leave outbound what is left, or nothing.
    pub fn new(limit: u32, cap: u32, headroom: u32) -> Result<Self, PolicyError> {
        if limit == 0 { Err(PolicyError::NoLines) } else { Ok(Self { limit, purchased: 0, cap, headroom }) }
    }

    /// The limit of a subscription without one: more lines than any has.
    pub const UNLIMITED: u32 = 1_000_000;

    /// One item's share of a policy, which may be of no line at all.
    pub(crate) fn share(limit: u32, cap: u32, headroom: u32) -> Self {
        Self { limit, purchased: 0, cap, headroom }
    }

    /// Lines the pool has now.
    pub fn limit(self) -> u32 {
        self.limit
    }
    /// The part of the limit that was purchased on top of what the plan includes, as far as somebody said so:
    /// Vapi's API tells the sum alone.
    pub fn purchased(self) -> u32 {
        self.purchased
    }
    /// The part of the limit that the plan includes.
    pub fn included(self) -> u32 {
        self.limit - self.purchased
    }
    /// Most lines that outbound may hold.
    pub fn cap(self) -> u32 {
        self.cap
    }
    /// Shared lines that outbound must leave free for the next callers.
    pub fn headroom(self) -> u32 {
        self.headroom
    }
    /// The same policy on another number of lines. What the plan includes stays, what is beyond was purchased; if
    /// nothing ever was, nothing is said of it.
    pub fn with_limit(self, limit: u32) -> Result<Self, PolicyError> {
        let purchased = if self.purchased == 0 { 0 } else { limit.saturating_sub(self.included()) };
        Self::new(limit, self.cap, self.headroom)?.with_purchased(purchased)
    }
    /// The same policy, so many of its lines being purchased ones.
    pub fn with_purchased(self, purchased: u32) -> Result<Self, PolicyError> {
        if purchased > self.limit {
            Err(PolicyError::Purchased { purchased, limit: self.limit })
        } else {
            Ok(Self { purchased, ..self })
        }
    }
}

/// `limit/cap/headroom`: how a policy is written in logs and remembered as "what was configured".
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.limit, self.cap, self.headroom)
    }
}

/// How many lines are held, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All held lines.
    pub total: u32,
    /// Outbound, Headroom's and foreign.
    pub outbound: u32,
    /// The part of `outbound` that Headroom did not dial.
    pub foreign: u32,
    /// Callers.
    pub inbound: u32,
    /// Browser and websocket calls.
    pub web: u32,
    /// Chats.
    pub chat: u32,
}

impl Counts {
    /// What a set of held lines adds up to. P7 says that this always equals the stored counters.
    pub fn of<'a>(tokens: impl IntoIterator<Item = &'a Token>) -> Self {
        let mut counts = Self::default();
        for token in tokens {
            counts.total += 1;
            match token.kind() {
                Kind::Inbound => counts.inbound += 1,
                Kind::Web => counts.web += 1,
                Kind::Chat => counts.chat += 1,
                Kind::Outbound => counts.outbound += 1,
                Kind::Foreign => {
                    counts.outbound += 1;
                    counts.foreign += 1;
                }
            }
        }
        counts
    }
}

/// What the ledger keeps of a campaign that is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// What its calls are known by, the most telling first.
    pub codes: Vec<NameCode>,
    /// Lines its calls hold.
    pub held: u32,
    /// Leads that ended well: reached.
    pub done: u32,
    /// Leads that ended otherwise.
    pub failed: u32,
    /// How far it has come by its own pace.
    pub progress: Progress,
}

/// The pool's item: one read shows the policy, the counters, and who holds each line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The numbers that decide.
    pub policy: Policy,
    /// What is reserved for whom.
    pub reserves: Reserves,
    /// What bounds some of the calls besides.
    pub quotas: Quotas,
    /// How far paced quotas have come.
    pub paces: BTreeMap<BucketKey, Pace>,
    /// Rises with every change of policy, reserves or quotas; a write made for another revision is refused.
    pub revision: u64,
    /// The counters by kind, as stored.
    pub counts: Counts,
    /// The counters by reserve and by quota, and of the shared lines, as stored.
    pub uses: Uses,
    /// The held lines.
    pub lines: BTreeMap<LineKey, Token>,
    /// The campaigns under way.
    pub campaigns: BTreeMap<CampaignCode, Tally>,
    /// Outbound rests until then.
    pub hold_until: Timestamp,
    /// Answers in a row that made it rest.
    pub hold_count: u32,
    /// The organisation that Vapi says our key belongs to, once known.
    pub org: Option<OrgId>,
    /// Lines that others are believed to use without anybody telling.
    pub unseen: Option<Unseen>,
    /// The limit that Vapi last reported, if it differs from the policy's.
    pub seen_limit: Option<u32>,
    /// The configured policy that was last applied, as text.
    pub configured: Option<String>,
    /// Which item of the ledger this is, or all of several in one.
    pub shard: Shard,
}

/// What stands in the way of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Every line of the pool is held.
    Limit,
    /// Shared lines in use, with the headroom that outbound leaves to callers, would pass the shared ones.
    Headroom,
    /// The agent's own reserve and the shared lines are full; others' reserves are theirs.
    Shared,
    /// Outbound would pass its cap.
    Cap,
    /// The campaign would pass its own `maxConcurrency`.
    CampaignCap,
    /// The campaign's batch is begun, and its calls are not over, or the rest after them is not.
    Batch,
    /// A quota that the call counts in would pass its lines.
    Quota,
    /// A quota's calls for this second are begun.
    Pace,
    /// A quota's calls for this day are made.
    Daily,
    /// Vapi asked for a rest, or was seen full.
    HoldOff,
    /// Outbound's cap is lowered while Vapi is under strain.
    Adaptive,
    /// What the campaign's calls need fails, and its breaker has opened.
    Breaker,
}

impl Rule {
    /// Whether it is about how well outbound is going, and not about lines.
    pub fn is_health(self) -> bool {
        matches!(self, Self::Adaptive | Self::Breaker)
    }

    /// The rule's name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Headroom => "headroom",
            Self::Shared => "shared",
            Self::Cap => "cap",
            Self::CampaignCap => "campaign_cap",
            Self::Batch => "batch",
            Self::Quota => "quota",
            Self::Pace => "pace",
            Self::Daily => "daily",
            Self::HoldOff => "hold_off",
            Self::Adaptive => "adaptive",
            Self::Breaker => "breaker",
        }
    }
}

/// Where the next line for a call comes from: its agent's own reserve while that has room, and only then the
/// shared ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The agent's own reserve.
    Reserve(Bucket),
    /// The shared lines; the reserve that is full, if the agent has one.
    Shared(Option<Bucket>),
}

impl Source {
    /// The reserve that counts the call, wherever its line comes from.
    pub fn bucket(&self) -> Option<&Bucket> {
        match self {
            Self::Reserve(bucket) => Some(bucket),
            Self::Shared(bucket) => bucket.as_ref(),
        }
    }
}

/// How many outbound lines may be taken now with one write, and which rule allows no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Lines that may be taken at this instant. Where an agent's own reserve has room, as many as fit into
    /// it: the shared ones are another taking.
    pub lines: u32,
    /// The rule that would refuse one more.
    pub rule: Rule,
}

impl Pool {
    /// An empty pool without reserves.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            reserves: Reserves::default(),
            quotas: Quotas::default(),
            paces: BTreeMap::new(),
            revision: 1,
            counts: Counts::default(),
            uses: Uses::default(),
            lines: BTreeMap::new(),
            campaigns: BTreeMap::new(),
            hold_until: Timestamp::UNIX_EPOCH,
            hold_count: 0,
            org: None,
            unseen: None,
            seen_limit: None,
            configured: Some(policy.to_string()),
            shard: Shard::default(),
        }
    }

    /// How many more lines a campaign may take at `now` (P1, P2). `own` is what bounds it alone, `codes` are what its
    /// calls are known by.
    ///
    /// The write that takes them repeats these comparisons as its condition; this only tells how
    /// many to ask for, and explains a refusal.
    pub fn room(
        &self,
        campaign: &CampaignCode,
        own: impl Into<Own>,
        codes: &[NameCode],
        now: Timestamp,
    ) -> Room {
        if now < self.hold_until {
            return Room { lines: 0, rule: Rule::HoldOff };
        }
        let (held, progress) = self.come(campaign);
        let by_source = match self.source(codes, Kind::Outbound) {
            // Full, it is no refusal: the shared lines are next.
            Source::Reserve(bucket) => (Rule::Shared, bucket.reserved - self.uses.held(&bucket.key)),
            Source::Shared(_) => {
                let used = self.uses.shared.saturating_add(self.unseen(now));
                (Rule::Headroom, self.shared_for_outbound().saturating_sub(used))
            }
        };
        let by_rule = [by_source, (Rule::Cap, self.policy.cap.saturating_sub(self.counts.outbound))];
        let by_limit = (Rule::Limit, self.free().saturating_sub(self.unseen(now)));
        let by_own = own.into().room(held, &progress, now);
        let by_quota = self.quotas.of(codes).map(|(name, quota)| {
            let key = BucketKey::quota(name);
            (quota, self.uses.held(&key), self.pace(&key))
        });
        let rules = by_rule.into_iter().chain(by_own).chain([by_limit]).chain(quota::room(by_quota, now));
        let (rule, lines) =
            rules.min_by_key(|(_, lines)| *lines).expect("there are some rules to choose from");
        Room { lines, rule }
    }

    /// How many of a campaign's leads are over, as done and as failed, those left out that came back for a call that they
    /// are promised.
    pub fn over(&self, campaign: &Campaign) -> (u32, u32) {
        let tally = self.campaigns.get(&campaign.code).filter(|_| !campaign.state.is_over());
        let (done, failed) = tally.map_or(campaign.settled, |tally| (tally.done, tally.failed));
        let (back_done, back_failed) = campaign.callbacks.undone;
        (done.saturating_sub(back_done), failed.saturating_sub(back_failed))
    }

    /// Lines that a campaign holds, and how far it has come.
    pub fn come(&self, campaign: &CampaignCode) -> (u32, Progress) {
        self.campaigns.get(campaign).map_or_else(Default::default, |tally| (tally.held, tally.progress))
    }

    /// The lines that outbound may take at `now`, by where they come from.
    pub fn lines_for_outbound(&self, now: Timestamp) -> Lines {
        let mut lines = Lines { outbound: self.counts.outbound, ..Lines::default() };
        if now < self.hold_until {
            return lines;
        }
        for item in self.live_items() {
            let unseen = item.unseen(now);
            let cap = item.policy.cap.saturating_sub(item.counts.outbound);
            lines.total += item.free().saturating_sub(unseen).min(cap);
            let used = item.uses.shared.saturating_add(unseen);
            lines.shared += item.shared_for_outbound().saturating_sub(used);
            for bucket in item.reserves.buckets() {
                let idle = bucket.reserved.saturating_sub(item.uses.held(&bucket.key));
                *lines.reserves.entry(bucket.key).or_default() += idle;
            }
        }
        lines
    }

    /// How far a quota has come whose lines are counted under `key`.
    pub fn pace(&self, key: &BucketKey) -> Pace {
        self.paces.get(key).copied().unwrap_or_default()
    }

    /// The paced quotas of calls known by these codes, and where each is counted.
    pub fn paced<'a>(&'a self, codes: &'a [NameCode]) -> impl Iterator<Item = (BucketKey, &'a Quota)> {
        let paced = self.quotas.of(codes).filter(|(_, quota)| quota.is_paced());
        paced.map(|(name, quota)| (BucketKey::quota(name), quota))
    }

    /// What paces a campaign's calls, and how far each has come: the quotas that they count in, then its own rate.
    fn paces_of(&self, campaign: &CampaignCode, own: &Own, codes: &[NameCode]) -> Vec<(Quota, Pace)> {
        let quotas = self.paced(codes).map(|(key, quota)| (quota.clone(), self.pace(&key)));
        let progress = self.come(campaign).1;
        quotas.chain(own.quota().map(|quota| (quota, progress.pace.unwrap_or_default()))).collect()
    }

    /// Dials that a campaign's paces allow at `now`.
    pub fn slots(&self, campaign: &CampaignCode, own: &Own, codes: &[NameCode], now: Timestamp) -> u32 {
        let paces = self.paces_of(campaign, own, codes);
        let slots = paces.iter().flat_map(|(quota, pace)| quota.slots(*pace, now));
        slots.map(|(_, slots)| slots).min().unwrap_or(u32::MAX)
    }

    /// When each of a campaign's `dials` dials that are granted at `now` is to be made: at once, unless it has a rate.
    pub fn starts(
        &self,
        campaign: &CampaignCode,
        own: &Own,
        codes: &[NameCode],
        dials: u32,
        now: Timestamp,
    ) -> Vec<Timestamp> {
        quota::starts(&self.paces_of(campaign, own, codes), dials, now)
    }

    /// How far a campaign's paces have come once those dials are begun: the quotas' in their order, then its own.
    pub fn paces_after(
        &self,
        campaign: &CampaignCode,
        own: &Own,
        codes: &[NameCode],
        dials: u32,
        now: Timestamp,
    ) -> Vec<Pace> {
        let paces = self.paces_of(campaign, own, codes);
        quota::after(&paces, &quota::starts(&paces, dials, now), now)
    }

    /// When to look again for a campaign's calls, if a rate is what they wait for.
    pub fn paced_until(&self, campaign: &CampaignCode, own: &Own, codes: &[NameCode]) -> Option<Timestamp> {
        quota::opens(&self.paces_of(campaign, own, codes))
    }

    /// What the call that holds a line is known by: its token says, or its campaign's tally.
    pub fn codes(&self, key: &LineKey, token: &Token) -> Vec<NameCode> {
        let mut codes = token.codes();
        if let LineKey::Claim(claim) = key
            && let Some(tally) = self.campaigns.get(&claim.campaign)
        {
            codes.extend(tally.codes.iter().cloned());
        }
        codes
    }

    /// What the held lines would use of these reserves and quotas.
    pub fn uses_of(&self, reserves: &Reserves, quotas: &Quotas) -> Uses {
        let lines = self.lines.iter().map(|(key, token)| (token.kind(), self.codes(key, token)));
        Uses::of(reserves, quotas, lines)
    }

    /// Which of the codes that a call may be known by are worth keeping with its line: that of the agent whose
    /// reserve counts it, else the first, which a later reserve may be for; and those that a quota knows.
    pub fn telling(&self, codes: &[NameCode]) -> Vec<NameCode> {
        let mut telling: Vec<NameCode> = self.reserves.telling(codes).cloned().into_iter().collect();
        for code in codes {
            if !telling.contains(code) && self.quotas.of(std::slice::from_ref(code)).next().is_some() {
                telling.push(code.clone());
            }
        }
        telling
    }

    /// Where the next line for a call known by these codes would come from.
    pub fn source(&self, codes: &[NameCode], kind: Kind) -> Source {
        match self.reserves.bucket(codes, kind) {
            Some(bucket) if self.uses.held(&bucket.key) < bucket.reserved => Source::Reserve(bucket),
            full => Source::Shared(full),
        }
    }

    /// Why a caller, or a browser, would find no line now; nothing if there is one.
    pub fn refusal(&self, codes: &[NameCode], kind: Kind) -> Option<Rule> {
        let is_shared = matches!(self.source(codes, kind), Source::Shared(_));
        if self.free() == 0 {
            Some(Rule::Limit)
        } else {
            (is_shared && self.uses.shared >= self.shared()).then_some(Rule::Shared)
        }
    }

    /// Whether a call of this kind, known by these codes, that holds a line already holds one that it may have.
    pub fn is_within(&self, codes: &[NameCode], kind: Kind) -> bool {
        let in_reserve = self
            .reserves
            .bucket(codes, kind)
            .is_some_and(|bucket| self.uses.held(&bucket.key) <= bucket.reserved);
        self.counts.total <= self.policy.limit && (in_reserve || self.uses.shared <= self.shared())
    }

    /// Lines that are reserved for nobody; 0 while a fallen limit leaves less than the reserves.
    pub fn shared(&self) -> u32 {
        u32::try_from(u64::from(self.policy.limit).saturating_sub(self.reserves.total())).unwrap_or_default()
    }

    /// Shared lines that outbound may bring their use up to: without the headroom.
    pub fn shared_for_outbound(&self) -> u32 {
        self.shared().saturating_sub(self.policy.headroom)
    }

    /// Lines that others are believed to use at `now` without anybody telling: none of them is outbound's.
    pub fn unseen(&self, now: Timestamp) -> u32 {
        self.unseen.filter(|unseen| now < unseen.until).map_or(0, |unseen| unseen.lines)
    }

    /// Lines nobody holds; 0 while more are held than the limit has.
    pub fn free(&self) -> u32 {
        self.policy.limit.saturating_sub(self.counts.total)
    }

    /// The same where outbound may take no more than `room` now. For the writes that take: whoever takes in between
    /// uses it up.
    #[must_use]
    pub fn held_to(&self, room: Room) -> Self {
        let cap = self.policy.cap.min(self.counts.outbound.saturating_add(room.lines));
        Self { policy: Policy { cap, ..self.policy }, ..self.clone() }
    }

    /// The lease by which a line is held, if it is.
    pub fn lease(&self, key: &LineKey) -> Option<Lease> {
        self.lines.get(key).map(|token| Lease { key: key.clone(), token: token.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::CampaignId;

    fn pool(limit: u32, cap: u32, headroom: u32, counts: Counts) -> Pool {
        let mut pool = Pool::new(Policy::new(limit, cap, headroom).expect("a policy"));
        pool.counts = counts;
        pool.uses.shared = counts.total;
        pool
    }

    fn code() -> CampaignCode {
        CampaignCode::of(&"renewals".parse::<CampaignId>().expect("an id"))
    }

    #[test]
    fn a_pool_without_lines_does_not_construct() {
        assert!(Policy::new(0, 0, 0).is_err());
    }

    #[test]
    fn s3_06_a_purchased_line_is_one_more_and_both_parts_are_known() {
        let policy = Policy::new(11, 8, 3).and_then(|policy| policy.with_purchased(1)).expect("10 + 1");
        assert_eq!((policy.included(), policy.purchased()), (10, 1));
        let more = policy.with_limit(40).expect("40 lines");
        assert_eq!((more.limit(), more.included(), more.purchased()), (40, 10, 30));
        let fewer = policy.with_limit(7).expect("7 lines");
        assert_eq!((fewer.included(), fewer.purchased()), (7, 0));
        let unsaid = Policy::new(10, 8, 3).and_then(|policy| policy.with_limit(20)).expect("20 lines");
        assert_eq!((unsaid.included(), unsaid.purchased()), (20, 0));
        assert!(policy.with_purchased(12).is_err());
    }

    #[test]
    fn room_is_the_tightest_of_the_rules() {
        let now = Timestamp::UNIX_EPOCH;
        let cases = [
            // limit, cap, headroom, total, outbound, inbound → lines, rule
            (10, 7, 3, 0, 0, 7, Rule::Headroom),
            (10, 5, 3, 0, 0, 5, Rule::Cap),
            (10, 7, 3, 6, 3, 1, Rule::Headroom),
            (10, 7, 3, 9, 7, 0, Rule::Headroom),
            (10, 7, 0, 7, 7, 0, Rule::Cap),
            (10, 7, 10, 0, 0, 0, Rule::Headroom),
            (10, 7, 99, 0, 0, 0, Rule::Headroom),
            (10, 0, 0, 0, 0, 0, Rule::Cap),
            (10, 7, 3, 14, 2, 0, Rule::Headroom),
        ];
        for (limit, cap, headroom, total, outbound, lines, rule) in cases {
            let counts = Counts { total, outbound, inbound: total - outbound, ..Counts::default() };
            let room = pool(limit, cap, headroom, counts).room(&code(), None, &[], now);
            assert_eq!(room, Room { lines, rule }, "{limit}/{cap}/{headroom} {total} {outbound}");
        }
    }

    #[test]
    fn a_campaign_has_a_cap_of_its_own() {
        let mut pool = pool(10, 10, 0, Counts { total: 2, outbound: 2, ..Counts::default() });
        pool.campaigns.insert(code(), Tally { held: 2, ..Tally::default() });
        let room = pool.room(&code(), Some(3), &[], Timestamp::UNIX_EPOCH);
        assert_eq!(room, Room { lines: 1, rule: Rule::CampaignCap });
    }

    #[test]
    fn a_resting_pool_has_no_room() {
        let mut pool = pool(10, 10, 0, Counts::default());
        pool.hold_until = Timestamp::from_second(100).expect("in range");
        assert_eq!(
            pool.room(&code(), None, &[], Timestamp::from_second(99).expect("in range")).rule,
            Rule::HoldOff
        );
        assert_eq!(pool.room(&code(), None, &[], Timestamp::from_second(100).expect("in range")).lines, 10);
    }
}

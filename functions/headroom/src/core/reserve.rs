//! Reserves: lines that only one agent's calls may use, idle or not, and the shared rest (P2).
//!
//! Use is a function of who holds lines and of nothing else: an agent's calls count against its own reserve
//! first, and only what goes beyond it counts as shared. A call is never tied to a line, so when one of an
//! agent's calls ends, a shared line comes back as long as the agent holds more than its reserve.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::ids::{AgentName, IdError, NameCode, QuotaName};
use super::line::Kind;
use super::quota::Quotas;

/// What an agent's reserve binds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Binding {
    /// Each kind's lines serve that kind alone. What keeps callers safe from the same agent's campaigns.
    #[default]
    Strict,
    /// The sum of all kinds serves the agent's calls of any kind.
    Pooled,
}

impl Binding {
    /// Its name in JSON, on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Pooled => "pooled",
        }
    }
}

impl FromStr for Binding {
    type Err = ReserveError;
    fn from_str(text: &str) -> Result<Self, ReserveError> {
        [Self::Strict, Self::Pooled]
            .into_iter()
            .find(|binding| binding.name() == text)
            .ok_or(ReserveError::Text("a binding is strict or pooled"))
    }
}

/// What is reserved for one agent, in lines by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserve {
    /// For callers.
    pub inbound: u32,
    /// For outbound calls.
    pub outbound: u32,
    /// For browser and websocket calls.
    pub web: u32,
    /// For chats. Vapi counts no lines for them; lines that are reserved for them are held back all the same.
    pub chat: u32,
    /// What these bind.
    pub binding: Binding,
    /// By which assistants, squads and phone numbers the agent is known besides its name.
    pub members: BTreeSet<NameCode>,
}

impl Reserve {
    /// Lines of all kinds.
    pub fn total(&self) -> u32 {
        [self.inbound, self.outbound, self.web, self.chat].into_iter().fold(0, u32::saturating_add)
    }

    /// Lines for calls of one kind, as far as the binding tells kinds apart.
    fn of(&self, kind: Kind) -> u32 {
        match (self.binding, kind) {
            (Binding::Pooled, _) => self.total(),
            (Binding::Strict, Kind::Inbound) => self.inbound,
            (Binding::Strict, Kind::Outbound | Kind::Foreign) => self.outbound,
            (Binding::Strict, Kind::Web) => self.web,
            (Binding::Strict, Kind::Chat) => self.chat,
        }
    }
}

/// As the table and the change log spell it: four numbers, the binding, the members.
impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inbound, outbound, web, chat, binding, members } = self;
        write!(f, "{inbound} {outbound} {web} {chat} {}", binding.name())?;
        members.iter().try_for_each(|member| write!(f, " {}", member.as_str()))
    }
}

impl FromStr for Reserve {
    type Err = ReserveError;
    fn from_str(text: &str) -> Result<Self, ReserveError> {
        let mut words = text.split(' ');
        let mut number = || {
            let lines = words.next().and_then(|word| word.parse().ok());
            lines.ok_or(ReserveError::Text("a reserve begins with four numbers"))
        };
        let (inbound, outbound, web, chat) = (number()?, number()?, number()?, number()?);
        let binding = words.next().unwrap_or_default().parse()?;
        let members = words.map(str::parse).collect::<Result<_, IdError>>();
        let members = members.map_err(|_| ReserveError::Text("a reserve ends with agents' codes"))?;
        Ok(Self { inbound, outbound, web, chat, binding, members })
    }
}

/// Why reserves cannot be as asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// A pool cannot promise more lines than it has.
    #[error("{asked} lines would be reserved, and the pool has {limit}: {}", .by_agent.join(", "))]
    TooMany {
        /// The sum of all reserves.
        asked: u64,
        /// The limit.
        limit: u32,
        /// Each agent's share of the sum.
        by_agent: Vec<String>,
    },
    /// Two agents cannot be told apart by their calls.
    #[error(
        "{one} and {other} are known by the same assistant, squad, number or code: rename one, or take it from one"
    )]
    Ambiguous {
        /// One of the two.
        one: AgentName,
        /// The other.
        other: AgentName,
    },
    /// A text that is none.
    #[error("{0}")]
    Text(&'static str),
}

/// The reserves of a pool by agent. None is empty: an agent without reserved lines shares with all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserves(BTreeMap<AgentName, Reserve>);

impl Reserves {
    /// Reserves from anywhere, empty ones left out. More than the limit is no error here: limits fall.
    ///
    /// # Errors
    /// If two agents are known by the same code.
    pub fn new(reserves: impl IntoIterator<Item = (AgentName, Reserve)>) -> Result<Self, ReserveError> {
        let reserves: BTreeMap<_, _> =
            reserves.into_iter().filter(|(_, reserve)| reserve.total() > 0).collect();
        let mut known: BTreeMap<NameCode, &AgentName> = BTreeMap::new();
        for (name, reserve) in &reserves {
            for code in reserve.members.iter().cloned().chain([name.code()]) {
                if let Some(other) = known.insert(code, name).filter(|other| *other != name) {
                    return Err(ReserveError::Ambiguous { one: other.clone(), other: name.clone() });
                }
            }
        }
        Ok(Self(reserves))
    }

    /// The same with another reserve for one agent; one without lines takes the agent out.
    ///
    /// # Errors
    /// If the sum would pass `limit`, or two agents could not be told apart.
    pub fn with(&self, agent: AgentName, reserve: Reserve, limit: u32) -> Result<Self, ReserveError> {
        let mut reserves = self.0.clone();
        let before = reserves.insert(agent.clone(), reserve).map_or(0, |before| before.total());
        let reserves = Self::new(reserves)?;
        // What a fallen limit has made too much may still be lowered, step by step.
        let rises = reserves.0.get(&agent).map_or(0, Reserve::total) > before;
        if rises && reserves.total() > u64::from(limit) {
            let by_agent = reserves.iter().map(|(name, reserve)| format!("{name} {}", reserve.total()));
            let by_agent = by_agent.collect();
            return Err(ReserveError::TooMany { asked: reserves.total(), limit, by_agent });
        }
        Ok(reserves)
    }

    /// The agents and their reserves, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&AgentName, &Reserve)> {
        self.0.iter()
    }

    /// One agent's reserve.
    pub fn get(&self, agent: &AgentName) -> Option<&Reserve> {
        self.0.get(agent)
    }

    /// Reserved lines in all.
    pub fn total(&self) -> u64 {
        self.0.values().map(|reserve| u64::from(reserve.total())).sum()
    }

    /// The agent that a code stands for.
    pub fn agent(&self, code: &NameCode) -> Option<&AgentName> {
        let is_meant =
            |(name, reserve): &(&AgentName, &Reserve)| name.code() == *code || reserve.members.contains(code);
        self.0.iter().find(is_meant).map(|(name, _)| name)
    }

    /// Which of the codes that a call's agent may be known by tells the most: the first one that an agent with
    /// a reserve is known by, else the first.
    pub fn telling<'a>(&self, codes: &'a [NameCode]) -> Option<&'a NameCode> {
        codes.iter().find(|code| self.agent(code).is_some()).or(codes.first())
    }

    /// The reserve that counts calls of a kind that are known by these codes, if one does: that of the first
    /// agent whom one of them stands for.
    pub fn bucket(&self, codes: &[NameCode], kind: Kind) -> Option<Bucket> {
        let name = codes.iter().find_map(|code| self.agent(code))?;
        let reserve = &self.0[name];
        let reserved = reserve.of(kind);
        (reserved > 0).then(|| Bucket { key: BucketKey::of(name, reserve.binding, kind), reserved })
    }

    /// Every reserve that counts anything.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> {
        self.0.keys().flat_map(|agent| self.buckets_of(agent))
    }

    /// One agent's: one for each kind with lines, or one for all if they are pooled.
    pub fn buckets_of(&self, agent: &AgentName) -> Vec<Bucket> {
        let mut buckets: Vec<Bucket> =
            Kind::ALL.iter().filter_map(|kind| self.bucket(&[agent.code()], *kind)).collect();
        buckets.sort_by(|a, b| a.key.cmp(&b.key));
        buckets.dedup();
        buckets
    }
}

/// Where the ledger counts lines: for a reserve the agent's own code, and the kind's letter or `*` for all; for a
/// quota its code and `#`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketKey(String);

impl BucketKey {
    fn of(agent: &AgentName, binding: Binding, kind: Kind) -> Self {
        let letter = match (binding, kind) {
            (Binding::Pooled, _) => '*',
            (Binding::Strict, Kind::Foreign) => Kind::Outbound.letter(),
            (Binding::Strict, kind) => kind.letter(),
        };
        Self(format!("{}{letter}", agent.code().as_str()))
    }

    /// Where the lines of a quota's calls are counted.
    pub fn quota(quota: &QuotaName) -> Self {
        Self(format!("{}#", quota.code().as_str()))
    }

    /// The key as the table spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for BucketKey {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// A reserve, as far as one call is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub key: BucketKey,
    /// Its lines; never 0.
    pub reserved: u32,
}

/// What the held lines use: of each reserve and each quota, and of the shared rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// Lines held by each reserve's own calls, those beyond it included, and by each quota's. Every one is listed.
    pub own: BTreeMap<BucketKey, u32>,
    /// Lines held beyond reserves, or by calls that have none.
    pub shared: u32,
}

impl Uses {
    /// What held lines come to, given the kind of each and the codes that it is known by. P7 says that this always
    /// equals the stored counters.
    pub fn of(
        reserves: &Reserves,
        quotas: &Quotas,
        lines: impl IntoIterator<Item = (Kind, Vec<NameCode>)>,
    ) -> Self {
        let mut uses = Self::default();
        let reserved: BTreeMap<_, _> =
            reserves.buckets().map(|bucket| (bucket.key, bucket.reserved)).collect();
        uses.own.extend(reserved.keys().map(|key| (key.clone(), 0)));
        uses.own.extend(quotas.iter().map(|(name, _)| (BucketKey::quota(name), 0)));
        for (kind, codes) in lines {
            match reserves.bucket(&codes, kind) {
                Some(bucket) => *uses.own.entry(bucket.key).or_default() += 1,
                None => uses.shared += 1,
            }
            for key in quotas.keys(&codes) {
                *uses.own.entry(key).or_default() += 1;
            }
        }
        let beyond = |(key, reserved): (&BucketKey, &u32)| uses.own[key].saturating_sub(*reserved);
        uses.shared += reserved.iter().map(beyond).sum::<u32>();
        uses
    }

    /// Lines held by a reserve's own calls.
    pub fn held(&self, key: &BucketKey) -> u32 {
        self.own.get(key).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> AgentName {
        text.parse().expect("an agent's name")
    }

    fn reserve(inbound: u32, outbound: u32, binding: Binding) -> Reserve {
        Reserve { inbound, outbound, binding, ..Reserve::default() }
    }

    fn lines(agent: &str, kind: Kind, lines: usize) -> Vec<(Kind, Vec<NameCode>)> {
        vec![(kind, vec![NameCode::of(agent)]); lines]
    }

    #[test]
    fn reserves_beyond_the_limit_are_refused_with_the_numbers() {
        let some = Reserves::default().with(name("a"), reserve(8, 0, Binding::Strict), 10).expect("it fits");
        let error = some.with(name("b"), reserve(2, 1, Binding::Strict), 10).expect_err("11 of 10");
        assert_eq!(error.to_string(), "11 lines would be reserved, and the pool has 10: a 8, b 3");
        let fallen = some.with(name("a"), reserve(7, 0, Binding::Strict), 5).expect("lower is better");
        assert_eq!(fallen.total(), 7);
        assert_eq!(some.with(name("a"), Reserve::default(), 10), Ok(Reserves::default()));
    }

    #[test]
    fn agents_that_cannot_be_told_apart_are_refused() {
        let members = BTreeSet::from([NameCode::of("assistant")]);
        let one = Reserve { members, ..reserve(1, 0, Binding::Strict) };
        let some = Reserves::default().with(name("a"), one.clone(), 10).expect("it fits");
        assert!(matches!(some.with(name("b"), one, 10), Err(ReserveError::Ambiguous { .. })));
        assert_eq!(some.agent(&NameCode::of("assistant")), Some(&name("a")));
        assert_eq!(some.agent(&NameCode::of("a")), Some(&name("a")));
        assert_eq!(some.agent(&NameCode::of("b")), None);
    }

    #[test]
    fn a_strict_reserve_counts_one_kind_and_a_pooled_one_all() {
        let held = [lines("a", Kind::Inbound, 3), lines("a", Kind::Outbound, 4), lines("a", Kind::Web, 2)];
        let cases = [(Binding::Strict, 1 + 2 + 2), (Binding::Pooled, 9 - 4)];
        for (binding, shared) in cases {
            let some = Reserves::new([(name("a"), reserve(2, 2, binding))]).expect("one agent");
            let uses = Uses::of(&some, &Quotas::default(), held.concat());
            assert_eq!(uses.shared, shared, "{binding:?}");
        }
    }

    proptest! {
        #[test]
        fn a_reserve_survives_its_text_form(inbound: u32, outbound: u32, web: u32, chat: u32, pooled: bool,
                                            members in proptest::collection::btree_set("[a-z]{1,9}", 0..4)) {
            let binding = if pooled { Binding::Pooled } else { Binding::Strict };
            let members = members.iter().map(|member| NameCode::of(member)).collect();
            let reserve = Reserve { inbound, outbound, web, chat, binding, members };
            prop_assert_eq!(reserve.to_string().parse::<Reserve>(), Ok(reserve));
        }

        #[test]
        fn no_text_panics_the_parser(text in "\\PC{0,40}") {
            let _ = text.parse::<Reserve>();
        }
    }
}

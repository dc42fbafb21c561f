//! How well outbound is going: what each call's answer and end say of it, and how much of outbound it allows.
//!
//! Read with each look at the campaigns before lines are taken, and once for each answer and each end; written only where that changes something
//! ([`Health::after`]). So a call that goes well while all is well costs two small reads and no write but one in a
//! minute, and while something is wrong two writes of one unit at most. Nothing rests on it: a process that dies before
//! it has written has not counted one call, and inbound never asks.
//!
//! It is written last, after the lead's and the line's own writes, but for what must stand before a lead is free to be
//! dialed again: that its number, or its account, is blocked.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::core::breaker::{Breaker, BreakerKey, BreakerState};
use crate::core::campaign::{Campaign, CampaignState, Spec};
use crate::core::ended::Dependency;
use crate::core::health::{Health, Heard, Load, Needs, News};
use crate::core::ids::{NameCode, OrgName};
use crate::core::pool::{Pool, Room};
use crate::logging::chain;
use crate::metrics::METRICS;
use crate::table::TableError;
use crate::vapi::dial::Dialed;

use super::App;

/// How often an update is tried anew that met another's. Of many at once, as many are counted at least: more than it
/// takes to open a breaker.
const TRIES: usize = 8;

impl App {
    /// How much of the room that the pool has a campaign may use. `room.rule` says what allows no more.
    pub(super) fn held_back(&self, health: &Health, room: Room, pool: &Pool, campaign: &Campaign) -> Room {
        if room.lines == 0 {
            return room;
        }
        health.room(room, pool, &Needs::of(&campaign.spec), self.clock.now(), &self.timers)
    }

    /// Takes in what was heard of a call. `pool` is as it was last seen. Failures are logged: nothing rests on it.
    pub(super) async fn hear(&self, pool: &Pool, spec: &Spec, heard: &Heard) {
        if let Err(error) = self.take_news(pool, spec, heard).await {
            tracing::warn!(error = chain(&error), "how a call went is not counted in outbound's health");
        }
    }

    async fn take_news(&self, pool: &Pool, spec: &Spec, heard: &Heard) -> Result<(), TableError> {
        let (needs, load) = (Needs::of(spec), Load::of(pool));
        for _ in 0..TRIES {
            let (before, now) = (self.table.read_health().await?, self.clock.now());
            let Some(after) = before.after(heard, &needs, load, now, &self.timers) else { return Ok(()) };
            if self.table.note_health(&after).await? {
                self.tell(&before, &after, load, now).await;
                return Ok(());
            }
        }
        // The others that came in between have said it, too.
        Ok(())
    }

    /// Logs what changed, and wakes the dispatcher for when there is something for it to do.
    async fn tell(&self, before: &Health, after: &Health, load: Load, now: Timestamp) {
        let timers = &self.timers;
        let cap = |health: &Health| health.cap(load, now, timers);
        let (was, is) = (cap(before), cap(after));
        if was != is {
            let why = after.strain(load, now, timers).map_or("well again", |(strain, _)| strain.name());
            tracing::info!(from = was, to = is, lines.cap = load.top, why, "outbound's cap adapted");
        }
        let mut more = is > was;
        let keys = before.breakers(now, timers).chain(after.breakers(now, timers)).map(|(key, _)| key);
        let keys: std::collections::BTreeSet<&BreakerKey> = keys.collect();
        for key in keys {
            let (was, is) = (before.state(key, now, timers), after.state(key, now, timers));
            if was == is {
                continue;
            }
            let (dependency, of) = (key.dependency.name(), key.of.as_ref().map(NameCode::as_str));
            match is {
                BreakerState::Open { until } => {
                    let breaker = after.breakers(now, timers).find(|(one, _)| *one == key);
                    let reason = breaker.map_or("", |(_, breaker)| breaker.reason());
                    let delay_ms = until.duration_since(now).as_millis() as i64;
                    tracing::warn!(dependency, of, reason, delay_ms, "breaker opened");
                    self.wake_at(until).await;
                }
                BreakerState::HalfOpen { probes, .. } => {
                    tracing::info!(dependency, of, probes, "breaker lets more probes ahead");
                    more = true;
                }
                BreakerState::Closed => {
                    tracing::info!(dependency, of, "breaker closed");
                    more = true;
                }
            }
        }
        if more {
            self.wake_at(now).await;
        }
    }

    /// Pauses every running campaign of an organisation: what blocks its account blocks each of them.
    ///
    /// Dies in between: the next call of a campaign that still runs ends alike, and pauses the rest.
    pub(super) async fn pause_account(&self, org: Option<&OrgName>, reason: &str) -> Result<(), TableError> {
        let campaigns = self.table.list_campaigns().await?;
        let concerned = campaigns.iter().filter(|campaign| campaign.spec.org.as_ref() == org);
        for campaign in concerned.filter(|campaign| campaign.state == CampaignState::Running) {
            if self.table.pause_campaign(campaign, reason, self.clock.now()).await? {
                tracing::error!(campaign.id = %campaign.spec.id, reason, "campaign paused with its account");
            }
        }
        Ok(())
    }

    /// How well outbound is going, for people. A pass logs it, and the log's numbers are metrics.
    pub(super) async fn health_status(
        &self,
        pool: &Pool,
        campaigns: &[Campaign],
    ) -> Result<HealthStatus, TableError> {
        let (health, now) = (self.table.read_health().await?, self.clock.now());
        let (load, timers) = (Load::of(pool), &self.timers);
        let strain = health.strain(load, now, timers);
        let breakers = health.breakers(now, timers);
        Ok(HealthStatus {
            cap: health.cap(load, now, timers),
            of: load.top,
            why: strain.map(|(strain, _)| strain.name().to_owned()),
            since: strain.map(|(_, since)| since),
            breakers: breakers
                .map(|(key, breaker)| BreakerStatus::of(key, breaker, breaker.state(now, timers), campaigns))
                .collect(),
        })
    }

    /// Logs how well outbound is going, once for each pass.
    pub(super) async fn log_health(&self, pool: &Pool) -> Result<(), TableError> {
        let health = self.health_status(pool, &[]).await?;
        let open = health.breakers.iter().filter(|breaker| breaker.state != BreakerState::Closed.name());
        let (cap, lowered, breakers) =
            (health.cap, health.of - health.cap.min(health.of), open.count() as u64);
        tracing::info!(cap, lowered, breakers, "outbound's health");
        tracing::trace!(target: METRICS, AdaptedCap = cap, LoweredLines = lowered, OpenBreakers = breakers);
        Ok(())
    }
}

/// What the answer to a dial, which came after `took`, says.
pub(super) fn news(dialed: &Dialed, took: SignedDuration) -> News {
    match dialed {
        Dialed::Created { .. } => News::Created(took),
        Dialed::OverLimit { .. } => News::OverLimit,
        Dialed::Throttled { .. } => News::Throttled,
        Dialed::BadLead { .. } | Dialed::BadCampaign { .. } | Dialed::BadAccount { .. } => News::Refused,
        Dialed::NotSent { .. } | Dialed::Unclear { .. } => News::Unanswered,
    }
}

/// How well outbound is going.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthStatus {
    /// Lines that campaigns may hold now.
    pub cap: u32,
    /// Lines that they may hold when all is well.
    pub of: u32,
    /// Why it is less, if it is: `throttled`, `over_limit`, `slow`, `unanswered` or `failures`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Since when it is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The breakers that are not closed, and those that have seen failures of late.
    pub breakers: Vec<BreakerStatus>,
}

/// A breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerStatus {
    /// `vapi`, `carrier`, `model`, `voice` or `transcriber`.
    pub dependency: String,
    /// Whose: the number's or the assistant's id, or its code if no campaign names it. Nothing for Vapi's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// `closed`, `open` or `half-open`.
    pub state: String,
    /// Since when it has been anything but closed, or failed last.
    pub since: Timestamp,
    /// Failures since the first one that counts.
    pub failures: u32,
    /// All calls since then.
    pub calls: u32,
    /// Why the last one failed, as Vapi spells it.
    pub reason: String,
    /// When the next call goes ahead to see, if it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_probe: Option<Timestamp>,
}

impl BreakerStatus {
    fn of(key: &BreakerKey, breaker: &Breaker, state: BreakerState, campaigns: &[Campaign]) -> Self {
        let (failures, calls) = breaker.failures();
        let next_probe = match state {
            BreakerState::Open { until } => Some(until),
            BreakerState::Closed | BreakerState::HalfOpen { .. } => None,
        };
        Self {
            dependency: key.dependency.name().to_owned(),
            of: key.of.as_ref().map(|code| named(key.dependency, code, campaigns)),
            state: state.name().to_owned(),
            since: breaker.since(),
            failures,
            calls,
            reason: breaker.reason().to_owned(),
            next_probe,
        }
    }
}

/// The id that a code stands for, by the campaigns that use it.
fn named(dependency: Dependency, code: &NameCode, campaigns: &[Campaign]) -> String {
    let ids = campaigns.iter().flat_map(|Campaign { spec, .. }| match dependency {
        Dependency::Vapi | Dependency::Carrier => [Some(&spec.phone_number_id), None],
        Dependency::Model | Dependency::Voice | Dependency::Transcriber => {
            [spec.squad_id.as_ref(), spec.assistant_id.as_ref()]
        }
    });
    let id = ids.flatten().find(|id| NameCode::of(id) == *code);
    id.map_or_else(|| code.as_str().to_owned(), Clone::clone)
}

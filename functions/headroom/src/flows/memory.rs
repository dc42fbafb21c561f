//! What a process remembers of campaigns between two invocations, to ask less: with a hundred of them under way, a
//! line that comes free must not cost a hundred queries.
//!
//! Nothing rests on it. It is forgotten when the process ends, within seconds, or when anything that it knows of has
//! moved; what it can do wrong is to let a lead wait that came to the index late, for those seconds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::core::campaign::Campaign;
use crate::core::ids::CampaignCode;
use crate::core::pool::{Pool, Tally};

/// How long it is believed that nobody of a campaign is to be called.
const DRY_FOR: SignedDuration = SignedDuration::from_secs(10);

/// What is known of the campaigns, and what was said already.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    campaigns: Arc<Mutex<HashMap<CampaignCode, Known>>>,
    has_told_org: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Known {
    dry: Option<Dry>,
    /// Until when nobody need look why it waits.
    explained: Option<(Timestamp, Timestamp)>,
}

/// A campaign in which nobody was to be called, and by what another time would be told from that one.
#[derive(Debug)]
struct Dry {
    from: Timestamp,
    until: Timestamp,
    leads: Option<u32>,
    revision: u64,
    brings_forward: bool,
    tally: Option<Tally>,
}

impl Memory {
    fn of<T>(&self, campaign: &CampaignCode, with: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.campaigns.lock().unwrap_or_else(PoisonError::into_inner);
        with(known.entry(campaign.clone()).or_default())
    }

    /// Notes that nobody of a campaign is to be called before `next`, if ever.
    pub(super) fn note_dry(&self, campaign: &Campaign, pool: &Pool, next: Option<Timestamp>, now: Timestamp) {
        let until = next.map_or(now + DRY_FOR, |next| next.min(now + DRY_FOR));
        let tally = pool.campaigns.get(&campaign.code).cloned();
        let dry = Dry {
            from: now,
            until,
            leads: campaign.leads,
            revision: campaign.revision,
            brings_forward: campaign.new_hours.is_some(),
            tally,
        };
        self.of(&campaign.code, |known| known.dry = Some(dry));
    }

    /// Whether nobody of a campaign is to be called, as far as is known: no lead has come since, none has
    /// come back, and nobody has changed it.
    pub(super) fn is_dry(&self, campaign: &Campaign, pool: &Pool, now: Timestamp) -> bool {
        self.of(&campaign.code, |known| {
            known.dry.as_ref().is_some_and(|dry| {
                (dry.from..dry.until).contains(&now)
                    && dry.leads == campaign.leads
                    && dry.revision == campaign.revision
                    && dry.brings_forward == campaign.new_hours.is_some()
                    && dry.tally.as_ref() == pool.campaigns.get(&campaign.code)
            })
        })
    }

    /// Notes that nobody need look before `until` why a campaign waits.
    pub(super) fn note_explained(&self, campaign: &CampaignCode, now: Timestamp, until: Timestamp) {
        self.of(campaign, |known| known.explained = Some((now, until)));
    }

    /// Whether nobody need look why a campaign waits.
    pub(super) fn is_explained(&self, campaign: &CampaignCode, now: Timestamp) -> bool {
        self.of(campaign, |known| known.explained.is_some_and(|(from, until)| (from..until).contains(&now)))
    }

    /// Whether this is the first time that the organisation of Vapi's key is heard of, of all dials on a hundred lines that
    /// begin at once. What is not written then is written by the next pass.
    pub(super) fn is_first_to_tell_org(&self) -> bool {
        !self.has_told_org.swap(true, Ordering::Relaxed)
    }

    /// Forgets all but these.
    pub(super) fn keep(&self, campaigns: &[Campaign]) {
        let mut known = self.campaigns.lock().unwrap_or_else(PoisonError::into_inner);
        // Rarely: a list is longer than what is known of it as long as nothing was left over.
        if known.len() > campaigns.len() {
            known.retain(|code, _| campaigns.iter().any(|campaign| campaign.code == *code));
        }
    }
}

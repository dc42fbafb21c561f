//! What operators change: the limit, the cap, the headroom, the reserves, the quotas. At once, recorded, and nobody is cut
//! off: what is held beyond the new numbers drains (P6).

use std::time::Duration;

use tokio::time::Instant;

use crate::core::ids::{AgentName, QuotaName};
use crate::core::pool::{Policy, PolicyError, Pool};
use crate::core::quota::{Quota, QuotaError};
use crate::core::reserve::{Reserve, ReserveError};
use crate::table::TableError;
use crate::table::changes::Wanted;

use super::App;

/// What somebody wants to be different. What is not named stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Lines of the pool.
    pub limit: Option<u32>,
    /// Purchased lines among them.
    pub purchased: Option<u32>,
    /// Most lines for outbound.
    pub cap: Option<u32>,
    /// Shared lines that outbound leaves to callers.
    pub headroom: Option<u32>,
    /// One agent's reserve, whole; without lines, none.
    pub reserve: Option<(AgentName, Reserve)>,
    /// Parts of `reserve` and `quota` that nobody asked for.
    pub kept: Kept,
    /// One quota, whole; without bounds, none.
    pub quota: Option<(QuotaName, Quota)>,
}

/// Parts of a reserve or a quota that stay as they are, whatever else of it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// What it binds.
    pub binding: bool,
    /// By which assistants, squads, phone numbers and organisations its calls are known.
    pub members: bool,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The numbers are no policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The reserves cannot be.
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    /// The quotas cannot be.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// Lines kept moving under the change.
    #[error("lines moved at each try for {} s; try again", PATIENCE.as_secs())]
    Busy,
    /// The table did not answer.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// A new reserve is counted from the held lines: a try fails if one of them moves between the reading of the
/// ledger and its writing, some milliseconds. How many tries that takes depends on how slow the table is and how
/// busy the lines are, so that time is the bound: well below the console's time limit.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries: for a write in progress to be over.
const PAUSE: Duration = Duration::from_millis(10);

impl App {
    /// Changes what is asked for, in the name of `by`, and wakes the dispatcher: there may be room now.
    /// Returns the pool as it was and as it is. What is so already is no change, and leaves no record.
    pub async fn change(&self, asked: &Asked, by: &str) -> Result<(Pool, Pool), ChangeError> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let before = self.table.read_pool().await?;
            let wanted = wanted(asked, &before)?;
            if wanted == Wanted::of(&before) {
                return Ok((before.clone(), before));
            }
            if !self.table.change_policy(&before, &wanted, by, self.clock.now()).await? {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let now = self.table.read_pool().await?;
            tracing::info!(from = %Wanted::of(&before), to = %wanted, by, "policy changed");
            if u64::from(now.policy.limit()) < now.reserves.total() {
                tracing::warn!(
                    lines.limit = now.policy.limit(),
                    lines.reserved = now.reserves.total(),
                    "more lines are reserved than the pool has: nothing is shared, and reserves compete"
                );
            }
            self.wake_dispatcher(Duration::ZERO).await;
            return Ok((before, now));
        }
        Err(ChangeError::Busy)
    }
}

fn wanted(asked: &Asked, pool: &Pool) -> Result<Wanted, ChangeError> {
    let present = pool.policy.with_limit(asked.limit.unwrap_or(pool.policy.limit()))?;
    let policy = Policy::new(
        present.limit(),
        asked.cap.unwrap_or(pool.policy.cap()),
        asked.headroom.unwrap_or(pool.policy.headroom()),
    )?
    .with_purchased(asked.purchased.unwrap_or(present.purchased()))?;
    let reserves = match &asked.reserve {
        Some((agent, reserve)) => {
            let reserve = with_kept(reserve.clone(), asked.kept, pool.reserves.get(agent));
            pool.reserves.with(agent.clone(), reserve, policy.limit())?
        }
        None => pool.reserves.clone(),
    };
    let quotas = match &asked.quota {
        Some((name, quota)) => {
            let mut quota = quota.clone();
            if let Some(present) = pool.quotas.get(name).filter(|_| asked.kept.members) {
                quota.members = present.members.clone();
            }
            pool.quotas.with(name.clone(), quota)?
        }
        None => pool.quotas.clone(),
    };
    Ok(Wanted { policy, reserves, quotas, configured: None })
}

fn with_kept(mut reserve: Reserve, kept: Kept, present: Option<&Reserve>) -> Reserve {
    if let Some(present) = present {
        if kept.binding {
            reserve.binding = present.binding;
        }
        if kept.members {
            reserve.members = present.members.clone();
        }
    }
    reserve
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::core::ids::NameCode;
    use crate::core::reserve::Binding;

    #[test]
    fn what_nobody_asked_for_stays() {
        let members = BTreeSet::from([NameCode::of("assistant")]);
        let present = Reserve { inbound: 3, binding: Binding::Pooled, members, ..Reserve::default() };
        let agent: AgentName = "sales".parse().expect("a name");
        let mut pool = Pool::new(Policy::new(10, 7, 3).expect("a policy"));
        pool.reserves = pool.reserves.with(agent.clone(), present.clone(), 10).expect("it fits");
        let reserve = Some((agent.clone(), Reserve { outbound: 4, ..Reserve::default() }));
        let asked = Asked { cap: Some(5), reserve, ..Asked::default() };
        let all = Asked { kept: Kept { binding: true, members: true }, ..asked.clone() };

        let bare = wanted(&asked, &pool).expect("it fits");
        assert_eq!(bare.policy, Policy::new(10, 5, 3).expect("a policy"));
        assert_eq!(bare.reserves.get(&agent), Some(&Reserve { outbound: 4, ..Reserve::default() }));
        let kept = wanted(&all, &pool).expect("it fits");
        assert_eq!(kept.reserves.get(&agent), Some(&Reserve { inbound: 0, outbound: 4, ..present }));
    }
}

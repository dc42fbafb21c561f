//! People's wishes: right before each dial, and in this one place, whether the person may be called now by anybody;
//! and their word that they do not want to be.
//!
//! The dial is remembered before it is made. Who dies in between has counted a call that never rang: an error on the
//! person's side.

use jiff::{SignedDuration, Timestamp};

use super::App;
use crate::core::ids::{CallId, Lease, OrgId, PhoneNumber};
use crate::core::lead::{Counts, Lead, LeadState, Outcome};
use crate::core::people::{APART, Dialed, Leave};
use crate::core::pool::Pool;
use crate::table::TableError;
use crate::table::leads::Step;
use crate::table::ledger::LeadEnd;

/// Why a lead is over whose person does not want to be called.
pub(super) const DO_NOT_CALL: &str = "do_not_call";
/// Dials to one person that may meet at the same instant.
const TRIES: usize = 4;
/// After this, one that met more has its next turn.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// What stands with a lead that waits because its person was called often enough for now.
const OFTEN_ENOUGH: &str = "called often enough for now";

impl App {
    /// Asks whether a lead's person may be called at `now`, and if so remembers that they are.
    pub(super) async fn ask_leave(&self, lead: &Lead, now: Timestamp) -> Result<Leave, TableError> {
        let mut known = self.table.read_person(&lead.number).await?;
        for _ in 0..TRIES {
            let leave = known.leave(&lead.campaign, self.often, self.timers.scaled(APART), now);
            if leave != Leave::Given || !self.often.counts() {
                return Ok(leave);
            }
            let dials = known.with(Dialed { at: now, claim: lead.claim() });
            match self.table.remember_dials(&lead.number, &known, &dials).await? {
                None => return Ok(Leave::Given),
                Some(moved) => known = moved,
            }
        }
        // Many leads with one number. Nothing was asked of Vapi yet.
        Ok(Leave::From(now + self.timers.scaled(AGAIN)))
    }

    /// Lets a claimed lead wait until `due`: no call was asked for, and no attempt counts.
    pub(super) async fn wait_until(
        &self,
        pool: &Pool,
        lead: &Lead,
        lease: &Lease,
        due: Timestamp,
    ) -> Result<(), TableError> {
        let later = Outcome::Again { due, counts: Counts::PutOff };
        match self.settle_lead(lead, None, &later, OFTEN_ENOUGH, None).await?.0 {
            Step::Moved(_) => {}
            // Our own write whose answer was lost.
            Step::Refused(Some(now)) if now.claims == lead.claims && now.state == LeadState::Ready => {}
            Step::Refused(_) => return Ok(()),
        }
        self.free(pool, lease, Some(LeadEnd::NotMade)).await.map(|_| ())
    }

    /// Forgets a dial that surely rang nobody. If it cannot be, it counts: fewer calls than allowed are no harm.
    pub(super) async fn forget_dial(&self, lead: &Lead) -> Result<(), TableError> {
        if !self.often.counts() {
            return Ok(());
        }
        let known = self.table.read_person(&lead.number).await?;
        let claim = lead.claim();
        let left: Vec<_> = known.dialed.iter().filter(|dialed| dialed.claim != claim).cloned().collect();
        self.table.remember_dials(&lead.number, &known, &left).await.map(|_| ())
    }

    /// A person says in a call, perhaps one of an organisation that is not of this pool, that they do not want to be
    /// called any more.
    pub async fn hear_refusal(
        &self,
        call: &CallId,
        org: Option<&OrgId>,
        number: &PhoneNumber,
    ) -> Result<(), TableError> {
        let pool = self.table.read_pool().await?;
        if self.is_other_org(&pool, org) { Ok(()) } else { self.refuse_calls(call, number).await }
    }

    /// A person said in a call that they do not want to be called any more. Their number is in no log.
    pub(super) async fn refuse_calls(&self, call: &CallId, number: &PhoneNumber) -> Result<(), TableError> {
        if self.table.refuse_calls(number, &format!("call {call}"), self.clock.now()).await? {
            tracing::info!(call.id = %call, "a person asked not to be called any more");
        }
        Ok(())
    }
}

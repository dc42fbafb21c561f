//! People's wishes: right before each dial, and in this one place, whether the person may be called now by anybody;
//! and their word that they do not want to be.
//!
//! The dial is remembered before it is made. Who dies in between has counted a call that never rang: an error on the
//! person's side.
//!
//! Operators put people on the list and take them off, many at a time. What they do is recorded before and after it is
//! done, by how many and not by whom:
//!
//! | dies after | what is left | then |
//! |---|---|---|
//! | the first record | it, without how many it was a change for | asked again, those who are on the list stay as they are |
//! | some people | the others as they were | the same: nobody was told that it was done |
//! | all of them | the record as it was first written | the same, and the second record counts none |

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::App;
use super::orgs::Listings;
use crate::core::ids::{CallId, ClaimKey, OrgId, PhoneNumber};
use crate::core::lead::{Counts, Lead, Outcome};
use crate::core::line::Lease;
use crate::core::people::{Dialed, Leave, ListChange, ListWish, Refused};
use crate::core::pool::Pool;
use crate::logging::chain;
use crate::table::TableError;
use crate::vapi::calls::{Call, Wishes};

/// Why a lead is over whose person does not want to be called.
pub(super) const DO_NOT_CALL: &str = "do_not_call";
/// Dials to one person that may meet at the same instant.
const TRIES: usize = 4;
/// For so many passes after a call the list is asked what its person wishes.
const PASSES: u32 = 5;
/// After this, one that met more has its next turn.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// People of a list that are written, or asked about, at once.
const AT_ONCE: usize = 32;
/// What stands with a lead that waits because its person was called often enough for now.
const OFTEN_ENOUGH: &str = "called often enough for now";

impl App {
    /// Asks whether a lead's person may be called at `now`, and if so remembers that they are.
    pub(super) async fn ask_leave(&self, lead: &Lead, now: Timestamp) -> Result<Leave, TableError> {
        let mut known = self.table.read_person(&lead.number).await?;
        for _ in 0..TRIES {
            let leave = known.leave(&lead.claim(), self.often, self.timers.scaled(self.often.apart), now);
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
        self.settle_unmade(pool, lead, lease, (&later, OFTEN_ENOUGH)).await
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

    /// Takes in what people said of being called again in calls that have just ended, as the list of calls tells: a
    /// report may be lost. Before their ends are settled, as with the report. What fails is tried again by the next pass.
    pub(super) async fn hear_listed_wishes(&self, listings: &Listings) {
        let now = self.clock.now();
        // Longer ago, somebody may have taken them off the list again since.
        let since = now - SignedDuration::try_from(self.timers.pass_interval() * PASSES).unwrap_or_default();
        let is_recent = |call: &&Call| call.has_ended() && call.ended.is_some_and(|ended| ended >= since);
        for call in listings.calls().filter(is_recent) {
            let Some(wishes) = &call.wishes else { continue };
            let whose = (call.org.as_ref(), call.claim.as_slice());
            if let Err(error) = self.hear_wishes(&call.id, whose, wishes).await {
                tracing::warn!(call.id = %call.id, error = chain(&error), "what a person wishes is not on record yet");
            }
        }
    }

    /// Takes in what a person said in a call of an organisation, with these claims.
    pub(super) async fn hear_wishes(
        &self,
        call: &CallId,
        whose: (Option<&OrgId>, &[ClaimKey]),
        wishes: &Wishes,
    ) -> Result<(), TableError> {
        if wishes.refuses
            && let Some(person) = &wishes.person
        {
            self.refuse_calls(call, person).await?;
        }
        if let Some(asked) = &wishes.calls_back {
            let _ = Box::pin(self.hear_callback(call, whose, Some(asked), None)).await?;
        }
        Ok(())
    }

    /// Puts people on the list of those who are not to be called, or takes them off, in the name of `by`. Returns for how
    /// many that was a change. A lead of theirs that waits ends at its dial.
    pub async fn change_refused(
        &self,
        wish: ListWish,
        numbers: &[PhoneNumber],
        by: &str,
    ) -> Result<u32, TableError> {
        let now = self.clock.now();
        // Named twice, they are one.
        let mut known = HashSet::new();
        let people: Vec<&PhoneNumber> = numbers.iter().filter(|number| known.insert(*number)).collect();
        let named = u32::try_from(people.len()).unwrap_or(u32::MAX);
        let asked = ListChange { at: now, by: by.to_owned(), wish, named, changed: None };
        let nonce = (self.nonce)();
        self.table.record_list_change(&asked, nonce).await?;
        let mut changed = 0;
        for few in people.chunks(AT_ONCE) {
            let changes = few.iter().map(|number| async move {
                match wish {
                    ListWish::Add => self.table.refuse_calls(number, by, now).await,
                    ListWish::Remove => self.table.allow_calls(number, now).await,
                }
            });
            let changes = futures::future::try_join_all(changes).await?;
            changed += changes.into_iter().filter(|changed| *changed).count() as u32;
        }
        self.table.record_list_change(&ListChange { changed: Some(changed), ..asked }, nonce).await?;
        tracing::info!(change = wish.name(), named, changed, by, "do-not-call list changed");
        Ok(changed)
    }

    /// What each of these people has said, in their order: nothing for those who may be called.
    pub async fn who_refused(&self, numbers: &[PhoneNumber]) -> Result<Vec<Option<Refused>>, TableError> {
        let mut said = Vec::with_capacity(numbers.len());
        for few in numbers.chunks(AT_ONCE) {
            let people =
                futures::future::try_join_all(few.iter().map(|number| self.table.read_person(number)));
            said.extend(people.await?.into_iter().map(|person| person.refused));
        }
        Ok(said)
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

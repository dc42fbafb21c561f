//! The organisations of one subscription: whose key dials, whose lists show which calls, whose calls count.
//!
//! They share the lines. Splitting them adds none and keeps nobody's calls from anybody's lines; what does is a
//! quota on an organisation, or a subscription of its own, which is a pool and a stack of its own.

use jiff::Timestamp;

use super::{App, StartError};
use crate::config::{Access, ConfigError, OrgSettings};
use crate::core::ids::{CallId, NameCode, OrgId, OrgName};
use crate::core::pool::Pool;
use crate::core::timers::Timers;
use crate::logging::chain;
use crate::vapi::calls::{Call, Listing};
use crate::vapi::{Vapi, VapiError};

/// An organisation besides the one that the first key belongs to.
#[derive(Debug, Clone)]
pub struct Org {
    /// What campaigns and quotas call it.
    pub name: OrgName,
    /// What Vapi calls it.
    pub id: OrgId,
    /// Vapi by its own key. Without one its calls count as far as webhooks tell of them, and nobody dials for it.
    pub vapi: Option<Vapi>,
}

impl Org {
    /// The configured organisations, each with Vapi by its key, if `access` has one.
    ///
    /// # Errors
    /// If there is a key for one that is not named.
    pub fn all(
        access: Option<&Access>,
        orgs: Vec<OrgSettings>,
        timers: &Timers,
    ) -> Result<Vec<Self>, StartError> {
        // Its name is not shown: of a mistyped list it may be a piece of a key.
        let mut named = access.iter().flat_map(|access| access.keys.others.keys());
        if named.any(|key| orgs.iter().all(|org| org.name != *key)) {
            return Err(ConfigError::KeyOfNobody.into());
        }
        let org = |OrgSettings { name, id }| {
            let key = access.and_then(|access| Some((&access.vapi_url, access.keys.others.get(&name)?)));
            let vapi = key.map(|(url, key)| Vapi::new(url, key, timers.clone()));
            Ok(Self { name, id, vapi: vapi.transpose()? })
        };
        orgs.into_iter().map(org).collect()
    }
}

/// What the lists of calls showed, one for each organisation that there is a key of; the first one has no name. Nothing
/// where Vapi did not answer.
pub(super) struct Listings(Vec<(Option<OrgName>, Option<Listing>)>);

impl Listings {
    /// All calls.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.0.iter().filter_map(|(_, listing)| listing.as_ref()).flat_map(|listing| &listing.calls)
    }

    /// The list that a campaign's calls would be in. One that nobody could read shows no absence.
    pub(super) fn of(&self, org: Option<&OrgName>) -> Option<&Listing> {
        self.0.iter().find(|(name, _)| name.as_ref() == org)?.1.as_ref()
    }

    /// Organisations whose list Vapi did not answer.
    pub(super) fn unanswered(&self) -> u32 {
        self.0.iter().filter(|(_, listing)| listing.is_none()).count() as u32
    }

    /// Whether every list shows all that it was asked for.
    pub(super) fn are_complete(&self) -> bool {
        self.0.iter().all(|(_, listing)| listing.as_ref().is_some_and(|listing| listing.complete))
    }
}

impl App {
    /// Vapi by the key that a campaign of this organisation dials with, if there is one.
    pub(super) fn vapi_of(&self, org: Option<&OrgName>) -> Option<&Vapi> {
        match org {
            None => self.vapi.as_ref(),
            Some(name) => self.orgs.iter().find(|org| org.name == *name)?.vapi.as_ref(),
        }
    }

    /// Vapi by every key, the first one's first.
    fn vapis(&self) -> impl Iterator<Item = (Option<&OrgName>, &Vapi)> {
        let others = self.orgs.iter().filter_map(|org| Some((Some(&org.name), org.vapi.as_ref()?)));
        self.vapi.iter().map(|vapi| (None, vapi)).chain(others)
    }

    /// Whether calls of an organisation are none of this pool's.
    pub(super) fn is_other_org(&self, pool: &Pool, org: Option<&OrgId>) -> bool {
        match (org, &pool.org) {
            (Some(theirs), Some(own)) => theirs != own && self.orgs.iter().all(|org| org.id != *theirs),
            _ => false,
        }
    }

    /// The codes that are kept with the line of an observed call, of all that it is known by.
    pub(super) fn known_by(&self, pool: &Pool, codes: &[NameCode], org: Option<&OrgId>) -> Vec<NameCode> {
        let mut known = pool.telling(codes);
        let org = self.orgs.iter().find(|other| Some(&other.id) == org).map(|org| org.name.code());
        known.extend(org.filter(|org| !known.contains(org)));
        known
    }

    /// A call, whichever organisation it belongs to. `None` only if none of them knows it: of those that there is a key of.
    pub(super) async fn get_call(&self, call: &CallId) -> Result<Option<Call>, VapiError> {
        let mut failed = None;
        for (_, vapi) in self.vapis() {
            match vapi.get_call(call).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The calls of every organisation since `since`.
    pub(super) async fn list_calls(&self, since: Timestamp) -> Listings {
        let lists = self.vapis().map(|(name, vapi)| async move {
            let listing = vapi.list_calls(since).await.inspect_err(|error| {
                tracing::warn!(
                    org = name.map(OrgName::as_str),
                    error = chain(error),
                    "Vapi did not list its calls; asking for the oldest one by one"
                );
            });
            (name.cloned(), listing.ok())
        });
        Listings(futures::future::join_all(lists).await)
    }
}

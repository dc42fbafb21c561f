//! The handle of a running simulation.

use std::{net::IpAddr, sync::Arc};

use axum::http::{Request, Response};
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{
    api, calls,
    carrier::{Carrier, Deliver},
    clock::Clock,
    config::{Config, Counter, Faults, Telephony, Traffic, Webhook},
    connection::Connections,
    setup::{Account, AccountFaults, Kind},
    shared::{MAIN, Shared},
    traffic,
    truth::{CallSeen, CallTruth, LinesHeld, Truth},
};

/// A running simulation. It goes on until [`Sim::stop`], even when every handle is gone.
#[derive(Clone)]
pub struct Sim(Arc<Shared>);

impl Sim {
    /// Starts the server and the traffic as tasks of the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: Config, listener: TcpListener) -> Self {
        let mut address = listener.local_addr().expect("a listener that is bound has an address");
        if address.ip().is_unspecified() {
            let loopback: IpAddr =
                if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
            address.set_ip(loopback);
        }
        let clock = Clock::start(config.speed);
        let shared = Shared::new(config, format!("http://{address}"), clock, Carrier::http());
        tokio::spawn(api::serve(Arc::clone(&shared), Connections::of(listener)));
        traffic::spawn(&shared);
        Self(shared)
    }

    /// The same without sockets: requests come in through [`Sim::ask`], webhooks go out through `deliver`,
    /// and the clock shows `begins` now. In a runtime of one thread whose time is paused, one seed is one
    /// history.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn in_process(config: Config, begins: Timestamp, deliver: Deliver) -> Self {
        let clock = Clock::at(begins.as_millisecond() as f64, config.speed);
        let url = "http://vapi.invalid".to_owned();
        let shared = Shared::new(config, url, clock, Carrier::InProcess(deliver));
        traffic::spawn(&shared);
        Self(shared)
    }

    /// Answers one API request; nothing if its connection would have been cut before the answer.
    pub async fn ask(&self, request: Request<Vec<u8>>) -> Option<Response<Vec<u8>>> {
        api::answer(&self.0, request).await
    }

    /// Where the API is, without a slash at the end.
    pub fn url(&self) -> String {
        self.0.url.clone()
    }

    /// What really happened up to now.
    pub fn truth(&self) -> Truth {
        self.0.truth()
    }

    /// What really happened, up to now, to the calls that `is` picks: cheaper than the whole truth.
    pub fn calls(&self, is: impl Fn(&CallSeen<'_>) -> bool) -> Vec<CallTruth> {
        self.0.world().calls_where(is)
    }

    /// Lines that calls hold now.
    pub fn live(&self) -> LinesHeld {
        self.0.world().live()
    }

    /// Changes the subscription's limit. Calls that are up stay up.
    pub fn set_lines(&self, lines: u32) {
        self.0.world().lines = lines;
    }

    /// Changes what goes wrong, from the next request and the next message on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.world().faults = faults;
    }

    /// Changes how well Vapi counts its lines, from now on.
    pub fn set_counter(&self, counter: Counter) {
        self.0.world().counter = counter;
    }

    /// Changes how called people and the API behave, from the next call on.
    pub fn set_telephony(&self, telephony: Telephony) {
        self.0.world().telephony = telephony;
    }

    /// Changes who calls the main org.
    pub fn set_traffic(&self, traffic: Traffic) {
        self.0.orgs[MAIN].traffic.send_replace(traffic);
    }

    /// Changes who calls one org.
    ///
    /// # Panics
    /// If there is no such org.
    pub fn set_org_traffic(&self, org_id: &str, traffic: Traffic) {
        self.0.orgs[self.org(org_id)].traffic.send_replace(traffic);
    }

    /// Changes where the main org's webhooks go, from the next message on.
    pub fn set_webhook(&self, webhook: Option<Webhook>) {
        self.0.world().orgs[MAIN].webhook = webhook;
    }

    /// Lets the main org have set this up, and nothing else.
    pub fn set_up(&self, account: Account) {
        self.0.set_up(MAIN, account);
    }

    /// Changes what goes wrong when the main org's account is read or changed, from the next request on.
    pub fn set_account_faults(&self, faults: AccountFaults) {
        self.0.world().orgs[MAIN].setup.faults = faults;
    }

    /// What the main org has set up, in truth: with secrets, and without any lag.
    pub fn objects(&self, kind: Kind) -> Vec<Value> {
        self.0.world().orgs[MAIN].setup.truth(kind)
    }

    /// One more caller of the main org, now.
    pub fn ring_in(&self) {
        calls::ring_in(&self.0, MAIN);
    }

    /// One more caller of an org, now.
    ///
    /// # Panics
    /// If there is no such org.
    pub fn ring_in_to(&self, org_id: &str) {
        calls::ring_in(&self.0, self.org(org_id));
    }

    /// Ends a live call as `manually-canceled`. False if there is no such live call.
    pub fn end_call(&self, id: &str) -> bool {
        self.0.world().hang_up(id)
    }

    /// An outbound call that an org makes by itself, now: from the dashboard, or from another system. It
    /// takes one line, or two if it is a voice simulation; if they are not free it is lost.
    ///
    /// # Panics
    /// If there is no such org, and if it would take none or more than two.
    pub fn dial_from(&self, org_id: &str, lines: u8) {
        assert!(matches!(lines, 1 | 2), "a call takes one line, a voice simulation two");
        calls::dial_out(&self.0, self.org(org_id), lines);
    }

    fn org(&self, id: &str) -> usize {
        self.0.org(id).unwrap_or_else(|| panic!("there is no org {id}"))
    }

    /// Stops the server and all tasks. Calls that are up are forgotten; the truth stays readable.
    pub fn stop(&self) {
        self.0.stop();
    }
}

//! `kill -9` in mid-campaign and a restart on the same data: nothing lost, nothing doubled.

use std::time::Duration;

use vapi_sim::{Config, Faults, Telephony};

use crate::server::{Flags, Folder, Server, campaign, free_port, vapi};

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_mid_campaign_and_restarted_nothing_is_lost_or_doubled() {
    const LEADS: u32 = 120;
    let (port, folder, speed) = (free_port().await, Folder::new(), 60.0);
    let config = Config {
        speed,
        lines: 10,
        telephony: Telephony { talk_seconds_mean: 30.0, ..Telephony::default() },
        // Answers are slow enough that the kills meet dials under way.
        faults: Faults { answer_lost: 0.03, ..Faults::default() },
        ..Config::default()
    };
    let sim = vapi(port, config).await;
    let flags = Flags {
        vapi_url: &sim.url(),
        data: Some(&folder.0),
        log: None,
        limit: 10,
        cap: 8,
        headroom: 2,
        speed,
    };
    let mut server = Server::start(port, &flags).await;
    assert_eq!(server.post_campaign(campaign("c", 0..LEADS)).await.status(), 202);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        drop(server); // SIGKILL
        server = Server::start(port, &flags).await;
    }
    let status = server.finish(Duration::from_secs(120)).await;
    server.drain(Duration::from_secs(60)).await;

    let truth = sim.truth();
    let leads = &status["campaigns"][0]["leads"];
    assert_eq!(
        leads["done"].as_u64().zip(leads["failed"].as_u64()).map(|(d, f)| d + f),
        Some(LEADS.into()),
        "{status}"
    );
    assert_eq!(truth.dials.len(), LEADS as usize, "every number was called");
    let twice: Vec<_> = truth.dials_by_name.iter().filter(|(_, dials)| **dials > 1).collect();
    assert!(twice.is_empty(), "an attempt rang twice: {twice:?}");
    assert!(truth.peak_outbound <= 8, "outbound stayed under its cap: {}", truth.peak_outbound);
    assert_eq!(truth.live.total(), 0);
    sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_accepted_survives_a_kill_in_the_next_instant() {
    let (port, folder, speed) = (free_port().await, Folder::new(), 120.0);
    let sim = vapi(port, Config { speed, ..Config::default() }).await;
    let flags = Flags {
        vapi_url: &sim.url(),
        data: Some(&folder.0),
        log: None,
        limit: 10,
        cap: 10,
        headroom: 0,
        speed,
    };
    let server = Server::start(port, &flags).await;
    assert_eq!(server.post_campaign(campaign("c", 0..40)).await.status(), 202);
    drop(server); // SIGKILL
    let server = Server::start(port, &flags).await;
    let status = server.finish(Duration::from_secs(60)).await;
    let leads = &status["campaigns"][0]["leads"];
    assert_eq!(
        leads["done"].as_u64().zip(leads["failed"].as_u64()).map(|(d, f)| d + f),
        Some(40),
        "{status}"
    );
    sim.stop();
}

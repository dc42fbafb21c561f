//! How quickly each function starts, how large it is, how much memory it takes and how long the webhook needs for a
//! message: the release binaries as Lambda runs them, on this machine.
//!
//! | module | plays |
//! |---|---|
//! | [`runtime`] | Lambda: starts a `bootstrap`, gives it events and takes its answers |
//! | [`services`] | AWS and Vapi over TLS: the embedded engine, Parameter Store, the simulated Vapi |
//!
//! Machines are noisy, so what takes time is also given as a ratio: of a cold start to that of a function that does nothing,
//! and to that of one that does no more than open the same connections, run in turns; of a message to a single
//! conditional write, in turns as well.

#![allow(clippy::print_stdout, reason = "it is a command for people")]

mod runtime;
mod services;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::ensure;
use aws_sdk_dynamodb::types::AttributeValue;
use headroom_local::engines::local_aws;
use serde_json::{Value, json};

use crate::runtime::Function;
use crate::services::{SECRET, Services, TABLE};

/// Cold starts of each function.
const STARTS: usize = 21;
/// The longest cold start, in those of `connects`: `nothing` opens no connections, and no function could do without.
const MOST: f64 = 1.5;
/// Turns in which a function may be over that. One whose start is just as long as allowed is over it in half of them, and
/// in more than these once in 280 times: what fails is the function, not the machine.
const MAY_BE_OVER: usize = 16;
/// Invocations of each function before its memory is read.
const INVOCATIONS: usize = 50;
/// Messages to the warm webhook.
const MESSAGES: usize = 1000;

/// What each function is given.
const FUNCTIONS: [(&str, &str); 8] = [
    ("nothing", "{}"),
    ("connects", "{}"),
    ("webhook", include_str!("../../../events/webhook.in-progress.inbound.json")),
    ("dispatcher", include_str!("../../../events/dispatcher.wake.json")),
    ("reconciler", include_str!("../../../events/reconciler.tick.json")),
    ("backfill", include_str!("../../../events/backfill.tick.json")),
    ("console", CONSOLE),
    ("announcer", include_str!("../../../events/announcer.events.json")),
];

/// The two that the others are measured against.
const AGAINST: [&str; 2] = ["nothing", "connects"];

/// `GET /status`, as an HTTP API hands it on.
const CONSOLE: &str = r#"{
    "version": "2.0", "routeKey": "GET /status", "rawPath": "/status", "rawQueryString": "",
    "headers": { "authorization": "Bearer figures-token", "host": "figures.invalid" },
    "requestContext": { "accountId": "0", "apiId": "a", "domainName": "figures.invalid", "domainPrefix": "figures",
        "http": { "method": "GET", "path": "/status", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "f" },
        "requestId": "r", "routeKey": "GET /status", "stage": "$default", "time": "t", "timeEpoch": 0 },
    "isBase64Encoded": false }"#;

/// What was measured of one function.
#[derive(Default)]
struct Figures {
    bytes: u64,
    packed: u64,
    starts: Vec<Duration>,
    memory_kb: u64,
    log_bytes: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let [_, folder, tls] = &std::env::args().collect::<Vec<_>>()[..] else {
        anyhow::bail!("usage: figures FOLDER TLS; infra/figures knows them");
    };
    let services = Services::start(Path::new(tls)).await?;
    let binary = |name: &str| PathBuf::from(folder).join(name).join("bootstrap");
    let built: Vec<_> = FUNCTIONS.into_iter().filter(|(name, _)| binary(name).is_file()).collect();
    let mut figures: BTreeMap<&str, Figures> = BTreeMap::new();
    for (name, event) in built.iter().copied() {
        let figures = figures.entry(name).or_default();
        let path = binary(name);
        figures.bytes = std::fs::metadata(&path)?.len();
        figures.packed = packed(&path).await?;
        let (mut function, _) = Function::start(&path, &services.environment(name)).await?;
        for _ in 0..INVOCATIONS {
            let answer = function.invoke(event).await?;
            ensure!(!answer.failed, "{name} failed: {}", answer.body);
        }
        figures.memory_kb = function.peak_memory_kb()?;
        figures.log_bytes = function.stop().await? / INVOCATIONS;
    }
    for _ in 0..STARTS {
        for (name, _) in built.iter().copied() {
            let (function, took) = Function::start(&binary(name), &services.environment(name)).await?;
            figures.entry(name).or_default().starts.push(took);
            function.stop().await?;
        }
    }
    for against in AGAINST {
        ensure!(figures.contains_key(against), "there is no {against} to measure against");
    }
    print_functions(&figures);
    if figures.contains_key("webhook") {
        let (messages, writes) = webhook(&binary("webhook"), &services).await?;
        print_messages(messages, writes);
    }
    let slow = slow(&figures);
    ensure!(slow.is_empty(), "{}", slow.join("\n"));
    Ok(())
}

/// What is wrong with the functions that start too slowly, in words.
fn slow(figures: &BTreeMap<&str, Figures>) -> Vec<String> {
    let connects = &figures["connects"].starts;
    let measured = figures.iter().filter(|(name, _)| !AGAINST.contains(name));
    measured
        .filter_map(|(name, of)| {
            let is_over = |(start, connects): &(&Duration, &Duration)| **start > connects.mul_f64(MOST);
            let over = of.starts.iter().zip(connects).filter(is_over).count();
            (over > MAY_BE_OVER).then(|| {
                format!(
                    "{name} starts too slowly: over {MOST} times as long as `connects` in {over} of {STARTS} turns, \
                     of which {MAY_BE_OVER} may be chance"
                )
            })
        })
        .collect()
}

/// The size of a file in a zip, whose compression is gzip's.
async fn packed(path: &Path) -> anyhow::Result<u64> {
    let packed = tokio::process::Command::new("gzip").args(["-6", "-c"]).arg(path).output().await?;
    ensure!(packed.status.success(), "gzip failed");
    Ok(packed.stdout.len() as u64)
}

/// The value that this share of all does not exceed.
fn quantile(of: &mut [Duration], share: f64) -> f64 {
    of.sort();
    of[((of.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3
}

fn print_functions(figures: &BTreeMap<&str, Figures>) {
    println!(
        "{:<12}{:>10}{:>10}{:>12}{:>12}{:>12}{:>12}{:>14}",
        "", "binary", "zip", "cold start", "× nothing", "× connects", "peak memory", "log, invoked"
    );
    let start = |name: &str| quantile(&mut figures[name].starts.clone(), 0.5);
    for (name, _) in FUNCTIONS {
        let Some(of) = figures.get(name) else { continue };
        println!(
            "{name:<12}{:>7.1} MB{:>7.1} MB{:>9.1} ms{:>12.2}{:>12.2}{:>9.1} MB{:>12} B",
            of.bytes as f64 / 1e6,
            of.packed as f64 / 1e6,
            start(name),
            start(name) / start(AGAINST[0]),
            start(name) / start(AGAINST[1]),
            of.memory_kb as f64 / 1e3,
            of.log_bytes,
        );
    }
}

/// How long a warm webhook takes for a status update, and a single conditional write for an item of the ledger's size, in
/// turns.
async fn webhook(binary: &Path, services: &Services) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let client = aws_sdk_dynamodb::Client::new(&local_aws(&services.url));
    let (mut function, _) = Function::start(binary, &services.environment("webhook")).await?;
    let (mut messages, mut writes) = (Vec::new(), Vec::new());
    let empty = services.ledger_bytes();
    // Half of them take a line, the others free it; so the ledger stays as it is.
    for nth in 0..MESSAGES {
        let status = ["in-progress", "ended"][nth % 2];
        let event = status_update(&format!("019d2ad0-7c40-7aac-9377-{:012}", nth / 2), status);
        let began = Instant::now();
        let answer = function.invoke(&event).await?;
        messages.push(began.elapsed());
        ensure!(answer.body.contains("200"), "the webhook answered {}", answer.body);
        ensure!((services.ledger_bytes() > empty) == (status == "in-progress"), "no line was moved");
        let began = Instant::now();
        client
            .update_item()
            .table_name(TABLE)
            .key("pk", AttributeValue::S("FIGURES".into()))
            .key("sk", AttributeValue::S("FIGURES".into()))
            .update_expression("SET n = :n, filler = :filler")
            .condition_expression("attribute_not_exists(n) OR n < :n")
            .expression_attribute_values(":n", AttributeValue::N(nth.to_string()))
            .expression_attribute_values(":filler", AttributeValue::S("x".repeat(services.ledger_bytes())))
            .send()
            .await?;
        writes.push(began.elapsed());
    }
    function.stop().await?;
    // The first ones open connections.
    Ok((messages.split_off(20), writes.split_off(20)))
}

fn status_update(call: &str, status: &str) -> String {
    let org = "7b9d0c52-41fe-4c0a-9d6e-52a7b1c3d001";
    let call = json!({ "id": call, "orgId": org, "type": "inboundPhoneCall",
        "phoneNumberId": "7b9d0c52-41fe-4c0a-9d6e-52a7b1c3d002" });
    let message = json!({ "message": { "type": "status-update", "status": status, "call": call,
        "endedReason": (status == "ended").then_some("customer-ended-call") } });
    let mut event: Value =
        serde_json::from_str(FUNCTIONS[2].1).expect("the sample is an event of an HTTP API");
    event["headers"]["x-vapi-secret"] = json!(SECRET);
    event["body"] = json!(message.to_string());
    event["isBase64Encoded"] = json!(false);
    event.to_string()
}

fn print_messages(mut messages: Vec<Duration>, mut writes: Vec<Duration>) {
    println!("\n{:<34}{:>12}{:>12}{:>10}", "", "a message", "a write", "ratio");
    for (name, share) in [("warm webhook, p50", 0.5), ("warm webhook, p99", 0.99)] {
        let (message, write) = (quantile(&mut messages, share), quantile(&mut writes, share));
        println!("{name:<34}{message:>9.2} ms{write:>9.2} ms{:>10.2}", message / write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_too_slow_if_it_is_so_in_more_turns_than_by_chance() {
        let figures = |over: usize| {
            let starts = |ms: u64, n| std::iter::repeat_n(Duration::from_millis(ms), n);
            let webhook = starts(31, over).chain(starts(30, STARTS - over)).collect();
            BTreeMap::from([
                ("nothing", Figures { starts: starts(2, STARTS).collect(), ..Figures::default() }),
                ("connects", Figures { starts: starts(20, STARTS).collect(), ..Figures::default() }),
                ("webhook", Figures { starts: webhook, ..Figures::default() }),
            ])
        };
        assert!(slow(&figures(MAY_BE_OVER)).is_empty());
        let words = slow(&figures(MAY_BE_OVER + 1));
        assert!(words.len() == 1 && words[0].starts_with("webhook starts too slowly"), "{words:?}");
    }
}

//! `campaign check` as typed against the real process: what it refuses and warns of, and how near its estimate is to
//! what a campaign then takes.

use std::time::{Duration, Instant};

use headroom::flows::{Clock as _, SystemClock};
use serde_json::{Value, json};
use vapi_sim::{Config, Sim, Telephony};

use crate::server::{Flags, Folder, Server, free_port, vapi};

const SPEED: f64 = 60.0;
/// Numbers of New York, which are in one zone.
fn leads(count: u32) -> Vec<Value> {
    (0..count).map(|n| json!({ "number": format!("+1212{:07}", 5_550_000 + n) })).collect()
}

fn file(folder: &Folder, id: &str, more: Value, leads: Vec<Value>) -> String {
    let retry = json!({ "noAnswerAfter": "10m", "busyAfter": "5m" });
    let mut campaign =
        json!({ "id": id, "assistantId": "assistant-out", "phoneNumberId": "number-out", "retry": retry });
    campaign.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    folder.file(&format!("{id}.json"), &json!({ "campaign": campaign, "leads": leads }).to_string())
}

async fn server(speed: f64, lines: u32) -> (Sim, Server) {
    let port = free_port().await;
    let telephony = Telephony { talk_seconds_mean: 60.0, ..Telephony::default() };
    let sim = vapi(port, Config { telephony, lines, speed, ..Config::default() }).await;
    let flags = Flags {
        vapi_url: &sim.url(),
        data: None,
        log: None,
        limit: lines,
        cap: lines - 3,
        headroom: 3,
        speed,
    };
    (sim, Server::start(port, &flags).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_what_is_odd_is_told() {
    let (folder, (sim, server)) = (Folder::new(), server(1.0, 10).await);
    let fits = file(&folder, "fits", json!({}), leads(210));
    // 120 s a call on seven lines are 210 calls an hour.
    let text = server.done(&format!("campaign check {fits}"));
    for part in [
        "fits: 210 leads, about ",
        "bounded by  ",
        "the cap of 7 lines",
        "too few calls are known",
        "day (UTC)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    println!("{text}");
    let json = server.json(&format!("campaign check {fits} --json --call-seconds 60"));
    assert_eq!((&json["feasible"], &json["check"]["terms"]["callSeconds"]), (&json!(true), &json!(60.0)));
    assert_eq!(json["check"]["terms"]["lines"], 7.0);

    // Within an hour of now.
    let end = |hours: i64| {
        let end = SystemClock.now() + Duration::from_secs(hours.unsigned_abs() * 3600);
        end.to_string()
    };
    let late = file(&folder, "late", json!({ "endAt": end(1) }), leads(2_000));
    let (done, text) = server.typed(&format!("campaign check {late}"));
    assert!(
        !done && text.contains("it does not fit: about ") && text.contains("would be left at its end"),
        "{text}"
    );
    // A term of an hour some years ago.
    let past = json!({ "startAt": "2020-01-01T00:00:00Z", "endAt": "2020-01-01T01:00:00Z" });
    let (done, text) = server.typed(&format!("campaign check {}", file(&folder, "past", past, leads(3))));
    assert!(!done && text.contains("nobody could ever be called"), "{text}");
    let slow = file(
        &folder,
        "slow",
        json!({ "perSecond": 1, "maxConcurrency": 9, "maxDurationSeconds": 30 }),
        leads(50),
    );
    let text = server.done(&format!("campaign check {slow}"));
    for part in [
        "it never gets its maxConcurrency of 9: there are 7.0 for it",
        "maxDurationSeconds cuts them off after 30",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Bad rows as when it is started; and nothing was stored by any of it.
    let list = folder.file("list.csv", "number\n+12125550001\n12\n+12125550001\n");
    let text = server
        .done(&format!("campaign check {} --leads {list}", file(&folder, "rows", json!({}), Vec::new())));
    assert!(text.contains("rows: 1 leads") && text.contains("line 3: number is not E.164"), "{text}");
    assert_eq!(server.json("campaign list --json")["campaigns"], json!([]));
    // A start warns, and starts.
    let text = server.done(&format!("campaign start {late} --draft"));
    assert!(text.contains("2000 leads sent") && text.contains("Warning: it does not fit"), "{text}");
    sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_is_near_what_a_campaign_then_takes() {
    let (folder, (sim, server)) = (Folder::new(), server(SPEED, 13).await);
    // A first one, to know how calls go.
    server.done(&format!("campaign start {}", file(&folder, "first", json!({}), leads(100))));
    server.finish(Duration::from_secs(120)).await;
    let started = Instant::now();
    while server.status().await["campaigns"][0]["kpis"]["final"] != true {
        assert!(started.elapsed() < Duration::from_secs(30), "its figures come: {}", server.status().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let shown = server.done("campaign show first");
    assert!(shown.contains("  calls     ") && shown.contains("(final)"), "{shown}");
    println!("{shown}{}", server.done("campaign list"));

    let second = file(&folder, "second", json!({}), leads(400));
    println!("{}", server.done(&format!("campaign check {second}")));
    let check = &server.json(&format!("campaign check {second} --json"))["check"];
    let at =
        |value: &Value| value.as_str().expect("an instant").parse::<jiff::Timestamp>().expect("an instant");
    let estimate = at(&check["estimate"]["finish"]).duration_since(at(&check["terms"]["now"])).as_secs_f64();
    let started = Instant::now();
    server.done(&format!("campaign start {second}"));
    let mut foretold = String::new();
    loop {
        let status = server.status().await;
        if status["campaigns"][1]["finished"] == true {
            break;
        }
        if foretold.is_empty() {
            let shown = server.done("campaign show second");
            foretold =
                shown.lines().filter(|line| line.contains("through") && line.contains("about")).collect();
        }
        assert!(started.elapsed() < Duration::from_secs(200), "it finishes: {status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = started.elapsed().as_secs_f64();
    println!("estimated {estimate:.1} s, took {took:.1} s: {:.2}; midway: {foretold}", estimate / took);
    // About 1 on a machine that has nothing else to do; here other tests take lines and time.
    assert!((0.67..=1.5).contains(&(estimate / took)), "{estimate} s, and it took {took} s");
    assert!(!foretold.is_empty(), "its finish was foretold");
    sim.stop();
}

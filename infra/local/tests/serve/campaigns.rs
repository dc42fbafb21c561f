//! Campaigns as people run them: the routes, and every command typed against the real process.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vapi_sim::{Config, Sim, Telephony};

use crate::lines::start;
use crate::server::{Flags, Folder, Server, TOKEN, free_port, vapi};

/// A process whose calls last until the test is over, if they are answered.
async fn start_slow(limit: u32, log: Option<&std::path::Path>) -> (Sim, Server) {
    let port = free_port().await;
    let telephony = Telephony { talk_seconds_mean: 3600.0, ..Telephony::default() };
    let sim = vapi(port, Config { telephony, lines: limit, ..Config::default() }).await;
    let flags = Flags { vapi_url: &sim.url(), data: None, log, limit, cap: limit, headroom: 0, speed: 1.0 };
    (sim, Server::start(port, &flags).await)
}

impl Folder {
    /// A file of this name and text in it; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        std::fs::create_dir_all(&self.0).expect("a folder");
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a plain path").to_owned()
    }
}

fn campaign_file(folder: &Folder, id: &str, more: Value) -> String {
    let mut campaign = json!({ "id": id, "assistantId": "assistant-out", "phoneNumberId": "number-out" });
    campaign.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    folder.file(&format!("{}.json", id.replace('/', "-")), &json!({ "campaign": campaign }).to_string())
}

impl Server {
    pub(crate) fn done(&self, command: &str) -> String {
        let (done, text) = self.typed(command);
        assert!(done, "headroom {command}: {text}");
        text
    }

    pub(crate) fn json(&self, command: &str) -> Value {
        serde_json::from_str(&self.done(command)).expect("JSON")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_campaigns_answers_good_and_bad_input() {
    let (sim, server) = start(10).await;
    let campaign = |id: &str| {
        json!({ "campaign": { "id": id, "assistantId": "as", "phoneNumberId": "ph" }, "draft": true })
            .to_string()
    };
    for id in ["may", "renewals/may"] {
        assert_eq!(server.post_campaign(campaign(id)).await.status(), 202);
        server.campaign(id, |campaign| campaign["state"] == "draft").await;
    }
    let cases = [
        ("GET", "/campaigns", "", 200, "renewals/may"),
        ("DELETE", "/campaigns", "", 405, "GET or POST"),
        ("GET", "/campaigns/may", "", 200, "draft"),
        ("GET", "/campaigns/renewals%2Fmay", "", 200, "renewals/may"),
        ("GET", "/campaigns/renewals/may", "", 200, "renewals/may"),
        ("GET", "/campaigns/may?outcomes=true", "", 200, "outcomes"),
        ("GET", "/campaigns/may?all=1", "", 400, "outcomes=true"),
        ("GET", "/campaigns/nobody", "", 404, "no campaign nobody"),
        ("GET", "/campaigns/%00", "", 400, "the id in the path"),
        ("PUT", "/campaigns/may", "", 405, "GET or PATCH"),
        ("PATCH", "/campaigns/may", r#"{"maxConcurrency":5}"#, 200, "none → 5"),
        ("PATCH", "/campaigns/may", r#"{"assistantId":"b"}"#, 409, "cannot be changed"),
        ("PATCH", "/campaigns/may", r#"{"maxConcurrency":0}"#, 409, "zero"),
        ("PATCH", "/campaigns/may", "{}", 400, "nothing to change"),
        ("PATCH", "/campaigns/may", "[]", 400, "no JSON object"),
        ("POST", "/campaigns/may/pause", "", 409, "may stays draft: it is a draft"),
        ("POST", "/campaigns/may/start", r#"{"now":1}"#, 400, "without a body"),
        ("POST", "/campaigns/nobody/start", "", 404, "no campaign nobody"),
        ("GET", "/campaigns/may/start", "", 404, "no campaign may/start"),
        ("POST", "/campaigns/renewals/may/start", "", 200, "started"),
        ("POST", "/campaigns/may/stop", "", 405, "GET or PATCH"),
        ("GET", "/campaigns/may/results", "", 200, "leads"),
        ("GET", "/campaigns/may/results?limit=0", "", 400, "limit"),
        ("GET", "/campaigns/may/results?after=%27", "", 400, "after"),
        ("GET", "/campaigns/nobody/results", "", 404, "no campaign nobody"),
        ("POST", "/campaigns/may/cancel", "", 200, "cancelling"),
        ("POST", "/campaigns", r#"{"resume":"may"}"#, 202, "may"),
        ("POST", "/campaigns", "{}", 400, "campaign"),
    ];
    for (method, path, body, status, part) in cases {
        let method = method.parse().expect("a method");
        let request = server.http.request(method, format!("{}{path}", server.url)).bearer_auth(TOKEN);
        let answer = request.body(body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{path} {body}");
        let text = answer.text().await.expect("a text");
        assert!(text.contains(part), "{path} {body}: {text}");
    }
    let large = format!(r#"{{"maxConcurrency":5{}}}"#, " ".repeat(200 * 1024));
    let patch = server.http.patch(format!("{}/campaigns/may", server.url)).bearer_auth(TOKEN).body(large);
    assert_eq!(patch.send().await.expect("an answer").status(), 413);
    let bare = server.http.post(format!("{}/campaigns/may/cancel", server.url));
    assert_eq!(bare.send().await.expect("an answer").status(), 401);
    sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaigns_life_as_typed() {
    let (folder, (sim, server)) = (Folder::new(), start_slow(2, None).await);
    let file = campaign_file(&folder, "renewals-may", json!({ "retry": { "maxAttempts": 1 } }));
    let list = folder.file(
        "list.csv",
        "\u{feff}Number;Name;plan\r\n+1 555 555 0001;Ada;gold\r\n\r\n12;Bob;x\r\n+15555550002;\"C; \"\"D\"\"\";\r\n+15555550003;;\r\n",
    );
    server.says("campaign list", "there is no campaign yet\n");
    server.says(
        &format!("campaign start {file} --leads {list} --draft"),
        "renewals-may: 3 leads sent, as a draft, 1 refused\n  line 4: number is not E.164 (+ and 7 to 15 digits)\n",
    );
    server.campaign("renewals-may", |campaign| campaign["leads"]["ready"] == 3).await;
    // Once more adds nothing, and says what is the matter.
    let again = server.done(&format!("campaign start {file} --leads {list}"));
    assert!(again.contains("3 leads sent, 1 refused") && again.contains("It is a draft"), "{again}");
    server.says(
        "campaign edit renewals-may maxConcurrency=1 retry.maxAttempts=2",
        "renewals-may is draft (maxConcurrency none → 1, retry.maxAttempts 1 → 2 by ada)\n",
    );
    server.refuses(
        "campaign edit renewals-may assistantId=x",
        "Error: assistantId cannot be changed: calls made before and after would not be of one campaign; begin another\n",
    );
    server.refuses(
        "campaign pause renewals-may",
        "Error: renewals-may stays draft: it is a draft: nothing of it is dialed\n",
    );
    server.says("campaign start renewals-may", "renewals-may is running (started by ada)\n");
    server.refuses("campaign start nobody", "Error: nobody is neither a file nor the id of a campaign\n");
    server.campaign("renewals-may", |campaign| campaign["leads"]["ready"] == 2).await;
    server.says(
        "campaign pause renewals-may --reason lunch",
        "renewals-may is paused (paused: lunch by ada)\n",
    );
    let shown = server.done("campaign show renewals-may");
    assert!(shown.starts_with("renewals-may is paused since 2"), "{shown}");
    for part in [
        "UTC by ada: lunch\n",
        "  leads     3: 2 waiting, 1 in calls, 0 reached, 0 not\n",
        "ada  started",
        "maxConcurrency 1",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(server.json("campaign show renewals-may --json")["by"], "ada");
    server.says("campaign resume renewals-may", "renewals-may is running (resumed by ada)\n");
    server.says("campaign cancel renewals-may", "renewals-may is cancelling (cancelled by ada)\n");
    let listed = server.done("campaign list");
    assert!(
        listed.contains("campaign      state") && listed.contains("renewals-may  cancelling"),
        "{listed}"
    );
    server.campaign("renewals-may", |campaign| campaign["leads"]["failed"] == 2).await;
    // The call that was under way goes on: the campaign is not over before it is.
    let refused =
        "Error: renewals-may stays cancelling: it is being cancelled: rerun it when its last call is over\n";
    server.refuses("campaign rerun renewals-may --outcome cancelled", refused);
    let results = server.done("campaign results renewals-may");
    let mut lines: Vec<&str> = results.lines().collect();
    assert_eq!(lines.remove(0), "id,number,outcome,reason,attempts,callId,dialedAt");
    lines.sort_unstable();
    assert_eq!(lines.iter().filter(|line| line.contains(",failed,cancelled,0,,")).count(), 2, "{results}");
    assert!(lines[0].starts_with("+15555550001,+15555550001,live,"), "{results}");
    let out = folder.0.join("results.csv");
    let told = server.done(&format!("campaign results renewals-may --out {}", out.display()));
    assert_eq!(told, format!("3 leads written to {}\n", out.display()));
    assert_eq!(std::fs::read_to_string(out).expect("a file"), results);
    assert_eq!(server.json("campaign list --json")["campaigns"].as_array().map(Vec::len), Some(1));
    sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_calls_those_who_were_not_reached() {
    let (folder, (sim, server)) = (Folder::new(), start_slow(5, None).await);
    let file = campaign_file(&folder, "c", json!({}));
    let list =
        folder.file("list.jsonl", "{\"number\":\"+15555550001\"}\n{\"number\":\"+15555550002\"}\n{}\n");
    let told = server.json(&format!("campaign start {file} --leads {list} --draft --json"));
    assert_eq!((&told["leads"], &told["refused"][0]["line"]), (&json!(2), &json!(3)), "{told}");
    server.campaign("c", |campaign| campaign["leads"]["ready"] == 2).await;
    server.done("campaign cancel c");
    server.campaign("c", |campaign| campaign["state"] == "cancelled").await;
    let shown = server.done("campaign show c --outcomes");
    assert!(shown.contains("       2  cancelled\n"), "{shown}");
    server.says("campaign rerun c --outcome cancelled", "c is rerunning (rerun: cancelled by ada)\n");
    let started = Instant::now();
    while sim.truth().dials.len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(20), "both are called: {}", server.status().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sim.stop();
}

/// 100,000 leads from a spreadsheet, paused in the middle. Some minutes, mostly of the embedded engine's.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run by `cargo test -p headroom-local --test serve -- --ignored --nocapture a_hundred_thousand`"]
async fn a_hundred_thousand_leads_by_csv() {
    const LEADS: u32 = 100_000;
    const LINES: u32 = 100;
    let (folder, (sim, server)) = (Folder::new(), start_slow(LINES, None).await);
    let file = campaign_file(&folder, "large", json!({}));
    let list = folder.file("list.csv", "");
    let mut csv = std::io::BufWriter::new(std::fs::File::create(&list).expect("a file"));
    writeln!(csv, "number,name,plan").expect("written");
    for lead in 0..LEADS {
        writeln!(csv, "+1555{lead:07},Person {lead},\"gold, {lead}\"").expect("written");
    }
    csv.flush().expect("written");
    let started = Instant::now();
    let told = server.json(&format!("campaign start {file} --leads {list} --json"));
    let sent = started.elapsed();
    assert_eq!(told["leads"], LEADS, "{told}");
    let all = |campaign: &Value| {
        let leads = &campaign["leads"];
        ["ready", "dialing", "unknown", "live", "done", "failed"]
            .iter()
            .map(|state| leads[state].as_u64().unwrap_or(0))
            .sum::<u64>()
    };
    let patience = Duration::from_secs(1200);
    while all(&server.status().await["campaigns"][0]) < LEADS.into() {
        assert!(started.elapsed() < patience, "{}", server.status().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let stored = started.elapsed();
    // More lines, so that dialing goes on; then the pause, in the middle of it.
    sim.set_lines(5_000);
    server.done("limit 5000");
    server.done("cap 5000");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = sim.truth().dials.len();
    let asked = Instant::now();
    server.done("campaign pause large");
    let paused = asked.elapsed();
    tokio::time::sleep(Duration::from_secs(1).saturating_sub(paused)).await;
    let after_a_second = sim.truth().dials.len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later = sim.truth().dials.len();
    assert!((LINES as usize..5_000).contains(&before), "it is in the middle of its dials: {before}");
    assert!(after_a_second < 5_000, "lines were left: {after_a_second}");
    assert_eq!(after_a_second, later, "no dial later than a second after the pause");
    let began = Instant::now();
    server.done("campaign cancel large");
    let is_ended = |campaign: &Value| campaign["leads"]["ready"] == 0;
    while !is_ended(&server.status().await["campaigns"][0]) {
        assert!(began.elapsed() < patience, "{}", server.status().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!(
        "{LEADS} leads: sent in {sent:.1?}, stored in {stored:.1?}; most memory of the runner {} MiB",
        server.most_memory() / 1024
    );
    println!(
        "paused after {after_a_second} dials, within a second; the rest ended in {:.1?}",
        began.elapsed()
    );
    sim.stop();
}

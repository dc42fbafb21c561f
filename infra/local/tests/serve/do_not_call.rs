//! The do-not-call list as people keep it: every command typed against the real process, and a campaign that meets it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vapi_sim::Config;

use crate::lines::start;
use crate::server::{Flags, Folder, Server, TOKEN, free_port, vapi};

impl Server {
    fn listed(&self) -> Vec<String> {
        let (done, text) = self.typed("do-not-call list");
        assert!(done, "{text}");
        text.lines().skip(1).map(|line| line.split(',').next().unwrap_or_default().to_owned()).collect()
    }
}

fn write(folder: &Folder, name: &str, text: &str) -> String {
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let path = folder.0.join(name);
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a plain path").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_as_typed_and_nobody_on_it_is_dialed() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let log = folder.0.join("log");
    let port = free_port().await;
    let sim = vapi(port, Config::default()).await;
    let flags = Flags {
        vapi_url: &sim.url(),
        data: None,
        log: Some(&log),
        limit: 5,
        cap: 5,
        headroom: 0,
        speed: 1.0,
    };
    let server = Server::start(port, &flags).await;
    server.says("do-not-call changes", "nobody has changed the list yet\n");
    server.says(
        "do-not-call add +15555550001 +15555550002 12 +15555550001",
        "2 added, 1 on the list already, 1 refused\n  number 3: number is not E.164 (+ and 7 to 15 digits)\n",
    );
    server.says("do-not-call add +15555550001", "0 added, 1 on the list already, 0 refused\n");
    server.refuses(
        "do-not-call add 5555550001",
        "0 added, 0 on the list already, 1 refused\n  number 1: number is not E.164 (+ and 7 to 15 digits)\n\
         Error: there was no number that could be used\n",
    );
    let (done, told) = server.typed("do-not-call check +15555550001 +15555550009");
    assert!(
        done && told.starts_with("number 1 on the list since 2") && told.contains(", by ada\n"),
        "{told}"
    );
    assert!(told.ends_with("number 2 not on the list\n"), "{told}");
    server.says("do-not-call remove +15555550002", "1 removed, 0 not on the list, 0 refused\n");
    assert_eq!(server.listed(), ["+15555550001"]);

    // More than a page and a piece, as a table and bare; each twice.
    let (mut table, mut bare) = ("name;number\r\n".to_owned(), String::new());
    for n in 0..1_100 {
        writeln!(table, "P{n};+1 555 666 {n:04}").expect("written");
        writeln!(bare, "+1555666{n:04}").expect("written");
    }
    table.insert_str("name;number\r\n".len(), "Nobody;4155550100\n");
    let (table, bare) = (write(&folder, "list.csv", &table), write(&folder, "list.txt", &bare));
    // On a machine with other things to do, it says in between how far it has come.
    let (_, told) = server.typed(&format!("do-not-call add --file {table}"));
    let expected = "1100 added, 0 on the list already, 1 refused\n  line 2: number is not E.164 (+ and 7 to 15 digits)\n";
    assert!(told.starts_with(expected), "{told}");
    let (_, again) = server.typed(&format!("do-not-call add --file {bare} --json"));
    let again: Value = serde_json::from_str(&again).expect("JSON");
    assert_eq!(again, json!({ "added": 0, "unchanged": 1100, "refused": [], "refusedInAll": 0 }));
    let listed = server.listed();
    assert_eq!(listed.len(), 1_101);
    assert!(listed.is_sorted());
    let out = folder.0.join("out.csv");
    let told = server.typed(&format!("do-not-call list --out {}", out.display())).1;
    assert_eq!(told, format!("1101 people written to {}\n", out.display()));
    // What was written can be read again.
    let (_, whole) = server.typed(&format!("do-not-call remove --file {}", out.display()));
    assert!(whole.starts_with("1101 removed, 0 not on the list, 0 refused\n"), "{whole}");
    server.says("do-not-call add +15555550001", "1 added, 0 on the list already, 0 refused\n");

    let (_, changes) = server.typed("do-not-call changes");
    assert!(changes.lines().all(|line| line.contains("UTC  ada  ")), "{changes}");
    assert!(changes.lines().next().is_some_and(|line| line.ends_with("1 of 1 added")), "{changes}");
    assert!(changes.contains("  500 of 500 removed\n") && !changes.contains("555"), "{changes}");

    let leads = [("listed", "+15555550001"), ("other", "+15555550002")];
    let leads: Vec<Value> = leads.iter().map(|(id, number)| json!({ "id": id, "number": number })).collect();
    let campaign = json!({
        "campaign": { "id": "c", "assistantId": "assistant-out", "phoneNumberId": "number-out" }, "leads": leads,
    });
    assert_eq!(server.post_campaign(campaign.to_string()).await.status(), 202);
    server
        .campaign("c", |campaign| campaign["leads"]["failed"] == 1 && campaign["leads"]["ready"] == 0)
        .await;
    let results = server.typed("campaign results c").1;
    assert!(results.contains("listed,+15555550001,failed,do_not_call,0,"), "{results}");
    // Claimed is not dialed yet.
    let began = Instant::now();
    while !sim.truth().dials.contains_key("+15555550002") {
        assert!(began.elapsed() < Duration::from_secs(20), "the other is dialed: {}", server.status().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!sim.truth().dials.contains_key("+15555550001"));
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(log.contains("do-not-call list changed") && !log.contains("555566") && !log.contains("5555000"));
    sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_list_answers_good_and_bad_input() {
    let (sim, server) = start(10).await;
    let one = r#"{"numbers":["+15555550001"]}"#;
    let cases = [
        ("GET", "/do-not-call", "", 200, r#""changes":[]"#),
        ("POST", "/do-not-call", one, 200, r#""changed":1"#),
        ("POST", "/do-not-call", one, 200, r#""unchanged":1"#),
        ("POST", "/do-not-call", r#"{"numbers":["1"]}"#, 200, r#""index":0"#),
        ("POST", "/do-not-call", r#"{"numbers":[]}"#, 400, "1 to 1000"),
        ("POST", "/do-not-call", "[]", 400, "send {"),
        ("DELETE", "/do-not-call", "", 405, "GET or POST"),
        ("POST", "/do-not-call/check", one, 200, r#""listed":true"#),
        ("POST", "/do-not-call/check", r#"{"numbers":["1"]}"#, 400, "numbers[0]"),
        ("GET", "/do-not-call/check", "", 405, "POST"),
        ("POST", "/do-not-call/list", "", 200, "+15555550001"),
        ("POST", "/do-not-call/list", r#"{"after":"+15555550001"}"#, 200, r#""people":[]"#),
        ("POST", "/do-not-call/list", r#"{"limit":0}"#, 400, "limit"),
        ("POST", "/do-not-call/remove", one, 200, r#""changed":1"#),
        ("POST", "/do-not-call/15555550001", "", 404, "POST /do-not-call/remove"),
    ];
    for (method, path, body, status, part) in cases {
        let method = method.parse().expect("a method");
        let request = server.http.request(method, format!("{}{path}", server.url)).bearer_auth(TOKEN);
        let answer = request.body(body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{path} {body}");
        let text = answer.text().await.expect("a text");
        assert!(text.contains(part), "{path} {body}: {text}");
    }
    let bare = server.http.post(format!("{}/do-not-call/list", server.url));
    assert_eq!(bare.send().await.expect("an answer").status(), 401);
    sim.stop();
}

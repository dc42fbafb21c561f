//! The console's routes and the operator's commands: every answer to good and bad input, and the two examples
//! of the README as they stand there, typed against the real process.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vapi_sim::{Config, Sim};

use crate::server::{Flags, SECRET, Server, TOKEN, free_port, vapi};

pub(crate) async fn start(limit: u32) -> (Sim, Server) {
    let port = free_port().await;
    let sim = vapi(port, Config::default()).await;
    let flags =
        Flags { vapi_url: &sim.url(), data: None, log: None, limit, cap: limit, headroom: 0, speed: 1.0 };
    (sim, Server::start(port, &flags).await)
}

impl Server {
    /// A command's exit and what it says, as `ada` types it.
    pub(crate) fn typed(&self, command: &str) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_headroom"))
            .args(command.split(' '))
            .env("HEADROOM_URL", &self.url)
            .env("HEADROOM_ADMIN_TOKEN", TOKEN)
            .env("USER", "ada")
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("the binary runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).expect("UTF-8"))
    }

    pub(crate) fn says(&self, command: &str, expected: &str) {
        assert_eq!(self.typed(command), (true, expected.to_owned()), "headroom {command}");
    }

    pub(crate) fn refuses(&self, command: &str, expected: &str) {
        assert_eq!(self.typed(command), (false, expected.to_owned()), "headroom {command}");
    }

    /// Vapi says that a call of an assistant is in a status.
    pub(crate) async fn call(&self, id: u32, kind: &str, assistant: &str, status: &str) {
        let call = json!({
            "id": format!("019d2ad0-6eb1-7aac-9377-{id:012}"), "type": kind, "assistantId": assistant,
        });
        let message = json!({ "message": { "type": "status-update", "status": status, "call": call } });
        let post = self.http.post(format!("{}/vapi", self.url)).header("x-vapi-secret", SECRET);
        let answer = post.body(message.to_string()).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{message}");
    }

    /// Waits until a campaign is as wanted.
    pub(crate) async fn campaign(&self, id: &str, wanted: impl Fn(&Value) -> bool) {
        let started = Instant::now();
        loop {
            let status = self.status().await;
            let campaigns = status["campaigns"].as_array().expect("a list");
            if campaigns.iter().any(|campaign| campaign["id"] == id && wanted(campaign)) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{id}: {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn waits(campaign: &Value) -> bool {
    campaign["leads"]["ready"] == 1
}

fn is_called(campaign: &Value) -> bool {
    campaign["leads"]["ready"] == 0 && campaign["leads"]["failed"] == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_good_and_bad_input() {
    let (sim, server) = start(10).await;
    let put = |path: &str, body: &str| ("PUT", path.to_owned(), body.to_owned());
    let patch = |body: &str| ("PATCH", "/lines".to_owned(), body.to_owned());
    let get = |path: &str| ("GET", path.to_owned(), String::new());
    let delete = |path: &str| ("DELETE", path.to_owned(), String::new());
    let large = " ".repeat(200 * 1024);
    let cases = [
        (get("/status"), 200, ""),
        (get("/changes"), 200, "[]"),
        (get("/changes?limit=0"), 400, "limit=N"),
        (get("/changes?most=1"), 400, "limit=N"),
        (patch(r#"{"limit":20,"cap":15}"#), 200, "limit 20, cap 15, headroom 0"),
        (patch("{}"), 400, "nothing to change"),
        (patch(r#"{"limits":20}"#), 400, "unknown field"),
        (patch(r#"{"limit":0}"#), 400, "limit: 0 is not a number of lines from 1"),
        (patch(r#"{"cap":-1}"#), 400, "invalid value"),
        (patch("nonsense"), 400, "no JSON object"),
        (patch(&large), 413, "128 KiB"),
        (put("/reserves/sales", r#"{"inbound":3,"members":["assistant-a"]}"#), 200, "sales inbound 3"),
        (
            put("/reserves/sales", r#"{"outbound":4,"binding":"pooled"}"#),
            200,
            "sales outbound 4 pooled members pEU",
        ),
        (put("/reserves/sales", r#"{"outbound":5}"#), 200, "sales outbound 5 pooled members pEU"),
        (put("/reserves/vip%20desk%2F1", r#"{"web":1}"#), 200, "vip desk/1 web 1"),
        (
            put("/reserves/support", r#"{"inbound":15}"#),
            409,
            "21 lines would be reserved, and the pool has 20",
        ),
        (put("/reserves/other", r#"{"web":1,"members":["assistant-a"]}"#), 409, "known by the same"),
        (put("/reserves/sales", r#"{"inbound":3,"calls":1}"#), 400, "unknown field"),
        (put("/reserves/sales", r#"{"binding":"loose"}"#), 400, "strict or pooled"),
        (put("/reserves/%ff", "{}"), 400, "not UTF-8"),
        (put("/reserves/%00", "{}"), 400, "control characters"),
        (delete("/reserves/support"), 404, "they are for sales, vip desk/1"),
        (delete("/reserves/vip%20desk%2F1"), 200, "sales outbound 5 pooled members pEU"),
        (put("/reserves/sales", "{}"), 200, "limit 20, cap 15, headroom 0\""),
        (delete("/status"), 405, "GET"),
        (get("/lines"), 405, "PATCH"),
        (get("/reserves/sales"), 405, "PUT or DELETE"),
        (get("/reserves/"), 404, "GET /status"),
        (get("/why/nobody"), 404, "CAMPAIGN/LEAD"),
        (get("/why/a/b%2Fc"), 404, "CAMPAIGN/LEAD"),
        (get("/why/%ff"), 400, "not UTF-8"),
        (get("/why/"), 404, "GET /why/ID"),
        (delete("/why/nobody"), 405, "GET"),
    ];
    for ((method, path, body), expected, words) in &cases {
        let case = format!("{method} {path} {}", body.chars().take(60).collect::<String>());
        let method: reqwest::Method = method.parse().expect("a method");
        let request =
            || server.http.request(method.clone(), format!("{}{path}", server.url)).body(body.clone());
        if ![404, 405, 413].contains(expected) {
            for refused in [request(), request().bearer_auth("admin"), request().bearer_auth(SECRET)] {
                assert_eq!(refused.send().await.expect("an answer").status(), 401, "{case}");
            }
        }
        let answer = request().bearer_auth(TOKEN).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a text");
        assert_eq!(status, *expected, "{case}: {text}");
        assert!(text.contains(words), "{case}: {text}");
        let json: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(*expected >= 400, json["error"].is_string(), "{case}: {text}");
    }

    let by = |name: &'static [u8]| {
        let request = server.http.patch(format!("{}/lines", server.url)).bearer_auth(TOKEN);
        request.header("x-headroom-by", name).body(r#"{"headroom":2}"#).send()
    };
    assert_eq!(by(b" ").await.expect("an answer").status(), 400);
    assert_eq!(by(&[b'x'; 81]).await.expect("an answer").status(), 400);
    let answer: Value = by("Zoë".as_bytes()).await.expect("an answer").json().await.expect("JSON");
    assert_eq!((&answer["pool"]["headroom"], &answer["pool"]["limit"]), (&json!(2), &json!(20)));
    // What is so already is no change.
    assert_eq!(by("Zoë".as_bytes()).await.expect("an answer").status(), 200);
    let log = server.http.get(format!("{}/changes?limit=2", server.url)).bearer_auth(TOKEN);
    let log: Value = log.send().await.expect("an answer").json().await.expect("JSON");
    let changes = log["changes"].as_array().expect("a list");
    assert_eq!(changes.len(), 2, "{log}");
    assert_eq!((&changes[0]["by"], &changes[1]["by"]), (&json!("Zoë"), &json!("console")), "{log}");
    assert_eq!(changes[0]["from"], "limit 20, cap 15, headroom 0");
    assert_eq!(changes[0]["to"], "limit 20, cap 15, headroom 2");
    sim.stop();
}

/// Limit 10, six callers and three outbound calls: one line is left, for any kind.
#[tokio::test(flavor = "multi_thread")]
async fn nine_calls_leave_one_line_of_ten() {
    let (sim, server) = start(10).await;
    for id in 0..9 {
        let kind = if id < 6 { "inboundPhoneCall" } else { "outboundPhoneCall" };
        server.call(id, kind, "assistant-x", "in-progress").await;
    }
    server.says(
        "lines",
        "\
10 lines: 0 reserved, 10 shared; cap 10, headroom 0
9 held, 1 free

  |######################################################······|

No lines are reserved: all agents share them, first come, first served.

  held  kind     agent  for                     longest
     6  inbound  –      callers                 < 1 min
     3  foreign  –      not dialed by Headroom  < 1 min
",
    );
    let (done, json) = server.typed("lines --json");
    let status: Value = serde_json::from_str(&json).expect("JSON");
    assert!(done);
    let pool = &status["pools"][0];
    assert_eq!((&pool["total"], &pool["free"], &pool["foreign"]), (&json!(9), &json!(1), &json!(3)));
    assert_eq!(pool["held_by"].as_array().map(Vec::len), Some(9));
    server.call(9, "webCall", "assistant-x", "in-progress").await;
    assert_eq!(server.status().await["pools"][0]["free"], 0);
    sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_a_limit_says_so() {
    let (sim, server) = start(10).await;
    server.done("limit none");
    assert_eq!(server.typed("limit"), (true, "none\n".to_owned()));
    sim.stop();
}

/// 20 lines, 12 of them for sales and 5 for support, step by step.
#[tokio::test(flavor = "multi_thread")]
async fn reserves_are_walked_through_as_typed() {
    let (sim, server) = start(10).await;
    server.says("limit 20", "from  limit 10, cap 10, headroom 0\nto    limit 20, cap 10, headroom 0\n");
    server.says("cap 20", "from  limit 20, cap 10, headroom 0\nto    limit 20, cap 20, headroom 0\n");
    // The same for scripts.
    assert_eq!(server.json("limit --json"), json!({ "limit": 20, "purchased": 0 }));
    assert_eq!(server.json("cap --json"), json!({ "cap": 20 }));
    assert_eq!(server.json("headroom --json"), json!({ "headroom": 0 }));
    let changed = server.json("reserve scripts inbound=1 --json");
    assert_eq!(changed["pool"]["reserves"][0]["inbound"], 1, "{changed}");
    assert_eq!(server.json("reserve scripts --json")["agent"], "scripts");
    assert_eq!(server.json("reserve scripts --remove --json")["pool"]["reserves"], json!([]));
    let changed = server.json("quota scripts lines=3 --json");
    assert_eq!(changed["pool"]["quotas"][0]["lines"], 3, "{changed}");
    assert_eq!(server.json("quota scripts --json")["lines"], 3);
    assert!(server.json("quota scripts --remove --json")["to"].is_string());
    server.says(
        "reserve sales inbound=3 outbound=4 web=2 chat=3 --pooled --member assistant-sales",
        "from  limit 20, cap 20, headroom 0\n\
         to    limit 20, cap 20, headroom 0, sales inbound 3 outbound 4 web 2 chat 3 pooled members EcK\n",
    );
    server.says(
        "reserve support inbound=1 outbound=2 web=1 chat=1 --pooled --member assistant-support",
        "from  limit 20, cap 20, headroom 0, sales inbound 3 outbound 4 web 2 chat 3 pooled members EcK\n\
         to    limit 20, cap 20, headroom 0, sales inbound 3 outbound 4 web 2 chat 3 pooled members EcK, \
         support inbound 1 outbound 2 web 1 chat 1 pooled members rvo\n",
    );
    // 1. Nobody calls.
    server.says(
        "lines",
        "\
20 lines: 17 reserved, 3 shared; cap 20, headroom 0
0 held, 20 free

  |····································|···············|·········|

     agent    inbound  outbound  web  chat  lines  held  beyond
  A  sales          3         4    2     3     12     0       0  pooled
  B  support        1         2    1     1      5     0       0  pooled
  #  shared                                     3     0       0
",
    );
    // 2. Sales starts 12: all on its reserve.
    for id in 0..12 {
        server.call(id, "inboundPhoneCall", "assistant-sales", "in-progress").await;
    }
    server.says(
        "lines",
        "\
20 lines: 17 reserved, 3 shared; cap 20, headroom 0
12 held, 8 free

  |AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|···············|·········|

     agent    inbound  outbound  web  chat  lines  held  beyond
  A  sales          3         4    2     3     12    12       0  pooled
  B  support        1         2    1     1      5     0       0  pooled
  #  shared                                     3     0       0

  held  kind     agent  for      longest
    12  inbound  sales  callers  < 1 min
",
    );
    // 3. Three more: on the shared lines, which are full then.
    for id in 12..15 {
        server.call(id, "webCall", "assistant-sales", "in-progress").await;
    }
    // 4. Support starts 5: at once, on its reserve.
    for id in 15..20 {
        server.call(id, "inboundPhoneCall", "assistant-support", "in-progress").await;
    }
    let full = "\
20 lines: 17 reserved, 3 shared; cap 20, headroom 0
20 held, 0 free

  |AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|BBBBBBBBBBBBBBB|#########|

     agent    inbound  outbound  web  chat  lines  held  beyond
  A  sales          3         4    2     3     12    15       3  pooled
  B  support        1         2    1     1      5     5       0  pooled
  #  shared                                     3     3       0

  held  kind     agent    for      longest
    12  inbound  sales    callers  < 1 min
     5  inbound  support  callers  < 1 min
     3  web      sales    browsers  < 1 min
";
    let full = full.replace("callers  <", "callers   <").replace("for      longest", "for       longest");
    server.says("lines", &full);
    // 5. Every line is held: the next call of either waits for one.
    for (agent, number) in [("sales", "+15550000001"), ("support", "+15550000002")] {
        let body = json!({
            "campaign": {
                "id": format!("{agent}-may"), "agent": agent,
                "assistantId": format!("assistant-{agent}"), "phoneNumberId": "number-out",
            },
            "leads": [{ "number": number }],
        });
        assert_eq!(server.post_campaign(body.to_string()).await.status(), 202);
        server.campaign(&format!("{agent}-may"), waits).await;
    }
    // A call of sales ends: a shared line comes free, and sales, who came first, has it.
    server.call(0, "inboundPhoneCall", "assistant-sales", "ended").await;
    server.campaign("sales-may", is_called).await;
    server.campaign("support-may", waits).await;
    // One of support ends: its reserve has room again, for support alone.
    server.call(15, "inboundPhoneCall", "assistant-support", "ended").await;
    server.campaign("support-may", is_called).await;

    // Lowering cuts nobody off: what is beyond becomes shared use, and drains.
    server.says(
        "reserve sales inbound=0 outbound=5 web=0 chat=0 --strict",
        "from  limit 20, cap 20, headroom 0, sales inbound 3 outbound 4 web 2 chat 3 pooled members EcK, \
         support inbound 1 outbound 2 web 1 chat 1 pooled members rvo\n\
         to    limit 20, cap 20, headroom 0, sales outbound 5 members EcK, support inbound 1 outbound 2 web 1 chat 1 pooled members rvo\n",
    );
    server.says(
        "reserve sales",
        "sales: inbound 0, outbound 5, web 0, chat 0, strict; 1 held, 0 of them beyond it\n",
    );
    server.refuses(
        "reserve support inbound=15",
        "Error: 24 lines would be reserved, and the pool has 20: sales 5, support 19; \
         lower a reserve or raise the limit\n",
    );
    server.says(
        "reserve support --remove",
        "from  limit 20, cap 20, headroom 0, sales outbound 5 members EcK, support inbound 1 outbound 2 web 1 chat 1 pooled members rvo\n\
         to    limit 20, cap 20, headroom 0, sales outbound 5 members EcK\n",
    );
    server.refuses(
        "reserve support --remove",
        "Error: no lines are reserved for support; they are for sales\n",
    );
    let (_, changed) = server.typed("limit 4");
    assert!(changed.ends_with("Lower a reserve or raise the limit.\n"), "{changed}");
    server.says("limit", "4\n");
    server.says("cap", "20\n");
    server.says("headroom", "0\n");
    let (_, lines) = server.typed("lines");
    assert!(lines.contains("\n20 held, 0 free, 16 more than there are: nobody is cut off\n"), "{lines}");

    let (_, changes) = server.typed("changes --limit 2");
    let changes: Vec<&str> = changes.lines().collect();
    assert!(changes[0].ends_with(" UTC  ada") && changes.len() == 6, "{changes:?}");
    assert_eq!(changes[1], "  from  limit 20, cap 20, headroom 0, sales outbound 5 members EcK");
    assert_eq!(changes[2], "  to    limit 4, cap 20, headroom 0, sales outbound 5 members EcK");
    sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_say_what_went_wrong_and_what_to_do() {
    let (sim, server) = start(10).await;
    server.refuses(
        "lines --admin-token wrong",
        &format!(
            "Error: {}/ does not take this admin token: give its own with --admin-token or HEADROOM_ADMIN_TOKEN\n",
            server.url
        ),
    );
    server.refuses("limit 0", "Error: limit: 0 is not a number of lines from 1 to 1000000\n");
    server.refuses(
        "reserve sales",
        "Error: no lines are reserved for sales: say how many, such as inbound=3\n",
    );
    let nowhere = format!("http://127.0.0.1:{}/", free_port().await);
    server.refuses(
        &format!("lines --url {nowhere}"),
        &format!(
            "Error: no connection: is `headroom serve` running at {nowhere}? \
             --url or HEADROOM_URL names another place\n"
        ),
    );
    for (command, words) in [
        ("reserve sales inbound", "say it as KIND=N, such as inbound=3"),
        ("reserve sales calls=3", "the kinds are inbound, outbound, web and chat"),
        ("reserve sales inbound=-3", "is not a number of lines"),
        ("reserve sales inbound=3 --remove", "cannot be used with"),
        ("reserve sales --pooled --strict", "cannot be used with"),
        ("cap many", "invalid value 'many'"),
    ] {
        let (done, text) = server.typed(command);
        assert!(!done && text.contains(words), "headroom {command}: {text}");
    }
    server.says("changes", "nothing was changed yet\n");
    sim.stop();
}

//! `headroom vapi`, typed: an account of every kind of trouble is set up for a running `headroom serve`, used, and taken
//! back.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use vapi_sim::{Account, AccountFaults, Config, Faults, Kind, Org, Sim, Traffic, Truth};

use crate::server::{Flags, Folder, SECRET, Server, free_port};

const KEY: &str = "sim-private-key";
const OTHER_KEY: &str = "sim-other-private-key";
const SOUGHT: [Kind; 4] = [Kind::PhoneNumber, Kind::Assistant, Kind::Squad, Kind::Tool];

/// Numbers and assistants as accounts have them: bare, elsewhere, with things of their own.
fn account() -> Account {
    let theirs = json!({"url": "https://theirs.example/hook?key=hush", "timeoutSeconds": 9, "headers": {"X-Tenant": "hush"}});
    let kept = json!({"url": "https://theirs.example/hook", "timeoutSeconds": 9, "later": {"new": [1, 2]}, "secret": "hush"});
    Account {
        phone_numbers: vec![
            json!({"id": "bare", "provider": "twilio", "name": "front", "number": "+15555550142",
                "fallbackDestination": {"type": "number", "number": "+15555550143"}}),
            json!({"id": "own", "provider": "vapi", "number": "+15555550144", "assistantId": "plain"}),
            json!({"id": "elsewhere", "provider": "twilio", "server": theirs}),
        ],
        assistants: vec![
            json!({"id": "plain", "name": "desk", "firstMessage": "Hello.", "model": {"provider": "p", "temperature": 0.3}}),
            json!({"id": "theirs", "server": kept, "serverMessages": ["hang"]}),
            json!({"id": "asks", "model": {"toolIds": ["book"]}}),
        ],
        squads: vec![
            json!({"id": "team", "membersOverrides": {"server": {"url": "https://theirs.example"}}}),
        ],
        tools: vec![
            json!({"id": "book", "type": "function", "function": {"name": "book"}}),
            json!({"id": "stop", "type": "function", "function": {"name": "do_not_call"}}),
        ],
        ..Account::default()
    }
}

struct Here {
    sim: Sim,
    server: Server,
    folder: Folder,
}

impl Here {
    async fn start() -> Self {
        Self::with(Config { account: account(), ..Config::default() }).await
    }

    async fn with(config: Config) -> Self {
        let port = free_port().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let sim = Sim::start(config, listener);
        let flags =
            Flags { vapi_url: &sim.url(), data: None, log: None, limit: 10, cap: 7, headroom: 3, speed: 1.0 };
        let server = Server::start(port, &flags).await;
        let folder = Folder::new();
        std::fs::create_dir_all(&folder.0).expect("a folder");
        Self { sim, server, folder }
    }

    /// A command's exit and what it says on both streams; keys and secrets come by the environment.
    fn typed(&self, command: &str) -> (bool, String) {
        self.typed_with(KEY, SECRET, command)
    }

    fn typed_with(&self, key: &str, secret: &str, command: &str) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_headroom"))
            .arg("vapi")
            .args(command.split(' '))
            .env("HEADROOM_VAPI_URL", self.sim.url())
            .env("HEADROOM_VAPI_KEY", key)
            .env("HEADROOM_WEBHOOK_SECRETS", secret)
            .env("RUST_BACKTRACE", "0")
            .current_dir(&self.folder.0)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("the binary runs");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        for hidden in ["hush", SECRET, "sim-private", "5555550"] {
            assert!(!text.contains(hidden), "{command} shows {hidden}: {text}");
        }
        (output.status.success(), text)
    }

    fn connect(&self, flags: &str) -> (bool, String) {
        self.typed(format!("connect --url {}/vapi {flags}", self.server.url).trim())
    }

    fn json(&self, flags: &str) -> Value {
        let (_, text) = self.connect(&format!("--json {flags}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn changes(&self, flags: &str) -> Vec<String> {
        let report = self.json(flags);
        let changes = report["organizations"][0]["changes"].as_array().expect("a list");
        changes.iter().map(|change| change["id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn findings(&self, flags: &str) -> Vec<(String, String)> {
        let report = self.json(flags);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let findings = report["organizations"][0]["findings"].as_array().expect("a list");
        findings.iter().map(|finding| (text(&finding["id"]), text(&finding["code"]))).collect()
    }

    /// Everything that is set up but credentials, and but for when it was changed.
    fn truth(&self) -> Vec<Vec<Value>> {
        let objects = |kind| {
            let mut objects = self.sim.objects(kind);
            objects
                .iter_mut()
                .for_each(|object| drop(object.as_object_mut().expect("an object").remove("updatedAt")));
            objects
        };
        SOUGHT.into_iter().map(objects).collect()
    }

    fn object(&self, kind: Kind, id: &str) -> Value {
        self.sim.objects(kind).into_iter().find(|object| object["id"] == id).expect("an object")
    }

    async fn patch(&self, path: &str, body: Value) {
        let request =
            self.server.http.patch(format!("{}{path}", self.sim.url())).bearer_auth(KEY).json(&body);
        assert_eq!(request.send().await.expect("an answer").status(), 200);
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.0.join(file)).expect("a file")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_shown_set_up_and_restored_byte_for_byte() {
    let here = Here::start().await;
    let before = here.truth();

    let (done, text) = here.connect("");
    assert!(done, "{text}");
    for words in [
        "phone number front (bare)\n    server.backoffPlan   none → exponential, 5 times, 2 s\n    server.credentialId  none → a new one",
        "phone number +…44 (own): it has an assistant",
        "HEADROOM_INBOUND_ASSISTANTS=own=plain",
        "to change it, add --gate own",
        "phone number elsewhere: its messages go to https://theirs.example/hook?…:",
        "to change it, add --take theirs",
        "asks: its tools ask the server of its number or organisation: book.",
        "squad team: it sends its members' messages to https://theirs.example/",
        "answers as Headroom, takes this secret, and refuses another.",
        "Nothing was changed; with --apply, 4 objects.",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(here.truth(), before, "nothing is changed unasked");
    let mut changes = here.changes("");
    changes.sort();
    assert_eq!(changes, ["bare", "own", "plain", "stop"]);

    // Nobody to ask, so nothing is done.
    let (done, text) = here.connect("--apply");
    assert!(!done && text.ends_with("nobody to ask: --yes does it without\n"), "{text}");
    assert_eq!(here.truth(), before);

    let (done, text) = here.connect("--apply --yes --backup b.json");
    assert!(done && text.contains("4 objects changed."), "{text}");
    let bare = here.object(Kind::PhoneNumber, "bare");
    assert_eq!(bare["fallbackDestination"]["number"], "+15555550143");
    let credential = &here.sim.objects(Kind::Credential)[0];
    assert_eq!(
        (&bare["server"]["credentialId"], &credential["authenticationPlan"]["secretKey"]),
        (&credential["id"], &json!(SECRET))
    );
    let plain = here.object(Kind::Assistant, "plain");
    assert_eq!(plain["model"], json!({"provider": "p", "temperature": 0.3}));
    assert_eq!(plain["serverMessages"], json!(["status-update", "end-of-call-report"]));
    assert!(!here.read("b.json").contains(SECRET), "no secret of Headroom's is kept");

    assert!(here.changes("").is_empty());
    let (done, text) = here.connect("--apply --yes");
    assert!(done && text.contains("Nothing is to be changed."), "{text}");

    // Without a terminal and without --yes it is shown alone.
    let (done, text) = here.typed("disconnect --backup b.json");
    assert!(
        !done && text.contains("server.url           http://127.0.0.1:") && text.contains("/vapi → none"),
        "{text}"
    );
    assert!(!here.changes("--take elsewhere").is_empty());
    let (done, text) = here.typed("disconnect --backup b.json --yes");
    assert!(done && text.contains("4 objects restored.") && text.contains("this key may not see"), "{text}");
    assert_eq!(here.truth(), before);
    let (done, text) = here.typed("disconnect --backup b.json --yes");
    assert!(done && text.contains("is as it was before") && text.contains("0 objects restored."), "{text}");
    here.sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_elsewhere_is_taken_by_name_and_keeps_its_fields() {
    let here = Here::start().await;
    let before = here.truth();
    let take = "--take elsewhere --take theirs --take asks --gate own --backup b.json";
    let mut changes = here.changes(take);
    changes.sort();
    assert_eq!(changes, ["asks", "bare", "elsewhere", "own", "plain", "stop", "theirs"]);
    let (done, text) = here.connect(&format!("{take} --apply --yes"));
    assert!(done && text.contains("which may be secret: keep it so"), "{text}");
    assert!(text.contains("its older secret is not shown by Vapi"), "{text}");
    let own = here.object(Kind::PhoneNumber, "own");
    assert!(own.get("assistantId").is_none() && own["server"]["url"].is_string(), "{own}");
    let elsewhere = &here.object(Kind::PhoneNumber, "elsewhere")["server"];
    assert_eq!(
        (&elsewhere["timeoutSeconds"], &elsewhere["headers"]["X-Tenant"]),
        (&json!(9), &json!("hush"))
    );
    let theirs = here.object(Kind::Assistant, "theirs");
    assert_eq!(theirs["server"]["later"], json!({"new": [1, 2]}));
    assert_eq!(theirs["serverMessages"], json!(["hang", "status-update", "end-of-call-report"]));
    let left: Vec<_> = here.findings("").into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, ["team"]);
    // But for the secret that Vapi never showed.
    let (done, text) = here.typed("disconnect --backup b.json --yes");
    assert!(done && text.contains("its older secret is not restored"), "{text}");
    let mut before = before;
    let of_theirs = before[1].iter_mut().find(|object| object["id"] == "theirs").expect("an assistant");
    drop(of_theirs["server"].as_object_mut().expect("a server").remove("secret"));
    assert_eq!(here.truth(), before);
    here.sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_since_is_respected() {
    let here = Here::start().await;
    let before = here.truth();
    assert!(here.connect("--apply --yes --backup b.json").0);
    here.patch(
        "/phone-number/bare",
        json!({"provider": "twilio", "server": {"url": "https://mine.example"}}),
    )
    .await;
    here.patch("/assistant/plain", json!({"serverMessages": ["hang"], "firstMessage": "Good day."})).await;
    let (done, text) = here.typed("disconnect --backup b.json --yes");
    assert!(!done, "{text}");
    assert!(text.contains("server: changed by somebody since, so it stays (--force restores it)"), "{text}");
    assert_eq!(here.object(Kind::PhoneNumber, "bare")["server"]["url"], "https://mine.example");
    let plain = here.object(Kind::Assistant, "plain");
    assert_eq!(
        (&plain["serverMessages"], plain.get("server")),
        (&json!(["hang"]), None),
        "the rest is restored"
    );
    let (done, text) = here.typed("disconnect --backup b.json --yes --force");
    assert!(!done && text.contains("2 objects restored"), "{text}");
    // Somebody's own member is nobody's to restore.
    here.patch("/assistant/plain", json!({"firstMessage": "Hello."})).await;
    assert_eq!(here.truth(), before);
    here.sim.stop();
}

/// A proxy before Vapi points a number elsewhere, between the moment that it is shown and that of its change.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_after_it_was_shown_is_not_changed_again() {
    use axum::Router;
    use axum::body::Bytes;
    use axum::http::{HeaderMap, Method, Uri};
    let here = Here::start().await;
    let (vapi, http) = (here.sim.url(), here.server.http.clone());
    let handle = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        if method == Method::GET && uri.path() == "/phone-number/bare" {
            let mine = json!({"provider": "twilio", "server": {"url": "https://mine.example"}});
            let patch = http.patch(format!("{vapi}/phone-number/bare")).bearer_auth(KEY).json(&mine);
            assert_eq!(patch.send().await.expect("an answer").status(), 200);
        }
        let mut request = http.request(method, format!("{vapi}{uri}")).body(body);
        for name in ["authorization", "content-type"] {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.bytes().await.expect("a body"))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handle)).await });
    let (done, text) = here.connect(&format!("--vapi-url http://127.0.0.1:{port} --apply --yes"));
    assert!(!done && text.contains("3 objects changed."), "{text}");
    assert!(
        text.contains("not: phone number front (bare): somebody has changed it since it was shown"),
        "{text}"
    );
    assert_eq!(here.object(Kind::PhoneNumber, "bare")["server"], json!({"url": "https://mine.example"}));
    here.sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vapi_is_down_in_the_middle_and_the_same_command_goes_on() {
    let here = Here::start().await;
    let before = here.truth();
    // The credential and two of four objects.
    here.sim.set_account_faults(AccountFaults { down_after_changes: Some(3), ..AccountFaults::default() });
    let (done, text) = here.connect("--apply --yes --backup b.json");
    assert!(!done && text.contains("run the same command again to go on") && text.contains("522"), "{text}");
    here.sim.set_account_faults(AccountFaults::default());
    assert_eq!(here.changes("").len(), 2, "two of them are done");
    // Answers that are lost, refusals for now and reads that lag cost nothing but time.
    let faults =
        AccountFaults { refuse_429: 2, error_5xx_before: 1, answer_lost: 2, ..AccountFaults::default() };
    here.sim.set_account_faults(faults);
    let (done, text) = here.connect("--apply --yes --backup b.json");
    assert!(done && text.contains("2 objects changed"), "{text}");
    assert_eq!(here.sim.objects(Kind::Credential).len(), 1);
    assert!(here.changes("").is_empty());
    let (done, text) = here.typed("disconnect --backup b.json --yes");
    assert!(done && text.contains("4 objects restored"), "{text}");
    assert_eq!(here.truth(), before);
    here.sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_whose_making_was_not_answered_is_found_and_none_is_made_twice() {
    let here = Here::start().await;
    here.sim.set_account_faults(AccountFaults { answer_lost: 1, ..AccountFaults::default() });
    let (done, text) = here.connect("--apply --yes");
    assert!(done, "{text}");
    assert_eq!(here.sim.objects(Kind::Credential).len(), 1);
    // Reads that lag show what was before: the same is set again, and nothing is made again that is seen.
    here.sim.set_faults(Faults { list_lag_seconds: 0.3, ..Faults::default() });
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(here.connect("--apply --yes --take elsewhere --backup b.json").0);
    let (done, text) = here.connect("--apply --yes --take elsewhere --backup b.json");
    assert!(done, "{text}");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(here.changes("").is_empty());
    assert_eq!(here.sim.objects(Kind::Credential).len(), 1);

    // Where a key may make none, one is made by hand.
    here.sim.set_up(Account {
        faults: AccountFaults { no_credentials: true, ..AccountFaults::default() },
        ..account()
    });
    let (done, text) = here.connect("--apply --yes");
    assert!(!done && text.contains("give its id with --credential"), "{text}");
    here.sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_a_gated_number_ask_headroom_and_its_messages_are_signed() {
    let traffic = Traffic { inbound_phone_number_id: "own".to_owned(), ..Traffic::default() };
    let here = Here::with(Config { account: account(), traffic, ..Config::default() }).await;
    here.sim.ring_in();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let truth = here.sim.truth();
    assert_eq!(
        (truth.callers, truth.assistant_requests, truth.webhooks.sent),
        (1, 0, 0),
        "nobody is asked or told"
    );
    assert!(here.connect("--apply --yes --gate own").0);
    here.sim.ring_in();
    let started = Instant::now();
    let is_told = |truth: &Truth| truth.assistant_requests == 1 && truth.webhooks.sent >= 1;
    while !is_told(&here.sim.truth()) || here.server.status().await["pools"][0]["inbound"] == 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", here.server.status().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let truth = here.sim.truth();
    assert_eq!((truth.refused_by_us, truth.webhooks.failed), (0, 0));
    here.sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_that_can_be_seen_is_set_up_too_and_the_credential_goes_when_nothing_refers_to_it() {
    let org_id = Config::default().org_id;
    let account = || Account { org: Some(json!({"id": org_id, "name": "we"})), ..account() };
    let here = Here::with(Config { account: account(), ..Config::default() }).await;
    let before = here.truth();
    let own = async || {
        let request = here.server.http.get(format!("{}/org", here.sim.url())).bearer_auth(KEY);
        request.send().await.expect("an answer").json::<Value>().await.expect("JSON")
    };
    let (done, text) = here.connect("--apply --yes --backup b.json");
    assert!(done && text.contains("organisation we (") && text.contains("5 objects changed"), "{text}");
    assert!(own().await["server"]["url"].as_str().is_some_and(|url| url.ends_with("/vapi")));
    assert!(here.changes("").is_empty());
    let id = here.sim.objects(Kind::Credential)[0]["id"].clone();
    here.patch("/assistant/asks", json!({"server": {"url": "https://mine.example", "credentialId": id}}))
        .await;
    let (done, text) = here.typed("disconnect --backup b.json --yes");
    assert!(done && text.contains("stays: assistant asks refers to it"), "{text}");
    assert!(own().await.get("server").is_none());
    here.patch("/assistant/asks", json!({"server": null})).await;
    let (done, text) = here.typed("disconnect --backup b.json --yes");
    assert!(done && text.contains("0 objects restored"), "{text}");
    assert!(here.sim.objects(Kind::Credential).is_empty());
    assert_eq!(here.truth(), before);
    here.sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_organisations_are_set_up_once_per_key() {
    let other = Org {
        account: Account { assistants: vec![json!({"id": "night"})], ..Account::default() },
        ..Org::default()
    };
    let here = Here::with(Config { account: account(), orgs: vec![other], ..Config::default() }).await;
    let keys = format!("{KEY}, support={OTHER_KEY}");
    let url = format!("{}/vapi", here.server.url);
    let (done, text) =
        here.typed_with(&keys, SECRET, &format!("connect --url {url} --apply --yes --backup b.json"));
    assert!(done && text.contains("Organisation support (") && text.contains("5 objects changed"), "{text}");
    let (done, text) = here.typed("disconnect --backup b.json --yes");
    assert!(!done && text.contains("there is no key of support"), "{text}");
    let (done, text) = here.typed_with(&keys, SECRET, "disconnect --backup b.json --yes");
    assert!(done && text.contains("5 objects restored"), "{text}");
    here.sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_in_words_and_nothing_is_changed() {
    let here = Here::start().await;
    let before = here.truth();
    let url = format!("{}/vapi", here.server.url);
    let refuses = |(done, text): (bool, String), words: &str| {
        assert!(!done && text.contains(words), "{words}: {text}");
    };
    let flags = "--apply --yes";
    refuses(
        here.typed_with("a-public-key", SECRET, &format!("connect --url {url}")),
        "the public key reads and sets nothing",
    );
    refuses(
        here.typed_with(&format!("{KEY},support=wrong"), SECRET, &format!("connect --url {url}")),
        "the key of support",
    );
    refuses(
        here.typed_with(KEY, "another", &format!("connect --url {url} {flags}")),
        "it has another secret",
    );
    refuses(
        here.typed(&format!("connect --url {}/webhook {flags}", here.server.url)),
        "404: nobody answers at",
    );
    refuses(here.typed(&format!("connect --url {} {flags}", here.sim.url())), "404");
    let nowhere = free_port().await;
    refuses(
        here.typed(&format!("connect --url http://127.0.0.1:{nowhere}/vapi {flags}")),
        "nothing listens there",
    );
    refuses(
        here.typed(&format!("connect --url https://127.0.0.1:{}/vapi {flags}", port_of(&here.server.url))),
        "no TLS with",
    );
    refuses(
        here.typed(&format!("connect --url https://no-such-host.invalid/vapi {flags}")),
        "no-such-host.invalid",
    );
    refuses(here.typed("connect --url http://a.example/vapi"), "give https://");
    refuses(here.connect("--gate bear"), "no phone number of these organisations");
    refuses(here.connect("--take team"), "squads are changed in the dashboard");
    refuses(here.connect("--yes"), "--apply");
    refuses(here.connect("--apply --json"), "add --yes");
    refuses(here.typed("disconnect --backup none.json"), "none.json cannot be read");
    std::fs::write(here.folder.0.join("odd.json"), r#"{"version": 1, "hush": true}"#).expect("written");
    refuses(here.typed("disconnect --backup odd.json"), "is not what `headroom vapi connect` writes");
    refuses(here.connect("--apply --yes --backup odd.json"), "is not what `headroom vapi connect` writes");
    assert_eq!(here.truth(), before);

    // Files hold what no command line should.
    write(&here.folder.0.join("key"), &format!("{KEY}\n"));
    write(&here.folder.0.join("secret"), &format!("{SECRET}\n"));
    let files = format!("connect --url {url} --vapi-key-file key --webhook-secret-file secret");
    let (done, text) = here.typed_with("wrong", "wrong", &files);
    assert!(done && text.contains("takes this secret"), "{text}");
    here.sim.stop();
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
}

fn port_of(url: &str) -> &str {
    url.rsplit(':').next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn long_accounts_are_read_to_their_end() {
    let assistants = (0..2300).map(|n| json!({"id": format!("a-{n}")})).collect();
    let here =
        Here::with(Config { account: Account { assistants, ..Account::default() }, ..Config::default() })
            .await;
    assert_eq!(here.changes("").len(), 2300);
    here.sim.stop();
}

/// What is between Vapi and Headroom, and eats or changes what goes through.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_eats_headers_or_answers_itself_is_told_of() {
    use axum::Router;
    use axum::body::Bytes;
    use axum::http::{HeaderMap, StatusCode};
    let here = Here::start().await;
    let target = format!("{}/vapi", here.server.url);
    let proxied = async |dropped: &'static str, answer: Option<(u16, &'static str)>| {
        let (target, http) = (target.clone(), here.server.http.clone());
        let handle = async move |headers: HeaderMap, body: Bytes| {
            if let Some((status, body)) = answer {
                return (
                    StatusCode::from_u16(status).expect("a status"),
                    Bytes::from_static(body.as_bytes()),
                );
            }
            let mut request = http.post(&target).body(body);
            for (name, value) in &headers {
                if name.as_str().starts_with("x-") && name != dropped {
                    request = request.header(name, value);
                }
            }
            let answer = request.send().await.expect("an answer");
            (answer.status(), answer.bytes().await.expect("a body"))
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handle)).await });
        here.typed(&format!("connect --url http://127.0.0.1:{port}/vapi"))
    };
    for (dropped, answer, words) in [
        ("", None, "answers as Headroom"),
        ("x-signature", None, "drops X-Timestamp or X-Signature"),
        ("x-timestamp", None, "drops X-Timestamp or X-Signature"),
        ("", Some((200, "{}")), "not as Headroom does"),
        ("", Some((200, r#"{"eligible":true}"#)), "wrong signature got 200 OK instead of 401"),
        ("", Some((401, "{}")), "wants a log-in"),
        ("", Some((403, "{}")), "403: a firewall"),
        ("", Some((302, "{}")), "302 Found: it redirects to"),
        ("", Some((502, "{}")), "502 Bad Gateway: it, or what is before it, fails"),
    ] {
        let (done, text) = proxied(dropped, answer).await;
        assert_eq!(done, words == "answers as Headroom", "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }
    here.sim.stop();
}

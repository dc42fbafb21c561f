//! What an org has set up: what can be read and changed of it, and where its webhooks go.

use serde_json::{Value, json};
use vapi_sim::{Account as SetUp, AccountFaults, Config, Faults, Kind, Traffic, WebhookAuth};

use crate::account::{Account, config};

async fn with(account: SetUp) -> Account {
    Account::open(Config { account, ..config(600.0) }, WebhookAuth::None).await
}

fn number(change: Value) -> Value {
    let mut number = json!({"id": "line-1", "provider": "twilio", "number": "+15555550188", "name": "front"});
    for (name, value) in change.as_object().unwrap() {
        number[name] = value.clone();
    }
    number
}

#[tokio::test]
async fn objects_are_listed_the_newest_first_and_a_thousand_at_most() {
    let assistants = (0..1200).map(|n| json!({"name": format!("a-{n}")})).collect();
    let account = with(SetUp { assistants, ..SetUp::default() }).await;
    let (_, first) = account.get("/assistant").await;
    assert_eq!((first.as_array().unwrap().len(), &first[0]["name"]), (100, &json!("a-1199")));
    let (_, page) = account.get("/assistant?limit=1000").await;
    let oldest = page[999]["createdAt"].as_str().unwrap();
    assert_eq!(page[999]["name"], "a-200");
    let (_, rest) = account.get(&format!("/assistant?limit=1000&createdAtLt={oldest}")).await;
    assert_eq!((rest.as_array().unwrap().len(), &rest[0]["name"]), (200, &json!("a-199")));
    assert_eq!(account.get("/assistant?limit=1001").await.0, 400);
    let id = rest[0]["id"].as_str().unwrap();
    assert_eq!(account.get(&format!("/assistant/{id}")).await.1["name"], "a-199");
    assert_eq!(account.get("/assistant/nobody").await.0, 404);
    assert_eq!(account.with_key("no-key").get("/assistant").await.0, 401);
}

#[tokio::test]
async fn a_patch_replaces_what_it_names_as_a_whole() {
    let server = json!({"url": "https://a.example", "timeoutSeconds": 7, "secret": "hush"});
    let account = with(SetUp {
        assistants: vec![json!({"id": "a", "name": "desk", "model": {"provider": "p", "temperature": 0}, "server": server})],
        phone_numbers: vec![number(json!({}))],
        ..SetUp::default()
    })
    .await;
    let (_, read) = account.get("/assistant/a").await;
    assert_eq!((&read["isServerUrlSecretSet"], &read["server"]["secret"]), (&json!(true), &Value::Null));
    let patch = json!({"server": {"url": "https://b.example"}});
    let (status, changed) = account.patch("/assistant/a", patch).await.unwrap();
    assert_eq!((status, &changed["server"]), (200, &json!({"url": "https://b.example"})));
    assert_eq!(
        (&changed["model"]["provider"], &changed["isServerUrlSecretSet"]),
        (&json!("p"), &json!(false))
    );
    let (status, wrong) = account.patch("/assistant/a", json!({"orgId": "o", "name": "x"})).await.unwrap();
    assert_eq!((status, &wrong["message"]), (400, &json!(["property orgId should not exist"])));
    assert_eq!(account.patch("/phone-number/line-1", json!({"name": "x"})).await.unwrap().0, 400);
    let patch = json!({"provider": "twilio", "assistantId": null});
    assert_eq!(account.patch("/phone-number/line-1", patch).await.unwrap().1["assistantId"], Value::Null);
    assert_eq!(account.patch("/tool/none", json!({})).await.unwrap().0, 404);
}

#[tokio::test]
async fn credentials_keep_their_secret_and_sign_what_refers_to_them() {
    let account = with(SetUp { phone_numbers: vec![number(json!({}))], ..SetUp::default() }).await;
    account.sim.set_traffic(Traffic { inbound_phone_number_id: "line-1".into(), ..Traffic::default() });
    account.will_answer(json!({"error": "closed"}));
    assert_eq!(account.post("/credential", json!({"provider": "custom-credential"})).await.unwrap().0, 400);
    let plan = json!({"type": "hmac", "algorithm": "sha256", "secretKey": "hush"});
    let asked = json!({"provider": "custom-credential", "name": "ours", "authenticationPlan": plan});
    let (status, made) = account.post("/credential", asked).await.unwrap();
    assert_eq!((status, made["authenticationPlan"].get("secretKey")), (201, None));
    let id = made["id"].as_str().unwrap();
    assert_eq!(account.get("/credential").await.1[0]["id"], *id);

    // The org's server hears of it as long as the number says nothing else; a bare number asks.
    account.sim.ring_in();
    let received = account.received(3).await;
    assert!(received.iter().any(|webhook| webhook.message["type"] == "assistant-request"));
    assert!(received.iter().all(|webhook| !webhook.headers.contains_key("x-signature")));
    let (_, own) = account.get("/phone-number/line-1").await;
    assert!(own.get("server").is_none());
    let there = json!({"url": "http://127.0.0.1:9/elsewhere"});
    account.patch("/phone-number/line-1", json!({"provider": "twilio", "server": there})).await.unwrap();
    let heard = account.received(0).await.len();
    account.sim.ring_in();
    assert_eq!(account.received(0).await.len(), heard);

    assert_eq!(
        (account.delete(&format!("/credential/{id}")).await, account.delete("/credential/x").await),
        (200, 404)
    );
    assert_eq!(account.get("/credential").await.1, json!([]));
}

#[tokio::test]
async fn an_orgs_own_settings_are_not_for_a_private_key_unless_said() {
    let account = with(SetUp::default()).await;
    assert_eq!(account.get("/org").await.0, 403);
    account.sim.set_up(SetUp { org: Some(json!({"name": "we"})), ..SetUp::default() });
    assert_eq!(account.get("/org").await, (200, json!({"name": "we"})));
    let path = format!("/org/{}", config(1.0).org_id);
    let (status, own) = account.patch(&path, json!({"server": {"url": "https://a"}})).await.unwrap();
    assert_eq!((status, &own["server"]["url"]), (200, &json!("https://a")));
    assert_eq!(account.patch("/org/other", json!({})).await.unwrap().0, 403);
}

#[tokio::test]
async fn what_goes_wrong_is_counted_off() {
    let account = with(SetUp { assistants: vec![json!({"id": "a"})], ..SetUp::default() }).await;
    let faults =
        AccountFaults { refuse_429: 1, error_5xx_before: 1, answer_lost: 1, ..AccountFaults::default() };
    account.sim.set_account_faults(faults);
    assert_eq!(account.header("/assistant", "retry-after").await, (429, Some("1".into())));
    assert_eq!(account.get("/assistant").await.0, 503);
    let change = || json!({"name": "x"});
    assert!(!account.patch("/assistant/a", change()).await.unwrap_err().is_timeout());
    assert_eq!(account.get("/assistant/a").await.1["name"], "x", "it was done");
    account.sim.set_account_faults(AccountFaults { down_after_changes: Some(1), ..AccountFaults::default() });
    assert_eq!(account.patch("/assistant/a", change()).await.unwrap().0, 200);
    assert_eq!(account.header("/assistant", "retry-after").await, (522, None));
    account.sim.set_account_faults(AccountFaults { no_credentials: true, ..AccountFaults::default() });
    assert_eq!((account.get("/credential").await.0, account.get("/assistant").await.0), (403, 200));
}

#[tokio::test]
async fn reads_of_an_account_lag_behind() {
    let account =
        with(SetUp { assistants: vec![json!({"id": "a", "name": "old"})], ..SetUp::default() }).await;
    account.sim.set_faults(Faults { list_lag_seconds: 300.0, ..Faults::default() });
    let (_, changed) = account.patch("/assistant/a", json!({"name": "new"})).await.unwrap();
    assert_eq!(changed["name"], "new");
    assert_eq!(account.get("/assistant/a").await.1["name"], "old");
    assert_eq!(account.get("/assistant").await.1[0]["name"], "old");
    assert_eq!(account.sim.objects(Kind::Assistant)[0]["name"], "new");
    tokio::time::sleep(std::time::Duration::from_millis(520)).await;
    assert_eq!(account.get("/assistant/a").await.1["name"], "new");
}

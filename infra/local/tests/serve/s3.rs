//! Leads from S3: a server on loopback that checks signatures as S3 does, and breaks off in the middle.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::StreamExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use crate::lines::start;
use crate::server::TOKEN;

const KEY: &str = "s3-test-secret";
const REGION: &str = "eu-west-1";

/// Path, as it is asked for, and what is there.
type Stored = (String, Vec<u8>);

#[derive(Clone, Default)]
struct Store {
    objects: Arc<Mutex<Vec<Stored>>>,
    /// Connections that break off after so many bytes.
    breaks: Arc<AtomicU32>,
    asked: Arc<Mutex<Vec<String>>>,
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The signature that a request should have, by Amazon's own description of it.
fn signature(path: &str, headers: &HeaderMap, signed: &str, day: &str) -> String {
    let text = |name: &str| headers[name].to_str().expect("text").to_owned();
    let mut canonical = format!("GET\n{path}\n\n");
    for name in signed.split(';') {
        writeln!(canonical, "{name}:{}", text(name)).expect("written");
    }
    write!(canonical, "\n{signed}\n{}", text("x-amz-content-sha256")).expect("written");
    let hash = hex::encode(Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{day}/{REGION}/s3/aws4_request\n{hash}", text("x-amz-date"));
    let mut key = hmac(format!("AWS4{KEY}").as_bytes(), day);
    for part in [REGION, "s3", "aws4_request"] {
        key = hmac(&key, part);
    }
    hex::encode(hmac(&key, &to_sign))
}

async fn get(State(store): State<Store>, request: Request) -> Response {
    let status =
        |status: StatusCode| Response::builder().status(status).body(Body::empty()).expect("a response");
    let (path, headers) = (request.uri().path().to_owned(), request.headers());
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    store.asked.lock().expect("fine").push(format!("{path} {}", text("range")));
    let authorization = text("authorization");
    let part = |name: &str| {
        let rest = authorization.split_once(&format!("{name}=")).map_or("", |(_, rest)| rest);
        rest.split(',').next().unwrap_or_default().trim().to_owned()
    };
    let day: String = text("x-amz-date").chars().take(8).collect();
    if part("Credential") != format!("s3-test-key/{day}/{REGION}/s3/aws4_request") {
        // As S3 says that a bucket is elsewhere.
        return Response::builder()
            .status(StatusCode::MOVED_PERMANENTLY)
            .header("x-amz-bucket-region", REGION)
            .body(Body::empty())
            .expect("a response");
    }
    if part("Signature") != signature(&path, headers, &part("SignedHeaders"), &day) {
        return status(StatusCode::FORBIDDEN);
    }
    let objects = store.objects.lock().expect("fine").clone();
    let Some((_, bytes)) = objects.into_iter().find(|(at, _)| *at == path) else {
        return status(StatusCode::NOT_FOUND);
    };
    let from = text("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
    let from: Option<usize> = from.and_then(|from| from.parse().ok());
    if from.is_some() && text("if-match") != "\"tag\"" {
        return status(StatusCode::PRECONDITION_FAILED);
    }
    let rest = bytes[from.unwrap_or_default()..].to_vec();
    let length = rest.len();
    let is_broken = path.ends_with(".csv")
        && store
            .breaks
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok();
    let body = if is_broken {
        let piece = rest[..length / 2].to_vec();
        let end = Err(std::io::Error::other("the cable was pulled"));
        // The first half is on its way by then.
        let pieces = futures::stream::iter([Ok(axum::body::Bytes::from(piece)), end]).then(|piece| async {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            piece
        });
        Body::from_stream(pieces)
    } else {
        Body::from(rest)
    };
    Response::builder()
        .status(if from.is_some() { 206 } else { 200 })
        .header("content-length", length)
        .header("etag", "\"tag\"")
        .body(body)
        .expect("a response")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_and_its_leads_come_from_s3() {
    const LEADS: u32 = 3_000;
    let store = Store::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let s3 = format!("http://{}", listener.local_addr().expect("bound"));
    let router = Router::new().fallback(get).with_state(store.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut csv = "number,name,plan\n".to_owned();
    for lead in 0..LEADS {
        writeln!(csv, "+1555{lead:07},Person {lead},\"gold, {lead}\"").expect("written");
    }
    csv.push_str("12,Nobody,x\n");
    let campaign = json!({ "campaign": { "id": "c", "assistantId": "a", "phoneNumberId": "p" } }).to_string();
    *store.objects.lock().expect("fine") = vec![
        ("/my-lists/may/c.json".to_owned(), campaign.into_bytes()),
        ("/my-lists/may/gold%20list%2B%C3%BC.csv".to_owned(), csv.into_bytes()),
    ];
    let (sim, server) = start(5).await;
    let typed = |what: &str, leads: &str, region: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_headroom"))
            .args(["campaign", "start", what, "--leads", leads, "--draft", "--json"])
            .env("HEADROOM_URL", &server.url)
            .env("HEADROOM_ADMIN_TOKEN", TOKEN)
            .env("AWS_ENDPOINT_URL_S3", &s3)
            .env("AWS_REGION", region)
            .env("AWS_ACCESS_KEY_ID", "s3-test-key")
            .env("AWS_SECRET_ACCESS_KEY", KEY)
            .env_remove("AWS_SESSION_TOKEN")
            .env_remove("AWS_PROFILE")
            .output()
            .expect("the binary runs");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        assert!(!text.contains(KEY), "{text}");
        (output.status.success(), text)
    };
    let list = "s3://my-lists/may/gold list+ü.csv";
    store.breaks.store(3, Ordering::Relaxed);
    let (done, told) = typed("s3://my-lists/may/c.json", list, "us-east-1");
    assert!(done, "{told}");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["leads"], &told["refused"][0]["line"]), (&json!(LEADS), &json!(LEADS + 2)), "{told}");
    server.campaign("c", |campaign| campaign["leads"]["ready"] == LEADS).await;
    let asked = store.asked.lock().expect("fine").join("\n");
    assert!(asked.contains(".csv bytes="), "taken up where it broke off: {asked}");

    for (leads, part) in [
        ("s3://my-lists/none.csv", "there is no s3://my-lists/none.csv"),
        ("s3://My/list.csv", "s3://BUCKET/KEY"),
        ("s3://my-lists/list.pdf", "neither .csv nor .jsonl"),
    ] {
        let (done, told) = typed("s3://my-lists/may/c.json", leads, REGION);
        assert!(!done && told.contains(part), "{told}");
    }
    // It breaks off each time: what was read before is there, and the same command goes on.
    store.breaks.store(1_000, Ordering::Relaxed);
    let (done, told) = typed("s3://my-lists/may/c.json", list, REGION);
    assert!(!done, "{told}");
    sim.stop();
}

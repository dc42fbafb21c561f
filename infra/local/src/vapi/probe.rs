//! Whether Headroom's webhook can be reached, and lets in what Vapi will send: two messages as Vapi signs them.
//!
//! The first is good. It asks what a Vapi campaign asks before it dials, which reads the ledger and changes nothing: the
//! answer shows that it is Headroom that answers, and that its table does. The second is signed wrongly, and must be
//! refused. Where the first is refused, a third without a signature tells a wrong secret from a proxy that changed the
//! message on its way.

use std::error::Error;
use std::time::Duration;

use headroom::vapi::{Secret, signature};
use jiff::Timestamp;
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;

/// Vapi waits seven and a half seconds for an answer to a caller.
const PATIENCE: Duration = Duration::from_millis(7500);
/// As Vapi sends it, with nothing of a call.
const MESSAGE: &str = r#"{"message":{"type":"campaign.predial"}}"#;

/// How a message is to prove where it comes from.
enum Proof<'a> {
    Signed(&'a Secret),
    SignedWrongly(&'a Secret),
    Secret(&'a Secret),
}

/// Sends the messages; what is wrong is said in words, with what to do.
pub(crate) async fn run(url: &Url, secret: &Secret, now: Timestamp) -> Result<(), String> {
    let client = Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|_| "no HTTP client could be made".to_owned())?;
    let send = async |proof| send(&client, url, &proof, now).await.map_err(|error| unreached(url, &error));
    let answer = send(Proof::Signed(secret)).await?;
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED {
        let said = error_of(answer).await;
        let is_good = send(Proof::Secret(secret)).await?.status().is_success();
        return Err(not_let_in(&said, is_good));
    }
    if !status.is_success() {
        return Err(refused(url, status, &answer));
    }
    let body = answer.json::<Value>().await.unwrap_or_default();
    if !body["eligible"].is_boolean() {
        return Err("something answers there, but not as Headroom does: is it the WebhookUrl?".to_owned());
    }
    let wrong = send(Proof::SignedWrongly(secret)).await?.status();
    if wrong != StatusCode::UNAUTHORIZED {
        return Err(format!(
            "a message with a wrong signature got {wrong} instead of 401: something before Headroom answers for it, or \
             it has no secret"
        ));
    }
    Ok(())
}

async fn send(client: &Client, url: &Url, proof: &Proof<'_>, now: Timestamp) -> reqwest::Result<Response> {
    let request = client.post(url.clone()).header("content-type", "application/json").body(MESSAGE);
    let time = now.as_millisecond().to_string();
    let sign = |secret| signature::sign(secret, &time, MESSAGE.as_bytes());
    let request = match proof {
        Proof::Signed(secret) => request.header("x-signature", sign(secret)).header("x-timestamp", &time),
        Proof::SignedWrongly(secret) => {
            let wrong: String = sign(secret).chars().rev().collect();
            request.header("x-signature", wrong).header("x-timestamp", &time)
        }
        Proof::Secret(secret) => request.header("x-vapi-secret", secret.reveal()),
    };
    request.send().await
}

async fn error_of(answer: Response) -> String {
    let body = answer.json::<Value>().await.unwrap_or_default();
    body["error"].as_str().unwrap_or_default().to_owned()
}

/// Headroom's own words tell what it missed.
fn not_let_in(said: &str, secret_is_good: bool) -> String {
    if secret_is_good {
        return "it knows the secret, but not the signature: a proxy before it changes the body, or drops X-Timestamp or \
                X-Signature"
            .to_owned();
    }
    if said.starts_with("no X-Vapi-Secret") {
        return "no header arrived that proves anything: a proxy before it drops X-Signature".to_owned();
    }
    if said.starts_with("signed more than") {
        return "its clock and this machine's are more than 5 minutes apart".to_owned();
    }
    if said.is_empty() {
        return "401, but not in Headroom's words: something before it wants a log-in (an authorizer, basic auth)".to_owned();
    }
    "it has another secret: give the one that Headroom was started with (HEADROOM_WEBHOOK_SECRETS)".to_owned()
}

fn refused(url: &Url, status: StatusCode, answer: &Response) -> String {
    match status {
        StatusCode::NOT_FOUND => format!(
            "404: nobody answers at {}; Headroom's webhook ends in /vapi",
            super::plan::without_secrets(url.as_str())
        ),
        StatusCode::METHOD_NOT_ALLOWED => "405: something else than Headroom answers there".to_owned(),
        StatusCode::FORBIDDEN => {
            "403: a firewall, a resource policy or an authorizer before it refuses".to_owned()
        }
        StatusCode::TOO_MANY_REQUESTS => "429: throttled before Headroom is asked".to_owned(),
        status if status.is_redirection() => {
            let to = answer.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or_default();
            format!("{status}: it redirects to {}; give that URL", super::plan::without_secrets(to))
        }
        status if status.is_server_error() => {
            format!("{status}: it, or what is before it, fails; its log says why (the table, most likely)")
        }
        status => format!("{status}: this is no answer of Headroom's"),
    }
}

fn unreached(url: &Url, error: &reqwest::Error) -> String {
    let host = url.host_str().unwrap_or_default();
    let mut words = String::new();
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        words.push_str(&error.to_string().to_ascii_lowercase());
        words.push('\n');
        cause = error.source();
    }
    let says = |any: &[&str]| any.iter().any(|word| words.contains(word));
    if error.is_timeout() {
        format!(
            "{host} did not answer within {} s, the longest that Vapi lets a caller wait",
            PATIENCE.as_secs_f32()
        )
    } else if says(&["dns error", "failed to lookup"]) {
        format!("DNS knows no {host}")
    } else if says(&["certificate", "tls", "handshake", "invalid peer", "corrupt message"]) {
        format!(
            "no TLS with {host}: its certificate or protocol is not to be trusted, and Vapi would not trust it either"
        )
    } else if says(&["refused"]) {
        format!("{host} refuses connections: nothing listens there")
    } else if error.is_connect() {
        format!("no connection to {host}")
    } else {
        format!("{host} broke off before it answered")
    }
}

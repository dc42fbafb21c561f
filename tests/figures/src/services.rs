//! What the functions reach from Lambda, at one address of this machine, over TLS: DynamoDB by the embedded engine,
//! Parameter Store, SQS and EventBridge as far as they are asked, and the simulated Vapi.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use headroom::core::pool::Policy;
use headroom::flows::{Clock as _, SystemClock, main_pool};
use headroom::table::Table;
use headroom_local::engines::local_aws;
use headroom_sim::clock::TrueClock;
use headroom_sim::dynamo::{Dynamo, Request};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use vapi_sim::{Config, Sim};

/// The table's name.
pub(crate) const TABLE: &str = "headroom";
/// What webhooks carry.
pub(crate) const SECRET: &str = "sample-secret";
/// What operators carry.
const TOKEN: &str = "figures-token";

/// The services, running.
pub(crate) struct Services {
    /// Where they are.
    pub(crate) url: String,
    state: Arc<Answering>,
    bundle: String,
}

struct Answering {
    dynamo: Mutex<Dynamo>,
    vapi: Sim,
}

impl Services {
    /// Starts them with `key.pem` and `cert.pem` of a folder, whose `bundle.pem` has the certificates that are trusted.
    pub(crate) async fn start(tls: &Path) -> anyhow::Result<Self> {
        let begin = SystemClock.now();
        let dynamo = Dynamo::new(TrueClock::start(&begin.to_string()), None, false);
        let vapi = Sim::in_process(Config::default(), begin, Arc::new(|_| Box::pin(async { None })));
        let state = Arc::new(Answering { dynamo: Mutex::new(dynamo), vapi });
        let chain = CertificateDer::pem_file_iter(tls.join("cert.pem"))?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(tls.join("key.pem"))?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}", listener.local_addr()?);
        let listener = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let routes = Router::new().fallback(answer).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });

        let table = Table::new(aws_sdk_dynamodb::Client::new(&local_aws(&url)), TABLE, main_pool());
        table.create().await?;
        table.ensure_pool(Policy::new(10, 7, 3)?).await?;
        let bundle = tls.join("bundle.pem").to_str().context("the folder's name is UTF-8")?.to_owned();
        Ok(Self { url, state, bundle })
    }

    /// What the template gives to a function, and Lambda.
    pub(crate) fn environment(&self, function: &str) -> HashMap<String, String> {
        let queue = |name: &str| format!("{}/000000000000/{name}", self.url);
        let given = [
            ("AWS_ACCESS_KEY_ID", "figures"),
            ("AWS_SECRET_ACCESS_KEY", "figures"),
            ("AWS_SESSION_TOKEN", "figures"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "figures"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "figures"),
            ("RUST_LOG", "info"),
            ("AWS_ENDPOINT_URL", &self.url),
            ("SSL_CERT_FILE", &self.bundle),
            ("HEADROOM_TABLE", TABLE),
            ("HEADROOM_VAPI_URL", &self.url),
            ("HEADROOM_VAPI_KEY", "ssm:/headroom/vapi-key"),
            ("HEADROOM_LIMIT", "10"),
            ("HEADROOM_CAP", "7"),
            ("HEADROOM_HEADROOM", "3"),
            ("HEADROOM_ADOPT_LIMIT", "true"),
            ("HEADROOM_CALLING_HOURS", "default"),
            ("HEADROOM_CALLS_PER_PERSON", "3/20"),
            ("HEADROOM_EVENTS", "false"),
            ("HEADROOM_WEBHOOK_SECRETS", "ssm:/headroom/webhook-secrets"),
            ("HEADROOM_INBOUND_ASSISTANTS", "*=0b5d7c1e-0000-4000-8000-00000000b001"),
            ("HEADROOM_ADMIN_TOKEN", "ssm:/headroom/admin-token"),
            // The organisation of the sample messages.
            ("HEADROOM_ORGS", "samples=0b5d7c1e-0000-4000-8000-00000000a001"),
        ];
        let mut all: HashMap<_, _> =
            given.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        all.insert("AWS_LAMBDA_FUNCTION_NAME".into(), format!("figures-{function}"));
        all.insert("HEADROOM_WAKE_QUEUE_URL".into(), queue("wake"));
        all.insert("HEADROOM_CAMPAIGN_QUEUE_URL".into(), queue("campaigns"));
        if matches!(function, "announcer" | "console") {
            all.insert("HEADROOM_VAPI_KEY".into(), String::new());
        }
        if function == "announcer" {
            all.insert("HEADROOM_EVENTS".into(), "true".into());
            all.insert("HEADROOM_EVENTS_SOURCE".into(), queue("events"));
            all.insert("HEADROOM_EVENTS_BUS".into(), "default".into());
        }
        // Parameter names that a function is not given by the template are not asked for by it.
        let only = [("HEADROOM_WEBHOOK_SECRETS", "webhook"), ("HEADROOM_ADMIN_TOKEN", "console")];
        for (name, _) in only.into_iter().filter(|(_, whose)| *whose != function) {
            all.remove(name);
        }
        all
    }

    /// The ledger's size, near enough: what its JSON has.
    pub(crate) fn ledger_bytes(&self) -> usize {
        let key = json!({ "pk": { "S": "POOL#main" }, "sk": { "S": "LEDGER#0" } });
        let dynamo = self.state.dynamo.lock().unwrap_or_else(PoisonError::into_inner);
        dynamo.item(TABLE, &key).map_or(0, |item| item.to_string().len())
    }
}

/// Connections over TLS.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            // Otherwise small answers wait for each other.
            let _ = stream.set_nodelay(true);
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn answer(
    State(state): State<Arc<Answering>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let Some((service, operation)) = target.and_then(|target| target.split_once('.')) else {
        return vapi(&state, method, uri, headers, body).await;
    };
    let text = String::from_utf8_lossy(&body).into_owned();
    let asked: Value = serde_json::from_str(&text).unwrap_or_default();
    let (status, body) = match service {
        "DynamoDB_20120810" => {
            let request = Request { operation: operation.to_owned(), text, json: asked };
            let mut dynamo = state.dynamo.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = dynamo.carry_out("figures", &request, false);
            (answer.status, answer.body)
        }
        "AmazonSSM" => (200, parameters(&asked).to_string()),
        "AWSEvents" => {
            let entries = asked["Entries"].as_array().map_or(0, Vec::len);
            let taken = vec![json!({ "EventId": "e" }); entries];
            (200, json!({ "FailedEntryCount": 0, "Entries": taken }).to_string())
        }
        _ => (200, json!({ "MessageId": "m", "MD5OfMessageBody": "0" }).to_string()),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [("content-type", "application/x-amz-json-1.0")], body).into_response()
}

/// The parameters that are asked for.
fn parameters(asked: &Value) -> Value {
    let names = asked["Names"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let found = names.map(|name| {
        let value = match name {
            "/headroom/vapi-key" => "sim-private-key",
            "/headroom/admin-token" => TOKEN,
            _ => SECRET,
        };
        json!({ "Name": name, "Type": "SecureString", "Value": value, "Version": 1 })
    });
    json!({ "Parameters": found.collect::<Vec<_>>(), "InvalidParameters": [] })
}

async fn vapi(state: &Answering, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut request = http::Request::new(body.to_vec());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    match state.vapi.ask(request).await {
        Some(answer) => answer.map(axum::body::Body::from).into_response(),
        None => StatusCode::BAD_GATEWAY.into_response(),
    }
}

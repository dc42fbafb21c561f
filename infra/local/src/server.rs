//! The HTTP edge of the local runner: `POST /vapi`, the console's routes, and the SQS
//! protocol for the campaign queue.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use console::Console;
use rustack_sqs_core::handler::RustackSqsHandler;
use rustack_sqs_http::dispatch::dispatch_operation;
use rustack_sqs_http::response::error_to_response;
use rustack_sqs_http::router::resolve_operation;
use rustack_sqs_model::operations::SqsOperation;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use webhook::Webhook;

use crate::engines::{CAMPAIGNS, EVENTS, Engines};
use crate::inbox::Inbox;

/// What the edge needs.
#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) webhook: Arc<Webhook>,
    pub(crate) console: Arc<Console>,
    pub(crate) engines: Arc<Engines>,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Inbox,
}

/// Largest body: a campaign of 100,000 leads with variables.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Largest SQS message; the engine refuses more.
const MAX_MESSAGE: usize = 256 * 1024;
/// Largest request to a function, as Lambda has it.
const MAX_LAMBDA: usize = 6 * 1024 * 1024;

/// Serves until the task ends.
pub(crate) async fn serve(listener: TcpListener, edge: Edge) {
    let router = Router::new()
        .route(webhook::PATH, any(vapi).layer(DefaultBodyLimit::max(MAX_LAMBDA)))
        .route(console::CAMPAIGNS, any(campaigns))
        .route(&format!("{}/{{*id}}", console::CAMPAIGNS), any(operate))
        .route(console::DO_NOT_CALL, any(operate))
        .route(&format!("{}/{{*rest}}", console::DO_NOT_CALL), any(operate))
        .route(console::STATUS, any(operate))
        .route(console::LINES, any(operate))
        .route(&format!("{}{{*agent}}", console::RESERVES), any(operate))
        .route(&format!("{}{{*name}}", console::QUOTAS), any(operate))
        .route(console::CHANGES, any(operate))
        .route(&format!("{}{{*id}}", console::WHY), any(operate))
        .fallback(sqs)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(edge);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, service).await {
        tracing::error!(%error, "the server stopped");
    }
}

async fn vapi(State(edge): State<Edge>, request: Request) -> Response {
    match read(request, MAX_LAMBDA).await {
        Some(request) => written(edge.webhook.handle(request).await),
        None => error(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 6 MiB or broke off"),
    }
}

async fn operate(State(edge): State<Edge>, request: Request) -> Response {
    // Read to its end although the console takes less: an answer in the middle would cut the connection.
    match read(request, MAX_LAMBDA).await {
        Some(request) => written(edge.console.handle(request).await),
        None => error(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 6 MiB or broke off"),
    }
}

/// The same, for what may be a campaign message.
async fn campaigns(State(edge): State<Edge>, request: Request) -> Response {
    match read(request, MAX_BODY).await {
        Some(request) => written(edge.console.handle(request).await),
        None => error(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 64 MiB or broke off"),
    }
}

/// A request as Lambda hands it to a function; nothing if its body is larger than `most`.
async fn read(request: Request, most: usize) -> Option<lambda_http::Request> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, most).await.ok()?;
    Some(http::Request::from_parts(parts, lambda_http::Body::from(body.to_vec())))
}

fn written(response: lambda_http::Response<lambda_http::Body>) -> Response {
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, Body::from(body.to_vec()))
}

fn error(status: StatusCode, text: &str) -> Response {
    (status, axum::Json(json!({ "error": text }))).into_response()
}

/// The SQS protocol, from this machine only: nobody checks its signatures here.
async fn sqs(
    State(edge): State<Edge>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !headers.contains_key("x-amz-target") {
        return error(
            StatusCode::NOT_FOUND,
            "there is POST /vapi, POST /campaigns, GET /status, PATCH /lines, PUT and DELETE /reserves/AGENT \
             and /quotas/NAME, GET /changes, GET /why/ID, the rest of /campaigns and /do-not-call, and the SQS protocol (JSON)",
        );
    }
    if !peer.ip().to_canonical().is_loopback() {
        return error(StatusCode::FORBIDDEN, "the SQS protocol is answered on loopback only");
    }
    if let Err(failed) = keep_sent(&edge, &headers, &body) {
        tracing::error!(error = format!("{failed:#}"), "a message could not be kept");
        return error(StatusCode::INTERNAL_SERVER_ERROR, "not accepted; try again");
    }
    answer_sqs(State(edge.engines), headers, body).await
}

/// Keeps what is sent to the campaign queue, or is told as an event, before it is acknowledged.
fn keep_sent(edge: &Edge, headers: &HeaderMap, body: &[u8]) -> anyhow::Result<()> {
    let Ok(SqsOperation::SendMessage | SqsOperation::SendMessageBatch) = resolve_operation(headers) else {
        return Ok(());
    };
    let Ok(sent) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
    // As the engine routes: by the last part, whatever name the host goes by.
    let queue = sent["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next());
    let inbox = match queue {
        Some(CAMPAIGNS) => &edge.inbox,
        Some(EVENTS) => &edge.outbox,
        _ => return Ok(()),
    };
    let entries = sent["Entries"].as_array().map_or(std::slice::from_ref(&sent), Vec::as_slice);
    let bodies = entries.iter().filter_map(|entry| entry["MessageBody"].as_str());
    for body in bodies.filter(|body| body.len() <= MAX_MESSAGE) {
        inbox.keep(body)?;
    }
    Ok(())
}

/// Serves the SQS protocol alone, until the task ends.
pub async fn serve_sqs(listener: TcpListener, engines: Arc<Engines>) {
    let router = Router::new().fallback(answer_sqs).with_state(engines);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the server stopped");
    }
}

async fn answer_sqs(State(engines): State<Arc<Engines>>, headers: HeaderMap, body: Bytes) -> Response {
    let answered = match resolve_operation(&headers) {
        Ok(operation) => {
            dispatch_operation(&RustackSqsHandler::new(engines.sqs.clone()), operation, body).await
        }
        Err(unknown) => Err(unknown),
    };
    let request_id = uuid::Uuid::new_v4().to_string();
    answered.unwrap_or_else(|failed| error_to_response(&failed, &request_id)).map(Body::new)
}

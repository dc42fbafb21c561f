//! Vapi's HTTP API, as far as it is simulated: its routes, its keys, and what it lets one read and end.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{ConnectInfo, FromRequestParts, Path, Query, State},
    http::{HeaderMap, Method, Request, Response as HttpResponse, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{
    analytics,
    clock::parse_iso,
    connection::{Connections, Switch},
    control, dialing,
    fate::{self, About},
    setup_api,
    shared::Shared,
    wire::CallObject,
    world::{Call, World},
};

fn router(sim: &Arc<Shared>) -> Router {
    Router::new()
        .route("/call", post(dialing::create_call).get(list_calls))
        .route("/call/{id}", get(read_call))
        .route("/control/{id}", post(control_call))
        .route("/analytics", post(analyse))
        .merge(setup_api::routes())
        .merge(control::routes())
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .with_state(Arc::clone(sim))
}

/// Answers one request that came without a connection; nothing if a connection would have been cut.
pub(crate) async fn answer(sim: &Arc<Shared>, request: Request<Vec<u8>>) -> Option<HttpResponse<Vec<u8>>> {
    let switch = Switch::default();
    let mut request = request.map(Body::from);
    request.extensions_mut().insert(ConnectInfo(switch.clone()));
    let Ok(answer) = router(sim).oneshot(request).await;
    if switch.is_cut() {
        return None;
    }
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.ok()?;
    Some(HttpResponse::from_parts(parts, body.into()))
}

/// Answers requests until the simulation is stopped.
pub(crate) async fn serve(sim: Arc<Shared>, connections: Connections) {
    let router = router(&sim);
    let service = router.into_make_service_with_connect_info::<Switch>();
    let serving = axum::serve(connections, service);
    let stopped = async move { sim.stopped().await };
    if let Err(error) = serving.with_graceful_shutdown(stopped).await {
        tracing::error!(error = &error as &dyn std::error::Error, "the simulated API is gone");
    }
}

/// An error as Vapi prints most of them.
pub(crate) fn refusal(status: StatusCode, message: &str) -> Response {
    let error = status.canonical_reason().unwrap_or("Error");
    (status, Json(json!({"message": message, "error": error, "statusCode": status.as_u16()}))).into_response()
}

/// The same with a list of what is wrong, as validation prints it.
pub(crate) fn bad_request(wrong: Vec<String>) -> Response {
    let body = json!({"message": wrong, "error": "Bad Request", "statusCode": 400});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

async fn nothing_here(method: Method, uri: Uri) -> Response {
    refusal(StatusCode::NOT_FOUND, &format!("Cannot {method} {}", uri.path()))
}

/// The org whose key a request carried.
pub(crate) struct Keyed(pub(crate) usize);

impl FromRequestParts<Arc<Shared>> for Keyed {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, sim: &Arc<Shared>) -> Result<Self, Response> {
        let key = bearer(&parts.headers);
        if let Some(org) = sim.orgs.iter().position(|org| key == Some(&org.api_key)) {
            return Ok(Self(org));
        }
        let hint = "Invalid Key. Hot tip, you may be using the private key instead of the public key, or vice versa.";
        Err(refusal(StatusCode::UNAUTHORIZED, hint))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

async fn read_call(State(sim): State<Arc<Shared>>, Keyed(org): Keyed, Path(id): Path<String>) -> Response {
    sim.latency().await;
    let world = sim.world();
    let as_of = sim.read_as_of(&world);
    let shown = world
        .find(&id)
        .map(|index| &world.calls[index])
        .filter(|call| call.org == org)
        .and_then(|call| CallObject::as_read(call, &sim.url, &sim.orgs[org].id, as_of));
    match shown {
        Some(call) => Json(call).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "Call not found"),
    }
}

async fn list_calls(
    State(sim): State<Arc<Shared>>,
    Keyed(org): Keyed,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let filter = match Filter::read(&query) {
        Ok(filter) => filter,
        Err(wrong) => return bad_request(vec![wrong]),
    };
    sim.latency().await;
    let world = sim.world();
    let as_of = sim.read_as_of(&world);
    // Calls are stored as they were created, so the newest come first by going backwards, and nothing
    // before the first one that is too old can match.
    let listed: Vec<_> = world
        .calls
        .iter()
        .rev()
        .take_while(|call| filter.created.reaches(call.created_ms))
        .filter(|call| call.org == org)
        .filter(|call| call.updated_ms(as_of).is_some_and(|updated_ms| filter.admits(call, updated_ms)))
        .take(filter.limit)
        .filter_map(|call| CallObject::as_read(call, &sim.url, &sim.orgs[org].id, as_of))
        .collect();
    Json(listed).into_response()
}

async fn control_call(
    State(sim): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    sim.latency().await;
    let mut world = sim.world();
    let is_live = world.find(&id).is_some_and(|index| world.calls[index].ended_ms.is_none());
    if !is_live {
        return refusal(StatusCode::NOT_FOUND, "Call not found");
    }
    // Other commands, such as `say`, change nothing that is simulated.
    if body["type"] == "end-call" {
        world.hang_up(&id);
    }
    Json(json!({})).into_response()
}

async fn analyse(State(sim): State<Arc<Shared>>, Keyed(org): Keyed, Json(body): Json<Value>) -> Response {
    sim.latency().await;
    match analytics::answer(&sim, org, &body) {
        Ok(results) => Json(results).into_response(),
        Err(wrong) => bad_request(vec![wrong]),
    }
}

impl Shared {
    /// How long a read takes, in wall time.
    pub(crate) async fn latency(&self) {
        let range = self.world().telephony.api_latency_ms;
        let key = fate::key(self.seed, About::Latency, 0, self.clock.now_ms().to_bits());
        tokio::time::sleep(Duration::from_secs_f64(fate::between(&mut fate::rng(key), range) / 1e3)).await;
    }

    /// The moment up to which reads know anything.
    pub(crate) fn read_as_of(&self, world: &World) -> f64 {
        self.clock.now_ms() - self.clock.wall(world.faults.list_lag_seconds).as_secs_f64() * 1e3
    }
}

/// What a list is restricted to. A filter that Vapi does not know is ignored.
struct Filter<'a> {
    id: Option<&'a String>,
    assistant_id: Option<&'a String>,
    phone_number_id: Option<&'a String>,
    created: Span,
    updated: Span,
    limit: usize,
}

impl<'a> Filter<'a> {
    fn read(query: &'a HashMap<String, String>) -> Result<Self, String> {
        let limit = match query.get("limit") {
            None => 100,
            Some(text) => match text.parse() {
                Ok(limit) if limit <= 1000 => limit,
                _ => return Err("limit must be a number from 0 to 1000".into()),
            },
        };
        Ok(Self {
            id: query.get("id"),
            assistant_id: query.get("assistantId"),
            phone_number_id: query.get("phoneNumberId"),
            created: Span::read(query, "createdAt")?,
            updated: Span::read(query, "updatedAt")?,
            limit,
        })
    }

    fn admits(&self, call: &Call, updated_ms: f64) -> bool {
        let is = |wanted: Option<&String>, given: Option<&String>| wanted.is_none() || wanted == given;
        self.created.holds(call.created_ms)
            && self.updated.holds(updated_ms)
            && self.id.is_none_or(|id| *id == call.id.to_string())
            && is(self.assistant_id, call.given.assistant_id.as_ref())
            && is(self.phone_number_id, call.given.phone_number_id.as_ref())
    }
}

/// `…Gt`, `…Ge`, `…Lt` and `…Le` of one moment, in whole milliseconds as bodies print them.
pub(crate) struct Span {
    gt: Option<f64>,
    ge: Option<f64>,
    lt: Option<f64>,
    le: Option<f64>,
}

impl Span {
    pub(crate) fn read(query: &HashMap<String, String>, field: &str) -> Result<Self, String> {
        let bound = |end: &str| {
            let name = format!("{field}{end}");
            match query.get(&name).map(|text| parse_iso(text)) {
                Some(None) => Err(format!("{name} must be a valid ISO 8601 date string")),
                bound => Ok(bound.flatten()),
            }
        };
        Ok(Self { gt: bound("Gt")?, ge: bound("Ge")?, lt: bound("Lt")?, le: bound("Le")? })
    }

    /// Not below the lower bounds.
    fn reaches(&self, ms: f64) -> bool {
        self.gt.is_none_or(|gt| ms.floor() > gt) && self.ge.is_none_or(|ge| ms.floor() >= ge)
    }

    pub(crate) fn holds(&self, ms: f64) -> bool {
        self.reaches(ms)
            && self.lt.is_none_or(|lt| ms.floor() < lt)
            && self.le.is_none_or(|le| ms.floor() <= le)
    }
}

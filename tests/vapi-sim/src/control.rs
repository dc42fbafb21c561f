//! The simulation's own controls over HTTP, for the binary. They ask for no key: whoever can reach the
//! listener may use them, which is why it listens on the loopback address unless told otherwise.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRequestParts, Query, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::refusal,
    calls,
    config::{Counter, Faults, Telephony, Traffic},
    settings::Settings,
    shared::{MAIN, Shared},
};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/sim/truth", get(async |State(sim): State<Arc<Shared>>| Json(sim.truth())))
        .route("/sim/summary", get(async |State(sim): State<Arc<Shared>>| Json(sim.truth().summary())))
        .route("/sim/lines", put(lines))
        .route("/sim/faults", put(faults))
        .route("/sim/counter", put(counter))
        .route("/sim/traffic", put(traffic))
        .route("/sim/telephony", put(telephony))
        .route("/sim/account", put(account))
        .route("/sim/ring-in", post(ring_in))
        .route("/sim/dial", post(dial))
}

async fn lines(State(sim): State<Arc<Shared>>, Json(body): Json<Value>) -> Response {
    let Some(lines) = body["lines"].as_u64().and_then(|lines| u32::try_from(lines).ok()) else {
        return refusal(StatusCode::BAD_REQUEST, "wanted: {\"lines\": n}");
    };
    sim.world().lines = lines;
    Json(json!({"lines": lines})).into_response()
}

async fn faults(State(sim): State<Arc<Shared>>, Json(change): Json<Value>) -> Response {
    let mut world = sim.world();
    let merged = Faults::merged(&world.faults, change);
    settle(merged, |faults| world.faults = faults)
}

async fn counter(State(sim): State<Arc<Shared>>, Json(change): Json<Value>) -> Response {
    let mut world = sim.world();
    let merged = Counter::merged(&world.counter, change);
    settle(merged, |counter| world.counter = counter)
}

async fn telephony(State(sim): State<Arc<Shared>>, Json(change): Json<Value>) -> Response {
    let mut world = sim.world();
    let merged = Telephony::merged(&world.telephony, change);
    settle(merged, |telephony| world.telephony = telephony)
}

async fn traffic(State(sim): State<Arc<Shared>>, Meant(org): Meant, Json(change): Json<Value>) -> Response {
    let traffic = &sim.orgs[org].traffic;
    let merged = Traffic::merged(&traffic.borrow(), change);
    settle(merged, |changed| drop(traffic.send_replace(changed)))
}

/// What an org has set up, anew.
async fn account(State(sim): State<Arc<Shared>>, Meant(org): Meant, Json(body): Json<Value>) -> Response {
    match serde_json::from_value(body) {
        Ok(account) => {
            sim.set_up(org, account);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn ring_in(State(sim): State<Arc<Shared>>, Meant(org): Meant) -> StatusCode {
    calls::ring_in(&sim, org);
    StatusCode::ACCEPTED
}

async fn dial(State(sim): State<Arc<Shared>>, Meant(org): Meant, Json(body): Json<Value>) -> Response {
    let lines = match body["lines"].as_u64() {
        None if body["lines"].is_null() => 1,
        Some(1) => 1,
        Some(2) => 2,
        _ => return refusal(StatusCode::BAD_REQUEST, "wanted: {\"lines\": 1} or {\"lines\": 2}"),
    };
    calls::dial_out(&sim, org, lines);
    StatusCode::ACCEPTED.into_response()
}

/// The org that a request means with `?org=`; without it, the main one.
struct Meant(usize);

impl FromRequestParts<Arc<Shared>> for Meant {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, sim: &Arc<Shared>) -> Result<Self, Response> {
        let Query(which) = Query::<Which>::try_from_uri(&parts.uri).map_err(IntoResponse::into_response)?;
        let org = which.org.map_or(Some(MAIN), |id| sim.org(&id));
        org.map(Self).ok_or_else(|| refusal(StatusCode::NOT_FOUND, "no such org"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    org: Option<String>,
}

/// Answers with the settings as they are now, or with why they stay as they were.
fn settle<S: Settings + Clone>(merged: Result<S, String>, apply: impl FnOnce(S)) -> Response {
    match merged {
        Ok(settings) => {
            apply(settings.clone());
            Json(settings).into_response()
        }
        Err(why) => refusal(StatusCode::BAD_REQUEST, &why),
    }
}

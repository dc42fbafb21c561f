//! `POST /call`: the limit, and everything that can go wrong between the request and its answer.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use serde_json::json;

use crate::{
    api::{Keyed, bad_request, refusal},
    calls,
    clock::iso,
    config::OverLimitShape,
    connection::Switch,
    fate::{self, About, PostFate, PostFault},
    request::{self, Given},
    shared::Shared,
    truth::CallKind,
    wire::{CallObject, SubscriptionLimits},
    world::NewCall,
};

pub(crate) async fn create_call(
    State(sim): State<Arc<Shared>>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    Keyed(org): Keyed,
    body: Bytes,
) -> Response {
    let given = match request::read(&body) {
        Ok(given) => given,
        Err(wrong) => return bad_request(wrong),
    };
    // In a task of its own: a client that gives up does not take back what it asked for.
    let creation = sim.spawn(create(Arc::clone(&sim), org, switch, given));
    match creation.await {
        Ok(Some(Some(answer))) => return answer,
        // The server drops this wait as soon as the client is gone.
        Ok(Some(None)) => sim.stopped().await,
        _ => {}
    }
    refusal(StatusCode::SERVICE_UNAVAILABLE, "the simulation was stopped")
}

/// Nothing if there is never to be an answer.
async fn create(sim: Arc<Shared>, org: usize, switch: Switch, given: Given) -> Option<Response> {
    let arrived_ms = sim.clock.now_ms();
    let number = given.number.clone().unwrap_or_default();
    let (key, fate) = {
        let mut world = sim.world();
        let nth = world.note_post(&number);
        let key = fate::key(sim.seed, About::Post, fate::hash(&number), nth);
        (key, fate::post(key, &world.faults, &world.telephony))
    };
    let slow = sim.clock.wall(sim.world().faults.slow_seconds);
    let half = Duration::from_secs_f64(fate.latency_ms / 2e3) + slow / 2;
    tokio::time::sleep(half).await;
    match fate.fault {
        Some(PostFault::Refuse429) => {
            let body = json!({"message": "Rate limit exceeded", "statusCode": 429});
            return Some((StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response());
        }
        Some(PostFault::Error500) => {
            return Some(refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"));
        }
        Some(PostFault::Reset) => {
            switch.reset();
            return Some(StatusCode::BAD_GATEWAY.into_response());
        }
        _ => {}
    }
    let dialled = dial(&sim, Post { org, arrived_ms, key, fate, given });
    tokio::time::sleep(half).await;
    match fate.fault.filter(|_| dialled.is_created) {
        Some(PostFault::Error522) => {
            let status = StatusCode::from_u16(522).expect("522 is within the range of status codes");
            let body = "<html><body>522: connection timed out</body></html>";
            Some((status, Html(body)).into_response())
        }
        Some(PostFault::AnswerHangs) => None,
        Some(PostFault::AnswerLost) => {
            switch.close();
            Some(dialled.answer)
        }
        _ => Some(dialled.answer),
    }
}

/// A request that reached the limit.
struct Post {
    org: usize,
    arrived_ms: f64,
    key: u64,
    fate: PostFate,
    given: Given,
}

/// What came of a request that reached the limit.
struct Dialled {
    is_created: bool,
    answer: Response,
}

/// Creates the call if a line is free: the 201. Otherwise the refusal, in the shape that is due.
fn dial(sim: &Arc<Shared>, post: Post) -> Dialled {
    let Post { org, arrived_ms, given, .. } = post;
    let mut world = sim.world();
    let now = sim.clock.now_ms();
    let number = given.number.as_deref().unwrap_or_default();
    // A call's life hangs on how many calls its number got before, and not on requests that made none.
    let key = fate::key(sim.seed, About::Outbound, fate::hash(number), world.dials_to(number));
    let id = sim.call_id(post.key, now);
    let max_seconds = given.max_seconds();
    let call =
        NewCall { id, org, key, kind: CallKind::Outbound, given: Arc::new(given), lines: 1, arrived_ms };
    let shape = fate::remaining(post.key, world.counter.remaining);
    let (lines, before) = (world.lines, world.free_lines(now));
    let begun = world.begin(now, call);
    if begun.is_err() {
        world.counts.over_limit_answers += 1;
    }
    let (begun, fate) = match begun {
        Ok(begun) => {
            world.note_dial(begun.index);
            (begun, fate::outbound(key, &world.telephony, &world.faults, max_seconds))
        }
        Err(call) if post.fate.over_limit_shape == OverLimitShape::EndedLater => {
            (world.begin_without_line(now, call), fate::over_limit(key))
        }
        Err(call) => {
            let limits = SubscriptionLimits::of_refusal(shape, lines);
            let answer = over_limit(sim, post.fate.over_limit_shape, limits, &call, now);
            return Dialled { is_created: false, answer };
        }
    };
    let limits = SubscriptionLimits::of_call(shape, lines, before, world.free_lines(now));
    let mut object = CallObject::as_created(&world.calls[begun.index], &sim.url, &sim.orgs[org].id);
    object.subscription_limits = limits;
    let answer = (StatusCode::CREATED, Json(object)).into_response();
    drop(world);
    calls::lead_outbound(sim, begun, fate);
    Dialled { is_created: true, answer }
}

/// The refusal of a call for which there is no line.
fn over_limit(
    sim: &Shared,
    shape: OverLimitShape,
    limits: SubscriptionLimits,
    call: &NewCall,
    now: f64,
) -> Response {
    match shape {
        OverLimitShape::Http400Old => {
            (StatusCode::BAD_REQUEST, Json(json!({"error": "Over Concurrency Limit"}))).into_response()
        }
        OverLimitShape::Http429 => refusal(StatusCode::TOO_MANY_REQUESTS, "Concurrency limit reached."),
        OverLimitShape::Http404 => refusal(StatusCode::NOT_FOUND, "reach concurrency limit"),
        OverLimitShape::Created201 => {
            let body = json!({
                "id": call.id.to_string(), "orgId": sim.orgs[call.org].id,
                "createdAt": iso(now), "updatedAt": iso(now),
                "subscriptionLimits": limits,
            });
            (StatusCode::CREATED, Json(body)).into_response()
        }
        // Mixed was resolved when the request arrived, and EndedLater makes a call instead of a refusal.
        OverLimitShape::Http400 | OverLimitShape::EndedLater | OverLimitShape::Mixed => {
            let body = json!({
                "message": "Over Concurrency Limit.", "error": "Bad Request", "statusCode": 400,
                "subscriptionLimits": limits,
            });
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}

//! The HTTP API of what an org has set up: lists, reads, changes, and what can go wrong with them.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, Query, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::{
    api::{Keyed, Span, bad_request, refusal},
    connection::Switch,
    setup::Kind,
    shared::Shared,
    world::World,
};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    let kinds = [
        ("/phone-number", Kind::PhoneNumber),
        ("/assistant", Kind::Assistant),
        ("/squad", Kind::Squad),
        ("/tool", Kind::Tool),
        ("/credential", Kind::Credential),
    ];
    let mut router =
        Router::new().route("/org", get(read_own)).route("/org/{id}", axum::routing::patch(change_own));
    for (path, kind) in kinds {
        let list = async move |State(sim): State<Arc<Shared>>, Keyed(org): Keyed, Query(query)| {
            list(&sim, org, kind, &query).await
        };
        let read = async move |State(sim): State<Arc<Shared>>, Keyed(org): Keyed, Path(id): Path<String>| {
            read(&sim, org, kind, &id).await
        };
        let change = async move |State(sim): State<Arc<Shared>>,
                                 ConnectInfo(switch): ConnectInfo<Switch>,
                                 Keyed(org): Keyed,
                                 Path(id): Path<String>,
                                 Json(body): Json<Value>| {
            let change = |world: &mut World, now| match world.orgs[org].setup.patch(kind, &id, body, now) {
                None => not_found(),
                Some(Ok(shown)) => Json(shown).into_response(),
                Some(Err(wrong)) => bad_request(wrong),
            };
            changed(&sim, org, kind, &switch, change).await
        };
        let mut many = get(list);
        let mut one = get(read).patch(change);
        if kind == Kind::Credential {
            many = many.post(
                async move |State(sim): State<Arc<Shared>>,
                            ConnectInfo(switch): ConnectInfo<Switch>,
                            Keyed(org): Keyed,
                            Json(body): Json<Value>| {
                    let make = |world: &mut World, now| match world.orgs[org].setup.create(kind, body, now) {
                        Ok(shown) => (StatusCode::CREATED, Json(shown)).into_response(),
                        Err(wrong) => bad_request(wrong),
                    };
                    changed(&sim, org, kind, &switch, make).await
                },
            );
            one = one.delete(
                async move |State(sim): State<Arc<Shared>>,
                            ConnectInfo(switch): ConnectInfo<Switch>,
                            Keyed(org): Keyed,
                            Path(id): Path<String>| {
                    let delete = |world: &mut World, now| {
                        if world.orgs[org].setup.delete(kind, &id, now) {
                            Json(json!({ "id": id })).into_response()
                        } else {
                            not_found()
                        }
                    };
                    changed(&sim, org, kind, &switch, delete).await
                },
            );
        }
        router = router.route(path, many).route(&format!("{path}/{{id}}"), one);
    }
    router
}

fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "Not Found")
}

fn forbidden() -> Response {
    refusal(StatusCode::FORBIDDEN, "Key doesn't allow this. Hot tip, this wants a session of the dashboard.")
}

/// What a request meets before it is looked at, if anything.
fn met(world: &mut World, org: usize, kind: Option<Kind>) -> Option<Response> {
    let faults = &mut world.orgs[org].setup.faults;
    let strikes = |left: &mut u32| {
        let strikes = *left > 0;
        *left = left.saturating_sub(1);
        strikes
    };
    if faults.down_after_changes == Some(0) {
        let status = StatusCode::from_u16(522).expect("522 is within the range of status codes");
        return Some((status, Html("<html><body>522: connection timed out</body></html>")).into_response());
    }
    if strikes(&mut faults.refuse_429) {
        let mut answer = refusal(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded");
        answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        return Some(answer);
    }
    if strikes(&mut faults.error_5xx_before) {
        return Some(refusal(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"));
    }
    (faults.no_credentials && kind == Some(Kind::Credential)).then(forbidden)
}

async fn list(sim: &Shared, org: usize, kind: Kind, query: &HashMap<String, String>) -> Response {
    let limit = match query.get("limit").map(|limit| limit.parse::<usize>()) {
        None => 100,
        Some(Ok(limit)) if limit <= 1000 => limit,
        Some(_) => return bad_request(vec!["limit must be a number from 0 to 1000".into()]),
    };
    let created = match Span::read(query, "createdAt") {
        Ok(created) => created,
        Err(wrong) => return bad_request(vec![wrong]),
    };
    sim.latency().await;
    let mut world = sim.world();
    if let Some(answer) = met(&mut world, org, Some(kind)) {
        return answer;
    }
    let as_of = sim.read_as_of(&world);
    let listed = world.orgs[org].setup.list(kind, as_of).into_iter();
    let listed = listed.filter(|(created_ms, _)| created.holds(*created_ms)).take(limit);
    Json(listed.map(|(_, shown)| shown).collect::<Vec<_>>()).into_response()
}

async fn read(sim: &Shared, org: usize, kind: Kind, id: &str) -> Response {
    sim.latency().await;
    let mut world = sim.world();
    if let Some(answer) = met(&mut world, org, Some(kind)) {
        return answer;
    }
    let as_of = sim.read_as_of(&world);
    world.orgs[org].setup.read(kind, id, as_of).map_or_else(not_found, |shown| Json(shown).into_response())
}

/// Makes a change, or what goes wrong instead.
async fn changed(
    sim: &Shared,
    org: usize,
    kind: Kind,
    switch: &Switch,
    change: impl FnOnce(&mut World, f64) -> Response,
) -> Response {
    sim.latency().await;
    let mut world = sim.world();
    if let Some(answer) = met(&mut world, org, Some(kind)) {
        return answer;
    }
    let answer = change(&mut world, sim.clock.now_ms());
    if answer.status().is_success() {
        let faults = &mut world.orgs[org].setup.faults;
        if let Some(left) = &mut faults.down_after_changes {
            *left = left.saturating_sub(1);
        }
        if faults.answer_lost > 0 {
            faults.answer_lost -= 1;
            switch.close();
        }
    }
    answer
}

async fn read_own(State(sim): State<Arc<Shared>>, Keyed(org): Keyed) -> Response {
    sim.latency().await;
    let mut world = sim.world();
    if let Some(answer) = met(&mut world, org, None) {
        return answer;
    }
    let as_of = sim.read_as_of(&world);
    world.orgs[org].setup.own(as_of).map_or_else(forbidden, |shown| Json(shown).into_response())
}

async fn change_own(
    State(sim): State<Arc<Shared>>,
    Keyed(org): Keyed,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    sim.latency().await;
    let mut world = sim.world();
    if let Some(answer) = met(&mut world, org, None) {
        return answer;
    }
    let now = sim.clock.now_ms();
    let changed = (sim.orgs[org].id == id).then(|| world.orgs[org].setup.patch_own(body, now)).flatten();
    changed.map_or_else(forbidden, |shown| Json(shown).into_response())
}

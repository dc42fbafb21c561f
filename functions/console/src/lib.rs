//! The console: how operators see the lines and change how they may be used.
//!
//! | route | answer |
//! |---|---|
//! | `GET /status` | the present figures |
//! | `PATCH /lines` | changes the limit, the cap, the headroom: any of them |
//! | `PUT /reserves/{agent}` | reserves lines for an agent; with none, takes its reserve away |
//! | `DELETE /reserves/{agent}` | takes an agent's reserve away |
//! | `PUT /quotas/{name}` | bounds the calls of a number, a trunk, an organisation |
//! | `DELETE /quotas/{name}` | takes a quota away |
//! | `GET /changes?limit=50` | the latest changes, the newest first |
//! | `GET /campaigns` | the campaigns, in the order in which they are served |
//! | `POST /campaigns` | takes a campaign message: a new campaign, or more leads of one; 202 |
//! | `POST /campaigns/check` | on what terms a campaign would be called; a campaign message, whose leads are not looked at |
//! | `GET /campaigns/{id}` | one: state, figures, settings, who did what; `?outcomes=true` counts its leads by reason |
//! | `PATCH /campaigns/{id}` | merges the body into its settings |
//! | `POST /campaigns/{id}/start`, `/pause`, `/resume`, `/cancel`, `/rerun` | what a person wants of it |
//! | `POST /campaigns/{id}/callbacks` | promises a lead a call at a time |
//! | `GET /campaigns/{id}/results?after=…&limit=500` | its leads, page by page, with what became of each |
//! | `GET /do-not-call` | what operators did to the do-not-call list last, the newest first: who, when, for how many |
//! | `POST /do-not-call`, `/do-not-call/remove` | puts people on the list, or takes them off: `{"numbers": […]}`, up to 1,000 |
//! | `POST /do-not-call/check` | whether each of these people is on it, and since when |
//! | `POST /do-not-call/list` | the list, page by page: `{"after": NUMBER, "limit": 1000}`, either or neither |
//! | `GET /why/{id}` | why a call (by Vapi's id) or a lead (`CAMPAIGN/LEAD`) waits, was refused or ended |
//!
//! A person's number is in bodies alone, never in a path or a query, which others log; but for one who asks why of a lead
//! that has its number for an id. The API of the template keeps no access log.
//!
//! | status | when |
//! |---|---|
//! | 200, 202 | done, or so already; 202 where it is done a little later |
//! | 400 | not readable; the answer says what is wrong and what to send |
//! | 401 | without the admin token |
//! | 404, 405 | another path, another method, no reserve or quota to take away, or a call, lead or campaign nobody knows |
//! | 409 | readable, and cannot be: more reserved lines than the pool has, agents that cannot be told apart, a pause of a
//! campaign that is over, another assistant for one that runs |
//! | 413 | a body beyond anything that is asked for here |
//! | 500 | the table or the campaign queue did not answer: another try can help |
//! | 503 | lines or the campaign moved at each try: another try will help |

mod asked;
mod campaigns;
mod do_not_call;

use std::str::FromStr;

use headroom::core::ids::IdError;
use headroom::core::quota::Quota;
use headroom::core::reserve::{Reserve, ReserveError};
use headroom::flows::App;
use headroom::flows::operate::{Asked, ChangeError};
use headroom::flows::status::PoolStatus;
use headroom::flows::why::WhyError;
use headroom::inlet::Inlet;
use headroom::logging::chain;
use headroom::table::TableError;
use headroom::table::changes::Wanted;
use headroom::vapi::Secret;
use headroom::vapi::signature::bearer_matches;
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Request, Response};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

pub use crate::campaigns::CAMPAIGNS;
use crate::campaigns::{MAX_MESSAGE, Place};
pub use crate::do_not_call::DO_NOT_CALL;
use crate::do_not_call::List;

/// The path of the figures.
pub const STATUS: &str = "/status";
/// The path of the limit, the cap and the headroom.
pub const LINES: &str = "/lines";
/// What the paths of reserves begin with; the agent's name follows, percent-encoded.
pub const RESERVES: &str = "/reserves/";
/// What the paths of quotas begin with; the quota's name follows, percent-encoded.
pub const QUOTAS: &str = "/quotas/";
/// The path of the change log.
pub const CHANGES: &str = "/changes";
/// What the paths of explanations begin with; a call's or a lead's id follows, percent-encoded.
pub const WHY: &str = "/why/";
/// Largest body. A reserve with as many members as one may have is a tenth of it.
pub const MAX_BODY: usize = 128 * 1024;

/// The function, connected.
pub struct Console {
    app: App,
    token: Secret,
    inlet: Inlet,
}

/// What a request is for.
enum Route<'a> {
    Status,
    Lines,
    Reserve(&'a str),
    Quota(&'a str),
    Changes,
    Why(&'a str),
    Campaigns(Place<'a>),
    DoNotCall(List),
}

impl<'a> Route<'a> {
    fn of(path: &'a str, method: &Method) -> Option<Self> {
        if let Some(place) = Place::of(path, method) {
            return Some(Self::Campaigns(place));
        }
        if let Some(list) = List::of(path) {
            return Some(Self::DoNotCall(list));
        }
        match path {
            STATUS => Some(Self::Status),
            LINES => Some(Self::Lines),
            CHANGES => Some(Self::Changes),
            _ => {
                let behind = |start| path.strip_prefix(start).filter(|name: &&str| !name.is_empty());
                let reserve = behind(RESERVES).map(Self::Reserve);
                reserve.or_else(|| behind(QUOTAS).map(Self::Quota)).or_else(|| behind(WHY).map(Self::Why))
            }
        }
    }

    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Status | Self::Changes | Self::Why(_) => &[Method::GET],
            Self::Lines => &[Method::PATCH],
            Self::Campaigns(place) => place.methods(),
            Self::DoNotCall(list) => list.methods(),
            Self::Reserve(_) | Self::Quota(_) => &[Method::PUT, Method::DELETE],
        }
    }
}

/// Why a request is not answered with what it asks for.
enum Refusal {
    /// It cannot be read. The text says what is wrong and what to send.
    Unreadable(String),
    /// There is nothing of that name.
    Unknown(String),
    /// It can be read, and cannot be done.
    Change(ChangeError),
    /// Not as things are.
    Conflict(String),
    /// Others were faster, at each try.
    Busy(String),
    /// A campaign message is not on the queue.
    NotAccepted,
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self::Unreadable(text)
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        Self::Change(error)
    }
}

impl From<WhyError> for Refusal {
    fn from(error: WhyError) -> Self {
        match error {
            WhyError::Unknown => Self::Unknown(error.to_string()),
            WhyError::Table(failed) => failed.into(),
        }
    }
}

impl From<TableError> for Refusal {
    fn from(error: TableError) -> Self {
        Self::Change(error.into())
    }
}

impl Console {
    /// The function on `app`, for whoever carries `token`; campaign messages go to `inlet`.
    pub fn new(app: App, token: Secret, inlet: Inlet) -> Self {
        Self { app, token, inlet }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        let Some(route) = Route::of(request.uri().path(), request.method()) else {
            let there_is = "there is GET /status, PATCH /lines, PUT and DELETE /reserves/AGENT and /quotas/NAME, \
                            GET /changes, GET /why/ID, GET and POST /campaigns, GET and PATCH /campaigns/ID, \
                            POST /campaigns/ID/start, /pause, /resume, /cancel, /rerun and /callbacks, \
                            GET /campaigns/ID/results, GET and POST /do-not-call, POST /do-not-call/remove, /check and /list";
            return error(StatusCode::NOT_FOUND, there_is);
        };
        if !route.methods().contains(request.method()) {
            let methods: Vec<&str> = route.methods().iter().map(Method::as_str).collect();
            let text = format!("this is asked for by {}", methods.join(" or "));
            return error(StatusCode::METHOD_NOT_ALLOWED, &text);
        }
        if !bearer_matches(std::slice::from_ref(&self.token), request.headers()) {
            tracing::warn!("console request refused: not authenticated");
            return error(StatusCode::UNAUTHORIZED, "send the admin token as Authorization: Bearer TOKEN");
        }
        let is_message = matches!(route, Route::Campaigns(Place::All));
        let most = if is_message { MAX_MESSAGE } else { MAX_BODY };
        if request.body().len() > most {
            let text = format!("the body is larger than {} KiB", most / 1024);
            return error(StatusCode::PAYLOAD_TOO_LARGE, &text);
        }
        let answered = match route {
            Route::Status => self.status().await,
            Route::Lines => self.set_lines(&request).await,
            Route::Reserve(agent) if request.method() == Method::PUT => self.reserve(agent, &request).await,
            Route::Reserve(agent) => self.release(agent, &request).await,
            Route::Quota(quota) if request.method() == Method::PUT => self.set_quota(quota, &request).await,
            Route::Quota(quota) => self.lift_quota(quota, &request).await,
            Route::Changes => self.changes(&request).await,
            Route::Why(id) => Box::pin(self.why(id)).await,
            Route::Campaigns(place) => Box::pin(self.campaigns(&place, &request)).await,
            Route::DoNotCall(list) => Box::pin(self.do_not_call(list, &request)).await,
        };
        match answered {
            Ok(body) if is_message && request.method() == Method::POST => answer(StatusCode::ACCEPTED, &body),
            Ok(body) => answer(StatusCode::OK, &body),
            Err(refusal) => refused(refusal),
        }
    }

    async fn status(&self) -> Result<Value, Refusal> {
        let status = self.app.status().await?;
        Ok(serde_json::to_value(status).expect("figures and texts are JSON"))
    }

    async fn set_lines(&self, request: &Request) -> Result<Value, Refusal> {
        self.change(&asked::lines(request.body())?, request).await
    }

    async fn reserve(&self, agent: &str, request: &Request) -> Result<Value, Refusal> {
        let (reserve, kept) = asked::reserve(request.body())?;
        let reserve = Some((name(agent)?, reserve));
        self.change(&Asked { reserve, kept, ..Asked::default() }, request).await
    }

    async fn release(&self, agent: &str, request: &Request) -> Result<Value, Refusal> {
        let agent = name(agent)?;
        // A name that was mistyped must not look like a reserve that was taken away.
        let pool = self.app.table.read_pool().await?;
        if pool.reserves.get(&agent).is_none() {
            let agents = listed(pool.reserves.iter().map(|(agent, _)| agent.as_str()), "nobody");
            return Err(Refusal::Unknown(format!(
                "no lines are reserved for {agent}; they are for {agents}"
            )));
        }
        let asked = Asked { reserve: Some((agent, Reserve::default())), ..Asked::default() };
        self.change(&asked, request).await
    }

    async fn set_quota(&self, quota: &str, request: &Request) -> Result<Value, Refusal> {
        let (bounds, kept) = asked::quota(request.body())?;
        let quota = Some((name(quota)?, bounds));
        self.change(&Asked { quota, kept, ..Asked::default() }, request).await
    }

    async fn lift_quota(&self, quota: &str, request: &Request) -> Result<Value, Refusal> {
        let quota = name(quota)?;
        let pool = self.app.table.read_pool().await?;
        if pool.quotas.get(&quota).is_none() {
            let quotas = listed(pool.quotas.iter().map(|(quota, _)| quota.as_str()), "none at all");
            return Err(Refusal::Unknown(format!("there is no quota {quota}; there are: {quotas}")));
        }
        let asked = Asked { quota: Some((quota, Quota::default())), ..Asked::default() };
        self.change(&asked, request).await
    }

    async fn change(&self, asked: &Asked, request: &Request) -> Result<Value, Refusal> {
        let by = asked::by(request.headers())?;
        let (before, now) = self.app.change(asked, by).await?;
        let pool = PoolStatus::of(self.app.table.pool(), &now, self.app.clock.now());
        Ok(json!({
            "from": Wanted::of(&before).to_string(),
            "to": Wanted::of(&now).to_string(),
            "pool": pool,
        }))
    }

    async fn changes(&self, request: &Request) -> Result<Value, Refusal> {
        let most = asked::most(request.uri().query().unwrap_or_default())?;
        let changes = self.app.table.list_changes(most).await?;
        let changes = changes.iter().map(|change| {
            json!({
                "revision": change.revision,
                "at": change.at.to_string(),
                "by": change.by,
                "from": change.from,
                "to": change.to,
            })
        });
        Ok(json!({ "changes": changes.collect::<Vec<_>>() }))
    }

    async fn why(&self, encoded: &str) -> Result<Value, Refusal> {
        let id = percent_decode_str(encoded).decode_utf8();
        let id = id.map_err(|_| "the id in the path is not UTF-8".to_owned())?;
        let why = self.app.why(&id).await?;
        Ok(serde_json::to_value(why).expect("texts, numbers and instants are JSON"))
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>, none: &str) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { none.to_owned() } else { names.join(", ") }
}

fn name<T: FromStr<Err = IdError>>(encoded: &str) -> Result<T, String> {
    let text = percent_decode_str(encoded).decode_utf8();
    let text = text.map_err(|_| "the name in the path is not UTF-8".to_owned())?;
    text.parse().map_err(|error| format!("{error}: 1 to 64 bytes without control characters will do"))
}

/// A path as a URI may have it. HTTP APIs hand over the path decoded, and a space in it would end the
/// function before it sees the request; what is still encoded stays so.
pub fn escaped_path(decoded: &str) -> String {
    const NOT_IN_A_PATH: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'<')
        .add(b'>')
        .add(b'?')
        .add(b'[')
        .add(b'\\')
        .add(b']')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');
    utf8_percent_encode(decoded, NOT_IN_A_PATH).to_string()
}

fn refused(refusal: Refusal) -> Response<Body> {
    let change = match refusal {
        Refusal::Unreadable(text) => return error(StatusCode::BAD_REQUEST, &text),
        Refusal::Unknown(text) => return error(StatusCode::NOT_FOUND, &text),
        Refusal::Change(change) => change,
        Refusal::Conflict(text) => return error(StatusCode::CONFLICT, &text),
        Refusal::Busy(text) => return error(StatusCode::SERVICE_UNAVAILABLE, &text),
        Refusal::NotAccepted => {
            return error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "not accepted; send it again, which does no harm",
            );
        }
    };
    match change {
        ChangeError::Reserve(ReserveError::TooMany { asked, limit, .. }) => {
            let text = format!("{change}; lower a reserve or raise the limit");
            answer(StatusCode::CONFLICT, &json!({ "error": text, "reserved": asked, "limit": limit }))
        }
        ChangeError::Reserve(_) | ChangeError::Quota(_) | ChangeError::Policy(_) => {
            error(StatusCode::CONFLICT, &change.to_string())
        }
        ChangeError::Busy => {
            tracing::warn!(reason = %change, "policy not changed");
            error(StatusCode::SERVICE_UNAVAILABLE, &change.to_string())
        }
        ChangeError::Table(failed) => {
            tracing::error!(error = chain(&failed), "console failed: the table did not answer");
            error(StatusCode::INTERNAL_SERVER_ERROR, "the table did not answer; try again")
        }
    }
}

fn error(status: StatusCode, text: &str) -> Response<Body> {
    answer(status, &json!({ "error": text }))
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a status and a constant header make a response")
}

#[cfg(test)]
mod tests {
    use headroom::core::ids::AgentName;

    use super::*;

    #[test]
    fn a_decoded_path_becomes_a_uri_and_an_encoded_one_stays() {
        for (path, escaped, agent) in [
            ("/reserves/sales", "/reserves/sales", "sales"),
            ("/reserves/vip desk", "/reserves/vip%20desk", "vip desk"),
            ("/reserves/vip%20desk", "/reserves/vip%20desk", "vip desk"),
            ("/reserves/Verkäufe #2?", "/reserves/Verk%C3%A4ufe%20%232%3F", "Verkäufe #2?"),
            ("/reserves/a/b", "/reserves/a/b", "a/b"),
            ("/reserves/a%2Fb", "/reserves/a%2Fb", "a/b"),
            ("/reserves/100%", "/reserves/100%", "100%"),
        ] {
            assert_eq!(escaped_path(path), escaped);
            let uri: lambda_http::http::Uri = escaped.parse().expect("a URI");
            let Some(Route::Reserve(encoded)) = Route::of(uri.path(), &Method::PUT) else {
                panic!("{path} is a reserve's")
            };
            assert_eq!(name::<AgentName>(encoded).as_ref().map(AgentName::as_str), Ok(agent));
        }
        assert!(matches!(Route::of("/quotas/trunk%201", &Method::PUT), Some(Route::Quota("trunk%201"))));
        assert!(name::<AgentName>("%ff").is_err());
        assert!(name::<AgentName>("%0a").is_err());
        assert!(name::<AgentName>(&"x".repeat(65)).is_err());
    }

    #[test]
    fn there_are_no_other_paths() {
        let others =
            ["/", "/status/", "/line", "/reserves", "/reserves/", "/quotas/", "/why", "/why/", "/vapi"];
        for path in others.into_iter().chain(["/STATUS"]) {
            assert!(Route::of(path, &Method::GET).is_none(), "{path}");
        }
    }
}

//! The operator's commands: what `headroom lines`, `reserve`, `quota`, `limit`, `cap`, `headroom`, `changes` and `why`
//! ask of a console over HTTP, and what they print.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use headroom::flows::status::{PoolStatus, QuotaStatus, ReserveStatus};
use headroom::flows::{Clock as _, SystemClock};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::args::{
    Bound, ChangesArgs, ConsoleArgs, LimitArgs, LinesArgs, NumberArgs, QuotaArgs, ReserveArgs, Share, WhyArgs,
};
use crate::{lines, why};

/// Above the longest that a function may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request to a console.
struct Ask<'a> {
    method: Method,
    path: &'a [&'a str],
    query: Option<String>,
    by: Option<&'a str>,
    body: Option<Value>,
}

impl<'a> Ask<'a> {
    fn get(path: &'a [&'a str]) -> Self {
        Self { method: Method::GET, path, query: None, by: None, body: None }
    }
}

async fn ask(console: &ConsoleArgs, ask: Ask<'_>) -> anyhow::Result<Value> {
    let Ask { method, path, query, by, body } = ask;
    send(console, method, path, query, by, body.map(|body| body.to_string())).await
}

/// What a console has refused.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refused {
    status: StatusCode,
    text: String,
}

impl Refused {
    /// Whether there is nothing of that name.
    pub(crate) fn is_unknown(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// Whether it will be refused again.
    pub(crate) fn is_final(&self) -> bool {
        self.status.is_client_error()
    }
}

/// Asks a console for what is at a path.
pub(crate) async fn get(
    console: &ConsoleArgs,
    path: &[&str],
    query: Option<String>,
) -> anyhow::Result<Value> {
    send(console, Method::GET, path, query, None, None).await
}

/// Sends a console a request, whose body is JSON if there is one.
pub(crate) async fn send(
    console: &ConsoleArgs,
    method: Method,
    path: &[&str],
    query: Option<String>,
    by: Option<&str>,
    body: Option<String>,
) -> anyhow::Result<Value> {
    let base = &console.url;
    let mut url = base.clone();
    // Agents' names and ids are percent-encoded here.
    url.path_segments_mut()
        .map_err(|()| anyhow!("{base} is not the address of a web server: give --url as http://HOST:PORT"))?
        .pop_if_empty()
        .extend(path);
    url.set_query(query.as_deref());
    let mut request = client()?.request(method, url).bearer_auth(&console.admin_token);
    if let Some(by) = by.filter(|by| !by.trim().is_empty()) {
        request = request.header("x-headroom-by", by.as_bytes());
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body);
    }
    let response = request.send().await.map_err(|error| unreached(base, &error))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| unreached(base, &error))?;
    let body: Option<Value> = serde_json::from_str(&text).ok();
    let refused = |text: String| Err(Refused { status, text }.into());
    match (status, body) {
        (StatusCode::UNAUTHORIZED, _) => refused(format!(
            "{base} does not take this admin token: give its own with --admin-token or HEADROOM_ADMIN_TOKEN"
        )),
        (status, Some(body)) if status.is_success() => Ok(body),
        (_, body) => match body.as_ref().and_then(|body| body["error"].as_str()) {
            Some(error) => refused(error.to_owned()),
            None => refused(format!("{base} answered {status}, not as Headroom does: is --url right?")),
        },
    }
}

/// A piece that was not accepted is sent again so often, each time after as long again.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// Posts a piece of a list. One that may be accepted at another try is sent again: none is taken in twice.
pub(crate) async fn send_patiently(
    console: &ConsoleArgs,
    path: &[&str],
    by: &str,
    body: &str,
) -> anyhow::Result<Value> {
    let mut tried = 0;
    loop {
        tried += 1;
        let sent = send(console, Method::POST, path, None, Some(by), Some(body.to_owned())).await;
        let Err(error) = sent else { return sent };
        let is_final = error.downcast_ref::<Refused>().is_some_and(Refused::is_final);
        if is_final || tried == TRIES {
            return Err(error);
        }
        tokio::time::sleep(PAUSE * tried).await;
    }
}

/// One for all requests: a long list is sent in many.
fn client() -> anyhow::Result<reqwest::Client> {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    let client = reqwest::Client::builder().timeout(PATIENCE).build().context("no HTTP client")?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

fn unreached(url: &Url, error: &reqwest::Error) -> anyhow::Error {
    if error.is_connect() {
        anyhow!(
            "no connection: is `headroom serve` running at {url}? --url or HEADROOM_URL names another place"
        )
    } else if error.is_timeout() {
        anyhow!("{url} did not answer within {} s: try again", PATIENCE.as_secs())
    } else if error.is_builder() {
        anyhow!("the request cannot be made: the admin token or --by has characters that no header may have")
    } else {
        anyhow!("{url} broke off: look with `headroom lines` whether it was done, or try again")
    }
}

/// An answer as what it should be.
pub(crate) fn read<T: DeserializeOwned>(url: &Url, answer: Value) -> anyhow::Result<T> {
    let read = serde_json::from_value(answer);
    read.with_context(|| format!("{url} answered in another form: is it of another version?"))
}

#[derive(Deserialize)]
struct Pools {
    pools: Vec<PoolStatus>,
}

async fn pool(console: &ConsoleArgs) -> anyhow::Result<PoolStatus> {
    let status: Pools = read(&console.url, ask(console, Ask::get(&["status"])).await?)?;
    status.pools.into_iter().next().context("there is no pool")
}

/// `headroom lines`.
pub(crate) async fn show_lines(args: &LinesArgs) -> anyhow::Result<()> {
    if args.json {
        println!("{:#}", ask(&args.console, Ask::get(&["status"])).await?);
        return Ok(());
    }
    let pool = pool(&args.console).await?;
    print!("{}", lines::report(&pool, SystemClock.now(), std::io::stdout().is_terminal()));
    Ok(())
}

/// `headroom limit`.
pub(crate) async fn set_limit(args: &LimitArgs) -> anyhow::Result<()> {
    if args.lines.or(args.purchased).is_none() {
        let PoolStatus { limit, purchased, .. } = pool(&args.console).await?;
        if args.json {
            println!("{:#}", json!({ "limit": limit, "purchased": purchased }));
        } else {
            println!("{}", lines::limit_in_words(limit, purchased));
        }
        return Ok(());
    }
    let mut body = json!({});
    for (name, number) in [("limit", args.lines), ("purchased", args.purchased)] {
        if let Some(number) = number {
            body[name] = json!(number);
        }
    }
    let by = Some(args.by.by.as_str());
    let asked = Ask { method: Method::PATCH, path: &["lines"], query: None, by, body: Some(body) };
    change(&args.console, asked, args.json).await
}

/// `headroom cap`, `headroom headroom`.
pub(crate) async fn set(name: &str, args: &NumberArgs) -> anyhow::Result<()> {
    let Some(lines) = args.lines else {
        let pool = pool(&args.console).await?;
        let present = match name {
            "cap" => pool.cap,
            _ => pool.headroom,
        };
        if args.json {
            println!("{:#}", json!({ name: present }));
        } else {
            println!("{present}");
        }
        return Ok(());
    };
    let body = Some(json!({ name: lines }));
    let by = Some(args.by.by.as_str());
    let asked = Ask { method: Method::PATCH, path: &["lines"], query: None, by, body };
    change(&args.console, asked, args.json).await
}

/// `headroom reserve`.
pub(crate) async fn reserve(args: &ReserveArgs) -> anyhow::Result<()> {
    let path = ["reserves", &args.agent];
    let by = Some(args.by.by.as_str());
    if args.remove {
        let remove = Ask { method: Method::DELETE, path: &path, query: None, by, body: None };
        return change(&args.console, remove, args.json).await;
    }
    let reserves = pool(&args.console).await?.reserves;
    let present = reserves.iter().find(|reserve| reserve.agent == args.agent);
    let is_question = args.shares.is_empty() && args.members.is_empty() && !args.pooled && !args.strict;
    match present {
        None if args.shares.is_empty() => {
            bail!("no lines are reserved for {}: say how many, such as inbound=3", args.agent)
        }
        Some(present) if is_question => {
            if args.json {
                println!("{:#}", json!(present));
            } else {
                println!("{}", in_words(present));
            }
            return Ok(());
        }
        _ => {}
    }
    let body = Some(wanted(args, present));
    change(&args.console, Ask { method: Method::PUT, path: &path, query: None, by, body }, args.json).await
}

/// The whole reserve: what is asked for, the rest as it is.
fn wanted(args: &ReserveArgs, present: Option<&ReserveStatus>) -> Value {
    let mut lines = present.map_or([0; 4], |now| [now.inbound, now.outbound, now.web, now.chat]);
    for (share, asked) in &args.shares {
        lines[*share as usize] = *asked;
    }
    let of = |share: Share| lines[share as usize];
    let mut body = json!({
        "inbound": of(Share::Inbound),
        "outbound": of(Share::Outbound),
        "web": of(Share::Web),
        "chat": of(Share::Chat),
    });
    if args.pooled || args.strict {
        body["binding"] = json!(if args.pooled { "pooled" } else { "strict" });
    }
    if !args.members.is_empty() {
        body["members"] = json!(args.members);
    }
    body
}

fn in_words(reserve: &ReserveStatus) -> String {
    let ReserveStatus { agent, binding, inbound, outbound, web, chat, held, beyond } = reserve;
    format!(
        "{agent}: inbound {inbound}, outbound {outbound}, web {web}, chat {chat}, {binding}; \
         {held} held, {beyond} of them beyond it"
    )
}

/// `headroom quota`.
pub(crate) async fn quota(args: &QuotaArgs) -> anyhow::Result<()> {
    let path = ["quotas", &args.name];
    let by = Some(args.by.by.as_str());
    if args.remove {
        let remove = Ask { method: Method::DELETE, path: &path, query: None, by, body: None };
        return change(&args.console, remove, args.json).await;
    }
    let quotas = pool(&args.console).await?.quotas;
    let present = quotas.iter().find(|quota| quota.name == args.name);
    match present {
        None if args.bounds.is_empty() => {
            bail!("there is no quota {}: say what it bounds, such as lines=10", args.name)
        }
        Some(present) if args.bounds.is_empty() && args.members.is_empty() => {
            if args.json {
                println!("{:#}", json!(present));
            } else {
                println!("{}", lines::quota_in_words(present));
            }
            return Ok(());
        }
        _ => {}
    }
    let (lines, per_second, per_day) = present
        .map_or((None, None, None), |QuotaStatus { lines, per_second, per_day, .. }| {
            (*lines, *per_second, *per_day)
        });
    let mut body = json!({ "lines": lines, "perSecond": per_second, "perDay": per_day });
    for (bound, most) in &args.bounds {
        let name = match bound {
            Bound::Lines => "lines",
            Bound::PerSecond => "perSecond",
            Bound::PerDay => "perDay",
        };
        body[name] = json!(most);
    }
    if !args.members.is_empty() {
        body["members"] = json!(args.members);
    }
    let asked = Ask { method: Method::PUT, path: &path, query: None, by, body: Some(body) };
    change(&args.console, asked, args.json).await
}

#[derive(Deserialize)]
struct Changed {
    from: String,
    to: String,
    pool: PoolStatus,
}

async fn change(console: &ConsoleArgs, asked: Ask<'_>, json: bool) -> anyhow::Result<()> {
    let answer = ask(console, asked).await?;
    if json {
        println!("{answer:#}");
        return Ok(());
    }
    let changed: Changed = read(&console.url, answer)?;
    println!("from  {}\nto    {}", changed.from, changed.to);
    for warning in lines::warnings(&changed.pool) {
        println!("{warning}");
    }
    Ok(())
}

#[derive(Deserialize)]
struct Changes {
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    at: jiff::Timestamp,
    by: String,
    from: String,
    to: String,
}

/// `headroom changes`.
pub(crate) async fn show_changes(args: &ChangesArgs) -> anyhow::Result<()> {
    let query = Some(format!("limit={}", args.limit));
    let answer = ask(&args.console, Ask { query, ..Ask::get(&["changes"]) }).await?;
    if args.json {
        println!("{answer:#}");
        return Ok(());
    }
    let Changes { changes } = read(&args.console.url, answer)?;
    if changes.is_empty() {
        println!("nothing was changed yet");
    }
    for Change { at, by, from, to } in changes {
        println!("{} UTC  {by}\n  from  {from}\n  to    {to}", at.strftime("%Y-%m-%d %H:%M:%S"));
    }
    Ok(())
}

/// `headroom why`.
pub(crate) async fn show_why(args: &WhyArgs) -> anyhow::Result<()> {
    let answer = ask(&args.console, Ask::get(&["why", &args.id])).await?;
    if args.json {
        println!("{answer:#}");
    } else {
        print!("{}", why::report(&read(&args.console.url, answer)?));
    }
    Ok(())
}

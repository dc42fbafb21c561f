//! `headroom campaign`: what it asks of a console over HTTP, and what it prints.
//!
//! A list of leads is read, cut and sent piece by piece: memory stays the same however long it is. Each piece is a
//! campaign message, and a message sent again changes nothing, so after a break the same command adds what is missing.

use std::io::{BufReader, IsTerminal as _, Read as _};

use anyhow::{Context as _, bail};
use headroom::core::campaign::{Message, Spec};
use headroom::core::parts::{LEADS, PART};
use headroom::flows::campaigns::{CampaignDetail, LeadResult, Results};
use headroom::flows::status::CampaignStatus;
use headroom_local::leads::{Format, Rows, csv_line};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::callback;
use crate::campaign_args::{
    CampaignCommand, CommonArgs, EditArgs, IdArgs, ListArgs, PauseArgs, RerunArgs, ResultsArgs, ShowArgs,
    StartArgs,
};
use crate::lines::aligned;
use crate::operator::{self, Refused, read};
use crate::progress::Progress;
use crate::sheet::Sheet;
use crate::{check, kpi, source, why};

/// Does what was typed.
pub(crate) async fn run(command: &CampaignCommand) -> anyhow::Result<()> {
    match command {
        CampaignCommand::Start(args) if source::is_there(&args.what) => send(args).await,
        CampaignCommand::Start(args) => start_draft(args).await,
        CampaignCommand::Check(args) => check::run(args).await,
        CampaignCommand::List(args) => list(args).await,
        CampaignCommand::Show(args) => show(args).await,
        CampaignCommand::Pause(args) => pause(args).await,
        CampaignCommand::Resume(args) => wish(&args.common, &args.id, "resume", None).await,
        CampaignCommand::Cancel(args) => cancel(args).await,
        CampaignCommand::Edit(args) => edit(args).await,
        CampaignCommand::Rerun(args) => rerun(args).await,
        CampaignCommand::Results(args) => results(args).await,
        CampaignCommand::Callback(args) => callback::promise(args).await,
    }
}

/// Largest campaign file, in bytes. What is longer is a list of leads, and has its own flag.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;
/// Refused rows that are remembered.
const MOST_REFUSED: usize = 1_000;
/// Refused rows that are printed for people.
const SHOWN_REFUSED: usize = 20;

/// `campaign start FILE`.
async fn send(args: &StartArgs) -> anyhow::Result<()> {
    let (spec, draft, text) = read_campaign(&args.what).await?;
    let (draft, text) = (draft || args.draft, text.as_str());
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow, default)]
        leads: Vec<&'a RawValue>,
    }
    let list = match &args.leads {
        Some(list) => {
            let name = list.to_string_lossy();
            let format = Format::of(&name).with_context(|| {
                format!("{name} is neither .csv nor .jsonl: its name says how it is read")
            })?;
            let (file, length) = source::open(&name).await?;
            Some((file, length, format))
        }
        None => None,
    };
    let id = spec.id.as_str();
    let known: Option<CampaignDetail> =
        match operator::get(&args.common.console, &["campaigns", id], None).await {
            Ok(answer) => Some(read(&args.common.console.url, answer)?),
            Err(error) if error.downcast_ref::<Refused>().is_some_and(Refused::is_unknown) => None,
            Err(error) => return Err(error),
        };
    let mut notes = known.map(|known| notes(&known, &spec)).unwrap_or_default();
    match check::check(&args.common, &spec, text, args.leads.as_deref(), None).await {
        Ok((verdict, _)) => {
            notes.extend(
                verdict.refused.iter().chain(&verdict.warnings).map(|text| format!("Warning: {text}.")),
            );
        }
        // What is wrong with the leads is told when they are sent.
        Err(error) => notes.push(format!("It was not checked beforehand: {error:#}")),
    }
    let whole: Whole<'_> = serde_json::from_str(text).context("the campaign cannot be read")?;

    let mut sender = Sender {
        args: &args.common,
        head: serde_json::to_string(&spec).context("a campaign is JSON")?,
        draft,
        leads: String::new(),
        places: Vec::new(),
        sent: 0,
        is_sent: false,
        refused: Refusals::default(),
    };
    let length = list.as_ref().map_or(0, |(_, length, _)| *length);
    let progress = Progress::new(args.common.json, length, "leads sent");
    let sending = async {
        for (nth, lead) in whole.leads.iter().enumerate() {
            sender.add(Place::Lead(nth), lead.get()).await?;
        }
        if let Some((file, _, format)) = list {
            let mut rows = Rows::new(BufReader::with_capacity(256 * 1024, progress.reads(file)), format);
            while let Some(row) = rows.next_row().context("the list breaks off")? {
                match row.lead {
                    Ok(lead) => sender.add(Place::Line(row.line), &lead).await?,
                    Err(why) => sender.refused.add(Place::Line(row.line), why),
                }
                progress.show(sender.sent);
            }
        }
        if sender.places.is_empty() && sender.is_sent { Ok(()) } else { sender.flush().await }
    };
    let done = sending.await;
    progress.end();
    done.with_context(|| {
        format!(
            "it broke off after {} leads. The same command goes on: what was accepted is not taken in twice",
            sender.sent
        )
    })?;
    let Sender { sent, refused, .. } = sender;
    if args.common.json {
        let told = json!({ "campaign": id, "draft": draft, "leads": sent, "refused": refused.json(), "refusedInAll": refused.count, "notes": notes });
        println!("{told:#}");
        return Ok(());
    }
    let state = if draft { ", as a draft" } else { "" };
    println!("{id}: {sent} leads sent{state}, {} refused", refused.count);
    refused.print_first();
    for note in notes {
        println!("{note}");
    }
    Ok(())
}

/// A campaign file: what it asks for, whether as a draft, and its text.
pub(crate) async fn read_campaign(what: &str) -> anyhow::Result<(Spec, bool, String)> {
    let mut text = String::new();
    let (file, _) = source::open(what).await?;
    file.take(LARGEST_FILE + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("{what} cannot be read, or is not text"))?;
    if text.len() as u64 > LARGEST_FILE {
        bail!("{what} is larger than 64 MiB: put the leads into a list and name it with --leads");
    }
    let text = text.trim_start_matches('\u{feff}').to_owned();
    match Message::parse(text.as_bytes()) {
        Ok(Message::Leads { spec, draft, .. }) => Ok((*spec, draft, text)),
        Ok(Message::Resume(_)) => bail!("{what} is no campaign: it asks to resume one"),
        Err(refused) => bail!("{what}: {refused}"),
    }
}

/// What somebody should know who sends to a campaign that is there already.
fn notes(known: &CampaignDetail, spec: &Spec) -> Vec<String> {
    let mut notes = Vec::new();
    if known.campaign != *spec {
        notes.push(
            "It was known with other settings, and those stay: `headroom campaign edit` changes them."
                .to_owned(),
        );
    }
    match known.status.state.as_str() {
        "draft" => notes.push("It is a draft: `headroom campaign start ID` starts it.".to_owned()),
        "paused" => notes.push("It is paused: `headroom campaign resume ID` dials on.".to_owned()),
        "cancelling" | "cancelled" => {
            notes.push(
                "It is cancelled: its new leads end as the others did. Begin another campaign.".to_owned(),
            );
        }
        _ => {}
    }
    notes
}

/// Where a lead comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The message's list, from 0.
    Lead(usize),
    /// The file's line, from 1.
    Line(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lead(nth) => write!(f, "lead {nth} of the campaign file"),
            Self::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// Leads that are refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    pub(crate) count: u64,
    first: Vec<(Place, String)>,
}

impl Refusals {
    pub(crate) fn add(&mut self, place: Place, why: String) {
        self.count += 1;
        if self.first.len() < MOST_REFUSED {
            self.first.push((place, why));
        }
    }

    /// Prints how many there are, if any, and the first of them.
    pub(crate) fn print(&self, what: &str) {
        if self.count > 0 {
            println!("{} {what}:", self.count);
            self.print_first();
        }
    }

    fn print_first(&self) {
        for (place, why) in self.first.iter().take(SHOWN_REFUSED) {
            println!("  {place}: {why}");
        }
        if self.count > SHOWN_REFUSED as u64 {
            println!(
                "  … and {} more; --json tells the first {MOST_REFUSED}",
                self.count - SHOWN_REFUSED as u64
            );
        }
    }

    pub(crate) fn json(&self) -> Vec<Value> {
        let told = |(place, why): &(Place, String)| match place {
            Place::Lead(nth) => json!({ "index": nth, "reason": why }),
            Place::Line(line) => json!({ "line": line, "reason": why }),
        };
        self.first.iter().map(told).collect()
    }
}

/// A campaign message in the making, sent when it is full.
struct Sender<'a> {
    args: &'a CommonArgs,
    head: String,
    draft: bool,
    /// The leads, with commas between them.
    leads: String,
    places: Vec<Place>,
    sent: u64,
    is_sent: bool,
    refused: Refusals,
}

impl Sender<'_> {
    async fn add(&mut self, place: Place, lead: &str) -> anyhow::Result<()> {
        let is_full =
            self.leads.len() + lead.len() + self.head.len() > PART - 100 || self.places.len() == LEADS;
        if is_full && !self.places.is_empty() {
            self.flush().await?;
        }
        if !self.leads.is_empty() {
            self.leads.push(',');
        }
        self.leads.push_str(lead);
        self.places.push(place);
        Ok(())
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct Answer {
            leads: u64,
            refused: Vec<BadLead>,
        }
        #[derive(Deserialize)]
        struct BadLead {
            index: usize,
            reason: String,
        }
        let draft = if self.draft { r#""draft":true,"# } else { "" };
        let message = format!(r#"{{"campaign":{},{draft}"leads":[{}]}}"#, self.head, self.leads);
        let console = &self.args.console;
        let by = self.args.by.by.as_str();
        let answer = operator::send_patiently(console, &["campaigns"], by, &message).await?;
        let Answer { leads, refused } = read(&console.url, answer)?;
        for BadLead { index, reason } in refused {
            if let Some(place) = self.places.get(index) {
                self.refused.add(*place, reason);
            }
        }
        self.sent += leads;
        self.is_sent = true;
        self.leads.clear();
        self.places.clear();
        Ok(())
    }
}

/// `campaign start ID`.
async fn start_draft(args: &StartArgs) -> anyhow::Result<()> {
    if args.leads.is_some() || args.draft {
        bail!("there is no file {}: leads and drafts need the campaign's own file", args.what);
    }
    let started = wish(&args.common, &args.what, "start", None).await;
    started.map_err(|error| match error.downcast_ref::<Refused>() {
        Some(refused) if refused.is_unknown() => {
            anyhow::anyhow!("{} is neither a file nor the id of a campaign", args.what)
        }
        _ => error,
    })
}

async fn pause(args: &PauseArgs) -> anyhow::Result<()> {
    let body = args.reason.as_ref().map(|reason| json!({ "reason": reason }));
    wish(&args.common, &args.id, "pause", body).await
}

async fn cancel(args: &IdArgs) -> anyhow::Result<()> {
    wish(&args.common, &args.id, "cancel", None).await
}

async fn rerun(args: &RerunArgs) -> anyhow::Result<()> {
    let body = (!args.outcomes.is_empty()).then(|| json!({ "outcomes": args.outcomes }));
    wish(&args.common, &args.id, "rerun", body).await
}

async fn edit(args: &EditArgs) -> anyhow::Result<()> {
    let path = ["campaigns", args.id.as_str()];
    changed(&args.common, Method::PATCH, &path, Some(args.patch())).await
}

async fn wish(args: &CommonArgs, id: &str, wish: &str, body: Option<Value>) -> anyhow::Result<()> {
    changed(args, Method::POST, &["campaigns", id, wish], body).await
}

async fn changed(
    args: &CommonArgs,
    method: Method,
    path: &[&str],
    body: Option<Value>,
) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Changed {
        id: String,
        state: String,
        act: Option<headroom::flows::campaigns::ActStatus>,
    }
    let body = body.map(|body| body.to_string());
    let by = Some(args.by.by.as_str());
    let answer = operator::send(&args.console, method, path, None, by, body).await?;
    if args.json {
        println!("{answer:#}");
        return Ok(());
    }
    let Changed { id, state, act } = read(&args.console.url, answer)?;
    match act {
        Some(act) => println!("{id} is {state} ({} by {})", act.what, act.by),
        None => println!("{id} is {state}"),
    }
    Ok(())
}

#[derive(Deserialize)]
struct All {
    campaigns: Vec<CampaignStatus>,
}

async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let CommonArgs { json, console, .. } = &args.common;
    let answer = operator::get(console, &["campaigns"], None).await?;
    if *json {
        println!("{answer:#}");
        return Ok(());
    }
    let All { campaigns } = read(&console.url, answer)?;
    if campaigns.is_empty() {
        println!("there is no campaign yet");
        return Ok(());
    }
    let mut rows: Vec<Vec<String>> = vec![
        ["campaign", "state", "leads", "waiting", "in calls", "reached", "not", "calls", "answered", "why"]
            .map(str::to_owned)
            .into(),
    ];
    for CampaignStatus { id, state, leads, kpis, reason, waiting, .. } in campaigns {
        let waits = waiting.map(|waiting| format!("{} until {}", waiting.what, why::utc(waiting.until)));
        let why: String = reason.or(waits).unwrap_or_default().chars().take(LONGEST_WHY).collect();
        let calls = leads.dialing + leads.unknown + leads.live;
        let all = leads.all();
        let figures = [all, leads.ready, calls, leads.done, leads.failed].map(|figure| figure.to_string());
        let made = kpis.as_ref().map_or(0, |kpis| kpis.attempts).to_string();
        let answered = kpi::percent(kpis.and_then(|kpis| kpis.connect_rate));
        rows.push([id, state].into_iter().chain(figures).chain([made, answered, why]).collect());
    }
    for line in aligned(&rows, &[0, 1, 9]) {
        println!("{}", line.trim_end());
    }
    Ok(())
}

async fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let CommonArgs { json, console, .. } = &args.common;
    let query = args.outcomes.then(|| "outcomes=true".to_owned());
    let answer = operator::get(console, &["campaigns", &args.id], query).await?;
    if *json {
        println!("{answer:#}");
        return Ok(());
    }
    for line in detail(&read(&console.url, answer)?) {
        println!("{line}");
    }
    Ok(())
}

/// A campaign in words.
fn detail(detail: &CampaignDetail) -> Vec<String> {
    let CampaignDetail { status, campaign, created, reruns, acts, waits, callbacks, outcomes, forecast } =
        detail;
    let CampaignStatus { id, state, reason, by, since, leads, .. } = status;
    let since = since.map(|since| format!(" since {}", why::utc(since))).unwrap_or_default();
    let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let mut lines = vec![format!("{id} is {state}{since}{by}{reason}"), String::new()];
    let calls = leads.dialing + leads.unknown + leads.live;
    let all = leads.all();
    lines.push(format!(
        "  leads     {all}: {} waiting, {calls} in calls, {} reached, {} not",
        leads.ready, leads.done, leads.failed
    ));
    lines.extend(callbacks.as_ref().map(callback::in_words));
    if let Some(kpis) = &status.kpis {
        lines.extend(kpi::lines(kpis, forecast.as_ref()));
    }
    if forecast.is_none() && state == "running" {
        lines.push("  through   not known yet".to_owned());
    }
    if let Some(waiting) = &status.waiting {
        lines.push(format!("  waiting   for its {}, until {}", waiting.what, why::utc(waiting.until)));
    }
    if let Some(waits) = waits {
        lines.push(format!("  waits     {} (rule {})", why::meaning(&waits.rule), waits.rule));
    }
    let settings = serde_json::to_value(campaign).unwrap_or_default();
    let settings = settings.as_object().into_iter().flatten().filter(|(name, _)| *name != "id");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let settings: Vec<String> = settings.map(|(name, value)| format!("{name} {}", text(value))).collect();
    lines.push(format!("  settings  {}", settings.join(", ")));
    let reruns = match reruns {
        0 => String::new(),
        1 => ", rerun once".to_owned(),
        times => format!(", rerun {times} times"),
    };
    lines.push(format!("  begun     {}{reruns}", why::utc(*created)));
    if let Some(outcomes) = outcomes {
        lines.extend([String::new(), "  outcomes".to_owned()]);
        let mut outcomes: Vec<_> = outcomes.iter().collect();
        outcomes.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), (*reason).clone()));
        lines.extend(outcomes.into_iter().map(|(reason, count)| format!("{count:>8}  {reason}")));
    }
    if !acts.is_empty() {
        lines.push(String::new());
        lines
            .extend(acts.iter().rev().map(|act| format!("  {}  {}  {}", why::utc(act.at), act.by, act.what)));
    }
    lines
}

/// Of why a campaign stands still, a list shows so many characters; `show` has all of it.
const LONGEST_WHY: usize = 60;
/// The columns of results.
const COLUMNS: [&str; 7] = ["id", "number", "outcome", "reason", "attempts", "callId", "dialedAt"];

async fn results(args: &ResultsArgs) -> anyhow::Result<()> {
    let CommonArgs { json, console, .. } = &args.common;
    let mut sheet = Sheet::begin(args.out.as_deref())?;
    if !json {
        sheet.row(&csv_line(&COLUMNS))?;
    }
    let shown: CampaignDetail =
        read(&console.url, operator::get(console, &["campaigns", &args.id], None).await?)?;
    // Rows that a person sees go by tell enough.
    let is_seen = args.out.is_none() && std::io::stdout().is_terminal();
    let progress = Progress::new(*json || is_seen, shown.status.leads.all().into(), "leads");
    let (mut after, mut count) = (None, 0);
    loop {
        let query =
            after.map_or("limit=1000".to_owned(), |after: String| format!("limit=1000&after={after}"));
        let answer = operator::get(console, &["campaigns", &args.id, "results"], Some(query)).await?;
        let Results { leads, next } = read(&console.url, answer)?;
        count += leads.len();
        progress.show_rows(count as u64);
        for lead in &leads {
            let line = if *json {
                format!("{}\n", serde_json::to_string(lead)?)
            } else {
                csv_line(&cells(lead).each_ref().map(String::as_str))
            };
            sheet.row(&line)?;
        }
        if next.is_none() {
            break;
        }
        after = next;
    }
    progress.end();
    sheet.end((!json).then(|| format!("{count} leads")))
}

fn cells(lead: &LeadResult) -> [String; 7] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        lead.id.clone(),
        lead.number.clone(),
        lead.outcome.clone(),
        or_none(&lead.reason),
        lead.attempts.to_string(),
        or_none(&lead.call_id),
        lead.dialed_at.map(|at| at.to_string()).unwrap_or_default(),
    ]
}

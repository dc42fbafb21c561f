//! `headroom campaign check`: whether a campaign can be done, how long it will take, and what bounds it. The console is
//! asked for the terms alone; the leads stay here, and are counted by when they may be called.

use std::collections::{HashMap, HashSet};
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, bail};
use headroom::core::campaign::{Message, NewLead, Spec};
use headroom::core::feasible::{Bound, Estimate, HORIZON, Odds, Question, estimate};
use headroom::core::hours::{CallingHours, Person, needs_zone, opens};
use headroom::core::ids::{LeadRef, PhoneNumber};
use headroom::core::timers::Timers;
use headroom::flows::feasible::Terms;
use headroom_local::leads::{Format, Rows};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::campaign::{Place, Refusals, read_campaign};
use crate::campaign_args::{CheckArgs, CommonArgs};
use crate::kpi::span;
use crate::lines::aligned;
use crate::progress::Progress;
use crate::{operator, source, why};

/// Leads that are read at once.
const AT_ONCE: usize = 1_000;
/// More of its term than this is tight.
const TIGHT: f64 = 0.8;
/// Days that are printed one by one.
const SHOWN_DAYS: usize = 14;
const DAY: f64 = 86_400.0;

/// Leads that may be called at the same times: one of them stands for all.
struct Group {
    number: PhoneNumber,
    timezone: Option<TimeZone>,
    leads: u64,
}

/// A list of leads, counted.
struct Counted {
    groups: Vec<Group>,
    leads: u64,
    refused: Refusals,
}

/// What a check came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    /// Why it cannot be done.
    pub(crate) refused: Option<String>,
    /// What should be looked at.
    pub(crate) warnings: Vec<String>,
    estimate: Estimate,
    terms: Terms,
    leads: u64,
}

/// `campaign check FILE`.
pub(crate) async fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let (spec, _, text) = read_campaign(&args.file).await?;
    let (verdict, refusals) =
        check(&args.common, &spec, &text, args.leads.as_deref(), args.call_seconds).await?;
    if args.common.json {
        let told = json!({ "campaign": spec.id.as_str(), "feasible": verdict.refused.is_none(), "check": verdict,
            "badLeads": refusals.json(), "badLeadsInAll": refusals.count });
        println!("{told:#}");
    } else {
        for line in report(&spec, &verdict) {
            println!("{line}");
        }
        refusals.print("leads cannot be called");
    }
    match verdict.refused {
        Some(refused) => bail!("{}: {refused}", spec.id),
        None => Ok(()),
    }
}

/// Counts the leads, asks for the terms, and reckons.
pub(crate) async fn check(
    common: &CommonArgs,
    spec: &Spec,
    text: &str,
    list: Option<&Path>,
    call_seconds: Option<f64>,
) -> anyhow::Result<(Verdict, Refusals)> {
    let console = &common.console;
    let body = Some(json!({ "campaign": spec }).to_string());
    let answer = operator::send(console, Method::POST, &["campaigns", "check"], None, None, body).await?;
    let mut terms: Terms = operator::read(&console.url, answer)?;
    if let Some(seconds) = call_seconds {
        terms.call_seconds = seconds;
        terms.rests_on.push_str("; the length of calls is as given");
    }
    let law = CallingHours::parse(&terms.hours).context("the console's hours by law cannot be read")?;
    let Counted { groups, leads, refused } = count(spec, text, list, &law, common.json).await?;
    let timers = Timers::at_speed(terms.speed);
    let numbers: Vec<u64> = groups.iter().map(|group| group.leads).collect();
    let question = Question {
        now: terms.now,
        leads: &numbers,
        retry: &spec.retry,
        odds: terms.odds.unwrap_or(Odds::ASSUMED),
        call_seconds: terms.call_seconds,
        own: terms.own,
        shared: terms.shared,
        lines: terms.lines,
        weight: spec.weight.get().into(),
        others: &terms.others,
        per_second: terms.per_second.as_ref().map(|(rate, _)| *rate),
        per_day: terms.per_day.as_ref().map(|(most, _)| *most),
        per_person: terms.per_person,
        ramp: spec.ramp.as_ref(),
        batch: spec.batch,
        timers: &timers,
    };
    let estimate = estimate(&question, |group, at| {
        let Group { number, timezone, .. } = &groups[group];
        opens(
            spec,
            &law,
            &Person { number: Some(number), timezone: timezone.as_ref(), is_promised: false },
            at,
        )
    });
    let refused_for = refusal(spec, leads, &estimate);
    let warnings = warnings(spec, &terms, leads, &estimate);
    Ok((Verdict { refused: refused_for, warnings, estimate, terms, leads }, refused))
}

/// Reads the leads of a campaign file and of a list, and counts them by when they may be called.
async fn count(
    spec: &Spec,
    text: &str,
    list: Option<&Path>,
    law: &CallingHours,
    is_quiet: bool,
) -> anyhow::Result<Counted> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow, default)]
        leads: Vec<&'a RawValue>,
    }
    let whole: Whole<'_> = serde_json::from_str(text).context("the campaign cannot be read")?;
    let head = serde_json::to_string(spec).context("a campaign is JSON")?;
    let mut counter = Counter {
        spec,
        law,
        head,
        groups: HashMap::new(),
        seen: HashSet::new(),
        batch: Vec::new(),
        counted: Counted { groups: Vec::new(), leads: 0, refused: Refusals::default() },
    };
    for (nth, lead) in whole.leads.iter().enumerate() {
        counter.add(Place::Lead(nth), lead.get().to_owned())?;
    }
    if let Some(list) = list {
        let name = list.to_string_lossy();
        let format = Format::of(&name)
            .with_context(|| format!("{name} is neither .csv nor .jsonl: its name says how it is read"))?;
        let (file, length) = source::open(&name).await?;
        let progress = Progress::new(is_quiet, length, "leads looked at");
        let mut rows = Rows::new(BufReader::with_capacity(256 * 1024, progress.reads(file)), format);
        while let Some(row) = rows.next_row().context("the list breaks off")? {
            match row.lead {
                Ok(lead) => counter.add(Place::Line(row.line), lead)?,
                Err(why) => counter.counted.refused.add(Place::Line(row.line), why),
            }
            progress.show(counter.counted.leads);
        }
        progress.end();
    }
    counter.flush()?;
    Ok(counter.counted)
}

struct Counter<'a> {
    spec: &'a Spec,
    law: &'a CallingHours,
    head: String,
    /// By the zones that they may be in and the hours that the law leaves them.
    groups: HashMap<(Vec<String>, String), usize>,
    seen: HashSet<LeadRef>,
    batch: Vec<(Place, String)>,
    counted: Counted,
}

impl Counter<'_> {
    fn add(&mut self, place: Place, lead: String) -> anyhow::Result<()> {
        self.batch.push((place, lead));
        if self.batch.len() == AT_ONCE { self.flush() } else { Ok(()) }
    }

    /// Leads are judged as where they are taken in.
    fn flush(&mut self) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let leads: Vec<&str> = batch.iter().map(|(_, lead)| lead.as_str()).collect();
        let message = format!(r#"{{"campaign":{},"leads":[{}]}}"#, self.head, leads.join(","));
        let read = Message::parse(message.as_bytes()).context("the leads cannot be read")?;
        let Message::Leads { leads, bad, .. } = read else { bail!("it is no campaign") };
        for lead in bad {
            if let Some((place, _)) = batch.get(lead.index) {
                self.counted.refused.add(*place, lead.reason);
            }
        }
        for lead in leads {
            if self.seen.insert(LeadRef::of(&lead.id)) {
                self.count(lead);
            }
        }
        Ok(())
    }

    fn count(&mut self, lead: NewLead) {
        self.counted.leads += 1;
        let person =
            Person { number: Some(&lead.number), timezone: lead.timezone.as_ref(), is_promised: false };
        let hours = self.law.hours(&lead.number).map(|hours| format!("{hours:?}")).unwrap_or_default();
        let zones = if needs_zone(self.spec, self.law, &lead.number) { person.zones() } else { Vec::new() };
        let zones = zones.iter().filter_map(|zone| zone.iana_name().map(str::to_owned)).collect();
        let groups = &mut self.counted.groups;
        let place = *self.groups.entry((zones, hours)).or_insert_with(|| {
            groups.push(Group { number: lead.number.clone(), timezone: lead.timezone.clone(), leads: 0 });
            groups.len() - 1
        });
        groups[place].leads += 1;
    }
}

/// Why it cannot be done.
fn refusal(spec: &Spec, leads: u64, estimate: &Estimate) -> Option<String> {
    let Estimate { finish, never, left, .. } = estimate;
    if leads == 0 {
        return Some("it has no lead that can be called".into());
    }
    if *never == leads {
        return Some(
            "nobody could ever be called: no hour is within its window, its term, and the law".into(),
        );
    }
    // Those who can never be called end at once; they are no reason for the others.
    if finish.is_some() || *left - *never as f64 <= 0.5 {
        return None;
    }
    let left = format!("about {left:.0} of {leads} leads");
    Some(match spec.end_at {
        Some(end) => format!("it does not fit: {left} would be left at its end, {}", why::utc(end)),
        None => format!("it does not fit: {left} would be left after {} days", HORIZON.as_hours() / 24),
    })
}

/// What should be looked at before it is started.
fn warnings(spec: &Spec, terms: &Terms, leads: u64, estimate: &Estimate) -> Vec<String> {
    let Estimate { finish, never, bounds, .. } = estimate;
    let mut warnings = Vec::new();
    if *never > 0 && *never < leads {
        warnings.push(format!(
            "{never} leads could never be called: nobody knows their clock, or it is never open for them"
        ));
    }
    let start = spec.start_at.map_or(terms.now, |start| start.max(terms.now));
    if let (Some(end), Some(finish)) = (spec.end_at, finish) {
        let used = seconds(start, *finish) / seconds(start, end).max(1.0);
        if used > TIGHT {
            warnings.push(format!("it is tight: it takes {:.0} % of its term", used * 100.0));
        }
    }
    let alone: f64 = bounds.iter().filter(|(bound, _)| *bound == Bound::Lines).map(|(_, held)| held).sum();
    if alone > DAY && terms.lines >= terms.own + terms.shared - 0.01 && spec.max_concurrency.is_none() {
        warnings.push(format!(
            "it alone would hold every line of outbound for {}: give it maxConcurrency, or others a higher priority",
            span(alone)
        ));
    }
    if f64::from(spec.max_duration_seconds) < terms.call_seconds {
        warnings.push(format!(
            "calls last {:.0} s on the average, and maxDurationSeconds cuts them off after {}",
            terms.call_seconds, spec.max_duration_seconds
        ));
    }
    if let Some(most) = spec.max_concurrency.filter(|most| f64::from(most.get()) > terms.lines + 0.01) {
        warnings
            .push(format!("it never gets its maxConcurrency of {most}: there are {:.1} for it", terms.lines));
    }
    if let Some((rate, what)) = &terms.per_second
        && rate * terms.call_seconds < terms.lines / 2.0
    {
        warnings.push(format!(
            "{rate} calls a second ({what}) keep {:.1} of its {:.1} lines busy",
            rate * terms.call_seconds,
            terms.lines
        ));
    }
    warnings
}

fn seconds(from: Timestamp, until: Timestamp) -> f64 {
    until.duration_since(from).as_secs_f64()
}

/// What bounds it, for people.
fn bound_in_words(bound: Bound, terms: &Terms) -> String {
    let rate = |rate: &Option<(f64, String)>, of: &str| {
        rate.as_ref().map_or_else(|| of.to_owned(), |(most, what)| format!("{most:.0} calls {of} ({what})"))
    };
    match bound {
        Bound::Lines => terms.lines_bound.clone(),
        Bound::Others => "other campaigns".to_owned(),
        Bound::Ramp => "its ramp".to_owned(),
        Bound::PerSecond => rate(&terms.per_second, "a second"),
        Bound::PerDay => rate(&terms.per_day, "a day"),
        Bound::Batch => "its batches".to_owned(),
        Bound::Hours => "closed hours".to_owned(),
        Bound::Retries => "retries that wait for their time".to_owned(),
    }
}

/// A verdict in words.
fn report(spec: &Spec, verdict: &Verdict) -> Vec<String> {
    let Verdict { warnings, estimate, terms, leads, .. } = verdict;
    let mut lines = vec![match estimate.finish {
        Some(finish) => format!(
            "{}: {leads} leads, about {:.0} calls, through at about {} (in {})",
            spec.id,
            estimate.calls,
            why::utc(finish),
            span(seconds(terms.now, finish))
        ),
        None => format!(
            "{}: {leads} leads, about {:.0} calls, and it does not come to its end",
            spec.id, estimate.calls
        ),
    }];
    let all: f64 = estimate.bounds.iter().map(|(_, held)| held).sum();
    let shares = estimate.bounds.iter().filter(|(_, held)| held / all >= 0.01);
    let shares: Vec<String> = shares
        .map(|(bound, held)| {
            format!("{} ({:.0} % of the time)", bound_in_words(*bound, terms), held / all * 100.0)
        })
        .collect();
    lines.push(format!(
        "  bounded by  {}",
        if shares.is_empty() { "nothing".into() } else { shares.join(", ") }
    ));
    let odds = terms.odds.unwrap_or(Odds::ASSUMED);
    lines.push(format!(
        "  assumed     {:.0} s of a line for each call, {:.0} % of them reach somebody; that rests on {}",
        terms.call_seconds,
        odds.reached * 100.0,
        terms.rests_on
    ));
    let callers = format!("{:.1} lines for callers on the average", terms.callers);
    let others: Vec<&str> = terms.others.iter().map(|other| other.id.as_str()).collect();
    let beside = if others.is_empty() { "no other campaign".to_owned() } else { others.join(", ") };
    lines.push(format!("  beside      {beside}; {callers}"));
    let mut rows = vec![["day (UTC)", "could begin", "will begin", "leads over"].map(str::to_owned).to_vec()];
    for day in estimate.days.iter().take(SHOWN_DAYS) {
        let numbers = [day.capacity, day.calls, day.over].map(|number| format!("{number:.0}"));
        rows.push(std::iter::once(day.start.strftime("%Y-%m-%d").to_string()).chain(numbers).collect());
    }
    if !estimate.days.is_empty() {
        lines.push(String::new());
        lines.extend(aligned(&rows, &[0]).iter().map(|line| format!("  {}", line.trim())));
    }
    if estimate.days.len() > SHOWN_DAYS {
        lines.push(format!("  … and {} days more", estimate.days.len() - SHOWN_DAYS));
    }
    lines.extend(warnings.iter().map(|warning| format!("Warning: {warning}.")));
    lines
}

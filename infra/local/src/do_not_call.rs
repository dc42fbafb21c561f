//! `headroom do-not-call`: the list of people who are not to be called, by whatever campaign.
//!
//! Numbers go out in bodies and come back in bodies: none is in an address, an error or a log. A file is sent piece by
//! piece; who is on the list stays on it, so after a break the same command adds what is missing.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use headroom::core::ids::{IdError, PhoneNumber};
use headroom_local::leads::csv_line;
use headroom_local::numbers::Numbers;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{ByArgs, ConsoleArgs};
use crate::operator::{self, read};
use crate::progress::Progress;
use crate::sheet::Sheet;
use crate::why::utc;

/// What may be done with the list.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DoNotCallCommand {
    /// Put people on the list. Who waits to be called ends as do_not_call; calls go on.
    Add(PeopleArgs),
    /// Take people off the list.
    Remove(PeopleArgs),
    /// Say whether people are on the list, and since when.
    Check(CheckArgs),
    /// Write the list, as CSV.
    List(ListArgs),
    /// Print who changed the list, the newest first: never for whom.
    Changes(ChangesArgs),
}

/// The flags of `do-not-call add` and `remove`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PeopleArgs {
    /// Their numbers, such as +14155550100.
    #[arg(value_name = "NUMBER", required_unless_present = "file", conflicts_with = "file")]
    numbers: Vec<String>,
    /// A file of them: one on each line, or CSV with a column called number.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// JSON, for scripts.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    by: ByArgs,
    #[command(flatten)]
    console: ConsoleArgs,
}

/// The flags of `do-not-call check`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    /// Their numbers.
    #[arg(value_name = "NUMBER", required = true)]
    numbers: Vec<String>,
    /// JSON, for scripts.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    console: ConsoleArgs,
}

/// The flags of `do-not-call list`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// Where to [default: here]. With --json, JSON Lines.
    #[arg(long, value_name = "FILE.csv")]
    out: Option<PathBuf>,
    /// JSON, for scripts.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    console: ConsoleArgs,
}

/// The flags of `do-not-call changes`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChangesArgs {
    /// JSON, for scripts.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    console: ConsoleArgs,
}

/// Numbers sent at once.
const PIECE: usize = 500;
/// Bad rows that are remembered, and those printed for people.
const MOST_REFUSED: usize = 1_000;
const SHOWN_REFUSED: usize = 20;

/// Does what was typed.
pub(crate) async fn run(command: &DoNotCallCommand) -> anyhow::Result<()> {
    match command {
        DoNotCallCommand::Add(args) => change(args, &["do-not-call"], ("added", "on the list already")).await,
        DoNotCallCommand::Remove(args) => {
            change(args, &["do-not-call", "remove"], ("removed", "not on the list")).await
        }
        DoNotCallCommand::Check(args) => check(args).await,
        DoNotCallCommand::List(args) => list(args).await,
        DoNotCallCommand::Changes(args) => changes(args).await,
    }
}

/// Where a number comes from.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// The command line, from 1.
    Argument(u64),
    /// The file's line, from 1.
    Line(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(nth) => write!(f, "number {nth}"),
            Self::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// A list on its way.
struct Sender<'a> {
    args: &'a PeopleArgs,
    path: &'a [&'a str],
    piece: Vec<PhoneNumber>,
    places: Vec<Place>,
    sent: u64,
    changed: u64,
    refused: u64,
    /// The first of those refused.
    first: Vec<(Place, String)>,
}

impl Sender<'_> {
    async fn add(&mut self, place: Place, number: Result<PhoneNumber, String>) -> anyhow::Result<()> {
        match number {
            Ok(number) => {
                self.piece.push(number);
                self.places.push(place);
            }
            Err(why) => self.refuse(place, why),
        }
        if self.piece.len() == PIECE { self.flush().await } else { Ok(()) }
    }

    fn refuse(&mut self, place: Place, why: String) {
        self.refused += 1;
        if self.first.len() < MOST_REFUSED {
            self.first.push((place, why));
        }
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct Answer {
            changed: u64,
            refused: Vec<Bad>,
        }
        #[derive(Deserialize)]
        struct Bad {
            index: usize,
            reason: String,
        }
        if self.piece.is_empty() {
            return Ok(());
        }
        let console = &self.args.console;
        let numbers: Vec<&str> = self.piece.iter().map(PhoneNumber::reveal).collect();
        let body = json!({ "numbers": numbers }).to_string();
        let answer = operator::send_patiently(console, self.path, &self.args.by.by, &body).await?;
        let Answer { changed, refused } = read(&console.url, answer)?;
        self.sent += (self.piece.len() - refused.len().min(self.piece.len())) as u64;
        self.changed += changed;
        let places = std::mem::take(&mut self.places);
        for Bad { index, reason } in refused {
            if let Some(place) = places.get(index) {
                self.refuse(*place, reason);
            }
        }
        self.piece.clear();
        Ok(())
    }
}

async fn change(args: &PeopleArgs, path: &[&str], (done, already): (&str, &str)) -> anyhow::Result<()> {
    let mut sender = Sender {
        args,
        path,
        piece: Vec::new(),
        places: Vec::new(),
        sent: 0,
        changed: 0,
        refused: 0,
        first: Vec::new(),
    };
    match &args.file {
        None => {
            for (nth, number) in (1..).zip(&args.numbers) {
                let number = number.parse().map_err(|error: IdError| error.to_string());
                sender.add(Place::Argument(nth), number).await?;
            }
            sender.flush().await?;
        }
        Some(file) => {
            let opened = File::open(file).with_context(|| format!("{} cannot be opened", file.display()))?;
            let length = opened.metadata().map(|data| data.len()).unwrap_or_default();
            let progress = Progress::new(args.json, length, "numbers sent");
            let sending = async {
                let source = BufReader::with_capacity(64 * 1024, progress.reads(opened));
                let mut numbers = Numbers::new(source)?;
                while let Some((line, number)) = numbers.next_number().context("the list breaks off")? {
                    sender.add(Place::Line(line), number).await?;
                    progress.show(sender.sent);
                }
                sender.flush().await
            };
            let sent = sending.await;
            progress.end();
            sent.with_context(|| {
                format!("it broke off after {} numbers; the same command goes on", sender.sent)
            })?;
        }
    }
    let Sender { sent, changed, refused, first, .. } = sender;
    if args.json {
        let bad = |(place, why): &(Place, String)| match place {
            Place::Argument(nth) => json!({ "number": nth, "reason": why }),
            Place::Line(line) => json!({ "line": line, "reason": why }),
        };
        let bad: Vec<Value> = first.iter().map(bad).collect();
        println!(
            "{:#}",
            json!({ done: changed, "unchanged": sent - changed, "refused": bad, "refusedInAll": refused })
        );
    } else {
        println!("{changed} {done}, {} {already}, {refused} refused", sent - changed);
        for (place, why) in first.iter().take(SHOWN_REFUSED) {
            println!("  {place}: {why}");
        }
        if refused > SHOWN_REFUSED as u64 {
            println!(
                "  … and {} more; --json tells the first {MOST_REFUSED}",
                refused - SHOWN_REFUSED as u64
            );
        }
    }
    // A script that adds one number wants to know that it was none.
    if sent == 0 && refused > 0 {
        bail!("there was no number that could be used");
    }
    Ok(())
}

async fn check(args: &CheckArgs) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Answer {
        people: Vec<Listed>,
    }
    #[derive(Deserialize)]
    struct Listed {
        listed: bool,
        since: Option<Timestamp>,
        by: Option<String>,
    }
    let body = json!({ "numbers": args.numbers }).to_string();
    // It changes nothing; a number in an address would be in the logs of whatever stands between.
    let answer = operator::send_patiently(&args.console, &["do-not-call", "check"], "", &body).await?;
    if args.json {
        println!("{answer:#}");
        return Ok(());
    }
    let Answer { people } = read(&args.console.url, answer)?;
    let is_one = people.len() == 1;
    for (nth, Listed { listed, since, by }) in (1..).zip(people) {
        let who = if is_one { String::new() } else { format!("number {nth} ") };
        let since = since.map(|since| format!(" since {}", utc(since))).unwrap_or_default();
        let by = by.map(|by| format!(", by {by}")).unwrap_or_default();
        let is = if listed { "on the list" } else { "not on the list" };
        println!("{who}{is}{since}{by}");
    }
    Ok(())
}

#[derive(Deserialize)]
struct Page {
    people: Vec<Value>,
    next: Option<String>,
}

async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let mut sheet = Sheet::begin(args.out.as_deref())?;
    if !args.json {
        sheet.row(&csv_line(&["number", "since", "by"]))?;
    }
    let (mut after, mut count) = (None::<String>, 0);
    loop {
        let body = after.map_or_else(|| json!({}), |after| json!({ "after": after })).to_string();
        let answer = operator::send_patiently(&args.console, &["do-not-call", "list"], "", &body).await?;
        let Page { people, next } = read(&args.console.url, answer)?;
        count += people.len();
        for person in &people {
            let cell = |name: &str| person[name].as_str().unwrap_or_default();
            let line = if args.json {
                format!("{person}\n")
            } else {
                csv_line(&[cell("number"), cell("since"), cell("by")])
            };
            sheet.row(&line)?;
        }
        if next.is_none() {
            break;
        }
        after = next;
    }
    sheet.end((!args.json).then(|| format!("{count} people")))
}

async fn changes(args: &ChangesArgs) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Answer {
        changes: Vec<Change>,
    }
    #[derive(Deserialize)]
    struct Change {
        at: Timestamp,
        by: String,
        what: String,
        named: u32,
        changed: Option<u32>,
    }
    let answer = operator::get(&args.console, &["do-not-call"], None).await?;
    if args.json {
        println!("{answer:#}");
        return Ok(());
    }
    let Answer { changes } = read(&args.console.url, answer)?;
    if changes.is_empty() {
        println!("nobody has changed the list yet");
    }
    for Change { at, by, what, named, changed } in changes {
        let changed = changed.map_or("some".to_owned(), |changed| changed.to_string());
        let done = if what == "add" { "added" } else { "removed" };
        println!("{}  {by}  {changed} of {named} {done}", utc(at));
    }
    Ok(())
}

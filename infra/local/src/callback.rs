//! `headroom campaign callback`: a call that somebody is promised, and the figures of all of them.

use headroom::flows::callbacks::CallbackFigures;
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::campaign_args::{CallbackArgs, CommonArgs};
use crate::operator::{self, read};
use crate::why;

/// `headroom campaign callback CAMPAIGN LEAD AT`.
pub(crate) async fn promise(args: &CallbackArgs) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Promised {
        at: Timestamp,
        clock: String,
        moved: bool,
        known: bool,
    }
    let CommonArgs { json, by, console } = &args.common;
    let body = json!({ "lead": args.lead, "at": args.at }).to_string();
    let path = ["campaigns", args.id.as_str(), "callbacks"];
    let answer = operator::send(console, Method::POST, &path, None, Some(by.by.as_str()), Some(body)).await?;
    if *json {
        println!("{answer:#}");
        return Ok(());
    }
    let Promised { at, clock, moved, known } = read(&console.url, answer)?;
    let known = if known { ", as it was already" } else { "" };
    println!("promised for {clock} on their clock ({}){known}", why::utc(at));
    if moved {
        println!("it is the first time after the one asked for at which they may be called");
    }
    Ok(())
}

/// A campaign's callbacks in a line.
pub(crate) fn in_words(figures: &CallbackFigures) -> String {
    let CallbackFigures { promised, kept, missed, waiting } = figures;
    format!("  callbacks {promised} promised: {kept} kept, {missed} missed, {waiting} still to come")
}

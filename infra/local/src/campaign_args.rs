//! The command line of `headroom campaign`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::args::{ByArgs, ConsoleArgs};

/// What may be done with campaigns.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum CampaignCommand {
    /// Begin a campaign, send more leads to one, or start one that is a draft.
    Start(StartArgs),
    /// Say how long a campaign would take, what bounds it, and whether it fits. Nobody is called.
    Check(CheckArgs),
    /// Show all campaigns, in the order in which they are served.
    List(ListArgs),
    /// Show one: its state and why, its figures, its settings, and who did what.
    Show(ShowArgs),
    /// Dial no more until it is resumed. Calls go on.
    Pause(PauseArgs),
    /// Dial on.
    Resume(IdArgs),
    /// Dial no more, ever: each lead that is not in a call ends now. Calls go on.
    Cancel(IdArgs),
    /// Change settings, for the calls to come.
    Edit(EditArgs),
    /// Call those again who were not reached, with fresh attempts.
    Rerun(RerunArgs),
    /// Write what became of each lead, as CSV.
    Results(ResultsArgs),
    /// Promise a lead a call at a time of theirs.
    Callback(CallbackArgs),
}

/// Which campaign, who asks, and how the answer is to be printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct IdArgs {
    /// Its id.
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What all of them take.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommonArgs {
    /// JSON, for scripts.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) by: ByArgs,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The flags of `campaign start`.
#[derive(Debug, Clone, Args)]
pub(crate) struct StartArgs {
    /// The campaign message, with or without leads; or the id of a draft. A file, or s3://BUCKET/KEY.
    #[arg(value_name = "FILE|ID")]
    pub(crate) what: String,
    /// Its leads: a CSV file whose first line names the columns, or JSON Lines. `number`, `id`, `name`, `timezone` and
    /// `priority` are known by name; any other column becomes a variable. Or s3://BUCKET/KEY, read with your AWS
    /// credentials.
    #[arg(long, value_name = "FILE.csv|FILE.jsonl")]
    pub(crate) leads: Option<PathBuf>,
    /// Take the leads in and dial nobody before it is started.
    #[arg(long)]
    pub(crate) draft: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// The flags of `campaign check`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    /// The campaign message, with or without leads: a file, or an object in S3.
    #[arg(value_name = "FILE|s3://BUCKET/KEY")]
    pub(crate) file: String,
    /// Its leads, as for `campaign start`. They stay here: only the campaign's settings are sent.
    #[arg(long, value_name = "FILE.csv|FILE.jsonl")]
    pub(crate) leads: Option<PathBuf>,
    /// How long a call holds its line on the average [default: as of late, else two minutes].
    #[arg(long, value_name = "N", value_parser = call_seconds)]
    pub(crate) call_seconds: Option<f64>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

fn call_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.01..=43_200.0).contains(seconds));
    seconds.ok_or_else(|| "seconds, more than 0 and up to 43200".to_owned())
}

/// The flags of `campaign list`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// The flags of `campaign show`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ShowArgs {
    /// Its id.
    pub(crate) id: String,
    /// Count its leads by reason, too: all of them are read.
    #[arg(long)]
    pub(crate) outcomes: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// The flags of `campaign pause`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PauseArgs {
    /// Its id.
    pub(crate) id: String,
    /// Why, for those who find it paused.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// The flags of `campaign edit`.
#[derive(Debug, Clone, Args)]
pub(crate) struct EditArgs {
    /// Its id.
    pub(crate) id: String,
    /// A setting as the campaign message spells it, such as maxConcurrency=20, retry.maxAttempts=5 or
    /// window.start=10:00; none takes it away. The value may be JSON.
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<(String, Value)>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// The flags of `campaign rerun`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RerunArgs {
    /// Its id.
    pub(crate) id: String,
    /// Only those who ended so: no-answer, busy, voicemail, setup, no-line, window, unknown, cancelled; may be
    /// repeated [default: all of these but cancelled].
    #[arg(long = "outcome", value_name = "OUTCOME")]
    pub(crate) outcomes: Vec<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// The flags of `campaign results`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ResultsArgs {
    /// Its id.
    pub(crate) id: String,
    /// Where to [default: here]. With --json, JSON Lines.
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What `campaign callback` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct CallbackArgs {
    /// The campaign's id.
    #[arg(value_name = "CAMPAIGN")]
    pub(crate) id: String,
    /// The lead's id: its number, if it was given none.
    pub(crate) lead: String,
    /// When, such as 2026-05-04T17:00 on the lead's own clock, or 2026-05-04T17:00:00+02:00.
    pub(crate) at: String,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

fn setting(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("say it as KEY=VALUE, such as maxConcurrency=20")?;
    if key.split('.').any(str::is_empty) {
        return Err("say it as KEY=VALUE, such as retry.maxAttempts=5".to_owned());
    }
    let value = match value {
        "none" => Value::Null,
        // Numbers, lists and objects are JSON; all else is text.
        text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    };
    Ok((key.to_owned(), value))
}

impl EditArgs {
    /// The settings as a JSON merge patch: what has a dot in it goes into an object.
    pub(crate) fn patch(&self) -> Value {
        let mut patch = Value::Object(Map::new());
        for (key, value) in &self.settings {
            let mut at = &mut patch;
            for part in key.split('.') {
                if !at.is_object() {
                    *at = Value::Object(Map::new());
                }
                at = &mut at[part];
            }
            *at = value.clone();
        }
        patch
    }
}

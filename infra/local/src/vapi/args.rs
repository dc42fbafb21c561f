//! The command line of `headroom vapi`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use headroom::config::Keys;
use headroom::vapi::Secret;
use reqwest::Url;

/// What may be done with a Vapi account.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum VapiCommand {
    /// Show what numbers, assistants and tools need so that Headroom hears of every call and answers callers; set it
    /// with --apply.
    Connect(Box<ConnectArgs>),
    /// Take back what `connect` has set.
    Disconnect(DisconnectArgs),
}

/// Which account.
#[derive(Debug, Clone, Args)]
pub(crate) struct AccessArgs {
    /// Vapi's address.
    #[arg(long, env = "HEADROOM_VAPI_URL", default_value = headroom::config::VAPI)]
    pub(crate) vapi_url: String,
    /// Vapi's private key, and after it NAME=KEY for each further organisation, separated by commas. Others on this
    /// machine see what is on a command line: better the variable, or a file.
    #[arg(long, env = "HEADROOM_VAPI_KEY", hide_env_values = true)]
    vapi_key: Option<String>,
    /// A file with that key; goes before the variable.
    #[arg(long, value_name = "FILE")]
    vapi_key_file: Option<PathBuf>,
}

/// The flags of `vapi connect`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Headroom's webhook, as Vapi reaches it: the WebhookUrl of a deployed stack, or https://HOST/vapi.
    #[arg(long)]
    pub(crate) url: Url,
    /// The webhook's secret; of several, separated by commas, the first is used.
    #[arg(long, env = "HEADROOM_WEBHOOK_SECRETS", hide_env_values = true)]
    webhook_secret: Option<String>,
    /// A file with that secret; goes before the variable.
    #[arg(long, value_name = "FILE")]
    webhook_secret_file: Option<PathBuf>,
    /// Set what is shown, after asking.
    #[arg(long)]
    pub(crate) apply: bool,
    /// Do not ask.
    #[arg(long, requires = "apply")]
    pub(crate) yes: bool,
    /// Let this number's callers be asked of Headroom: takes its assistant off the number, which Headroom must know
    /// to answer with (HEADROOM_INBOUND_ASSISTANTS). May be repeated.
    #[arg(long = "gate", value_name = "PHONE_NUMBER_ID")]
    pub(crate) gate: Vec<String>,
    /// Point this number, assistant, tool or organisation to Headroom although another server hears of it now. May be
    /// repeated.
    #[arg(long = "take", value_name = "ID")]
    pub(crate) take: Vec<String>,
    /// A credential that was made by hand; without it, one that signs (HMAC) is made.
    #[arg(long, value_name = "CREDENTIAL_ID")]
    pub(crate) credential: Option<String>,
    /// Where what was before is kept [default: headroom-vapi-TIME.json, here].
    #[arg(long, value_name = "FILE")]
    pub(crate) backup: Option<PathBuf>,
    /// Send no test messages first: for a webhook that only Vapi reaches.
    #[arg(long)]
    pub(crate) skip_test: bool,
    /// JSON, for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The flags of `vapi disconnect`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DisconnectArgs {
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// What `connect` has written.
    #[arg(long, value_name = "FILE")]
    pub(crate) backup: PathBuf,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Restore what somebody has changed since, too.
    #[arg(long)]
    pub(crate) force: bool,
    /// JSON, for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

impl AccessArgs {
    /// The keys, the first organisation's first.
    pub(crate) fn keys(&self) -> anyhow::Result<Vec<(String, Secret)>> {
        let text = given(self.vapi_key.as_deref(), self.vapi_key_file.as_ref())?
            .context("no key: give HEADROOM_VAPI_KEY or --vapi-key-file, Vapi's private key")?;
        let Keys { main, others } = Keys::parse(&text)?;
        let mut others: Vec<_> = others.into_iter().map(|(name, key)| (name.to_string(), key)).collect();
        others.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(std::iter::once(("main".to_owned(), main)).chain(others).collect())
    }
}

impl ConnectArgs {
    /// The secret that is to sign.
    pub(crate) fn secret(&self) -> anyhow::Result<Secret> {
        let text = given(self.webhook_secret.as_deref(), self.webhook_secret_file.as_ref())?;
        let first =
            text.as_deref().and_then(|text| text.split([',', '\n']).map(str::trim).find(|s| !s.is_empty()));
        Ok(Secret::new(first.context("no secret: give HEADROOM_WEBHOOK_SECRETS or --webhook-secret-file")?))
    }
}

/// What a file holds, or else what was given in another way.
fn given(text: Option<&str>, file: Option<&PathBuf>) -> anyhow::Result<Option<String>> {
    match file {
        Some(file) => {
            let read = std::fs::read_to_string(file);
            Ok(Some(read.with_context(|| format!("{} cannot be read", file.display()))?))
        }
        None => Ok(text.map(str::to_owned)),
    }
}

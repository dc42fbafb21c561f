//! `headroom vapi`: sets up a Vapi account for Headroom, and takes it back.
//!
//! `connect` reads, shows and, with consent, changes: first the webhook is tried, then the credential made, then what was
//! before written to disk, then one object after the other changed. Each is read again just before, and left alone if it is
//! not as it was shown. Vapi has no condition on a change: what somebody does to the same member between that read and the
//! change is lost, which is milliseconds.
//!
//! | dies after | what is left | the next `connect` |
//! |---|---|---|
//! | the credential was made | one that nothing refers to | finds it by its name |
//! | the file was written | a file of changes that were not made | makes them; `disconnect` finds them as before |
//! | some objects were changed | the others as before | changes the others; the same `--backup` is gone on with |
//!
//! The credential's name holds a fingerprint of the secret, since Vapi does not show the secret itself: another secret
//! is another credential. None is ever changed, and only the one that was made here is deleted, once it is seen that nothing
//! refers to it.

pub(crate) mod account;
pub(crate) mod args;
mod backup;
mod plan;
mod print;
mod probe;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use headroom::flows::{Clock as _, SystemClock};
use headroom::vapi::Secret;
use reqwest::Url;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use account::{Account, ApiError, Client, Kind, Object};
use args::{AccessArgs, ConnectArgs, DisconnectArgs, VapiCommand};
use backup::{Backup, Changed, Organization};
use plan::{Change, Plan, Wanted, change, is_here, members, plan};

/// Stands for the credential until it is made.
const NEW: &str = "a new one";

/// Runs a command; whether all was done, or could be.
pub(crate) async fn run(command: &VapiCommand) -> anyhow::Result<bool> {
    match command {
        VapiCommand::Connect(args) => connect(args).await,
        VapiCommand::Disconnect(args) => disconnect(args).await,
    }
}

/// One organisation, as it was read, and what is to be changed in it.
struct Reading {
    client: Client,
    account: Account,
    /// The credential that is used; nothing while it is to be made.
    credential: Option<String>,
    plan: Plan,
}

async fn connect(args: &ConnectArgs) -> anyhow::Result<bool> {
    check_url(&args.url)?;
    let secret = args.secret()?;
    let name = credential_name(&secret);
    let mut readings = Vec::new();
    for client in clients(&args.access)? {
        let account = client.read_all().await.map_err(|error| of(&client, error))?;
        let credential = match &args.credential {
            Some(id) => Some(id.clone()),
            None => find_credential(&account, &name),
        };
        let wanted = wanted(args, credential.as_deref().unwrap_or(NEW));
        let plan = plan(&account, &wanted);
        readings.push(Reading { client, account, credential, plan });
    }
    check_ids(args, &readings)?;
    let test = match args.skip_test {
        true => None,
        false => Some(probe::run(&args.url, &secret, SystemClock.now()).await),
    };
    let is_reached = !matches!(test, Some(Err(_)));
    let to_do: usize = readings.iter().map(|reading| reading.plan.changes.len()).sum();
    let mut report = json!({ "test": test_json(test.as_ref()), "organizations": [] });
    for reading in &readings {
        let Reading { client, account, credential, plan } = reading;
        let mut shown = print::plan_json(plan);
        shown["key"] = json!(client.name);
        shown["orgId"] = json!(account.org_id());
        shown["credential"] = json!(credential);
        report["organizations"].as_array_mut().expect("it was made a list").push(shown);
    }
    if !args.json {
        readings.iter().for_each(show);
        show_test(args, test.as_ref());
    }
    let mut failures = Vec::new();
    let mut file = None;
    if to_do > 0 && args.apply {
        if !is_reached {
            finish(args.json, report);
            bail!(
                "nothing was changed: Vapi would speak to a webhook that does not answer (--skip-test changes it all the same)"
            );
        }
        if !args.yes {
            anyhow::ensure!(!args.json, "--json shows nothing before it is done: add --yes");
            consent(&format!("Change {}?", things(to_do)))?;
        }
        let path = args.backup.clone().unwrap_or_else(default_backup);
        failures = apply(args, &name, &secret, readings, &path).await?;
        file = Some(path);
    }
    let file = file.map(|path| path.display().to_string());
    report["applied"] = json!(file.is_some());
    report["backup"] = json!(file);
    report["failures"] = json!(failures);
    if args.json {
        finish(true, report);
    } else {
        let done = to_do - failures.len().min(to_do);
        match &file {
            Some(file) => println!(
                "{} changed. `headroom vapi disconnect --backup {file}` takes it back.",
                things(done)
            ),
            None if to_do == 0 => println!("Nothing is to be changed."),
            None => println!("Nothing was changed; with --apply, {}.", things(to_do)),
        }
        failures.iter().for_each(|failure| println!("  not: {failure}"));
    }
    Ok(is_reached && failures.is_empty())
}

fn clients(access: &AccessArgs) -> anyhow::Result<Vec<Client>> {
    let keys = access.keys()?.into_iter();
    Ok(keys.map(|(name, key)| Client::new(&access.vapi_url, &name, &key)).collect::<Result<_, _>>()?)
}

fn of(client: &Client, error: ApiError) -> anyhow::Error {
    // Which key is not taken is in the error's own words.
    if matches!(error, ApiError::Key(_)) || client.name == "main" {
        return error.into();
    }
    anyhow::Error::from(error).context(format!("organisation {}", client.name))
}

fn wanted<'a>(args: &'a ConnectArgs, credential: &'a str) -> Wanted<'a> {
    Wanted { url: &args.url, credential, take: &args.take, gate: &args.gate }
}

fn check_url(url: &Url) -> anyhow::Result<()> {
    let host = url.host_str().unwrap_or_default();
    let is_local = matches!(host, "localhost" | "[::1]") || host.starts_with("127.");
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_local => Ok(()),
        "http" => bail!("--url: Vapi's messages hold people's numbers and words: give https://…"),
        _ => bail!("--url: give Headroom's webhook as https://HOST/vapi"),
    }
}

/// An id that is misspelt would otherwise change nothing, and say nothing.
fn check_ids(args: &ConnectArgs, readings: &[Reading]) -> anyhow::Result<()> {
    let is_known = |id: &String, may_be: fn(Kind) -> bool| {
        let mut all = readings.iter().flat_map(|reading| reading.account.all());
        all.any(|object| object.id == *id && may_be(object.kind))
    };
    if let Some(id) = args.gate.iter().find(|id| !is_known(id, |kind| kind == Kind::PhoneNumber)) {
        bail!("--gate {id}: no phone number of these organisations has this id");
    }
    if let Some(id) = args.take.iter().find(|id| !is_known(id, |kind| kind != Kind::Squad)) {
        bail!(
            "--take {id}: no number, assistant, tool or organisation has this id (squads are changed in the dashboard)"
        );
    }
    Ok(())
}

/// Not the secret, nor what it could be found from by anybody but who already sees it at Vapi.
fn credential_name(secret: &Secret) -> String {
    let fingerprint = Sha256::digest(format!("headroom webhook credential\0{}", secret.reveal()));
    format!("headroom hmac {}", &hex::encode(fingerprint)[..12])
}

/// The credential of this name; of several, the oldest, so that every run finds the same.
fn find_credential(account: &Account, name: &str) -> Option<String> {
    let named = |credential: &&Object| credential.value.get("name").and_then(Value::as_str) == Some(name);
    let created = |credential: &&Object| credential.value.get("createdAt").map(Value::to_string);
    let found = account.credentials.iter().flatten().filter(named);
    found.min_by_key(|credential| (created(credential), credential.id.clone())).map(|found| found.id.clone())
}

/// Makes the credential, or finds it where the answer to its making was lost.
async fn make_credential(client: &Client, name: &str, secret: &Secret) -> anyhow::Result<String> {
    // All of it is Vapi's default, and said, so that a changed default changes nothing.
    let plan = json!({
        "type": "hmac", "secretKey": secret.reveal(), "algorithm": "sha256", "includeTimestamp": true,
        "signatureHeader": "x-signature", "timestampHeader": "x-timestamp", "payloadFormat": "{timestamp}.{body}",
        "signatureEncoding": "hex",
    });
    let body = json!({ "provider": "custom-credential", "name": name, "authenticationPlan": plan });
    match client.make_credential(&body).await {
        Ok(made) => Ok(made.id),
        Err(error @ ApiError::Down { .. }) => {
            let credentials = Some(client.list(Kind::Credential).await.map_err(|error| of(client, error))?);
            let found = find_credential(&Account { credentials, ..Account::default() }, name);
            found.ok_or(error).map_err(|error| of(client, error))
        }
        Err(error) => Err(of(client, error)).context(
            "the credential could not be made: make a Custom Credential in the dashboard (HMAC, sha256, the webhook's \
             secret) and give its id with --credential",
        ),
    }
}

/// Makes the changes; what could not be made, in words. An error if Vapi is not there to go on.
async fn apply(
    args: &ConnectArgs,
    name: &str,
    secret: &Secret,
    readings: Vec<Reading>,
    path: &Path,
) -> anyhow::Result<Vec<String>> {
    let mut backup = Backup::open(path, &args.access.vapi_url, args.url.as_str())?;
    let mut ready = Vec::new();
    for Reading { client, account, credential, plan: shown } in readings {
        if shown.changes.is_empty() {
            continue;
        }
        let credential = match credential {
            Some(credential) => credential,
            None => make_credential(&client, name, secret).await?,
        };
        let made = args.credential.is_none().then_some(credential.as_str());
        let known = plan(&account, &wanted(args, &credential));
        backup.add(&client.name, made, &known.changes);
        ready.push((client, account, credential, known));
    }
    backup.write(path)?;
    if backup.has_secrets() {
        let kept = path.display();
        let _ = writeln!(
            std::io::stderr(),
            "{kept} holds headers or URLs of other servers, which may be secret: keep it so"
        );
    }
    let mut failures = Vec::new();
    for (client, account, credential, known) in &ready {
        for shown in &known.changes {
            match make(client, account, &wanted(args, credential), shown).await {
                Ok(Made::Now(after)) => {
                    backup.settle(&client.name, shown, after);
                    backup.write(path)?;
                }
                Ok(Made::Before) => {}
                Ok(Made::Not(why)) => failures.push(format!("{} {}: {why}", shown.kind, shown.label)),
                Err(error @ (ApiError::Refused { .. } | ApiError::Unknown(_) | ApiError::Forbidden(_))) => {
                    failures.push(format!("{} {}: {error}", shown.kind, shown.label));
                }
                Err(error) => {
                    let text = format!(
                        "what was changed stays so, and {} has what was before: run the same command again to go on",
                        path.display()
                    );
                    return Err(of(client, error)).context(text);
                }
            }
        }
    }
    Ok(failures)
}

/// What came of a change.
enum Made {
    /// It was made; the members as they are now.
    Now(Map<String, Value>),
    /// It was so already.
    Before,
    /// It was not made, and why.
    Not(String),
}

async fn make(
    client: &Client,
    account: &Account,
    wanted: &Wanted<'_>,
    shown: &Change,
) -> Result<Made, ApiError> {
    let object = client.read(shown.kind, &shown.id).await?;
    let changed_since = || Made::Not("somebody has changed it since it was shown: look again".to_owned());
    let Some(change) = change(account, &object, wanted) else {
        // Nothing to do any more: it is done, or it became another server's.
        return Ok(if is_here(&object, wanted) { Made::Before } else { changed_since() });
    };
    if change.before != members(&object.value, shown.before.keys()) || change.before != shown.before {
        return Ok(changed_since());
    }
    let changed = client.change(&object, &change.after).await?;
    let now = members(&changed.value, change.after.keys());
    let id =
        |members: &Map<String, Value>| members.get("server").map(|server| server["credentialId"].clone());
    let is_kept = |name: &String| now.get(name).is_some_and(|value| !value.is_null());
    let keeps = change.after.iter().any(|(name, value)| value.is_null() && is_kept(name));
    if keeps || id(&now) != id(&change.after) {
        return Ok(Made::Not("Vapi took the change, but does not show it".to_owned()));
    }
    Ok(Made::Now(now))
}

fn default_backup() -> PathBuf {
    format!("headroom-vapi-{}.json", SystemClock.now().strftime("%Y%m%dT%H%M%SZ")).into()
}

async fn disconnect(args: &DisconnectArgs) -> anyhow::Result<bool> {
    let backup = Backup::read(&args.backup)?;
    if backup.vapi != args.access.vapi_url {
        bail!("{} is of the Vapi at {}: give --vapi-url", args.backup.display(), backup.vapi);
    }
    let clients = clients(&args.access)?;
    let mut found = Vec::new();
    for organization in &backup.organizations {
        let client = clients.iter().find(|client| client.name == organization.key);
        let client = client
            .with_context(|| format!("there is no key of {}: it was changed, too", organization.key))?;
        let mut states = Vec::new();
        for changed in &organization.changes {
            states.push((
                changed,
                state(client, changed, args.force).await.map_err(|error| of(client, error))?,
            ));
        }
        found.push((client, organization, states));
    }
    let all = || found.iter().flat_map(|(_, _, states)| states);
    if all().all(|(_, state)| state.object.is_none()) {
        bail!("nothing of it is there any more: is this the key of that organisation?");
    }
    if !args.json {
        all().for_each(|(changed, state)| show_state(changed, state));
    }
    let to_do = all().filter(|(_, state)| !state.restores.is_empty()).count();
    let may = to_do == 0 || args.yes || !args.json && std::io::stdin().is_terminal();
    if to_do > 0 && may && !args.yes {
        consent(&format!("Restore {}?", things(to_do)))?;
    }
    let (mut failures, mut notes): (Vec<String>, Vec<String>) = Default::default();
    let mut restored = 0;
    for (client, organization, states) in &found {
        for (changed, state) in states.iter().filter(|(_, state)| may && !state.restores.is_empty()) {
            let object = state.object.as_ref().context("what is restored was found")?;
            match client.change(object, &state.restores).await {
                Ok(_) => restored += 1,
                Err(error @ (ApiError::Refused { .. } | ApiError::Unknown(_) | ApiError::Forbidden(_))) => {
                    failures.push(format!("{} {}: {error}", changed.kind, changed.label));
                }
                Err(error) => {
                    return Err(of(client, error)).context("run the same command again to go on");
                }
            }
        }
        if may && failures.is_empty() {
            notes.extend(forget_credential(client, organization).await?);
        }
    }
    let changed_since = all().filter(|(_, state)| !state.changed_since.is_empty()).count();
    if args.json {
        let objects: Vec<_> = all().map(|(changed, state)| state_json(changed, state)).collect();
        finish(
            true,
            json!({ "objects": objects, "applied": may, "restored": restored, "failures": failures, "notes": notes }),
        );
    } else {
        match may {
            true => println!("{} restored.", things(restored)),
            false => println!("Nothing was restored: --yes does it without a terminal to ask on."),
        }
        notes.iter().for_each(|note| println!("{note}"));
        failures.iter().for_each(|failure| println!("  not: {failure}"));
    }
    Ok(failures.is_empty() && changed_since == 0 && may)
}

/// What has become of an object since it was changed.
struct State {
    /// As it is now; nothing if it is gone.
    object: Option<Object>,
    /// Members to be restored, as they were.
    restores: Map<String, Value>,
    /// Members that somebody has changed since.
    changed_since: Vec<String>,
}

async fn state(client: &Client, changed: &Changed, force: bool) -> Result<State, ApiError> {
    let object = match client.read(changed.kind, &changed.id).await {
        Ok(object) => object,
        Err(ApiError::Unknown(_)) => {
            return Ok(State { object: None, restores: Map::new(), changed_since: Vec::new() });
        }
        Err(error) => return Err(error),
    };
    let now = members(&object.value, changed.after.keys());
    let (mut restores, mut changed_since) = (Map::new(), Vec::new());
    for (name, now) in now {
        let before = changed.before.get(&name).cloned().unwrap_or_default();
        if now == before {
            continue;
        }
        if changed.after.get(&name) != Some(&now) {
            changed_since.push(name.clone());
            if !force {
                continue;
            }
        }
        restores.insert(name, before);
    }
    Ok(State { object: Some(object), restores, changed_since })
}

/// Deletes the credential that was made, once nothing refers to it. What keeps it, in words.
async fn forget_credential(client: &Client, organization: &Organization) -> anyhow::Result<Option<String>> {
    let Some(id) = &organization.credential else { return Ok(None) };
    let account = client.read_all().await.map_err(|error| of(client, error))?;
    let Some(credentials) = &account.credentials else { return Ok(None) };
    let is_ours = |one: &Object| {
        let name = one.value.get("name").and_then(Value::as_str).unwrap_or_default();
        one.id == *id && name.starts_with("headroom hmac ")
    };
    if !credentials.iter().any(is_ours) {
        return Ok(None);
    }
    if account.org.is_none() {
        return Ok(Some(format!(
            "The credential {id} stays: whether the organisation's own server URL refers to it, this key may not see. If it \
             does not, delete it in the dashboard."
        )));
    }
    let quoted = format!("\"{id}\"");
    let refers =
        account.all().find(|object| Value::Object(object.value.clone()).to_string().contains(&quoted));
    if let Some(object) = refers {
        return Ok(Some(format!(
            "The credential {id} stays: {} {} refers to it.",
            object.kind,
            object.label()
        )));
    }
    let deleted = client.delete_credential(id).await;
    Ok(deleted.err().map(|error| format!("The credential {id} stays; delete it in the dashboard: {error}")))
}

fn show(reading: &Reading) {
    let Reading { client, account, credential, plan } = reading;
    let counts = [
        (account.numbers.len(), Kind::PhoneNumber),
        (account.assistants.len(), Kind::Assistant),
        (account.squads.len(), Kind::Squad),
        (account.tools.len(), Kind::Tool),
    ];
    let counts: Vec<_> = counts.into_iter().map(|(count, kind)| print::count(count, kind)).collect();
    println!(
        "Organisation {} ({}): {}",
        client.name,
        account.org_id().unwrap_or("nothing in it"),
        counts.join(", ")
    );
    if credential.is_none() && !plan.changes.is_empty() {
        println!("  credential\n    none → a new one, which signs what Vapi sends (HMAC, SHA-256)");
    }
    print::plan(plan).iter().for_each(|line| println!("{line}"));
    if account.org.is_none() {
        println!(
            "  organisation: this key may not see its server URL. Point it to Headroom in the dashboard, too (Organization, \
             Server URL): web calls of assistants without a server are heard there alone"
        );
    }
    if account.credentials.is_none() && credential.is_none() {
        println!(
            "  credentials: this key may not see them; give one that was made by hand with --credential"
        );
    }
}

fn show_test(args: &ConnectArgs, test: Option<&Result<(), String>>) {
    let url = plan::without_secrets(args.url.as_str());
    match test {
        None => println!("{url} was not tested."),
        Some(Ok(())) => println!("{url} answers as Headroom, takes this secret, and refuses another."),
        Some(Err(why)) => println!("{url} failed the test: {why}"),
    }
}

fn test_json(test: Option<&Result<(), String>>) -> Value {
    match test {
        None => Value::Null,
        Some(Ok(())) => json!({ "passed": true }),
        Some(Err(why)) => json!({ "passed": false, "why": why }),
    }
}

fn show_state(changed: &Changed, state: &State) {
    println!("  {} {}", changed.kind, changed.label);
    let Some(object) = &state.object else {
        println!("    it is gone, or another organisation's");
        return;
    };
    let now = members(&object.value, changed.after.keys());
    let restored: Map<String, Value> = state.restores.clone();
    let now_of_restored = now.into_iter().filter(|(name, _)| restored.contains_key(name)).collect();
    print::diff(&now_of_restored, &restored).iter().for_each(|line| println!("    {line}"));
    let left: Vec<_> =
        state.changed_since.iter().filter(|name| !restored.contains_key(*name)).cloned().collect();
    if !left.is_empty() {
        println!("    {}: changed by somebody since, so it stays (--force restores it)", left.join(", "));
    } else if restored.is_empty() {
        println!("    is as it was before");
    }
    if changed.loses_secret && restored.contains_key("server") {
        println!("    its older secret is not restored, since Vapi never showed it: set it anew");
    }
}

fn state_json(changed: &Changed, state: &State) -> Value {
    json!({
        "kind": changed.kind, "id": changed.id, "gone": state.object.is_none(),
        "restores": print::masked(&state.restores), "changedSince": state.changed_since,
    })
}

fn things(count: usize) -> String {
    format!("{count} object{}", if count == 1 { "" } else { "s" })
}

fn finish(is_json: bool, report: Value) {
    if is_json {
        println!("{report:#}");
    }
}

/// Asks on the terminal; anything but yes ends the command.
fn consent(question: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody to ask: --yes does it without");
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).context("cannot ask")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("cannot ask")?;
    if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        bail!("nothing was changed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_known_by_its_secret_and_does_not_show_it() {
        let name = |secret| credential_name(&Secret::new(secret));
        assert_eq!(name("hush"), name("hush"));
        assert_ne!(name("hush"), name("hush2"));
        assert!(name("hush").len() <= 40 && !name("hush").contains("hush"));
        let credential = |id: &str, created: &str| {
            let value = json!({"id": id, "name": name("hush"), "createdAt": created});
            Object::new(Kind::Credential, value).expect("an object")
        };
        let account = |list: Vec<Object>| Account { credentials: Some(list), ..Account::default() };
        let (a, b) = (credential("a", "2026-02"), credential("b", "2026-01"));
        assert_eq!(find_credential(&account(vec![a, b]), &name("hush")).as_deref(), Some("b"));
        assert_eq!(find_credential(&account(vec![]), &name("hush")), None);
    }

    #[test]
    fn a_webhook_is_https_but_on_this_machine() {
        let check = |url: &str| check_url(&url.parse().expect("a URL")).is_ok();
        assert!(
            check("https://a.example/vapi")
                && check("http://127.0.0.1:80/vapi")
                && check("http://localhost/vapi")
        );
        assert!(!check("http://a.example/vapi") && !check("ftp://a.example/vapi"));
    }
}

//! What was before, on disk, so that it can be taken back.
//!
//! Written whole before the first change and after each one, beside itself and then renamed: whoever dies in between
//! leaves the one before or the one after. Readable by its owner alone, since a server of before may carry secrets in
//! its headers; no secret of Headroom's is in it, and none that Vapi does not show.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::account::Kind;
use super::plan::Change;

/// The form of the file. One of another form is not guessed at.
const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Backup {
    version: u32,
    /// Vapi's address.
    pub(crate) vapi: String,
    /// What servers were pointed to.
    pub(crate) url: String,
    pub(crate) organizations: Vec<Organization>,
}

/// What was changed in one organisation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Organization {
    /// What its key is called.
    pub(crate) key: String,
    /// The credential that Headroom's messages are signed with, if it was made for it.
    pub(crate) credential: Option<String>,
    pub(crate) changes: Vec<Changed>,
}

/// What was changed in one object: its members before and after, null for none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Changed {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    /// Its name, for people.
    pub(crate) label: String,
    pub(crate) before: Map<String, Value>,
    pub(crate) after: Map<String, Value>,
    /// It had a secret that Vapi does not show.
    #[serde(default)]
    pub(crate) loses_secret: bool,
}

impl Backup {
    /// The one at `path`, to go on with, or a new one.
    pub(crate) fn open(path: &Path, vapi: &str, url: &str) -> anyhow::Result<Self> {
        let backup = match Self::read(path) {
            Ok(backup) => backup,
            Err(error) if is_missing(&error) => {
                let (vapi, url) = (vapi.to_owned(), url.to_owned());
                return Ok(Self { version: VERSION, vapi, url, organizations: Vec::new() });
            }
            Err(error) => return Err(error),
        };
        if backup.vapi != vapi || backup.url != url {
            bail!("{} is of another Vapi or webhook: give another --backup", path.display());
        }
        Ok(backup)
    }

    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        // Not serde's words: they may quote what is inside.
        let Ok(backup) = serde_json::from_slice::<Self>(&text) else {
            bail!("{} is not what `headroom vapi connect` writes", path.display());
        };
        if backup.version != VERSION {
            bail!("{} is of another version of Headroom", path.display());
        }
        Ok(backup)
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let beside = beside(path);
        let write = || -> std::io::Result<()> {
            let _ = fs::remove_file(&beside);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(format!("{:#}\n", serde_json::to_value(self)?).as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        write()
            .with_context(|| format!("{} cannot be written: nothing is changed without it", path.display()))
    }

    /// Adds what is about to be changed in the organisation of a key.
    pub(crate) fn add(&mut self, key: &str, credential: Option<&str>, changes: &[Change]) {
        let organization = match self.organizations.iter().position(|known| known.key == key) {
            Some(index) => &mut self.organizations[index],
            None => {
                let new = Organization { key: key.to_owned(), credential: None, changes: Vec::new() };
                self.organizations.push(new);
                self.organizations.last_mut().expect("it was just added")
            }
        };
        if let Some(credential) = credential {
            organization.credential = Some(credential.to_owned());
        }
        for change in changes {
            organization.add(change);
        }
    }

    /// Writes down what an object looks like once it was changed: Vapi may have put it in its own words.
    pub(crate) fn settle(&mut self, key: &str, change: &Change, after: Map<String, Value>) {
        let known = self.organizations.iter_mut().find(|organization| organization.key == key);
        let known = known.and_then(|known| known.changes.iter_mut().find(|one| one.is_of(change)));
        if let Some(changed) = known {
            changed.after.extend(after);
        }
    }

    /// Whether a server of before carries what may be secret.
    pub(crate) fn has_secrets(&self) -> bool {
        let changes = self.organizations.iter().flat_map(|organization| &organization.changes);
        changes.filter_map(|change| change.before.get("server")?.as_object()).any(|server| {
            let url = server.get("url").and_then(Value::as_str).unwrap_or_default();
            server.contains_key("headers") || server.contains_key("secret") || url.contains(['?', '@'])
        })
    }
}

impl Organization {
    /// What an earlier, interrupted command found before stays what was before, unless somebody has changed it since.
    fn add(&mut self, change: &Change) {
        let Some(known) = self.changes.iter_mut().find(|known| known.is_of(change)) else {
            let Change { kind, id, label, before, after, loses_secret } = change.clone();
            self.changes.push(Changed { kind, id, label, before, after, loses_secret });
            return;
        };
        for (name, after) in &change.after {
            let now = change.before.get(name).cloned().unwrap_or_default();
            if known.after.get(name) != Some(&now) {
                known.before.insert(name.clone(), now);
            }
            known.after.insert(name.clone(), after.clone());
        }
        known.loses_secret |= change.loses_secret;
    }
}

impl Changed {
    fn is_of(&self, change: &Change) -> bool {
        (self.kind, &self.id) == (change.kind, &change.id)
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(before: Value, after: Value) -> Change {
        let map = |value: Value| Map::from_iter([("server".to_owned(), value)]);
        let (kind, id, label) = (Kind::PhoneNumber, "n".to_owned(), "n".to_owned());
        Change { kind, id, label, before: map(before), after: map(after), loses_secret: false }
    }

    fn restored(changes: &[Change]) -> Value {
        let mut backup =
            Backup { version: VERSION, vapi: String::new(), url: String::new(), organizations: vec![] };
        for one in changes {
            backup.add("main", None, std::slice::from_ref(one));
        }
        backup.organizations[0].changes[0].before["server"].clone()
    }

    #[test]
    fn the_first_state_is_kept_over_several_commands_but_not_over_somebodys_change() {
        let (a, b, c, x) = (json!("a"), json!("b"), json!("c"), json!("x"));
        // Not carried out the first time, carried out twice in two forms, changed by somebody in between.
        assert_eq!(restored(&[change(a.clone(), b.clone()), change(a.clone(), b.clone())]), a);
        assert_eq!(restored(&[change(a.clone(), b.clone()), change(b.clone(), c.clone())]), a);
        assert_eq!(restored(&[change(a.clone(), b.clone()), change(x.clone(), c)]), x);
    }

    #[test]
    fn it_is_for_its_owner_alone_and_reads_back() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("headroom-backup-{}", uuid::Uuid::new_v4()));
        let mut backup = Backup::open(&path, "v", "u").expect("a new one");
        backup.add("main", Some("c"), &[change(json!({"url": "https://x?y"}), Value::Null)]);
        backup.write(&path).expect("written");
        backup.write(&path).expect("written again");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        let read = Backup::open(&path, "v", "u").expect("read");
        assert_eq!(read.organizations[0].changes, backup.organizations[0].changes);
        assert!(read.has_secrets());
        assert!(Backup::open(&path, "v", "other").is_err());
        fs::write(&path, "{}").expect("written");
        assert!(Backup::open(&path, "v", "u").is_err());
        let _ = fs::remove_file(&path);
    }
}

//! Campaign messages that were accepted and not yet stored, and events that were told and not yet delivered: the embedded
//! queues live in memory, so what is accepted is written to disk first, and read again after a crash.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use headroom::core::parts::parts;
use sha2::{Digest as _, Sha256};

use crate::engines::Engines;

/// A folder of accepted messages; nothing at all for a runner that keeps no state.
#[derive(Debug, Clone)]
pub struct Inbox {
    folder: Option<PathBuf>,
}

impl Inbox {
    /// The inbox in a data folder: campaign messages.
    pub fn open(data: Option<&Path>) -> anyhow::Result<Self> {
        Self::named(data, "inbox")
    }

    /// The outbox in a data folder: events.
    pub fn outbox(data: Option<&Path>) -> anyhow::Result<Self> {
        Self::named(data, "outbox")
    }

    fn named(data: Option<&Path>, name: &str) -> anyhow::Result<Self> {
        let folder = data.map(|data| data.join(name));
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("the inbox {} cannot be made", folder.display()))?;
        }
        Ok(Self { folder })
    }

    /// Accepts a campaign message: keeps it, then puts it on the queue, in parts that SQS takes.
    pub async fn accept(&self, engines: &Engines, body: &str) -> anyhow::Result<()> {
        for part in parts(body)? {
            self.keep(&part)?;
            engines.send_campaign(part).await?;
        }
        Ok(())
    }

    /// Two messages with the same body are one: taking a message in twice changes nothing.
    fn file(folder: &Path, body: &str) -> PathBuf {
        folder.join(format!("{}.json", hex::encode(Sha256::digest(body.as_bytes()))))
    }

    /// Keeps a message. When this returns, it survives a crash.
    pub fn keep(&self, body: &str) -> anyhow::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = Self::file(folder, body);
        let draft = path.with_extension("part");
        let mut file = std::fs::File::create(&draft).context("the inbox cannot be written")?;
        file.write_all(body.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        std::fs::File::open(folder)?.sync_all()?;
        Ok(())
    }

    /// Lets go of a message whose leads are stored.
    pub fn done(&self, body: &str) {
        if let Some(folder) = &self.folder
            && let Err(error) = std::fs::remove_file(Self::file(folder, body))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a message that is done stays in the inbox; it is taken in once more later");
        }
    }

    /// The messages that an earlier run left behind.
    pub fn left(&self) -> anyhow::Result<Vec<String>> {
        let Some(folder) = &self.folder else { return Ok(Vec::new()) };
        let mut bodies = Vec::new();
        for entry in std::fs::read_dir(folder).context("the inbox cannot be read")? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                bodies.push(std::fs::read_to_string(&path)?);
            }
        }
        Ok(bodies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_until_it_is_done() {
        let folder = std::env::temp_dir().join(format!("headroom-inbox-{}", uuid::Uuid::new_v4()));
        let inbox = Inbox::open(Some(&folder)).expect("opens");
        inbox.keep("a").expect("keeps");
        inbox.keep("a").expect("keeps the same once");
        inbox.keep("b").expect("keeps");
        let mut left = Inbox::open(Some(&folder)).expect("opens again").left().expect("reads");
        left.sort();
        assert_eq!(left, ["a", "b"]);
        inbox.done("a");
        inbox.done("a");
        assert_eq!(inbox.left().expect("reads"), ["b"]);
        std::fs::remove_dir_all(folder).expect("cleans up");
    }
}

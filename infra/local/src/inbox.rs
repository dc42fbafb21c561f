//! Campaign messages that were accepted and not yet stored: the embedded queue lives in memory, so
//! what is accepted is written to disk first, and read again after a crash.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use headroom::core::campaign::Spec;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::engines::Engines;

/// Largest campaign message on the queue, with room to spare under SQS's 256 KiB.
const CHUNK: usize = 200 * 1024;

/// A folder of accepted messages; nothing at all for a runner that keeps no state.
#[derive(Debug, Clone)]
pub struct Inbox {
    folder: Option<PathBuf>,
}

impl Inbox {
    /// The inbox in a data folder.
    pub fn open(data: Option<&Path>) -> anyhow::Result<Self> {
        let folder = data.map(|data| data.join("inbox"));
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

/// Cuts a campaign message into messages of the same campaign with fewer leads each.
pub fn parts(body: &str) -> anyhow::Result<Vec<String>> {
    if body.len() <= CHUNK {
        return Ok(vec![body.to_owned()]);
    }
    #[derive(serde::Deserialize)]
    struct Whole<'a> {
        campaign: Option<Spec>,
        #[serde(borrow, default)]
        leads: Vec<&'a RawValue>,
        resume: Option<String>,
    }
    /// The campaign is written anew: as it came, it may be mostly space.
    #[derive(serde::Serialize)]
    struct Part<'a> {
        campaign: &'a Spec,
        leads: Vec<&'a RawValue>,
    }
    let whole: Whole<'_> = serde_json::from_str(body)?;
    let Some(campaign) = &whole.campaign else {
        return Ok(vec![serde_json::json!({ "resume": whole.resume }).to_string()]);
    };
    let mut parts = Vec::new();
    let mut part = Part { campaign, leads: Vec::new() };
    let mut size = 0;
    // A lead this large was refused when the message was read.
    for lead in whole.leads.into_iter().filter(|lead| lead.get().len() <= CHUNK) {
        if size + lead.get().len() > CHUNK && !part.leads.is_empty() {
            parts.push(serde_json::to_string(&part)?);
            part.leads.clear();
            size = 0;
        }
        size += lead.get().len() + 1;
        part.leads.push(lead);
    }
    parts.push(serde_json::to_string(&part)?);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use headroom::core::campaign::Message;

    use super::*;

    #[test]
    fn a_large_message_is_cut_into_parts_that_hold_every_lead_once() {
        let lead = |n: usize| format!(r#"{{"id":"lead-{n}","number":"+1555555{n:04}"}}"#);
        let leads: Vec<_> = (0..10_000).map(lead).collect();
        let body = format!(
            r#"{{"campaign":{{"id":"c","assistantId":"a","phoneNumberId":"p"}},"leads":[{}]}}"#,
            leads.join(",")
        );
        let parts = parts(&body).expect("cuts");
        assert!(parts.len() > 1);
        let mut ids = std::collections::HashSet::new();
        for part in &parts {
            assert!(part.len() < 256 * 1024);
            let Ok(Message::Leads { leads, bad, .. }) = Message::parse(part.as_bytes()) else {
                panic!("leads")
            };
            assert!(bad.is_empty());
            ids.extend(leads.into_iter().map(|lead| lead.id));
        }
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn a_message_that_is_large_for_other_reasons_is_taken_all_the_same() {
        let space = " ".repeat(2 * CHUNK);
        let campaign = r#""id":"c","assistantId":"a","phoneNumberId":"p""#;
        let lead = r#"{"number":"+15555550100"}"#;
        for body in [
            format!(r#"{{"campaign":{{{campaign}{space}}},"leads":[{lead}]}}"#),
            format!(r#"{{"campaign":{{{campaign}}}{space}}}"#),
            format!(r#"{{"resume":"c"{space}}}"#),
        ] {
            let whole = Message::parse(body.as_bytes()).expect("good");
            let parts = parts(&body).expect("cuts");
            assert!(parts.len() == 1 && parts[0].len() < 256 * 1024);
            assert_eq!(Message::parse(parts[0].as_bytes()).expect("as good"), whole);
        }
        let large = format!(r#"{{"campaign":{{{campaign}}},"leads":[{{"number":"+15555550100"{space}}}]}}"#);
        let Ok(Message::Leads { leads, bad, .. }) = Message::parse(large.as_bytes()) else { panic!("leads") };
        assert_eq!((leads.len(), bad.len()), (0, 1), "no part would have room for it");
    }

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

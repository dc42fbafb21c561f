//! Cutting a campaign message into messages that the queue takes.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::campaign::Spec;

/// Largest part, in bytes: with room to spare under SQS's 256 KiB.
pub const PART: usize = 200 * 1024;
/// Most leads of a part. Storing them takes a few seconds of the dispatcher's minute.
pub const LEADS: usize = 1_000;

/// Cuts a campaign message into messages of the same campaign with fewer leads each. One that is small enough stays as
/// it is.
///
/// # Errors
/// If it is no such message.
pub fn parts(body: &str) -> Result<Vec<String>, serde_json::Error> {
    if body.len() <= PART {
        return Ok(vec![body.to_owned()]);
    }
    #[derive(Deserialize)]
    struct Whole<'a> {
        campaign: Option<Spec>,
        #[serde(borrow, default)]
        leads: Vec<&'a RawValue>,
        resume: Option<String>,
        #[serde(default)]
        draft: bool,
    }
    let whole: Whole<'_> = serde_json::from_str(body)?;
    let Some(campaign) = &whole.campaign else {
        return Ok(vec![serde_json::json!({ "resume": whole.resume }).to_string()]);
    };
    let mut parts = Vec::new();
    let mut part = Part::new(campaign, whole.draft);
    // A lead this large was refused when the message was read.
    for lead in whole.leads.into_iter().filter(|lead| lead.get().len() <= PART) {
        if !part.has_room(lead) {
            parts.push(part.take());
        }
        part.push(lead);
    }
    parts.push(part.take());
    Ok(parts)
}

/// A message in the making. The campaign is written anew: as it came, it may be mostly space.
#[derive(Debug, Serialize)]
struct Part<'a> {
    campaign: &'a Spec,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    draft: bool,
    leads: Vec<&'a RawValue>,
    #[serde(skip)]
    size: usize,
}

impl<'a> Part<'a> {
    fn new(campaign: &'a Spec, draft: bool) -> Self {
        Self { campaign, draft, leads: Vec::new(), size: 0 }
    }

    fn has_room(&self, lead: &RawValue) -> bool {
        self.leads.is_empty() || (self.size + lead.get().len() <= PART && self.leads.len() < LEADS)
    }

    fn push(&mut self, lead: &'a RawValue) {
        self.size += lead.get().len() + 1;
        self.leads.push(lead);
    }

    fn take(&mut self) -> String {
        let text = serde_json::to_string(self).expect("a campaign and its leads are JSON");
        self.leads.clear();
        self.size = 0;
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::core::campaign::Message;

    #[test]
    fn a_large_message_is_cut_into_parts_that_hold_every_lead_once() {
        let lead = |n: usize| format!(r#"{{"id":"lead-{n}","number":"+1555555{n:04}"}}"#);
        let leads: Vec<_> = (0..10_000).map(lead).collect();
        let body = format!(
            r#"{{"campaign":{{"id":"c","assistantId":"a","phoneNumberId":"p"}},"draft":true,"leads":[{}]}}"#,
            leads.join(",")
        );
        let parts = parts(&body).expect("cuts");
        assert_eq!(parts.len(), 10);
        let mut ids = HashSet::new();
        for part in &parts {
            assert!(part.len() < 256 * 1024);
            let Ok(Message::Leads { leads, bad, draft, .. }) = Message::parse(part.as_bytes()) else {
                panic!("leads")
            };
            assert!(bad.is_empty() && draft);
            ids.extend(leads.into_iter().map(|lead| lead.id));
        }
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn a_message_that_is_large_for_other_reasons_is_taken_all_the_same() {
        let space = " ".repeat(2 * PART);
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
}

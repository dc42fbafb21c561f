//! What `POST /call` asks for: reading it, and refusing what Vapi refuses.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fate::DEFAULT_MAX_SECONDS;

/// What a call was given by whoever began it. Echoed in every body about the call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) assistant_id: Option<String>,
    pub(crate) squad_id: Option<String>,
    pub(crate) phone_number_id: Option<String>,
    pub(crate) customer: Option<Box<RawValue>>,
    pub(crate) number: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) metadata: Option<Box<RawValue>>,
    pub(crate) assistant_overrides: Option<Box<RawValue>>,
    pub(crate) max_seconds: Option<f64>,
}

impl Given {
    pub(crate) fn max_seconds(&self) -> f64 {
        self.max_seconds.unwrap_or(DEFAULT_MAX_SECONDS)
    }
}

/// Reads the body of a `POST /call` for one customer. The error is the list of what is wrong with it.
pub(crate) fn read(body: &[u8]) -> Result<Given, Vec<String>> {
    let asked: Asked = serde_json::from_slice(body).map_err(|error| vec![error.to_string()])?;
    let mut wrong = Vec::new();
    let mut want = |fine: bool, text: &str| {
        if !fine {
            wrong.push(text.to_owned());
        }
    };
    want(asked.customers.is_none() && asked.schedule_plan.is_none(), "the simulator makes one call at once");
    let someone = [&asked.assistant, &asked.squad, &asked.workflow].into_iter().any(Option::is_some);
    let somebody =
        [&asked.assistant_id, &asked.squad_id, &asked.workflow_id].into_iter().any(Option::is_some);
    want(someone || somebody, "Need one of `assistantId`, `assistant`, `squadId`, `squad`.");
    want(
        asked.phone_number_id.is_some() || asked.phone_number.is_some(),
        "Need `phoneNumberId` or `phoneNumber`.",
    );

    let customer: Customer = match asked.customer.as_deref() {
        Some(raw) => serde_json::from_str(raw.get()).map_err(|error| vec![format!("customer: {error}")])?,
        None => Customer::default(),
    };
    let must_be_e164 = customer.number_e164_check_enabled.unwrap_or(true);
    let number_is_fine = customer.number.as_deref().is_some_and(|number| {
        if must_be_e164 { is_e164(number) } else { (3..=40).contains(&number.chars().count()) }
    });
    want(
        number_is_fine,
        "customer.number must be a valid phone number in the E.164 format. \
         Hot tip, you may be missing the country code (Eg. US: +1).",
    );
    let is_short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.chars().count() <= 40);
    want(is_short(&asked.name), "name must be shorter than or equal to 40 characters");
    want(is_short(&customer.name), "customer.name must be shorter than or equal to 40 characters");
    want(
        is_short(&customer.external_id),
        "customer.externalId must be shorter than or equal to 40 characters",
    );

    let mut max_seconds = None;
    for (from, raw) in [("assistant", &asked.assistant), ("assistantOverrides", &asked.assistant_overrides)] {
        match max_duration(raw.as_deref()) {
            Ok(None) => {}
            Ok(seconds) => max_seconds = seconds,
            Err(why) => want(false, &format!("{from}.maxDurationSeconds {why}")),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(Given {
        assistant_id: asked.assistant_id,
        squad_id: asked.squad_id,
        phone_number_id: asked.phone_number_id,
        number: customer.number,
        customer: asked.customer,
        name: asked.name,
        metadata: asked.metadata,
        assistant_overrides: asked.assistant_overrides,
        max_seconds,
    })
}

/// The longest that an assistant, or overrides of one, let a call last.
pub(crate) fn max_duration(assistant: Option<&RawValue>) -> Result<Option<f64>, &'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Limits {
        max_duration_seconds: Option<f64>,
    }
    let Some(raw) = assistant else { return Ok(None) };
    let limits: Limits = serde_json::from_str(raw.get()).map_err(|_| "must be a number")?;
    match limits.max_duration_seconds {
        Some(seconds) if seconds < 10.0 => Err("must not be less than 10"),
        Some(seconds) if seconds > 43_200.0 => Err("must not be greater than 43200"),
        seconds => Ok(seconds),
    }
}

/// A plus sign, then 7 to 15 digits that do not begin with 0.
fn is_e164(number: &str) -> bool {
    let Some(digits) = number.strip_prefix('+') else { return false };
    (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    assistant_id: Option<String>,
    assistant: Option<Box<RawValue>>,
    squad_id: Option<String>,
    squad: Option<Box<RawValue>>,
    workflow_id: Option<String>,
    workflow: Option<Box<RawValue>>,
    phone_number_id: Option<String>,
    phone_number: Option<serde::de::IgnoredAny>,
    customer: Option<Box<RawValue>>,
    customers: Option<serde::de::IgnoredAny>,
    schedule_plan: Option<serde::de::IgnoredAny>,
    name: Option<String>,
    metadata: Option<Box<RawValue>>,
    assistant_overrides: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Customer {
    number: Option<String>,
    #[serde(rename = "numberE164CheckEnabled")]
    number_e164_check_enabled: Option<bool>,
    name: Option<String>,
    external_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(change: Value) -> Result<Given, Vec<String>> {
        let mut body = json!({
            "assistantId": "a", "phoneNumberId": "p", "name": "lead-1/1",
            "customer": {"number": "+15555550100"},
            "assistantOverrides": {"maxDurationSeconds": 300},
        });
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        read(body.to_string().as_bytes())
    }

    #[test]
    fn a_good_request_is_read() {
        let given = asked(json!({"metadata": {"a": 1}})).unwrap();
        assert_eq!(given.number.as_deref(), Some("+15555550100"));
        assert_eq!(given.max_seconds(), 300.0);
        assert_eq!(given.metadata.unwrap().get(), r#"{"a":1}"#);
    }

    #[test]
    fn bad_requests_are_refused_with_the_reason() {
        for (change, text) in [
            (json!({"assistantId": null}), "assistantId"),
            (json!({"phoneNumberId": null}), "phoneNumberId"),
            (json!({"customer": {"number": "0301234567"}}), "E.164"),
            (json!({"customer": {"number": "+1555555010012345"}}), "E.164"),
            (json!({"customer": null}), "E.164"),
            (json!({"name": "x".repeat(41)}), "name must be shorter"),
            (json!({"assistantOverrides": {"maxDurationSeconds": 9}}), "less than 10"),
            (json!({"assistantOverrides": {"maxDurationSeconds": 43201}}), "greater than 43200"),
            (json!({"name": 7}), "string"),
        ] {
            let wrong = asked(change.clone()).unwrap_err();
            assert!(wrong.iter().any(|line| line.contains(text)), "{change}: {wrong:?}");
        }
        assert!(read(b"not json").is_err());
    }
}

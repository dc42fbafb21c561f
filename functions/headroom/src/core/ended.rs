//! What an ended reason says about the lead that was called.
//!
//! Vapi has more than 580 reasons and adds some every month, so the exceptions are listed and the
//! rest follow from prefixes; an unknown one must parse and must free its line.

/// What kind of end a reason is. The groups are ours; Vapi says what a reason means for some only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// The person answered or was talking. Counts; not called again.
    Reached,
    /// Rang out, busy, or a machine. Counts; called again later.
    NoAnswer(NoAnswer),
    /// The account was out of lines. The lead goes back untouched.
    OverLimit,
    /// Never connected, and not the lead's doing. Called again soon without counting, a few times.
    SetupFailure,
    /// Something of Vapi's, ours or a provider's broke: what it means depends on whether the call had connected.
    InCallFailure,
    /// This number cannot be called. Never again.
    PermanentLead,
    /// Our configuration is wrong: every call will fail alike until it is mended.
    PermanentConfig,
    /// Account, billing or quota: every call will fail alike until a person or a clock mends it.
    AccountBlock,
    /// Somebody with our key cancelled it. Not called again by itself.
    Cancelled,
    /// Only inbound, web or bypass calls end so.
    NotOutbound,
}

/// Why nobody was talked to; each has a delay of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NoAnswer {
    /// It rang out.
    RangOut,
    /// Engaged.
    Busy,
    /// A machine answered.
    Voicemail,
}

/// What a call needs besides a line, each of which may fail by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dependency {
    /// Vapi itself: its API and the workers that run calls.
    Vapi,
    /// Whoever carries the call to the telephone: Vapi's own numbers, a trunk, Twilio, Vonage.
    Carrier,
    /// The language model that an assistant talks with.
    Model,
    /// The voice that it speaks with.
    Voice,
    /// The transcriber that it hears with.
    Transcriber,
}

/// The reason that stands in the record of a call whose end was seen without one.
pub const UNKNOWN_REASON: &str = "unknown";

impl Group {
    /// The group of a reason as Vapi spells it.
    pub fn of(reason: &str) -> Self {
        use Group::*;
        const FAULT: &str = "call.in-progress.error-providerfault-";
        match reason {
            "assistant-ended-call"
            | "assistant-ended-call-after-message-spoken"
            | "assistant-ended-call-with-hangup-task"
            | "assistant-forwarded-call"
            | "assistant-said-end-call-phrase"
            | "call.ending.hook-executed-say"
            | "call.ending.hook-executed-transfer"
            | "call.forwarding.operator-busy"
            | "call.in-progress.error-transfer-failed"
            | "call.in-progress.error-warm-transfer-assistant-cancelled"
            | "call.in-progress.error-warm-transfer-max-duration"
            | "call.in-progress.error-warm-transfer-microphone-timeout"
            | "call.in-progress.error-warm-transfer-silence-timeout"
            | "call.in-progress.sip-completed-call"
            | "call.in-progress.twilio-completed-call"
            | "customer-ended-call"
            | "customer-ended-call-after-warm-transfer-attempt"
            | "customer-ended-call-before-warm-transfer"
            | "customer-ended-call-during-transfer"
            | "exceeded-max-duration"
            | "silence-timed-out"
            | "vonage-completed" => Reached,

            "customer-did-not-answer" => NoAnswer(self::NoAnswer::RangOut),
            "customer-busy" => NoAnswer(self::NoAnswer::Busy),
            "voicemail" => NoAnswer(self::NoAnswer::Voicemail),

            "assistant-join-timed-out"
            | "call.in-progress.error-sip-outbound-call-failed-to-connect"
            | "call.in-progress.error-vapifault-call-started-but-connection-to-transport-missing"
            | "call.in-progress.error-vapifault-transport-connected-but-call-not-active"
            | "call.in-progress.error-vapifault-worker-not-available"
            | "twilio-failed-to-connect-call"
            | "vonage-failed-to-connect-call" => SetupFailure,

            "assistant-not-found"
            | "assistant-not-valid"
            | "call-start-error-neither-assistant-nor-server-set"
            | "call.start.error-enterprise-feature-not-available-recording-consent"
            | "call.start.error-get-assistant"
            | "call.start.error-get-customer"
            | "call.start.error-get-phone-number"
            | "call.start.error-get-resources-validation"
            | "call.start.error-vapi-number-international"
            | "vonage-rejected" => PermanentConfig,

            "call.start.error-fraud-check-failed" | "call.start.error-vapi-number-outbound-daily-limit" => {
                AccountBlock
            }

            "call-deleted" | "manually-canceled" | "scheduled-call-deleted" => Cancelled,

            "twilio-reported-customer-misdialed" => PermanentLead,

            "call.in-progress.error-sip-inbound-call-failed-to-connect"
            | "call.in-progress.error-vapifault-chat-pipeline-failed-to-start"
            | "customer-did-not-give-microphone-permission"
            | "phone-call-provider-bypass-enabled-but-no-call-received" => NotOutbound,

            other => match other.strip_prefix(FAULT) {
                Some("outbound-sip-408-request-timeout" | "outbound-sip-480-temporarily-unavailable") => {
                    NoAnswer(self::NoAnswer::RangOut)
                }
                Some("outbound-sip-503-service-unavailable") => SetupFailure,
                Some("outbound-sip-403-forbidden" | "outbound-sip-407-proxy-authentication-required") => {
                    PermanentConfig
                }
                _ => Self::by_shape(other),
            },
        }
    }

    /// The rules for a reason that is not listed, first match first.
    fn by_shape(reason: &str) -> Self {
        let starts = |prefix| reason.starts_with(prefix);
        if starts("call.start.error-subscription-concurrency") {
            Self::OverLimit
        } else if starts("call.start.error-vapifault") {
            Self::SetupFailure
        } else if starts("call.start.error-subscription") {
            Self::AccountBlock
        } else if starts("call.start.") || reason.contains("transport-never-connected") {
            Self::SetupFailure
        } else if starts("assistant-request") || starts("call.ringing.") {
            Self::NotOutbound
        } else {
            Self::InCallFailure
        }
    }
}

/// What stands before the part of a reason that names a provider.
const BEFORE_PROVIDER: [&str; 5] = [
    "call.in-progress.error-providerfault-",
    "call.in-progress.error-vapifault-",
    "call.in-progress.error-pipeline-",
    "call.start.error-vapifault-",
    "pipeline-error-",
];

impl Dependency {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Vapi, Self::Carrier, Self::Model, Self::Voice, Self::Transcriber];

    /// Its name in JSON, in logs and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vapi => "vapi",
            Self::Carrier => "carrier",
            Self::Model => "model",
            Self::Voice => "voice",
            Self::Transcriber => "transcriber",
        }
    }

    /// What failed, if a call that ends for this reason ended because something did. Nothing for ends that people,
    /// the lead's number or the configuration brought about, and where nobody can tell.
    pub fn of(reason: &str) -> Option<Self> {
        match Group::of(reason) {
            Group::SetupFailure | Group::InCallFailure => {}
            _ => return None,
        }
        let provider = BEFORE_PROVIDER.iter().find_map(|before| reason.strip_prefix(before));
        let text = provider.unwrap_or(reason);
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let starts = |names: &[&str]| names.iter().any(|name| text.starts_with(name));
        // What a provider of several things did is said by the word before whose it was.
        if has(&["transcriber"]) || starts(&["deepgram-returning", "assembly-ai-returning"]) {
            Some(Self::Transcriber)
        } else if has(&["voice", "video"]) || starts(&["eleven-labs-", "cartesia-", "playht-"]) {
            Some(Self::Voice)
        } else if has(&["transport", "sip-", "twilio", "vonage", "phone-call-provider", "customer-audio"]) {
            Some(Self::Carrier)
        } else if has(&["worker", "database", "error-get-", "assistant-join"])
            || starts(&["get-org", "get-subscription"])
        {
            Some(Self::Vapi)
        } else {
            // Models are most of the providers, and those that are added.
            provider.map(|_| Self::Model)
        }
    }
}

/// Whether a caller ended with it because the server that was to say who answers did not, or said what Vapi could not use.
/// A busy message and a forwarding are answers.
pub fn is_unanswered(reason: &str) -> bool {
    let answers = ["returned-error", "returned-forwarding-phone-number"];
    reason.strip_prefix("assistant-request-").is_some_and(|what| !answers.contains(&what))
}

/// Whether a reason is a number's limit of calls a day, which the next day (UTC) lifts.
pub fn is_daily_limit(reason: &str) -> bool {
    reason == "call.start.error-vapi-number-outbound-daily-limit"
}

/// What a person can do about a reason by which every call of a campaign, or of an account, ends.
pub fn cure(reason: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if has(&["credits", "wallet"]) {
        "add credits at Vapi (Settings, Billing), then resume"
    } else if has(&["frozen", "upgrade-failed"]) {
        "settle the subscription at Vapi (Settings, Billing), then resume"
    } else if has(&["fraud"]) {
        "Vapi's fraud check stopped the account: write to their support, then resume"
    } else if has(&["daily-limit"]) {
        "Vapi's own numbers make so many calls a day: import a number of yours, or wait for the next day (UTC)"
    } else if has(&["number-international"]) {
        "Vapi's own numbers do not call abroad: import a number of yours, then resume"
    } else if has(&["sip-403", "sip-407", "vonage-rejected"]) {
        "the carrier refuses these calls: mend the trunk's credentials and permissions, then resume"
    } else if has(&["get-phone-number"]) {
        "mend the campaign's phoneNumberId, then resume"
    } else if has(&["assistant"]) {
        "mend the campaign's assistant or squad, then resume"
    } else {
        "mend the cause at Vapi, then resume"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value of Vapi's enum with the group it was given when the facts were collected.
    const REASONS: &str = include_str!("../../tests/data/ended-reasons.json");

    #[test]
    fn every_known_reason_is_in_its_group() {
        let facts: serde_json::Value = serde_json::from_str(REASONS).expect("JSON");
        let values = facts["values"].as_object().expect("an object");
        assert!(values.len() > 580);
        for (reason, expected) in values {
            let group = match Group::of(reason) {
                Group::Reached => "reached",
                Group::NoAnswer(_) => "no_answer",
                Group::OverLimit | Group::SetupFailure => "setup_failure",
                Group::InCallFailure => "in_call_failure",
                Group::PermanentLead => "permanent_lead",
                Group::PermanentConfig => "permanent_config",
                Group::AccountBlock => "account_block",
                Group::Cancelled => "cancelled",
                Group::NotOutbound => "not_outbound",
            };
            assert_eq!(group, expected, "{reason}");
        }
    }

    /// How many of Vapi's reasons are which dependency's: a rule that takes in more, or less, shows here.
    #[test]
    fn every_failure_has_its_dependency() {
        let facts: serde_json::Value = serde_json::from_str(REASONS).expect("JSON");
        let mut counts = std::collections::BTreeMap::new();
        for reason in facts["values"].as_object().expect("an object").keys() {
            let failed = matches!(Group::of(reason), Group::SetupFailure | Group::InCallFailure);
            let dependency = Dependency::of(reason);
            assert_eq!(dependency.is_some(), failed, "{reason}");
            *counts.entry(dependency).or_insert(0) += 1;
            // A provider of one thing only fails in that.
            let of = |names: &[&str]| names.iter().any(|name| reason.contains(name));
            let only = [
                (Dependency::Model, &["anthropic", "groq", "mistral", "-llm-failed", "deep-seek"][..]),
                (Dependency::Voice, &["playht", "rime-ai", "lmnt", "hume", "cartesia-", "tavus"][..]),
                (Dependency::Transcriber, &["assembly-ai", "gladia", "soniox", "speechmatics"][..]),
                (Dependency::Carrier, &["twilio-failed", "vonage-failed", "sip-503", "never-connected"][..]),
                (Dependency::Vapi, &["worker-", "database-error"][..]),
            ];
            for (expected, names) in only {
                assert!(!failed || !of(names) || dependency == Some(expected), "{reason}: {dependency:?}");
            }
        }
        counts.remove(&None);
        let counts: Vec<_> = counts.into_iter().map(|(of, n)| (of.map_or("", Dependency::name), n)).collect();
        assert_eq!(counts, COUNTS);
    }

    const COUNTS: [(&str, i32); 5] =
        [("vapi", 9), ("carrier", 12), ("model", 316), ("voice", 118), ("transcriber", 66)];

    #[test]
    fn a_reason_of_a_kind_that_is_not_known_is_nobodys_failure() {
        for reason in ["", UNKNOWN_REASON, "something-new", "customer-ended-call", "customer-busy"] {
            assert_eq!(Dependency::of(reason), None, "{reason}");
        }
        assert_eq!(Dependency::of("pipeline-error-some-new-llm-500-server-error"), Some(Dependency::Model));
    }

    #[test]
    fn each_configuration_and_account_error_has_a_cure() {
        let facts: serde_json::Value = serde_json::from_str(REASONS).expect("JSON");
        let general = facts["values"].as_object().expect("an object").keys().filter(|reason| {
            let group = Group::of(reason);
            matches!(group, Group::PermanentConfig | Group::AccountBlock)
                && cure(reason) == "mend the cause at Vapi, then resume"
        });
        let general: Vec<&String> = general.collect();
        let consent = "call.start.error-enterprise-feature-not-available-recording-consent";
        assert_eq!(
            general,
            [consent, "call.start.error-get-customer", "call.start.error-get-resources-validation"]
        );
    }

    #[test]
    fn only_the_lines_limit_is_over_limit() {
        assert_eq!(Group::of("call.start.error-subscription-concurrency-limit-reached"), Group::OverLimit);
        let voice =
            "call.in-progress.error-providerfault-11labs-blocked-concurrent-requests-and-requested-upgrade";
        assert_ne!(Group::of(voice), Group::OverLimit);
    }

    #[test]
    fn an_unknown_reason_has_a_group() {
        for reason in ["", "\u{0}", "call.start.", "something-new", UNKNOWN_REASON] {
            let _ = Group::of(reason);
        }
        assert_eq!(Group::of("something-new"), Group::InCallFailure);
    }
}

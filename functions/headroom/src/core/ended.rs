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

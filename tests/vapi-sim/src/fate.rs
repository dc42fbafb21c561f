//! Chance: what happens to each call, each request and each message, from the seed alone.
//!
//! Every draw has a key of its own, made from the seed and from what the draw is about. Nothing shares a
//! generator, so that two requests that swap places do not swap their fates.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::config::{Faults, OverLimitShape, Range, Remaining, TalkShape, Telephony};

/// How long a call without `maxDurationSeconds` may last.
pub(crate) const DEFAULT_MAX_SECONDS: f64 = 600.0;

/// What a key is about. Keeps the draws of one seed apart.
#[derive(Clone, Copy)]
pub(crate) enum About {
    Outbound = 1,
    Inbound,
    Web,
    Post,
    CallId,
    Webhook,
    Arrival,
    Latency,
    Past,
    Dial,
    Figures,
    Failing,
    Account,
}

/// A key for draws about one thing: the nth of its kind, or the nth for a number.
pub(crate) fn key(seed: u64, about: About, which: u64, nth: u64) -> u64 {
    mix(mix(mix(seed, about as u64), which), nth)
}

/// A stable hash of a text (FNV-1a): the same in every build, which the standard one does not promise.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Two numbers stirred into one (the finish of splitmix64).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(b.wrapping_mul(0xd134_2543_de82_ef95));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The generator of one key.
pub(crate) fn rng(key: u64) -> StdRng {
    StdRng::seed_from_u64(key)
}

/// The wait until the next of events that come at random, `per_second` on average.
pub(crate) fn gap(key: u64, per_second: f64) -> f64 {
    -f64::ln(1.0 - rng(key).random::<f64>()) / per_second
}

/// One point of a range, evenly.
pub(crate) fn between(rng: &mut StdRng, range: Range) -> f64 {
    range.0 + (range.1 - range.0) * rng.random::<f64>()
}

/// The life of a call, laid out when it begins. Seconds are simulated and count from its beginning.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fate {
    /// What happens when; the last step ends the call.
    pub(crate) steps: Vec<(f64, Step)>,
    /// How long after the end its report is ready.
    pub(crate) report_after: f64,
}

/// A turn in a call's life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Ringing,
    InProgress,
    Forwarding,
    Ended(&'static str),
}

/// The life of an outbound call, unless something that it needs fails.
pub(crate) fn outbound(key: u64, telephony: &Telephony, faults: &Faults, max_seconds: f64) -> Fate {
    let well = well(key, telephony, faults.stuck, max_seconds);
    let shares = [faults.carrier_fails, faults.model_fails, faults.voice_fails, faults.transcriber_fails];
    let mut rng = rng(mix(key, About::Failing as u64));
    let reason = match struck(&mut rng, &shares) {
        None => return well,
        Some(0) => {
            let ended = Step::Ended("call.in-progress.error-providerfault-transport-never-connected");
            return Fate { steps: vec![(between(&mut rng, Range(1.0, 4.0)), ended)], ..well };
        }
        Some(1) => "call.in-progress.error-providerfault-openai-503-server-overloaded-error",
        Some(2) => "call.in-progress.error-providerfault-eleven-labs-500-server-error",
        Some(_) => "pipeline-error-deepgram-returning-502-network-error",
    };
    // Who is not there does not hear that nothing is said.
    let Some(answered) = well.steps.iter().position(|(_, step)| *step == Step::InProgress) else {
        return well;
    };
    let mut steps = well.steps;
    let (at, _) = steps[answered];
    steps.truncate(answered + 1);
    steps.push(((at + between(&mut rng, Range(1.0, 5.0))).min(at + max_seconds), Step::Ended(reason)));
    Fate { steps, report_after: well.report_after }
}

/// The life of an outbound call that nothing goes wrong with.
fn well(key: u64, telephony: &Telephony, stuck: f64, max_seconds: f64) -> Fate {
    let mut rng = rng(key);
    let report_after = between(&mut rng, Range(1.0, 5.0));
    let rings = between(&mut rng, Range(0.3, 1.5));
    let answers = rings + between(&mut rng, telephony.ring_seconds);
    let t = telephony;
    let end = match pick(&mut rng, &[t.answer, t.no_answer, t.busy, t.voicemail, t.setup_failure]) {
        0 => {
            let (talk, reason) = talk(&mut rng, t.talk_seconds_mean, t.talk_shape, stuck, max_seconds);
            return Fate {
                steps: vec![
                    (rings, Step::Ringing),
                    (answers, Step::InProgress),
                    (answers + talk, Step::Ended(reason)),
                ],
                report_after,
            };
        }
        1 => (rings + t.ring_seconds.1, "customer-did-not-answer"),
        2 => (rings + 2.0, "customer-busy"),
        3 => {
            let seconds = between(&mut rng, Range(6.0, 10.0)).min(max_seconds);
            return Fate {
                steps: vec![
                    (rings, Step::Ringing),
                    (answers, Step::InProgress),
                    (answers + seconds, Step::Ended("voicemail")),
                ],
                report_after,
            };
        }
        _ => {
            // No carrier was ever reached, so there is nothing to ring.
            let gives_up = between(&mut rng, Range(3.0, 12.0));
            let reason = "call.in-progress.error-providerfault-transport-never-connected";
            return Fate { steps: vec![(gives_up, Step::Ended(reason))], report_after };
        }
    };
    Fate { steps: vec![(rings, Step::Ringing), (end.0, Step::Ended(end.1))], report_after }
}

/// The life of an inbound call, from the moment that it is clear who takes it.
pub(crate) fn inbound(key: u64, telephony: &Telephony, stuck: f64, max_seconds: f64) -> Fate {
    let mut rng = rng(key);
    let report_after = between(&mut rng, Range(1.0, 5.0));
    let answers = between(&mut rng, Range(0.5, 2.0));
    let mean = telephony.inbound_talk_seconds_mean;
    let (talk, reason) = talk(&mut rng, mean, telephony.talk_shape, stuck, max_seconds);
    Fate { steps: vec![(answers, Step::InProgress), (answers + talk, Step::Ended(reason))], report_after }
}

/// The life of an inbound call that the server sends on to another number.
pub(crate) fn forwarded() -> Fate {
    let ended = Step::Ended("assistant-request-returned-forwarding-phone-number");
    Fate { steps: vec![(0.5, Step::Forwarding), (3.0, ended)], report_after: 2.0 }
}

/// The life of an inbound call that the server does not want, or never answered for.
pub(crate) fn refused(reason: &'static str) -> Fate {
    Fate { steps: vec![(0.0, Step::Ended(reason))], report_after: 2.0 }
}

/// The life of a call that was accepted although every line was taken.
pub(crate) fn over_limit(key: u64) -> Fate {
    let mut rng = rng(key);
    let ended = Step::Ended("call.start.error-subscription-concurrency-limit-reached");
    Fate { steps: vec![(between(&mut rng, Range(0.5, 2.0)), ended)], report_after: 1.0 }
}

/// What the API does with one `POST /call`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PostFate {
    pub(crate) fault: Option<PostFault>,
    pub(crate) latency_ms: f64,
    pub(crate) over_limit_shape: OverLimitShape,
}

/// How a `POST /call` can go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PostFault {
    Refuse429,
    Error500,
    Reset,
    Error522,
    AnswerLost,
    AnswerHangs,
}

/// Decides about one `POST /call`.
pub(crate) fn post(key: u64, faults: &Faults, telephony: &Telephony) -> PostFate {
    let mut rng = rng(key);
    let f = faults;
    let shares =
        [f.refuse_429, f.error_5xx_before, f.reset, f.error_5xx_after, f.answer_lost, f.answer_hangs];
    let fault = struck(&mut rng, &shares).map(|which| {
        [
            PostFault::Refuse429,
            PostFault::Error500,
            PostFault::Reset,
            PostFault::Error522,
            PostFault::AnswerLost,
            PostFault::AnswerHangs,
        ][which]
    });
    let latency_ms = between(&mut rng, telephony.api_latency_ms);
    let over_limit_shape = match faults.over_limit_shape {
        OverLimitShape::Mixed => {
            OverLimitShape::CONCRETE[rng.random_range(0..OverLimitShape::CONCRETE.len())]
        }
        shape => shape,
    };
    PostFate { fault, latency_ms, over_limit_shape }
}

/// Decides what the answer to the `POST /call` with this key says of the lines.
pub(crate) fn remaining(post_key: u64, shape: Remaining) -> Remaining {
    match shape {
        Remaining::Mixed => {
            let mut rng = rng(mix(post_key, About::Figures as u64));
            Remaining::CONCRETE[rng.random_range(0..Remaining::CONCRETE.len())]
        }
        shape => shape,
    }
}

/// What happens to one webhook.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WebhookFate {
    Sent,
    Lost,
    Doubled,
    /// Sent after so many simulated seconds.
    Late(f64),
}

/// Decides about one webhook.
pub(crate) fn webhook(key: u64, faults: &Faults) -> WebhookFate {
    let mut rng = rng(key);
    match struck(&mut rng, &[faults.webhook_lost, faults.webhook_doubled, faults.webhook_late]) {
        Some(0) => WebhookFate::Lost,
        Some(1) => WebhookFate::Doubled,
        Some(_) => WebhookFate::Late(between(&mut rng, faults.webhook_late_seconds)),
        None => WebhookFate::Sent,
    }
}

/// How long people talk, and who ends it.
fn talk(rng: &mut StdRng, mean: f64, shape: TalkShape, stuck: f64, max_seconds: f64) -> (f64, &'static str) {
    let is_stuck = rng.random::<f64>() < stuck;
    let first: f64 = 1.0 - rng.random::<f64>();
    let second: f64 = rng.random();
    let seconds = match shape {
        TalkShape::Exponential => 5.0 - first.ln() * (mean - 5.0).max(0.0),
        TalkShape::Lognormal => {
            // Box and Muller's normal, scaled so that the mean stays the mean.
            let sigma = 0.9;
            let normal = (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos();
            (mean.ln() - sigma * sigma / 2.0 + sigma * normal).exp().max(5.0)
        }
    };
    let by_customer = rng.random::<f64>() < 0.65;
    if is_stuck || seconds >= max_seconds {
        return (max_seconds, "exceeded-max-duration");
    }
    (seconds, if by_customer { "customer-ended-call" } else { "assistant-ended-call" })
}

/// An index, with the given weights.
fn pick(rng: &mut StdRng, weights: &[f64]) -> usize {
    let mut point = rng.random::<f64>() * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        if point < *weight {
            return index;
        }
        point -= weight;
    }
    0
}

/// Which of several exclusive faults strikes, if any; shares are of the whole.
fn struck(rng: &mut StdRng, shares: &[f64]) -> Option<usize> {
    let mut point = rng.random::<f64>();
    for (index, share) in shares.iter().enumerate() {
        if point < *share {
            return Some(index);
        }
        point -= share;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lives(seed: u64) -> Vec<Fate> {
        let telephony = Telephony::default();
        (0..2000)
            .map(|n| {
                let key = key(seed, About::Outbound, hash("+15555550100"), n);
                outbound(key, &telephony, &Faults::default(), 600.0)
            })
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_fates() {
        assert_eq!(lives(7), lives(7));
        assert_ne!(lives(7), lives(8));
    }

    #[test]
    fn outcomes_come_in_their_shares_and_talk_keeps_its_mean() {
        let lives = lives(7);
        let ended = |reasons: &[&str]| {
            let is =
                |life: &&Fate| matches!(life.steps.last(), Some((_, Step::Ended(r))) if reasons.contains(r));
            lives.iter().filter(is).count() as f64 / lives.len() as f64
        };
        let answered = ["customer-ended-call", "assistant-ended-call", "exceeded-max-duration"];
        assert!((ended(&answered) - 0.45).abs() < 0.04);
        assert!((ended(&["customer-did-not-answer"]) - 0.30).abs() < 0.04);
        assert!((ended(&["voicemail"]) - 0.17).abs() < 0.04);
        for shape in [TalkShape::Exponential, TalkShape::Lognormal] {
            let talks = (0..20_000).map(|n| talk(&mut rng(n), 90.0, shape, 0.0, 1e9).0);
            assert!((talks.sum::<f64>() / 20_000.0 - 90.0).abs() < 4.0, "{shape:?}");
        }
    }

    #[test]
    fn no_call_outlasts_its_limit_and_stuck_ones_reach_it() {
        let telephony =
            Telephony { answer: 1.0, no_answer: 0.0, voicemail: 0.0, busy: 0.0, ..Default::default() };
        for n in 0..500 {
            let Fate { steps, .. } = inbound(key(1, About::Inbound, 0, n), &telephony, 0.5, 60.0);
            let [(answered, Step::InProgress), (ended, Step::Ended(reason))] = steps[..] else {
                panic!("{steps:?}")
            };
            assert!(ended - answered <= 60.0 + 1e-9);
            assert_eq!(reason == "exceeded-max-duration", ended - answered > 59.999);
        }
    }

    #[test]
    fn faults_exclude_each_other() {
        let faults =
            Faults { webhook_lost: 0.2, webhook_doubled: 0.3, webhook_late: 0.5, ..Default::default() };
        let fates: Vec<_> = (0..1000).map(|n| webhook(key(1, About::Webhook, 0, n), &faults)).collect();
        let share = |is: fn(&&WebhookFate) -> bool| fates.iter().filter(is).count() as f64 / 1000.0;
        assert!((share(|f| **f == WebhookFate::Lost) - 0.2).abs() < 0.05);
        assert!((share(|f| **f == WebhookFate::Doubled) - 0.3).abs() < 0.05);
        assert!((share(|f| matches!(f, WebhookFate::Late(s) if (5.0..60.0).contains(s))) - 0.5).abs() < 0.05);
    }
}

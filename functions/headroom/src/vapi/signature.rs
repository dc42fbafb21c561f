//! Whether a webhook comes from Vapi: shared secret, bearer token, or HMAC with Vapi's defaults.
//!
//! Several secrets are good at once, so that they can be changed without losing a message. All
//! comparisons take the same time wherever they fail.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};

use super::Secret;

/// How far a signed message's time may be from ours. Whether Vapi renews the time when it repeats a
/// delivery is not documented, so this is no less than the longest repetition's span.
const REPLAY_WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// Why a message is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// None of the three ways was tried.
    #[error("no X-Vapi-Secret, Authorization or X-Signature header")]
    Missing,
    /// The secret, token or signature is none of ours.
    #[error("the secret, token or signature does not match")]
    Wrong,
    /// Signed with a time too far from ours.
    #[error("signed more than 5 minutes from now")]
    Stale,
}

/// Lets a message in, or says why not. `body` is the raw bytes as they came.
///
/// HMAC is SHA-256 in hex in `x-signature`, over `{x-timestamp}.{body}`, the time in epoch
/// milliseconds; over the body alone where the credential sends no time.
pub fn verify(
    secrets: &[Secret],
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), SignatureError> {
    let header = |name: &str| headers.get(name).map(http::HeaderValue::as_bytes);
    let shared = [header("x-vapi-secret"), bearer(headers)];
    if shared.iter().flatten().any(|given| matches_any(secrets, given)) {
        return Ok(());
    }
    let Some(signature) = header("x-signature") else {
        let tried = shared.iter().any(Option::is_some);
        return Err(if tried { SignatureError::Wrong } else { SignatureError::Missing });
    };
    let signature = hex::decode(signature).map_err(|_| SignatureError::Wrong)?;
    let time = header("x-timestamp");
    let signed = secrets.iter().any(|secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes())
            .expect("HMAC takes a key of any length");
        if let Some(time) = time {
            mac.update(time);
            mac.update(b".");
        }
        mac.update(body);
        mac.verify_slice(&signature).is_ok()
    });
    if !signed {
        return Err(SignatureError::Wrong);
    }
    // Only after the signature: before it, the time is anybody's word.
    match time {
        None => Ok(()),
        Some(time) => {
            let sent = std::str::from_utf8(time)
                .ok()
                .and_then(|text| Timestamp::from_millisecond(text.parse().ok()?).ok())
                .ok_or(SignatureError::Stale)?;
            if now.duration_since(sent).abs() <= REPLAY_WINDOW { Ok(()) } else { Err(SignatureError::Stale) }
        }
    }
}

/// The signature of a message, as Vapi makes it: what `x-signature` has beside `x-timestamp`, which is `time`.
pub fn sign(secret: &Secret, time: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).expect("HMAC takes a key of any length");
    for part in [time.as_bytes(), b".", body] {
        mac.update(part);
    }
    hex::encode(mac.finalize().into_bytes())
}

/// Whether a request carries one of `secrets` as its bearer token.
pub fn bearer_matches(secrets: &[Secret], headers: &HeaderMap) -> bool {
    bearer(headers).is_some_and(|token| matches_any(secrets, token))
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get("authorization")?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

fn matches_any(secrets: &[Secret], given: &[u8]) -> bool {
    let mut found = Choice::from(0);
    for secret in secrets {
        found |= secret.reveal().as_bytes().ct_eq(given);
    }
    found.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &str = include_str!("../../../../events/vapi/auth.hmac-vectors.json");

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    fn secrets(texts: &[&str]) -> Vec<Secret> {
        texts.iter().copied().map(Secret::new).collect()
    }

    #[test]
    fn the_known_answer_vectors_pass_and_one_flipped_bit_does_not() {
        let facts: serde_json::Value = serde_json::from_str(VECTORS).expect("JSON");
        let secrets = secrets(&["other", facts["secret"].as_str().expect("a secret")]);
        let body = facts["body"].as_str().expect("a body").as_bytes();
        let now = Timestamp::from_millisecond(1_786_546_871_500).expect("in range");
        for vector in facts["vectors"].as_array().expect("a list") {
            let mut sent = HeaderMap::new();
            for (name, value) in vector["headers"].as_object().expect("headers") {
                let name: http::HeaderName = name.parse().expect("a name");
                sent.insert(name, value.as_str().expect("text").parse().expect("a value"));
            }
            assert_eq!(verify(&secrets, &sent, body, now), Ok(()));
            let mut changed = body.to_vec();
            changed[20] ^= 1;
            assert_eq!(verify(&secrets, &sent, &changed, now), Err(SignatureError::Wrong));
            assert_eq!(verify(&secrets[..1], &sent, body, now), Err(SignatureError::Wrong));
            let late = now + SignedDuration::from_mins(6);
            let stale = verify(&secrets, &sent, body, late);
            assert_eq!(stale.is_err(), sent.contains_key("x-timestamp"));
        }
    }

    #[test]
    fn a_timed_signature_is_not_good_without_its_time() {
        let facts: serde_json::Value = serde_json::from_str(VECTORS).expect("JSON");
        let timed = facts["vectors"][1]["headers"]["x-signature"].as_str().expect("text");
        let secrets = secrets(&[facts["secret"].as_str().expect("a secret")]);
        let time = facts["vectors"][1]["headers"]["x-timestamp"].as_str().expect("text");
        let signed = sign(&secrets[0], time, facts["body"].as_str().expect("a body").as_bytes());
        assert_eq!(signed, timed);
        let body = facts["body"].as_str().expect("a body").as_bytes();
        let sent = headers(&[("x-signature", timed)]);
        assert_eq!(verify(&secrets, &sent, body, Timestamp::UNIX_EPOCH), Err(SignatureError::Wrong));
    }

    #[test]
    fn secret_and_bearer_are_compared_whole_and_any_of_several_will_do() {
        let secrets = secrets(&["old", "new"]);
        type Case<'a> = (&'a [(&'static str, &'a str)], Result<(), SignatureError>);
        let cases: [Case<'_>; 9] = [
            (&[("x-vapi-secret", "new")], Ok(())),
            (&[("x-vapi-secret", "old")], Ok(())),
            (&[("authorization", "Bearer new")], Ok(())),
            (&[("authorization", "bearer old")], Ok(())),
            (&[("x-vapi-secret", "ne")], Err(SignatureError::Wrong)),
            (&[("x-vapi-secret", "")], Err(SignatureError::Wrong)),
            (&[("authorization", "Basic new")], Err(SignatureError::Missing)),
            (&[("x-signature", "zz")], Err(SignatureError::Wrong)),
            (&[], Err(SignatureError::Missing)),
        ];
        for (pairs, expected) in cases {
            assert_eq!(
                verify(&secrets, &headers(pairs), b"{}", Timestamp::UNIX_EPOCH),
                expected,
                "{pairs:?}"
            );
        }
        assert!(verify(&[], &headers(&[("x-vapi-secret", "")]), b"", Timestamp::UNIX_EPOCH).is_err());
    }
}

//! `signature::verify`: the headers of a webhook over its body, against a second, plain account of
//! who is let in.

use headroom::vapi::signature::{SignatureError, verify};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use jiff::Timestamp;
use rand::RngExt as _;
use rand::rngs::StdRng;
use sha2::Sha256;

use super::Target;
use super::message;
use crate::checks::ensure;
use crate::corpus::{self, Corpus};
use crate::frame::{Frame, SECRETS, secrets};
use crate::measure::{Bounds, Outcome};
use crate::{bytes, pick};

pub(super) const NAME: &str = "signature";

/// When every message arrives.
const NOW_MS: i64 = 1_774_540_000_000;
const NAMES: [&str; 5] = ["x-vapi-secret", "authorization", "x-signature", "x-timestamp", "x-other"];

pub(super) fn target() -> anyhow::Result<Target> {
    let (bodies, kept) = (message::corpus(), corpus::kept_frames(NAME));
    Ok(Target {
        name: NAME,
        generate: Box::new(move |rng| generate(&bodies, &kept, rng).write()),
        run: Box::new(run),
        bounds: Bounds::READING,
        short: 5000,
        expected: &["let in", "missing", "wrong", "stale"],
    })
}

/// Signs a body as Vapi does.
pub(super) fn sign(secret: &str, time: Option<&[u8]>, body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    if let Some(time) = time {
        mac.update(&[time, b"."].concat());
    }
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

/// A frame that is let in.
pub(super) fn authenticated(body: Vec<u8>, now_ms: i64, rng: &mut StdRng) -> Frame {
    let secret = *pick(rng, &SECRETS);
    let frame = Frame { head: Vec::new(), body };
    match rng.random_range(0..4) {
        0 => frame.with("x-vapi-secret", secret),
        1 => frame.with("authorization", format!("Bearer {secret}")),
        2 => {
            let signature = hex::encode(sign(secret, None, &frame.body));
            frame.with("x-signature", signature)
        }
        _ => {
            let time = (now_ms + rng.random_range(-299_000..=299_000)).to_string();
            let signature = hex::encode(sign(secret, Some(time.as_bytes()), &frame.body));
            frame.with("x-timestamp", time).with("x-signature", signature)
        }
    }
}

/// A message that was let in, with its head, its body or neither changed since; or one that was
/// signed as it is, with a time that is no good.
fn generate(bodies: &Corpus, kept: &[Frame], rng: &mut StdRng) -> Frame {
    if !kept.is_empty() && rng.random_bool(0.1) {
        let mut frame = pick(rng, kept).clone();
        frame.change_head(rng, &NAMES, 4096);
        return frame;
    }
    let body = bodies.entry(rng).to_vec();
    let mut frame = authenticated(body, NOW_MS, rng);
    match rng.random_range(0..6) {
        0 => {}
        1 => bytes::change(&mut frame.body, bodies.entry(rng), rng, 4096),
        2 => {
            let mut odd = Frame::default().with("x-timestamp", NOW_MS.to_string());
            odd.change_head(rng, &["x-timestamp"], 256);
            let time = odd.head.into_iter().next().map(|(_, value)| value).unwrap_or_default();
            let signature = hex::encode(sign(SECRETS[0], Some(&time), &frame.body));
            frame.head = vec![(b"x-timestamp".to_vec(), time)];
            frame = frame.with("x-signature", signature);
        }
        3 => {
            // The signed bytes, cut at another place.
            let time = NOW_MS.to_string();
            let signature = hex::encode(sign(SECRETS[1], Some(time.as_bytes()), &frame.body));
            let cut = rng.random_range(0..=frame.body.len().min(40));
            let moved = [time.as_bytes(), b".", &frame.body[..cut]].concat();
            frame.body.drain(..cut);
            frame.head = vec![(b"x-timestamp".to_vec(), moved), (b"x-signature".to_vec(), signature.into())];
        }
        _ => {
            for _ in 0..rng.random_range(1..4) {
                frame.change_head(rng, &NAMES, 64 * 1024);
            }
        }
    }
    frame
}

fn run(input: &[u8]) -> Outcome {
    let frame = Frame::read(input);
    let headers = frame.headers();
    let now = Timestamp::from_millisecond(NOW_MS).expect("a time of 2026 is in range");
    let found = verify(&secrets(), &headers, &frame.body, now);
    let expected = expected(&headers, &frame.body);
    ensure(found == expected, || format!("verify says {found:?}, and should say {expected:?}"))?;
    ensure(verify(&[], &headers, &frame.body, now).is_err(), || "let in without any secret".into())?;
    Ok(match found {
        Ok(()) => "let in",
        Err(SignatureError::Missing) => "missing",
        Err(SignatureError::Wrong) => "wrong",
        Err(SignatureError::Stale) => "stale",
    })
}

/// Who is let in, told the long way: the first header of each name counts; a secret or a token opens
/// by itself; else the signature must be over exactly this time and this body, and the time good.
fn expected(headers: &HeaderMap, body: &[u8]) -> Result<(), SignatureError> {
    let first = |name: &str| headers.get_all(name).iter().next().map(|value| value.as_bytes().to_vec());
    let is_secret = |given: &[u8]| SECRETS.iter().any(|secret| secret.as_bytes() == given);
    let shared = first("x-vapi-secret");
    let token = first("authorization").and_then(|value| {
        let scheme = value.get(..7)?.to_ascii_lowercase();
        (scheme == b"bearer ").then(|| value[7..].to_vec())
    });
    if shared.as_deref().is_some_and(is_secret) || token.as_deref().is_some_and(is_secret) {
        return Ok(());
    }
    let Some(signature) = first("x-signature") else {
        let tried = shared.is_some() || token.is_some();
        return Err(if tried { SignatureError::Wrong } else { SignatureError::Missing });
    };
    let time = first("x-timestamp");
    let given = String::from_utf8_lossy(&signature).to_ascii_lowercase();
    if !SECRETS.iter().any(|secret| hex::encode(sign(secret, time.as_deref(), body)) == given) {
        return Err(SignatureError::Wrong);
    }
    let Some(time) = time else { return Ok(()) };
    let time = String::from_utf8_lossy(&time).parse::<i128>().map_err(|_| SignatureError::Stale)?;
    if (time - i128::from(NOW_MS)).abs() <= 300_000 { Ok(()) } else { Err(SignatureError::Stale) }
}

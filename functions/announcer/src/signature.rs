//! What a receiver can tell our events from others' by: HMAC-SHA256 in hex, over `{timestamp}.{body}`.

use headroom::vapi::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header with the time of sending, in seconds of the Unix epoch.
pub const TIMESTAMP: &str = "x-headroom-timestamp";
/// The header with the signatures: `v1=HEX`, one for each secret, separated by commas.
pub const SIGNATURE: &str = "x-headroom-signature";

/// The value of [`SIGNATURE`]. While the secret is being changed there are several: a receiver takes one that is good.
pub fn signatures(secrets: &[Secret], timestamp: i64, body: &str) -> String {
    let signed = secrets.iter().map(|secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(format!("{timestamp}.").as_bytes());
        mac.update(body.as_bytes());
        format!("v1={}", hex::encode(mac.finalize().into_bytes()))
    });
    signed.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_documented_one() {
        // printf '1774540000.{"id":"1"}' | openssl dgst -sha256 -hmac secret
        let one = signatures(&[Secret::new("secret")], 1_774_540_000, r#"{"id":"1"}"#);
        assert_eq!(one, "v1=d7f88c2f8b89a6d709349a713e07e96352a805b9f909c8a52b939a77c788d099");
        let both = signatures(&[Secret::new("new"), Secret::new("secret")], 1_774_540_000, r#"{"id":"1"}"#);
        assert!(
            both.ends_with(&format!(",{one}")) && both.starts_with("v1=") && both.len() == 2 * one.len() + 1
        );
    }
}

//! Sending server messages: their order, their proof of origin, and their mishaps.
//!
//! Each call has an outbox of its own, emptied by a task of its own. So the messages of one call arrive in
//! order, while a receiver that is slow for one call delays neither another call nor the telephony. A late
//! message leaves the queue and overtakes nothing: the others overtake it.

use std::{sync::Arc, time::Duration};

use axum::http::{Request, Response};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::mpsc;

use crate::{
    config::{Webhook, WebhookAuth},
    fate::{self, About, WebhookFate},
    shared::Shared,
};

/// How long a receiver has to answer, in wall time. Nothing is sent again.
const PATIENCE: Duration = Duration::from_secs(20);

/// The webhooks of one call, in order.
pub(crate) struct Outbox {
    sim: Arc<Shared>,
    index: usize,
    key: u64,
    written: u64,
    queue: mpsc::UnboundedSender<Letter>,
}

struct Letter {
    body: String,
    /// The `ended` update: the truth remembers when it left and whether it arrived.
    is_ended: bool,
    copies: u8,
}

impl Outbox {
    pub(crate) fn open(sim: &Arc<Shared>, index: usize, key: u64) -> Self {
        let (queue, mut letters) = mpsc::unbounded_channel::<Letter>();
        let sender = Arc::clone(sim);
        sim.spawn(async move {
            while let Some(letter) = letters.recv().await {
                sender.send(index, letter).await;
            }
        });
        Self { sim: Arc::clone(sim), index, key, written: 0, queue }
    }

    /// Writes a message and lets chance decide what becomes of it. Never waits.
    pub(crate) fn post(&mut self, is_ended: bool, body: impl FnOnce() -> String) {
        let nth = self.written;
        self.written += 1;
        let fate = {
            let world = &mut *self.sim.world();
            if world.webhook(self.index).is_none() {
                return;
            }
            let fate = fate::webhook(fate::key(self.sim.seed, About::Webhook, self.key, nth), &world.faults);
            let counts = &mut world.counts.webhooks;
            match fate {
                WebhookFate::Sent => {}
                WebhookFate::Lost => counts.lost += 1,
                WebhookFate::Doubled => counts.doubled += 1,
                WebhookFate::Late(_) => counts.late += 1,
            }
            fate
        };
        let copies = match fate {
            WebhookFate::Lost => return,
            WebhookFate::Doubled => 2,
            _ => 1,
        };
        let letter = Letter { body: body(), is_ended, copies };
        if let WebhookFate::Late(seconds) = fate {
            let (sim, index) = (Arc::clone(&self.sim), self.index);
            self.sim.spawn(async move {
                sim.sleep(seconds).await;
                sim.send(index, letter).await;
            });
        } else {
            // The other end is gone only when the simulation was stopped.
            let _ = self.queue.send(letter);
        }
    }
}

impl Shared {
    async fn send(&self, index: usize, letter: Letter) {
        for _ in 0..letter.copies {
            let webhook = {
                let mut world = self.world();
                world.counts.webhooks.sent += 1;
                if letter.is_ended {
                    world.note_ended_webhook(self.clock.now_ms(), index);
                }
                world.webhook(index)
            };
            let answer = match &webhook {
                Some(webhook) => self.request(webhook, letter.body.clone(), PATIENCE).await,
                None => return,
            };
            let accepted = match answer {
                Ok(answer) => answer.status().is_success(),
                Err(error) => {
                    tracing::debug!(error = %error, "a webhook got no answer");
                    false
                }
            };
            let mut world = self.world();
            if !accepted {
                world.counts.webhooks.failed += 1;
            } else if letter.is_ended {
                world.note_ended_webhook_accepted(index);
            }
        }
    }

    /// One signed request to the server of an org.
    pub(crate) async fn request(
        &self,
        webhook: &Webhook,
        body: String,
        patience: Duration,
    ) -> anyhow::Result<Response<Vec<u8>>> {
        let request = Request::post(&webhook.url).header("content-type", "application/json");
        let request = match &webhook.auth {
            WebhookAuth::None => request,
            WebhookAuth::Secret(secret) => request.header("x-vapi-secret", secret),
            WebhookAuth::Bearer(token) => request.header("authorization", format!("Bearer {token}")),
            WebhookAuth::Hmac(secret) => {
                let timestamp = (self.clock.now_ms() as i64).to_string();
                let signature = sign(secret, &timestamp, &body);
                request.header("x-timestamp", timestamp).header("x-signature", signature)
            }
        };
        self.carrier.send(request.body(body.into_bytes())?, patience).await
    }
}

/// The signature over `{timestamp}.{body}`, in hex.
fn sign(secret: &str, timestamp: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_signature_is_the_one_that_vapi_sends() {
        let body = r#"{"message":{"type":"status-update","status":"ended","timestamp":1786546871392,"call":{"id":"call_kat123"}}}"#;
        assert_eq!(
            super::sign("whsec_vapi_sample_key", "1786546871433", body),
            "708dd047594968a1403c7e1695e89d3e0898ad57e0c6990ace3576f9a0259184",
        );
    }
}

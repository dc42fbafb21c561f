//! The webhook's handler on a real engine: any request, from anybody, has an answer that is its
//! sender's fault or fine, never 5xx.

use std::cell::RefCell;
use std::time::Duration;

use flows::{World, policy};
use headroom::config::{Assistants, Callers, Overflow};
use headroom::core::ids::CallId;
use lambda_http::{Body, Request};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::runtime::Runtime;
use webhook::Webhook;

use super::signature::authenticated;
use super::{Target, message};
use crate::checks::{ensure, says_no_number};
use crate::corpus::{self, Corpus};
use crate::frame::{Frame, secrets};
use crate::measure::{Bounds, Outcome};
use crate::pick;

pub(super) const NAME: &str = "webhook";

const NAMES: [&str; 7] =
    ["x-vapi-secret", "authorization", "x-signature", "x-timestamp", "content-type", ":method", ":path"];
/// The outbound call of the recorded bodies.
const CALL: &str = "019d2ad0-6eb1-7aac-9377-0000000000a1";
/// Tables that one engine gets before it is let go with all of them.
const TABLES: u32 = 200;

pub(super) fn target() -> anyhow::Result<Target> {
    let (bodies, kept) = (message::corpus(), corpus::kept_frames(NAME));
    let site = Site::start()?;
    Ok(Target {
        name: NAME,
        generate: Box::new(move |rng| generate(&bodies, &kept, rng).write()),
        run: Box::new(move |input| site.run(input)),
        // A table is made and filled first, and every write is HTTP to the engine.
        bounds: Bounds {
            time: Duration::from_secs(3),
            time_per_byte: Duration::from_micros(20),
            memory: 64 * 1024 * 1024,
            memory_per_byte: 64,
        },
        short: 80,
        expected: &["200", "400", "401"],
    })
}

fn generate(bodies: &Corpus, kept: &[Frame], rng: &mut StdRng) -> Frame {
    if !kept.is_empty() && rng.random_bool(0.05) {
        return pick(rng, kept).clone();
    }
    let now_ms = flows::start().as_millisecond();
    let mut frame = authenticated(bodies.body(rng), now_ms, rng);
    if rng.random_bool(0.1) {
        frame.change_head(rng, &NAMES, 4096);
    }
    frame
}

/// Worlds, each with one lead whose call is live.
struct Site {
    runtime: Runtime,
    /// The engine, and how many tables it has.
    world: RefCell<Option<(World, u32)>>,
}

impl Site {
    fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, world: RefCell::default() })
    }

    /// A table of this execution's own: what came before must not decide what it comes to.
    async fn fresh(&self) -> anyhow::Result<World> {
        let (engine, tables) = match self.world.take() {
            Some((engine, tables)) if tables < TABLES => (engine, tables),
            _ => (World::start(policy(10, 7, 3)).await?, 0),
        };
        let world = engine.beside(policy(10, 7, 3)).await?;
        self.world.replace(Some((engine, tables + 1)));
        let (claim, call): (_, CallId) = (world.lead("c", "l").await?, CALL.parse()?);
        world.live(&claim, &call).await?;
        Ok(world)
    }

    fn run(&self, input: &[u8]) -> Outcome {
        let frame = Frame::read(input);
        let mut request = Request::new(Body::Binary(frame.body.clone()));
        *request.headers_mut() = frame.headers();
        let method = frame.text(":method").unwrap_or("POST").parse();
        *request.method_mut() = method.unwrap_or(lambda_http::http::Method::PUT);
        *request.uri_mut() = frame.text(":path").unwrap_or(webhook::PATH).parse().unwrap_or_default();
        let assistants = Assistants::everywhere("as-inbound");
        let callers = Callers {
            secrets: secrets(),
            assistants,
            busy_message: "Busy.".into(),
            overflow: Overflow::default(),
        };
        let response = self.runtime.block_on(async {
            let world = self.fresh().await.map_err(|error| format!("no world: {error:#}"))?;
            Ok::<_, String>(Webhook::new(world.app.clone(), callers).handle(request).await)
        })?;
        let status = response.status().as_u16();
        let said = String::from_utf8_lossy(response.body()).into_owned();
        ensure(serde_json::from_str::<serde_json::Value>(&said).is_ok(), || format!("not JSON: {said}"))?;
        ensure(said.len() < 300, || format!("an answer of {} bytes", said.len()))?;
        says_no_number(&said, input)?;
        match status {
            200 => Ok("200"),
            400 => Ok("400"),
            401 => Ok("401"),
            404 => Ok("404"),
            405 => Ok("405"),
            other => Err(format!("answered {other}: {said}")),
        }
    }
}

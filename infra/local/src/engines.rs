//! The embedded engines: DynamoDB (dynoxide, in memory or in a file) and SQS (rustack, in memory).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::Credentials;
use rustack_sqs_core::config::SqsConfig;
use rustack_sqs_core::provider::RustackSqs;
use rustack_sqs_model::input::{CreateQueueInput, SendMessageInput};
use tokio::net::TcpListener;

/// The queue of campaign messages.
pub const CAMPAIGNS: &str = "campaigns";
/// The queue of wake-ups.
pub const WAKE: &str = "wake";
/// The queue of events.
pub const EVENTS: &str = "events";

/// Deliveries of a message before it goes to the dead-letter queue, as in the template.
const MAX_RECEIVES: u32 = 5;
/// The same for events, whose receiver may be gone for half a day.
const MAX_EVENT_RECEIVES: u32 = 24;

/// The embedded engines, running.
pub struct Engines {
    /// Where the DynamoDB engine listens: on loopback, on a port of its own.
    pub dynamo_url: String,
    /// The SQS engine.
    pub sqs: Arc<RustackSqs>,
    /// URL of the campaign queue.
    pub campaigns_url: String,
    /// URL of the wake queue.
    pub wake_url: String,
    /// URL of the queue of events.
    pub events_url: String,
}

impl Engines {
    /// Starts the engines. The table is in `data` if given, else in memory; queues are in memory in
    /// any case. `sqs_at` is where the SQS protocol is answered: it is part of the queues' URLs.
    ///
    /// `visibility_s`: seconds until a message that was not dealt with comes again.
    pub async fn start(data: Option<&Path>, sqs_at: SocketAddr, visibility_s: u32) -> anyhow::Result<Self> {
        let database = match data {
            None => dynoxide::Database::memory(),
            Some(folder) => {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("the data folder {} cannot be made", folder.display()))?;
                let file = folder.join("table.db");
                dynoxide::Database::new(file.to_str().context("the data folder's path is not UTF-8")?)
            }
        }
        .map_err(|error| anyhow::anyhow!("the embedded DynamoDB did not start: {error}"))?;
        let listener =
            TcpListener::bind("127.0.0.1:0").await.context("no free port for the embedded DynamoDB")?;
        let dynamo_url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()));

        let host =
            if sqs_at.ip().is_unspecified() { "127.0.0.1".to_owned() } else { sqs_at.ip().to_string() };
        let sqs = Arc::new(RustackSqs::new(SqsConfig { host, port: sqs_at.port(), ..SqsConfig::default() }));
        let create = async |name: &str, attributes: HashMap<String, String>| {
            let input =
                CreateQueueInput { queue_name: name.to_owned(), attributes, ..CreateQueueInput::default() };
            let created = sqs.create_queue(input).await;
            let created = created.map_err(|error| anyhow::anyhow!("queue {name}: {error:?}"))?;
            created.queue_url.with_context(|| format!("queue {name} has no URL"))
        };
        let with_dead_letters = |name: &str, most: u32| {
            let policy = format!(
                r#"{{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:{name}-dead","maxReceiveCount":{most}}}"#
            );
            HashMap::from([
                ("RedrivePolicy".to_owned(), policy),
                ("VisibilityTimeout".to_owned(), visibility_s.to_string()),
            ])
        };
        for name in [CAMPAIGNS, WAKE, EVENTS] {
            create(&format!("{name}-dead"), HashMap::new()).await?;
        }
        let campaigns_url = create(CAMPAIGNS, with_dead_letters(CAMPAIGNS, MAX_RECEIVES)).await?;
        let wake_url = create(WAKE, with_dead_letters(WAKE, MAX_RECEIVES)).await?;
        let events_url = create(EVENTS, with_dead_letters(EVENTS, MAX_EVENT_RECEIVES)).await?;
        Ok(Self { dynamo_url, sqs, campaigns_url, wake_url, events_url })
    }

    /// Puts a campaign message on its queue.
    pub async fn send_campaign(&self, body: String) -> anyhow::Result<()> {
        self.send(&self.campaigns_url, body).await
    }

    /// Puts an event on its queue.
    pub async fn send_event(&self, body: String) -> anyhow::Result<()> {
        self.send(&self.events_url, body).await
    }

    async fn send(&self, queue_url: &str, body: String) -> anyhow::Result<()> {
        let input = SendMessageInput {
            queue_url: queue_url.to_owned(),
            message_body: body,
            ..SendMessageInput::default()
        };
        let sent = self.sqs.send_message(input).await;
        sent.map(|_| ())
            .map_err(|error| anyhow::anyhow!("the embedded SQS did not take a message: {error:?}"))
    }
}

/// An AWS configuration that reaches an engine on this machine and nothing else. The keys are for show.
pub fn local_aws(endpoint: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(aws_sdk_dynamodb::config::SharedCredentialsProvider::new(Credentials::new(
            "local",
            "local",
            None,
            None,
            "headroom local runner",
        )))
        .retry_config(aws_sdk_dynamodb::config::retry::RetryConfig::standard().with_max_attempts(5))
        .timeout_config(
            aws_sdk_dynamodb::config::timeout::TimeoutConfig::builder()
                .operation_timeout(std::time::Duration::from_secs(9))
                .build(),
        )
        .build()
}

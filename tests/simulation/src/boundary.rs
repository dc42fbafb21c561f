//! The edge between a process and everything else: each call passes here, and here it is that it is
//! lost, doubled, delayed, refused, or that its process dies or stands still.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::config::{AsyncSleep, Sleep};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use futures::future::BoxFuture;
use headroom::vapi::transport::{NoAnswer, Transport};
use tokio::sync::oneshot;

use crate::calls;
use crate::dynamo::{Answer, Request};
use crate::faults::{Fault, Service};
use crate::naming;
use crate::plan::SIBLING_KEY;
use crate::process::Process;
use crate::world::{World, lock};

/// A call: what it is for, and how it is carried out at its other end.
struct Call<T> {
    service: Service,
    name: &'static str,
    /// What it is about, for the trace.
    about: String,
    /// Carries it out once; nothing if the connection breaks there.
    carry_out: Arc<dyn Fn() -> BoxFuture<'static, Option<T>> + Send + Sync>,
    /// What a refusal for the moment looks like.
    refusal: T,
    /// How an answer reads in the trace.
    shows: fn(&T) -> String,
}

impl World {
    /// One call of a process. Nothing if the connection broke.
    async fn call<T: Send + 'static>(self: &Arc<Self>, process: &Arc<Process>, call: Call<T>) -> Option<T> {
        process.running().await;
        let Call { service, name, about, carry_out, refusal, shows } = call;
        let (nth, fault, way) = {
            let mut faults = self.faults();
            let fault = faults.strike(process, service, name, self.clock.elapsed());
            let way = match service {
                Service::Dynamo => faults.chance().u64(1..6),
                Service::Queue => faults.chance().u64(4..15),
                Service::Vapi | Service::Dial => faults.chance().u64(1..8),
            };
            (faults.calls(), fault, Duration::from_millis(way))
        };
        let who = format_who(process);
        let said = fault.map(|fault| format!("  !! {}", describe(fault))).unwrap_or_default();
        self.note((process.id, name, fault), || format!("#{nth:<5} {who} {name} {about}{said}"));
        match fault {
            Some(Fault::CrashBefore) => {
                process.kill();
                process.running().await;
            }
            Some(Fault::Error) => {
                tokio::time::sleep(2 * way).await;
                process.running().await;
                return Some(refusal);
            }
            Some(Fault::Broken) => {
                tokio::time::sleep(way).await;
                process.running().await;
                return None;
            }
            Some(Fault::Freeze(span)) => process.freeze(span),
            Some(Fault::Stall(span)) => {
                process.freeze(span);
                process.running().await;
            }
            _ => {}
        }
        let (answers, answer) = oneshot::channel();
        let (world, sender) = (self.clone(), process.clone());
        // In a task of its own: who gave up, or died, does not take back what was sent.
        tokio::spawn(async move {
            let late = if let Some(Fault::Delayed(span)) = fault { span } else { Duration::ZERO };
            tokio::time::sleep(way + late).await;
            let answer = carry_out().await;
            world.note((name, nth), || {
                let what = answer.as_ref().map_or_else(|| "connection cut".to_owned(), shows);
                format!("#{nth:<5} {who} {name} -> {what}")
            });
            match fault {
                Some(Fault::CrashAfter) => sender.kill(),
                Some(Fault::AnswerLost) => return,
                Some(Fault::AnswerHangs) => {
                    // For longer than anybody waits, but not for ever: a history ends.
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                    return;
                }
                Some(Fault::Doubled(span)) => {
                    let world = world.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(span).await;
                        let again = carry_out().await;
                        world.note((name, nth, "again"), || {
                            let what = again.as_ref().map_or_else(|| "connection cut".to_owned(), shows);
                            format!("#{nth:<5} {who} {name} again -> {what}")
                        });
                    });
                }
                _ => {}
            }
            tokio::time::sleep(way).await;
            // Nobody may be waiting any more.
            let _ = answers.send(answer);
        });
        let answer = answer.await.ok().flatten();
        process.running().await;
        answer
    }
}

fn format_who(process: &Process) -> String {
    format!("{}-{}", process.function.name(), process.id)
}

fn describe(fault: Fault) -> String {
    match fault {
        Fault::Doubled(span) => format!("doubled, again after {:.1} s", span.as_secs_f64()),
        Fault::Delayed(span) => format!("delayed by {:.1} s", span.as_secs_f64()),
        Fault::Freeze(span) => format!("process frozen for {:.1} s", span.as_secs_f64()),
        Fault::Stall(span) => format!("process frozen for {:.1} s before", span.as_secs_f64()),
        other => other.name().to_owned(),
    }
}

/// The SDK's way out of a process: below its retries, its time-outs and its serialisation.
#[derive(Debug, Clone)]
pub struct Aws {
    /// The world outside.
    pub world: Arc<World>,
    /// Who calls.
    pub process: Arc<Process>,
}

impl HttpClient for Aws {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Aws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
            let body = request.body().bytes().expect("the SDK sends its requests in one piece");
            let text = String::from_utf8(body.to_vec()).expect("the SDK sends JSON");
            let answer = match target.split_once('.') {
                Some(("DynamoDB_20120810", operation)) => this.dynamo(operation, text).await,
                Some(("AmazonSQS", "SendMessage")) => this.send_message(text).await,
                Some(("AmazonSQS", "SendMessageBatch")) => this.send_events(text).await,
                _ => panic!("the functions have never sent {target} before: teach the simulation"),
            };
            let Some(Answer { status, body }) = answer else {
                return Err(ConnectorError::io("the connection broke".into()));
            };
            let status = status.try_into().expect("a status of three digits");
            let mut answer = HttpResponse::new(status, SdkBody::from(body));
            answer.headers_mut().insert("content-type", "application/x-amz-json-1.0");
            Ok(answer)
        })
    }
}

fn shows(answer: &Answer) -> String {
    if answer.status == 200 {
        return "ok".to_owned();
    }
    let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let name = json["__type"].as_str().and_then(|name| name.rsplit('#').next()).unwrap_or("error");
    format!("{} {name}", answer.status)
}

impl Aws {
    async fn dynamo(&self, operation: &str, text: String) -> Option<Answer> {
        let text = lock(&self.world.meter).asking(text);
        let json = serde_json::from_str(&text).expect("the SDK sends JSON");
        let request = Arc::new(Request { operation: operation.to_owned(), text, json });
        let name = naming::of_dynamo(&request);
        for call in calls::Call::of_dynamo(operation, &request.json) {
            self.world.called(self.process.function, &call);
        }
        let refusal = match (operation, self.world.faults().chance().u8(0..4)) {
            // As while a transaction is at work on the item.
            ("UpdateItem" | "PutItem", 3) => Answer::error(400, "TransactionConflictException"),
            ("TransactWriteItems", 0 | 1) => Answer::conflict(),
            (_, 0) => Answer::error(500, "InternalServerError"),
            (_, 1) => Answer::error(400, "ProvisionedThroughputExceededException"),
            _ => Answer::error(400, "ThrottlingException"),
        };
        let (world, about) = (self.world.clone(), self.world.about(&request));
        let (process, function) = (self.process.id, self.process.function);
        let carry_out = Arc::new(move || -> BoxFuture<'static, Option<Answer>> {
            world.asked_by(process, name);
            let answer = world.carry_out(&request, name);
            lock(&world.meter).answered(function, name, &request, &answer);
            Box::pin(std::future::ready(Some(answer)))
        });
        self.world
            .call(&self.process, Call { service: Service::Dynamo, name, about, carry_out, refusal, shows })
            .await
    }

    async fn send_message(&self, text: String) -> Option<Answer> {
        let json: serde_json::Value = serde_json::from_str(&text).expect("the SDK sends JSON");
        let queue = json["QueueUrl"].as_str().unwrap_or_default();
        self.world.called(self.process.function, &calls::Call::send_to(queue));
        let body = json["MessageBody"].as_str().unwrap_or_default().to_owned();
        let delay = Duration::from_secs(json["DelaySeconds"].as_u64().unwrap_or_default());
        let about = if delay.is_zero() { String::new() } else { format!("in {} s", delay.as_secs()) };
        let (world, function) = (self.world.clone(), self.process.function);
        let carry_out = Arc::new(move || -> BoxFuture<'static, Option<Answer>> {
            lock(&world.meter).sent(function);
            world.queues.wake.send(body.clone(), delay);
            let answer = serde_json::json!({ "MessageId": "m", "MD5OfMessageBody": "0" });
            Box::pin(std::future::ready(Some(Answer { status: 200, body: answer.to_string() })))
        });
        let refusal =
            Answer { status: 503, body: r#"{"__type":"com.amazonaws.sqs#ServiceUnavailable"}"#.into() };
        self.world
            .call(
                &self.process,
                Call { service: Service::Queue, name: "SendMessage", about, carry_out, refusal, shows },
            )
            .await
    }
}

/// Events are put on their queue.
impl Aws {
    async fn send_events(&self, text: String) -> Option<Answer> {
        let json: serde_json::Value = serde_json::from_str(&text).expect("the SDK sends JSON");
        let queue = json["QueueUrl"].as_str().unwrap_or_default();
        self.world.called(self.process.function, &calls::Call::send_to(queue));
        let entries = json["Entries"].as_array().cloned().unwrap_or_default();
        let about = format!("{} events", entries.len());
        let world = self.world.clone();
        let carry_out = Arc::new(move || -> BoxFuture<'static, Option<Answer>> {
            // SQS may take some and not others.
            let (mut taken, mut refused) = (Vec::new(), Vec::new());
            for entry in &entries {
                let is_refused = world.refuses_event();
                let id = &entry["Id"];
                if is_refused {
                    refused
                        .push(serde_json::json!({ "Id": id, "SenderFault": false, "Code": "InternalError" }));
                } else {
                    world.event_told(entry["MessageBody"].as_str().unwrap_or_default());
                    taken.push(serde_json::json!({ "Id": id, "MessageId": "m", "MD5OfMessageBody": "0" }));
                }
            }
            let answer = serde_json::json!({ "Successful": taken, "Failed": refused });
            Box::pin(std::future::ready(Some(Answer { status: 200, body: answer.to_string() })))
        });
        let refusal =
            Answer { status: 503, body: r#"{"__type":"com.amazonaws.sqs#ServiceUnavailable"}"#.into() };
        let name = "SendMessageBatch";
        self.world
            .call(&self.process, Call { service: Service::Queue, name, about, carry_out, refusal, shows })
            .await
    }
}

/// The SDK's timers: those of its process.
#[derive(Debug, Clone)]
pub struct Timers(pub Arc<Process>);

impl AsyncSleep for Timers {
    fn sleep(&self, duration: Duration) -> Sleep {
        let process = self.0.clone();
        Sleep::new(async move { process.sleep(duration).await })
    }
}

/// The way to the simulated Vapi.
#[derive(Debug, Clone)]
pub struct ToVapi {
    /// The world outside.
    pub world: Arc<World>,
    /// Who calls.
    pub process: Arc<Process>,
    /// With which key.
    pub key: &'static str,
}

type VapiAnswer = http::Response<Vec<u8>>;

impl Transport for ToVapi {
    fn send(
        &self,
        mut request: http::Request<Vec<u8>>,
        patience: Duration,
    ) -> BoxFuture<'_, Result<VapiAnswer, NoAnswer>> {
        let name = naming::of_vapi(
            request.method(),
            request.uri().path_and_query().map_or("/", |path| path.as_str()),
        );
        let key = http::HeaderValue::from_str(&format!("Bearer {}", self.key)).expect("keys are plain");
        request.headers_mut().insert(http::header::AUTHORIZATION, key);
        let service = if name == "POST /call" { Service::Dial } else { Service::Vapi };
        let about = crate::world::about_vapi(&request);
        let is_list = name == "GET /call" && self.key == SIBLING_KEY;
        let world = self.world.clone();
        let carry_out = Arc::new(move || -> BoxFuture<'static, Option<VapiAnswer>> {
            let (world, request) = (world.clone(), request.clone());
            Box::pin(async move {
                if service == Service::Dial {
                    world.check_dial(&request);
                }
                if is_list && world.is_unlisted() {
                    return None;
                }
                world.ask_vapi(request).await
            })
        });
        let mut refusal =
            http::Response::new(br#"{"message":"Internal server error","statusCode":500}"#.to_vec());
        *refusal.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        let shows = |answer: &VapiAnswer| answer.status().as_u16().to_string();
        Box::pin(async move {
            let call = Call { service, name, about, carry_out, refusal, shows };
            tokio::select! {
                biased;
                answer = self.world.call(&self.process, call) => {
                    answer.ok_or_else(|| NoAnswer::Lost("the connection broke".into()))
                }
                () = self.process.sleep(patience) => Err(NoAnswer::Lost("no answer in time".into())),
            }
        })
    }
}

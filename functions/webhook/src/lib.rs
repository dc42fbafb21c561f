//! The webhook: `POST /vapi`, where Vapi sends its server messages.
//!
//! | answer | when |
//! |---|---|
//! | 200 | done, or ignored on purpose |
//! | 400 | not a server message: it would not be one the next time either |
//! | 401 | not from Vapi, as far as its headers show |
//! | 404, 405 | another path, another method |
//! | 500 | the table did not answer: another try can help |
//!
//! The answer waits for the write, and for nothing slower. A caller is answered in any case: without the table, as if there
//! was a line for them.

use headroom::config::Callers;
use headroom::core::callback::Unpromised;
use headroom::core::ids::{CallId, NameCode};
use headroom::core::line::Kind;
use headroom::flows::App;
use headroom::flows::observe::{Answer, Effect};
use headroom::logging::chain;
use headroom::metrics::METRICS;
use headroom::table::TableError;
use headroom::vapi::message::{CALL_BACK, CallEvent, DO_NOT_CALL, ServerMessage, ToolCalls};
use headroom::vapi::signature;
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Request, Response};
use serde_json::{Value, json};

/// The path that Vapi posts to.
pub const PATH: &str = "/vapi";

/// The function, connected.
pub struct Webhook {
    app: App,
    callers: Callers,
}

impl Webhook {
    /// The function on `app`, letting in and answering as `callers` says.
    pub fn new(app: App, callers: Callers) -> Self {
        Self { app, callers }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        let began = self.app.clock.now();
        let answer = Box::pin(self.answer(request)).await;
        let took = self.app.clock.now().duration_since(began);
        tracing::trace!(target: METRICS, WebhookMs = took.as_millis() as i64);
        answer
    }

    async fn answer(&self, request: Request) -> Response<Body> {
        if request.uri().path() != PATH {
            return answer(StatusCode::NOT_FOUND, &json!({ "error": "server messages go to POST /vapi" }));
        }
        if request.method() != Method::POST {
            return answer(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "server messages are POSTed" }));
        }
        let now = self.app.clock.now();
        let body: &[u8] = request.body();
        if let Err(error) = signature::verify(&self.callers.secrets, request.headers(), body, now) {
            tracing::warn!(reason = %error, "webhook refused: not authenticated");
            tracing::trace!(target: METRICS, WebhookUnauthenticated = 1_u32);
            return answer(StatusCode::UNAUTHORIZED, &json!({ "error": error.to_string() }));
        }
        let message = match ServerMessage::parse(body) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(reason = %error, bytes = body.len(), "webhook refused: not readable");
                return answer(StatusCode::BAD_REQUEST, &json!({ "error": error.to_string() }));
            }
        };
        let call = message.call().cloned();
        match self.respond(message).await {
            Ok(body) => answer(StatusCode::OK, &body),
            Err(error) => {
                let call = call.as_ref().map(CallId::as_str);
                tracing::error!(
                    call.id = call,
                    error = chain(&error),
                    "webhook failed: the table did not answer"
                );
                answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": "not stored; try again" }))
            }
        }
    }

    /// A caller on a bare number is the agent's that is to answer there, before it does.
    fn with_assistant(&self, mut event: CallEvent) -> CallEvent {
        if event.kind == Some(Kind::Inbound) && event.assistants.is_empty() {
            let assistant = self.callers.assistants.of(event.number.as_deref());
            event.assistants.extend(assistant.map(NameCode::of));
        }
        event
    }

    /// Does what Headroom's own tools are for: that a person is not called any more, or is called at a time of theirs.
    /// Others' are not answered.
    async fn use_tools(&self, used: &ToolCalls) -> Result<Value, TableError> {
        let mut results = Vec::new();
        for call in used.asked.iter().filter(|call| DO_NOT_CALL.contains(&call.name.as_str())) {
            let result = match (&used.call, &used.person) {
                (Some(call), Some(person)) => {
                    self.app.hear_refusal(call, used.org.as_ref(), person).await?;
                    "Noted: this number is not called any more."
                }
                _ => "The number of this call is not known: nothing was noted.",
            };
            results.push(json!({ "toolCallId": call.id, "result": result }));
        }
        for tool in used.asked.iter().filter(|tool| CALL_BACK.contains(&tool.name.as_str())) {
            let result = match &used.call {
                Some(call) => {
                    let whose = (used.org.as_ref(), used.claims.as_slice());
                    let heard = self.app.hear_callback(call, whose, tool.at.as_ref(), Some(&tool.id)).await?;
                    heard.map_or_else(|why| format!("Not confirmed: {why}."), |promised| promised.spoken())
                }
                None => format!("Not confirmed: {}.", Unpromised::NoLead),
            };
            results.push(json!({ "toolCallId": tool.id, "result": result }));
        }
        Ok(json!({ "results": results }))
    }

    async fn respond(&self, message: ServerMessage) -> Result<Value, TableError> {
        match message {
            ServerMessage::Call(event) => {
                let event = self.with_assistant(event);
                let effect = self.app.observe(&event).await?;
                if effect == Effect::OtherOrg {
                    tracing::warn!(
                        call.id = %event.call,
                        org.id = event.org.as_ref().map(|org| org.as_str()),
                        "webhook ignored: of another organisation; if it shares the lines, name it in HEADROOM_ORGS"
                    );
                }
                tracing::debug!(call.id = %event.call, ?effect, "webhook observed");
                Ok(json!({}))
            }
            ServerMessage::AssistantRequest(event) => {
                Ok(match self.app.answer_anyway(&event, &self.callers).await {
                    Answer::Assistant(id) => json!({ "assistantId": id }),
                    Answer::Refusal(text) => json!({ "error": text }),
                    Answer::Forward(number) => {
                        json!({ "destination": { "type": "number", "number": number.reveal() } })
                    }
                })
            }
            ServerMessage::Predial => Ok(json!({ "eligible": self.app.outbound_could_start().await? })),
            ServerMessage::ToolCalls(used) => self.use_tools(&used).await,
            ServerMessage::Ignored(kind) => {
                tracing::debug!(message.kind = kind.chars().take(60).collect::<String>(), "webhook ignored");
                Ok(json!({}))
            }
        }
    }
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a status and a constant header make a response")
}

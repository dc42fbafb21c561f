//! The tables' tests without one part of one write's condition: `HEADROOM_WITHOUT="take: rev = :rev"` takes
//! it out of every request on its way to the engine. A test has to fail then; `headroom-sim conditions`
//! sees to it that one does.

use std::sync::Arc;

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_types::body::SdkBody;
use headroom_sim::dynamo::Request;
use headroom_sim::naming;
use headroom_sim::weaken::{self, WITHOUT};

/// Sits between the SDK and the engine.
#[derive(Debug, Clone)]
pub(crate) struct Without {
    /// The write, and the part's text.
    part: Arc<(String, String)>,
}

impl Without {
    /// What the environment asks for, if it asks for anything.
    ///
    /// # Panics
    /// If it does not say which write the part is of: a test that leaves nothing out would prove nothing.
    pub(crate) fn asked() -> Option<Self> {
        #[allow(clippy::disallowed_methods, reason = "no function reads this: it asks the tests")]
        let text = std::env::var(WITHOUT).ok()?;
        let (write, part) = text.split_once(": ").expect("HEADROOM_WITHOUT is `write: part`");
        Some(Self { part: Arc::new((write.to_owned(), part.to_owned())) })
    }
}

impl Intercept for Without {
    fn name(&self) -> &'static str {
        "Without"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let Some(operation) = target.strip_prefix("DynamoDB_20120810.") else { return Ok(()) };
        if !matches!(operation, "PutItem" | "UpdateItem" | "TransactWriteItems") {
            return Ok(());
        }
        let text = String::from_utf8(request.body().bytes().unwrap_or_default().to_vec())?;
        let asked = Request { operation: operation.to_owned(), json: serde_json::from_str(&text)?, text };
        let (write, part) = &*self.part;
        if naming::of_dynamo(&asked) == write
            && let Some(weaker) = weaken::without(part, &asked.json)
        {
            let weaker = weaker.to_string();
            request.headers_mut().insert("content-length", weaker.len().to_string());
            *request.body_mut() = SdkBody::from(weaker);
        }
        Ok(())
    }
}

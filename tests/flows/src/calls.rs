//! Notes what the code asks of DynamoDB, in the words of its role.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use headroom_sim::calls::Call;

/// Sits between the SDK and the engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<BTreeSet<Call>>>);

impl Calls {
    /// What was asked since the last time this was called.
    pub(crate) fn take(&self) -> BTreeSet<Call> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "Calls"
    }

    fn read_before_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let Some(operation) = target.strip_prefix("DynamoDB_20120810.") else { return Ok(()) };
        // The only ones whose body says more than their name.
        let reads_body = matches!(operation, "Query" | "DeleteItem" | "TransactWriteItems");
        let body = request.body().bytes().filter(|_| reads_body).unwrap_or(b"null");
        let calls = Call::of_dynamo(operation, &serde_json::from_slice(body)?);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(calls);
        Ok(())
    }
}

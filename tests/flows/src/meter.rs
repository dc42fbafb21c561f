//! Counts what writes cost: asks the engine for the capacity that each consumed, and adds it up.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};

/// Sits between the SDK and the engine, and counts from when it is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<f64>>);

impl Meter {
    /// Write units since the last time this was called.
    pub(crate) fn take(&self) -> f64 {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        if !["PutItem", "UpdateItem", "TransactWriteItems"].iter().any(|write| target.ends_with(write)) {
            return Ok(());
        }
        let mut asked: Value = serde_json::from_slice(request.body().bytes().unwrap_or_default())?;
        asked["ReturnConsumedCapacity"] = json!("TOTAL");
        let asked = asked.to_string();
        request.headers_mut().insert("content-length", asked.len().to_string());
        *request.body_mut() = SdkBody::from(asked);
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let consumed = &answer["ConsumedCapacity"];
        let of = |one: &Value| one["CapacityUnits"].as_f64().unwrap_or_default();
        let units = consumed.as_array().map_or(of(consumed), |several| several.iter().map(of).sum());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += units;
        Ok(())
    }
}

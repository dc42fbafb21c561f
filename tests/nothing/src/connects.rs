//! A function that does nothing either, but opens at its start what Headroom's functions open: Parameter Store, DynamoDB
//! and Vapi. What they take beyond it is their own doing.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::disallowed_methods, reason = "it has no configuration")]
async fn main() -> Result<(), Error> {
    let aws = aws_config::defaults(aws_config::BehaviorVersion::latest()).load().await;
    let (ssm, dynamo) = (aws_sdk_ssm::Client::new(&aws), aws_sdk_dynamodb::Client::new(&aws));
    let vapi = reqwest::Client::builder().build()?;
    ssm.get_parameters().names("/headroom/vapi-key").with_decryption(true).send().await?;
    let key = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let read = dynamo.get_item().table_name("headroom").key("pk", key("NOTHING")).key("sk", key("NOTHING"));
    let (read, asked) = tokio::join!(read.send(), vapi.head(std::env::var("HEADROOM_VAPI_URL")?).send());
    read?;
    asked?;
    run(service_fn(|_: LambdaEvent<Value>| async { Ok::<_, Error>(()) })).await
}

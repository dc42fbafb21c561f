//! The least that a function on Lambda can be: it connects to the runtime's API and answers. No logging, no
//! configuration, no client. What the others' start is measured against.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(|_: LambdaEvent<Value>| async { Ok::<_, Error>(()) })).await
}

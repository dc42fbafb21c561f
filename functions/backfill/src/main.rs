//! The backfill on Lambda: reads the configuration, connects, serves.

use headroom::config::{Access, Environment, Store};
use headroom::core::timers::Timers;
use headroom::flows::{Clock as _, SystemClock, aws_config, main_pool};
use headroom::table::Table;
use headroom::vapi::Vapi;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    headroom::logging::init_json();
    let aws = aws_config().await;
    let env = Environment::load(&aws).await?;
    let (store, access) = (Store::from_env(&env)?, Access::from_env(&env)?);
    let table = Table::new(aws_sdk_dynamodb::Client::new(&aws), &store.table, main_pool());
    let vapi = Vapi::new(&access.vapi_url, &access.keys.main, Timers::default())?;
    let ((), reached) = tokio::join!(vapi.warm(), table.warm());
    reached?;
    run(service_fn(|_: LambdaEvent<Value>| async {
        backfill::handle(&table, &vapi, SystemClock.now()).await.map_err(Error::from)
    }))
    .await
}

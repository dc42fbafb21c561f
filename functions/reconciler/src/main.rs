//! The reconciler on Lambda: reads the configuration, connects, serves. What the schedule sends is
//! not looked at: a pass takes no hints.

use headroom::config::{Access, Environment, Lines, Store, Telling};
use headroom::flows::{App, aws_config};
use headroom::outlet::Outlet;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    headroom::logging::init_json();
    let aws = aws_config().await;
    let env = Environment::load(&aws).await?;
    let outlet =
        Telling::from_env(&env)?.queue_url.map(|url| Outlet::new(aws_sdk_sqs::Client::new(&aws), url));
    let (store, access) = (Store::from_env(&env)?, Access::from_env(&env)?);
    let app = App::connect(&aws, &store, Some(&access), Lines::from_env(&env)?).await?.telling(outlet);
    run(service_fn(|_: LambdaEvent<Value>| async { reconciler::handle(&app).await.map_err(Error::from) }))
        .await
}

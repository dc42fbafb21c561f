//! The reconciler on Lambda: reads the configuration, connects, serves. What the schedule sends is
//! not looked at: a pass takes no hints.

use headroom::config::{Access, Environment, Lines};
use headroom::flows::{App, aws_config};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    headroom::logging::init_json();
    let aws = aws_config().await;
    let env = Environment::load(&aws).await?;
    let app = App::connect(&aws, &Access::from_env(&env)?, Lines::from_env(&env)?).await?;
    run(service_fn(|_: LambdaEvent<Value>| async { reconciler::handle(&app).await.map_err(Error::from) }))
        .await
}

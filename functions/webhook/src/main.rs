//! The webhook on Lambda: reads the configuration, connects, serves.

use headroom::config::{Access, Callers, Environment, Lines, Store};
use headroom::flows::{App, aws_config};
use lambda_http::{Error, Request, run, service_fn};
use webhook::Webhook;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    headroom::logging::init_json();
    let aws = aws_config().await;
    let env = Environment::load(&aws).await?;
    let callers = Callers::from_env(&env)?;
    let (store, access) = (Store::from_env(&env)?, Access::from_env(&env)?);
    let app = App::connect(&aws, &store, Some(&access), Lines::from_env(&env)?).await?;
    let webhook = Webhook::new(app, callers);
    run(service_fn(|request: Request| async { Ok::<_, Error>(webhook.handle(request).await) })).await
}

//! The dispatcher on Lambda: reads the configuration, connects, serves.

use std::sync::Arc;

use aws_lambda_events::event::sqs::SqsEvent;
use headroom::config::{Access, Environment, Lines, Store, Telling};
use headroom::flows::{App, aws_config};
use headroom::outlet::Outlet;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    headroom::logging::init_json();
    let aws = aws_config().await;
    let env = Environment::load(&aws).await?;
    let outlet =
        Telling::from_env(&env)?.queue_url.map(|url| Outlet::new(aws_sdk_sqs::Client::new(&aws), url));
    let (store, access) = (Store::from_env(&env)?, Access::from_env(&env)?);
    let app = App::connect(&aws, &store, Some(&access), Lines::from_env(&env)?).await?.telling(outlet);
    let app = Arc::new(app);
    run(service_fn(|LambdaEvent { payload, context }: LambdaEvent<SqsEvent>| {
        let app = app.clone();
        async move {
            let deadline_ms = i64::try_from(context.deadline).unwrap_or(i64::MAX);
            Ok::<_, Error>(dispatcher::handle(&app, payload, deadline_ms).await)
        }
    }))
    .await
}

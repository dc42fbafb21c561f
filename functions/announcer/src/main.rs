//! The announcer on Lambda: reads the configuration, connects, serves.

use announcer::Announcer;
use aws_lambda_events::event::sqs::SqsEvent;
use headroom::config::{Environment, Listeners};
use headroom::flows::aws_config;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    headroom::logging::init_json();
    let aws = aws_config().await;
    let env = Environment::load(&aws).await?;
    let (events, sqs) = (aws_sdk_eventbridge::Client::new(&aws), aws_sdk_sqs::Client::new(&aws));
    let announcer = Announcer::new(Listeners::from_env(&env)?, events, sqs)?;
    run(service_fn(|LambdaEvent { payload, .. }: LambdaEvent<SqsEvent>| async {
        Ok::<_, Error>(announcer.handle(payload).await)
    }))
    .await
}

//! The console on Lambda: reads the configuration, connects, serves.

use console::{Console, escaped_path};
use headroom::config::{Environment, Lines, Operators, Store};
use headroom::flows::{App, aws_config};
use headroom::inlet::Inlet;
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, Error, LambdaEvent, Request, Service as _, lambda_runtime, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    headroom::logging::init_json();
    let aws = aws_config().await;
    let env = Environment::load(&aws).await?;
    let operators = Operators::from_env(&env)?;
    // It asks nothing of Vapi, and has no key.
    let app = App::connect(&aws, &Store::from_env(&env)?, None, Lines::from_env(&env)?).await?;
    let inlet = Inlet::new(aws_sdk_sqs::Client::new(&aws), operators.campaign_queue_url);
    let console = Console::new(app, operators.token, inlet);
    let handle = service_fn(|request: Request| async { Ok::<_, Error>(console.handle(request).await) });
    let adapter = Adapter::from(handle);
    let serve = service_fn(|mut event: LambdaEvent<LambdaRequest>| {
        if let LambdaRequest::ApiGatewayV2(request) = &mut event.payload {
            request.raw_path = request.raw_path.take().map(|path| escaped_path(&path));
        }
        adapter.clone().call(event)
    });
    lambda_runtime::run(serve).await
}

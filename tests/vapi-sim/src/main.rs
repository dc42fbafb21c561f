//! The simulated Vapi as a program: `vapi-sim --help` says it all.

mod args;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;
use vapi_sim::Sim;

#[tokio::main]
#[allow(clippy::print_stdout, reason = "its URL and the truth are what this program is run for")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let args = args::Args::parse();
    let listen = args.listen;
    let config = args.into_config().map_err(anyhow::Error::msg)?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let sim = Sim::start(config, listener);
    println!("{}", sim.url());
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    sim.stop();
    println!("{:#}", sim.truth().summary());
    Ok(())
}

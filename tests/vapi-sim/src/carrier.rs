//! How server messages get to the server of an org, and its answers back: over HTTP, or to a
//! function of the same process that takes the same request.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::http::{Request, Response};

/// Takes a server message where an HTTP server would, and answers it; nothing if there is never to be
/// an answer.
pub type Deliver = Arc<
    dyn Fn(Request<Vec<u8>>) -> Pin<Box<dyn Future<Output = Option<Response<Vec<u8>>>> + Send>> + Send + Sync,
>;

/// The way to the server.
pub(crate) enum Carrier {
    /// One client for all messages, so that connections are kept alive.
    Http(reqwest::Client),
    InProcess(Deliver),
}

impl Carrier {
    pub(crate) fn http() -> Self {
        // A proxy from the environment would come between the two programs of a test.
        let client =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect(
                "a client with built-in certificates and no proxy needs nothing that could be missing",
            );
        Self::Http(client)
    }

    /// Sends one message and waits for the whole answer, for `patience` of wall time at most.
    pub(crate) async fn send(
        &self,
        request: Request<Vec<u8>>,
        patience: Duration,
    ) -> anyhow::Result<Response<Vec<u8>>> {
        match self {
            Self::Http(client) => {
                let mut request = reqwest::Request::try_from(request)?;
                *request.timeout_mut() = Some(patience);
                let answer = client.execute(request).await?;
                let status = answer.status();
                // A body is read to its end, or the connection could not be used again.
                let mut whole = Response::new(answer.bytes().await?.into());
                *whole.status_mut() = status;
                Ok(whole)
            }
            Self::InProcess(deliver) => {
                let answer = tokio::time::timeout(patience, deliver(request)).await?;
                answer.ok_or_else(|| anyhow::anyhow!("the connection was cut"))
            }
        }
    }
}

//! Asking the real client and answering with chosen bytes: the one place that knows how an answer
//! reaches it. Over loopback, so that reading HTTP itself is part of it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use headroom::core::callback::Callbacks;
use headroom::core::campaign::{Message, Spec};
use headroom::core::ids::{CallId, CampaignCode, LeadRef};
use headroom::core::lead::{Lead, LeadState};
use headroom::core::retry::Tried;
use headroom::core::timers::Timers;
use headroom::vapi::analytics::History;
use headroom::vapi::calls::{Call, Listing};
use headroom::vapi::dial::Dialed;
use headroom::vapi::{Secret, Vapi, VapiError};
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// An answer of Vapi's, whatever it is worth.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// HTTP status, 200 to 599.
    pub(super) status: u16,
    /// Headers, as bytes that a header may have.
    pub(super) headers: http::HeaderMap,
    /// The body.
    pub(super) body: Vec<u8>,
    /// Bytes that are promised and never come.
    pub(super) missing: usize,
}

/// What the client is asked to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question {
    Dial,
    Get,
    List,
    History,
}

/// What the client made of the answer.
#[derive(Debug)]
pub(super) enum Made {
    Dialed(Dialed),
    Call(Result<Option<Call>, VapiError>),
    Listing(Result<Listing, VapiError>),
    History(Result<History, VapiError>),
}

/// A client and a server that answers it as told.
pub(super) struct Line {
    runtime: Runtime,
    answer: Arc<Mutex<Arc<[u8]>>>,
    vapi: Vapi,
    spec: Box<Spec>,
    lead: Lead,
    call: CallId,
}

/// When everything is asked.
pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_774_540_000).expect("a second of 2026 is in range")
}

impl Line {
    pub(super) fn open() -> anyhow::Result<Self> {
        // One thread: an execution's work is done where its time is measured.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = Arc::<Mutex<Arc<[u8]>>>::new(Mutex::new(Arc::new([])));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).context("no free port")?;
        let base = format!("http://{}", listener.local_addr()?);
        runtime.spawn(serve(listener, answer.clone()));
        let body = br#"{"campaign":{"id":"c","assistantId":"a","phoneNumberId":"p"},"leads":[{"number":"+14155550100"}]}"#;
        let Ok(Message::Leads { spec, leads, .. }) = Message::parse(body) else {
            anyhow::bail!("the campaign is good");
        };
        let new = leads.into_iter().next().context("the lead is good")?;
        let lead = Lead {
            campaign: CampaignCode::of(&spec.id),
            lead: LeadRef::of(&new.id),
            id: new.id,
            number: new.number,
            name: None,
            timezone: None,
            variables: None,
            state: LeadState::Ready,
            token: None,
            call: None,
            figures: None,
            claims: 1,
            attempts: 0,
            tried: Tried::default(),
            spared: 0,
            lane: new.lane,
            callbacks: Callbacks::default(),
        };
        Ok(Self {
            vapi: Vapi::new(&base, &Secret::new("key"), Timers::default())?,
            runtime,
            answer,
            spec,
            lead,
            call: "019d2ad0-6eb1-7aac-9377-0000000000a1".parse()?,
        })
    }

    /// Asks, and is answered so.
    pub(super) fn ask(&self, question: Question, answer: &Answer) -> Made {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer.bytes().into();
        let since = now() - SignedDuration::from_hours(24);
        self.runtime.block_on(async {
            match question {
                Question::Dial => Made::Dialed(self.vapi.dial(&self.spec, &self.lead, now()).await),
                Question::Get => Made::Call(self.vapi.get_call(&self.call).await),
                Question::List => Made::Listing(self.vapi.list_calls(since).await),
                Question::History => Made::History(self.vapi.history(since, now()).await),
            }
        })
    }
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        let length = self.body.len() + self.missing;
        let mut bytes =
            format!("HTTP/1.1 {} X\r\nconnection: close\r\ncontent-length: {length}\r\n", self.status)
                .into_bytes();
        for (name, value) in &self.headers {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

async fn serve(listener: TcpListener, answer: Arc<Mutex<Arc<[u8]>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::spawn(async move {
            // A client that has gone is its own business.
            let _ = give(stream, &answer).await;
        });
    }
}

/// Reads one request, whole, and answers it.
async fn give(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
        let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest);
        let length = length.lines().next().and_then(|text| text.parse::<usize>().ok()).unwrap_or_default();
        if request.len() >= end + 4 + length {
            break;
        }
    }
    stream.write_all(answer).await?;
    stream.shutdown().await
}

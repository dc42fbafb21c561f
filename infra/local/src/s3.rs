//! Lists in S3: `s3://BUCKET/KEY`, read piece by piece as a file is, with the credentials of whoever types.
//!
//! One signed `GET`, and not the SDK's whole S3 client, which takes as long to build as all the others together. The
//! credentials and the region are found as the SDK finds them; a bucket of another region says so, and is asked there. A
//! connection that breaks off is taken up again from the byte where it did, as long as the object is the same.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use headroom::flows::{Clock as _, SystemClock, aws_config};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderMap};

/// How long a piece may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// A connection is taken up again so often without a byte in between.
const TRIES: u32 = 4;
/// Before the second try, and as long again before each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// Where S3 says that a bucket is.
const REGION: &str = "x-amz-bucket-region";
/// What stands as it is in the path that S3 signs.
const IN_A_KEY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Whether a name is an object's in S3.
pub(crate) fn is_object(name: &str) -> bool {
    name.starts_with("s3://")
}

/// An object's place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    bucket: String,
    key: String,
}

impl Object {
    fn parse(name: &str) -> anyhow::Result<Self> {
        let place = name.strip_prefix("s3://").unwrap_or_default();
        let (bucket, key) = place.split_once('/').unwrap_or((place, ""));
        let is_bucket = (3..=63).contains(&bucket.len())
            && bucket
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'));
        // Such a part would be taken out of the address before it is asked for.
        let is_key = !key.is_empty() && !key.split('/').any(|part| matches!(part, "." | ".."));
        if !is_bucket || !is_key {
            bail!("{name} is no object in S3: name it as s3://BUCKET/KEY");
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// Where it is asked for: the bucket in the path where `endpoint` stands for S3, or where its name has a dot in it,
    /// which no certificate covers; else in the host.
    fn url(&self, endpoint: Option<&str>, region: &str) -> String {
        let Self { bucket, key } = self;
        let key = utf8_percent_encode(key, IN_A_KEY);
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        match endpoint {
            Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.trim_end_matches('/')),
            None if bucket.contains('.') => format!("https://s3.{region}.{suffix}/{bucket}/{key}"),
            None => format!("https://{bucket}.s3.{region}.{suffix}/{key}"),
        }
    }
}

/// An object being read.
pub(crate) struct Reading {
    object: Object,
    http: reqwest::Client,
    aws: aws_config::SdkConfig,
    endpoint: Option<String>,
    region: String,
    answer: reqwest::Response,
    /// What came last, and how much of it was read.
    piece: Vec<u8>,
    at: usize,
    /// Bytes that have come.
    come: u64,
    length: u64,
    etag: Option<String>,
}

/// Begins to read an object. Returns it with its length.
pub(crate) async fn open(name: &str) -> anyhow::Result<(Reading, u64)> {
    let object = Object::parse(name)?;
    let aws = aws_config().await;
    #[allow(clippy::disallowed_methods, reason = "as the SDK does for clients of its own")]
    let own = std::env::var("AWS_ENDPOINT_URL_S3").ok();
    let endpoint = own.filter(|url| !url.is_empty()).or_else(|| aws.endpoint_url().map(str::to_owned));
    let region = aws.region().map_or("us-east-1", |region| region.as_ref()).to_owned();
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(PATIENCE / 3)
        .read_timeout(PATIENCE)
        .build()
        .context("no HTTP client")?;
    let ask = Ask { object: &object, http: &http, aws: &aws, endpoint: endpoint.as_deref() };
    let (answer, region) = match ask.send(&region, None).await? {
        Answer::Here(answer) => (answer, region),
        Answer::In(region) => match ask.send(&region, None).await? {
            Answer::Here(answer) => (answer, region),
            Answer::In(_) => bail!("S3 does not say where the bucket {} is", object.bucket),
        },
    };
    let text = |headers: &HeaderMap, name| -> Option<String> {
        headers
            .get(name)
            .and_then(|value: &reqwest::header::HeaderValue| value.to_str().ok())
            .map(str::to_owned)
    };
    let length = text(answer.headers(), CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let length = length.with_context(|| format!("S3 does not say how long {name} is"))?;
    let etag = text(answer.headers(), ETAG);
    let reading = Reading {
        object,
        http,
        aws,
        endpoint,
        region,
        answer,
        piece: Vec::new(),
        at: 0,
        come: 0,
        length,
        etag,
    };
    Ok((reading, length))
}

/// What an object is asked for with.
struct Ask<'a> {
    object: &'a Object,
    http: &'a reqwest::Client,
    aws: &'a aws_config::SdkConfig,
    endpoint: Option<&'a str>,
}

enum Answer {
    Here(reqwest::Response),
    /// The bucket is in this region.
    In(String),
}

impl Ask<'_> {
    /// Asks for the object, or for what of it begins at a byte, if it is still the one with this tag.
    async fn send(&self, region: &str, rest: Option<(u64, Option<&str>)>) -> anyhow::Result<Answer> {
        let Object { bucket, key } = self.object;
        let url = self.object.url(self.endpoint, region);
        let mut request = self.http.get(&url);
        for (name, value) in self.signed(&url, region).await? {
            request = request.header(name, value);
        }
        if let Some((from, etag)) = rest {
            request = request.header("range", format!("bytes={from}-"));
            if let Some(etag) = etag {
                request = request.header("if-match", etag);
            }
        }
        let mut tried = 0;
        let answer = loop {
            tried += 1;
            let again = request.try_clone().context("a request without a body can be sent again")?;
            match again.send().await {
                Ok(answer) => break answer,
                Err(_) if tried < TRIES => tokio::time::sleep(PAUSE * tried).await,
                Err(error) => {
                    let error = Err(error.without_url());
                    return error.with_context(|| format!("S3 did not answer for s3://{bucket}/{key}"));
                }
            }
        };
        let there = answer.headers().get(REGION).and_then(|region| region.to_str().ok());
        match answer.status() {
            StatusCode::OK if rest.is_none() => Ok(Answer::Here(answer)),
            StatusCode::PARTIAL_CONTENT if rest.is_some() => Ok(Answer::Here(answer)),
            StatusCode::PRECONDITION_FAILED => bail!("s3://{bucket}/{key} has been changed meanwhile"),
            StatusCode::NOT_FOUND => bail!("there is no s3://{bucket}/{key}"),
            StatusCode::MOVED_PERMANENTLY | StatusCode::TEMPORARY_REDIRECT | StatusCode::BAD_REQUEST
                if there.is_some_and(|there| there != region) =>
            {
                Ok(Answer::In(there.unwrap_or_default().to_owned()))
            }
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => bail!(
                "S3 does not let these credentials read s3://{bucket}/{key}: they need s3:GetObject on it (and \
                 s3:ListBucket, to be told whether it is there)"
            ),
            status => bail!("S3 answered {status} for s3://{bucket}/{key}"),
        }
    }

    /// The headers that sign a request.
    async fn signed(&self, url: &str, region: &str) -> anyhow::Result<Vec<(&'static str, String)>> {
        let provider = self.aws.credentials_provider().context("there are no AWS credentials")?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.context("there are no AWS credentials: set AWS_PROFILE, or log in")?;
        let mut settings = SigningSettings::default();
        // As S3 wants it, unlike all other services.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("s3")
            .time(SystemTime::from(SystemClock.now()))
            .settings(settings)
            .build()
            .context("the request cannot be signed")?
            .into();
        let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::empty());
        let request = request.context("the request cannot be signed")?;
        let (headers, _) =
            sign(request, &params).context("the request cannot be signed")?.into_parts().0.into_parts();
        Ok(headers.iter().map(|header| (header.name(), header.value().to_owned())).collect())
    }
}

impl Reading {
    /// The next piece; an empty one at the end.
    async fn next(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut tried = 0;
        loop {
            match self.answer.chunk().await {
                Ok(Some(piece)) if piece.is_empty() => continue,
                Ok(Some(piece)) => {
                    self.come += piece.len() as u64;
                    return Ok(piece.to_vec());
                }
                Ok(None) if self.come >= self.length => return Ok(Vec::new()),
                Ok(None) | Err(_) => {}
            }
            // It broke off in the middle.
            tried += 1;
            if tried > TRIES {
                bail!("S3 breaks off at byte {} each time", self.come);
            }
            let Self { object, http, aws, endpoint, region, come, etag, .. } = &*self;
            let ask = Ask { object, http, aws, endpoint: endpoint.as_deref() };
            self.answer = match ask.send(region, Some((*come, etag.as_deref()))).await? {
                Answer::Here(answer) => answer,
                Answer::In(_) => bail!("the bucket {} has moved", object.bucket),
            };
        }
    }
}

/// For whoever reads a file: the thread waits, and the runtime goes on without it.
impl Read for Reading {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let next =
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(self.next()));
            self.piece = next.map_err(|error| io::Error::other(format!("{error:#}")))?;
            self.at = 0;
        }
        let piece = &self.piece[self.at..];
        let length = piece.len().min(to.len());
        to[..length].copy_from_slice(&piece[..length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_by_bucket_and_key() {
        let object = Object::parse("s3://my-lists/may/gold 1+ü.csv").expect("an object");
        assert_eq!(object, Object { bucket: "my-lists".into(), key: "may/gold 1+ü.csv".into() });
        let key = "may/gold%201%2B%C3%BC.csv";
        assert_eq!(
            object.url(None, "eu-west-1"),
            format!("https://my-lists.s3.eu-west-1.amazonaws.com/{key}")
        );
        assert_eq!(
            object.url(Some("http://127.0.0.1:9/"), "x"),
            format!("http://127.0.0.1:9/my-lists/{key}")
        );
        let dotted = Object::parse("s3://my.lists/a").expect("an object");
        assert_eq!(dotted.url(None, "cn-north-1"), "https://s3.cn-north-1.amazonaws.com.cn/my.lists/a");
        for bad in [
            "s3://",
            "s3://a/b",
            "s3://my-lists",
            "s3://my-lists/",
            "s3://My/b",
            "s3://my-lists/../b",
            "s3://my_lists/b",
            "s3://a@evil.com/b",
        ] {
            assert!(Object::parse(bad).is_err(), "{bad}");
        }
        assert!(is_object("s3://a") && !is_object("list.csv") && !is_object("S3/list.csv"));
    }
}

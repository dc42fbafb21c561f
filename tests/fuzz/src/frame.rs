//! Inputs that have a head: named lines, an empty line, and a body of any bytes. Written so that a
//! saved one can be read and edited by hand.

use headroom::vapi::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::{pick, words};

/// Named lines and a body. Names that begin with `:` are not headers: they say what is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// The lines, in order, the same name as often as it comes.
    pub head: Vec<(Vec<u8>, Vec<u8>)>,
    /// What comes after the empty line.
    pub body: Vec<u8>,
}

impl Frame {
    /// Reads any bytes: a line without a colon is a name without a value.
    pub fn read(input: &[u8]) -> Self {
        let (head, body) = match input.windows(2).position(|two| two == b"\n\n") {
            _ if input.starts_with(b"\n") => (&[][..], &input[1..]),
            Some(end) => (&input[..end], &input[end + 2..]),
            None => (input, &[][..]),
        };
        let lines = head.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let line = |line: &[u8]| {
            // A name may begin with a colon, so the first byte does not end it.
            let colon = line.iter().skip(1).position(|byte| *byte == b':').map(|at| at + 1);
            let (name, value) = line.split_at(colon.unwrap_or(line.len()));
            let value = value.strip_prefix(b":").unwrap_or(value);
            (name.to_vec(), value.strip_prefix(b" ").unwrap_or(value).to_vec())
        };
        Self { head: lines.map(line).collect(), body: body.to_vec() }
    }

    /// The bytes that read back as this, as long as no name or value has a line break.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in &self.head {
            bytes.extend([name, &b": "[..], value, b"\n"].concat());
        }
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Adds a line.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// The first value under a name, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.head.iter().find(|(key, _)| key == name.as_bytes())?;
        std::str::from_utf8(value).ok()
    }

    /// The lines that a server would hand on as headers.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.head {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        headers
    }

    /// Changes one line: gone, doubled, before another, with another name or value.
    pub fn change_head(&mut self, rng: &mut StdRng, names: &[&str], most: usize) {
        let name = pick(rng, names).as_bytes().to_vec();
        if self.head.is_empty() {
            self.head.push((name, odd_line(rng, most)));
            return;
        }
        let at = rng.random_range(0..self.head.len());
        match rng.random_range(0..8) {
            0 => drop(self.head.remove(at)),
            1 => {
                let again = (self.head[at].0.clone(), odd_line(rng, most));
                let place = rng.random_range(0..=self.head.len());
                self.head.insert(place, again);
            }
            2 => self.head[at].0 = name,
            3 => self.head[at].0.make_ascii_uppercase(),
            4 => self.head[at].1.make_ascii_uppercase(),
            5 => self.head.push((name, odd_line(rng, most))),
            6 => {
                let donor = odd_line(rng, most);
                crate::bytes::change(&mut self.head[at].1, &donor, rng, 64);
                self.head[at].1.retain(|byte| *byte != b'\n');
            }
            _ => self.head[at].1 = odd_line(rng, most),
        }
    }
}

/// A value for a line: limits of times, hex that is none, long or no text.
fn odd_line(rng: &mut StdRng, most: usize) -> Vec<u8> {
    const LINES: [&str; 18] = [
        "",
        "0",
        "-1",
        "+1",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "253402207200999",
        "253402207201000",
        "-377705023201001",
        "1774540000000",
        "01774540000000",
        "zz",
        "abc",
        "Bearer ",
        "bearer",
        "Bearer é",
        "sha256=00",
    ];
    let mut line = match rng.random_range(0..4) {
        0 => words::text(rng).as_bytes().to_vec(),
        1 => words::long_text(rng, most).into_bytes(),
        2 => vec![rng.random(); rng.random_range(0..70)],
        _ => pick(rng, &LINES).as_bytes().to_vec(),
    };
    line.retain(|byte| *byte != b'\n');
    line
}

/// The secrets that the targets' functions know.
pub fn secrets() -> Vec<Secret> {
    vec![Secret::new(SECRETS[0]), Secret::new(SECRETS[1])]
}

/// Their texts.
pub const SECRETS: [&str; 2] = ["sample-secret", "whsec_vapi_sample_key"];

//! Changes to plain bytes: what no reader of structure would write.

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::{piece, size, words};

/// Bytes with a meaning to readers of text, of JSON or of headers, and bytes that are no UTF-8.
const PIECES: [&[u8]; 24] = [
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"e",
    b"-",
    b".",
    b"0",
    b"+14155550123",
];

/// Changes one thing. `donor` is another input to take a piece from, `most` bounds what is added.
pub fn change(bytes: &mut Vec<u8>, donor: &[u8], rng: &mut StdRng, most: usize) {
    let at = rng.random_range(0..=bytes.len());
    let end = (at + size(rng, most)).min(bytes.len());
    match rng.random_range(0..11) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = rng.random(),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let again = bytes[at..end].to_vec();
            insert(bytes, at, &again);
        }
        5 => insert(bytes, at, words::text(rng).as_bytes()),
        6 => insert(bytes, at, words::long_text(rng, most).as_bytes()),
        7 => {
            let from = rng.random_range(0..=donor.len());
            let to = (from + size(rng, most)).min(donor.len());
            insert(bytes, at, &donor[from..to]);
        }
        // The head of one and the tail of another.
        8 => {
            bytes.truncate(at);
            bytes.extend_from_slice(&donor[rng.random_range(0..=donor.len())..]);
        }
        9 => insert(bytes, 0, piece(rng, &PIECES)),
        _ => insert(bytes, at, piece(rng, &PIECES)),
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    drop(bytes.splice(at..at, piece.iter().copied()));
}

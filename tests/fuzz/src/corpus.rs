//! The inputs that executions start from: recorded bodies, samples, and saved findings.

use std::path::{Path, PathBuf};

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::frame::Frame;
use crate::json::{self, Node};
use crate::{bytes, pick};

/// One starting point.
#[derive(Debug, Clone)]
struct Entry {
    bytes: Vec<u8>,
    /// Taken apart, if it is JSON.
    tree: Option<Node>,
}

impl From<Vec<u8>> for Entry {
    fn from(bytes: Vec<u8>) -> Self {
        Self { tree: Node::read(&bytes), bytes }
    }
}

/// What a target's inputs are made from.
#[derive(Debug, Clone)]
pub struct Corpus {
    entries: Vec<Entry>,
    donors: Vec<Node>,
    /// Most bytes that one change adds.
    most: usize,
}

impl Corpus {
    /// A corpus of these texts. Pieces come from all recorded bodies, whichever text they go into.
    pub fn new(texts: impl IntoIterator<Item = Vec<u8>>, most: usize) -> Self {
        let entries: Vec<Entry> = texts.into_iter().map(Entry::from).collect();
        assert!(!entries.is_empty(), "a corpus has a text to start from");
        let mut donors: Vec<Node> = recorded("").iter().filter_map(|text| Node::read(text)).collect();
        donors.extend(entries.iter().filter_map(|entry| entry.tree.clone()));
        Self { entries, donors, most }
    }

    /// Most bytes that one change adds.
    pub fn most(&self) -> usize {
        self.most
    }

    /// A text of the corpus as it is.
    pub fn entry(&self, rng: &mut StdRng) -> &[u8] {
        &pick(rng, &self.entries).bytes
    }

    /// A text of the corpus with some changes.
    pub fn body(&self, rng: &mut StdRng) -> Vec<u8> {
        let entry = pick(rng, &self.entries);
        let changes = [0, 1, 1, 1, 2, 2, 3, 5, 8][rng.random_range(0..9)];
        let mut body = match &entry.tree {
            Some(tree) if rng.random_bool(0.85) => {
                let (mut tree, mut donor) = (tree.clone(), pick(rng, &self.donors).clone());
                for _ in 0..changes {
                    json::change(&mut tree, &mut donor, rng, self.most);
                }
                tree.write().into_bytes()
            }
            _ => self.change_bytes(entry.bytes.clone(), changes, rng),
        };
        // Structure that was changed is broken in places, too.
        if rng.random_bool(0.1) {
            body = self.change_bytes(body, 1, rng);
        }
        body
    }

    fn change_bytes(&self, mut bytes: Vec<u8>, changes: usize, rng: &mut StdRng) -> Vec<u8> {
        for _ in 0..changes {
            let donor = pick(rng, &self.entries);
            bytes::change(&mut bytes, &donor.bytes, rng, self.most);
        }
        bytes
    }
}

/// The top of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The recorded bodies whose file name begins so, in the order of their names.
pub fn recorded(prefix: &str) -> Vec<Vec<u8>> {
    read_folder(&repository().join("events/vapi"), |name| name.starts_with(prefix))
}

/// A sample under `events/`.
pub fn sample(name: &str) -> Vec<u8> {
    let path = repository().join("events").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

/// Where a target's findings are kept.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// A target's kept findings; none is no mistake.
pub fn kept(target: &str) -> Vec<Vec<u8>> {
    let folder = folder(target);
    if folder.is_dir() { read_folder(&folder, |_| true) } else { Vec::new() }
}

/// A target's kept findings, as heads and bodies.
pub fn kept_frames(target: &str) -> Vec<Frame> {
    kept(target).iter().map(|bytes| Frame::read(bytes)).collect()
}

fn read_folder(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let listed = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{} cannot be listed: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("a folder's entry").path()).collect();
    paths.sort();
    paths.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted));
    paths.iter().map(|path| std::fs::read(path).expect("a listed file can be read")).collect()
}

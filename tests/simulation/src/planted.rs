//! Builds the code with each planted bug in it, and counts the seeds that the simulation needs to find it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::bugs::Bug;

/// How a sweep says that a seed broke a promise: the parent reads it from its child.
pub const BROKEN: &str = "broken by seed ";
/// The copy's program.
const PROGRAM: &str = "planted";

/// What became of a bug.
#[derive(Debug)]
pub struct Hunt {
    /// Its name.
    pub name: &'static str,
    /// The first seed that found it, and the promise it broke; nothing if none did.
    pub found: Option<(u64, String)>,
    /// Seconds to build and find.
    pub seconds: f64,
}

/// A copy of the project in which bugs are planted.
#[derive(Debug)]
pub struct Nursery {
    root: PathBuf,
    copy: PathBuf,
    target: PathBuf,
}

impl Nursery {
    /// A copy of the project that this program was built from, in its build directory.
    pub fn open() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let metadata = Command::new("cargo")
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .current_dir(&root)
            .output()
            .context("cargo cannot be run")?;
        let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
        let target =
            PathBuf::from(metadata["target_directory"].as_str().context("cargo has no build directory")?);
        let copy = target.join("planted");
        if copy.exists() {
            std::fs::remove_dir_all(&copy)?;
        }
        copy_tree(&root, &copy, &target)?;
        // The build directory is shared, for the sake of its built dependencies; what is built from the
        // copy must not be taken for ours, so it has a version of its own.
        let manifest = copy.join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest)?;
        let ours = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
        std::fs::write(&manifest, text.replacen(&ours, "version = \"0.0.0\"", 1))?;
        // And its program a name of its own.
        let manifest = copy.join("tests/simulation/Cargo.toml");
        let text = std::fs::read_to_string(&manifest)?;
        let ours = "name = \"headroom-sim\"\npath";
        std::fs::write(&manifest, text.replace(ours, &format!("name = \"{PROGRAM}\"\npath")))?;
        Ok(Self { root, copy, target })
    }

    /// Plants a bug, builds, and lets the simulation look for it within `seeds`.
    pub fn hunt(&self, bug: &Bug, seeds: u64) -> anyhow::Result<Hunt> {
        let began = Instant::now();
        let good = std::fs::read_to_string(self.root.join(bug.file))?;
        let bad = bug.plant(&good).with_context(|| format!("{}: {} has moved on", bug.name, bug.file))?;
        std::fs::write(self.copy.join(bug.file), bad)?;
        // The whole workspace is asked for its one program: so its dependencies are those that are built already,
        // and not the same once more with fewer features.
        let built = Command::new("cargo")
            .args(["build", "--quiet", "--offline", "--workspace", "--bin", PROGRAM])
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.target)
            .output()
            .context("cargo cannot be run")?;
        std::fs::write(self.copy.join(bug.file), good)?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "{} does not build:\n{said}", bug.name);
        let ran = Command::new(self.target.join("debug").join(PROGRAM))
            .args(["--seeds", &seeds.to_string()])
            .current_dir(&self.copy)
            .env("RUST_BACKTRACE", "0")
            .output()
            .context("the planted simulation cannot be run")?;
        let out = String::from_utf8_lossy(&ran.stdout);
        let found = out
            .lines()
            .find_map(|line| line.strip_prefix(BROKEN)?.split_once(": "))
            .map(|(seed, what)| (seed.parse().unwrap_or_default(), what.chars().take(90).collect()));
        Ok(Hunt { name: bug.name, found, seconds: began.elapsed().as_secs_f64() })
    }
}

fn copy_tree(from: &Path, to: &Path, target: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if path == target || name == ".git" || name == "target" {
            continue;
        }
        let there = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy_tree(&path, &there, target)?;
        } else if entry.file_type()?.is_file() {
            std::fs::copy(&path, &there)?;
        }
    }
    Ok(())
}

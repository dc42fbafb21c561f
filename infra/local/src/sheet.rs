//! What a command writes row by row, to a file or to the terminal. A file is there only when it is whole.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Rows on their way.
pub(crate) struct Sheet {
    out: Box<dyn Write>,
    /// The file that is written, and where it is to be.
    file: Option<(PathBuf, PathBuf)>,
}

impl Sheet {
    /// To the file `out`, else to the terminal.
    pub(crate) fn begin(out: Option<&Path>) -> anyhow::Result<Self> {
        let Some(out) = out else { return Ok(Self { out: Box::new(std::io::stdout().lock()), file: None }) };
        let draft = out.with_extension("part");
        let file = File::create(&draft).with_context(|| format!("{} cannot be written", draft.display()))?;
        Ok(Self { out: Box::new(BufWriter::new(file)), file: Some((draft, out.to_owned())) })
    }

    /// One row, with its line's end.
    pub(crate) fn row(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self.out.write_all(line.as_bytes())?)
    }

    /// Puts the file in its place and says what is in it, if it is a person who asks.
    pub(crate) fn end(mut self, what: Option<String>) -> anyhow::Result<()> {
        self.out.flush()?;
        if let Some((draft, out)) = self.file {
            std::fs::rename(draft, &out).with_context(|| format!("{} cannot be written", out.display()))?;
            if let Some(what) = what {
                println!("{what} written to {}", out.display());
            }
        }
        Ok(())
    }
}

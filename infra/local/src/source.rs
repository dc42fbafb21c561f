//! What is read that somebody names: a file, or an object in S3.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;

use crate::s3;

/// Whether a name is something to read.
pub(crate) fn is_there(name: &str) -> bool {
    s3::is_object(name) || Path::new(name).is_file()
}

/// What is there under a name, and how many bytes it has, if that can be told. It is read piece by piece.
pub(crate) async fn open(name: &str) -> anyhow::Result<(Box<dyn Read>, u64)> {
    if s3::is_object(name) {
        let (object, length) = s3::open(name).await?;
        return Ok((Box::new(object), length));
    }
    let file = File::open(name).with_context(|| format!("{name} cannot be opened"))?;
    let length = file.metadata().map(|data| data.len()).unwrap_or_default();
    Ok((Box::new(file), length))
}

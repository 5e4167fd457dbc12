//! Writes the files of the evidence into a zip, and keeps the hash of each of them for the manifest.
//!
//! - The same files give the same bytes: the entries have no time of their own.
//! - No name appears twice.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, Write};

use serde::Serialize;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::base::error::{Error, Result};
use crate::base::text::hex;

/// A file, as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Listed {
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

/// The zip that is being written. It is a file without a name, which the system removes with the last reader.
pub(super) struct Bundle {
    zip: ZipWriter<BufWriter<File>>,
    files: Vec<Listed>,
}

impl Bundle {
    /// Starts an empty zip.
    ///
    /// # Errors
    /// `Internal` if there is no room for temporary files.
    pub fn new() -> Result<Self> {
        let file = tempfile::tempfile().map_err(Error::internal)?;
        Ok(Bundle {
            zip: ZipWriter::new(BufWriter::new(file)),
            files: Vec::new(),
        })
    }

    /// Adds a file with this content.
    ///
    /// # Errors
    /// `Internal` if it cannot be written.
    pub fn add(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.begin(path)?;
        self.zip.write_all(content).map_err(Error::internal)?;
        self.files.push(Listed {
            path: path.to_owned(),
            bytes: content.len() as u64,
            sha256: hex(&Sha256::digest(content)),
        });
        Ok(())
    }

    /// Adds a file from a spool.
    ///
    /// # Errors
    /// `Internal` if it cannot be written.
    pub fn add_spool(&mut self, path: &str, spool: Spool) -> Result<()> {
        let mut file = spool
            .0
            .into_inner()
            .map_err(|error| Error::internal(error.into_error()))?;
        file.rewind().map_err(Error::internal)?;
        self.begin(path)?;
        let (mut hasher, mut bytes) = (Sha256::new(), 0_u64);
        let mut part = vec![0_u8; 64 * 1024];
        loop {
            let read = file.read(&mut part).map_err(Error::internal)?;
            if read == 0 {
                break;
            }
            hasher.update(&part[..read]);
            bytes += read as u64;
            self.zip.write_all(&part[..read]).map_err(Error::internal)?;
        }
        self.files.push(Listed {
            path: path.to_owned(),
            bytes,
            sha256: hex(&hasher.finalize()),
        });
        Ok(())
    }

    /// Returns the files so far, ordered by path.
    pub fn listed(&self) -> Vec<Listed> {
        let mut files = self.files.clone();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// Ends the zip. Returns the file from its beginning, and its size in bytes.
    ///
    /// # Errors
    /// `Internal` if it cannot be written.
    pub fn finish(self) -> Result<(File, u64)> {
        let written = self.zip.finish().map_err(Error::internal)?;
        let mut file = written
            .into_inner()
            .map_err(|error| Error::internal(error.into_error()))?;
        let bytes = file.stream_position().map_err(Error::internal)?;
        file.rewind().map_err(Error::internal)?;
        Ok((file, bytes))
    }

    fn begin(&mut self, path: &str) -> Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            // The lists of a large incident have some hundred megabytes, and a reader waits for them.
            .compression_level(Some(1))
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644)
            .large_file(true);
        self.zip.start_file(path, options).map_err(Error::internal)
    }
}

/// A part of the evidence that is written before its place in the zip is reached. It is a file without a name.
pub(super) struct Spool(BufWriter<File>);

impl Spool {
    /// Starts an empty spool.
    ///
    /// # Errors
    /// `Internal` if there is no room for temporary files.
    pub fn new() -> Result<Self> {
        Ok(Spool(BufWriter::new(
            tempfile::tempfile().map_err(Error::internal)?,
        )))
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

//! Reads the zip of a file of evidence. It comes from somebody else, so every size is bounded and no name is used as a path.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::manifest::Listed;
use crate::base::text::hex;

/// The largest size of a part that is held in memory, in bytes.
const IN_MEMORY: u64 = 512 * 1024 * 1024;
/// The largest size of one part, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024 * 1024;
/// The length of the record at the end of a zip without a comment, in bytes.
const END: usize = 22;

/// An open file of evidence.
pub(super) struct Archive {
    zip: ZipArchive<BufReader<File>>,
}

impl Archive {
    /// Opens a file.
    ///
    /// # Errors
    /// A sentence, if it is not a zip, or if a name appears twice.
    pub fn open(path: &Path) -> Result<Archive, String> {
        let shown = path.display();
        let mut file = File::open(path).map_err(|error| format!("{shown} cannot be opened: {error}"))?;
        let entries =
            entries(&mut file).map_err(|reason| format!("{shown} is not a zip of Candor: {reason}"))?;
        let zip = ZipArchive::new(BufReader::new(file))
            .map_err(|error| format!("{shown} is not a zip: {error}"))?;
        // Two programs may read different ones of two parts with the same name.
        if entries.is_some_and(|entries| entries != zip.len()) {
            return Err("a part of the zip has the same name as another one".to_owned());
        }
        Ok(Archive { zip })
    }

    /// Checks that the files are exactly those of the list and `others`, and that each has the listed hash.
    ///
    /// # Errors
    /// A sentence that names the first file that is not.
    pub fn check(&mut self, listed: &[Listed], others: &[&str]) -> Result<(), String> {
        let mut expected: HashMap<&str, &Listed> = HashMap::new();
        for file in listed {
            if others.contains(&file.path.as_str()) || expected.insert(&file.path, file).is_some() {
                return Err(format!("the manifest lists {} twice", file.path));
            }
        }
        for name in self.names()? {
            match expected.remove(name.as_str()) {
                Some(file) => {
                    let (bytes, digest) = self.hash(&name)?;
                    if bytes != file.bytes || digest != file.sha256 {
                        return Err(format!("{name} is not what the manifest lists: it was changed"));
                    }
                }
                None if others.contains(&name.as_str()) => {}
                None => return Err(format!("{name} is not in the manifest")),
            }
        }
        match expected.keys().min() {
            Some(missing) => Err(format!("{missing} is missing")),
            None => Ok(()),
        }
    }

    /// Returns whether there is a part with this name.
    pub fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// Returns the names of all parts.
    ///
    /// # Errors
    /// A sentence, if a name is not text.
    pub fn names(&self) -> Result<Vec<String>, String> {
        self.zip
            .file_names()
            .map(|name| {
                name.map(std::borrow::Cow::into_owned)
                    .map_err(|_| "a name is not text".to_owned())
            })
            .collect()
    }

    /// Returns a whole part.
    ///
    /// # Errors
    /// A sentence, if it is missing, too large or damaged.
    pub fn bytes(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let mut content = Vec::new();
        self.part(name, IN_MEMORY)?
            .read_to_end(&mut content)
            .map_err(|error| format!("{name} cannot be read: {error}"))?;
        if content.len() as u64 > IN_MEMORY {
            return Err(format!("{name} is larger than {IN_MEMORY} bytes"));
        }
        Ok(content)
    }

    /// Returns a whole part as text.
    ///
    /// # Errors
    /// A sentence, if it is missing, too large, damaged or no text.
    pub fn text(&mut self, name: &str) -> Result<String, String> {
        String::from_utf8(self.bytes(name)?).map_err(|_| format!("{name} is not UTF-8"))
    }

    /// Calls `each` with every line of a part, without the line end. Empty lines are left out.
    ///
    /// # Errors
    /// The first error of `each`, or a sentence, if the part is missing or damaged.
    pub fn lines(
        &mut self,
        name: &str,
        mut each: impl FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut reader = BufReader::new(self.part(name, LARGEST)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut reader)
                .take(IN_MEMORY)
                .read_until(b'\n', &mut line)
                .map_err(|error| format!("{name} cannot be read: {error}"))?;
            if read == 0 {
                return Ok(());
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            let text = std::str::from_utf8(&line).map_err(|_| format!("{name} is not UTF-8"))?;
            if !text.is_empty() {
                each(text)?;
            }
        }
    }

    /// Calls `each` with every row of a table. A table is a JSON array with one row on each line.
    ///
    /// # Errors
    /// The first error of `each`, or a sentence, if the table is missing or damaged.
    pub fn rows(
        &mut self,
        name: &str,
        mut each: impl FnMut(serde_json::Value) -> Result<(), String>,
    ) -> Result<(), String> {
        self.lines(name, |line| {
            if matches!(line, "[" | "]" | "[]") {
                return Ok(());
            }
            let row = serde_json::from_str(line.trim_end_matches(','))
                .map_err(|error| format!("{name} cannot be read: {error}"))?;
            each(row)
        })
    }

    /// Returns the size and the SHA-256 of a part.
    ///
    /// # Errors
    /// A sentence, if it is missing or damaged.
    pub fn hash(&mut self, name: &str) -> Result<(u64, String), String> {
        let mut part = self.part(name, LARGEST)?;
        let (mut hasher, mut bytes) = (Sha256::new(), 0_u64);
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            let read = part
                .read(&mut buffer)
                .map_err(|error| format!("{name} cannot be read: {error}"))?;
            if read == 0 {
                return Ok((bytes, hex(&hasher.finalize())));
            }
            bytes += read as u64;
            hasher.update(&buffer[..read]);
        }
    }

    fn part(&mut self, name: &str, most: u64) -> Result<impl Read + '_, String> {
        let part = self.zip.by_name(name).map_err(|_| format!("{name} is missing"))?;
        // One byte more than the limit shows that the part is larger.
        Ok(part.take(most.saturating_add(1)))
    }
}

/// Returns the number of parts according to the end of the zip. `None` if there are so many that it stands elsewhere.
fn entries(file: &mut File) -> Result<Option<usize>, String> {
    let mut end = [0_u8; END];
    file.seek(SeekFrom::End(-(END as i64)))
        .and_then(|_| file.read_exact(&mut end))
        .and_then(|()| file.rewind())
        .map_err(|error| error.to_string())?;
    if !end.starts_with(b"PK\x05\x06") {
        return Err("it does not end as a zip ends".to_owned());
    }
    let count = u16::from_le_bytes([end[10], end[11]]);
    Ok((count != u16::MAX).then_some(usize::from(count)))
}

/// Returns the SHA-256 hash in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

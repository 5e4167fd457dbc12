//! The manifest of an S3 Inventory, and the files that it lists.

use std::io::{self, Read};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::bytes::{Damaged, Seen, Unpacked, unpack_if_packed};
use crate::base::error::{Error, json_reason};
use crate::base::json_reason::plain;
use crate::base::text::{hex, one_line};

/// A file of an inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = InventoryFile)]
pub struct InventoryFile {
    /// The key of the file in the bucket of the inventory.
    pub key: String,
    /// The size of the file as it is stored, in bytes.
    pub size: u64,
    /// The MD5 checksum of the file as it is stored, in hexadecimal digits.
    #[serde(rename = "MD5checksum", default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
}

/// The `manifest.json` of an S3 Inventory. Fields that are not needed are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = InventoryManifest)]
pub struct Manifest {
    /// The format of the files. Only CSV can be read.
    #[serde(rename = "fileFormat")]
    pub format: String,
    /// The names of the columns, separated by commas, for example `Bucket, Key, Size, ETag`.
    #[serde(rename = "fileSchema")]
    pub schema: String,
    /// The files. Together they are the listing.
    pub files: Vec<InventoryFile>,
}

impl Manifest {
    /// Reads a `manifest.json`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let manifest: Manifest = serde_json::from_slice(text)
            .map_err(|error| format!("the manifest is not valid: {}", plain(&json_reason(&error))))?;
        match manifest.wrong().into_iter().next() {
            None => Ok(manifest),
            Some((field, detail)) => Err(format!("the manifest is not valid: {field}: {detail}")),
        }
    }

    /// Returns where a file may be, as paths or URLs with slashes, the likeliest first. `manifest` says where the manifest is.
    ///
    /// The key of a file is its path in the bucket of the inventory, and the manifest is in the same bucket or in a copy of
    /// it. So the path of the manifest and the key have a common part. A file may also have been copied to the manifest.
    pub fn places(manifest: &str, key: &str) -> Vec<String> {
        let (folder, _) = manifest.rsplit_once('/').unwrap_or((".", manifest));
        let (path, name) = key.rsplit_once('/').unwrap_or(("", key));
        let folders: Vec<&str> = folder.split('/').collect();
        let common = |from: usize| {
            let both = folders[from..].iter().zip(path.split('/'));
            both.take_while(|(one, other)| *one == other).count()
        };
        let root = (0..folders.len())
            .rev()
            .max_by_key(|from| common(*from))
            .filter(|from| common(*from) > 0);
        let mut places = Vec::new();
        if let Some(root) = root {
            let above = folders[..root].join("/");
            places.push(if root == 0 {
                key.to_owned()
            } else {
                format!("{above}/{key}")
            });
        }
        places.extend([
            format!("{folder}/{name}"),
            format!("{folder}/data/{name}"),
            format!("{folder}/../data/{name}"),
            format!("{folder}/{key}"),
        ]);
        places
    }

    /// Returns the names of the columns.
    pub(super) fn columns(&self) -> Vec<String> {
        self.schema
            .split(',')
            .map(|name| name.trim().to_owned())
            .collect()
    }

    /// Returns what is wrong with the manifest, by field.
    pub(super) fn wrong(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        if !self.format.eq_ignore_ascii_case("csv") {
            let detail = format!(
                "is {}, and only inventories in CSV can be read",
                one_line(&self.format, 40)
            );
            wrong.push(("fileFormat".to_owned(), detail));
        }
        if self.schema.trim().is_empty() {
            wrong.push(("fileSchema".to_owned(), "names no column".to_owned()));
        }
        if self.files.is_empty() {
            wrong.push(("files".to_owned(), "lists no file".to_owned()));
        }
        for (index, file) in self.files.iter().enumerate() {
            let digits = |sum: &String| sum.len() == 32 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !file.md5.as_ref().is_none_or(digits) {
                let detail = "is not an MD5 checksum in 32 hexadecimal digits".to_owned();
                wrong.push((format!("files/{index}/MD5checksum"), detail));
            }
        }
        wrong
    }
}

/// Computes the checksum of the bytes of a file, and limits them to its size.
struct Hashed<R> {
    input: io::Take<R>,
    digest: Md5,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}

enum State<R: Read> {
    /// The next file has not begun.
    Between(R),
    /// A file is being read.
    Within(Unpacked<Seen<Hashed<R>>>),
    /// All files were read, or reading failed.
    Over,
}

/// The files of an inventory, one after the other. Their sizes and checksums are checked.
pub(super) struct Files<R: Read> {
    files: std::vec::IntoIter<InventoryFile>,
    file: Option<InventoryFile>,
    state: State<R>,
    /// Whether the last byte ended a line.
    is_line_ended: bool,
}

impl<R: Read> Files<R> {
    /// `input` is all files of the manifest as they are stored, in its order, with nothing between them.
    pub fn of(input: R, manifest: &Manifest) -> Self {
        Files {
            files: manifest.files.clone().into_iter(),
            file: None,
            state: State::Between(input),
            is_line_ended: true,
        }
    }

    /// Begins the next file.
    fn begin(&mut self, mut input: R) -> io::Result<()> {
        let Some(file) = self.files.next() else {
            let mut more = [0];
            return match input.read(&mut more)? {
                0 => Ok(()),
                _ => Err(Damaged::error(
                    "the manifest lists no more files, but the listing goes on",
                )),
            };
        };
        let hashed = Hashed {
            input: input.take(file.size),
            digest: Md5::new(),
        };
        let about = shown(&file);
        let unpacked = unpack_if_packed(hashed).map_err(|error| named(&about, &error))?;
        self.file = Some(file);
        self.state = State::Within(unpacked);
        Ok(())
    }

    /// Ends a file and returns the input behind it.
    fn end(&mut self, unpacked: Unpacked<Seen<Hashed<R>>>) -> io::Result<R> {
        let (_, mut hashed) = unpacked.into_inner().into_inner();
        // What unpacks may end before the last byte of the file.
        io::copy(&mut hashed, &mut io::sink())?;
        let Some(file) = self.file.take() else {
            return Ok(hashed.input.into_inner());
        };
        let missing = hashed.input.limit();
        if missing > 0 {
            return Err(Damaged::error(format!(
                "{} ends after {} of {} bytes: the listing is cut",
                shown(&file),
                file.size - missing,
                file.size
            )));
        }
        let found = hex(&hashed.digest.finalize());
        if let Some(md5) = &file.md5
            && !md5.eq_ignore_ascii_case(&found)
        {
            return Err(Damaged::error(format!(
                "{} has the MD5 checksum {found}, but the manifest says {md5}; the files must follow in the order of the \
                 manifest",
                shown(&file)
            )));
        }
        Ok(hashed.input.into_inner())
    }
}

fn shown(file: &InventoryFile) -> String {
    format!("the file {}", one_line(&file.key, 200))
}

fn named(about: &str, error: &Error) -> io::Error {
    Damaged::error(format!("{about}: {error}"))
}

impl<R: Read> Read for Files<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Ok(0),
                State::Between(input) => self.begin(input)?,
                State::Within(mut unpacked) => {
                    let read = unpacked.read(buffer)?;
                    if read > 0 {
                        self.is_line_ended = buffer[read - 1] == b'\n';
                        self.state = State::Within(unpacked);
                        return Ok(read);
                    }
                    let input = self.end(unpacked)?;
                    self.state = State::Between(input);
                    if !self.is_line_ended {
                        // The first row of the next file begins a line.
                        self.is_line_ended = true;
                        buffer[0] = b'\n';
                        return Ok(1);
                    }
                }
            }
        }
    }
}

//! An encrypted file that is written and read as a stream, so that its content is never in memory as a whole.
//!
//! The file begins with a header: the magic text, the version, and a random salt. The key of the file is derived from the secret and the
//! salt with HKDF-SHA-256, so no two files share a key. The content follows in chunks of 64 KiB, each sealed with AES-256-GCM. The nonce of
//! a chunk is its position and a mark for the last chunk, and the header is authenticated with each of them. So a chunk that was
//! changed, moved, repeated or cut off is found before its content is used.

use std::io::{self, Read, Write};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

/// How the file begins.
const MAGIC: &[u8; 16] = b"CANDOR-CONTACTS\n";
/// The version of the format.
const VERSION: u8 = 1;
const SALT: usize = 16;
const HEADER: usize = MAGIC.len() + 1 + SALT;
/// The size of the content of a chunk, in bytes.
const CHUNK: usize = 64 * 1024;
/// The size of the tag after a chunk, in bytes.
const TAG: usize = 16;
/// What the key is for.
const PURPOSE: &[u8] = b"candor contacts 1";

fn other(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn key(secret: &str, salt: &[u8]) -> io::Result<LessSafeKey> {
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret.as_bytes());
    let purpose = [PURPOSE];
    let expanded = extracted
        .expand(&purpose, &AES_256_GCM)
        .map_err(|_| other("the key cannot be derived"))?;
    Ok(LessSafeKey::new(UnboundKey::from(expanded)))
}

fn nonce(position: u64, last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&position.to_be_bytes());
    bytes[8] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

/// Writes an encrypted file. It is complete only after [`SealedWriter::finish`].
pub(super) struct SealedWriter<W> {
    inner: W,
    key: LessSafeKey,
    header: [u8; HEADER],
    position: u64,
    chunk: Vec<u8>,
}

impl<W: Write> SealedWriter<W> {
    /// Begins a file with a new key.
    ///
    /// # Errors
    /// An I/O error if the header cannot be written, the machine gives no random numbers, or the key cannot be derived.
    pub fn new(mut inner: W, secret: &str) -> io::Result<Self> {
        let mut header = [0; HEADER];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()] = VERSION;
        getrandom::fill(&mut header[MAGIC.len() + 1..])
            .map_err(|_| other("the machine gives no random numbers"))?;
        let key = key(secret, &header[MAGIC.len() + 1..])?;
        inner.write_all(&header)?;
        Ok(SealedWriter {
            inner,
            key,
            header,
            position: 0,
            chunk: Vec::with_capacity(CHUNK + TAG),
        })
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        self.key
            .seal_in_place_append_tag(
                nonce(self.position, last),
                Aad::from(&self.header),
                &mut self.chunk,
            )
            .map_err(|_| other("a chunk cannot be encrypted"))?;
        self.inner.write_all(&self.chunk)?;
        self.chunk.clear();
        self.position += 1;
        Ok(())
    }

    /// Writes the last chunk, without which the file cannot be read.
    ///
    /// # Errors
    /// An I/O error if the last chunk cannot be encrypted or written.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        self.inner.flush()?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk is sealed only when more follows, because the last one is marked.
        if self.chunk.len() == CHUNK {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads an encrypted file.
pub(super) struct SealedReader<R> {
    inner: R,
    key: LessSafeKey,
    header: [u8; HEADER],
    position: u64,
    /// The encrypted bytes that were read beyond the current chunk: the first byte of the next one.
    ahead: Option<u8>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> SealedReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// `InvalidData` with the reason, if it is not such a file or has another version.
    pub fn new(mut inner: R, secret: &str) -> io::Result<Self> {
        let mut header = [0; HEADER];
        let foreign = "the file is not a copy of the contacts";
        inner.read_exact(&mut header).map_err(|_| other(foreign))?;
        if &header[..MAGIC.len()] != MAGIC {
            return Err(other(foreign));
        }
        if header[MAGIC.len()] != VERSION {
            return Err(other(
                "the copy of the contacts was made by a newer version of Candor",
            ));
        }
        let key = key(secret, &header[MAGIC.len() + 1..])?;
        Ok(SealedReader {
            inner,
            key,
            header,
            position: 0,
            ahead: None,
            chunk: Vec::new(),
            at: 0,
            ended: false,
        })
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.at = 0;
        self.chunk.extend(self.ahead.take());
        // One byte more than a chunk says whether this is the last one.
        let wanted = CHUNK + TAG + 1 - self.chunk.len();
        self.inner
            .by_ref()
            .take(wanted as u64)
            .read_to_end(&mut self.chunk)?;
        let last = self.chunk.len() <= CHUNK + TAG;
        if !last {
            self.ahead = self.chunk.pop();
        }
        let opened = self
            .key
            .open_in_place(
                nonce(self.position, last),
                Aad::from(&self.header),
                &mut self.chunk,
            )
            .map_err(|_| {
                other(
                    "the copy of the contacts was changed or cut off, or CANDOR_CONTACTS_KEY is another key",
                )
            })?
            .len();
        self.chunk.truncate(opened);
        self.position += 1;
        self.ended = last;
        Ok(())
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            if self.ended {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let given = into.len().min(self.chunk.len() - self.at);
        into[..given].copy_from_slice(&self.chunk[self.at..self.at + given]);
        self.at += given;
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a long secret for the copy of the contacts";

    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut writer = SealedWriter::new(Vec::new(), SECRET).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn opened(file: &[u8], secret: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        SealedReader::new(file, secret)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn every_length_comes_back() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7] {
            let content: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let file = sealed(&content);
            assert!(
                length < 100
                    || !file
                        .windows(50)
                        .any(|part| content.windows(50).next() == Some(part))
            );
            assert!(opened(&file, SECRET).unwrap() == content, "{length}");
        }
    }

    #[test]
    fn every_change_is_found() {
        let content = vec![7; 2 * CHUNK + 100];
        let file = sealed(&content);
        assert!(opened(&file, "another secret, which is long enough too").is_err());
        for at in [0, 16, 17, HEADER, HEADER + CHUNK, file.len() - 1] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(opened(&changed, SECRET).is_err(), "byte {at}");
        }
        let chunk = CHUNK + TAG;
        for cut in [
            0,
            HEADER - 1,
            HEADER,
            HEADER + chunk,
            HEADER + 2 * chunk,
            file.len() - 1,
        ] {
            assert!(opened(&file[..cut], SECRET).is_err(), "cut at {cut}");
        }
        let mut swapped = file.clone();
        swapped[HEADER..HEADER + 2 * chunk].rotate_left(chunk);
        assert!(opened(&swapped, SECRET).is_err());
        let mut longer = file;
        longer.push(0);
        assert!(opened(&longer, SECRET).is_err());
        // Two files of one content have nothing in common but the format.
        assert_ne!(sealed(b"same"), sealed(b"same"));
    }
}

//! A form with a file, as a browser sends it (`multipart/form-data`, RFC 7578). The body goes to a temporary file, because a file can be larger than the
//! memory. Fields are read from there, and the file is read in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::LocalBoxFuture;

use super::signed_in::SignedIn;
use crate::audit::Action;
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::http::extract::{MAX_IMPORT, Pace, uncompressed};
use crate::http::problem::Problem;
use crate::http::{App, auth};

/// The largest number of parts of a form.
const MAX_PARTS: usize = 20;
/// The largest size of the headers of a part, in bytes.
const MAX_HEADERS: u64 = 8 * 1024;
/// The largest size of a field, in bytes. Larger content is a file.
const MAX_FIELD: u64 = 512 * 1024;

/// A form with a file, that was sent from a page of the caller's session.
pub(super) struct Upload {
    pub by: SignedIn,
    spool: File,
    parts: BTreeMap<String, Part>,
}

/// Where the content of a field is in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    start: u64,
    end: u64,
}

impl FromRequest for Upload {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, std::result::Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let req = req.clone();
        let mut payload = payload.take();
        Box::pin(async move {
            let by = SignedIn::extract(&req).await?;
            let app = web::Data::<App>::extract(&req)
                .await
                .map_err(|_| Problem::Domain(Error::internal("the application is not configured")))?;
            let boundary = boundary(&req).ok_or(Problem::UnsupportedMedia("multipart/form-data"))?;
            uncompressed(req.headers())?;
            let mut spool = io::BufWriter::new(tempfile::tempfile().map_err(Error::internal)?);
            let (mut size, mut pace) = (0_u64, Pace::begin(&req));
            while let Some(chunk) = pace.next(&mut payload).await? {
                size += chunk.len() as u64;
                if size > MAX_IMPORT {
                    return Err(Problem::TooLarge(MAX_IMPORT as usize));
                }
                spool.write_all(&chunk).map_err(Error::internal)?;
            }
            let spool = spool
                .into_inner()
                .map_err(|error| Error::internal(error.into_error()))?;
            // Looking through a large file takes time, so it happens on a blocking thread.
            let (spool, parts) = web::block(move || {
                let mut spool = spool;
                parts(&mut spool, &boundary).map(|parts| (spool, parts))
            })
            .await
            .map_err(Error::internal)??;
            let mut upload = Upload { by, spool, parts };
            let key = upload.text("form_key")?;
            if !upload.by.sent(&app, &key) {
                let (method, path) = (req.method().to_string(), req.path().to_owned());
                auth::record(&app, &upload.by.0.actor(), Action::AccessForbidden, method, path).await?;
                let why =
                    "the form does not belong to this session; open the page again and repeat the change";
                return Err(Error::Forbidden(why.to_owned()).code(Code::FormExpired).into());
            }
            Ok(upload)
        })
    }
}

impl Upload {
    /// Returns the text of a field without white space around it. An absent field is empty.
    ///
    /// # Errors
    /// `Invalid` if the field is too long for a field, or is not UTF-8.
    pub fn text(&mut self, name: &str) -> Result<String> {
        let Some(part) = self.parts.get(name).copied() else {
            return Ok(String::new());
        };
        if part.end - part.start > MAX_FIELD {
            return Err(Error::invalid(format!("/{name}"), "is too long"));
        }
        let mut bytes = Vec::new();
        self.spool
            .seek(SeekFrom::Start(part.start))
            .map_err(Error::internal)?;
        let mut content = Read::take(&mut self.spool, part.end - part.start);
        content.read_to_end(&mut bytes).map_err(Error::internal)?;
        let text =
            String::from_utf8(bytes).map_err(|_| Error::invalid(format!("/{name}"), "is not UTF-8"))?;
        let text = text.replace("\r\n", "\n");
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(Error::invalid(format!("/{name}"), "contains a control character"));
        }
        Ok(text.trim().to_owned())
    }

    /// Returns whether a field has content.
    pub fn has(&self, name: &str) -> bool {
        self.parts.get(name).is_some_and(|part| part.end > part.start)
    }

    /// Returns the content of a field, to be read in place. The caller and the other fields are gone then.
    ///
    /// # Errors
    /// `Internal` if the temporary file cannot be read.
    pub fn content(mut self, name: &str) -> Result<(SignedIn, io::Take<File>)> {
        let part = self.parts.get(name).copied().unwrap_or(Part { start: 0, end: 0 });
        self.spool
            .seek(SeekFrom::Start(part.start))
            .map_err(Error::internal)?;
        Ok((self.by, Read::take(self.spool, part.end - part.start)))
    }
}

/// Returns the boundary between the parts of a body.
fn boundary(req: &HttpRequest) -> Option<String> {
    let media = req.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let mut parameters = media.split(';').map(str::trim);
    if !parameters.next()?.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("boundary")
            .then(|| value.trim_matches('"').to_owned())
    })?;
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

fn broken() -> Error {
    Error::invalid("", "the form was not received completely; send it again")
}

/// Finds the parts of a body by their names.
fn parts(file: &mut File, boundary: &str) -> Result<BTreeMap<String, Part>> {
    let size = file.seek(SeekFrom::End(0)).map_err(Error::internal)?;
    let opening = format!("--{boundary}").into_bytes();
    let mut start = vec![0; opening.len()];
    file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
    file.read_exact(&mut start).map_err(|_| broken())?;
    if start != opening {
        return Err(broken());
    }
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let ends = positions(file, &delimiter)?;
    let mut found = BTreeMap::new();
    let mut at = opening.len() as u64;
    for end in ends {
        let region = end.checked_sub(at).ok_or_else(broken)?;
        file.seek(SeekFrom::Start(at)).map_err(Error::internal)?;
        let mut head = Vec::new();
        Read::take(&mut *file, region.min(MAX_HEADERS))
            .read_to_end(&mut head)
            .map_err(Error::internal)?;
        let blank = find(&head, b"\r\n\r\n").ok_or_else(broken)?;
        let name = name_in(&String::from_utf8_lossy(&head[..blank])).ok_or_else(broken)?;
        let part = Part {
            start: at + blank as u64 + 4,
            end,
        };
        if part.start > part.end || found.insert(name, part).is_some() || found.len() > MAX_PARTS {
            return Err(broken());
        }
        at = end + delimiter.len() as u64;
    }
    // The last delimiter is followed by two hyphens.
    let mut closing = [0; 2];
    file.seek(SeekFrom::Start(at)).map_err(Error::internal)?;
    file.read_exact(&mut closing).map_err(|_| broken())?;
    if closing != *b"--" || at > size {
        return Err(broken());
    }
    Ok(found)
}

/// Returns the places of a text in a file, reading a part of it at a time.
fn positions(file: &mut File, needle: &[u8]) -> Result<Vec<u64>> {
    file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
    let (mut window, mut chunk) = (Vec::new(), vec![0; 256 * 1024]);
    let (mut base, mut found) = (0_u64, Vec::new());
    loop {
        let read = file.read(&mut chunk).map_err(Error::internal)?;
        if read == 0 {
            return Ok(found);
        }
        window.extend_from_slice(&chunk[..read]);
        let mut from = 0;
        while let Some(at) = find(&window[from..], needle) {
            found.push(base + (from + at) as u64);
            if found.len() > MAX_PARTS {
                return Err(broken());
            }
            from += at + needle.len();
        }
        // The text may go across the border of two reads.
        let kept = from.max(window.len().saturating_sub(needle.len() - 1));
        base += kept as u64;
        window.drain(..kept);
    }
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = text.get(from..)?.iter().position(|byte| *byte == first) {
        let at = from + at;
        if text[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Returns the name of the field in the headers of a part.
fn name_in(headers: &str) -> Option<String> {
    let line = headers
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    line.split(';').map(str::trim).find_map(|parameter| {
        let value = parameter.strip_prefix("name=")?;
        Some(value.trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn parts_are_found_by_their_names() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nfirst\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; \
                    filename=\"d.csv\"\r\nContent-Type: text/csv\r\n\r\nid,name\r\n1,x\r\n\r\n--x--\r\n";
        let mut file = file(body);
        let found = parts(&mut file, "x").unwrap();
        let of = |name: &str| &body[found[name].start as usize..found[name].end as usize];
        assert_eq!(of("a"), "first");
        assert_eq!(of("file"), "id,name\r\n1,x\r\n");
    }

    #[test]
    fn a_body_that_ends_too_early_is_refused() {
        for body in [
            "",
            "--x",
            "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nfirst",
            "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nfirst\r\n--x",
            "--x\r\n\r\n\r\n--x--",
        ] {
            assert!(parts(&mut file(body), "x").is_err(), "{body}");
        }
    }
}

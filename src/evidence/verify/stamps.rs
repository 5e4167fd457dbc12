//! The time stamps of a file: each is about a checkpoint that is an earlier state of the trail. Its signature is verified. Whether
//! the certificate is one of the authority, only the certificate of the authority shows, which the file does not have; `VERIFY.md` says how.

use super::archive::Archive;
use super::manifest::Listed;
use super::trail::Trail;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::VerifierKey;
use crate::audit::time_stamp::{Token, imprint};
use crate::base::time::Timestamp;

/// The folder of the time stamps.
const FOLDER: &str = "audit/time-stamps/";

/// Verifies the time stamps of a file. Returns what is proven.
///
/// # Errors
/// One sentence with the first fault.
pub(super) fn check(archive: &mut Archive, trail: &Trail, files: &[Listed]) -> Result<Vec<String>, String> {
    let stamps = files.iter().filter(|file| file.path.ends_with(".tsr"));
    let mut times: Vec<Timestamp> = Vec::new();
    for stamp in stamps {
        let name = &stamp.path;
        let size = name
            .strip_prefix(FOLDER)
            .and_then(|name| name.split_once('-'))
            .map(|(size, _)| size)
            .ok_or_else(|| format!("{name} is not a name of a time stamp"))?;
        let text = archive.text(&format!("{FOLDER}{size}.checkpoint"))?;
        let key = archive.text(&format!("{FOLDER}{size}.key"))?;
        let key = VerifierKey::parse(&key).map_err(|reason| format!("{FOLDER}{size}.key {reason}"))?;
        let signed = key
            .open(&text)
            .map_err(|reason| format!("{FOLDER}{size}.checkpoint: {reason}"))?;
        let earlier =
            Checkpoint::parse(signed).map_err(|reason| format!("{FOLDER}{size}.checkpoint: {reason}"))?;
        trail.check_earlier(&earlier)?;
        let response = archive.bytes(name)?;
        let stamp = Token::read(&response).map_err(|reason| format!("{name}: {reason}"))?;
        stamp
            .verify(&imprint(text.as_bytes()), None)
            .map_err(|reason| format!("{name}: {reason}"))?;
        times.push(stamp.at());
    }
    times.sort_unstable();
    Ok(match (times.first(), times.last()) {
        (Some(first), Some(last)) => vec![format!(
            "{} time stamps from {first} to {last} are about earlier states of the trail, and their signatures are right. Verify the \
             certificate of the authority as VERIFY.md says.",
            times.len()
        )],
        _ => Vec::new(),
    })
}

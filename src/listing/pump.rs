//! Reads an input that blocks on a thread of its own, so that async code can wait for its parts.

use std::io::Read;

use tokio::sync::mpsc;

use super::bytes::{BUFFER, failed};
use crate::base::error::{Error, Result};

/// The number of parts that wait.
const WAITING: usize = 4;

/// Returns the parts of an input. The thread ends at the end of the input, after an error, or when nobody waits for parts
/// any more. It is not one of the threads of the runtime: the process must not wait for it when it stops.
///
/// # Errors
/// `Internal` if the machine has no thread for it.
pub fn parts(mut input: impl Read + Send + 'static) -> Result<mpsc::Receiver<Result<Vec<u8>>>> {
    let (sender, parts) = mpsc::channel(WAITING);
    std::thread::Builder::new()
        .name("listing".to_owned())
        .spawn(move || {
            let mut buffer = vec![0; BUFFER];
            loop {
                let part = match input.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(read) => Ok(buffer[..read].to_vec()),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(failed(error, None)),
                };
                let last = part.is_err();
                if sender.blocking_send(part).is_err() || last {
                    return;
                }
            }
        })
        .map_err(Error::internal)?;
    Ok(parts)
}

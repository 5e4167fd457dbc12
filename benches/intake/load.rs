//! Posts prepared bodies over many connections. Each connection posts the next body as soon as it has its
//! answer. The code is the same for Alertmanager and for Candor.
//!
//! A request is counted only if its answer has a 2xx status.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Context, Result};

/// The longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The times of one measurement.
pub struct Loaded {
    /// The seconds from the first request to the last answer.
    pub seconds: f64,
    /// The seconds that each answer took, in ascending order.
    pub times: Vec<f64>,
}

impl Loaded {
    /// Returns the seconds within which this share of the answers arrived.
    pub fn within(&self, share: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        let place = (last as f64 * share).round() as usize;
        self.times.get(place).copied().unwrap_or(f64::NAN)
    }
}

/// Posts the bodies to a path at a port of 127.0.0.1, over this many connections, which stay open.
///
/// # Errors
/// The reason why a request failed, for example that its answer does not have a 2xx status.
pub async fn post(port: u16, path: &str, bodies: &[String], connections: usize) -> Result<Loaded> {
    let requests: Vec<Vec<u8>> = bodies
        .iter()
        .map(|body| {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), body.as_bytes()].concat()
        })
        .collect();
    let mut open = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .context("connecting")?;
        stream.set_nodelay(true).context("connecting")?;
        open.push(stream);
    }
    let next = std::cell::Cell::new(0);
    let started = Instant::now();
    let lanes = open.into_iter().map(async |mut stream| -> Result<Vec<f64>> {
        let mut times = Vec::new();
        let mut read = Vec::with_capacity(64 * 1024);
        loop {
            let index = next.get();
            let Some(request) = requests.get(index) else {
                return Ok(times);
            };
            next.set(index + 1);
            let since = Instant::now();
            stream.write_all(request).await.context("sending")?;
            tokio::time::timeout(PATIENCE, answered(&mut stream, &mut read))
                .await
                .context("waiting for an answer")??;
            times.push(since.elapsed().as_secs_f64());
        }
    });
    let lanes = futures_util::future::try_join_all(lanes).await?;
    let seconds = started.elapsed().as_secs_f64();
    let mut times = lanes.concat();
    if times.len() != bodies.len() {
        return Err(format!(
            "{} bodies were posted, but {} answers arrived",
            bodies.len(),
            times.len()
        ));
    }
    times.sort_by(f64::total_cmp);
    Ok(Loaded { seconds, times })
}

/// Reads one answer that has a Content-Length. It expects no other data after the answer.
async fn answered(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<()> {
    read.clear();
    loop {
        if stream.read_buf(read).await.context("reading")? == 0 {
            return Err("the connection was closed".to_owned());
        }
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .context("an answer without a length")?
            .trim()
            .parse()
            .context("the length of an answer")?;
        while read.len() < end + 4 + length {
            if stream.read_buf(read).await.context("reading")? == 0 {
                return Err("the connection was closed".to_owned());
            }
        }
        if !head.starts_with("http/1.1 2") {
            return Err(format!(
                "the request was refused: {}",
                String::from_utf8_lossy(read)
            ));
        }
        return Ok(());
    }
}

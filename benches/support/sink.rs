//! `smtp-sink`: takes mails and throws them away. The same options for everybody who sends to it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;

use super::process::{Guarded, free_port, listening, unprivileged};
use super::tools::Postfix;
use super::{Context, Result};

/// Characters from the end of the counter file within which its last line must lie.
const TAIL: u64 = 256;

/// A running sink.
pub struct Sink {
    port: u16,
    counters: File,
    process: Guarded,
}

impl Sink {
    /// Starts one that takes everything.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(postfix: &Postfix, scratch: &Path) -> Result<Self> {
        Self::with(postfix, scratch, &[])
    }

    /// Starts one that refuses every recipient with a 550. (`smtp-sink` then does not announce PIPELINING.)
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn refusing(postfix: &Postfix, scratch: &Path) -> Result<Self> {
        Self::with(postfix, scratch, &["-f", "RCPT", "-B", "550 5.1.1 No such user"])
    }

    fn with(postfix: &Postfix, scratch: &Path, options: &[&str]) -> Result<Self> {
        // It writes its counters after each mail. In memory where that is possible: its file must not be among
        // what the databases wait for when they sync.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory } else { scratch };
        let counters = tempfile::tempfile_in(directory).context(directory.display())?;
        let output = counters.try_clone().context("the sink's counters")?;
        let port = free_port()?;
        let mut command = postfix.command("smtp-sink");
        if let Some((user, ..)) = unprivileged()? {
            command.args(["-u", &user]);
        }
        command
            .arg("-c")
            .args(options)
            .args([&format!("127.0.0.1:{port}"), "1024"])
            .stdout(output)
            .stderr(Stdio::inherit());
        let mut process = Guarded::spawn(&mut command)?;
        listening(&mut process, port).context("smtp-sink")?;
        Ok(Self {
            port,
            counters,
            process,
        })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Mails taken since it started. Reading this costs the sink nothing.
    ///
    /// # Errors
    /// Where its counters are not as expected.
    pub fn taken(&self) -> Result<u64> {
        let size = self.counters.metadata().context("the sink's counters")?.len();
        let from = size.saturating_sub(TAIL);
        let mut tail = vec![0; usize::try_from(size - from).context("the sink's counters")?];
        self.counters
            .read_exact_at(&mut tail, from)
            .context("the sink's counters")?;
        // Lines such as `sess=32 quit=0 mesg=1234`, each ended by a carriage return; the last may be half written.
        let text = String::from_utf8_lossy(&tail);
        let Some((whole, _)) = text.rsplit_once('\r') else {
            return Ok(0);
        };
        let last = whole.rsplit('\r').next().unwrap_or_default();
        last.rsplit_once("mesg=")
            .and_then(|(_, count)| count.trim().parse().ok())
            .context(format!("smtp-sink -c wrote something else: {last}"))
    }
}

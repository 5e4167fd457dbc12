//! Starts `smtp-sink`, which accepts emails and discards them. All senders use the same options of it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;

use super::process::{Guarded, free_port, listening, unprivileged};
use super::tools::Postfix;
use super::{Context, Result};

/// The number of bytes at the end of the counter file that are read. The last line must be inside them.
const TAIL: u64 = 256;

/// A running sink, which is killed when this value is dropped.
pub struct Sink {
    port: u16,
    counters: File,
    process: Guarded,
}

impl Sink {
    /// Starts a sink that accepts every email.
    ///
    /// # Errors
    /// The reason why the sink cannot be started.
    pub fn start(postfix: &Postfix, scratch: &Path) -> Result<Self> {
        Self::with(postfix, scratch, &[])
    }

    /// Starts a sink that refuses every recipient with a 550. In this case `smtp-sink` does not announce
    /// PIPELINING.
    ///
    /// # Errors
    /// The reason why the sink cannot be started.
    pub fn refusing(postfix: &Postfix, scratch: &Path) -> Result<Self> {
        Self::with(postfix, scratch, &["-f", "RCPT", "-B", "550 5.1.1 No such user"])
    }

    fn with(postfix: &Postfix, scratch: &Path, options: &[&str]) -> Result<Self> {
        // The sink writes its counters after each email. The file is in memory if possible, because the
        // databases would otherwise also wait for this file when they sync.
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

    /// Returns the port of 127.0.0.1 on which the sink listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the ID of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills the sink, and returns the number of emails that it had accepted.
    ///
    /// # Errors
    /// A sentence, if the counters do not have the expected form.
    #[allow(dead_code)] // Only the bench `send` calls this function.
    pub fn kill(self) -> Result<u64> {
        let Sink {
            counters, process, ..
        } = self;
        drop(process);
        counted(&counters)
    }

    /// Returns the number of emails that the sink has accepted since it started. Reading this number does not
    /// slow the sink down.
    ///
    /// # Errors
    /// A sentence, if the counters do not have the expected form.
    pub fn taken(&self) -> Result<u64> {
        counted(&self.counters)
    }
}

fn counted(counters: &File) -> Result<u64> {
    let size = counters.metadata().context("the sink's counters")?.len();
    let from = size.saturating_sub(TAIL);
    let mut tail = vec![0; usize::try_from(size - from).context("the sink's counters")?];
    counters
        .read_exact_at(&mut tail, from)
        .context("the sink's counters")?;
    // A line looks like `sess=32 quit=0 mesg=1234` and ends with a carriage return. The last line can be
    // incomplete.
    let text = String::from_utf8_lossy(&tail);
    let Some((whole, _)) = text.rsplit_once('\r') else {
        return Ok(0);
    };
    let last = whole.rsplit('\r').next().unwrap_or_default();
    last.rsplit_once("mesg=")
        .and_then(|(_, count)| count.trim().parse().ok())
        .context(format!("smtp-sink -c wrote an unexpected line: {last}"))
}

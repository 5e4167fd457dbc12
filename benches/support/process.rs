//! Processes that do not outlive the measurement, and free ports for them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{Context, Result};

/// How long a program may take to start or to end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed when this is dropped.
pub struct Guarded(Child);

impl Guarded {
    /// Starts it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn();
        Ok(Self(child.context(command.get_program().to_string_lossy())?))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The process itself, to take its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// Where it does not end in time, or not well.
    pub fn terminate(mut self) -> Result<()> {
        run(Command::new("kill").args(["-TERM", &self.id().to_string()]))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().context("waiting for a process")? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(format!("a process ended with {status} after SIGTERM"))
                };
            }
            if Instant::now() > deadline {
                return Err(format!("a process did not end within {PATIENCE:?} of SIGTERM"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Where it did not end well.
    pub fn ended(mut self) -> Result<()> {
        let status = self.0.wait().context("waiting for a process")?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("it ended with {status}"))
        }
    }

    /// Fails where it has ended already.
    ///
    /// # Errors
    /// How it ended.
    pub fn alive(&mut self) -> Result<()> {
        match self.0.try_wait().context("looking at a process")? {
            Some(status) => Err(format!("it ended with {status}")),
            None => Ok(()),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command to its end and gives its standard output.
///
/// # Errors
/// Where it cannot be started or fails; with what it wrote.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().context(&name)?;
    if !status.success() {
        let said = String::from_utf8_lossy(if stderr.is_empty() { &stdout } else { &stderr });
        return Err(format!("{name}: {status}: {}", said.trim()));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// A port of 127.0.0.1 that nobody listens on at the moment.
///
/// # Errors
/// Where there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
    Ok(listener.local_addr().context("a free port")?.port())
}

/// Waits until somebody listens there.
///
/// # Errors
/// Where the process ends before, or takes too long.
pub fn listening(process: &mut Guarded, port: u16) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        process.alive()?;
        if Instant::now() > deadline {
            return Err(format!("nobody listens on port {port}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The user that servers run as when this runs as root: they refuse to be root themselves.
///
/// # Errors
/// Where the system has none.
pub fn unprivileged() -> Result<Option<(String, u32, u32)>> {
    use std::os::unix::fs::MetadataExt;
    let me = std::fs::metadata("/proc/self").context("/proc/self")?.uid();
    if me != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|wanted| {
            let fields: Vec<&str> = users
                .lines()
                .map(|line| line.split(':').collect::<Vec<_>>())
                .find(|fields| fields.first() == Some(&wanted))?;
            let number = |index: usize| fields.get(index)?.parse().ok();
            Some((wanted.to_owned(), number(2)?, number(3)?))
        })
        .map(Some)
        .context("running as root, and there is no user postgres or nobody")
}

//! Starts processes that end together with the measurement, and finds free ports for them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{Context, Result};

/// The longest time that a program may take to start or to end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed when this value is dropped.
pub struct Guarded(Child);

impl Guarded {
    /// Starts the command as a process without input.
    ///
    /// # Errors
    /// The reason why the process cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn();
        Ok(Self(child.context(command.get_program().to_string_lossy())?))
    }

    /// Returns the ID of the process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Returns the process itself, so that the caller can take its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Asks the process to end with SIGTERM and waits until it has ended.
    ///
    /// # Errors
    /// A sentence, if the process does not end in time or ends with an error.
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
                return Err(format!("a process did not end within {PATIENCE:?} after SIGTERM"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// The exit status, if the process ended with an error.
    pub fn ended(mut self) -> Result<()> {
        let status = self.0.wait().context("waiting for a process")?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the process ended with {status}"))
        }
    }

    /// Checks that the process has not ended.
    ///
    /// # Errors
    /// The exit status, if the process has ended.
    pub fn alive(&mut self) -> Result<()> {
        match self.0.try_wait().context("checking a process")? {
            Some(status) => Err(format!("the process ended with {status}")),
            None => Ok(()),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // An error means that the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// The reason why the command cannot be started, or its exit status and its output if it failed.
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

/// Returns a port of 127.0.0.1 on which no process listens at the moment.
///
/// # Errors
/// The reason why there is no free port.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
    Ok(listener.local_addr().context("a free port")?.port())
}

/// Waits until the process accepts connections on the port.
///
/// # Errors
/// A sentence, if the process ends before that or takes too long.
pub fn listening(process: &mut Guarded, port: u16) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        process.alive()?;
        if Instant::now() > deadline {
            return Err(format!("no process listens on port {port} after {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Returns the name, the user ID and the group ID of the user that servers run as, if this process runs as
/// root. These servers refuse to run as root.
///
/// # Errors
/// A sentence, if the system has no such user.
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

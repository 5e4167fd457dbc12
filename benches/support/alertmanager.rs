//! Alertmanager, as it is installed on this machine.
//!
//! Must never happen here: anything that it writes stays behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::{Guarded, free_port, listening};
use super::{Context, Result};

const PROGRAM: &str = "prometheus-alertmanager";
/// Everything is one group that is told to nobody: what is measured is taking alerts in.
const SETTINGS: &str = "route: {receiver: nobody, group_by: [service]}\nreceivers: [{name: nobody}]\n";

/// The program.
pub struct Alertmanager {
    program: PathBuf,
    /// Where it comes from.
    pub origin: String,
}

/// A running one.
pub struct Running {
    process: Guarded,
    /// Where it listens.
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Alertmanager {
    /// Finds it.
    ///
    /// # Errors
    /// Says what to install.
    pub fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = std::env::split_paths(&path)
            .flat_map(|place| [place.join(PROGRAM), place.join("alertmanager")])
            .find(|file| file.is_file());
        // Debian's looks for its templates in the system, so unpacking it elsewhere is not enough.
        let program = installed.context(
            "Alertmanager is missing, please install it (Debian: apt-get install --no-install-recommends \
             prometheus-alertmanager, and stop the service)",
        )?;
        // Some releases say it on standard error.
        let said = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .context("alertmanager --version")?;
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let version = said
            .split_whitespace()
            .skip_while(|word| *word != "version")
            .nth(1)
            .unwrap_or("of unknown version");
        Ok(Self {
            origin: format!("alertmanager {version}"),
            program,
        })
    }

    /// Starts it, alone, with an empty folder.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn serve(&self, scratch: &Path) -> Result<Running> {
        self.serve_with(scratch, SETTINGS)
    }

    /// The same with settings of one's own, as YAML.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn serve_with(&self, scratch: &Path, text: &str) -> Result<Running> {
        let folder = tempfile::Builder::new()
            .prefix("alertmanager-")
            .tempdir_in(scratch)
            .context(scratch.display())?;
        let settings = folder.path().join("alertmanager.yml");
        fs::write(&settings, text).context(settings.display())?;
        let port = free_port()?;
        let log = File::create(folder.path().join("log")).context("its log")?;
        let mut process = Guarded::spawn(
            Command::new(&self.program)
                .arg(format!("--config.file={}", settings.display()))
                .arg(format!("--storage.path={}", folder.path().join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--cluster.listen-address=")
                .stdout(Stdio::null())
                .stderr(log),
        )?;
        listening(&mut process, port)?;
        Ok(Running {
            process,
            port,
            _folder: folder,
        })
    }
}

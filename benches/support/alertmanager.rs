//! Starts the Alertmanager that is installed on this machine.
//!
//! All files that Alertmanager writes are deleted when it ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::{Guarded, free_port, listening};
use super::{Context, Result};

const PROGRAM: &str = "prometheus-alertmanager";
/// The default configuration. All alerts are in one group, and its receiver notifies nobody, because only the
/// receiving of alerts is measured.
const SETTINGS: &str = "route: {receiver: nobody, group_by: [service]}\nreceivers: [{name: nobody}]\n";

/// The installed program.
pub struct Alertmanager {
    program: PathBuf,
    /// The name and the version of the program.
    pub origin: String,
}

/// A running Alertmanager, which is killed when this value is dropped.
pub struct Running {
    process: Guarded,
    /// The port on which it listens.
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Returns the ID of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Alertmanager {
    /// Finds the installed program and asks it for its version.
    ///
    /// # Errors
    /// A sentence that says what to install.
    pub fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = std::env::split_paths(&path)
            .flat_map(|place| [place.join(PROGRAM), place.join("alertmanager")])
            .find(|file| file.is_file());
        // Debian's program looks for its templates in a system folder. It would therefore not work if the
        // package were only unpacked elsewhere.
        let program = installed.context(
            "Alertmanager is missing, please install it (Debian: apt-get install --no-install-recommends \
             prometheus-alertmanager, and stop the service)",
        )?;
        // Some releases write the version to standard error.
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

    /// Starts Alertmanager without a cluster, with an empty folder and the default configuration.
    ///
    /// # Errors
    /// The reason why it does not start.
    pub fn serve(&self, scratch: &Path) -> Result<Running> {
        self.serve_with(scratch, SETTINGS)
    }

    /// Starts Alertmanager with a configuration in YAML.
    ///
    /// # Errors
    /// The reason why it does not start.
    pub fn serve_with(&self, scratch: &Path, text: &str) -> Result<Running> {
        let folder = tempfile::Builder::new()
            .prefix("alertmanager-")
            .tempdir_in(scratch)
            .context(scratch.display())?;
        let settings = folder.path().join("alertmanager.yml");
        fs::write(&settings, text).context(settings.display())?;
        let port = free_port()?;
        let log = File::create(folder.path().join("log")).context("the log of Alertmanager")?;
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

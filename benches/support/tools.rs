//! Finds the tools that are needed besides Candor on this machine, or downloads them into a folder of the
//! build directory.
//!
//! Nothing is installed into the system. For a tool that cannot be found, one line says what is missing and
//! what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::process::run;
use super::{Context, Result};

/// The major version of nodemailer with which the figures of `docs/performance.md` are compared.
const NODEMAILER: &str = "nodemailer@10";

/// Finds a program by its name in `PATH` or in a folder for system programs.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|place| place.join(program))
        .find(|file| file.is_file())
}

/// The programs `smtp-source` and `smtp-sink` of Postfix.
#[derive(Clone)]
pub struct Postfix {
    programs: PathBuf,
    /// The folder of the shared libraries, if Postfix is not installed.
    libraries: Option<PathBuf>,
    /// The version of Postfix, and whether it is installed or only unpacked.
    pub origin: String,
}

impl Postfix {
    /// Finds the programs, or unpacks Debian's package into `cache`. The package is not installed, so no mail
    /// server is set up.
    ///
    /// # Errors
    /// A sentence that says what to install.
    pub fn find(cache: &Path) -> Result<Self> {
        if let (Some(source), Some(_)) = (in_path("smtp-source"), in_path("smtp-sink")) {
            let version = run(Command::new("postconf").args(["-h", "mail_version"]))
                .map_or_else(|_| "of unknown version".to_owned(), |text| text.trim().to_owned());
            return Ok(Self {
                programs: source.parent().context("smtp-source has no folder")?.to_owned(),
                libraries: None,
                origin: format!("postfix {version}"),
            });
        }
        let unpacked = cache.join("postfix");
        if !unpacked.join("usr/sbin/smtp-sink").is_file() {
            Self::fetch(cache, &unpacked).context(
                "smtp-source and smtp-sink are missing, please install Postfix (Debian: apt-get install postfix)",
            )?;
        }
        let version = fs::read_to_string(unpacked.join("version")).unwrap_or_default();
        Ok(Self {
            programs: unpacked.join("usr/sbin"),
            libraries: Some(unpacked.join("usr/lib/postfix")),
            origin: format!("postfix {} (unpacked, not installed)", version.trim()),
        })
    }

    fn fetch(cache: &Path, unpacked: &Path) -> Result<()> {
        println!(
            "downloading Debian's package postfix for smtp-source and smtp-sink; it is unpacked and not installed"
        );
        let into = tempfile::tempdir_in(cache).context("a folder")?;
        let download = || {
            run(Command::new("apt-get")
                .args(["download", "postfix"])
                .current_dir(into.path()))
        };
        // If the package lists of the machine are empty or old, `apt-get update` must run first. It needs
        // root.
        if download().is_err() {
            run(Command::new("apt-get").args(["update", "-qq"]))?;
            download()?;
        }
        let package = fs::read_dir(into.path())
            .context("the download")?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|end| end == "deb"))
            .context("apt-get downloaded nothing")?;
        let files = into.path().join("files");
        run(Command::new("dpkg-deb").arg("-x").args([&package, &files]))?;
        let version = run(Command::new("dpkg-deb").arg("-f").arg(&package).arg("Version"))?;
        fs::write(files.join("version"), version).context("the version")?;
        fs::rename(&files, unpacked).context(unpacked.display())
    }

    /// Returns a command that runs one of the programs.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// Sends this many emails to a port of 127.0.0.1, each to a different recipient, over 32 connections that
    /// stay open. This is the reference for the other senders. `payload` is the size in bytes without the
    /// headers.
    ///
    /// # Errors
    /// The reason why smtp-source failed.
    pub fn send(&self, port: u16, messages: u64, payload: u64) -> Result<()> {
        let mut command = self.command("smtp-source");
        command
            .args(["-s", &super::candor::CONNECTIONS.to_string(), "-d", "-N"])
            .args(["-m", &messages.to_string(), "-l", &payload.to_string()])
            .args(["-f", "candor@sender.example", "-t", "person@crowd.example"])
            .arg(format!("127.0.0.1:{port}"));
        run(&mut command).map(|_| ())
    }
}

/// Node.js with the library nodemailer.
pub struct Nodemailer {
    folder: PathBuf,
    /// The versions of nodemailer and of Node.js.
    pub origin: String,
}

/// The content of the emails that nodemailer composes and sends.
pub struct Sample<'a> {
    /// The subject of the email.
    pub subject: &'a str,
    /// The body as plain text.
    pub text: &'a str,
    /// The body as HTML.
    pub html: &'a str,
}

/// The result of sending with nodemailer.
pub struct Sent {
    /// The seconds from handing over the first email until the last one was accepted. The start of Node.js is
    /// not included.
    pub seconds: f64,
    /// The size in bytes of the first email that nodemailer composed.
    pub bytes: u64,
}

impl Nodemailer {
    /// Finds `node`, and downloads nodemailer into `cache` the first time.
    ///
    /// # Errors
    /// A sentence that says what to install.
    pub fn find(cache: &Path) -> Result<Self> {
        let node = run(Command::new("node").arg("--version"))
            .context("Node.js is missing, please install it (Debian: apt-get install nodejs npm)")?;
        let folder = cache.join("nodemailer");
        let manifest = folder.join("node_modules/nodemailer/package.json");
        if !manifest.is_file() {
            println!("downloading {NODEMAILER} into {}", folder.display());
            fs::create_dir_all(&folder).context(folder.display())?;
            run(Command::new("npm")
                .args([
                    "install",
                    "--no-audit",
                    "--no-fund",
                    "--ignore-scripts",
                    "--no-save",
                    "--prefix",
                ])
                .arg(&folder)
                .arg(NODEMAILER))
            .context("nodemailer could not be installed")?;
        }
        let manifest = fs::read_to_string(&manifest).context(manifest.display())?;
        let manifest: serde_json::Value =
            serde_json::from_str(&manifest).context("nodemailer's package.json")?;
        let version = manifest["version"].as_str().unwrap_or("of unknown version");
        Ok(Self {
            folder,
            origin: format!("nodemailer {version} on node {}", node.trim()),
        })
    }

    /// Sends this many emails over a pool of 32 connections.
    ///
    /// # Errors
    /// The reason why an email was not accepted.
    pub fn send(&self, port: u16, messages: u64, sample: &Sample<'_>) -> Result<Sent> {
        let job = json!({
            "folder": self.folder, "port": port, "connections": super::candor::CONNECTIONS, "messages": messages,
            "subject": sample.subject, "text": sample.text, "html": sample.html,
        });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/support/nodemailer.mjs");
        let answer = run(Command::new("node")
            .arg(script)
            .arg(job.to_string())
            .env("NODE_ENV", "production")
            .stderr(Stdio::inherit()))?;
        let answer: serde_json::Value =
            serde_json::from_str(&answer).context("the answer of nodemailer.mjs")?;
        Ok(Sent {
            seconds: answer["seconds"]
                .as_f64()
                .context("nodemailer.mjs gave no time")?,
            bytes: answer["bytes"].as_u64().context("nodemailer.mjs gave no size")?,
        })
    }
}

//! What is needed beside Candor: found on this machine, or fetched into a folder of the build directory.
//!
//! Nothing is installed into the system. What cannot be had is said in one line, with what would help.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::process::run;
use super::{Context, Result};

/// The version that PERFORMANCE's figures are against, by its first number.
const NODEMAILER: &str = "nodemailer@10";

/// The program at that name in PATH, or in the places where system programs are.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|place| place.join(program))
        .find(|file| file.is_file())
}

/// `smtp-source` and `smtp-sink`, of Postfix.
#[derive(Clone)]
pub struct Postfix {
    programs: PathBuf,
    /// Where its shared libraries are, when they are not installed.
    libraries: Option<PathBuf>,
    /// Where they come from.
    pub origin: String,
}

impl Postfix {
    /// Finds them, or unpacks Debian's package into `cache`: without installing it, so no mail server is set up.
    ///
    /// # Errors
    /// Says what to install.
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
        println!("fetching Debian's postfix for smtp-source and smtp-sink; it is unpacked, not installed");
        let into = tempfile::tempdir_in(cache).context("a folder")?;
        let download = || {
            run(Command::new("apt-get")
                .args(["download", "postfix"])
                .current_dir(into.path()))
        };
        // A machine whose lists of packages are empty or old needs `apt-get update` first, which takes root.
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

    /// One of its programs.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// Sends this many mails to a port of this machine, each to a recipient of its own, over 32 connections that stay
    /// open: the reference. `payload` is bytes without the headers.
    ///
    /// # Errors
    /// Where it fails.
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

/// Node.js with nodemailer.
pub struct Nodemailer {
    folder: PathBuf,
    /// Both versions.
    pub origin: String,
}

/// A mail for nodemailer to compose and send.
pub struct Sample<'a> {
    /// The subject.
    pub subject: &'a str,
    /// The plain text.
    pub text: &'a str,
    /// The HTML.
    pub html: &'a str,
}

/// What nodemailer did.
pub struct Sent {
    /// From the first mail handed to it until the last was accepted, without the start of Node.js.
    pub seconds: f64,
    /// Bytes of the first mail, as it composed it.
    pub bytes: u64,
}

impl Nodemailer {
    /// Finds `node`, and installs nodemailer into `cache` the first time.
    ///
    /// # Errors
    /// Says what to install.
    pub fn find(cache: &Path) -> Result<Self> {
        let node = run(Command::new("node").arg("--version"))
            .context("Node.js is missing, please install it (Debian: apt-get install nodejs npm)")?;
        let folder = cache.join("nodemailer");
        let manifest = folder.join("node_modules/nodemailer/package.json");
        if !manifest.is_file() {
            println!("fetching {NODEMAILER} into {}", folder.display());
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

    /// Sends this many mails over a pool of 32 connections.
    ///
    /// # Errors
    /// Where one is not accepted.
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

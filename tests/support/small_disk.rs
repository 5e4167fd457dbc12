//! A disk of a few megabytes that a test can fill.
//!
//! It is a tmpfs in its own mount namespace, which needs no rights if the kernel allows such namespaces for
//! users. A shell keeps the namespace alive, and the program is started inside it. The test itself accesses
//! the disk through `/proc/PID/root`, except for its database, because SQLite resolves that link by its text
//! to the namespace of the test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The disk is removed when this value is dropped, and also if the test is killed.
pub struct SmallDisk {
    holder: Child,
}

/// The mount point of the disk in its namespace.
pub const SMALL_DISK: &str = "/mnt";

impl SmallDisk {
    /// Mounts a disk. If this machine does not allow it, it reports this and returns `None`.
    pub fn mount(megabytes: usize) -> Option<Self> {
        // The shell and the disk end when the standard input of the shell is closed.
        let script =
            format!("mount -t tmpfs -o size={megabytes}m none {SMALL_DISK} && echo mounted && read -r end");
        let spawned = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let why = match spawned {
            Ok(mut holder) => {
                let mut line = String::new();
                let output = holder.stdout.take().expect("a pipe");
                BufReader::new(output).read_line(&mut line).expect("text");
                let disk = SmallDisk { holder };
                let launcher = disk.launcher();
                let entered = Command::new(&launcher[0])
                    .args(&launcher[1..])
                    .arg("true")
                    .status();
                if line.trim() == "mounted" && entered.is_ok_and(|status| status.success()) {
                    return Some(disk);
                }
                "no mount in a namespace of one's own".to_owned()
            }
            Err(error) => format!("unshare: {error}"),
        };
        // The test runner hides `eprintln!` if the test passes.
        let _ = writeln!(
            std::io::stderr(),
            "not tested: a disk that is full, for want of a small one: {why}"
        );
        None
    }

    /// Returns the command that starts a program in the namespace, where the disk is at [`SMALL_DISK`].
    pub fn launcher(&self) -> Vec<String> {
        let target = self.holder.id().to_string();
        [
            "nsenter",
            "--target",
            &target,
            "--user",
            "--mount",
            "--preserve-credentials",
            "--",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Returns the directory of the disk as this process sees it.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{SMALL_DISK}", self.holder.id()))
    }

    /// Fills the disk completely.
    pub fn fill(&self) {
        let mut filler = File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .expect("a file");
        for size in [1 << 20, 1 << 12, 1] {
            // Write until there is no space for another piece of this size.
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Fills the disk, and leaves only this number of bytes free.
    pub fn fill_but(&self, bytes: u64) {
        self.fill();
        let filler = File::options().write(true).open(self.filler()).expect("a file");
        let length = filler.metadata().expect("a length").len();
        filler
            .set_len(length.saturating_sub(bytes))
            .expect("a shorter file");
    }

    /// Frees the space that `fill` used.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("a filler to remove");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

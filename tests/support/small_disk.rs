//! A disk of a few megabytes that a test can fill up.
//!
//! It is a tmpfs in a mount namespace of its own, which needs no rights where the kernel lets users have such
//! namespaces. A shell holds the namespace; the program is launched into it. The test itself reaches the disk through
//! `/proc/PID/root`, but for its database: SQLite follows that link by its text, back to where it is called.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Gone when it is dropped, and also where the test is killed.
pub struct SmallDisk {
    holder: Child,
}

/// Where it is mounted, in its namespace.
pub const SMALL_DISK: &str = "/mnt";

impl SmallDisk {
    /// None, after saying so, where this machine does not allow it.
    pub fn mount(megabytes: usize) -> Option<Self> {
        // The shell ends, and the disk with it, when its standard input is closed.
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
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let _ = writeln!(
            std::io::stderr(),
            "not tested: a disk that is full, for want of a small one: {why}"
        );
        None
    }

    /// What launches a program into the namespace, where the disk is at [`SMALL_DISK`].
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

    /// Its directory, from here.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{SMALL_DISK}", self.holder.id()))
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let mut filler = File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .expect("a file");
        for size in [1 << 20, 1 << 12, 1] {
            // Until there is no room for another piece of this size.
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Gives back what `fill` took.
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

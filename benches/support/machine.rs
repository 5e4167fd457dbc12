//! Describes the machine, its load and its disk, because the figures hold only for them. Also measures the
//! memory and the processor time of processes.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::figures::Series;
use super::process::run;
use super::{Context, Result};

/// How often the memory of a process is read.
const SAMPLE: Duration = Duration::from_millis(100);
/// The number of syncs from which the median is computed.
const SYNCS: usize = 50;

/// Returns the lines that describe the machine, the disk and the program.
pub fn describe(scratch: &Path) -> Result<Vec<String>> {
    let processors = std::thread::available_parallelism().context("processors")?;
    let model = fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            Some(
                line.strip_prefix("model name")?
                    .split_once(':')?
                    .1
                    .trim()
                    .to_owned(),
            )
        })
        .unwrap_or_else(|| "of unknown model".to_owned());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version")?;
    let memory = kib(
        &fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?,
        "MemTotal:",
    )
    .unwrap_or(0);
    let root = env!("CARGO_MANIFEST_DIR");
    let git = |args: &[&str]| run(Command::new("git").arg("-C").arg(root).args(args));
    let commit = match (
        git(&["rev-parse", "--short", "HEAD"]),
        git(&["status", "--porcelain"]),
    ) {
        (Ok(commit), Ok(changes)) => {
            let changed = if changes.trim().is_empty() {
                ""
            } else {
                " with uncommitted changes"
            };
            format!("commit {}{changed}", commit.trim())
        }
        _ => "without a commit".to_owned(),
    };
    let compiler =
        run(Command::new("rustc").arg("--version")).unwrap_or_else(|_| "rustc of unknown version".to_owned());
    Ok(vec![
        format!(
            "machine   {processors} × {model}, {} GiB, Linux {}, load {}",
            memory / (1 << 20),
            kernel.trim(),
            load().unwrap_or_default()
        ),
        format!(
            "disk      {} at {}, fdatasync of 4 KiB {:.2} ms",
            file_system(scratch).unwrap_or_else(|| "an unknown file system".to_owned()),
            scratch.display(),
            sync_time(scratch)? * 1000.0
        ),
        format!(
            "candor    {} {}, {commit}, {}; {}",
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            compiler.trim(),
            candor::base::time::Clock::system().now()
        ),
    ])
}

/// Returns the number of running or waiting processes, averaged over the last minute.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

/// Returns the type of the file system that contains the path.
pub fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    // A line looks like `36 25 0:31 / /dev/shm rw,nosuid - tmpfs tmpfs rw`. The fifth field is the mount
    // point.
    fs::read_to_string("/proc/self/mountinfo")
        .ok()?
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mounted = before.split(' ').nth(4)?;
            path.starts_with(mounted).then(|| {
                (
                    mounted.len(),
                    after.split(' ').next().unwrap_or_default().to_owned(),
                )
            })
        })
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind)
}

/// Returns the median of the seconds that it takes to append 4 KiB to a file and to sync the file.
fn sync_time(scratch: &Path) -> Result<f64> {
    let mut file: File = tempfile::tempfile_in(scratch).context(scratch.display())?;
    let mut times = Series::default();
    for _ in 0..SYNCS {
        file.write_all(&[0; 4096]).context("a write")?;
        let started = Instant::now();
        file.sync_data().context("a sync")?;
        times.push(started.elapsed().as_secs_f64());
    }
    Ok(times.median())
}

/// Returns the number of KiB that follows a name in the text of a file in /proc.
fn kib(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Processor time in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// The time in the program itself.
    pub user: f64,
    /// The time in the kernel, on behalf of the program.
    pub system: f64,
}

impl Cpu {
    /// Returns the time that a process has used since it started, with all of its threads and with its child
    /// processes that have ended. Returns zero if the process has ended.
    pub fn of(process: u32) -> Self {
        Self::read(&format!("/proc/{process}/stat")).map_or(Self::default(), |(_, cpu)| cpu)
    }

    /// Returns the time that all processes with this name have used, with their child processes that have
    /// ended.
    pub fn of_all(name: &str) -> Self {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut sum = Self::default();
        for entry in processes {
            if let Some((found, cpu)) = Self::read(&format!("{}/stat", entry.path().display()))
                && found == name
            {
                sum.user += cpu.user;
                sum.system += cpu.system;
            }
        }
        sum
    }

    /// Reads the name of a process and its times. The times are in the 14th and the 15th field, and those of
    /// its children in the 16th and the 17th. The unit is a hundredth of a second.
    fn read(path: &str) -> Option<(String, Self)> {
        let text = fs::read_to_string(path).ok()?;
        let (before, after) = text.rsplit_once(") ")?;
        let name = before.split_once(" (")?.1.to_owned();
        let fields: Vec<&str> = after.split(' ').collect();
        let time = |index: usize| -> Option<f64> { Some(fields.get(index)?.parse::<f64>().ok()? / 100.0) };
        let (user, system) = (time(11)? + time(13)?, time(12)? + time(14)?);
        Some((name, Self { user, system }))
    }

    /// Returns the time since an earlier value, divided by `n`, as text.
    pub fn each(self, since: Self, n: u64) -> String {
        let micros = |seconds: f64| seconds.max(0.0) * 1e6 / n as f64;
        format!(
            "{:.0}+{:.0} µs",
            micros(self.user - since.user),
            micros(self.system - since.system)
        )
    }
}

/// Returns the current memory and the peak memory of a process, in MiB.
fn resident(process: u32) -> Option<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let mib = |name| kib(&status, name).map(|kib| kib as f64 / 1024.0);
    Some((mib("VmRSS:")?, mib("VmHWM:")?))
}

/// Returns the peak memory of a process, in MiB.
///
/// # Errors
/// A sentence, if the process has ended.
pub fn peak(process: u32) -> Result<f64> {
    resident(process)
        .map(|(_, peak)| peak)
        .context("the process has ended")
}

/// Reads the memory of a process at regular intervals.
pub struct MemoryWatch {
    stop: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<f64>>>,
    thread: JoinHandle<()>,
}

impl MemoryWatch {
    /// Starts a thread that reads the memory of this process.
    pub fn start(process: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let samples = Arc::<Mutex<Vec<f64>>>::default();
        let thread = std::thread::spawn({
            let (stop, samples) = (stop.clone(), samples.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some((now, _)) = resident(process) {
                        samples.lock().unwrap_or_else(PoisonError::into_inner).push(now);
                    }
                    std::thread::sleep(SAMPLE);
                }
            }
        });
        Self {
            stop,
            samples,
            thread,
        }
    }

    /// Stops the thread and returns the memory in MiB, ten times per second from the start until now.
    ///
    /// # Errors
    /// A sentence, if there are fewer than two samples.
    pub fn end(self) -> Result<Vec<f64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| "the thread that reads the memory failed")?;
        let samples = std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner));
        if samples.len() < 2 {
            return Err("the process ended before its memory was read twice".to_owned());
        }
        Ok(samples)
    }
}

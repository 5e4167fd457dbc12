//! What the figures hold for: the machine, its load, its disk; and the memory of a process.

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

/// How often the memory of a process is looked at.
const SAMPLE: Duration = Duration::from_millis(100);
/// Syncs of which the median is taken.
const SYNCS: usize = 50;

/// Lines that say where this ran.
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
                ", with changes"
            };
            format!("commit {}{changed}", commit.trim())
        }
        _ => "of no commit".to_owned(),
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

/// Running or waiting processes, averaged over the last minute.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

/// The type of the file system that a path is on.
pub fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    // Lines such as `36 25 0:31 / /dev/shm rw,nosuid - tmpfs tmpfs rw`: the fifth field is where it is mounted.
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

/// Seconds that it takes to append 4 KiB to a file and sync it: the median.
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

/// The number of KiB that follows a name in a file of /proc.
fn kib(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Seconds of processor time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// In the program itself.
    pub user: f64,
    /// In the kernel, on its behalf.
    pub system: f64,
}

impl Cpu {
    /// Spent by a process and its threads since it started. Nothing where it is gone.
    pub fn of(process: u32) -> Self {
        Self::read(&format!("/proc/{process}/stat")).map_or(Self::default(), |(_, cpu)| cpu)
    }

    /// Spent by all processes of that name, those included that have ended and were waited for.
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

    /// The name of a process, and its times: the 14th and 15th field, and those of its children; in hundredths of a
    /// second, which is what Linux shows whatever its clock.
    fn read(path: &str) -> Option<(String, Self)> {
        let text = fs::read_to_string(path).ok()?;
        let (before, after) = text.rsplit_once(") ")?;
        let name = before.split_once(" (")?.1.to_owned();
        let fields: Vec<&str> = after.split(' ').collect();
        let time = |index: usize| -> Option<f64> { Some(fields.get(index)?.parse::<f64>().ok()? / 100.0) };
        let (user, system) = (time(11)? + time(13)?, time(12)? + time(14)?);
        Some((name, Self { user, system }))
    }

    /// Spent since an earlier moment, for each of `n`, as text.
    pub fn each(self, since: Self, n: u64) -> String {
        let micros = |seconds: f64| seconds.max(0.0) * 1e6 / n as f64;
        format!(
            "{:.0}+{:.0} µs",
            micros(self.user - since.user),
            micros(self.system - since.system)
        )
    }
}

/// MiB of memory that a process has in use now, and had at most.
fn resident(process: u32) -> Option<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let mib = |name| kib(&status, name).map(|kib| kib as f64 / 1024.0);
    Some((mib("VmRSS:")?, mib("VmHWM:")?))
}

/// MiB of memory that a process had in use at most.
///
/// # Errors
/// Where it is gone.
pub fn peak(process: u32) -> Result<f64> {
    resident(process)
        .map(|(_, peak)| peak)
        .context("the process is gone")
}

/// Looks at the memory of a process all the time.
pub struct MemoryWatch {
    stop: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<f64>>>,
    thread: JoinHandle<()>,
}

impl MemoryWatch {
    /// Begins, in a thread of its own.
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

    /// MiB, one a tenth of a second, from the beginning until now.
    ///
    /// # Errors
    /// Where there are too few to say anything.
    pub fn end(self) -> Result<Vec<f64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| "the watch of the memory ended badly")?;
        let samples = std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner));
        if samples.len() < 2 {
            return Err("it was over before its memory could be looked at".to_owned());
        }
        Ok(samples)
    }
}

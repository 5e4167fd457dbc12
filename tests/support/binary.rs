//! Runs the real program as a process that can be killed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::databases::Env;
use super::http::{ADMIN_TOKEN, Http};
use super::wait::DEADLINE;

/// The program and its settings. While it serves, calls on it are requests with the admin token.
pub struct Binary {
    env: Env,
    settings: BTreeMap<String, String>,
    /// The command that starts the program. Empty if it is started directly.
    launcher: Vec<String>,
    process: Option<Process>,
    http: Option<Http>,
}

/// The output of a command and its exit code.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code. `None` if a signal ended the command.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

impl Binary {
    /// Prepares the program with the database of the test, a free port, and without SMTP. Nothing is started
    /// yet.
    pub fn new(env: &Env) -> Self {
        let binary = Self {
            env: env.clone(),
            settings: BTreeMap::new(),
            launcher: Vec::new(),
            process: None,
            http: None,
        };
        binary
            .setting("database_url", &env.database_url)
            .setting("listen", "127.0.0.1:0")
            .setting("admin_token", ADMIN_TOKEN)
    }

    /// Sets a setting by its name in `candor.toml`.
    pub fn setting(mut self, name: &str, value: impl Display) -> Self {
        self.settings
            .insert(format!("CANDOR_{}", name.to_uppercase()), value.to_string());
        self
    }

    /// Removes a setting.
    pub fn without(mut self, name: &str) -> Self {
        self.settings.remove(&format!("CANDOR_{}", name.to_uppercase()));
        self
    }

    /// Sets an environment variable that is not a setting of Candor.
    pub fn environment(mut self, name: &str, value: impl Display) -> Self {
        self.settings.insert(name.to_owned(), value.to_string());
        self
    }

    /// Uses this command to start the program from now on. It gets the program and its arguments as its last
    /// arguments.
    pub fn launched_by(&mut self, launcher: impl IntoIterator<Item = impl Into<String>>) {
        self.launcher = launcher.into_iter().map(Into::into).collect();
    }

    /// Starts `candor serve` and waits until it listens.
    pub async fn serve(&mut self) {
        self.serve_with(["serve"]).await;
    }

    /// Starts a command that serves, such as `serve --no-workers`, and waits until it listens.
    pub async fn serve_with(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) {
        let url = self.start(arguments, "listening on ").await;
        self.http = Some(Http::new(&url, Some(ADMIN_TOKEN)));
    }

    /// Starts `candor worker` and waits until it delivers. It accepts no requests.
    pub async fn work(&mut self) {
        self.start(["worker"], "delivering").await;
    }

    /// Starts `candor demo` and waits until it writes a line that begins with `ready`.
    pub async fn demo(&mut self, ready: &str) {
        self.start(["demo"], ready).await;
    }

    /// Starts a command and waits until it writes a line that begins with `ready`. Returns the rest of that
    /// line.
    async fn start(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>, ready: &str) -> String {
        assert!(self.process.is_none(), "it runs already");
        let mut process = Process::spawn(&mut self.command(arguments));
        let waiting = timeout(DEADLINE, async {
            loop {
                let line = process.lines.recv().await?;
                if let Some(rest) = message(&line).trim().strip_prefix(ready) {
                    return Some(rest.to_owned());
                }
            }
        });
        let rest = match waiting.await {
            Ok(Some(rest)) => rest,
            Ok(None) => panic!("it ended before it was ready\n{}", process.log()),
            Err(_) => panic!("it does not get ready\n{}", process.log()),
        };
        self.process = Some(process);
        rest
    }

    /// Starts a command, and does not wait for anything that it writes. `kill` ends it.
    pub fn begin(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) {
        assert!(self.process.is_none(), "it runs already");
        self.process = Some(Process::spawn(&mut self.command(arguments)));
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.running().kill();
        self.process = None;
        self.http = None;
    }

    /// Sends SIGTERM and waits until the program ends.
    pub async fn terminate(&mut self) -> Output {
        let process = self.running();
        let id = process.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().expect("kill");
        assert!(sent.success(), "kill -TERM {id}: {sent}");
        let output = process.ended("candor, after SIGTERM").await;
        self.process = None;
        self.http = None;
        output
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        let mut command = self.command(arguments);
        let what = format!("{command:?}");
        Process::spawn(&mut command).ended(&what).await
    }

    /// Returns the ID of the running process.
    pub fn process_id(&mut self) -> u32 {
        self.running().child.id()
    }

    /// Returns whether the program runs.
    pub fn is_alive(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| process.child.try_wait().expect("a child").is_none())
    }

    /// Returns what the running program has written so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Ends a test. The program must stop after SIGTERM, and the audit trail must be intact.
    pub async fn finish(mut self) {
        if self.process.is_some() {
            self.terminate().await.expect(0);
        }
        self.run(["audit", "verify"]).await.expect(0);
    }

    fn running(&mut self) -> &mut Process {
        self.process.as_mut().expect("the program is running")
    }

    fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        // The variable can name another build of the program, such as one with optimisations.
        let program = std::env::var_os("CANDOR_TEST_BINARY")
            .unwrap_or_else(|| OsStr::new(env!("CARGO_BIN_EXE_candor")).to_owned());
        let mut command = match self.launcher.split_first() {
            None => Command::new(program),
            Some((launcher, first)) => {
                let mut command = Command::new(launcher);
                command.args(first).arg(program);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"CANDOR_") {
                command.env_remove(name);
            }
        }
        // The program runs in the directory of the test. There is no `candor.toml`, and an outbox may be
        // created.
        command
            .args(arguments)
            .envs(&self.settings)
            .current_dir(&self.env.directory);
        command
    }
}

impl Deref for Binary {
    type Target = Http;

    fn deref(&self) -> &Http {
        self.http.as_ref().expect("the program is serving")
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        if let Some(process) = &self.process
            && std::thread::panicking()
        {
            eprintln!("what the program wrote:\n{}", process.log());
        }
    }
}

/// Returns the text of a line, which is the line itself or the message of a JSON line.
fn message(line: &str) -> String {
    serde_json::from_str::<serde_json::Value>(line)
        .ok()
        .and_then(|line| line["fields"]["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| line.to_owned())
}

/// A child process whose output is always read. It is killed at the end of its test.
struct Process {
    child: Child,
    written: Arc<Mutex<Written>>,
    /// The lines of its standard output. The channel closes when both outputs are closed.
    lines: UnboundedReceiver<String>,
}

#[derive(Default)]
struct Written {
    stdout: String,
    stderr: String,
}

impl Process {
    fn spawn(command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let written = Arc::<Mutex<Written>>::default();
        let (sender, lines) = unbounded_channel();
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = child.stderr.take().expect("a pipe");
        read(
            stdout,
            &written,
            |written| &mut written.stdout,
            sender.clone(),
            true,
        );
        read(stderr, &written, |written| &mut written.stderr, sender, false);
        Self {
            child,
            written,
            lines,
        }
    }

    /// Waits until the process ends.
    async fn ended(&mut self, what: &str) -> Output {
        if timeout(DEADLINE, async { while self.lines.recv().await.is_some() {} })
            .await
            .is_err()
        {
            panic!("{what} does not end\n{}", self.log());
        }
        let code = self.child.wait().expect("a child").code();
        let written = self.written.lock().expect("no panic while writing");
        Output {
            code,
            stdout: written.stdout.clone(),
            stderr: written.stderr.clone(),
        }
    }

    fn kill(&mut self) {
        // An error means that the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn log(&self) -> String {
        let written = self.written.lock().expect("no panic while writing");
        format!("stdout:\n{}\nstderr:\n{}", written.stdout, written.stderr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads one output in its own thread, because the pipe must not fill up while the test is busy.
fn read(
    output: impl Read + Send + 'static,
    written: &Arc<Mutex<Written>>,
    part: fn(&mut Written) -> &mut String,
    lines: UnboundedSender<String>,
    send: bool,
) {
    let written = Arc::clone(written);
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            part(&mut written.lock().expect("no panic while writing")).push_str(&text);
            if send {
                // The receiver may have ended already.
                let _ = lines.send(text);
            }
        }
    });
}

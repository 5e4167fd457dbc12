//! Finds a PostgreSQL server for the tests, or starts one.
//!
//! It tries in this order: `CANDOR_TEST_POSTGRES_URL`, a server on this machine, and a server that it starts
//! from installed binaries. The last one is shared by all test processes, because some runners start a
//! process for each test. The first process starts the server. Each later process finds it in a fixed
//! directory and registers there. A small shell script that outlives all of them stops the server and deletes
//! its data when no registered process has been alive for a while. So nothing is left even if the tests are
//! killed.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use diesel::sql_types::Bool;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl};
use url::Url;

const KEEPER: &str = include_str!("postgres_keeper.sh");

/// Returns the URL of a database from which databases can be created. If there is none, it reports this and
/// returns `None`.
pub fn server() -> Option<&'static str> {
    static FOUND: OnceLock<Result<String, String>> = OnceLock::new();
    static SAID: OnceLock<()> = OnceLock::new();
    match FOUND.get_or_init(find) {
        Ok(url) => Some(url),
        Err(why) => {
            assert!(
                std::env::var("CANDOR_REQUIRE_POSTGRES").as_deref() != Ok("1"),
                "CANDOR_REQUIRE_POSTGRES=1, but there is no PostgreSQL: {why}"
            );
            SAID.get_or_init(|| {
                // The test runner hides `eprintln!` if the test passes.
                let _ = writeln!(
                    std::io::stderr(),
                    "tested on SQLite alone, for want of a PostgreSQL: {why}"
                );
            });
            None
        }
    }
}

fn find() -> Result<String, String> {
    if let Ok(url) = std::env::var("CANDOR_TEST_POSTGRES_URL") {
        // The server was named explicitly, so no other server is used instead.
        usable(&url).unwrap_or_else(|error| panic!("CANDOR_TEST_POSTGRES_URL: {error}"));
        return Ok(url);
    }
    let local = [
        "postgres://postgres@127.0.0.1:5432/postgres",
        "postgres:///postgres?host=/var/run/postgresql",
    ];
    if let Some(url) = local.into_iter().find(|url| usable(url).is_ok()) {
        return Ok(url.to_owned());
    }
    own_server()
}

/// Checks that a server answers and that the user may create databases.
fn usable(url: &str) -> Result<(), String> {
    #[derive(QueryableByName)]
    struct Role {
        #[diesel(sql_type = Bool)]
        may_create: bool,
    }
    let mut patient = Url::parse(url).map_err(|error| format!("not a URL: {error}"))?;
    patient.query_pairs_mut().append_pair("connect_timeout", "5");
    let mut connection = PgConnection::establish(patient.as_str()).map_err(|error| error.to_string())?;
    let role: Role = diesel::sql_query(
        "SELECT rolcreatedb OR rolsuper AS may_create FROM pg_roles WHERE rolname = current_user",
    )
    .get_result(&mut connection)
    .map_err(|error| error.to_string())?;
    if role.may_create {
        Ok(())
    } else {
        Err("its user may not create databases".to_owned())
    }
}

/// Joins the server that another test process started, or starts it.
fn own_server() -> Result<String, String> {
    let binaries = binaries().ok_or("no server answers, and initdb and postgres are not installed")?;
    let base = base_directory().map_err(|error| format!("the directory for a server: {error}"))?;
    let starting = File::create(base.join("lock")).map_err(|error| error.to_string())?;
    // The lock is held until the end of this function. One process starts the server, and the others wait and
    // join.
    starting.lock().map_err(|error| error.to_string())?;
    if let Some(url) = join(&base) {
        return Ok(url);
    }
    start(&binaries, &base).map_err(|error| format!("starting {}: {error}", binaries.display()))
}

/// Returns the directory that contains both `initdb` and `postgres`.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // Distributions put the programs of the server in a directory for each version, which is not in PATH.
    for (parent, begin) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql"),
    ] {
        let mut versions: Vec<PathBuf> = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.file_name()
                    .and_then(OsStr::to_str)
                    .is_some_and(|name| name.starts_with(begin))
            })
            .map(|path| path.join("bin"))
            .collect();
        versions.sort();
        places.extend(versions.into_iter().rev());
    }
    places
        .into_iter()
        .find(|place| place.join("initdb").is_file() && place.join("postgres").is_file())
}

/// Returns the directory for this user. The user that the server runs as can read it.
fn base_directory() -> std::io::Result<PathBuf> {
    let me = my_user_id()?;
    let base = std::env::temp_dir().join(format!("candor-test-postgres-{me}"));
    fs::create_dir_all(&base)?;
    let found = fs::symlink_metadata(&base)?;
    if !found.is_dir() || found.uid() != me {
        return Err(std::io::Error::other(format!(
            "{} is another user's",
            base.display()
        )));
    }
    fs::set_permissions(&base, Permissions::from_mode(0o755))?;
    Ok(base)
}

fn my_user_id() -> std::io::Result<u32> {
    // The user ID is the owner of a new file, because the standard library has no other way to ask for it.
    Ok(tempfile::tempfile()?.metadata()?.uid())
}

/// Registers at the running server, if there is one.
///
/// This process registers first and checks the server's name afterwards. The keeper removes the name first
/// and checks for registered processes afterwards. So either the keeper sees this process, or this process
/// sees that the name is gone.
fn join(base: &Path) -> Option<String> {
    let current = base.join("current");
    let name = fs::read_to_string(&current).ok()?;
    let directory = base.join(&name);
    sign_in(&directory).ok()?;
    if fs::read_to_string(&current).ok()? != name {
        return None;
    }
    let url = fs::read_to_string(directory.join("url")).ok()?;
    usable(&url).ok()?;
    Some(url)
}

fn sign_in(directory: &Path) -> std::io::Result<()> {
    fs::write(directory.join("users").join(std::process::id().to_string()), "")
}

fn start(binaries: &Path, base: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let directory = tempfile::Builder::new()
        .prefix("server-")
        .tempdir_in(base)
        .map_err(failed)?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).map_err(failed)?;
    let data = directory.path().join("data");
    fs::create_dir(directory.path().join("users")).map_err(failed)?;
    sign_in(directory.path()).map_err(failed)?;

    let cluster = Cluster::create(binaries, data)?;

    let log = directory.path().join("log");
    let mut tries = 0;
    let (server, url) = loop {
        let port = free_port().map_err(failed)?;
        let output = File::create(&log).map_err(failed)?;
        let mut server = cluster
            .command("postgres")
            .args(cluster.options(port))
            // The data is not needed later, so it need not reach the disk.
            .args(["-c", "synchronous_commit=off", "-c", "full_page_writes=off"])
            // The server has its own process group, so that Ctrl-C of the runner does not reach it. It must
            // not keep any file of this process open, because the runner would wait for it.
            .process_group(0)
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output)
            .spawn()
            .map_err(failed)?;
        let url = format!("postgres://candor@127.0.0.1:{port}/postgres");
        match ready(&mut server, &url) {
            Ok(()) => break (server, url),
            // Another program may have taken the port in the meantime.
            Err(_) if tries < 2 => tries += 1,
            Err(error) => {
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("postgres: {error}\n{log}"));
            }
        }
    };

    // From now on the keeper owns the directory.
    let directory = directory.keep();
    let current = base.join("current");
    Command::new("/bin/sh")
        .args(["-c", KEEPER, "candor-test-postgres-keeper"])
        .arg(&directory)
        .arg(server.id().to_string())
        .arg(&current)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    fs::write(directory.join("url"), &url).map_err(failed)?;
    let name = directory.file_name().unwrap_or_default().as_encoded_bytes();
    fs::write(base.join("next"), name).map_err(failed)?;
    fs::rename(base.join("next"), current).map_err(failed)?;
    Ok(url)
}

/// The data of a server, and the way to run its programs.
struct Cluster {
    binaries: PathBuf,
    data: PathBuf,
    user: Option<(u32, u32)>,
}

impl Cluster {
    /// Creates the data in a directory that does not exist yet.
    fn create(binaries: &Path, data: PathBuf) -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        fs::create_dir(&data).map_err(failed)?;
        // PostgreSQL refuses to run as root.
        let user = if my_user_id().map_err(failed)? == 0 {
            Some(unprivileged_user()?)
        } else {
            None
        };
        if let Some((uid, gid)) = user {
            chown(&data, Some(uid), Some(gid)).map_err(failed)?;
        }
        let cluster = Cluster {
            binaries: binaries.to_owned(),
            data,
            user,
        };
        let made = cluster
            .command("initdb")
            .args([
                "--username=candor",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .output()
            .map_err(failed)?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
        }
        Ok(cluster)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.as_its_user(self.binaries.join(program));
        command.arg("-D").arg(&self.data);
        command
    }

    fn as_its_user(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.data).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn options(&self, port: u16) -> Vec<String> {
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
            "fsync=off",
        ];
        let mut options = vec!["-p".to_owned(), port.to_string()];
        options.extend(
            settings
                .iter()
                .flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]),
        );
        options
    }
}

/// A server that one test may stop and start again. The server and its data are removed when this value is
/// dropped, and also if the test is killed.
pub struct OwnServer {
    cluster: Cluster,
    port: u16,
    keeper: Option<Child>,
    _directory: tempfile::TempDir,
}

impl OwnServer {
    /// Runs the server until its standard input has a line or is closed. After it was closed, the data is
    /// deleted.
    const KEEPER: &str = "trap '' INT; data=$1; shift; \"$@\" & server=$!; \
        read -r line; asked=$?; kill -INT $server; wait $server; [ $asked = 0 ] || rm -rf \"$data\"/*";

    /// Starts a server. If PostgreSQL is not installed, it reports this and returns `None`.
    pub fn start() -> Option<Self> {
        let Some(binaries) = binaries() else {
            assert!(
                std::env::var("CANDOR_REQUIRE_POSTGRES").as_deref() != Ok("1"),
                "CANDOR_REQUIRE_POSTGRES=1, but there is no PostgreSQL installed that a test may stop"
            );
            // The test runner hides `eprintln!` if the test passes.
            let _ = writeln!(
                std::io::stderr(),
                "not tested: PostgreSQL going away, for want of an installed initdb and postgres"
            );
            return None;
        };
        let directory = tempfile::Builder::new()
            .prefix("candor-test-server-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .expect("a directory");
        let cluster = Cluster::create(&binaries, directory.path().join("data")).expect("a cluster");
        let mut server = OwnServer {
            cluster,
            port: free_port().expect("a port"),
            keeper: None,
            _directory: directory,
        };
        server.start_again();
        Some(server)
    }

    /// Returns the URL of the database that every new server has.
    pub fn url(&self) -> String {
        format!("postgres://candor@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts the server again with the same port and data, and waits until it answers.
    pub fn start_again(&mut self) {
        assert!(self.keeper.is_none(), "it runs already");
        let log = self.cluster.data.join("log-of-the-test");
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log");
        let mut keeper = self
            .cluster
            .as_its_user("/bin/sh")
            .args(["-c", Self::KEEPER, "candor-test-keeper"])
            .arg(&self.cluster.data)
            .arg(self.cluster.binaries.join("postgres"))
            .arg("-D")
            .arg(&self.cluster.data)
            .args(self.cluster.options(self.port))
            // The server has its own process group, so that Ctrl-C of the runner does not reach it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a log"))
            .stderr(output)
            .spawn()
            .expect("a shell");
        if let Err(error) = ready(&mut keeper, &self.url()) {
            panic!(
                "postgres: {error}\n{}",
                fs::read_to_string(&log).unwrap_or_default()
            );
        }
        self.keeper = Some(keeper);
    }

    /// Stops the server as a restart does, which disconnects clients. Returns when the server has ended.
    pub fn stop(&mut self) {
        let mut keeper = self.keeper.take().expect("it runs");
        let mut asking = keeper.stdin.take().expect("a pipe");
        asking.write_all(b"stop\n").expect("a shell that reads");
        drop(asking);
        keeper.wait().expect("a child");
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            // The shell ends the server, and an error cannot be handled here.
            let _ = keeper.wait();
        }
    }
}

/// Returns the user `postgres` if the package created it, or else the unprivileged user that every system
/// has.
fn unprivileged_user() -> Result<(u32, u32), String> {
    let users = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|wanted| {
            let mut fields = users
                .lines()
                .map(|line| line.split(':'))
                .find(|fields| fields.clone().next() == Some(wanted))?;
            Some((fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?))
        })
        .ok_or_else(|| "as root, and without a user postgres or nobody".to_owned())
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn ready(server: &mut Child, url: &str) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let Err(error) = usable(url) else { return Ok(()) };
        if let Some(status) = server.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("ended with {status}"));
        }
        if Instant::now() > deadline {
            let _ = server.kill();
            let _ = server.wait();
            return Err(format!("is not ready: {error}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

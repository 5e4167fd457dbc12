//! Finds a MySQL or MariaDB server for the tests, or starts one. It uses `CANDOR_TEST_MYSQL_URL`, or else
//! starts an installed MariaDB with its own port and directory. A small shell runs the server and ends it
//! when this process has ended, however it ended.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;

use super::certificate::Certificate;

/// Runs the server until its standard input is closed. Then the data is deleted.
const KEEPER: &str = "trap '' INT; data=$1; shift; \"$@\" & server=$!; read -r line; kill -9 $server; wait $server 2>/dev/null; rm -rf \"$data\"";

/// The password of the user of the tests. It must never appear anywhere.
pub const PASSWORD: &str = "s3cr-et!pass";

/// The only name in the certificate. It is an address, so that other names of this machine are wrong names.
pub const NAME: &str = "127.0.0.1";

struct Server {
    url: String,
    /// The authority of the server's certificate, if the tests started the server.
    authority: Option<PathBuf>,
    /// The shell keeps the server running as long as its standard input is open.
    _keeper: Option<Child>,
}

/// Returns the URL of a server on which databases can be created. If there is none, it reports this and
/// returns `None`.
pub fn url() -> Option<&'static str> {
    server().map(|server| server.url.as_str())
}

/// Returns the file with the authority of the server that [`url`] returns. The server's certificate is for
/// [`NAME`]. If the tests did not start the server, it reports this and returns `None`.
pub fn authority() -> Option<&'static Path> {
    static SAID: OnceLock<()> = OnceLock::new();
    let found = server()?.authority.as_deref();
    if found.is_none() {
        let why = "CANDOR_TEST_MYSQL_URL names a server whose certificate nobody knows";
        assert!(
            std::env::var("CANDOR_REQUIRE_POSTGRES").as_deref() != Ok("1"),
            "CANDOR_REQUIRE_POSTGRES=1, but {why}"
        );
        SAID.get_or_init(|| {
            let _ = writeln!(std::io::stderr(), "not tested: TLS to MySQL: {why}");
        });
    }
    found
}

fn server() -> Option<&'static Server> {
    static FOUND: OnceLock<Result<Server, String>> = OnceLock::new();
    static SAID: OnceLock<()> = OnceLock::new();
    match FOUND.get_or_init(find) {
        Ok(server) => Some(server),
        Err(why) => {
            assert!(
                std::env::var("CANDOR_REQUIRE_POSTGRES").as_deref() != Ok("1"),
                "CANDOR_REQUIRE_POSTGRES=1, but there is no MySQL or MariaDB either: {why}"
            );
            SAID.get_or_init(|| {
                // The test runner hides `eprintln!` if the test passes.
                let _ = writeln!(
                    std::io::stderr(),
                    "not tested: sources of MySQL, for want of a server: {why}"
                );
            });
            None
        }
    }
}

fn find() -> Result<Server, String> {
    if let Ok(url) = std::env::var("CANDOR_TEST_MYSQL_URL") {
        // The server was named explicitly, so no other server is used instead.
        answers(&url).unwrap_or_else(|error| panic!("CANDOR_TEST_MYSQL_URL: {error}"));
        return Ok(Server {
            url,
            authority: None,
            _keeper: None,
        });
    }
    let missing = || "neither CANDOR_TEST_MYSQL_URL nor mariadbd and mariadb-install-db".to_owned();
    let server = program("mariadbd").ok_or_else(missing)?;
    let install = program("mariadb-install-db").ok_or_else(missing)?;
    start(&server, &install)
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|place| place.join(name))
        .find(|file| file.is_file())
}

fn start(server: &Path, install: &Path) -> Result<Server, String> {
    let data = tempfile::Builder::new()
        .prefix("candor-test-mysql-")
        .tempdir()
        .map_err(|error| error.to_string())?
        .keep();
    let user = Command::new("id")
        .arg("-un")
        .output()
        .map_err(|error| error.to_string())?;
    let user = format!("--user={}", String::from_utf8_lossy(&user.stdout).trim());
    let directory = format!("--datadir={}", data.join("data").display());
    let made = Command::new(install)
        .args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ])
        .args([&user, &directory])
        // Two servers that start at the same moment would give their temporary tables the same names.
        .env("TMPDIR", &data)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !made.status.success() {
        return Err(format!(
            "mariadb-install-db: {}",
            String::from_utf8_lossy(&made.stderr)
        ));
    }
    let certificate = Certificate::named(&[NAME]);
    let authority = certificate.trusted_by(&data);
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| error.to_string())?
        .port();
    let mut keeper = Command::new("/bin/sh")
        .args(["-c", KEEPER, "candor-test-keeper"])
        .arg(&data)
        .arg(server)
        .args([
            "--no-defaults",
            "--bind-address=127.0.0.1",
            "--innodb-flush-log-at-trx-commit=0",
        ])
        .args([&user, &directory])
        .env("TMPDIR", &data)
        .arg(format!("--ssl-cert={}", authority.display()))
        .arg(format!("--ssl-key={}", certificate.key_file(&data).display()))
        .arg(format!("--port={port}"))
        .arg(format!("--socket={}", data.join("s").display()))
        .arg(format!("--pid-file={}", data.join("pid").display()))
        .arg(format!("--log-error={}", data.join("log").display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let root = format!("mysql://root@127.0.0.1:{port}/mysql?prefer_socket=false");
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = answers(&root) {
        if Instant::now() > deadline {
            drop(keeper.stdin.take());
            return Err(format!("mariadbd does not answer: {error}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut conn = mysql::Conn::new(mysql::Opts::from_url(&root).map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?;
    // The user has all rights, so that a missing right is not the reason that nothing is written.
    for statement in [
        format!("CREATE USER 'tester'@'%' IDENTIFIED BY '{PASSWORD}'"),
        "GRANT ALL PRIVILEGES ON *.* TO 'tester'@'%'".to_owned(),
        format!("CREATE USER 'sealed'@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL"),
        "GRANT ALL PRIVILEGES ON *.* TO 'sealed'@'%'".to_owned(),
    ] {
        conn.query_drop(statement).map_err(|error| error.to_string())?;
    }
    let password = PASSWORD.replace('!', "%21");
    Ok(Server {
        url: format!("mysql://tester:{password}@127.0.0.1:{port}/mysql"),
        authority: Some(authority),
        _keeper: Some(keeper),
    })
}

fn answers(url: &str) -> Result<(), String> {
    let opts = mysql::Opts::from_url(url).map_err(|error| error.to_string())?;
    mysql::Conn::new(opts)
        .and_then(|mut conn| conn.query_drop("SELECT 1"))
        .map_err(|error| error.to_string())
}

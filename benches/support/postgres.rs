//! Provides a PostgreSQL server that does not lose committed data. The server is either already running, or
//! it is started here with its default settings.
//!
//! A server that does not sync is never measured. The server that the tests start is an example of such a
//! server.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl};
use url::Url;

use super::process::{Guarded, PATIENCE, free_port, run, unprivileged};
use super::{Context, Result};

/// A server on which databases can be created.
pub struct Server {
    url: String,
    /// The version of the server, its setting `shared_buffers`, and whether it was started for this run.
    pub origin: String,
    version: i64,
    _own: Option<Own>,
}

/// A server that was started here. Its process ends first, and then its data is deleted.
struct Own {
    _process: Guarded,
    _directory: tempfile::TempDir,
}

#[derive(QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    value: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

impl Server {
    /// Finds a server, see [`Server::find`]. If there is none, one line says that its rows are left out.
    #[allow(dead_code)] // Some benches use it.
    pub fn found(scratch: &Path) -> Option<Self> {
        Self::find(scratch)
            .inspect_err(|reason| println!("left out  PostgreSQL's rows: {reason}"))
            .ok()
    }

    /// Finds a server. It tries `CANDOR_TEST_POSTGRES_URL`, then a server that runs on this machine, then one
    /// that it starts from installed programs.
    ///
    /// # Errors
    /// A sentence that says what to install or which variable to set.
    pub fn find(scratch: &Path) -> Result<Self> {
        if let Ok(url) = std::env::var("CANDOR_TEST_POSTGRES_URL") {
            return Self::at(url, "", None).context("CANDOR_TEST_POSTGRES_URL");
        }
        let local = [
            "postgres://postgres@127.0.0.1:5432/postgres",
            "postgres:///postgres?host=/var/run/postgresql",
        ];
        for url in local {
            if let Ok(server) = Self::at(url.to_owned(), "", None) {
                return Ok(server);
            }
        }
        let (url, own) = start(scratch)?;
        Self::at(url, ", started for this run", Some(own))
    }

    fn at(url: String, whose: &str, own: Option<Own>) -> Result<Self> {
        let mut connection = connect(&url)?;
        let mut setting = |name: &str| -> Result<String> {
            let found: Setting = diesel::sql_query("SELECT current_setting($1) AS value")
                .bind::<Text, _>(name)
                .get_result(&mut connection)
                .context(name)?;
            Ok(found.value)
        };
        for (name, unsafe_value) in [
            ("fsync", "off"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
        ] {
            if setting(name)? == unsafe_value {
                return Err(format!(
                    "the server has the setting {name}={unsafe_value}, so it can lose committed data"
                ));
            }
        }
        let number = setting("server_version_num")?;
        let origin = format!(
            "PostgreSQL {}, shared_buffers {}{whose}",
            setting("server_version")?,
            setting("shared_buffers")?
        );
        diesel::sql_query("SELECT CAST(1 AS BIGINT) AS value FROM pg_roles WHERE rolname = current_user AND (rolcreatedb OR rolsuper)")
            .get_result::<Count>(&mut connection)
            .context("the user of the URL may not create databases")?;
        Ok(Self {
            url,
            origin,
            version: number.parse().context(number)?,
            _own: own,
        })
    }

    /// Creates a new database, which is either empty or a copy of another database. No client may be
    /// connected to the other database.
    ///
    /// # Errors
    /// An error of the server.
    pub fn create(&self, copy_of: Option<&Database<'_>>) -> Result<Database<'_>> {
        let id = candor::base::id::new_uuid(candor::base::time::Clock::system().now());
        let name = format!("candor_bench_{}", id.simple());
        let from = copy_of.map_or("template0", |database| &database.name);
        // The server copies files and ends with a checkpoint, so that no data remains to be written during
        // the measurement.
        let strategy = if self.version >= 150_000 {
            "STRATEGY FILE_COPY"
        } else {
            ""
        };
        connect(&self.url)?
            .batch_execute(&format!(
                "CREATE DATABASE {name} TEMPLATE {from} ENCODING 'UTF8' {strategy}"
            ))
            .context("a new database")?;
        Ok(Database { server: self, name })
    }
}

/// A database that is dropped together with this value.
pub struct Database<'a> {
    server: &'a Server,
    name: String,
}

impl Database<'_> {
    /// Returns the URL of the database, for `CANDOR_DATABASE_URL`.
    ///
    /// # Errors
    /// A sentence, if the address of the server is not a URL.
    pub fn url(&self) -> Result<String> {
        let mut url = Url::parse(&self.server.url).context("the URL of PostgreSQL")?;
        url.set_path(&self.name);
        Ok(url.into())
    }

    /// Runs the maintenance that the server would start by itself a minute after an import. It runs now, so
    /// that it does not run during the measurement.
    ///
    /// # Errors
    /// An error of the server.
    pub fn tidy(&self) -> Result<()> {
        connect(&self.url()?)?
            .batch_execute("VACUUM (ANALYZE)")
            .context("VACUUM")?;
        self.quiet()
    }

    /// Waits until no client and no autovacuum is connected to the database.
    fn quiet(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut connection = connect(&self.server.url)?;
        loop {
            let others: Count =
                diesel::sql_query("SELECT COUNT(*) AS value FROM pg_stat_activity WHERE datname = $1")
                    .bind::<Text, _>(&self.name)
                    .get_result(&mut connection)
                    .context("pg_stat_activity")?;
            if others.value == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "a client is still connected to the database {}",
                    self.name
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        let dropped = connect(&self.server.url).and_then(|mut connection| {
            connection
                .batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name))
                .context("DROP DATABASE")
        });
        if let Err(error) = dropped {
            eprintln!("the database {} could not be dropped: {error}", self.name);
        }
    }
}

fn connect(url: &str) -> Result<PgConnection> {
    let mut patient = Url::parse(url).context("not a URL")?;
    patient.query_pairs_mut().append_pair("connect_timeout", "5");
    PgConnection::establish(patient.as_str()).context("PostgreSQL")
}

/// Returns the first folder that contains both `initdb` and `postgres`. It looks in the folders of `PATH`,
/// and then in the folders of Debian's packages.
fn binaries() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    std::env::split_paths(&path)
        .chain(versions.into_iter().rev())
        .find(|place| place.join("initdb").is_file() && place.join("postgres").is_file())
        .context(
            "no PostgreSQL answers and none is installed: please install it (Debian: apt-get install postgresql), \
             or set CANDOR_TEST_POSTGRES_URL",
        )
}

fn start(scratch: &Path) -> Result<(String, Own)> {
    let binaries = binaries()?;
    let user = unprivileged()?;
    let directory = tempfile::Builder::new()
        .prefix("postgres-")
        .tempdir_in(if user.is_some() {
            Path::new("/var/tmp")
        } else {
            scratch
        })
        .context("a folder for PostgreSQL")?;
    let data = directory.path().join("data");
    fs::create_dir(&data).context(data.display())?;
    if let Some((_, uid, gid)) = &user {
        for place in [directory.path(), &data] {
            chown(place, Some(*uid), Some(*gid)).context(place.display())?;
        }
    }
    let command = |program: &str| {
        let mut command = Command::new(binaries.join(program));
        command.arg("-D").arg(&data).current_dir(&data);
        if let Some((_, uid, gid)) = &user {
            command.uid(*uid).gid(*gid);
        }
        command
    };
    run(command("initdb").args([
        "--username=candor",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",
    ]))?;
    let port = free_port()?;
    let mut process = Guarded::spawn(
        command("postgres")
            .args(["-p", &port.to_string()])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    let url = format!("postgres://candor@127.0.0.1:{port}/postgres");
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = connect(&url) {
        process.alive().context("postgres")?;
        if Instant::now() > deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let own = Own {
        _process: process,
        _directory: directory,
    };
    Ok((url, own))
}

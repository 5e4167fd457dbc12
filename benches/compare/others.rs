//! The same comparison by other programs, on the same files: the `sqlite3` shell, PostgreSQL with `COPY`, and DuckDB. Each of them
//! imports both listings, joins them by the key, and stores the differences in a table.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::listings::Found;
use super::support::postgres::Server;
use super::support::process::run;
use super::support::{Context, Result};

/// The differences as rows of one table, in SQL that all three understand. The listings are the tables `expected` and `observed`.
const COMPARE: &str = "CREATE TABLE findings AS \
    SELECT CASE WHEN o.identifier IS NULL THEN 'missing' WHEN e.identifier IS NULL THEN 'unexpected' ELSE 'differs' END AS kind, \
           COALESCE(e.identifier, o.identifier) AS identifier, e.size AS expected, o.size AS observed \
    FROM expected e FULL OUTER JOIN observed o ON o.identifier = e.identifier \
    WHERE o.identifier IS NULL OR e.identifier IS NULL OR o.size <> e.size;";
const COUNT: &str = "SELECT kind, COUNT(*) FROM findings GROUP BY kind ORDER BY kind;";
const TABLES: &str = "CREATE TABLE expected (identifier TEXT, uuid TEXT, size BIGINT, gone TEXT, created_at TEXT, updated_at TEXT); \
    CREATE TABLE observed (identifier TEXT, size BIGINT);";

/// Reads lines such as `differs|502`, and checks them.
fn check(output: &str, wanted: Found, name: &str) -> Result<()> {
    let of = |kind: &str| {
        output
            .lines()
            .find_map(|line| {
                line.trim()
                    .strip_prefix(kind)?
                    .strip_prefix('|')?
                    .trim()
                    .parse::<u64>()
                    .ok()
            })
            .unwrap_or(0)
    };
    let found = (of("missing"), of("differs"), of("unexpected"));
    if found != (wanted.missing, wanted.differs, wanted.unexpected) {
        return Err(format!(
            "{name} found {found:?}, but the listings differ in {wanted:?}"
        ));
    }
    Ok(())
}

/// Imports and compares with the `sqlite3` shell, in a database that does not lose committed data. Returns the seconds.
///
/// # Errors
/// The reason why it failed.
pub fn sqlite(folder: &Path, expected: &Path, observed: &Path, wanted: Found) -> Result<f64> {
    let file = tempfile::tempdir_in(folder).context("a folder")?;
    let script = [
        "PRAGMA journal_mode=WAL;".to_owned(),
        "PRAGMA synchronous=FULL;".to_owned(),
        "PRAGMA cache_size=-65536;".to_owned(),
        TABLES.to_owned(),
        ".mode tabs".to_owned(),
        format!(".import \"{}\" expected", expected.display()),
        format!(".import \"{}\" observed", observed.display()),
        "CREATE INDEX expected_key ON expected (identifier, size);".to_owned(),
        "CREATE INDEX observed_key ON observed (identifier, size);".to_owned(),
        COMPARE.to_owned(),
        ".mode list".to_owned(),
        COUNT.to_owned(),
    ];
    let started = Instant::now();
    let output = run(Command::new("sqlite3")
        .arg(file.path().join("other.db"))
        .args(&script))?;
    let seconds = started.elapsed().as_secs_f64();
    check(&output, wanted, "sqlite3")?;
    Ok(seconds)
}

/// Imports with `COPY` and compares with a join. Returns the seconds.
///
/// # Errors
/// The reason why it failed.
pub fn postgres(server: &Server, expected: &Path, observed: &Path, wanted: Found) -> Result<f64> {
    let database = server.create(None)?;
    let url = database.url()?;
    let copy = |table: &str, file: &Path| format!("\\copy {table} FROM '{}'", file.display());
    let mut command = Command::new("psql");
    command
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
        .arg(url);
    for one in [
        TABLES.to_owned(),
        copy("expected", expected),
        copy("observed", observed),
        "ANALYZE expected, observed".to_owned(),
        COMPARE.to_owned(),
        COUNT.to_owned(),
    ] {
        command.arg("-c").arg(one);
    }
    let started = Instant::now();
    let output = run(&mut command)?;
    let seconds = started.elapsed().as_secs_f64();
    check(&output, wanted, "PostgreSQL")?;
    Ok(seconds)
}

/// DuckDB, in an environment of Python of its own.
pub struct Duck {
    python: PathBuf,
    /// The version of DuckDB.
    pub version: String,
}

impl Duck {
    /// Finds DuckDB below `cache`, or installs it from PyPI.
    ///
    /// # Errors
    /// The reason why it cannot be installed.
    pub fn find(cache: &Path) -> Result<Self> {
        let folder = cache.join("duckdb");
        let python = folder.join("bin").join("python");
        if !python.exists() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
            run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "duckdb"]))?;
        }
        let version = run(Command::new(&python).args(["-c", "import duckdb; print(duckdb.__version__)"]))?;
        Ok(Duck {
            python,
            version: version.trim().to_owned(),
        })
    }

    /// Imports and compares. Returns the seconds, with the start of Python.
    ///
    /// # Errors
    /// The reason why it failed.
    pub fn seconds(&self, folder: &Path, expected: &Path, observed: &Path, wanted: Found) -> Result<f64> {
        let file = tempfile::tempdir_in(folder).context("a folder")?;
        let read = |table: &str, from: &Path, columns: &str| {
            format!(
                "CREATE TABLE {table} AS SELECT * FROM read_csv('{}', delim = '\t', header = false, quote = '', columns = {{{columns}}})",
                from.display()
            )
        };
        let ours = "'identifier': 'VARCHAR', 'uuid': 'VARCHAR', 'size': 'BIGINT', 'gone': 'VARCHAR', 'created_at': 'VARCHAR', \
                    'updated_at': 'VARCHAR'";
        let theirs = "'identifier': 'VARCHAR', 'size': 'BIGINT'";
        // The texts of Rust and of Python have the same escapes, as far as they are used here.
        let program = format!(
            "import duckdb\n\
             con = duckdb.connect({:?})\n\
             con.execute({:?})\n\
             con.execute({:?})\n\
             con.execute({COMPARE:?})\n\
             for kind, n in con.execute({COUNT:?}).fetchall():\n    print(f'{{kind}}|{{n}}')\n\
             con.close()\n",
            file.path().join("other.duckdb").display().to_string(),
            read("expected", expected, ours),
            read("observed", observed, theirs),
        );
        let script = file.path().join("compare.py");
        std::fs::write(&script, program).context(script.display())?;
        let started = Instant::now();
        let output = run(Command::new(&self.python).arg(&script))?;
        let seconds = started.elapsed().as_secs_f64();
        check(&output, wanted, "DuckDB")?;
        Ok(seconds)
    }
}

//! Migrated databases that each test gets a copy of. So the migrations run only once for each build of the
//! tests.
//!
//! A runner may start one process for each test. So a template outlives the process, and its name contains
//! the build and the checkout that made it. A new build replaces the templates of earlier builds.

use std::fs::{self, File, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candor::app::open_database;
use candor::base::time::Clock;
use candor::config::Config;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{Integer, Text};
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection};
use url::Url;

/// Copies a migrated SQLite database to this file, which must not exist yet.
pub fn copy_sqlite(to: &Path) {
    let template = folder().join(format!("{}.db", name().full));
    // A copy that fails leaves a file, so the check for the template comes first.
    if !template.exists() {
        let _making = lock();
        if !template.exists() {
            make_sqlite(&template);
        }
    }
    // Only the user of the service can read a database, so the copy gets the same permissions.
    let copied = fs::copy(&template, to).and_then(|_| fs::set_permissions(to, Permissions::from_mode(0o600)));
    if let Err(error) = copied {
        panic!("copying {} to {}: {error}", template.display(), to.display());
    }
}

fn make_sqlite(template: &Path) {
    for entry in fs::read_dir(folder()).expect("the folder for templates") {
        let path = entry.expect("a file").path();
        if path.extension().is_some_and(|end| end == "db") {
            let _ = fs::remove_file(path);
        }
    }
    let directory = tempfile::tempdir_in(folder()).expect("a directory");
    let migrated = directory.path().join("migrated");
    migrate(&format!("sqlite://{}", migrated.display()));
    // The template is one file without a log, in the mode that the service would set.
    let copy = directory.path().join("copy");
    let mut connection = SqliteConnection::establish(&migrated.to_string_lossy()).expect("a connection");
    connection
        // The pool that migrated the database may still be closing.
        .batch_execute(&format!("PRAGMA busy_timeout = 30000; VACUUM INTO '{}'", copy.display()))
        .expect("a copy");
    drop(connection);
    let mut connection = SqliteConnection::establish(&copy.to_string_lossy()).expect("a connection");
    connection
        .batch_execute("PRAGMA journal_mode = WAL")
        .expect("WAL");
    drop(connection);
    fs::rename(copy, template).expect("the template");
}

/// Creates a migrated database with this name on a PostgreSQL server.
pub fn copy_postgres(server: &str, to: &str) {
    let mut connection = PgConnection::establish(server).expect("a connection to the PostgreSQL server");
    let copy = format!(
        "CREATE DATABASE {to} TEMPLATE {}{}",
        name().full,
        by_file(&mut connection)
    );
    if connection.batch_execute(&copy).is_ok() {
        return;
    }
    let _making = lock();
    // Another process may have made it while this one waited.
    if !templates(&mut connection).contains(&name().full) {
        make_postgres(server, &mut connection);
    }
    connection
        .batch_execute(&copy)
        .unwrap_or_else(|error| panic!("{copy}: {error}"));
}

fn make_postgres(server: &str, connection: &mut PgConnection) {
    for old in templates(connection) {
        connection
            .batch_execute(&format!("DROP DATABASE IF EXISTS {old} WITH (FORCE)"))
            .unwrap_or_else(|error| panic!("dropping the old template {old}: {error}"));
    }
    // The database gets its final name when it is complete.
    let unfinished = format!("{}_unfinished", name().full);
    connection
        // template0 is used, because template1 may have been changed or be in use.
        .batch_execute(&format!("CREATE DATABASE {unfinished} TEMPLATE template0 ENCODING 'UTF8'"))
        .expect("a new database");
    migrate(&on_server(server, &unfinished));
    connection
        .batch_execute(&format!(
            // The pool that migrated the database may still be closing, and a template must have no
            // connections.
            "ALTER DATABASE {unfinished} ALLOW_CONNECTIONS false; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = '{unfinished}' AND usename = current_user;"
        ))
        .expect("nobody in the template");
    connection
        .batch_execute(&format!("ALTER DATABASE {unfinished} RENAME TO {}", name().full))
        .expect("the template");
}

/// Returns the templates of this checkout.
fn templates(connection: &mut PgConnection) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Named {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let named: Vec<Named> =
        diesel::sql_query("SELECT datname::text AS name FROM pg_database WHERE starts_with(datname, $1)")
            .bind::<Text, _>(&name().checkout)
            .load(connection)
            .expect("the databases of the server");
    named.into_iter().map(|one| one.name).collect()
}

/// Returns the option with which a server copies a small database fastest, which is by file. Older servers
/// have only this way and no option for it.
fn by_file(connection: &mut PgConnection) -> &'static str {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Integer)]
        version: i32,
    }
    let found: Version = diesel::sql_query("SELECT current_setting('server_version_num')::int4 AS version")
        .get_result(connection)
        .expect("the server's version");
    if found.version >= 150_000 {
        " STRATEGY file_copy"
    } else {
        ""
    }
}

/// Returns the URL of this database on this server.
pub fn on_server(server: &str, database: &str) -> String {
    let mut url = Url::parse(server).expect("the server's URL");
    url.set_path(database);
    url.to_string()
}

/// Runs all migrations, as the service does when it starts.
fn migrate(database_url: &str) {
    let config = Config::for_test(database_url);
    // This runs in its own thread, because the caller may be inside a runtime.
    let migrated = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(open_database(&config, Clock::system()))
            .map(drop)
    });
    match migrated.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("migrating {database_url}: {error} ({error:?})"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

struct Name {
    /// The beginning of the names of all templates of this checkout.
    checkout: String,
    /// The name of the template of this build.
    full: String,
}

fn name() -> &'static Name {
    static NAME: OnceLock<Name> = OnceLock::new();
    NAME.get_or_init(|| {
        let hash = |value: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            value(&mut hasher);
            hasher.finish()
        };
        let program = std::env::current_exe().expect("this program");
        let built = fs::metadata(&program).expect("this program");
        let checkout = hash(&|hasher| env!("CARGO_MANIFEST_DIR").hash(hasher));
        let build = hash(&|hasher| (&program, built.len(), built.modified().expect("a time")).hash(hasher));
        let checkout = format!("candor_template_{checkout:016x}_");
        let full = format!("{checkout}{build:016x}");
        Name { checkout, full }
    })
}

/// Returns a lock that is held while a template is made. One process makes it, and the others wait and use
/// it.
fn lock() -> File {
    let path = folder().join("lock");
    let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.lock().expect("a lock");
    file
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("templates");
    fs::create_dir_all(&folder).expect("the folder for templates");
    folder
}

//! What differs between SQLite and PostgreSQL is in `src/db/dialect` and nowhere else, read off the text of every file under
//! `src`: another file neither matches on the kind of database, nor asks for it, nor names a connection of one kind.

use std::path::{Path, PathBuf};

/// Where the differences are.
const DIALECT: &str = "db/dialect/";

/// The other files that may, each with the reason.
const ALLOWED: &[(&str, &str)] = &[
    (
        "db/connection.rs",
        "It defines the enum of both connections and the URL, and opens a connection of either kind with its settings.",
    ),
    (
        "db/copy.rs",
        "It carries rows from one kind to the other, so it has a connection of each; `dialect` decides when.",
    ),
    (
        "db/foreign/postgres.rs",
        "It reads a PostgreSQL database of somebody else, which is not Candor's own database.",
    ),
];

/// Why a line of code belongs into the dialect. None: it may be anywhere.
fn reason(line: &str) -> Option<&'static str> {
    let word = |name: &str| {
        line.match_indices(name).any(|(at, _)| {
            let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !is_part(line[..at].chars().next_back()) && !is_part(line[at + name.len()..].chars().next())
        })
    };
    if word("Conn::Sqlite") || word("Conn::Pg") {
        return Some("it names a variant of the connection");
    }
    if word("PgConnection") || word("SqliteConnection") {
        return Some("it names a connection of one kind");
    }
    let names_kind = word("DatabaseUrl::Sqlite") || word("DatabaseUrl::Postgres");
    let is_pattern = ["=>", "let DatabaseUrl::", "let Some(DatabaseUrl::", "matches!("];
    if names_kind && is_pattern.iter().any(|sign| line.contains(sign)) {
        return Some("it matches on the kind of the URL");
    }
    if ["sqlite_path().is_", ".kind() == \"", ".kind() != \""]
        .iter()
        .any(|question| line.contains(question))
    {
        return Some("it asks for the kind of the database");
    }
    None
}

/// The lines of a file that belong into the dialect. Tests inside of it, which stand at its end, are left out.
fn found(path: &str, text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter_map(|(index, line)| {
            let reason = reason(line)?;
            Some(format!("{path}:{}: {reason}: {}", index + 1, line.trim()))
        })
        .collect()
}

fn sources(folder: &Path, root: &Path, into: &mut Vec<(String, String)>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, root, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let name = path
                .strip_prefix(root)
                .expect("below it")
                .to_string_lossy()
                .into_owned();
            into.push((name, std::fs::read_to_string(&path).expect("a text")));
        }
    }
}

#[test]
fn no_other_file_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &root, &mut files);
    assert!(files.len() > 100, "found {} files only", files.len());
    let mut wrong = Vec::new();
    for (path, text) in &files {
        let lines = found(path, text);
        let may = path.starts_with(DIALECT) || ALLOWED.iter().any(|(allowed, _)| allowed == path);
        if !may {
            wrong.extend(lines);
        } else if lines.is_empty() && !path.starts_with(DIALECT) {
            wrong.push(format!("{path} is in the list and needs no place there any more"));
        }
    }
    for (path, reason) in ALLOWED {
        assert!(reason.split(' ').count() > 8, "{path}: a sentence says why");
        assert!(
            files.iter().any(|(file, _)| file == path),
            "{path} does not exist"
        );
    }
    assert!(
        wrong.is_empty(),
        "these lines belong into src/db/dialect:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn a_match_is_found() {
    for line in [
        "        Conn::Sqlite(conn) => run(conn),",
        "    let Conn::Pg(conn) = conn else { return Ok(()) };",
        "    if let crate::db::Conn::Pg(_) = conn {",
        "fn lock(conn: &mut PgConnection) {",
        "use diesel::sqlite::SqliteConnection;",
        "        DatabaseUrl::Postgres(_) => true,",
        "    if let DatabaseUrl::Sqlite(path) = url {",
        "    let shared = !matches!(url, DatabaseUrl::Sqlite(_));",
        "    if db.url().sqlite_path().is_none() {",
        "    if db.url().kind() == \"SQLite\" {",
    ] {
        assert_eq!(found("notice/send.rs", line).len(), 1, "{line}");
        assert_eq!(
            found("notice/send.rs", &format!("    // {}", line.trim())),
            [] as [String; 0]
        );
    }
    for line in [
        "    connect_alone(&DatabaseUrl::Sqlite(name))?",
        "    let path = url.sqlite_path().map(file::real_path);",
        "    let conn: &mut Conn = tx.conn;",
        "use crate::db::MyPgConnectionName;",
        "    on_backend!(&mut *tx.conn, c => diesel::insert_into(n::table).values(row).execute(c))?;",
    ] {
        assert_eq!(found("notice/send.rs", line), [] as [String; 0], "{line}");
    }
}

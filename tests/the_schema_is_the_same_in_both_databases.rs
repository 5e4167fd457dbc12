//! Both databases have migrations with the same names, and both have the schema that diesel knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::support::{Backend, Env, TestApp, on_both_databases};

on_both_databases!(
    empty:
    the_tables_are_those_of_the_schema,
    the_migrations_are_applied_once
);

/// Returns the names of the migration folders.
fn migrations(database: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("migrations")
        .join(database);
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    names
}

#[test]
fn the_migrations_have_the_same_names() {
    let names = migrations("sqlite");
    assert!(!names.is_empty());
    assert_eq!(names, migrations("postgres"));
}

/// The columns of a table, by name: the kind, and whether null is allowed.
pub(crate) type Columns = BTreeMap<String, (String, bool)>;

/// Returns the tables of `schema.rs`.
pub(crate) fn declared() -> BTreeMap<String, Columns> {
    let mut tables: BTreeMap<String, Columns> = BTreeMap::new();
    let mut table: Option<String> = None;
    let mut name: Option<String> = None;
    for line in include_str!("../src/db/schema.rs").lines().map(str::trim) {
        if line.starts_with("diesel::table!") {
            table = None;
        } else if let Some(renamed) = line.strip_prefix("#[sql_name = \"") {
            name = renamed.split('"').next().map(str::to_owned);
        } else if let Some((column, type_)) = line
            .split_once(" -> ")
            .filter(|(column, _)| !column.contains('('))
        {
            let type_ = type_.trim_end_matches(',');
            let nullable = type_
                .strip_prefix("Nullable<")
                .and_then(|inner| inner.strip_suffix('>'));
            let kind = nullable.unwrap_or(type_).to_owned();
            let column = name.take().unwrap_or(column.to_owned());
            let columns = tables.get_mut(table.as_ref().expect("a table")).expect("a table");
            assert!(
                columns.insert(column, (kind, nullable.is_some())).is_none(),
                "{line} is there twice"
            );
        } else if line.ends_with(") {")
            && let Some((first, _)) = line.split_once(" (")
        {
            let first = name.take().unwrap_or(first.to_owned());
            tables.insert(first.clone(), Columns::new());
            table = Some(first);
        }
    }
    tables
}

/// Returns the tables of the database, without its internal ones.
fn stored(env: &Env) -> BTreeMap<String, Columns> {
    let query = match env.backend {
        Backend::Sqlite => {
            "SELECT m.name || ' ' || c.name || ' ' || c.type || ' ' || CASE WHEN c.\"notnull\" = 1 THEN 'NO' ELSE 'YES' END AS value \
             FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
        }
        Backend::Postgres => {
            "SELECT c.table_name || ' ' || c.column_name || ' ' || c.data_type || ' ' || c.is_nullable AS value \
             FROM information_schema.columns c WHERE c.table_schema = 'public'"
        }
    };
    let mut tables: BTreeMap<String, Columns> = BTreeMap::new();
    for row in env.texts(query) {
        let mut words = row.split(' ');
        let (table, column) = (
            words.next().expect("a table").to_owned(),
            words.next().expect("a column").to_owned(),
        );
        if table == "__diesel_schema_migrations" {
            continue;
        }
        let nullable = words.next_back() == Some("YES");
        let kind = match words.collect::<Vec<_>>().join(" ").to_lowercase().as_str() {
            "text" => "Text",
            "bigint" | "integer" => "BigInt",
            "boolean" => "Bool",
            "blob" | "bytea" => "Binary",
            other => panic!("{table}.{column} is of the type {other}"),
        };
        tables
            .entry(table)
            .or_default()
            .insert(column, (kind.to_owned(), nullable));
    }
    tables
}

async fn the_tables_are_those_of_the_schema(env: Env) {
    let app = TestApp::start(&env).await;
    let (declared, stored) = (declared(), stored(&env));
    assert!(declared.len() > 15, "{:?}", declared.keys());
    let names = |tables: &BTreeMap<String, Columns>| tables.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&stored), names(&declared));
    for (table, columns) in &declared {
        assert_eq!(&stored[table], columns, "{table}");
    }
    app.finish().await;
}

async fn the_migrations_are_applied_once(env: Env) {
    let mut app = TestApp::start(&env).await;
    let applied = || {
        env.texts("SELECT version || ' ' || run_on AS value FROM __diesel_schema_migrations ORDER BY version")
    };
    let first = applied();
    assert_eq!(first.len(), migrations("sqlite").len());
    for (applied, name) in first.iter().zip(migrations("sqlite")) {
        // diesel stores the digits of the name before its underscore.
        let version: String = name
            .split('_')
            .next()
            .expect("a version")
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        assert!(applied.starts_with(&version), "{applied}: {name}");
    }
    app.restart().await;
    assert_eq!(applied(), first);
    app.finish().await;
}

//! The states of notices and deliveries have one owner each: only `notice/state.rs` writes `notices.state`, and only
//! `notice/delivery_state.rs` writes `deliveries.state`. This is read off the text of every file under `src`: the writes with
//! diesel, and those in SQL.

use std::path::Path;

use crate::modules_use_only_what_is_below_them::sources;

/// The files that may write the state of a table.
struct Owner {
    table: &'static str,
    files: &'static [&'static str],
}

const OWNERS: [Owner; 2] = [
    Owner {
        table: "notices",
        files: &["notice/state.rs"],
    },
    Owner {
        table: "deliveries",
        // The second file has only the SQL of `delivery_state::end_claims`, which differs between the databases.
        files: &["notice/delivery_state.rs", "db/dialect/queue.rs"],
    },
];

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the places where `word` stands in the text as a whole name.
fn places<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !text[..*at].chars().next_back().is_some_and(is_of_a_name)
            && !text[at + word.len()..].chars().next().is_some_and(is_of_a_name)
    })
}

/// Returns the text without comments and with single spaces, so that a line break in it does not matter. A text that
/// continues on the next line (`\`) reads as one.
fn flat(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let words = lines.flat_map(|line| line.trim_end().trim_end_matches('\\').split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

/// Returns the names under which a file knows a table: its own name, and those that a `use` gives it.
fn names_of<'a>(text: &'a str, table: &'a str) -> Vec<&'a str> {
    let mut names = vec![table];
    for at in places(text, table) {
        if let Some(rest) = text[at + table.len()..].strip_prefix(" as ") {
            names.push(rest.split(|c| !is_of_a_name(c)).next().unwrap_or_default());
        }
    }
    names
}

/// Returns what stands between the bracket at the beginning of the text and the one that closes it.
fn in_brackets(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

/// Returns the writes of the state of a table in the text of one file.
fn writes(text: &str, table: &str) -> Vec<String> {
    let text = flat(text);
    let mut found = Vec::new();
    let mut add = |what: &str, at: usize| {
        let shown: String = text[at..].chars().take(100).collect();
        found.push(format!("{what}: {shown}"));
    };
    for name in names_of(&text, table) {
        let column = format!("{name}::state.eq(");
        for begins in [".set(", ".values("] {
            for (at, _) in text.match_indices(begins) {
                let written = in_brackets(&text[at + begins.len() - 1..]);
                if places(written, &format!("{name}::state")).any(|at| written[at..].starts_with(&column)) {
                    add("it sets the column", at);
                }
            }
        }
        // Every new row has a state.
        let inserts = format!("insert_into({name}::table)");
        for (at, _) in text.match_indices(&inserts) {
            add("it inserts a row", at);
        }
    }
    // In SQL, the statement says which table it is.
    let sql = text.to_lowercase();
    for at in places(&sql, "insert into") {
        let into = sql[at + "insert into".len()..].trim_start();
        if into.starts_with(&format!("{table} ")) || into.starts_with(&format!("{table}(")) {
            add("it inserts a row", at);
        }
    }
    for at in places(&sql, "update") {
        let Some(rest) = sql[at..].strip_prefix(&format!("update {table} ")) else {
            continue;
        };
        let statement = rest.split(['"', ';']).next().unwrap_or_default();
        let set = statement.split(" where ").next().unwrap_or_default();
        if places(set, "state").any(|at| set[at + "state".len()..].trim_start().starts_with('=')) {
            add("it sets the column", at);
        }
    }
    found
}

#[test]
fn no_other_file_writes_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &root, &mut files);
    let mut wrong = Vec::new();
    for Owner { table, files: owners } in OWNERS {
        for (path, text) in &files {
            let writes = writes(text, table);
            let is_owner = owners.contains(&path.as_str());
            assert!(
                !is_owner || !writes.is_empty(),
                "{path} does not write the state of {table}"
            );
            if !is_owner {
                wrong.extend(writes.into_iter().map(|what| format!("{path} ({table}): {what}")));
            }
        }
        for owner in owners {
            assert!(
                files.iter().any(|(path, _)| path == owner),
                "{owner} does not exist"
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "a state is written only by its owner, notice/state.rs or notice/delivery_state.rs:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn a_write_is_found() {
    let uses = "use crate::db::schema::{deliveries as d, notice_recipients as nr, notices as n};\n";
    for text in [
        "diesel::update(d::table.find(id)).set(d::state.eq(\"sent\")).execute(conn)?;",
        "diesel::update(d::table)\n    .set((\n        d::lease.eq(None::<String>),\n        d::state.eq(state),\n    ))",
        "diesel::update(deliveries::table).set(deliveries::state.eq(DeliveryState::Sent))",
        "diesel::insert_into(d::table).values(&rows).execute(conn)?;",
        "diesel::sql_query(\n    \"UPDATE deliveries SET lease = NULL, \\\n     state = 'sent' WHERE id = $1\",\n)",
        "conn.batch_execute(\"update deliveries set state='sent'\")?;",
        "diesel::sql_query(\"INSERT INTO deliveries (notice_id, state) SELECT 1, 'sent'\")",
    ] {
        let found = writes(&format!("{uses}{text}"), "deliveries");
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(
            writes(&format!("{uses}{text}"), "notices"),
            [] as [String; 0],
            "{text}"
        );
    }
    for text in [
        "d::table.filter(d::state.eq(DeliveryState::Sent)).load(conn)?",
        "diesel::update(d::table.filter(d::state.eq(\"sent\"))).set(d::lease.eq(None::<String>))",
        "diesel::update(nd::table).set(nd::state.eq(\"sent\"))",
        "diesel::sql_query(\"UPDATE deliveries SET lease = NULL WHERE state = 'pending'\")",
        "diesel::insert_into(nr::table).values(&rows).execute(conn)?;",
        "// diesel::update(d::table).set(d::state.eq(\"sent\"))",
    ] {
        assert_eq!(
            writes(&format!("{uses}{text}"), "deliveries"),
            [] as [String; 0],
            "{text}"
        );
    }
}

//! Checks the layers that `docs/architecture.md` describes, from the imports of every file under `src`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The top-level modules, from the bottom to the top. A module may use the modules before it and none after
/// it.
const ORDER: &[&str] = &[
    "base",
    "words",
    "db",
    "audit",
    "auth",
    "brand",
    "egress",
    "time_stamps",
    "work",
    "listing",
    "directory",
    "backup",
    "incident",
    "maintenance",
    "comparison",
    "search",
    "status",
    "alert",
    "watch",
    "audience",
    "notice",
    "delivery",
    "answers",
    "customer",
    "subscription",
    "feedback",
    "evidence",
    "automation",
    "operators",
    "forgetting",
    "emergency",
    "now",
    "system",
    "schedule",
    "http",
    "config",
    "app",
    "demo",
    "console",
    "compare",
    "audit_command",
    "emergency_command",
    "status_command",
    "main",
];

/// Returns the top-level modules that a file uses: `crate::NAME`, also within `use crate::{…}`.
fn used(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for behind in line.split("crate::").skip(1) {
            // The formatter leaves only this form of a list on one line: `use crate::{a, b::c};`.
            let names: Vec<&str> = match behind.strip_prefix('{') {
                Some(list) => list.split(['}', ';']).next().unwrap_or("").split(',').collect(),
                None => vec![behind],
            };
            for name in names {
                let name: String = name
                    .trim()
                    .chars()
                    .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                    .collect();
                if !name.is_empty() {
                    found.insert(name);
                }
            }
        }
    }
    found
}

/// Returns the position of a module in the order.
fn place(module: &str) -> Option<usize> {
    ORDER.iter().position(|name| *name == module)
}

/// Returns every use of a module by one below it.
fn upward(files: &[(String, String)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in files {
        let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let Some(own) = place(module) else {
            wrong.push(format!("{path}: '{module}' has no place in ORDER"));
            continue;
        };
        for name in used(text) {
            match place(&name) {
                Some(other) if other <= own => {}
                Some(_) => wrong.push(format!("{path}: '{module}' uses '{name}', which stands above it")),
                // A macro or a function at the root has no position in the order.
                None => wrong.push(format!("{path}: '{name}' has no place in ORDER")),
            }
        }
    }
    wrong
}

pub(crate) fn sources(folder: &Path, root: &Path, into: &mut Vec<(String, String)>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, root, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            into.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn no_module_uses_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &root, &mut files);
    assert!(files.len() > 100, "found {} files only", files.len());
    let wrong = upward(&files);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_circle_is_found() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let good = file("notice/plan.rs", "use crate::audience::Rule;\n");
    assert!(upward(std::slice::from_ref(&good)).is_empty());
    for text in [
        "use crate::notice::plan;\n",
        "    let plan = crate::notice::plan::of(conn)?;\n",
        "use crate::{base::error::Error, notice};\n",
    ] {
        let found = upward(&[good.clone(), file("audience/mod.rs", text)]);
        assert_eq!(
            found,
            ["audience/mod.rs: 'audience' uses 'notice', which stands above it"],
            "{text}"
        );
    }
    assert_eq!(
        upward(&[file("extra.rs", "")]),
        ["extra.rs: 'extra' has no place in ORDER"]
    );
}

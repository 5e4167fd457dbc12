//! The layering inside each folder, as `docs/architecture.md` describes it: the files of a folder use each other in one
//! direction only. The arrows are read off the paths of every file under `src`.
//!
//! A node is a direct child of a folder: a file, or a folder with everything in it. The `mod.rs` of the folder is a node too.
//! A name that a `mod.rs` only passes on belongs to the file that defines it. The call of a method names no file, so it is not
//! seen here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::modules_use_only_what_is_below_them::sources;

/// A circle that stays: the folder, its members, and why it stays.
type Stays = (&'static str, &'static [&'static str], &'static str);

/// The circles that stay.
const STAYS: &[Stays] = &[];
/// The largest number of circles that may stay in one folder.
const MOST: usize = 3;

/// A module as the names on the way to it, without `crate`.
type Module = Vec<String>;

/// The name of the node for the `mod.rs` of a folder.
const OWN: &str = "mod";

/// Returns the text of a file without comments, without the content of texts and characters, and without its tests.
fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or(' ');
    let mut code = String::with_capacity(text.len());
    let mut index = 0;
    while index < chars.len() {
        // The number of `#` of a raw text that begins here.
        let hashes = chars[index + 1..].iter().take_while(|c| **c == '#').count();
        if at(index) == '/' && at(index + 1) == '/' {
            while index < chars.len() && at(index) != '\n' {
                index += 1;
            }
        } else if at(index) == '/' && at(index + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(index), at(index + 1)) {
                    ('/', '*') => (depth, index) = (depth + 1, index + 2),
                    ('*', '/') => (depth, index) = (depth - 1, index + 2),
                    _ => index += 1,
                }
                if depth == 0 || index >= chars.len() {
                    break;
                }
            }
        } else if at(index) == 'r' && at(index + 1 + hashes) == '"' {
            index += 2 + hashes;
            let closes =
                |index: usize| at(index) == '"' && (1..=hashes).all(|after| at(index + after) == '#');
            while index < chars.len() && !closes(index) {
                index += 1;
            }
            index += 1 + hashes;
            code.push_str("\"\"");
        } else if at(index) == '"' {
            index += 1;
            while index < chars.len() && at(index) != '"' {
                index += if at(index) == '\\' { 2 } else { 1 };
            }
            index += 1;
            code.push_str("\"\"");
        } else if at(index) == '\'' && (at(index + 1) == '\\' || at(index + 2) == '\'') {
            index += if at(index + 1) == '\\' { 3 } else { 2 };
            while index < chars.len() && at(index) != '\'' {
                index += 1;
            }
            index += 1;
            code.push_str("' '");
        } else {
            code.push(at(index));
            index += 1;
        }
    }
    without_tests(&code)
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Cuts the modules of unit tests, which may use the whole folder.
fn without_tests(code: &str) -> String {
    let Some(start) = code.find("#[cfg(test)]\nmod ") else {
        return code.to_owned();
    };
    let (before, tests) = code.split_at(start);
    let mut depth = 0;
    let end = tests.char_indices().find_map(|(index, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            // The module is a file.
            ';' if depth == 0 => return Some(index),
            _ => return None,
        }
        (depth == 0).then_some(index)
    });
    let after = end.map(|end| &tests[end + 1..]).unwrap_or_default();
    format!("{before}{}", without_tests(after))
}

/// Splits code into names, `::`, and single characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match rest.find(|c| !is_of_a_name(c)).unwrap_or(rest.len()) {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            length => length,
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// One name that a `use` brings in.
#[derive(Debug, PartialEq)]
struct Import {
    path: Vec<String>,
    /// The name in this file. `*` stands for all names.
    name: String,
    /// Whether the file passes the name on.
    public: bool,
}

/// Reads the tree behind a `use`. Returns the number of tokens that it has.
fn read_tree(tokens: &[&str], before: &[String], public: bool, imports: &mut Vec<Import>) -> usize {
    let mut path = before.to_vec();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        match *token {
            "::" => index += 1,
            "{" => {
                index += 1;
                while tokens.get(index).is_some_and(|token| *token != "}") {
                    index += read_tree(&tokens[index..], &path, public, imports);
                    if tokens.get(index) == Some(&",") {
                        index += 1;
                    }
                }
                return index + 1;
            }
            // `a::{self}` is `a`, whereas `self::a` begins in this module.
            "self" if !path.is_empty() => index += 1,
            name if is_name(name) && name != "as" || name == "*" => {
                path.push(name.to_owned());
                index += 1;
            }
            _ => break,
        }
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if tokens.get(index) == Some(&"as") {
        name = tokens[index + 1].to_owned();
        index += 2;
    }
    imports.push(Import { path, name, public });
    index
}

/// A file: what it brings in, and every path in its code.
struct File {
    imports: Vec<Import>,
    paths: Vec<Vec<String>>,
    /// Names that stand alone in the code, as of a type or of a function that is called.
    names: BTreeSet<String>,
}

fn read(text: &str) -> File {
    let code = code(text);
    let tokens = tokens(&code);
    let (mut imports, mut paths, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut index = 0;
    let mut public = false;
    while index < tokens.len() {
        let token = tokens[index];
        if token == "pub" {
            public = true;
            index += 1;
            if tokens.get(index) == Some(&"(") {
                // The path of a visibility uses nothing.
                index += tokens[index..]
                    .iter()
                    .position(|token| *token == ")")
                    .unwrap_or(0)
                    + 1;
            }
            continue;
        }
        if token == "use" {
            index += 1;
            index += read_tree(&tokens[index..], &[], public, &mut imports);
        } else if token == "mod" {
            index += 2;
        } else if is_name(token) {
            let fresh = index == 0 || !matches!(tokens[index - 1], "." | "::" | "fn");
            let mut path = vec![token.to_owned()];
            index += 1;
            while tokens.get(index) == Some(&"::") && tokens.get(index + 1).is_some_and(|next| is_name(next))
            {
                path.push(tokens[index + 1].to_owned());
                index += 2;
            }
            let is_called = tokens
                .get(index)
                .is_some_and(|next| matches!(*next, "(" | "!" | "::"));
            if fresh && (path.len() > 1 || is_called || token.starts_with(char::is_uppercase)) {
                names.insert(token.to_owned());
            }
            if fresh && path.len() > 1 {
                paths.push(path);
            }
        } else {
            index += 1;
        }
        public = false;
    }
    File {
        imports,
        paths,
        names,
    }
}

/// The module of a file, such as `["alert", "source"]` of `alert/source/mod.rs`.
fn module(path: &str) -> Module {
    let mut names: Module = path
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if names.last().is_some_and(|last| last == "mod" || last == "lib") {
        names.pop();
    }
    names
}

/// All files of a crate.
struct Crate(BTreeMap<Module, File>);

impl Crate {
    fn new(files: &[(String, String)]) -> Crate {
        Crate(
            files
                .iter()
                .map(|(path, text)| (module(path), read(text)))
                .collect(),
        )
    }

    /// Returns where a path in a module leads, from the root on. None if it leads out of the crate.
    fn absolute(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let mut module = match first.as_str() {
            "crate" => Module::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            name => {
                let mut child = from.clone();
                child.push(name.to_owned());
                if self.0.contains_key(&child) {
                    child
                } else {
                    let import = self
                        .0
                        .get(from)?
                        .imports
                        .iter()
                        .find(|import| import.name == name)?;
                    // `use a as b` of a name that was brought in may stand in a function.
                    if depth > 8 || import.path == path {
                        return None;
                    }
                    self.absolute(from, &import.path, depth + 1)?
                }
            }
        };
        for name in rest {
            if name == "super" {
                module.pop()?;
            } else {
                module.push(name.clone());
            }
        }
        Some(module)
    }

    /// Returns the module that defines what an absolute path names. Names that a module passes on are followed.
    fn definer(&self, path: &[String], depth: usize) -> Option<Module> {
        let length = (0..=path.len())
            .rev()
            .find(|length| self.0.contains_key(&path[..*length]))?;
        let module = path[..length].to_vec();
        let Some(name) = path.get(length) else {
            return Some(module);
        };
        let passed = self.0[&module]
            .imports
            .iter()
            .find(|import| import.public && import.name == *name && depth < 8);
        match passed.and_then(|import| self.absolute(&module, &import.path, 0)) {
            Some(mut target) => {
                target.extend_from_slice(&path[length + 1..]);
                self.definer(&target, depth + 1)
            }
            None => Some(module),
        }
    }

    /// Returns the modules that a module uses, each with a path that shows it.
    fn used(&self, module: &Module) -> BTreeMap<Module, String> {
        let file = &self.0[module];
        let imported = file.imports.iter().filter_map(|import| {
            let mut path = import.path.clone();
            if path.last().is_some_and(|last| last == "*") {
                path.pop();
            } else if import.public && !file.names.contains(&import.name) {
                // It is only passed on.
                return None;
            } else if self.0.contains_key(&self.absolute(module, &path, 0)?) {
                // What is used of a module is in the paths that begin with it.
                return None;
            }
            Some(path)
        });
        let mut used = BTreeMap::new();
        for path in imported.chain(file.paths.iter().cloned()) {
            let target = self
                .absolute(module, &path, 0)
                .and_then(|path| self.definer(&path, 0));
            if let Some(target) = target.filter(|target| target != module) {
                used.entry(target).or_insert_with(|| path.join("::"));
            }
        }
        used
    }

    /// Returns the circles between the direct children of each folder, with the arrows of each.
    fn circles(&self) -> Vec<Circle> {
        let used: BTreeMap<&Module, BTreeMap<Module, String>> =
            self.0.keys().map(|module| (module, self.used(module))).collect();
        let folders: BTreeSet<&[String]> = self
            .0
            .keys()
            .filter(|module| module.len() > 1)
            .flat_map(|module| (1..module.len()).map(|length| &module[..length]))
            .collect();
        folders
            .into_iter()
            .flat_map(|folder| {
                let child = |module: &Module| -> Option<String> {
                    let rest = module.strip_prefix(folder)?;
                    Some(rest.first().map_or(OWN, String::as_str).to_owned())
                };
                let mut arrows: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
                for (module, targets) in &used {
                    for (target, path) in targets {
                        if let (Some(from), Some(to)) = (child(module), child(target))
                            && from != to
                        {
                            let shown = format!("{} uses {path}", module.join("/"));
                            arrows.entry(from).or_default().entry(to).or_insert(shown);
                        }
                    }
                }
                circles_of(&folder.join("/"), &arrows)
            })
            .collect()
    }
}

/// A circle: the children of a folder that all use each other, directly or through others.
#[derive(Debug)]
struct Circle {
    folder: String,
    members: Vec<String>,
    arrows: Vec<String>,
}

fn circles_of(folder: &str, arrows: &BTreeMap<String, BTreeMap<String, String>>) -> Vec<Circle> {
    let reached = |from: &str| {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut open = vec![from];
        while let Some(next) = open.pop() {
            for to in arrows.get(next).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(to) {
                    open.push(to);
                }
            }
        }
        reached
    };
    let all: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|from| (from.as_str(), reached(from))).collect();
    let mut circles: Vec<Circle> = Vec::new();
    for (one, reached) in all.iter().filter(|(one, reached)| reached.contains(*one)) {
        let members: Vec<String> = reached
            .iter()
            .filter(|other| all.get(*other).is_some_and(|back| back.contains(one)))
            .map(|member| (*member).to_owned())
            .collect();
        if circles.iter().any(|circle| circle.members == members) {
            continue;
        }
        let arrows = members
            .iter()
            .flat_map(|from| arrows[from].iter().filter(|(to, _)| members.contains(to)))
            .map(|(_, shown)| shown.clone())
            .collect();
        circles.push(Circle {
            folder: folder.to_owned(),
            members,
            arrows,
        });
    }
    circles
}

/// Returns what is wrong: circles that are not in the table, and entries of the table that are not true.
fn wrong(files: &[(String, String)], stays: &[Stays]) -> Vec<String> {
    let circles = Crate::new(files).circles();
    let same = |circle: &Circle, (folder, members, _): &Stays| {
        circle.folder == *folder && circle.members == *members
    };
    let mut wrong: Vec<String> = circles
        .iter()
        .filter(|circle| !stays.iter().any(|entry| same(circle, entry)))
        .map(|circle| {
            format!(
                "{}: {} use each other in a circle:\n    {}",
                circle.folder,
                circle.members.join(", "),
                circle.arrows.join("\n    ")
            )
        })
        .collect();
    for entry in stays {
        let (folder, members, why) = entry;
        if !circles.iter().any(|circle| same(circle, entry)) {
            wrong.push(format!("{folder}: {} are no circle any more", members.join(", ")));
        }
        if !why.ends_with('.') || why.len() < 30 {
            wrong.push(format!(
                "{folder}: {} need a sentence that says why they stay",
                members.join(", ")
            ));
        }
        if stays.iter().filter(|(other, ..)| other == folder).count() > MOST {
            wrong.push(format!("{folder}: more than {MOST} circles stay"));
        }
    }
    wrong
}

#[test]
fn the_files_of_a_folder_use_each_other_in_one_direction() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &root, &mut files);
    assert!(files.len() > 300, "found {} files only", files.len());
    let wrong = wrong(&files, STAYS);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the files of a crate with the folder `a`, whose files are `b` and `c`.
fn folder(own: &str, b: &str, c: &str) -> Vec<(String, String)> {
    [
        ("a/mod.rs", own),
        ("a/b.rs", b),
        ("a/c.rs", c),
        ("lib.rs", "mod a;\n"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .to_vec()
}

const MODS: &str = "mod b;\nmod c;\npub use b::B;\n";

#[test]
fn a_circle_in_a_folder_is_found_however_it_is_written() {
    let c = "use super::b::B;\npub struct C(B);\n";
    assert!(wrong(&folder(MODS, "pub struct B;\n", c), &[]).is_empty());
    for b in [
        "use super::c::C;\n",
        "use crate::a::c::C;\n",
        "use super::c::{self, C};\nfn f() { c::g() }\n",
        "use super::c;\nfn f() { c::g() }\n",
        "use super::c as other;\nfn f() { other::g() }\n",
        "use super::{c::{D, C as Other}};\n",
        "use super::c::*;\n",
        "fn f() -> super::c::C { loop {} }\n",
        "fn f() { let x = \"//\"; crate::a::c::g(x) }\n",
        "fn f<'a>(x: &'a str) { if x != '\"'.to_string() { super::c::g(x) } }\n",
        "mod inner_file;\nfn f() {\n    use super::c::g;\n    g()\n}\n",
    ] {
        let found = wrong(&folder(MODS, b, c), &[]);
        assert!(
            found.len() == 1 && found[0].starts_with("a: b, c use each other"),
            "{b}: {found:?}"
        );
    }
}

#[test]
fn a_circle_with_the_folder_itself_is_found() {
    let own = "mod b;\nmod c;\npub struct A;\nfn f() { b::g() }\n";
    for b in [
        "use super::A;\n",
        "use crate::a::A;\n",
        "fn g(a: super::A) {}\n",
        "use super::*;\n",
    ] {
        let found = wrong(&folder(own, b, ""), &[]);
        assert!(
            found.len() == 1 && found[0].starts_with("a: b, mod use each other"),
            "{b}: {found:?}"
        );
    }
    // The folder is one node of the folder above it, with everything that is in it.
    let mut files = folder(own, "use crate::top::d::D;\n", "");
    for (path, _) in &mut files {
        if path.starts_with("a/") {
            *path = format!("top/{path}");
        }
    }
    files.push(("top/mod.rs".to_owned(), "mod a;\nmod d;\n".to_owned()));
    files.push((
        "top/d.rs".to_owned(),
        "use super::a::A;\npub struct D;\n".to_owned(),
    ));
    let found = wrong(&files, &[]);
    assert!(
        found.len() == 1 && found[0].starts_with("top: a, d use each other"),
        "{found:?}"
    );
}

#[test]
fn a_name_that_is_passed_on_belongs_to_the_file_that_defines_it() {
    // `b` uses nothing of `mod.rs`, and `mod.rs` uses nothing of `c`.
    let own = "mod b;\nmod c;\npub use b::B;\npub use c::{C, g};\n";
    let c = "use super::B;\npub struct C(B);\npub fn g() {}\n";
    assert!(wrong(&folder(own, "pub struct B;\n", c), &[]).is_empty());
    // Through `mod.rs`, the two files use each other.
    let found = wrong(&folder(own, "use super::C;\npub struct B;\n", c), &[]);
    assert!(
        found.len() == 1 && found[0].starts_with("a: b, c use each other"),
        "{found:?}"
    );
    // A name that is passed on and used as well makes an arrow.
    let own = "mod b;\nmod c;\npub use b::B;\npub struct A(B);\n";
    let found = wrong(&folder(own, "use super::A;\npub struct B;\n", ""), &[]);
    assert!(
        found.len() == 1 && found[0].starts_with("a: b, mod use each other"),
        "{found:?}"
    );
}

#[test]
fn what_is_no_use_makes_no_arrow() {
    let c = "use super::b::B;\npub struct C(B);\n";
    for b in [
        "// use super::c::C;\n",
        "//! [`C`](super::c::C)\n",
        "/* use super::c::C; /* and */ use super::c::C; */\n",
        "const TEXT: &str = \"super::c::C\";\n",
        "const TEXT: &str = r#\"\"super::c::C\"#;\n",
        "const BYTES: &[u8] = br#\"\"super::c::C\"#;\n",
        "pub(in crate::a) struct B;\n",
        "use std::c::C;\nuse serde::de::c;\n",
        "fn f(x: X) { x.c::<u8>() }\n",
        "#[cfg(test)]\nmod tests {\n    use super::super::c::C;\n    fn f() { super::super::c::g() }\n}\n",
    ] {
        let found = wrong(&folder(MODS, b, c), &[]);
        assert!(found.is_empty(), "{b}: {found:?}");
    }
}

#[test]
fn the_table_holds_exactly_the_circles_that_stay() {
    let why = "Each of the two is the other's half, and no third file could hold both.";
    let files = folder(MODS, "use super::c::C;\n", "use super::b::B;\n");
    assert!(wrong(&files, &[("a", &["b", "c"], why)]).is_empty());
    assert_eq!(wrong(&files, &[("a", &["b", "c"], "")]).len(), 1);
    assert_eq!(wrong(&files, &[("a", &["b", "d"], why)]).len(), 2);
    let straight = folder(MODS, "", "use super::b::B;\n");
    assert_eq!(
        wrong(&straight, &[("a", &["b", "c"], why)]),
        ["a: b, c are no circle any more"]
    );
}

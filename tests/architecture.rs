//! Keeps `docs/architecture.md` true: imports follow the ladder, big dependencies stay behind their doors, sans-IO
//! files do no IO, files open with a sentence and stay readable.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const MAX_LINES: usize = 600;

/// What a file that opens with `//! Sans-IO:` may not name, and what to do instead.
const IMPURE: &[(&str, &str)] = &[
    (".await", "return the effect as a value and let the service wait"),
    ("async fn", "return the effect as a value and let the service wait"),
    ("Instant::now", "take the time as an argument"),
    ("SystemTime", "take the time as an argument"),
    ("time::now(", "take the time as an argument"),
    ("time::unix_ms(", "take the time as an argument"),
    ("time::since_boot(", "take the time as an argument"),
    ("base::random", "take random values as an argument"),
    ("rand::", "take random values as an argument"),
    ("std::fs", "return the bytes and let the caller write them"),
    ("tokio::fs", "return the bytes and let the caller write them"),
    ("tokio::net", "return what is to be sent as a value"),
    ("std::net::Tcp", "return what is to be sent as a value"),
    ("thread::", "leave threads to the service"),
];

/// One file under `src/`.
struct Source {
    /// Path from the repository's root, with forward slashes.
    path: String,
    /// The folder on the ladder (`base`, `dag`, …); `None` for `lib.rs` and `main.rs`.
    folder: Option<String>,
    /// The text as it stands.
    text: String,
    /// The text without comments, line by line.
    code: String,
    /// The part of `code` before its test module.
    product: String,
}

#[test]
fn imports_follow_the_ladder() {
    let ladder = ladder();
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(folder) = &file.folder else { continue };
        let Some(floor) = ladder.get(folder) else {
            wrong.push(format!(
                "{}: folder `{folder}` has no row in docs/architecture.md; add one on its floor",
                file.path
            ));
            continue;
        };
        for (line, name) in crate_paths(&file.code) {
            let Some(other) = ladder.get(&name) else { continue };
            if &name == folder || other < floor {
                continue;
            }
            let why = if other == floor {
                format!(
                    "`{folder}` and `{name}` are neighbours on floor {floor} and must not know each other; let the floor above connect them, or move what both need down to a lower floor"
                )
            } else {
                format!(
                    "`{name}` stands on floor {other}, above `{folder}` on floor {floor}; pass it in as a trait or a value, or move what is needed down"
                )
            };
            wrong.push(format!("{}:{line}: imports crate::{name}, but {why}", file.path));
        }
    }
    check(wrong);
}

#[test]
fn every_folder_stands_on_the_ladder() {
    let ladder = ladder();
    assert!(ladder.len() >= 12, "the ladder in docs/architecture.md lost rows; it names {} folders", ladder.len());
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root().join("src")).expect("src exists") {
        let path = entry.expect("src is readable").path();
        let name = path.file_stem().expect("an entry has a name").to_string_lossy().into_owned();
        if path.is_dir() && !ladder.contains_key(&name) {
            wrong.push(format!("src/{name}: has no row in the ladder of docs/architecture.md; give it a floor there"));
        }
        if path.is_file() && name != "lib" && name != "main" {
            wrong.push(format!("src/{name}.rs: stands beside the folders; move it into the folder it belongs to"));
        }
    }
    check(wrong);
}

#[test]
fn big_dependencies_stay_behind_their_doors() {
    let mut wrong = Vec::new();
    let doors = doors();
    assert!(doors.len() >= 5, "the table of front doors in docs/architecture.md lost rows");
    for file in sources() {
        for door in &doors {
            if file.path.starts_with(&door.only_in) {
                continue;
            }
            for (number, line) in file.code.lines().enumerate() {
                if names(line, &door.name) {
                    wrong.push(format!(
                        "{}:{}: names {}, which only {} may: {}",
                        file.path,
                        number + 1,
                        door.name,
                        door.only_in,
                        door.because
                    ));
                }
            }
        }
    }
    check(wrong);
}

#[test]
fn sans_io_files_do_no_io() {
    let mut wrong = Vec::new();
    let mut cores = 0;
    for file in sources() {
        if !file.text.starts_with("//! Sans-IO:") {
            continue;
        }
        cores += 1;
        for (number, line) in file.product.lines().enumerate() {
            for (token, instead) in IMPURE {
                if line.contains(token) {
                    wrong.push(format!(
                        "{}:{}: a sans-IO file names `{token}`: {instead}, or drop \"Sans-IO:\" from its first line",
                        file.path,
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(cores > 0, "no file under src opens with `//! Sans-IO:`");
    check(wrong);
}

#[test]
fn files_open_with_a_sentence_and_stay_readable() {
    let mut wrong = Vec::new();
    for file in sources() {
        if !file.text.starts_with("//! ") {
            wrong.push(format!("{}: does not open with a `//!` sentence that says what it is", file.path));
        }
        let lines = file.text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{}: has {lines} lines; split it by meaning (limit {MAX_LINES})", file.path));
        }
    }
    check(wrong);
}

#[test]
fn only_the_command_line_prints() {
    let mut wrong = Vec::new();
    for file in sources() {
        if file.path.starts_with("src/cli/") || file.path == "src/main.rs" {
            continue;
        }
        for (number, line) in file.product.lines().enumerate() {
            for token in ["println!", "eprintln!", "print!(", "dbg!("] {
                if line.contains(token) {
                    wrong.push(format!(
                        "{}:{}: prints with {token}; use tracing, or return the text to cli",
                        file.path,
                        number + 1
                    ));
                    break;
                }
            }
        }
    }
    check(wrong);
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let code = "use crate::net::Peers;\nuse crate::{base::{Cid, Block}, store, dag::pb};\nlet x = crate::cluster::model::Token;\npub(crate) fn f() {}\n";
    let found: Vec<String> = crate_paths(code).into_iter().map(|(_, name)| name).collect();
    assert_eq!(found, ["net", "base", "store", "dag", "cluster"]);
    assert!(names("use sled::Db;", "sled"));
    assert!(names("    clap::Parser", "clap"));
    assert!(!names("mod sled;", "sled"));
    assert!(!names("handled::x", "sled"));
    assert!(names("use libp2p::Swarm;", "libp2p::Swarm"));
    assert!(!names("use libp2p::SwarmX;", "libp2p::Swarm"));
    assert_eq!(strip_comments("a // b\n\"http://x\" c\n"), "a \n\"http://x\" c\n");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn check(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The rows between two marker comments of docs/architecture.md, each split into its cells.
fn table(marker: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md is readable");
    let start = text.find(&format!("<!-- {marker}:")).expect("docs/architecture.md holds the marker comment");
    let end = text.find(&format!("<!-- end of {marker}")).expect("docs/architecture.md holds the end marker");
    text[start..end]
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
        .collect()
}

fn ladder() -> BTreeMap<String, u32> {
    table("ladder").into_iter().map(|row| (row[1].clone(), row[0].parse().expect("a floor is a number"))).collect()
}

struct Door {
    name: String,
    only_in: String,
    because: String,
}

fn doors() -> Vec<Door> {
    table("doors")
        .into_iter()
        .map(|row| Door { name: row[0].clone(), only_in: row[1].clone(), because: row[2].clone() })
        .collect()
}

fn sources() -> Vec<Source> {
    let mut out = Vec::new();
    walk(&root().join("src"), &mut out);
    assert!(!out.is_empty(), "no sources found under src");
    out
}

fn walk(dir: &Path, out: &mut Vec<Source>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).expect("a folder under src is readable").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let relative = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
            let parts: Vec<&str> = relative.split('/').collect();
            let folder = (parts.len() > 2).then(|| parts[1].to_owned());
            let code = strip_comments(&text);
            let is_test = parts.last().is_some_and(|name| *name == "tests.rs") || parts.contains(&"tests");
            let product = if is_test { String::new() } else { before_tests(&code) };
            out.push(Source { path: relative, folder, text, code, product });
        }
    }
}

/// The code up to the file's own test module.
fn before_tests(code: &str) -> String {
    match code.find("#[cfg(test)]\nmod tests {") {
        Some(at) => code[..at].to_owned(),
        None => code.to_owned(),
    }
}

/// Drops line comments, leaving the number of lines as it is. A `//` inside a string stays.
fn strip_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut quoted = false;
        let mut cut = line.len();
        let bytes = line.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' if quoted => at += 1,
                b'"' => quoted = !quoted,
                b'/' if !quoted && bytes.get(at + 1) == Some(&b'/') => {
                    cut = at;
                    break;
                }
                _ => {}
            }
            at += 1;
        }
        out.push_str(&line[..cut]);
        out.push('\n');
    }
    out
}

/// Every first segment after `crate::`, with its line number; grouped imports are taken apart.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 || (depth == 1 && c == ',') {
                    let name = first_segment(item.trim());
                    if !name.is_empty() {
                        out.push((line, name));
                    }
                    item.clear();
                    if depth == 0 {
                        break;
                    }
                } else {
                    item.push(c);
                }
            }
        } else {
            out.push((line, first_segment(rest)));
        }
    }
    out
}

fn first_segment(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Whether a line of code uses `name` as a path: a whole word that is followed by `::`, `;`, ` as ` or, for a path with
/// two segments, by anything that is not part of a word.
fn names(line: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let trimmed = line.trim_start();
    if trimmed.starts_with(&format!("mod {name};")) || trimmed.starts_with(&format!("pub mod {name};")) {
        return false;
    }
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        if before.is_some_and(|c| word(c) || c == '"' || c == ':' && !line[..at].ends_with("use ::")) {
            return false;
        }
        let next = after.chars().next();
        if next.is_some_and(word) {
            return false;
        }
        let type_name = name.rsplit("::").next().is_some_and(|n| n.starts_with(char::is_uppercase));
        type_name
            || after.starts_with("::")
            || (trimmed.starts_with("use ") && (after.starts_with(';') || after.starts_with(" as ")))
    })
}

//! Keeps `docs/status.md` honest: what it names exists, and what it says works is shown by something.

use std::{fs, path::PathBuf};

const STATES: [&str; 3] = ["works", "partly", "not yet"];
const WEIGHTS: [&str; 3] = ["core", "expected", "extended"];

struct Row {
    line: usize,
    promise: String,
    weight: String,
    state: String,
    shown_by: Vec<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Splits a table row at the bars that are not escaped.
fn cells(line: &str) -> Vec<String> {
    line.trim()
        .trim_matches('|')
        .replace("\\|", "\u{1}")
        .split('|')
        .map(|cell| cell.trim().replace('\u{1}', "|"))
        .collect()
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/status.md")).expect("docs/status.md is readable");
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if !line.starts_with("| ") || line.starts_with("| promise") {
            continue;
        }
        let cells = cells(line);
        assert_eq!(
            cells.len(),
            4,
            "docs/status.md:{}: a row has four cells: promise, weight, state, shown by",
            number + 1
        );
        // Whatever stands in backquotes in the last cell is a name to be checked; other words are for people.
        let shown_by = cells[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        rows.push(Row {
            line: number + 1,
            promise: cells[0].clone(),
            weight: cells[1].clone(),
            state: cells[2].clone(),
            shown_by,
        });
    }
    rows
}

/// Whether `path` or `path::function` exists: the file, and in it a function (or shell function, or test title) of that name.
fn exists(name: &str) -> Result<(), String> {
    let (path, function) = match name.split_once("::") {
        Some((path, function)) => (path, Some(function)),
        None => (name, None),
    };
    let full = root().join(path);
    if !full.exists() {
        return Err(format!("no such file: {path}"));
    }
    let Some(function) = function else { return Ok(()) };
    let text = fs::read_to_string(&full).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let function = function.rsplit("::").next().unwrap_or(function);
    let is_there = [
        format!("fn {function}("),
        format!("fn {function}<"),
        format!("{function}() {{"),
        format!("test('{function}'"),
    ]
    .iter()
    .any(|form| text.contains(form.as_str()));
    if is_there { Ok(()) } else { Err(format!("{path} has no function {function}")) }
}

#[test]
fn every_row_is_well_formed() {
    let rows = rows();
    assert!(rows.len() > 200, "docs/status.md lost rows: {} are left", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        if row.promise.is_empty() {
            wrong.push(format!("docs/status.md:{}: a row without a promise", row.line));
        }
        if !STATES.contains(&row.state.as_str()) {
            wrong.push(format!("docs/status.md:{}: state `{}` is none of {STATES:?}", row.line, row.state));
        }
        if !WEIGHTS.contains(&row.weight.as_str()) {
            wrong.push(format!("docs/status.md:{}: weight `{}` is none of {WEIGHTS:?}", row.line, row.weight));
        }
        if row.state != "not yet" && row.shown_by.is_empty() {
            wrong.push(format!(
                "docs/status.md:{}: \"{}\" is said to be \"{}\", but nothing shows it; name a test, benchmark or page",
                row.line, row.promise, row.state
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn what_is_named_exists() {
    let mut wrong = Vec::new();
    for row in rows() {
        for name in &row.shown_by {
            if let Err(why) = exists(name) {
                wrong.push(format!("docs/status.md:{}: `{name}`: {why}", row.line));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn no_promise_stands_twice() {
    let mut seen = std::collections::BTreeMap::new();
    for row in rows() {
        if let Some(first) = seen.insert(row.promise.clone(), row.line) {
            panic!("docs/status.md:{}: \"{}\" stands in line {first} already", row.line, row.promise);
        }
    }
}

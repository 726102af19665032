//! How a result looks as YAML or as a table. Both are made of the values that JSON has.

use serde::Serialize;
use serde_json::{Map, Value};

/// Rows that a table's widths are judged by; later ones that are wider stand out.
const ROWS: usize = 1000;

/// A value as YAML.
pub fn yaml<T: Serialize>(value: &T) -> String {
    serde_saphyr::to_string(value).expect("plain data becomes YAML")
}

/// One item of a list below a key, as YAML.
pub fn yaml_item<T: Serialize>(value: &T) -> String {
    let mut out = String::new();
    for (number, line) in yaml(value).lines().enumerate() {
        out.push_str(match (number, line.is_empty()) {
            (0, _) => "- ",
            (_, true) => "",
            _ => "  ",
        });
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// A value as text in columns: the objects of a list below a line of their keys, other values beside their keys.
pub fn table<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).expect("plain data becomes JSON");
    let Value::Object(object) = value else { return format!("{}\n", cells(&value).join("\n")) };
    let list = object.iter().find_map(|(key, value)| objects(value).map(|list| (key, list)));
    let Some((key, list)) = list else { return pairs(&object, |_, _| true) };
    // What only repeats the last of them need not stand twice.
    let last = list.last().copied();
    let mut out = pairs(&object, |name, value| name != key && last.and_then(|last| last.get(name)) != Some(value));
    if !out.is_empty() {
        out.push('\n');
    }
    let mut table = Table::default();
    list.into_iter().for_each(|row| out.push_str(&table.row(row)));
    out + &table.end()
}

/// The objects of a list that has nothing else in it.
fn objects(value: &Value) -> Option<Vec<&Map<String, Value>>> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    list.iter().map(Value::as_object).collect()
}

fn pairs(object: &Map<String, Value>, shown: impl Fn(&String, &Value) -> bool) -> String {
    let object: Vec<_> = object.iter().filter(|(key, value)| shown(key, value)).collect();
    let width = object.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (key, value) in object {
        for (number, cell) in cells(value).into_iter().enumerate() {
            let key = if number == 0 { key } else { "" };
            out.push_str(format!("{key:width$}  {cell}").trim_end());
            out.push('\n');
        }
    }
    out
}

/// The values of a list, or the one that it is.
fn cells(value: &Value) -> Vec<String> {
    match value.as_array() {
        Some(list) if list.is_empty() => vec!["-".into()],
        Some(list) => list.iter().map(cell).collect(),
        None => vec![cell(value)],
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => {
            text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
        }
        other => other.to_string(),
    }
}

/// Rows with the same keys, aligned. Few rows are held; the memory does not grow with the table.
#[derive(Default)]
pub struct Table {
    columns: Vec<String>,
    held: Vec<Vec<(String, bool)>>,
    /// Known once the first rows are out: each column's width, and whether it holds numbers.
    layout: Option<Vec<(usize, bool)>>,
}

impl Table {
    /// The next row; gives the text that is ready.
    pub fn row(&mut self, row: &Map<String, Value>) -> String {
        if self.columns.is_empty() {
            self.columns = row.keys().cloned().collect();
        }
        let none = Value::Null;
        let cells = self.columns.iter().map(|column| row.get(column).unwrap_or(&none));
        let cells: Vec<_> = cells.map(|value| (cell(value), value.is_number() || value.is_null())).collect();
        match &self.layout {
            Some(layout) => line(cells.into_iter().map(|(text, _)| text), layout),
            None => {
                self.held.push(cells);
                if self.held.len() < ROWS { String::new() } else { self.end() }
            }
        }
    }

    /// What is not out yet.
    pub fn end(&mut self) -> String {
        if self.layout.is_some() || self.columns.is_empty() {
            return String::new();
        }
        let mut layout: Vec<_> = self.columns.iter().map(|column| (column.chars().count(), true)).collect();
        for row in &self.held {
            for ((width, numbers), (text, number)) in layout.iter_mut().zip(row) {
                *width = text.chars().count().max(*width);
                *numbers &= number;
            }
        }
        let mut out = line(self.columns.iter().map(|column| column.to_uppercase()), &layout);
        for row in self.held.drain(..) {
            out.push_str(&line(row.into_iter().map(|(text, _)| text), &layout));
        }
        self.layout = Some(layout);
        out
    }
}

fn line(cells: impl Iterator<Item = String>, layout: &[(usize, bool)]) -> String {
    let cells = cells.zip(layout).map(|(text, (width, numbers))| match numbers {
        true => format!("{text:>width$}"),
        false => format!("{text:width$}"),
    });
    let mut out = cells.collect::<Vec<_>>().join("  ").trim_end().to_owned();
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_says_what_json_says() {
        let odd = [
            "",
            "yes",
            "null",
            "1e3",
            "0x10",
            " a",
            "a: b",
            "- a",
            "a\nb\n",
            "#",
            "ä\t\u{1}",
            "'\"",
            "~",
            "2026-01-01",
        ];
        let value = json!({
            "none": null, "flag": true, "number": u64::MAX, "minus": -1, "half": 0.5, "empty": [], "nothing": {},
            "list": odd, "objects": [{"a": 1, "b": odd}, {"a": null}], "deep": {"er": {"still": [[1, 2], []]}},
        });
        let back: Value = serde_saphyr::from_str(&yaml(&value)).unwrap();
        assert_eq!(back, value);
        let items: String = value["objects"].as_array().unwrap().iter().map(yaml_item).collect();
        let back: Value = serde_saphyr::from_str(&format!("objects:\n{items}")).unwrap();
        assert_eq!(back["objects"], value["objects"]);
    }

    #[test]
    fn tables_are_aligned() {
        let pins =
            json!({"pins": [{"cid": "Qm1", "name": null, "size": 5}, {"cid": "Qm22", "name": "a\nb", "size": 1234}]});
        let expected = "CID   NAME  SIZE\nQm1   -        5\nQm22  a\\nb  1234\n";
        assert_eq!(table(&pins), expected);
        // Fields that repeat the last item go, others stay.
        let added = json!({"cid": "Qm2", "pinned": true, "roots": [{"cid": "Qm1"}, {"cid": "Qm2"}]});
        assert_eq!(table(&added), "pinned  true\n\nCID\nQm1\nQm2\n");
        let id = json!({"id": "12D3", "addresses": ["/ip4/1", "/ip4/2"], "none": [], "deep": {"a": 1}});
        assert_eq!(
            table(&id),
            "addresses  /ip4/1\n           /ip4/2\ndeep       {\"a\":1}\nid         12D3\nnone       -\n"
        );
    }

    #[test]
    fn long_tables_go_out_while_they_come() {
        let mut table = Table::default();
        let row = |n: usize| json!({"n": n}).as_object().unwrap().clone();
        assert!((1..ROWS).all(|n| table.row(&row(n)).is_empty()));
        assert_eq!(table.row(&row(ROWS)).lines().count(), ROWS + 1);
        assert_eq!(table.row(&row(7)), "   7\n");
        assert_eq!(table.row(&row(123_456)), "123456\n");
        assert_eq!(table.end(), "");
    }
}

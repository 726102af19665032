//! Sans-IO: changes one setting in a file's text and leaves every other byte as it is.

use super::tree::{Entry, Node, What, parse};

/// The text with the value of the setting `path` set to `value`, one word or several.
///
/// Errors when the file cannot be read, or is written in a way in which the value has no place of its own.
pub fn set(text: &str, path: &[&str], value: &[String], list: bool, json: bool) -> Result<String, String> {
    let before =
        parse(text).map_err(|wrong| format!("{}:{}: {}", wrong.place.line, wrong.place.column, wrong.reason))?;
    if json && !text.trim().is_empty() && !matches!(before.what, What::Map { flow: true, .. }) {
        return Err("this is no JSON: it does not begin with '{'".into());
    }
    let edited = match find(&before, path) {
        (Some(node), _) => replace(text, node, &render(value, list, json)),
        (None, (map, depth, indent)) => insert(text, map, &path[depth..], indent, value, list, json),
    };
    // Whatever the file looked like: the one value is there and nothing else has changed.
    let wanted = path.join(".");
    let others = |root: &Node| -> Vec<(String, String)> {
        let leaves = root.leaves().into_iter().map(|(path, _, node)| (path.join("."), words(node).join("\n")));
        leaves.filter(|(name, value)| *name != wanted && !value.is_empty()).collect()
    };
    let fine = parse(&edited).is_ok_and(|after| {
        let is = find(&after, path).0.map(words);
        others(&after) == others(&before) && is.as_deref() == Some(value)
    });
    match fine {
        true => Ok(edited),
        false => Err(format!("the file is written in a way in which {wanted} cannot be changed; change it by hand")),
    }
}

/// A value as words.
pub fn words(node: &Node) -> Vec<String> {
    match &node.what {
        What::Scalar(text) if text.is_empty() => Vec::new(),
        What::Scalar(text) => vec![text.clone()],
        What::List(items) => items.iter().flat_map(words).collect(),
        What::Map { .. } => Vec::new(),
    }
}

/// The value at the path; and the map the path leads into furthest, how many names of it were found, and how far that
/// map's own entries are indented when it has none yet.
fn find<'a>(root: &'a Node, path: &[&str]) -> (Option<&'a Node>, (&'a Node, usize, usize)) {
    let (mut node, mut depth, mut indent) = (root, 0, 0);
    loop {
        let What::Map { entries, .. } = &node.what else { return (None, (node, depth, indent)) };
        let Some(entry) = path.get(depth).and_then(|name| entries.iter().find(|entry| entry.key == *name)) else {
            return (None, (node, depth, indent));
        };
        depth += 1;
        if depth == path.len() {
            return (Some(&entry.value), (node, depth, indent));
        }
        match &entry.value.what {
            What::Map { .. } => indent = entry.place.column + 1,
            What::Scalar(text) if text.is_empty() => return (None, (&entry.value, depth, entry.place.column + 1)),
            _ => return (None, (node, depth - 1, indent)),
        }
        node = &entry.value;
    }
}

fn replace(text: &str, node: &Node, value: &str) -> String {
    let (start, end) = (node.span.start, node.span.end);
    let before = &text[..start];
    // A list that begins its own line below its name is written there, indented.
    let line = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
    let space = match before.chars().last() {
        Some(':') => " ",
        _ if matches!(node.what, What::List(_)) && line.trim().is_empty() && start > 0 => "  ",
        _ => "",
    };
    format!("{before}{space}{value}{}", &text[end..])
}

fn insert(text: &str, map: &Node, names: &[&str], indent: usize, value: &[String], list: bool, json: bool) -> String {
    let (flow, entries): (bool, &[Entry]) = match &map.what {
        What::Map { entries, flow } => (*flow, entries),
        _ => (false, &[]),
    };
    let rendered = render(value, list, json);
    if json || flow {
        if map.span.is_empty() {
            return format!("{{\n  {}\n}}\n", nested(names, &rendered));
        }
        let new = nested(names, &rendered);
        return match (entries.first(), entries.last()) {
            (Some(first), Some(last)) => {
                let (at, gap) = (last.value.span.end, &text[map.span.start + 1..first.span.start]);
                let gap = if gap.trim().is_empty() && !gap.is_empty() { gap } else { " " };
                format!("{},{gap}{new}{}", &text[..at], &text[at..])
            }
            _ => format!("{}{new}{}", &text[..map.span.start + 1], &text[map.span.start + 1..]),
        };
    }
    let indent = entries.first().map_or(indent, |first| first.place.column - 1);
    let at = match entries.last() {
        Some(last) => last.value.span.end,
        None => map.span.end,
    };
    // Behind what else stands in that line, such as a comment.
    let at = text[at..].find('\n').map_or(text.len(), |end| at + end);
    let mut new = String::new();
    for (depth, name) in names.iter().enumerate() {
        new.push_str(&format!("\n{}{name}:", " ".repeat(indent + 2 * depth)));
    }
    new.push_str(&format!(" {rendered}"));
    let new = if at == 0 { format!("{}\n", new.trim_start_matches('\n')) } else { new };
    let rest = &text[at..];
    let new = if rest.is_empty() && at > 0 {
        let new = if text.ends_with('\n') { new.trim_start_matches('\n') } else { &new };
        format!("{new}\n")
    } else {
        new
    };
    format!("{}{new}{rest}", &text[..at])
}

fn nested(names: &[&str], value: &str) -> String {
    match names {
        [] => value.to_owned(),
        [last] => format!("{}: {value}", quoted(last)),
        [first, rest @ ..] => format!("{}: {{{}}}", quoted(first), nested(rest, value)),
    }
}

fn render(value: &[String], list: bool, json: bool) -> String {
    let one = |text: &String| {
        let number = json && text.parse::<u64>().is_ok_and(|n| n.to_string() == *text);
        let flag = json && matches!(text.as_str(), "true" | "false");
        if number || flag || (!json && plain(text)) { text.clone() } else { quoted(text) }
    };
    match list {
        true => format!("[{}]", value.iter().map(one).collect::<Vec<_>>().join(", ")),
        false => value.iter().map(one).collect(),
    }
}

/// Whether YAML reads the text as itself without quotes, in a list too.
fn plain(text: &str) -> bool {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '~'));
    let others = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._~+@=:-".contains(c));
    first && others && !text.ends_with(':') && text != "~"
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_one(text: &str, path: &str, value: &str) -> String {
        let path: Vec<&str> = path.split('.').collect();
        set(text, &path, &[value.to_owned()], false, false).unwrap()
    }

    #[test]
    fn the_rest_of_a_file_stays() {
        let text = "# mine\nrole: worker   # for now\n\nswarm: # the net\n  connections: 7 # few\n\n# the end\n";
        assert_eq!(set_one(text, "role", "master"), text.replace("worker ", "master "));
        assert_eq!(set_one(text, "swarm.connections", "80"), text.replace("7 #", "80 #"));
        assert_eq!(set_one(text, "swarm.known_peers", "9"), text.replace("# few\n", "# few\n  known_peers: 9\n"));
        assert_eq!(
            set_one(text, "logging.level", "debug"),
            text.replace("# few\n", "# few\nlogging:\n  level: debug\n")
        );
        assert_eq!(set_one("", "a.b", "c"), "a:\n  b: c\n");
        assert_eq!(set_one("# only words\n", "a.b", "c"), "# only words\na:\n  b: c\n");
        assert_eq!(set_one("x: 1", "a", "c"), "x: 1\na: c\n");
        assert_eq!(set_one("swarm:\nrole: worker\n", "swarm.x", "c"), "swarm:\n  x: c\nrole: worker\n");
        assert_eq!(set_one("swarm:\n", "swarm", "c"), "swarm: c\n");
        assert_eq!(set_one("a: {b: 1}\n", "a.c", "2"), "a: {b: 1, \"c\": 2}\n");
        assert_eq!(set_one("a: x\n", "a", "two words: here"), "a: \"two words: here\"\n");
    }

    #[test]
    fn lists_are_replaced_whole() {
        let values = vec!["/ip4/1.2.3.4/tcp/1".to_owned(), "b c".to_owned()];
        for text in [
            "l: [x, y]\nm: 1\n",
            "l: x\nm: 1\n",
            "l:\nm: 1\n",
            "l:\n  - x\n  - y\nm: 1\n",
            "l:\n- x\n- y\nm: 1\n",
            "m: 1\n",
        ] {
            let edited = set(text, &["l"], &values, true, false).unwrap();
            assert!(edited.contains("[/ip4/1.2.3.4/tcp/1, \"b c\"]") && edited.contains("m: 1\n"), "{edited}");
        }
    }

    #[test]
    fn json_stays_json() {
        for text in [
            "",
            "{}",
            "{\"x\": 1}",
            "{\n\t\"x\": 1,\n\t\"a\": {\"c\": [1, 2]}\n}\n",
            "{\"a\": {}}",
            "{\"a\": {\"b\": 1}}",
        ] {
            let edited = set(text, &["a", "b"], &["say \"hi\"".to_owned()], false, true).unwrap();
            let value: serde_json::Value = serde_json::from_str(&edited).unwrap_or_else(|e| panic!("{edited}: {e}"));
            assert_eq!(value["a"]["b"], "say \"hi\"", "{edited}");
            assert_eq!(value.get("x").is_some(), text.contains("\"x\""), "{edited}");
            let edited = set(text, &["a", "b"], &["12".to_owned()], false, true).unwrap();
            assert!(edited.contains("\"b\": 12"), "{edited}");
        }
    }

    #[test]
    fn what_cannot_be_changed_is_refused() {
        assert!(set("a: [1\n", &["a"], &["1".into()], false, false).unwrap_err().starts_with("1:4: "));
        assert!(set("a: word\n", &["a", "b"], &["1".into()], false, false).is_err());
    }

    proptest::proptest! {
        /// Whatever the file: it is refused, or only the one value changes (which `set` itself checks).
        #[test]
        fn nothing_else_changes(text in "[-abc:\\[\\]{},# \n'\"]{0,40}", value in "[ -~]{1,12}") {
            let value = value.trim().to_owned();
            if let (Ok(before), false) = (parse(&text), value.is_empty())
                && let Ok(edited) = set(&text, &["a", "b"], std::slice::from_ref(&value), false, false)
            {
                let after = parse(&edited).unwrap();
                proptest::prop_assert!(after.leaves().len() + 1 >= before.leaves().len());
                proptest::prop_assert_eq!(words(find(&after, &["a", "b"]).0.unwrap()), vec![value]);
            }
        }
    }
}

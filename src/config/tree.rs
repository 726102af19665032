//! Sans-IO: a settings file, YAML or JSON, as a tree whose every part knows where it stands.

use std::ops::Range;

use granit_parser::{Event, Options, Parser, Span, StructureStyle};

/// Deepest nesting of a settings file.
const MAX_DEPTH: usize = 16;

/// A place in a file, counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Where.
    pub place: Place,
    /// What.
    pub reason: String,
}

/// A value in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// Its bytes in the file.
    pub span: Range<usize>,
    /// What it is.
    pub what: What,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// One word or sentence; nothing at all is the empty one.
    Scalar(String),
    /// Several values.
    List(Vec<Node>),
    /// Values by their names.
    Map {
        /// The names and their values, in order.
        entries: Vec<Entry>,
        /// Written with braces, as in JSON.
        flow: bool,
    },
}

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub key: String,
    /// Where the name begins.
    pub place: Place,
    /// The name's bytes in the file.
    pub span: Range<usize>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// Every value that is no map, with the names that lead to it.
    pub fn leaves(&self) -> Vec<(Vec<&str>, Place, &Node)> {
        let mut out = Vec::new();
        if let What::Map { entries, .. } = &self.what {
            for entry in entries {
                match &entry.value.what {
                    What::Map { entries, .. } if !entries.is_empty() => {
                        for (mut path, place, leaf) in entry.value.leaves() {
                            path.insert(0, &entry.key);
                            out.push((path, place, leaf));
                        }
                    }
                    _ => out.push((vec![entry.key.as_str()], entry.place, &entry.value)),
                }
            }
        }
        out
    }
}

/// Reads a file's text. Its root is a map; an empty file is one without entries.
pub fn parse(text: &str) -> Result<Node, Wrong> {
    let mut options = Options::default();
    options.disallow_directives = true;
    let mut reader = Reader { parser: Parser::new_from_str_with_options(text, options), text };
    let mut root = None;
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            event if root.is_none() => root = Some(reader.node(event, span, 0)?),
            _ => return Err(wrong(&span, "a second document begins here; a settings file has one")),
        }
    }
    let nothing = || Node {
        place: Place { line: 1, column: 1 },
        span: text.len()..text.len(),
        what: What::Map { entries: Vec::new(), flow: false },
    };
    match root {
        None => Ok(nothing()),
        Some(Node { what: What::Scalar(text), .. }) if text.is_empty() => Ok(nothing()),
        Some(root @ Node { what: What::Map { .. }, .. }) => Ok(root),
        Some(other) => {
            Err(Wrong { place: other.place, reason: "a settings file holds 'name: value' lines; this is none".into() })
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    text: &'a str,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Wrong> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => {
                let mark = error.marker();
                let place = Place { line: mark.line().max(1), column: mark.col() + 1 };
                Err(Wrong { place, reason: error.info() })
            }
        }
    }

    fn more(&mut self) -> Result<(Event<'a>, Span), Wrong> {
        let end = Place { line: self.text.lines().count().max(1), column: 1 };
        self.next()?.ok_or(Wrong { place: end, reason: "the file ends in the middle of a value".into() })
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Wrong> {
        if depth > MAX_DEPTH {
            return Err(wrong(&span, "nested deeper than any setting is"));
        }
        match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, _, Some(_))
            | Event::MappingStart(_, _, Some(_)) => Err(wrong(&span, "tags ('!…') mean nothing here")),
            Event::Scalar(text, ..) => {
                // The parser writes what is not there as '~'.
                let text = if bytes(&span).is_empty() { String::new() } else { text.into_owned() };
                Ok(Node { place: place(&span), span: bytes(&span), what: What::Scalar(text) })
            }
            Event::SequenceStart(style, ..) => {
                let mut items = Vec::new();
                let end = loop {
                    match self.more()? {
                        (Event::SequenceEnd, end) => break end,
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                };
                let last = items.last().map(|item: &Node| item.span.end);
                let mut extent = extent(&span, &end, style, last);
                if let (StructureStyle::Block, Some(first)) = (style, items.first()) {
                    // The parser counts from the first item, not from its dash.
                    extent.start = self.text[..first.span.start].rfind('-').unwrap_or(extent.start).min(extent.start);
                }
                Ok(Node { place: place(&span), span: extent, what: What::List(items) })
            }
            Event::MappingStart(style, ..) => {
                let mut entries: Vec<Entry> = Vec::new();
                let end = loop {
                    let (key, key_span) = match self.more()? {
                        (Event::MappingEnd, end) => break end,
                        (Event::Scalar(key, ..), span) => (key.into_owned(), span),
                        (_, span) => return Err(wrong(&span, "a name is one word")),
                    };
                    if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                        let line = first.place.line;
                        return Err(wrong(&key_span, &format!("'{key}' stands in line {line} already")));
                    }
                    let (event, span) = self.more()?;
                    let mut value = self.node(event, span, depth + 1)?;
                    if value.span.is_empty() {
                        // Nothing after the colon: it stands there, wherever the parser found that out.
                        let after = key_span.end.byte_offset().unwrap_or_default();
                        let colon =
                            self.text.get(after..).and_then(|rest| rest.find(':')).map_or(after, |at| after + at + 1);
                        (value.span, value.place) = (colon..colon, place(&key_span));
                    }
                    entries.push(Entry { key, place: place(&key_span), span: bytes(&key_span), value });
                };
                let last = entries.last().map(|entry| entry.value.span.end);
                let flow = style == StructureStyle::Flow;
                let what = What::Map { entries, flow };
                Ok(Node { place: place(&span), span: extent(&span, &end, style, last), what })
            }
            _ => Err(wrong(&span, "references ('*…') mean nothing here")),
        }
    }
}

/// From the first byte of a collection to the end of its last value, or its closing bracket.
fn extent(start: &Span, end: &Span, style: StructureStyle, last: Option<usize>) -> Range<usize> {
    let from = bytes(start).start;
    let to = match style {
        StructureStyle::Flow => bytes(end).end,
        StructureStyle::Block => last.unwrap_or(from),
    };
    from..to.max(from)
}

fn bytes(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or_default()
}

fn place(span: &Span) -> Place {
    Place { line: span.start.line().max(1), column: span.start.col() + 1 }
}

fn wrong(span: &Span, reason: &str) -> Wrong {
    Wrong { place: place(span), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_place() {
        let text = "# hello\nrole: worker\nswarm:\n  listen:\n  - /ip4/1.2.3.4/tcp/1 # one\n  - 'x y'\n  connections: 7\nempty:\n";
        let root = parse(text).unwrap();
        let leaves: Vec<_> = root
            .leaves()
            .into_iter()
            .map(|(path, place, node)| (path.join("."), place.line, &text[node.span.clone()]))
            .collect();
        assert_eq!(leaves[0], ("role".into(), 2, "worker"));
        assert_eq!((leaves[1].0.as_str(), leaves[1].1), ("swarm.listen", 4));
        assert!(leaves[1].2.starts_with("- /ip4") && leaves[1].2.ends_with("'x y'"), "{:?}", leaves[1].2);
        assert_eq!(leaves[2], ("swarm.connections".into(), 7, "7"));
        assert_eq!(leaves[3], ("empty".into(), 8, ""));
        assert_eq!(parse("").unwrap().leaves(), vec![]);
        assert_eq!(parse("# nothing\n").unwrap().leaves(), vec![]);
        let json = "{\n\t\"swarm\": {\"listen\": [\"a\"], \"connections\": 7}\n}";
        let root = parse(json).unwrap();
        assert_eq!(root.leaves()[1].0, ["swarm", "connections"]);
        assert_eq!(&json[root.span], json);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_line_and_column() {
        for (text, line, column, words) in [
            ("a: 1\nb: [1, 2\nc: 3\n", 3, 2, ""),
            ("a: 1\n  b: 2\n", 2, 4, ""),
            ("a: 1\nb: 2\na: 3\n", 3, 1, "line 1 already"),
            ("a: &x 1\nb: *x\n", 2, 4, "references"),
            ("a: !!int 1\n", 1, 10, "tags"),
            ("a: 1\n---\nb: 2\n", 3, 1, "second document"),
            ("- a\n", 1, 1, "name: value"),
            ("just words\n", 1, 1, "name: value"),
            ("a: \"open\n", 1, 4, "unclosed quote"),
            ("%YAML 1.2\n---\na: 1\n", 1, 1, ""),
            ("? [a]\n: b\n", 1, 3, "one word"),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.reason.contains(words), "{text:?}: {found:?}");
            assert!(!found.reason.is_empty(), "{text:?}");
            assert_eq!((found.place.line, found.place.column), (line, column), "{text:?}: {found:?}");
        }
        let deep = format!("a: {}1{}", "[".repeat(40), "]".repeat(40));
        assert!(parse(&deep).unwrap_err().reason.contains("deeper"));
    }

    proptest::proptest! {
        /// Whatever stands in the file, reading it ends, and spans lie within it.
        #[test]
        fn no_text_is_too_strange(text in "[-a-c:\\[\\]{}, \n\t'\"#&*!?|>%]{0,60}") {
            if let Ok(root) = parse(&text) {
                for (_, _, node) in root.leaves() {
                    proptest::prop_assert!(text.get(node.span.clone()).is_some(), "{:?} in {:?}", node.span, text);
                }
            }
        }
    }
}

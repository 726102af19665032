//! Rules that leave files and folders out, in the notation of gitignore files, as Kubo applies them: to the name of each file
//! and folder, not to its path. The CIDs depend on it, so what Kubo leaves in stays in.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// Most bytes of memory one rule may take; a longer one than any name needs counts as one that matches nothing.
const MAX_RULE_BYTES: usize = 1 << 20;

/// Rules in the order given; the last one that matches decides. Cheap to clone. The default leaves nothing out.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Arc<Vec<Rule>>,
}

#[derive(Debug)]
struct Rule {
    pattern: Regex,
    /// Whether it takes names back that earlier rules leave out.
    keeps: bool,
}

impl Rules {
    /// Reads rules, one a line. With them come the lines that can match no name: those that contain a slash other than in
    /// front, before `**` or behind it, and those that are no pattern. Kubo ignores these silently.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> (Self, Vec<String>) {
        let (mut rules, mut dead) = (Vec::new(), Vec::new());
        for line in lines {
            let text = line.trim_end_matches('\r');
            if text.starts_with('#') || text.trim_matches(' ').is_empty() {
                continue;
            }
            let text = text.trim_matches(' ');
            let (keeps, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
            match pattern(text) {
                Some(pattern) => rules.push(Rule { pattern, keeps }),
                None => dead.push(line.to_owned()),
            }
        }
        (Rules { rules: Arc::new(rules) }, dead)
    }

    /// Whether something of this name is left out.
    pub fn leaves_out(&self, name: &[u8]) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        let name = String::from_utf8_lossy(name);
        let last = self.rules.iter().rev().find(|rule| rule.pattern.is_match(&name));
        last.is_some_and(|rule| !rule.keeps)
    }
}

/// A rule as a pattern of whole names; `None` when no name can match.
fn pattern(text: &str) -> Option<Regex> {
    // A name has no slash: what may stand in front or behind by `**` is nothing.
    let text = text.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(text);
    let text = text.strip_prefix("**/").unwrap_or(text);
    let text = text.strip_suffix("/**").unwrap_or(text);
    if text.contains('/') {
        return None;
    }
    let mut out = String::from(r"\A(?:");
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                // An escaped letter stands for itself; a lone backslash at the end is no pattern.
                out.push_str(&regex::escape(&letters.next()?.to_string()));
            }
            '*' => out.push_str("(?s:.*)"),
            '.' | '?' => out.push_str(&regex::escape(&letter.to_string())),
            // The rest is passed on, as Kubo does: brackets are classes of letters.
            other => out.push(other),
        }
    }
    out.push_str(r")\z");
    RegexBuilder::new(&out).size_limit(MAX_RULE_BYTES).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out<'a>(lines: &[&str], names: &[&'a str]) -> Vec<&'a str> {
        let (rules, _) = Rules::parse(lines.iter().copied());
        names.iter().copied().filter(|name| rules.leaves_out(name.as_bytes())).collect()
    }

    #[test]
    fn rules_match_whole_names() {
        let names = ["a.log", "b.log", "log", "blog", "target", "a?c", "abc", "x", ".git", "a.log.gz"];
        assert_eq!(left_out(&["*.log"], &names), ["a.log", "b.log"]);
        assert_eq!(left_out(&["*.log", "!b.log"], &names), ["a.log"]);
        assert_eq!(left_out(&["!b.log", "*.log"], &names), ["a.log", "b.log"]);
        assert_eq!(left_out(&["# *", "", "  ", "log\r"], &names), ["log"]);
        assert_eq!(left_out(&["/target", "**/x", ".git/**"], &names), ["target", "x", ".git"]);
        assert_eq!(left_out(&["[ab]*"], &names), ["a.log", "b.log", "blog", "a?c", "abc", "a.log.gz"]);
        assert_eq!(left_out(&["a?c"], &names), ["a?c"]);
        assert_eq!(left_out(&["*", "!*.gz"], &names).len(), names.len() - 1);
        assert!(left_out(&[], &names).is_empty());
    }

    #[test]
    fn rules_that_can_match_nothing_are_named() {
        let bomb = "(a{900}){900}";
        let (rules, dead) = Rules::parse(["target/", "a/b", "[", "x", "a\\", bomb]);
        assert_eq!(dead, ["target/", "a/b", "[", "a\\", bomb]);
        assert!(rules.leaves_out(b"x") && !rules.leaves_out(b"target"));
        assert!(Rules::parse(["n\u{fffd}"]).0.leaves_out(b"n\xff"));
    }
}

//! `ipfs add|get|pin`: the spelling of those who write commas between several things.

use std::{ffi::OsString, path::Path};

use clap::Args;

use crate::dag::DagPath;

/// The same verbs, with commas between several things: 'ipfs add A,B' is 'add A B'.
#[derive(Args, Debug)]
#[command(
    after_help = "Several are worked on at a time with --parallel and without it. --pin-action add|rm|ls says what 'ipfs pin' does.

Examples:
  ipfs-kit ipfs add notes.txt,report.txt --parallel
  ipfs-kit ipfs get CID,CID2 --parallel --output-dir downloads
  ipfs-kit ipfs pin CID,CID2 --parallel --pin-action add"
)]
pub struct IpfsArgs {
    /// The verb and what it is to work on
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "VERB")]
    pub rest: Vec<OsString>,
}

/// The command line `all`, which ends in `rest` behind the word `ipfs`, as the verb itself understands it.
pub fn respelled(mut all: Vec<OsString>, rest: &[OsString]) -> Vec<OsString> {
    all.truncate(all.len().saturating_sub(rest.len() + 1));
    let mut rest = rest.iter();
    let verb = rest.next().cloned().unwrap_or_default();
    let (mut action, mut words) = (None, Vec::new());
    while let Some(word) = rest.next() {
        match word.to_str() {
            Some("--parallel") => {}
            Some("--pin-action") if verb == "pin" => action = rest.next().cloned(),
            Some(text) if verb == "pin" && text.starts_with("--pin-action=") => {
                action = text.split_once('=').map(|(_, action)| action.into());
            }
            Some(text) if text.contains(',') => words.extend(parts(text, verb == "add")),
            _ => words.push(word.clone()),
        }
    }
    all.push(verb);
    all.extend(action);
    all.extend(words);
    all
}

/// What commas part, where every part is something by itself: a file that is there, or a path of content.
fn parts(text: &str, files: bool) -> Vec<OsString> {
    let is = |part: &str| if files { Path::new(part).exists() } else { DagPath::parse(part).is_ok() };
    let whole = files && is(text);
    match !whole && text.split(',').all(is) {
        true => text.split(',').map(OsString::from).collect(),
        false => vec![text.into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o";

    fn read(line: &str) -> String {
        let all: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let at = all.iter().position(|word| word == "ipfs").unwrap() + 1;
        let words = respelled(all.clone(), &all[at..]);
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn commas_part_what_is_something_by_itself() {
        let two = format!("{CID},{CID}/a");
        assert_eq!(read(&format!("x ipfs get {two} --parallel -o d")), format!("x get {CID} {CID}/a -o d"));
        assert_eq!(
            read(&format!("x --repo r ipfs pin {two} --pin-action rm")),
            format!("x --repo r pin rm {CID} {CID}/a")
        );
        assert_eq!(read(&format!("x ipfs pin --pin-action=add {two}")), format!("x pin add {CID} {CID}/a"));
        // A name may have a comma in it.
        assert_eq!(read(&format!("x ipfs get {CID}/a,b")), format!("x get {CID}/a,b"));
        assert_eq!(read("x ipfs add src,tests,docs"), "x add src tests docs");
        assert_eq!(read("x ipfs add src,missing"), "x add src,missing");
        assert_eq!(read("x ipfs cat --parallel"), "x cat");
    }
}

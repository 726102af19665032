//! Progress: on a terminal, in a pipe, as events.

mod common;

use std::{
    fs,
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use common::binary;
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::{Value, json};

const SIZE: usize = 48 << 20;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        assert!(place.piped(&["init"]).status.success());
        fs::write(place.path("large"), vec![7; SIZE]).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = binary();
        command.current_dir(&self.folder).args(["--repo", "repo"]).args(args).env("TERM", "xterm");
        command
    }

    fn piped(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a verb whose standard error is a terminal; gives what was seen there.
    fn seen(&self, args: &[&str]) -> String {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 110, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave: OwnedFd = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let reader = std::thread::spawn(move || {
            let (mut master, mut seen, mut piece) = (fs::File::from(master), Vec::new(), [0; 4096]);
            // The end of a terminal that nobody has open any more is an error (EIO).
            while let Ok(count @ 1..) = master.read(&mut piece) {
                seen.extend_from_slice(&piece[..count]);
            }
            String::from_utf8_lossy(&seen).into_owned()
        });
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(slave).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        std::io::copy(&mut out, &mut std::io::sink()).unwrap();
        assert!(child.wait().unwrap().success(), "{args:?}");
        reader.join().unwrap()
    }

    /// The events of a verb, which are all that it says on standard error.
    fn events(&self, args: &[&str]) -> Vec<Value> {
        let out = self.piped(args);
        let text = String::from_utf8(out.stderr).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{args:?}: {e}: {line}")))
            .collect()
    }
}

fn cid(place: &Place) -> String {
    let out = place.piped(&["add", "--quiet", "large"]);
    String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn a_terminal_shows_bytes_rate_and_the_time_left_and_a_pipe_nothing() {
    let place = Place::new();
    let seen = place.seen(&["add", "large"]);
    for word in ["added", "of 48.00 MiB", "MiB/s", " left"] {
        assert!(seen.contains(word), "{word}: {seen:?}");
    }
    let cid = cid(&place);
    let archive = place.piped(&["dag", "export", &cid]).stdout;
    fs::write(place.path("large.car"), archive).unwrap();
    let verbs = [
        (vec!["cat", &cid], "written"),
        (vec!["get", &cid, "-o", "got"], "written"),
        (vec!["dag", "export", &cid], "exported"),
        (vec!["dag", "import", "large.car"], "read"),
    ];
    for (args, word) in &verbs {
        let seen = place.seen(args);
        assert!(seen.contains(word) && seen.contains("iB"), "{args:?}: {seen:?}");
        let silent = place.piped(args);
        assert!(silent.status.success() && silent.stderr.is_empty(), "{args:?}: {silent:?}");
        let quiet = place.seen(&[args.as_slice(), &["--quiet"]].concat());
        assert!(quiet.is_empty(), "{args:?}: {quiet:?}");
        let none = place.seen(&[args.as_slice(), &["--progress=false"]].concat());
        assert!(none.is_empty(), "{args:?}: {none:?}");
    }
    assert_eq!(fs::metadata(place.path("got")).unwrap().len(), SIZE as u64);
    // Asked for, it is shown in a pipe, too, and stays: lines.
    let lines = String::from_utf8(place.piped(&["cat", &cid, "--progress"]).stderr).unwrap();
    assert!(lines.lines().last().unwrap().starts_with("written 48.0 MiB of 48.0 MiB, "), "{lines}");
}

#[test]
fn events_count_what_is_done_and_what_failed() {
    let place = Place::new();
    fs::write(place.path("small"), "small").unwrap();
    let events = place.events(&["add", "large", "--progress=json"]);
    let last = events.last().unwrap();
    let expected = json!({
        "what": "added", "total": 1, "completed": 1, "failed": 0, "success_rate": 1.0, "bytes": SIZE, "total_bytes": SIZE,
        "blocks": null, "eta": 0.0, "elapsed": last["elapsed"],
    });
    assert_eq!(last, &expected);
    assert!(last["elapsed"].as_f64().unwrap() > 0.0);
    let bytes: Vec<u64> = events.iter().map(|event| event["bytes"].as_u64().unwrap()).collect();
    assert!(bytes.is_sorted(), "{bytes:?}");

    let cid = cid(&place);
    let absent = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
    let out = place.piped(&["get", &cid, absent, "--output-dir", "got", "--progress=json"]);
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8(out.stderr).unwrap();
    let last = text.lines().rfind(|line| line.starts_with('{')).unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    let counted = (&last["total"], &last["completed"], &last["failed"], &last["success_rate"]);
    assert_eq!(counted, (&json!(2), &json!(2), &json!(1), &json!(0.5)));

    let last = place.events(&["pin", "add", &cid, "--progress=json"]).pop().unwrap();
    assert_eq!((&last["what"], &last["completed"], &last["failed"]), (&json!("fetched"), &json!(1), &json!(0)));
    let last = place.events(&["cat", &cid, "--progress=json"]).pop().unwrap();
    assert_eq!((&last["bytes"], &last["completed"]), (&json!(SIZE), &json!(1)));
    assert!(Path::new(&place.path("got")).join(&cid).exists());
}

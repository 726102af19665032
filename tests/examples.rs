//! The numbered examples run, and print what they say. `cargo test` builds them beside the tests.

use std::path::Path;

/// Runs an example and gives what it printed; `None`, and loudly, when it was not built.
fn run(name: &str) -> Option<String> {
    let example = Path::new(env!("CARGO_BIN_EXE_ipfs-kit")).parent().unwrap().join("examples").join(name);
    if !example.exists() {
        eprintln!("LOUD: {} is not built, so it is not run; 'cargo test' builds it", example.display());
        return None;
    }
    let out = std::process::Command::new(example).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}\n{}", String::from_utf8_lossy(&out.stderr));
    Some(said)
}

/// What each of `words` says stands in the output, in this order.
fn says(name: &str, words: &[&str]) {
    let Some(said) = run(name) else { return };
    let mut rest = said.as_str();
    for words in words {
        let Some((_, after)) = rest.split_once(words) else {
            panic!("'{words}' is missing, in this place, in:\n{said}")
        };
        rest = after;
    }
}

#[test]
fn adding_and_reading() {
    let version = format!("its version is {}\n", env!("CARGO_PKG_VERSION"));
    says(
        "01_add_and_cat",
        &[
            "this node is 12D3Koo",
            "it listens on /ip4/127.0.0.1/tcp/",
            "added Qm",
            "(28 bytes in 1 block)",
            "read back: hello from inside a program\n",
            &version,
        ],
    );
}

#[test]
fn pins() {
    let Some(said) = run("02_pins") else { return };
    assert!(said.starts_with("the draft is pinned: false\n"), "{said}");
    for line in ["recursive pin Qm", "named notes\n", "direct pin Qm", "named nothing\n"] {
        assert!(said.contains(line), "'{line}' in:\n{said}");
    }
    let end = said.split_once("after the update the old one is pinned: false\nunpinning again: Qm");
    assert!(end.is_some_and(|(_, end)| end.contains("is not pinned") && end.ends_with("1 pin is left\n")), "{said}");
}

#[test]
fn folders() {
    says(
        "03_folders",
        &[
            "added photos of 15 bytes as Qm",
            "  directory 2024 of 0 bytes\n  file index.txt of 10 bytes\n",
            "many has files of 6890 bytes in all\n",
            "wrote 1 file: sand\n",
        ],
    );
}

#[test]
fn archives() {
    says("04_archives", &["exported Qm", "imported 3 blocks\n", "pinned Qm", ", of 1000000 bytes\n"]);
}

#[test]
fn values() {
    says(
        "05_values",
        &[
            "the author is bafyrei",
            "the note is bafyrei",
            "its first author is \"Ada\"\n",
            "the path ends in bafyrei",
            ", at name\n",
            "2 blocks of ",
        ],
    );
}

#[test]
fn the_files_tree() {
    says(
        "06_files_tree",
        &[
            "the root is Qm",
            "the root is Qm",
            "  file linked.txt\n  directory old\n",
            "read from byte 6 on: line\n",
            "what could not be removed: ",
            "/docs is Qm",
        ],
    );
}

#[test]
fn the_client() {
    says(
        "07_client",
        &[
            "it calls itself ipfs-kit/",
            "added tree of 11 bytes as Qm",
            "  a.txt of 6 bytes\n  b.txt of 5 bytes\n",
            "the first four bytes of b.txt: beta\n",
            "pinned as letters: true\n",
            "refused: no entry named 'none' in Qm",
        ],
    );
}

#[test]
fn reading() {
    says(
        "08_reading",
        &[
            "the file has 1088895 bytes in 6 blocks\n",
            "read 1088895 bytes as a stream\n",
            "the first seven: \"line 1\\n\"\n",
            "the end: \"line 100000\\n\"\n",
            "from the middle on: Some(\"line 64000\")\n",
            "it is here: true; another is: false\n",
        ],
    );
}

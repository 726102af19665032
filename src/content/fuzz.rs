//! Entry points of fuzz targets: tar streams, rules that leave files out, paths of the files tree.

use bytes::BytesMut;

use super::{
    ContentError, Rules, TreeEvent,
    mfs::FilesPath,
    tar::{TarReader, TarWriter},
};

/// A stream reads alike in whatever pieces it comes; what was read is read again when it is written.
pub fn tar(data: &[u8]) {
    let whole = read(data, data.len().max(1));
    for piece in [1, 100] {
        assert_eq!(read(data, piece).ok(), whole.as_ref().ok().cloned(), "in pieces of {piece}");
    }
    let Ok(events) = whole else { return };
    let plain = |parts: &[Vec<u8>]| parts.iter().all(|part| !part.is_empty() && !part.contains(&0));
    let representable = events.iter().all(|event| match event {
        TreeEvent::Attributes(_) | TreeEvent::Data(_) => true,
        TreeEvent::Dir { path } | TreeEvent::File { path, .. } => plain(path),
        TreeEvent::Symlink { path, target } => plain(path) && !target.contains(&0),
    });
    if !representable {
        return;
    }
    let mut writer = TarWriter::new(b"root");
    let mut again = BytesMut::new();
    for event in &events {
        if let Some(data) = writer.write(event.clone(), &mut again) {
            again.extend_from_slice(&data);
        }
    }
    writer.finish(&mut again);
    assert_eq!(read(&again, again.len()).expect("what was written is read"), events);
}

fn read(bytes: &[u8], piece: usize) -> Result<Vec<TreeEvent>, ContentError> {
    let mut reader = TarReader::new();
    let mut out: Vec<TreeEvent> = Vec::new();
    for part in bytes.chunks(piece) {
        reader.push(part);
        while let Some(event) = reader.next_event()? {
            match (out.last_mut(), event) {
                (Some(TreeEvent::Data(all)), TreeEvent::Data(more)) => *all = [&all[..], &more].concat().into(),
                (_, event) => out.push(event),
            }
        }
    }
    reader.check_end().map(|()| out)
}

/// Each line is a rule, matches nothing, or says nothing; rules decide about any name. The first line is the name.
pub fn rules(data: &[u8]) {
    let (name, lines) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &b""[..]),
    };
    let text = String::from_utf8_lossy(lines);
    let (rules, dead) = Rules::parse(text.lines());
    assert!(dead.len() <= text.lines().count());
    // A rule that takes everything back leaves nothing out.
    let left_out = rules.leaves_out(name);
    let (kept, _) = Rules::parse(text.lines().chain(["!*"]));
    assert!(!kept.leaves_out(name));
    let (none, _) = Rules::parse(text.lines().chain(["*"]));
    assert!(none.leaves_out(name) || !left_out);
}

/// A path leads only downwards, and is read again when it is written.
pub fn files_path(data: &[u8]) {
    let Ok(path) = FilesPath::parse(&String::from_utf8_lossy(data)) else { return };
    assert!(path.names().iter().all(|name| !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\0'])));
    let again = FilesPath::parse(&path.to_string()).expect("what was written is read");
    assert_eq!(again.names(), path.names());
}

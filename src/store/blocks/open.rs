//! Opening the block store: checkpoints first, then what they do not cover, then a file to go on with.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use super::{
    Damage,
    checkpoint::{self, Checkpoint},
    core::{Active, Core, checkpoint_path, segment_path},
    index::{Index, SegmentInfo},
    places::Place,
    record::{self, HEAD_BYTES, Kind},
    scan::{self, Found},
};
use crate::{
    base::random,
    store::{
        StoreError,
        files::{Lock, make_dir, sync_dir},
    },
};

/// Largest segment size that can be asked for, in bytes; offsets are 32 bits wide.
const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// Reads the folder `dir` and makes it ready for writing.
pub(super) fn open(
    dir: &Path,
    segment_bytes: u32,
    cache_bytes: u64,
    lock: Option<Arc<Lock>>,
) -> Result<(Core, Checkpoint), StoreError> {
    let io = StoreError::io("opening the block store");
    make_dir(dir).map_err(&io)?;
    let mut index = Index::default();
    let mut damage = Vec::new();
    let mut newest = None;
    let segments = list(dir).map_err(&io)?;
    for &segment in &segments {
        let last = segments.last() == Some(&segment);
        if let Some(opened) = read(dir, segment, last, &mut index, &mut damage).map_err(&io)? {
            newest = Some(opened);
        }
    }
    for damage in &damage {
        tracing::warn!(
            segment = damage.segment,
            offset = damage.offset,
            cid = damage.cid.map(|c| c.to_string()),
            reason = damage.reason,
            "a stored block is damaged and counts as missing"
        );
    }
    let (active, checkpoint) = match newest {
        Some(opened) => opened,
        None => {
            let segment = segments.last().map_or(1, |last| last + 1);
            let (salt, active) = create(dir, segment).map_err(&io)?;
            index.segments.insert(segment, SegmentInfo { salt, len: HEAD_BYTES as u64, ..SegmentInfo::default() });
            let checkpoint =
                Checkpoint::open(&checkpoint_path(dir, segment), salt, &checkpoint::load(Path::new(""), None));
            (active, checkpoint.map_err(&io)?)
        }
    };
    let segment_bytes = u64::from(segment_bytes).min(MAX_SEGMENT_BYTES);
    Ok((Core::new(dir, segment_bytes, cache_bytes, index, active, damage, lock), checkpoint))
}

/// Makes a segment file, durable under its name.
pub(super) fn create(dir: &Path, segment: u32) -> io::Result<(u64, Active)> {
    let salt = random::u64();
    let path = segment_path(dir, segment);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&record::encode_head(salt))?;
    file.sync_all()?;
    sync_dir(dir)?;
    Ok((salt, Active { segment, end: HEAD_BYTES as u64, file: Arc::new(file) }))
}

/// The segments' numbers, ascending. Checkpoints without a segment are removed: a number may be used again.
fn list(dir: &Path) -> io::Result<Vec<u32>> {
    let (mut segments, mut checkpoints) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(number) = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u32>().ok()) else {
            continue;
        };
        match path.extension().and_then(|e| e.to_str()) {
            Some("seg") => segments.push(number),
            Some("idx") => checkpoints.push((number, path)),
            _ => {}
        }
    }
    for (_, path) in checkpoints.into_iter().filter(|(number, _)| !segments.contains(number)) {
        fs::remove_file(path)?;
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Takes one segment into the index. Of the last one, what a crash cut off is removed, and it can be gone on with
/// unless it is unusable.
fn read(
    dir: &Path,
    segment: u32,
    last: bool,
    index: &mut Index,
    damage: &mut Vec<Damage>,
) -> io::Result<Option<(Active, Checkpoint)>> {
    let path = segment_path(dir, segment);
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let len = file.metadata()?.len();
    let mut head = [0; HEAD_BYTES];
    scan::read_at(&file, &mut head, 0)?;
    let own_salt = record::decode_head(&head);
    let checkpoint_path = checkpoint_path(dir, segment);
    let mut loaded = checkpoint::load(&checkpoint_path, own_salt);
    let Some(salt) = own_salt.or(loaded.salt) else {
        if len <= HEAD_BYTES as u64 {
            // Its maker was stopped before anything was in it.
            fs::remove_file(&path)?;
            let _ = fs::remove_file(&checkpoint_path);
        } else {
            damage.push(Damage::new(segment, 0, None, "the segment's head is not what was written"));
        }
        return Ok(None);
    };
    if own_salt.is_none() {
        damage.push(Damage::new(segment, 0, None, "the segment's head is not what was written; its copy is"));
    }
    if fs::metadata(&checkpoint_path).is_ok_and(|found| found.len() > loaded.end) {
        tracing::warn!(
            file = %checkpoint_path.display(),
            offset = loaded.end,
            "a checkpoint is not what was written; it is built anew from its segment"
        );
    }
    index.segments.insert(segment, SegmentInfo { salt, len, ..SegmentInfo::default() });
    let mut missing = Vec::new();
    for found in &loaded.found {
        apply(index, segment, found, len, &mut missing);
    }
    for offset in missing {
        damage.push(Damage::new(segment, u64::from(offset), None, "the segment file is too short"));
    }
    let covered = loaded.covered.min(len);
    let walk = scan::walk(&file, segment, salt, covered)?;
    for found in &walk.found {
        apply(index, segment, found, len, &mut Vec::new());
    }
    damage.extend(walk.damage);
    let scanned = walk.end > loaded.covered;
    if scanned || walk.end < len {
        if walk.end < len && last {
            tracing::warn!(segment, offset = walk.end, "the block store ends in a torn write; it is cut off");
            file.set_len(walk.end)?;
        } else if walk.end < len {
            damage.push(Damage::new(segment, walk.end, None, "the segment ends in bytes that are no records"));
        }
        // What was found may not have reached the disk yet, and is relied on from here.
        file.sync_all()?;
    }
    let end = if last { walk.end } else { len };
    if let Some(info) = index.segments.get_mut(&segment) {
        info.len = end;
    }
    if loaded.covered > walk.end {
        // It covers what is not there; a new one is begun.
        loaded = checkpoint::Loaded { covered: HEAD_BYTES as u64, ..checkpoint::Loaded::default() };
        tracing::warn!(segment, "the checkpoint covers more than its segment has");
    }
    let mut checkpoint = Checkpoint::open(&checkpoint_path, salt, &loaded)?;
    walk.found.iter().for_each(|found| checkpoint.push(found));
    checkpoint.write(u32::try_from(walk.end).unwrap_or(u32::MAX))?;
    // A segment with damage is not written to again, so that what it has stays as it is.
    Ok((last && own_salt.is_some()).then(|| (Active { segment, end, file: Arc::new(file) }, checkpoint)))
}

fn apply(index: &mut Index, segment: u32, found: &Found, len: u64, missing: &mut Vec<u32>) {
    let key = index.key(&found.hash);
    let place = Place { segment, offset: found.offset, meta_len: found.meta_len, data_len: found.data_len };
    match found.kind {
        Kind::Delete => {
            index.remove(&key);
            index.buried(segment, place.total());
        }
        Kind::Put if u64::from(found.offset) + place.total() > len => missing.push(found.offset),
        Kind::Put => index.load(key, place),
    }
}

/// Makes a file's bytes durable.
pub(super) fn sync_file(file: &File) -> io::Result<()> {
    file.sync_data()
}

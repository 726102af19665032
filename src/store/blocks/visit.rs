//! Going through every block: listing and verifying.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
};

use bytes::Bytes;

use super::{
    Cursor, Damage, VerifyReport, checkpoint,
    core::{Core, checkpoint_path, segment_path},
    index::SegmentInfo,
    places::{Key, Place},
    record::{self, HEAD_BYTES, Kind, RECORD_BYTES, RecordHead},
    scan::{self, Window, read_at},
};
use crate::base::{Block, Cid, Codec, cid::Multihash};

/// How much of a segment is read at once when only heads are wanted, in bytes.
const HEADS_BYTES: usize = 8 << 10;
/// Records looked at for each block a page may hold.
const LOOK_FACTOR: usize = 8;

/// One page of a listing; blocks.
pub(super) fn list(core: &Core, from: Cursor, limit: usize) -> io::Result<(Vec<Cid>, Option<Cursor>)> {
    let mut out = Vec::new();
    let mut looks = limit.max(1).saturating_mul(LOOK_FACTOR);
    // Asked for one by one: a block of a segment that is compacted meanwhile is found where it went.
    let next = |from: u32| core.index().segments.range(from..).next().map(|(n, info)| (*n, *info));
    let mut at_segment = from.segment;
    while let Some((segment, info)) = next(at_segment) {
        at_segment = segment + 1;
        let Some(file) = core.file(segment)? else { continue };
        let mut window = Window::new(&file, HEADS_BYTES);
        let mut at = if segment == from.segment { from.offset.max(HEAD_BYTES as u32) } else { HEAD_BYTES as u32 };
        while u64::from(at) < info.len {
            if out.len() >= limit.max(1) || looks == 0 {
                return Ok((out, Some(Cursor { segment, offset: at })));
            }
            looks -= 1;
            let head = RecordHead::decode(window.get(u64::from(at), RECORD_BYTES)?);
            let head = match head {
                Some(head) => {
                    let bytes = window.get(u64::from(at), RECORD_BYTES + head.meta_len as usize)?;
                    head.head_fine(bytes, info.salt).then_some((head, &bytes[RECORD_BYTES..]))
                }
                None => None,
            };
            let Some((head, meta)) = head else {
                // Damage; the index knows where the next block begins.
                match core.index().after(segment, at) {
                    Some(next) => at = next,
                    None => break,
                }
                continue;
            };
            if let Some(cid) = record::meta_cid(meta).filter(|_| head.kind == Kind::Put) {
                let index = core.index();
                let place = index.get(&index.key(&cid.hash().to_bytes()));
                if place.is_some_and(|p| (p.segment, p.offset) == (segment, at)) {
                    out.push(cid);
                }
            }
            at += head.total() as u32;
        }
    }
    Ok((out, None))
}

/// Blocks that a thread takes at a time.
const CHUNK: usize = 256;
/// How much of a segment is read at once when blocks are hashed, in bytes.
const HASHED_BYTES: usize = 1 << 20;

/// Reads and hashes every block, on all cores; blocks. `counted` goes along.
pub(super) fn verify(core: &Core, counted: &AtomicU64) -> io::Result<VerifyReport> {
    let mut report = VerifyReport { damaged: core.damage_left(), ..VerifyReport::default() };
    let all = core.index().sorted();
    let (chunks, next) = (all.chunks(CHUNK).collect::<Vec<_>>(), AtomicUsize::new(0));
    let work = || -> io::Result<VerifyReport> {
        let mut own = VerifyReport::default();
        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            for part in chunk.chunk_by(|(_, a), (_, b)| a.segment == b.segment) {
                verify_part(core, part, &mut own)?;
            }
            counted.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        Ok(own)
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(chunks.len().max(1));
    let parts: Vec<io::Result<VerifyReport>> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = started.into_iter().map(|thread| thread.join());
        joined.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    for part in parts {
        let part = part?;
        report.blocks += part.blocks;
        report.bytes += part.bytes;
        report.damaged.extend(part.damaged);
    }
    for damage in &mut report.damaged {
        if damage.cid.is_none() {
            damage.cid = named_by_checkpoint(core, damage);
        }
    }
    report.damaged.sort_by_key(|damage| (damage.segment, damage.offset));
    Ok(report)
}

/// Hashes blocks of one segment, which come in the order of the file.
fn verify_part(core: &Core, part: &[(Key, Place)], report: &mut VerifyReport) -> io::Result<()> {
    let segment = part.first().map_or(0, |(_, place)| place.segment);
    let info = core.index().segments.get(&segment).copied();
    let file = core.file(segment)?;
    let mut window = file.as_ref().map(|file| Window::new(file, HASHED_BYTES));
    for (key, place) in part {
        let fine = |bytes: &[u8], info: SegmentInfo| {
            let found = record::check(&Bytes::copy_from_slice(bytes), info.salt, true).ok();
            found.is_some_and(|found| Block::verify(found.cid, found.data).is_ok())
        };
        // What is not fine in what was read at once is read by itself: a bad sector harms nothing beside it.
        let bytes = window.as_mut().and_then(|window| window.get(u64::from(place.offset), place.total() as usize).ok());
        if bytes.zip(info).is_some_and(|(bytes, info)| fine(bytes, info)) {
            report.blocks += 1;
            report.bytes += u64::from(place.data_len);
        } else {
            verify_one(core, *key, *place, report)?;
        }
    }
    Ok(())
}

fn verify_one(core: &Core, key: Key, mut place: Place, report: &mut VerifyReport) -> io::Result<()> {
    // One that is compacted meanwhile is read where it went; one that was removed is not damaged.
    loop {
        let (cid, reason) = match check(core, place)? {
            Ok(()) => {
                report.blocks += 1;
                report.bytes += u64::from(place.data_len);
                return Ok(());
            }
            Err(found) => found,
        };
        let now = core.index().get(&key);
        match now {
            Some(now) if now == place => {
                core.drop_damaged(&key, place, &reason);
                report.damaged.push(Damage::new(place.segment, u64::from(place.offset), cid, &reason));
                return Ok(());
            }
            Some(now) => place = now,
            None => return Ok(()),
        }
    }
}

/// Which block lay there, as the checkpoint has it: as a raw one, for it knows hashes only.
fn named_by_checkpoint(core: &Core, damage: &Damage) -> Option<Cid> {
    let loaded = checkpoint::load(&checkpoint_path(&core.dir, damage.segment), None);
    let found =
        loaded.found.iter().find(|found| u64::from(found.offset) == damage.offset && found.kind == Kind::Put)?;
    let hash = Multihash::from_bytes(&found.hash).ok()?;
    Some(Cid::new_v1(Codec::Raw.code(), hash))
}

/// Checks heads of segments, and that checkpoints cover theirs; those that do not are written anew. The segment being
/// written is another's; blocks.
pub(super) fn check_checkpoints(core: &Core) -> io::Result<Vec<(PathBuf, u64, &'static str, bool)>> {
    let mut out = Vec::new();
    let (active, segments) = (core.active().segment, core.index().segments.clone());
    for (segment, info) in segments {
        let Some(file) = core.file(segment)? else { continue };
        let mut head = [0; HEAD_BYTES];
        read_at(&file, &mut head, 0)?;
        if record::decode_head(&head) != Some(info.salt) {
            let path = segment_path(&core.dir, segment);
            let mended = OpenOptions::new().write(true).open(&path).and_then(|file| {
                file.write_all_at(&record::encode_head(info.salt), 0)?;
                file.sync_data()
            });
            out.push((path, 0, "the segment's head is not what was written", mended.is_ok()));
        }
        let path = checkpoint_path(&core.dir, segment);
        let loaded = checkpoint::load(&path, Some(info.salt));
        let whole = std::fs::metadata(&path).is_ok_and(|found| found.len() == loaded.end);
        if segment == active || (whole && loaded.covered >= info.len) {
            continue;
        }
        let walk = scan::walk(&file, segment, info.salt, HEAD_BYTES as u64)?;
        let mended = checkpoint::rewrite(&path, info.salt, &walk.found, walk.end).is_ok();
        // One whose end was not written before a crash is no fault.
        if !whole || loaded.end == 0 {
            out.push((path, loaded.end, "the checkpoint is not what was written", mended));
        }
    }
    Ok(out)
}

/// Reads and hashes the block at `place`; else which it is, where that can be told, and what is wrong.
fn check(core: &Core, place: Place) -> io::Result<Result<(), (Option<Cid>, String)>> {
    let info = core.index().segments.get(&place.segment).copied();
    let file = core.file(place.segment)?;
    let (Some(info), Some(file)) = (info, file) else {
        return Ok(Err((None, "its segment file is missing".into())));
    };
    let mut bytes = vec![0; place.total() as usize];
    // A sector that cannot be read is damage like any other.
    if let Err(e) = read_at(&file, &mut bytes, u64::from(place.offset)) {
        return Ok(Err((None, e.to_string())));
    }
    let bytes = bytes.into();
    Ok(match record::check(&bytes, info.salt, true) {
        Ok(found) => match Block::verify(found.cid, found.data) {
            Ok(_) => Ok(()),
            Err(e) => Err((Some(found.cid), e.to_string())),
        },
        Err(reason) => {
            let cid = record::check(&bytes, info.salt, false).ok().map(|found| found.cid);
            Err((cid, reason.to_owned()))
        }
    })
}

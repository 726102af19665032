//! Going through every block: listing and verifying.

use std::io;

use super::{
    Cursor, Damage, VerifyReport,
    core::Core,
    index::Place,
    record::{self, HEAD_BYTES, Kind, RECORD_BYTES, RecordHead},
    scan::{Window, read_at},
};
use crate::base::{Block, Cid};

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

/// Reads and hashes every block; blocks.
pub(super) fn verify(core: &Core) -> io::Result<VerifyReport> {
    let mut report = VerifyReport { damaged: core.damage_left(), ..VerifyReport::default() };
    let all = core.index().sorted();
    for (key, mut place) in all {
        // One that is compacted meanwhile is read where it went; one that was removed is not damaged.
        loop {
            let (cid, reason) = match check(core, place)? {
                Ok(()) => {
                    report.blocks += 1;
                    report.bytes += u64::from(place.data_len);
                    break;
                }
                Err(found) => found,
            };
            let now = core.index().get(&key);
            match now {
                Some(now) if now == place => {
                    core.drop_damaged(&key, place, &reason);
                    report.damaged.push(Damage::new(place.segment, u64::from(place.offset), cid, &reason));
                    break;
                }
                Some(now) => place = now,
                None => break,
            }
        }
    }
    Ok(report)
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

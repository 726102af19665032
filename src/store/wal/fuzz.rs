//! Entry points of fuzz targets: the log's segments, as written and then damaged.

use bytes::Bytes;

use super::{
    frame::{self, FRAME_HEAD_BYTES, FrameBuilder, HEAD_BYTES, Head, Kind},
    replay::Replay,
};
use crate::base::fuzz::Input;

/// Two segments of frames that say what the input says, in any order and with any index, then some bytes overwritten: every
/// entry that is said to be there can be read where it is said to be.
pub fn wal(data: &[u8]) {
    let _ = Replay::default().segment(1, data);
    let mut input = Input(data);
    let mut replay = Replay::default();
    let mut files = Vec::new();
    let mut number = u64::from(input.byte());
    let mut index = u64::from(input.byte());
    for segment in 1..=2 {
        let head = Head { segment, salt: 9 };
        let mut bytes = head.encode().to_vec();
        for _ in 0..input.byte() % 8 {
            let mut frame = FrameBuilder::new(Vec::new());
            for _ in 0..input.byte() % 8 {
                let what = input.byte();
                let kinds = [
                    Kind::Entry,
                    Kind::Vote,
                    Kind::Committed,
                    Kind::Truncate,
                    Kind::TruncateAll,
                    Kind::Purge,
                    Kind::Begin,
                ];
                let kind = kinds[usize::from(what & 15) % kinds.len()];
                // The next one, mostly.
                match what >> 4 {
                    0 => index = input.number(),
                    1 => index = index.saturating_sub(u64::from(input.byte())),
                    _ if kind == Kind::Entry => index = index.wrapping_add(1),
                    _ => {}
                }
                frame.push(kind, index, input.counted());
            }
            bytes.extend(frame.finish(number, head.salt));
            number = number.wrapping_add(1);
        }
        for _ in 0..input.byte() % 3 {
            let (at, to) = (usize::from(input.short()), input.byte());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
        }
        let Ok(scanned) = replay.segment(segment, &bytes) else { return };
        assert!((HEAD_BYTES..=bytes.len()).contains(&scanned.end));
        files.push(Bytes::from(bytes));
    }
    let _ = replay.check_start(1);
    for (n, loc) in replay.entries.locs.iter().enumerate() {
        let file = &files[loc.segment as usize - 1];
        let record = file.slice(loc.offset as usize..(loc.offset + loc.len) as usize);
        assert!(loc.offset as usize >= HEAD_BYTES + FRAME_HEAD_BYTES);
        assert!(frame::entry(&record, replay.entries.first + n as u64).is_some(), "entry {n}");
    }
}

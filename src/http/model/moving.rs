//! The JSON of `/api/v1/repo/import`, and the frames of `/api/v1/repo/export`.

use std::path::PathBuf;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{
    base::MAX_BLOCK_BYTES,
    content::moving::{CarryOut, Exported, PinRow},
};

/// Where a repo comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportFrom {
    /// A folder that `repo export` made, on the machine of the node.
    Export(PathBuf),
    /// The folder of a Kubo repo, on the machine of the node.
    KuboFolder(PathBuf),
    /// The API of a running Kubo, as the node reaches it.
    KuboApi(String),
}

/// Asks for the import of a repo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRequest {
    /// Where it comes from.
    pub from: ImportFrom,
    /// The directory of the files tree that theirs becomes; absent, it becomes the tree itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_to: Option<String>,
    /// Leaves their files tree out.
    #[serde(default)]
    pub without_files: bool,
    /// The caller takes the keys itself, so that they are not left behind.
    #[serde(default)]
    pub keys_taken: bool,
}

/// The part of an export's frame that is not the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Pins(Vec<PinRow>),
    Again,
    Done(Exported),
}

/// A frame of the archive, and one of JSON.
const CAR: u8 = b'c';
const JSON: u8 = b'j';
/// Kind and length.
const HEAD_BYTES: usize = 5;
/// Longest body of a frame, in bytes: a page of pins with the longest names, or a block and a piece.
const MAX_FRAME_BYTES: usize = 8 * MAX_BLOCK_BYTES;

/// A piece as a frame: its kind, the length of what follows as a big-endian u32, and that.
pub fn frame(piece: &CarryOut) -> Bytes {
    let told = |told: &Told| Bytes::from(serde_json::to_vec(told).expect("plain data becomes JSON"));
    let (kind, body) = match piece {
        CarryOut::Car(bytes) => (CAR, bytes.clone()),
        CarryOut::Pins(rows) => (JSON, told(&Told::Pins(rows.clone()))),
        CarryOut::Again => (JSON, told(&Told::Again)),
        CarryOut::Done(done) => (JSON, told(&Told::Done(done.clone()))),
    };
    let mut out = BytesMut::with_capacity(HEAD_BYTES + body.len());
    out.put_u8(kind);
    out.put_u32(body.len() as u32);
    out.put_slice(&body);
    out.freeze()
}

/// Takes the next frame from what has arrived; `None` when it is not all there. Errors on what is none.
pub fn unframe(buffer: &mut BytesMut) -> Result<Option<CarryOut>, String> {
    let Some(mut head) = buffer.get(..HEAD_BYTES) else { return Ok(None) };
    let (kind, len) = (head.get_u8(), head.get_u32() as usize);
    if len > MAX_FRAME_BYTES {
        return Err(format!("a frame of {len} bytes is over the limit of {MAX_FRAME_BYTES}"));
    }
    if buffer.len() < HEAD_BYTES + len {
        buffer.reserve(HEAD_BYTES + len - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEAD_BYTES);
    let body = buffer.split_to(len).freeze();
    match kind {
        CAR => Ok(Some(CarryOut::Car(body))),
        JSON => Ok(Some(match serde_json::from_slice(&body).map_err(|e| e.to_string())? {
            Told::Pins(rows) => CarryOut::Pins(rows),
            Told::Again => CarryOut::Again,
            Told::Done(done) => CarryOut::Done(done),
        })),
        other => Err(format!("a frame of kind {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::PinKind;

    #[test]
    fn frames_come_back_from_any_pieces() {
        let row = PinRow { cid: "cid".into(), kind: PinKind::Direct, name: Some("näme".into()) };
        let done = Exported { blocks: 3, left_out: vec!["x".into()], ..Exported::default() };
        let all = [
            CarryOut::Car(Bytes::from_static(b"bytes")),
            CarryOut::Pins(vec![row]),
            CarryOut::Again,
            CarryOut::Done(done),
        ];
        let whole: Vec<u8> = all.iter().flat_map(frame).collect();
        for step in [1, 3, 7, whole.len()] {
            let (mut buffer, mut out) = (BytesMut::new(), Vec::new());
            for piece in whole.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = unframe(&mut buffer).unwrap() {
                    out.push(frame);
                }
            }
            assert_eq!(out, all);
            assert!(buffer.is_empty());
        }
        assert!(unframe(&mut BytesMut::from(&b"c\xff\xff\xff\xff"[..])).is_err());
        assert!(unframe(&mut BytesMut::from(&b"x\0\0\0\0"[..])).is_err());
        assert!(unframe(&mut BytesMut::from(&b"j\0\0\0\x01x"[..])).is_err());
    }
}

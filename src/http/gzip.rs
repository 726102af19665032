//! Compressing a reply on its way.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, StreamExt, stream};

use super::HttpError;
use crate::base::Kind;

/// The level where the caller names none; gzip's own.
pub const DEFAULT_LEVEL: u32 = 6;
/// Most pieces that are compressed in one go.
const PACK: usize = 64;

/// The gzip form of what `items` give, in pieces, at a level from 1 (fast) to 9 (small). Compressing runs where it may
/// take its time; memory is bounded by the pieces that are ready.
pub fn pack<S>(level: u32, items: S) -> impl Stream<Item = Result<Bytes, HttpError>> + Send
where
    S: Stream<Item = Result<Bytes, HttpError>> + Send + Unpin + 'static,
{
    let encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    stream::try_unfold(Some((items.ready_chunks(PACK), encoder)), |state| async move {
        let Some((mut items, mut encoder)) = state else { return Ok(None) };
        loop {
            let Some(pieces) = items.next().await else {
                let rest = apart(move || encoder.finish()).await?;
                return Ok(Some((Bytes::from(rest), None)));
            };
            let pieces = pieces.into_iter().collect::<Result<Vec<Bytes>, HttpError>>()?;
            let (out, more) = apart(move || {
                for piece in pieces {
                    encoder.write_all(&piece)?;
                }
                Ok((std::mem::take(encoder.get_mut()), encoder))
            })
            .await?;
            encoder = more;
            if !out.is_empty() {
                return Ok(Some((Bytes::from(out), Some((items, encoder)))));
            }
        }
    })
}

/// Runs what keeps a core busy where nobody waits for his turn.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, HttpError> {
    let bug = |error: &dyn std::error::Error| HttpError::new(Kind::Bug, format!("compressing failed: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(|e| bug(&e))?.map_err(|e| bug(&e))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn what_is_packed_is_unpacked() {
        for (level, count) in [(1, 0), (DEFAULT_LEVEL, 1), (9, 300)] {
            let pieces: Vec<Bytes> = (0..count).map(|i| Bytes::from(format!("piece {i} ").repeat(i))).collect();
            let items = stream::iter(pieces.clone().into_iter().map(Ok));
            let packed: Vec<Bytes> = pack(level, items).try_collect().await.unwrap();
            let mut out = Vec::new();
            flate2::read::GzDecoder::new(&packed.concat()[..]).read_to_end(&mut out).unwrap();
            assert!(out == pieces.concat());
        }
        let broken = [Ok(Bytes::from_static(b"x")), Err(HttpError::invalid("no more"))];
        let failed = pack(1, stream::iter(broken)).try_collect::<Vec<Bytes>>().await.unwrap_err();
        assert_eq!(failed.message, "no more");
    }
}

//! Frames on a stream: a big-endian u32 length, then that many bytes of CBOR.

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use serde::{Serialize, de::DeserializeOwned};

use super::cbor::{self, CborError};

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The other side announced more than the reader allows.
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// What was announced.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The bytes are not the message expected.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// The stream failed.
    #[error("stream: {0}")]
    Io(#[from] std::io::Error),
}

/// A frame as it travels: length and body in one piece, so that it leaves in one write and one packet.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, FrameError> {
    let body = cbor::to_vec(value);
    let len =
        u32::try_from(body.len()).map_err(|_| FrameError::TooLarge { bytes: body.len(), limit: u32::MAX as usize })?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&len.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Writes one frame and flushes.
pub async fn write<W: AsyncWrite + Unpin, T: Serialize + ?Sized>(io: &mut W, value: &T) -> Result<(), FrameError> {
    io.write_all(&encode(value)?).await?;
    io.flush().await?;
    Ok(())
}

/// Reads one frame of at most `limit` bytes; `None` when the stream ended cleanly before it.
pub async fn read<R: AsyncRead + Unpin, T: DeserializeOwned>(
    io: &mut R,
    limit: usize,
) -> Result<Option<T>, FrameError> {
    match read_bytes(io, limit).await? {
        Some(bytes) => Ok(Some(cbor::from_slice(&bytes, limit)?)),
        None => Ok(None),
    }
}

/// Reads one frame's bytes; `None` when the stream ended cleanly before it.
pub async fn read_bytes<R: AsyncRead + Unpin>(io: &mut R, limit: usize) -> Result<Option<Vec<u8>>, FrameError> {
    let mut head = [0u8; 4];
    let mut have = 0;
    while have < head.len() {
        match io.read(&mut head[have..]).await? {
            0 if have == 0 => return Ok(None),
            0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            n => have += n,
        }
    }
    let bytes = u32::from_be_bytes(head) as usize;
    if bytes > limit {
        return Err(FrameError::TooLarge { bytes, limit });
    }
    // Grown as bytes arrive: a peer that announces much and sends little costs little.
    let mut out = Vec::with_capacity(bytes.min(64 * 1024));
    let n = io.take(bytes as u64).read_to_end(&mut out).await?;
    if n < bytes { Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()) } else { Ok(Some(out)) }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use futures::{executor::block_on, io::Cursor};

    use super::*;

    /// Keeps each write apart.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl AsyncWrite for Writes {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_frame_leaves_in_one_write() {
        let mut out = Writes::default();
        block_on(write(&mut out, &("hi", 7u32))).unwrap();
        assert_eq!(out.0, vec![b"\0\0\0\x05\x82bhi\x07".to_vec()]);
    }

    #[test]
    fn frames_round_trip_and_limits_hold() {
        block_on(async {
            let mut out = Cursor::new(Vec::new());
            write(&mut out, &("hi", 7u32)).await.unwrap();
            let bytes = out.into_inner();
            let back: Option<(String, u32)> = read(&mut &bytes[..], 100).await.unwrap();
            assert_eq!(back, Some(("hi".into(), 7)));
            assert!(matches!(read::<_, (String, u32)>(&mut &bytes[..], 2).await, Err(FrameError::TooLarge { .. })));
            assert!(read::<_, (String, u32)>(&mut &bytes[..bytes.len() - 1], 100).await.is_err());
            assert!(read::<_, (String, u32)>(&mut &bytes[..2], 100).await.is_err());
            assert!(read::<_, (String, u32)>(&mut &b""[..], 100).await.unwrap().is_none());
        });
    }
}

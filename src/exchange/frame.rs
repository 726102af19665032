//! Messages on streams: an unsigned-varint length, then the body.

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::message::MAX_MESSAGE_BYTES;

/// The buffer for a body grows in steps of this, so announcing much and sending little costs little.
const STEP_BYTES: usize = 128 * 1024;

/// Reads a message's length; `None` when the stream ended cleanly before it. Longer than the limit is an error.
pub async fn read_length<R: AsyncRead + Unpin>(io: &mut R) -> std::io::Result<Option<usize>> {
    let mut value = 0usize;
    for n in 0..4 {
        let mut byte = [0u8];
        if io.read(&mut byte).await? == 0 {
            return if n == 0 { Ok(None) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) };
        }
        value |= usize::from(byte[0] & 0x7f) << (7 * n);
        if byte[0] & 0x80 == 0 {
            if value > MAX_MESSAGE_BYTES {
                return Err(invalid(format!("a message of {value} bytes is over the limit of {MAX_MESSAGE_BYTES}")));
            }
            return Ok(Some(value));
        }
    }
    Err(invalid(format!("a message's length has more than four bytes; the limit is {MAX_MESSAGE_BYTES}")))
}

/// Reads a body of `length` bytes; calls `heard` as they come.
pub async fn read_body<R: AsyncRead + Unpin>(io: &mut R, length: usize, heard: impl Fn()) -> std::io::Result<Bytes> {
    let mut body = Vec::with_capacity(length.min(8 * STEP_BYTES));
    while body.len() < length {
        let start = body.len();
        body.resize(length.min(start + STEP_BYTES), 0);
        io.read_exact(&mut body[start..]).await?;
        heard();
    }
    Ok(body.into())
}

/// Writes segments one after another, without flushing.
pub async fn write_segments<W: AsyncWrite + Unpin>(io: &mut W, segments: &[Bytes]) -> std::io::Result<()> {
    for segment in segments {
        io.write_all(segment).await?;
    }
    Ok(())
}

fn invalid(text: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn lengths_have_limits_and_ends_are_told_apart() {
        block_on(async {
            assert_eq!(read_length(&mut &[][..]).await.unwrap(), None);
            assert_eq!(read_length(&mut &[5][..]).await.unwrap(), Some(5));
            assert_eq!(read_length(&mut &[0x80, 0x80, 0x80, 0x02][..]).await.unwrap(), Some(MAX_MESSAGE_BYTES));
            for bad in [&[0x80][..], &[0x81, 0x80, 0x80, 0x02], &[0x80, 0x80, 0x80, 0x80, 0x01]] {
                assert!(read_length(&mut &bad[..]).await.is_err(), "{bad:?}");
            }
            assert_eq!(read_body(&mut &b"hello"[..], 5, || {}).await.unwrap(), "hello");
            assert!(read_body(&mut &b"hell"[..], 5, || {}).await.is_err());
            let long = vec![7u8; STEP_BYTES * 2 + 5];
            assert_eq!(read_body(&mut &long[..], long.len(), || {}).await.unwrap(), long);
        });
    }
}

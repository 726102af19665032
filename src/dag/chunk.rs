//! Sans-IO: cuts a stream of bytes into chunks of a fixed size, copying only what straddles two pieces of input.

use bytes::{Bytes, BytesMut};

/// Cuts into chunks of one size; the last may be shorter.
#[derive(Debug)]
pub struct Chunker {
    size: usize,
    part: BytesMut,
    input: Bytes,
}

impl Chunker {
    /// Chunks of `size` bytes, at least one.
    pub fn new(size: usize) -> Self {
        Chunker { size: size.max(1), part: BytesMut::new(), input: Bytes::new() }
    }

    /// Gives it the next piece of input. Take all chunks with [`Chunker::next_chunk`] before the next call, or the
    /// rest of the former piece is copied.
    pub fn push(&mut self, input: Bytes) {
        if self.input.is_empty() {
            self.input = input;
        } else {
            let mut joined = BytesMut::with_capacity(self.input.len() + input.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&input);
            self.input = joined.freeze();
        }
    }

    /// The next whole chunk, if there is one.
    pub fn next_chunk(&mut self) -> Option<Bytes> {
        if self.part.is_empty() && self.input.len() >= self.size {
            return Some(self.input.split_to(self.size));
        }
        if self.part.is_empty() && !self.input.is_empty() {
            self.part.reserve(self.size);
        }
        let missing = (self.size - self.part.len()).min(self.input.len());
        self.part.extend_from_slice(&self.input.split_to(missing));
        (self.part.len() == self.size).then(|| std::mem::take(&mut self.part).freeze())
    }

    /// What is left at the end; None when the input ended with a whole chunk or was empty.
    pub fn finish(mut self) -> Option<Bytes> {
        self.part.extend_from_slice(&self.input);
        (!self.part.is_empty()).then(|| self.part.freeze())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cuts_as_slices_do(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..20),
            size in 1usize..17,
        ) {
            let whole: Vec<u8> = pieces.concat();
            let mut chunker = Chunker::new(size);
            let mut out = Vec::new();
            for piece in pieces {
                chunker.push(piece.into());
                while let Some(chunk) = chunker.next_chunk() {
                    out.push(chunk.to_vec());
                }
            }
            out.extend(chunker.finish().map(|c| c.to_vec()));
            prop_assert_eq!(out, whole.chunks(size).map(<[u8]>::to_vec).collect::<Vec<_>>());
        }
    }
}

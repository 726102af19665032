//! Sans-IO: cuts a stream of bytes into chunks, copying only what straddles two pieces of input.

use bytes::{Bytes, BytesMut};

use super::{Chunking, cutters::Cutter};

/// Cuts a stream; the last chunk may be shorter than the others.
#[derive(Debug)]
pub struct Chunker {
    cutter: Cutter,
    /// What the current chunk has of former pieces.
    part: BytesMut,
    input: Bytes,
    /// Room to make when a chunk must be put together.
    room: usize,
}

impl Chunker {
    /// A chunker of this kind, at the stream's beginning.
    pub fn new(chunking: Chunking) -> Self {
        let room = chunking.max_bytes();
        Chunker { cutter: Cutter::new(chunking), part: BytesMut::new(), input: Bytes::new(), room }
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
        match self.cutter.scan(&self.input) {
            Some(end) if self.part.is_empty() => Some(self.input.split_to(end)),
            Some(end) => {
                self.part.extend_from_slice(&self.input.split_to(end));
                Some(std::mem::take(&mut self.part).freeze())
            }
            None => {
                if self.part.is_empty() && !self.input.is_empty() {
                    self.part.reserve(self.room);
                }
                self.part.extend_from_slice(&self.input);
                self.input = Bytes::new();
                None
            }
        }
    }

    /// What is left at the end, all whole chunks having been taken; None when the input ended with a whole chunk or was
    /// empty.
    pub fn finish(mut self) -> Option<Bytes> {
        self.part.extend_from_slice(&self.input);
        (!self.part.is_empty()).then(|| self.part.freeze())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(chunking: Chunking, pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut chunker = Chunker::new(chunking);
        let mut out = Vec::new();
        for piece in pieces {
            chunker.push(piece.clone().into());
            while let Some(chunk) = chunker.next_chunk() {
                out.push(chunk.to_vec());
            }
        }
        out.extend(chunker.finish().map(|c| c.to_vec()));
        out
    }

    proptest! {
        #[test]
        fn cuts_as_slices_do(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..20),
            size in 1usize..17,
        ) {
            let whole: Vec<u8> = pieces.concat();
            let expected: Vec<Vec<u8>> = whole.chunks(size).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(cut(Chunking::Size(size), &pieces), expected);
        }

        /// Where the input is cut into pieces changes nothing, and every chunk keeps its bounds.
        #[test]
        fn rabin_depends_on_the_bytes_alone(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20),
            min in 16usize..40,
        ) {
            let (avg, max) = (min + 20, min + 70);
            let rabin = Chunking::Rabin { min, avg, max };
            let whole = pieces.concat();
            let chunks = cut(rabin, &pieces);
            prop_assert_eq!(&chunks.concat(), &whole);
            prop_assert_eq!(&chunks, &cut(rabin, &[whole]));
            for (i, chunk) in chunks.iter().enumerate() {
                prop_assert!(chunk.len() <= max && (chunk.len() >= min || i + 1 == chunks.len()));
            }
        }
    }

    /// A million bytes of a linear congruential generator.
    fn noise(mut state: u32) -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..1 << 20).map(|_| next()).collect()
    }

    #[test]
    fn buzhash_depends_on_the_bytes_alone() {
        let data = noise(1);
        let whole = cut(Chunking::Buzhash, std::slice::from_ref(&data));
        for piece in [1000, 4096, 131_072, 131_071, 524_289] {
            let pieces: Vec<Vec<u8>> = data.chunks(piece).map(<[u8]>::to_vec).collect();
            assert_eq!(cut(Chunking::Buzhash, &pieces), whole, "pieces of {piece} bytes");
        }
        assert_eq!(whole.concat(), data);
        let (last, rest) = whole.split_last().unwrap();
        assert!(rest.iter().all(|chunk| (131_072..=524_288).contains(&chunk.len())));
        assert!(!last.is_empty());
        // Nothing but zeros has a fingerprint of zero at once: the shortest chunks come.
        let lengths = |data: Vec<u8>| cut(Chunking::Buzhash, &[data]).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(vec![0; 131_071]), [131_071]);
        assert_eq!(lengths(vec![0; 131_072]), [131_072]);
        assert_eq!(lengths(Vec::new()), [0usize; 0]);
    }
}

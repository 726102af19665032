//! Sans-IO: the input of a fuzz target, taken apart piece by piece; what is not there is zero.

/// What is left of the input.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// The next number of 16 bits.
    pub fn short(&mut self) -> u16 {
        u16::from(self.byte()) | u16::from(self.byte()) << 8
    }

    /// The next number of 64 bits.
    pub fn number(&mut self) -> u64 {
        (0..8).fold(0, |sum, at| sum | u64::from(self.byte()) << (8 * at))
    }

    /// The next `len` bytes, or those that are left.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(len.min(self.0.len()));
        self.0 = tail;
        head
    }

    /// A byte that says how many, and so many bytes.
    pub fn counted(&mut self) -> &'a [u8] {
        let len = self.byte();
        self.bytes(usize::from(len))
    }
}

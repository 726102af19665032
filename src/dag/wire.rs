//! Sans-IO: the protobuf wire format, read strictly and written plainly; only what DAG-PB and UnixFS need.

use super::DagError;

/// Field values as they stand on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire types 1 and 5; nothing here uses their content but the fixed nanoseconds of UnixFS times.
    Fixed(u64),
}

/// Reads fields one after another.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    codec: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(codec: &'static str, bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, codec }
    }

    /// The next field's number and value; None at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, DagError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = key >> 3;
        if field == 0 || field > 0x1fff_ffff {
            return Err(self.err(format!("field number {field}")));
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).ok().filter(|len| *len <= self.rest.len());
                let len = len.ok_or_else(|| self.err("a field is longer than what is left"))?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Fixed(u64::from(u32::from_le_bytes(self.array()?))),
            other => return Err(self.err(format!("wire type {other}"))),
        };
        Ok(Some((field, value)))
    }

    pub(crate) fn err(&self, reason: impl Into<String>) -> DagError {
        DagError::malformed(self.codec, reason)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DagError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.err("truncated"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DagError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.err("truncated"))
    }

    fn varint(&mut self) -> Result<u64, DagError> {
        let mut value = 0u64;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            if i == 9 && *byte > 1 {
                return Err(self.err("a number of more than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(self.err(if self.rest.len() < 10 { "truncated" } else { "a number of more than 64 bits" }))
    }
}

/// Writes a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put_varint`] writes.
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes a field of wire type 0.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3);
    put_varint(out, value);
}

/// Writes a field of wire type 2.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive(value: u64, field in 1u64..1000) {
            let mut out = Vec::new();
            put_number(&mut out, field, value);
            prop_assert_eq!(Reader::new("test", &out).next().unwrap(), Some((field, Value::Varint(value))));
            let mut only = Vec::new();
            put_varint(&mut only, value);
            prop_assert_eq!(only.len(), varint_len(value));
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new("test", &bytes);
            while let Ok(Some(_)) = reader.next() {}
        }
    }

    #[test]
    fn hostile_numbers_are_errors() {
        let overflow = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        let endless = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let longer = [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        for bytes in [&overflow[..], &endless, &longer, &[0x08], &[0x00, 0x00], &[0x0b], &[0x0d, 1, 2]] {
            assert!(Reader::new("test", bytes).next().is_err(), "{bytes:?}");
        }
    }
}

//! Sans-IO: whether a leveldb's table file is whole: every block of it has its checksum.
//!
//! A table is blocks, an index of them, and a footer that says where the index lies. Behind each block stand a byte for its
//! compression and a masked CRC-32C of both. Source: LevelDB's `doc/table_format.md`.

/// Bytes of the footer: two places, padded, and the magic number.
const FOOTER_BYTES: usize = 48;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Behind a block: compression and checksum.
const TRAILER_BYTES: usize = 5;
/// Added to checksums that are stored beside what they are about.
const MASK: u32 = 0xa282_ead8;

/// Checks every block of a table; the reason when one is not what it was written as.
pub(super) fn check(table: &[u8]) -> Result<(), String> {
    let footer = table.len().checked_sub(FOOTER_BYTES).map(|at| &table[at..]).ok_or("it is cut off")?;
    if footer[40..] != MAGIC.to_le_bytes() {
        return Err("it does not end like a table".into());
    }
    let mut rest = &footer[..40];
    let (meta, index) = (place(&mut rest)?, place(&mut rest)?);
    block(table, meta)?;
    let index = block(table, index)?;
    // Entries, then places among them, then how many of these.
    let count = index.last_chunk().map(|count| u32::from_le_bytes(*count) as usize).ok_or("its index is cut off")?;
    let entries = count.checked_mul(4).and_then(|bytes| index.len().checked_sub(bytes.checked_add(4)?));
    let mut rest = &index[..entries.ok_or("its index is cut off")?];
    while !rest.is_empty() {
        let (_shared, own, value) = (varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?);
        take(&mut rest, own)?;
        let mut value = take(&mut rest, value)?;
        let at = place(&mut value)?;
        block(table, at)?;
    }
    Ok(())
}

/// A block's bytes, when they have their checksum.
fn block(table: &[u8], (at, len): (usize, usize)) -> Result<&[u8], String> {
    let whole = at.checked_add(len).and_then(|end| table.get(at..end.checked_add(TRAILER_BYTES)?));
    let whole = whole.ok_or("it says of a block that it lies behind its end")?;
    let (body, sum) = whole.split_at(len + 1);
    let stored = u32::from_le_bytes(sum.try_into().expect("a trailer is a byte and a checksum"));
    let computed = crc32c::crc32c(body).rotate_right(15).wrapping_add(MASK);
    if stored != computed {
        return Err(format!("the block at byte {at} does not have its checksum"));
    }
    if body[len] != 0 {
        return Err("it is compressed, which Kubo's is not".into());
    }
    Ok(&body[..len])
}

fn place(rest: &mut &[u8]) -> Result<(usize, usize), String> {
    Ok((varint(rest)?, varint(rest)?))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], String> {
    let (taken, left) = rest.split_at_checked(len).ok_or("its index is cut off")?;
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<usize, String> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let (byte, left) = rest.split_first().ok_or("a number in it is cut off")?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(value).map_err(|e| e.to_string());
        }
    }
    Err("a number in it has no end".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of one block, by hand.
    fn table() -> Vec<u8> {
        let seal = |body: &[u8]| {
            let mut out = [body, &[0]].concat();
            let sum = crc32c::crc32c(&out).rotate_right(15).wrapping_add(MASK);
            out.extend(sum.to_le_bytes());
            out
        };
        let (data, meta) = (seal(b"some rows"), seal(&[0, 0, 0, 0, 1, 0, 0, 0]));
        // One entry: a key of one byte, a place of two.
        let index = seal(&[0, 1, 2, b'k', 0, 9, 0, 0, 0, 0, 1, 0, 0, 0]);
        let mut footer = vec![data.len() as u8, 8, (data.len() + meta.len()) as u8, 14];
        footer.resize(40, 0);
        footer.extend(MAGIC.to_le_bytes());
        [data, meta, index, footer].concat()
    }

    #[test]
    fn every_bit_of_a_block_counts() {
        let whole = table();
        check(&whole).unwrap();
        let blocks = whole.len() - FOOTER_BYTES;
        for at in 0..blocks {
            for bit in 0..8 {
                let mut bent = whole.clone();
                bent[at] ^= 1 << bit;
                assert!(check(&bent).is_err(), "byte {at}, bit {bit}");
            }
        }
        // The footer has no checksum, and no byte of it makes this fall.
        for at in blocks..whole.len() {
            for byte in [0, 1, 0x55, 0x80, 0xff] {
                let mut bent = whole.clone();
                bent[at] = byte;
                let _ = check(&bent);
            }
        }
        for len in 0..whole.len() {
            assert!(check(&whole[..len]).is_err(), "{len}");
        }
    }
}

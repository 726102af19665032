//! Sans-IO: what the store's files have in common: little-endian numbers, and checksums with a salt.

/// The number in four bytes of `bytes` from `at` on, which must be there.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

/// The number in eight bytes of `bytes` from `at` on, which must be there.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

/// The checksum of `bytes` in the file that has this salt: bytes of another file can never pass for this one's.
pub(super) fn salted_crc(bytes: &[u8], salt: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

//! Randomness: the only file outside tests that draws it. Cores get random values as arguments.

/// Draws `N` bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness to give; nothing safe can be done without it.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0u8; N];
    getrandom::fill(&mut out).expect("the operating system gives random bytes");
    out
}

/// Draws a number from the operating system.
pub fn u64() -> u64 {
    u64::from_le_bytes(bytes())
}

/// Draws a fraction in [0, 1).
pub fn fraction() -> f64 {
    (u64() >> 11) as f64 / (1u64 << 53) as f64
}

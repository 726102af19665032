//! The entry point of the same name in `ipfs_kit::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipfs_kit::fuzz::run("hamt", data));

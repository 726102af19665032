//! The `ipfs-kit` binary: everything it does lives in the library's `cli`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ipfs_kit::cli::main()
}

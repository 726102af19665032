//! Bytes at rest: blocks, key-value engines, pins, keys, the write-ahead log.

//! Tests of the block store.

//! Tests of moving.

//! Tests of handlers and of the data plane.

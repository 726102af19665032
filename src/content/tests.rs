//! Tests of content over a repo without a network.

//! The front door of openraft.

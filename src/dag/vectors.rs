//! Sans-IO: vectors.

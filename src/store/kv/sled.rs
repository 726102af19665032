//! The sled engine: rebuildable data.

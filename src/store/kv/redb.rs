//! The redb engine: everything that must survive a power cut.

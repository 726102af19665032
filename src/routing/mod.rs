//! Who has it, and whom do we trust.

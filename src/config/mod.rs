//! Settings: file, environment, flags, defaults.

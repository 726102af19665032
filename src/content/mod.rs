//! What users do with content: add, cat, get, ls, pin.

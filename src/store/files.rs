//! Files that appear whole or not at all, and the lock that keeps a second process out.

//! The cluster: Raft among masters, members, certificates, sessions, tasks (control only).

//! The cluster: Raft among masters, members, certificates, sessions, tasks (control only).

pub mod model;
pub mod raft;
pub mod state;

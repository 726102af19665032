//! Sans-IO: the words of the cluster: ids, certificates, tokens, task specs, receipts, members, pins; pure data.
//!
//! For everything in the cluster, the replicated state included. What always holds: a certificate, spec or receipt is
//! believed only after its `verify` succeeded against the cluster id, and what is signed is the CBOR of the parsed
//! value behind a tag of its type, so that no signature can be shown for another type. Start with [`cert`].

pub mod cert;
pub mod error;
pub mod id;
pub mod member;
pub mod pin;
pub mod receipt;
pub mod spec;
pub mod task;
pub mod token;

pub use cert::{Certificate, ClusterKey, Subject};
pub use error::{CertError, IdError, SpecError, TokenError};
pub use id::{ClusterId, TaskId};
pub use member::{MasterInfo, Member, MemberInfo, MemberState};
pub use pin::PinRecord;
pub use receipt::{Receipt, ReceiptBody};
pub use spec::{SignedSpec, TaskSpec};
pub use task::{Fence, Outcome, TaskRecord, TaskState};
pub use token::Token;

//! The nine kinds every error maps to, so that faces answer alike whatever folder an error comes from.

/// What kind of failure an error is; faces derive exit codes and HTTP statuses from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What was asked for does not exist.
    NotFound,
    /// The input is wrong; trying again will not help.
    Invalid,
    /// The caller may not do this.
    Denied,
    /// It clashes with what is there.
    Conflict,
    /// A limit is reached; later it may work.
    Busy,
    /// The time is over.
    Timeout,
    /// The other side or the network is not reachable.
    Offline,
    /// Stored or received data is damaged.
    Corrupt,
    /// An error of this program or of the machine below it.
    Bug,
}

/// An error that knows its [`Kind`].
pub trait HasKind: std::error::Error {
    /// What kind of failure this is.
    fn kind(&self) -> Kind;
}

impl HasKind for super::block::BlockError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl HasKind for super::cid::CidError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl HasKind for std::io::Error {
    fn kind(&self) -> Kind {
        use std::io::ErrorKind as E;
        match std::io::Error::kind(self) {
            E::NotFound => Kind::NotFound,
            E::PermissionDenied | E::ReadOnlyFilesystem => Kind::Denied,
            E::AlreadyExists | E::AddrInUse => Kind::Conflict,
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => Kind::Busy,
            E::TimedOut => Kind::Timeout,
            E::ConnectionRefused | E::ConnectionReset | E::NotConnected | E::BrokenPipe | E::UnexpectedEof => {
                Kind::Offline
            }
            E::InvalidData => Kind::Corrupt,
            E::InvalidInput => Kind::Invalid,
            _ => Kind::Bug,
        }
    }
}

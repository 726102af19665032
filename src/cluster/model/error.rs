//! Sans-IO: why an id, certificate, token, spec or receipt is refused.

use crate::base::{HasKind, Kind, PeerId, Role};

use super::ClusterId;

/// A text that is no cluster or task id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {what}: expected 'b' and 52 lower-case base32 characters")]
pub struct IdError {
    /// What was given, shortened.
    pub text: String,
    /// What was expected.
    pub what: &'static str,
}

impl HasKind for IdError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// Why a certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertError {
    /// It was issued by another cluster.
    #[error("the certificate belongs to cluster {found}, not to {expected}")]
    Foreign {
        /// The cluster asked for.
        expected: ClusterId,
        /// The cluster that issued it.
        found: ClusterId,
    },
    /// A signature or key does not fit.
    #[error("the certificate of {peer} is forged: {why}")]
    Forged {
        /// Whom it names.
        peer: PeerId,
        /// What does not fit.
        why: &'static str,
    },
    /// Its time is over.
    #[error("the certificate of {peer} expired at {expires_ms} ms since 1970; join again with a new token")]
    Expired {
        /// Whom it names.
        peer: PeerId,
        /// When it ended.
        expires_ms: u64,
    },
    /// It is genuine but names somebody else than the one who showed it.
    #[error("{shown_by} shows the certificate of {peer}")]
    WrongPeer {
        /// Whom it names.
        peer: PeerId,
        /// Who showed it.
        shown_by: Box<PeerId>,
    },
    /// It is genuine but of a role that may not do this.
    #[error("{peer} is a {role} and this needs a {needed}")]
    WrongRole {
        /// Whom it names.
        peer: PeerId,
        /// The role it gives.
        role: Role,
        /// The role needed.
        needed: Role,
    },
}

impl HasKind for CertError {
    fn kind(&self) -> Kind {
        Kind::Denied
    }
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a token at all.
    #[error("not a join token ({why}); make one on a master with `ipfs-kit cluster token create`")]
    Malformed {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Its time is over.
    #[error(
        "the join token expired at {expires_ms} ms since 1970; make a new one with `ipfs-kit cluster token create`"
    )]
    Expired {
        /// When it ended.
        expires_ms: u64,
    },
    /// It belongs to another cluster.
    #[error("the join token is for cluster {token}, not for {cluster}")]
    Foreign {
        /// The token's cluster.
        token: ClusterId,
        /// The cluster asked.
        cluster: ClusterId,
    },
    /// No master of this cluster made it, or the proof does not fit it.
    #[error("the join token was not made by this cluster, or was altered; copy it whole from the master")]
    Forged,
    /// It does not admit the role asked for.
    #[error("the join token admits a {ceiling} at most, not a {wanted}; make one with `--role {wanted}`")]
    Role {
        /// The highest role it admits.
        ceiling: Role,
        /// The role asked for.
        wanted: Role,
    },
}

impl HasKind for TokenError {
    fn kind(&self) -> Kind {
        match self {
            TokenError::Malformed { .. } => Kind::Invalid,
            _ => Kind::Denied,
        }
    }
}

/// Why a task spec or a receipt is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The bytes are not a spec, or break a limit.
    #[error("malformed task spec: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// It is meant for another cluster.
    #[error("the task spec is for cluster {found}, not for {expected}")]
    Foreign {
        /// This cluster.
        expected: ClusterId,
        /// The spec's cluster.
        found: ClusterId,
    },
    /// The author's or master's certificate is not believed.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// The signature is not by the one the certificate names, or something was altered.
    #[error("the signature is not by {signer}, or something was altered")]
    Forged {
        /// Who should have signed.
        signer: PeerId,
    },
    /// Its time is over.
    #[error("the task spec was valid until {not_after_ms} ms since 1970 and it is {now_ms}; submit it anew")]
    Expired {
        /// The end the author set.
        not_after_ms: u64,
        /// The receiver's clock.
        now_ms: u64,
    },
    /// Its end is further away than a spec may live.
    #[error("the task spec is valid until {not_after_ms} ms since 1970, more than 24 hours ahead")]
    TooLong {
        /// The end the author set.
        not_after_ms: u64,
    },
}

impl HasKind for SpecError {
    fn kind(&self) -> Kind {
        match self {
            SpecError::Malformed { .. } | SpecError::TooLong { .. } => Kind::Invalid,
            SpecError::Expired { .. } => Kind::Timeout,
            SpecError::Foreign { .. } | SpecError::Certificate(_) | SpecError::Forged { .. } => Kind::Denied,
        }
    }
}

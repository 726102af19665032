//! Sans-IO: join tokens: made by any master from the cluster's key, so that masters need not remember them.

use std::{fmt, str::FromStr};

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::base::{PeerId, Role, cbor};

use super::{ClusterId, ClusterKey, TokenError};

const PREFIX: &str = "ipk1_";
const MAX_TEXT: usize = 512;

/// How long a token lasts unless told otherwise, in milliseconds (24 hours).
pub const TOKEN_MS: u64 = 24 * 3600 * 1000;

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        // Lengths first, so that no two lists of parts read alike.
        mac.update(&(part.len() as u32).to_be_bytes());
        mac.update(part);
    }
    mac
}

/// Admits its bearer to a cluster, up to a role and until a time. Whoever holds the text may join: keep it secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The cluster it admits to; the newcomer checks the members' certificates against it.
    pub cluster: ClusterId,
    /// Tells tokens apart in the log.
    #[serde(with = "serde_bytes")]
    pub id: [u8; 16],
    /// The highest role it admits: a master's token admits workers and leechers too.
    pub role: Role,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
    #[serde(with = "serde_bytes")]
    secret: [u8; 32],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, {}, until {} ms)", self.cluster, self.role, self.expires_ms)
    }
}

fn secret(key: &ClusterKey, id: &[u8; 16], role: Role, expires_ms: u64) -> [u8; 32] {
    let derived = mac(&key.to_bytes(), &[b"ipfs-kit token key v1"]).finalize().into_bytes();
    mac(&derived, &[id, role.as_str().as_bytes(), &expires_ms.to_be_bytes()]).finalize().into_bytes().into()
}

/// What a newcomer shows instead of the token's secret: bound to who it is and to the member's fresh nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenProof {
    /// The token's id.
    #[serde(with = "serde_bytes")]
    pub id: [u8; 16],
    /// The token's role.
    pub ceiling: Role,
    /// The token's end.
    pub expires_ms: u64,
    /// HMAC-SHA256 with the token's secret.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 32],
}

fn proof_mac(secret: &[u8], peer: &PeerId, storage_id: &[u8; 16], nonce: &[u8; 32]) -> Hmac<Sha256> {
    mac(secret, &[b"ipfs-kit join v1", &peer.to_bytes(), storage_id, nonce])
}

impl Token {
    /// Makes a token; `id` is random.
    pub fn create(key: &ClusterKey, id: [u8; 16], role: Role, expires_ms: u64) -> Self {
        Token { cluster: key.id(), id, role, expires_ms, secret: secret(key, &id, role, expires_ms) }
    }

    /// Proves to the member that sent `nonce` that `peer` holds this token.
    pub fn prove(&self, peer: &PeerId, storage_id: &[u8; 16], nonce: &[u8; 32]) -> TokenProof {
        let proof = proof_mac(&self.secret, peer, storage_id, nonce).finalize().into_bytes().into();
        TokenProof { id: self.id, ceiling: self.role, expires_ms: self.expires_ms, proof }
    }

    /// Checks the newcomer's side before anything is sent: not expired, and the role is admitted.
    pub fn check(&self, role: Role, now_ms: u64) -> Result<(), TokenError> {
        check(self.role, self.expires_ms, role, now_ms)
    }
}

fn check(ceiling: Role, expires_ms: u64, wanted: Role, now_ms: u64) -> Result<(), TokenError> {
    if expires_ms <= now_ms {
        return Err(TokenError::Expired { expires_ms });
    }
    // Roles are ordered from the most to the least powerful.
    if wanted < ceiling {
        return Err(TokenError::Role { ceiling, wanted });
    }
    Ok(())
}

impl TokenProof {
    /// Checks a newcomer's proof with the cluster's key. The comparison takes the same time whatever differs.
    pub fn verify(
        &self,
        key: &ClusterKey,
        peer: &PeerId,
        storage_id: &[u8; 16],
        nonce: &[u8; 32],
        wanted: Role,
        now_ms: u64,
    ) -> Result<(), TokenError> {
        let secret = secret(key, &self.id, self.ceiling, self.expires_ms);
        let mac = proof_mac(&secret, peer, storage_id, nonce);
        mac.verify_slice(&self.proof).map_err(|_| TokenError::Forged)?;
        check(self.ceiling, self.expires_ms, wanted, now_ms)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&cbor::to_vec(self)))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let malformed = |why| TokenError::Malformed { why };
        if text.len() > MAX_TEXT {
            return Err(malformed("too long"));
        }
        let body = text.strip_prefix(PREFIX).ok_or_else(|| malformed("it does not begin with ipk1_"))?;
        let bytes = BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| malformed("it is cut off or mistyped"))?;
        cbor::from_slice(&bytes, MAX_TEXT).map_err(|_| malformed("it is cut off or mistyped"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (ClusterKey, Token, PeerId) {
        let key = ClusterKey::from_seed([3; 32]);
        let token = Token::create(&key, [5; 16], Role::Worker, 10_000);
        (key, token, PeerId::random())
    }

    #[test]
    fn a_token_survives_text_and_a_cut_one_is_refused() {
        let (_, token, _) = sample();
        let text = token.to_string();
        assert_eq!(text.parse::<Token>().unwrap(), token);
        assert_eq!(format!(" {text}\n").parse::<Token>().unwrap(), token);
        for end in 0..text.len() {
            assert!(text[..end].parse::<Token>().is_err(), "{end}");
        }
        assert!(format!("{text}{text}").parse::<Token>().is_err());
        assert!("x".repeat(600).parse::<Token>().is_err());
        assert!(!format!("{token:?}").contains(&text[40..]), "the secret is not printed");
    }

    #[test]
    fn the_proof_is_bound_to_all_it_names() {
        let (key, token, peer) = sample();
        let (storage, nonce) = ([1; 16], [2; 32]);
        let proof = token.prove(&peer, &storage, &nonce);
        proof.verify(&key, &peer, &storage, &nonce, Role::Worker, 9_999).unwrap();
        proof.verify(&key, &peer, &storage, &nonce, Role::Leecher, 0).unwrap();
        let forged = Err(TokenError::Forged);
        assert_eq!(proof.verify(&key, &PeerId::random(), &storage, &nonce, Role::Worker, 0), forged);
        assert_eq!(proof.verify(&key, &peer, &[9; 16], &nonce, Role::Worker, 0), forged);
        assert_eq!(proof.verify(&key, &peer, &storage, &[9; 32], Role::Worker, 0), forged);
        let other = ClusterKey::from_seed([4; 32]);
        assert_eq!(proof.verify(&other, &peer, &storage, &nonce, Role::Worker, 0), forged);
        let changes: [fn(&mut TokenProof); 4] =
            [|p| p.id[0] ^= 1, |p| p.ceiling = Role::Master, |p| p.expires_ms += 1, |p| p.proof[31] ^= 1];
        for change in changes {
            let mut bad = proof.clone();
            change(&mut bad);
            assert_eq!(bad.verify(&key, &peer, &storage, &nonce, Role::Worker, 0), forged);
        }
    }

    #[test]
    fn expired_tokens_and_higher_roles_are_refused() {
        let (key, token, peer) = sample();
        let proof = token.prove(&peer, &[1; 16], &[2; 32]);
        let verify = |role, now| proof.verify(&key, &peer, &[1; 16], &[2; 32], role, now);
        assert!(matches!(verify(Role::Worker, 10_000), Err(TokenError::Expired { .. })));
        assert!(matches!(verify(Role::Master, 0), Err(TokenError::Role { .. })));
        assert!(token.check(Role::Leecher, 0).is_ok());
        assert!(token.check(Role::Master, 0).is_err());
        assert!(token.check(Role::Worker, 10_000).is_err());
    }
}

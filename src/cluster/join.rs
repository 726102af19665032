//! Joining: the newcomer's side. Which cluster answers is checked before anything secret is shown.

use std::time::Duration;

use futures::StreamExt;

use crate::{
    base::{Multiaddr, PeerId, Role, frame, time},
    net::{Class, Net},
};

use super::{
    error::ClusterError,
    model::{ClusterKey, MasterInfo, Token, TokenError},
    rpc::{Admission, Answer, Ask, Call, Newcomer, PROTOCOL, read_answer, unexpected},
};

/// A join ends with an error after this time, so that a process which then has to stop still ends within ten seconds.
pub const JOIN_LIMIT: Duration = Duration::from_millis(6_500);
/// One address may take this long to be reached.
const DIAL_LIMIT: Duration = Duration::from_secs(3);
/// One member may take this long to admit.
const ADMIT_LIMIT: Duration = Duration::from_secs(5);
/// The most members asked.
const MAX_TRIES: usize = 16;

/// What a newcomer brings home.
#[derive(Debug)]
pub struct Joined {
    /// Its certificate and the masters.
    pub admission: Admission,
    /// The cluster's key, when it is a master now.
    pub key: Option<ClusterKey>,
}

/// Joins by the first of `addrs` that lets it; all are dialled at once. A member that is no master names the masters,
/// who are asked next.
pub async fn join(net: &Net, addrs: Vec<Multiaddr>, token: &Token, newcomer: Newcomer) -> Result<Joined, ClusterError> {
    token.check(newcomer.role, time::unix_ms())?;
    let said = std::sync::Mutex::new(Vec::<String>::new());
    let note = |text: String| said.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(text);
    let joining = async {
        let mut asked: Vec<PeerId> = Vec::new();
        let mut masters: Vec<MasterInfo> = Vec::new();
        let dial =
            async |addr: Multiaddr| (tokio::time::timeout(DIAL_LIMIT, net.peers().connect(addr.clone())).await, addr);
        let mut dials = futures::stream::iter(addrs).map(dial).buffer_unordered(MAX_TRIES);
        while let Some((dialled, addr)) = dials.next().await {
            match dialled {
                Ok(Ok(peer)) => masters.insert(0, MasterInfo { peer, addrs: vec![] }),
                Ok(Err(e)) => {
                    note(format!("{addr}: {e}"));
                    continue;
                }
                Err(_) => {
                    note(format!("{addr}: no answer within {DIAL_LIMIT:?}"));
                    continue;
                }
            }
            while let Some(at) = masters.iter().position(|m| !asked.contains(&m.peer)) {
                let MasterInfo { peer, addrs } = masters.swap_remove(at);
                if asked.len() == MAX_TRIES {
                    break;
                }
                asked.push(peer);
                if !addrs.is_empty() {
                    net.peers().add_address(peer, addrs);
                }
                match tokio::time::timeout(ADMIT_LIMIT, ask(net, peer, token, &newcomer)).await {
                    Ok(Ok(Tried::In(joined))) => return Ok(*joined),
                    Ok(Ok(Tried::Elsewhere(more))) => masters.extend(more),
                    Ok(Err(e)) if final_refusal(&e) => return Err(e),
                    Ok(Err(e)) => note(format!("{peer}: {e}")),
                    Err(_) => note(format!("{peer}: no answer within {ADMIT_LIMIT:?}")),
                }
            }
        }
        Err(failed(&said))
    };
    match tokio::time::timeout(JOIN_LIMIT, joining).await {
        Ok(result) => result,
        Err(_) => {
            note(format!("nobody let this node in within {} s", JOIN_LIMIT.as_secs_f32()));
            Err(failed(&said))
        }
    }
}

fn failed(said: &std::sync::Mutex<Vec<String>>) -> ClusterError {
    let said = said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let reason = if said.is_empty() { "no address was given".to_owned() } else { said.join("; ") };
    ClusterError::JoinFailed { reason }
}

/// Another member of the same cluster would say the same.
fn final_refusal(e: &ClusterError) -> bool {
    match e {
        ClusterError::Token(_) => true,
        ClusterError::Refused { kind, .. } => {
            use crate::base::Kind;
            matches!(kind, Kind::Denied | Kind::Invalid | Kind::Conflict)
        }
        _ => false,
    }
}

enum Tried {
    In(Box<Joined>),
    Elsewhere(Vec<MasterInfo>),
}

async fn ask(net: &Net, peer: PeerId, token: &Token, newcomer: &Newcomer) -> Result<Tried, ClusterError> {
    let (_, mut stream) = match net.streams().open(peer, &[PROTOCOL], Class::Control).await {
        Ok(opened) => opened,
        Err(crate::net::NetError::Unsupported { .. }) => {
            let reason = format!("{peer} is in no cluster");
            return Err(ClusterError::JoinFailed { reason });
        }
        Err(e) => return Err(e.into()),
    };
    let call = Call { certificate: None, ask: Ask::Join(newcomer.clone()) };
    frame::write(&mut stream, &call).await?;
    let (certificate, nonce) = match read_answer(&mut stream, peer).await? {
        Answer::Challenge { certificate, nonce } => (certificate, nonce),
        Answer::Elsewhere { masters, .. } => return Ok(Tried::Elsewhere(masters)),
        _ => return Err(unexpected(peer)),
    };
    let cluster = certificate.cluster();
    if cluster != token.cluster {
        return Err(TokenError::Foreign { token: token.cluster, cluster }.into());
    }
    certificate.verify_shown_by(peer, &token.cluster, time::unix_ms())?;
    certificate.require(Role::Master)?;
    let proof = token.prove(&net.local_peer(), &newcomer.storage_id, &nonce);
    frame::write(&mut stream, &proof).await?;
    let Answer::Admitted(admission) = read_answer(&mut stream, peer).await? else { return Err(unexpected(peer)) };
    let own = &admission.certificate;
    own.verify_shown_by(net.local_peer(), &token.cluster, time::unix_ms())?;
    own.require(newcomer.role)?;
    let key = admission.cluster_key.as_ref().and_then(|bytes| ClusterKey::from_bytes(bytes));
    if newcomer.role == Role::Master && key.as_ref().map(ClusterKey::id) != Some(token.cluster) {
        return Err(ClusterError::Protocol { peer, why: "it gave a wrong cluster key".into() });
    }
    let mut admission = *admission;
    if admission.masters.is_empty() {
        admission.masters.push(MasterInfo { peer, addrs: net.peers().addresses_of(&peer) });
    }
    Ok(Tried::In(Box::new(Joined { admission, key })))
}

//! Sans-IO: the order in which peers are asked: usable ones first, then by score; equal ones keep their order.

use crate::base::PeerId;

/// Where a peer stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Neither banned nor waiting after failures.
    pub usable: bool,
    /// Its score in [0, 1].
    pub value: f64,
}

/// Sorts `peers`, best first.
pub fn rank(peers: &mut [PeerId], standing: impl Fn(&PeerId) -> Standing) {
    peers.sort_by_cached_key(|p| {
        let s = standing(p);
        // Scores are within [0, 1]; a millionth is finer than they mean anything.
        let value = (s.value.clamp(0.0, 1.0) * 1e6) as u32;
        (!s.usable, u32::MAX - value)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usable_then_score_then_the_order_given() {
        let peers: Vec<PeerId> = (0..5).map(|_| PeerId::random()).collect();
        let standing = |p: &PeerId| match peers.iter().position(|q| q == p) {
            Some(0) => Standing { usable: false, value: 0.9 },
            Some(1) => Standing { usable: true, value: 0.2 },
            Some(2) => Standing { usable: true, value: 0.8 },
            Some(3) => Standing { usable: true, value: 0.2 },
            _ => Standing { usable: true, value: 0.5 },
        };
        let mut sorted = peers.clone();
        rank(&mut sorted, standing);
        assert_eq!(sorted, [peers[2], peers[4], peers[1], peers[3], peers[0]]);
    }
}

//! Sans-IO: the names of codecs and hash functions, as Kubo lists them (the multicodec table's entries tagged `ipld`, and the
//! hash functions its `verifcid` admits).

use crate::base::Codec;

/// Codecs by number.
pub const CODECS: &[(u64, &str)] = &[
    (0x51, "cbor"),
    (0x55, "raw"),
    (0x70, "dag-pb"),
    (0x71, "dag-cbor"),
    (0x72, "libp2p-key"),
    (0x78, "git-raw"),
    (0x7b, "torrent-info"),
    (0x7c, "torrent-file"),
    (0x80, "blake3-hashseq"),
    (0x81, "leofcoin-block"),
    (0x82, "leofcoin-tx"),
    (0x83, "leofcoin-pr"),
    (0x85, "dag-jose"),
    (0x86, "dag-cose"),
    (0x90, "eth-block"),
    (0x91, "eth-block-list"),
    (0x92, "eth-tx-trie"),
    (0x93, "eth-tx"),
    (0x94, "eth-tx-receipt-trie"),
    (0x95, "eth-tx-receipt"),
    (0x96, "eth-state-trie"),
    (0x97, "eth-account-snapshot"),
    (0x98, "eth-storage-trie"),
    (0x99, "eth-receipt-log-trie"),
    (0x9a, "eth-receipt-log"),
    (0xb0, "bitcoin-block"),
    (0xb1, "bitcoin-tx"),
    (0xb2, "bitcoin-witness-commitment"),
    (0xc0, "zcash-block"),
    (0xc1, "zcash-tx"),
    (0xd0, "stellar-block"),
    (0xd1, "stellar-tx"),
    (0xe0, "decred-block"),
    (0xe1, "decred-tx"),
    (0xf0, "dash-block"),
    (0xf1, "dash-tx"),
    (0xfa, "swarm-manifest"),
    (0xfb, "swarm-feed"),
    (0xfc, "beeson"),
    (0x0129, "dag-json"),
    (0x01f0, "swhid-1-snp"),
    (0x0200, "json"),
    (0xb403, "rdfc-1"),
    (0xb601, "json-jcs"),
];

/// Hash functions by number, but for the two BLAKE2 families.
const HASHES: &[(u64, &str)] = &[
    (0x00, "identity"),
    (0x11, "sha1"),
    (0x12, "sha2-256"),
    (0x13, "sha2-512"),
    (0x14, "sha3-512"),
    (0x15, "sha3-384"),
    (0x16, "sha3-256"),
    (0x17, "sha3-224"),
    (0x19, "shake-256"),
    (0x1a, "keccak-224"),
    (0x1b, "keccak-256"),
    (0x1c, "keccak-384"),
    (0x1d, "keccak-512"),
    (0x1e, "blake3"),
    (0x56, "dbl-sha2-256"),
];

/// A codec's name.
pub fn codec(code: u64) -> Option<&'static str> {
    CODECS.iter().find(|(number, _)| *number == code).map(|(_, name)| *name)
}

/// A codec by its name or, as Kubo has it, its number (decimal or `0x…`).
pub fn codec_named(text: &str) -> Option<Codec> {
    let number = number(text);
    let found = CODECS.iter().find(|(code, name)| *name == text || Some(*code) == number);
    let private = number.filter(|code| (0x30_0000..=0x3f_ffff).contains(code));
    found.map(|(code, _)| *code).or(private).map(Codec::from)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Whether this node reads and writes the codec.
pub fn is_known(codec: Codec) -> bool {
    !matches!(codec, Codec::Other(_))
}

/// A hash function's name.
pub fn hash(code: u64) -> Option<String> {
    match code {
        0xb201..=0xb240 => Some(format!("blake2b-{}", (code - 0xb200) * 8)),
        0xb241..=0xb260 => Some(format!("blake2s-{}", (code - 0xb240) * 8)),
        _ => HASHES.iter().find(|(number, _)| *number == code).map(|(_, name)| (*name).to_owned()),
    }
}

/// The hash functions that are admitted, by number.
pub fn hashes() -> Vec<(u64, String)> {
    let wide = (0xb214..=0xb240).chain(0xb254..=0xb260);
    let all = HASHES.iter().map(|(code, _)| *code).chain(wide);
    all.filter_map(|code| Some((code, hash(code)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Hash;

    #[test]
    fn every_name_leads_to_its_function_and_back() {
        for (code, name) in hashes() {
            let hash = Hash::named(&name).unwrap();
            assert_eq!(hash.code(), code, "{name}");
            hash.digest(b"").unwrap();
        }
        assert!((0..0x1_0000).all(|code| Hash::from_code(code).is_err() || hash(code).is_some()));
    }

    #[test]
    fn codecs_have_names_and_numbers() {
        for (text, codec) in [("dag-cbor", Codec::DagCbor), ("0x71", Codec::DagCbor), ("113", Codec::DagCbor)] {
            assert_eq!(codec_named(text), Some(codec));
        }
        assert_eq!(codec_named("0x300001"), Some(Codec::Other(0x30_0001)));
        assert!(["", "nonsense", "0x4", "99999"].iter().all(|text| codec_named(text).is_none()));
        assert!(CODECS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}

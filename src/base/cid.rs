//! Content ids: the type, the codecs and hash functions this node admits, and parsing with errors a person can act on.

use std::fmt;

use multihash_codetable::MultihashDigest;
use sha2::Digest;
use sha3::digest::ExtendableOutput;

/// A content id whose digest may be up to 128 bytes long (identity ids carry their data in the digest).
pub type Cid = ::cid::CidGeneric<128>;

/// A multihash of the same capacity as [`Cid`].
pub type Multihash = multihash::Multihash<128>;

/// Longest identity digest admitted, in bytes.
pub const MAX_IDENTITY_BYTES: usize = 128;
/// Shortest digest of a real hash function admitted, in bytes.
pub const MIN_DIGEST_BYTES: usize = 20;

/// Multicodec numbers of the block formats this node reads (the multicodec table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Bytes without structure, 0x55.
    Raw,
    /// DAG-PB, the format of UnixFS, 0x70.
    DagPb,
    /// DAG-CBOR, 0x71.
    DagCbor,
    /// DAG-JSON, 0x0129.
    DagJson,
    /// CBOR without links, 0x51.
    Cbor,
    /// JSON without links, 0x0200.
    Json,
    /// Any other codec, kept as its number.
    Other(u64),
}

impl Codec {
    /// The multicodec number.
    pub fn code(self) -> u64 {
        match self {
            Codec::Raw => 0x55,
            Codec::DagPb => 0x70,
            Codec::DagCbor => 0x71,
            Codec::DagJson => 0x0129,
            Codec::Cbor => 0x51,
            Codec::Json => 0x0200,
            Codec::Other(code) => code,
        }
    }
}

impl From<u64> for Codec {
    fn from(code: u64) -> Self {
        match code {
            0x55 => Codec::Raw,
            0x70 => Codec::DagPb,
            0x71 => Codec::DagCbor,
            0x0129 => Codec::DagJson,
            0x51 => Codec::Cbor,
            0x0200 => Codec::Json,
            other => Codec::Other(other),
        }
    }
}

/// Hash functions this node admits: the list Kubo's `verifcid` admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// The data itself, 0x00; at most [`MAX_IDENTITY_BYTES`].
    Identity,
    /// SHA-1, 0x11 (git objects).
    Sha1,
    /// SHA-2 with 256 bits, 0x12; the default.
    Sha2_256,
    /// SHA-2 with 512 bits, 0x13.
    Sha2_512,
    /// SHA-3 with 224, 256, 384 or 512 bits, 0x17 to 0x14; the code is kept.
    Sha3(u64),
    /// Keccak with 224 to 512 bits, 0x1a to 0x1d; the code is kept.
    Keccak(u64),
    /// BLAKE2b with 160 to 512 bits, 0xb214 to 0xb240; the code is kept.
    Blake2b(u64),
    /// BLAKE2s with 160 to 256 bits, 0xb254 to 0xb260; the code is kept.
    Blake2s(u64),
    /// BLAKE3 with 256 bits, 0x1e.
    Blake3,
    /// SHAKE with 256 bits of strength and 512 of digest, 0x19.
    Shake256,
    /// SHA-2 with 256 bits twice over, 0x56.
    DoubleSha2_256,
}

impl Hash {
    /// The multihash number.
    pub fn code(self) -> u64 {
        match self {
            Hash::Identity => 0x00,
            Hash::Sha1 => 0x11,
            Hash::Sha2_256 => 0x12,
            Hash::Sha2_512 => 0x13,
            Hash::Blake3 => 0x1e,
            Hash::Shake256 => 0x19,
            Hash::DoubleSha2_256 => 0x56,
            Hash::Sha3(code) | Hash::Keccak(code) | Hash::Blake2b(code) | Hash::Blake2s(code) => code,
        }
    }

    /// The function of a multihash number, or an error naming the number.
    pub fn from_code(code: u64) -> Result<Self, CidError> {
        Ok(match code {
            0x00 => Hash::Identity,
            0x11 => Hash::Sha1,
            0x12 => Hash::Sha2_256,
            0x13 => Hash::Sha2_512,
            0x14..=0x17 => Hash::Sha3(code),
            0x1a..=0x1d => Hash::Keccak(code),
            0x1e => Hash::Blake3,
            0x19 => Hash::Shake256,
            0x56 => Hash::DoubleSha2_256,
            0xb214..=0xb240 => Hash::Blake2b(code),
            0xb254..=0xb260 => Hash::Blake2s(code),
            _ => return Err(CidError::HashNotAdmitted { code }),
        })
    }

    /// The function with which new content is to be hashed, by its name in the multicodec table, such as `sha2-256`, in large
    /// or small letters. Functions that Kubo lists but cannot compute are refused: what is hashed with them, it cannot check.
    pub fn parse(name: &str) -> Result<Self, CidError> {
        let hash = Hash::named(name)?;
        match hash {
            Hash::Keccak(0x1a | 0x1c) | Hash::Blake2s(0..0xb260) => {
                Err(CidError::HashNotComputed { name: name.to_ascii_lowercase() })
            }
            _ => Ok(hash),
        }
    }

    /// The function of this name, whether new content may be hashed with it or not.
    pub fn named(name: &str) -> Result<Self, CidError> {
        let name = name.to_ascii_lowercase();
        let sized = |prefix: &str, zero: u64, bytes: std::ops::RangeInclusive<u64>| -> Option<u64> {
            let bits: u64 = name.strip_prefix(prefix)?.parse().ok()?;
            (bits.is_multiple_of(8) && bytes.contains(&(bits / 8))).then_some(zero + bits / 8)
        };
        let code = match name.as_str() {
            "identity" => 0x00,
            "sha1" => 0x11,
            "sha2-256" => 0x12,
            "sha2-512" => 0x13,
            "sha3" | "sha3-512" => 0x14,
            "sha3-384" => 0x15,
            "sha3-256" => 0x16,
            "sha3-224" => 0x17,
            "shake-256" => 0x19,
            "keccak-224" => 0x1a,
            "keccak-256" => 0x1b,
            "keccak-384" => 0x1c,
            "keccak-512" => 0x1d,
            "blake3" => 0x1e,
            "dbl-sha2-256" => 0x56,
            _ => sized("blake2b-", 0xb200, 20..=64)
                .or_else(|| sized("blake2s-", 0xb240, 20..=32))
                .ok_or_else(|| CidError::UnknownHash { name: name.chars().take(40).collect() })?,
        };
        Hash::from_code(code)
    }

    /// Hashes `data`.
    pub fn digest(self, data: &[u8]) -> Result<Multihash, CidError> {
        let code = self.code();
        let wrap = |digest: &[u8]| {
            Multihash::wrap(code, digest).map_err(|_| CidError::DigestLength { code, bytes: digest.len() })
        };
        match self {
            Hash::Identity if data.len() > MAX_IDENTITY_BYTES => {
                Err(CidError::DigestLength { code, bytes: data.len() })
            }
            Hash::Identity => wrap(data),
            // By far the commonest; straight to the implementation that uses the CPU's SHA extensions.
            Hash::Sha2_256 => wrap(&sha2::Sha256::digest(data)),
            Hash::DoubleSha2_256 => wrap(&sha2::Sha256::digest(sha2::Sha256::digest(data))),
            Hash::Sha1 => wrap(&sha1::Sha1::digest(data)),
            Hash::Blake2b(code) => {
                let bytes = (code - 0xb200) as usize;
                wrap(blake2b_simd::Params::new().hash_length(bytes).hash(data).as_bytes())
            }
            Hash::Blake2s(code) => {
                let bytes = (code - 0xb240) as usize;
                wrap(blake2s_simd::Params::new().hash_length(bytes).hash(data).as_bytes())
            }
            Hash::Shake256 => {
                let mut digest = [0; 64];
                sha3::Shake256::digest_xof(data, &mut digest);
                wrap(&digest)
            }
            Hash::Sha2_512 | Hash::Sha3(_) | Hash::Keccak(_) | Hash::Blake3 => {
                let function =
                    multihash_codetable::Code::try_from(code).map_err(|_| CidError::HashNotAdmitted { code })?;
                wrap(function.digest(data).digest())
            }
        }
    }
}

/// Why a content id is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CidError {
    /// The text or bytes are no content id.
    #[error("'{text}' is not a valid CID: {reason}")]
    Malformed {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No hash function has this name, or it is not on the list.
    #[error(
        "hash function '{name}' is not known; use sha2-256, sha2-512, sha3-256, blake2b-256, blake3 or another of the multicodec table's"
    )]
    UnknownHash {
        /// The name.
        name: String,
    },
    /// Content hashed with it is read, but none is made.
    #[error(
        "hash function '{name}' is not computed by Kubo, which could not check what is hashed with it; \
         use sha2-256, keccak-256, keccak-512, blake2s-256 or blake3"
    )]
    HashNotComputed {
        /// The name.
        name: String,
    },
    /// The hash function is not on the list.
    #[error(
        "hash function 0x{code:x} is not admitted; use sha2-256, sha2-512, sha3, blake2b, blake2s, blake3 or identity"
    )]
    HashNotAdmitted {
        /// Its multihash number.
        code: u64,
    },
    /// The digest is too short or too long.
    #[error(
        "a digest of {bytes} bytes is not admitted for hash function 0x{code:x} (20 to 128 bytes; identity at most 128)"
    )]
    DigestLength {
        /// The multihash number.
        code: u64,
        /// The digest's length.
        bytes: usize,
    },
}

/// Checks that a content id uses an admitted hash function and digest length.
pub fn admit(cid: &Cid) -> Result<Hash, CidError> {
    let hash = Hash::from_code(cid.hash().code())?;
    let bytes = cid.hash().digest().len();
    let fits = if hash == Hash::Identity { bytes <= MAX_IDENTITY_BYTES } else { bytes >= MIN_DIGEST_BYTES };
    if fits { Ok(hash) } else { Err(CidError::DigestLength { code: hash.code(), bytes }) }
}

/// Parses a content id from text, alone or behind `/ipfs/`, and checks that it is admitted.
pub fn parse(text: &str) -> Result<Cid, CidError> {
    let bare = text.trim().strip_prefix("/ipfs/").unwrap_or(text.trim()).trim_end_matches('/');
    let cid = decode_text(bare).map_err(|reason| malformed(text, reason))?;
    admit(&cid)?;
    Ok(cid)
}

/// Parses a content id from bytes and checks that it is admitted.
pub fn from_bytes(bytes: &[u8]) -> Result<Cid, CidError> {
    let cid = decode(bytes)?;
    admit(&cid)?;
    Ok(cid)
}

/// A content id of any hash function from the front of the bytes, which then begin behind it; the error says what is wrong.
pub fn read(bytes: &mut &[u8]) -> Result<Cid, String> {
    let whole = bytes.len();
    let cid = Cid::read_bytes(&mut *bytes).map_err(|e| e.to_string())?;
    // Bits beyond the 63 of a number are dropped in silence: many would read as one.
    let fits = cid.codec() < 1 << 63 && cid.hash().code() < 1 << 63;
    if fits && cid.encoded_len() == whole - bytes.len() { Ok(cid) } else { Err("a number in it is too large".into()) }
}

/// A content id of any hash function that takes all the bytes: whatever follows would make two of one.
pub fn decode(bytes: &[u8]) -> Result<Cid, CidError> {
    let mut rest = bytes;
    let cid = read(&mut rest).map_err(|reason| malformed("<bytes>", reason))?;
    if rest.is_empty() { Ok(cid) } else { Err(malformed("<bytes>", "bytes left over behind it")) }
}

/// A content id of any hash function from text that is nothing else; the error says what is wrong with it.
pub fn decode_text(text: &str) -> Result<Cid, String> {
    if text.len() < 2 {
        return Err("it is too short".into());
    }
    let bytes = if ::cid::Version::is_v0_str(text) {
        multibase::Base::Base58Btc.decode(text)
    } else {
        multibase::decode(text).map(|(_, bytes)| bytes)
    };
    let bytes = bytes.map_err(|e| e.to_string())?;
    let mut rest = &bytes[..];
    let cid = read(&mut rest)?;
    if rest.is_empty() { Ok(cid) } else { Err("there are bytes left over behind it".into()) }
}

fn malformed(text: &str, reason: impl fmt::Display) -> CidError {
    let shown: String = text.chars().take(80).collect();
    CidError::Malformed { text: shown, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_both_versions_with_and_without_prefix() {
        for text in [
            "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD",
            "/ipfs/bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
        ] {
            parse(text).unwrap();
        }
        for text in ["", "Qm", "hello", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5"] {
            assert!(matches!(parse(text), Err(CidError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn numbers_too_large_for_a_cid_do_not_read_as_smaller_ones() {
        let sixty_four_bits = [&[1][..], &[0x82; 9], &[1, 0, 0]].concat();
        let seventy_bits = [&[1][..], &[0x82; 9], &[0x2c, 0, 0]].concat();
        let hash = [&[1, 0x55][..], &[0x92; 9], &[0x2c, 0]].concat();
        for bytes in [sixty_four_bits, seventy_bits, hash] {
            let error = decode(&bytes).unwrap_err().to_string();
            assert!(error.contains("too large"), "{error}");
        }
        let largest = [&[1][..], &[0xff; 8], &[0x7f, 0, 0]].concat();
        assert_eq!(decode(&largest).unwrap().to_bytes(), largest);
    }

    /// Digests of "foo" as go-multihash's own tests have them.
    #[test]
    fn hash_functions_have_their_names_and_digests() {
        for (name, digest) in [
            ("sha1", "11140beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33"),
            ("sha2-256", "12202c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"),
            ("dbl-sha2-256", "5620c7ade88fc7a21498a6a5e5c385e1f68bed822b72aa63c4a9a48a02c2466ee29e"),
        ] {
            let hash = Hash::parse(name).unwrap();
            assert_eq!(data_encoding::HEXLOWER.encode(&hash.digest(b"foo").unwrap().to_bytes()), digest, "{name}");
        }
        let empty = |name: &str| {
            let digest = Hash::parse(name).unwrap().digest(b"").unwrap();
            (digest.size(), data_encoding::HEXLOWER.encode(&digest.digest()[..8]))
        };
        assert_eq!(empty("shake-256"), (64, "46b9dd2b0ba88d13".into()));
        assert_eq!(empty("keccak-256"), (32, "c5d2460186f7233c".into()));
        assert_eq!(empty("SHA3-256"), (32, "a7ffc6f8bf1ed766".into()));
        assert_eq!(empty("blake2b-160"), (20, "3345524abf6bbe18".into()));
        assert_eq!(empty("blake2b-512"), (64, "786a02f742015903".into()));
        assert_eq!(empty("blake2s-256"), (32, "69217a3079908094".into()));
        assert_eq!(empty("blake3"), (32, "af1349b9f5f9a1a6".into()));
        for name in ["", "md5", "sha2", "blake2b", "blake2b-152", "blake2b-513", "blake2s-264", "murmur3-x64-64", "x11"]
        {
            assert!(Hash::parse(name).is_err(), "{name}");
        }
    }

    /// Every name that go-multihash knows: boxo's CID of "foo", or that it gives none.
    #[test]
    fn new_content_is_hashed_as_kubo_hashes_it() {
        let (mut made, mut refused) = (0, 0);
        for line in include_str!("hashes.txt").lines().filter(|line| !line.starts_with('#')) {
            let (name, cid) = line.split_once(' ').unwrap();
            if cid == "refused" {
                assert!(Hash::parse(name).is_err(), "{name}");
                refused += 1;
                continue;
            }
            for name in [name.to_owned(), name.to_uppercase()] {
                let hash = Hash::parse(&name).unwrap();
                assert_eq!(Cid::new_v1(0x55, hash.digest(b"foo").unwrap()).to_string(), cid, "{name}");
                admit(&parse(cid).unwrap()).unwrap();
            }
            made += 1;
        }
        assert_eq!((made, refused), (60, 58));
        // Those that Kubo lists and cannot compute are read all the same.
        assert!(matches!(Hash::parse("keccak-384"), Err(CidError::HashNotComputed { .. })));
        assert_eq!(Hash::named("keccak-384").unwrap().digest(b"").unwrap().size(), 48);
    }

    /// Found by fuzzing: what stood behind or before a CID was ignored, so that one CID had any number of forms.
    #[test]
    fn a_cid_has_nothing_behind_it_and_nothing_before_it() {
        let good = parse("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e").unwrap();
        let longer = [&good.to_bytes()[..], b"x"].concat();
        assert_eq!(from_bytes(&good.to_bytes()), Ok(good));
        assert!(from_bytes(&longer).is_err());
        assert!(parse(&multibase::encode(multibase::Base::Base32Lower, &longer)).is_err());
        let v0 = "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD";
        let digest = parse(v0).unwrap().to_bytes();
        assert!(from_bytes(&[&digest[..], b"x"].concat()).is_err());
        for text in [format!("x/ipfs/{v0}"), format!("/ipfs//ipfs/{v0}"), format!("{v0}/ipfs/{v0}")] {
            assert!(parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn unlisted_and_short_hashes_are_refused() {
        let md5 = Cid::new_v1(0x55, Multihash::wrap(0xd5, &[0; 16]).unwrap());
        assert_eq!(admit(&md5), Err(CidError::HashNotAdmitted { code: 0xd5 }));
        let short = Cid::new_v1(0x55, Multihash::wrap(0x12, &[0; 10]).unwrap());
        assert_eq!(admit(&short), Err(CidError::DigestLength { code: 0x12, bytes: 10 }));
        let identity = Cid::new_v1(0x55, Multihash::wrap(0, &[7; 128]).unwrap());
        assert_eq!(admit(&identity), Ok(Hash::Identity));
    }
}

//! Sans-IO: CIDs as text: in a chosen multibase, by a format string, taken apart.

use multibase::Base;

use super::{DagError, codec::names};
use crate::base::{Cid, CidError, Codec, cid};

/// Multibases by name, in the order of their code letters as Kubo lists them.
pub const BASES: &[(&str, Base)] = &[
    ("identity", Base::Identity),
    ("base2", Base::Base2),
    ("base32", Base::Base32Lower),
    ("base32upper", Base::Base32Upper),
    ("base32pad", Base::Base32PadLower),
    ("base32padupper", Base::Base32PadUpper),
    ("base16", Base::Base16Lower),
    ("base16upper", Base::Base16Upper),
    ("base36", Base::Base36Lower),
    ("base36upper", Base::Base36Upper),
    ("base64", Base::Base64),
    ("base64pad", Base::Base64Pad),
    ("base32hexpad", Base::Base32HexPadLower),
    ("base32hexpadupper", Base::Base32HexPadUpper),
    ("base64url", Base::Base64Url),
    ("base64urlpad", Base::Base64UrlPad),
    ("base32hex", Base::Base32HexLower),
    ("base32hexupper", Base::Base32HexUpper),
    ("base58btc", Base::Base58Btc),
    ("base58flickr", Base::Base58Flickr),
    ("base256emoji", Base::Base256Emoji),
];

/// The multibase of this name, or of this code letter.
pub fn base_named(text: &str) -> Result<Base, DagError> {
    let by_letter = |base: Base| text.chars().eq([base.code()]);
    let found = BASES.iter().find(|(name, base)| *name == text || by_letter(*base));
    found.map(|(_, base)| *base).ok_or_else(|| DagError::BadParams {
        reason: format!("'{text}' is no multibase; use base32, base36, base58btc or another that 'cid bases' lists"),
    })
}

fn base_name(base: Base) -> &'static str {
    BASES.iter().find(|(_, known)| *known == base).map_or("unknown", |(name, _)| name)
}

/// How CIDs are written in answers: as they are, or in a multibase, for which version 0 becomes version 1 where it must.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CidText {
    base: Option<Base>,
}

impl CidText {
    /// In the multibase of this name.
    pub fn named(name: &str) -> Result<Self, DagError> {
        Ok(CidText { base: Some(base_named(name)?) })
    }

    /// In the multibase in which this CID is written.
    pub fn like(text: &str) -> Self {
        let base = multibase::decode(text).ok().map(|(base, _)| base);
        // Version 0 has no letter; what looks like one is part of the hash.
        CidText { base: base.filter(|_| !is_v0(text)) }
    }

    /// The CID's text.
    pub fn of(&self, cid: &Cid) -> String {
        match self.base {
            None => cid.to_string(),
            Some(Base::Base58Btc) if cid.version() == ::cid::Version::V0 => cid.to_string(),
            Some(base) => in_base(&v1(cid), base),
        }
    }
}

fn is_v0(text: &str) -> bool {
    text.len() == 46 && text.starts_with("Qm")
}

fn v1(cid: &Cid) -> Cid {
    Cid::new_v1(cid.codec(), *cid.hash())
}

fn in_base(cid: &Cid, base: Base) -> String {
    multibase::encode(base, cid.to_bytes())
}

/// How a CID is rewritten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The version it becomes.
    pub version: Option<u8>,
    /// The codec it becomes.
    pub codec: Option<Codec>,
    /// The multibase it is written in; without a version, it becomes version 1.
    pub base: Option<Base>,
}

impl Rewrite {
    /// From Kubo's option texts; empty ones count as absent.
    pub fn parse(version: &str, codec: &str, base: &str) -> Result<Self, DagError> {
        let bad = |reason: String| Err(DagError::BadParams { reason });
        let codec = match codec {
            "" => None,
            name => match names::codec_named(name) {
                Some(codec) => Some(codec),
                None => return bad(format!("'{name}' is no codec; 'cid codecs' lists them")),
            },
        };
        let base = if base.is_empty() { None } else { Some(base_named(base)?) };
        let version = match version {
            "" => None,
            "0" if codec.is_some_and(|codec| codec != Codec::DagPb) => {
                return bad("version 0 has no codec but dag-pb; leave the codec out".into());
            }
            "0" if base.is_some_and(|base| base != Base::Base58Btc) => {
                return bad("version 0 has no multibase but base58btc; leave the multibase out".into());
            }
            "0" => Some(0),
            "1" => Some(1),
            other => return bad(format!("'{other}' is no version of CIDs; use 0 or 1")),
        };
        Ok(Rewrite { version: version.or(base.map(|_| 1)), codec, base })
    }

    /// The CID rewritten and written by a format string (`%s` is the CID; see [`FORMAT_HELP`]).
    pub fn apply(&self, text: &str, format: &str) -> Result<String, DagError> {
        let mut cid = parse(text)?;
        if let Some(codec) = self.codec.filter(|codec| codec.code() != cid.codec()) {
            cid = Cid::new_v1(codec.code(), *cid.hash());
        }
        match self.version {
            Some(0) => {
                let fail = |_| DagError::BadParams { reason: format!("{text} cannot become version 0: {V0_ONLY}") };
                if Codec::from(cid.codec()) != Codec::DagPb {
                    return Err(DagError::BadParams { reason: format!("{text} cannot become version 0: {V0_ONLY}") });
                }
                cid = Cid::new_v0(*cid.hash()).map_err(fail)?;
            }
            Some(_) => cid = v1(&cid),
            None => {}
        }
        let own = if cid.version() == ::cid::Version::V0 { Base::Base58Btc } else { base_of(text) };
        written(&cid, self.base.unwrap_or(own), format)
    }
}

const V0_ONLY: &str = "only dag-pb with a whole sha2-256 digest can";

/// What a format string may hold.
pub const FORMAT_HELP: &str = "%% a percent sign; %b %B multibase name and letter; %v %V version (cidv1, 1); %c %C codec name \
and number; %h %H %L hash function name, number and length; %m %M multihash with and without multibase letter; %d %D digest \
likewise; %s %S CID likewise; %P prefix (version-codec-hash-length)";

/// Parses a CID, admitted or not.
pub fn parse(text: &str) -> Result<Cid, DagError> {
    cid::decode_text(text).map_err(|reason| {
        let shown = text.chars().take(80).collect();
        DagError::Cid(CidError::Malformed { text: shown, reason })
    })
}

/// The multibase a text of version 1 is written in; base32 when it is not version 1.
fn base_of(text: &str) -> Base {
    if is_v0(text) {
        return Base::Base32Lower;
    }
    text.chars().next().and_then(|letter| Base::from_code(letter).ok()).unwrap_or(Base::Base32Lower)
}

fn codec_name(code: u64) -> String {
    names::codec(code).map_or_else(|| format!("Code({code})"), str::to_owned)
}

fn hash_name(code: u64) -> String {
    names::hash(code).unwrap_or_else(|| format!("hash?{code}"))
}

fn written(cid: &Cid, base: Base, format: &str) -> Result<String, DagError> {
    let bad = |reason: String| DagError::BadParams { reason };
    let encode = |bytes: &[u8], bare: bool| if bare { base.encode(bytes) } else { multibase::encode(base, bytes) };
    let version = u64::from(cid.version());
    let (codec, hash) = (cid.codec(), cid.hash());
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let kind = chars.next().ok_or_else(|| bad("the format string ends in the middle of a specifier".into()))?;
        match kind {
            '%' => out.push('%'),
            'b' => out.push_str(base_name(base)),
            'B' => out.push(base.code()),
            'v' => out.push_str(&format!("cidv{version}")),
            'V' => out.push_str(&version.to_string()),
            'c' => out.push_str(&codec_name(codec)),
            'C' => out.push_str(&codec.to_string()),
            'h' => out.push_str(&hash_name(hash.code())),
            'H' => out.push_str(&hash.code().to_string()),
            'L' => out.push_str(&hash.digest().len().to_string()),
            'm' | 'M' => out.push_str(&encode(&hash.to_bytes(), kind == 'M')),
            'd' | 'D' => out.push_str(&encode(hash.digest(), kind == 'D')),
            's' if version == 0 => out.push_str(&cid.to_string()),
            's' | 'S' => out.push_str(&encode(&cid.to_bytes(), kind == 'S')),
            'P' => {
                let (codec, name) = (codec_name(codec), hash_name(hash.code()));
                out.push_str(&format!("cidv{version}-{codec}-{name}-{}", hash.digest().len()));
            }
            other => return Err(bad(format!("unrecognized specifier in format string: %{other}"))),
        }
    }
    Ok(out)
}

/// A CID taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// 0 or 1.
    pub version: u8,
    /// The multibase's letter and name; of version 0 they are implied.
    pub base: (char, &'static str),
    /// The codec's number and name.
    pub codec: (u64, String),
    /// The hash function's number and name.
    pub hash: (u64, String),
    /// The digest.
    pub digest: Vec<u8>,
    /// The same as version 0, where there is one.
    pub v0: Option<String>,
    /// The same as version 1, in base32 (keys of libp2p in base36).
    pub v1: String,
}

/// Takes a CID apart.
pub fn inspect(text: &str) -> Result<Parts, DagError> {
    let cid = parse(text)?;
    let base = if cid.version() == ::cid::Version::V0 { Base::Base58Btc } else { base_of(text) };
    let hash = cid.hash();
    let v1_base = if cid.codec() == LIBP2P_KEY { Base::Base36Lower } else { Base::Base32Lower };
    let v0 = (Codec::from(cid.codec()) == Codec::DagPb).then(|| Cid::new_v0(*hash).ok()).flatten();
    Ok(Parts {
        version: u64::from(cid.version()) as u8,
        base: (base.code(), base_name(base)),
        codec: (cid.codec(), names::codec(cid.codec()).unwrap_or("unknown").to_owned()),
        hash: (hash.code(), names::hash(hash.code()).unwrap_or_else(|| "unknown".into())),
        digest: hash.digest().to_vec(),
        v0: v0.map(|cid| cid.to_string()),
        v1: in_base(&v1(&cid), v1_base),
    })
}

/// The codec of a peer's key.
const LIBP2P_KEY: u64 = 0x72;

/// The CID of a peer id, for those who mistake one for a CID.
pub fn of_peer(peer: &crate::base::PeerId) -> Option<String> {
    let hash = cid::Multihash::from_bytes(&peer.to_bytes()).ok()?;
    Some(in_base(&Cid::new_v1(LIBP2P_KEY, hash), Base::Base36Lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V0: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
    const V1: &str = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";

    #[test]
    fn answers_in_a_base_raise_version_0() {
        let cid = parse(V0).unwrap();
        assert_eq!(CidText::default().of(&cid), V0);
        assert_eq!(CidText::named("base58btc").unwrap().of(&cid), V0);
        assert_eq!(CidText::named("base32").unwrap().of(&cid), V1);
        assert_eq!(CidText::named("b").unwrap().of(&cid), V1);
        assert_eq!(CidText::like(V0).of(&cid), V0);
        assert_eq!(CidText::like(V1).of(&cid), V1);
        assert!(CidText::named("base31").is_err());
    }

    /// The texts are what `ipfs cid format` prints.
    #[test]
    fn formats_are_kubos() {
        let as_is = Rewrite::default();
        assert_eq!(
            as_is.apply(V0, "%s %b %B %v %V %c %C %h %H %L %P %%").unwrap(),
            format!("{V0} base58btc z cidv0 0 dag-pb 112 sha2-256 18 32 cidv0-dag-pb-sha2-256-32 %")
        );
        assert_eq!(Rewrite::parse("1", "", "").unwrap().apply(V0, "%s").unwrap(), V1);
        assert_eq!(Rewrite::parse("0", "", "").unwrap().apply(V1, "%s").unwrap(), V0);
        assert_eq!(Rewrite::parse("", "", "base32").unwrap().apply(V0, "%S").unwrap(), V1[1..]);
        let raw = Rewrite::parse("", "raw", "").unwrap().apply(V1, "%P").unwrap();
        assert_eq!(raw, "cidv1-raw-sha2-256-32");
        assert!(Rewrite::parse("0", "raw", "").is_err());
        assert!(Rewrite::parse("0", "", "base32").is_err());
        assert!(Rewrite::parse("2", "", "").is_err());
        assert!(
            Rewrite::parse("0", "", "")
                .unwrap()
                .apply("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", "%s")
                .is_err()
        );
        assert!(as_is.apply(V0, "%x").is_err());
        assert!(as_is.apply(V0, "100%").is_err());
    }

    #[test]
    fn cids_are_taken_apart() {
        let parts = inspect(V0).unwrap();
        assert_eq!((parts.version, parts.base, parts.codec), (0, ('z', "base58btc"), (112, "dag-pb".into())));
        assert_eq!((parts.v0.as_deref(), parts.v1.as_str()), (Some(V0), V1));
        assert_eq!(parts.digest.len(), 32);
        let raw = inspect("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e").unwrap();
        assert_eq!((raw.base, raw.codec, raw.v0), (('b', "base32"), (85, "raw".into()), None));
        assert!(inspect("nonsense").is_err());
    }

    #[test]
    fn every_base_comes_back() {
        let cid = parse(V1).unwrap();
        for (name, base) in BASES.iter().filter(|(name, _)| *name != "identity") {
            assert_eq!(base_named(name).unwrap(), *base);
            let text = CidText::named(name).unwrap().of(&cid);
            assert_eq!(parse(&text).unwrap(), cid, "{name}");
            assert_eq!(inspect(&text).unwrap().base, (base.code(), *name));
        }
    }
}

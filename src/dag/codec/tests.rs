//! Tests of the codecs: published fixtures, strictness, hostile input, round trips.

use std::{fs, path::PathBuf};

use proptest::prelude::*;

use super::*;
use crate::base::{Block, Hash};

const CODECS: [Codec; 6] = [Codec::DagCbor, Codec::DagJson, Codec::DagPb, Codec::Cbor, Codec::Json, Codec::Raw];

/// The folder of published codec fixtures, or None, said loudly.
fn fixtures() -> Option<PathBuf> {
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/vectors/codec"));
    if !dir.is_dir() {
        eprintln!("SKIPPED: the published codec fixtures are absent");
        return None;
    }
    Some(dir)
}

fn cases(name: &str) -> Option<Vec<serde_json::Value>> {
    let text = fs::read_to_string(fixtures()?.join("negative-fixtures").join(name)).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

/// Every value in every codec it is published in: read from each, written to each, the CIDs are the published ones.
#[test]
fn published_values_are_the_same_in_every_codec() {
    let Some(dir) = fixtures() else { return };
    let mut written = 0;
    for case in
        fs::read_dir(dir.join("fixtures")).unwrap().map(|case| case.unwrap().path()).filter(|path| path.is_dir())
    {
        let files: Vec<(Codec, Cid, Vec<u8>)> = fs::read_dir(&case)
            .unwrap()
            .map(|file| {
                let path = file.unwrap().path();
                let codec = names::codec_named(path.extension().unwrap().to_str().unwrap()).unwrap();
                let cid = crate::base::cid::parse(path.file_stem().unwrap().to_str().unwrap()).unwrap();
                (codec, cid, fs::read(&path).unwrap())
            })
            .collect();
        for (from, _, bytes) in &files {
            let value = decode(*from, bytes).unwrap_or_else(|e| panic!("{} as {from:?}: {e}", case.display()));
            for (to, cid, _) in &files {
                let bytes = encode(*to, &value).unwrap_or_else(|e| panic!("{} to {to:?}: {e}", case.display()));
                let block = Block::new(*to, Hash::Sha2_256, bytes).unwrap();
                assert_eq!(block.cid(), cid, "{} from {from:?} to {to:?}", case.display());
                written += 1;
            }
        }
    }
    assert!(written > 400, "only {written}");
}

#[test]
fn published_malformed_values_are_refused() {
    for (file, codec) in [
        ("dag-cbor/decode/duplicate-keys.json", Codec::DagCbor),
        ("dag-json/decode/duplicate-keys.json", Codec::DagJson),
        ("dag-pb/decode/edges.json", Codec::DagPb),
    ] {
        for case in cases(file).unwrap_or_default() {
            let bytes = data_encoding::HEXLOWER.decode(case["hex"].as_str().unwrap().as_bytes()).unwrap();
            assert!(decode(codec, &bytes).is_err(), "{file}: {}", case["name"]);
        }
    }
    for file in ["dag-pb/encode/basic-datamodel-kinds.json", "dag-pb/encode/invalid-forms.json"] {
        for case in cases(file).unwrap_or_default() {
            // Links out of order are not refused: as in Kubo they are written in order.
            if case["name"].as_str().is_some_and(|name| name.starts_with("bad sort")) {
                continue;
            }
            let value = decode(Codec::DagJson, case["dag-json"].to_string().as_bytes()).unwrap();
            assert!(encode(Codec::DagPb, &value).is_err(), "{file}: {}", case["name"]);
        }
    }
}

#[test]
fn links_are_written_in_the_order_of_their_names() {
    let link = |name: &str, seed| {
        Ipld::Map(vec![("Name".into(), Ipld::String(name.into())), ("Hash".into(), Ipld::Link(cid_of(seed, false)))])
    };
    let node = |links| encode(Codec::DagPb, &Ipld::Map(vec![("Links".into(), Ipld::List(links))])).unwrap();
    assert_eq!(
        node(vec![link("aa", 1), link("a", 2), link("a", 3)]),
        node(vec![link("a", 2), link("a", 3), link("aa", 1)])
    );
    assert_ne!(
        node(vec![link("a", 2), link("a", 3)]),
        node(vec![link("a", 3), link("a", 2)]),
        "the same names keep theirs"
    );
}

#[test]
fn what_dag_cbor_forbids_is_refused() {
    for (hex, why) in [
        ("", "nothing"),
        ("00 00", "two values"),
        ("18 17", "a number longer than it has to be"),
        ("19 00ff", "a number longer than it has to be"),
        ("1b 00000000ffffffff", "a number longer than it has to be"),
        ("58 01 00", "a length longer than it has to be"),
        ("5f 41 00 ff", "bytes of indefinite length"),
        ("9f ff", "a list of indefinite length"),
        ("bf ff", "a map of indefinite length"),
        ("f7", "undefined"),
        ("f0", "a simple value"),
        ("f9 3c00", "a float of 16 bits"),
        ("fa 3f800000", "a float of 32 bits"),
        ("fb 7ff0000000000000", "infinity"),
        ("fb 7ff8000000000000", "not a number"),
        ("c0 60", "a tag"),
        ("d8 2a 41 01", "a link without its zero"),
        ("d8 2a 60", "a link that is text"),
        (
            "d8 2a 58 26 00 0155 1220 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 00",
            "a link and more",
        ),
        ("a1 01 01", "a key that is no text"),
        ("a2 61 61 01 61 61 02", "a key twice"),
        ("61 ff", "text that is not UTF-8"),
        ("9b ffffffffffffffff", "a list longer than the input"),
        ("bb 8000000000000000", "a map longer than the input"),
        ("7b ffffffffffffffff", "text longer than the input"),
    ] {
        let bytes = data_encoding::HEXLOWER.decode(hex.replace(' ', "").as_bytes()).unwrap();
        assert!(decode(Codec::DagCbor, &bytes).is_err(), "{why}");
    }
    // As in Kubo: keys in any order are read, but written sorted by length and bytes.
    let value = decode(Codec::DagCbor, b"\xa2\x62bb\x01\x61a\x02").unwrap();
    assert_eq!(encode(Codec::DagCbor, &value).unwrap(), b"\xa2\x61a\x02\x62bb\x01");
    assert_eq!(decode(Codec::Cbor, b"\xf9\x3e\x00").unwrap(), Ipld::Float(1.5));
    assert_eq!(decode(Codec::Cbor, b"\xf9\x80\x01").unwrap(), Ipld::Float(-(2f64.powi(-24))));
}

#[test]
fn what_json_forbids_is_refused() {
    for text in [
        "",
        " ",
        "nul",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "1 2",
        "\"",
        "\"\u{1}\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "1e999",
        "18446744073709551616",
        "-18446744073709551617",
        "{\"a\":1,\"a\":2}",
        "[",
        "{",
        "{\"/\":\"nonsense\"}",
        "{\"/\":{\"bytes\":\"a\"}}",
        "{\"/\":{\"bytes\":\"YQ==\"}}",
    ] {
        assert!(decode(Codec::DagJson, text.as_bytes()).is_err(), "{text}");
    }
    assert!(decode(Codec::Json, b"\"\xff\"").is_err());
    // Only a map of that one key is a link.
    let map = decode(Codec::DagJson, b"{\"/\":\"nonsense\",\"x\":1}").unwrap();
    assert_eq!(map.step("/"), Some(&Ipld::String("nonsense".into())));
    let looks = Ipld::Map(vec![("/".into(), Ipld::String("x".into()))]);
    assert!(encode(Codec::DagJson, &looks).is_err(), "it would be read as a link");
    assert!(encode(Codec::Json, &looks).is_ok());
    assert_eq!(decode(Codec::DagJson, b"\"\\ud83d\\ude00\\u0041\\/\"").unwrap(), Ipld::String("😀A/".into()));
}

/// The texts are what `ipfs dag get` and `ipfs dag put --store-codec json` give.
#[test]
fn json_is_written_as_kubo_writes_it() {
    let text = "{\"z\":[1,{}],\"a\":\"\u{2028}\\u0008\\n<\",\"m\":[],\"f\":[1e21,1.5e-7,0.1,100000000000000000000.5]}";
    let value = decode(Codec::DagJson, text.as_bytes()).unwrap();
    assert_eq!(
        String::from_utf8(encode(Codec::DagJson, &value).unwrap()).unwrap(),
        "{\"a\":\"\\u2028\\u0008\\n<\",\"f\":[1e+21,1.5e-7,0.1,100000000000000000000],\"m\":[],\"z\":[1,{}]}"
    );
    assert_eq!(
        String::from_utf8(encode(Codec::Json, &decode(Codec::Json, b"{\"z\":[1,{}],\"a\":null}").unwrap()).unwrap())
            .unwrap(),
        "{\n\t\"z\": [\n\t\t1,\n\t\t{}\n\t],\n\t\"a\": null\n}\n"
    );
    assert_eq!(encode(Codec::Json, &Ipld::Int(5)).unwrap(), b"5");
}

#[test]
fn bombs_are_refused() {
    let deep = |open: &[u8], close: &[u8], levels: usize| [open.repeat(levels), close.repeat(levels)].concat();
    for (codec, open, close) in
        [(Codec::DagCbor, &b"\x81"[..], &b""[..]), (Codec::DagJson, b"[", b"]"), (Codec::DagJson, b"{\"a\":", b"}")]
    {
        assert!(decode(codec, &deep(open, close, 5000)).is_err());
        let edge = [open.repeat(MAX_DEPTH), b"0".repeat(usize::from(codec == Codec::DagJson)), close.repeat(MAX_DEPTH)]
            .concat();
        let edge = if codec == Codec::DagCbor { [edge, vec![0]].concat() } else { edge };
        let value = decode(codec, &edge).unwrap();
        assert_eq!(encode(codec, &value).unwrap(), edge);
    }
    assert!(matches!(decode(Codec::Raw, &vec![0; MAX_INPUT_BYTES + 1]), Err(DagError::TooLarge { .. })));
}

fn cid_of(seed: u8, long: bool) -> Box<Cid> {
    let hash = if long { Hash::Identity } else { Hash::Sha2_256 };
    let data = if long { vec![seed; 100] } else { vec![seed] };
    Box::new(*Block::new(Codec::Raw, hash, data).unwrap().cid())
}

fn values(dag: bool) -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        (MIN_INT..=MAX_INT).prop_map(Ipld::Int),
        any::<i16>().prop_map(|n| Ipld::Int(i128::from(n))),
        any::<f64>()
            .prop_filter("finite, with a fraction", |n| n.is_finite() && n.fract() != 0.0)
            .prop_map(Ipld::Float),
        ".{0,12}".prop_map(Ipld::String),
        (any::<Vec<u8>>(), any::<u8>(), any::<bool>(), any::<bool>()).prop_map(move |(bytes, seed, long, link)| {
            match (dag, link) {
                (false, _) => Ipld::Null,
                (_, true) => Ipld::Link(cid_of(seed, long)),
                _ => Ipld::Bytes(bytes),
            }
        }),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let entries = proptest::collection::btree_map("[a-z/ä]{0,6}", inner.clone(), 0..8);
        prop_oneof![
            proptest::collection::vec(inner, 0..8).prop_map(Ipld::List),
            entries.prop_map(|map| Ipld::Map(map.into_iter().collect())),
        ]
    })
}

/// The same with the keys of all maps sorted, for codecs that sort.
fn sorted(value: Ipld) -> Ipld {
    match value {
        Ipld::List(items) => Ipld::List(items.into_iter().map(sorted).collect()),
        Ipld::Map(mut entries) => {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Ipld::Map(entries.into_iter().map(|(key, item)| (key, sorted(item))).collect())
        }
        other => other,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in values(true)) {
        let bytes = encode(Codec::DagCbor, &value).unwrap();
        prop_assert_eq!(&sorted(decode(Codec::DagCbor, &bytes).unwrap()), &value);
        prop_assert_eq!(encode(Codec::DagCbor, &decode(Codec::DagCbor, &bytes).unwrap()).unwrap(), bytes);
        // A map that looks like a link is the one thing DAG-JSON cannot hold.
        if let Ok(bytes) = encode(Codec::DagJson, &value) {
            prop_assert_eq!(&decode(Codec::DagJson, &bytes).unwrap(), &value);
        }
    }

    #[test]
    fn plain_values_too(value in values(false)) {
        for codec in [Codec::Cbor, Codec::Json] {
            let bytes = encode(codec, &value).unwrap();
            prop_assert_eq!(&decode(codec, &bytes).unwrap(), &value);
        }
    }

    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for codec in CODECS {
            let Ok(value) = decode(codec, &bytes) else { continue };
            let again = encode(codec, &value).unwrap();
            // A number without a fraction is written in JSON, as by Kubo, so that it is read as a whole one.
            if !matches!(codec, Codec::DagJson | Codec::Json) {
                prop_assert_eq!(sorted(decode(codec, &again).unwrap()), sorted(value));
            }
        }
    }

    #[test]
    fn any_text_ends(text in "[\\[\\]{}\":,/0-9eE.+\\\\u -]{0,60}") {
        for codec in [Codec::DagJson, Codec::Json] {
            let _ = decode(codec, text.as_bytes());
        }
    }

    #[test]
    fn damage_never_panics(value in values(true), at: prop::sample::Index, to: u8) {
        for codec in [Codec::DagCbor, Codec::DagJson] {
            let Ok(mut bytes) = encode(codec, &value) else { continue };
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = decode(codec, &bytes);
        }
    }

    /// What the scanner of links finds in a block is what the decoder finds.
    #[test]
    fn the_links_are_the_values(value in values(true)) {
        let bytes = encode(Codec::DagCbor, &value).unwrap();
        let mut all = Vec::new();
        collect(&decode(Codec::DagCbor, &bytes).unwrap(), &mut all);
        prop_assert_eq!(crate::dag::cbor::link_cids(&bytes).unwrap(), all);
    }
}

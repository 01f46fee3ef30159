//! Send bytes: those that fuzzing kept (`tests/fuzz/corpus`), and random ones.

#[path = "../../fuzz/properties/mod.rs"]
mod properties;

use std::path::Path;

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest},
    sample::select,
};

type Property = fn(&[u8]);

const PROPERTIES: [(&str, Property); 8] = [
    ("frames", properties::frames),
    ("messages", properties::messages),
    ("bodies", properties::bodies),
    ("tokens", properties::tokens),
    ("keys", properties::keys),
    ("settings", properties::settings),
    ("headers", properties::headers),
    ("forwarded", properties::forwarded),
];

#[test]
fn whatever_fuzzing_has_kept_still_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, property) in PROPERTIES {
        let mut tried = 0;
        for entry in std::fs::read_dir(corpus.join(name)).expect("a folder for each target") {
            property(&std::fs::read(entry.expect("an entry").path()).expect("a file"));
            tried += 1;
        }
        assert!(tried > 0, "{name} has no corpus");
    }
}

/// Bytes, texts, and texts with the signs that parsers look for.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..600),
        any::<String>().prop_map(String::into_bytes),
        r#"[{}"':,=&%#./\[\]A-Za-z0-9_ \n-]{0,300}"#.prop_map(String::into_bytes),
    ]
}

/// Pieces of what proxies write, in any order.
fn forwarded() -> impl Strategy<Value = Vec<u8>> {
    const MARKS: [&[u8]; 10] =
        [b"for=", b"For=", b"host=", b";", b",", b", ", b"\"", b"\"", b"\\", b"\n"];
    const NODES: [&[u8]; 6] =
        [b"10.0.0.2", b"203.0.113.5", b"[2001:db8::1]", b"unknown", b"_x", b":80"];
    const OTHERS: [&[u8]; 5] = [b" ", b"=", b"x", b"\xff", b"\x7f"];
    let piece = prop_oneof![select(&MARKS), select(&NODES), select(&OTHERS)];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_of_a_stranger_break_a_rule(data in anything()) {
        for (_, property) in PROPERTIES {
            property(&data);
        }
    }

    #[test]
    fn no_header_of_a_clients_moves_or_hides_what_a_proxy_appended(data in forwarded()) {
        properties::forwarded(&data);
    }

    #[test]
    fn no_stream_of_frames_makes_a_socket_keep_more_than_one(
        cut in any::<u8>(),
        frames in vec((any::<u8>(), 0..9000u64, 0..200usize), 0..40),
    ) {
        let mut data = vec![cut];
        for (first, declared, sent) in frames {
            data.extend(crate::helpers::raw::frame(first, declared, &vec![b'x'; sent]));
        }
        properties::frames(&data);
    }
}

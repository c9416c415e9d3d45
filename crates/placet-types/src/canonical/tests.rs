use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Json, Malformed> {
    Json::parse(text.as_bytes(), Bounds::RECORD)
}

fn canonical(text: &str) -> String {
    String::from_utf8(parse(text).unwrap().to_canonical()).unwrap()
}

#[test]
fn the_example_of_rfc_8785_comes_out_as_printed_there() {
    let text = r#"{
      "numbers": [333333333.33333329, 1E3, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"#;
    let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1000,4.5,0.002,\
                    1e-27],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
    assert_eq!(canonical(text), expected);
}

#[test]
fn names_are_sorted_by_utf_16_code_units() {
    let text = "{\"\u{fb33}\":1,\"\u{1f600}\":2,\"\u{20ac}\":3,\"\\r\":4,\"1\":5,\"\u{f6}\":6}";
    let expected = "{\"\\r\":4,\"1\":5,\"\u{f6}\":6,\"\u{20ac}\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}";
    assert_eq!(canonical(text), expected);
}

#[test]
fn a_duplicate_member_is_refused_at_any_depth_and_in_any_spelling() {
    assert_eq!(
        parse(r#"{"a":1,"a":1}"#),
        Err(Malformed::DuplicateMember(7))
    );
    assert!(matches!(
        parse(r#"[{"x":{"a":1,"\u0061":2}}]"#),
        Err(Malformed::DuplicateMember(_))
    ));
}

#[test]
fn a_number_that_a_double_cannot_hold_is_refused() {
    for text in [
        "12345678901234567890123",
        "9007199254740992",
        "-9007199254740992",
        "1e400",
    ] {
        assert_eq!(parse(text), Err(Malformed::Number(0)), "{text}");
    }
    assert_eq!(
        parse("9007199254740991"),
        Ok(Json::Number(9_007_199_254_740_991.0))
    );
}

#[test]
fn lone_surrogates_are_refused_and_pairs_are_read() {
    for text in [
        r#""\ud800""#,
        r#""\ud800\u0041""#,
        r#""\udc00""#,
        r#""\ud800x""#,
    ] {
        assert!(
            matches!(parse(text), Err(Malformed::LoneSurrogate(_))),
            "{text}"
        );
    }
    assert_eq!(
        parse(r#""\ud83d\ude00""#),
        Ok(Json::String("\u{1f600}".into()))
    );
}

#[test]
fn what_is_not_json_is_refused() {
    let bad = [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\"}",
        "{a:1}",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "nul",
        "\"a",
        "\"\t\"",
        "\"\\x\"",
        "[1] 2",
        "NaN",
        "'a'",
        "{\"a\":1,}",
        "-",
        "\"\\u12\"",
        "\"\\u+123\"",
    ];
    for text in bad {
        assert!(parse(text).is_err(), "{text:?} was read");
    }
    assert_eq!(
        Json::parse(b"\"\xff\"", Bounds::RECORD),
        Err(Malformed::NotUtf8)
    );
}

#[test]
fn size_and_depth_are_bounded() {
    let bounds = Bounds {
        bytes_max: 8,
        depth_max: 2,
    };
    assert!(Json::parse(b"[[1]]", bounds).is_ok());
    assert_eq!(Json::parse(b"[[[1]]]", bounds), Err(Malformed::TooDeep(2)));
    assert_eq!(
        Json::parse(b"123456789", bounds),
        Err(Malformed::TooLong(8))
    );
    let deep = "[".repeat(1_000_000);
    let wide = Bounds {
        bytes_max: usize::MAX,
        depth_max: 64,
    };
    assert!(matches!(
        Json::parse(deep.as_bytes(), wide),
        Err(Malformed::TooDeep(64))
    ));
}

#[test]
fn a_null_for_an_absent_member_and_an_unsorted_set_are_refused() {
    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Loose {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        a: Option<u8>,
        b: std::collections::BTreeSet<u8>,
    }
    assert!(from_bytes::<Loose>(br#"{"b":[1,2]}"#, Bounds::RECORD).is_ok());
    for text in [r#"{"a":null,"b":[]}"#, r#"{"b":[2,1]}"#, r#"{"b":[1,1]}"#] {
        let read = from_bytes::<Loose>(text.as_bytes(), Bounds::RECORD);
        assert_eq!(read, Err(Malformed::NotCanonical), "{text}");
    }
}

#[test]
fn a_typed_read_wants_the_canonical_spelling() {
    type Pair = BTreeMap<String, u8>;
    assert!(from_bytes::<Pair>(br#"{"a":1,"b":2}"#, Bounds::RECORD).is_ok());
    for text in [
        r#"{"b":2,"a":1}"#,
        r#"{"a": 1}"#,
        r#"{"a":1.0}"#,
        r#"{"\u0061":1}"#,
    ] {
        let read = from_bytes::<Pair>(text.as_bytes(), Bounds::RECORD);
        assert_eq!(read, Err(Malformed::NotCanonical), "{text}");
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        (-1e15..1e15).prop_map(Json::Number),
        (-1_000_000_i32..1_000_000).prop_map(|n| Json::Number(f64::from(n))),
        any::<String>().prop_map(Json::String),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..8).prop_map(Json::Object),
        ]
    })
}

proptest! {
    #[test]
    fn writing_and_reading_again_changes_nothing(json in any_json()) {
        let bytes = json.to_canonical();
        let again = Json::parse(&bytes, Bounds::MESSAGE).unwrap();
        prop_assert_eq!(again.to_canonical(), bytes.clone());
        // serde_json, an independent reader, sees the same value.
        let theirs: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let ours: serde_json::Value = serde_json::from_slice(&again.to_canonical()).unwrap();
        prop_assert_eq!(theirs, ours);
    }

    #[test]
    fn no_input_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _read = Json::parse(&bytes, Bounds::RECORD);
    }
}

#[test]
fn a_scan_for_inexact_numbers_says_what_the_strict_reader_says() {
    for text in [
        "0",
        "-1",
        "[1,2.5,1e3]",
        "9007199254740991",
        "-9007199254740991",
        "9007199254740992",
        "-9007199254740993",
        "18446744073709551615",
        "1e16",
        "1E400",
        "-1e-7",
        "0.1",
        "{\"a\":9007199254740992}",
        "{\"9007199254740992\":1}",
        "\"9007199254740992\"",
        "\"\\\"9007199254740992\"",
        "[\"\\\\\",9007199254740993]",
        "[\"\\\\\",1]",
        "[ 9007199254740993 ]",
        "900719925474099100",
    ] {
        let strict = Json::parse(text.as_bytes(), Bounds::RECORD);
        let inexact = matches!(strict, Err(Malformed::Number(_)));
        assert!(inexact || strict.is_ok(), "{text}");
        assert_eq!(
            super::numbers_are_exact(text.as_bytes()),
            !inexact,
            "{text}"
        );
    }
}

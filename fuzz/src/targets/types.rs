//! `placet-types`: canonical JSON and what is written in it.

use placet_types::canonical::{self, Bounds, Json};
use placet_types::{
    AbsPath, Intent, PathSet, PeerRule, ProcessParams, PublicKey, Scope, Signature,
};

/// What is accepted has one canonical spelling, which reads back, and serde accepts the text too.
pub(crate) fn json(data: &[u8]) -> bool {
    let Ok(value) = Json::parse(data, Bounds::MESSAGE) else {
        assert!(!canonical::is_canonical(data), "canonical, and yet refused");
        return false;
    };
    let spelled = value.to_canonical();
    assert_eq!(Json::parse(&spelled, Bounds::MESSAGE).as_ref(), Ok(&value));
    assert_eq!(canonical::is_canonical(data), spelled == data);
    // serde_json gives one member name a meaning of its own.
    let own = br"$serde_json::private::";
    if !spelled.windows(own.len()).any(|window| window == own) {
        let theirs = serde_json::from_slice(data);
        assert!(alike(
            &value,
            &theirs.expect("serde_json refuses what we accept")
        ));
    }
    true
}

/// Whether another reader understood the same value.
fn alike(ours: &Json, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Json::Null, serde_json::Value::Null) => true,
        (Json::Bool(ours), serde_json::Value::Bool(theirs)) => ours == theirs,
        (Json::String(ours), serde_json::Value::String(theirs)) => ours == theirs,
        // serde_json rounds long decimals to a neighbour, so only the neighbourhood is compared.
        (Json::Number(ours), serde_json::Value::Number(theirs)) => {
            let theirs = theirs.as_f64().unwrap_or(f64::NAN);
            (ours - theirs).abs() <= ours.abs() * 1e-15
        }
        (Json::Array(ours), serde_json::Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| alike(a, b))
        }
        (Json::Object(ours), serde_json::Value::Object(theirs)) => {
            let same = |(name, value)| theirs.get(name).is_some_and(|theirs| alike(value, theirs));
            ours.len() == theirs.len() && ours.iter().all(same)
        }
        _ => false,
    }
}

/// A peer is written as it was read, and covers itself and no more than it meets.
pub(crate) fn peer_rule(data: &[u8]) -> bool {
    let Some(rule) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| text.parse::<PeerRule>().ok())
    else {
        return false;
    };
    assert_eq!(rule.to_string().as_bytes(), data);
    assert!(rule.covers(&rule));
    assert_eq!(rule.intersect(&rule).as_ref(), Some(&rule));
    true
}

pub(crate) fn intent(data: &[u8]) -> bool {
    let Ok(intent) = Intent::decode(data) else {
        return false;
    };
    assert_eq!(intent.to_canonical().as_deref(), Ok(data));
    true
}

pub(crate) fn process_params(data: &[u8]) -> bool {
    let Ok(params) = ProcessParams::decode(data) else {
        return false;
    };
    assert_eq!(canonical::to_bytes(&params).unwrap(), data);
    true
}

/// A scope reads back, and is within itself.
pub(crate) fn scope(data: &[u8]) -> bool {
    let Ok(scope) = canonical::from_bytes::<Scope>(data, Bounds::RECORD) else {
        return false;
    };
    assert_eq!(canonical::to_bytes(&scope).unwrap(), data);
    assert_eq!(scope.excess_over(&scope), None);
    assert_eq!(scope.intersect(&scope).excess_over(&scope), None);
    let normal = scope.normalized();
    assert_eq!(normal.clone().normalized(), normal);
    true
}

pub(crate) fn path_set(data: &[u8]) -> bool {
    let Ok(set) = canonical::from_bytes::<PathSet>(data, Bounds::RECORD) else {
        return false;
    };
    assert_eq!(canonical::to_bytes(&set).unwrap(), data);
    assert_eq!(set.intersect(&set), set);
    for path in set.iter() {
        assert_eq!(AbsPath::parse(path.as_str()).as_ref(), Ok(path));
        assert!(set.contains(path) && !path.as_str().contains("/../"));
    }
    true
}

/// A key that is taken is the one spelling of its point, and nothing trivial verifies under it.
pub(crate) fn public_key(data: &[u8]) -> bool {
    let Ok(key) = PublicKey::import(data) else {
        return false;
    };
    assert_eq!(key.as_bytes().as_slice(), data);
    let mut identity = [0; 64];
    identity[0] = 1;
    for bytes in [[0; 64], identity] {
        let signature = Signature::from_slice(&bytes).unwrap();
        assert!(key.verify(b"message", &signature).is_err());
    }
    true
}

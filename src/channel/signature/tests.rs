use proptest::prelude::*;

use super::{
    super::tests::{fixture, headers, signatures},
    *,
};

const ID: &str = "evt_2VbLzQxM7vTnYw2sR8dJf5";
const SENT_AT: &str = "1770312600";
const NOW: Millis = Millis(1_770_312_600_000);
const BODY: &str = "linq_2026.json";

fn text(pointer: &str) -> String {
    signatures().pointer(pointer).unwrap().as_str().unwrap().to_owned()
}

fn signature() -> String {
    text("/linq/standard/linq_2026.json")
}

fn verifier() -> StandardWebhooks {
    StandardWebhooks::new(&Secret::new(text("/linq/secret"))).unwrap()
}

fn verify(id: &str, timestamp: &str, signature: &str, now: Millis) -> Result<String, BadSignature> {
    let headers =
        headers(&[("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signature)]);
    verifier().verify(&headers, &fixture(BODY), now).map(str::to_owned)
}

#[test]
fn what_the_reference_library_signed_holds() {
    assert_eq!(verify(ID, SENT_AT, &signature(), NOW), Ok(ID.to_owned()));
    let unpadded = signature();
    assert_eq!(verify(ID, SENT_AT, unpadded.trim_end_matches('='), NOW), Ok(ID.to_owned()));
}

#[test]
fn one_signature_of_several_is_enough_and_unknown_versions_are_skipped() {
    let good = signature();
    let other = format!("v1,{}", "A".repeat(43));
    for list in [
        format!("{other} {good}"),
        format!("{good} {other}"),
        format!("v1a,xyz v2,{} {good}", "A".repeat(43)),
        format!("  v1, v1 , {good}"),
    ] {
        assert_eq!(verify(ID, SENT_AT, &list, NOW), Ok(ID.to_owned()), "{list}");
    }
    let bare = good.trim_start_matches("v1,");
    for list in
        [format!("v2,{bare}"), format!("V1,{bare}"), bare.to_owned(), other, "v1,".to_owned(), String::new()]
    {
        assert_eq!(verify(ID, SENT_AT, &list, NOW), Err(BadSignature), "{list}");
    }
}

#[test]
fn a_change_of_anything_signed_is_noticed() {
    let (headers, body) = (headers_of_fixture(), fixture(BODY));
    assert_eq!(verifier().verify(&headers, &body, NOW), Ok(ID));
    assert_eq!(verifier().verify(&headers, &[&body[..], b"\n"].concat(), NOW), Err(BadSignature));
    assert_eq!(verifier().verify(&headers, b"", NOW), Err(BadSignature));
    assert_eq!(verify("evt_x", SENT_AT, &signature(), NOW), Err(BadSignature));
    assert_eq!(verify(ID, "1770312601", &signature(), NOW), Err(BadSignature));
    let other = StandardWebhooks::new(&Secret::new("whsec_AAAA")).unwrap();
    assert_eq!(other.verify(&headers, &body, NOW), Err(BadSignature));
}

fn headers_of_fixture() -> HeaderMap {
    headers(&[("webhook-id", ID), ("webhook-timestamp", SENT_AT), ("webhook-signature", &signature())])
}

#[test]
fn every_header_must_be_there_exactly_once() {
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut missing = headers_of_fixture();
        let value = missing.remove(name).unwrap();
        assert_eq!(verifier().verify(&missing, &fixture(BODY), NOW), Err(BadSignature), "{name}");
        let mut doubled = headers_of_fixture();
        doubled.append(name, value);
        assert_eq!(verifier().verify(&doubled, &fixture(BODY), NOW), Err(BadSignature), "{name}");
    }
}

#[test]
fn a_time_may_be_five_minutes_off_in_both_directions() {
    let at = |secs: i64| verify(ID, SENT_AT, &signature(), Millis(NOW.0 + secs * 1000)).is_ok();
    assert!(at(-300) && at(0) && at(300));
    assert!(!at(-301) && !at(301));
}

#[test]
fn a_hostile_time_or_id_fails() {
    for time in [
        "",
        " ",
        "now",
        "1e9",
        "1770312600.0",
        "9223372036854775807",
        "-9223372036854775808",
        "99999999999999999999",
    ] {
        assert_eq!(verify(ID, time, &signature(), NOW), Err(BadSignature), "{time}");
        for now in [i64::MIN, 0, i64::MAX] {
            assert_eq!(check_time(time, Millis(now)).is_ok(), is_extreme(time, now), "{time} {now}");
        }
    }
    // The id is checked apart from the signature: these are signed as they are.
    for id in ["", " ", "a b", "a\tb"] {
        let signed = verifier().0.sign(&[id.as_bytes(), b".", SENT_AT.as_bytes(), b".", &fixture(BODY)]);
        let signature = format!("v1,{}", BASE64.encode(signed));
        assert_eq!(verify(id, SENT_AT, &signature, NOW), Err(BadSignature), "{id:?}");
    }
}

/// The ends of time are close to themselves.
fn is_extreme(time: &str, now: i64) -> bool {
    time.parse::<i64>().is_ok_and(|secs| secs.saturating_mul(1000) == now)
}

#[test]
fn a_secret_is_whsec_with_base64_or_its_own_bytes() {
    for secret in ["whsec_AAECAw==", "whsec_AAECAw", "\0\u{1}\u{2}\u{3}"] {
        let signed = StandardWebhooks::new(&Secret::new(secret)).unwrap().0.sign(&[b"x"]);
        // python3 -c "import hmac; print(hmac.new(bytes(range(4)), b'x', 'sha256').hexdigest())"
        let wanted = hex::decode("d576d8775f7e340632f58208e1e117c6ec9149f63cd87b4f5af35da55f36342d");
        assert_eq!(Some(signed), wanted, "{secret:?}");
    }
    for bad in ["", " ", "whsec_", "whsec_***", "whsec_A", "whsec_AAECAw== "] {
        assert_eq!(StandardWebhooks::new(&Secret::new(bad)).err(), Some(BadSecret), "{bad:?}");
    }
    assert_eq!(format!("{:?}", verifier()), "StandardWebhooks([redacted])");
}

proptest! {
    #[test]
    fn hostile_headers_never_panic_and_never_pass(
        id in "[ -~]{0,20}", time in "-?[0-9]{0,25}|[ -~]{0,9}", signature in "(v[12a]{1,2},[A-Za-z0-9+/=]{0,50} ?){0,4}"
    ) {
        prop_assert_eq!(verify(&id, &time, &signature, NOW), Err(BadSignature));
    }
}

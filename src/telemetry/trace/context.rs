//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): who called us, and for whom we call.
//!
//! What a caller sends is a stranger's. A `traceparent` that is not exactly as the recommendation says, or that is there
//! twice, counts as none; a `tracestate` that is too long or of another shape is left out.

use std::str::FromStr as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::telemetry::scope;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The longest `tracestate` that is passed on, in bytes: what the recommendation asks for at least.
const LONGEST_STATE: usize = 512;
/// Members that it may have.
const MOST_MEMBERS: usize = 32;
/// Version, trace id, parent id and flags, with the dashes between them.
const LENGTH: usize = 55;

/// The span that the caller names.
pub(super) fn of_caller(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (trace, span, flags) = parse(value)?;
    Some(SpanContext::new(trace, span, flags, true, state(headers)))
}

/// Reads `00-<32 hex>-<16 hex>-<2 hex>`; a later version may have more behind it.
fn parse(value: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (value, rest) = value.split_at_checked(LENGTH)?;
    let is_lower_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = value.split('-');
    let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let lengths = [version, trace, span, flags].map(str::len);
    if parts.next().is_some()
        || lengths != [2, 32, 16, 2]
        || ![version, trace, span, flags].iter().all(|it| is_lower_hex(it))
    {
        return None;
    }
    let is_known = match version {
        "00" => rest.is_empty(),
        "ff" => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let is_valid = is_known && trace != TraceId::INVALID && span != SpanId::INVALID;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    is_valid.then_some((trace, span, flags))
}

fn state(headers: &HeaderMap) -> TraceState {
    let lines: Option<Vec<&str>> =
        headers.get_all(TRACESTATE).iter().map(|line| line.to_str().ok()).collect();
    let text = lines.unwrap_or_default().join(",");
    if text.len() > LONGEST_STATE || text.split(',').count() > MOST_MEMBERS || !text.split(',').all(is_member)
    {
        return TraceState::default();
    }
    TraceState::from_str(&text).unwrap_or_default()
}

/// Whether it is `key=value` with the characters that the recommendation allows.
fn is_member(text: &str) -> bool {
    let Some((key, value)) = text.trim_matches([' ', '\t']).split_once('=') else { return false };
    let is_key = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let starts = key.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_value = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    starts && key.bytes().all(is_key) && !value.is_empty() && value.bytes().all(is_value)
}

/// Says in the headers of a call which span it is made for, if there is one.
pub fn inject(headers: &mut HeaderMap) {
    let Some(above) = scope::above() else { return };
    let context = &above.context;
    let flags = u8::from(context.is_sampled());
    let parent = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    for (name, value) in [(TRACEPARENT, parent), (TRACESTATE, context.trace_state().header())] {
        if let (false, Ok(value)) = (value.is_empty(), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn read(value: &str) -> Option<SpanContext> {
        of_caller(&headers(&[("traceparent", value)]))
    }

    #[test]
    fn a_caller_s_span_is_read() {
        let context = read(GOOD).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        assert!(!read(&GOOD.replace("-01", "-00")).unwrap().is_sampled());
        assert!(read(&GOOD.replace("-01", "-ff")).unwrap().is_sampled());
        assert!(read(&GOOD.replacen("00-", "01-", 1)).is_some());
        assert!(read(&format!("{}-more", GOOD.replacen("00-", "cc-", 1))).is_some());
    }

    #[test]
    fn what_is_not_exactly_right_counts_as_none() {
        let zero_trace = GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_span = GOOD.replace("00f067aa0ba902b7", &"0".repeat(16));
        let wide = format!("{GOOD}{}", "x".repeat(4000));
        let later = format!("{}more", GOOD.replacen("00-", "cc-", 1));
        for value in [
            "",
            "00",
            "-",
            &GOOD[1..],
            &GOOD[..54],
            &GOOD.to_uppercase(),
            &GOOD.replace('-', "_"),
            &zero_trace,
            &zero_span,
            &GOOD.replacen("00-", "ff-", 1),
            &format!("{GOOD}-"),
            &format!("{GOOD}-more"),
            &wide,
            &later,
            "00-ü",
            &GOOD.replace('f', "g"),
            &format!(" {GOOD}"),
            "'; DROP TABLE message; --",
        ] {
            assert!(read(value).is_none(), "{value:?}");
        }
        assert!(of_caller(&headers(&[("traceparent", GOOD), ("traceparent", GOOD)])).is_none());
    }

    #[test]
    fn a_state_that_is_too_long_or_odd_is_left_out_and_the_span_is_kept() {
        let with = |lines: &[&str]| {
            let lines = lines.iter().map(|line| ("tracestate", *line));
            let pairs: Vec<_> = [("traceparent", GOOD)].into_iter().chain(lines).collect();
            of_caller(&headers(&pairs)).unwrap().trace_state().header()
        };
        assert_eq!(with(&["a=1,b=2", "c=3"]), "a=1,b=2,c=3");
        for odd in ["nonsense", &format!("a={}", "x".repeat(600)), "=1", "Ä=1", "A=1", "a=", "a=1,,", "a=b=c"]
        {
            assert_eq!(with(&[odd]), "", "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn no_value_is_taken_for_a_span_but_one_of_the_right_shape(value in "[ -~]{0,80}") {
            prop_assume!(!value.is_empty());
            if let Some(context) = read(&value) {
                prop_assert!(context.is_valid());
                prop_assert!(value.len() >= LENGTH);
            }
        }
    }
}

//! Durations as people write them: `90s`, `10m`, `2h`, `1d`.

use std::time::Duration;

/// The longest that is understood: ten years, so that no sum with the present leaves the calendar.
const LONGEST: Duration = Duration::from_hours(24 * 3653);

/// Reads a number and its unit: `s`, `m`, `h` or `d`.
///
/// # Errors
/// What is expected, as a sentence.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and its unit, such as 90s, 10m, 2h or 1d".to_owned();
    let unit = text.chars().last().ok_or_else(expected)?;
    let secs: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(expected()),
    };
    let number = &text[..text.len() - 1];
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected());
    }
    let number: u64 = number.parse().map_err(|_| expected())?;
    let duration = number.checked_mul(secs).map(Duration::from_secs);
    match duration {
        Some(duration) if duration.is_zero() => Err("expected more than nothing".into()),
        Some(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("expected ten years at most".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, secs) in [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("3653d", 315_619_200)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for text in
            ["", "10", "m", "-1m", "+1m", "1.5h", "1 h", "10w", "1é", "0s", "3654d", "99999999999999999999d"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

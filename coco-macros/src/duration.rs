//! Durations as they are written in attributes: `500ms`, `1.5s`, `1h30m`.

use std::time::Duration;

/// What a duration looks like, for messages.
pub(crate) const EXAMPLES: &str = r#"write it as "500ms", "30s", "10m", "2h" or "1d""#;

/// The units and their microseconds, which is as fine as the store keeps time.
const UNITS: [(&str, u64); 5] = [
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60 * 1_000_000),
    ("h", 3_600 * 1_000_000),
    ("d", 86_400 * 1_000_000),
];

const LONGEST: u64 = 365 * 86_400 * 1_000_000;

/// The duration, or what is wrong with `text`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Err(format!("the duration is empty: {EXAMPLES}"));
    }
    let mut micros = 0_u64;
    let mut smallest = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| !(c.is_ascii_digit() || c == '.'));
        let (unit, after) = split(after, |c| c.is_ascii_digit() || c == '.');
        let size = size_of(text, number, unit)?;
        if size >= smallest {
            return Err(format!(
                "the units of `{text}` go from large to small, each once, as in \"1h30m\""
            ));
        }
        micros = micros.saturating_add(times(number, size)?);
        smallest = size;
        rest = after;
    }
    if micros > LONGEST {
        return Err(format!("`{text}` is longer than 365 days: write at most \"365d\""));
    }
    Ok(Duration::from_micros(micros))
}

fn split(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// The microseconds of `unit`, the one of `number`.
fn size_of(text: &str, number: &str, unit: &str) -> Result<u64, String> {
    if number.is_empty() || !unit.chars().all(char::is_alphabetic) {
        return Err(format!("`{text}` is no duration: {EXAMPLES}"));
    }
    if unit.is_empty() {
        return Err(format!("`{number}` has no unit: {EXAMPLES}"));
    }
    match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, size)) => Ok(*size),
        None => Err(format!("unknown unit `{unit}`: {EXAMPLES}")),
    }
}

/// `number` of `size` microseconds each; `u64::MAX` when it is too large.
fn times(number: &str, size: u64) -> Result<u64, String> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let is_digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    if !is_digits(whole) || !fraction.is_none_or(is_digits) {
        return Err(format!("`{number}` is no number: {EXAMPLES}"));
    }
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(size);
    let mut left = size;
    let mut part = 0;
    for digit in fraction.unwrap_or_default().trim_end_matches('0').bytes() {
        if !left.is_multiple_of(10) {
            return Err(format!(
                "`{number}` is finer than a microsecond, the finest that is stored"
            ));
        }
        left /= 10;
        part += u64::from(digit - b'0') * left;
    }
    Ok(whole.saturating_add(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, micros) in [
            ("0s", 0),
            ("1ms", 1_000),
            ("0.5ms", 500),
            ("0.001ms", 1),
            ("1.5s", 1_500_000),
            ("1.50000000000000000000s", 1_500_000),
            ("007s", 7_000_000),
            ("10m", 600_000_000),
            ("0.25h", 900_000_000),
            ("2h", 7_200_000_000),
            ("1h30m", 5_400_000_000),
            ("1d2h3m4s5ms", 93_784_005_000),
            ("1.5h0.5m", 5_430_000_000),
            ("1d", 86_400_000_000),
            ("365d", LONGEST),
            ("8760h", LONGEST),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration() {
        for (text, start) in [
            ("", "the duration is empty"),
            ("30", "`30` has no unit"),
            ("1h30", "`30` has no unit"),
            ("s", "`s` is no duration"),
            ("soon", "`soon` is no duration"),
            ("-5s", "`-5s` is no duration"),
            ("+5s", "`+5s` is no duration"),
            (" 5s", "` 5s` is no duration"),
            ("5 s", "`5 s` is no duration"),
            ("5s ", "`5s ` is no duration"),
            ("1_000ms", "`1_000ms` is no duration"),
            ("1,5s", "`1,5s` is no duration"),
            ("٣s", "`٣s` is no duration"),
            ("5min", "unknown unit `min`"),
            ("5S", "unknown unit `S`"),
            ("5µs", "unknown unit `µs`"),
            ("1h5e", "unknown unit `e`"),
            (".5s", "`.5` is no number"),
            ("5.s", "`5.` is no number"),
            (".s", "`.` is no number"),
            ("1.2.3s", "`1.2.3` is no number"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(start) && error.ends_with(EXAMPLES), "{text}: {error}");
        }
        for (text, error) in [
            ("30m1h", "the units of `30m1h` go from large to small"),
            ("1s1s", "the units of `1s1s` go from large to small"),
            ("0.0001ms", "`0.0001` is finer than a microsecond"),
            ("0.00000000000000000000000001d", "`0.00000000000000000000000001` is finer"),
            ("365d1ms", "`365d1ms` is longer than 365 days"),
            ("8761h", "`8761h` is longer than 365 days"),
            ("99999999999999999999999d", "`99999999999999999999999d` is longer than 365 days"),
            ("18446744073709551615ms", "`18446744073709551615ms` is longer than 365 days"),
        ] {
            assert!(parse(text).is_err_and(|found| found.starts_with(error)), "{text}");
        }
    }
}

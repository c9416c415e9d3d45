//! Strict TOML: unknown keys are errors, and every error names its line. Quantities carry units.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use placet_types::Millis;

use crate::problem::{Problem, line_at};

/// Reads the TOML member `file`.
pub(crate) fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Problem> {
    toml::from_str(text).map_err(|error| {
        let problem = Problem::error(file, "toml", error.message().replace('\n', ", "));
        match error.span() {
            Some(span) => problem.at(line_at(text, span.start)),
            None => problem,
        }
    })
}

/// A length of time with its unit: `30s`, `10m`, `8h`, `7d`. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duration(pub(crate) u64);

/// A size with its unit: `512B`, `64KiB`, `512MiB`, `4GiB`, `1TiB`. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// An instant: a TOML date-time with its offset, never local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant(pub(crate) Millis);

/// Seconds of a text such as `10m`.
pub(crate) fn parse_duration(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    quantity(text, &UNITS)
}

fn parse_size(text: &str) -> Option<u64> {
    // Longer units first: every one of them ends in `B`.
    const UNITS: [(&str, u64); 5] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("B", 1),
    ];
    quantity(text, &UNITS)
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, *factor)))?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let value = plain.then(|| digits.parse::<u64>().ok())??;
    value.checked_mul(factor).filter(|total| *total > 0)
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is no duration: write 30s, 10m, 8h or 7d"))
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_size(&text).map(Self).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is no size: write 64KiB, 512MiB or 4GiB"))
        })
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = toml::value::Datetime::deserialize(deserializer)?;
        millis(&text).map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is no instant since 1970: write 2026-11-21T08:00:00Z, with its offset"
            ))
        })
    }
}

fn millis(text: &toml::value::Datetime) -> Option<Millis> {
    let (date, time, offset) = (text.date?, text.time?, text.offset?);
    let offset_minutes = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_from_civil(
        i64::from(date.year),
        i64::from(date.month),
        i64::from(date.day),
    );
    let of_day = i64::from(time.hour) * 3600
        + i64::from(time.minute) * 60
        + i64::from(time.second.unwrap_or(0));
    let secs = days * 86_400 + of_day - offset_minutes * 60;
    let millis = secs * 1000 + i64::from(time.nanosecond.unwrap_or(0) / 1_000_000);
    u64::try_from(millis).ok().map(Millis::new)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar, on 400-year eras that begin
/// on 1 March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_need_a_unit_and_are_never_zero() {
        assert_eq!(parse_duration("10m"), Some(600));
        assert_eq!(parse_duration("7d"), Some(604_800));
        assert_eq!(parse_size("2GiB"), Some(2 << 30));
        assert_eq!(parse_size("512B"), Some(512));
        for text in [
            "",
            "s",
            "10",
            "0s",
            "-1s",
            "+1s",
            "1.5h",
            "1 h",
            "99999999999999999999s",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
        for text in ["2GB", "2G", "B", "0B", "17179869184GiB"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    #[test]
    fn instants_are_read_with_their_offset() {
        #[derive(Deserialize)]
        struct T {
            t: Instant,
        }
        let read = |text: &str| read::<T>("x", text).map(|t| t.t.0.to_string());
        let ok = |text: &str| read(text).unwrap();
        assert_eq!(ok("t = 2026-11-21T03:05:00Z"), "2026-11-21T03:05:00.000Z");
        assert_eq!(
            ok("t = 2000-02-29T01:00:00.25+02:00"),
            "2000-02-28T23:00:00.250Z"
        );
        assert!(read("t = 2026-11-21T03:05:00").is_err());
        assert!(read("t = 2026-11-21").is_err());
        assert!(read("t = 1969-12-31T23:59:59Z").is_err());
    }

    #[test]
    fn errors_name_their_line() {
        #[derive(Deserialize, Debug)]
        #[serde(deny_unknown_fields)]
        struct T {
            #[expect(dead_code, reason = "only its key matters")]
            a: u32,
        }
        let problem = read::<T>("x.toml", "a = 1\n\nb = 2\n").unwrap_err();
        assert_eq!((problem.line, problem.file.as_str()), (Some(3), "x.toml"));
        assert!(problem.message.contains("unknown field `b`"), "{problem}");
    }
}

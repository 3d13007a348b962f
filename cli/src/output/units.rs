//! Numbers as people read them: raw counts, nanoseconds and bytes in, short text out.

use fleetprof_proto::time_range::format_instant;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A count with thousands separated: `1,234,567`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun: `1 batch`, `2 batches`.
pub(crate) fn counted(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// CPU time or any other duration, nanoseconds: three digits below a minute, two units above.
pub(crate) fn duration(nanos: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = nanos / NANOS_PER_SECOND;
    match seconds {
        0 if nanos == 0 => "0 s".to_owned(),
        0 if nanos < 1_000 => format!("{nanos} ns"),
        0 if nanos < 1_000_000 => format!("{} µs", nanos / 1_000),
        0 => format!("{} ms", nanos / 1_000_000),
        // Whole numbers only, so that 9.999 s is not rounded up to "10.00 s".
        1..10 => format!("{seconds}.{:02} s", nanos % NANOS_PER_SECOND / 10_000_000),
        10..MINUTE => format!("{seconds}.{} s", nanos % NANOS_PER_SECOND / 100_000_000),
        MINUTE..HOUR => format!("{}m {:02}s", seconds / MINUTE, seconds % MINUTE),
        HOUR..DAY => format!("{}h {:02}m", seconds / HOUR, seconds % HOUR / MINUTE),
        DAY.. => format!("{}d {:02}h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// Nanoseconds as seconds, for JSON.
#[expect(clippy::cast_precision_loss, reason = "53 bits of nanoseconds are 104 days, exactly")]
pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_SECOND as f64
}

/// CPU time per wall-clock time, both in nanoseconds; 0 where no time passed.
#[expect(clippy::cast_precision_loss, reason = "a ratio for people and plots")]
pub(crate) fn cores_of(cpu_nanos: u64, wall_nanos: u64) -> f64 {
    if wall_nanos == 0 { 0.0 } else { cpu_nanos as f64 / wall_nanos as f64 }
}

/// Cores: three decimals, fewer from 100 up; `-` for what is not a number.
pub(crate) fn cores(value: f64) -> String {
    if !value.is_finite() {
        "-".to_owned()
    } else if value >= 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

/// A share with one decimal: `12.3%`; `-` of nothing.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.1}%", part as f64 * 100.0 / whole as f64)
}

/// A size with a binary unit: `1.4 MiB`.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(crate) fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if value < 1024 {
        return format!("{value} B");
    }
    let mut scaled = value as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = larger;
    }
    format!("{scaled:.1} {unit}")
}

/// An instant to the second, UTC: `2026-11-22T10:00:00Z`.
pub(crate) fn instant(unix_nanos: i64) -> String {
    let second = NANOS_PER_SECOND.cast_signed();
    format_instant(unix_nanos.div_euclid(second).saturating_mul(second))
}

/// How long ago an instant was: `12.3 s ago`; clocks that disagree give `now`.
pub(crate) fn ago(unix_nanos: i64, now_unix_nanos: i64) -> String {
    match now_unix_nanos.checked_sub(unix_nanos).and_then(|nanos| u64::try_from(nanos).ok()) {
        Some(nanos) if nanos >= NANOS_PER_SECOND => format!("{} ago", duration(nanos)),
        _ => "now".to_owned(),
    }
}

#[cfg(test)]
mod tests;
